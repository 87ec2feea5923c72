//! The edge between bytes and values: content negotiation, request bodies, lists, Tables and metadata-only answers.
//!
//! Lists, events and metadata-only objects are put together from bytes that exist already; only Tables need the tree,
//! for their cells. Every [`Encoding`] is read and written; the bytes of protobuf have their place beside those of JSON
//! ([`value::Object::protobuf`]). Invariant: nothing here knows a kind beyond its columns.

mod body;
pub mod cbor;
mod encoding;
mod jsonpath;
mod list;
mod negotiate;
pub mod protobuf;
pub mod swagger;
mod table;
pub mod yaml;

pub use body::{Decoded, Intake, decode, decode_as};
pub use encoding::Encoding;
pub use jsonpath::JsonPath;
pub use list::{
    ListMeta, Source, bookmark, event_frame, list_json, partial_metadata, partial_metadata_list, status_bytes,
};
pub use negotiate::{Accepted, Offers, Shape, negotiate, negotiate_stream, routed};
pub use table::{Include, TableOptions, table};

use bytes::Bytes;
use value::Value;

/// One value in an encoding; `pretty` indents JSON.
pub fn encode(value: &Value, encoding: Encoding, pretty: bool) -> Bytes {
    match encoding {
        Encoding::Json if pretty => serde_json::to_vec_pretty(value).unwrap_or_else(|_| value.to_json()).into(),
        Encoding::Json => value.to_json().into(),
        Encoding::Yaml => yaml::to_string(value).into(),
        Encoding::Protobuf => protobuf::encode(value),
        Encoding::Cbor => cbor::encode(value),
    }
}

/// JSON that exists already, in an encoding: unchanged where that is compact JSON.
pub fn reencode(json: Bytes, encoding: Encoding, pretty: bool) -> Bytes {
    match (encoding, pretty) {
        (Encoding::Json, false) => json,
        _ => match value::parse_lenient(&json) {
            Ok(value) => encode(&value, encoding, pretty),
            Err(_) => json,
        },
    }
}
