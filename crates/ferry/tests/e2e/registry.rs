//! Images from a registry of the host's loopback, in plain http: who may pull, what is said to who may not, and when a node
//! asks again.

#[path = "../../../images/tests/common/registry.rs"]
mod server;

use crate::{
    common::{Cluster, FERRY},
    scenes::{self, Scene, container, over, scenarios, wait, with},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use images::Digest;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use serde_json::{Value, json};
use server::{Auth, Registry};
use std::sync::Arc;

scenarios! {
    "an image of a registry that asks nobody" => anybody,
    "imagePullSecrets open a registry with basic authentication" => basic,
    "imagePullSecrets open a registry with bearer tokens" => bearer,
    "pull Secrets of the ServiceAccount are the pod's" => of_the_account,
    "a wrong password is told, and a right one is taken up" => wrong_password,
    "what is not in the registry is told" => not_there,
    "imagePullPolicy says when the registry is asked" => policies,
}

#[tokio::test(flavor = "multi_thread")]
async fn images_from_a_registry() {
    let cluster = Cluster::up(&["--nodes", "1"]);
    scenes::play(&cluster, table(), scenes::All::AtOnce).await;
}

/// A registry with an image `app:v1` that shows a file of its own. The program that does it is lent by the node.
async fn registry(auth: Auth) -> Arc<Registry> {
    let mut layer = tar::Builder::new(Vec::new());
    // The second makes it another image than those of other registries: nodes keep what is the same once.
    for (name, content) in [("hello", "hello\n".to_string()), ("own", base::ids::suffix(8))] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        layer.append_data(&mut header, name, content.as_bytes()).expect("in memory");
    }
    let layer = layer.into_inner().expect("in memory");
    let digest = |bytes: &[u8]| Digest::of(bytes).to_string();
    let config = json!({
        "architecture": images::spec::Platform::host().architecture, "os": "linux",
        "config": {"Cmd": ["/bin/cat", "/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    })
    .to_string();
    let described = |kind: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": images::spec::OCI_MANIFEST,
        "config": described("config.v1+json", config.as_bytes()), "layers": [described("layer.v1.tar", &layer)],
    });
    let mut registry = Registry::new(auth);
    registry.blob(config.as_bytes());
    registry.blob(&layer);
    registry.manifest("v1", images::spec::OCI_MANIFEST, manifest.to_string().as_bytes());
    registry.start().await
}

/// A pod spec of the image `app`.
fn app(registry: &Registry, tag: &str) -> Value {
    let container = json!({
        "name": "c", "image": format!("{}/app:{tag}", registry.address()),
        "volumeMounts": [{"name": "program", "mountPath": "/bin/cat", "readOnly": true}],
    });
    let program = json!({"name": "program", "hostPath": {"path": FERRY, "type": "File"}});
    with(scenes::once(container), json!({"volumes": [program]}))
}

fn with_secret(spec: Value) -> Value {
    with(spec, json!({"imagePullSecrets": [{"name": "pull"}]}))
}

/// The credentials of `me` for a registry, as `kubectl create secret docker-registry` writes them.
fn credentials(registry: &Registry, password: &str) -> Value {
    let auth = STANDARD.encode(format!("me:{password}"));
    let entry = json!({"username": "me", "password": password, "auth": auth});
    json!({"auths": {registry.address(): entry}})
}

async fn secret(scene: &Scene, registry: &Registry, password: &str) {
    let config = credentials(registry, password).to_string();
    let secret = json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config}});
    scene.make::<Secret>(with(secret, json!({"metadata": {"name": "pull"}}))).await;
}

/// Waits until a pod's container waits for this reason; the message.
async fn waits_for(scene: &Scene, name: &str, reason: &str) -> String {
    let found = |pod: &Value| {
        let waiting = &container(pod, "c")["state"]["waiting"];
        (waiting["reason"] == reason).then(|| waiting["message"].as_str().unwrap_or_default().to_string())
    };
    scene.until(name, reason, found).await
}

async fn anybody(scene: Scene) {
    let registry = registry(Auth::None).await;
    assert_eq!(scene.output("p", app(&registry, "v1")).await, "hello\n");
    let pod = scene.get("p").await;
    let image = format!("{}/app", registry.address());
    let status = container(&pod, "c");
    assert_eq!(status["image"], format!("{image}:v1"));
    let id = status["imageID"].as_str().unwrap_or_default();
    assert!(id.starts_with(&format!("{image}@sha256:")), "{id}");
    let events = scene.events().await;
    assert!(events.iter().any(|e| e == &format!("p Pulling: Pulling image \"{image}:v1\"")), "{events:?}");
    let pulled = format!("p Pulled: Successfully pulled image \"{image}:v1\" in ");
    assert!(events.iter().any(|e| e.starts_with(&pulled)), "{events:?}");
}

