//! Floods: who sends too much waits for itself. Nothing here is timed: what is asserted is who was answered while the
//! flood was held, and in which order the rest followed.
//!
//! Requests are held by a webhook that answers when it is told to: so seats are taken for as long as a test likes.

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use testkit::{Answer, Caller, Cluster, PATIENCE, Value, json};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const LEVEL: &str = "x-kubernetes-pf-prioritylevel-uid";

/// Holds the creation of ConfigMaps.
#[derive(Clone)]
struct Holder {
    /// The names that have come, in their order.
    come: Arc<Mutex<Vec<String>>>,
    free: Arc<Semaphore>,
    _stop: Arc<watch::Sender<bool>>,
}

impl Holder {
    async fn start(cluster: &Cluster) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/hold", listener.local_addr().unwrap());
        let leaf = cluster.pki.ca.server("holder", &["127.0.0.1".into()]).unwrap();
        let tls = net::tls::server(net::CertificateSlot::new(&leaf).unwrap(), cluster.pki.ca.roots()).unwrap();
        let (stop, stopping) = watch::channel(false);
        let holder = Holder { come: Arc::default(), free: Arc::new(Semaphore::new(0)), _stop: Arc::new(stop) };
        tokio::spawn(net::serve(listener, tls, holder.clone(), stopping, Duration::ZERO));
        let hook = json!({"name": "hold.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 30,
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"]}],
            "clientConfig": {"url": url, "caBundle": STANDARD.encode(cluster.pki.ca.cert_pem())}});
        let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        cluster.admin().create(hooks, &json!({"metadata": {"name": "hold"}, "webhooks": [hook]})).await;
        holder
    }
    fn come(&self) -> Vec<String> {
        self.come.lock().clone()
    }
}

impl net::Handler for Holder {
    type Connection = ();
    fn connected(&self, _: net::Peer) {}
    async fn handle(&self, (): &(), request: Request<Incoming>) -> Response<net::Body> {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let review: Value = serde_json::from_slice(&body).unwrap();
        let request = &review["request"];
        self.come.lock().push(request["object"]["metadata"]["name"].as_str().unwrap_or_default().into());
        self.free.acquire().await.unwrap().forget();
        let response = json!({"uid": request["uid"], "allowed": true});
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        Response::new(answer.to_string().into())
    }
}

