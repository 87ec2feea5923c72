//! Users of other issuers, and users whom a webhook knows: what they are called here, and who is not let in.

use apiserver::{Access, Authentication, ConfigFile};
use auth::token_webhook::TokenWebhookConfig;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use net::{Endpoint, Trust};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use testkit::{Caller, Cluster, Setup, Value, json};
use tokio::{net::TcpListener, sync::watch};

const SELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const TOKENS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// An issuer of tokens, or a server that reviews them: what it serves, and what it was asked.
#[derive(Clone)]
struct Elsewhere {
    url: String,
    ca: String,
    keys: Arc<Mutex<Vec<pki::SigningKey>>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// What is answered to who shows `Bearer knock` at `/claims`.
    claims: Arc<Mutex<String>>,
    _stop: Arc<watch::Sender<bool>>,
}

impl Elsewhere {
    async fn start() -> Self {
        let pki = pki::ClusterPki::ephemeral().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let leaf = pki.ca.server("elsewhere", &["127.0.0.1".into()]).unwrap();
        let tls = net::tls::server(net::CertificateSlot::new(&leaf).unwrap(), pki.ca.roots()).unwrap();
        let (stop, stopping) = watch::channel(false);
        let keys = Arc::new(Mutex::new(vec![pki::SigningKey::generate().unwrap()]));
        let ca = pki.ca.cert_pem().to_string();
        let server = Elsewhere { url, ca, keys, asked: Arc::default(), claims: Arc::default(), _stop: Arc::new(stop) };
        tokio::spawn(net::serve(listener, tls, server.clone(), stopping, Duration::ZERO));
        server
    }
    /// A token of the newest key.
    fn sign(&self, claims: &Value) -> String {
        let keys = self.keys.lock();
        let key = keys.last().unwrap();
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&json!({"alg": "ES256", "kid": key.id()})), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }
    /// The same with claims that are good.
    fn token(&self, more: Value) -> String {
        let mut claims =
            json!({"iss": self.url, "aud": "ferry", "sub": "alice", "exp": 4_000_000_000_u64, "groups": ["dev"]});
        claims.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.sign(&claims)
    }
    fn asked(&self, path: &str) -> Vec<Value> {
        self.asked.lock().iter().filter(|(at, _)| at == path).map(|(_, body)| body.clone()).collect()
    }
    /// A cluster that believes it.
    async fn cluster(&self, more: Value) -> Cluster {
        let mut jwt = json!({
            "issuer": {"url": self.url, "audiences": ["ferry"], "certificateAuthority": self.ca},
            "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "groups", "prefix": "oidc:"}},
        });
        jwt.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        cluster(json!({"jwt": [jwt]})).await
    }
}

impl net::Handler for Elsewhere {
    type Connection = ();
    fn connected(&self, _: net::Peer) {}
    async fn handle(&self, (): &(), request: Request<Incoming>) -> Response<net::Body> {
        let path = request.uri().path().to_string();
        let knocks = request.headers().get("authorization").is_some_and(|shown| shown == "Bearer knock");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        self.asked.lock().push((path.clone(), body.clone()));
        let answer = match path.as_str() {
            "/.well-known/openid-configuration" => {
                json!({"issuer": self.url, "jwks_uri": format!("{}/keys", self.url)})
            }
            "/keys" => {
                let keys: Vec<Value> =
                    self.keys.lock().iter().map(|key| serde_json::from_str(&key.jwk()).unwrap()).collect();
                json!({"keys": keys})
            }
            "/claims" if knocks => return Response::new(self.claims.lock().clone().into()),
            "/review" => {
                let status = match body["spec"]["token"].as_str() {
                    Some("good") => {
                        json!({"authenticated": true, "user": {"username": "bob", "uid": "7", "groups": ["ops"], "extra": {"k": ["v"]}}})
                    }
                    Some("elsewhere") => {
                        json!({"authenticated": true, "audiences": ["x"], "user": {"username": "bob"}})
                    }
                    _ => json!({"authenticated": false, "error": "who is that?"}),
                };
                json!({"kind": "TokenReview", "apiVersion": body["apiVersion"], "status": status})
            }
            _ => return Response::builder().status(404).body(net::Body::Empty).unwrap(),
        };
        Response::new(answer.to_string().into())
    }
}

