//! Rules of a definition that is written: form, compilation, cost.
//!
//! The cost of a rule is what one evaluation may cost at most, times how often the value may stand in one object: the
//! product of the bounds of the lists and maps around it, or, below one without a bound, what fits into a request.

use super::{
    paths,
    tree::{self, KEY},
};
use base::{FieldErrors, status::Problem};
use k8s_cel::{Decl, budget};
use schema::{NodeId, Schema};
use std::sync::Arc;
use value::{Path, Value};

/// Adds what is wrong with the rules of an `openAPIV3Schema` that is sound otherwise. `path` is its own.
pub fn check(schema: &Schema, source: &Value, path: &Path, errors: &mut FieldErrors) {
    if !tree::has_rules(source) {
        return;
    }
    let mut checker = Checker::default();
    let decl = Decl::of_schema(schema, true, "selfType");
    checker.walk(&Place { schema, source, decl, cardinality: Some(1), apart: None }, path);
    let Checker { form, mut compiled, total, mut expensive } = checker;
    if total > budget::ESTIMATE_PER_DEFINITION {
        expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, place) in expensive.iter().take(4) {
            let text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            compiled.forbidden(place, text);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        compiled.forbidden(path, too_expensive(what, total, budget::ESTIMATE_PER_DEFINITION));
    }
    errors.0.extend(form.0);
    errors.0.extend(compiled.0);
}

struct Place<'a> {
    schema: &'a Schema,
    source: &'a Value,
    /// `None` below what expressions cannot see.
    decl: Option<Arc<Decl>>,
    /// How often the value stands in an object at most; `None` where nothing says.
    cardinality: Option<u64>,
    /// The first list or map on the way whose elements have no old selves.
    apart: Option<&'a str>,
}

#[derive(Default)]
struct Checker {
    form: FieldErrors,
    compiled: FieldErrors,
    total: u64,
    expensive: Vec<(u64, String)>,
}

impl Checker {
    fn walk(&mut self, place: &Place, path: &Path) {
        if !tree::has_rules(place.source) {
            return;
        }
        let before = self.form.0.len();
        let (source, node) = (place.source, place.schema.node());
        let cardinality = place.cardinality.and_then(|n| Some(n.saturating_mul(elements(source)?)));
        let properties = path.key("properties");
        for (name, property) in source.members_at(&["properties"]) {
            let Some(field) = node.field(name) else { continue };
            let below = place.schema.goto(field.node);
            let decl = place.decl.as_ref().and_then(|decl| tree::member(decl, name, &below));
            let below = Place { schema: &below, source: property, decl, cardinality, apart: place.apart };
            self.walk(&below, &properties.map_key(name));
        }
        let element = || place.decl.as_ref().and_then(|decl| tree::element(decl));
        let mut child = |id: Option<NodeId>, key: &str, apart: Option<&str>| {
            let Some(id) = id else { return };
            let below = place.schema.goto(id);
            let below = Place { schema: &below, source: source.at(&[key]), decl: element(), cardinality, apart };
            self.walk(&below, &path.key(key));
        };
        child(node.additional, "additionalProperties", place.apart);
        let here = path.to_string();
        let correlated = source.str_at(&["x-kubernetes-list-type"]) == "map";
        child(node.items, "items", if correlated { place.apart } else { place.apart.or(Some(&here)) });
        self.rules(place, path, before);
    }

    fn rules(&mut self, place: &Place, path: &Path, before: usize) {
        let list = path.key(KEY);
        let rules = place.source.items_at(&[KEY]);
        for (i, rule) in rules.iter().enumerate() {
            form(place.source, rule, &list.index(i), &mut self.form);
        }
        // What is wrong in form is said first: what follows from it would only confuse.
        if rules.is_empty() || self.form.0.len() > before {
            return;
        }
        let embedded = place.schema.node().embedded;
        let decl = place.decl.clone().or_else(|| Decl::of_schema(place.schema, embedded, "selfType"));
        let Some(decl) = decl else {
            let text = "internal error: failed to construct type information for x-kubernetes-validations rules: unable \
                        to convert structural schema to CEL declarations";
            return self.compiled.add(Problem::Internal, list, None, text);
        };
        let cardinality = place.cardinality.unwrap_or_else(|| decl.max_cardinality());
        for (i, rule) in rules.iter().enumerate() {
            self.rule(rule, &decl, cardinality, place.apart, &list.index(i));
        }
    }

