//! The stack through a socket: TLS, identities, every refusal, and the verbs on a built-in kind and a custom one.

use apiserver::{Config, Server};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use net::{Body, Dialer};
use pki::{ClusterPki, Leaf};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch};
use value::{Value, value};

struct Cluster {
    server: Server,
    pki: ClusterPki,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

struct Answer {
    code: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        value::parse_lenient(self.text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
    #[track_caller]
    fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        self.json()
    }
}

/// Who calls.
#[derive(Clone)]
enum Who {
    Nobody,
    Cert(Leaf),
    Token(String),
}

async fn start() -> Cluster {
    let pki = ClusterPki::ephemeral().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config {
        cluster: schema::ClusterConfig::default(),
        pki: pki.clone(),
        advertise: address,
        request_headers: None,
        names: Vec::new(),
        access: apiserver::Access::default(),
        clock: Arc::new(base::clock::System),
        keys: apiserver::Keys::default(),
    };
    let server = Server::open(store::Memory::new(), kinds::builtin(), config).await.unwrap();
    server.ensure_bootstrap().await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener, stopped, Duration::from_secs(1)).await.unwrap() });
    Cluster { server, pki, address, _stop: stop }
}

impl Cluster {
    fn admin(&self) -> Who {
        Who::Cert(self.pki.ca.client("admin", Some("system:masters")).unwrap())
    }
    fn user(&self, name: &str) -> Who {
        Who::Cert(self.pki.ca.client(name, None).unwrap())
    }
    async fn send(
        &self,
        who: &Who,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (code, headers, bytes) = self.send_raw(who, method, path, headers, body.into()).await;
        Answer { code, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }
    async fn send_raw(
        &self,
        who: &Who,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> (u16, HeaderMap, Bytes) {
        let leaf = if let Who::Cert(leaf) = who { Some(leaf) } else { None };
        let dialer = Dialer::new(net::tls::client(self.pki.ca.roots(), leaf, true).unwrap());
        let mut request = Request::builder().method(method).uri(path).header("host", "x");
        if let Who::Token(token) = who {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, text) in headers {
            request = request.header(*name, *text);
        }
        let request = request.body(Body::Full(body)).unwrap();
        let response = dialer.request("127.0.0.1", self.address.port(), request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
    }
    /// A response whose body goes on.
    async fn open(&self, who: &Who, path: &str) -> hyper::body::Incoming {
        let leaf = if let Who::Cert(leaf) = who { Some(leaf) } else { None };
        let dialer = Dialer::new(net::tls::client(self.pki.ca.roots(), leaf, true).unwrap());
        let request = Request::get(path).header("host", "x").body(Body::Empty).unwrap();
        dialer.request("127.0.0.1", self.address.port(), request).await.unwrap().into_body()
    }
    async fn get(&self, who: &Who, path: &str) -> Answer {
        self.send(who, Method::GET, path, &[], "").await
    }
    async fn post(&self, who: &Who, path: &str, body: Value) -> Answer {
        self.send(who, Method::POST, path, &[("content-type", "application/json")], body.to_json()).await
    }
}

fn config_map(name: &str) -> Value {
    value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_lives_and_dies() {
    let cluster = start().await;
    let admin = cluster.admin();
    let made = cluster.post(&admin, MAPS, config_map("c")).await.expect(201);
    assert_eq!(made.str_at(&["metadata", "namespace"]), "default");
    let got = cluster.get(&admin, &format!("{MAPS}/c")).await;
    assert_eq!(got.headers["content-type"], "application/json");
    assert!(got.headers.contains_key("audit-id"));
    assert_eq!(got.expect(200), made);
    let list = cluster.get(&admin, MAPS).await.expect(200);
    assert_eq!(list.str_at(&["kind"]), "ConfigMapList");
    // The list has told their type.
    let mut item = made.clone();
    for said in ["apiVersion", "kind"] {
        item.remove(&[said]);
    }
    assert_eq!(list.items_at(&["items"]), [item]);
    let again = cluster.post(&admin, MAPS, config_map("c")).await.expect(409);
    assert_eq!(again.str_at(&["message"]), r#"configmaps "c" already exists"#);

    let merge = [("content-type", "application/merge-patch+json")];
    let patched =
        cluster.send(&admin, Method::PATCH, &format!("{MAPS}/c"), &merge, r#"{"data":{"b":"2"}}"#).await.expect(200);
    assert_eq!(patched.at(&["data"]).to_string(), r#"{"a":"1","b":"2"}"#);
    let stale = cluster.send(&admin, Method::PUT, &format!("{MAPS}/c"), &[], made.to_json()).await.expect(409);
    assert!(stale.str_at(&["message"]).contains("the object has been modified"));
    let yaml = cluster.send(&admin, Method::GET, &format!("{MAPS}/c"), &[("accept", "application/yaml")], "").await;
    assert!(yaml.text.contains("kind: ConfigMap"), "{}", yaml.text);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let table = cluster.send(&admin, Method::GET, MAPS, &table, "").await.expect(200);
    assert_eq!((table.str_at(&["kind"]), table.items_at(&["rows"]).len()), ("Table", 1));

    let gone = cluster.send(&admin, Method::DELETE, &format!("{MAPS}/c"), &[], "").await.expect(200);
    assert_eq!(gone.str_at(&["status"]), "Success");
    let missing = cluster.get(&admin, &format!("{MAPS}/c")).await.expect(404);
    assert_eq!(missing.str_at(&["message"]), r#"configmaps "c" not found"#);
}

#[tokio::test]
async fn protobuf_is_spoken() {
    let cluster = start().await;
    let admin = cluster.admin();
    let protobuf = "application/vnd.kubernetes.protobuf";
    let headers = [("content-type", protobuf), ("accept", protobuf)];
    let body = wire::protobuf::encode(&config_map("p"));
    let made = cluster.send_raw(&admin, Method::POST, MAPS, &headers, body).await;
    assert_eq!((made.0, made.1["content-type"].to_str().unwrap()), (201, protobuf));
    let value = wire::protobuf::decode(&made.2).unwrap();
    assert_eq!((value.str_at(&["kind"]), value.name(), value.namespace()), ("ConfigMap", "p", "default"));
    assert_eq!(value.str_at(&["data", "a"]), "1");
    let list = cluster.send_raw(&admin, Method::GET, MAPS, &headers[1..], Bytes::new()).await;
    let list = wire::protobuf::decode(&list.2).unwrap();
    assert_eq!((list.str_at(&["kind"]), list.items_at(&["items"]).len()), ("ConfigMapList", 1));
    let watch = format!("{MAPS}?watch=1&timeoutSeconds=1");
    let watch = cluster.send_raw(&admin, Method::GET, &watch, &headers[1..], Bytes::new()).await;
    assert_eq!(watch.1["content-type"].to_str().unwrap(), wire::protobuf::STREAM_TYPE);
    let length = u32::from_be_bytes(watch.2[..4].try_into().unwrap()) as usize;
    assert_eq!(watch.2.len(), length + 4);
}

/// Failures, metadata, Tables, options and custom resources for a client that speaks protobuf.
#[tokio::test]
async fn protobuf_where_there_is_some() {
    let cluster = start().await;
    let admin = cluster.admin();
    let (protobuf, json) = ("application/vnd.kubernetes.protobuf", "application/json");
    let decode = wire::protobuf::decode;
    let send = async |method: Method, path: &str, accept: &str, body: Bytes| {
        let headers = [("content-type", protobuf), ("accept", accept)];
        let (code, headers, body) = cluster.send_raw(&admin, method, path, &headers, body).await;
        (code, headers["content-type"].to_str().unwrap().to_string(), body)
    };
    cluster.post(&admin, MAPS, config_map("c")).await.expect(201);

    let (code, content_type, body) = send(Method::GET, &format!("{MAPS}/none"), protobuf, Bytes::new()).await;
    let status = decode(&body).unwrap();
    assert_eq!((code, &*content_type, status.str_at(&["reason"])), (404, protobuf, "NotFound"));
    assert_eq!(status.str_at(&["details", "name"]), "none");

    let metadata = format!("{protobuf};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let (_, content_type, body) = send(Method::GET, MAPS, &metadata, Bytes::new()).await;
    let opened = wire::protobuf::open(&body).unwrap();
    assert_eq!((&*content_type, &*opened.kind), (protobuf, "PartialObjectMetadataList"));
    let watched = send(Method::GET, &format!("{MAPS}?watch=1&timeoutSeconds=1"), &metadata, Bytes::new()).await;
    let frame = String::from_utf8_lossy(&watched.2[4..]);
    assert!(frame.contains("PartialObjectMetadata") && !frame.contains("ConfigMap"), "{frame:?}");

    let table = format!("{protobuf};as=Table;g=meta.k8s.io;v=v1,{json};as=Table;g=meta.k8s.io;v=v1");
    let (_, content_type, body) = send(Method::GET, MAPS, &table, Bytes::new()).await;
    assert_eq!(content_type, json);
    assert_eq!(value::parse_lenient(&body).unwrap().str_at(&["kind"]), "Table");

    let review = value!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let (code, _, body) = send(Method::POST, path, protobuf, wire::protobuf::encode(&review)).await;
    assert_eq!((code, decode(&body).unwrap().at(&["status", "allowed"])), (201, &true.into()));

    let options = value!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let options = wire::protobuf::encode(&options);
    let (code, ..) = send(Method::DELETE, &format!("{MAPS}/c"), protobuf, options).await;
    assert_eq!(code, 409);

    let swagger = wire::swagger::MEDIA_TYPES[0];
    let (code, _, body) = send(Method::GET, "/openapi/v2", swagger, Bytes::new()).await;
    assert!(code == 200 && body.starts_with(b"\x0a\x032.0"), "{code}");

    let crd = value!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tabs.x.io"}, "spec": {"group": "x.io", "scope": "Cluster",
        "names": {"plural": "tabs", "singular": "tab", "kind": "Tab", "listKind": "TabList"}, "versions": [{"name": "v1",
        "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (code, ..) = send(Method::POST, definitions, protobuf, wire::protobuf::encode(&crd)).await;
    assert_eq!(code, 201);
    let tabs = "/apis/x.io/v1/tabs";
    while cluster.get(&admin, tabs).await.code == 404 {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(Method::GET, tabs, protobuf, Bytes::new()).await.0, 406);
    let (code, content_type, _) = send(Method::GET, tabs, &format!("{protobuf},{json}"), Bytes::new()).await;
    assert_eq!((code, &*content_type), (200, json));
    let (code, content_type, _) = send(Method::GET, tabs, &metadata, Bytes::new()).await;
    assert_eq!((code, &*content_type), (200, protobuf));
    let body = wire::protobuf::encode(&value!({"apiVersion": "x.io/v1", "kind": "Tab", "metadata": {"name": "t"}}));
    assert_eq!(send(Method::POST, tabs, json, body).await.0, 415);
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let cluster = start().await;
    for (who, path, code, message) in [
        (Who::Token("rubbish".into()), "/api/v1/pods", 401, "Unauthorized"),
        (
            Who::Nobody,
            "/api/v1/namespaces/default/pods",
            403,
            r#"pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            cluster.user("alice"),
            "/api/v1/nodes/n",
            403,
            r#"nodes "n" is forbidden: User "alice" cannot get resource "nodes" in API group "" at the cluster scope"#,
        ),
        (Who::Nobody, "/metrics", 403, r#"forbidden: User "system:anonymous" cannot get path "/metrics""#),
    ] {
        let status = cluster.get(&who, path).await.expect(code);
        assert_eq!((status.str_at(&["kind"]), status.str_at(&["message"])), ("Status", message));
    }
    for path in ["/livez", "/readyz", "/version"] {
        assert_eq!(cluster.get(&Who::Nobody, path).await.code, 200, "{path}");
    }
    assert_eq!(cluster.get(&cluster.user("alice"), "/apis").await.code, 200);
}

#[tokio::test]
async fn a_right_that_was_granted_counts_in_the_next_request() {
    let cluster = start().await;
    let (admin, alice) = (cluster.admin(), cluster.user("alice"));
    let pods = "/api/v1/namespaces/default/pods";
    for round in 0..20 {
        assert_eq!(cluster.get(&alice, pods).await.code, 403, "round {round}");
        let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
        let binding = value!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
        });
        cluster.post(&admin, bindings, binding).await.expect(201);
        assert_eq!(cluster.get(&alice, pods).await.code, 200);
        cluster.send(&admin, Method::DELETE, &format!("{bindings}/b"), &[], "").await.expect(200);
        while cluster.get(&alice, pods).await.code == 200 {
            tokio::task::yield_now().await;
        }
    }
    let escalate = value!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "up"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    });
    let may_bind = value!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "binder"},
        "rules": [{"verbs": ["create"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterrolebindings"]}],
    });
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    cluster.post(&admin, &format!("{roles}/clusterroles"), may_bind).await.expect(201);
    let mut bind_bob = escalate.clone();
    bind_bob.set(&["metadata", "name"], "bob");
    bind_bob.set(&["roleRef", "name"], "binder");
    cluster.post(&admin, &format!("{roles}/clusterrolebindings"), bind_bob).await.expect(201);
    let refused =
        cluster.post(&cluster.user("bob"), &format!("{roles}/clusterrolebindings"), escalate).await.expect(403);
    assert!(
        refused.str_at(&["message"]).contains("attempting to grant RBAC permissions not currently held"),
        "{refused}"
    );
}

#[tokio::test]
async fn bad_input_gets_upstreams_answers() {
    let cluster = start().await;
    let admin = cluster.admin();
    let json = [("content-type", "application/json")];
    let big = vec![b' '; 3 * 1024 * 1024 + 1];
    let post = Method::POST;
    for (method, path, headers, body, code, reason) in [
        (Method::GET, "/api/v1/foos".to_string(), &[][..], Bytes::new(), 404, "NotFound"),
        (Method::GET, "/apis/foo.io/v1/bars".into(), &[], Bytes::new(), 404, "NotFound"),
        (Method::GET, "/apis/apps/v9".into(), &[], Bytes::new(), 404, "NotFound"),
        (Method::GET, "/api/v1/pods/p".into(), &[], Bytes::new(), 404, "NotFound"),
        (Method::GET, "/api/v1/namespaces/default/nodes".into(), &[], Bytes::new(), 404, "NotFound"),
        (post.clone(), "/api/v1/configmaps".into(), &json, Bytes::from("{}"), 405, "MethodNotAllowed"),
        (Method::PUT, MAPS.into(), &json, Bytes::from("{}"), 405, "MethodNotAllowed"),
        (post.clone(), MAPS.into(), &json, Bytes::from("{"), 400, "BadRequest"),
        (post.clone(), MAPS.into(), &json, Bytes::new(), 400, "BadRequest"),
        (post.clone(), MAPS.into(), &json, Bytes::from(big), 413, "RequestEntityTooLarge"),
        (post.clone(), MAPS.into(), &[("content-type", "text/plain")], Bytes::from("{}"), 415, "UnsupportedMediaType"),
        (
            post.clone(),
            MAPS.into(),
            &[("content-type", "application/cbor")],
            Bytes::from("k8s"),
            415,
            "UnsupportedMediaType",
        ),
        (
            post.clone(),
            MAPS.into(),
            &[("content-type", "application/vnd.kubernetes.protobuf")],
            Bytes::from("k8s"),
            400,
            "BadRequest",
        ),
        (Method::GET, MAPS.into(), &[("accept", "application/cbor")], Bytes::new(), 406, "NotAcceptable"),
        (Method::PATCH, format!("{MAPS}/c"), &json, Bytes::from("{}"), 415, "UnsupportedMediaType"),
        (Method::GET, format!("{MAPS}?limit=x"), &[], Bytes::new(), 400, "BadRequest"),
        (Method::GET, format!("{MAPS}?fieldSelector=spec.foo%3D1"), &[], Bytes::new(), 400, "BadRequest"),
        (Method::GET, format!("{MAPS}?resourceVersionMatch=Foo&resourceVersion=1"), &[], Bytes::new(), 422, "Invalid"),
        (post.clone(), format!("{MAPS}?dryRun=Some"), &json, config_map("x").to_json().into(), 422, "Invalid"),
        (post.clone(), MAPS.into(), &json, config_map("Bad_Name").to_json().into(), 422, "Invalid"),
        (
            post.clone(),
            "/api/v1/namespaces/none/configmaps".into(),
            &json,
            config_map("x").to_json().into(),
            404,
            "NotFound",
        ),
        (
            post.clone(),
            format!("{MAPS}?fieldValidation=Strict"),
            &json,
            Bytes::from(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"foo":1}"#),
            400,
            "BadRequest",
        ),
        (
            post,
            MAPS.into(),
            &json,
            Bytes::from(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":1}}"#),
            400,
            "BadRequest",
        ),
        (Method::DELETE, "/api/v1/namespaces/default".into(), &[], Bytes::new(), 403, "Forbidden"),
    ] {
        let answer = cluster.send(&admin, method.clone(), &path, headers, body).await;
        let status = answer.json();
        assert_eq!((answer.code, status.str_at(&["reason"])), (code, reason), "{method} {path}: {status}");
    }
    let warned = Bytes::from(
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"w"},"foo":1,"data":{"a":"1","a":"2"}}"#,
    );
    let answer = cluster.send(&admin, Method::POST, MAPS, &json, warned).await;
    let warnings: Vec<_> = answer.headers.get_all("warning").iter().map(|v| v.to_str().unwrap().to_string()).collect();
    assert_eq!(warnings, [r#"299 - "unknown field \"foo\"""#, r#"299 - "duplicate field \"data.a\"""#]);
    assert_eq!(answer.code, 201);
}

#[tokio::test]
async fn a_watch_streams_and_ends() {
    let cluster = start().await;
    let admin = cluster.admin();
    cluster.post(&admin, MAPS, config_map("first")).await.expect(201);
    let path =
        format!("{MAPS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan");
    let mut body = cluster.open(&admin, &path).await;
    let mut text = String::new();
    let mut read_until = async |word: &str| {
        while !text.contains(word) {
            let frame = body.frame().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        text.clone()
    };
    read_until("BOOKMARK").await;
    cluster.post(&admin, MAPS, config_map("second")).await.expect(201);
    cluster.send(&admin, Method::DELETE, &format!("{MAPS}/second"), &[], "").await.expect(200);
    let events: Vec<String> = read_until("DELETED")
        .await
        .lines()
        .map(|line| value::parse_lenient(line.as_bytes()).unwrap())
        .map(|event| format!("{} {}", event.str_at(&["type"]), event.at(&["object"]).name()))
        .collect();
    assert_eq!(events, ["ADDED first", "BOOKMARK ", "ADDED second", "DELETED second"]);
    let short = cluster.get(&admin, &format!("{MAPS}?watch=true&resourceVersion=0&timeoutSeconds=1")).await;
    assert_eq!((short.code, short.text.lines().count()), (200, 1));
}

#[tokio::test]
async fn service_account_tokens_are_issued_and_taken() {
    let cluster = start().await;
    let admin = cluster.admin();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = value!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    cluster.post(&admin, accounts, account).await.expect(201);
    let issued = cluster
        .post(&admin, &format!("{accounts}/bot/token"), value!({"spec": {"expirationSeconds": 600}}))
        .await
        .expect(201);
    let bot = Who::Token(issued.str_at(&["status", "token"]).into());
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = value!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let me = cluster.post(&bot, whoami, review).await.expect(201);
    assert_eq!(me.str_at(&["status", "userInfo", "username"]), "system:serviceaccount:default:bot");
    let may = value!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    let may = cluster.post(&bot, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", may).await.expect(201);
    assert_eq!(may.at(&["status", "allowed"]).as_bool(), Some(false));
    cluster.send(&admin, Method::DELETE, &format!("{accounts}/bot"), &[], "").await.expect(200);
    assert_eq!(cluster.get(&bot, "/apis").await.code, 401);
    let impersonated = [("impersonate-user", "carol"), ("impersonate-group", "dev")];
    let review = value!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let me = cluster.send(&admin, Method::POST, whoami, &impersonated, review.to_json()).await.expect(201);
    assert_eq!(me.at(&["status", "userInfo", "groups"]).to_string(), r#"["dev","system:authenticated"]"#);
    assert_eq!(cluster.send(&cluster.user("eve"), Method::GET, "/apis", &impersonated, "").await.code, 403);
}

#[tokio::test]
async fn callers_in_the_process_share_objects() {
    use value::shared::{InProcess, SharedEventKind, SharedList, SharedObject, SharedWatch};
    let cluster = start().await;
    let call = |user: base::User, path: &str| {
        let mut request = Request::get(path).body(http_body_util::Full::new(Bytes::new())).unwrap();
        request.extensions_mut().insert(InProcess { user: Arc::new(user), shared: true });
        cluster.server.call(request)
    };
    let scheduler = base::User::component("system:kube-scheduler");
    let list = call(scheduler.clone(), "/api/v1/namespaces").await;
    let shared = list.extensions().get::<SharedList>().unwrap();
    assert_eq!(shared.items.len(), 4);
    let one = call(base::User::master("m"), "/api/v1/namespaces/default").await;
    assert!(Arc::ptr_eq(&one.extensions().get::<SharedObject>().unwrap().0, &shared.items[0]));
    assert_eq!(call(scheduler.clone(), "/api/v1/secrets").await.status(), 403);
    let watch =
        "/api/v1/namespaces?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let response = call(scheduler, watch).await;
    let mut source = response.extensions().get::<SharedWatch>().unwrap().take().unwrap();
    let mut events = Vec::new();
    assert!(source.next(&mut events).await.unwrap());
    assert_eq!(events.len(), 5);
    assert_eq!(events[4].kind, SharedEventKind::InitialEventsEnd);
    // The identity counts only in the process: no header of a socket can say it.
    assert_eq!(cluster.get(&Who::Nobody, "/api/v1/namespaces").await.code, 403);
}

#[tokio::test]
async fn discovery_follows_the_catalog() {
    let cluster = start().await;
    let admin = cluster.admin();
    let apis = cluster.get(&admin, "/apis/").await;
    let etag = apis.headers["etag"].to_str().unwrap().to_string();
    assert!(apis.text.contains("rbac.authorization.k8s.io"));
    assert_eq!(cluster.send(&admin, Method::GET, "/apis", &[("if-none-match", &etag)], "").await.code, 304);
    let crd = value!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gizmos.shop.io"},
        "spec": {"group": "shop.io", "scope": "Namespaced", "names": {"plural": "gizmos", "singular": "gizmo", "kind": "Gizmo", "listKind": "GizmoList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}}}}}}]},
    });
    cluster.post(&admin, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd).await.expect(201);
    let gizmos = "/apis/shop.io/v1/namespaces/default/gizmos";
    let gizmo = value!({"apiVersion": "shop.io/v1", "kind": "Gizmo", "metadata": {"name": "g"}, "spec": {}});
    for _ in 0..100 {
        if cluster.get(&admin, gizmos).await.code == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let made = cluster.post(&admin, gizmos, gizmo).await.expect(201);
    assert_eq!(made.at(&["spec", "size"]).as_i64(), Some(3));
    assert!(cluster.get(&admin, "/apis").await.text.contains("shop.io"));
    assert!(cluster.get(&admin, "/apis/shop.io/v1").await.text.contains("gizmos"));
}

#[tokio::test]
async fn a_bootstrap_token_asks_for_a_certificate_and_no_more() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let cluster = start().await;
    let admin = cluster.admin();
    let token = auth::bootstrap_token::generate();
    let secret = auth::bootstrap_token::secret(&token, "join", None).unwrap();
    cluster.post(&admin, "/api/v1/namespaces/kube-system/secrets", secret).await.expect(201);
    let joining = Who::Token(token);
    let own = pki::CertificateRequest::new("system:node:n1", Some("system:nodes"), &[]).unwrap();
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let body = value!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "n1"},
        "spec": {"request": STANDARD.encode(&own.request_pem), "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["digital signature", "client auth"]}});
    let made = cluster.post(&joining, requests, body).await.expect(201);
    assert!(made.str_at(&["spec", "username"]).starts_with("system:bootstrap:"), "{made}");
    assert_eq!(cluster.get(&joining, "/api/v1/pods").await.code, 403);
    // Nobody but a signer writes the certificate, and nobody but an approver approves.
    let mut approved = made.clone();
    approved.set(&["status", "conditions"], value!([{"type": "Approved", "status": "True", "reason": "Me"}]));
    let path = format!("{requests}/n1/approval");
    assert_eq!(cluster.send(&joining, Method::PUT, &path, &[], approved.to_json()).await.code, 403);
    cluster.send(&admin, Method::PUT, &path, &[], approved.to_json()).await.expect(200);
}

#[tokio::test]
async fn roles_that_gather_others_grow_with_them() {
    let cluster = start().await;
    let admin = cluster.admin();
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = value!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "gizmos", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"verbs": ["get"], "apiGroups": ["shop.io"], "resources": ["gizmos"]}],
    });
    cluster.post(&admin, roles, role).await.expect(201);
    let gathered = async {
        // view is in edit, and edit in admin.
        while !cluster.get(&admin, &format!("{roles}/admin")).await.text.contains("gizmos") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gathered).await.expect("the rule reaches admin");
}
