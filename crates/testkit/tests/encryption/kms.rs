//! Key services: what is asked of them and when, rotation of their keys, and what happens while they are away.

use crate::{Dir, SECRETS, answer_of, plugin::Plugin, replace_all, revision, rule, secret};
use base::time::SignedDuration;
use std::sync::Arc;
use testkit::{Cluster, ManualClock, Setup, json};

/// A cluster whose Secrets a plugin seals, and whose clock stands.
struct Kms {
    dir: Dir,
    plugin: Plugin,
    clock: Arc<ManualClock>,
}

impl Kms {
    fn new() -> Self {
        let dir = Dir::new();
        let mut plugin = Plugin::new(dir.0.join("kms.sock"));
        plugin.listen();
        let provider =
            format!("  - kms: {{apiVersion: v2, name: vault, endpoint: '{}', timeout: 1s}}\n", plugin.endpoint());
        dir.write(&rule("[secrets]", &[provider]));
        Kms { dir, plugin, clock: ManualClock::new() }
    }
    async fn open(&self) -> Cluster {
        Cluster::open(Setup { clock: self.clock.clone(), ..self.dir.setup() }).await
    }
    /// How often the plugin was asked to encrypt and to decrypt.
    fn asked(&self) -> (usize, usize) {
        let state = self.plugin.state.lock();
        (state.encrypted, state.decrypted)
    }
    fn wait(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }
}

#[tokio::test]
async fn one_seed_seals_and_a_restart_asks_for_it_once() {
    let kms = Kms::new();
    let cluster = kms.open().await;
    let admin = cluster.admin();
    for i in 0..20 {
        admin.create(SECRETS, &secret(&format!("s{i}"))).await;
    }
    assert_eq!(kms.asked(), (1, 0), "one seed for all of them");
    assert_eq!(replace_all(&admin).await, 0);
    assert_eq!(kms.asked(), (1, 0), "its own values need no service");
    let before = admin.get(SECRETS).await.expect(200);
    assert_eq!(admin.get("/readyz/kms-providers").await.text(), "ok");
    assert!(admin.get("/readyz?verbose").await.text().contains("[+]kms-providers ok"));

    let cluster = cluster.restart().await;
    let admin = cluster.admin();
    assert_eq!(kms.asked(), (2, 1), "another seed to write, the old one to read");
    assert_eq!(admin.get(SECRETS).await.expect(200)["items"], before["items"]);
    assert_eq!(replace_all(&admin).await, 0, "another seed of the same key is not stale");
    let metrics = admin.get("/metrics").await.text();
    for want in [
        "apiserver_envelope_encryption_kms_operations_latency_seconds_count{provider_name=\"vault\",method_name=\"/v2.KeyManagementService/Decrypt\",grpc_status_code=\"OK\"} 1",
        "apiserver_storage_envelope_transformation_cache_misses_total 1",
        "apiserver_envelope_encryption_dek_source_cache_size{provider_name=\"vault\"} 1",
        "transformer_prefix=\"k8s:enc:kms:v2:vault:\",status=\"OK\"} 40",
    ] {
        assert!(metrics.contains(want), "{want} in\n{metrics}");
    }
    cluster.stop().await;
    assert_eq!(kms.dir.stored("/registry/secrets/default/s0").await, "kms:v2:vault");
}

#[tokio::test]
async fn a_new_key_of_the_service_makes_values_stale() {
    let kms = Kms::new();
    let cluster = kms.open().await;
    let admin = cluster.admin();
    let made = admin.create(SECRETS, &secret("s")).await;
    kms.plugin.state.lock().key = "key-2".into();
    assert_eq!(replace_all(&admin).await, 0, "nobody has asked yet");
    kms.wait(60);
    assert_eq!(admin.get("/healthz/kms-providers").await.text(), "ok", "asks for the status, and makes a seed");
    assert_eq!(kms.asked(), (2, 0));
    assert_eq!(replace_all(&admin).await, 1);
    assert_eq!(replace_all(&admin).await, 0);
    // The old key may go.
    kms.plugin.state.lock().lost.push("key-1".into());
    let cluster = cluster.restart().await;
    let found = cluster.admin().get(&format!("{SECRETS}/s")).await.expect(200);
    assert_eq!(found["data"], made["data"]);
    cluster.stop().await;
}

