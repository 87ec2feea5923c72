//! A KMS v2 plugin: gRPC by hand over hyper's HTTP/2, on a Unix socket. Its "encryption" is a key's id and the bytes turned
//! around.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message;
use std::{collections::BTreeMap, convert::Infallible, path::PathBuf, sync::Arc};
use tokio::{net::UnixListener, task::JoinSet};

/// How it behaves, and what it was asked.
#[derive(Default)]
pub struct State {
    pub key: String,
    /// The id that Status tells, where it differs from the key's.
    pub told: Option<String>,
    pub healthz: String,
    pub version: String,
    pub annotations: BTreeMap<String, Vec<u8>>,
    /// Keys that it has lost.
    pub lost: Vec<String>,
    pub encrypted: usize,
    pub decrypted: usize,
}

/// A plugin that serves until it is dropped.
pub struct Plugin {
    pub path: PathBuf,
    pub state: Arc<Mutex<State>>,
    serving: JoinSet<()>,
}

impl Plugin {
    pub fn new(path: PathBuf) -> Self {
        let state = State {
            key: "key-1".into(),
            healthz: "ok".into(),
            version: "v2".into(),
            annotations: [("plugin.ferry.test".to_string(), b"1".to_vec())].into(),
            ..State::default()
        };
        Plugin { path, state: Arc::new(Mutex::new(state)), serving: JoinSet::new() }
    }
    pub fn listen(&mut self) {
        let listener = UnixListener::bind(&self.path).expect("a socket");
        let state = self.state.clone();
        self.serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                let service = service_fn(move |request| answer(state.clone(), request));
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(serving.await) });
            }
        });
    }
    /// Goes, with all connections.
    pub async fn stop(&mut self) {
        self.serving.shutdown().await;
        let _ = std::fs::remove_file(&self.path);
    }
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.path.display())
    }
}

type Body = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_string();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let message = body.get(5..).unwrap_or_default();
    let outcome = match path.as_str() {
        "/v2.KeyManagementService/Status" => Ok(status(&state.lock()).encode_to_vec()),
        "/v2.KeyManagementService/Encrypt" => encrypt(&mut state.lock(), message),
        "/v2.KeyManagementService/Decrypt" => decrypt(&mut state.lock(), message),
        _ => Err((12, "no such method")),
    };
    let mut frames = Vec::new();
    let (code, text) = match outcome {
        Ok(message) => {
            let mut framed = BytesMut::new();
            framed.put_u8(0);
            framed.put_u32(u32::try_from(message.len()).unwrap_or(0));
            framed.put_slice(&message);
            frames.push(Ok(Frame::data(framed.freeze())));
            (0, "")
        }
        Err(failed) => failed,
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    trailers.insert("grpc-message", HeaderValue::from_static(text));
    frames.push(Ok(Frame::trailers(trailers)));
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(StreamBody::new(futures::stream::iter(frames))).expect("a response"))
}

fn status(state: &State) -> StatusResponse {
    let key_id = state.told.clone().unwrap_or_else(|| state.key.clone());
    StatusResponse { version: state.version.clone(), healthz: state.healthz.clone(), key_id }
}

fn encrypt(state: &mut State, message: &[u8]) -> Result<Vec<u8>, (u16, &'static str)> {
    let request = EncryptRequest::decode(message).map_err(|_| (3, "no request"))?;
    state.encrypted += 1;
    let mut ciphertext = format!("{}:", state.key).into_bytes();
    ciphertext.extend(request.plaintext.iter().rev());
    let answer = EncryptResponse { ciphertext, key_id: state.key.clone(), annotations: state.annotations.clone() };
    Ok(answer.encode_to_vec())
}

fn decrypt(state: &mut State, message: &[u8]) -> Result<Vec<u8>, (u16, &'static str)> {
    let request = DecryptRequest::decode(message).map_err(|_| (3, "no request"))?;
    state.decrypted += 1;
    if request.annotations.get("plugin.ferry.test").map(Vec::as_slice) != Some(b"1") || request.uid.is_empty() {
        return Err((3, "something is missing"));
    }
    if state.lost.contains(&request.key_id) {
        return Err((5, "the key is lost"));
    }
    let sealed = request.ciphertext.strip_prefix(format!("{}:", request.key_id).as_bytes());
    let sealed = sealed.ok_or((3, "sealed with another key"))?;
    Ok(DecryptResponse { plaintext: sealed.iter().rev().copied().collect() }.encode_to_vec())
}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}
