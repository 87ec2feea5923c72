//! Who may, where an operator says who is asked: webhooks before, behind and instead of RBAC, what they are asked and how
//! often, and what becomes of a request that none of them answers. And constrained impersonation, which is two rights.

use apiserver::{Access, Authorization, ConfigFile};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::{path::PathBuf, sync::Arc, time::Duration};
use testkit::{Caller, Cluster, Setup, Value, json};
use tokio::{net::TcpListener, sync::watch};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SELF: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const OTHERS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const RULES: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";

/// A server that says who may: `denied-*` may nothing, `allowed-*` everything, of others it knows nothing.
#[derive(Clone)]
struct Reviewer {
    asked: Arc<Mutex<Vec<Value>>>,
    config: Arc<File>,
    _stop: Arc<watch::Sender<bool>>,
}

struct File(PathBuf);
impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A kubeconfig file of a server.
fn kubeconfig(url: &str, ca: &str) -> File {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let cluster = json!({"server": url, "certificate-authority-data": STANDARD.encode(ca)});
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c"}}], "clusters": [{"name": "c", "cluster": cluster}]});
    let path = std::env::temp_dir().join(format!("ferry-authz-{}.yaml", base::ids::suffix(10)));
    std::fs::write(&path, config.to_string()).unwrap();
    File(path)
}

impl Reviewer {
    async fn start() -> Self {
        let pki = pki::ClusterPki::ephemeral().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let leaf = pki.ca.server("reviewer", &["127.0.0.1".into()]).unwrap();
        let tls = net::tls::server(net::CertificateSlot::new(&leaf).unwrap(), pki.ca.roots()).unwrap();
        let (stop, stopping) = watch::channel(false);
        let config = Arc::new(kubeconfig(&url, pki.ca.cert_pem()));
        let server = Reviewer { asked: Arc::default(), config, _stop: Arc::new(stop) };
        tokio::spawn(net::serve(listener, tls, server.clone(), stopping, Duration::ZERO));
        server
    }
    fn webhook(&self, more: Value) -> Value {
        webhook(&self.config, more)
    }
    /// What it was asked of a user.
    fn of(&self, user: &str) -> Vec<Value> {
        self.asked.lock().iter().filter(|spec| spec["user"] == user).cloned().collect()
    }
}

fn webhook(config: &File, more: Value) -> Value {
    let mut webhook = json!({"timeout": "5s", "subjectAccessReviewVersion": "v1", "failurePolicy": "NoOpinion",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": config.0}});
    webhook.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!({"type": "Webhook", "name": "hook", "webhook": webhook})
}

impl net::Handler for Reviewer {
    type Connection = ();
    fn connected(&self, _: net::Peer) {}
    async fn handle(&self, (): &(), request: Request<Incoming>) -> Response<net::Body> {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let review: Value = serde_json::from_slice(&body).unwrap();
        let spec = &review["spec"];
        self.asked.lock().push(spec.clone());
        let user = spec["user"].as_str().unwrap_or_default();
        let status = match user.split('-').next() {
            Some("allowed") => json!({"allowed": true, "reason": "the list has it"}),
            Some("denied") => json!({"allowed": false, "denied": true, "reason": "the list forbids it"}),
            _ => json!({"allowed": false}),
        };
        let answer = json!({"kind": "SubjectAccessReview", "apiVersion": review["apiVersion"], "status": status});
        Response::new(answer.to_string().into())
    }
}

async fn cluster(authorizers: Value) -> Cluster {
    let tree = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers});
    let authorization = Authorization { file: Some(ConfigFile { tree: tree.into(), path: None }) };
    Cluster::open(Setup { access: Access { authorization, ..Access::default() }, ..Setup::default() }).await
}

fn node_and_rbac() -> [Value; 2] {
    [json!({"type": "Node", "name": "node"}), json!({"type": "RBAC", "name": "rbac"})]
}

