//! What a creation owns: everything that upstream finds changed between the empty object of the type and the new one.
//!
//! This runs for every object that is ever created, so it is one walk that writes the stored form, without the empty
//! object, without paths and without a comparison. The empty object of a Go type is not quite empty: fields without
//! `omitempty` stand in it with their zero value, so that what holds them is not new (`f:spec` and `f:containers` have no
//! `.`, `f:labels` has one). The table of types knows those fields by [`Empty::Zero`] and [`Empty::Null`].

use super::{
    element,
    set::FieldSet,
    shape::{Form, Shape},
};
use schema::{Empty, Field, Schema};
use value::{Map, Str, Value};

/// What stood at a place before.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// The zero value of a struct: some of its fields are there.
    Struct,
    /// Null, or the zero value of a scalar.
    Null,
}

/// The fields of a new object but for what no set holds ([`STRIPPED`]) and the top-level members in `ignored`. `custom`
/// objects begin with nothing.
pub(crate) fn created(schema: &Schema, custom: bool, object: &Value, ignored: &[Str]) -> FieldSet {
    let shape = Shape::of(schema);
    let mut out = Vec::with_capacity(4);
    let Some(members) = object.as_object() else { return FieldSet::new() };
    let before = if custom { Before::Nothing } else { Before::Struct };
    for (name, member) in members.iter().filter(|(name, _)| !matches!(*name, "apiVersion" | "kind")) {
        if ignored.iter().any(|i| i == name) {
            continue;
        }
        let found = match name {
            "metadata" => metadata(shape, before, member),
            _ => below(shape, before, name, member),
        };
        if let Some(found) = found {
            out.push((element::field(name), found));
        }
    }
    FieldSet(Map::from_entries(out).0)
}

/// Members of `metadata` that belong to nobody. Source: upstream's `stripmeta.go`.
pub(crate) const STRIPPED: &[&str] = &[
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What [`created`] depends on, in few bytes: two objects of one type with the same trace have the same set. The walk
/// allocates nothing but the steps of lists.
pub(crate) fn trace(schema: &Schema, object: &Value, ignored: &[Str], out: &mut Vec<u8>) {
    let shape = Shape::of(schema);
    for (name, member) in object.members_at(&[]).filter(|(name, _)| !matches!(*name, "apiVersion" | "kind")) {
        if ignored.iter().any(|i| i == name) {
            continue;
        }
        let Some(place) = shape.member(name) else { continue };
        word(name, out);
        let before = earlier(Before::Struct, place.field);
        match member {
            Value::Object(map) if name == "metadata" => {
                for (name, member) in map.iter().filter(|(name, _)| !STRIPPED.contains(name)) {
                    trace_member(place.shape, before, name, member, out);
                }
            }
            _ => trace_at(place.shape, before, member, out),
        }
    }
}

fn trace_member(shape: Shape, before: Before, name: &str, value: &Value, out: &mut Vec<u8>) {
    if let Some(place) = shape.member(name) {
        word(name, out);
        trace_at(place.shape, earlier(before, place.field), value, out);
    }
}

fn trace_at(shape: Shape, before: Before, value: &Value, out: &mut Vec<u8>) {
    match (value, shape.form(value)) {
        (Value::Object(map), Some(Form::Members)) if !map.is_empty() => {
            out.push(b'{');
            map.iter().for_each(|(name, member)| trace_member(shape, before, name, member, out));
            out.push(b'}');
        }
        (Value::Array(list), Some(Form::Items)) if !list.is_empty() => {
            out.push(b'[');
            for item in list {
                if !shape.trace_step(item, out) {
                    let Ok(step) = shape.step(item) else { continue };
                    out.push(b'=');
                    word(&step, out);
                }
                trace_at(shape.items(), Before::Nothing, item, out);
            }
            out.push(b']');
        }
        _ => out.push(if unchanged(before, value) { b'0' } else { b'1' }),
    }
}

/// A text of any content, with its length: what follows it cannot be taken for a part of it.
fn word(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&text.len().to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn metadata(shape: Shape, before: Before, value: &Value) -> Option<Value> {
    let place = shape.member("metadata")?;
    let (shape, before) = (place.shape, earlier(before, place.field));
    let mut out = Vec::new();
    for (name, member) in value.as_object()?.iter().filter(|(name, _)| !STRIPPED.contains(name)) {
        if let Some(found) = below(shape, before, name, member) {
            out.push((element::field(name), found));
        }
    }
    (!out.is_empty()).then(|| Value::Object(Map::from_entries(out).0))
}

fn earlier(before: Before, field: Option<&Field>) -> Before {
    match (before, field.map(|f| f.empty)) {
        (Before::Struct, Some(Empty::Zero)) => Before::Struct,
        (Before::Struct, Some(Empty::Null)) => Before::Null,
        _ => Before::Nothing,
    }
}

fn below(shape: Shape, before: Before, name: &str, value: &Value) -> Option<Value> {
    let member = shape.member(name)?;
    owned(member.shape, earlier(before, member.field), value)
}

/// What is owned at and below one place; `None` for nothing.
fn owned(shape: Shape, before: Before, value: &Value) -> Option<Value> {
    let (out, self_too) = match (value, shape.form(value)) {
        (Value::Object(map), Some(Form::Members)) if !map.is_empty() => {
            let mut out = start(map.len(), before);
            for (name, member) in map.iter() {
                if let Some(found) = below(shape, before, name, member) {
                    out.push((element::field(name), found));
                }
            }
            (out, before == Before::Nothing)
        }
        (Value::Array(list), Some(Form::Items)) if !list.is_empty() => {
            let mut out = start(list.len(), before);
            let inner = shape.items();
            for item in list {
                let Ok(step) = shape.step(item) else { continue };
                let found = owned(inner, Before::Nothing, item).unwrap_or(Value::object());
                out.push((step, found));
            }
            (out, before == Before::Nothing)
        }
        _ => return (!unchanged(before, value)).then(Value::object),
    };
    if !self_too && out.is_empty() {
        return None;
    }
    if self_too && out.len() == 1 {
        return Some(Value::object());
    }
    let (mut map, repeated) = Map::from_entries(out);
    // An item that stands twice is owned as one.
    for step in repeated {
        map.insert(step, Value::object());
    }
    Some(Value::Object(map))
}

/// Room for the steps, with the place itself where it is new.
fn start(len: usize, before: Before) -> Vec<(Str, Value)> {
    let mut out = Vec::with_capacity(len + 1);
    if before == Before::Nothing {
        out.push((Str::const_new("."), Value::object()));
    }
    out
}

/// True for a value that stood there already in the empty object.
fn unchanged(before: Before, value: &Value) -> bool {
    match (before, value) {
        (Before::Nothing, _) => false,
        (_, Value::Null) => true,
        (Before::Struct, Value::Object(map)) => map.is_empty(),
        (Before::Struct, Value::String(s)) => s.is_empty(),
        (Before::Struct, Value::Int(i)) => *i == 0,
        (Before::Struct, Value::Float(f)) => *f == 0.0,
        (Before::Struct, Value::Bool(b)) => !b,
        _ => false,
    }
}