async fn basic(scene: Scene) {
    let registry = registry(Auth::Basic).await;
    scene.pod("without", app(&registry, "v1")).await;
    let why = waits_for(&scene, "without", "ErrImagePull").await;
    assert!(why.contains("unauthorized: authentication required"), "{why}");
    secret(&scene, &registry, "secret").await;
    assert_eq!(scene.output("p", with_secret(app(&registry, "v1"))).await, "hello\n");
}

async fn bearer(scene: Scene) {
    let registry = registry(Auth::Bearer).await;
    secret(&scene, &registry, "secret").await;
    assert_eq!(scene.output("p", with_secret(app(&registry, "v1"))).await, "hello\n");
    assert!(registry.log().iter().any(|line| line.starts_with("/token")), "the token was asked for");
}

async fn of_the_account(scene: Scene) {
    let registry = registry(Auth::Basic).await;
    secret(&scene, &registry, "secret").await;
    scene.merge::<ServiceAccount>("default", json!({"imagePullSecrets": [{"name": "pull"}]})).await;
    assert_eq!(scene.output("p", app(&registry, "v1")).await, "hello\n");
    assert_eq!(scene.get("p").await["spec"]["imagePullSecrets"], json!([{"name": "pull"}]));
}

async fn wrong_password(scene: Scene) {
    for (auth, name) in [(Auth::Basic, "basic"), (Auth::Bearer, "bearer")] {
        let registry = registry(auth).await;
        secret(&scene, &registry, "guess").await;
        scene.pod(name, with_secret(app(&registry, "v1"))).await;
        let image = format!("{}/app:v1", registry.address());
        let first = waits_for(&scene, name, "ErrImagePull").await;
        assert!(first.starts_with(&format!("failed to pull and unpack image \"{image}\": ")), "{first}");
        assert!(first.contains("unauthorized: "), "{first}");
        let then = waits_for(&scene, name, "ImagePullBackOff").await;
        assert!(then.starts_with(&format!("Back-off pulling image \"{image}\": ErrImagePull: ")), "{then}");
        assert!(then.contains("unauthorized: "), "{then}");
        assert!(![first, then].iter().any(|text| text.contains("guess")), "a password is nobody's business");
        let told = format!("{name} Failed: Error: ErrImagePull");
        wait("the event", async || scene.events().await.contains(&told).then_some(())).await;
        // The next attempt reads the Secret anew.
        let right = json!({"stringData": {".dockerconfigjson": credentials(&registry, "secret").to_string()}});
        scene.merge::<Secret>("pull", right).await;
        let pod = scene.until(name, "its end", |pod| over(pod).then(|| pod.clone())).await;
        assert_eq!((&pod["status"]["phase"], &container(&pod, "c")["restartCount"]), (&json!("Succeeded"), &json!(0)));
        scene.api::<Secret>().delete("pull", &Default::default()).await.expect("deleted");
    }
}

async fn not_there(scene: Scene) {
    let registry = registry(Auth::None).await;
    scene.pod("p", app(&registry, "v2")).await;
    let why = waits_for(&scene, "p", "ErrImagePull").await;
    assert!(why.contains("not found"), "{why}");
    // A port where nobody listens.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let mut spec = app(&registry, "v1");
    spec["containers"][0]["image"] = format!("{gone}/app:v1").into();
    scene.pod("q", spec).await;
    let why = waits_for(&scene, "q", "ErrImagePull").await;
    assert!(why.contains("refused"), "{why}");
}

async fn policies(scene: Scene) {
    let registry = registry(Auth::None).await;
    let with_policy = |policy: &str| {
        let mut spec = app(&registry, "v1");
        spec["containers"][0]["imagePullPolicy"] = policy.into();
        spec
    };
    // Kept back for others than IfNotPresent's first.
    scene.pod("never", with_policy("Never")).await;
    let why = waits_for(&scene, "never", "ErrImageNeverPull").await;
    assert!(why.ends_with("is not present with pull policy of Never"), "{why}");
    scene.delete("never", Default::default()).await;
    assert_eq!(registry.log(), Vec::<String>::new());
    assert_eq!(scene.output("first", with_policy("IfNotPresent")).await, "hello\n");
    let asked = registry.log();
    assert!(asked.iter().any(|line| line.contains("/blobs/")), "{asked:?}");
    for policy in ["IfNotPresent", "Never"] {
        assert_eq!(scene.output(&policy.to_lowercase(), with_policy(policy)).await, "hello\n");
        assert_eq!(registry.log(), Vec::<String>::new(), "{policy}");
    }
    assert_eq!(scene.output("always", with_policy("Always")).await, "hello\n");
    let asked = registry.log();
    // What the tag means is asked again; what is there already is not fetched again.
    assert!(asked.iter().any(|line| line.contains("/manifests/v1")), "{asked:?}");
    assert!(!asked.iter().any(|line| line.contains("/blobs/")), "{asked:?}");
}
