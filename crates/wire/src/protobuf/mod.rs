//! The Kubernetes protobuf encoding of any built-in kind, by its schema: one walk out ([`message`]), one walk in
//! ([`parse_message`]), no code per kind.
//!
//! Schemas carry the field numbers, so a message is the JSON tree under other names. What generated code does is kept:
//! scalars that Go does not hold by pointer are always written, fields stand in the order of their numbers, and messages
//! that JSON inlines (the handler in a Probe) are messages again. Around an object stands an envelope: four bytes
//! (`k8s\0`) and a `runtime.Unknown` with apiVersion, kind and the message; the object inside does not repeat them. The
//! frames of a watch are bare WatchEvents behind their length, which hold an envelope each. Decided against: generated
//! structs per kind (a second source of field names, and 5 MB of code). Source: `apimachinery/pkg/runtime/generated.proto`,
//! `serializer/protobuf`.
//!
//! Custom resources have no numbers and so no protobuf; their metadata has.

mod raw;
mod read;
mod write;

pub use read::{Malformed, parse_message};
pub use write::message;

use crate::ListMeta;
use bytes::Bytes;
pub(crate) use raw::Writer;
use schema::{Schema, builtin};
use std::borrow::Cow;
use value::Value;

/// The content type of objects and lists.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The content type of a watch.
pub const STREAM_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

const MAGIC: [u8; 4] = *b"k8s\0";
const JSON: &str = "application/json";

/// What an envelope holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown<'a> {
    pub api_version: Cow<'a, str>,
    pub kind: Cow<'a, str>,
    pub raw: &'a [u8],
    /// Of `raw`; empty for protobuf.
    pub content_type: Cow<'a, str>,
}

/// The schema of what an envelope names. Options are registered in every group, so that only their kind counts; the
/// discovery documents of the legacy group have no version.
pub fn schema_of(api_version: &str, kind: &str) -> Option<Schema> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    builtin::of(group, version, kind).or_else(|| match kind {
        "APIVersions" | "APIResourceList" if api_version.is_empty() => builtin::of("", "v1", kind),
        "DeleteOptions" | "WatchEvent" => builtin::schema(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")),
        _ => None,
    })
}

/// An envelope around a message.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Bytes {
    let mut out = Writer::with_capacity(message.len() + api_version.len() + kind.len() + 32);
    open_envelope(&mut out, api_version, kind, message.len());
    out.extend(message);
    close_envelope(&mut out, "");
    out.into_bytes()
}

/// A value that says what it is (`apiVersion` and `kind` of a built-in kind, or PartialObjectMetadata), in its envelope.
/// What has no protobuf of its own travels as JSON inside, and says so there.
pub fn encode(value: &Value) -> Bytes {
    let (api_version, kind) = (value.str_at(&["apiVersion"]), value.str_at(&["kind"]));
    if kind == "PartialObjectMetadata" {
        return envelope(api_version, kind, &partial(value.at(&["metadata"])));
    }
    if kind == "PartialObjectMetadataList" {
        let meta = value.at(&["metadata"]);
        let items = value.items_at(&["items"]).iter().map(|item| partial(item.at(&["metadata"])).into());
        let items: Vec<Bytes> = items.collect();
        return list_pieces(api_version, kind, meta, &items).concat().into();
    }
    if let Some(schema) = schema_of(api_version, kind) {
        return envelope(api_version, kind, &message(&schema, value));
    }
    let json = value.to_json();
    let mut out = Writer::with_capacity(json.len() + 128);
    open_envelope(&mut out, api_version, kind, json.len());
    out.extend(&json);
    close_envelope(&mut out, JSON);
    out.into_bytes()
}

/// The message of PartialObjectMetadata.
pub fn partial(metadata: &Value) -> Vec<u8> {
    let mut out = Writer::with_capacity(512);
    out.message(1, |out| out.extend(&message(&builtin::object_meta(), metadata)));
    out.into_vec()
}

/// A list in its envelope, as pieces: the items' own shared messages with their tags between. `metadata` is field 1 and
/// `items` field 2 of every list but that of `meta.k8s.io/v1beta1`, where it is the other way round.
pub fn list(api_version: &str, list_kind: &str, meta: &ListMeta, items: &[Bytes]) -> Vec<Bytes> {
    let meta = value::parse_lenient(meta.json().as_bytes()).unwrap_or_default();
    list_pieces(api_version, list_kind, &meta, items)
}

fn list_pieces(api_version: &str, list_kind: &str, meta: &Value, items: &[Bytes]) -> Vec<Bytes> {
    let schema = builtin::schema("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
    let swapped = api_version == "meta.k8s.io/v1beta1";
    let mut head = Writer::with_capacity(128);
    let number = if swapped { 2 } else { 1 };
    head.message(number, |out| out.extend(&schema.map(|s| message(&s, meta)).unwrap_or_default()));
    let head = head.into_vec();
    let body: usize = items.iter().map(|item| 1 + raw::varint_len(item.len() as u64) + item.len()).sum();

    // What stands between the items is written into one buffer, and cut where they go.
    let mut out = Writer::with_capacity(head.len() + 6 * items.len() + 128);
    let mut cuts = Vec::with_capacity(items.len());
    open_envelope(&mut out, api_version, list_kind, head.len() + body);
    if !swapped {
        out.extend(&head);
    }
    for item in items {
        out.tag(if swapped { 1 } else { 2 }, raw::BYTES);
        out.varint(item.len() as u64);
        cuts.push(out.len());
    }
    // Fields stand in the order of their numbers.
    if swapped {
        out.extend(&head);
    }
    close_envelope(&mut out, "");

    let mut between = out.into_bytes();
    let (mut pieces, mut at) = (Vec::with_capacity(2 * items.len() + 1), 0);
    for (item, cut) in items.iter().zip(cuts) {
        pieces.push(between.split_to(cut - at));
        pieces.push(item.clone());
        at = cut;
    }
    pieces.push(between);
    pieces
}

/// One frame of a watch: its length in four bytes, and a WatchEvent around an object in its envelope.
pub fn event_frame(event: &str, object: &[u8]) -> Bytes {
    let mut out = Writer::with_capacity(object.len() + 48);
    out.extend(&[0; 4]);
    out.text(1, event);
    out.message(2, |out| out.bytes(1, object));
    let mut frame = out.into_vec();
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.into()
}

/// True for bytes that begin as an envelope does.
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Opens an envelope.
pub fn open(bytes: &[u8]) -> Result<Unknown<'_>, Malformed> {
    let body = bytes.strip_prefix(&MAGIC).ok_or_else(|| {
        Malformed("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".into())
    })?;
    read::unknown(body)
}

/// The tree of an object in its envelope, with `apiVersion` and `kind` as members. Fields that the schema does not know
/// are skipped; nothing is defaulted.
pub fn decode(bytes: &[u8]) -> Result<Value, Malformed> {
    read::enveloped(bytes, 0)
}

fn open_envelope(out: &mut Writer, api_version: &str, kind: &str, raw_len: usize) {
    out.extend(&MAGIC);
    out.message(1, |out| {
        out.text(1, api_version);
        out.text(2, kind);
    });
    out.tag(2, raw::BYTES);
    out.varint(raw_len as u64);
}

fn close_envelope(out: &mut Writer, content_type: &str) {
    out.text(3, "");
    out.text(4, content_type);
}

#[cfg(test)]
mod tests;
