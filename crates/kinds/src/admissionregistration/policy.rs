//! What policies of both kinds have: parameters, constraints, conditions, variables.

use super::matching::{self, FAILURE_POLICIES};
use crate::{
    at::At,
    cel::{Names, Scope},
    rules::same,
};
use base::FieldErrors;
use schema::Column;
use value::Value;

/// `Name`, the number of what the policy does, `ParamKind`, `Age`.
pub fn columns(what: Column) -> Vec<Column> {
    vec![Column::object_name(), what, Column::text("ParamKind", |obj, _| param_kind(obj).into()), Column::age()]
}

fn param_kind(obj: &Value) -> String {
    match obj.at(&["spec", "paramKind"]) {
        Value::Null => "<unset>".into(),
        kind => format!("{}/{}", kind.str_at(&["apiVersion"]), kind.str_at(&["kind"])),
    }
}

/// Everything before what the policy does. Answers what expressions may name.
pub fn head(spec: At, old: Option<&Value>, mutating: bool, errors: &mut FieldErrors) -> Scope {
    spec.get("failurePolicy").one_of(errors, &FAILURE_POLICIES);
    let params = spec.get("paramKind");
    matching::param_kind(params, errors);
    let names = Names { params: params.is_set(), authorizer: true, patches: false };
    let constraints = spec.get("matchConstraints");
    if constraints.is_set() {
        matching::match_resources(constraints, errors);
        constraints.get("resourceRules").need(errors);
        if mutating {
            matching::no_deletion(constraints, errors);
        }
    } else {
        constraints.required(errors, "");
    }
    let unchanged = |field: &str| old.is_some_and(|old| same(old.at(&["spec", field]), spec.get(field).value));
    if !(unchanged("paramKind") && unchanged("matchConditions")) {
        matching::conditions(spec.get("matchConditions"), names, errors);
    }
    let mut scope = Scope::new(names);
    for variable in spec.get("variables").items() {
        let name = variable.get("name");
        if name.str().trim().is_empty() {
            name.required(errors, "name is not specified");
        } else if !k8s_cel::is_identifier(name.str()) {
            name.invalid(errors, "must be a valid CEL identifier");
        }
        let expression = variable.get("expression");
        if let Some(ty) = expression.compiles(errors, "expression is not specified", &scope, &[]) {
            scope.declare(name.str(), ty);
        }
    }
    scope
}
