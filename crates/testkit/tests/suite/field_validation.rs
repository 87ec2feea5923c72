//! `fieldValidation=Strict`: what a kind does not have, and what is said twice, in built-in and custom kinds. Raw requests,
//! because no library writes such objects.

use crate::{
    custom::{self, Custom},
    scene::{Scene, scenarios},
};
use testkit::{Answer, Value, json};

scenarios! {
    "[sig-api-machinery] FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema [Conformance]"
        => without_a_schema,
    "[sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema [Conformance]"
        => valid,
    "[sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema [Conformance]"
        => with_an_extra_field,
    "[sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields [Conformance]"
        => duplicates_beside_unknown_fields,
    "[sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object [Conformance]"
        => unknown_and_duplicate_fields,
    "[sig-api-machinery] FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR [Conformance]"
        => unknown_metadata_of_custom_objects,
    "[sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object [Conformance]"
        => unknown_metadata,
}

const STRICT: &str = "fieldManager=validation&fieldValidation=Strict";

/// Creates a Deployment of this text, strictly.
async fn deployment(scene: &Scene, metadata: &str, spec: &str) -> Answer {
    let text = format!(
        r#"{{"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {{{metadata} "name": "web", "labels": {{"app": "web"}}}},
            "spec": {{{spec} "selector": {{"matchLabels": {{"app": "web"}}}},
                "template": {{"metadata": {{"labels": {{"app": "web"}}}},
                    "spec": {{"containers": [{{"name": "c", "image": "{}"}}]}}}}}}}}"#,
        crate::scene::IMAGE
    );
    let path = format!("{}?{STRICT}", scene.path("apis/apps/v1", "deployments"));
    scene.admin.send("POST", &path, "application/json", text).await
}

async fn unknown_and_duplicate_fields(scene: Scene) {
    let answer = deployment(&scene, "", r#""unknownField": "foo", "replicas": 2, "replicas": 3,"#).await;
    let said = answer.refused(400, "BadRequest");
    let want = r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#;
    assert!(said.contains(want), "{said}");
    deployment(&scene, "", r#""replicas": 0,"#).await.expect(201);
}

async fn unknown_metadata(scene: Scene) {
    let said = deployment(&scene, r#""unknownMeta": "foo","#, "").await.refused(400, "BadRequest");
    assert!(said.contains(r#"strict decoding error: unknown field "metadata.unknownMeta""#), "{said}");
}

/// `spec` of a kind that has one; with what else is given.
fn spec(more: Value) -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer", "format": "int32"});
    let mut spec = json!({"type": "object", "properties": {
        "foo": text,
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "ports": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            "items": {"type": "object", "required": ["containerPort", "protocol"], "properties": {
                "containerPort": number, "hostIP": text, "hostPort": number, "name": text, "protocol": text}}},
    }});
    for (key, value) in more.as_object().into_iter().flatten() {
        match key.as_str() {
            "properties" => {
                spec[key].as_object_mut().expect("properties").extend(value.as_object().cloned().expect("more"))
            }
            _ => spec[key] = value.clone(),
        }
    }
    json!({"type": "object", "properties": {"spec": spec}})
}

/// A kind of the cluster in two versions of this schema.
async fn define(scene: &Scene, schema: Value) -> Custom {
    let versions = json!([custom::version("v1beta1", false, schema.clone()), custom::version("v1", true, schema)]);
    Custom::define(scene, versions, json!({"scope": "Cluster"})).await
}

/// Applies an object strictly, in the first of the versions; these lines come before and in its `spec`.
async fn apply(scene: &Scene, thing: &Custom, before: &str, inside: &str) -> Answer {
    let text = format!(
        r#"apiVersion: {}/v1beta1
kind: Thing
metadata:
  name: mine
{before}spec:
{inside}  cronSpec: "* * * * */5"
  ports:
  - name: x
    containerPort: 80
    protocol: TCP
"#,
        thing.group
    );
    let path = format!("{}/mine?{STRICT}", thing.path("v1beta1"));
    scene.admin.send("PATCH", &path, "application/apply-patch+yaml", text).await
}

async fn valid(scene: Scene) {
    let thing = define(&scene, spec(Value::Null)).await;
    let made = apply(&scene, &thing, "", "  foo: foo1\n").await.expect(201);
    assert_eq!((&made["spec"]["foo"], &made["spec"]["ports"][0]["name"]), (&json!("foo1"), &json!("x")));
    thing.remove().await;
}

async fn without_a_schema(scene: Scene) {
    let versions = json!([custom::any("v1beta1", false), custom::any("v1", true)]);
    let thing = Custom::define(&scene, versions, json!({"scope": "Cluster"})).await;
    let made = apply(&scene, &thing, "", "  unknown: uk1\n").await.expect(201);
    assert_eq!((&made["spec"]["unknown"], &made["spec"]["cronSpec"]), (&json!("uk1"), &json!("* * * * */5")));
    thing.remove().await;
}

async fn with_an_extra_field(scene: Scene) {
    let thing = define(&scene, spec(Value::Null)).await;
    let answer = apply(&scene, &thing, "unknownField: unknown\n", "  foo: foo1\n").await;
    assert!(answer.text().contains(".unknownField: field not declared in schema"), "{} {}", answer.code, answer.text());
    assert!(thing.api("v1").get_opt("mine").await.expect("an answer").is_none());
    thing.remove().await;
}

async fn unknown_metadata_of_custom_objects(scene: Scene) {
    let text = json!({"type": "string"});
    let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
        "metadata": {"type": "object", "properties": {"name": text}}, "spec": {"type": "object"}}});
    let more = json!({"x-kubernetes-preserve-unknown-fields": true, "properties": {"template": embedded}});
    let thing = define(&scene, spec(more)).await;
    let template = |extra: &str| {
        format!(
            "  template:\n    apiVersion: foo/v1\n    kind: Sub\n    metadata:\n      name: sub\n{extra}  foo: foo1\n"
        )
    };
    let said = apply(&scene, &thing, "  unknownMeta: unknown\n", &template("")).await;
    assert!(
        said.text().contains(".metadata.unknownMeta: field not declared in schema"),
        "{} {}",
        said.code,
        said.text()
    );
    let said = apply(&scene, &thing, "", &template("      unknownSubMeta: unknown\n")).await;
    let want = ".spec.template.metadata.unknownSubMeta: field not declared in schema";
    assert!(said.text().contains(want), "{} {}", said.code, said.text());
    apply(&scene, &thing, "", &template("")).await.expect(201);
    thing.remove().await;
}

async fn duplicates_beside_unknown_fields(scene: Scene) {
    let thing = define(&scene, spec(json!({"x-kubernetes-preserve-unknown-fields": true}))).await;
    let answer = apply(&scene, &thing, "", "  unknown: uk1\n  foo: foo1\n  foo: foo2\n").await;
    assert!(answer.text().contains(r#"line 8: key \"foo\" already set in map"#), "{} {}", answer.code, answer.text());
    let made = apply(&scene, &thing, "", "  unknown: uk1\n  foo: foo1\n").await.expect(201);
    assert_eq!(made["spec"]["unknown"], "uk1");
    thing.remove().await;
}
