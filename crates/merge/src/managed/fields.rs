//! The fields that an object names: what an applied configuration claims. Source: structured-merge-diff's `ToFieldSet`.

use super::{
    element,
    set::FieldSet,
    shape::{Form, Shape, items, members},
};
use schema::Type;
use value::{Map, Str, Value};

/// The set of what stands in `value`: leaves, items of lists, keys of maps that are data; no fields of structs that hold
/// others.
pub(crate) fn named(shape: Shape, value: &Value) -> FieldSet {
    FieldSet(match shape.form(value) {
        Some(Form::Members) => of_members(shape, value),
        Some(Form::Items) => of_items(shape, value),
        _ => Map::new(),
    })
}

fn of_members(shape: Shape, value: &Value) -> Map {
    let mut out = FieldSet::new();
    for (name, item) in members(Some(value)).into_iter().flat_map(Map::iter) {
        let Some(member) = shape.member(name) else { continue };
        // An empty list that is owned by its items has nothing that could be owned.
        let itself = match member.shape.form(item) {
            Some(Form::Leaf) | None => true,
            Some(Form::Members) => member.field.is_none() || members(Some(item)).is_none(),
            Some(Form::Items) => member.field.is_none(),
        };
        out.put(&element::field(name), itself, named(member.shape, item));
    }
    out.0
}

fn of_items(shape: Shape, value: &Value) -> Map {
    let inner = shape.items();
    let mut out = FieldSet::new();
    let mut seen: Vec<Str> = Vec::new();
    for item in items(Some(value)) {
        let Ok(step) = shape.step(item) else { continue };
        match seen.contains(&step) {
            // What stands twice is owned as one.
            true => out.put(&step, true, FieldSet::new()),
            false => {
                out.put(&step, true, named(inner, item));
                seen.push(step);
            }
        }
    }
    out.0
}

/// The set with the fields of structs that hold a member, so that what is removed with them is not left over.
pub(crate) fn with_parents(shape: Shape, set: &FieldSet) -> FieldSet {
    let mut out = FieldSet::new();
    for (step, member, below) in set.steps() {
        let (inner, named) = match element::field_name(step) {
            Some(name) => match shape.member(name) {
                Some(member) => (member.shape, member.field.is_some()),
                None => (Shape::Deduced, false),
            },
            None => (shape.items(), false),
        };
        let member = member || (named && !below.is_empty());
        out.put(step, member, with_parents(inner, &below));
    }
    out
}

/// The set as the schema of today sees it: what has become atomic since is owned as a whole. `None` where nothing
/// changes. Source: `ReconcileFieldSetWithSchema`.
pub(crate) fn reconciled(shape: Shape, set: &FieldSet) -> Option<FieldSet> {
    is_outdated(shape, &set.0).then(|| reconcile(shape, set))
}

/// True where something is owned below what is owned as a whole today. Asked at every write, so it copies nothing.
fn is_outdated(shape: Shape, set: &Map) -> bool {
    set.iter().any(|(step, below)| {
        let Some(below) = below.as_object().filter(|below| !below.is_empty()) else { return false };
        let inner = match element::field_name(step) {
            Some(name) => shape.member(name).map(|m| m.shape),
            None => Some(shape.items()),
        };
        inner.is_some_and(|inner| inner.is_atomic() || is_outdated(inner, below))
    })
}

fn reconcile(shape: Shape, set: &FieldSet) -> FieldSet {
    let mut out = FieldSet::new();
    for (step, member, below) in set.steps() {
        let inner = match element::field_name(step) {
            Some(name) => shape.member(name).map(|m| m.shape),
            None => Some(shape.items()),
        };
        match inner {
            Some(inner) if inner.is_atomic() && !below.is_empty() => out.put(step, true, FieldSet::new()),
            Some(inner) if !below.is_empty() => out.put(step, member, reconcile(inner, &below)),
            _ => out.put(step, member, below),
        }
    }
    out
}

/// What an applied configuration has that its type does not: fields that are not declared, values of another type, items
/// that stand twice. Texts as upstream's `typed.Validate` puts them: `.spec.x: field not declared in schema`.
pub(crate) fn misfits(shape: Shape, value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    misfit(shape, value, &mut String::new(), &mut out);
    out
}

fn misfit(shape: Shape, value: &Value, path: &mut String, out: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    if let Some(why) = mistyped(shape, value) {
        out.push(if path.is_empty() { why } else { format!("{path}: {why}") });
        return;
    }
    let len = path.len();
    match value {
        Value::Object(map) => {
            for (name, item) in map.iter() {
                path.push('.');
                path.push_str(name);
                match shape.member(name) {
                    Some(member) => misfit(member.shape, item, path, out),
                    None => out.push(format!("{path}: field not declared in schema")),
                }
                path.truncate(len);
            }
        }
        Value::Array(list) => {
            let by_step = shape.form(value) == Some(Form::Items);
            let mut seen: Vec<Str> = Vec::new();
            for (i, item) in list.iter().enumerate() {
                if by_step {
                    match shape.step(item) {
                        Ok(step) if seen.contains(&step) => {
                            out.push(format!("{path}: duplicate entries for key {}", element::shown(&step)));
                        }
                        Ok(step) => {
                            path.push_str(&element::shown(&step));
                            seen.push(step);
                        }
                        Err(why) => {
                            out.push(format!("{path}: element {i}: {why}"));
                            continue;
                        }
                    }
                } else {
                    path.push_str(&format!("[{i}]"));
                }
                misfit(shape.items(), item, path, out);
                path.truncate(len);
            }
        }
        _ => {}
    }
}

/// Why a value is not of the type at its place.
fn mistyped(shape: Shape, value: &Value) -> Option<String> {
    let Shape::Node(arena, id) = shape else { return None };
    let scalar = !matches!(value, Value::Object(_) | Value::Array(_));
    let (is, expected) = match arena[id].ty {
        Type::Any => (true, ""),
        Type::Object => (matches!(value, Value::Object(_)), "map"),
        Type::Array => (matches!(value, Value::Array(_)), "list"),
        Type::IntOrString => (scalar, "any scalar"),
        Type::Integer | Type::Number => {
            if !matches!(value, Value::Int(_) | Value::Float(_)) {
                return Some(format!("expected numeric (int or float), got {}", go_type(value)));
            }
            (true, "")
        }
        Type::Boolean => (matches!(value, Value::Bool(_)), "boolean"),
        Type::String if arena[id].format.is_empty() || arena[id].format == "byte" => {
            if !matches!(value, Value::String(_)) {
                return Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", quoted(value)));
            }
            (true, "")
        }
        Type::String => (scalar, "any scalar"),
    };
    (!is).then(|| format!("expected {expected}, got &{{{}}}", go_text(value)))
}

/// The Go type of a decoded value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go's `%#v` prints it.
fn quoted(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members: Vec<String> = map.iter().map(|(k, v)| format!("{k:?}:{}", quoted(v))).collect();
            format!("map[string]interface {{}}{{{}}}", members.join(", "))
        }
        Value::Array(list) => {
            format!("[]interface {{}}{{{}}}", list.iter().map(quoted).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A value as Go's `%v` prints it: `map[spec:map[replicas:2]]`.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let members: Vec<_> = map.iter().map(|(key, v)| format!("{key}:{}", go_text(v))).collect();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}
