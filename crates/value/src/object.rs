//! One committed object, shared by everything that reads it.

use crate::{Str, SyntaxError, Value, parse_lenient};
use base::Revision;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

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
    tree: Mutex<Kept>,
}

/// Whether the tree is kept for the next reader.
#[derive(Debug, Default)]
enum Kept {
    #[default]
    No,
    /// Once somebody has made it.
    Wanted,
    Tree(Arc<Value>),
}

impl Object {
    /// `json` must be the complete object of that key and revision.
    pub fn new(key: ObjectKey, revision: Revision, meta: Meta, json: Bytes) -> Arc<Self> {
        Arc::new(Object { key, revision, meta, json, protobuf: OnceLock::new(), tree: Mutex::default() })
    }
    /// The same of an object that is news, with its tree at hand ([`Object::keep_tree`]); `tree` must be what `json` says.
    pub fn with_tree(key: ObjectKey, revision: Revision, meta: Meta, json: Bytes, tree: Value) -> Arc<Self> {
        let tree = Mutex::new(Kept::Tree(Arc::new(tree)));
        Arc::new(Object { key, revision, meta, json, protobuf: OnceLock::new(), tree })
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
    /// The tree, shared by all who read the object while it is news: a change is looked at by half a dozen controllers at
    /// about the same time. Trees are three times the bytes, so nobody keeps them for long.
    pub fn tree(&self) -> Arc<Value> {
        let mut kept = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        if let Kept::Tree(tree) = &*kept {
            return tree.clone();
        }
        let tree = Arc::new(self.parsed());
        if matches!(*kept, Kept::Wanted) {
            *kept = Kept::Tree(tree.clone());
        }
        tree
    }
    /// The tree where one is at hand; nothing is parsed.
    pub fn kept_tree(&self) -> Option<Arc<Value>> {
        match &*self.tree.lock().unwrap_or_else(PoisonError::into_inner) {
            Kept::Tree(tree) => Some(tree.clone()),
            _ => None,
        }
    }
    /// The object is news: its tree is kept once made, until [`Object::forget_tree`].
    pub fn keep_tree(&self) {
        let mut kept = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*kept, Kept::No) {
            *kept = Kept::Wanted;
        }
    }
    pub fn forget_tree(&self) {
        *self.tree.lock().unwrap_or_else(PoisonError::into_inner) = Kept::No;
    }
    /// A tree of one's own, for one who wants to change it.
    pub fn value(&self) -> Value {
        match self.kept_tree() {
            Some(tree) => (*tree).clone(),
            None => self.parsed(),
        }
    }
    fn parsed(&self) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_shared_while_the_object_is_news() {
        let object = Object::new(ObjectKey::cluster("a"), Revision(1), Meta::default(), r#"{"kind":"K"}"#.into());
        let shared = || Arc::ptr_eq(&object.tree(), &object.tree());
        assert_eq!(object.tree().str_at(&["kind"]), "K");
        assert!(!shared());
        object.keep_tree();
        assert!(shared());
        object.forget_tree();
        assert!(!shared());
    }
}
