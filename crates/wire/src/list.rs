//! Lists, events and metadata-only objects, put together from bytes.

use base::{Revision, Status, status::quote};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, sync::Arc};
use value::{Object, Value};

/// Something that answers are made of: a committed object, or a value made for this answer.
pub trait Source {
    /// Its complete JSON.
    fn json(&self) -> Cow<'_, [u8]>;
    /// Its tree.
    fn tree(&self) -> Cow<'_, Value>;
}

impl Source for Object {
    fn json(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(Object::json(self))
    }
    fn tree(&self) -> Cow<'_, Value> {
        Cow::Owned(self.value())
    }
}
impl Source for Value {
    fn json(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.to_json())
    }
    fn tree(&self) -> Cow<'_, Value> {
        Cow::Borrowed(self)
    }
}
impl<T: Source + ?Sized> Source for Arc<T> {
    fn json(&self) -> Cow<'_, [u8]> {
        T::json(self)
    }
    fn tree(&self) -> Cow<'_, Value> {
        T::tree(self)
    }
}

/// `metadata` of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListMeta {
    pub revision: Revision,
    pub continue_token: Option<String>,
    pub remaining: Option<u64>,
}

impl ListMeta {
    pub fn at(revision: Revision) -> Self {
        ListMeta { revision, ..ListMeta::default() }
    }
    /// `{"resourceVersion":"7"}` with what else there is.
    pub(crate) fn json(&self) -> String {
        let mut out = format!("{{\"resourceVersion\":\"{}\"", self.revision);
        if let Some(token) = self.continue_token.as_deref().filter(|t| !t.is_empty()) {
            out.push_str(&format!(",\"continue\":{}", quote(token)));
        }
        if let Some(remaining) = self.remaining {
            out.push_str(&format!(",\"remainingItemCount\":{remaining}"));
        }
        out.push('}');
        out
    }
}

/// A list object: the items' own bytes between a head and a tail.
pub fn list_json<S: Source>(api_version: &str, list_kind: &str, meta: &ListMeta, items: &[S]) -> Bytes {
    let head =
        format!("{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{},\"items\":[", meta.json());
    join(head, items.iter().map(Source::json))
}

/// PartialObjectMetadata of one object. `api_version` is `meta.k8s.io/v1`.
pub fn partial_metadata<S: Source>(api_version: &str, object: &S) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    write_partial(&mut out, api_version, &object.json());
    out.into()
}

/// PartialObjectMetadataList.
pub fn partial_metadata_list<S: Source>(api_version: &str, meta: &ListMeta, items: &[S]) -> Bytes {
    let head = format!(
        "{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"{api_version}\",\"metadata\":{},\"items\":[",
        meta.json()
    );
    join(head, items.iter().map(|item| Cow::Owned(partial_metadata(api_version, item).to_vec())))
}

/// One line of a watch: `{"type":"ADDED","object":…}`. `event` is the type's name.
pub fn event_frame(event: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 32);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}

/// The object of a BOOKMARK event. `ends_initial_list` marks the one that ends a streamed list (KEP-3157).
pub fn bookmark(api_version: &str, kind: &str, revision: Revision, ends_initial_list: bool) -> Bytes {
    let annotation = match ends_initial_list {
        true => ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}",
        false => "",
    };
    let meta = format!("{{\"resourceVersion\":\"{revision}\",\"creationTimestamp\":null{annotation}}}");
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{meta}}}").into()
}

/// A Status as JSON bytes.
pub fn status_bytes(status: &Status) -> Bytes {
    status.to_json().to_string().into()
}

fn join<'a>(head: String, items: impl Iterator<Item = Cow<'a, [u8]>> + Clone) -> Bytes {
    let size: usize = match items.size_hint() {
        (n, Some(_)) if n > 0 => items.clone().take(8).map(|item| item.len() + 1).sum::<usize>() * n.div_ceil(8),
        _ => 0,
    };
    let mut out = Vec::with_capacity(head.len() + size + 2);
    out.extend_from_slice(head.as_bytes());
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&item);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

/// Appends PartialObjectMetadata made of an object's JSON, whose metadata is taken as bytes.
pub(crate) fn write_partial(out: &mut Vec<u8>, api_version: &str, json: &[u8]) {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        metadata: Option<&'a RawValue>,
    }
    let metadata = serde_json::from_slice::<Head>(json).ok().and_then(|head| head.metadata).map_or("{}", RawValue::get);
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"");
    out.extend_from_slice(api_version.as_bytes());
    out.extend_from_slice(b"\",\"metadata\":");
    out.extend_from_slice(metadata.as_bytes());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn items() -> Vec<Value> {
        ["a", "b"]
            .map(|name| value!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {}}))
            .to_vec()
    }

    #[test]
    fn lists() {
        let meta = ListMeta { revision: Revision(7), continue_token: Some("t\"".into()), remaining: Some(3) };
        let text = list_json("v1", "ConfigMapList", &meta, &items());
        let value = value::parse_lenient(&text).unwrap();
        assert_eq!(
            value.at(&["metadata"]).to_string(),
            r#"{"continue":"t\"","remainingItemCount":3,"resourceVersion":"7"}"#
        );
        assert_eq!((value.str_at(&["kind"]), value.items_at(&["items"]).len()), ("ConfigMapList", 2));
        let empty = list_json::<Value>("v1", "PodList", &ListMeta::at(Revision(1)), &[]);
        assert_eq!(
            &empty[..],
            br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}"#
        );
    }

    #[test]
    fn metadata_only() {
        let list = partial_metadata_list("meta.k8s.io/v1", &ListMeta::at(Revision(1)), &items());
        let value = value::parse_lenient(&list).unwrap();
        assert_eq!(
            value.items_at(&["items"])[1].to_string(),
            r#"{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"b"}}"#
        );
    }

    #[test]
    fn events() {
        assert_eq!(&event_frame("ADDED", b"{}")[..], b"{\"type\":\"ADDED\",\"object\":{}}\n");
        let end = bookmark("v1", "Pod", Revision(5), true);
        let value = value::parse_lenient(&end).unwrap();
        assert_eq!(value.str_at(&["metadata", "annotations", "k8s.io/initial-events-end"]), "true");
    }
}
