//! Admission webhooks, each scenario under the name of the conformance spec that it follows. The webhooks are a real TLS
//! server in the test, which does what upstream's test image does.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use testkit::{Answer, Caller, Cluster, Value, json};
use tokio::{net::TcpListener, sync::watch};

const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The server of the webhooks.
#[derive(Clone)]
struct Hooks {
    url: String,
    bundle: String,
    /// Every request with its path, as it came.
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    _stop: Arc<watch::Sender<bool>>,
}

impl Hooks {
    async fn start(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let leaf = cluster.pki.ca.server("hooks", &["127.0.0.1".into()]).unwrap();
        let slot = net::CertificateSlot::new(&leaf).unwrap();
        let tls = net::tls::server(slot, cluster.pki.ca.roots()).unwrap();
        let (stop, stopping) = watch::channel(false);
        let bundle = STANDARD.encode(cluster.pki.ca.cert_pem());
        let hooks = Hooks { url, bundle, seen: Arc::default(), _stop: Arc::new(stop) };
        let server = Server(hooks.seen.clone());
        tokio::spawn(net::serve(listener, tls, server, stopping, Duration::ZERO));
        hooks
    }
    /// A webhook of a path with one rule.
    fn hook(&self, path: &str, rule: Value) -> Value {
        json!({
            "name": format!("{}.example.com", path.trim_start_matches('/')), "rules": [rule], "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("{}{path}", self.url), "caBundle": self.bundle},
        })
    }
    /// The requests to a path.
    fn requests(&self, path: &str) -> Vec<Value> {
        self.seen.lock().iter().filter(|(p, _)| p == path).map(|(_, r)| r.clone()).collect()
    }
}

#[derive(Clone)]
struct Server(Arc<Mutex<Vec<(String, Value)>>>);

impl net::Handler for Server {
    type Connection = ();
    fn connected(&self, _: net::Peer) {}
    async fn handle(&self, (): &(), request: Request<Incoming>) -> Response<net::Body> {
        let path = request.uri().path().to_string();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let review: Value = serde_json::from_slice(&body).unwrap();
        let request = &review["request"];
        self.0.lock().push((path.clone(), request.clone()));
        if path == "/hang" {
            std::future::pending::<()>().await;
        }
        if path == "/broken" {
            return Response::builder().status(500).body(net::Body::from("broken\n")).unwrap();
        }
        let mut response = answer(&path, request);
        response["uid"] = request["uid"].clone();
        let answer = json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response});
        Response::new(net::Body::from(answer.to_string()))
    }
}

fn allowed() -> Value {
    json!({"allowed": true})
}

fn denied(why: &str) -> Value {
    json!({"allowed": false, "status": {"message": why}})
}

fn patched(patch: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
}

fn answer(path: &str, request: &Value) -> Value {
    let object = if request["operation"] == "DELETE" { &request["oldObject"] } else { &request["object"] };
    let unwanted = |map: &Value| map["webhook-e2e-test"] == "webhook-disallow";
    match path {
        "/pods" if unwanted(&object["metadata"]["labels"]) => {
            denied("the pod contains unwanted label; the pod contains unwanted container name;")
        }
        "/configmaps" if unwanted(&object["data"]) => denied("the configmap contains unwanted key and value"),
        "/custom" if unwanted(&object["data"]) => denied("the custom resource contains unwanted data"),
        "/crd" if unwanted(&object["metadata"]["labels"]) => denied("the crd contains unwanted label"),
        "/attach" if request["name"] == "to-be-attached-pod" => {
            denied("attaching to pod 'to-be-attached-pod' is not allowed")
        }
        "/always-deny" => denied("this webhook denies all requests"),
        "/deny-and-warn" => json!({"allowed": false, "status": {"message": "no"}, "warnings": ["really not"]}),
        "/teapot" => json!({"allowed": false, "status": {"code": 418, "reason": "Teapot", "message": "no coffee"}}),
        "/warn" => json!({"allowed": true, "warnings": ["careful"]}),
        "/stage-1" if object["data"]["mutation-start"] == "yes" => {
            patched(&json!([{"op": "add", "path": "/data/mutation-stage-1", "value": "yes"}]))
        }
        "/stage-2" if object["data"]["mutation-stage-1"] == "yes" => {
            patched(&json!([{"op": "add", "path": "/data/mutation-stage-2", "value": "yes"}]))
        }
        "/init-container" => patched(&json!([{"op": "add", "path": "/spec/initContainers", "value": [
            {"name": "webhook-added-init-container", "image": "webhook-added-image", "resources": {}}]}])),
        "/label" => patched(&json!([{"op": "add", "path": "/metadata/labels", "value": {"touched": "yes"}}])),
        _ => allowed(),
    }
}

