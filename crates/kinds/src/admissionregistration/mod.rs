//! `admissionregistration.k8s.io`: who else has a say in what is written. Webhooks ask another server, policies are
//! expressions; each comes to change objects and to refuse them.
//!
//! The two webhook kinds differ in one field, and the bindings of both policies in two, so what they share stands in
//! [`webhooks`], [`matching`] and [`binding`].

mod binding;
mod matching;
mod mutatingadmissionpolicy;
mod mutatingadmissionpolicybinding;
mod mutatingwebhookconfiguration;
mod policy;
mod validatingadmissionpolicy;
mod validatingadmissionpolicybinding;
mod validatingwebhookconfiguration;
mod webhooks;

use crate::declare::{Declaration, declare};
use value::Value;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![
        mutatingadmissionpolicy::kind(),
        mutatingadmissionpolicybinding::kind(),
        mutatingwebhookconfiguration::kind(),
        validatingadmissionpolicy::kind(),
        validatingadmissionpolicybinding::kind(),
        validatingwebhookconfiguration::kind(),
    ]
}

/// What all kinds of the group have in common.
fn registration(kind: &str) -> Declaration {
    declare("admissionregistration.k8s.io", kind)
        .cluster()
        .categories(["api-extensions"])
        .generation()
        .conditional_update()
}

/// Names that a future version keeps for itself. Source: KEP-5793.
fn reserved_name(obj: &Value) -> Vec<String> {
    const SUFFIX: &str = ".static.k8s.io";
    if !obj.name().ends_with(SUFFIX) {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: names ending with \"{SUFFIX}\" are reserved for static manifest-based configurations and \
         cannot be managed via the API"
    )]
}
