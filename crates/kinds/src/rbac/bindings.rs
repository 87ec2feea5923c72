//! What both bindings are: a role and the subjects that have it. The role never changes.

use super::GROUP;
use crate::{at::At, rules::same};
use base::{FieldErrors, names};
use schema::Column;
use value::Value;

/// The columns of both.
pub fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Role", |obj, _| {
            format!("{}/{}", obj.str_at(&["roleRef", "kind"]), obj.str_at(&["roleRef", "name"])).into()
        }),
        Column::age(),
        Column::text("Users", |obj, _| subjects(obj, "User").into()).wide(),
        Column::text("Groups", |obj, _| subjects(obj, "Group").into()).wide(),
        Column::text("ServiceAccounts", |obj, _| subjects(obj, "ServiceAccount").into()).wide(),
    ]
}

fn subjects(obj: &Value, kind: &str) -> String {
    let name = |s: &Value| match s.str_at(&["namespace"]) {
        "" => s.str_at(&["name"]).to_string(),
        namespace => format!("{namespace}/{}", s.str_at(&["name"])),
    };
    let subjects = obj.items_at(&["subjects"]).iter().filter(|s| s.str_at(&["kind"]) == kind);
    subjects.map(name).collect::<Vec<_>>().join(", ")
}

/// The rules of both; `roles` are the kinds of role that the binding may give.
pub fn validate(obj: &Value, old: Option<&Value>, roles: &[&str], errors: &mut FieldErrors) {
    let root = At::root(obj);
    let role = root.get("roleRef");
    role.get("apiGroup").must_be(errors, GROUP);
    let kind = role.get("kind");
    if !roles.contains(&kind.str()) {
        kind.unsupported(errors, roles);
    }
    let name = role.get("name");
    if name.need(errors) {
        name.shape(errors, names::path_segment(name.str()));
    }
    for subject in root.get("subjects").items() {
        self::subject(subject, roles.contains(&"Role"), errors);
    }
    if old.is_some_and(|old| !same(role.value, old.at(&["roleRef"]))) {
        role.invalid(errors, "cannot change roleRef");
    }
}

fn subject(subject: At, namespaced: bool, errors: &mut FieldErrors) {
    let (kind, name, group) = (subject.get("kind"), subject.get("name"), subject.get("apiGroup"));
    name.need(errors);
    match kind.str() {
        "ServiceAccount" => {
            if !name.is_empty() {
                name.dns_subdomain(errors);
            }
            if !group.is_empty() {
                group.unsupported(errors, &[""]);
            }
            if !namespaced && subject.get("namespace").is_empty() {
                subject.get("namespace").required(errors, "");
            }
        }
        "User" | "Group" => group.must_be(errors, GROUP),
        _ => kind.unsupported(errors, &["ServiceAccount", "User", "Group"]),
    }
}

impl At<'_> {
    /// The one supported value; the empty one is as wrong as any other.
    fn must_be(&self, errors: &mut FieldErrors, supported: &str) {
        if self.str() != supported {
            self.unsupported(errors, &[supported]);
        }
    }
}
