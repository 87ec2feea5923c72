//! Encryption at rest by EncryptionConfiguration: what is in the store, rotation, wildcards, and key services.

mod kms;
mod plugin;

use apiserver::{EncryptionSettings, Keys};
use std::{path::PathBuf, sync::Arc};
use store::Store;
use testkit::{Caller, Cluster, Setup, Value, json};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A cluster's directory with a configuration file in it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("ferry-seal-{}-{}", std::process::id(), base::ids::suffix(8)));
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
    fn file(&self) -> PathBuf {
        self.0.join("encryption.yaml")
    }
    /// Writes the configuration.
    fn write(&self, rules: &str) {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
        std::fs::write(self.file(), format!("{head}{rules}")).unwrap();
    }
    fn setup(&self) -> Setup {
        let encryption = EncryptionSettings { file: Some(self.file()), reload: true };
        Setup { dir: Some(self.0.clone()), keys: Keys { encryption, ..Keys::default() }, ..Setup::default() }
    }
    async fn open(&self) -> Cluster {
        Cluster::open(self.setup()).await
    }
    /// What a stopped cluster's store keeps under a key, up to where the sealed bytes begin.
    async fn stored(&self, key: &str) -> String {
        let disk = store_disk::Disk::open(self.0.join("store"), store_disk::Options::default()).unwrap();
        let store: Arc<dyn Store> = disk.keyspace("cluster");
        let (_, bytes) = store.get(key).await.unwrap().unwrap_or_else(|| panic!("{key} is not there"));
        let text = String::from_utf8_lossy(&bytes);
        match text.strip_prefix("k8s:enc:") {
            Some(rest) => rest.splitn(4, ':').take(3).collect::<Vec<_>>().join(":"),
            None => text.chars().take(1).collect(),
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn secret(name: &str) -> Value {
    json!({"metadata": {"name": name}, "stringData": {"k": "nobody may read this"}})
}

fn revision(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

/// `kubectl get secrets -A -o json | kubectl replace -f -`; how many were written anew.
async fn replace_all(admin: &Caller) -> usize {
    let list = admin.get("/api/v1/secrets").await.expect(200);
    let mut written = 0;
    for mut item in list["items"].as_array().unwrap().clone() {
        item["apiVersion"] = "v1".into();
        item["kind"] = "Secret".into();
        let (namespace, name) = (item["metadata"]["namespace"].clone(), item["metadata"]["name"].clone());
        let path = format!("/api/v1/namespaces/{}/secrets/{}", namespace.as_str().unwrap(), name.as_str().unwrap());
        let after = admin.put(&path, &item).await.expect(200);
        written += usize::from(revision(&after) != revision(&item));
    }
    written
}

/// What a read comes to answer, once it answers with this code: the object, or the refusal's message.
pub async fn answer_of(admin: &Caller, path: &str, code: u16) -> Value {
    let answered = async {
        loop {
            let answer = admin.get(path).await;
            if answer.code == code {
                let answer = answer.json();
                return if code == 200 { answer } else { answer["message"].clone() };
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(testkit::PATIENCE, answered).await.unwrap_or_else(|_| panic!("{path}: never {code}"))
}

/// A provider with named keys: the first byte of each, sixteen or thirty-two times.
fn provider(kind: &str, length: usize, keys: &[(&str, u8)]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let key = |(name, byte): &(&str, u8)| format!("{{name: {name}, secret: {}}}", STANDARD.encode(vec![*byte; length]));
    let keys: Vec<String> = keys.iter().map(key).collect();
    format!("  - {kind}: {{keys: [{}]}}\n", keys.join(", "))
}

fn rule(resources: &str, providers: &[String]) -> String {
    format!("- resources: {resources}\n  providers:\n{}", providers.concat())
}

#[tokio::test]
async fn a_key_is_rotated_by_restarts() {
    let dir = Dir::new();
    let at = "/registry/secrets/default/s";
    dir.write(&rule("[secrets]", &[provider("aesgcm", 32, &[("one", 1)])]));
    let cluster = dir.open().await;
    let made = cluster.admin().create(SECRETS, &secret("s")).await;
    cluster.stop().await;
    assert_eq!(dir.stored(at).await, "aesgcm:v1:one");

    // The new key is there to read; then it writes.
    dir.write(&rule("[secrets]", &[provider("aesgcm", 32, &[("two", 2), ("one", 1)])]));
    let cluster = dir.open().await;
    let admin = cluster.admin();
    assert_eq!(admin.get(&format!("{SECRETS}/s")).await.expect(200), made);
    // A patch without a change writes too, and a second one does not.
    let patched = admin.patch(&format!("{SECRETS}/s"), "merge", &json!({})).await.expect(200);
    assert_ne!(revision(&patched), revision(&made), "a stale value is sealed anew");
    assert_eq!((&patched["data"], &patched["metadata"]["uid"]), (&made["data"], &made["metadata"]["uid"]));
    assert_eq!(admin.patch(&format!("{SECRETS}/s"), "merge", &json!({})).await.expect(200), patched);
    assert_eq!(replace_all(&admin).await, 0);
    cluster.stop().await;
    assert_eq!(dir.stored(at).await, "aesgcm:v1:two");

    // The old key goes.
    dir.write(&rule("[secrets]", &[provider("aesgcm", 32, &[("two", 2)])]));
    let cluster = dir.open().await;
    assert_eq!(cluster.admin().get(&format!("{SECRETS}/s")).await.expect(200), patched);
    cluster.stop().await;
}

#[tokio::test]
async fn a_key_is_rotated_by_reloads() {
    let dir = Dir::new();
    dir.write(&rule("[secrets]", &[provider("secretbox", 32, &[("one", 1)])]));
    let cluster = dir.open().await;
    let admin = cluster.admin();
    let encryption = cluster.server.encryption().clone();
    for name in ["a", "b"] {
        admin.create(SECRETS, &secret(name)).await;
    }
    assert!(!encryption.reload().await.unwrap(), "it is the file that is in force");
    dir.write(&rule("[secrets]", &[provider("aescbc", 32, &[("two", 2)]), provider("secretbox", 32, &[("one", 1)])]));
    assert!(encryption.reload().await.unwrap());
    assert_eq!(replace_all(&admin).await, 2, "all of them are stale");
    assert_eq!(replace_all(&admin).await, 0, "none is stale any more");
    // A file that makes no sense changes nothing.
    dir.write(&rule("[secrets, secrets]", &[provider("aescbc", 32, &[("two", 2)])]));
    let why = encryption.reload().await.unwrap_err().to_string();
    assert!(why.contains("the same resource cannot be specified multiple times"), "{why}");
    admin.create(SECRETS, &secret("c")).await;
    dir.write(&rule("[secrets]", &[provider("aescbc", 32, &[("two", 2)])]));
    assert!(encryption.reload().await.unwrap());
    let metrics = admin.get("/metrics").await.text();
    for want in [
        "apiserver_encryption_config_controller_automatic_reloads_total{status=\"success\"} 2",
        "apiserver_encryption_config_controller_automatic_reloads_total{status=\"failure\"} 1",
        "apiserver_storage_transformation_operations_total{resource=\"secrets\",transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:aescbc:v1:\",status=\"OK\"} 3",
    ] {
        assert!(metrics.contains(want), "{want}");
    }
    assert_eq!(admin.get("/readyz/kms-providers").await.code, 200, "with reloads there is a check");
    let before = admin.get(SECRETS).await.expect(200);
    let cluster = cluster.restart().await;
    assert_eq!(cluster.admin().get(SECRETS).await.expect(200)["items"], before["items"]);
    cluster.stop().await;
    for name in ["a", "b", "c"] {
        assert_eq!(dir.stored(&format!("/registry/secrets/default/{name}")).await, "aescbc:v1:two");
    }
}

#[tokio::test]
async fn what_no_key_opens_is_named_and_hurts_nobody_else() {
    let dir = Dir::new();
    dir.write(&rule("[secrets]", &[provider("aesgcm", 16, &[("one", 1)])]));
    let cluster = dir.open().await;
    let admin = cluster.admin();
    let made = admin.create(SECRETS, &secret("lost")).await;
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await;
    cluster.stop().await;

    dir.write(&rule("[secrets]", &[provider("aesgcm", 16, &[("two", 2)])]));
    let cluster = dir.open().await;
    let admin = cluster.admin();
    let want = "Internal error occurred: unable to transform key \"/registry/secrets/default/lost\": no matching key was found for the provided AES transformer";
    let path = format!("{SECRETS}/lost");
    assert_eq!(admin.get(&path).await.refused(500, "InternalError"), want);
    assert_eq!(admin.get(SECRETS).await.refused(500, "InternalError"), want);
    assert_eq!(admin.get("/api/v1/secrets?limit=1").await.refused(500, "InternalError"), want);
    assert_eq!(admin.patch(&path, "merge", &json!({})).await.refused(500, "InternalError"), want);
    assert_eq!(admin.delete(&path, &Value::Null).await.refused(500, "InternalError"), want);
    admin.post(SECRETS, &secret("lost")).await.refused(409, "AlreadyExists");
    // Others are served.
    admin.create(SECRETS, &secret("found")).await;
    admin.get(&format!("{SECRETS}/found")).await.expect(200);
    admin.create("/api/v1/namespaces/other/secrets", &secret("found")).await;
    assert_eq!(admin.names("/api/v1/namespaces/other/secrets").await, ["found"]);

    // The key comes back, and with it the object, in its place. It goes too early, and that is told at once.
    for (keys, code) in [(&[("two", 2), ("one", 1)][..], 200), (&[("two", 2)], 500), (&[("two", 2), ("one", 1)], 200)] {
        dir.write(&rule("[secrets]", &[provider("aesgcm", 16, keys)]));
        assert!(cluster.server.encryption().reload().await.unwrap());
        assert_eq!(answer_of(&admin, &path, code).await, if code == 200 { made.clone() } else { json!(want) });
        admin.get(&format!("{SECRETS}/found")).await.expect(200);
    }
    assert_eq!(admin.names(SECRETS).await, ["found", "lost"]);
    assert_eq!(replace_all(&admin).await, 1);
    cluster.stop().await;
}

#[tokio::test]
async fn kinds_have_the_providers_that_name_them() {
    let dir = Dir::new();
    let definition = json!({
        "metadata": {"name": "things.seal.example.com"},
        "spec": {
            "group": "seal.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    dir.write(
        &[
            rule("[configmaps]", &[provider("aescbc", 24, &[("maps", 1)])]),
            rule("['*.']", &["  - identity: {}\n".into(), provider("aesgcm", 24, &[("core", 2)])]),
            rule("['*.seal.example.com']", &[provider("secretbox", 32, &[("things", 3)])]),
            rule("['*.*']", &[provider("aesgcm", 16, &[("all", 4)])]),
        ]
        .concat(),
    );
    let cluster = dir.open().await;
    let admin = cluster.admin();
    admin.create(MAPS, &json!({"metadata": {"name": "m"}})).await;
    admin.create(SECRETS, &secret("s")).await;
    admin.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    let things = "/apis/seal.example.com/v1/namespaces/default/things";
    let thing = json!({"apiVersion": "seal.example.com/v1", "kind": "Thing", "metadata": {"name": "t"}});
    admin.create(things, &thing).await;
    let lease = json!({"metadata": {"name": "l"}, "spec": {}});
    admin.create("/apis/coordination.k8s.io/v1/namespaces/default/leases", &lease).await;
    let cluster = cluster.restart().await;
    let admin = cluster.admin();
    assert_eq!(admin.get(&format!("{things}/t")).await.expect(200)["kind"], "Thing");
    assert_eq!(admin.names(MAPS).await, ["m"]);
    assert_eq!(admin.names("/apis/coordination.k8s.io/v1/namespaces/default/leases").await, ["l"]);
    cluster.stop().await;
    for (key, want) in [
        ("/registry/configmaps/default/m", "aescbc:v1:maps"),
        // Asked for by name, and so done: the first provider is none.
        ("/registry/secrets/default/s", "{"),
        ("/registry/namespaces/default", "{"),
        ("/registry/seal.example.com/things/default/t", "secretbox:v1:things"),
        ("/registry/leases/default/l", "aesgcm:v1:all"),
        ("/registry/apiextensions.k8s.io/customresourcedefinitions/things.seal.example.com", "aesgcm:v1:all"),
    ] {
        assert_eq!(dir.stored(key).await, want, "{key}");
    }
}

#[tokio::test]
async fn a_cluster_without_a_file_gets_one_and_loses_it() {
    let dir = Dir::new();
    let at = "/registry/secrets/default/s";
    let cluster = Cluster::on_disk(&dir.0).await;
    let made = cluster.admin().create(SECRETS, &secret("s")).await;
    assert_eq!(cluster.admin().get("/readyz/kms-providers").await.code, 404, "without a key service there is no check");
    cluster.stop().await;
    assert_eq!(dir.stored(at).await, "aesgcm:v1:key1", "the cluster's own key");

    // A file with a key of the same name.
    dir.write(&rule("[secrets]", &[provider("aesgcm", 32, &[("key1", 9)])]));
    let cluster = dir.open().await;
    let admin = cluster.admin();
    assert_eq!(admin.get(&format!("{SECRETS}/s")).await.expect(200), made, "the own key reads behind all others");
    assert_eq!(replace_all(&admin).await, 1);
    assert_eq!(replace_all(&admin).await, 0);
    cluster.stop().await;

    // Back to the own key: it is first where the file does not name Secrets.
    dir.write(&rule("[secrets]", &["  - identity: {}\n".into(), provider("aesgcm", 32, &[("key1", 9)])]));
    let cluster = dir.open().await;
    assert_eq!(replace_all(&cluster.admin()).await, 1);
    cluster.stop().await;
    assert_eq!(dir.stored(at).await, "{");
    dir.write(&rule("[configmaps]", &[provider("aesgcm", 32, &[("a", 1)])]));
    let cluster = dir.open().await;
    cluster.admin().create(SECRETS, &secret("t")).await;
    let why = cluster.admin().get(&format!("{SECRETS}/s")).await.refused(500, "InternalError");
    assert!(why.contains("no matching prefix found"), "{why}");
    cluster.stop().await;
    assert_eq!(dir.stored("/registry/secrets/default/t").await, "aesgcm:v1:key1");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_stops_the_start() {
    let dir = Dir::new();
    let refused = async || {
        let registry = Default::default();
        let settings = dir.setup().keys.encryption;
        let opened = seal::Encryption::open(settings, &[0; 32], Arc::new(base::clock::System), &registry).await;
        opened.err().expect("a refusal").to_string().replace(&dir.0.display().to_string(), "DIR")
    };
    let reading = "error while parsing file: error while loading file:";
    assert_eq!(
        refused().await,
        format!(
            "{reading} error reading encryption provider configuration file \"DIR/encryption.yaml\": No such file or directory (os error 2)"
        )
    );
    std::fs::write(dir.file(), "").unwrap();
    assert_eq!(
        refused().await,
        format!("{reading} encryption provider configuration file \"DIR/encryption.yaml\" is empty")
    );
    dir.write("- resources: []\n  providers: [{identity: {}}]\n  x: 1\n");
    assert_eq!(
        refused().await,
        "error while parsing file: error decoding encryption provider configuration file \"DIR/encryption.yaml\": strict decoding error: unknown field \"resources[0].x\""
    );
    dir.write("");
    assert_eq!(
        refused().await,
        "error while parsing file: resources: Required value: at least one resources is required"
    );
    dir.write(
        &[rule("['*.']", &["  - identity: {}\n".into()]), rule("[secrets]", &["  - identity: {}\n".into()])].concat(),
    );
    assert_eq!(
        refused().await,
        "error while building transformers: resource \"secrets\" is masked by earlier rule \"*.\""
    );
    dir.write(&rule("[secrets]", &["  - kms: {name: old, endpoint: 'unix:///run/old.sock'}\n".into()]));
    assert!(
        refused().await.starts_with("error while building transformers: KMSv1 is deprecated and will only receive")
    );
}