async fn cluster(more: Value) -> Cluster {
    let mut file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"});
    file.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let file = Some(ConfigFile { tree: file.into(), path: None });
    with(Authentication { file, ..Authentication::default() }).await
}

async fn with(authentication: Authentication) -> Cluster {
    Cluster::open(Setup { access: Access { authentication, ..Access::default() }, ..Setup::default() }).await
}

async fn whoami(caller: &Caller) -> Value {
    caller.post(SELF, &json!({})).await.expect(201)["status"]["userInfo"].clone()
}

#[tokio::test]
async fn a_token_of_another_issuer_is_a_user() {
    let issuer = Elsewhere::start().await;
    let cluster = issuer.cluster(json!({})).await;
    let alice = cluster.token(&issuer.token(json!({"jti": "id-1"})));
    let all = json!(["oidc:dev", "system:authenticated"]);
    let id = json!({"authentication.kubernetes.io/credential-id": ["JTI=id-1"]});
    assert_eq!(whoami(&alice).await, json!({"username": "oidc:alice", "groups": all, "extra": id}));

    // RBAC knows her by that name.
    let maps = "/api/v1/namespaces/default/configmaps";
    alice.get(maps).await.refused(403, "Forbidden");
    let binding = json!({"metadata": {"name": "dev"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "oidc:dev"}]});
    cluster.admin().create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    alice.get(maps).await.expect(200);

    // The keys were fetched once for all of it.
    assert_eq!((issuer.asked("/.well-known/openid-configuration").len(), issuer.asked("/keys").len()), (1, 1));

    let review = json!({"spec": {"token": issuer.token(json!({}))}});
    let status = cluster.admin().post(TOKENS, &review).await.expect(201)["status"].clone();
    assert_eq!((&status["authenticated"], &status["user"]["username"]), (&json!(true), &json!("oidc:alice")));
    let other = json!({"spec": {"token": issuer.token(json!({})), "audiences": ["vault"]}});
    let status = cluster.admin().post(TOKENS, &other).await.expect(201)["status"].clone();
    assert_eq!(status["authenticated"], Value::Null, "the token is for the API server alone: {status}");
}

/// Groups that another issuer vouches for, at the place that the first one names.
#[tokio::test]
async fn groups_are_fetched_from_where_they_are() {
    let (issuer, other, stranger) = (Elsewhere::start().await, Elsewhere::start().await, Elsewhere::start().await);
    let bundle = format!("{}{}", issuer.ca, other.ca);
    let cluster = issuer
        .cluster(json!({"issuer": {"url": issuer.url, "audiences": ["ferry"], "certificateAuthority": bundle}}))
        .await;
    let at = |shown: &str| {
        let place = json!({"endpoint": format!("{}/claims", other.url), "access_token": shown});
        issuer.sign(&json!({"iss": issuer.url, "aud": "ferry", "sub": "alice", "exp": 4_000_000_000_u64,
            "_claim_names": {"groups": "src"}, "_claim_sources": {"src": place}}))
    };
    *other.claims.lock() = other.token(json!({"groups": ["far", "away"]}));
    let alice = cluster.token(&at("knock"));
    assert_eq!(whoami(&alice).await["groups"], json!(["oidc:far", "oidc:away", "system:authenticated"]));

    let refused = async |token: String| cluster.token(&token).post(SELF, &json!({})).await.expect(401);
    refused(at("wrong")).await;
    *other.claims.lock() = other.token(json!({"groups": ["far"], "aud": "somebody"}));
    refused(at("knock")).await;
    *other.claims.lock() = other.token(json!({"iss": issuer.url, "groups": ["forged"]}));
    refused(at("knock")).await;
    // One of whom nobody knows an authority.
    *other.claims.lock() = stranger.token(json!({"groups": ["forged"]}));
    refused(at("knock")).await;
}

