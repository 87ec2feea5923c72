//! A place in an object: what stands there, and its path. Validation walks both together, so that a message never
//! names a path that the code did not take. Paths live on the stack and are printed only for errors.

use base::{FieldErrors, names::Check, status::Problem};
use value::{Path, Value};

/// A value and where it stands. `At::root(pod).get("spec").get("nodeName")`.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    pub value: &'a Value,
    pub path: Path<'a>,
}

static NULL: Value = Value::Null;

impl<'a> At<'a> {
    /// The object itself.
    pub fn root(value: &'a Value) -> At<'a> {
        At { value, path: Path::root() }
    }
    /// A member; null where there is none.
    pub fn get<'b>(&'b self, key: &'b str) -> At<'b> {
        At { value: self.value.get(key).unwrap_or(&NULL), path: self.path.key(key) }
    }
    /// The elements of a list.
    pub fn items<'b>(&'b self) -> impl Iterator<Item = At<'b>> {
        self.value.as_array().into_iter().flatten().enumerate().map(|(i, value)| At { value, path: self.path.index(i) })
    }
    /// The entries of a map whose keys are data.
    pub fn entries<'b>(&'b self) -> impl Iterator<Item = (&'b str, At<'b>)> {
        self.value
            .as_object()
            .into_iter()
            .flat_map(|map| map.iter())
            .map(|(key, value)| (key, At { value, path: self.path.map_key(key) }))
    }
    /// The place of a key in a map whose keys are data.
    pub fn entry<'b>(&'b self, key: &'b str) -> At<'b> {
        At { value: self.value.get(key).unwrap_or(&NULL), path: self.path.map_key(key) }
    }

    /// The string, `""` where there is none.
    pub fn str(&self) -> &'a str {
        self.value.as_str().unwrap_or("")
    }
    /// The number, 0 where there is none.
    pub fn int(&self) -> i64 {
        self.value.as_i64().unwrap_or(0)
    }
    /// The boolean, false where there is none.
    pub fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or(false)
    }
    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }
    /// Nothing, `""`, `[]` or `{}`.
    pub fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(s) => s.is_empty(),
            Value::Array(a) => a.is_empty(),
            Value::Object(m) => m.is_empty(),
            _ => false,
        }
    }
    /// The number of elements or members.
    pub fn len(&self) -> usize {
        match self.value {
            Value::Array(a) => a.len(),
            Value::Object(m) => m.len(),
            _ => 0,
        }
    }

    /// `Required value` when empty; true when something stands there.
    pub fn need(&self, errors: &mut FieldErrors) -> bool {
        if self.is_empty() {
            errors.required(self.path, "");
        }
        !self.is_empty()
    }
    pub fn required(&self, errors: &mut FieldErrors, detail: impl Into<String>) {
        errors.required(self.path, detail);
    }
    pub fn forbidden(&self, errors: &mut FieldErrors, detail: impl Into<String>) {
        errors.forbidden(self.path, detail);
    }
    /// `Invalid value`, with the value that stands there (nothing prints as an empty string).
    pub fn invalid(&self, errors: &mut FieldErrors, detail: impl Into<String>) {
        errors.add(Problem::Invalid, self.path, Some(self.printed()), detail);
    }
    /// `Invalid value` of a number; nothing prints as 0.
    pub fn invalid_int(&self, errors: &mut FieldErrors, detail: impl Into<String>) {
        errors.invalid_raw(self.path, self.int(), detail);
    }
    /// `Invalid value` for another value than the one that stands there.
    pub fn invalid_as(&self, errors: &mut FieldErrors, value: &str, detail: impl Into<String>) {
        errors.invalid(self.path, value, detail);
    }
    pub fn unsupported(&self, errors: &mut FieldErrors, supported: &[&str]) {
        errors.not_supported(self.path, self.str(), supported);
    }
    pub fn duplicate(&self, errors: &mut FieldErrors) {
        errors.add(Problem::Duplicate, self.path, Some(self.printed()), "");
    }
    pub fn not_found(&self, errors: &mut FieldErrors) {
        errors.add(Problem::NotFound, self.path, Some(self.printed()), "");
    }
    /// `Too many: 30: must have at most 20 items`.
    pub fn too_many(&self, errors: &mut FieldErrors, max: usize) {
        let detail = format!("must have at most {max} items");
        errors.add(Problem::TooMany, self.path, Some(self.len().to_string()), detail);
    }
    /// `Too many` of a list that is longer than this.
    pub fn at_most(&self, errors: &mut FieldErrors, max: usize) {
        if self.len() > max {
            self.too_many(errors, max);
        }
    }
    /// `Invalid value` where a check from [`base::names`] failed.
    pub fn shape(&self, errors: &mut FieldErrors, check: Check) {
        if let Err(message) = check {
            self.invalid(errors, message);
        }
    }
    /// The same for another value than the one that stands here (a key of the map, a part of the text).
    pub fn shape_as(&self, errors: &mut FieldErrors, value: &str, check: Check) {
        if let Err(message) = check {
            self.invalid_as(errors, value, message);
        }
    }

    fn printed(&self) -> String {
        match self.value {
            Value::Null => "\"\"".into(),
            value => value.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn walks_value_and_path_together() {
        let pod = value!({"spec": {"containers": [{"name": "a"}, {"name": ""}]}});
        let mut errors = FieldErrors::default();
        for container in At::root(&pod).get("spec").get("containers").items() {
            container.get("name").need(&mut errors);
        }
        assert_eq!(errors.0.len(), 1);
        assert_eq!(errors.0[0].to_string(), "spec.containers[1].name: Required value");
    }
}