/// Lets somebody do everything, by RBAC.
async fn bind(admin: &Caller, user: &str) {
    let binding = json!({"metadata": {"name": user}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
    admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
}

#[tokio::test]
async fn a_webhook_before_rbac_allows_denies_or_leaves_it_to_rbac() {
    let reviewer = Reviewer::start().await;
    let [node, rbac] = node_and_rbac();
    let cluster = cluster(json!([reviewer.webhook(json!({})), node, rbac])).await;
    let admin = cluster.admin();
    for user in ["denied-d", "other"] {
        bind(&admin, user).await;
    }
    let allowed = cluster.user("allowed-a", &[]);
    allowed.get(MAPS).await.expect(200);
    let why = cluster.user("denied-d", &[]).get(MAPS).await.refused(403, "Forbidden");
    assert!(why.ends_with(": the list forbids it"), "RBAC would allow it: {why}");
    cluster.user("other", &[]).get(MAPS).await.expect(200);
    cluster.user("nobody", &[]).get(MAPS).await.refused(403, "Forbidden");

    // What it has said counts for a while.
    allowed.get(MAPS).await.expect(200);
    assert_eq!(reviewer.of("allowed-a").len(), 1);
    allowed.get(&format!("{MAPS}?fieldSelector=metadata.name%3Dx&labelSelector=app%3Dweb")).await.expect(200);
    let asked = reviewer.of("allowed-a");
    assert_eq!(
        asked[1],
        json!({"user": "allowed-a", "groups": ["system:authenticated"], "extra": asked[1]["extra"],
            "resourceAttributes": {"namespace": "default", "verb": "list", "version": "v1", "resource": "configmaps", "name": "x",
                "fieldSelector": {"requirements": [{"key": "metadata.name", "operator": "In", "values": ["x"]}]},
                "labelSelector": {"requirements": [{"key": "app", "operator": "In", "values": ["web"]}]}}}),
    );
    assert_eq!(reviewer.of("admin"), Vec::<Value>::new(), "nobody is asked about system:masters");

    // Reviews ask it too.
    let resource = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let mine =
        cluster.user("allowed-a", &[]).post(SELF, &json!({"spec": {"resourceAttributes": resource}})).await.expect(201);
    assert_eq!(mine["status"], json!({"allowed": true, "reason": "the list has it"}));
    let review = json!({"spec": {"user": "denied-x", "nonResourceAttributes": {"verb": "get", "path": "/x"}}});
    let theirs = admin.post(OTHERS, &review).await.expect(201);
    assert_eq!(theirs["status"], json!({"allowed": false, "denied": true, "reason": "the list forbids it"}));
    let selects = json!({"spec": {"user": "allowed-s", "resourceAttributes": {"verb": "list", "resource": "pods",
        "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "NotIn", "values": ["n1"]}]},
        "labelSelector": {"rawSelector": "app,!old"}}}});
    admin.post(OTHERS, &selects).await.expect(201);
    let asked = &reviewer.of("allowed-s")[0]["resourceAttributes"];
    assert_eq!(asked["fieldSelector"]["requirements"][0]["operator"], "NotIn");
    assert_eq!(asked["labelSelector"]["requirements"][1], json!({"key": "old", "operator": "DoesNotExist"}));
    let both = json!({"spec": {"user": "x", "resourceAttributes": {"verb": "list", "resource": "pods",
        "fieldSelector": {"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}, "labelSelector": {}}}});
    let why = admin.post(OTHERS, &both).await.refused(422, "Invalid");
    assert!(
        why.contains("may not specified at the same time as requirements")
            && why.contains("requirements or rawSelector is required"),
        "{why}"
    );
    let rules = admin.post(RULES, &json!({"spec": {"namespace": "default"}})).await.expect(201);
    assert_eq!(rules["status"]["incomplete"], true);
    assert_eq!(rules["status"]["evaluationError"], "webhook authorizer does not support user rule resolution");
}

#[tokio::test]
async fn conditions_say_what_a_webhook_is_asked() {
    let reviewer = Reviewer::start().await;
    let [node, rbac] = node_and_rbac();
    let hook = reviewer.webhook(json!({"matchConditionSubjectAccessReviewVersion": "v1", "matchConditions": [
        {"expression": "has(request.resourceAttributes)"},
        {"expression": "request.resourceAttributes.namespace != 'kube-system'"}]}));
    let cluster = cluster(json!([hook, node, rbac])).await;
    let caller = cluster.user("allowed-a", &[]);
    caller.get(MAPS).await.expect(200);
    caller.get("/metrics").await.refused(403, "Forbidden");
    caller.get("/api/v1/namespaces/kube-system/configmaps").await.refused(403, "Forbidden");
    let asked = reviewer.of("allowed-a");
    assert_eq!((asked.len(), &asked[0]["resourceAttributes"]["namespace"]), (1, &json!("default")));
}

#[tokio::test]
async fn without_an_answer_the_failure_policy_decides() {
    let gone = kubeconfig("https://127.0.0.1:1/", pki::ClusterPki::ephemeral().unwrap().ca.cert_pem());
    for (policy, code) in [("NoOpinion", 200), ("Deny", 403)] {
        let [node, rbac] = node_and_rbac();
        let cluster = cluster(json!([webhook(&gone, json!({"failurePolicy": policy})), node, rbac])).await;
        bind(&cluster.admin(), "other").await;
        assert_eq!(cluster.user("other", &[]).get(MAPS).await.code, code, "{policy}");
    }
}

#[tokio::test]
async fn without_rbac_nothing_is_allowed_by_it() {
    let cluster = cluster(json!([{"type": "Node", "name": "node"}])).await;
    bind(&cluster.admin(), "other").await;
    cluster.user("other", &[]).get(MAPS).await.refused(403, "Forbidden");
    cluster.admin().get(MAPS).await.expect(200);
}

/// Expressions and writes that may become creations cannot wait; they are answered all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_wait_is_answered_too() {
    let reviewer = Reviewer::start().await;
    let [node, rbac] = node_and_rbac();
    let cluster = cluster(json!([reviewer.webhook(json!({})), node, rbac])).await;
    let caller = cluster.user("allowed-a", &[]);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}});
    let path = format!("{MAPS}/applied?fieldManager=m");
    assert_eq!(caller.patch(&path, "apply", &map).await.code, 201, "the right to create is asked for in between");
    assert!(reviewer.of("allowed-a").iter().any(|spec| spec["resourceAttributes"]["verb"] == "create"));
}

#[tokio::test]
async fn a_constrained_impersonation_is_two_rights_and_is_written_down() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let rule = |verb: &str, group: &str, resource: &str| json!({"verbs": [verb], "apiGroups": [group], "resources": [resource]});
    let role = json!({"metadata": {"name": "as-bob"}, "rules": [
        rule("impersonate:user-info", "authentication.k8s.io", "users"),
        rule("impersonate-on:user-info:list", "", "configmaps"),
        rule("impersonate-on:user-info:get", "", "configmaps")]});
    let group = "/apis/rbac.authorization.k8s.io/v1";
    admin.create(&format!("{group}/clusterroles"), &role).await;
    let binding = json!({"metadata": {"name": "as-bob"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "as-bob"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]});
    admin.create(&format!("{group}/clusterrolebindings"), &binding).await;
    bind(&admin, "bob").await;

    let as_bob = cluster.user("alice", &[]).with("impersonate-user", "bob");
    as_bob.get(MAPS).await.expect(200);
    // Bob may, but not through her.
    let why = as_bob.get("/api/v1/namespaces/default/secrets").await.refused(403, "Forbidden");
    assert!(why.contains("cannot impersonate-on:user-info:list resource \"secrets\""), "{why}");
    // She may read as him only what he may read.
    let as_carol = cluster.user("alice", &[]).with("impersonate-user", "carol");
    let why = as_carol.get(MAPS).await.refused(403, "Forbidden");
    assert!(why.contains("User \"carol\" cannot list"), "{why}");
    as_bob.with("impersonate-group", "system:masters").get(MAPS).await.refused(403, "Forbidden");

    let found =
        |event: &Value| event["impersonatedUser"]["username"] == "bob" && event["responseStatus"]["code"] == 200;
    let log = cluster.audit(|line| serde_json::from_str(line).is_ok_and(|event| found(&event))).await;
    let event = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(found).unwrap();
    assert_eq!(event["authenticationMetadata"]["impersonationConstraint"], "impersonate:user-info");
}
