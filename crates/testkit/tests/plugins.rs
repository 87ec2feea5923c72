//! Admission plugins that an operator turns on, and what an AdmissionConfiguration tells them, through the whole server. What
//! each plugin decides is in tables beside it; here is what needs an engine, files, or a server that is asked.

use apiserver::{AdmissionChoice, admission_settings};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use pki::ClusterPki;
use std::{path::PathBuf, sync::Arc, time::Duration};
use testkit::{Cluster, Setup, Value, json};
use tokio::{net::TcpListener, sync::watch};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A server of reviews: images, and admission.
#[derive(Clone, Default)]
struct Reviews {
    /// Path, `Authorization`, and the body.
    seen: Arc<Mutex<Vec<(String, String, Value)>>>,
}

impl net::Handler for Reviews {
    type Connection = ();
    fn connected(&self, _: net::Peer) {}
    async fn handle(&self, (): &(), request: Request<Incoming>) -> Response<net::Body> {
        let path = request.uri().path().to_string();
        let shown = request.headers().get(header::AUTHORIZATION).map_or("", |v| v.to_str().unwrap()).to_string();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let review: Value = serde_json::from_slice(&body).unwrap();
        self.seen.lock().push((path.clone(), shown, review.clone()));
        let answer = match path.as_str() {
            "/images" => {
                let bad = review["spec"]["containers"].as_array().unwrap().iter().any(|c| c["image"] == "bad");
                json!({"apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview",
                    "status": {"allowed": !bad, "reason": if bad { "bad is bad" } else { "" }, "auditAnnotations": {"who": "me"}}})
            }
            _ => json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview",
                "response": {"uid": review["request"]["uid"], "allowed": true}}),
        };
        Response::new(net::Body::from(answer.to_string()))
    }
}

/// The files of an operator.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("ferry-plugins-{}-{}", std::process::id(), base::ids::suffix(10)));
        std::fs::create_dir_all(&dir).unwrap();
        Files(dir)
    }
    fn put(&self, name: &str, content: &Value) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pod(name: &str, image: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

/// A cluster with these plugins, told so.
async fn with(pki: &ClusterPki, plugins: &[&str], told: Value, files: &Files) -> Cluster {
    let file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": told});
    let settings = admission_settings(&files.put("admission.yaml", &file)).unwrap();
    let names: Vec<String> = plugins.iter().map(|name| name.to_string()).collect();
    let admission = AdmissionChoice::of(&names, &[], settings).unwrap();
    let cluster =
        Cluster::open(Setup { admission, store: Some((store::Memory::new(), pki.clone())), ..Setup::default() }).await;
    let account = json!({"metadata": {"name": "default"}});
    cluster.admin().create("/api/v1/namespaces/default/serviceaccounts", &account).await;
    cluster
}

#[tokio::test]
async fn somebody_else_says_which_images_run_and_is_shown_who_asks() {
    let (pki, files, reviews) = (ClusterPki::ephemeral().unwrap(), Files::new(), Reviews::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let leaf = pki.ca.server("reviews", &["127.0.0.1".into()]).unwrap();
    let tls = net::tls::server(net::CertificateSlot::new(&leaf).unwrap(), pki.ca.roots()).unwrap();
    let (_stop, stopping) = watch::channel(false);
    tokio::spawn(net::serve(listener, tls, reviews.clone(), stopping, Duration::ZERO));

    use base64::{Engine, engine::general_purpose::STANDARD};
    let bundle = STANDARD.encode(pki.ca.cert_pem());
    let server = json!({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "s", "user": "u"}}],
        "clusters": [{"name": "s", "cluster": {"server": format!("https://{address}/images"), "certificate-authority-data": bundle}}],
        "users": [{"name": "u", "user": {"token": "for-images"}}]});
    let users = json!({"users": [{"name": address.to_string(), "user": {"token": "for-hooks"}}]});
    let told = json!([
        {"name": "ImagePolicyWebhook", "configuration": {"imagePolicy": {"kubeConfigFile": files.put("server", &server)}}},
        {"name": "ValidatingAdmissionWebhook", "configuration": {"apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": files.put("users", &users)}},
    ]);
    let cluster = with(&pki, &["ImagePolicyWebhook"], told, &files).await;
    let admin = cluster.admin();

    admin.create(PODS, &pod("a", "good")).await;
    let why = admin.post(PODS, &pod("b", "bad")).await.refused(403, "Forbidden");
    assert_eq!(why, "pods \"b\" is forbidden: image policy webhook backend denied one or more images: bad is bad");
    admin.create(PODS, &pod("c", "good")).await;
    let seen = std::mem::take(&mut *reviews.seen.lock());
    assert_eq!(seen.len(), 2, "what was answered is kept: {seen:?}");
    assert_eq!((seen[0].0.as_str(), seen[0].1.as_str()), ("/images", "Bearer for-images"));
    assert_eq!(seen[0].2["spec"], json!({"containers": [{"image": "good"}], "namespace": "default"}));

    let hook = json!({"name": "h.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"]}],
        "clientConfig": {"url": format!("https://{address}/hook"), "caBundle": bundle}});
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    admin.create(hooks, &json!({"metadata": {"name": "h"}, "webhooks": [hook]})).await;
    admin.create("/api/v1/namespaces/default/configmaps", &json!({"metadata": {"name": "m"}})).await;
    let seen = std::mem::take(&mut *reviews.seen.lock());
    assert_eq!((seen[0].0.as_str(), seen[0].1.as_str()), ("/hook", "Bearer for-hooks"));
}

