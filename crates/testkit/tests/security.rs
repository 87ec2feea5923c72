//! What somebody with little must not get by it: each case was open once.

use base64::{Engine, engine::general_purpose::STANDARD};
use testkit::{Caller, Cluster, PATIENCE, Value, json};
use tokio::io::AsyncWriteExt;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A user that may do one thing everywhere.
async fn granted(cluster: &Cluster, name: &str, verbs: &[&str], group: &str, resources: &[&str]) -> Caller {
    let admin = cluster.admin();
    let rules = json!([{"verbs": verbs, "apiGroups": [group], "resources": resources}]);
    admin.create(&format!("{RBAC}/clusterroles"), &json!({"metadata": {"name": name}, "rules": rules})).await;
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}],
    });
    admin.create(&format!("{RBAC}/clusterrolebindings"), &binding).await;
    cluster.user(name, &[])
}

/// A node by its certificate, with its object.
async fn node(cluster: &Cluster, name: &str) -> (Caller, Value) {
    let node = cluster.user(&format!("system:node:{name}"), &["system:nodes"]);
    let object = node.create("/api/v1/nodes", &json!({"metadata": {"name": name}})).await;
    (node, object)
}

#[tokio::test]
async fn a_node_does_not_read_what_it_names_itself() {
    let cluster = Cluster::start().await;
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    cluster.admin().create(secrets, &json!({"metadata": {"name": "crown"}, "stringData": {"k": "v"}})).await;
    let (n1, object) = node(&cluster, "n1").await;
    let crown = format!("{secrets}/crown");
    n1.get(&crown).await.refused(403, "Forbidden");
    let pods = "/api/v1/namespaces/kube-system/pods";
    let mirror = |name: &str, spec: Value| {
        let mut pod = json!({"metadata": {
            "name": name, "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": object["metadata"]["uid"], "controller": true}],
        }, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
        for (key, value) in spec.as_object().expect("an object") {
            pod["spec"][key] = value.clone();
        }
        pod
    };
    let from_env = json!([{"name": "c", "image": "i", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "crown", "key": "k"}}}]}]);
    let all_env = json!([{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "crown"}}]}]);
    let init = json!([{"name": "init", "image": "i", "envFrom": [{"secretRef": {"name": "crown"}}]}]);
    let projected = json!([{"name": "v", "projected": {"sources": [{"secret": {"name": "crown"}}]}}]);
    for spec in [
        json!({"containers": from_env}),
        json!({"containers": all_env}),
        json!({"initContainers": init}),
        json!({"imagePullSecrets": [{"name": "crown"}]}),
        json!({"volumes": projected}),
        json!({"volumes": [{"name": "v", "secret": {"secretName": "crown"}}]}),
    ] {
        let what = spec.to_string();
        let answer = n1.post(pods, &mirror("thief", spec)).await;
        assert_eq!(answer.code, 403, "{what}: {}", answer.text());
        n1.get(&crown).await.refused(403, "Forbidden");
    }
    let mut of_another = mirror("p", json!({}));
    of_another["metadata"]["ownerReferences"][0]["uid"] = "6f1b3a0e-0000-4000-8000-000000000000".into();
    n1.post(pods, &of_another).await.refused(403, "Forbidden");
    n1.create(pods, &mirror("static", json!({}))).await;
}

