//! What OpenAPI says of custom kinds, and what is accepted of them. What kubectl makes of it is in the scenarios of `ferry`,
//! `kubectl/specs.rs`; here its requests are made as it makes them: strict, by creation and by apply.

use crate::{
    custom::{self, Custom},
    scene::{Scene, object, scenarios},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use testkit::{Answer, Value, json};

scenarios! {
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] removes definition from spec when one version gets changed to not be served [Conformance]"
        => a_version_is_served_no_more,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] updates the published spec when one version gets renamed [Conformance]"
        => a_version_is_renamed,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields at the schema root [Conformance]"
        => unknown_fields_at_the_root,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields in an embedded object [Conformance]"
        => unknown_fields_below,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD with validation schema [Conformance]"
        => with_a_schema,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD without validation schema [Conformance]"
        => without_a_schema,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of different groups [Conformance]"
        => two_groups,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group and version but different kinds [Conformance]"
        => two_kinds,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group but different versions [Conformance]"
        => two_versions,
}

/// A kind with lists, enumerations, patterns and what is required.
fn foo() -> Value {
    let text = |says: &str| json!({"type": "string", "description": says});
    let bar = json!({"type": "object", "required": ["name"], "properties": {
        "name": text("Name of Bar."), "age": text("Age of Bar."),
        "feeling": {"type": "string", "description": "Whether Bar is feeling great.", "enum": ["Great", "Down"]},
        "bazs": {"type": "array", "description": "List of Bazs.", "items": {"type": "string"}}}});
    let seen = json!({"type": "object", "properties": {
        "name": text("Name of Bar."),
        "available": {"type": "boolean", "description": "Whether the Bar is installed."},
        "quxType": {"type": "string", "description": "Indicates to external qux type.", "pattern": "in-tree|out-of-tree"}}});
    json!({"type": "object", "description": "Foo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "properties": {
            "bars": {"type": "array", "description": "List of Bars and their specs.", "items": bar}}},
        "status": {"type": "object", "description": "Status of Foo", "properties": {
            "bars": {"type": "array", "description": "List of Bars and their statuses.", "items": seen}}}}})
}

fn waldo() -> Value {
    json!({"type": "object", "description": "Waldo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Waldo", "properties": {
            "dummy": {"type": "object", "description": "Dummy property."}}},
        "status": {"type": "object", "description": "Status of Waldo", "properties": {
            "bars": {"type": "array", "description": "List of Bars and their statuses.", "items": {"type": "object"}}}}}})
}

/// A kind in a group whose name begins with this, in these versions of one schema; the first is stored.
async fn define(scene: &Scene, group: &str, kind: &str, versions: &[&str], schema: &Value) -> Custom {
    let versions: Vec<Value> =
        versions.iter().enumerate().map(|(i, name)| custom::version(name, i == 0, schema.clone())).collect();
    let group = format!("{group}.{}.example.com", scene.namespace);
    Custom::define(scene, json!(versions), json!({"group": group, "names": custom::names(kind)})).await
}

/// The schema's name: the group from its end.
fn schema_name(kind: &Custom, version: &str) -> String {
    let group: Vec<&str> = kind.group.rsplit('.').collect();
    format!("{}.{version}.{}", group.join("."), kind.kind())
}

/// What was published for a version in OpenAPI v2, without what every kind has; `None` where nothing is.
async fn v2(scene: &Scene, name: &str) -> Option<Value> {
    let document = scene.admin.get("/openapi/v2").await.expect(200);
    stripped(document["definitions"].get(name)?)
}

/// The same in the group's document of OpenAPI v3.
async fn v3(scene: &Scene, group: &str, version: &str, name: &str) -> Option<Value> {
    let answer = scene.admin.get(&format!("/openapi/v3/apis/{group}/{version}")).await;
    if answer.code == 404 {
        return None;
    }
    stripped(answer.expect(200)["components"]["schemas"].get(name)?)
}

fn stripped(schema: &Value) -> Option<Value> {
    let mut schema = schema.as_object()?.clone();
    let extension = schema.remove("x-kubernetes-group-version-kind");
    assert!(extension.is_some_and(|kinds| kinds[0]["version"].is_string()), "{schema:?}");
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for common in ["apiVersion", "kind", "metadata"] {
            assert!(properties.remove(common).is_some(), "{common}: {properties:?}");
        }
        if properties.is_empty() {
            schema.remove("properties");
        }
    }
    Some(Value::Object(schema))
}

/// In both documents as it was written.
async fn published(scene: &Scene, kind: &Custom, version: &str, schema: &Value) {
    let name = schema_name(kind, version);
    assert_eq!(v2(scene, &name).await.as_ref(), Some(schema), "{name}");
    assert_eq!(v3(scene, &kind.group, version, &name).await.as_ref(), Some(schema), "{name}");
}

