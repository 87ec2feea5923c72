//! Validation of custom resources against their structural schema, with the wording of apiextensions (which is that of
//! kube-openapi, with field errors around it).
//!
//! Nodes with a built-in name (ObjectMeta) are skipped: [`crate::decode`] has checked their types, and the engine
//! validates metadata for every kind alike.

mod formats;

use crate::{Arena, Checks, ListType, Node, NodeId, Schema, Type};
use base::{
    FieldErrors,
    status::{Problem, quote},
};
use std::collections::{HashMap, HashSet};
use value::{Map, Path, Value};

/// Adds what is wrong with `value`.
pub fn validate(schema: &Schema, value: &Value, errors: &mut FieldErrors) {
    let (arena, id) = schema.parts();
    Validator { arena, errors }.node(id, value, None, &Path::root());
}

/// The same for an update: what stands unchanged from the old object is not held against the new one, so that a
/// definition may become stricter without locking existing objects (KEP-4008, ratcheting).
pub fn validate_update(schema: &Schema, value: &Value, old: &Value, errors: &mut FieldErrors) {
    let (arena, id) = schema.parts();
    Validator { arena, errors }.node(id, value, Some(old), &Path::root());
}

struct Validator<'a> {
    arena: &'a Arena,
    errors: &'a mut FieldErrors,
}

