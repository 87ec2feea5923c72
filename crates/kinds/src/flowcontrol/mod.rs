//! `flowcontrol.apiserver.k8s.io`: which requests wait for which others.

mod bootstrap;
mod flowschema;
mod prioritylevelconfiguration;

use crate::{
    at::At,
    declare::{Declaration, declare},
};
use base::FieldErrors;
use std::collections::BTreeSet;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![flowschema::kind(), prioritylevelconfiguration::kind()]
}

fn flow(kind: &str) -> Declaration {
    declare("flowcontrol.apiserver.k8s.io", kind).cluster().status().generation()
}

/// Conditions need a type, once each; nothing else is asked of them.
fn conditions(conditions: At, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for condition in conditions.items() {
        let ty = condition.get("type");
        if !seen.insert(condition.value.str_at(&["type"])) {
            ty.duplicate(errors);
        }
        ty.need(errors);
    }
}
