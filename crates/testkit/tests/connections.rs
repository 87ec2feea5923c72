//! How long connections last.

use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::{Cluster, PATIENCE};
use tokio::task::JoinHandle;

/// An HTTP/2 connection; the task ends with it.
async fn connect(cluster: &Cluster) -> (SendRequest<Empty<bytes::Bytes>>, JoinHandle<()>) {
    let config = net::tls::client(cluster.pki.ca.roots(), None, false).unwrap();
    let stream = net::Dialer::new(config).connect("127.0.0.1", cluster.address.port()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(async move { drop(connection.await) }))
}

async fn get(sender: &mut SendRequest<Empty<bytes::Bytes>>, path: &str, token: Option<&str>) -> u16 {
    let mut request = Request::get(format!("https://localhost{path}"));
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    sender.ready().await.unwrap();
    let response = sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
    let code = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    code
}

#[tokio::test]
async fn a_connection_of_nobody_ends_with_its_answer() {
    let cluster = Cluster::start().await;
    for (path, token, code) in [("/version", None, 200), ("/api/v1/pods", None, 403), ("/version", Some("wrong"), 401)]
    {
        let (mut sender, ended) = connect(&cluster).await;
        assert_eq!(get(&mut sender, path, token).await, code);
        tokio::time::timeout(PATIENCE, ended).await.expect("the server ends it").unwrap();
    }
    // Who says who it is may go on.
    let account = testkit::json!({"metadata": {"name": "a"}});
    let admin = cluster.admin();
    admin.create("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let asked = testkit::json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let made = admin.create("/api/v1/namespaces/default/serviceaccounts/a/token", &asked).await;
    let token = made["status"]["token"].as_str().unwrap();
    let (mut sender, ended) = connect(&cluster).await;
    for _ in 0..3 {
        assert_eq!(get(&mut sender, "/version", Some(token)).await, 200);
    }
    assert!(!ended.is_finished());
}
