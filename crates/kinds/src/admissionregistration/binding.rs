//! Bindings of policies: which policy, with which parameters, for which requests.

use super::matching;
use crate::at::At;
use base::FieldErrors;
use schema::Column;
use value::Value;

pub fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("PolicyName", |obj, _| obj.str_at(&["spec", "policyName"]).into()),
        Column::text("ParamRef", |obj, _| param(obj.at(&["spec", "paramRef"])).into()),
        Column::age(),
    ]
}

/// `namespace/name`, `*/name` where no namespace is given, or the selector.
fn param(param: &Value) -> String {
    let (namespace, name) = (param.str_at(&["namespace"]), param.str_at(&["name"]));
    match (name, namespace, param.at(&["selector"])) {
        ("", _, Value::Null) => "<unset>".into(),
        ("", _, selector) => printed(selector),
        (name, "", _) => format!("*/{name}"),
        (name, namespace, _) => format!("{namespace}/{name}"),
    }
}

/// A selector as Go's generated code prints it, which is what upstream shows here.
fn printed(selector: &Value) -> String {
    let labels: String = selector
        .members_at(&["matchLabels"])
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or("")))
        .collect();
    let expression = |e: &Value| {
        let values: Vec<&str> = e.items_at(&["values"]).iter().filter_map(Value::as_str).collect();
        let (key, operator) = (e.str_at(&["key"]), e.str_at(&["operator"]));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
    };
    let expressions: String = selector.items_at(&["matchExpressions"]).iter().map(expression).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

/// Everything but what the binding does with a failure.
pub fn validate(spec: At, errors: &mut FieldErrors) {
    let policy = spec.get("policyName");
    if policy.need(errors) {
        policy.dns_subdomain(errors);
    }
    param_ref(spec.get("paramRef"), errors);
    matching::match_resources(spec.get("matchResources"), errors);
}

fn param_ref(param: At, errors: &mut FieldErrors) {
    const BOTH: &str = "name and selector are mutually exclusive";
    if !param.is_set() {
        return;
    }
    let (name, selector) = (param.get("name"), param.get("selector"));
    if !name.is_empty() {
        name.path_segment(errors);
        if selector.is_set() {
            name.forbidden(errors, BOTH);
        }
    }
    if selector.is_set() {
        selector.label_selector(errors);
        if !name.is_empty() {
            selector.forbidden(errors, BOTH);
        }
    }
    if name.is_empty() && !selector.is_set() {
        param.required(errors, "one of name or selector must be specified");
    }
    param.get("parameterNotFoundAction").one_of(errors, &["Deny", "Allow"]);
}
