//! From a message to a tree.
//!
//! A field that stands twice counts as it last stood; repeated ones collect. Fields without content that JSON would leave
//! out are left out, so that a message and its JSON give the same tree.

use super::{
    Unknown, is_envelope,
    raw::{Content, Reader},
    schema_of,
    write::last,
};
use base::time::{self, Timestamp};
use base64::{Engine, engine::general_purpose::STANDARD};
use schema::{Arena, Empty, Field, Node, NodeId, Schema, Type};
use std::fmt;
use value::{Map, Str, Value};

/// Messages in messages: as deep as JSON may be.
const DEEPEST: usize = 128;

/// The bytes are not the message that they should be; the text says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Malformed {}

type Result<T> = std::result::Result<T, Malformed>;

/// The tree of a message of a built-in type. Unknown fields are skipped.
pub fn parse_message(schema: &Schema, bytes: &[u8]) -> Result<Value> {
    message(schema, bytes, 0)
}

fn message(schema: &Schema, bytes: &[u8], level: usize) -> Result<Value> {
    let (arena, id) = schema.parts();
    Walk { arena }.content(id, id, bytes, level)
}

/// What stands behind the four magic bytes.
pub(super) fn unknown(body: &[u8]) -> Result<Unknown<'_>> {
    let mut out = Unknown { api_version: "".into(), kind: "".into(), raw: b"", content_type: "".into() };
    let mut reader = Reader(body);
    while let Some((number, content)) = reader.next()? {
        match (number, content) {
            (1, Content::Bytes(bytes)) => {
                let mut reader = Reader(bytes);
                while let Some((number, content)) = reader.next()? {
                    match (number, content) {
                        (1, Content::Bytes(text)) => out.api_version = utf8(text)?.into(),
                        (2, Content::Bytes(text)) => out.kind = utf8(text)?.into(),
                        _ => {}
                    }
                }
            }
            (2, Content::Bytes(bytes)) => out.raw = bytes,
            (4, Content::Bytes(text)) => out.content_type = utf8(text)?.into(),
            _ => {}
        }
    }
    Ok(out)
}

/// The tree of an object in its envelope.
pub(super) fn enveloped(bytes: &[u8], level: usize) -> Result<Value> {
    let unknown = super::open(bytes)?;
    let mut value = match (&*unknown.content_type, schema_of(&unknown.api_version, &unknown.kind)) {
        ("application/json", _) => json(unknown.raw)?,
        (_, Some(schema)) => message(&schema, unknown.raw, level)?,
        (_, None) => {
            let (kind, version) = (&unknown.kind, &unknown.api_version);
            return Err(Malformed(format!("no kind \"{kind}\" is registered for version \"{version}\"")));
        }
    };
    value.set(&["apiVersion"], &*unknown.api_version);
    value.set(&["kind"], &*unknown.kind);
    Ok(value)
}

struct Walk<'a> {
    arena: &'a Arena,
}

/// The members of one object while they come in, by the index of their field.
type Slots = Vec<Option<Value>>;

impl<'a> Walk<'a> {
    /// What the fields of one message make.
    fn content(&self, id: NodeId, owner: NodeId, bytes: &[u8], level: usize) -> Result<Value> {
        if level > DEEPEST {
            return Err(Malformed("proto: exceeded maximum recursion depth".into()));
        }
        let node = &self.arena[id];
        if node.ty == Type::Object {
            return self.object(id, bytes, level);
        }
        match last(node) {
            "Quantity" => Ok(fields(bytes)?.text(1)?.map_or("0".into(), Value::from)),
            "Time" => Ok(timestamp(bytes)?.map(time::seconds).into()),
            "MicroTime" => Ok(timestamp(bytes)?.map(time::micros).into()),
            "IntOrString" => {
                let fields = fields(bytes)?;
                Ok(match fields.number(1) {
                    Some(1) => fields.text(3)?.unwrap_or("").into(),
                    _ => (fields.number(2).unwrap_or(0) as i32).into(),
                })
            }
            "JSONSchemaPropsOrBool" => {
                let fields = fields(bytes)?;
                match fields.bytes(2) {
                    Some(schema) => self.content(owner, owner, schema, level + 1),
                    None => Ok((fields.number(1) == Some(1)).into()),
                }
            }
            "JSONSchemaPropsOrArray" => {
                let fields = fields(bytes)?;
                match fields.bytes(1) {
                    Some(schema) => self.content(owner, owner, schema, level + 1),
                    None => fields.all(2).map(|item| self.content(owner, owner, item, level + 1)).collect(),
                }
            }
            "JSONSchemaPropsOrStringArray" => {
                let fields = fields(bytes)?;
                match fields.bytes(1) {
                    Some(schema) => self.content(owner, owner, schema, level + 1),
                    None => fields.all(2).map(utf8).collect(),
                }
            }
            _ => match fields(bytes)?.bytes(1).unwrap_or_default() {
                b"" => Ok(Value::Null),
                raw if is_envelope(raw) => enveloped(raw, level + 1),
                raw => json(raw),
            },
        }
    }

