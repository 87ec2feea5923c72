//! ConfigMap: text and bytes by key.

use super::MAX_DATA;
use crate::{at::At, declare::declare, rules::same};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("", "ConfigMap")
        .short(["cm"])
        .version("v1", "io.k8s.api.core.v1.ConfigMap", columns())
        .hooks(ConfigMap)
        .build()
}

fn columns() -> Vec<Column> {
    let data = |obj: &Value, _| {
        let count: usize = ["data", "binaryData"].map(|field| obj.members_at(&[field]).count()).iter().sum();
        count.into()
    };
    vec![
        Column::object_name(),
        Column { kind: schema::ColumnType::String, ..Column::number("Data", data) },
        Column::age(),
    ]
}

#[derive(Debug)]
struct ConfigMap;

impl Hooks for ConfigMap {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if let Some(old) = old {
            immutable(root, old, &["data", "binaryData"], errors);
        }
        let mut size = 0;
        for (key, text) in root.get("data").entries() {
            text.shape_as(errors, key, base::names::config_map_key(key));
            if root.get("binaryData").entry(key).is_set() {
                text.invalid_as(errors, key, "duplicate of key present in binaryData");
            }
            size += text.str().len();
        }
        for (key, bytes) in root.get("binaryData").entries() {
            bytes.shape_as(errors, key, base::names::config_map_key(key));
            size += decoded_len(bytes.str());
        }
        if size > MAX_DATA {
            errors.too_long("[]", MAX_DATA);
        }
    }
}

/// An object marked immutable stays so, and its data with it.
pub fn immutable(root: At, old: &Value, fields: &[&str], errors: &mut FieldErrors) {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if old.at(&["immutable"]).as_bool() != Some(true) {
        return;
    }
    if !root.get("immutable").flag() {
        root.get("immutable").forbidden(errors, DETAIL);
    }
    for field in fields {
        if !same(root.get(field).value, old.at(&[field])) {
            root.get(field).forbidden(errors, DETAIL);
        }
    }
}

/// The number of bytes that base64 text stands for.
pub fn decoded_len(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

#[cfg(test)]
mod tests {
    use crate::testing::{cells, create, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        create(
            &super::kind(),
            value!({"data": {"a b": "1", "k": "2"}, "binaryData": {"k": "AAAA"}}),
            expect![[r#"
            data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
            data[k]: Invalid value: "k": duplicate of key present in binaryData"#]],
        );
        create(
            &super::kind(),
            value!({"data": {"k": "x".repeat(1 << 20), "l": "y"}}),
            expect![[r#"
            []: Too long: may not be more than 1048576 bytes"#]],
        );
    }

    #[test]
    fn immutable_stays_immutable() {
        let old = value!({"immutable": true, "data": {"a": "1"}});
        update(
            &super::kind(),
            old.clone(),
            value!({"data": {"a": "2"}}),
            expect![[r#"
            immutable: Forbidden: field is immutable when `immutable` is set
            data: Forbidden: field is immutable when `immutable` is set"#]],
        );
        update(&super::kind(), old.clone(), old, expect![""]);
    }

    #[test]
    fn columns() {
        cells(&super::kind(), value!({"data": {"a": "1"}, "binaryData": {"b": ""}}), expect!["obj | 2 | 5m"]);
    }
}
