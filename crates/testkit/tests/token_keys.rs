//! Keys and issuers of ServiceAccount tokens that an operator brings, and their rotation over restarts.

use apiserver::{Keys, TokenKeys};
use std::{path::PathBuf, time::Duration};
use testkit::{Caller, Cluster, Setup, Value, json};

const RSA: &str = include_str!("../../pki/testdata/rsa-pkcs1.pem");
const P384: &str = include_str!("../../pki/testdata/p384-sec1.pem");
const P384_PUBLIC: &str = include_str!("../../pki/testdata/p384-public.pem");
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

/// A cluster's directory with key files in it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("ferry-tokens-{}-{}", std::process::id(), base::ids::suffix(8)));
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in [("rsa.pem", RSA), ("p384.pem", P384), ("p384.pub", P384_PUBLIC)] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        Dir(dir)
    }
    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    async fn open(&self, tokens: TokenKeys) -> Cluster {
        let keys = Keys { tokens, ..Keys::default() };
        Cluster::open(Setup { dir: Some(self.0.clone()), keys, ..Setup::default() }).await
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn token(admin: &Caller) -> String {
    let issued = admin.create(&format!("{ACCOUNTS}/bot/token"), &json!({})).await;
    issued["status"]["token"].as_str().expect("a token").into()
}

/// A part of a token.
fn part(token: &str, index: usize) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let text = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("base64")).expect("JSON")
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_signing_key_is_rotated() {
    let dir = Dir::new();
    let own = dir.at("pki/sa.key");
    let old = "https://kubernetes.default.svc.cluster.local";
    // The cluster's own key signs; the next one is published already.
    let cluster = dir.open(TokenKeys { keys: vec![own.clone(), dir.at("p384.pub")], ..TokenKeys::default() }).await;
    let admin = cluster.admin();
    admin.create(ACCOUNTS, &json!({"metadata": {"name": "bot"}})).await;
    let first = token(&admin).await;
    assert_eq!((part(&first, 0)["alg"].as_str(), part(&first, 1)["iss"].as_str()), (Some("ES256"), Some(old)));
    let published = admin.get("/openid/v1/jwks").await.expect(200);
    let algorithms = |set: &Value| {
        let keys = set["keys"].as_array().unwrap();
        keys.iter().map(|key| key["alg"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(algorithms(&published), ["ES256", "ES384"]);
    cluster.stop().await;

    // It signs, under another issuer's name; both keys, both names are taken.
    let during = TokenKeys {
        signing_key: Some(dir.at("p384.pem")),
        keys: vec![dir.at("p384.pub"), own],
        issuers: strings(&["https://ferry.example.com", old]),
        jwks_uri: Some("https://keys.example.com/jwks".into()),
        ..TokenKeys::default()
    };
    let cluster = dir.open(during).await;
    let admin = cluster.admin();
    let second = token(&admin).await;
    assert_eq!(part(&second, 0)["alg"], "ES384");
    assert_eq!(part(&second, 0)["kid"], published["keys"][1]["kid"]);
    assert_eq!(part(&second, 1)["iss"], "https://ferry.example.com");
    assert_eq!(part(&second, 1)["aud"], json!(["https://ferry.example.com", old]));
    for token in [&first, &second] {
        cluster.token(token).get("/version").await.expect(200);
    }
    let found = admin.get("/.well-known/openid-configuration").await.expect(200);
    assert_eq!(
        (found["issuer"].as_str(), found["jwks_uri"].as_str()),
        (Some("https://ferry.example.com"), Some("https://keys.example.com/jwks"))
    );
    assert_eq!(found["id_token_signing_alg_values_supported"], json!(["ES256", "ES384"]));
    cluster.stop().await;

    // The old key and the old name go; an audience of its own.
    let after = TokenKeys {
        signing_key: Some(dir.at("p384.pem")),
        keys: vec![dir.at("p384.pub")],
        issuers: strings(&["https://ferry.example.com"]),
        audiences: strings(&["ferry", "https://ferry.example.com"]),
        max_expiration: Some(Duration::from_secs(7200)),
        ..TokenKeys::default()
    };
    let cluster = dir.open(after).await;
    let admin = cluster.admin();
    cluster.token(&first).get("/version").await.refused(401, "Unauthorized");
    cluster.token(&second).get("/version").await.expect(200);
    let third = token(&admin).await;
    assert_eq!(part(&third, 1)["aud"], json!(["ferry", "https://ferry.example.com"]));
    let long = json!({"spec": {"expirationSeconds": 86400}});
    let answer = admin.post(&format!("{ACCOUNTS}/bot/token"), &long).await;
    assert_eq!(answer.warnings(), ["requested expiration of 86400 seconds shortened to 7200 seconds"]);
    assert_eq!(answer.expect(201)["spec"]["expirationSeconds"], 7200);
    cluster.stop().await;
}

#[tokio::test]
async fn a_key_of_kubeadm_signs() {
    let dir = Dir::new();
    let cluster = dir.open(TokenKeys { signing_key: Some(dir.at("rsa.pem")), ..TokenKeys::default() }).await;
    let admin = cluster.admin();
    admin.create(ACCOUNTS, &json!({"metadata": {"name": "bot"}})).await;
    let issued = token(&admin).await;
    assert_eq!(part(&issued, 0)["alg"], "RS256");
    cluster.token(&issued).get("/version").await.expect(200);
    let review = json!({"spec": {"token": issued}});
    let reviewed = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201);
    assert_eq!(reviewed["status"]["user"]["username"], "system:serviceaccount:default:bot");
    cluster.stop().await;
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = Dir::new();
    let own = std::sync::Arc::new(pki::SigningKey::generate().unwrap());
    let refused = |keys: TokenKeys| {
        let why = keys.issuer(&own, "https://own".into()).err().expect("a refusal");
        why.replace(&dir.0.display().to_string(), "DIR")
    };
    let issuers = |names: &[&str]| TokenKeys { issuers: strings(names), ..TokenKeys::default() };
    assert_eq!(refused(issuers(&[""])), "service-account-issuer should not be an empty string");
    assert_eq!(refused(issuers(&["a", "a"])), "service-account-issuer \"a\" is already specified");
    assert_eq!(refused(issuers(&[":a"])), "service-account-issuer \":a\" contained a ':' but was not a valid URL");
    assert_eq!(
        refused(TokenKeys { jwks_uri: Some("http://a".into()), ..TokenKeys::default() }),
        "service-account-jwks-uri requires https scheme, parsed as: http://a"
    );
    assert_eq!(
        refused(TokenKeys { max_expiration: Some(Duration::from_secs(60)), ..TokenKeys::default() }),
        "the service-account-max-token-expiration must be between 1 hour and 2^32 seconds"
    );
    assert_eq!(
        refused(TokenKeys { signing_key: Some(dir.at("p384.pub")), ..TokenKeys::default() }),
        "failed to parse service-account-issuer-key-file: DIR/p384.pub: malformed signing key: data does not contain a valid RSA or ECDSA private key"
    );
    assert_eq!(
        refused(TokenKeys { keys: vec![dir.at("none")], ..TokenKeys::default() }),
        "service-account-key-file DIR/none: No such file or directory (os error 2)"
    );
}
