//! What stands between a write and the store, on every kind: webhooks and quota.

use crate::subject::{Subject, each, each_in};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use testkit::{Answer, Cluster, Setup, Value, json};
use tokio::{net::TcpListener, sync::watch};

const ADMISSION: &str = "admissionregistration.k8s.io";
const DENIED: &str = "admission webhook \"deny.matrix.example.com\" denied the request: not this one";

/// The requests that the webhooks have seen.
type Seen = Arc<Mutex<Vec<Value>>>;

/// Marks every object at `/mark`, and at `/deny` refuses those that say so.
#[derive(Clone)]
struct Hooks(Seen);

impl net::Handler for Hooks {
    type Connection = ();
    fn connected(&self, _: net::Peer) {}
    async fn handle(&self, (): &(), request: Request<Incoming>) -> Response<net::Body> {
        let path = request.uri().path().to_string();
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let review: Value = serde_json::from_slice(&body).unwrap_or_default();
        let request = &review["request"];
        let mut response = json!({"allowed": true});
        if path == "/mark" {
            let metadata = &request["object"]["metadata"];
            let mark = match metadata["annotations"].is_object() {
                true => json!([{"op": "add", "path": "/metadata/annotations/marked", "value": "yes"}]),
                false => json!([{"op": "add", "path": "/metadata/annotations", "value": {"marked": "yes"}}]),
            };
            if metadata["labels"]["mark"] == "yes" {
                response["patchType"] = "JSONPatch".into();
                response["patch"] = STANDARD.encode(mark.to_string()).into();
            }
        } else {
            self.0.lock().push(request.clone());
            let kept = request["oldObject"]["metadata"]["labels"]["kept"] == "yes" && request["operation"] == "DELETE";
            if kept || request["object"]["metadata"]["labels"]["deny"] == "yes" {
                response = json!({"allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "not this one"}});
            }
        }
        response["uid"] = request["uid"].clone();
        let answer = json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response});
        Response::new(net::Body::from(answer.to_string()))
    }
}

/// Serves the webhooks until the sender goes, and registers them for everything.
async fn register(cluster: &Cluster, seen: Seen) -> watch::Sender<bool> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let leaf = cluster.pki.ca.server("hooks", &["127.0.0.1".into()]).expect("a certificate");
    let tls = net::tls::server(net::CertificateSlot::new(&leaf).expect("a slot"), cluster.pki.ca.roots()).expect("TLS");
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(net::serve(listener, tls, Hooks(seen), stopping, Duration::ZERO));
    let bundle = STANDARD.encode(cluster.pki.ca.cert_pem());
    for (kind, path) in [("Mutating", "mark"), ("Validating", "deny")] {
        let hook = json!({
            "name": format!("{path}.matrix.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}],
            "matchPolicy": "Equivalent",
            "clientConfig": {"url": format!("https://{address}/{path}"), "caBundle": bundle},
        });
        let collection = format!("/apis/{ADMISSION}/v1/{}webhookconfigurations", kind.to_lowercase());
        let kind = format!("{kind}WebhookConfiguration");
        let configuration = json!({"apiVersion": format!("{ADMISSION}/v1"), "kind": kind, "metadata": {"name": "all"}, "webhooks": [hook]});
        cluster.admin().create(&collection, &configuration).await;
    }
    stop
}

