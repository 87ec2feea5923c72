//! Index functions that several controllers want, for [`crate::Cache::index`].

use serde::Deserialize;
use std::sync::Arc;
use value::{Object, Str};

/// Name of the index by [`owner_uids`].
pub const OWNER: &str = "owner";
/// Name of the index by [`controller_uid`].
pub const CONTROLLER: &str = "controller";
/// Name of the index by [`node_name`].
pub const NODE: &str = "node";
/// Name of the index by uid.
pub const UID: &str = "uid";

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    pub api_version: Str,
    pub kind: Str,
    pub name: Str,
    pub uid: Str,
    #[serde(default)]
    pub controller: bool,
    #[serde(default)]
    pub block_owner_deletion: bool,
}

/// The owners of an object, read without decoding the rest.
pub fn owners(object: &Object) -> Vec<OwnerReference> {
    #[derive(Deserialize)]
    struct Outer {
        metadata: Inner,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Inner {
        #[serde(default)]
        owner_references: Vec<OwnerReference>,
    }
    // Most objects have none, and looking for the word costs a tenth of reading the object.
    match std::str::from_utf8(object.json()) {
        Ok(text) if text.contains("\"ownerReferences\"") => {
            object.decode::<Outer>().map(|o| o.metadata.owner_references).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// The owner that controls the object.
pub fn controller(object: &Object) -> Option<OwnerReference> {
    owners(object).into_iter().find(|owner| owner.controller)
}

/// The uids of all owners.
pub fn owner_uids(object: &Arc<Object>) -> Vec<Str> {
    owners(object).into_iter().map(|owner| owner.uid).collect()
}

/// The uid of the controlling owner.
pub fn controller_uid(object: &Arc<Object>) -> Vec<Str> {
    controller(object).into_iter().map(|owner| owner.uid).collect()
}

/// The object's own uid.
pub fn uid(object: &Arc<Object>) -> Vec<Str> {
    vec![object.meta.uid.clone()]
}

/// `spec.nodeName` of a pod.
pub fn node_name(object: &Arc<Object>) -> Vec<Str> {
    #[derive(Deserialize)]
    struct Outer {
        spec: Inner,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Inner {
        #[serde(default)]
        node_name: Str,
    }
    // What is news has its tree at hand.
    let name = match object.kept_tree() {
        Some(tree) => tree.str_at(&["spec", "nodeName"]).into(),
        None => object.decode::<Outer>().map(|o| o.spec.node_name).unwrap_or_default(),
    };
    if name.is_empty() { Vec::new() } else { vec![name] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn owners_and_nodes() {
        let json = br#"{"metadata":{"name":"p","ownerReferences":[
            {"apiVersion":"v1","kind":"A","name":"a","uid":"1"},
            {"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"2","controller":true}]},
            "spec":{"nodeName":"n1","containers":[]}}"#;
        let object = Object::from_json(Bytes::from_static(json)).unwrap();
        assert_eq!(owner_uids(&object), ["1", "2"]);
        assert_eq!(controller_uid(&object), ["2"]);
        assert_eq!(node_name(&object), ["n1"]);
        let bare = Object::from_json(Bytes::from_static(br#"{"metadata":{"name":"p"},"spec":{}}"#)).unwrap();
        assert!(owner_uids(&bare).is_empty() && node_name(&bare).is_empty());
    }
}
