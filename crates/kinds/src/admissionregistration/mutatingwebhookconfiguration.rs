//! MutatingWebhookConfiguration: servers that are asked to change objects on their way.

use super::{registration, reserved_name, webhooks};
use base::FieldErrors;
use schema::{Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    registration("MutatingWebhookConfiguration")
        .version("v1", "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration", webhooks::columns())
        .hooks(MutatingWebhookConfiguration)
        .build()
}

#[derive(Debug)]
struct MutatingWebhookConfiguration;

impl Hooks for MutatingWebhookConfiguration {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        webhooks::validate(obj, old, errors);
    }
    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        reserved_name(obj)
    }
}
