//! How a value is owned by the schema at its place: as a whole, by its members, or by its items.
//!
//! Source: KEP-555, and the conversion from OpenAPI in kube-openapi's `schemaconv`: lists are atomic unless they are sets
//! or have keys, maps and structs are granular unless said otherwise, what has no schema is deduced (maps granular,
//! lists atomic), and a RawExtension is one value.

use super::element;
use schema::{Arena, Field, ListType, Node, NodeId, Schema, Type};
use value::{Map, Str, Value};

/// The type at one place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape<'a> {
    Node(&'a Arena, NodeId),
    /// No schema: objects by their members, everything else as a whole.
    Deduced,
    /// One value, whatever it is.
    Whole,
}

/// What a value counts as at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Owned as a whole.
    Leaf,
    /// By members.
    Members,
    /// By items.
    Items,
}

/// The type of a member.
pub(crate) struct Member<'a> {
    pub shape: Shape<'a>,
    /// `None` for a key that is data.
    pub field: Option<&'a Field>,
}

const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";

impl<'a> Shape<'a> {
    pub fn of(schema: &'a Schema) -> Self {
        let (arena, id) = schema.parts();
        Shape::node(arena, id)
    }
    fn node(arena: &'a Arena, id: NodeId) -> Self {
        let node = &arena[id];
        match node.ty {
            Type::Any if node.fields.is_empty() && node.additional.is_none() && node.items.is_none() => {
                if node.name == RAW { Shape::Whole } else { Shape::Deduced }
            }
            _ => Shape::Node(arena, id),
        }
    }
    fn inner(self) -> Option<&'a Node> {
        match self {
            Shape::Node(arena, id) => Some(&arena[id]),
            _ => None,
        }
    }
    /// What a value counts as; `None` for null, which counts as whatever stands on the other side.
    pub fn form(self, value: &Value) -> Option<Form> {
        let atomic = match self {
            Shape::Whole => true,
            Shape::Deduced => matches!(value, Value::Array(_)),
            Shape::Node(arena, id) => match value {
                Value::Array(_) => arena[id].ty != Type::Array || arena[id].list_type == ListType::Atomic,
                _ => arena[id].atomic || !matches!(arena[id].ty, Type::Object | Type::Any),
            },
        };
        match value {
            Value::Null => None,
            Value::Object(_) if !atomic => Some(Form::Members),
            Value::Array(_) if !atomic => Some(Form::Items),
            _ => Some(Form::Leaf),
        }
    }
    /// The type of a member by name; `None` where the schema does not know it.
    pub fn member(self, name: &str) -> Option<Member<'a>> {
        let data = |shape| Some(Member { shape, field: None });
        let Shape::Node(arena, id) = self else { return data(self) };
        let node = &arena[id];
        if let Some(field) = node.field(name) {
            return Some(Member { shape: Shape::node(arena, field.node), field: Some(field) });
        }
        match node.additional {
            Some(more) => data(Shape::node(arena, more)),
            None if node.preserve_unknown || node.fields.is_empty() || node.ty == Type::Any => data(Shape::Deduced),
            None => None,
        }
    }
    /// The type of a list's items.
    pub fn items(self) -> Shape<'a> {
        match self {
            Shape::Node(arena, id) => arena[id].items.map_or(Shape::Whole, |items| Shape::node(arena, items)),
            _ => Shape::Whole,
        }
    }
    /// True for a place that is owned as a whole whatever stands there, by its declaration.
    pub fn is_atomic(self) -> bool {
        match self.inner() {
            Some(node) if node.ty == Type::Array => node.list_type == ListType::Atomic,
            Some(node) => node.ty == Type::Object && node.atomic,
            None => false,
        }
    }
    /// The step to an item of a list with keys or of a set. `Err` says why there is none, in upstream's words.
    pub fn step(self, item: &Value) -> Result<Str, String> {
        let node = self.inner();
        match (node.map(|n| (n.list_type, n)), item) {
            (Some((ListType::Map, node)), Value::Object(item)) => self.keys(node, item),
            (Some((ListType::Map, _)), Value::Null) => {
                Err("associative list with keys may not have a null element".into())
            }
            (Some((ListType::Map, _)), _) => Err("associative list with keys may not have non-map elements".into()),
            (_, Value::Object(_)) => Err("associative list without keys has an element that's a map type".into()),
            (_, Value::Array(_)) => Err("not supported: associative list with lists as elements".into()),
            (_, Value::Null) => Err("associative list without keys has an element that's an explicit null".into()),
            (_, item) => Ok(element::item(item)),
        }
    }
    /// What the step to an item depends on, in few bytes: its keys as they stand there, since their defaults are the
    /// schema's. False, with nothing written, where only the step itself says it.
    pub fn trace_step(self, item: &Value, out: &mut Vec<u8>) -> bool {
        let (Some(node), Some(item)) = (self.inner().filter(|n| n.list_type == ListType::Map), item.as_object()) else {
            return false;
        };
        let (start, mut present) = (out.len(), false);
        for name in &node.list_keys {
            match item.get(name) {
                None => out.push(b'-'),
                Some(Value::String(text)) => {
                    out.push(b'"');
                    out.extend_from_slice(&text.len().to_le_bytes());
                    out.extend_from_slice(text.as_bytes());
                    present = true;
                }
                Some(Value::Int(number)) => {
                    out.push(b'#');
                    out.extend_from_slice(&number.to_le_bytes());
                    present = true;
                }
                Some(_) => {
                    present = false;
                    break;
                }
            }
        }
        if !present {
            out.truncate(start);
        }
        present
    }
    fn keys(self, node: &'a Node, item: &Map) -> Result<Str, String> {
        let fields = self.items().inner();
        let value = |name: &str| {
            // An absent key has its default: two ports may differ by the protocol that only one of them names.
            item.get(name).or_else(|| fields?.field(name)?.default.as_ref())
        };
        let found = |names: &[Str]| -> Option<Str> {
            let mut keys = names.iter().filter_map(|n| Some((n.as_str(), value(n)?))).peekable();
            keys.peek()?;
            Some(element::keyed(keys))
        };
        let step = match node.list_keys.is_sorted() {
            true => found(&node.list_keys),
            false => {
                let mut names = node.list_keys.clone();
                names.sort();
                found(&names)
            }
        };
        step.ok_or_else(|| {
            let names: Vec<String> = node.list_keys.iter().map(|n| format!("{n:?}")).collect();
            let names = names.join(" ");
            format!(
                "associative list with keys has an element that omits all key fields [{names}] (and doesn't have default values for any key fields)"
            )
        })
    }
}

/// The members of an object, or none: null and everything else have none here.
pub(crate) fn members(value: Option<&Value>) -> Option<&Map> {
    value.and_then(Value::as_object).filter(|map| !map.is_empty())
}

/// The items of a list, or none.
pub(crate) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The names in either map, in order, with what stands under each.
pub(crate) fn both<'v>(
    left: Option<&'v Map>,
    right: Option<&'v Map>,
) -> impl Iterator<Item = (&'v str, Option<&'v Value>, Option<&'v Value>)> {
    let mut left = left.into_iter().flat_map(Map::iter).peekable();
    let mut right = right.into_iter().flat_map(Map::iter).peekable();
    std::iter::from_fn(move || {
        use std::cmp::Ordering::{Greater, Less};
        let order = match (left.peek(), right.peek()) {
            (None, None) => return None,
            (Some(_), None) => Less,
            (None, Some(_)) => Greater,
            (Some((l, _)), Some((r, _))) => value::order(l, r),
        };
        let l = if order.is_le() { left.next() } else { None };
        let r = if order.is_ge() { right.next() } else { None };
        let name = l.or(r)?.0;
        Some((name, l.map(|(_, v)| v), r.map(|(_, v)| v)))
    })
}
