//! The `Accept` header: which encoding, and which shape the answer takes.
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`.

use base::{Reason, Result, Status};

/// How bytes are written. CBOR is a further variant to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    /// The `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => crate::protobuf::MEDIA_TYPE,
        }
    }
    const ALL: [Encoding; 3] = [Encoding::Json, Encoding::Yaml, Encoding::Protobuf];
    /// Those that there are with or without protobuf; a wildcard means the first.
    pub(crate) fn some(protobuf: bool) -> &'static [Encoding] {
        if protobuf { &Self::ALL } else { &Self::ALL[..2] }
    }
    /// Their names, as messages list them.
    pub(crate) fn names(protobuf: bool) -> String {
        Self::some(protobuf).iter().map(|e| e.media_type()).collect::<Vec<_>>().join(", ")
    }
}

/// What is written: the object itself, or something made from it. The text is the answer's `apiVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Shape {
    #[default]
    Object,
    Table(&'static str),
    /// PartialObjectMetadata, or for a list PartialObjectMetadataList.
    Metadata(&'static str),
    /// APIGroupDiscoveryList.
    Discovery,
}

/// Which shapes an endpoint can make, and whether it knows the protobuf of its objects. (Metadata has protobuf in any
/// case, Tables never.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offers {
    pub table: bool,
    pub metadata: bool,
    pub discovery: bool,
    pub protobuf: bool,
}

impl Offers {
    /// Objects and lists of built-in kinds.
    pub const OBJECTS: Offers = Offers { table: true, metadata: true, discovery: false, protobuf: true };
    /// Objects and lists of custom resources.
    pub const CUSTOM: Offers = Offers { protobuf: false, ..Offers::OBJECTS };
    /// `/api` and `/apis`.
    pub const DISCOVERY: Offers = Offers { table: false, metadata: false, discovery: true, protobuf: false };
    /// Values of built-in kinds that are nothing else: reviews, failures.
    pub const VALUES: Offers = Offers { table: false, metadata: false, discovery: false, protobuf: true };
    /// Nothing but the document itself.
    pub const NONE: Offers = Offers { protobuf: false, ..Offers::VALUES };
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
            (_, encoding) => encoding.media_type(),
        }
    }
}

/// Picks what the client likes best and the endpoint can make; 406 where there is nothing. No header means JSON.
pub fn negotiate(accept: Option<&str>, offers: Offers) -> Result<Accepted> {
    let header = accept.unwrap_or("").trim();
    if header.is_empty() {
        return Ok(Accepted::default());
    }
    let mut clauses: Vec<Clause> = header.split(',').filter_map(Clause::parse).collect();
    // Stable: equal clauses keep the client's order.
    clauses.sort_by(|a, b| b.q.total_cmp(&a.q).then(b.precision().cmp(&a.precision())));
    let found = clauses.iter().find_map(|clause| {
        let encoding = *Encoding::ALL.iter().find(|e| clause.names(e.media_type()))?;
        clause.accept(encoding, offers)
    });
    found.ok_or_else(|| {
        let names = Encoding::names(offers.protobuf);
        Status::new(Reason::NotAcceptable, format!("only the following media types are accepted: {names}"))
    })
}

struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    q: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().filter(|t| t.contains('/') || *t == "*")?;
        let mut parameters: Vec<(&str, &str)> =
            parts.filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim().trim_matches('"'))).collect();
        let q = parameters.iter().find(|(k, _)| *k == "q").map_or(1.0, |(_, v)| v.parse().unwrap_or(1.0));
        parameters.retain(|(k, _)| *k != "q");
        Some(Clause { media_type, parameters, q })
    }
    /// Exact types go before wildcards.
    fn precision(&self) -> u8 {
        match self.media_type {
            "*/*" | "*" => 0,
            t if t.ends_with("/*") => 1,
            _ => 2,
        }
    }
    fn names(&self, media_type: &str) -> bool {
        match self.media_type {
            "*/*" | "*" => true,
            t => match t.strip_suffix('*') {
                Some(prefix) => media_type.starts_with(prefix),
                None => t.eq_ignore_ascii_case(media_type),
            },
        }
    }
    fn accept(&self, encoding: Encoding, offers: Offers) -> Option<Accepted> {
        let get = |key: &str| self.parameters.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        if get("stream").is_some_and(|s| !s.is_empty() && s != "watch") || get("sv").is_some_and(|s| !s.is_empty()) {
            return None;
        }
        let asked = (get("as").unwrap_or(""), get("g").unwrap_or(""), get("v").unwrap_or(""));
        let meta = |version| if version == "v1" { "meta.k8s.io/v1" } else { "meta.k8s.io/v1beta1" };
        let shape = match asked {
            ("", "", "") => Shape::Object,
            ("Table", "meta.k8s.io", v @ ("v1" | "v1beta1")) if offers.table => Shape::Table(meta(v)),
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", v @ ("v1" | "v1beta1"))
                if offers.metadata =>
            {
                Shape::Metadata(meta(v))
            }
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") if offers.discovery => Shape::Discovery,
            _ => return None,
        };
        let possible = match (encoding, shape) {
            (Encoding::Protobuf, Shape::Object) => offers.protobuf,
            // The lists of v1beta1 have other field numbers; nobody asks for them.
            (Encoding::Protobuf, shape) => shape == Shape::Metadata("meta.k8s.io/v1"),
            _ => true,
        };
        possible.then(|| Accepted { encoding, shape, pretty: get("pretty") == Some("1") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, offers: Offers, want: Option<(Encoding, Shape)>) {
        let got = negotiate(Some(accept), offers).ok().map(|a| (a.encoding, a.shape));
        assert_eq!(got, want, "{accept}");
    }

    #[test]
    fn picks_what_fits() {
        use Encoding::{Json, Protobuf, Yaml};
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check(kubectl, Offers::OBJECTS, Some((Json, Shape::Table("meta.k8s.io/v1"))));
        check(kubectl, Offers::NONE, Some((Json, Shape::Object)));
        let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        check(discovery, Offers::DISCOVERY, Some((Json, Shape::Discovery)));
        check(discovery, Offers::OBJECTS, Some((Json, Shape::Object)));
        let protobuf = "application/vnd.kubernetes.protobuf";
        check(protobuf, Offers::OBJECTS, Some((Protobuf, Shape::Object)));
        check(protobuf, Offers::CUSTOM, None);
        let both = "application/vnd.kubernetes.protobuf, application/json";
        check(both, Offers::OBJECTS, Some((Protobuf, Shape::Object)));
        check(both, Offers::CUSTOM, Some((Json, Shape::Object)));
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        check(metadata, Offers::CUSTOM, Some((Protobuf, Shape::Metadata("meta.k8s.io/v1"))));
        let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json";
        check(table, Offers::OBJECTS, Some((Json, Shape::Object)));
        check("application/json;q=0.5, application/yaml", Offers::OBJECTS, Some((Yaml, Shape::Object)));
        check("*/*", Offers::OBJECTS, Some((Json, Shape::Object)));
        check("text/html, */*;q=0.1", Offers::OBJECTS, Some((Json, Shape::Object)));
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Offers::OBJECTS,
            Some((Json, Shape::Metadata("meta.k8s.io/v1"))),
        );
        check("application/json;stream=watch", Offers::OBJECTS, Some((Json, Shape::Object)));
        assert_eq!(negotiate(None, Offers::NONE).unwrap(), Accepted::default());
        let status = negotiate(Some("text/html"), Offers::NONE).unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (406, "only the following media types are accepted: application/json, application/yaml")
        );
    }
}
