//! What definitions demand of their objects in CEL, as clients meet it. Named after the conformance specs of
//! `CustomResourceValidationRules`.

use testkit::{Caller, Cluster, Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const LAMPS: &str = "/apis/rules.example.com/v1/namespaces/default/lamps";

fn definition(schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "lamps.rules.example.com"},
        "spec": {"group": "rules.example.com", "scope": "Namespaced", "names": {"plural": "lamps", "kind": "Lamp"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}}}]},
    })
}

fn schema(rules: Value) -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "x-kubernetes-validations": rules, "properties": {
            "x": {"type": "integer"}, "y": {"type": "integer"}, "color": {"type": "string", "maxLength": 10}}},
        "status": {"type": "object", "properties": {"n": {"type": "integer",
            "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "n shrinks"}]}}},
    }})
}

async fn lamps(rules: Value) -> (Cluster, Caller) {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(DEFINITIONS, &definition(schema(rules))).await;
    (cluster, admin)
}

fn lamp(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn must_fail_create_of_a_custom_resource_that_does_not_satisfy_the_validation_rules() {
    let (_cluster, admin) = lamps(json!([{"rule": "self.x > self.y", "message": "x must be greater"}])).await;
    admin.create(LAMPS, &lamp("good", json!({"x": 2, "y": 1}))).await;
    let answer = admin.post(LAMPS, &lamp("bad", json!({"x": 1, "y": 2}))).await;
    let text = answer.refused(422, "Invalid");
    assert_eq!(text, r#"Lamp.rules.example.com "bad" is invalid: spec: Invalid value: x must be greater"#);
    assert_eq!(answer.json()["details"]["causes"][0]["field"], "spec");
    let text = admin.post(LAMPS, &lamp("worse", json!({"x": "1"}))).await.refused(422, "Invalid");
    assert!(text.contains("<nil>: Invalid value: null: some validation rules were not checked"), "{text}");
}

#[tokio::test]
async fn must_fail_create_of_a_definition_whose_rules_are_wrong() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (rule, want) in [
        ("self.none == 1", "undefined field 'none'"),
        ("self.x = 1", "Syntax error: token recognition error at: '= '"),
        ("self.x + 'a' == 1", "found no matching overload for '_+_' applied to '(int, string)'"),
    ] {
        let wrong = definition(schema(json!([{ "rule": rule }])));
        let text = admin.post(DEFINITIONS, &wrong).await.refused(422, "Invalid");
        let at = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: ";
        assert!(text.contains(at) && text.contains(want), "{text}");
    }
    let expensive = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": {"type": "array", "items": {"type": "array", "items": {"type": "string",
            "x-kubernetes-validations": [{"rule": "self.contains('x')"}]}}}}}}});
    let text = admin.post(DEFINITIONS, &definition(expensive)).await.refused(422, "Invalid");
    assert!(text.contains("estimated rule cost exceeds budget by factor of more than 100x"), "{text}");
}

#[tokio::test]
async fn must_fail_update_of_a_custom_resource_that_does_not_satisfy_a_transition_rule() {
    let (_cluster, admin) = lamps(json!([{"rule": "self.x >= oldSelf.x", "message": "x shrinks"}])).await;
    admin.create(LAMPS, &lamp("a", json!({"x": 5}))).await;
    let path = format!("{LAMPS}/a");
    admin.patch(&path, "merge", &json!({"spec": {"x": 6}})).await.expect(200);
    let text = admin.patch(&path, "merge", &json!({"spec": {"x": 4}})).await.refused(422, "Invalid");
    assert!(text.ends_with("spec: Invalid value: x shrinks"), "{text}");

    let status = format!("{path}/status");
    admin.patch(&status, "merge", &json!({"status": {"n": 2}})).await.expect(200);
    let text = admin.patch(&status, "merge", &json!({"status": {"n": 1}})).await.refused(422, "Invalid");
    assert!(text.ends_with("status.n: Invalid value: 1: n shrinks"), "{text}");
}

/// KEP-4008: a rule that came after the object does not lock it.
#[tokio::test]
async fn what_was_wrong_before_the_rule_stays() {
    let (_cluster, admin) = lamps(json!([])).await;
    admin.create(LAMPS, &lamp("old", json!({"x": 1, "color": "red"}))).await;
    let mut stricter = schema(json!([]));
    stricter["properties"]["spec"]["properties"]["color"]["x-kubernetes-validations"] =
        json!([{"rule": "self != 'red'", "message": "not red"}]);
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": stricter}]);
    admin.patch(&format!("{DEFINITIONS}/lamps.rules.example.com"), "json", &patch).await.expect(200);

    let path = format!("{LAMPS}/old");
    let answer = admin.patch(&path, "merge", &json!({"spec": {"x": 2}})).await;
    answer.expect(200);
    assert_eq!(answer.warnings(), [r#"spec.color: Invalid value: "red": not red"#]);
    let text = admin.post(LAMPS, &lamp("new", json!({"color": "red"}))).await.refused(422, "Invalid");
    assert!(text.ends_with(r#"spec.color: Invalid value: "red": not red"#), "{text}");
}
