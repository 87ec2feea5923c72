//! One committed object, shared by everything that reads it.

use crate::{Str, SyntaxError, Value, parse_lenient};
use base::Revision;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::sync::{Arc, OnceLock};

/// Namespace and name; the namespace of a cluster-scoped object is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub namespace: Str,
    pub name: Str,
}

impl ObjectKey {
    pub fn new(namespace: impl Into<Str>, name: impl Into<Str>) -> Self {
        ObjectKey { namespace: namespace.into(), name: name.into() }
    }
    /// A key of a cluster-scoped object.
    pub fn cluster(name: impl Into<Str>) -> Self {
        ObjectKey::new("", name)
    }
}

impl std::fmt::Display for ObjectKey {
    /// `namespace/name`, or `name`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// What selection, garbage collection and caches ask of every object, kept beside the bytes so that nothing is parsed
/// for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Meta {
    pub uid: Str,
    /// Sorted by key.
    pub labels: Box<[(Str, Str)]>,
    /// The values of the kind's selectable fields, in the kind's order (`metadata.name` and `metadata.namespace` are
    /// not repeated here). Empty where the object was read over a socket.
    pub fields: Box<[Str]>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
}

impl Meta {
    /// Reads uid, labels and deletion from an object's tree.
    pub fn of(value: &Value, fields: Box<[Str]>) -> Self {
        let labels = value
            .members_at(&["metadata", "labels"])
            .map(|(k, v)| (k.into(), v.as_str().unwrap_or("").into()))
            .collect();
        Meta {
            uid: value.str_at(&["metadata", "uid"]).into(),
            labels,
            fields,
            deleting: !value.at(&["metadata", "deletionTimestamp"]).is_null(),
        }
    }
    /// The value of one label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let i = self.labels.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok()?;
        Some(&self.labels[i].1)
    }
}

/// A committed object: it never changes, and every reader (get, list, watch, caches in the same process) holds the same
/// one. The JSON is complete, with its `resourceVersion`, and is made once.
#[derive(Debug)]
pub struct Object {
    pub key: ObjectKey,
    pub revision: Revision,
    pub meta: Meta,
    json: Bytes,
    /// The protobuf encoding, made on first use.
    protobuf: OnceLock<Bytes>,
}

impl Object {
    /// `json` must be the complete object of that key and revision.
    pub fn new(key: ObjectKey, revision: Revision, meta: Meta, json: Bytes) -> Arc<Self> {
        Arc::new(Object { key, revision, meta, json, protobuf: OnceLock::new() })
    }
    /// An object as a client received it: everything is read from its own metadata.
    pub fn from_json(json: Bytes) -> Result<Arc<Self>, SyntaxError> {
        let value = parse_lenient(&json)?;
        let key = ObjectKey::new(value.namespace(), value.name());
        let revision = value.str_at(&["metadata", "resourceVersion"]).parse().unwrap_or(Revision::ZERO);
        Ok(Object::new(key, revision, Meta::of(&value, Box::default()), json))
    }
    /// The complete object in its storage version.
    pub fn json(&self) -> &Bytes {
        &self.json
    }
    /// The protobuf encoding; `make` runs at most once for all readers.
    pub fn protobuf(&self, make: impl FnOnce(&Object) -> Bytes) -> &Bytes {
        self.protobuf.get_or_init(|| make(self))
    }
    /// Parses the tree anew (trees are not kept: they are three times the bytes).
    pub fn value(&self) -> Value {
        // The bytes were written from a tree by this code, or parsed once already.
        parse_lenient(&self.json).unwrap_or_default()
    }
    /// Decodes a typed struct.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.json)
    }
    /// `metadata.namespace`
    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }
    /// `metadata.name`
    pub fn name(&self) -> &str {
        &self.key.name
    }
}
