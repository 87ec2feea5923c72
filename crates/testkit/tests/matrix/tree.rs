//! Objects between the forms of a test and those of the wire.

use crate::subject::Subject;
use bytes::Bytes;
use testkit::{Answer, Value};
use wire::Encoding;

/// An object in an encoding.
pub fn bytes(object: &Value, encoding: Encoding) -> Bytes {
    wire::encode(&value::Value::from(object.clone()), encoding, false)
}

/// The same tree as the tests have it.
pub fn tree(value: &value::Value) -> Value {
    serde_json::from_slice(&value.to_json()).unwrap_or_default()
}

/// The body of an answer by its content type; null where it is not what that says.
pub fn read(answer: &Answer) -> Value {
    let read = match answer.content_type() {
        "application/yaml" => wire::yaml::parse(&answer.text()).ok().map(|parsed| parsed.value),
        wire::protobuf::MEDIA_TYPE => wire::protobuf::decode(&answer.body).ok(),
        wire::cbor::MEDIA_TYPE => wire::cbor::decode(&answer.body).ok(),
        _ => value::parse_lenient(&answer.body).ok(),
    };
    read.map(|value| tree(&value)).unwrap_or_default()
}

/// As the kind's schema has it, without what is empty, which protobuf does not tell from what is not there.
pub fn shaped(s: &Subject, object: &Value) -> Value {
    let mut value = value::Value::from(object.clone());
    let _ = schema::decode(&s.kind.versions[s.version].schema, &mut value);
    let mut object = tree(&value);
    prune(&mut object);
    object
}

/// Equal but for what is empty.
pub fn alike(a: &Value, b: &Value) -> bool {
    let (mut a, mut b) = (a.clone(), b.clone());
    prune(&mut a);
    prune(&mut b);
    a == b
}

fn prune(value: &mut Value) {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, value| !empty(value));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}
