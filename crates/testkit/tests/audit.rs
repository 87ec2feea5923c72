//! The audit log as an operator configures it: what a policy lets be written of a request, at which stages, where to, and
//! what admission adds.

use apiserver::{Access, AuditConfig, BackendFlags};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;
use testkit::{Cluster, Setup, Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A cluster with a policy of these rules.
async fn with_policy(rules: Value, more: Value) -> Cluster {
    let mut policy = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules});
    policy.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let audit = AuditConfig::with_policy(&value::Value::from(policy)).unwrap();
    Cluster::open(Setup { access: Access { audit, ..Access::default() }, ..Setup::default() }).await
}

/// All events so far, once the log has one for which `last` holds.
async fn events(cluster: &Cluster, last: impl Fn(&Value) -> bool) -> Vec<Value> {
    let log = cluster.audit(|line| serde_json::from_str(line).is_ok_and(|event| last(&event))).await;
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn is(event: &Value, verb: &str, name: &str, stage: &str) -> bool {
    event["verb"] == verb && event["objectRef"]["name"] == name && event["stage"] == stage
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test]
async fn a_policy_says_how_much_is_written() {
    let rules = json!([
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "None", "verbs": ["get"], "resources": [{"group": "", "resources": ["configmaps"]}]},
        {"level": "Metadata", "verbs": ["delete"], "omitStages": ["RequestReceived"]},
        {"level": "Request", "verbs": ["create"], "resources": [{"group": "", "resources": ["configmaps"]}]},
        {"level": "RequestResponse", "resources": [{"group": "", "resources": ["configmaps"]}]},
    ]);
    let cluster = with_policy(rules, json!({"omitManagedFields": true})).await;
    let admin = cluster.admin();
    admin.create(MAPS, &map("a")).await;
    let path = format!("{MAPS}/a");
    admin.get(&path).await.expect(200);
    admin.patch(&path, "json", &json!([{"op": "add", "path": "/data/p", "value": "q"}])).await.expect(200);
    admin.get("/api/v1/namespaces/default/secrets").await.expect(200);
    admin.get(MAPS).await.expect(200);
    admin.post(MAPS, &map("a")).await.expect(409);
    admin.delete(&path, &Value::Null).await.expect(200);
    let all = events(&cluster, |event| is(event, "delete", "a", "ResponseComplete")).await;

    let of = |verb: &str, stage: &str| {
        let fits = |event: &&Value| event["verb"] == verb && event["stage"] == stage;
        all.iter().filter(fits).cloned().collect::<Vec<_>>()
    };
    let none: Vec<Value> = Vec::new();
    assert_eq!(of("get", "ResponseComplete"), none);
    assert!(all.iter().all(|event| event["objectRef"]["resource"] == "configmaps"), "secrets fit no rule: {all:?}");
    assert_eq!(of("create", "RequestReceived").len(), 2);
    assert_eq!(of("delete", "RequestReceived"), none);

    let created = &of("create", "ResponseComplete")[0];
    assert_eq!((&created["level"], &created["requestObject"]["data"]), (&json!("Request"), &json!({"k": "v"})));
    assert_eq!((&created["responseObject"], &created["responseStatus"]["code"]), (&Value::Null, &json!(201)));
    assert_eq!(created["objectRef"]["name"], "a", "the path has no name");
    let refused = &of("create", "ResponseComplete")[1];
    assert_eq!(refused["responseStatus"]["reason"], "AlreadyExists", "{refused}");

    let patched = &of("patch", "ResponseComplete")[0];
    assert_eq!(patched["requestObject"][0]["path"], "/data/p");
    assert_eq!(patched["responseObject"]["data"], json!({"k": "v", "p": "q"}));
    assert_eq!(patched["responseObject"]["metadata"]["managedFields"], Value::Null);
    assert_eq!(patched["annotations"]["authorization.k8s.io/decision"], "allow");
    let listed = &of("list", "ResponseComplete")[0];
    assert_eq!(listed["responseObject"]["items"][0]["metadata"]["managedFields"], Value::Null);
    assert_eq!(listed["responseObject"]["kind"], "ConfigMapList");
    let deleted = &of("delete", "ResponseComplete")[0];
    assert_eq!((&deleted["level"], &deleted["requestObject"]), (&json!("Metadata"), &Value::Null));
    let ids: std::collections::BTreeSet<&str> = all.iter().filter_map(|e| e["auditID"].as_str()).collect();
    assert_eq!(ids.len(), 5, "the stages of a request share its id");
}

