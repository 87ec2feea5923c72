//! What the webhooks' server says, path by path.

use http::Response;
use net::Body;
use std::{future, time::Duration};
use testkit::{
    Value,
    extension::{Call, patched, reply, reviewed},
    json,
};

pub async fn answer(call: Call) -> Response<Body> {
    let review = call.json();
    let request = &review["request"];
    let object = if request["operation"] == "DELETE" { &request["oldObject"] } else { &request["object"] };
    let response = match call.uri.path() {
        "/always-deny" => refusal("message", "this webhook denies all requests"),
        "/always-allow-delay-5s" => {
            tokio::time::sleep(Duration::from_secs(5)).await;
            allowed()
        }
        "/pods" => pods(object).await,
        "/pods/attach" if request["name"] == "to-be-attached-pod" => {
            refusal("message", "attaching to pod 'to-be-attached-pod' is not allowed")
        }
        "/configmaps" => data(request, object, "configmap"),
        "/custom-resource" => data(request, object, "custom resource"),
        "/crd" if object["metadata"]["labels"]["webhook-e2e-test"] == "webhook-disallow" => {
            refusal("message", "the crd contains unwanted label")
        }
        "/mutating-configmaps" | "/mutating-custom-resource" => stages(&object["data"]),
        "/mutating-pods" => patched(&json!([{"op": "add", "path": "/spec/initContainers", "value": [
            {"name": "webhook-added-init-container", "image": "webhook-added-image", "resources": {}}]}])),
        "/add-label" => patched(&json!([{"op": "add", "path": "/metadata/labels", "value": {"added-label": "yes"}}])),
        "/crd" | "/pods/attach" => allowed(),
        _ => return reply(404, &Value::Null),
    };
    reviewed(&review, response)
}

fn allowed() -> Value {
    json!({"allowed": true})
}

/// A refusal that explains itself in its `message`, or in its `reason` alone.
fn refusal(place: &str, why: &str) -> Value {
    json!({"allowed": false, "status": {place: why}})
}

async fn pods(pod: &Value) -> Value {
    let mut why = Vec::new();
    match pod["metadata"]["labels"]["webhook-e2e-test"].as_str() {
        Some("webhook-disallow") => why.push("the pod contains unwanted label;"),
        Some("wait-forever") => future::pending::<()>().await,
        _ => {}
    }
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut names = containers.filter_map(|container| container["name"].as_str());
    if names.any(|name| name.contains("webhook-disallow")) {
        why.push("the pod contains unwanted container name;");
    }
    if why.is_empty() { allowed() } else { refusal("message", &why.join(" ")) }
}

fn data(request: &Value, object: &Value, what: &str) -> Value {
    let deletion = request["operation"] == "DELETE";
    match object["data"]["webhook-e2e-test"].as_str() {
        Some("webhook-disallow") if !deletion => refusal("reason", &format!("the {what} contains unwanted data")),
        Some("webhook-nondeletable") if deletion => {
            refusal("reason", &format!("the {what} cannot be deleted because it contains unwanted key and value"))
        }
        _ => allowed(),
    }
}

/// Each stage needs what the one before has added.
fn stages(data: &Value) -> Value {
    let add = |stage: &str| patched(&json!([{"op": "add", "path": format!("/data/mutation-{stage}"), "value": "yes"}]));
    if data["mutation-stage-1"] == "yes" {
        return add("stage-2");
    }
    if data["mutation-start"] == "yes" { add("stage-1") } else { allowed() }
}