#[tokio::test]
async fn without_the_service_writes_go_on_for_three_minutes() {
    let mut kms = Kms::new();
    let cluster = kms.open().await;
    let admin = cluster.admin();
    admin.create(SECRETS, &secret("a")).await;
    kms.plugin.stop().await;
    kms.wait(170);
    let told = admin.get("/livez/kms-providers").await;
    let text = told.text();
    assert_eq!(told.code, 500);
    assert!(text.starts_with("internal server error: kms-provider-0: failed to perform status section of the healthz check for KMS Provider vault, error: rpc error: code = "), "{text}");
    assert_eq!(admin.get("/livez").await.code, 500);
    admin.create(SECRETS, &secret("b")).await;
    kms.wait(11);
    let why = admin.post(SECRETS, &secret("c")).await.refused(500, "InternalError");
    assert!(why.starts_with("Internal error occurred: encryptedDEKSource with keyID hash \"sha256:"), "{why}");
    assert_eq!(admin.names(SECRETS).await, ["a", "b"], "reads go on");
    kms.plugin.listen();
    kms.wait(10);
    assert_eq!(admin.get("/livez/kms-providers").await.text(), "ok");
    admin.create(SECRETS, &secret("c")).await;
    assert_eq!(kms.asked(), (1, 0), "the old seed is good again");

    // A server that starts without its service serves what needs none, and the rest when it comes.
    kms.plugin.stop().await;
    let cluster = cluster.restart().await;
    let admin = cluster.admin();
    let want = "Internal error occurred: unable to transform key \"/registry/secrets/default/a\": got unexpected nil transformer";
    assert_eq!(admin.get(SECRETS).await.refused(500, "InternalError"), want);
    admin.create("/api/v1/namespaces/default/configmaps", &json!({"metadata": {"name": "m"}})).await;
    let why = admin.post(SECRETS, &secret("d")).await.refused(500, "InternalError");
    assert_eq!(why, "Internal error occurred: got unexpected nil transformer");
    kms.plugin.listen();
    kms.wait(10);
    assert_eq!(admin.get("/readyz/kms-providers").await.text(), "ok");
    assert_eq!(answer_of(&admin, SECRETS, 200).await["items"].as_array().map(Vec::len), Some(3));
    cluster.stop().await;
}

#[tokio::test]
async fn what_a_service_says_is_checked() {
    let kms = Kms::new();
    let cluster = kms.open().await;
    let admin = cluster.admin();
    let made = admin.create(SECRETS, &secret("s")).await;
    let told = async |change: &dyn Fn(&mut crate::plugin::State)| {
        change(&mut kms.plugin.state.lock());
        kms.wait(30);
        admin.get("/healthz/kms-providers").await.text()
    };
    let ill = "internal server error: kms-provider-0: kmsv2 Provider vault is not healthy, error: ";
    assert_eq!(told(&|s| s.healthz = "tired".into()).await, format!("{ill}got unexpected healthz status: tired\n"));
    assert_eq!(
        told(&|s| {
            s.healthz = "ok".into();
            s.version = "v3".into();
        })
        .await,
        format!("{ill}expected KMSv2 API version v2, got v3\n")
    );
    assert_eq!(
        told(&|s| s.version = "v2beta1".into()).await,
        format!("{ill}KMSv2 API version should not change after the initial status response version v2, got v2beta1\n")
    );
    let text = told(&|s| {
        s.version = "v2".into();
        s.told = Some(String::new());
    })
    .await;
    assert_eq!(text, format!("{ill}got invalid KMSv2 KeyID hash \"\": keyID is empty\n"));
    // Status and Encrypt disagree, an annotation is none: the present seed stays.
    let text = told(&|s| s.told = Some("key-7".into())).await;
    assert!(text.starts_with(&format!("{ill}failed to rotate DEK uid=")) && text.contains("errGen=<nil>"), "{text}");
    let text = told(&|s| {
        s.told = None;
        s.key = "key-8".into();
        s.annotations.insert("panda".into(), Vec::new());
    })
    .await;
    assert!(text.contains("should be a domain with at least two segments separated by dots"), "{text}");
    let patched =
        admin.patch(&format!("{SECRETS}/s"), "merge", &json!({"stringData": {"more": "x"}})).await.expect(200);
    assert_ne!(revision(&patched), revision(&made));
    assert_eq!(told(&|s| drop(s.annotations.remove("panda"))).await, "ok");
    cluster.stop().await;
}
