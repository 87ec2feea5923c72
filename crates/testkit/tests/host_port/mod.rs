//! A kind in two versions, as upstream's test image converts it: `hostPort` of v1 is `host` and `port` of v2.

use testkit::{Value, json};

/// `spec.versions` of its definition, with every field to select by.
pub fn versions(storage: &str) -> Value {
    let version = |name: &str, fields: &[&str]| {
        let text = |field: &&str| (field.to_string(), json!({"type": "string"}));
        let schema = json!({"type": "object", "properties": fields.iter().map(text).collect::<Value>()});
        let selectable: Value = fields.iter().map(|field| json!({"jsonPath": format!(".{field}")})).collect();
        json!({"name": name, "served": true, "storage": storage == name, "schema": {"openAPIV3Schema": schema},
            "selectableFields": selectable})
    };
    json!([version("v1", &["hostPort"]), version("v2", &["host", "port"])])
}

/// The fields of one in v1.
pub fn v1(host_port: &str) -> Value {
    json!({"hostPort": host_port})
}

/// The fields of one in v2.
pub fn v2(host: &str, port: &str) -> Value {
    json!({"host": host, "port": port})
}

/// What the converter makes of an object. Panics where it is in the wanted version already: nobody is to ask that.
pub fn convert(object: &Value, wanted: &str) -> Value {
    assert_ne!(object["apiVersion"], wanted);
    let mut converted = object.clone();
    converted["apiVersion"] = wanted.into();
    let fields = converted.as_object_mut().expect("an object");
    if wanted.ends_with("/v2") {
        if let Some(Value::String(joint)) = fields.remove("hostPort") {
            let (host, port) = joint.split_once(':').unwrap_or((&joint, ""));
            fields.extend([("host".into(), host.into()), ("port".into(), port.into())]);
        }
    } else {
        let parts = ["host", "port"].map(|field| fields.remove(field));
        if parts.iter().any(Option::is_some) {
            let text = parts.map(|part| part.and_then(|part| part.as_str().map(String::from)).unwrap_or_default());
            fields.insert("hostPort".into(), text.join(":").into());
        }
    }
    converted
}

/// It is `localhost:8080`, in this version and no other.
#[track_caller]
pub fn is(object: &Value, version: &str) {
    let of = |fields: Value| fields.as_object().cloned().expect("fields");
    let wanted = if version == "v1" { of(v1("localhost:8080")) } else { of(v2("localhost", "8080")) };
    let mut fields = of(object.clone());
    fields.retain(|field, _| !["apiVersion", "kind", "metadata"].contains(&field.as_str()));
    assert_eq!(fields, wanted, "{object}");
    let written = object["apiVersion"].as_str().unwrap_or_default();
    assert!(written.ends_with(&format!("/{version}")), "{object}");
}
