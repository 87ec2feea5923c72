//! Secret: bytes by key, sealed in the store. `stringData` is written and never read.

use super::{
    MAX_DATA,
    configmap::{decoded_len, immutable},
};
use crate::{at::At, declare::declare};
use base::FieldErrors;
use base64::{Engine, engine::general_purpose::STANDARD};
use schema::{Column, ColumnType, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("", "Secret")
        .version("v1", "io.k8s.api.core.v1.Secret", columns())
        .selectable(["type"])
        .sealed()
        .hooks(Secret)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::path("Type", ColumnType::String, "type"),
        Column {
            kind: ColumnType::String,
            ..Column::number("Data", |obj, _| obj.members_at(&["data"]).count().into())
        },
        Column::age(),
    ]
}

/// Keys without which a secret of the type means nothing.
const NEEDS: [(&str, &[&str]); 4] = [
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];

#[derive(Debug)]
struct Secret;

impl Hooks for Secret {
    fn default(&self, obj: &mut Value) {
        for (key, text) in obj.remove(&["stringData"]).unwrap_or_default().members_at(&[]) {
            obj.set(&["data", key], STANDARD.encode(text.as_str().unwrap_or("")));
        }
    }

    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let (data, ty) = (root.get("data"), root.get("type"));
        if let Some(old) = old {
            ty.immutable(errors, old.at(&["type"]));
            immutable(root, old, &["data"], errors);
        }
        let mut size = 0;
        for (key, bytes) in data.entries() {
            bytes.shape_as(errors, key, base::names::config_map_key(key));
            size += decoded_len(bytes.str());
        }
        if size > MAX_DATA {
            errors.too_long(data.path, MAX_DATA);
        }
        for key in NEEDS.iter().filter(|(name, _)| *name == ty.str()).flat_map(|(_, keys)| *keys) {
            let entry = data.entry(key);
            if !entry.is_set() {
                entry.required(errors, "");
            } else if key.starts_with(".docker") {
                json_object(entry, errors);
            }
        }
        match ty.str() {
            "kubernetes.io/basic-auth" => {
                let keys = ["username", "password"];
                if keys.iter().all(|key| !data.entry(key).is_set()) {
                    keys.iter().for_each(|key| data.entry(key).required(errors, ""));
                }
            }
            "kubernetes.io/service-account-token" => {
                let metadata = root.get("metadata");
                let annotations = metadata.get("annotations");
                annotations.entry("kubernetes.io/service-account.name").need(errors);
            }
            _ => {}
        }
    }
}

fn json_object(entry: At, errors: &mut FieldErrors) {
    let parsed = STANDARD.decode(entry.str()).map_err(|e| e.to_string());
    let parsed = parsed.and_then(|bytes| value::parse_lenient(&bytes).map_err(|_| value::complaint(&bytes)));
    let fault = match parsed {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(other) => {
            format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", other.type_name())
        }
        Err(fault) => fault,
    };
    // The value itself must not reach a log.
    entry.invalid_as(errors, "<secret contents redacted>", fault);
}

#[cfg(test)]
mod tests {
    use crate::testing::{cells, create, defaults, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn string_data_becomes_data() {
        defaults(
            &super::kind(),
            value!({"data": {"a": "QQ=="}, "stringData": {"a": "x", "b": "y"}}),
            &["data"],
            expect![[r#"{"a":"eA==","b":"eQ=="}"#]],
        );
    }

    #[test]
    fn validation_by_type() {
        for (ty, want) in [
            (
                "kubernetes.io/tls",
                expect![[r#"
                data[tls.crt]: Required value
                data[tls.key]: Required value"#]],
            ),
            (
                "kubernetes.io/basic-auth",
                expect![[r#"
                data[username]: Required value
                data[password]: Required value"#]],
            ),
            (
                "kubernetes.io/service-account-token",
                expect![[r#"metadata.annotations[kubernetes.io/service-account.name]: Required value"#]],
            ),
            ("kubernetes.io/dockerconfigjson", expect!["data[.dockerconfigjson]: Required value"]),
            ("example.com/own", expect![""]),
        ] {
            create(&super::kind(), value!({"type": ty, "data": {"k": ""}}), want);
        }
        create(
            &super::kind(),
            value!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "W10="}}),
            expect![[
                r#"data[.dockercfg]: Invalid value: "<secret contents redacted>": json: cannot unmarshal array into Go value of type map[string]interface {}"#
            ]],
        );
    }

    #[test]
    fn type_never_changes() {
        let old = value!({"type": "Opaque", "data": {"a": "QQ=="}});
        update(
            &super::kind(),
            old,
            value!({"type": "x/y", "data": {}}),
            expect![[r#"type: Invalid value: "x/y": field is immutable"#]],
        );
    }

    #[test]
    fn columns() {
        cells(&super::kind(), value!({"type": "Opaque", "data": {"a": ""}}), expect!["obj | Opaque | 1 | 5m"]);
    }
}