#[tokio::test]
async fn a_watch_begins_and_ends() {
    let cluster = with_policy(json!([{"level": "Metadata", "verbs": ["watch"]}]), json!({})).await;
    let admin = cluster.admin();
    let watch = admin.watch(&format!("{MAPS}?watch=1")).await;
    let begun = events(&cluster, |event| event["stage"] == "ResponseStarted").await;
    assert!(begun.iter().all(|event| event["stage"] != "ResponseComplete"), "it lasts: {begun:?}");
    drop(watch);
    drop(admin);
    let ended = events(&cluster, |event| event["stage"] == "ResponseComplete").await;
    let stages: Vec<&Value> = ended.iter().map(|event| &event["stage"]).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    assert_eq!(ended[2]["responseStatus"]["code"], 200);
}

/// A stream that takes over its connection lasts as long as that.
#[tokio::test]
async fn a_websocket_begins_and_ends() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cluster = with_policy(json!([{"level": "Metadata", "verbs": ["watch"]}]), json!({})).await;
    let leaf = cluster.pki.ca.client("admin", Some("system:masters")).unwrap();
    let dialer = net::Dialer::new(net::tls::client(cluster.pki.ca.roots(), Some(&leaf), true).unwrap());
    let mut stream = dialer.connect("127.0.0.1", cluster.address.port()).await.unwrap();
    let head = format!(
        "GET {MAPS}?watch=1 HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 101");
    let begun = events(&cluster, |event| event["stage"] == "ResponseStarted").await;
    assert!(begun.iter().all(|event| event["stage"] != "ResponseComplete"), "it lasts: {begun:?}");
    drop(stream);
    let ended = events(&cluster, |event| event["stage"] == "ResponseComplete").await;
    assert_eq!((ended.len(), &ended[2]["responseStatus"]["code"]), (3, &json!(101)));
}

#[tokio::test]
async fn who_is_not_let_in_is_written_down() {
    let cluster = with_policy(json!([{"level": "Metadata"}]), json!({})).await;
    cluster.token("rubbish").get(MAPS).await.expect(401);
    let all = events(&cluster, |event| event["responseStatus"]["code"] == 401).await;
    let refused = all.iter().filter(|event| event["responseStatus"]["code"] == 401).collect::<Vec<_>>();
    assert_eq!((refused.len(), &refused[0]["stage"]), (1, &json!("ResponseStarted")), "{refused:?}");
    assert_eq!(refused[0]["responseStatus"]["message"], "Unauthorized");
}

/// Each refusal of a caller without a credential is written or counted; one of a known caller is always written.
#[tokio::test]
async fn a_flood_of_nobodys_does_not_fill_the_log() {
    let cluster = Cluster::start().await;
    let nobody = cluster.anonymous();
    for _ in 0..500 {
        nobody.get("/flood").await.expect(403);
    }
    cluster.user("jane", &[]).get("/known").await.expect(403);
    let all = events(&cluster, |event| event["requestURI"] == "/known").await;
    let written = all.iter().filter(|event| event["requestURI"] == "/flood").count();
    let metrics = cluster.admin().get("/metrics").await.text();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("ferry_audit_unwritten_refusals_total "));
    let counted: usize = counted.unwrap().parse().unwrap();
    assert!(written >= 100 && counted > 0, "{written} written, {counted} counted");
    assert_eq!(written + counted, 500);
}

/// Takes what is posted.
#[derive(Clone)]
struct Sink(mpsc::UnboundedSender<Value>);

impl net::Handler for Sink {
    type Connection = ();
    fn connected(&self, _: net::Peer) {}
    async fn handle(&self, (): &(), request: Request<Incoming>) -> Response<net::Body> {
        let path = request.uri().path().to_string();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        if path.starts_with("/hook") {
            let mut response = hook(&path);
            response["uid"] = body["request"]["uid"].clone();
            let answer = json!({"apiVersion": body["apiVersion"], "kind": "AdmissionReview", "response": response});
            return Response::new(answer.to_string().into());
        }
        let _ = self.0.send(body);
        Response::new(net::Body::Empty)
    }
}

fn hook(path: &str) -> Value {
    let patch = json!([{"op": "add", "path": "/data/hooked", "value": "yes"}]);
    match path {
        "/hook/mutate" => {
            json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string()),
            "auditAnnotations": {"why": "because"}})
        }
        _ => json!({"allowed": true, "auditAnnotations": {"seen": "yes"}}),
    }
}

