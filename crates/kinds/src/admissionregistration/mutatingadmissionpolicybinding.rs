//! MutatingAdmissionPolicyBinding: puts a policy into effect.

use super::{binding, matching, registration, reserved_name};
use crate::at::At;
use base::FieldErrors;
use schema::{Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    registration("MutatingAdmissionPolicyBinding")
        .version("v1", "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding", binding::columns())
        .hashed_as("v1beta1")
        .hooks(MutatingAdmissionPolicyBinding)
        .build()
}

#[derive(Debug)]
struct MutatingAdmissionPolicyBinding;

impl Hooks for MutatingAdmissionPolicyBinding {
    fn validate(&self, _cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        binding::validate(spec, errors);
        matching::no_deletion(spec.get("matchResources"), errors);
    }
    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        reserved_name(obj)
    }
}