    fn rule(&mut self, rule: &Value, decl: &Arc<Decl>, cardinality: u64, apart: Option<&str>, path: &Path) {
        let made = tree::compile(rule, decl);
        let here = path.key("rule");
        self.cost("estimated rule cost", made.cost.saturating_mul(cardinality), &here);
        if let Some(why) = made.error {
            self.compiled.invalid_raw(here, go_rule(rule), why);
        }
        let message = path.key("messageExpression");
        if let Some(why) = made.message_error {
            self.compiled.invalid_raw(message, go_rule(rule), why);
        } else if made.message.is_some() {
            self.cost("estimated messageExpression cost", made.message_cost, &message);
        }
        let optional = rule.at(&["optionalOldSelf"]);
        if made.uses_old {
            if let Some(apart) = apart {
                let text = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {apart}");
                self.compiled.invalid(here, rule.str_at(&["rule"]), text);
            }
        } else if !optional.is_null() {
            let text = "may not be set if oldSelf is not used in rule";
            self.compiled.invalid_raw(path.key("optionalOldSelf"), optional, text);
        }
    }

    fn cost(&mut self, what: &str, cost: u64, path: &Path) {
        if cost > budget::ESTIMATE_PER_EXPRESSION {
            self.compiled.forbidden(path, too_expensive(what, cost, budget::ESTIMATE_PER_EXPRESSION));
        }
        self.total = self.total.saturating_add(cost);
        // Less than a hundredth is not worth naming.
        if cost >= budget::ESTIMATE_PER_DEFINITION / 100 {
            self.expensive.push((cost, path.to_string()));
        }
    }
}

/// How many values of the next level one value of this has at most.
fn elements(source: &Value) -> Option<u64> {
    let bound = |key: &str| source.at(&[key]).as_i64().map(|n| u64::try_from(n).unwrap_or(0));
    match source.str_at(&["type"]) {
        "object" if !source.at(&["additionalProperties"]).is_null() => bound("maxProperties"),
        "array" => bound("maxItems"),
        _ => Some(1),
    }
}

fn form(source: &Value, rule: &Value, path: &Path, errors: &mut FieldErrors) {
    let text = |key: &str| rule.str_at(&[key]);
    let broken = |text: &str| text.contains(['\n', '\r']);
    let (body, message) = (text("rule").trim(), text("message"));
    if body.is_empty() {
        errors.required(path.key("rule"), "rule is not specified");
    } else if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(path.key("message"), message, "must be non-empty if specified");
    } else if broken(message.trim()) {
        errors.invalid(path.key("message"), message, "must not contain line breaks");
    } else if broken(body) && message.is_empty() {
        errors.required(path.key("message"), "message must be specified if rule contains line breaks");
    }
    let expression = text("messageExpression");
    if !expression.is_empty() && expression.trim().is_empty() {
        errors.required(path.key("messageExpression"), "messageExpression must be non-empty if specified");
    }
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    if let Some(reason) = rule.at(&["reason"]).as_str().filter(|reason| !REASONS.contains(reason)) {
        errors.not_supported(path.key("reason"), reason, &REASONS);
    }
    let field_path = text("fieldPath");
    if field_path.is_empty() {
        return;
    }
    if field_path.trim().is_empty() {
        errors.invalid(path.key("fieldPath"), field_path, "must be non-empty if specified");
    }
    if broken(field_path) {
        errors.invalid(path.key("fieldPath"), field_path, "must not contain line breaks");
    }
    if paths::normalized(source, field_path).is_none() {
        errors.invalid(path.key("fieldPath"), field_path, "must be a valid path");
    }
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = match times {
        t if t > 100.0 => "more than 100x".to_string(),
        t if t < 1.5 => format!("{t:.6}x"),
        t => format!("{t:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

/// A rule as upstream's messages show it: Go's names of its fields, in their order, and Go's escapes.
fn go_rule(rule: &Value) -> String {
    let text = |key: &str| Value::from(rule.str_at(&[key])).to_string();
    let fields = [
        ("Rule", text("rule")),
        ("Message", text("message")),
        ("MessageExpression", text("messageExpression")),
        ("Reason", rule.at(&["reason"]).to_string()),
        ("FieldPath", text("fieldPath")),
        ("OptionalOldSelf", rule.at(&["optionalOldSelf"]).to_string()),
    ];
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let shown = format!("{{{}}}", fields.join(","));
    shown.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
