//! One HTTP/2 connection to one endpoint, made when it is needed.

use crate::Endpoint;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::MapErr};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use net::Dialer;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::Mutex,
};
use tonic::{Code, Status, body::Body};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// A peer that is gone without a word is noticed by an unanswered ping, while a call is open. Servers of gRPC-Go end
/// connections that ping more often than every five seconds, or with no call open.
const PING_EVERY: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Per stream and for the connection. A list answers in megabytes.
const WINDOW: u32 = 4 << 20;

/// In the details of a status that is ours.
const NEVER_SENT: &[u8] = b"never sent";

/// Whether a call failed before its request left: it may be made again without doing anything twice.
pub fn never_sent(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.details() == NEVER_SENT
}

/// A connection that is made at the first call and anew after it broke. Clones share it.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    sender: Mutex<Option<http2::SendRequest<Body>>>,
}

impl Channel {
    /// Connects at the first call.
    pub fn new(endpoint: Endpoint) -> Self {
        Channel(Arc::new(Inner { endpoint, sender: Mutex::new(None) }))
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Lets the connection go: the next call makes another. Calls under way end with it or go on.
    pub async fn disconnect(&self) {
        self.0.sender.lock().await.take();
    }

    /// What sends requests, connecting first where nothing does.
    async fn sender(&self) -> Result<http2::SendRequest<Body>, Status> {
        // Held while connecting: callers at the same time share the one attempt.
        let mut held = self.0.sender.lock().await;
        if let Some(sender) = held.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        *held = None;
        let connecting = tokio::time::timeout(CONNECT, connect(&self.0.endpoint)).await;
        let sender = connecting.unwrap_or_else(|_| Err("i/o timeout".into())).map_err(|why| {
            let message = format!("connecting to {}: {why}", self.0.endpoint);
            Status::with_details(Code::Unavailable, message, Bytes::from_static(NEVER_SENT))
        })?;
        Ok(held.insert(sender).clone())
    }
}

async fn connect(endpoint: &Endpoint) -> Result<http2::SendRequest<Body>, String> {
    match endpoint {
        Endpoint::Unix(path) => handshake(UnixStream::connect(path).await.map_err(|e| e.to_string())?).await,
        Endpoint::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|e| e.to_string())?;
            stream.set_nodelay(true).map_err(|e| e.to_string())?;
            handshake(stream).await
        }
        Endpoint::Tls { host, port, config } => {
            handshake(Dialer::new(config.clone()).connect(host, *port).await.map_err(|e| e.to_string())?).await
        }
    }
}

async fn handshake<S>(stream: S) -> Result<http2::SendRequest<Body>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!("gRPC connection: {e}");
        }
    });
    Ok(sender)
}

fn broken(e: hyper::Error) -> Status {
    let why = std::error::Error::source(&e).map(|source| format!(": {source}")).unwrap_or_default();
    Status::unavailable(format!("the connection broke: {e}{why}"))
}

impl tower_service::Service<Request<Body>> for Channel {
    type Response = Response<MapErr<Incoming, fn(hyper::Error) -> Status>>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.clone();
        Box::pin(async move {
            let mut sender = channel.sender().await?;
            sender.ready().await.map_err(|e| {
                let message = format!("the connection to {} is gone: {e}", channel.endpoint());
                Status::with_details(Code::Unavailable, message, Bytes::from_static(NEVER_SENT))
            })?;
            let response = sender.send_request(request).await.map_err(broken)?;
            Ok(response.map(|body| body.map_err(broken as fn(hyper::Error) -> Status)))
        })
    }
}
