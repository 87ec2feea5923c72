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
        bad.set(&["rules"], value!([{"operations": ["*", "CREATE", "READ"], "apiGroups": ["*", "a"], "apiVersions": ["*", ""],
            "resources": ["pods/*", "pods/log", "*/scale", "x/scale", "", "*/*"], "scope": "All"}, {}]));
        bad.set(&["sideEffects"], "Some");
        bad.set(&["timeoutSeconds"], 31);
        bad.set(&["failurePolicy"], "Maybe");
        bad.set(&["admissionReviewVersions"], value!(["v2", "v2"]));
        bad.set(&["matchConditions"], value!([{"name": "a", "expression": " "}, {"name": "a", "expression": "true"}]));
        create(
            &kind(),
            value!({"webhooks": [bad, (hook("a.b.c")), (hook("a.b.c"))]}),
            expect![[r#""#]],
        );
    }

    #[test]
    fn what_was_wrong_may_stay() {
        let mut old = hook("a.b.c");
        old.set(&["sideEffects"], "Some");
        old.set(&["admissionReviewVersions"], value!(["v2"]));
        let mut new = old.clone();
        new.set(&["timeoutSeconds"], 5);
        update(&kind(), value!({"webhooks": [(old.clone()), (old.clone())]}), value!({"webhooks": [(new.clone()), new]}), expect![""]);
        update(
            &kind(),
            value!({"webhooks": [(hook("a.b.c"))]}),
            value!({"webhooks": [old]}),
            expect![[r#""#]],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), value!({"webhooks": [{}, {}]}), expect!["obj | 2 | 5m"]);
    }
}
