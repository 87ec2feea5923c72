//! Users that a proxy in front of the server vouches for (`--requestheader-…`): who is believed, and what the cluster
//! tells others of it.

use testkit::{Caller, Cluster, Value, json};

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn who(caller: &Caller) -> Value {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    caller.post(WHO, &review).await.expect(201)["status"]["userInfo"].clone()
}

#[tokio::test]
async fn a_front_proxy_speaks_for_users() {
    let cluster = Cluster::start().await;
    let leaf = cluster.pki.front_proxy.client("front-proxy-client", None).unwrap();
    let proxy = cluster.with_certificate(&leaf);
    let jane = proxy
        .with("X-Remote-User", "jane")
        .with("X-Remote-Uid", "u-7")
        .with("X-Remote-Group", "dev")
        .with("X-Remote-Group", "ops")
        .with("X-Remote-Extra-Acme.com%2fproject", "p");
    let user = who(&jane).await;
    assert_eq!(user["username"], "jane");
    assert_eq!(user["uid"], "u-7");
    assert_eq!(user["groups"], json!(["dev", "ops", "system:authenticated"]));
    assert_eq!(user["extra"], json!({"acme.com/project": ["p"]}));
    // The right is the user's, not the proxy's.
    let maps = "/api/v1/namespaces/default/configmaps";
    let text = jane.get(maps).await.refused(403, "Forbidden");
    assert!(text.starts_with("configmaps is forbidden: User \"jane\" cannot list"), "{text}");
    let admin = proxy.with("X-Remote-User", "root").with("X-Remote-Group", "system:masters");
    admin.get(maps).await.expect(200);
    // Impersonation begins from there.
    let other = admin.with("Impersonate-User", "joe");
    assert_eq!(who(&other).await["username"], "joe");
    // Without a name the proxy is nobody, and not anonymous either.
    proxy.get("/version").await.refused(401, "Unauthorized");
    proxy.with("X-Remote-Group", "system:masters").get(maps).await.refused(401, "Unauthorized");
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let cluster = Cluster::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    // A certificate for users, whatever its name.
    let user =
        cluster.user("front-proxy-client", &[]).with("X-Remote-User", "root").with("X-Remote-Group", "system:masters");
    assert_eq!(who(&user).await["username"], "front-proxy-client");
    user.get(maps).await.refused(403, "Forbidden");
    // A certificate of the proxies' authority for another name, and one that would like to be an administrator's.
    for (name, organization) in [("somebody", None), ("admin", Some("system:masters"))] {
        let leaf = cluster.pki.front_proxy.client(name, organization).unwrap();
        let caller = cluster.with_certificate(&leaf);
        caller.get(maps).await.refused(401, "Unauthorized");
        caller.with("X-Remote-User", "root").get(maps).await.refused(401, "Unauthorized");
    }
    // Nobody at all, and a token.
    let anonymous = cluster.anonymous().with("X-Remote-User", "root").with("X-Remote-Group", "system:masters");
    anonymous.get(maps).await.refused(403, "Forbidden");
}

#[tokio::test]
async fn extension_servers_can_read_whom_to_trust() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let map =
        admin.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await.expect(200);
    let data = &map["data"];
    assert_eq!(data["client-ca-file"], cluster.pki.ca.cert_pem());
    assert_eq!(data["requestheader-client-ca-file"], cluster.pki.front_proxy.cert_pem());
    for (key, want) in [
        ("requestheader-allowed-names", r#"["front-proxy-client"]"#),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#),
        ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
        ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
        ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
    ] {
        assert_eq!(data[key], want, "{key}");
    }
    // By the role that everybody binds who runs such a server.
    let role = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings";
    let binding = json!({"metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "extension-apiserver-authentication-reader"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "server"}]});
    admin.create(role, &binding).await;
    let server = cluster.user("server", &[]);
    server.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await.expect(200);
}
