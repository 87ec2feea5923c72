//! `authentication.k8s.io`: questions about identities. The server answers; nothing is stored.

use crate::declare::declare;
use schema::{Column, Kind};

/// All kinds of the group.
pub fn kinds() -> Vec<Kind> {
    ["TokenReview", "SelfSubjectReview"].map(review).to_vec()
}

fn review(kind: &str) -> Kind {
    let ty = format!("io.k8s.api.authentication.v1.{kind}");
    declare("authentication.k8s.io", kind)
        .cluster()
        .version("v1", &ty, vec![Column::object_name()])
        .create_only()
        .build()
}