/// Lets users do everything, by RBAC.
async fn bind(admin: &Caller, users: &[&str]) {
    let group = "rbac.authorization.k8s.io";
    let subjects: Vec<Value> =
        users.iter().map(|user| json!({"apiGroup": group, "kind": "User", "name": user})).collect();
    let binding = json!({"metadata": {"name": "all"}, "subjects": subjects,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"}});
    admin.create(&format!("/apis/{group}/v1/clusterrolebindings"), &binding).await;
}

/// A value of the server's metrics; zero where there is none.
async fn metric(admin: &Caller, name: &str, label: &str) -> u64 {
    let text = admin.get("/metrics").await.text();
    let of = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
    let values = text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.map(|value| value as u64).sum()
}

/// Looks again and again: metrics cannot be waited for.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let looked = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("never: {what}"));
}

const WAITING: &str = "apiserver_flowcontrol_current_inqueue_requests";
const WAITED: &str = "apiserver_flowcontrol_request_wait_duration_seconds_count";

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn level(answer: &Answer) -> String {
    answer.headers.get(LEVEL).and_then(|v| v.to_str().ok()).unwrap_or_default().into()
}

#[tokio::test]
async fn a_flood_holds_up_neither_nodes_nor_leaders() {
    const CONNECTIONS: usize = 40;
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    bind(&admin, &["flooder", "system:kube-controller-manager"]).await;
    let node = cluster.user("system:node:n1", &["system:nodes"]);
    let leader = cluster.user("system:kube-controller-manager", &[]);
    let leases = |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let (own, lead) = (leases("kube-node-lease"), leases("kube-system"));
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    node.create(&own, &lease("n1")).await;
    leader.create(&lead, &lease("kube-controller-manager")).await;
    let holder = Holder::start(&cluster).await;

    // Every seat of the flood's level is taken, and more wait for one, on many connections.
    let flooders: Vec<Caller> = (0..CONNECTIONS).map(|_| cluster.user("flooder", &[])).collect();
    let answered = Arc::new(AtomicUsize::new(0));
    let mut flood = JoinSet::new();
    for (i, flooder) in flooders.iter().enumerate() {
        for j in 0..4 {
            let (flooder, answered) = (flooder.clone(), answered.clone());
            flood.spawn(async move {
                let answer = flooder.post(MAPS, &map(&format!("held-{i}-{j}"))).await;
                answered.fetch_add(usize::from(answer.code == 201), Relaxed);
            });
        }
    }
    let queue = "priority_level=\"global-default\"";
    until("the flood waits", async || metric(&admin, WAITING, queue).await > 0).await;
    // And somebody lists in a loop.
    for flooder in &flooders {
        let flooder = flooder.clone();
        flood.spawn(async move {
            for _ in 0..20 {
                flooder.get(MAPS).await;
            }
        });
    }

    let uid = async |name: &str| {
        let object = admin.get(&format!("{FLOW}/prioritylevelconfigurations/{name}")).await.expect(200);
        object["metadata"]["uid"].as_str().unwrap_or_default().to_string()
    };
    let (nodes, leaders) = (uid("node-high").await, uid("leader-election").await);
    for round in 0..10 {
        for (caller, collection, name, level_of) in
            [(&node, &own, "n1", &nodes), (&leader, &lead, "kube-controller-manager", &leaders)]
        {
            let path = format!("{collection}/{name}");
            let mut renewed = caller.get(&path).await.expect(200);
            renewed["spec"]["leaseTransitions"] = round.into();
            let answer = caller.put(&path, &renewed).await;
            assert_eq!((answer.code, &level(&answer)), (200, level_of), "{name}: {}", answer.text());
        }
    }
    assert_eq!(answered.load(Relaxed), 0, "they were answered while all of the flood was held");
    for name in ["node-high", "leader-election"] {
        assert_eq!(metric(&admin, WAITED, &format!("priority_level=\"{name}\"")).await, 0, "{name} never waited");
    }
    assert!(metric(&admin, WAITING, queue).await > 0, "and the flood still waits");

    holder.free.add_permits(CONNECTIONS * 4);
    while flood.join_next().await.is_some() {}
    assert!(answered.load(Relaxed) > 0);
}

#[tokio::test]
async fn of_one_level_everybody_has_a_turn() {
    const FLOOD: usize = 40;
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    bind(&admin, &["flooder", "other"]).await;
    let holder = Holder::start(&cluster).await;
    let level = json!({"metadata": {"name": "narrow"}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 1, "lendablePercent": 0, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 4, "queueLengthLimit": 50}}}}});
    let created = admin.create(&format!("{FLOW}/prioritylevelconfigurations"), &level).await;
    let everything =
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true});
    let users: Vec<Value> =
        ["flooder", "other"].iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect();
    let schema = json!({"metadata": {"name": "narrow"}, "spec": {"matchingPrecedence": 100, "distinguisherMethod": {"type": "ByUser"},
        "priorityLevelConfiguration": {"name": "narrow"}, "rules": [{"subjects": users, "resourceRules": [everything]}]}});
    admin.create(&format!("{FLOW}/flowschemas"), &schema).await;
    let (flooder, other) = (cluster.user("flooder", &[]), cluster.user("other", &[]));
    let uid = created["metadata"]["uid"].as_str().unwrap();
    until("the schema is in force", async || self::level(&flooder.get(&format!("{MAPS}/none")).await) == uid).await;
    let seats = metric(&admin, "apiserver_flowcontrol_nominal_limit_seats", "priority_level=\"narrow\"").await as usize;
    assert!((1..10).contains(&seats), "{seats}");

    let mut flood = JoinSet::new();
    for i in 0..FLOOD {
        let flooder = flooder.clone();
        flood.spawn(async move { flooder.post(MAPS, &map(&format!("flood-{i}"))).await.code });
    }
    let queue = "priority_level=\"narrow\"";
    let waiting = async |count: usize| metric(&admin, WAITING, queue).await as usize == count;
    until("the flood waits", async || waiting(FLOOD - seats).await).await;
    flood.spawn(async move { other.post(MAPS, &map("other")).await.code });
    until("the other waits, too", async || waiting(FLOOD - seats + 1).await).await;

    // One seat after the other comes free; who gets it is seen by the webhook.
    assert_eq!(holder.come().len(), seats);
    let mut turn = 0;
    while !holder.come().contains(&"other".to_string()) {
        turn += 1;
        holder.free.add_permits(1);
        until("somebody has the seat", async || holder.come().len() == seats + turn).await;
    }
    assert!(turn <= 8, "the last to come had its turn after {turn} of {}", FLOOD - seats);

    holder.free.add_permits(FLOOD + 1);
    while let Some(code) = flood.join_next().await {
        assert_eq!(code.unwrap(), 201);
    }
}
