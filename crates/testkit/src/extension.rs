//! Servers of a test that the API server calls: webhooks, converters, other API servers.
//!
//! Real TLS under an authority of its own, as each of them has. What one answers is a function of the call alone, so
//! that a test says it in a line or a `match`.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use net::{Body, Peer};
use pki::{Authority, ClusterPki};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, sync::watch};

/// A running server; dropping it ends it.
pub struct Extension {
    pub address: SocketAddr,
    /// Its authority, as a `caBundle` wants it: PEM in base64.
    pub bundle: String,
    _stop: watch::Sender<bool>,
}

/// One request.
pub struct Call {
    /// The common name of the certificate that the client has shown.
    pub client: Option<String>,
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// The body as JSON; null where it is something else.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
    /// All values of a header.
    pub fn header(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }
}

/// JSON with a status code.
pub fn reply(code: u16, value: &Value) -> Response<Body> {
    let response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(value.to_string())).expect("a response")
}

/// The answer to a review, of admission or conversion: its version and uid are those of the question, where `response`
/// has no other.
pub fn reviewed(question: &Value, mut response: Value) -> Response<Body> {
    if response["uid"].is_null() {
        response["uid"] = question["request"]["uid"].clone();
    }
    reply(200, &json!({"apiVersion": question["apiVersion"], "kind": question["kind"], "response": response}))
}

/// A JSON patch as admission's response.
pub fn patched(patch: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
}

impl Extension {
    /// On a free port of an address, under a DNS name; certificates of `clients` are looked at.
    pub async fn start<A, R>(address: &str, name: &str, clients: &Authority, answer: A) -> Self
    where
        A: Fn(Call) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send,
    {
        let listener = TcpListener::bind((address, 0)).await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let authority = ClusterPki::ephemeral().expect("keys").ca;
        let leaf = authority.server("extension", &[name.into(), address.into()]).expect("a certificate");
        let slot = net::CertificateSlot::new(&leaf).expect("a certificate");
        let tls = net::tls::server(slot, clients.roots()).expect("TLS");
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(net::serve(listener, tls, Server(answer), stopping, Duration::ZERO));
        Extension { address: at, bundle: STANDARD.encode(authority.cert_pem()), _stop: stop }
    }
}

#[derive(Clone)]
struct Server<A>(A);

impl<A, R> net::Handler for Server<A>
where
    A: Fn(Call) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send,
{
    type Connection = Option<String>;
    fn connected(&self, peer: Peer) -> Option<String> {
        peer.identity.map(|identity| identity.common_name.clone())
    }
    async fn handle(&self, client: &Option<String>, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let call = Call { client: client.clone(), method: parts.method, uri: parts.uri, headers: parts.headers, body };
        (self.0)(call).await
    }
}