#[tokio::test]
async fn a_wrong_token_of_an_issuer_is_nobody() {
    let issuer = Elsewhere::start().await;
    let cluster = issuer
        .cluster(json!({"userValidationRules": [{"expression": "user.username != 'oidc:root'", "message": "no root"}]}))
        .await;
    let forger = pki::SigningKey::generate().unwrap();
    let forged = {
        let token = issuer.token(json!({}));
        let (text, _) = token.rsplit_once('.').unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(forger.sign(text.as_bytes())))
    };
    let unsigned = {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"iss": issuer.url, "aud": "ferry", "sub": "alice", "exp": 4_000_000_000_u64});
        format!("{}.{}.", encode(json!({"alg": "none"})), encode(claims))
    };
    for (token, why) in [
        (issuer.token(json!({"aud": "other"})), "the audience"),
        (issuer.token(json!({"exp": 1})), "the end"),
        (issuer.token(json!({"nbf": 4_000_000_000_u64})), "the beginning"),
        (issuer.token(json!({"iss": "https://other"})), "the issuer"),
        (issuer.token(json!({"sub": "root"})), "a rule"),
        (issuer.token(json!({"sub": 1})), "the name"),
        (forged, "the signature"),
        (unsigned, "the algorithm"),
    ] {
        assert_eq!(cluster.token(&token).get("/api").await.code, 401, "{why}");
    }
    // Rubbish that names the issuer does not make the server ask it again and again.
    let asked = issuer.asked("/keys").len();
    assert!(asked <= 2, "{asked}");
    // The server's own tokens and certificates are what they were.
    assert_eq!(whoami(&cluster.admin()).await["username"], "admin");
}

#[tokio::test]
async fn an_issuer_that_changes_its_key_is_asked_again() {
    let issuer = Elsewhere::start().await;
    let cluster = issuer.cluster(json!({})).await;
    let old = issuer.token(json!({}));
    whoami(&cluster.token(&old)).await;
    *issuer.keys.lock() = vec![pki::SigningKey::generate().unwrap()];
    let new = issuer.token(json!({"sub": "carol"}));
    assert_eq!(whoami(&cluster.token(&new)).await["username"], "oidc:carol");
    assert_eq!(cluster.token(&old).get("/api").await.code, 401, "the old key is gone");
}