    fn object(&self, id: NodeId, bytes: &[u8], level: usize) -> Result<Value> {
        let node = &self.arena[id];
        let mut slots: Slots = Vec::new();
        slots.resize_with(node.fields.len(), || None);
        self.members(id, bytes, &mut slots, [0; 3], 0, level)?;
        let entries = node.fields.iter().zip(slots).filter_map(|(field, slot)| {
            let value = slot.filter(|v| !v.is_null() && (field.empty != Empty::Omit || !is_zero(v)))?;
            Some((field.name.clone(), value))
        });
        Ok(Value::Object(Map::from_entries(entries.collect()).0))
    }

    /// Reads the fields of a message whose number is `path[..depth]` inside the object's own.
    fn members(
        &self,
        owner: NodeId,
        bytes: &[u8],
        slots: &mut Slots,
        mut path: [u32; 3],
        depth: usize,
        level: usize,
    ) -> Result<()> {
        let node = &self.arena[owner];
        let mut reader = Reader(bytes);
        while let Some((number, content)) = reader.next()? {
            path[depth] = number;
            let Some((index, field)) = find(node, path, depth) else { continue };
            let found = field.wire_path();
            match content {
                Content::Bytes(bytes) if found.get(depth + 1).is_some_and(|next| *next != 0) => {
                    self.members(owner, bytes, slots, path, depth + 1, level)?;
                }
                content => self.field(&mut slots[index], field, owner, content, level)?,
            }
        }
        Ok(())
    }

    fn field(
        &self,
        slot: &mut Option<Value>,
        field: &Field,
        owner: NodeId,
        content: Content<'_>,
        level: usize,
    ) -> Result<()> {
        let node = &self.arena[field.node];
        match (node.ty, node.items, node.additional) {
            (Type::Array, Some(item), _) => {
                let Value::Array(items) = slot.get_or_insert_with(|| Value::Array(Vec::new())) else { return Ok(()) };
                self.repeated(items, field, item, owner, content, level)
            }
            (Type::Object, _, Some(value)) if node.fields.is_empty() => {
                let Value::Object(map) = slot.get_or_insert_with(Value::object) else { return Ok(()) };
                let (key, value) = self.entry(field, value, owner, content, level)?;
                map.insert(key, value);
                Ok(())
            }
            _ => {
                *slot = Some(self.value(field, field.node, owner, content, level)?);
                Ok(())
            }
        }
    }

    /// One element, or numbers packed together.
    fn repeated(
        &self,
        items: &mut Vec<Value>,
        field: &Field,
        item: NodeId,
        owner: NodeId,
        content: Content<'_>,
        level: usize,
    ) -> Result<()> {
        match content {
            Content::Bytes(packed) if matches!(self.arena[item].ty, Type::Integer | Type::Boolean) => {
                let mut reader = Reader(packed);
                while !reader.0.is_empty() {
                    let number = Content::Number(reader.varint()?);
                    items.push(self.value(field, item, owner, number, level)?);
                }
            }
            content => items.push(self.value(field, item, owner, content, level)?),
        }
        Ok(())
    }

    fn value(&self, field: &Field, id: NodeId, owner: NodeId, content: Content<'_>, level: usize) -> Result<Value> {
        let node = &self.arena[id];
        Ok(match (node.ty, node.format.as_str(), content) {
            (Type::String, "", Content::Bytes(bytes)) => utf8(bytes)?.into(),
            (Type::String, "byte", Content::Bytes(bytes)) => STANDARD.encode(bytes).into(),
            (Type::Boolean, _, Content::Number(n)) => (n != 0).into(),
            (Type::Integer, "int32", Content::Number(n)) => (n as i32).into(),
            (Type::Integer, _, Content::Number(n)) => (n as i64).into(),
            (Type::Number, _, Content::Number(n)) => number(f64::from_bits(n)),
            (Type::Object, _, Content::Bytes(bytes)) => self.content(id, id, bytes, level + 1)?,
            (Type::Any | Type::IntOrString | Type::String, _, Content::Bytes(bytes)) => {
                self.content(id, owner, bytes, level + 1)?
            }
            (_, _, content) => {
                let (kind, name) = (content.wire_type(), &field.name);
                return Err(Malformed(format!("proto: wrong wireType = {kind} for field {name}")));
            }
        })
    }