async fn gone(scene: &Scene, group: &str, version: &str, name: &str) {
    assert_eq!((v2(scene, name).await, v3(scene, group, version, name).await), (None, None), "{name}");
}

/// Deletes the definition, after which nothing is published of it.
async fn remove(scene: &Scene, kind: Custom, versions: &[&str]) {
    let group = kind.group.clone();
    let names: Vec<_> = versions.iter().map(|version| (*version, schema_name(&kind, version))).collect();
    kind.remove().await;
    for (version, name) in names {
        gone(scene, &group, version, &name).await;
    }
}

/// `kubectl create`, and `kubectl apply --server-side`, of an object with this `spec` and what else is in it.
async fn both_ways(scene: &Scene, kind: &Custom, version: &str, rest: &Value) -> [Answer; 2] {
    let mut object = json!(kind.object(version, "test", rest.clone()));
    object["metadata"] = json!({"name": "test"});
    let path = kind.path(version);
    let created = scene.admin.post(&format!("{path}?fieldValidation=Strict"), &object).await;
    let apply = format!("{path}/test?fieldManager=kubectl&fieldValidation=Strict");
    // Where creation was refused, so is this.
    if created.code == 201 {
        kind.api(version).delete("test", &DeleteParams::default()).await.expect("deleted");
    }
    let applied = scene.admin.patch(&apply, "apply", &object).await;
    if applied.code == 201 {
        kind.api(version).delete("test", &DeleteParams::default()).await.expect("deleted");
    }
    [created, applied]
}

async fn accepted(scene: &Scene, kind: &Custom, version: &str, rest: Value) {
    for answer in both_ways(scene, kind, version, &rest).await {
        let made = answer.expect(201);
        for (field, value) in rest.as_object().expect("fields") {
            assert_eq!(made[field], *value, "{field}");
        }
    }
}