impl Validator<'_> {
    fn node(&mut self, id: NodeId, value: &Value, old: Option<&Value>, path: &Path) {
        let node = &self.arena[id];
        if !node.name.is_empty() || value.is_null() && node.nullable || old == Some(value) {
            return;
        }
        if !self.has_type(node, value, path) {
            return;
        }
        if let Some(checks) = &node.checks {
            self.checks(checks, value, path);
        }
        match value {
            Value::Object(map) => self.members(node, map, old, path),
            Value::Array(items) => {
                if let Some(item) = node.items {
                    let old = old_items(node, old);
                    for (i, v) in items.iter().enumerate() {
                        self.node(item, v, old.get(&keys_of(node, v)).copied(), &path.index(i));
                    }
                }
                // Who had duplicates may keep them.
                let before = old.and_then(Value::as_array).is_some_and(|old| duplicates(node, old).next().is_some());
                if !before {
                    self.list_type(node, items, path);
                }
            }
            _ => {}
        }
    }

    fn has_type(&mut self, node: &Node, value: &Value, path: &Path) -> bool {
        let (ok, want) = match node.ty {
            Type::Any => (true, ""),
            Type::Object => (matches!(value, Value::Object(_)), "object"),
            Type::Array => (matches!(value, Value::Array(_)), "array"),
            Type::String => (matches!(value, Value::String(_)), "string"),
            Type::Boolean => (matches!(value, Value::Bool(_)), "boolean"),
            Type::Integer => (value.as_i64().is_some(), "integer"),
            Type::Number => (value.as_f64().is_some(), "number"),
            Type::IntOrString => (matches!(value, Value::String(_)) || value.as_i64().is_some(), "integer,string"),
        };
        if !ok {
            let given = value.type_name();
            let detail = format!("{path} in body must be of type {want}: {}", quote(given));
            self.errors.add(Problem::TypeInvalid, path, Some(quote(given)), detail);
            return false;
        }
        if let Value::String(text) = value
            && !formats::has(&node.format, text)
        {
            let detail = format!("{path} in body must be of type {}: {}", node.format, quote(text));
            self.errors.add(Problem::TypeInvalid, path, Some(quote(text)), detail);
        }
        if let (Type::Integer, "int32", Some(i)) = (node.ty, node.format.as_str(), value.as_i64())
            && i32::try_from(i).is_err()
        {
            self.invalid(path, value, format_args!("should be a int32 between -2147483648 and 2147483647"));
        }
        true
    }

    fn members(&mut self, node: &Node, map: &Map, old: Option<&Value>, path: &Path) {
        for field in node.fields.iter().filter(|f| f.required && !map.contains_key(&f.name)) {
            self.errors.required(path.key(&field.name), "");
        }
        for (key, member) in map.iter() {
            let old = old.and_then(|old| old.get(key));
            match (node.field(key), node.additional) {
                (Some(field), _) => self.node(field.node, member, old, &path.key(key)),
                (None, Some(additional)) => self.node(additional, member, old, &path.key(key)),
                (None, None) => {}
            }
        }
        if node.embedded {
            for key in ["apiVersion", "kind"] {
                if map.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
                    self.errors.required(path.key(key), "must not be empty");
                }
            }
        }
    }

    fn list_type(&mut self, node: &Node, items: &[Value], path: &Path) {
        for (i, shown) in duplicates(node, items) {
            self.errors.add(Problem::Duplicate, path.index(i), Some(shown), "");
        }
    }

    /// `Invalid value: v: path in body …`
    fn invalid(&mut self, path: &Path, value: &Value, what: std::fmt::Arguments) {
        self.errors.invalid_raw(path, value, format!("{path} in body {what}"));
    }

    fn checks(&mut self, checks: &Checks, value: &Value, path: &Path) {
        if !checks.enumeration.is_empty() && !checks.enumeration.iter().any(|v| equal(v, value)) {
            let shown = |v: &Value| quote(&v.as_str().map_or_else(|| v.to_string(), String::from));
            let list: Vec<String> = checks.enumeration.iter().map(shown).collect();
            let detail = format!("supported values: {}", list.join(", "));
            self.errors.add(Problem::NotSupported, path, Some(value.to_string()), detail);
        }
        match value {
            Value::Int(_) | Value::Float(_) => self.number(checks, value, path),
            Value::String(text) => self.text(checks, text, value, path),
            Value::Array(items) => {
                let n = items.len() as u64;
                if let Some(min) = checks.min_items.filter(|min| n < *min) {
                    let detail = format!("{path} in body should have at least {min} items");
                    self.errors.invalid_raw(path, n, detail);
                }
                self.too_many(path, n, checks.max_items);
                if checks.unique_items && (1..items.len()).any(|i| items[..i].iter().any(|v| equal(v, &items[i]))) {
                    self.invalid(path, value, format_args!("shouldn't contain duplicates"));
                }
            }
            Value::Object(map) => {
                let n = map.len() as u64;
                if let Some(min) = checks.min_properties.filter(|min| n < *min) {
                    let detail = format!("{path} in body should have at least {min} properties");
                    self.errors.invalid_raw(path, n, detail);
                }
                self.too_many(path, n, checks.max_properties);
            }
            _ => {}
        }
        self.compositions(checks, value, path);
    }

    fn too_many(&mut self, path: &Path, n: u64, max: Option<u64>) {
        if let Some(max) = max.filter(|max| n > *max) {
            self.errors.add(Problem::TooMany, path, Some(n.to_string()), format!("must have at most {max} items"));
        }
    }

    fn number(&mut self, checks: &Checks, value: &Value, path: &Path) {
        let n = value.as_f64().unwrap_or_default();
        match checks.minimum {
            Some((min, true)) if n <= min => self.invalid(path, value, format_args!("should be greater than {min}")),
            Some((min, false)) if n < min => {
                self.invalid(path, value, format_args!("should be greater than or equal to {min}"));
            }
            _ => {}
        }
        match checks.maximum {
            Some((max, true)) if n >= max => self.invalid(path, value, format_args!("should be less than {max}")),
            Some((max, false)) if n > max => {
                self.invalid(path, value, format_args!("should be less than or equal to {max}"));
            }
            _ => {}
        }
        if let Some(of) = checks.multiple_of.filter(|of| *of != 0.0 && (n / of).fract() != 0.0) {
            self.invalid(path, value, format_args!("should be a multiple of {of}"));
        }
    }

    fn text(&mut self, checks: &Checks, text: &str, value: &Value, path: &Path) {
        let length = text.chars().count() as u64;
        if let Some(max) = checks.max_length.filter(|max| length > *max) {
            self.errors.too_long(path, max as usize);
        }
        if let Some(min) = checks.min_length.filter(|min| length < *min) {
            self.invalid(path, value, format_args!("should be at least {min} chars long"));
        }
        if let Some(pattern) = checks.pattern.as_ref().filter(|p| !p.is_match(text)) {
            self.invalid(path, value, format_args!("should match '{}'", pattern.text));
        }
    }

    fn compositions(&mut self, checks: &Checks, value: &Value, path: &Path) {
        let (arena, quoted) = (self.arena, quote(&path.to_string()));
        let run = |id: NodeId| {
            let mut errors = FieldErrors::default();
            Validator { arena, errors: &mut errors }.node(id, value, None, path);
            errors
        };
        let mut say = |text: String| self.errors.invalid("<nil>", "", text);
        if checks.not.is_some_and(|id| run(id).is_empty()) {
            say(format!("{quoted} must not validate the schema (not)"));
        }
        let mut details = Vec::new();
        if !checks.any_of.is_empty() {
            let results: Vec<FieldErrors> = checks.any_of.iter().map(|id| run(*id)).collect();
            if results.iter().all(|r| !r.is_empty()) {
                say(format!("{quoted} must validate at least one schema (anyOf)"));
                details.extend(results.into_iter().min_by_key(|r| r.0.len()));
            }
        }
        if !checks.one_of.is_empty() {
            let results: Vec<FieldErrors> = checks.one_of.iter().map(|id| run(*id)).collect();
            match results.iter().filter(|r| r.is_empty()).count() {
                1 => {}
                0 => {
                    say(format!("{quoted} must validate one and only one schema (oneOf). Found none valid"));
                    details.extend(results.into_iter().min_by_key(|r| r.0.len()));
                }
                n => {
                    say(format!("{quoted} must validate one and only one schema (oneOf). Found {n} valid alternatives"))
                }
            }
        }
        let failed: Vec<FieldErrors> =
            checks.all_of.iter().map(|id| run(*id)).filter(|errors| !errors.is_empty()).collect();
        if !failed.is_empty() {
            let which = if failed.len() == checks.all_of.len() { " None validated" } else { "" };
            say(format!("{quoted} must validate all the schemas (allOf).{which}"));
            details.extend(failed);
        }
        for errors in details {
            self.errors.0.extend(errors.0);
        }
    }
}