    /// Key and value of one entry of a map.
    fn entry(
        &self,
        field: &Field,
        id: NodeId,
        owner: NodeId,
        content: Content<'_>,
        level: usize,
    ) -> Result<(Str, Value)> {
        let Content::Bytes(bytes) = content else {
            let (kind, name) = (content.wire_type(), &field.name);
            return Err(Malformed(format!("proto: wrong wireType = {kind} for field {name}")));
        };
        let node = &self.arena[id];
        let (mut key, mut value) = (Str::default(), None);
        let mut reader = Reader(bytes);
        while let Some((number, content)) = reader.next()? {
            match (number, content) {
                (1, Content::Bytes(bytes)) => key = utf8(bytes)?.into(),
                (2, Content::Bytes(bytes)) if node.ty == Type::Array => {
                    let items = fields(bytes)?;
                    let item = node.items.unwrap_or(id);
                    let items = items.all(1).map(|b| self.value(field, item, owner, Content::Bytes(b), level + 1));
                    value = Some(items.collect::<Result<Value>>()?);
                }
                (2, content) => value = Some(self.value(field, id, owner, content, level + 1)?),
                _ => {}
            }
        }
        let absent = || match node.ty {
            Type::Object => Value::object(),
            Type::String if node.format == "quantity" => "0".into(),
            Type::String if node.format == "date-time" => Value::Null,
            Type::String => "".into(),
            Type::Array => Value::Array(Vec::new()),
            _ => Value::Null,
        };
        Ok((key, value.unwrap_or_else(absent)))
    }
}

/// The field at a path, or one below it.
fn find(node: &Node, path: [u32; 3], depth: usize) -> Option<(usize, &Field)> {
    let mut wanted = path;
    wanted[depth + 1..].fill(0);
    let field = |i: &u16| &node.fields[usize::from(*i)];
    let at = node.wire_order.partition_point(|i| field(i).wire_path() < wanted);
    let index = node.wire_order.get(at)?;
    let found = field(index);
    (found.wire_path()[..=depth] == wanted[..=depth]).then_some((usize::from(*index), found))
}

/// All fields of a small message.
struct Fields<'a>(Vec<(u32, Content<'a>)>);

fn fields(bytes: &[u8]) -> Result<Fields<'_>> {
    let (mut out, mut reader) = (Vec::new(), Reader(bytes));
    while let Some(field) = reader.next()? {
        out.push(field);
    }
    Ok(Fields(out))
}

impl<'a> Fields<'a> {
    fn number(&self, number: u32) -> Option<u64> {
        self.0.iter().rev().find_map(|(n, content)| match content {
            Content::Number(value) if *n == number => Some(*value),
            _ => None,
        })
    }
    fn bytes(&self, number: u32) -> Option<&'a [u8]> {
        self.all(number).last()
    }
    fn text(&self, number: u32) -> Result<Option<&'a str>> {
        self.bytes(number).map(utf8).transpose()
    }
    fn all(&self, number: u32) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.0.iter().filter_map(move |(n, content)| match content {
            Content::Bytes(bytes) if *n == number => Some(*bytes),
            _ => None,
        })
    }
}

/// 0000-01-01T00:00:00Z, in seconds.
const YEAR_ZERO: i64 = -62_167_219_200;

/// `None` for no time, which is an empty message.
fn timestamp(bytes: &[u8]) -> Result<Option<Timestamp>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let fields = fields(bytes)?;
    let (seconds, nanos) = (fields.number(1).unwrap_or(0) as i64, fields.number(2).unwrap_or(0) as i32);
    match Timestamp::new(seconds, nanos) {
        // Before the year 0 there is no RFC 3339: the text could not be read again.
        Ok(t) if seconds >= YEAR_ZERO => Ok(Some(t)),
        _ => Err(Malformed(format!("timestamp out of range: {seconds}"))),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("proto: invalid UTF-8".into()))
}

fn json(raw: &[u8]) -> Result<Value> {
    value::parse_lenient(raw).map_err(|e| Malformed(e.to_string()))
}

/// JSON writes whole numbers without a point.
fn number(f: f64) -> Value {
    if f.fract() == 0.0 && f.abs() < 9e15 { Value::Int(f as i64) } else { Value::Float(f) }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Int(i) => *i == 0,
        Value::Float(f) => *f == 0.0,
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
