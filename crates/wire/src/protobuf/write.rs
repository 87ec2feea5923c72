//! From a tree to a message.

use super::raw::Writer;
use base::time;
use base64::{Engine, engine::general_purpose::STANDARD};
use schema::{Arena, Empty, Field, Node, NodeId, Schema, Type};
use value::{Map, Value};

/// The message of a value of a built-in type, without an envelope. Members that the schema does not know are left out.
pub fn message(schema: &Schema, value: &Value) -> Vec<u8> {
    let (arena, id) = schema.parts();
    let mut out = Writer::with_capacity(512);
    Walk { arena }.content(&mut out, id, id, value);
    out.into_vec()
}

struct Walk<'a> {
    arena: &'a Arena,
}

impl<'a> Walk<'a> {
    /// The fields of one message. `owner` is the nearest type with a name: few types refer to it.
    fn content(&self, out: &mut Writer, id: NodeId, owner: NodeId, value: &Value) {
        let node = &self.arena[id];
        match last(node) {
            _ if node.ty == Type::Object => {
                static EMPTY: Map = Map::new();
                let map = value.as_object().unwrap_or(&EMPTY);
                self.members(out, id, map, &node.wire_order, 0);
            }
            "Quantity" => out.text(1, text(value)),
            "Time" | "MicroTime" => timestamp(out, value, last(node) == "MicroTime"),
            "IntOrString" => {
                out.integer(1, i64::from(value.as_str().is_some()));
                out.integer(2, value.as_i64().unwrap_or(0));
                out.text(3, text(value));
            }
            "JSONSchemaPropsOrBool" => {
                out.integer(1, i64::from(*value != Value::Bool(false)));
                if value.as_object().is_some() {
                    out.message(2, |out| self.content(out, owner, owner, value));
                }
            }
            "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray" => match value {
                Value::Array(items) => items.iter().for_each(|item| match item {
                    Value::String(item) => out.text(2, item),
                    item => out.message(2, |out| self.content(out, owner, owner, item)),
                }),
                value => out.message(1, |out| self.content(out, owner, owner, value)),
            },
            // RawExtension, FieldsV1, JSON: the text itself.
            last if !value.is_null() || last == "JSON" => out.bytes(1, &value.to_json()),
            _ => {}
        }
    }

    /// The members of an object whose paths agree up to `depth`; those with longer paths share a message.
    fn members(&self, out: &mut Writer, owner: NodeId, map: &Map, order: &[u16], depth: usize) {
        let fields = &self.arena[owner].fields;
        let path = |i: &u16| fields[usize::from(*i)].wire_path();
        let is_leaf = |path: [u32; 3]| path.get(depth + 1).is_none_or(|next| *next == 0);
        for group in order.chunk_by(|a, b| path(a)[depth] == path(b)[depth]) {
            let number = path(&group[0]);
            if is_leaf(number) {
                let field = &fields[usize::from(group[0])];
                self.field(out, number[depth], field, owner, map.get(&field.name));
            } else {
                out.message(number[depth], |out| self.members(out, owner, map, group, depth + 1));
            }
        }
    }

    fn field(&self, out: &mut Writer, number: u32, field: &Field, owner: NodeId, value: Option<&Value>) {
        match value.filter(|v| !v.is_null()) {
            Some(value) => self.value(out, number, field.node, owner, value),
            // What is no pointer in Go is always written.
            None if matches!(field.empty, Empty::Omit | Empty::Zero) => {
                let node = &self.arena[field.node];
                match node.ty {
                    Type::String if node.format.is_empty() => out.text(number, ""),
                    Type::Integer | Type::Boolean => out.integer(number, 0),
                    Type::Number => out.double(number, 0.0),
                    Type::Object if node.additional.is_none() => {
                        self.value(out, number, field.node, owner, &Value::Null);
                    }
                    _ => {}
                }
            }
            None => {}
        }
    }

    fn value(&self, out: &mut Writer, number: u32, id: NodeId, owner: NodeId, value: &Value) {
        let node = &self.arena[id];
        match (node.ty, node.format.as_str()) {
            (Type::Array, _) => {
                if let Some(items) = node.items {
                    let values = value.as_array().map_or(&[][..], Vec::as_slice);
                    values.iter().for_each(|item| self.value(out, number, items, owner, item));
                }
            }
            (Type::Object, _) if node.fields.is_empty() && node.additional.is_some() => {
                self.entries(out, number, node, owner, value);
            }
            (Type::String, "") => out.text(number, text(value)),
            (Type::String, "byte") => out.bytes(number, &STANDARD.decode(text(value)).unwrap_or_default()),
            (Type::Boolean, _) => out.integer(number, i64::from(*value == Value::Bool(true))),
            (Type::Integer, _) => out.integer(number, value.as_i64().unwrap_or(0)),
            (Type::Number, _) => out.double(number, value.as_f64().unwrap_or(0.0)),
            (Type::Object, _) => out.message(number, |out| self.content(out, id, id, value)),
            _ => out.message(number, |out| self.content(out, id, owner, value)),
        }
    }

    /// A map: a message of key and value for each. A list as value stands in a message of its own (ExtraValue), because
    /// protobuf has no maps of lists.
    fn entries(&self, out: &mut Writer, number: u32, node: &'a Node, owner: NodeId, value: &Value) {
        let (Some(map), Some(id)) = (value.as_object(), node.additional) else { return };
        for (key, value) in map.iter() {
            out.message(number, |out| {
                out.text(1, key);
                match self.arena[id].ty {
                    Type::Array => out.message(2, |out| self.value(out, 1, id, owner, value)),
                    _ => self.value(out, 2, id, owner, value),
                }
            });
        }
    }
}

/// The last word of a type's name.
pub(super) fn last(node: &Node) -> &str {
    node.name.rsplit('.').next().unwrap_or("")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// Seconds and nanoseconds; nothing for no time.
fn timestamp(out: &mut Writer, value: &Value, fine: bool) {
    if let Some(t) = value.as_str().and_then(time::parse) {
        // Nanoseconds count upwards from the second, also before 1970.
        let nanos = i64::from(t.subsec_nanosecond());
        let seconds = t.as_second() - i64::from(nanos < 0);
        out.integer(1, seconds);
        out.integer(2, if fine { nanos.rem_euclid(1_000_000_000) } else { 0 });
    }
}
