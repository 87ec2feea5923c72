//! Responses: a Status, an object, a list, in the encoding and shape that the client asked for.

use crate::{audit, query::Query, stack::Exchange};
use base::{Reason, Result, Status};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use net::Body;
use resource::{Answer, Call, ListReply, Reply};
use schema::Column;
use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};
use value::{
    Object, Value,
    shared::{SharedList, SharedObject},
};
use wire::{Accepted, Encoding, Include, ListMeta, Offers, Shape, Source, TableOptions};

/// A response of a content type.
pub fn bytes(code: u16, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A failure.
pub fn status(status: &Status) -> Response<Body> {
    let mut response = bytes(status.code(), "application/json", wire::status_bytes(status));
    if let Some(seconds) = status.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A failure, as the client likes to read it; where the server has no such form, as JSON for people.
pub fn failure(failure: &Status, parts: &Parts, cbor: bool) -> Response<Body> {
    let mut response = status(failure);
    let json = wire::status_bytes(failure);
    let (body, content_type) = match wire::negotiate(accept(&parts.headers), Offers::VALUES.with_cbor(cbor)) {
        Ok(accepted) => {
            let pretty = accepted.pretty || pretty(parts);
            (wire::reencode(json, accepted.encoding, pretty), accepted.encoding.media_type())
        }
        Err(_) => (wire::reencode(json, Encoding::Json, true), Encoding::Json.media_type()),
    };
    *response.body_mut() = body.into();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The text of a refusal holds what the client wrote: no browser is to take it for something else.
pub fn nosniff(response: &mut Response<Body>) {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// What the client accepts.
pub fn accept(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT).and_then(|v| v.to_str().ok())
}

/// True for clients behind which people sit: they are told by their agent, unless the query says it.
pub fn pretty(parts: &Parts) -> bool {
    let query = Query::parse(parts.uri.query());
    if let Some(asked) = query.get("pretty").filter(|asked| !asked.is_empty()) {
        return matches!(asked, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = parts.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|tool| agent.starts_with(tool))
}

/// No route leads there, which is no matter of the API: text, as a file server would say it.
pub fn no_page() -> Response<Body> {
    let mut response = bytes(404, "text/plain; charset=utf-8", "404 page not found\n");
    nosniff(&mut response);
    response
}

/// A value made by the server (a review, a document).
pub fn made(code: u16, accepted: &Accepted, value: &Value) -> Response<Body> {
    let body = match accepted.shape {
        Shape::Metadata(version) => {
            wire::reencode(wire::partial_metadata(version, value), accepted.encoding, accepted.pretty)
        }
        _ => wire::encode(value, accepted.encoding, accepted.pretty),
    };
    bytes(code, accepted.encoding.media_type(), body)
}

/// The answer to a verb on one object. 406 for a client that wants a list.
pub fn reply(
    x: &Exchange<'_>,
    call: &Call,
    accepted: &Accepted,
    include: Include,
    reply: Reply,
) -> Result<Response<Body>> {
    let code = if reply.created { 201 } else { 200 };
    audited(x, &reply);
    let mut response = match &reply.answer {
        Answer::Stored(object) => {
            let body = match (accepted.shape, accepted.encoding) {
                (Shape::Object, Encoding::Protobuf) => enveloped(call, object),
                _ => one(x, call, accepted, include, ListMeta::at(object.revision), object, Object::json(object))?,
            };
            let mut response = bytes(code, accepted.content_type(), body);
            if x.shared {
                response.extensions_mut().insert(SharedObject(object.clone()));
            }
            response
        }
        // What the client has asked to see differently is something else.
        Answer::Made(value) if value.str_at(&["kind"]) == "Status" => {
            bytes(code, accepted.encoding.media_type(), wire::encode(value, accepted.encoding, accepted.pretty))
        }
        Answer::Made(value) => {
            let revision = value.str_at(&["metadata", "resourceVersion"]).parse().unwrap_or_default();
            let body = one(x, call, accepted, include, ListMeta::at(revision), value, &value.to_json().into())?;
            bytes(code, accepted.content_type(), body)
        }
    };
    warn(&mut response, &reply.warnings);
    deprecation(x, &mut response, call);
    Ok(response)
}

/// What the audit log wants to know of an answer.
fn audited(x: &Exchange<'_>, reply: &Reply) {
    if x.info.verb != "get" {
        x.objects.made(&x.audit, || match &reply.answer {
            // Not by its tree: that would be parsed for every write.
            Answer::Stored(object) => audit::ObjectRef {
                name: object.name().into(),
                uid: object.meta.uid.to_string(),
                resource_version: object.revision.to_string(),
            },
            Answer::Made(tree) => {
                let of = |key| tree.str_at(&["metadata", key]).to_string();
                audit::ObjectRef { name: of("name"), uid: of("uid"), resource_version: of("resourceVersion") }
            }
        });
    }
    x.objects.response(&x.audit, || {
        Some(match &reply.answer {
            Answer::Stored(object) => object.value(),
            Answer::Made(value) => value.clone(),
        })
    });
}

fn one<S: Source>(
    x: &Exchange<'_>,
    call: &Call,
    accepted: &Accepted,
    include: Include,
    meta: ListMeta,
    object: &S,
    json: &Bytes,
) -> Result<Bytes> {
    let body = match accepted.shape {
        Shape::Table(api_version) => {
            let mut options = table(x, call, api_version, include, true);
            if call.subresource.as_deref() == Some("scale") {
                options.columns = &SCALE;
            }
            wire::table(&options, &meta, std::slice::from_ref(&Borrowed(object)))
        }
        Shape::Metadata(api_version) => wire::partial_metadata(api_version, object),
        Shape::MetadataList(_) => {
            let what = "you requested PartialObjectMetadataList, but the requested object is not a list";
            return Err(Status::new(Reason::NotAcceptable, format!("{what} ({})", internal_type(call, ""))));
        }
        Shape::Object | Shape::Discovery => json.clone(),
    };
    Ok(wire::reencode(body, accepted.encoding, accepted.pretty))
}

/// The columns of a Scale.
static SCALE: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let mut name = Column::object_name();
    name.format = "".into();
    vec![
        name,
        Column::number("Desired", |scale, _| counted(scale.at(&["spec", "replicas"]))),
        Column::number("Available", |scale, _| counted(scale.at(&["status", "replicas"]))),
        Column::age(),
    ]
});

fn counted(value: &Value) -> Value {
    value.as_i64().unwrap_or(0).into()
}

/// What upstream calls the type of a call's objects inside: `*core.ConfigMap`.
fn internal_type(call: &Call, suffix: &str) -> String {
    match call.kind.custom {
        Some(_) => format!("*unstructured.Unstructured{suffix}"),
        None => format!("*{}{suffix}", call.internal_type()),
    }
}

/// `Table`s take a slice of sources; this makes one of a reference.
struct Borrowed<'a, S>(&'a S);
impl<S: Source> Source for Borrowed<'_, S> {
    fn json(&self) -> std::borrow::Cow<'_, [u8]> {
        self.0.json()
    }
    fn tree(&self) -> std::borrow::Cow<'_, Value> {
        self.0.tree()
    }
}

