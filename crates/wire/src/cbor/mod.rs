//! CBOR (RFC 8949) as the Kubernetes API restricts it (KEP-4222): a tree out ([`encode`]), a tree in ([`decode`]).
//!
//! What is written is the core deterministic encoding behind tag 55799, which marks it as CBOR: shortest heads, shortest
//! floats, keys sorted by their bytes, no indefinite lengths. Strings and keys are byte strings, as upstream writes them
//! (a reader needs not check them). What is read may be more: any tag, indefinite lengths, text strings; but nothing that
//! JSON cannot say, and no key twice. Bytes (`data` of a Secret) stay the base64 text that the tree holds; a byte string
//! that a tag (21 to 23) marks for later encoding becomes that text. Decided against: a crate, because every one of these
//! rules would be a check around it. Source: `apimachinery/pkg/runtime/serializer/cbor`.
//!
//! Two limits are ours: nesting ends at 128 levels, as in JSON, and a byte string must be UTF-8, as every string here is.

mod read;
mod write;

pub use read::{decode, decode_first};
pub use write::encode;

use bytes::Bytes;
use std::fmt;
use value::Value;

/// The content type of objects and lists.
pub const MEDIA_TYPE: &str = "application/cbor";
/// The content type of a watch: a sequence of items (RFC 8742).
pub const STREAM_TYPE: &str = "application/cbor-seq";
/// The content type of a configuration that is applied.
pub const APPLY_TYPE: &str = "application/apply-patch+cbor";

/// The head of tag 55799.
const SELF_DESCRIBED: [u8; 3] = [0xd9, 0xd9, 0xf7];

/// Arrays, maps and tags in each other: as deep as JSON may be.
pub const DEEPEST: usize = 128;

/// The bytes are no CBOR that the API takes; the text says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Malformed {}

/// One item of a watch: a WatchEvent around an object that is encoded already.
pub fn event_frame(event: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 32);
    out.extend_from_slice(&SELF_DESCRIBED);
    write::head(&mut out, write::MAP, 2);
    write::string(&mut out, "type");
    write::string(&mut out, event);
    write::string(&mut out, "object");
    out.extend_from_slice(object);
    out.into()
}

/// True for bytes that begin as what we write does.
pub fn is_self_described(bytes: &[u8]) -> bool {
    bytes.starts_with(&SELF_DESCRIBED)
}

/// JSON that exists already, in CBOR.
pub fn from_json(json: &[u8]) -> Bytes {
    encode(&value::parse_lenient(json).unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests;
