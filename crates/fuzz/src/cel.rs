//! Expressions: parsed, checked, estimated, and evaluated within a budget, on what a rule of a custom resource sees and on
//! what a policy sees.

use k8s_cel::{Activation, Budget, Decl, Env, Type, ready};
use schema::Schema;
use std::sync::{Arc, LazyLock};
use value::{Value, value};

/// Enough for every honest expression; few enough for a thousand evaluations in a second.
const BUDGET: u64 = 100_000;

pub fn cel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Sample { decl, rule, policy, new, old } = &*SAMPLE;
    if let Ok(program) = rule.compile(text) {
        let _ = program.estimate_cost(Some(decl));
        let activation = Activation::new().typed("self", new, decl).typed("oldSelf", old, decl);
        shown(program.eval(&activation, &mut Budget::new(BUDGET)));
    }
    if let Ok(program) = policy.compile(text) {
        let _ = program.estimate_cost(None);
        let activation = Activation::new().bind("object", new).bind("oldObject", old);
        shown(program.eval(&activation, &mut Budget::new(BUDGET)));
    }
}

fn shown(result: Result<k8s_cel::Val<'_>, k8s_cel::EvalError>) {
    match result {
        Ok(val) => drop((val.to_string(), k8s_cel::to_tree(&val))),
        Err(why) => drop(why.to_string()),
    }
}

struct Sample {
    decl: Arc<Decl>,
    rule: Env,
    policy: Env,
    new: Value,
    old: Value,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let schema = value!({"type": "object", "properties": {
        "n": {"type": "integer"}, "d": {"type": "number"}, "s": {"type": "string"}, "b": {"type": "boolean"},
        "when": {"type": "string", "format": "date-time"}, "bytes": {"type": "string", "format": "byte"},
        "long": {"type": "string", "format": "duration"}, "either": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]},
        "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    }});
    let schema = schema_of(&schema);
    let decl = Decl::of_schema(&schema, false, "Sample").expect("a declaration");
    let new = value!({"n": 3, "d": 1.5, "s": "text", "b": true, "when": "2026-01-02T03:04:05Z", "bytes": "aGk=", "long": "1h",
        "either": "7%", "list": [{"k": "a", "v": 1}, {"k": "b", "v": 2}], "set": ["x", "y"], "map": {"k": "v", "l": "w"}});
    let old = value!({"n": 2, "s": "", "list": [], "map": {}});
    let policy = Env::new().variable("object", Type::Dyn).variable("oldObject", Type::Dyn);
    Sample { rule: ready::validation_rule(&decl, false), decl, policy, new, old }
});

/// The schema of a field, by way of a definition's.
pub(crate) fn schema_of(spec: &Value) -> Schema {
    let mut definition = value!({
        "metadata": {"name": "samples.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "samples", "kind": "Sample", "listKind": "SampleList", "singular": "sample"},
            "versions": [{"name": "v1", "served": true, "storage": true}]},
    });
    let mut version = value!({"name": "v1", "served": true, "storage": true});
    version.set(&["schema", "openAPIV3Schema"], spec.clone());
    definition.set(&["spec", "versions"], Value::from_iter([version]));
    let kind = schema::crd::kind_of(&definition).unwrap_or_else(|_| panic!("a schema: {spec}"));
    kind.versions[kind.storage].schema.clone()
}
