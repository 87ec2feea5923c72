//! The node's HTTPS endpoint as the API server calls it.

use super::*;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use net::{Body, Dialer, websocket::Message};
use pki::{Authority, Leaf};

struct Access {
    ca: Authority,
    port: u16,
}

fn served() -> (TestNode, Access) {
    let ca = Authority::new("test-ca").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = ca.server("system:node:n1", &["127.0.0.1".to_string()]).unwrap();
    let endpoint = kubelet::Endpoint {
        listener: Arc::new(listener),
        certificate: net::CertificateSlot::new(&serving).unwrap(),
        client_ca: ca.cert_pem().to_string(),
    };
    (TestNode::start_with(Some(endpoint)), Access { ca, port })
}

impl Access {
    fn dialer(&self, leaf: Option<&Leaf>) -> Dialer {
        Dialer::new(net::tls::client(self.ca.roots(), leaf, true).unwrap())
    }
    fn server(&self) -> Dialer {
        self.dialer(Some(&self.ca.client("kube-apiserver-kubelet-client", None).unwrap()))
    }
    async fn get(&self, dialer: &Dialer, path: &str) -> (u16, String) {
        let request = Request::get(path).header("host", "127.0.0.1").body(Body::Empty).unwrap();
        let response = dialer.request("127.0.0.1", self.port, request).await.unwrap();
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8_lossy(&body).into_owned())
    }
    /// The messages of a stream after `send` was sent, until it closes.
    async fn stream(&self, path: &str, protocol: &str, send: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let tls = self.server().connect("127.0.0.1", self.port).await.unwrap();
        let url = format!("wss://127.0.0.1:{}{path}", self.port);
        let (mut socket, chosen) = net::websocket::connect(tls, &url, &[protocol], HeaderMap::new()).await.unwrap();
        assert_eq!(chosen, protocol);
        for message in send {
            socket.send(Message::Binary(message.into())).await.unwrap();
        }
        let mut received = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Binary(bytes) = message {
                received.push(bytes.to_vec());
            }
        }
        received
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_who_may_come_in() {
    let (_node, access) = served();
    let server = access.server();
    assert_eq!(access.get(&server, "/healthz").await, (200, "ok".into()));
    assert_eq!(access.get(&server, "/nothing").await.0, 404);
    assert_eq!(access.get(&access.dialer(None), "/pods").await.0, 401);
    // The review of the fake API says nothing about being allowed.
    let stranger = access.ca.client("somebody", None).unwrap();
    let (code, body) = access.get(&access.dialer(Some(&stranger)), "/pods").await;
    assert_eq!(code, 403);
    assert!(body.contains("Forbidden (user=somebody, verb=get, resource=nodes, subresource=pods)"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_opens_the_door_by_itself() {
    let (node, access) = served();
    node.api.close();
    let (code, body) = access.get(&access.server(), "/pods").await;
    assert_eq!(code, 403);
    assert!(body.contains("Forbidden (user=kube-apiserver-kubelet-client, verb=get"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_read_and_followed() {
    let (node, access) = served();
    node.create("web", json!({"containers": [{"name": "a", "image": "run", "imagePullPolicy": "Never"}]}));
    let server = access.server();
    node.until_phase("web", "Running").await;
    let dir = node.dir.join("logs/default_web_uid-web/a");
    let line = |n: u32| format!("2026-01-01T00:00:0{n}.000000000Z stdout F line {n}\n");
    std::fs::write(dir.join("0.log"), line(1) + &line(2)).unwrap();
    let path = "/containerLogs/default/web/a";
    assert_eq!(access.get(&server, &format!("{path}?tailLines=1")).await, (200, "line 2\n".into()));
    assert_eq!(access.get(&server, &format!("{path}?sinceTime=2026-01-01T00%3A00%3A02Z")).await.1, "line 2\n");
    let (code, body) = access.get(&server, &format!("{path}?previous=true")).await;
    assert_eq!(code, 400);
    assert!(body.contains("previous terminated container \\\"a\\\" in pod \\\"web\\\" not found"), "{body}");
    assert_eq!(access.get(&server, "/containerLogs/default/none/a").await.0, 404);

    let request = Request::get(format!("{path}?follow=true")).header("host", "x").body(Body::Empty).unwrap();
    let mut body = server.request("127.0.0.1", access.port, request).await.unwrap().into_body();
    let mut text = String::new();
    let mut more = async |text: &mut String| {
        let frame = body.frame().await?.unwrap().into_data().unwrap_or(Bytes::new());
        text.push_str(&String::from_utf8_lossy(&frame));
        Some(())
    };
    more(&mut text).await;
    assert_eq!(text, "line 1\nline 2\n");
    std::fs::rename(dir.join("0.log"), dir.join("0.log.20260101-000003")).unwrap();
    std::fs::write(dir.join("0.log"), line(3)).unwrap();
    while text.lines().count() < 3 {
        more(&mut text).await.unwrap();
    }
    assert!(text.ends_with("line 3\n"));
    node.api.delete_pod("default", "web", 1);
    while more(&mut text).await.is_some() {}
    assert_eq!(text, "line 1\nline 2\nline 3\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_and_ports() {
    let (node, access) = served();
    node.create("web", json!({"containers": [{"name": "a", "image": "run", "imagePullPolicy": "Never"}]}));
    node.until_phase("web", "Running").await;
    let protocol = "v5.channel.k8s.io";
    let path = "/exec/default/web/a?command=3&output=1&error=1";
    let received = access.stream(path, protocol, Vec::new()).await;
    assert_eq!(received[..2], [vec![1], b"\x01out".to_vec()]);
    let status = String::from_utf8_lossy(&received[2][1..]).into_owned();
    assert_eq!(received[2][0], 3);
    assert!(status.contains(r#"{"message":"3","reason":"ExitCode"}"#), "{status}");

    // Before version 4 a success has no words.
    let received = access.stream("/exec/default/web/a?command=0&output=1", "channel.k8s.io", Vec::new()).await;
    assert_eq!(received, [vec![1], b"\x01out".to_vec()]);
    let received = access.stream("/exec/default/web/a?command=4&output=1", "channel.k8s.io", Vec::new()).await;
    assert_eq!(received[2], b"\x03command terminated with non-zero exit code: exit code 4");

    // What the runtime refuses is told on the status channel.
    let received = access.stream("/exec/default/web/a?command=none&output=1", protocol, Vec::new()).await;
    let status = String::from_utf8_lossy(&received[0][1..]).into_owned();
    assert_eq!((received.len(), received[0][0]), (1, 3));
    let why = r#"error executing command in container: exec: \"none\": executable file not found in $PATH"#;
    assert!(status.contains(why) && status.contains(r#""code":500"#), "{status}");

    let path = "/exec/default/web/a?command=0&output=1&input=1";
    let received = access.stream(path, protocol, vec![b"\0hello".to_vec(), vec![255, 0]]).await;
    assert_eq!(received[1], b"\x01hello");
    assert!(String::from_utf8_lossy(&received[2]).contains("Success"));
    assert!(access.get(&access.server(), "/exec/default/web/a?command=x&output=1").await.0 == 400);

    let tls = access.server().connect("127.0.0.1", access.port).await.unwrap();
    let url = format!("wss://127.0.0.1:{}/portForward/default/web?ports=8080", access.port);
    let connected = net::websocket::connect(tls, &url, &["v4.channel.k8s.io"], HeaderMap::new()).await;
    let (mut socket, _) = connected.unwrap();
    socket.send(Message::Binary(b"\0ping".to_vec().into())).await.unwrap();
    let mut received = Vec::new();
    while received.len() < 3 {
        received.push(socket.next().await.unwrap().unwrap().into_data().to_vec());
    }
    assert_eq!(received, [vec![0, 0x90, 0x1f], vec![1, 0x90, 0x1f], b"\0ping".to_vec()]);
}