async fn with_a_schema(scene: Scene) {
    let kind = define(&scene, "foo", "Foo", &["v1"], &foo()).await;
    published(&scene, &kind, "v1", &foo()).await;
    accepted(&scene, &kind, "v1", json!({"spec": {"bars": [{"name": "test-bar"}]}})).await;
    let (wrong, unknown, required) = (
        json!({"spec": {"bars": [{"name": "test-bar", "feeling": "NonExistentValue"}]}}),
        json!({"spec": {"foo": true}}),
        json!({"spec": {"bars": [{"age": "10"}]}}),
    );
    for answer in both_ways(&scene, &kind, "v1", &wrong).await {
        let said = answer.refused(422, "Invalid");
        assert!(said.contains(r#"Unsupported value: "NonExistentValue""#), "{said}");
    }
    for answer in both_ways(&scene, &kind, "v1", &required).await {
        let said = answer.refused(422, "Invalid");
        assert!(said.contains("spec.bars[0].name: Required value"), "{said}");
    }
    let [created, applied] = both_ways(&scene, &kind, "v1", &unknown).await;
    let said = created.refused(400, "BadRequest");
    assert!(said.contains(r#"unknown field "spec.foo""#), "{said}");
    assert!(applied.text().contains(".spec.foo: field not declared in schema"), "{}", applied.text());
    // What `kubectl explain` reads.
    let document = scene.admin.get(&format!("/openapi/v3/apis/{}/v1", kind.group)).await.expect(200);
    let properties = &document["components"]["schemas"][schema_name(&kind, "v1")]["properties"];
    for (field, begins) in [("apiVersion", "APIVersion defines"), ("kind", "Kind "), ("metadata", "Standard object's")]
    {
        let says = properties[field]["description"].as_str().unwrap_or_default();
        assert!(says.starts_with(begins), "{field}: {says}");
    }
    let metadata = properties["metadata"]["allOf"][0]["$ref"].as_str().unwrap_or_default();
    let metadata = metadata.rsplit('/').next().unwrap_or_default();
    let created = &document["components"]["schemas"][metadata]["properties"]["creationTimestamp"];
    assert!(created.is_object(), "{metadata}");
    remove(&scene, kind, &["v1"]).await;
}

/// Everything is accepted, and nothing said of it.
async fn without_a_schema(scene: Scene) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let kind = define(&scene, "empty", "Empty", &["v1"], &schema).await;
    assert_eq!(v2(&scene, &schema_name(&kind, "v1")).await, Some(json!({"type": "object"})));
    assert_eq!(v3(&scene, &kind.group, "v1", &schema_name(&kind, "v1")).await, Some(schema));
    accepted(&scene, &kind, "v1", json!({"a": {"b": [{"c": "d"}]}})).await;
    remove(&scene, kind, &["v1"]).await;
}

async fn unknown_fields_at_the_root(scene: Scene) {
    let mut schema = waldo();
    schema["x-kubernetes-preserve-unknown-fields"] = true.into();
    schema["description"] = "preserve-unknown-properties at root for Testing".into();
    let kind = define(&scene, "root", "Root", &["v1"], &schema).await;
    assert!(v2(&scene, &schema_name(&kind, "v1")).await.is_some());
    assert_eq!(v3(&scene, &kind.group, "v1", &schema_name(&kind, "v1")).await, Some(schema));
    accepted(&scene, &kind, "v1", json!({"a": {"b": [{"c": "d"}]}})).await;
    remove(&scene, kind, &["v1"]).await;
}

async fn unknown_fields_below(scene: Scene) {
    let mut schema = waldo();
    schema["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"] = true.into();
    schema["description"] = "preserve-unknown-properties in nested field for Testing".into();
    let kind = define(&scene, "nested", "Nested", &["v1"], &schema).await;
    let v2 = v2(&scene, &schema_name(&kind, "v1")).await.expect("published");
    assert_eq!(v2["description"], schema["description"]);
    assert_eq!(v3(&scene, &kind.group, "v1", &schema_name(&kind, "v1")).await, Some(schema));
    accepted(&scene, &kind, "v1", json!({"spec": {"a": null, "b": [{"c": "d"}]}})).await;
    remove(&scene, kind, &["v1"]).await;
}

async fn two_groups(scene: Scene) {
    let one = define(&scene, "foo", "Foo", &["v1"], &foo()).await;
    let two = define(&scene, "waldo", "Waldo", &["v1beta1"], &waldo()).await;
    published(&scene, &two, "v1beta1", &waldo()).await;
    published(&scene, &one, "v1", &foo()).await;
    remove(&scene, one, &["v1"]).await;
    published(&scene, &two, "v1beta1", &waldo()).await;
    remove(&scene, two, &["v1beta1"]).await;
}

async fn two_kinds(scene: Scene) {
    let one = define(&scene, "common", "Foo", &["v6"], &foo()).await;
    let two = define(&scene, "common", "Waldo", &["v6"], &waldo()).await;
    published(&scene, &two, "v6", &waldo()).await;
    published(&scene, &one, "v6", &foo()).await;
    remove(&scene, one, &["v6"]).await;
    remove(&scene, two, &["v6"]).await;
}

/// Of one definition, and of two.
async fn two_versions(scene: Scene) {
    let kind = define(&scene, "multi", "Foo", &["v2", "v3"], &foo()).await;
    published(&scene, &kind, "v3", &foo()).await;
    published(&scene, &kind, "v2", &foo()).await;
    remove(&scene, kind, &["v2", "v3"]).await;

    let one = define(&scene, "common", "Foo", &["v4"], &foo()).await;
    let two = define(&scene, "common", "Waldo", &["v5"], &waldo()).await;
    published(&scene, &two, "v5", &waldo()).await;
    published(&scene, &one, "v4", &foo()).await;
    remove(&scene, one, &["v4"]).await;
    remove(&scene, two, &["v5"]).await;
}

async fn a_version_is_renamed(scene: Scene) {
    let kind = define(&scene, "multi", "Foo", &["v2", "v3"], &foo()).await;
    published(&scene, &kind, "v3", &foo()).await;
    published(&scene, &kind, "v2", &foo()).await;
    let patch = Patch::Json::<()>(object(json!([
        {"op": "test", "path": "/spec/versions/1/name", "value": "v3"},
        {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"},
    ])));
    let definitions = scene.all::<CustomResourceDefinition>();
    definitions.patch(&kind.name(), &PatchParams::default(), &patch).await.expect("patched");
    published(&scene, &kind, "v4", &foo()).await;
    gone(&scene, &kind.group, "v3", &schema_name(&kind, "v3")).await;
    published(&scene, &kind, "v2", &foo()).await;
    remove(&scene, kind, &["v2", "v4"]).await;
}

async fn a_version_is_served_no_more(scene: Scene) {
    let kind = define(&scene, "multi", "Foo", &["v5", "v6alpha1"], &foo()).await;
    published(&scene, &kind, "v6alpha1", &foo()).await;
    published(&scene, &kind, "v5", &foo()).await;
    let definitions = scene.all::<CustomResourceDefinition>();
    let mut definition = definitions.get(&kind.name()).await.expect("there");
    definition.spec.versions[1].served = false;
    let updated = definitions.replace(&kind.name(), &PostParams::default(), &definition).await.expect("replaced");
    assert_ne!(updated.resource_version(), definition.resource_version());
    gone(&scene, &kind.group, "v6alpha1", &schema_name(&kind, "v6alpha1")).await;
    published(&scene, &kind, "v5", &foo()).await;
    remove(&scene, kind, &["v5", "v6alpha1"]).await;
}
