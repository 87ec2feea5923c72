//! Admission webhooks beyond upstream's specs, which stand in `suite/webhooks`: what they are asked and answer, and
//! what follows when they do not.

use http::Response;
use net::Body;
use parking_lot::Mutex;
use std::sync::Arc;
use testkit::{
    Caller, Cluster, Extension, Value,
    extension::{Call, patched, reviewed},
    json,
};

const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The server of the webhooks.
struct Hooks {
    server: Extension,
    /// Every request with its path, as it came.
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hooks {
    async fn start(cluster: &Cluster) -> Self {
        let seen: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let log = seen.clone();
        let answer = move |call: Call| {
            let (path, review) = (call.uri.path().to_string(), call.json());
            log.lock().push((path.clone(), review["request"].clone()));
            async move { answer(&path, &review) }
        };
        Hooks { server: Extension::start("127.0.0.1", "hooks", &cluster.pki.front_proxy, answer).await, seen }
    }
    /// A webhook of a path with one rule.
    fn hook(&self, path: &str, rule: Value) -> Value {
        json!({
            "name": format!("{}.example.com", path.trim_start_matches('/')), "rules": [rule], "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://{}{path}", self.server.address), "caBundle": self.server.bundle},
        })
    }
    /// The requests to a path.
    fn requests(&self, path: &str) -> Vec<Value> {
        self.seen.lock().iter().filter(|(p, _)| p == path).map(|(_, r)| r.clone()).collect()
    }
}

fn answer(path: &str, review: &Value) -> Response<Body> {
    let object = &review["request"]["object"];
    let allowed = json!({"allowed": true});
    let response = match path {
        "/broken" => return Response::builder().status(500).body(Body::from("broken\n")).expect("a response"),
        "/deny" => json!({"allowed": false, "status": {"message": "this webhook denies all requests"}}),
        "/deny-and-warn" => json!({"allowed": false, "status": {"message": "no"}, "warnings": ["really not"]}),
        "/teapot" => json!({"allowed": false, "status": {"code": 418, "reason": "Teapot", "message": "no coffee"}}),
        "/warn" => json!({"allowed": true, "warnings": ["careful"]}),
        "/first" => patched(&json!([{"op": "add", "path": "/metadata/labels", "value": {"first": "yes"}}])),
        "/second" if object["metadata"]["labels"]["first"] == "yes" => {
            patched(&json!([{"op": "add", "path": "/metadata/labels/second", "value": "yes"}]))
        }
        _ => allowed,
    };
    reviewed(review, response)
}

fn rule(group: &str, resource: &str, operations: &[&str]) -> Value {
    json!({"operations": operations, "apiGroups": [group], "apiVersions": ["*"], "resources": [resource]})
}

/// The rule of most tests.
fn new_maps() -> Value {
    rule("", "configmaps", &["CREATE"])
}

async fn register(admin: &Caller, collection: &str, name: &str, hooks: &[Value]) -> Value {
    admin.create(collection, &json!({"metadata": {"name": name}, "webhooks": hooks})).await
}