pub fn table<'a>(
    x: &Exchange<'_>,
    call: &'a Call,
    api_version: &'a str,
    include: Include,
    headers: bool,
) -> TableOptions<'a> {
    let columns = &call.kind.versions[call.version].columns;
    TableOptions { api_version, columns, include, now: x.server.config.clock.now(), headers }
}

/// The answer to a list. 406 for a client that wants one object.
pub fn list(
    x: &Exchange<'_>,
    call: &Call,
    accepted: &Accepted,
    include: Include,
    reply: ListReply,
) -> Result<Response<Body>> {
    let meta =
        ListMeta { revision: reply.revision, continue_token: reply.continue_token.clone(), remaining: reply.remaining };
    if x.shared && accepted.shape == Shape::Object {
        let mut response = bytes(200, accepted.content_type(), Body::Empty);
        response.extensions_mut().insert(SharedList {
            items: reply.items.into(),
            revision: reply.revision,
            continue_token: reply.continue_token,
        });
        return Ok(response);
    }
    let api_version = call.api_version();
    let whole = || wire::list_json(&api_version, &call.kind.list_kind, &meta, &items(call, &reply));
    x.objects.response(&x.audit, || value::parse_lenient(&whole()).ok());
    let reencoded = |json| wire::reencode(json, accepted.encoding, accepted.pretty).into();
    let body: Body = match accepted.shape {
        Shape::Object if accepted.encoding == Encoding::Protobuf => {
            let messages: Vec<Bytes> = reply.items.iter().map(|object| message(call, object).clone()).collect();
            Body::chunks(wire::protobuf::list(&api_version, &call.kind.list_kind, &meta, &messages))
        }
        Shape::Object | Shape::Discovery if accepted.encoding == Encoding::Json && !accepted.pretty => {
            chunks(&api_version, &call.kind.list_kind, &meta, &items(call, &reply))
        }
        Shape::MetadataList(version) if accepted.encoding == Encoding::Protobuf => {
            let partial = |object: &Arc<Object>| wire::protobuf::partial(object.value().at(&["metadata"])).into();
            let items: Vec<Bytes> = reply.items.iter().map(partial).collect();
            Body::chunks(wire::protobuf::list(version, "PartialObjectMetadataList", &meta, &items))
        }
        Shape::Object | Shape::Discovery => reencoded(whole()),
        Shape::Table(version) => reencoded(wire::table(&table(x, call, version, include, true), &meta, &reply.items)),
        Shape::MetadataList(version) => reencoded(wire::partial_metadata_list(version, &meta, &reply.items)),
        Shape::Metadata(_) => {
            let what = "you requested PartialObjectMetadata, but the requested object is a list";
            return Err(Status::new(Reason::NotAcceptable, format!("{what} ({})", internal_type(call, "List"))));
        }
    };
    let mut response = bytes(200, accepted.content_type(), body);
    deprecation(x, &mut response, call);
    Ok(response)
}

