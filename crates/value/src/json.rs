//! JSON to tree and back.
//!
//! Plain documents are read by [`crate::read`]. Everything else goes through serde_json's reader (its grammar, number and
//! UTF-8 handling are well tested) into our tree; what this adds is the list of duplicate keys with their paths, which
//! strict field validation reports.

use crate::{
    Map, Path, Str, Value,
    read::{plain, quick},
};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::{cell::RefCell, fmt};

/// A parsed document.
#[derive(Debug, PartialEq)]
pub struct Parsed {
    pub value: Value,
    /// Paths of fields that stood more than once (the last one won), in document order: `spec.containers[0].image`.
    pub duplicates: Vec<String>,
}

/// The text is not JSON; the message says what stands wrong and where (line and column, 1-based).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError(pub String);

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for SyntaxError {}

/// Parses one JSON document and notes duplicate keys. Nesting is limited to 128 levels.
pub fn parse(bytes: &[u8]) -> Result<Parsed, SyntaxError> {
    match quick(bytes) {
        Some(value) => Ok(Parsed { value, duplicates: Vec::new() }),
        None => careful(bytes),
    }
}

/// By serde_json, for what the quick reader leaves.
pub(crate) fn careful(bytes: &[u8]) -> Result<Parsed, SyntaxError> {
    let notes = RefCell::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { path: &Path::root(), notes: &notes }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|e| SyntaxError(e.to_string()))?;
    Ok(Parsed { value, duplicates: notes.into_inner() })
}

/// The same from any self-describing format (YAML).
pub fn parse_from<'de, D: Deserializer<'de>>(d: D) -> Result<Parsed, D::Error> {
    let notes = RefCell::default();
    let value = Seed { path: &Path::root(), notes: &notes }.deserialize(d)?;
    Ok(Parsed { value, duplicates: notes.into_inner() })
}

/// Parses bytes that this server wrote itself, or where duplicates do not matter.
pub fn parse_lenient(bytes: &[u8]) -> Result<Value, SyntaxError> {
    parse(bytes).map(|parsed| parsed.value)
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    path: &'a Path<'a>,
    notes: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

struct KeySeed;
impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Str;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Str, D::Error> {
        d.deserialize_str(self)
    }
}
impl Visitor<'_> for KeySeed {
    type Value = Str;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a field name")
    }
    fn visit_str<E>(self, s: &str) -> Result<Str, E> {
        Ok(s.into())
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }
    fn visit_i64<E>(self, i: i64) -> Result<Value, E> {
        Ok(Value::Int(i))
    }
    fn visit_u64<E>(self, u: u64) -> Result<Value, E> {
        Ok(Value::from(u))
    }
    fn visit_f64<E>(self, f: f64) -> Result<Value, E> {
        Ok(Value::Float(f))
    }
    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        Ok(Value::String(s.into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0));
        while let Some(item) = seq.next_element_seed(Seed { path: &self.path.index(items.len()), ..self })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::with_capacity(8);
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value = map.next_value_seed(Seed { path: &self.path.key(&key), ..self })?;
            entries.push((key, value));
        }
        let (map, repeated) = Map::from_entries(entries);
        self.notes.borrow_mut().extend(repeated.iter().map(|key| self.path.key(key).to_string()));
        Ok(Value::Object(map))
    }
}

impl Value {
    /// Appends compact JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Int(i) => write_integer(out, *i),
            // JSON has no word for NaN and infinity; no parser makes them either.
            Value::Float(f) if !f.is_finite() => out.extend_from_slice(b"null"),
            Value::Float(f) => {
                let _ = serde_json::to_writer(out, f);
            }
            Value::String(s) => write_string(out, s),
            Value::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.write_json(out);
                }
                out.push(b']');
            }
            Value::Object(map) => {
                out.push(b'{');
                for (i, (key, item)) in map.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    write_string(out, key);
                    out.push(b':');
                    item.write_json(out);
                }
                out.push(b'}');
            }
        }
    }
}

fn write_integer(out: &mut Vec<u8>, i: i64) {
    let (mut digits, mut at, mut rest) = ([0; 20], 20, i.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if i < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_string(out: &mut Vec<u8>, s: &str) {
    if plain(s.as_bytes()) == s.len() {
        out.push(b'"');
        out.extend_from_slice(s.as_bytes());
        out.push(b'"');
    } else {
        let _ = serde_json::to_writer(out, s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str, duplicates: &[&str]) {
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.value.to_string(), want);
        assert_eq!(parsed.duplicates, duplicates);
    }

    #[test]
    fn parses_and_writes() {
        check(r#" {"b":1, "a":[true,null,-2.5,"x\n\u00e9"]} "#, "{\"a\":[true,null,-2.5,\"x\\né\"],\"b\":1}", &[]);
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#, &["a"]);
        check(r#"{"s":{"c":[{"n":1,"n":1,"m":2}]}}"#, r#"{"s":{"c":[{"m":2,"n":1}]}}"#, &["s.c[0].n"]);
        check("18446744073709551615", "1.8446744073709552e+19", &[]);
        let ends = "[-9223372036854775808,-10,-9,0,7,100,9223372036854775807]";
        check(ends, ends, &[]);
    }

    #[test]
    fn refuses_what_is_not_json() {
        for text in ["", "{", "{}x", "{'a':1}", "[1,]", "nul", "\"\u{1}\""] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