async fn change(admin: &Caller, path: &str, op: &str, field: &str, value: Value) {
    let patch = json!([{"op": op, "path": format!("/webhooks/0/{field}"), "value": value}]);
    admin.patch(path, "json", &patch).await.expect(200);
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "b"}})
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
async fn what_a_review_says() {
    let (_cluster, admin, hooks) = start().await;
    let all = hooks.hook("/all", rule("", "configmaps", &["*"]));
    let attach = hooks.hook("/attach", rule("", "pods/attach", &["CONNECT"]));
    register(&admin, VALIDATING, "all", &[all, attach]).await;
    admin.create(MAPS, &map("a")).await;
    let path = format!("{MAPS}/a");
    admin.patch(&path, "strategic-merge", &json!({"data": {"c": "d"}})).await.expect(200);
    admin.put(&path, &map("a")).await.expect(200);
    admin.delete(&path, &Value::Null).await.expect(200);
    let seen = hooks.requests("/all");
    let told: Vec<_> =
        seen.iter().map(|r| (&r["operation"], &r["options"]["kind"])).map(|(o, k)| format!("{o} {k}")).collect();
    let wanted = [
        "\"CREATE\" \"CreateOptions\"",
        "\"UPDATE\" \"PatchOptions\"",
        "\"UPDATE\" \"UpdateOptions\"",
        "\"DELETE\" \"DeleteOptions\"",
    ];
    assert_eq!(told, wanted);
    for request in &seen {
        assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
        assert_eq!(request["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
        assert_eq!((&request["name"], &request["namespace"]), (&json!("a"), &json!("default")));
        assert_eq!((&request["userInfo"]["username"], &request["dryRun"]), (&json!("admin"), &json!(false)));
        assert_eq!(request["options"]["apiVersion"], "meta.k8s.io/v1");
    }
    let data: Vec<_> = seen.iter().map(|r| (&r["oldObject"]["data"], &r["object"]["data"])).collect();
    let (one, two) = (json!({"a": "b"}), json!({"a": "b", "c": "d"}));
    assert_eq!(data, [(&Value::Null, &one), (&one, &two), (&two, &one), (&one, &Value::Null)]);

    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    admin.create(PODS, &pod).await;
    admin.send("POST", &format!("{PODS}/p/attach?stdin=true&container=c"), "", "").await;
    let seen = hooks.requests("/attach");
    assert_eq!(seen[0]["kind"], json!({"group": "", "version": "v1", "kind": "PodAttachOptions"}));
    assert_eq!((&seen[0]["operation"], &seen[0]["subResource"]), (&json!("CONNECT"), &json!("attach")));
    assert_eq!((&seen[0]["object"]["stdin"], &seen[0]["object"]["container"]), (&json!(true), &json!("c")));
}

#[tokio::test]
async fn a_rule_for_a_version_is_shown_it() {
    let (_cluster, admin, hooks) = start().await;
    let group = "versions.example.com";
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    let spec = json!({"group": group, "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "versions": [version("v1", true), version("v2", false)]});
    admin.create(DEFINITIONS, &json!({"metadata": {"name": format!("things.{group}")}, "spec": spec})).await;
    let mut hook = hooks.hook("/things", rule(group, "things", &["CREATE", "UPDATE", "DELETE"]));
    hook["rules"][0]["apiVersions"] = json!(["v1"]);
    register(&admin, MUTATING, "versions", &[hook]).await;
    let things = |version: &str| format!("/apis/{group}/{version}/namespaces/default/things");
    admin.create(&things("v1"), &map("a")).await;
    for v1_is_stored in [true, false] {
        let versions = [version("v1", v1_is_stored), version("v2", !v1_is_stored)];
        let patch = json!({"spec": {"versions": versions}});
        admin.patch(&format!("{DEFINITIONS}/things.{group}"), "merge", &patch).await.expect(200);
        let patch = json!({"data": {"stored": v1_is_stored}});
        let made = admin.patch(&format!("{}/a", things("v2")), "merge", &patch).await.expect(200);
        assert_eq!(made["apiVersion"], format!("{group}/v2"));
    }
    let seen = hooks.requests("/things");
    assert_eq!(seen.iter().map(|r| &r["requestKind"]["version"]).collect::<Vec<_>>(), ["v1", "v2", "v2"]);
    for request in seen {
        assert_eq!((&request["kind"]["version"], &request["resource"]["version"]), (&json!("v1"), &json!("v1")));
        assert_eq!(request["object"]["apiVersion"], format!("{group}/v1"));
    }
    // A collection goes object by object, each with a webhook's leave.
    register(&admin, VALIDATING, "keep", &[hooks.hook("/deny", rule(group, "things", &["DELETE"]))]).await;
    let status = admin.delete(&things("v2"), &Value::Null).await.expect(400);
    assert_eq!(
        status["message"],
        "admission webhook \"deny.example.com\" denied the request: this webhook denies all requests"
    );
    assert_eq!(admin.names(&things("v2")).await, ["a"]);
}

#[tokio::test]
async fn a_webhook_that_fails() {
    let (_cluster, admin, hooks) = start().await;
    let path = format!("{VALIDATING}/failing");
    let mut hook = hooks.hook("/x", new_maps());
    hook["clientConfig"] = json!({"service": {"namespace": "default", "name": "missing", "path": "/x"}});
    register(&admin, VALIDATING, "failing", &[hook]).await;
    let calling = "Internal error occurred: failed calling webhook";
    let message = admin.post(MAPS, &map("a")).await.refused(500, "InternalError");
    let post = "Post \"https://missing.default.svc:443/x?timeout=10s\"";
    let wanted = format!("{calling} \"x.example.com\": failed to call webhook: {post}: service \"missing\" not found");
    assert_eq!(message, wanted);
    change(&admin, &path, "replace", "clientConfig", hooks.hook("/broken", new_maps())["clientConfig"].clone()).await;
    let message = admin.post(MAPS, &map("a")).await.refused(500, "InternalError");
    let why = "an error on the server (\"broken\") has prevented the request from succeeding";
    assert_eq!(message, format!("{calling} \"x.example.com\": failed to call webhook: {why}"));
    change(&admin, &path, "add", "failurePolicy", json!("Ignore")).await;
    admin.create(MAPS, &map("a")).await;
}

#[tokio::test]
async fn webhooks_are_asked_again_where_they_want() {
    let (_cluster, admin, hooks) = start().await;
    let [first, second] = ["/first", "/second"].map(|path| hooks.hook(path, new_maps()));
    register(&admin, MUTATING, "stages", &[second, first]).await;
    let made = admin.create(MAPS, &map("a")).await;
    assert_eq!(made["metadata"]["labels"], json!({"first": "yes"}));
    change(&admin, &format!("{MUTATING}/stages"), "add", "reinvocationPolicy", json!("IfNeeded")).await;
    let made = admin.create(MAPS, &map("b")).await;
    assert_eq!(made["metadata"]["labels"], json!({"first": "yes", "second": "yes"}));
}

#[tokio::test]
async fn match_conditions_that_fail_or_ask_who_may() {
    let (_cluster, admin, hooks) = start().await;
    let mut hook = hooks.hook("/first", new_maps());
    let condition = |expression: &str| json!([{"name": "c", "expression": expression}]);
    hook["matchConditions"] = condition("object.metadata.name");
    let bad = json!({"metadata": {"name": "bad"}, "webhooks": [hook]});
    let message = admin.post(MUTATING, &bad).await.refused(422, "Invalid");
    assert!(message.ends_with("must evaluate to bool but got dyn"), "{message}");
    hook["matchConditions"] = condition("object.spec.x == 1");
    register(&admin, MUTATING, "conditions", &[hook]).await;
    let path = format!("{MUTATING}/conditions");
    let message = admin.post(MAPS, &map("a")).await.refused(403, "Forbidden");
    assert_eq!(
        message,
        "configmaps \"a\" is forbidden: expression 'object.spec.x == 1' resulted in error: no such key: spec"
    );
    change(&admin, &path, "add", "failurePolicy", json!("Ignore")).await;
    assert_eq!(admin.create(MAPS, &map("a")).await["metadata"]["labels"], Value::Null);
    let asker =
        "request.userInfo.username == 'admin' && authorizer.group('').resource('pods').check('create').allowed()";
    change(&admin, &path, "replace", "matchConditions", condition(asker)).await;
    assert_eq!(admin.create(MAPS, &map("b")).await["metadata"]["labels"], json!({"first": "yes"}));
}

#[tokio::test]
async fn answers_of_a_webhook_reach_the_client() {
    let (_cluster, admin, hooks) = start().await;
    register(&admin, VALIDATING, "warn", &[hooks.hook("/warn", new_maps())]).await;
    let answer = admin.post(MAPS, &map("a")).await;
    assert_eq!((answer.code, answer.warnings()), (201, vec!["careful".to_string()]));
    register(&admin, VALIDATING, "teapot", &[hooks.hook("/teapot", new_maps())]).await;
    let status = admin.post(MAPS, &map("b")).await.expect(418);
    assert_eq!(status["reason"], "Teapot");
    assert_eq!(status["message"], "admission webhook \"teapot.example.com\" denied the request: no coffee");
}

#[tokio::test]
async fn dry_runs_reach_only_who_has_no_side_effects() {
    let (_cluster, admin, hooks) = start().await;
    let mut hook = hooks.hook("/first", new_maps());
    hook["sideEffects"] = json!("NoneOnDryRun");
    register(&admin, MUTATING, "dry", &[hook]).await;
    let made = admin.create(&format!("{MAPS}?dryRun=All"), &map("a")).await;
    assert_eq!(made["metadata"]["labels"]["first"], "yes");
    assert_eq!(hooks.requests("/first")[0]["dryRun"], true);
    admin.get(&format!("{MAPS}/a")).await.refused(404, "NotFound");
}

#[tokio::test]
async fn a_webhook_for_everything_does_not_keep_a_server_from_starting() {
    let dir = std::env::temp_dir().join(format!("ferry-webhooks-{}", std::process::id()));
    let cluster = Cluster::on_disk(&dir).await;
    let hooks = Hooks::start(&cluster).await;
    let mut hook = hooks.hook("/deny", rule("*", "*/*", &["*"]));
    hook["timeoutSeconds"] = json!(1);
    register(&cluster.admin(), VALIDATING, "everything", &[hook]).await;
    let refused = cluster.admin().post(MAPS, &map("a")).await;
    assert!(refused.expect(400)["message"].to_string().contains("this webhook denies all requests"));
    let cluster = cluster.restart().await;
    let admin = cluster.admin();
    assert_eq!(admin.post(MAPS, &map("a")).await.code, 400, "it is in force again");
    admin.delete(&format!("{VALIDATING}/everything"), &Value::Null).await.expect(200);
    admin.create(MAPS, &map("a")).await;
    cluster.stop().await;
    let _ = std::fs::remove_dir_all(&dir);
}

#[tokio::test]
async fn warnings_come_with_refusals() {
    let (_cluster, admin, hooks) = start().await;
    let rule = || rule("", "configmaps", &["CREATE", "UPDATE", "DELETE"]);
    register(&admin, VALIDATING, "a", &[hooks.hook("/warn", rule()), hooks.hook("/deny-and-warn", rule())]).await;
    let mut wrong = map("m");
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
    admin.create(MAPS, &map("there")).await;
    register(&admin, VALIDATING, "b", &[gone]).await;
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
