//! Responses: a Status, an object, a list, in the encoding and shape that the client asked for.

use crate::stack::Exchange;
use base::Status;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use net::Body;
use resource::{Answer, Call, ListReply, Reply};
use std::sync::Arc;
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

/// A failure, as the client likes to read it.
pub fn failure(failure: &Status, headers: &HeaderMap) -> Response<Body> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let accepted = wire::negotiate(accept, Offers::VALUES).unwrap_or_default();
    let mut response = status(failure);
    if accepted.encoding == Encoding::Protobuf {
        *response.body_mut() = wire::reencode(wire::status_bytes(failure), accepted.encoding, false).into();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(wire::protobuf::MEDIA_TYPE));
    }
    response
}

/// A value made by the server (a review, a document).
pub fn made(code: u16, accepted: &Accepted, value: &Value) -> Response<Body> {
    let body = wire::encode(value, accepted.encoding, accepted.pretty);
    bytes(code, accepted.encoding.media_type(), body)
}

/// The answer to a verb on one object.
pub fn reply(x: &Exchange<'_>, call: &Call, accepted: &Accepted, include: Include, reply: Reply) -> Response<Body> {
    let code = if reply.created { 201 } else { 200 };
    let mut response = match &reply.answer {
        Answer::Stored(object) => {
            let body = match (accepted.shape, accepted.encoding) {
                (Shape::Object, Encoding::Protobuf) => enveloped(call, object),
                _ => one(x, call, accepted, include, ListMeta::at(object.revision), object, Object::json(object)),
            };
            let mut response = bytes(code, accepted.content_type(), body);
            if x.shared {
                response.extensions_mut().insert(SharedObject(object.clone()));
            }
            response
        }
        // A Status, a Scale: what the client has asked to see differently is something else.
        Answer::Made(value) if value.str_at(&["kind"]) != call.kind.kind => {
            bytes(code, accepted.encoding.media_type(), wire::encode(value, accepted.encoding, accepted.pretty))
        }
        Answer::Made(value) => {
            let revision = value.str_at(&["metadata", "resourceVersion"]).parse().unwrap_or_default();
            let body = one(x, call, accepted, include, ListMeta::at(revision), value, &value.to_json().into());
            bytes(code, accepted.content_type(), body)
        }
    };
    warn(&mut response, &reply.warnings);
    deprecation(&mut response, call);
    response
}

fn one<S: Source>(
    x: &Exchange<'_>,
    call: &Call,
    accepted: &Accepted,
    include: Include,
    meta: ListMeta,
    object: &S,
    json: &Bytes,
) -> Bytes {
    let body = match accepted.shape {
        Shape::Table(api_version) => {
            wire::table(&table(x, call, api_version, include, true), &meta, std::slice::from_ref(&Borrowed(object)))
        }
        Shape::Metadata(api_version) => wire::partial_metadata(api_version, object),
        Shape::Object | Shape::Discovery => json.clone(),
    };
    wire::reencode(body, accepted.encoding, accepted.pretty)
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

/// The answer to a list.
pub fn list(x: &Exchange<'_>, call: &Call, accepted: &Accepted, include: Include, reply: ListReply) -> Response<Body> {
    let meta =
        ListMeta { revision: reply.revision, continue_token: reply.continue_token.clone(), remaining: reply.remaining };
    if x.shared && accepted.shape == Shape::Object {
        let mut response = bytes(200, accepted.content_type(), Body::Empty);
        response.extensions_mut().insert(SharedList {
            items: reply.items.into(),
            revision: reply.revision,
            continue_token: reply.continue_token,
        });
        return response;
    }
    let api_version = call.api_version();
    let body: Body = match accepted.shape {
        Shape::Object if accepted.encoding == Encoding::Protobuf => {
            let messages: Vec<Bytes> = reply.items.iter().map(|object| message(call, object).clone()).collect();
            Body::chunks(wire::protobuf::list(&api_version, &call.kind.list_kind, &meta, &messages))
        }
        Shape::Object | Shape::Discovery if accepted.encoding == Encoding::Json && !accepted.pretty => {
            chunks(&api_version, &call.kind.list_kind, &meta, &reply)
        }
        Shape::Metadata(version) if accepted.encoding == Encoding::Protobuf => {
            let partial = |object: &Arc<Object>| wire::protobuf::partial(object.value().at(&["metadata"])).into();
            let items: Vec<Bytes> = reply.items.iter().map(partial).collect();
            Body::chunks(wire::protobuf::list(version, "PartialObjectMetadataList", &meta, &items))
        }
        Shape::Object | Shape::Discovery => {
            let json = wire::list_json(&api_version, &call.kind.list_kind, &meta, &reply.items);
            wire::reencode(json, accepted.encoding, accepted.pretty).into()
        }
        Shape::Table(version) => {
            let json = wire::table(&table(x, call, version, include, true), &meta, &reply.items);
            wire::reencode(json, accepted.encoding, accepted.pretty).into()
        }
        Shape::Metadata(version) => {
            let json = wire::partial_metadata_list(version, &meta, &reply.items);
            wire::reencode(json, accepted.encoding, accepted.pretty).into()
        }
    };
    let mut response = bytes(200, accepted.content_type(), body);
    deprecation(&mut response, call);
    response
}

/// The list as pieces: the objects' own shared bytes with commas between.
fn chunks(api_version: &str, kind: &str, meta: &ListMeta, reply: &ListReply) -> Body {
    let empty = wire::list_json::<Value>(api_version, kind, meta, &[]);
    let end = empty.len() - 2; // "]}"
    let comma = Bytes::from_static(b",");
    let mut pieces = Vec::with_capacity(2 * reply.items.len() + 2);
    pieces.push(empty.slice(..end));
    for (i, item) in reply.items.iter().enumerate() {
        if i > 0 {
            pieces.push(comma.clone());
        }
        pieces.push(Object::json(item).clone());
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

pub fn deprecation(response: &mut Response<Body>, call: &Call) {
    if let Some(text) = &call.kind.versions[call.version].deprecated {
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
