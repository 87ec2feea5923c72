//! Dialling: TLS to an address, and one HTTP/1.1 exchange on it (for streams that upgrade, for log bodies, and for what
//! is proxied to pods, which also speak without TLS).

use crate::{
    Body, BoxError,
    outgoing::{dialling, handshake},
};
use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Why a call did not come to an answer. The caller may retry; nothing here does.
#[derive(Debug)]
pub enum DialError {
    /// The address does not parse, or is not a name TLS can check.
    Address(String),
    /// No connection in time.
    Timeout { to: String },
    /// TCP failed.
    Connect { to: String, source: std::io::Error },
    /// TLS failed.
    Tls { source: std::io::Error },
    /// HTTP failed after the connection stood.
    Http { to: String, source: hyper::Error },
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Address(address) => write!(f, "address {address}: not valid"),
            DialError::Timeout { to } => write!(f, "dial tcp {to}: i/o timeout"),
            DialError::Connect { to, source } => dialling(to, source).fmt(f),
            DialError::Tls { source } => handshake(source).fmt(f),
            DialError::Http { source, .. } if source.is_incomplete_message() => f.write_str("EOF"),
            DialError::Http { to, source } => write!(f, "{to}: {source}"),
        }
    }
}
impl std::error::Error for DialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DialError::Connect { source, .. } | DialError::Tls { source } => Some(source),
            DialError::Http { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Dials with one TLS set-up.
#[derive(Clone)]
pub struct Dialer {
    config: Arc<ClientConfig>,
    timeout: Duration,
}

impl Dialer {
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Dialer { config, timeout: Duration::from_secs(10) }
    }
    /// A TLS stream to `host:port`; the certificate must name `host`.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, DialError> {
        self.connect_to(host, host, port).await
    }
    async fn connect_to(&self, name: &str, host: &str, port: u16) -> Result<TlsStream<TcpStream>, DialError> {
        let to = authority(host, port);
        let name = ServerName::try_from(name.to_string()).map_err(|_| DialError::Address(to.clone()))?;
        let connector = TlsConnector::from(self.config.clone());
        let connecting = async {
            let stream = tcp(host, port, &to).await?;
            connector.connect(name, stream).await.map_err(|source| DialError::Tls { source })
        };
        let timely = tokio::time::timeout(self.timeout, connecting).await;
        timely.unwrap_or(Err(DialError::Timeout { to }))
    }
    /// One request on a connection of its own. A 101 answer may be upgraded with [`hyper::upgrade::on`].
    pub async fn request(
        &self,
        host: &str,
        port: u16,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, DialError> {
        self.request_to(host, host, port, request).await
    }
    /// The same, where the certificate must name `name` instead of `host`.
    pub async fn request_to(
        &self,
        name: &str,
        host: &str,
        port: u16,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, DialError> {
        let stream = self.connect_to(name, host, port).await?;
        exchange(stream, authority(host, port), request).await
    }
    /// The same without TLS.
    pub async fn plain(&self, host: &str, port: u16, request: Request<Body>) -> Result<Response<Incoming>, DialError> {
        let to = authority(host, port);
        let timely = tokio::time::timeout(self.timeout, tcp(host, port, &to)).await;
        let stream = timely.unwrap_or_else(|_| Err(DialError::Timeout { to: to.clone() }))?;
        exchange(stream, to, request).await
    }
}

async fn tcp(host: &str, port: u16, to: &str) -> Result<TcpStream, DialError> {
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    stream.map_err(|source| DialError::Connect { to: to.into(), source })
}

/// One request on a stream that stands; `to` is its other end, for errors.
pub async fn exchange<S>(stream: S, to: String, request: Request<Body>) -> Result<Response<Incoming>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let http = |source| DialError::Http { to: to.clone(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    tokio::spawn(async move {
        if let Err(e) = connection.with_upgrades().await {
            tracing::debug!("outgoing connection: {e}");
        }
    });
    sender.send_request(request).await.map_err(http)
}

/// `host:port`, with brackets where they are needed.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Copies both ways until both ends are done.
pub async fn splice(a: Upgraded, b: Upgraded) -> Result<(u64, u64), BoxError> {
    copy_both(TokioIo::new(a), TokioIo::new(b)).await
}

/// Copies both ways between any two streams.
pub async fn copy_both<A, B>(mut a: A, mut b: B) -> Result<(u64, u64), BoxError>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    Ok(copy_bidirectional(&mut a, &mut b).await?)
}
