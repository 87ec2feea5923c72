//! Equality and order of values.
//!
//! Values of different types are unequal rather than wrong; numbers compare by amount across their types.

use super::{Text, Val, adapt};
use crate::{decl::ObjectType, library::Opaque};
use std::cmp::Ordering;

/// `==`
pub fn equal(a: &Val<'_>, b: &Val<'_>) -> bool {
    match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::String(a), Val::String(b)) => a.as_str() == b.as_str(),
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::Type(a), Val::Type(b)) => a.name() == b.name(),
        (Val::List(a), Val::List(b)) => a.same(b),
        (Val::Map(a), Val::Map(b)) => a.same(b),
        (Val::Object(a, schema), Val::Object(b, _)) => std::ptr::eq(*a, *b) || same_object(a, b, schema),
        (Val::Object(map, schema), Val::Map(other)) | (Val::Map(other), Val::Object(map, schema)) => {
            map.len() == other.len()
                && map.iter().all(|(key, value)| {
                    let Some(decl) = decl_of(schema, key) else { return other.get_str(key).is_some() };
                    match (adapt(value, decl), other.get_str(key)) {
                        (Ok(a), Some(Ok(b))) => equal(&a, &b),
                        _ => false,
                    }
                })
        }
        (Val::Struct(a), Val::Struct(b)) => {
            let value = |name: &str| b.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v);
            a.ty == b.ty
                && a.fields.len() == b.fields.len()
                && a.fields.iter().all(|(name, v)| value(name).is_some_and(|there| equal(v, there)))
        }
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b),
            (None, None) => true,
            _ => false,
        },
        (Val::Opaque(a), Val::Opaque(b)) => a.same(b),
        (a, b) => compare(a, b) == Some(Ordering::Equal),
    }
}

/// The order of two values; `None` where they have none.
pub fn compare(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
        (Val::Uint(a), Val::Uint(b)) => Some(a.cmp(b)),
        (Val::Int(a), Val::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Val::Uint(a), Val::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Double(a), Val::Int(b)) => mixed(*a, i128::from(*b)),
        (Val::Double(a), Val::Uint(b)) => mixed(*a, i128::from(*b)),
        (Val::Int(a), Val::Double(b)) => mixed(*b, i128::from(*a)).map(Ordering::reverse),
        (Val::Uint(a), Val::Double(b)) => mixed(*b, i128::from(*a)).map(Ordering::reverse),
        (Val::String(a), Val::String(b)) => Some(a.as_str().cmp(b.as_str())),
        (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
        (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
        (Val::Opaque(a), Val::Opaque(b)) => match (&**a, &**b) {
            (Opaque::Quantity(a), Opaque::Quantity(b)) => Some(a.cmp(b)),
            _ => None,
        },
        _ => None,
    }
}

/// A double against an integer, without the loss that turning either into the other would bring.
fn mixed(a: f64, b: i128) -> Option<Ordering> {
    if a.is_nan() {
        return None;
    }
    if a >= 1e20 {
        return Some(Ordering::Greater);
    }
    if a <= -1e20 {
        return Some(Ordering::Less);
    }
    let whole = a.trunc();
    Some((whole as i128).cmp(&b).then(a.partial_cmp(&whole)?))
}

/// `Some(None)` would be a field without a schema, which does not take part.
fn decl_of<'a>(schema: &'a ObjectType, key: &str) -> Option<Option<&'a crate::decl::Decl>> {
    schema.fields().iter().find(|f| f.name == key).map(|f| Some(&*f.decl))
}

/// Declared fields compare as they are read, where null is absent; others compare as they stand.
fn same_object(a: &value::Map, b: &value::Map, schema: &ObjectType) -> bool {
    let present = |map: &'_ value::Map, key: &str| map.get(key).is_some_and(|value| !value.is_null());
    a.len() == b.len()
        && a.iter().all(|(key, value)| match decl_of(schema, key) {
            None => b.get(key).is_none_or(|other| value == other),
            Some(_) if !present(a, key) || !present(b, key) => present(a, key) == present(b, key),
            Some(decl) => match (adapt(value, decl), b.get(key).map(|other| adapt(other, decl))) {
                (Ok(a), Some(Ok(b))) => equal(&a, &b),
                _ => false,
            },
        })
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}
