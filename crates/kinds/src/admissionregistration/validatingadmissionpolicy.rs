//! ValidatingAdmissionPolicy: expressions that what is written must satisfy.

use super::{matching::count, policy, registration, reserved_name};
use crate::{
    at::At,
    cel::{Names, Scope},
};
use base::{FieldErrors, names};
use schema::{Column, Context, Hooks, Kind};
use std::collections::BTreeSet;
use value::Value;

const MAX_ANNOTATIONS: usize = 20;
const MAX_ANNOTATION: usize = 5 * 1024;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];

pub fn kind() -> Kind {
    let validations = Column::number("Validations", |obj, _| count(obj, &["spec", "validations"]));
    registration("ValidatingAdmissionPolicy")
        .plural("validatingadmissionpolicies")
        .version("v1", "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy", policy::columns(validations))
        .status()
        .without_metadata()
        .hooks(ValidatingAdmissionPolicy)
        .build()
}

#[derive(Debug)]
struct ValidatingAdmissionPolicy;

impl Hooks for ValidatingAdmissionPolicy {
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            return status(root.get("status"), errors);
        }
        let spec = root.get("spec");
        let may = policy::head(spec, old, false, errors);
        let (validations, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
        if validations.is_empty() && annotations.is_empty() {
            let detail = "validations or auditAnnotations must contain at least one item";
            validations.required(errors, detail);
            annotations.required(errors, detail);
        }
        validations.items().for_each(|v| validation(v, &may, errors));
        if annotations.len() > MAX_ANNOTATIONS {
            annotations.invalid(errors, format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations"));
        }
        let mut keys = BTreeSet::new();
        for annotation in annotations.items() {
            audit_annotation(annotation, obj.name(), &may, errors);
            let key = annotation.get("key");
            if !keys.insert(annotation.value.str_at(&["key"])) {
                key.duplicate(errors);
            }
        }
    }
    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        reserved_name(obj)
    }
}

fn validation(validation: At, may: &Scope, errors: &mut FieldErrors) {
    const EMPTY: &str = "must be non-empty if specified";
    validation.get("expression").compiles(errors, "expression is not specified", may, &["bool"]);
    let (by_expression, message) = (validation.get("messageExpression"), validation.get("message"));
    if !by_expression.is_empty() {
        if by_expression.str().trim().is_empty() {
            by_expression.invalid(errors, EMPTY);
        } else {
            let plain = may.with(Names { authorizer: false, ..may.names });
            by_expression.compiles(errors, "", &plain, &["string"]);
        }
    }
    if !message.is_empty() && message.str().trim().is_empty() {
        message.invalid(errors, EMPTY);
    } else if message.str().trim().contains(['\n', '\r']) {
        message.invalid(errors, "must not contain line breaks");
    }
    validation.get("reason").one_of_if_set(errors, &REASONS);
}

fn audit_annotation(annotation: At, policy: &str, may: &Scope, errors: &mut FieldErrors) {
    let (key, expression) = (annotation.get("key"), annotation.get("valueExpression"));
    if policy.is_empty() {
        key.invalid(errors, "requires metadata.name be non-empty");
    } else {
        let full = format!("{policy}/{}", key.str());
        key.shape_as(errors, &full, names::qualified_name(&full));
    }
    if expression.str().trim().len() > MAX_ANNOTATION {
        expression.required(errors, format!("must not exceed {MAX_ANNOTATION} bytes in length"));
    } else {
        expression.compiles(errors, "valueExpression is not specified", may, &["string", "null_type"]);
    }
}