#[tokio::test]
async fn a_node_gets_tokens_for_its_pods_audiences_only() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let (n1, _) = node(&cluster, "n1").await;
    admin.create("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "bot"}})).await;
    let sources =
        json!([{"serviceAccountToken": {"path": "a"}}, {"serviceAccountToken": {"path": "b", "audience": "vault"}}]);
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n1", "serviceAccountName": "bot", "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "projected": {"sources": sources}}],
    }});
    let pod = admin.create("/api/v1/namespaces/default/pods", &pod).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/bot/token";
    let ask = |audiences: Value| {
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]});
        json!({"spec": {"boundObjectRef": bound, "audiences": audiences}})
    };
    n1.post(path, &ask(json!([]))).await.expect(201);
    n1.post(path, &ask(json!(["vault"]))).await.expect(201);
    let message = n1.post(path, &ask(json!(["bank"]))).await.refused(403, "Forbidden");
    assert!(message.ends_with(
        r#"audience "bank" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience"#
    ), "{message}");
    // What the kubelet is granted beside.
    let rule = json!([{"verbs": ["request-serviceaccounts-token-audience"], "apiGroups": [""], "resources": ["bank"]}]);
    admin.create(&format!("{RBAC}/clusterroles"), &json!({"metadata": {"name": "bank"}, "rules": rule})).await;
    let binding = json!({
        "metadata": {"name": "bank"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bank"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}],
    });
    admin.create(&format!("{RBAC}/clusterrolebindings"), &binding).await;
    n1.post(path, &ask(json!(["bank"]))).await.expect(201);
    // A request is a TokenRequest, and is checked as any other body.
    let mut pod = ask(json!([]));
    pod["kind"] = "Pod".into();
    admin.post(path, &pod).await.refused(400, "BadRequest");
    let strange = json!({"spec": {"audience": "vault"}});
    admin.post(&format!("{path}?fieldValidation=Strict"), &strange).await.refused(400, "BadRequest");
    assert_eq!(admin.post(path, &strange).await.warnings(), [r#"unknown field "spec.audience""#]);
    admin.post(&format!("{path}?dryRun=some"), &json!({})).await.refused(422, "Invalid");
}

#[tokio::test]
async fn updating_a_gathering_role_is_no_way_up() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let roles = format!("{RBAC}/clusterroles");
    let selector = |label: &str| json!({"clusterRoleSelectors": [{"matchLabels": {"gather": label}}]});
    let role = json!({"metadata": {"name": "gathering"}, "aggregationRule": selector("little")});
    admin.create(&roles, &role).await;
    let eve = granted(&cluster, "eve", &["get", "update"], "rbac.authorization.k8s.io", &["clusterroles"]).await;
    let path = format!("{roles}/gathering");
    let mut role = eve.get(&path).await.expect(200);
    role["aggregationRule"] =
        json!({"clusterRoleSelectors": [{"matchLabels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}]});
    let message = eve.put(&path, &role).await.refused(403, "Forbidden");
    assert!(message.contains("attempting to grant RBAC permissions not currently held"), "{message}");
    assert_eq!(admin.get(&path).await.expect(200)["aggregationRule"], selector("little"));
}

#[tokio::test]
async fn a_node_gets_no_certificate_for_the_api_server() {
    let cluster = Cluster::start().await.with_controllers();
    let (n1, mut object) = node(&cluster, "n1").await;
    let (_, _) = node(&cluster, "n2").await;
    let addresses = ["10.1.1.1", "10.96.0.1", "127.0.0.1", "192.0.2.1"];
    let mut listed: Vec<Value> = addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
    for name in ["n1", "kubernetes.default.svc"] {
        listed.push(json!({"type": "InternalDNS", "address": name}));
    }
    object["status"]["addresses"] = listed.into();
    object["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    n1.patch("/api/v1/nodes/n1/status", "merge", &json!({"status": object["status"]})).await.expect(200);
    let ask = async |name: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        let made = pki::CertificateRequest::new("system:node:n1", Some("system:nodes"), &names).unwrap();
        let request = json!({"metadata": {"name": name}, "spec": {
            "signerName": "kubernetes.io/kubelet-serving", "usages": ["digital signature", "server auth"],
            "request": STANDARD.encode(made.request_pem),
        }});
        n1.create(CSRS, &request).await;
    };
    let bad = [&["kubernetes.default.svc"][..], &["n1", "10.96.0.1"], &["127.0.0.1"], &["n2"], &["192.0.2.1"]];
    for (i, names) in bad.into_iter().enumerate() {
        ask(&format!("bad-{i}"), names).await;
    }
    let signed = |o: Option<&Value>| o.is_some_and(|o| o["status"]["certificate"].is_string());
    let admin = cluster.admin();
    ask("good", &["n1", "10.1.1.1", "192.0.2.1"]).await;
    let good = admin.until(CSRS, "good", signed).await.expect("signed");
    let pem = STANDARD.decode(good["status"]["certificate"].as_str().unwrap()).unwrap();
    let leaf = pki::Leaf { cert_pem: String::from_utf8(pem).unwrap(), key_pem: String::new() };
    let identity = leaf.identity().unwrap();
    // On the API server's own host a node is known by its name.
    assert_eq!(identity.dns_names, ["n1"]);
    assert_eq!(identity.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.1.1"]);
    for i in 0..bad.len() {
        let status = admin.get(&format!("{CSRS}/bad-{i}")).await.expect(200)["status"].clone();
        assert!(status["certificate"].is_null() && status["conditions"].is_null(), "bad-{i}: {status}");
    }
    // Nor one in another node's name.
    let made = pki::CertificateRequest::new("system:node:n2", Some("system:nodes"), &["n2".into()]).unwrap();
    let request = json!({"metadata": {"name": "other"}, "spec": {
        "signerName": "kubernetes.io/kubelet-serving", "usages": ["digital signature", "server auth"],
        "request": STANDARD.encode(made.request_pem),
    }});
    let message = n1.post(CSRS, &request).await.refused(403, "Forbidden");
    assert!(message.ends_with("can only create a node CSR with CN=system:node:n1"), "{message}");
}

#[tokio::test]
async fn slow_bodies_stop_nobody_else() {
    let cluster = Cluster::start().await;
    let (_slow, bob) = (
        granted(&cluster, "slow", &["create"], "", &["configmaps"]).await,
        granted(&cluster, "bob", &["create"], "", &["configmaps"]).await,
    );
    let leaf = cluster.pki.ca.client("slow", None).unwrap();
    let dialer = net::Dialer::new(net::tls::client(cluster.pki.ca.roots(), Some(&leaf), true).unwrap());
    let mut open = Vec::new();
    for _ in 0..205 {
        let mut stream = dialer.connect("127.0.0.1", cluster.address.port()).await.unwrap();
        let head = format!(
            "POST {MAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        open.push(stream);
    }
    let write = async |caller: &Caller, name: &str| {
        let body = json!({"metadata": {"name": name}});
        let answer = tokio::time::timeout(PATIENCE, caller.post(MAPS, &body)).await;
        assert_eq!(answer.expect("held up by others").code, 201);
    };
    write(&bob, "a").await;
    write(&cluster.admin(), "b").await;
    drop(open);
}

#[tokio::test]
async fn to_read_a_pod_is_not_to_run_in_it() {
    let cluster = Cluster::start().await;
    let parts = ["pods", "pods/exec", "pods/attach", "pods/portforward"];
    let reader = granted(&cluster, "reader", &["get"], "", &parts).await;
    let writer = granted(&cluster, "writer", &["get", "create"], "", &parts).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}});
    cluster
        .admin()
        .create("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .await;
    cluster.admin().create("/api/v1/namespaces/default/pods", &pod).await;
    for part in ["exec", "attach", "portforward"] {
        let path = format!("/api/v1/namespaces/default/pods/p/{part}?command=sh&stdout=true");
        let message = reader.get(&path).await.refused(403, "Forbidden");
        let want = format!(
            r#"pods "p" is forbidden: User "reader" cannot create resource "pods/{part}" in API group "" in the namespace "default""#
        );
        assert_eq!(message, want);
        // Not scheduled, but not refused.
        assert_eq!(writer.get(&path).await.code, 400);
    }
}

#[tokio::test]
async fn put_creates_only_for_creators() {
    let cluster = Cluster::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let group = "coordination.k8s.io";
    let updater = granted(&cluster, "updater", &["get", "update"], group, &["leases"]).await;
    let creator = granted(&cluster, "creator", &["create", "update"], group, &["leases"]).await;
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}});
    let path = format!("{leases}/l");
    let message = updater.put(&path, &lease).await.refused(403, "Forbidden");
    let want = r#"leases.coordination.k8s.io "l" is forbidden: User "updater" cannot create resource "leases" in API group "coordination.k8s.io" in the namespace "default""#;
    assert_eq!(message, want);
    updater.get(&path).await.refused(404, "NotFound");
    let made = creator.put(&path, &lease).await.expect(201);
    updater.put(&path, &made).await.expect(200);
}

#[tokio::test]
async fn nobody_hides_from_the_audit_log() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    // Behind a component's name, with an id that would be a line of its own, and a component that is refused.
    let forged = r#"x","user":{"username":"bob"},"y":"z"#;
    let hidden = admin.with("impersonate-user", "system:kube-scheduler").with("audit-id", forged);
    let answer = hidden.get("/api/v1/pods?hidden").await;
    assert_ne!(answer.headers["audit-id"], forged);
    let scheduler = cluster.user("system:kube-scheduler", &[]);
    scheduler.get("/api/v1/namespaces/default/secrets/s?refused").await.refused(403, "Forbidden");
    let bot = admin.with("impersonate-user", "system:serviceaccount:default:bot");
    bot.get("/api/v1/pods?account").await;
    admin.get("/api/v1/pods?last").await;
    let log = cluster.audit(|line| line.contains("?last")).await;
    let line = |uri: &str| -> Value {
        let found = log.lines().find(|line| line.contains(uri)).unwrap_or_else(|| panic!("{uri} is not in {log}"));
        serde_json::from_str(found).expect("JSON")
    };
    let seen = line("?hidden");
    assert_eq!(
        (&seen["user"]["username"], &seen["impersonatedUser"]["username"]),
        (&json!("admin"), &json!("system:kube-scheduler"))
    );
    assert_eq!(line("?refused")["responseStatus"]["code"], 403);
    assert_eq!(line("?account")["user"]["username"], "admin");
}
