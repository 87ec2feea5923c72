//! IPAddress: who holds an address of a Service network. Its name is the address.

use super::GROUP;
use crate::{
    at::At,
    declare::declare,
    rules::{IMMUTABLE, same},
};
use base::{FieldErrors, names, status::qualified};
use schema::{Column, Context, Hooks, Kind, NameRule};
use value::Value;

pub fn kind() -> Kind {
    declare(GROUP, "IPAddress")
        .plural("ipaddresses")
        .short(["ip"])
        .cluster()
        .version("v1", "io.k8s.api.networking.v1.IPAddress", columns())
        .names(NameRule::PathSegment)
        .hooks(IPAddress)
        .build()
}

fn columns() -> Vec<Column> {
    vec![Column::object_name(), Column::text("ParentRef", |obj, _| parent(obj.at(&["spec", "parentRef"])).into())]
}

/// `services/shop/web`
fn parent(parent: &Value) -> String {
    if parent.is_null() {
        return "<none>".into();
    }
    let resource = qualified(parent.str_at(&["group"]), parent.str_at(&["resource"])).to_lowercase();
    let parts = [resource.as_str(), parent.str_at(&["namespace"]), parent.str_at(&["name"])];
    parts
        .into_iter()
        .enumerate()
        .filter(|(i, part)| *i != 1 || !part.is_empty())
        .map(|(_, p)| p)
        .collect::<Vec<_>>()
        .join("/")
}

#[derive(Debug)]
struct IPAddress;

impl Hooks for IPAddress {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        root.get("metadata").get("name").canonical_ip(errors);
        let spec = root.get("spec");
        let parent = spec.get("parentRef");
        if !parent.is_set() {
            parent.required(errors, "");
        } else {
            if !parent.get("group").is_empty() {
                parent.get("group").dns_subdomain(errors);
            }
            for field in ["resource", "name"] {
                if parent.get(field).need(errors) {
                    parent.get(field).shape(errors, names::path_segment(parent.get(field).str()));
                }
            }
            parent.get("namespace").shape(errors, names::path_segment(parent.get("namespace").str()));
        }
        if let Some(old) = old
            && !same(old.at(&["spec", "parentRef"]), parent.value)
        {
            parent.invalid(errors, IMMUTABLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        let of = |name: &str, parent: Value| value!({"metadata": {"name": name}, "spec": {"parentRef": parent}});
        let parent = || value!({"resource": "services", "namespace": "shop", "name": "web"});
        create(&kind(), of("10.96.0.7", parent()), expect![""]);
        create(
            &kind(),
            of("FD00::0", value!({"group": "A", "namespace": "a/b"})),
            expect![[r#"
                metadata.name: Invalid value: "FD00::0": must be in canonical form ("fd00::")
                spec.parentRef.group: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                spec.parentRef.resource: Required value
                spec.parentRef.name: Required value
                spec.parentRef.namespace: Invalid value: "a/b": may not contain '/'"#]],
        );
        create(
            &kind(),
            value!({"metadata": {"name": "10.0.0.1"}, "spec": {}}),
            expect!["spec.parentRef: Required value"],
        );
        update(
            &kind(),
            of("10.96.0.7", parent()),
            of("10.96.0.7", value!({"resource": "services", "namespace": "shop", "name": "api"})),
            expect![[
                r#"spec.parentRef: Invalid value: {"name":"api","namespace":"shop","resource":"services"}: field is immutable"#
            ]],
        );
    }

    #[test]
    fn columns() {
        let of = |parent: Value| value!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": parent}});
        cells(
            &kind(),
            of(value!({"resource": "services", "namespace": "a", "name": "b"})),
            expect!["10.0.0.1 | services/a/b"],
        );
        cells(
            &kind(),
            of(value!({"group": "X.io", "resource": "nets", "name": "b"})),
            expect!["10.0.0.1 | nets.x.io/b"],
        );
    }
}
