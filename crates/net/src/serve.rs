//! The serve loop: accept, TLS, HTTP/2 or HTTP/1.1 by ALPN, upgrades, graceful end.
//!
//! Per connection the handler makes one value from the peer (its certificate is parsed and authenticated once); every
//! request of the connection gets that value. Decided against hyper-util's `auto` connection: ALPN has said which
//! protocol it is, so nothing needs to be sniffed.

use crate::{Body, gather};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pki::Identity;
use rustls::{ServerConfig, pki_types::CertificateDer};
use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A client that does not finish its handshake or its headers in that time is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(30);

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// The verified client certificate, where one was shown.
    pub identity: Option<Arc<Identity>>,
    /// The certificate and what came with it; empty where none was shown.
    pub(crate) chain: Arc<[CertificateDer<'static>]>,
}

/// In an answer's extensions: it is the last one of its HTTP/2 connection, which ends in good order once what is under way
/// on it is done.
#[derive(Debug, Clone, Copy)]
pub struct LastOfConnection;

/// Answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// What a connection keeps between its requests.
    type Connection: Clone + Send + Sync + 'static;
    /// Called once per connection.
    fn connected(&self, peer: Peer) -> Self::Connection;
    /// Called once per request.
    fn handle(
        &self,
        connection: &Self::Connection,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves until `stop` turns true, then lets requests that run finish for at most `grace`; watches and other streams
/// end with their connection.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    handler: H,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        match accepted {
            Ok((stream, address)) => {
                connections.spawn(connection(stream, address, acceptor.clone(), handler.clone(), stop.clone()));
            }
            Err(e) => {
                // Out of file descriptors, most likely: others must get to run and close theirs.
                tracing::warn!("accept: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection<H: Handler>(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    handler: H,
    stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return tracing::debug!("TLS handshake with {address}: {e}"),
        Err(_) => return tracing::debug!("TLS handshake with {address}: timeout"),
    };
    let chain: Arc<[_]> = stream.get_ref().1.peer_certificates().unwrap_or_default().into();
    let peer = Peer { address, identity: identity(&chain), chain };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let state = handler.connected(peer);
    let last = Arc::new(Notify::new());
    let told = last.clone();
    let service = service_fn(move |request| {
        let (handler, state, last) = (handler.clone(), state.clone(), last.clone());
        async move {
            let response = handler.handle(&state, request).await;
            if response.extensions().get::<LastOfConnection>().is_some() {
                last.notify_one();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let ended = if h2 {
        let (io, sender) = gather::gather(stream);
        let io = TokioIo::new(io);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(1000)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_frame_size(64 * 1024)
            // A selector stands in the head and may be long; a URI ends at 64 KiB by itself.
            .max_header_list_size(128 * 1024)
            .max_send_buf_size(1 << 20)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(15));
        let served = drive(builder.serve_connection(io, service), stop, &told, |c| c.graceful_shutdown());
        gather::drive(served, &sender).await
    } else {
        let io = TokioIo::new(stream);
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADERS);
        let served = builder.serve_connection(io, service).with_upgrades();
        drive(served, stop, &told, |c| c.graceful_shutdown()).await
    };
    if let Err(e) = ended {
        tracing::debug!("connection of {address}: {e}");
    }
}

/// Runs a connection; once told to stop, or after its last answer, it finishes what is under way.
async fn drive<C>(
    connection: C,
    mut stop: watch::Receiver<bool>,
    last: &Notify,
    end: fn(std::pin::Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        _ = stop.wait_for(|stop| *stop) => end(connection.as_mut()),
        () = last.notified() => end(connection.as_mut()),
    }
    connection.await
}

fn identity(chain: &[CertificateDer<'_>]) -> Option<Arc<Identity>> {
    // A certificate that TLS verified but that cannot be read is nobody's.
    Identity::of(chain.first()?).ok().map(Arc::new)
}
