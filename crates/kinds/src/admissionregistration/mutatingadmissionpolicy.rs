//! MutatingAdmissionPolicy: expressions that change what is written.

use super::{
    matching::{count, invalid_whole},
    policy, registration, reserved_name,
};
use crate::{
    at::At,
    cel::{Names, Scope},
};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    let mutations = Column::number("Mutations", |obj, _| count(obj, &["spec", "mutations"]));
    registration("MutatingAdmissionPolicy")
        .plural("mutatingadmissionpolicies")
        .version("v1", "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy", policy::columns(mutations))
        .hashed_as("v1beta1")
        .hooks(MutatingAdmissionPolicy)
        .build()
}

#[derive(Debug)]
struct MutatingAdmissionPolicy;

impl Hooks for MutatingAdmissionPolicy {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        let may = policy::head(spec, old, true, errors);
        let mutations = spec.get("mutations");
        if mutations.is_empty() {
            mutations.required(errors, "mutations must contain at least one item");
        }
        let may = may.with(Names { patches: true, ..may.names });
        mutations.items().for_each(|m| mutation(m, &may, errors));
        spec.get("reinvocationPolicy").one_of(errors, &["IfNeeded", "Never"]);
    }
    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        reserved_name(obj)
    }
}

/// Each type of patch, the field that holds it, and what its expression makes.
const PATCHES: [(&str, &str, &str); 2] =
    [("ApplyConfiguration", "applyConfiguration", "Object"), ("JSONPatch", "jsonPatch", "list(JSONPatch)")];

fn mutation(mutation: At, may: &Scope, errors: &mut FieldErrors) {
    let ty = mutation.get("patchType");
    if !PATCHES.iter().any(|(name, ..)| *name == ty.str()) {
        return ty.one_of(errors, &PATCHES.map(|(name, ..)| name));
    }
    for (name, field, makes) in PATCHES {
        let patch = mutation.get(field);
        match (name == ty.str(), patch.is_set()) {
            (true, false) => patch.required(errors, format!("must be specified when patchType is {name}")),
            (true, true) => drop(patch.get("expression").compiles(errors, "", may, &[makes])),
            (false, true) => {
                let detail = format!("must not be specified when patchType is {}", ty.str());
                invalid_whole(patch, &format!("{{{field}}}"), &detail, errors);
            }
            (false, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create};
    use expect_test::expect;
    use value::value;

    fn policy(mutations: Value) -> Value {
        value!({"spec": {
            "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]},
            "mutations": mutations, "reinvocationPolicy": "Never",
        }})
    }

    #[test]
    fn validation() {
        let patch = "[JSONPatch{op: 'remove', path: '/spec'}]";
        let good = value!([{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]);
        create(&kind(), policy(good), expect![""]);
        create(
            &kind(),
            policy(value!([{"patchType": "JSONPatch", "jsonPatch": {"expression": "Object{}"}}])),
            expect![[
                r#"spec.mutations[0].jsonPatch.expression: Invalid value: "Object{}": must evaluate to list(JSONPatch) but got Object"#
            ]],
        );
        let mut bad = policy(value!([
            {"patchType": "JSONPatch", "applyConfiguration": {"expression": "x"}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {}},
            {"patchType": "Merge"}, {},
        ]));
        bad.set(&["spec", "reinvocationPolicy"], "");
        bad.at_mut(&["spec", "matchConstraints", "resourceRules"]).as_array_mut().unwrap()[0]
            .set(&["operations"], value!(["DELETE"]));
        create(
            &kind(),
            bad,
            expect![[r#"
            spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"
            spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch
            spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch
            spec.mutations[1].applyConfiguration.expression: Required value
            spec.mutations[2].patchType: Unsupported value: "Merge": supported values: "ApplyConfiguration", "JSONPatch"
            spec.mutations[3].patchType: Required value
            spec.reinvocationPolicy: Required value"#]],
        );
        create(
            &kind(),
            policy(value!([])),
            expect!["spec.mutations: Required value: mutations must contain at least one item"],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), policy(value!([{}, {}])), expect!["obj | 2 | <unset> | 5m"]);
    }
}
