//! Whatever an object of a built-in kind says survives every encoding.
//!
//! What protobuf cannot tell apart (an empty list and none, an empty text and none) is no loss where the API's types do not
//! tell it apart either: both sides are compared as the engine keeps them, after decoding by the schema.

mod generate;

use generate::{Fill, object};
use schema::{Empty, NodeId, Schema, Type, builtin};
use value::{Value, parse_lenient};
use wire::{Encoding, cbor, protobuf, yaml};

/// The kinds and the seeds of a test: each object, in the form that the engine keeps.
fn each(fill: Fill, seeds: u64, test: impl Fn(&str, &Schema, &Value)) {
    let kinds = builtin::kinds();
    assert!(kinds.len() > 140, "{} kinds", kinds.len());
    for (api_version, kind) in kinds {
        let schema = protobuf::schema_of(api_version, kind).expect("a schema");
        for seed in 0..seeds {
            let mut made = object(&schema, fill, seed);
            made.set(&["apiVersion"], api_version);
            made.set(&["kind"], kind);
            test(&format!("{api_version} {kind}, {fill:?} {seed}"), &schema, &kept(&schema, made));
        }
    }
}

/// As the engine keeps it; lists that are null or empty where that is one thing in protobuf are absent.
fn kept(schema: &Schema, mut value: Value) -> Value {
    schema::decode(schema, &mut value).unwrap_or_else(|e| panic!("{e:?}: {value}"));
    let (_, id) = schema.parts();
    absent(schema, id, &mut value);
    value
}

fn absent(schema: &Schema, id: NodeId, value: &mut Value) {
    let (arena, _) = schema.parts();
    let node = &arena[id];
    // A schema or something else: the engine keeps it as it came, the API's types do not.
    if node.name.contains("JSONSchemaPropsOr") {
        let props = builtin::schema("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
        let props = props.expect("a schema of schemas");
        let each = |value: &mut Value| {
            if value.as_object().is_some() {
                *value = kept(&props, std::mem::take(value));
            }
        };
        match value {
            Value::Array(items) => items.iter_mut().for_each(each),
            value => each(value),
        }
        return;
    }
    match value {
        Value::Array(items) => {
            if let Some(item) = node.items {
                items.iter_mut().for_each(|value| absent(schema, item, value));
            }
        }
        Value::Object(map) => {
            for field in &node.fields {
                if let Some(value) = map.get_mut(&field.name) {
                    absent(schema, field.node, value);
                }
            }
            let empty = |v: &Value| match v {
                Value::Null => true,
                Value::Array(items) => items.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            let gone = |name: &str, v: &Value| {
                let field = node.fields.iter().find(|f| f.name == name);
                field.is_some_and(|f| f.empty == Empty::Null && arena[f.node].ty != Type::Any) && empty(v)
            };
            map.retain(|name, v| !gone(name, v));
            if let Some(item) = node.additional {
                map.iter_mut().for_each(|(_, value)| absent(schema, item, value));
            }
        }
        _ => {}
    }
}

fn compare(what: &str, encoding: Encoding, schema: &Schema, got: Value, want: &Value) {
    let got = kept(schema, got);
    if got == *want {
        return;
    }
    let mut lost = Vec::new();
    differences("", &got, want, &mut lost);
    panic!("{what} through {encoding:?}:\n{}", lost.join("\n"));
}

/// The places at which two trees differ.
fn differences(path: &str, got: &Value, want: &Value, out: &mut Vec<String>) {
    match (got, want) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(key))) {
                let of = |map: &value::Map| map.get(key).cloned().unwrap_or("(absent)".into());
                differences(&format!("{path}.{key}"), &of(a), &of(b), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| differences(&format!("{path}[{i}]"), a, b, out));
        }
        (a, b) if a != b => out.push(format!("  {path} is {a}, was {b}")),
        _ => {}
    }
}

/// All encodings of one object.
fn round(what: &str, schema: &Schema, made: &Value) {
    let json = made.to_json();
    let parsed = parse_lenient(&json).unwrap_or_else(|e| panic!("{what}: {e}"));
    compare(what, Encoding::Json, schema, parsed, made);

    let bytes = wire::encode(made, Encoding::Protobuf, false);
    let back = protobuf::decode(&bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
    compare(what, Encoding::Protobuf, schema, back.clone(), made);
    assert_eq!(protobuf::encode(&kept(schema, back)), protobuf::encode(made), "{what}: the second message is another");

    let bytes = wire::encode(made, Encoding::Cbor, false);
    let back = cbor::decode(&bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
    compare(what, Encoding::Cbor, schema, back, made);

    let text = yaml::to_string(made);
    let back = yaml::parse(&text).unwrap_or_else(|e| panic!("{what}: {e}\n{text}"));
    assert!(back.duplicates.is_empty(), "{what}: {:?}", back.duplicates);
    compare(what, Encoding::Yaml, schema, back.value, made);
}

#[test]
fn every_field_of_every_kind() {
    each(Fill::All, 3, round);
}

#[test]
fn every_field_empty() {
    each(Fill::Empty, 2, round);
}

#[test]
fn anything() {
    each(Fill::Some, 12, round);
}

/// The generator itself: nothing that it fills is dropped when the object is decoded.
#[test]
fn what_is_filled_is_kept() {
    for (api_version, kind) in builtin::kinds() {
        let schema = protobuf::schema_of(api_version, kind).expect("a schema");
        let made = object(&schema, Fill::All, 1);
        let (arena, id) = schema.parts();
        let missing = |made: &Value| {
            let fields = arena[id].fields.iter().filter(|f| f.number != 0);
            fields.filter(|f| made.get(&f.name).is_none_or(Value::is_null)).map(|f| f.name.clone()).collect::<Vec<_>>()
        };
        assert!(missing(&made).is_empty(), "{api_version} {kind}: {:?} not filled", missing(&made));
        let after = kept(&schema, made);
        assert!(missing(&after).is_empty(), "{api_version} {kind}: {:?} dropped", missing(&after));
    }
}
