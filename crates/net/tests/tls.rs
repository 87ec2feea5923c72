//! Through real sockets on loopback: identities, protocols, WebSocket, graceful end.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use net::{Body, CertificateSlot, Dialer, Handler, Peer, tls, websocket};
use pki::Authority;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch};

/// Answers with who called; echoes one message on `/ws`.
#[derive(Clone)]
struct Who;

impl Handler for Who {
    type Connection = Arc<str>;
    fn connected(&self, peer: Peer) -> Arc<str> {
        peer.identity.map_or("nobody".into(), |id| format!("{} {:?}", id.common_name, id.organizations).into())
    }
    async fn handle(&self, who: &Arc<str>, mut request: Request<Incoming>) -> Response<Body> {
        if request.uri().path() != "/ws" {
            return Response::new(who.to_string().into());
        }
        match websocket::accept(&mut request, &["v5.channel.k8s.io", "v4.channel.k8s.io"]) {
            Ok((response, pending)) => {
                tokio::spawn(async move {
                    let mut socket = pending.ready().await.unwrap();
                    use futures::{SinkExt, StreamExt};
                    let message = socket.next().await.unwrap().unwrap();
                    socket.send(message).await.unwrap();
                });
                response
            }
            Err(e) => {
                let mut response = Response::new(e.to_string().into());
                *response.status_mut() = http::StatusCode::BAD_REQUEST;
                response
            }
        }
    }
}

struct Fixture {
    ca: Authority,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
}

async fn start() -> Fixture {
    let ca = Authority::new("test-ca").unwrap();
    let leaf = ca.server("server", &["127.0.0.1".into(), "localhost".into()]).unwrap();
    let config = tls::server(CertificateSlot::new(&leaf).unwrap(), ca.roots()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(net::serve(listener, config, Who, stopped, Duration::from_secs(5)));
    Fixture { ca, address, stop, served }
}

impl Fixture {
    async fn get(&self, leaf: Option<&pki::Leaf>) -> Result<String, net::dial::DialError> {
        let dialer = Dialer::new(tls::client(self.ca.roots(), leaf, true).unwrap());
        let request = Request::get("/").header("host", "x").body(Body::Empty).unwrap();
        let response = dialer.request("127.0.0.1", self.address.port(), request).await?;
        let body: Bytes = response.into_body().collect().await.unwrap().to_bytes();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn a_certificate_names_the_caller_and_none_is_nobody() {
    let fixture = start().await;
    let leaf = fixture.ca.client("alice", Some("system:masters")).unwrap();
    assert_eq!(fixture.get(Some(&leaf)).await.unwrap(), r#"alice ["system:masters"]"#);
    assert_eq!(fixture.get(None).await.unwrap(), "nobody");
}

#[tokio::test]
async fn a_foreign_certificate_ends_the_handshake() {
    let fixture = start().await;
    let foreign = Authority::new("test-ca").unwrap().client("alice", Some("system:masters")).unwrap();
    assert!(fixture.get(Some(&foreign)).await.is_err());
}

#[tokio::test]
async fn a_websocket_negotiates_and_echoes() {
    use futures::{SinkExt, StreamExt};
    let fixture = start().await;
    let dialer = Dialer::new(tls::client(fixture.ca.roots(), None, true).unwrap());
    let stream = dialer.connect("127.0.0.1", fixture.address.port()).await.unwrap();
    let offered = ["v4.channel.k8s.io", "v5.channel.k8s.io"];
    let (mut socket, chosen) = websocket::connect(stream, "wss://x/ws", &offered, Default::default()).await.unwrap();
    assert_eq!(chosen, "v5.channel.k8s.io");
    socket.send(websocket::Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), websocket::Message::text("hello"));

    let stream = dialer.connect("127.0.0.1", fixture.address.port()).await.unwrap();
    assert!(websocket::connect(stream, "wss://x/ws", &["other"], Default::default()).await.is_err());
}

#[tokio::test]
async fn the_loop_ends_when_told() {
    let fixture = start().await;
    fixture.get(None).await.unwrap();
    fixture.stop.send(true).unwrap();
    fixture.served.await.unwrap();
    assert!(tokio::net::TcpStream::connect(fixture.address).await.is_err());
}
