//! What a configuration would replace as a whole. Source: `findAtomics` of upstream's mutating policies.

use super::shape::Shape;
use schema::Schema;
use value::Value;

/// The places of a configuration whose type is owned as a whole: `.spec.template.spec.containers[0].args`.
pub fn atomics(schema: &Schema, config: &Value) -> Vec<String> {
    let mut found = Vec::new();
    find(Shape::of(schema), config, "", &mut found);
    found
}

fn find(shape: Shape, value: &Value, path: &str, found: &mut Vec<String>) {
    let compound = matches!(value, Value::Object(_) | Value::Array(_));
    if compound && shape.is_atomic() {
        found.push(path.to_string());
    }
    match value {
        Value::Object(members) => {
            for (name, inner) in members.iter() {
                if let Some(member) = shape.member(name) {
                    find(member.shape, inner, &format!("{path}.{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                find(shape.items(), item, &format!("{path}[{i}]"), found);
            }
        }
        _ => {}
    }
}
