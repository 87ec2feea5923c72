//! Names, parameters and tolerations, as every kind of the group has them.

use crate::at::At;
use base::{FieldErrors, names, status::Problem};
use k8s_cel::{CompileError, Type, ready};
use std::collections::BTreeSet;
use value::Value;

const MAX_DRIVER: usize = 63;
const MAX_POOL: usize = 253;
const MAX_ID: usize = 32;
const MAX_PARAMETERS: usize = 10 * 1024;
const MAX_SELECTORS: usize = 32;
const MAX_EXPRESSION: usize = 10 * 1024;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

impl At<'_> {
    /// The name of a driver: a domain, in any case.
    pub fn driver_name(&self, errors: &mut FieldErrors) {
        if !self.need(errors) {
            return;
        }
        if self.str().len() > MAX_DRIVER {
            errors.too_long(self.path, MAX_DRIVER);
        }
        self.shape(errors, names::subdomain(&self.str().to_lowercase()));
    }
    /// The name of a pool: domains joined by slashes.
    pub fn pool_name(&self, errors: &mut FieldErrors) {
        if !self.need(errors) {
            return;
        }
        if self.str().len() > MAX_POOL {
            errors.too_long(self.path, MAX_POOL);
        }
        for part in self.str().split('/') {
            self.shape_as(errors, part, names::subdomain(part));
        }
    }
    /// A list of at most `max` members, none of them twice by `key`. Answers false where it is too long to look at.
    pub fn fits(&self, errors: &mut FieldErrors, max: usize) -> bool {
        if self.len() > max {
            self.too_many(errors, max);
        }
        self.len() <= max
    }
    /// Reports members whose key stood before.
    pub fn unique_by(&self, errors: &mut FieldErrors, key: impl Fn(&Value) -> String) {
        let mut seen = BTreeSet::new();
        for item in self.items() {
            let key = key(item.value);
            if seen.contains(&key) {
                errors.duplicate(item.path, &key);
            }
            seen.insert(key);
        }
    }
    /// `domain/name`, or `name` where a domain may be left out, reported at another place.
    pub fn device_property(&self, name: &str, errors: &mut FieldErrors) {
        match name.split('/').collect::<Vec<_>>().as_slice() {
            [id] => identifier(*self, id, errors),
            [domain, id] => {
                if domain.is_empty() {
                    self.invalid_as(errors, "", "the domain must not be empty");
                } else {
                    let domain = Value::from(*domain);
                    At { value: &domain, path: self.path }.driver_name(errors);
                }
                if id.is_empty() {
                    self.invalid_as(errors, "", "the name must not be empty");
                } else {
                    identifier(*self, id, errors);
                }
            }
            // Upstream lets more slashes pass.
            _ => {}
        }
    }
}

/// A name that a program in C could use.
fn identifier(at: At, id: &str, errors: &mut FieldErrors) {
    const TEXT: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                        alphanumeric characters or '_'";
    if id.len() > MAX_ID {
        errors.too_long(at.path, MAX_ID);
    }
    let starts = id.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    if !starts || !id.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
        let detail = names::regex_error(TEXT, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"]);
        at.invalid_as(errors, id, detail);
    }
}

/// Parameters for a driver, which only it understands.
pub fn configuration(config: At, errors: &mut FieldErrors) {
    let opaque = config.get("opaque");
    if !opaque.is_set() {
        return opaque.required(errors, "");
    }
    opaque.get("driver").driver_name(errors);
    raw_object(opaque.get("parameters"), errors);
}

/// Any JSON object of at most 10 KiB.
pub fn raw_object(raw: At, errors: &mut FieldErrors) {
    match raw.value {
        Value::Null => raw.required(errors, ""),
        _ if raw.value.to_json().len() > MAX_PARAMETERS => errors.too_long(raw.path, MAX_PARAMETERS),
        Value::Object(_) => {}
        _ => raw.invalid_as(errors, "<value omitted>", "must be a valid JSON object"),
    }
}