#[tokio::test]
async fn webhooks() {
    let (seen, stop) = (Seen::default(), Mutex::new(None));
    let prepare = async |cluster: &Cluster| {
        let sender = register(cluster, seen.clone()).await;
        *stop.lock() = Some(sender);
    };
    each_in(Setup::default(), prepare, async |s: &Subject| {
        // What configures admission is not subject to it.
        if s.kind.group == ADMISSION {
            let mut object = s.object("free");
            object["metadata"]["labels"] = json!({"mark": "yes", "deny": "yes"});
            let made = s.create(&object).await;
            s.same("nobody is asked", &made["metadata"]["annotations"], &Value::Null);
            return;
        }
        let (collection, path) = (s.collection(), s.path("one"));
        let dry = format!("{collection}?dryRun=All");
        let labelled = |plain: &str, label: &str| {
            let mut object = s.object(plain);
            object["metadata"]["labels"] = json!({label: "yes"});
            object
        };
        let denied = |what: &str, answer: &Answer| {
            s.refused(what, answer, 403, "Forbidden", DENIED);
        };
        seen.lock().clear();
        let answer = s.admin.post(&dry, &labelled("one", "mark")).await;
        let made = s.code("dry run", &answer, 201);
        s.same("dry run: marked", made["metadata"]["annotations"]["marked"].as_str(), Some("yes"));
        let asked = seen.lock().last().cloned().unwrap_or_default();
        s.same("dry run: said", (&asked["dryRun"], &asked["operation"]), (&json!(true), &json!("CREATE")));
        s.same("the kind", asked["requestKind"]["kind"].as_str(), Some(s.kind.kind.as_str()));
        s.same("the object is whole", asked["object"]["kind"].as_str(), Some(s.kind.kind.as_str()));
        denied("dry run: denied", &s.admin.post(&dry, &labelled("one", "deny")).await);
        denied("create: denied", &s.admin.post(&collection, &labelled("one", "deny")).await);
        let answer = s.admin.get(&path).await;
        s.code("nothing was created", &answer, 404);

        let mut made = s.create(&labelled("one", "mark")).await;
        s.same("create: marked", made["metadata"]["annotations"]["marked"].as_str(), Some("yes"));
        made["metadata"]["labels"]["deny"] = "yes".into();
        denied("update: denied", &s.admin.put(&path, &made).await);
        let asked = seen.lock().last().cloned().unwrap_or_default();
        s.same("update: said", (&asked["dryRun"], &asked["operation"]), (&json!(false), &json!("UPDATE")));
        s.same("update: the old one", asked["oldObject"]["metadata"]["name"].as_str(), Some(s.name("one").as_str()));
        let patch = json!({"metadata": {"labels": {"deny": "yes"}}});
        denied("patch: denied", &s.admin.patch(&path, "merge", &patch).await);
        let apply = format!("{path}?fieldManager=m&force=true");
        denied("apply: denied", &s.admin.patch(&apply, "apply", &labelled("one", "deny")).await);

        s.create(&labelled("two", "kept")).await;
        denied("delete: denied", &s.admin.delete(&s.path("two"), &Value::Null).await);
        let dry = format!("{}?dryRun=All", s.path("two"));
        denied("delete dry: denied", &s.admin.delete(&dry, &Value::Null).await);
        let selected = format!("{collection}?labelSelector=kept");
        if s.kind.verbs.contains(&schema::Verb::DeleteCollection) {
            denied("delete the collection: denied", &s.admin.delete(&selected, &Value::Null).await);
        }
        let answer = s.admin.get(&s.path("two")).await;
        s.code("it is there", &answer, 200);
        let sub = s.kind.subresource("status").is_some();
        let deny = json!({"metadata": {"labels": {"deny": "yes"}}});
        if sub && !s.sample("one").status.is_null() {
            // Rules of `*` mean no subresource.
            seen.lock().clear();
            let answer = s.admin.patch(&format!("{path}/status?dryRun=All"), "merge", &deny).await;
            s.code("a status is not asked for", &answer, 200);
            s.same("a status is not asked for", seen.lock().len(), 0);
        }
    })
    .await;
    drop(stop);
}

/// A quota for the number of objects of a kind is charged by whatever creates one, and by nothing else.
#[tokio::test]
async fn quota() {
    each(async |s: &Subject| {
        // Nobody counts events.
        if !s.kind.namespaced() || s.kind.kind == "Event" || s.kind.kind == "ResourceQuota" {
            return;
        }
        let quotas = format!("/api/v1/namespaces/{}/resourcequotas", s.namespace);
        let counted = format!("count/{}", base::status::qualified(&s.kind.group, &s.kind.plural));
        let hard = json!({counted.as_str(): "1"});
        s.admin.create(&quotas, &json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
        let told = json!({"status": {"hard": hard, "used": {counted.as_str(): "0"}}});
        s.admin.patch(&format!("{quotas}/q/status"), "merge", &told).await.expect(200);
        let used = async || s.admin.get(&format!("{quotas}/q")).await.json()["status"]["used"][&counted].clone();

        let answer = s.admin.post(&format!("{}?dryRun=All", s.collection()), &s.object("one")).await;
        s.code("dry run", &answer, 201);
        s.same("a dry run costs nothing", used().await, json!("0"));
        s.create(&s.object("one")).await;
        s.same("charged", used().await, json!("1"));
        let name = s.name("two");
        let why = format!("exceeded quota: q, requested: {counted}=1, used: {counted}=1, limited: {counted}=1");
        let text = format!("{} \"{name}\" is forbidden: {why}", s.qualified());
        for dry in ["", "?dryRun=All"] {
            let answer = s.admin.post(&format!("{}{dry}", s.collection()), &s.object("two")).await;
            s.refused("exceeded", &answer, 403, "Forbidden", &text);
        }
        let applied = format!("{}?fieldManager=m", s.path("two"));
        let answer = s.admin.patch(&applied, "apply", &s.object("two")).await;
        s.refused("exceeded by applying", &answer, 403, "Forbidden", &text);
        let answer = s.admin.patch(&s.path("one"), "merge", &json!({"metadata": {"labels": {"a": "b"}}})).await;
        s.code("a change costs nothing", &answer, 200);
        s.same("nothing more", used().await, json!("1"));
    })
    .await;
}
