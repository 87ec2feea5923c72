//! The values that a field may have, as documents list them: `data/enums.txt`.
//!
//! Only clients read them there (`kubectl explain`, generators): what is valid is said by a kind's own rules, whose
//! messages differ from field to field. A line at the margin has the values, indented lines the fields that take them. The
//! file is read when a document is made, and not kept.

use crate::builtin;
use std::{collections::HashMap, fmt::Write};
use value::Value;

/// The values, `|` between them, by type and field: `io.k8s.api.core.v1.Pod spec`.
pub(crate) struct Enums(HashMap<String, &'static str>);

impl Enums {
    pub(crate) fn read() -> Self {
        let mut all = HashMap::new();
        let mut values = "";
        for line in include_str!("../../data/enums.txt").lines() {
            match line.strip_prefix(' ').and_then(|field| field.split_once(' ')) {
                Some((name, field)) => {
                    all.insert(format!("{} {field}", builtin::full(name)), values);
                }
                None => values = line,
            }
        }
        Enums(all)
    }

    /// Adds a field's values to its schema, or to that of its items. What its description ends with, where the field
    /// itself is the value.
    pub(crate) fn list(&self, property: &mut Value, name: &str, field: &str) -> Option<String> {
        let values = self.0.get(&format!("{name} {field}"))?;
        let list: Value = values.split('|').collect();
        for inner in ["items", "additionalProperties"] {
            if property.get(inner).is_some() {
                property.set(&[inner, "enum"], list);
                return None;
            }
        }
        property.set(&["enum"], list);
        let mut text = String::from("Possible enum values:");
        for value in values.split('|') {
            let _ = write!(text, "\n - `\"{value}\"`");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_there() {
        let all = Enums::read();
        assert!(all.0.len() > 90);
        for place in all.0.keys() {
            let (name, field) = place.split_once(' ').unwrap();
            let schema = builtin::schema(name).unwrap_or_else(|| panic!("{name}"));
            assert!(schema.node().field(field).is_some(), "{name}.{field}");
        }
    }
}