/// The elements of a set or a map that stand there already, with what messages show of them.
fn duplicates<'v>(node: &'v Node, items: &'v [Value]) -> impl Iterator<Item = (usize, String)> + 'v {
    let mut seen = HashSet::new();
    let shown = |item: &Value| match node.list_type {
        ListType::Atomic => None,
        ListType::Set => Some(item.to_string()),
        ListType::Map => Some(keys_of(node, item)),
    };
    items.iter().enumerate().filter_map(move |(i, item)| {
        let shown = shown(item)?;
        (!seen.insert(shown.clone())).then_some((i, shown))
    })
}

/// The old elements of a list of type map by their keys; of other lists none goes with a new one.
fn old_items<'v>(node: &Node, old: Option<&'v Value>) -> HashMap<String, &'v Value> {
    match (node.list_type, old.and_then(Value::as_array)) {
        (ListType::Map, Some(items)) => items.iter().map(|item| (keys_of(node, item), item)).collect(),
        _ => HashMap::new(),
    }
}

/// What tells an element of a list of type map from the others, as messages print it: `{"name":"a"}`.
fn keys_of(node: &Node, item: &Value) -> String {
    if node.list_type != ListType::Map {
        return String::new();
    }
    let keys = node.list_keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Value::Object(keys.collect()).to_string()
}

/// Equality of JSON: 1 and 1.0 are the same number.
fn equal(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|x| b.as_f64() == Some(x))
}