/// An object in a list: its bytes from behind the brace, and behind the type where the list's own says it.
struct Item(Bytes);

impl wire::Source for Item {
    fn json(&self) -> Cow<'_, [u8]> {
        Cow::Owned([b"{", &*self.0].concat())
    }
    fn tree(&self) -> Cow<'_, Value> {
        Cow::Owned(value::parse_lenient(&self.json()).unwrap_or_default())
    }
}

/// Items of built-in kinds do not repeat their type, those of custom kinds do: typed clients compare what they list with
/// what they created.
fn items(call: &Call, reply: &ListReply) -> Vec<Item> {
    let head = format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",", call.api_version(), call.kind.kind);
    let head = if call.kind.custom.is_none() { head.as_bytes() } else { b"{" };
    let bare = |json: &Bytes| json.slice(if json.starts_with(head) { head.len() } else { 1 }..);
    reply.items.iter().map(|object| Item(bare(Object::json(object)))).collect()
}

/// The list as pieces: the objects' own shared bytes with what stands between them.
fn chunks(api_version: &str, kind: &str, meta: &ListMeta, items: &[Item]) -> Body {
    let empty = wire::list_json::<Value>(api_version, kind, meta, &[]);
    let end = empty.len() - 2; // "]}"
    let mut pieces = Vec::with_capacity(2 * items.len() + 2);
    pieces.push(empty.slice(..end));
    for (i, item) in items.iter().enumerate() {
        pieces.push(Bytes::from_static(if i > 0 { b",{" } else { b"{" }));
        pieces.push(item.0.clone());
    }
    pieces.push(empty.slice(end..));
    Body::chunks(pieces)
}

/// The protobuf of an object in the version of the call, made once for all who ask.
fn message<'o>(call: &Call, object: &'o Object) -> &'o Bytes {
    object.protobuf(|o| wire::protobuf::message(&call.kind.versions[call.version].schema, &o.value()).into())
}

/// The same in its envelope.
pub fn enveloped(call: &Call, object: &Object) -> Bytes {
    wire::protobuf::envelope(&call.api_version(), &call.kind.kind, message(call, object))
}

/// What all warnings of a response may hold together, and each where they are cut for that, in characters. Source:
/// upstream's warning recorder.
const WARNINGS: usize = 4 << 10;
const WARNING: usize = 256;

/// Each warning once; cut where they are too long together, and the last ones left out where that does not help.
fn bounded(warnings: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for text in warnings.iter().filter(|text| !text.is_empty()) {
        if !all.contains(text) {
            all.push(text.clone());
        }
    }
    let length = |all: &[String]| all.iter().map(|text| text.chars().count()).sum::<usize>();
    if length(&all) > WARNINGS {
        for text in &mut all {
            *text = text.chars().take(WARNING).collect();
        }
        while length(&all) > WARNINGS + WARNING {
            all.pop();
        }
    }
    all
}

/// `Warning: 299 - "text"` for each.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for text in bounded(warnings) {
        let quoted: String = text
            .chars()
            .filter(|c| !c.is_control())
            .flat_map(|c| {
                let escape = matches!(c, '"' | '\\').then_some('\\');
                escape.into_iter().chain([c])
            })
            .collect();
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

pub fn deprecation(x: &Exchange<'_>, response: &mut Response<Body>, call: &Call) {
    if let Some(text) = &call.kind.versions[call.version].deprecated {
        x.notes.add("k8s.io/deprecated", || "true".into());
        warn(response, &[text.to_string()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_bounded() {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<String>>();
        assert_eq!(bounded(&texts(&["a", "b", "a", ""])), texts(&["a", "b"]));
        let long = "x".repeat(300);
        assert_eq!(bounded(std::slice::from_ref(&long)), [long], "one that fits is not cut");
        let many: Vec<String> = (0..100).map(|n| format!("{n:03}{}", "y".repeat(400))).collect();
        let kept = bounded(&many);
        assert!(kept.iter().all(|text| text.chars().count() == WARNING));
        assert_eq!(kept.len(), (WARNINGS + WARNING) / WARNING);
    }
}
