//! Streams to containers, against a node's endpoint that this test plays: who calls it, what it is asked, and that bytes
//! pass both ways.

use apiserver::{Config, Server};
use base64::Engine;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use net::{Body, CertificateSlot, Dialer, Handler, Peer, tls, websocket};
use pki::ClusterPki;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};
use value::{Value, value};

/// Answers every request with who called and what for; speaks WebSocket on `/exec/`, and whatever is asked for on
/// `/attach/`.
#[derive(Clone)]
struct Kubelet;

impl Handler for Kubelet {
    type Connection = Arc<str>;
    fn connected(&self, peer: Peer) -> Arc<str> {
        peer.identity.map_or("nobody".into(), |id| id.common_name.as_str().into())
    }
    async fn handle(&self, who: &Arc<str>, mut request: Request<Incoming>) -> Response<Body> {
        let line = format!("{who} {} {}", request.method(), request.uri());
        if request.uri().path().starts_with("/attach/") {
            return echo(request, line);
        }
        if !request.uri().path().starts_with("/exec/") {
            return Response::new(line.into());
        }
        let (response, pending) = websocket::accept(&mut request, &["v5.channel.k8s.io"]).unwrap();
        let authorized = request.headers().contains_key("authorization");
        tokio::spawn(async move {
            let mut socket = pending.ready().await.unwrap();
            socket.send(websocket::Message::text(format!("{line} {authorized}"))).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                socket.send(message).await.unwrap();
            }
        });
        response
    }
}

/// Switches to the protocol that the client names, and says what it hears.
fn echo(mut request: Request<Incoming>, line: String) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let (mut from, mut to) = tokio::io::split(stream);
        tokio::io::copy(&mut from, &mut to).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    for name in ["connection", "upgrade", "x-stream-protocol-version"] {
        let own = request.headers().get_all(name).iter().next_back().unwrap().clone();
        response.headers_mut().insert(name, own);
    }
    response
}

struct Cluster {
    pki: ClusterPki,
    address: SocketAddr,
    token: String,
    _stop: watch::Sender<bool>,
}

async fn start() -> Cluster {
    let pki = ClusterPki::ephemeral().unwrap();
    let (stop, stopped) = watch::channel(false);
    let leaf = pki.ca.server("system:node:n1", &["127.0.0.1".into()]).unwrap();
    let kubelet = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = kubelet.local_addr().unwrap().port();
    let config = tls::server(CertificateSlot::new(&leaf).unwrap(), pki.ca.roots()).unwrap();
    tokio::spawn(net::serve(kubelet, config, Kubelet, stopped.clone(), Duration::ZERO));

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
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener, stopped, Duration::ZERO).await.unwrap() });

    let mut cluster = Cluster { pki, address, token: String::new(), _stop: stop };
    let namespace = "/api/v1/namespaces/default";
    for name in ["default", "admin"] {
        let account = value!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        cluster.post(&format!("{namespace}/serviceaccounts"), account).await;
    }
    let binding = value!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "admin"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "admin", "namespace": "default"}],
    });
    cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    let token = cluster.post(&format!("{namespace}/serviceaccounts/admin/token"), value!({})).await;
    cluster.token = token.str_at(&["status", "token"]).into();
    let node = value!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    cluster.post("/api/v1/nodes", node).await;
    for (name, node, containers) in [
        ("web", "n1", value!([{"name": "c", "image": "i"}])),
        ("two", "n1", value!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}])),
        ("new", "", value!([{"name": "c", "image": "i"}])),
    ] {
        let mut pod = value!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {}});
        pod.set(&["spec", "containers"], containers);
        if !node.is_empty() {
            pod.set(&["spec", "nodeName"], node);
        }
        cluster.post(&format!("{namespace}/pods"), pod).await;
    }
    cluster
}

