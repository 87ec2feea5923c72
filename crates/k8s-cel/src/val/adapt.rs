//! Between an object's tree and values.

use super::{EvalError, Fallible, List, Map, Text, Val, duration_text};
use crate::{
    decl::{Decl, Shape},
    library::Opaque,
    library::times,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use value::Value;

/// A node of a tree as a value, read through its declaration where there is one.
pub fn adapt<'a>(value: &'a Value, decl: Option<&'a Decl>) -> Fallible<Val<'a>> {
    let Some(decl) = decl else { return Ok(plain(value)) };
    if let Value::Null = value {
        return if decl.nullable || matches!(decl.shape, Shape::Plain) {
            Ok(Val::Null)
        } else {
            Err(EvalError::new("invalid data, got null for schema with nullable=false"))
        };
    }
    let wrong = |expected: &str| EvalError::new(format!("invalid data, expected {expected}, got {}", go_type(value)));
    let shaped = |expected: &'static str| EvalError::new(format!("invalid data, expected {expected}"));
    let text = || value.as_str().ok_or_else(|| wrong("string"));
    let unreadable = |what: &str, text: &str, why: &str| EvalError::new(format!("Invalid {what} {text}: {why}"));
    match &decl.shape {
        Shape::Plain => Ok(plain(value)),
        Shape::IntOrString => match value {
            Value::Int(_) | Value::String(_) => Ok(plain(value)),
            _ => Err(shaped("XIntOrString value to be either a string or integer")),
        },
        Shape::Bool => value.as_bool().map(Val::Bool).ok_or_else(|| wrong("bool")),
        Shape::Int => value.as_i64().map(Val::Int).ok_or_else(|| wrong("int")),
        Shape::Double => value.as_f64().map(Val::Double).ok_or_else(|| wrong("float")),
        Shape::String => text().map(|text| Val::String(Text::Borrowed(text))),
        Shape::Bytes => {
            let text = text()?;
            let bytes = STANDARD.decode(text);
            bytes.map(|b| Val::Bytes(b.into())).map_err(|e| unreadable("byte formatted string", text, &e.to_string()))
        }
        Shape::Duration => {
            let text = text()?;
            let nanos = times::parse_duration(text);
            nanos.map(Val::Duration).ok_or_else(|| unreadable("duration", text, "unable to parse to a duration"))
        }
        Shape::Date => {
            let text = text()?;
            let time = times::parse_time(&format!("{text}T00:00:00Z"));
            time.map(Val::Timestamp)
                .ok_or_else(|| unreadable("date formatted string", text, "unable to parse to a date"))
        }
        Shape::DateTime => {
            let text = text()?;
            let time = times::parse_time(text);
            time.map(Val::Timestamp)
                .ok_or_else(|| unreadable("date-time formatted string", text, "unable to parse to a date-time"))
        }
        Shape::List { .. } => match value {
            Value::Array(items) => Ok(Val::List(List::Tree(items, Some(decl)))),
            _ => Err(shaped("an array for the provided schema with type=array")),
        },
        Shape::Map { .. } => match value {
            Value::Object(map) => Ok(Val::Map(Map::Tree(map, Some(decl)))),
            _ => Err(shaped("a map for the provided schema with type=object")),
        },
        Shape::Object(object) => match value {
            Value::Object(map) => Ok(Val::Object(map, object)),
            _ => Err(shaped("a map for the provided schema with type=object")),
        },
    }
}

/// What the reference calls the type of a decoded value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn plain(value: &Value) -> Val<'_> {
    match value {
        Value::Null => Val::Null,
        Value::Bool(b) => Val::Bool(*b),
        Value::Int(n) => Val::Int(*n),
        Value::Float(n) => Val::Double(*n),
        Value::String(text) => Val::String(Text::Borrowed(text)),
        Value::Array(items) => Val::List(List::Tree(items, None)),
        Value::Object(map) => Val::Map(Map::Tree(map, None)),
    }
}

/// A value as JSON: what patches and apply configurations of mutating policies are made of.
pub fn to_tree(val: &Val<'_>) -> Fallible<Value> {
    Ok(match val {
        Val::Null | Val::Optional(None) => Value::Null,
        Val::Bool(b) => Value::Bool(*b),
        Val::Int(n) => Value::Int(*n),
        Val::Uint(n) => Value::from(*n),
        Val::Double(n) if n.is_finite() => Value::Float(*n),
        Val::String(text) => Value::from(text.as_str()),
        Val::Bytes(bytes) => Value::from(STANDARD.encode(bytes)),
        Val::Timestamp(t) => Value::from(t.to_string()),
        Val::Duration(nanos) => Value::from(duration_text(*nanos)),
        Val::List(List::Tree(items, _)) => Value::Array((*items).clone()),
        Val::List(list) => {
            let mut items = Vec::with_capacity(list.len());
            for item in list.iter() {
                items.push(to_tree(&item?)?);
            }
            Value::Array(items)
        }
        Val::Map(Map::Tree(map, _)) | Val::Object(map, _) => Value::Object((*map).clone()),
        Val::Map(map) => {
            let mut out = value::Map::new();
            for (key, item) in map.entries()? {
                let Val::String(key) = &key else {
                    let message = format!("map key \"{key}\" is of type {}, not string", key.type_of().name());
                    return Err(EvalError::new(message));
                };
                out.insert(key.as_str(), to_tree(&item)?);
            }
            Value::Object(out)
        }
        Val::Struct(object) => {
            let mut out = value::Map::new();
            for (name, item) in &object.fields {
                out.insert(name.clone(), to_tree(item)?);
            }
            Value::Object(out)
        }
        Val::Optional(Some(inner)) => to_tree(inner)?,
        Val::Opaque(opaque) => match &**opaque {
            Opaque::Quantity(_) | Opaque::Ip(_) | Opaque::Cidr(_) | Opaque::Url(_) | Opaque::Semver(_) => {
                Value::from(opaque.to_string())
            }
            other => return Err(EvalError::new(format!("{} has no JSON form", other.type_of().name()))),
        },
        Val::Double(n) => return Err(EvalError::new(format!("{n} has no JSON form"))),
        Val::Type(ty) => Value::from(ty.name()),
    })
}