#[tokio::test]
async fn nobody_is_let_in_only_where_the_file_says() {
    let cluster = cluster(json!({"anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]}})).await;
    let nobody = cluster.anonymous();
    assert_eq!(nobody.get("/livez").await.code, 200);
    for path in ["/readyz", "/livez/ping", "/version"] {
        nobody.get(path).await.refused(401, "Unauthorized");
    }
    let closed = with(Authentication { anonymous: Some(false), ..Authentication::default() }).await;
    assert_eq!(closed.anonymous().get("/livez").await.code, 401);
    assert_eq!(closed.admin().get("/livez").await.code, 200);
}

#[tokio::test]
async fn a_webhook_knows_tokens() {
    let reviewer = Elsewhere::start().await;
    let trust = Trust::Bundle(reviewer.ca.clone().into());
    let endpoint =
        Endpoint { url: format!("{}/review", reviewer.url), trust, identity: None, headers: HeaderMap::new() };
    let config = TokenWebhookConfig { version: "v1".into(), ..TokenWebhookConfig::to(endpoint) };
    let cluster = with(Authentication { token_webhook: Some(config), ..Authentication::default() }).await;
    let bob = cluster.token("good");
    let who = json!({"username": "bob", "uid": "7", "groups": ["ops", "system:authenticated"], "extra": {"k": ["v"]}});
    assert_eq!(whoami(&bob).await, who);
    assert_eq!(whoami(&bob).await, who);
    let asked = reviewer.asked("/review");
    assert_eq!(asked.len(), 1, "what it has said counts for a while");
    assert_eq!(asked[0]["apiVersion"], "authentication.k8s.io/v1");
    assert_eq!(asked[0]["spec"]["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    cluster.token("bad").get("/api").await.refused(401, "Unauthorized");
    assert_eq!(cluster.token("elsewhere").get("/api").await.code, 401, "it is good for another audience");
    let review = json!({"spec": {"token": "bad"}});
    let status = cluster.admin().post(TOKENS, &review).await.expect(201)["status"].clone();
    assert!(status["error"].as_str().unwrap().contains("who is that?"), "{status}");
    // Who is known without it is not asked for.
    whoami(&cluster.admin()).await;
    assert!(reviewer.asked("/review").iter().all(|r| r["spec"]["token"] != "admin"));
}

/// What a file has become is taken over; what is wrong changes nothing.
#[tokio::test]
async fn files_are_looked_at_again() {
    let dir = std::env::temp_dir().join(format!("ferry-authn-{}", base::ids::suffix(10)));
    std::fs::create_dir(&dir).unwrap();
    let (authentication, authorization) = (dir.join("authn.yaml"), dir.join("authz.yaml"));
    let head = |kind: &str| format!("apiVersion: apiserver.config.k8s.io/v1\nkind: {kind}Configuration\n");
    let anonymous = |enabled: bool| {
        let text = format!("{}anonymous: {{enabled: {enabled}}}\n", head("Authentication"));
        std::fs::write(&authentication, text).unwrap();
    };
    let modes = |modes: &[&str]| {
        let entries = modes.iter().map(|mode| format!("- {{type: {mode}, name: {}}}\n", mode.to_lowercase()));
        let text = format!("{}authorizers:\n{}", head("Authorization"), entries.collect::<String>());
        std::fs::write(&authorization, text).unwrap();
    };
    anonymous(true);
    modes(&["Node", "RBAC"]);
    let files = apiserver::AccessFiles {
        authentication: Some(authentication.clone()),
        authorization: Some(authorization.clone()),
        ..Default::default()
    };
    let access = Access { look: Some(Duration::from_millis(20)), ..files.load(dir.join("audit.log")).unwrap() };
    let cluster = Cluster::open(Setup { access, ..Setup::default() }).await;
    let (nobody, jane) = (cluster.anonymous(), cluster.user("jane", &[]));
    let until = async |caller: &Caller, path: &str, code: u16| {
        let looked = async {
            while caller.get(path).await.code != code {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(testkit::PATIENCE, looked).await.unwrap_or_else(|_| panic!("{path} never was {code}"));
    };
    assert_eq!((nobody.get("/livez").await.code, jane.get("/api").await.code), (200, 200));
    anonymous(false);
    until(&nobody, "/livez", 401).await;
    // RBAC lets everybody discover; nobody else does.
    modes(&["Node"]);
    until(&jane, "/api", 403).await;
    std::fs::write(&authentication, "anonymous: [").unwrap();
    modes(&["Node", "Everything"]);
    // The next change that is fine shows that the wrong ones were passed over.
    modes(&["RBAC"]);
    until(&jane, "/api", 200).await;
    assert_eq!(nobody.get("/livez").await.code, 401, "a file that is wrong opens nothing");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
#[should_panic(expected = "URL must not overlap with disallowed issuers")]
async fn nobody_else_may_be_the_issuer_of_service_accounts() {
    let own = "https://kubernetes.default.svc.cluster.local";
    cluster(json!({"jwt": [
        {"issuer": {"url": own, "audiences": ["a"]}, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}]}))
    .await;
}
