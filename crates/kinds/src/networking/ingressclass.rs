//! IngressClass: who implements the Ingresses that name it.

use super::GROUP;
use crate::{
    at::At,
    declare::declare,
    rules::{IMMUTABLE, same},
};
use base::{FieldErrors, names};
use schema::{Column, Context, Hooks, Kind};
use value::Value;

const MAX_CONTROLLER: usize = 250;
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

pub fn kind() -> Kind {
    declare(GROUP, "IngressClass")
        .plural("ingressclasses")
        .cluster()
        .version("v1", "io.k8s.api.networking.v1.IngressClass", columns())
        .generation()
        .hooks(IngressClass)
        .build()
}

fn columns() -> Vec<Column> {
    let mut name = Column::text("Name", |class, _| {
        let default = class.str_at(&["metadata", "annotations", DEFAULT]) == "true";
        format!("{}{}", class.name(), if default { " (default)" } else { "" }).into()
    });
    name.format = "name".into();
    vec![
        name,
        Column::text("Controller", |class, _| class.str_at(&["spec", "controller"]).into()),
        Column::text("Parameters", |class, _| {
            let parameters = class.at(&["spec", "parameters"]);
            if parameters.is_null() {
                return "<none>".into();
            }
            let group = parameters.at(&["apiGroup"]).as_str().map(|group| format!(".{group}")).unwrap_or_default();
            format!("{}{group}/{}", parameters.str_at(&["kind"]), parameters.str_at(&["name"])).into()
        }),
        Column::age(),
    ]
}

#[derive(Debug)]
struct IngressClass;

impl Hooks for IngressClass {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        let controller = spec.get("controller");
        if let Some(old) = old
            && !same(old.at(&["spec", "controller"]), controller.value)
        {
            controller.invalid(errors, IMMUTABLE);
        }
        if controller.str().len() > MAX_CONTROLLER {
            errors.too_long(controller.path, MAX_CONTROLLER);
        }
        controller.domain_prefixed_path(errors);
        parameters(spec.get("parameters"), errors);
    }
}

fn parameters(parameters: At, errors: &mut FieldErrors) {
    if !parameters.is_set() {
        return;
    }
    parameters.object_reference(errors);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.str() {
        "" => scope.required(errors, ""),
        "Namespace" if !namespace.is_set() => {
            namespace.required(errors, "`parameters.scope` is set to 'Namespace'");
        }
        "Namespace" => namespace.shape(errors, names::label(namespace.str())),
        "Cluster" if namespace.is_set() => namespace.forbidden(errors, "`parameters.scope` is set to 'Cluster'"),
        "Cluster" => {}
        _ => scope.unsupported(errors, &["Cluster", "Namespace"]),
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
        for (spec, want) in [
            (value!({"controller": "example.com/c"}), expect![""]),
            (value!({}), expect!["spec.controller: Required value"]),
            (
                value!({"controller": "x"}),
                expect![[
                    r#"spec.controller: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")"#
                ]],
            ),
            (
                value!({"controller": "a.b/c d", "parameters": {"kind": "", "name": "a/b", "scope": "Namespace"}}),
                expect![[r#"
                    spec.controller: Invalid value: "c d": Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')
                    spec.parameters.kind: Required value
                    spec.parameters.name: Invalid value: "a/b": may not contain '/'
                    spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"#]],
            ),
            (
                value!({"controller": "a.b/c", "parameters": {"kind": "K", "name": "n", "namespace": "x"}}),
                expect!["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
            ),
        ] {
            create(&kind(), value!({"spec": spec}), want);
        }
        update(
            &kind(),
            value!({"spec": {"controller": "a.b/c"}}),
            value!({"spec": {"controller": "a.b/d"}}),
            expect![[r#"spec.controller: Invalid value: "a.b/d": field is immutable"#]],
        );
    }

    #[test]
    fn columns() {
        cells(
            &kind(),
            value!({"metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
                "spec": {"controller": "a.b/c", "parameters": {"apiGroup": "g.io", "kind": "K", "name": "n"}}}),
            expect!["obj (default) | a.b/c | K.g.io/n | 5m"],
        );
        cells(&kind(), value!({"spec": {"controller": "a.b/c"}}), expect!["obj | a.b/c | <none> | 5m"]);
    }
}
