//! Admission policies in CEL beyond upstream's specs, which stand in `suite/policies.rs`.

use testkit::{Caller, Cluster, Value, json};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn rule(group: &str, resource: &str) -> Value {
    json!({"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}]})
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

/// A policy and a binding of the same name.
async fn policy(admin: &Caller, kind: &str, name: &str, spec: Value, binding: Value) {
    let lower = kind.to_lowercase();
    let made = json!({"metadata": {"name": name}, "spec": spec});
    admin.create(&format!("{GROUP}/{lower}admissionpolicies"), &made).await;
    let mut bound = json!({"metadata": {"name": name}, "spec": binding});
    bound["spec"]["policyName"] = json!(name);
    admin.create(&format!("{GROUP}/{lower}admissionpolicybindings"), &bound).await;
}

#[tokio::test]
async fn type_check_validation_expressions() {
    let cluster = Cluster::start().await;
    cluster.server.check_policy_types();
    let admin = cluster.admin();
    let policies = format!("{GROUP}/validatingadmissionpolicies");
    let of = |name: &str, validations: Value| {
        json!({"metadata": {"name": name}, "spec": {"matchConstraints": rule("apps", "deployments"),
            "variables": [{"name": "replicas", "expression": "object.spec.replicas"}], "validations": validations}})
    };
    let checked =
        |p: Option<&Value>| p.is_some_and(|p| p["status"]["observedGeneration"] == p["metadata"]["generation"]);
    admin.create(&policies, &of("good", json!([{"expression": "variables.replicas > 1"}]))).await;
    let good = admin.until(&policies, "good", checked).await.unwrap();
    assert_eq!(good["status"]["typeChecking"], json!({}));
    let validations = json!([{"expression": "object.spec.replicas > '1'"}, {"expression": "object.spec.maxRetries < 10",
        "messageExpression": "'a' + string(variables.replicas)"}]);
    admin.create(&policies, &of("bad", validations)).await;
    let bad = admin.until(&policies, "bad", checked).await.unwrap();
    let warnings = bad["status"]["typeChecking"]["expressionWarnings"].as_array().unwrap();
    let of = |i: usize| (warnings[i]["fieldRef"].as_str().unwrap(), warnings[i]["warning"].as_str().unwrap());
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(of(0).0, "spec.validations[0].expression");
    assert!(of(0).1.starts_with("apps/v1, Kind=Deployment: "), "{}", of(0).1);
    assert!(of(0).1.contains("found no matching overload for '_>_' applied to '(int, string)'"), "{}", of(0).1);
    assert_eq!(of(1).0, "spec.validations[1].expression");
    assert!(of(1).1.contains("undefined field 'maxRetries'"), "{}", of(1).1);
}

#[tokio::test]
async fn parameters_and_actions() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "rules"}})).await;
    let spec = json!({"matchConstraints": rule("", "configmaps"), "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "not-params", "expression": "request.namespace != 'rules'"}],
        "validations": [{"expression": "!has(object.data) || object.data.all(k, k != params.data.forbidden)",
            "messageExpression": "'no ' + params.data.forbidden"}]});
    let reference = json!({"name": "limits", "namespace": "rules", "parameterNotFoundAction": "Deny"});
    policy(&admin, "Validating", "keys", spec, json!({"validationActions": ["Deny"], "paramRef": reference})).await;
    let status = admin.post(MAPS, &map("a", json!({"x": "y"}))).await.expect(422);
    assert_eq!(
        status["message"],
        "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'keys' with binding 'keys' denied request: failed to \
         configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    // The parameter would be refused by its own policy; it comes while the binding does not ask for it.
    let binding = format!("{GROUP}/validatingadmissionpolicybindings/keys");
    let patch = |action: &str| json!({"spec": {"paramRef": {"parameterNotFoundAction": action}}});
    admin.patch(&binding, "merge", &patch("Allow")).await.expect(200);
    admin.create(MAPS, &map("free", json!({"x": "y"}))).await;
    admin.create("/api/v1/namespaces/rules/configmaps", &map("limits", json!({"forbidden": "x"}))).await;
    let status = admin.post(MAPS, &map("a", json!({"x": "y"}))).await.expect(422);
    assert!(status["message"].as_str().unwrap().ends_with("denied request: no x"), "{status}");
    admin.create(MAPS, &map("b", json!({"y": "z"}))).await;
    let patch = json!({"spec": {"validationActions": ["Warn", "Audit"]}});
    admin.patch(&binding, "merge", &patch).await.expect(200);
    let answer = admin.post(MAPS, &map("a", json!({"x": "y"}))).await;
    assert_eq!(answer.code, 201);
    assert_eq!(answer.warnings(), ["Validation failed for ValidatingAdmissionPolicy 'keys' with binding 'keys': no x"]);
}