fn status(status: At, errors: &mut FieldErrors) {
    for warning in status.get("typeChecking").get("expressionWarnings").items() {
        warning.get("warning").need(errors);
        let field = warning.get("fieldRef");
        if field.str().trim().is_empty() {
            field.required(errors, "");
        }
    }
    status.get("conditions").conditions(errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update, update_of};
    use expect_test::expect;
    use value::value;

    fn policy() -> Value {
        value!({
            "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]},
            "validations": [{"expression": "object.spec.replicas <= 5"}],
        })
    }

    #[test]
    fn validation() {
        create(&kind(), value!({"spec": (policy())}), expect![""]);
        create(
            &kind(),
            value!({"spec": {}}),
            expect![[r#"
            spec.matchConstraints: Required value
            spec.validations: Required value: validations or auditAnnotations must contain at least one item
            spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item"#]],
        );
        let mut bad = policy();
        bad.set(&["failurePolicy"], "Maybe");
        bad.set(&["paramKind"], value!({"apiVersion": "A.b/V1", "kind": "my kind"}));
        bad.set(&["matchConditions"], value!([{"name": "a b"}]));
        bad.set(&["variables"], value!([{"name": "for", "expression": "1"}, {"name": "ok"}]));
        bad.set(&["validations"], value!([{"message": "a\nb", "messageExpression": " ", "reason": "Why"}]));
        bad.set(
            &["auditAnnotations"],
            value!([{"key": "a", "valueExpression": "x"}, {"key": "a"}, {"key": "b c", "valueExpression": "x"}]),
        );
        create(
            &kind(),
            value!({"spec": bad}),
            expect![[r#"
                spec.failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"
                spec.paramKind.apiVersion: Invalid value: "A.b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                spec.paramKind.apiVersion: Invalid value: "V1": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
                spec.paramKind.kind: Invalid value: "my kind": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
                spec.matchConditions[0].expression: Required value
                spec.matchConditions[0].name: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                spec.variables[0].name: Invalid value: "for": must be a valid CEL identifier
                spec.variables[1].expression: Required value: expression is not specified
                spec.validations[0].expression: Required value: expression is not specified
                spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified
                spec.validations[0].message: Invalid value: "a\nb": must not contain line breaks
                spec.validations[0].reason: Unsupported value: "Why": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"
                spec.auditAnnotations[0].valueExpression: Invalid value: "x": compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')
                 | x
                 | ^
                spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified
                spec.auditAnnotations[1].key: Duplicate value: "a"
                spec.auditAnnotations[2].key: Invalid value: "obj/b c": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                spec.auditAnnotations[2].valueExpression: Invalid value: "x": compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')
                 | x
                 | ^"#]],
        );
    }

    #[test]
    fn expressions() {
        let mut spec = policy();
        spec.set(&["variables"], value!([{"name": "n", "expression": "size(object.spec.list)"}, {"name": "m", "expression": "variables.n + 1"}]));
        spec.set(
            &["validations"],
            value!([{"expression": "variables.m > 1", "messageExpression": "'m is ' + string(variables.m)"}]),
        );
        create(&kind(), value!({"spec": (spec.clone())}), expect![""]);
        spec.set(
            &["validations"],
            value!([
                {"expression": "variables.m"}, {"expression": "variables.x"}, {"expression": "params.x == 1"},
                {"expression": "true", "messageExpression": "authorizer.path('/').check('get').reason()"},
                {"expression": "namespaceObject.metadata.lables.size() == 0"}, {"expression": "namespaceObject.metadata.name"},
            ]),
        );
        spec.set(&["auditAnnotations"], value!([{"key": "a", "valueExpression": "1"}]));
        create(
            &kind(),
            value!({"spec": spec}),
            expect![[r#"
                spec.validations[0].expression: Invalid value: "variables.m": must evaluate to bool but got int
                spec.validations[1].expression: Invalid value: "variables.x": compilation failed: ERROR: <input>:1:10: undefined field 'x'
                 | variables.x
                 | .........^
                spec.validations[2].expression: Invalid value: "params.x == 1": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')
                 | params.x == 1
                 | ^
                spec.validations[3].messageExpression: Invalid value: "authorizer.path('/').check('get').reason()": compilation failed: ERROR: <input>:1:1: undeclared reference to 'authorizer' (in container '')
                 | authorizer.path('/').check('get').reason()
                 | ^
                spec.validations[4].expression: Invalid value: "namespaceObject.metadata.lables.size() == 0": compilation failed: ERROR: <input>:1:25: undefined field 'lables'
                 | namespaceObject.metadata.lables.size() == 0
                 | ........................^
                spec.validations[5].expression: Invalid value: "namespaceObject.metadata.name": must evaluate to bool but got string
                spec.auditAnnotations[0].valueExpression: Invalid value: "1": must evaluate to one of [string null_type] but got int"#]],
        );
    }

    #[test]
    fn unchanged_conditions_are_not_looked_at() {
        let mut spec = policy();
        spec.set(&["matchConditions"], value!([{"name": "a", "expression": ""}]));
        let mut new = spec.clone();
        new.set(&["failurePolicy"], "Ignore");
        update(&kind(), value!({"spec": spec}), value!({"spec": new}), expect![""]);
    }

    #[test]
    fn status_has_conditions() {
        let of = |status: Value| value!({"spec": (policy()), "status": status});
        update_of(
            &kind(),
            Some("status"),
            of(value!({})),
            of(
                value!({"typeChecking": {"expressionWarnings": [{}]}, "conditions": [{"type": "A", "status": "Yes", "reason": "a b"}, {"type": "A"}]}),
            ),
            expect![[r#"
                status.typeChecking.expressionWarnings[0].warning: Required value
                status.typeChecking.expressionWarnings[0].fieldRef: Required value
                status.conditions[0].status: Unsupported value: "Yes": supported values: "False", "True", "Unknown"
                status.conditions[0].lastTransitionTime: Required value
                status.conditions[0].reason: Invalid value: "a b": a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')
                status.conditions[1].type: Duplicate value: "A"
                status.conditions[1].status: Required value
                status.conditions[1].lastTransitionTime: Required value
                status.conditions[1].reason: Required value"#]],
        );
    }

    #[test]
    fn columns() {
        let mut spec = policy();
        cells(&kind(), value!({"spec": (spec.clone())}), expect!["obj | 1 | <unset> | 5m"]);
        spec.set(&["paramKind"], value!({"apiVersion": "v1", "kind": "ConfigMap"}));
        cells(&kind(), value!({"spec": spec}), expect!["obj | 1 | v1/ConfigMap | 5m"]);
    }
}
