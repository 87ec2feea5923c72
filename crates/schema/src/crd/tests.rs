use super::*;
use crate::{apply_defaults, decode, validate as validate_object};
use value::{parse_lenient, value};

fn crd(schema: Value) -> Value {
    value!({
        "metadata": {"uid": "u1"},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": serde_json::Value::from(&schema)},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [{"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"}]
            }]
        }
    })
}

fn cron() -> Value {
    value!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["cronSpec"], "properties": {
            "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
            "color": {"type": "string", "enum": ["red", "blue"]},
            "size": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "note": {"type": "string", "nullable": true, "maxLength": 3},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "maxItems": 2,
                "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}}
        }, "oneOf": [{"required": ["color"]}, {"required": ["size"]}]},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    }})
}

#[test]
fn a_definition_becomes_a_kind() {
    let kind = kind_of(&crd(cron())).unwrap();
    assert_eq!(
        (kind.singular.as_str(), kind.list_kind.as_str(), kind.qualified().as_str()),
        ("crontab", "CronTabList", "crontabs.stable.example.com")
    );
    assert_eq!(kind.custom.as_deref(), Some("u1"));
    assert!(kind.policy.status_apart && kind.namespaced());
    let names: Vec<&str> = kind.subresources.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["scale", "status"]);
    assert_eq!(kind.selectable[0].path, ["spec", "color"]);
    let columns: Vec<&str> = kind.versions[0].columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(columns, ["Name", "Spec"]);
}

#[test]
fn objects_are_pruned_defaulted_and_checked() {
    let schema = kind_of(&crd(cron())).unwrap().versions.remove(0).schema;
    let run = |json: &str| {
        let mut object = parse_lenient(json.as_bytes()).unwrap();
        let unknown = decode(&schema, &mut object).map_err(|e| e.to_string())?;
        apply_defaults(&schema, &mut object);
        let mut errors = FieldErrors::default();
        validate_object(&schema, &object, &mut errors);
        let errors: Vec<String> = errors.0.iter().map(|e| e.to_string()).collect();
        Ok::<_, String>((object.to_string(), unknown.join("; "), errors.join("; ")))
    };
    let (object, unknown, errors) = run(
        r#"{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"a","x":1,"labels":{"a":"b"}},"more":1,
            "spec":{"cronSpec":"* * * * */5","color":"red","free":{"a":{"b":1}},"note":null,"odd":true}}"#,
    )
    .unwrap();
    assert_eq!(
        object,
        r#"{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"labels":{"a":"b"},"name":"a"},"spec":{"color":"red","cronSpec":"* * * * */5","free":{"a":{"b":1}},"note":null,"replicas":1}}"#
    );
    assert_eq!(unknown, r#"unknown field "metadata.x"; unknown field "more"; unknown field "spec.odd""#);
    assert_eq!(errors, "");
    for (spec, want) in [
        (r#"{"color":"red"}"#, "spec.cronSpec: Required value"),
        (
            r#"{"cronSpec":"x","color":"red"}"#,
            r#"spec.cronSpec: Invalid value: "x": spec.cronSpec in body should match '^(\d+|\*)"#,
        ),
        (
            r#"{"cronSpec":"* * * * *","color":"red","replicas":0}"#,
            "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
        ),
        (
            r#"{"cronSpec":"* * * * *","color":"red","replicas":"1"}"#,
            r#"spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string""#,
        ),
        (
            r#"{"cronSpec":"* * * * *","color":"green"}"#,
            r#"spec.color: Unsupported value: "green": supported values: "red", "blue""#,
        ),
        (
            r#"{"cronSpec":"* * * * *","color":"red","note":"long"}"#,
            "spec.note: Too long: may not be more than 3 bytes",
        ),
        (
            r#"{"cronSpec":"* * * * *","color":"red","list":[{"k":"a"},{"k":"a"}]}"#,
            r#"spec.list[1]: Duplicate value: {"k":"a"}"#,
        ),
        (
            r#"{"cronSpec":"* * * * *","color":"red","list":[{"k":"a"},{"k":"b"},{"k":"c"}]}"#,
            "spec.list: Too many: 3: must have at most 2 items",
        ),
        (
            r#"{"cronSpec":"* * * * *"}"#,
            r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid"#,
        ),
        (
            r#"{"cronSpec":"* * * * *","size":true}"#,
            r#"spec.size: Invalid value: "boolean": spec.size in body must be of type integer,string: "boolean""#,
        ),
        (r#"{"cronSpec":"* * * * *","size":5}"#, ""),
    ] {
        let (_, _, errors) = run(&format!(r#"{{"spec":{spec}}}"#)).unwrap();
        assert!(errors.contains(want) && (want.is_empty() == errors.is_empty()), "{spec}: {errors}");
    }
    assert_eq!(
        run(r#"{"metadata":{"labels":{"a":1}}}"#).unwrap_err(),
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"
    );
}

#[test]
fn what_is_not_structural_is_refused() {
    let root = "spec.versions[0].schema.openAPIV3Schema";
    for (schema, want) in [
        (value!({"type": "string"}), r#".type: Invalid value: "string": must be object at the root"#),
        (value!({"properties": {}}), ".type: Required value: must not be empty at the root"),
        (
            value!({"type": "object", "properties": {"a": {}}}),
            ".properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            value!({"type": "object", "properties": {"a": {"type": "array"}}}),
            ".properties[a].items: Required value: must be specified",
        ),
        (
            value!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            r#".properties[a].pattern: Invalid value: "(": must be a valid regular expression"#,
        ),
        (
            value!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
            r#".properties[a].default: Invalid value: "string""#,
        ),
        (
            value!({"type": "object", "anyOf": [{"type": "object"}]}),
            ".anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            value!({"type": "object", "properties": {"a": {"type": "thing"}}}),
            r#".properties[a].type: Unsupported value: "thing": supported values: "array""#,
        ),
        (
            value!({"type": "object", "properties": {"a": {"$ref": "#/x"}}}),
            ".properties[a].$ref: Forbidden: $ref is not supported",
        ),
        (
            value!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}}}),
            ".properties[a].x-kubernetes-list-map-keys: Required value",
        ),
    ] {
        let errors = kind_of(&crd(schema)).unwrap_err();
        // The columns and paths of the frame refer to fields, but nothing checks that they exist.
        let all: Vec<String> = errors.0.iter().map(|e| e.to_string()).collect();
        assert!(all.iter().any(|e| e.starts_with(&format!("{root}{want}"))), "{want}: {all:?}");
    }
}

#[test]
fn an_update_is_not_held_to_what_it_leaves_unchanged() {
    let schema = kind_of(&crd(cron())).unwrap().versions.remove(0).schema;
    let old = value!({"spec": {"cronSpec": "wrong", "color": "red", "replicas": 99}});
    let check = |new: Value| {
        let mut errors = FieldErrors::default();
        crate::validate_update(&schema, &new, &old, &mut errors);
        errors.0.iter().map(|e| e.path.clone()).collect::<Vec<_>>()
    };
    assert!(check(value!({"spec": {"cronSpec": "wrong", "color": "blue", "replicas": 99}})).is_empty());
    assert_eq!(check(value!({"spec": {"cronSpec": "worse", "color": "blue", "replicas": 99}})), ["spec.cronSpec"]);
}
