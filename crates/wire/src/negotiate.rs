//! The `Accept` header: which encoding, and which shape the answer takes.
//!
//! Upstream looks at it twice, and each look has words of its own. The router ([`routed`]) knows media types only, and a
//! wildcard in the subtype means nothing to it; what it lets through is then matched with its parameters ([`negotiate`]).
//! Custom resources have no router. Source: `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`, `goautoneg`,
//! `go-restful`.

use crate::Encoding;
use base::{Reason, Result, Status};

/// What is written: the object itself, or something made from it. The text is the answer's `apiVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Shape {
    #[default]
    Object,
    Table(&'static str),
    /// PartialObjectMetadata of one object.
    Metadata(&'static str),
    /// PartialObjectMetadataList of a list.
    MetadataList(&'static str),
    /// APIGroupDiscoveryList.
    Discovery,
}

/// Which shapes an endpoint can make, and which encodings there are. (Metadata has protobuf also where the objects have
/// none, Tables never.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offers {
    pub table: bool,
    pub metadata: bool,
    /// Nothing but the aggregated discovery document.
    pub discovery: bool,
    /// The objects themselves have protobuf.
    pub protobuf: bool,
    /// The server has CBOR.
    pub cbor: bool,
}

impl Offers {
    /// Objects and lists of built-in kinds.
    pub const OBJECTS: Offers = Offers { table: true, metadata: true, discovery: false, protobuf: true, cbor: false };
    /// Objects and lists of custom resources.
    pub const CUSTOM: Offers = Offers { protobuf: false, ..Offers::OBJECTS };
    /// The aggregated form of `/api` and `/apis`.
    pub const DISCOVERY: Offers =
        Offers { table: false, metadata: false, discovery: true, protobuf: true, cbor: false };
    /// Values of built-in kinds that are nothing else: discovery, failures.
    pub const VALUES: Offers = Offers { discovery: false, ..Offers::DISCOVERY };
    /// Objects of built-in kinds without a Table: reviews.
    pub const REVIEWS: Offers = Offers { metadata: true, ..Offers::VALUES };
    /// Nothing but the document itself.
    pub const NONE: Offers = Offers { protobuf: false, ..Offers::VALUES };

    pub const fn with_cbor(self, cbor: bool) -> Offers {
        Offers { cbor, ..self }
    }
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Accepted {
    pub encoding: Encoding,
    pub shape: Shape,
    pub pretty: bool,
}

impl Accepted {
    /// The `Content-Type` of the answer.
    pub fn content_type(&self) -> &'static str {
        match (self.shape, self.encoding) {
            (Shape::Discovery, Encoding::Json) => {
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            (Shape::Discovery, Encoding::Yaml) => {
                "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            (Shape::Discovery, Encoding::Protobuf) => {
                "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            (_, encoding) => encoding.media_type(),
        }
    }
    /// The `Content-Type` of a watch.
    pub fn stream_type(&self) -> &'static str {
        match self.encoding {
            Encoding::Json => self.encoding.media_type(),
            encoding => encoding.stream_type().unwrap_or(encoding.media_type()),
        }
    }
}

/// 406 where the router of built-in kinds finds no route that produces what is accepted. `produces` names media types;
/// a few of them may have parameters, which nothing matches.
pub fn routed(accept: Option<&str>, produces: &[&str]) -> Result<()> {
    let header = accept.filter(|header| !header.is_empty()).unwrap_or("*/*");
    let found = header.split(',').any(|clause| {
        let media_type = clause.split(';').next().unwrap_or("").trim_matches(' ');
        media_type == "*/*" || produces.contains(&media_type)
    });
    if found {
        return Ok(());
    }
    let text = format!("406: Not Acceptable\n\nAvailable representations: {}", produces.join(", "));
    Err(Status::new(Reason::NotAcceptable, text).with_empty_details())
}

/// Picks what the client likes best and the endpoint can make; 406 where there is nothing. No header means JSON.
pub fn negotiate(accept: Option<&str>, offers: Offers) -> Result<Accepted> {
    pick(accept, offers).ok_or_else(|| not_acceptable(&Encoding::names(offers.cbor)))
}

/// The same for a watch, of which YAML has no form.
pub fn negotiate_stream(accept: Option<&str>, offers: Offers) -> Result<Accepted> {
    let accepted = negotiate(accept, offers)?;
    match accepted.encoding.stream_type() {
        Some(_) => Ok(accepted),
        None => Err(not_acceptable(&Encoding::stream_names(offers.cbor))),
    }
}

fn not_acceptable(names: &str) -> Status {
    Status::new(Reason::NotAcceptable, format!("only the following media types are accepted: {names}"))
}

fn pick(accept: Option<&str>, offers: Offers) -> Option<Accepted> {
    let header = accept.unwrap_or("");
    if header.is_empty() {
        return (!offers.discovery).then(Accepted::default);
    }
    let mut clauses: Vec<Clause> = header.split(',').filter_map(Clause::parse).collect();
    sort(&mut clauses);
    clauses.iter().find_map(|clause| {
        let mut named = Encoding::all(offers.cbor).iter().filter(|e| clause.names(e.media_type()));
        named.find_map(|encoding| clause.accept(*encoding, offers))
    })
}

/// By insertion, which upstream's library amounts to for lists of a dozen: its comparison is no order (a type that is
/// exact goes before a wildcard whatever the weights are, and one of more weight before one that is exact), so that
/// the answer depends on who is compared with whom.
fn sort(clauses: &mut [Clause<'_>]) {
    for i in 1..clauses.len() {
        for j in (1..=i).rev() {
            if !clauses[j].goes_before(&clauses[j - 1]) {
                break;
            }
            clauses.swap(j, j - 1);
        }
    }
}

/// One alternative of the header.
struct Clause<'a> {
    main: &'a str,
    sub: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    q: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let trim = |text: &'a str| text.trim_matches(' ');
        let (media_type, mut rest) = trim(text).split_once(';').unwrap_or((trim(text), ""));
        let (main, sub) = match media_type.split_once('/') {
            None | Some((_, "")) if trim(media_type) == "*" => ("*", "*"),
            None | Some((_, "")) => return None,
            Some((main, sub)) => (trim(main), trim(sub)),
        };
        if sub.contains('/') {
            return None;
        }
        let mut clause = Clause { main, sub, parameters: Vec::new(), q: 1.0 };
        while !rest.is_empty() {
            let (parameter, more) = rest.split_once(';').unwrap_or((rest, ""));
            rest = more;
            match parameter.split_once('=') {
                None | Some((_, "")) => {}
                Some((_, value)) if value.contains('=') => {}
                Some((key, value)) if trim(key) == "q" => clause.q = value.parse().unwrap_or(0.0),
                Some((key, value)) => clause.parameters.push((trim(key), trim(value))),
            }
        }
        Some(clause)
    }
    fn goes_before(&self, other: &Clause<'_>) -> bool {
        self.q > other.q || (self.main != "*" && other.main == "*") || (self.sub != "*" && other.sub == "*")
    }
    fn names(&self, media_type: &str) -> bool {
        let (main, sub) = media_type.split_once('/').unwrap_or((media_type, ""));
        match (self.main, self.sub) {
            ("*", "*") => true,
            (m, "*") => m == main,
            (m, s) => m == main && s == sub,
        }
    }
    fn accept(&self, encoding: Encoding, offers: Offers) -> Option<Accepted> {
        // Of a parameter that stands twice the last one counts.
        let get = |key: &str| self.parameters.iter().rfind(|(k, _)| *k == key).map(|(_, v)| *v);
        let stream = get("stream").unwrap_or("");
        if !stream.is_empty() && (stream != "watch" || encoding.stream_type().is_none()) {
            return None;
        }
        let version = if offers.metadata { "v1" } else { "" };
        if get("sv").is_some_and(|sv| !sv.is_empty() && sv != version) {
            return None;
        }
        let transformed = ["as", "g", "v"].iter().any(|key| get(key).is_some());
        let shape = match (get("as").unwrap_or(""), get("g").unwrap_or(""), get("v").unwrap_or("")) {
            _ if !transformed && offers.discovery => return None,
            _ if !transformed => Shape::Object,
            (kind, "meta.k8s.io", "v1") => made(kind, "meta.k8s.io/v1", offers)?,
            (kind, "meta.k8s.io", "v1beta1") => made(kind, "meta.k8s.io/v1beta1", offers)?,
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") if offers.discovery => Shape::Discovery,
            _ => return None,
        };
        let possible = match (encoding, shape) {
            (Encoding::Protobuf, Shape::Object) => offers.protobuf,
            (encoding, Shape::Table(_)) => matches!(encoding, Encoding::Json | Encoding::Yaml),
            _ => true,
        };
        possible.then(|| Accepted { encoding, shape, pretty: get("pretty") == Some("1") })
    }
}

/// What is made of objects.
fn made(kind: &str, api_version: &'static str, offers: Offers) -> Option<Shape> {
    match kind {
        "Table" if offers.table => Some(Shape::Table(api_version)),
        "PartialObjectMetadata" if offers.metadata => Some(Shape::Metadata(api_version)),
        "PartialObjectMetadataList" if offers.metadata => Some(Shape::MetadataList(api_version)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECTL: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    const V1: &str = "meta.k8s.io/v1";

    #[test]
    fn picks_what_fits() {
        use Encoding::{Cbor, Json, Protobuf, Yaml};
        let with_cbor = Offers::OBJECTS.with_cbor(true);
        let both = "application/vnd.kubernetes.protobuf, application/json";
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        for (accept, offers, want) in [
            (KUBECTL, Offers::OBJECTS, Some((Json, Shape::Table(V1)))),
            (KUBECTL, Offers::NONE, Some((Json, Shape::Object))),
            (DISCOVERY, Offers::DISCOVERY, Some((Json, Shape::Discovery))),
            (DISCOVERY, Offers::VALUES, Some((Json, Shape::Object))),
            ("application/json", Offers::DISCOVERY, None),
            (PROTOBUF, Offers::OBJECTS, Some((Protobuf, Shape::Object))),
            (PROTOBUF, Offers::CUSTOM, None),
            (both, Offers::OBJECTS, Some((Protobuf, Shape::Object))),
            (both, Offers::CUSTOM, Some((Json, Shape::Object))),
            (partial, Offers::CUSTOM, Some((Protobuf, Shape::Metadata(V1)))),
            (partial, Offers::REVIEWS, Some((Protobuf, Shape::Metadata(V1)))),
            (partial, Offers::VALUES, None),
            ("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1", Offers::OBJECTS, None),
            (
                "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json",
                Offers::OBJECTS,
                Some((Json, Shape::Object)),
            ),
            (
                "application/yaml;as=Table;g=meta.k8s.io;v=v1beta1",
                Offers::OBJECTS,
                Some((Yaml, Shape::Table("meta.k8s.io/v1beta1"))),
            ),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Offers::OBJECTS,
                Some((Json, Shape::MetadataList(V1))),
            ),
            // A wildcard takes the first encoding that can make it.
            ("*/*", Offers::OBJECTS, Some((Json, Shape::Object))),
            ("*", Offers::OBJECTS, Some((Json, Shape::Object))),
            ("application/*", Offers::OBJECTS, Some((Json, Shape::Object))),
            ("application/*;as=Table;g=meta.k8s.io;v=v1", Offers::OBJECTS, Some((Json, Shape::Table(V1)))),
            // Weights, and what is exact before what is not.
            ("application/json;q=0.5, application/yaml", Offers::OBJECTS, Some((Yaml, Shape::Object))),
            ("text/html, */*;q=0.1", Offers::OBJECTS, Some((Json, Shape::Object))),
            ("*/*;q=1, application/yaml;q=0.1", Offers::OBJECTS, Some((Yaml, Shape::Object))),
            ("application/yaml;q=x, application/json;q=0.1", Offers::OBJECTS, Some((Json, Shape::Object))),
            ("application/yaml;q=0", Offers::OBJECTS, Some((Yaml, Shape::Object))),
            // Parameters.
            ("application/json;charset=utf-8", Offers::OBJECTS, Some((Json, Shape::Object))),
            ("application/json;stream=watch", Offers::OBJECTS, Some((Json, Shape::Object))),
            ("application/json;stream=exec", Offers::OBJECTS, None),
            ("application/yaml;stream=watch", Offers::OBJECTS, None),
            ("application/json;sv=v1", Offers::OBJECTS, Some((Json, Shape::Object))),
            ("application/json;sv=v2", Offers::OBJECTS, None),
            ("application/json;sv=v1", Offers::VALUES, None),
            ("application/json;as=Table", Offers::OBJECTS, None),
            ("application/json;as=", Offers::OBJECTS, Some((Json, Shape::Object))),
            ("Application/JSON", Offers::OBJECTS, None),
            ("json", Offers::OBJECTS, None),
            (",", Offers::OBJECTS, None),
            ("application/cbor", Offers::OBJECTS, None),
            ("application/cbor, application/json;q=0.9", Offers::OBJECTS, Some((Json, Shape::Object))),
            ("application/cbor, application/json;q=0.9", with_cbor, Some((Cbor, Shape::Object))),
            ("application/cbor;as=Table;g=meta.k8s.io;v=v1", with_cbor, None),
            (
                "application/cbor;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                with_cbor,
                Some((Cbor, Shape::Metadata(V1))),
            ),
        ] {
            let got = negotiate(Some(accept), offers).ok().map(|a| (a.encoding, a.shape));
            assert_eq!(got, want, "{accept}");
        }
        assert_eq!(negotiate(None, Offers::NONE).unwrap(), Accepted::default());
        assert!(negotiate(Some("application/json;pretty=1"), Offers::NONE).unwrap().pretty);
    }

    #[test]
    fn refusals() {
        let said = |result: Result<Accepted>| result.map(|_| ()).map_err(|s| (s.code(), s.message().to_string()));
        let only = |names: &str| Err((406, format!("only the following media types are accepted: {names}")));
        let all = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        assert_eq!(said(negotiate(Some("text/html"), Offers::CUSTOM)), only(all));
        let offers = Offers::OBJECTS.with_cbor(true);
        assert_eq!(said(negotiate(Some("text/html"), offers)), only(&format!("{all}, application/cbor")));
        let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(said(negotiate_stream(Some("application/yaml"), Offers::OBJECTS)), only(streams));
        let yaml = negotiate_stream(Some("application/yaml"), offers);
        assert_eq!(said(yaml), only(&format!("{streams}, application/cbor-seq")));
        let cbor = negotiate_stream(Some("application/cbor"), offers).unwrap();
        assert_eq!(cbor.stream_type(), "application/cbor-seq");
        assert_eq!(negotiate_stream(None, offers).unwrap().stream_type(), "application/json");
    }

    #[test]
    fn the_router_knows_media_types_only() {
        let produces = ["application/json", "application/yaml", "application/json;stream=watch"];
        for (accept, found) in [
            (None, true),
            (Some(""), true),
            (Some("*/*"), true),
            (Some("text/html, */*;q=0.1"), true),
            (Some("application/json;as=Nothing"), true),
            (Some("text/plain,application/yaml"), true),
            (Some("application/*"), false),
            (Some("*"), false),
            (Some("text/plain"), false),
        ] {
            assert_eq!(routed(accept, &produces).is_ok(), found, "{accept:?}");
        }
        let status = routed(Some("text/plain"), &produces[..2]).unwrap_err();
        let want = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml";
        assert_eq!((status.code(), status.message()), (406, want));
    }
}