#[tokio::test]
async fn namespaces_come_with_their_first_object() {
    let (pki, files) = (ClusterPki::ephemeral().unwrap(), Files::new());
    let cluster = with(&pki, &["NamespaceAutoProvision", "NamespaceExists"], json!([]), &files).await;
    let admin = cluster.admin();
    let map = json!({"metadata": {"name": "m"}});
    admin.post("/api/v1/namespaces/dry/configmaps?dryRun=All", &map).await.refused(404, "NotFound");
    admin.create("/api/v1/namespaces/new/configmaps", &map).await;
    let made = admin.get("/api/v1/namespaces/new").await.expect(200);
    assert_eq!(made["status"]["phase"], "Active");
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "new");
    admin.get("/api/v1/namespaces/dry").await.refused(404, "NotFound");
    let why = admin.post("/api/v1/namespaces/Not_A_Name/configmaps", &map).await.refused(403, "Forbidden");
    assert!(why.starts_with("configmaps \"m\" is forbidden: Namespace \"Not_A_Name\" is invalid"), "{why}");
}

#[tokio::test]
async fn owners_are_set_by_those_who_may() {
    let (pki, files) = (ClusterPki::ephemeral().unwrap(), Files::new());
    let cluster = with(&pki, &["OwnerReferencesPermissionEnforcement"], json!([]), &files).await;
    let admin = cluster.admin();
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get", "update"]}]);
    admin.create(roles, &json!({"metadata": {"name": "writer"}, "rules": rules})).await;
    let binding = json!({"metadata": {"name": "writer"}, "subjects": [{"kind": "User", "name": "w", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "writer"}});
    admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    let writer = cluster.user("w", &[]);
    let maps = "/api/v1/namespaces/default/configmaps";
    let owned = |name: &str, api: &str, kind: &str, blocks: bool| {
        json!({"metadata": {"name": name, "ownerReferences": [
            {"apiVersion": api, "kind": kind, "name": "o", "uid": "u", "blockOwnerDeletion": blocks}]}})
    };
    writer.create(maps, &owned("a", "apps/v1", "Deployment", false)).await;
    for (api, kind, why) in [
        (
            "apps/v1",
            "Deployment",
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>",
        ),
        (
            "apps/v9",
            "Deployment",
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion apps/v9 Kind Deployment: no matches for kind \"Deployment\" in version \"apps/v9\"",
        ),
    ] {
        let told = writer.post(maps, &owned("b", api, kind, true)).await.refused(403, "Forbidden");
        assert_eq!(told, format!("configmaps \"b\" is forbidden: {why}"));
    }
    writer.create(maps, &json!({"metadata": {"name": "c"}})).await;
    let told =
        writer.put(&format!("{maps}/c"), &owned("c", "apps/v1", "Deployment", false)).await.refused(403, "Forbidden");
    assert_eq!(told, "configmaps \"c\" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>");
    admin.create(maps, &owned("d", "apps/v1", "Deployment", true)).await;
}