/// Selectors of devices, each an expression.
pub fn selectors(selectors: At, errors: &mut FieldErrors) {
    if !selectors.fits(errors, MAX_SELECTORS) {
        return;
    }
    for selector in selectors.items() {
        let cel = selector.get("cel");
        let expression = cel.get("expression");
        if !cel.is_set() {
            cel.required(errors, "");
        } else if expression.str().len() > MAX_EXPRESSION {
            errors.too_long(expression.path, MAX_EXPRESSION);
        } else {
            selector_expression(expression, errors);
        }
    }
}

/// What a selector of one device may cost at most, estimated.
const MAX_COST: u64 = 1_000_000;

/// An expression about one device, which says yes or no.
fn selector_expression(expression: At, errors: &mut FieldErrors) {
    match ready::device().compile(expression.str()) {
        Err(why @ CompileError::Issues(_)) => expression.invalid(errors, why.to_string()),
        Err(why @ CompileError::Program(_)) => errors.add(Problem::Internal, expression.path, None, why.to_string()),
        Ok(program) => match program.output_type() {
            Type::Bool | Type::Dyn if program.estimate_cost(Some(&ready::device_decl())).max > MAX_COST => {
                expression.forbidden(errors, "too complex, exceeds cost limit");
            }
            Type::Bool | Type::Dyn => {}
            other => expression.invalid(errors, format!("must evaluate to bool or the unknown type, not {other}")),
        },
    }
}

pub fn toleration(toleration: At, errors: &mut FieldErrors) {
    let (key, operator, value) = (toleration.get("key"), toleration.get("operator"), toleration.get("value"));
    if !key.is_empty() {
        key.qualified_name(errors);
    }
    match operator.str() {
        "Exists" if !value.is_empty() => value.invalid(errors, "must be empty for operator `Exists`"),
        "Exists" => {}
        "Equal" => value.label_value(errors),
        _ => operator.one_of(errors, &["Equal", "Exists"]),
    }
    let effect = toleration.get("effect");
    if !effect.is_empty() {
        effect.one_of(errors, &EFFECTS);
    }
}

/// A taint; an effect that the old one had is not looked at.
pub fn taint(taint: At, errors: &mut FieldErrors) {
    taint.get("key").qualified_name(errors);
    if !taint.get("value").is_empty() {
        taint.get("value").label_value(errors);
    }
    taint.get("effect").one_of(errors, &EFFECTS);
}

/// Conditions that a device must have, or must not, before a pod may be bound.
pub fn binding(at: At, errors: &mut FieldErrors) {
    const MAX: usize = 4;
    let (good, bad) = (at.get("bindingConditions"), at.get("bindingFailureConditions"));
    for list in [good, bad] {
        if list.fits(errors, MAX) {
            list.items().for_each(|condition| condition.qualified_name(errors));
        }
    }
    good.unique_by(errors, text);
    let mut seen = BTreeSet::new();
    for condition in bad.items() {
        if !seen.insert(text(condition.value)) {
            condition.duplicate(errors);
        }
        if good.value.as_array().is_some_and(|list| list.contains(condition.value)) {
            condition.invalid(errors, "bindingFailureConditions must not overlap with bindingConditions");
        }
    }
    let lone = |empty: At, name: &str, other: &str, errors: &mut FieldErrors| {
        let printed = if empty.is_set() { empty.value.to_string() } else { "null".into() };
        errors.invalid_raw(empty.path, printed, format!("{name} are required to use {other}"));
    };
    match (good.is_empty(), bad.is_empty()) {
        (true, false) => lone(good, "bindingConditions", "bindingFailureConditions", errors),
        (false, true) => lone(bad, "bindingFailureConditions", "bindingConditions", errors),
        _ => {}
    }
}

/// A key for lists of texts.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").into()
}
/// A key for lists of things with a name.
pub fn name(value: &Value) -> String {
    value.str_at(&["name"]).into()
}