impl Cluster {
    fn dialer(&self, leaf: Option<&pki::Leaf>) -> Dialer {
        Dialer::new(tls::client(self.pki.ca.roots(), leaf, true).unwrap())
    }
    async fn post(&self, path: &str, body: Value) -> Value {
        let (code, text) = self.send(Method::POST, path, body.to_json()).await;
        assert_eq!(code, 201, "{text}");
        value::parse_lenient(text.as_bytes()).unwrap()
    }
    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> (u16, String) {
        let admin = self.pki.ca.client("admin", Some("system:masters")).unwrap();
        let request =
            Request::builder().method(method).uri(path).header("host", "x").body(Body::Full(Bytes::from(body)));
        let response =
            self.dialer(Some(&admin)).request("127.0.0.1", self.address.port(), request.unwrap()).await.unwrap();
        let code = response.status().as_u16();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8_lossy(&text).into_owned())
    }
}

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn logs_come_from_the_node() {
    let cluster = start().await;
    let own = "kube-apiserver-kubelet-client GET";
    for (path, code, want) in [
        ("web/log", 200, format!("{own} /containerLogs/default/web/c")),
        (
            "web/log?container=c&tailLines=5&follow=true&x=y",
            200,
            format!("{own} /containerLogs/default/web/c?tailLines=5&follow=true"),
        ),
        ("two/log?container=b", 200, format!("{own} /containerLogs/default/two/b")),
        ("two/log", 400, "a container name must be specified for pod two, choose one of: [a b]".into()),
        ("two/log?container=z", 400, "container z is not valid for pod two".into()),
        ("new/log", 204, String::new()),
        ("none/log", 404, r#"pods \"none\" not found"#.into()),
        ("web/log?tailLines=-1", 422, "must be greater than or equal to 0".into()),
    ] {
        let (got, text) = cluster.send(Method::GET, &format!("{PODS}/{path}"), Vec::new()).await;
        assert_eq!(got, code, "{path}: {text}");
        assert!(text.contains(&want), "{path}: {text}");
    }
    let (code, text) = cluster.send(Method::GET, "/api/v1/nodes/n1/proxy/stats/summary?only=cpu", Vec::new()).await;
    assert_eq!((code, text), (200, format!("{own} /stats/summary?only=cpu")));
}

#[tokio::test]
async fn exec_passes_bytes_both_ways_without_the_callers_token() {
    let cluster = start().await;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", cluster.token).parse().unwrap());
    let path = format!("wss://x{PODS}/web/exec?command=sh&command=-c&command=a%20b&stdin=true&stdout=true");
    let stream = cluster.dialer(None).connect("127.0.0.1", cluster.address.port()).await.unwrap();
    let protocols = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
    let (mut socket, chosen) = websocket::connect(stream, &path, &protocols, headers.clone()).await.unwrap();
    assert_eq!(chosen, "v5.channel.k8s.io");
    let first = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert_eq!(
        first.as_str(),
        "kube-apiserver-kubelet-client GET /exec/default/web/c?input=1&output=1&command=sh&command=-c&command=a%20b false"
    );
    for size in [1, 70_000, 500_000] {
        let message = websocket::Message::binary(vec![7; size]);
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    for (path, code) in [("web/exec?stdout=1", 400), ("web/exec?command=x", 400), ("web/exec?command=x&stdout=1", 400)]
    {
        assert_eq!(cluster.send(Method::GET, &format!("{PODS}/{path}"), Vec::new()).await.0, code, "{path}");
    }
    // As a browser shows its token: nobody but the API server sees it.
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&cluster.token);
    let hidden = format!("base64url.bearer.authorization.k8s.io.{token}");
    let stream = cluster.dialer(None).connect("127.0.0.1", cluster.address.port()).await.unwrap();
    let (_, chosen) = websocket::connect(stream, &path, &[&hidden, protocols[0]], HeaderMap::new()).await.unwrap();
    assert_eq!(chosen, protocols[0]);
    let stream = cluster.dialer(None).connect("127.0.0.1", cluster.address.port()).await.unwrap();
    assert!(websocket::connect(stream, &path, &[&hidden], HeaderMap::new()).await.is_err());

    headers.insert("authorization", "Bearer x".parse().unwrap());
    let stream = cluster.dialer(None).connect("127.0.0.1", cluster.address.port()).await.unwrap();
    assert!(websocket::connect(stream, &path, &protocols, headers).await.is_err());
}

#[tokio::test]
async fn logs_over_a_websocket() {
    let cluster = start().await;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", cluster.token).parse().unwrap());
    let line = "kube-apiserver-kubelet-client GET /containerLogs/default/web/c?tailLines=5";
    let path = format!("wss://x{PODS}/web/log?tailLines=5");
    for (offered, chosen) in [
        (vec!["binary.k8s.io"], "binary.k8s.io"),
        (vec!["other", "base64.binary.k8s.io"], "base64.binary.k8s.io"),
        (vec![], ""),
    ] {
        let stream = cluster.dialer(None).connect("127.0.0.1", cluster.address.port()).await.unwrap();
        let (mut socket, got) = websocket::connect(stream, &path, &offered, headers.clone()).await.unwrap();
        assert_eq!(got, chosen);
        // The first message is empty; then it is bytes, or text in base64.
        assert!(socket.next().await.unwrap().unwrap().is_empty());
        let mut heard = Vec::new();
        loop {
            match socket.next().await.unwrap().unwrap() {
                websocket::Message::Binary(bytes) if !chosen.starts_with("base64") => heard.extend(bytes),
                websocket::Message::Text(text) if chosen.starts_with("base64") => {
                    heard.extend(base64::engine::general_purpose::STANDARD.decode(text.as_str()).unwrap());
                }
                websocket::Message::Close(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(String::from_utf8(heard).unwrap(), line);
    }
    for (path, offered) in [("web/log", vec!["v4.channel.k8s.io"]), ("none/log", vec!["binary.k8s.io"])] {
        let stream = cluster.dialer(None).connect("127.0.0.1", cluster.address.port()).await.unwrap();
        let path = format!("wss://x{PODS}/{path}");
        assert!(websocket::connect(stream, &path, &offered, headers.clone()).await.is_err());
    }
}

#[tokio::test]
async fn a_watch_over_a_websocket_is_a_message_per_event() {
    let cluster = start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b"] {
        cluster.post(maps, value!({"metadata": {"name": name}})).await;
    }
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", cluster.token).parse().unwrap());
    let path = format!("wss://x{maps}?watch=1&fieldSelector=metadata.name%3Da");
    let stream = cluster.dialer(None).connect("127.0.0.1", cluster.address.port()).await.unwrap();
    let (mut socket, _) = websocket::connect(stream, &path, &[], headers.clone()).await.unwrap();
    let event = |message: websocket::Message| value::parse_lenient(message.into_text().unwrap().as_bytes()).unwrap();
    let first = event(socket.next().await.unwrap().unwrap());
    assert_eq!((first.str_at(&["type"]), first.at(&["object"]).name()), ("ADDED", "a"));
    let (code, _) = cluster.send(Method::DELETE, &format!("{maps}/a"), Vec::new()).await;
    assert_eq!(code, 200);
    cluster.post(maps, value!({"metadata": {"name": "a"}})).await;
    for want in ["DELETED", "ADDED"] {
        assert_eq!(event(socket.next().await.unwrap().unwrap()).str_at(&["type"]), want);
    }
    headers.insert("accept", "application/vnd.kubernetes.protobuf;stream=watch".parse().unwrap());
    let stream = cluster.dialer(None).connect("127.0.0.1", cluster.address.port()).await.unwrap();
    let (mut socket, _) = websocket::connect(stream, &path, &[], headers).await.unwrap();
    let websocket::Message::Binary(bytes) = socket.next().await.unwrap().unwrap() else { panic!("no bytes") };
    // A WatchEvent without a length before it: its first field is the type.
    assert_eq!(&bytes[..7], b"\x0a\x05ADDED");
}

#[tokio::test]
async fn spdy_passes_through() {
    let cluster = start().await;
    let request = Request::post(format!("{PODS}/web/attach?stdin=true&stdout=true"))
        .header("host", "x")
        .header("authorization", format!("Bearer {}", cluster.token))
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .header("x-stream-protocol-version", "v4.channel.k8s.io")
        .body(Body::Empty);
    let dialer = cluster.dialer(None);
    let response = dialer.request("127.0.0.1", cluster.address.port(), request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "SPDY/3.1");
    assert_eq!(response.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let sent = vec![0x80; 100_000];
    let (mut from, mut to) = tokio::io::split(&mut stream);
    let mut heard = Vec::new();
    let write = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    tokio::join!(write, async { from.read_to_end(&mut heard).await.unwrap() });
    let line = "kube-apiserver-kubelet-client POST /attach/default/web/c?input=1&output=1\n";
    assert_eq!(std::str::from_utf8(&heard[..line.len()]).unwrap(), line);
    assert_eq!(&heard[line.len()..], sent);
}
