//! ValidatingAdmissionPolicyBinding: puts a policy into effect, and says what a failure leads to.

use super::{binding, registration, reserved_name};
use crate::at::At;
use base::FieldErrors;
use schema::{Context, Hooks, Kind};
use std::collections::BTreeSet;
use value::Value;

pub fn kind() -> Kind {
    registration("ValidatingAdmissionPolicyBinding")
        .version("v1", "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding", binding::columns())
        .hooks(ValidatingAdmissionPolicyBinding)
        .build()
}

#[derive(Debug)]
struct ValidatingAdmissionPolicyBinding;

impl Hooks for ValidatingAdmissionPolicyBinding {
    fn validate(&self, _cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        binding::validate(spec, errors);
        let (actions, mut seen) = (spec.get("validationActions"), BTreeSet::new());
        for action in actions.items() {
            action.one_of_if_set(errors, &["Audit", "Deny", "Warn"]);
            if !seen.insert(action.str()) {
                action.duplicate(errors);
            }
        }
        if seen.contains("Deny") && seen.contains("Warn") {
            let detail = "must not contain both Deny and Warn (repeating the same validation failure information in \
                          the API response and headers serves no purpose)";
            actions.invalid(errors, detail);
        }
        if seen.is_empty() {
            actions.required(errors, "at least one validation action is required");
        }
    }
    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        reserved_name(obj)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        create(&kind(), value!({"spec": {"policyName": "p", "validationActions": ["Deny"]}}), expect![""]);
        create(
            &kind(),
            value!({"spec": {"paramRef": {}, "validationActions": ["Deny", "Warn", "Deny", "Stop"]}}),
            expect![[r#"
                spec.policyName: Required value
                spec.paramRef: Required value: one of name or selector must be specified
                spec.paramRef.parameterNotFoundAction: Required value
                spec.validationActions[2]: Duplicate value: "Deny"
                spec.validationActions[3]: Unsupported value: "Stop": supported values: "Audit", "Deny", "Warn"
                spec.validationActions: Invalid value: ["Deny","Warn","Deny","Stop"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"#]],
        );
        create(
            &kind(),
            value!({"spec": {"policyName": "P", "paramRef": {"name": "a/b", "selector": {}, "parameterNotFoundAction": "Deny"},
                "matchResources": {"resourceRules": [{"resourceNames": ["a", "a"], "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]}}}),
            expect![[r#"
                spec.policyName: Invalid value: "P": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                spec.paramRef.name: Invalid value: "a/b": may not contain '/'
                spec.paramRef.name: Forbidden: name and selector are mutually exclusive
                spec.paramRef.selector: Forbidden: name and selector are mutually exclusive
                spec.matchResources.resourceRules[0].resourceNames[1]: Duplicate value: "a"
                spec.validationActions: Required value: at least one validation action is required"#]],
        );
    }

    #[test]
    fn columns() {
        let of = |param: Value| value!({"spec": {"policyName": "p", "paramRef": param}});
        cells(&kind(), of(value!({"name": "n"})), expect!["obj | p | */n | 5m"]);
        cells(&kind(), of(value!({"name": "n", "namespace": "s"})), expect!["obj | p | s/n | 5m"]);
        cells(&kind(), value!({"spec": {"policyName": "p"}}), expect!["obj | p | <unset> | 5m"]);
        cells(
            &kind(),
            of(value!({"selector": {"matchLabels": {"a": "b"}}})),
            expect![
                "obj | p | &LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},} | 5m"
            ],
        );
    }
}
