//! `authorization.k8s.io`: questions about rights. The server answers; nothing is stored.

use crate::declare::declare;
use schema::{Column, Kind};

/// All kinds of the group.
pub fn kinds() -> Vec<Kind> {
    let cluster = ["SubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview"];
    let mut kinds = cluster.map(|kind| review(kind).cluster().build()).to_vec();
    kinds.push(review("LocalSubjectAccessReview").build());
    kinds
}

fn review(kind: &str) -> crate::declare::Declaration {
    let ty = format!("io.k8s.api.authorization.v1.{kind}");
    declare("authorization.k8s.io", kind).version("v1", &ty, vec![Column::object_name()]).create_only()
}
