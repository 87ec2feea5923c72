//! Bodies: bytes to a tree, and back.

use schema::Schema;
use std::sync::LazyLock;
use value::Value;
use wire::{Encoding, Intake};

/// What was read is written and read again: it must be the same.
pub fn json(data: &[u8]) {
    let lenient = value::parse_lenient(data);
    let parsed = value::parse(data);
    assert_eq!(lenient.is_ok(), parsed.is_ok(), "both readers take the same");
    let _ = value::complaint(data);
    if let Ok(parsed) = parsed {
        stays(&parsed.value, Encoding::Json);
        let _ = wire::encode(&parsed.value, Encoding::Json, true);
    }
}

pub fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = wire::yaml::repeated_keys(text);
    if let Ok(parsed) = wire::yaml::parse(text) {
        stays(&parsed.value, Encoding::Yaml);
    }
}

/// The first byte chooses a type; 0 for an envelope, which says its own.
pub fn protobuf(data: &[u8]) {
    let Some((choice, message)) = data.split_first() else { return };
    let Some(schema) = usize::from(*choice).checked_sub(1).map(|i| &TYPES[i % TYPES.len()]) else {
        if let Ok(value) = wire::protobuf::decode(message) {
            let _ = wire::protobuf::encode(&value);
        }
        return;
    };
    let Ok(value) = wire::protobuf::parse_message(schema, message) else { return };
    // What Go does not hold by pointer is always written, so the first time may add zeros; the second adds nothing.
    let written = wire::protobuf::message(schema, &value);
    let whole = wire::protobuf::parse_message(schema, &written).expect("our own message");
    assert_eq!(wire::protobuf::message(schema, &whole), written, "{value} {whole}");
}

pub fn cbor(data: &[u8]) {
    let _ = wire::cbor::decode_first(data);
    if let Ok(value) = wire::cbor::decode(data) {
        stays(&value, Encoding::Cbor);
    }
}

static TYPES: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    let named = [
        ("", "v1", "Pod"),
        ("apps", "v1", "Deployment"),
        ("", "v1", "Secret"),
        ("", "v1", "Service"),
        ("", "v1", "Node"),
        ("coordination.k8s.io", "v1", "Lease"),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        ("autoscaling", "v2", "HorizontalPodAutoscaler"),
        ("networking.k8s.io", "v1", "NetworkPolicy"),
        ("events.k8s.io", "v1", "Event"),
    ];
    named.iter().map(|(group, version, kind)| schema::builtin::of(group, version, kind).expect("built in")).collect()
});

/// Numbers are compared as they are written: what a double cannot hold is rounded once, not twice.
#[track_caller]
fn stays(value: &Value, encoding: Encoding) {
    let written = wire::encode(value, encoding, false);
    let _ = wire::decode_as("Thing", Intake { protobuf: false, cbor: true }, Some(encoding.media_type()), &written);
    let text = || String::from_utf8_lossy(&written).into_owned();
    let read = match encoding {
        Encoding::Cbor => wire::cbor::decode(&written).map_err(|why| why.to_string()),
        Encoding::Yaml => wire::yaml::parse(&text()).map(|parsed| parsed.value),
        _ => value::parse_lenient(&written).map_err(|why| why.to_string()),
    };
    let read = read.unwrap_or_else(|why| panic!("{why}: {:?}", text()));
    assert_eq!(read.to_json(), value.to_json(), "{:?}", text());
}
