//! ValidatingWebhookConfiguration: servers that are asked to allow what is written.

use super::{registration, reserved_name, webhooks};
use base::FieldErrors;
use schema::{Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    registration("ValidatingWebhookConfiguration")
        .version("v1", "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration", webhooks::columns())
        .hooks(ValidatingWebhookConfiguration)
        .build()
}

#[derive(Debug)]
struct ValidatingWebhookConfiguration;

impl Hooks for ValidatingWebhookConfiguration {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        webhooks::validate(obj, old, errors);
    }
    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        reserved_name(obj)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;
    use value::value;

    fn hook(name: &str) -> Value {
        value!({
            "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "a", "name": "b"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        })
    }

    #[test]
    fn a_webhook_needs_little() {
        create(&kind(), value!({"webhooks": [(hook("a.b.c"))]}), expect![""]);
        create(
            &kind(),
            value!({"webhooks": [{}]}),
            expect![[r#"
                webhooks[0].name: Required value
                webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun
                webhooks[0].clientConfig: Required value: exactly one of url or service is required
                webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"#]],
        );
    }

    #[test]
    fn validation() {
        let mut bad = hook("a.b");
        bad.set(
            &["rules"],
            value!([{"operations": ["*", "CREATE", "READ"], "apiGroups": ["*", "a"], "apiVersions": ["*", ""],
            "resources": ["pods/*", "pods/log", "*/scale", "x/scale", "", "*/*"], "scope": "All"}, {}]),
        );
        bad.set(&["sideEffects"], "Some");
        bad.set(&["timeoutSeconds"], 31);
        bad.set(&["failurePolicy"], "Maybe");
        bad.set(&["admissionReviewVersions"], value!(["v2", "v2"]));
        bad.set(&["matchConditions"], value!([{"name": "a", "expression": " "}, {"name": "a", "expression": "true"}]));
        create(
            &kind(),
            value!({"webhooks": [bad, (hook("a.b.c")), (hook("a.b.c"))]}),
            expect![[r#"
                webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots
                webhooks[0].rules[0].operations: Invalid value: ["*","CREATE","READ"]: if '*' is present, must not specify other operations
                webhooks[0].rules[0].operations[2]: Unsupported value: "READ": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"
                webhooks[0].rules[0].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other API groups
                webhooks[0].rules[0].apiVersions: Invalid value: ["*",""]: if '*' is present, must not specify other API versions
                webhooks[0].rules[0].apiVersions[1]: Required value
                webhooks[0].rules[0].resources[1]: Invalid value: "pods/log": if 'pods/*' is present, must not specify pods/log
                webhooks[0].rules[0].resources[3]: Invalid value: "x/scale": if '*/scale' is present, must not specify x/scale
                webhooks[0].rules[0].resources[4]: Required value
                webhooks[0].rules[0].resources: Invalid value: ["pods/*","pods/log","*/scale","x/scale","","*/*"]: if '*/*' is present, must not specify other resources
                webhooks[0].rules[0].scope: Unsupported value: "All": supported values: "*", "Cluster", "Namespaced"
                webhooks[0].rules[1].operations: Required value
                webhooks[0].rules[1].apiGroups: Required value
                webhooks[0].rules[1].apiVersions: Required value
                webhooks[0].rules[1].resources: Required value
                webhooks[0].failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"
                webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"
                webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds
                webhooks[0].matchConditions[0].expression: Required value
                webhooks[0].matchConditions[1].name: Duplicate value: "a"
                webhooks[0].admissionReviewVersions[1]: Invalid value: "v2": duplicate version
                webhooks[0].admissionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1
                webhooks[2].name: Duplicate value: "a.b.c""#]],
        );
    }

    #[test]
    fn what_was_wrong_may_stay() {
        let mut old = hook("a.b.c");
        old.set(&["sideEffects"], "Some");
        old.set(&["admissionReviewVersions"], value!(["v2"]));
        let mut new = old.clone();
        new.set(&["timeoutSeconds"], 5);
        update(
            &kind(),
            value!({"webhooks": [(old.clone()), (old.clone())]}),
            value!({"webhooks": [(new.clone()), new]}),
            expect![""],
        );
        update(
            &kind(),
            value!({"webhooks": [(hook("a.b.c"))]}),
            value!({"webhooks": [old]}),
            expect![[r#"
                webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"
                webhooks[0].admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1"#]],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), value!({"webhooks": [{}, {}]}), expect!["obj | 2 | 5m"]);
    }
}
