use super::*;
use value::value;

#[track_caller]
fn round(object: Value) {
    let bytes = encode(&object);
    let mut back = decode(&bytes).unwrap_or_else(|e| panic!("{e}: {object}"));
    let schema = schema_of(object.str_at(&["apiVersion"]), object.str_at(&["kind"])).unwrap();
    let mut object = object;
    schema::normalize(&schema, &mut object);
    schema::normalize(&schema, &mut back);
    assert_eq!(back.to_string(), object.to_string());
}

#[test]
fn what_json_writes_in_its_own_way() {
    round(value!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": "a", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "", "b": "c"},
        "managedFields": [{"manager": "m", "fieldsType": "FieldsV1", "fieldsV1": {"f:a": {}}}]},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c",
            "resources": {"limits": {"cpu": "100m"}},
            "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
            "readinessProbe": {"tcpSocket": {"port": 80}}}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "c", "optional": false}}]}}));
    round(value!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {},
        "spec": {"renewTime": "1969-12-31T23:59:59.250001Z", "leaseDurationSeconds": -1}}));
    round(value!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "data": {"a": "AAECAw==", "b": ""}}));
    round(value!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
        "spec": {"extra": {"a": ["b", "c"], "d": []}}, "status": {"allowed": false}}));
    round(
        value!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {}, "data": {"a": [1, null]}, "revision": 3}),
    );
    round(value!({"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": "v1",
        "resources": [{"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get", "list"]}]}));
    round(
        value!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {},
        "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "operations": ["CREATE"], "scope": "*"}]}}}),
    );
    round(value!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": 404,
        "details": {"causes": [{"field": "a", "message": "b"}], "retryAfterSeconds": 3}}));
}

#[test]
fn schemas_of_schemas() {
    let schema = value!({"type": "object", "additionalProperties": false, "default": {"a": [1.5, 2]}, "enum": [null, 1],
        "maximum": 2.5, "minimum": 0,
        "properties": {"a": {"items": {"type": "string"}}, "b": {"additionalProperties": {"type": "integer"}},
            "c": {"items": [{"type": "string"}, {}]}, "d": {"additionalItems": true}, "$ref": {"$ref": "#/a"}},
        "dependencies": {"a": ["b"], "c": {"type": "object"}, "d": []}});
    round(value!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {},
        "spec": {"group": "g", "scope": "Cluster", "names": {"plural": "p", "kind": "K"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}}));
}

#[test]
fn envelopes_are_those_of_upstream() {
    let object = value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let bytes = encode(&object);
    assert_eq!(&bytes[..4], b"k8s\0");
    let opened = open(&bytes).unwrap();
    assert_eq!((&*opened.api_version, &*opened.kind, &*opened.content_type), ("v1", "ConfigMap", ""));
    // ObjectMeta as generated code writes it: every string, and generation.
    assert_eq!(opened.raw, b"\x0a\x0f\x0a\x01a\x12\0\x1a\0\x22\0\x2a\0\x32\0\x38\0\x12\x06\x0a\x01k\x12\x01v");
    let odd = value!({"apiVersion": "example.com/v1", "kind": "CronTab", "spec": 1});
    assert_eq!(decode(&encode(&odd)).unwrap(), odd);
}

#[test]
fn lists_and_frames_hold_messages_that_exist() {
    let object = value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let schema = schema_of("v1", "ConfigMap").unwrap();
    let item = Bytes::from(message(&schema, &object));
    let meta = ListMeta { remaining: Some(3), ..ListMeta::at(base::Revision(7)) };
    let pieces = list("v1", "ConfigMapList", &meta, &[item.clone(), item.clone()]);
    assert!(pieces.iter().any(|piece| piece.as_ptr() == item.as_ptr()), "an item was copied");
    let list = decode(&pieces.concat()).unwrap();
    assert_eq!(list.at(&["metadata"]).to_string(), r#"{"remainingItemCount":3,"resourceVersion":"7"}"#);
    assert_eq!(list.items_at(&["items"])[1].at(&["data"]).to_string(), r#"{"k":"v"}"#);

    let frame = event_frame("ADDED", &envelope("v1", "ConfigMap", &item));
    let (length, event) = frame.split_first_chunk::<4>().unwrap();
    assert_eq!(u32::from_be_bytes(*length) as usize, event.len());
    let event = parse_message(&schema_of("v1", "WatchEvent").unwrap(), event).unwrap();
    assert_eq!((event.str_at(&["type"]), event.at(&["object"])), ("ADDED", &object));
}

#[test]
fn the_older_list_of_metadata_has_its_fields_the_other_way_round() {
    let item = Bytes::from(partial(&value!({"name": "a"})));
    let meta = ListMeta::at(base::Revision(7));
    let bytes = list("meta.k8s.io/v1beta1", "PartialObjectMetadataList", &meta, std::slice::from_ref(&item)).concat();
    let opened = open(&bytes).unwrap();
    assert_eq!(
        (&*opened.api_version, opened.raw[0], opened.raw[1] as usize),
        ("meta.k8s.io/v1beta1", 0x0a, item.len())
    );
    assert_eq!(opened.raw[2 + item.len()], 0x12);
}

#[test]
fn metadata_and_field_numbers_of_every_list_are_1_and_2() {
    let older = |name: &str| name.contains(".meta.v1beta1.");
    for name in schema::builtin::names().iter().filter(|n| n.ends_with("List") && !older(n)) {
        let schema = schema::builtin::schema(name).unwrap();
        if let (Some(metadata), Some(items)) = (schema.node().field("metadata"), schema.node().field("items")) {
            assert_eq!((metadata.number, items.number), (1, 2), "{name}");
        }
    }
}

#[test]
fn refuses_what_is_broken() {
    let refused = |bytes: &[u8]| decode(bytes).unwrap_err().0;
    assert!(refused(b"{}").starts_with("provided data does not appear to be a protobuf message"));
    assert_eq!(refused(b"k8s\0\x0a\x09\x0a\x02v1"), "unexpected EOF");
    assert_eq!(refused(&envelope("v9", "Pod", b"")), r#"no kind "Pod" is registered for version "v9""#);
    assert_eq!(refused(&envelope("v1", "Pod", b"\x08\x01")), "proto: wrong wireType = 0 for field metadata");
    assert_eq!(refused(&envelope("v1", "Pod", b"\x0b")), "proto: illegal wireType 3");
    assert_eq!(refused(&envelope("v1", "Pod", &[0xff; 11])), "proto: integer overflow");
    assert_eq!(refused(&envelope("v1", "ConfigMap", b"\x12\x05\x0a\x01\xff\x12\0")), "proto: invalid UTF-8");
    // Schemas in schemas without end.
    let mut deep = vec![];
    for _ in 0..500 {
        let mut out = Writer::with_capacity(deep.len() + 8);
        out.bytes(28, &deep);
        deep = out.into_vec();
    }
    let schema = schema::builtin::schema("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
    assert_eq!(parse_message(&schema.unwrap(), &deep).unwrap_err().0, "proto: exceeded maximum recursion depth");
    // Unknown fields are skipped.
    let known = decode(&envelope("v1", "ConfigMap", b"\xfa\x07\x01x\x20\x01\xa2\x06\x03abc")).unwrap();
    assert_eq!(known.to_string(), r#"{"apiVersion":"v1","immutable":true,"kind":"ConfigMap"}"#);
}
