//! Who may in, and what they may do: certificates, tokens, RBAC, nodes, and the log of it all.

use base::{clock::Clock, time::SignedDuration};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, Secret, ServiceAccount},
    rbac::v1::{ClusterRole, Role, RoleBinding},
};
use kube::api::{Api, ListParams, PostParams};
use std::time::Duration;
use testkit::{Caller, Cluster, ManualClock, Setup, Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a sample")
}

async fn account(admin: &Caller, name: &str) {
    admin.create("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": name}})).await;
}

fn pod(name: &str, node: &str, secret: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": node, "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "s", "secret": {"secretName": secret}}],
    }})
}

/// Who a caller is for the server.
async fn whoami(caller: &Caller) -> Value {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    caller.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await.expect(201)["status"]["userInfo"]
        .clone()
}

/// `kubectl auth can-i`
async fn can_i(caller: &Caller, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {
        "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "namespace": namespace},
    }});
    let answer = caller.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await.expect(201);
    answer["status"]["allowed"].as_bool().expect("an answer")
}

#[tokio::test]
async fn anonymous_sees_health_and_version_only() {
    let cluster = Cluster::start().await;
    let nobody = cluster.anonymous();
    for path in ["/livez", "/readyz", "/healthz", "/version"] {
        assert_eq!(nobody.get(path).await.code, 200, "{path}");
    }
    for (path, what) in [
        ("/api", r#"forbidden: User "system:anonymous" cannot get path "/api""#),
        ("/metrics", r#"forbidden: User "system:anonymous" cannot get path "/metrics""#),
        ("/openapi/v2", r#"forbidden: User "system:anonymous" cannot get path "/openapi/v2""#),
        (
            "/api/v1/namespaces",
            r#"namespaces is forbidden: User "system:anonymous" cannot list resource "namespaces" in API group "" at the cluster scope"#,
        ),
    ] {
        assert_eq!(nobody.get(path).await.refused(403, "Forbidden"), what);
    }
    // Anybody who is somebody may discover.
    let jane = cluster.user("jane", &[]);
    for path in ["/api", "/apis", "/apis/apps/v1", "/openapi/v2", "/version"] {
        assert_eq!(jane.get(path).await.code, 200, "{path}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (cluster, other) = (Cluster::start().await, Cluster::start().await);
    let leaf = other.pki.ca.client("admin", Some("system:masters")).unwrap();
    let tls = net::tls::client(cluster.pki.ca.roots(), Some(&leaf), true).unwrap();
    let request = http::Request::get("/api/v1/namespaces").header("host", "localhost").body(net::Body::Empty).unwrap();
    let refused = match net::Dialer::new(tls).connect("127.0.0.1", cluster.address.port()).await {
        Err(_) => true,
        // TLS 1.3: the client learns of it with its first read.
        Ok(stream) => {
            let io = hyper_util::rt::TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.is_err()
        }
    };
    assert!(refused);
}

#[tokio::test]
async fn roles_and_bindings() {
    let cluster = Cluster::start().await;
    let (admin, jane) = (cluster.admin(), cluster.user("jane", &["dev"]));
    let maps: Api<ConfigMap> = Api::namespaced(jane.kube(), "default");
    let refused = maps.list(&ListParams::default()).await.expect_err("no right yet");
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");

    let role: Role = typed(json!({"metadata": {"name": "reader"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["get", "create"]},
    ]}));
    let binding: RoleBinding = typed(json!({
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "dev"}],
    }));
    let params = PostParams::default();
    Api::<Role>::namespaced(admin.kube(), "default").create(&params, &role).await.unwrap();
    Api::<RoleBinding>::namespaced(admin.kube(), "default").create(&params, &binding).await.unwrap();
    // A grant counts from the moment that it is answered.
    maps.list(&ListParams::default()).await.unwrap();
    let elsewhere: Api<ConfigMap> = Api::namespaced(jane.kube(), "kube-system");
    assert!(elsewhere.list(&ListParams::default()).await.is_err());
    assert!(maps.create(&params, &typed(json!({"metadata": {"name": "x"}}))).await.is_err());

    // Nobody grants what they do not have.
    let more: Role = typed(json!({"metadata": {"name": "more"}, "rules": [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
    ]}));
    let refused = Api::<Role>::namespaced(jane.kube(), "default").create(&params, &more).await.expect_err("escalation");
    assert!(refused.to_string().contains("attempting to grant RBAC permissions not currently held"), "{refused}");
    let cluster_admin: RoleBinding = typed(json!({
        "metadata": {"name": "up"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
    }));
    let bindings: Api<RoleBinding> = Api::namespaced(jane.kube(), "default");
    assert!(bindings.create(&params, &cluster_admin).await.is_err());

    // A right that is taken back is gone at once.
    admin
        .delete("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings/readers", &Value::Null)
        .await
        .expect(200);
    assert!(maps.list(&ListParams::default()).await.is_err());
    // The roles that upstream ships are there.
    let roles: Api<ClusterRole> = Api::all(admin.kube());
    for name in ["cluster-admin", "admin", "edit", "view", "system:node-bootstrapper", "system:kube-scheduler"] {
        roles.get(name).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[tokio::test]
async fn impersonation() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let as_jane = admin.with("impersonate-user", "jane").with("impersonate-group", "dev");
    let info = whoami(&as_jane).await;
    assert_eq!((info["username"].as_str(), &info["groups"]), (Some("jane"), &json!(["dev", "system:authenticated"])));
    as_jane.get("/api/v1/nodes").await.refused(403, "Forbidden");
    let message = cluster.user("jane", &[]).with("impersonate-user", "bob").get("/api").await.refused(403, "Forbidden");
    // The narrower right is asked for first, and what is told is that it lacks.
    let want = r#"forbidden: User "jane" cannot impersonate-on:user-info:get path "/api""#;
    assert_eq!(message, want);
    let account = admin.with("impersonate-user", "system:serviceaccount:default:bot");
    let groups = whoami(&account).await["groups"].clone();
    assert!(groups.as_array().unwrap().contains(&json!("system:serviceaccounts:default")), "{groups}");
    let nobody = admin.with("impersonate-group", "dev").get("/api").await;
    assert!(nobody.code >= 400, "a group without a user: {}", nobody.text());
}

#[tokio::test]
async fn reviews() {
    let cluster = Cluster::start().await;
    let (admin, jane) = (cluster.admin(), cluster.user("jane", &["dev"]));
    assert!(can_i(&admin, "delete", "", "nodes", "").await);
    assert!(!can_i(&jane, "list", "", "pods", "default").await);
    admin
        .create(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            &json!({
                "metadata": {"name": "v"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
            }),
        )
        .await;
    assert!(can_i(&jane, "list", "", "pods", "default").await);
    assert!(!can_i(&jane, "list", "", "secrets", "default").await, "view does not show secrets");
    assert!(!can_i(&jane, "list", "", "pods", "kube-system").await);

    let spec =
        json!({"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}});
    let review = json!({"spec": spec});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = admin.post(path, &review).await.expect(201);
    assert_eq!(answer["status"]["allowed"], true);
    assert!(
        answer["status"]["reason"].as_str().unwrap().starts_with("RBAC: allowed by RoleBinding \"v/default\""),
        "{answer}"
    );
    jane.post(path, &review).await.refused(403, "Forbidden");
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    assert_eq!(admin.post(local, &review).await.expect(201)["status"]["allowed"], true);
    let rules = json!({"spec": {"namespace": "default"}});
    let rules = jane.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &rules).await.expect(201);
    let rules = rules["status"]["resourceRules"].as_array().cloned().unwrap_or_default();
    assert!(rules.iter().any(|r| r["resources"].as_array().is_some_and(|r| r.contains(&json!("pods")))), "{rules:?}");
    let info = whoami(&jane).await;
    assert_eq!((&info["username"], &info["groups"]), (&json!("jane"), &json!(["dev", "system:authenticated"])));
    let credential = info["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap_or_default();
    assert!(credential.starts_with("X509SHA256="), "{info}");
}

#[tokio::test]
async fn service_account_tokens() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    account(&admin, "bot").await;
    account(&admin, "default").await;
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.kube(), "default");
    let request = |spec: TokenRequestSpec| TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let plain = request(TokenRequestSpec { expiration_seconds: Some(3600), ..Default::default() });
    let issued = accounts.create_token_request("bot", &PostParams::default(), &plain).await.unwrap();
    let token = issued.status.and_then(|s| s.token).expect("a token");
    let bot = cluster.token(&token);
    let info = whoami(&bot).await;
    assert_eq!(info["username"], "system:serviceaccount:default:bot");
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    assert_eq!(info["groups"], groups);
    let message = bot.get(SECRETS).await.refused(403, "Forbidden");
    assert!(
        message.contains(r#"User "system:serviceaccount:default:bot" cannot list resource "secrets""#),
        "{message}"
    );

    // TokenReview, as a webhook of somebody else would ask.
    let review = json!({"spec": {"token": token}});
    let answer = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201);
    assert_eq!(
        (&answer["status"]["authenticated"], &answer["status"]["user"]["username"]),
        (&json!(true), &info["username"])
    );

    // For another audience it is no key to this door.
    let foreign = request(TokenRequestSpec { audiences: Some(vec!["vault".into()]), ..Default::default() });
    let issued = accounts.create_token_request("bot", &PostParams::default(), &foreign).await.unwrap();
    cluster
        .token(&issued.status.and_then(|s| s.token).expect("a token"))
        .get("/api")
        .await
        .refused(401, "Unauthorized");

    // Bound to a pod, it dies with the pod.
    let made = admin.create(PODS, &pod("holder", "", "none")).await;
    let bound = |uid: &str| {
        let object = BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some("holder".into()),
            uid: Some(uid.into()),
        };
        request(TokenRequestSpec { bound_object_ref: Some(object), ..Default::default() })
    };
    let wrong = accounts.create_token_request("default", &PostParams::default(), &bound("another-uid")).await;
    assert!(wrong.is_err(), "the pod has another uid");
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let issued = accounts.create_token_request("default", &PostParams::default(), &bound(uid)).await.unwrap();
    let holder = cluster.token(&issued.status.and_then(|s| s.token).expect("a token"));
    let info = whoami(&holder).await;
    assert_eq!(info["extra"]["authentication.kubernetes.io/pod-name"], json!(["holder"]), "{info}");
    admin.delete(&format!("{PODS}/holder"), &json!({"gracePeriodSeconds": 0})).await.expect(200);
    holder.get("/api").await.refused(401, "Unauthorized");

    // And with its account all others.
    admin.delete("/api/v1/namespaces/default/serviceaccounts/bot", &Value::Null).await.expect(200);
    bot.get("/api").await.refused(401, "Unauthorized");
    let missing =
        accounts.create_token_request("nobody", &PostParams::default(), &plain).await.expect_err("no account");
    assert!(missing.to_string().contains("not found"), "{missing}");
}

#[tokio::test]
async fn tokens_expire() {
    let clock = ManualClock::new();
    let cluster = Cluster::open(Setup { clock: clock.clone(), ..Setup::default() }).await;
    let admin = cluster.admin();
    account(&admin, "bot").await;
    let request = json!({"spec": {"expirationSeconds": 3600}});
    let issued = admin.create("/api/v1/namespaces/default/serviceaccounts/bot/token", &request).await;
    let bot = cluster.token(issued["status"]["token"].as_str().expect("a token"));
    let ends = clock.now() + SignedDuration::from_secs(3600);
    assert_eq!(issued["status"]["expirationTimestamp"], base::time::seconds(ends));
    clock.advance(SignedDuration::from_secs(3500));
    bot.get("/version").await.expect(200);
    whoami(&bot).await;
    // Clocks differ: a minute is allowed beyond the end.
    clock.advance(SignedDuration::from_secs(200));
    bot.get("/version").await.refused(401, "Unauthorized");
}

/// On connections that were made while they were good.
#[tokio::test]
async fn certificates_expire() {
    let clock = ManualClock::new();
    let cluster = Cluster::open(Setup { clock: clock.clone(), ..Setup::default() }).await;
    let pki = &cluster.pki;
    let life = Duration::from_secs(3600);
    let shown = |authority: &pki::Authority, name: &str| {
        cluster.with_certificate(&authority.issue(name, &[], &[], pki::Usage::Client, life).expect("a certificate"))
    };
    let jane = shown(&pki.ca, "jane");
    let joe = shown(&pki.front_proxy, "front-proxy-client").with("X-Remote-User", "joe");
    for seconds in [0, 3500] {
        clock.advance(SignedDuration::from_secs(seconds));
        jane.get("/version").await.expect(200);
        joe.get("/version").await.expect(200);
    }
    clock.advance(SignedDuration::from_secs(200));
    // Not even what anybody may read without a certificate.
    cluster.anonymous().get("/version").await.expect(200);
    jane.get("/version").await.refused(401, "Unauthorized");
    joe.get("/version").await.refused(401, "Unauthorized");
    // Another credential on the same connection is looked at for itself.
    let admin = cluster.admin();
    account(&admin, "bot").await;
    let request = json!({"spec": {"expirationSeconds": 3600}});
    let issued = admin.create("/api/v1/namespaces/default/serviceaccounts/bot/token", &request).await;
    let token = format!("Bearer {}", issued["status"]["token"].as_str().expect("a token"));
    jane.with("Authorization", &token).get("/version").await.expect(200);
}

#[tokio::test]
async fn bootstrap_tokens() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let secret = |id: &str, data: Value| -> Secret {
        typed(
            json!({"metadata": {"name": format!("bootstrap-token-{id}")}, "type": "bootstrap.kubernetes.io/token", "stringData": data}),
        )
    };
    let secrets: Api<Secret> = Api::namespaced(admin.kube(), "kube-system");
    let fine = json!({"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:ferry"});
    secrets.create(&PostParams::default(), &secret("abcdef", fine)).await.unwrap();
    let old = json!({"token-id": "fedcba", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "expiration": "2020-01-01T00:00:00Z"});
    secrets.create(&PostParams::default(), &secret("fedcba", old)).await.unwrap();
    let unused = json!({"token-id": "aaaaaa", "token-secret": "0123456789abcdef"});
    secrets.create(&PostParams::default(), &secret("aaaaaa", unused)).await.unwrap();

    let node = cluster.token("abcdef.0123456789abcdef");
    let info = whoami(&node).await;
    assert_eq!(info["username"], "system:bootstrap:abcdef");
    let groups = info["groups"].as_array().unwrap();
    for group in ["system:bootstrappers", "system:bootstrappers:ferry", "system:authenticated"] {
        assert!(groups.contains(&json!(group)), "{groups:?}");
    }
    node.get("/api/v1/nodes").await.refused(403, "Forbidden");
    for token in
        ["abcdef.0123456789abcdee", "fedcba.0123456789abcdef", "aaaaaa.0123456789abcdef", "bbbbbb.0123456789abcdef"]
    {
        cluster.token(token).get("/api").await.refused(401, "Unauthorized");
    }
    secrets.delete("bootstrap-token-abcdef", &Default::default()).await.unwrap();
    node.get("/api").await.refused(401, "Unauthorized");
}

#[tokio::test]
async fn nodes_see_what_their_pods_need() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    account(&admin, "default").await;
    for name in ["mine", "other", "nobodys"] {
        admin.create(SECRETS, &json!({"metadata": {"name": name}, "data": {"k": "MQ=="}})).await;
    }
    admin.create(PODS, &pod("on-1", "node-1", "mine")).await;
    admin.create(PODS, &pod("on-2", "node-2", "other")).await;
    let node = cluster.user("system:node:node-1", &["system:nodes"]);
    node.get(&format!("{SECRETS}/mine")).await.expect(200);
    for name in ["other", "nobodys"] {
        let message = node.get(&format!("{SECRETS}/{name}")).await.refused(403, "Forbidden");
        let want = format!(
            r#"secrets "{name}" is forbidden: User "system:node:node-1" cannot get resource "secrets" in API group "" in the namespace "default": no relationship found between node 'node-1' and this object"#
        );
        assert_eq!(message, want);
    }
    node.get(SECRETS).await.refused(403, "Forbidden");
    node.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1").await.expect(200);
    // Its own Node object, and nobody else's.
    node.create("/api/v1/nodes", &json!({"metadata": {"name": "node-1"}})).await;
    let message = node.post("/api/v1/nodes", &json!({"metadata": {"name": "node-2"}})).await.refused(403, "Forbidden");
    assert!(message.contains(r#"node "node-1" is not allowed to modify node "node-2""#), "{message}");
    let status = json!({"status": {"phase": "Running"}});
    assert_eq!(node.patch(&format!("{PODS}/on-1/status"), "merge", &status).await.code, 200);
    node.patch(&format!("{PODS}/on-2/status"), "merge", &status).await.refused(403, "Forbidden");
    // A pod that has moved on takes the secret with it.
    admin.delete(&format!("{PODS}/on-1"), &json!({"gracePeriodSeconds": 0})).await.expect(200);
    node.get(&format!("{SECRETS}/mine")).await.refused(403, "Forbidden");
}

#[tokio::test]
async fn the_audit_log_names_deeds_and_no_secrets() {
    let cluster = Cluster::start().await;
    let (admin, jane) = (cluster.admin(), cluster.user("jane", &["dev"]));
    let hidden = "aGlkZGVuLXZhbHVl";
    admin.create(SECRETS, &json!({"metadata": {"name": "audited"}, "data": {"k": hidden}})).await;
    jane.get(&format!("{SECRETS}/audited")).await.refused(403, "Forbidden");
    admin.with("impersonate-user", "bob").get(&format!("{SECRETS}/audited")).await.refused(403, "Forbidden");
    let token = "abcdef.0123456789abcdef";
    cluster.token(token).get(&format!("{SECRETS}/audited")).await.refused(401, "Unauthorized");
    admin.delete(&format!("{SECRETS}/audited"), &Value::Null).await.expect(200);

    let log = cluster.audit(|line| line.contains("\"verb\":\"delete\"") && line.contains("audited")).await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let find = |verb: &str, user: &str| {
        let found = lines
            .iter()
            .find(|l| l["verb"] == verb && l["user"]["username"] == user && l["objectRef"]["resource"] == "secrets");
        found.unwrap_or_else(|| panic!("{verb} by {user} is not in the log:\n{log}"))
    };
    let created = find("create", "admin");
    assert_eq!((&created["kind"], &created["level"]), (&json!("Event"), &json!("Metadata")));
    assert_eq!(
        (&created["responseStatus"]["code"], &created["objectRef"]["namespace"]),
        (&json!(201), &json!("default"))
    );
    assert_eq!(created["sourceIPs"], json!(["127.0.0.1"]));
    assert!(created["auditID"].as_str().is_some_and(|id| !id.is_empty()));
    let refused = find("get", "jane");
    assert_eq!(refused["responseStatus"]["code"], 403);
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    let impersonated = lines.iter().find(|l| l["impersonatedUser"]["username"] == "bob").expect("impersonation");
    assert_eq!(impersonated["user"]["username"], "admin");
    assert!(lines.iter().any(|l| l["responseStatus"]["code"] == 401), "a refused token is logged");
    for secret in [hidden, token, "PRIVATE KEY"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
