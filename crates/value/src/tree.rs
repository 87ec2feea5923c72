//! The tree itself and its accessors.

use crate::{Map, Str};

/// One JSON value in 32 bytes; strings up to 24 bytes stand inline.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Str),
    Array(Vec<Value>),
    Object(Map),
}

static NULL: Value = Value::Null;

impl Value {
    /// An empty object.
    pub const fn object() -> Self {
        Value::Object(Map::new())
    }
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(b) = self { Some(*b) } else { None }
    }
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(i) => Some(*i),
            // Go's decoder takes 1.0 and 1e3 for an integer field of a custom resource.
            Value::Float(f) if f.fract() == 0.0 && f.abs() < 9e15 => Some(*f as i64),
            _ => None,
        }
    }
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(i) => Some(*i as f64),
            Value::Float(f) => Some(*f),
            _ => None,
        }
    }
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(s) = self { Some(s) } else { None }
    }
    pub fn as_array(&self) -> Option<&Vec<Value>> {
        if let Value::Array(a) = self { Some(a) } else { None }
    }
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Value>> {
        if let Value::Array(a) = self { Some(a) } else { None }
    }
    pub fn as_object(&self) -> Option<&Map> {
        if let Value::Object(m) = self { Some(m) } else { None }
    }
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        if let Value::Object(m) = self { Some(m) } else { None }
    }
    /// The word for this value's type, as OpenAPI names it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) => "integer",
            Value::Float(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }
    /// A member of an object; `None` for anything else.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object()?.get(key)
    }
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_object_mut()?.get_mut(key)
    }
    /// The value at a path of object members; [`Value::Null`] where any step is absent.
    /// `pod.at(&["spec", "nodeName"]).as_str()`
    pub fn at(&self, path: &[&str]) -> &Value {
        path.iter().try_fold(self, |v, key| v.get(key)).unwrap_or(&NULL)
    }
    /// The string at a path, or `""`.
    pub fn str_at(&self, path: &[&str]) -> &str {
        self.at(path).as_str().unwrap_or("")
    }
    /// The elements of the array at a path, or none.
    pub fn items_at(&self, path: &[&str]) -> &[Value] {
        self.at(path).as_array().map_or(&[], Vec::as_slice)
    }
    /// The members of the object at a path, or none.
    pub fn members_at(&self, path: &[&str]) -> impl Iterator<Item = (&str, &Value)> {
        self.at(path).as_object().into_iter().flat_map(Map::iter)
    }
    /// The place at a path; objects are made on the way, and whatever else stands in the way is replaced.
    pub fn at_mut(&mut self, path: &[&str]) -> &mut Value {
        path.iter().fold(self, |v, key| {
            if !matches!(v, Value::Object(_)) {
                *v = Value::object();
            }
            match v {
                Value::Object(map) => map.entry(key, || Value::Null),
                _ => unreachable!("made an object above"),
            }
        })
    }
    /// Sets the value at a path, making objects on the way.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        *self.at_mut(path) = value.into();
    }
    /// Sets the value at a path only where nothing (or null) stands.
    pub fn set_default(&mut self, path: &[&str], value: impl Into<Value>) {
        if self.at(path).is_null() {
            self.set(path, value);
        }
    }
    /// Removes what stands at a path and returns it; makes nothing on the way.
    pub fn remove(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        let parent = parents.iter().try_fold(self, |v, key| v.get_mut(key))?;
        parent.as_object_mut()?.remove(last)
    }
    /// The mutable array at a path, or none.
    pub fn array_at_mut(&mut self, path: &[&str]) -> Option<&mut Vec<Value>> {
        path.iter().try_fold(self, |v, key| v.get_mut(key))?.as_array_mut()
    }

    /// True for an object that shares its members with another one: nobody has changed it since it was copied.
    pub fn is_shared_with(&self, other: &Value) -> bool {
        matches!((self, other), (Value::Object(a), Value::Object(b)) if !a.is_empty() && a.is_shared_with(b))
    }
    /// Of an array before it was changed, the item that became `item` at place `i`: the one that is still shared, or else
    /// the one at that place; [`Value::Null`] where there is none.
    pub fn beside(&self, i: usize, item: &Value) -> &Value {
        let items = self.items_at(&[]);
        let there = items.get(i);
        match there {
            Some(there) if there.is_shared_with(item) => there,
            _ => items.iter().find(|other| other.is_shared_with(item)).or(there).unwrap_or(&NULL),
        }
    }

    /// `metadata.name`, `""` where absent.
    pub fn name(&self) -> &str {
        self.str_at(&["metadata", "name"])
    }
    /// `metadata.namespace`, `""` where absent.
    pub fn namespace(&self) -> &str {
        self.str_at(&["metadata", "namespace"])
    }
    /// Compact JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.write_json(&mut out);
        out
    }
}

impl std::fmt::Display for Value {
    /// Compact JSON.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_json()))
    }
}

macro_rules! from {
    ($($ty:ty => |$x:ident| $make:expr),+ $(,)?) => {
        $(impl From<$ty> for Value { fn from($x: $ty) -> Self { $make } })+
    };
}
from! {
    bool => |x| Value::Bool(x),
    i64 => |x| Value::Int(x),
    i32 => |x| Value::Int(x.into()),
    u32 => |x| Value::Int(x.into()),
    u16 => |x| Value::Int(x.into()),
    u64 => |x| i64::try_from(x).map_or(Value::Float(x as f64), Value::Int),
    usize => |x| Value::from(x as u64),
    f64 => |x| Value::Float(x),
    &str => |x| Value::String(x.into()),
    &String => |x| Value::String(x.as_str().into()),
    String => |x| Value::String(x.into()),
    Str => |x| Value::String(x),
    &Str => |x| Value::String(x.clone()),
    Map => |x| Value::Object(x),
    Vec<Value> => |x| Value::Array(x),
    &Value => |x| x.clone(),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(x: Option<T>) -> Self {
        x.map_or(Value::Null, Into::into)
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(iter: I) -> Self {
        Value::Array(iter.into_iter().map(Into::into).collect())
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}
impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Value, value};

    #[test]
    fn paths_read_set_and_remove() {
        let mut v = value!({"spec": {"a": 1}});
        assert_eq!(v.at(&["spec", "a"]).as_i64(), Some(1));
        assert!(v.at(&["spec", "b", "c"]).is_null());
        v.set(&["spec", "b", "c"], "x");
        v.set_default(&["spec", "a"], 7);
        assert_eq!(v.to_string(), r#"{"spec":{"a":1,"b":{"c":"x"}}}"#);
        assert_eq!(v.remove(&["spec", "b"]), Some(value!({"c": "x"})));
        assert_eq!(v.remove(&["none", "b"]), None);
    }

    #[test]
    fn a_value_is_32_bytes() {
        assert_eq!(size_of::<Value>(), 32);
    }
}