fn rule(group: &str, resource: &str, operations: &[&str]) -> Value {
    json!({"operations": operations, "apiGroups": [group], "apiVersions": ["*"], "resources": [resource]})
}

fn configuration(kind: &str, name: &str, hooks: &[Value]) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": name}, "webhooks": hooks})
}

async fn validate(admin: &Caller, name: &str, hooks: &[Value]) -> Value {
    admin.create(VALIDATING, &configuration("Validating", name, hooks)).await
}

async fn mutate(admin: &Caller, name: &str, hooks: &[Value]) -> Value {
    admin.create(MUTATING, &configuration("Mutating", name, hooks)).await
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn pod(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn disallowed() -> Value {
    json!({"webhook-e2e-test": "webhook-disallow"})
}

/// The message of a refusal by a webhook without code and reason.
#[track_caller]
fn refused(answer: &Answer, hook: &str, why: &str) {
    let status = answer.expect(400);
    assert_eq!(status["message"], format!("admission webhook \"{hook}\" denied the request: {why}"));
}

async fn start() -> (Cluster, Caller, Hooks) {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let account = json!({"metadata": {"name": "default"}});
    admin.create("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let hooks = Hooks::start(&cluster).await;
    (cluster, admin, hooks)
}

#[tokio::test]
async fn deny_pod_and_configmap_creation() {
    let (_cluster, admin, hooks) = start().await;
    let mut pods = hooks.hook("/pods", rule("", "pods", &["CREATE"]));
    let mut maps = hooks.hook("/configmaps", rule("", "configmaps", &["CREATE", "UPDATE", "DELETE"]));
    let skip = json!({"matchExpressions": [{"key": "skip", "operator": "NotIn", "values": ["yes"]}]});
    pods["namespaceSelector"] = skip.clone();
    maps["namespaceSelector"] = skip;
    validate(&admin, "deny", &[pods, maps]).await;

    let why = "the pod contains unwanted label; the pod contains unwanted container name;";
    refused(&admin.post(PODS, &pod("bad", disallowed())).await, "pods.example.com", why);
    admin.create(PODS, &pod("good", json!({}))).await;
    let why = "the configmap contains unwanted key and value";
    refused(&admin.post(MAPS, &map("bad", disallowed())).await, "configmaps.example.com", why);
    admin.create(MAPS, &map("good", json!({"admit": "this"}))).await;
    let good = format!("{MAPS}/good");
    refused(&admin.put(&good, &map("good", disallowed())).await, "configmaps.example.com", why);
    let patch = json!({"data": disallowed()});
    refused(&admin.patch(&good, "strategic-merge", &patch).await, "configmaps.example.com", why);
    assert_eq!(admin.get(&good).await.expect(200)["data"], json!({"admit": "this"}));
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "free", "labels": {"skip": "yes"}}})).await;
    admin.create("/api/v1/namespaces/free/configmaps", &map("bad", disallowed())).await;

    let seen = hooks.requests("/configmaps");
    let create = &seen[0];
    assert_eq!((&create["operation"], &create["oldObject"]), (&json!("CREATE"), &Value::Null));
    assert_eq!(create["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(create["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&create["name"], &create["namespace"]), (&json!("bad"), &json!("default")));
    assert_eq!((&create["userInfo"]["username"], &create["dryRun"]), (&json!("admin"), &json!(false)));
    let update = seen.iter().find(|r| r["operation"] == "UPDATE").unwrap();
    assert_eq!(update["oldObject"]["data"], json!({"admit": "this"}));

    admin.delete(&good, &Value::Null).await.expect(200);
    let last = hooks.requests("/configmaps").pop().unwrap();
    assert_eq!((&last["operation"], &last["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(last["oldObject"]["metadata"]["name"], "good");
    assert_eq!(last["options"]["kind"], "DeleteOptions");
    let options = |i: usize| &seen[i]["options"];
    assert_eq!((&options(0)["kind"], &options(0)["apiVersion"]), (&json!("CreateOptions"), &json!("meta.k8s.io/v1")));
    assert_eq!(seen.last().unwrap()["options"]["kind"], "PatchOptions");
}

#[tokio::test]
async fn warnings_come_with_refusals() {
    let (_cluster, admin, hooks) = start().await;
    let rule = || rule("", "configmaps", &["CREATE", "UPDATE", "DELETE"]);
    validate(&admin, "a", &[hooks.hook("/warn", rule()), hooks.hook("/deny-and-warn", rule())]).await;
    let mut wrong = map("m", json!({"k": "v"}));
    wrong["unknown"] = json!(1);
    let refused = admin.post(MAPS, &wrong).await;
    refused.expect(400);
    let own = "unknown field \"unknown\"";
    assert_eq!(refused.warnings(), [own, "careful", "really not"]);
    // A refusal before admission has its own alone.
    let mut misnamed = wrong.clone();
    misnamed["metadata"]["name"] = json!("No_Name");
    let refused = admin.post(MAPS, &misnamed).await;
    refused.expect(422);
    assert_eq!(refused.warnings(), [own]);
    let patch = admin.patch("/api/v1/namespaces/default/configmaps/kube-root-ca.crt", "apply", &wrong).await;
    assert!(patch.code >= 400, "{}", patch.text());
    let mut gone = hooks.hook("/deny-and-warn", rule());
    gone["name"] = json!("gone.example.com");
    admin.delete(&format!("{VALIDATING}/a"), &Value::Null).await.expect(200);
    admin.create(MAPS, &map("there", json!({}))).await;
    validate(&admin, "b", &[gone]).await;
    let refused = admin.delete(&format!("{MAPS}/there"), &Value::Null).await;
    refused.expect(400);
    assert_eq!(refused.warnings(), ["really not"]);
}

#[tokio::test]
async fn the_beginning_of_a_name_is_looked_at() {
    let (_cluster, admin, _hooks) = start().await;
    for (prefix, fine) in [("a-", true), ("a", true), ("a.", false), ("-", false), ("AB-", false), ("a_", false)] {
        let answer = admin.post(MAPS, &json!({"metadata": {"generateName": prefix}})).await;
        if fine {
            answer.expect(201);
            continue;
        }
        let why = answer.refused(422, "Invalid");
        assert!(
            why.contains(&format!("metadata.generateName: Invalid value: {prefix:?}: a lowercase RFC 1123 subdomain")),
            "{why}"
        );
    }
}

#[tokio::test]
async fn deny_attaching_pod() {
    let (_cluster, admin, hooks) = start().await;
    validate(&admin, "attach", &[hooks.hook("/attach", rule("", "pods/attach", &["CONNECT"]))]).await;
    admin.create(PODS, &pod("to-be-attached-pod", json!({}))).await;
    let path = format!("{PODS}/to-be-attached-pod/attach?stdin=true&container=c");
    let answer = admin.send("POST", &path, "", "").await;
    refused(&answer, "attach.example.com", "attaching to pod 'to-be-attached-pod' is not allowed");
    let seen = hooks.requests("/attach");
    assert_eq!(seen[0]["kind"], json!({"group": "", "version": "v1", "kind": "PodAttachOptions"}));
    assert_eq!((&seen[0]["operation"], &seen[0]["subResource"]), (&json!("CONNECT"), &json!("attach")));
    assert_eq!((&seen[0]["object"]["stdin"], &seen[0]["object"]["container"]), (&json!(true), &json!("c")));
}

fn definition(group: &str, pruned: bool, versions: &[(&str, bool)]) -> Value {
    let text = json!({"type": "string"});
    let mut data = json!({"type": "object", "properties": {"mutation-start": text, "mutation-stage-1": text}});
    if !pruned {
        data["x-kubernetes-preserve-unknown-fields"] = json!(true);
    }
    let versions: Vec<Value> = versions
        .iter()
        .map(|(name, storage)| {
            json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"data": data}}}})
        })
        .collect();
    json!({"metadata": {"name": format!("things.{group}")}, "spec": {"group": group, "scope": "Namespaced",
        "versions": versions, "names": {"plural": "things", "kind": "Thing"}}})
}