/// A TLS server of the authority's, its address, and what it gets.
async fn sink(ca: &pki::Authority) -> (String, mpsc::UnboundedReceiver<Value>, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let leaf = ca.server("sink", &["127.0.0.1".into()]).unwrap();
    let tls = net::tls::server(net::CertificateSlot::new(&leaf).unwrap(), ca.roots()).unwrap();
    let (stop, stopping) = watch::channel(false);
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(net::serve(listener, tls, Sink(sender), stopping, Duration::ZERO));
    (url, receiver, stop)
}

/// A directory that goes with the test.
struct Dir(std::path::PathBuf);
impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server whose events of the administrator's ConfigMaps go to a webhook, with these stages left out.
async fn hooked(ca: &pki::Authority, url: &str, omit: Value, flags: BackendFlags) -> (Cluster, Dir) {
    let dir = Dir(std::env::temp_dir().join(format!("ferry-audit-hook-{}", base::ids::suffix(8))));
    std::fs::create_dir(&dir.0).unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(dir.0.join(name), text).unwrap();
        dir.0.join(name)
    };
    write("ca.pem", ca.cert_pem().into());
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": "ca.pem"}}]});
    let policy = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": omit,
        "rules": [{"level": "Metadata", "resources": [{"group": "", "resources": ["configmaps"]}], "users": ["admin"]}]});
    let files = apiserver::AccessFiles {
        audit_policy: Some(write("policy.yaml", policy.to_string())),
        audit_webhook: Some(write("hook.yaml", config.to_string())),
        audit_webhook_backoff: Some(Duration::from_millis(1)),
        audit_webhook_backend: flags,
        ..Default::default()
    };
    let access = files.load(dir.0.join("audit.log")).unwrap();
    (Cluster::open(Setup { access, ..Setup::default() }).await, dir)
}