#[tokio::test]
async fn mutate_a_deployment() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let spec = json!({"matchConstraints": rule("apps", "deployments"), "reinvocationPolicy": "Never", "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{labels: {'my-label': object.metadata.name}}, spec: Object.spec{template: Object.spec.template{\
             spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'side', image: 's'}]}}}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'test', path: '/spec/replicas', value: 1}, JSONPatch{op: 'replace', path: '/spec/replicas', value: 3}]"}}]});
    policy(&admin, "Mutating", "shape", spec, json!({})).await;
    let made = admin.create(DEPLOYMENTS, &deployment("a", 1)).await;
    assert_eq!(made["metadata"]["labels"], json!({"my-label": "a"}));
    assert_eq!(made["spec"]["replicas"], 3);
    let containers = made["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    let names: Vec<&str> = containers.iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["c", "side"]);
    assert_eq!(containers[1]["terminationMessagePath"], "/dev/termination-log", "defaults come after");
    assert_eq!(containers[0]["image"], "i");
    let made = admin.create(DEPLOYMENTS, &deployment("b", 2)).await;
    assert_eq!(made["spec"]["replicas"], 2, "the test of the patch fails, so nothing is done");
}

#[tokio::test]
async fn mutations_that_fail() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let of = |expression: &str| {
        json!({"matchConstraints": rule("apps", "deployments"), "reinvocationPolicy": "Never", "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]})
    };
    let args = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [\
                Object.spec.template.spec.containers{name: 'c', args: ['x']}]}}}}";
    policy(&admin, "Mutating", "atomic", of(args), json!({})).await;
    let status = admin.post(DEPLOYMENTS, &deployment("a", 1)).await.expect(403);
    assert_eq!(
        status["message"],
        "policy 'atomic' with binding 'atomic' denied request: error applying patch: invalid ApplyConfiguration: may not \
         mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].args"
    );
    assert_eq!(status["reason"], "Invalid");
    let path = format!("{GROUP}/mutatingadmissionpolicies/atomic");
    admin.patch(&path, "merge", &json!({"spec": {"failurePolicy": "Ignore"}})).await.expect(200);
    admin.create(DEPLOYMENTS, &deployment("a", 1)).await;
}

#[tokio::test]
async fn policies_are_asked_again_where_they_want() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    // By name the first looks for what the second adds.
    let spec = |reinvocation: &str, condition: &str, label: &str| {
        json!({"matchConstraints": rule("", "configmaps"), "reinvocationPolicy": reinvocation,
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": format!(
                "has(object.metadata.labels) && {condition} ? Object{{metadata: Object.metadata{{labels: {{'{label}': 'yes'}}}}}} : Object{{}}")}}]})
    };
    policy(&admin, "Mutating", "a-first", spec("IfNeeded", "'second' in object.metadata.labels", "first"), json!({}))
        .await;
    policy(&admin, "Mutating", "b-second", spec("Never", "'start' in object.metadata.labels", "second"), json!({}))
        .await;
    let mut asked = map("m", json!({}));
    asked["metadata"]["labels"] = json!({"start": "x"});
    let made = admin.create(MAPS, &asked).await;
    assert_eq!(made["metadata"]["labels"], json!({"start": "x", "second": "yes", "first": "yes"}));
}

/// ValidatingAdmissionPolicy can restrict access by-node: who may not write an object may not touch it either.
#[tokio::test]
async fn an_update_that_changes_nothing_is_admitted_like_any_other() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &map("m", json!({"a": "b"}))).await;
    let spec = json!({"matchConstraints": rule("", "configmaps"), "validations": [
        {"expression": "request.operation == 'CREATE'", "message": "no updates"}]});
    policy(&admin, "Validating", "frozen", spec, json!({"validationActions": ["Deny"]})).await;
    let path = format!("{MAPS}/m");
    let told = admin.put(&path, &made).await.expect(422)["message"].to_string();
    assert!(told.contains("denied request: no updates"), "{told}");
    admin.patch(&path, "merge", &json!({"data": {"a": "b"}})).await.expect(422);
    let told = admin.delete(&path, &Value::Null).await.code;
    assert_eq!(told, 200, "the policy is about writes");
    // A creation is refused for what the caller may not before it is refused for what it carries.
    let path = format!("{MAPS}/n");
    let copied =
        |name: &str, revision: &str| json!({"metadata": {"name": name, "resourceVersion": revision}, "data": {}});
    let told = admin.post(MAPS, &copied("n", "7")).await;
    assert_eq!((told.code, told.text().contains("should not be set")), (500, true), "{}", told.text());
    let denied = json!({"matchConstraints": rule("", "configmaps"), "validations": [
        {"expression": "object.metadata.name != 'n'", "message": "not this"}]});
    policy(&admin, "Validating", "named", denied, json!({"validationActions": ["Deny"]})).await;
    let told = admin.post(MAPS, &copied("n", "7")).await.expect(422)["message"].to_string();
    assert!(told.contains("denied request: not this"), "{told}");
    assert_eq!(admin.get(&path).await.code, 404);
    let (path, made) = (format!("{MAPS}/m"), admin.create(MAPS, &map("m", json!({"a": "b"}))).await);
    // Allowed again, it still is no write.
    admin.delete(&format!("{GROUP}/validatingadmissionpolicybindings/frozen"), &Value::Null).await.expect(200);
    let same = admin.put(&path, &made).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}