fn thing(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

fn things(group: &str, version: &str) -> String {
    format!("/apis/{group}/{version}/namespaces/default/things")
}

#[tokio::test]
async fn deny_custom_resource_creation_update_and_deletion() {
    let (_cluster, admin, hooks) = start().await;
    let group = "deny.example.com";
    admin.create(DEFINITIONS, &definition(group, false, &[("v1", true)])).await;
    let things = things(group, "v1");
    validate(&admin, "custom", &[hooks.hook("/custom", rule(group, "things", &["CREATE", "UPDATE", "DELETE"]))]).await;
    let why = "the custom resource contains unwanted data";
    refused(&admin.post(&things, &thing("bad", disallowed())).await, "custom.example.com", why);
    admin.create(&things, &thing("good", json!({"a": "b"}))).await;
    let patch = json!({"data": disallowed()});
    refused(&admin.patch(&format!("{things}/good"), "merge", &patch).await, "custom.example.com", why);
    // What is there already is kept from deletion by what it says.
    admin.delete(&format!("{VALIDATING}/custom"), &Value::Null).await.expect(200);
    admin.patch(&format!("{things}/good"), "merge", &patch).await.expect(200);
    validate(&admin, "custom", &[hooks.hook("/custom", rule(group, "things", &["DELETE"]))]).await;
    refused(&admin.delete(&format!("{things}/good"), &Value::Null).await, "custom.example.com", why);
    refused(&admin.delete(&things, &Value::Null).await, "custom.example.com", why);
    admin.patch(&format!("{things}/good"), "merge", &json!({"data": {"webhook-e2e-test": "no"}})).await.expect(200);
    admin.delete(&format!("{things}/good"), &Value::Null).await.expect(200);
}

#[tokio::test]
async fn unconditionally_reject_operations_on_fail_closed_webhook() {
    let (_cluster, admin, hooks) = start().await;
    let mut hook = hooks.hook("/x", rule("", "configmaps", &["CREATE"]));
    hook["clientConfig"] = json!({"service": {"namespace": "default", "name": "missing", "path": "/x"}});
    validate(&admin, "closed", std::slice::from_ref(&hook)).await;
    let message = admin.post(MAPS, &map("a", json!({}))).await.refused(500, "InternalError");
    assert_eq!(
        message,
        "Internal error occurred: failed calling webhook \"x.example.com\": failed to call webhook: \
         Post \"https://missing.default.svc:443/x?timeout=10s\": service \"missing\" not found"
    );
    let broken = hooks.hook("/broken", rule("", "configmaps", &["CREATE"]));
    admin
        .put(&format!("{VALIDATING}/closed"), &{
            let mut new = admin.get(&format!("{VALIDATING}/closed")).await.expect(200);
            new["webhooks"] = json!([broken]);
            new
        })
        .await
        .expect(200);
    let message = admin.post(MAPS, &map("a", json!({}))).await.refused(500, "InternalError");
    assert!(
        message.ends_with(
            "failed to call webhook: an error on the server (\"broken\") has prevented the request from succeeding"
        ),
        "{message}"
    );
    // Open: the same request goes through.
    let patch = json!([{"op": "add", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    admin.patch(&format!("{VALIDATING}/closed"), "json", &patch).await.expect(200);
    admin.create(MAPS, &map("a", json!({}))).await;
}

#[tokio::test]
async fn mutate_configmap() {
    let (_cluster, admin, hooks) = start().await;
    let of = |path| hooks.hook(path, rule("", "configmaps", &["CREATE"]));
    mutate(&admin, "stages", &[of("/stage-1"), of("/stage-2")]).await;
    let made = admin.create(MAPS, &map("a", json!({"mutation-start": "yes"}))).await;
    let all = json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"});
    assert_eq!(made["data"], all);

    // The other way around the second stage comes only to who is asked again.
    let mut again = of("/stage-2");
    admin.delete(&format!("{MUTATING}/stages"), &Value::Null).await.expect(200);
    mutate(&admin, "stages", &[again.clone(), of("/stage-1")]).await;
    let made = admin.create(MAPS, &map("b", json!({"mutation-start": "yes"}))).await;
    assert_eq!(made["data"], json!({"mutation-start": "yes", "mutation-stage-1": "yes"}));
    admin.delete(&format!("{MUTATING}/stages"), &Value::Null).await.expect(200);
    again["reinvocationPolicy"] = json!("IfNeeded");
    mutate(&admin, "stages", &[again, of("/stage-1")]).await;
    let made = admin.create(MAPS, &map("c", json!({"mutation-start": "yes"}))).await;
    assert_eq!(made["data"], all);
}

#[tokio::test]
async fn mutate_pod_and_apply_defaults_after_mutation() {
    let (_cluster, admin, hooks) = start().await;
    mutate(&admin, "pods", &[hooks.hook("/init-container", rule("", "pods", &["CREATE"]))]).await;
    let made = admin.create(PODS, &pod("a", json!({}))).await;
    let added = &made["spec"]["initContainers"][0];
    assert_eq!(added["name"], "webhook-added-init-container");
    assert_eq!(added["terminationMessagePolicy"], "File");
    assert_eq!(added["imagePullPolicy"], "Always");
}

#[tokio::test]
async fn not_be_able_to_mutate_or_prevent_deletion_of_webhook_configurations() {
    let (_cluster, admin, hooks) = start().await;
    let all = rule("admissionregistration.k8s.io", "*", &["*"]);
    let everything = || rule("*", "*", &["CREATE", "UPDATE", "DELETE"]);
    validate(&admin, "blocking", &[hooks.hook("/always-deny", all.clone())]).await;
    mutate(&admin, "touching", &[hooks.hook("/label", everything())]).await;
    let idle = hooks.hook("/idle", rule("x.io", "nothing", &["CREATE"]));
    let made = validate(&admin, "victim", std::slice::from_ref(&idle)).await;
    assert_eq!(made["metadata"].get("labels"), None);
    let made = mutate(&admin, "victim", &[idle]).await;
    assert_eq!(made["metadata"].get("labels"), None);
    admin.delete(&format!("{VALIDATING}/victim"), &Value::Null).await.expect(200);
    admin.delete(&format!("{MUTATING}/victim"), &Value::Null).await.expect(200);
    // Anything else is touched.
    assert_eq!(admin.create(MAPS, &map("a", json!({}))).await["metadata"]["labels"], json!({"touched": "yes"}));
}

#[tokio::test]
async fn mutate_custom_resource_with_and_without_pruning() {
    let (_cluster, admin, hooks) = start().await;
    for (group, pruned) in [("kept.example.com", false), ("pruned.example.com", true)] {
        admin.create(DEFINITIONS, &definition(group, pruned, &[("v1", true)])).await;
        let of = |path| hooks.hook(path, rule(group, "things", &["CREATE"]));
        mutate(&admin, group, &[of("/stage-1"), of("/stage-2")]).await;
        let made = admin.create(&things(group, "v1"), &thing("a", json!({"mutation-start": "yes"}))).await;
        let mut want = json!({"mutation-start": "yes", "mutation-stage-1": "yes"});
        if !pruned {
            want["mutation-stage-2"] = json!("yes");
        }
        assert_eq!(made["data"], want, "{group}");
    }
}

#[tokio::test]
async fn mutate_custom_resource_with_different_stored_version() {
    let (_cluster, admin, hooks) = start().await;
    let group = "versions.example.com";
    admin.create(DEFINITIONS, &definition(group, true, &[("v1", true), ("v2", false)])).await;
    let mut hook = hooks.hook("/stage-1", rule(group, "things", &["CREATE", "UPDATE"]));
    hook["rules"][0]["apiVersions"] = json!(["v1"]);
    mutate(&admin, "versions", &[hook]).await;
    admin.create(&things(group, "v1"), &thing("a", json!({}))).await;
    for v1_is_stored in [true, false] {
        let patch = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": v1_is_stored},
            {"op": "replace", "path": "/spec/versions/1/storage", "value": !v1_is_stored}]);
        admin.patch(&format!("{DEFINITIONS}/things.{group}"), "json", &patch).await.expect(200);
        let path = format!("{}/a", things(group, "v2"));
        let patch = json!({"data": {"mutation-start": "yes", "mutation-stage-1": null}});
        let made = admin.patch(&path, "merge", &patch).await.expect(200);
        assert_eq!(made["apiVersion"], format!("{group}/v2"));
        assert_eq!(made["data"], json!({"mutation-start": "yes", "mutation-stage-1": "yes"}));
    }
    // A rule for v1 is shown v1, whatever was asked for and whatever is stored.
    for request in hooks.requests("/stage-1") {
        assert_eq!((&request["kind"]["version"], &request["resource"]["version"]), (&json!("v1"), &json!("v1")));
        assert_eq!(request["object"]["apiVersion"], format!("{group}/v1"));
    }
    assert!(hooks.requests("/stage-1").iter().any(|request| request["requestKind"]["version"] == "v2"));
}

#[tokio::test]
async fn deny_crd_creation() {
    let (_cluster, admin, hooks) = start().await;
    let rule = rule("apiextensions.k8s.io", "*", &["CREATE"]);
    validate(&admin, "crd", &[hooks.hook("/crd", rule)]).await;
    let mut bad = definition("bad.example.com", true, &[("v1", true)]);
    bad["metadata"]["labels"] = disallowed();
    refused(&admin.post(DEFINITIONS, &bad).await, "crd.example.com", "the crd contains unwanted label");
}

#[tokio::test]
async fn honor_timeout() {
    let (_cluster, admin, hooks) = start().await;
    let mut hook = hooks.hook("/hang", rule("", "configmaps", &["CREATE"]));
    hook["timeoutSeconds"] = json!(1);
    validate(&admin, "slow", std::slice::from_ref(&hook)).await;
    let message = admin.post(MAPS, &map("a", json!({}))).await.refused(500, "InternalError");
    assert!(message.contains("/hang?timeout=1s\": context deadline exceeded"), "{message}");
    admin.get(&format!("{MAPS}/a")).await.refused(404, "NotFound");
    let patch = json!([{"op": "add", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    admin.patch(&format!("{VALIDATING}/slow"), "json", &patch).await.expect(200);
    admin.create(MAPS, &map("a", json!({}))).await;
}

#[tokio::test]
async fn patching_and_updating_a_webhook() {
    let (_cluster, admin, hooks) = start().await;
    let bad = || map("bad", disallowed());
    let why = "the configmap contains unwanted key and value";
    validate(&admin, "v", &[hooks.hook("/configmaps", rule("", "configmaps", &["CREATE"]))]).await;
    refused(&admin.post(MAPS, &bad()).await, "configmaps.example.com", why);
    let path = format!("{VALIDATING}/v");
    let mut config = admin.get(&path).await.expect(200);
    config["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
    admin.put(&path, &config).await.expect(200);
    admin.create(MAPS, &bad()).await;
    admin.delete(&format!("{MAPS}/bad"), &Value::Null).await.expect(200);
    let patch = json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]);
    admin.patch(&path, "json", &patch).await.expect(200);
    refused(&admin.post(MAPS, &bad()).await, "configmaps.example.com", why);

    mutate(&admin, "m", &[hooks.hook("/stage-1", rule("", "configmaps", &["UPDATE"]))]).await;
    let start = || json!({"mutation-start": "yes"});
    assert_eq!(admin.create(MAPS, &map("a", start())).await["data"], start());
    let path = format!("{MUTATING}/m");
    admin.patch(&path, "json", &patch).await.expect(200);
    let changed = json!({"mutation-start": "yes", "mutation-stage-1": "yes"});
    assert_eq!(admin.create(MAPS, &map("b", start())).await["data"], changed);
}

#[tokio::test]
async fn listing_and_deleting_webhooks() {
    let (_cluster, admin, hooks) = start().await;
    for n in 0..3 {
        let rules = rule("", "configmaps", &["CREATE"]);
        let mut v = configuration("Validating", &format!("v{n}"), &[hooks.hook("/configmaps", rules.clone())]);
        let mut m = configuration("Mutating", &format!("m{n}"), &[hooks.hook("/stage-1", rules)]);
        v["metadata"]["labels"] = json!({"set": "a"});
        m["metadata"]["labels"] = json!({"set": "a"});
        admin.create(VALIDATING, &v).await;
        admin.create(MUTATING, &m).await;
    }
    assert_eq!(admin.names(&format!("{VALIDATING}?labelSelector=set%3Da")).await, ["v0", "v1", "v2"]);
    assert_eq!(admin.post(MAPS, &map("bad", disallowed())).await.code, 400);
    let made = admin.create(MAPS, &map("a", json!({"mutation-start": "yes"}))).await;
    assert_eq!(made["data"]["mutation-stage-1"], "yes");
    for kind in [VALIDATING, MUTATING] {
        admin.delete(&format!("{kind}?labelSelector=set%3Da"), &Value::Null).await.expect(200);
    }
    admin.create(MAPS, &map("bad", disallowed())).await;
    let made = admin.create(MAPS, &map("b", json!({"mutation-start": "yes"}))).await;
    assert_eq!(made["data"], json!({"mutation-start": "yes"}));
}

#[tokio::test]
async fn mutate_everything_except_skip_me_configmaps() {
    let (_cluster, admin, hooks) = start().await;
    let mut hook = hooks.hook("/stage-1", rule("", "configmaps", &["CREATE"]));
    hook["matchConditions"] = json!([{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]);
    mutate(&admin, "conditions", std::slice::from_ref(&hook)).await;
    let start = || json!({"mutation-start": "yes"});
    assert_eq!(admin.create(MAPS, &map("skip-me", start())).await["data"], start());
    assert_eq!(admin.create(MAPS, &map("a", start())).await["data"]["mutation-stage-1"], "yes");
    // A condition that fails is a refusal, or no call at all.
    let patch =
        json!([{"op": "replace", "path": "/webhooks/0/matchConditions/0/expression", "value": "object.spec.x == 1"}]);
    admin.patch(&format!("{MUTATING}/conditions"), "json", &patch).await.expect(200);
    let message = admin.post(MAPS, &map("b", start())).await.refused(403, "Forbidden");
    assert_eq!(
        message,
        "configmaps \"b\" is forbidden: expression 'object.spec.x == 1' resulted in error: no such key: spec"
    );
    let patch = json!([{"op": "add", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    admin.patch(&format!("{MUTATING}/conditions"), "json", &patch).await.expect(200);
    assert_eq!(admin.create(MAPS, &map("b", start())).await["data"], start());
    // Who asks counts too.
    let patch = json!([{"op": "replace", "path": "/webhooks/0/matchConditions/0/expression", "value":
        "request.userInfo.username == 'admin' && authorizer.group('').resource('pods').check('create').allowed()"}]);
    admin.patch(&format!("{MUTATING}/conditions"), "json", &patch).await.expect(200);
    assert_eq!(admin.create(MAPS, &map("c", start())).await["data"]["mutation-stage-1"], "yes");
}

#[tokio::test]
async fn reject_webhook_configurations_with_invalid_match_conditions() {
    let (_cluster, admin, hooks) = start().await;
    let mut hook = hooks.hook("/x", rule("", "configmaps", &["CREATE"]));
    let conditions = |expressions: &[&str]| -> Value {
        expressions.iter().enumerate().map(|(i, e)| json!({"name": format!("c{i}"), "expression": e})).collect()
    };
    hook["matchConditions"] = conditions(&["... [] bad expression"]);
    for (kind, path) in [("Validating", VALIDATING), ("Mutating", MUTATING)] {
        let message = admin.post(path, &configuration(kind, "bad", &[hook.clone()])).await.refused(422, "Invalid");
        assert!(message.contains("compilation failed"), "{message}");
    }
    hook["matchConditions"] = conditions(&["object.metadata.name"]);
    let message =
        admin.post(VALIDATING, &configuration("Validating", "bad", &[hook.clone()])).await.refused(422, "Invalid");
    assert!(message.ends_with("must evaluate to bool but got dyn"), "{message}");
    // Good ones are kept and can be changed.
    hook["matchConditions"] = conditions(&["has(object.data)", "!(request.userInfo.username in ['x'])"]);
    let made = validate(&admin, "good", std::slice::from_ref(&hook)).await;
    assert_eq!(made["webhooks"][0]["matchConditions"], hook["matchConditions"]);
    let changed = conditions(&["true"]);
    let patch = json!([{"op": "replace", "path": "/webhooks/0/matchConditions", "value": changed}]);
    let made = admin.patch(&format!("{VALIDATING}/good"), "json", &patch).await.expect(200);
    assert_eq!(made["webhooks"][0]["matchConditions"], changed);
}

#[tokio::test]
async fn answers_of_a_webhook_reach_the_client() {
    let (_cluster, admin, hooks) = start().await;
    let of = |path| hooks.hook(path, rule("", "configmaps", &["CREATE"]));
    validate(&admin, "warn", &[of("/warn")]).await;
    let answer = admin.post(MAPS, &map("a", json!({}))).await;
    assert_eq!((answer.code, answer.warnings()), (201, vec!["careful".to_string()]));
    validate(&admin, "teapot", &[of("/teapot")]).await;
    let status = admin.post(MAPS, &map("b", json!({}))).await.expect(418);
    assert_eq!(status["reason"], "Teapot");
    assert_eq!(status["message"], "admission webhook \"teapot.example.com\" denied the request: no coffee");
}

#[tokio::test]
async fn dry_runs_reach_only_who_has_no_side_effects() {
    let (_cluster, admin, hooks) = start().await;
    let mut hook = hooks.hook("/label", rule("", "configmaps", &["CREATE"]));
    hook["sideEffects"] = json!("NoneOnDryRun");
    mutate(&admin, "dry", &[hook]).await;
    let made = admin.create(&format!("{MAPS}?dryRun=All"), &map("a", json!({}))).await;
    assert_eq!(made["metadata"]["labels"]["touched"], "yes");
    assert_eq!(hooks.requests("/label")[0]["dryRun"], true);
    admin.get(&format!("{MAPS}/a")).await.refused(404, "NotFound");
}

#[tokio::test]
async fn a_webhook_for_everything_does_not_keep_a_server_from_starting() {
    let dir = std::env::temp_dir().join(format!("ferry-webhooks-{}", std::process::id()));
    let cluster = Cluster::on_disk(&dir).await;
    let hooks = Hooks::start(&cluster).await;
    let mut hook = hooks.hook("/always-deny", rule("*", "*/*", &["*"]));
    hook["timeoutSeconds"] = json!(1);
    validate(&cluster.admin(), "everything", &[hook]).await;
    let why = "this webhook denies all requests";
    refused(&cluster.admin().post(MAPS, &map("a", json!({}))).await, "always-deny.example.com", why);
    let cluster = cluster.restart().await;
    let admin = cluster.admin();
    assert_eq!(admin.post(MAPS, &map("a", json!({}))).await.code, 400, "it is in force again");
    admin.delete(&format!("{VALIDATING}/everything"), &Value::Null).await.expect(200);
    admin.create(MAPS, &map("a", json!({}))).await;
    cluster.stop().await;
    let _ = std::fs::remove_dir_all(&dir);
}

#[tokio::test]
async fn include_webhook_resources_in_discovery_documents() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let groups = admin.get("/apis").await.expect(200);
    let found = groups["groups"].as_array().unwrap().iter().find(|g| g["name"] == "admissionregistration.k8s.io");
    assert!(found.unwrap()["versions"].as_array().unwrap().iter().any(|v| v["version"] == "v1"));
    let list = admin.get("/apis/admissionregistration.k8s.io/v1").await.expect(200);
    for name in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        assert!(list["resources"].as_array().unwrap().iter().any(|r| r["name"] == name), "{name}");
    }
}