#[tokio::test]
async fn events_go_to_a_webhook_in_batches() {
    let pki = pki::ClusterPki::ephemeral().unwrap();
    let (url, mut batches, _stop) = sink(&pki.ca).await;
    let flags = BackendFlags { batch_max_size: Some(3), ..BackendFlags::default() };
    let (cluster, dir) = hooked(&pki.ca, &url, json!(["RequestReceived"]), flags).await;
    let admin = cluster.admin();
    for name in ["a", "b", "c"] {
        admin.create(MAPS, &map(name)).await;
    }
    let batch = tokio::time::timeout(testkit::PATIENCE, batches.recv()).await.unwrap().unwrap();
    assert_eq!((&batch["kind"], &batch["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
    let names: Vec<&Value> = batch["items"].as_array().unwrap().iter().map(|e| &e["objectRef"]["name"]).collect();
    assert_eq!(names, ["a", "b", "c"], "the batch waits until it is full");
    // The log on disk has them too.
    let log = std::fs::read_to_string(dir.0.join("audit.log")).unwrap_or_default();
    assert!(log.lines().count() <= 3, "{log}");
}

/// Whoever has the answer knows that the events are written.
#[tokio::test]
async fn an_answer_waits_for_its_events() {
    let pki = pki::ClusterPki::ephemeral().unwrap();
    let (url, mut batches, stop) = sink(&pki.ca).await;
    let flags = BackendFlags { mode: Some("blocking-strict".into()), ..BackendFlags::default() };
    let (cluster, _dir) = hooked(&pki.ca, &url, json!([]), flags).await;
    let admin = cluster.admin();
    admin.create(MAPS, &map("a")).await;
    for stage in ["RequestReceived", "ResponseComplete"] {
        let batch = batches.try_recv().expect("it came before the answer");
        let items = batch["items"].as_array().unwrap();
        assert_eq!((items.len(), &items[0]["stage"]), (1, &json!(stage)));
    }
    stop.send(true).unwrap();
    drop(batches);
    let refused = admin.post(MAPS, &map("b")).await.expect(500);
    assert_eq!(refused["message"], "Internal error occurred: failed to store audit event");
    admin.get("/api/v1/namespaces/default/secrets").await.expect(200);
}

/// A request goes on whose events nobody takes, where that is not what the operator wants to be strict in.
#[tokio::test]
async fn a_webhook_that_is_away_delays_and_does_not_refuse() {
    let pki = pki::ClusterPki::ephemeral().unwrap();
    let flags = BackendFlags { mode: Some("blocking".into()), ..BackendFlags::default() };
    let (cluster, _dir) = hooked(&pki.ca, "https://127.0.0.1:1", json!([]), flags).await;
    cluster.admin().create(MAPS, &map("a")).await;
}

#[tokio::test]
async fn admission_says_what_it_did() {
    let cluster = with_policy(json!([{"level": "Request", "omitStages": ["RequestReceived"]}]), json!({})).await;
    let admin = cluster.admin();
    let (url, _batches, _stop) = sink(&cluster.pki.ca).await;
    let bundle = STANDARD.encode(cluster.pki.ca.cert_pem());
    let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"]});
    let hook = |name: &str, url: String, more: Value| {
        let mut hook = json!({"name": format!("{name}.example.com"), "rules": [rule], "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": url, "caBundle": bundle}});
        hook.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        hook
    };
    let nobody = "https://127.0.0.1:1".to_string();
    let group = "/apis/admissionregistration.k8s.io/v1";
    let mutating = json!({"metadata": {"name": "m"}, "webhooks": [
        hook("mutate", format!("{url}/hook/mutate"), json!({})),
        hook("away", nobody.clone(), json!({"failurePolicy": "Ignore"})),
    ]});
    admin.create(&format!("{group}/mutatingwebhookconfigurations"), &mutating).await;
    let validating = json!({"metadata": {"name": "v"}, "webhooks": [
        hook("look", format!("{url}/hook/look"), json!({})),
        hook("gone", nobody, json!({"failurePolicy": "Ignore"})),
    ]});
    admin.create(&format!("{group}/validatingwebhookconfigurations"), &validating).await;
    let policy = json!({"metadata": {"name": "p.example.com"}, "spec": {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.metadata.name != 'wrong'", "message": "a wrong name"}],
        "auditAnnotations": [
            {"key": "name", "valueExpression": "'named ' + object.metadata.name"},
            {"key": "nothing", "valueExpression": "null"}],
    }});
    admin.create(&format!("{group}/validatingadmissionpolicies"), &policy).await;
    let binding =
        json!({"metadata": {"name": "b"}, "spec": {"policyName": "p.example.com", "validationActions": ["Audit"]}});
    admin.create(&format!("{group}/validatingadmissionpolicybindings"), &binding).await;

    admin.create(MAPS, &map("wrong")).await;
    let all = events(&cluster, |event| is(event, "create", "wrong", "ResponseComplete")).await;
    let event = all.iter().find(|event| is(event, "create", "wrong", "ResponseComplete")).unwrap();
    let said = |key: &str| event["annotations"][key].as_str().unwrap_or_default().to_string();
    let told = |key: &str| serde_json::from_str::<Value>(&said(key)).unwrap_or(Value::Null);
    assert_eq!(
        told("mutation.webhook.admission.k8s.io/round_0_index_0"),
        json!({"configuration": "m", "webhook": "mutate.example.com", "mutated": true}),
        "{event}"
    );
    assert_eq!(
        told("patch.webhook.admission.k8s.io/round_0_index_0"),
        json!({"configuration": "m", "webhook": "mutate.example.com", "patchType": "JSONPatch",
            "patch": [{"op": "add", "path": "/data/hooked", "value": "yes"}]})
    );
    assert_eq!(
        told("mutation.webhook.admission.k8s.io/round_0_index_1"),
        json!({"configuration": "m", "webhook": "away.example.com", "mutated": false})
    );
    assert_eq!(said("failed-open.mutating.webhook.admission.k8s.io/round_0_index_1"), "");
    assert_eq!(said("failed-open.mutation.webhook.admission.k8s.io/round_0_index_1"), "away.example.com");
    assert_eq!(said("failed-open.validating.webhook.admission.k8s.io/round_0_index_1"), "gone.example.com");
    assert_eq!(said("mutate.example.com/why"), "because");
    assert_eq!(said("look.example.com/seen"), "yes");
    assert_eq!(said("p.example.com/name"), "named wrong");
    assert_eq!(event["annotations"]["p.example.com/nothing"], Value::Null);
    assert_eq!(
        told("validation.policy.admission.k8s.io/validation_failure"),
        json!([{"message": "a wrong name", "policy": "p.example.com", "binding": "b", "expressionIndex": 0,
            "validationActions": ["Audit"]}])
    );

    let labels =
        json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/audit": "restricted"});
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "strict", "labels": labels}})).await;
    admin.create("/api/v1/namespaces/strict/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    admin.create("/api/v1/namespaces/strict/pods", &pod).await;
    let all = events(&cluster, |event| is(event, "create", "p", "ResponseComplete")).await;
    let event = all.iter().find(|event| is(event, "create", "p", "ResponseComplete")).unwrap();
    assert_eq!(event["annotations"]["pod-security.kubernetes.io/enforce-policy"], "baseline:latest");
    let would = event["annotations"]["pod-security.kubernetes.io/audit-violations"].as_str().unwrap();
    assert!(
        would.starts_with("would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false"),
        "{would}"
    );
}
