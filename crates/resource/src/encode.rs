//! The bytes of a committed object.
//!
//! `apiVersion`, `kind` and `metadata` come first, so that `resourceVersion` has a known place: stored bytes do not carry
//! it (a store assigns it), and publishing splices it in without parsing.

use base::Revision;
use bytes::Bytes;
use value::{Str, Value};

const METADATA: &[u8] = b"\"metadata\":{";

/// Room for what most objects take, so that the bytes are moved once at most while they are written.
const USUAL: usize = 8 << 10;

/// The JSON that the store keeps: complete but for `metadata.resourceVersion`.
pub fn stored(object: &Value) -> Bytes {
    let mut out = Vec::with_capacity(USUAL);
    let Some(map) = object.as_object() else { return Bytes::from_static(b"{}") };
    out.push(b'{');
    for key in ["apiVersion", "kind"] {
        member(&mut out, key, map.get(key).unwrap_or(&Value::Null));
        out.push(b',');
    }
    out.extend_from_slice(METADATA);
    let mut first = true;
    for (key, item) in object.members_at(&["metadata"]).filter(|(key, _)| *key != "resourceVersion") {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        member(&mut out, key, item);
    }
    out.push(b'}');
    for (key, item) in map.iter().filter(|(key, _)| !matches!(*key, "apiVersion" | "kind" | "metadata")) {
        out.push(b',');
        member(&mut out, key, item);
    }
    out.push(b'}');
    out.into()
}

/// Whether bytes are as [`stored`] makes them: their members in its order, nothing around them.
pub fn is_stored(json: &[u8]) -> bool {
    let name = |json: &'_ [u8]| json.iter().position(|b| *b == b'"' || *b == b'\\').filter(|at| json[*at] == b'"');
    let text = |json: &[u8], key: &[u8]| Some(key.len() + name(json.strip_prefix(key)?)? + 1);
    let Some(kind) = text(json, b"{\"apiVersion\":\"") else { return false };
    let Some(metadata) = text(&json[kind..], b",\"kind\":\"").map(|length| kind + length) else { return false };
    json[metadata..].strip_prefix(b",").is_some_and(|rest| rest.starts_with(METADATA)) && json.ends_with(b"}")
}

/// The complete JSON, with its revision, from stored bytes.
pub fn with_revision(stored: &[u8], revision: Revision) -> Bytes {
    splice(stored, revision, false)
}

/// The JSON of an object that is gone, with the revision of its deletion in place of its own.
pub fn replace_revision(complete: &[u8], revision: Revision) -> Bytes {
    splice(complete, revision, true)
}

/// `apiVersion` of encoded bytes, as written by [`stored`].
pub fn api_version(json: &[u8]) -> &str {
    let text = json.strip_prefix(b"{\"apiVersion\":\"").unwrap_or_default();
    let end = text.iter().position(|b| *b == b'"').unwrap_or(0);
    std::str::from_utf8(&text[..end]).unwrap_or_default()
}

/// Encodes a complete object (with `resourceVersion`) from a tree.
pub fn complete(object: &Value, revision: Revision) -> Bytes {
    with_revision(&stored(object), revision)
}

fn splice(json: &[u8], revision: Revision, replace: bool) -> Bytes {
    let Some(at) = json.windows(METADATA.len()).position(|w| w == METADATA).map(|i| i + METADATA.len()) else {
        return Bytes::copy_from_slice(json);
    };
    let (head, mut tail) = json.split_at(at);
    if replace && let Some(rest) = tail.strip_prefix(b"\"resourceVersion\":\"") {
        let end = rest.iter().position(|b| *b == b'"').map_or(0, |i| i + 1);
        tail = rest[end..].strip_prefix(b",").unwrap_or(&rest[end..]);
    }
    let mut out = Vec::with_capacity(json.len() + 44);
    out.extend_from_slice(head);
    out.extend_from_slice(format!("\"resourceVersion\":\"{revision}\"").as_bytes());
    if tail.first() != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(tail);
    out.into()
}

fn member(out: &mut Vec<u8>, key: &str, item: &Value) {
    Value::from(Str::from(key)).write_json(out);
    out.push(b':');
    item.write_json(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn what_others_stored_is_told_from_ours() {
        for (json, ours) in [
            (r#"{"apiVersion":"v1","kind":"K","metadata":{"name":"x"},"data":{}}"#, true),
            (r#"{"apiVersion":"v1","kind":"K","metadata":{}}"#, true),
            ("{\"apiVersion\":\"v1\",\"kind\":\"K\",\"metadata\":{}}\n", false),
            (r#"{"apiVersion":"v1","data":{"metadata":{}},"kind":"K","metadata":{}}"#, false),
            (r#"{"kind":"K","apiVersion":"v1","metadata":{}}"#, false),
            (r#"{ "apiVersion":"v1","kind":"K","metadata":{}}"#, false),
            (r#"{"apiVersion":"v1"}"#, false),
            ("k8s\0", false),
            ("", false),
        ] {
            assert_eq!(is_stored(json.as_bytes()), ours, "{json}");
        }
    }

    #[test]
    fn revisions_are_spliced_in() {
        let v = value!({"kind": "K", "apiVersion": "v1", "data": {"a": "1"}, "metadata": {"name": "x", "resourceVersion": "9"}});
        let bytes = stored(&v);
        assert_eq!(&*bytes, br#"{"apiVersion":"v1","kind":"K","metadata":{"name":"x"},"data":{"a":"1"}}"#);
        assert_eq!(api_version(&bytes), "v1");
        let seven = with_revision(&bytes, Revision(7));
        assert_eq!(
            &*seven,
            br#"{"apiVersion":"v1","kind":"K","metadata":{"resourceVersion":"7","name":"x"},"data":{"a":"1"}}"#
        );
        let gone = replace_revision(&seven, Revision(12));
        assert_eq!(value::parse_lenient(&gone).unwrap().str_at(&["metadata", "resourceVersion"]), "12");
        let bare = with_revision(&stored(&value!({"kind": "K", "apiVersion": "v1", "metadata": {}})), Revision(3));
        assert_eq!(&*bare, br#"{"apiVersion":"v1","kind":"K","metadata":{"resourceVersion":"3"}}"#);
    }
}
