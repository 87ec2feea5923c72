//! Protobuf request bodies: typed Go clients (kubectl's `create`, `auth can-i`) send nothing else.
//!
//! The schema knows every field's number, so one walk over bytes and schema makes the tree that JSON would have made;
//! what an empty field becomes is then decided where JSON's is. Answers are not written in protobuf yet: those clients
//! accept JSON beside it. Source of the envelope: `k8s.io/apimachinery/pkg/runtime/serializer/protobuf`.

use base::{Result, Status};
use base64::{Engine, engine::general_purpose::STANDARD};
use schema::{Arena, Field, Node, NodeId, Schema, Type};
use std::fmt;
use value::{Map, Str, Value, value};

/// The `Content-Type` of a body in this form.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8; 4] = b"k8s\0";
/// Messages nest no deeper in any built-in type.
const DEPTH: usize = 64;

/// True for the `Content-Type` of this form, with or without parameters.
pub fn is_content_type(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|t| t.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(MEDIA_TYPE))
}

/// Decodes a body. `find` gives the schema of the `apiVersion` and `kind` that the envelope names. 400 for anything that
/// is no such message.
pub fn decode(body: &[u8], find: impl FnOnce(&str, &str) -> Option<Schema>) -> Result<Value> {
    let refused = |why: &dyn fmt::Display| Status::bad_request(format!("the object provided is unrecognized: {why}"));
    let envelope = body.strip_prefix(MAGIC).ok_or_else(|| refused(&"does not appear to be a protobuf message"))?;
    let (mut api_version, mut kind, mut raw) = (Str::default(), Str::default(), &[][..]);
    for part in Reader(envelope) {
        match part.map_err(|e| refused(&e))? {
            (1, Wire::Bytes(meta)) => {
                for part in Reader(meta) {
                    match part.map_err(|e| refused(&e))? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text).map_err(|e| refused(&e))?,
                        (2, Wire::Bytes(text)) => kind = utf8(text).map_err(|e| refused(&e))?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let schema = find(&api_version, &kind)
        .ok_or_else(|| refused(&format!("no kind {kind:?} is registered for version {api_version:?}")))?;
    let (arena, root) = schema.parts();
    let mut value = message(arena, root, raw, 0).map_err(|e| refused(&e))?;
    value.set(&["apiVersion"], api_version);
    value.set(&["kind"], kind);
    Ok(value)
}

/// What is wrong with the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Broken(&'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// One value on the wire.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, Broken> {
        let mut out = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Broken("unexpected EOF"))?;
            self.0 = rest;
            out |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(out);
            }
        }
        Err(Broken("integer overflow"))
    }
    fn take(&mut self, n: usize) -> Result<&'a [u8], Broken> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Broken("unexpected EOF"))?;
        self.0 = tail;
        Ok(head)
    }
    fn field(&mut self) -> Result<(u32, Wire<'a>), Broken> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0).ok_or(Broken("illegal tag"))?;
        let fixed = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(fixed(self.take(8)?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Broken("invalid length"))?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(fixed(self.take(4)?) as u32),
            _ => return Err(Broken("illegal wire type")),
        };
        Ok((number, wire))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Wire<'a>), Broken>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// An object by its schema; unknown numbers are passed over, as protobuf wants it.
fn message(arena: &Arena, id: NodeId, bytes: &[u8], depth: usize) -> Result<Value, Broken> {
    if depth > DEPTH {
        return Err(Broken("too deeply nested"));
    }
    let node = &arena[id];
    let mut out = Map::new();
    for part in Reader(bytes) {
        let (number, wire) = part?;
        let Some(field) = node.fields.iter().find(|f| f.number == number) else { continue };
        add(arena, &mut out, field, wire, depth)?;
    }
    Ok(Value::Object(out))
}

/// Sets a field, or adds to it where it is a list or a map.
fn add(arena: &Arena, out: &mut Map, field: &Field, wire: Wire<'_>, depth: usize) -> Result<(), Broken> {
    let node = &arena[field.node];
    match (node.ty, node.items, node.additional) {
        (Type::Array, Some(item), _) => {
            let list = out.entry(&field.name, || Value::Array(Vec::new()));
            let made = items(arena, item, wire, depth)?;
            if let Value::Array(list) = list {
                list.extend(made);
            }
        }
        (Type::Object, _, Some(of)) => {
            let (key, item) = entry(arena, of, wire, depth)?;
            if let Value::Object(map) = out.entry(&field.name, Value::object) {
                map.insert(key, item);
            }
        }
        _ => {
            out.insert(field.name.clone(), one(arena, field.node, wire, depth)?);
        }
    }
    Ok(())
}

/// One element, or several where numbers are packed.
fn items(arena: &Arena, item: NodeId, wire: Wire<'_>, depth: usize) -> Result<Vec<Value>, Broken> {
    match (arena[item].ty, wire) {
        (Type::Integer | Type::Boolean, Wire::Bytes(packed)) => {
            let mut reader = Reader(packed);
            let mut out = Vec::new();
            while !reader.0.is_empty() {
                out.push(one(arena, item, Wire::Varint(reader.varint()?), depth)?);
            }
            Ok(out)
        }
        _ => Ok(vec![one(arena, item, wire, depth)?]),
    }
}

/// An entry of a map: key 1, value 2. A value that is a list (`UserInfo.extra`) stands in a message of its own.
fn entry(arena: &Arena, of: NodeId, wire: Wire<'_>, depth: usize) -> Result<(Str, Value), Broken> {
    let Wire::Bytes(bytes) = wire else { return Err(Broken("wrong wire type for a map")) };
    let node = &arena[of];
    let (mut key, mut item) = (Str::default(), None);
    for part in Reader(bytes) {
        match (part?, node.items.filter(|_| node.ty == Type::Array)) {
            ((1, Wire::Bytes(text)), _) => key = utf8(text)?,
            ((2, Wire::Bytes(list)), Some(element)) => {
                let mut out = Vec::new();
                for part in Reader(list) {
                    if let (1, wire) = part? {
                        out.append(&mut items(arena, element, wire, depth + 1)?);
                    }
                }
                item = Some(Value::Array(out));
            }
            ((2, wire), None) => item = Some(one(arena, of, wire, depth + 1)?),
            _ => {}
        }
    }
    // An empty value is not on the wire.
    let empty = || match node.ty {
        Type::String => "".into(),
        Type::Array => Value::Array(Vec::new()),
        _ => Value::object(),
    };
    Ok((key, item.unwrap_or_else(empty)))
}

fn one(arena: &Arena, id: NodeId, wire: Wire<'_>, depth: usize) -> Result<Value, Broken> {
    let node = &arena[id];
    Ok(match (node.ty, wire) {
        (Type::Boolean, Wire::Varint(n)) => Value::Bool(n != 0),
        // Negative numbers are sign-extended to 64 bits, 32-bit ones too.
        (Type::Integer, Wire::Varint(n)) if node.format == "int32" => Value::Int(i64::from(n as i32)),
        (Type::Integer, Wire::Varint(n)) => Value::Int(n as i64),
        (Type::Number, Wire::Fixed64(n)) => Value::Float(f64::from_bits(n)),
        (Type::Number, Wire::Fixed32(n)) => Value::Float(f64::from(f32::from_bits(n))),
        (Type::String, Wire::Bytes(bytes)) => string(node, bytes)?,
        (Type::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (Type::Any, Wire::Bytes(bytes)) => json(bytes)?,
        (Type::Object, Wire::Bytes(bytes)) => message(arena, id, bytes, depth + 1)?,
        _ => return Err(Broken("wrong wire type for a field")),
    })
}

fn string(node: &Node, bytes: &[u8]) -> Result<Value, Broken> {
    Ok(match node.format.as_str() {
        "byte" => STANDARD.encode(bytes).into(),
        "date-time" => time(bytes, node.name.ends_with("MicroTime"))?,
        "quantity" => first(bytes)?.map_or(Ok("".into()), utf8)?.into(),
        _ => utf8(bytes)?.into(),
    })
}

/// Time: seconds 1, nanoseconds 2. The zero time has neither, and is null in JSON.
fn time(bytes: &[u8], micros: bool) -> Result<Value, Broken> {
    let (mut seconds, mut nanos) = (None, 0);
    for part in Reader(bytes) {
        match part? {
            (1, Wire::Varint(n)) => seconds = Some(n as i64),
            (2, Wire::Varint(n)) => nanos = n as i32,
            _ => {}
        }
    }
    let Some(seconds) = seconds else { return Ok(Value::Null) };
    let at = base::time::Timestamp::new(seconds, nanos).map_err(|_| Broken("time out of range"))?;
    Ok(if micros { base::time::micros(at) } else { base::time::seconds(at) }.into())
}

/// IntOrString: type 1, int 2, string 3.
fn int_or_string(bytes: &[u8]) -> Result<Value, Broken> {
    let (mut is_string, mut number, mut text) = (false, 0, Str::default());
    for part in Reader(bytes) {
        match part? {
            (1, Wire::Varint(n)) => is_string = n == 1,
            (2, Wire::Varint(n)) => number = n as i32,
            (3, Wire::Bytes(bytes)) => text = utf8(bytes)?,
            _ => {}
        }
    }
    Ok(if is_string { text.into() } else { number.into() })
}

/// RawExtension, FieldsV1 and JSON hold JSON in field 1.
fn json(bytes: &[u8]) -> Result<Value, Broken> {
    match first(bytes)? {
        None => Ok(value!({})),
        Some(raw) => value::parse_lenient(raw).map_err(|_| Broken("embedded JSON does not parse")),
    }
}

/// Field 1 of a message that wraps one string.
fn first(bytes: &[u8]) -> Result<Option<&[u8]>, Broken> {
    for part in Reader(bytes) {
        if let (1, Wire::Bytes(inner)) = part? {
            return Ok(Some(inner));
        }
    }
    Ok(None)
}

fn utf8(bytes: &[u8]) -> Result<Str, Broken> {
    std::str::from_utf8(bytes).map(Str::from).map_err(|_| Broken("invalid UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length-delimited field.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }
    fn varint(number: u8, n: u8) -> Vec<u8> {
        vec![number << 3, n]
    }
    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }
    fn read(body: &[u8]) -> Result<Value> {
        decode(body, |api_version, kind| schema::builtin::of("", api_version, kind))
    }

    #[test]
    fn objects_are_read_by_their_schema() {
        // ObjectMeta: name 1, namespace 3, creationTimestamp 8, labels 11. ConfigMap: metadata 1, data 2, binaryData 3.
        let label = [field(1, b"app"), field(2, b"web")].concat();
        let meta = [field(1, b"c"), field(3, b"d"), field(8, &varint(1, 100)), field(11, &label)].concat();
        let (data, empty) = ([field(1, b"k"), field(2, b"v")].concat(), field(1, b"e"));
        let binary = [field(1, b"b"), field(2, &[0, 255])].concat();
        let raw =
            [field(1, &meta), field(2, &data), field(2, &empty), field(3, &binary), field(15, b"unknown")].concat();
        assert_eq!(
            read(&body("ConfigMap", &raw)).unwrap().to_string(),
            r#"{"apiVersion":"v1","binaryData":{"b":"AP8="},"data":{"e":"","k":"v"},"kind":"ConfigMap","metadata":{"creationTimestamp":"1970-01-01T00:01:40Z","labels":{"app":"web"},"name":"c","namespace":"d"}}"#
        );
        // Service: spec 2; ServiceSpec: ports 1; ServicePort: port 3, targetPort 4 (IntOrString: type 1, string 3).
        let target = [varint(1, 1), field(3, b"http")].concat();
        let port = [varint(3, 80), field(4, &target)].concat();
        let raw = field(2, &[field(1, &port), field(1, &varint(3, 81))].concat());
        assert_eq!(
            read(&body("Service", &raw)).unwrap().at(&["spec"]).to_string(),
            r#"{"ports":[{"port":80,"targetPort":"http"},{"port":81}]}"#
        );
    }

    #[test]
    fn rubbish_is_refused() {
        let good = body("ConfigMap", &field(1, &field(1, b"c")));
        for cut in 0..good.len() {
            // Every prefix is refused, or lacks what was cut off; none panics.
            let _ = read(&good[..cut]);
        }
        for bytes in
            [&b""[..], b"{}", b"k8s\0", b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", &body("Nothing", b"")]
        {
            assert_eq!(read(bytes).unwrap_err().code(), 400);
        }
        let broken = body("ConfigMap", &field(1, &[0x0a, 0x7f]));
        assert!(read(&broken).unwrap_err().message().contains("unexpected EOF"));
    }
}
