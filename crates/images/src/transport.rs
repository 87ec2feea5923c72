//! One HTTP/1.1 request over TCP or TLS, with time limits.
//!
//! A pull makes a handful of requests, most of them long downloads that want a connection of their own, so there is no pool.
//! Plain http is for loopback only, wherever the address comes from: a reference, a redirect or a token server.

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How registries are reached.
#[derive(Debug)]
pub struct Options {
    /// Certificate authorities trusted besides the system's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// For TCP and TLS together.
    pub connect_timeout: Duration,
    /// The longest silence inside a response.
    pub idle_timeout: Duration,
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            extra_roots: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            tls: OnceLock::new(),
        }
    }
}

impl Options {
    /// The defaults, with further certificate authorities.
    pub fn with_roots(extra_roots: Vec<CertificateDer<'static>>) -> Self {
        Options { extra_roots, ..Options::default() }
    }

    /// Made on first use: reading the system's roots takes milliseconds that a node without pulls need not spend.
    fn tls(&self) -> Arc<ClientConfig> {
        let make = || {
            let mut roots = RootCertStore::empty();
            let system = rustls_native_certs::load_native_certs();
            for error in &system.errors {
                tracing::warn!(%error, "cannot read some of the system's certificate authorities");
            }
            roots.add_parsable_certificates(system.certs);
            roots.add_parsable_certificates(self.extra_roots.iter().cloned());
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(rustls::DEFAULT_VERSIONS)
                .map(|builder| builder.with_root_certificates(roots).with_no_client_auth());
            // ring supports both default versions, so this cannot fail; an empty config would refuse every server anyway.
            Arc::new(config.unwrap_or_else(|error| unreachable!("rustls with ring: {error}")))
        };
        self.tls.get_or_init(make).clone()
    }
}

/// Why a request got no response.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The peer was reached but does not speak (acceptable) TLS.
    pub tls: bool,
    pub what: String,
}

impl Failure {
    fn new(what: impl std::fmt::Display) -> Self {
        Failure { tls: false, what: what.to_string() }
    }
}

/// Sends a request whose URI is absolute and returns the response as soon as its head is there.
pub(crate) async fn send(options: &Options, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
    let uri = request.uri().clone();
    let host = uri.host().ok_or_else(|| Failure::new(format!("{uri}: no host")))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_string();
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") if is_loopback(&bare) => false,
        Some("http") => return Err(Failure::new(format!("{uri}: plain http is for loopback addresses only"))),
        _ => return Err(Failure::new(format!("{uri}: neither https nor http"))),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let connect = async {
        let tcp = TcpStream::connect((bare.as_str(), port))
            .await
            .map_err(|error| Failure::new(format!("dial tcp {host}:{port}: {error}")))?;
        let _ = tcp.set_nodelay(true);
        let stream: Box<dyn Stream> =
            if secure { Box::new(secured(options, &bare, tcp).await?) } else { Box::new(tcp) };
        Ok::<_, Failure>(stream)
    };
    let stream = tokio::time::timeout(options.connect_timeout, connect)
        .await
        .map_err(|_| Failure::new(format!("dial tcp {host}:{port}: i/o timeout")))??;
    exchange(options, stream, request, &uri).await
}

/// Whether plain http may be spoken to this host.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn secured(
    options: &Options,
    host: &str,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let name = ServerName::try_from(host.to_string()).map_err(|error| Failure::new(format!("{host}: {error}")))?;
    let connector = tokio_rustls::TlsConnector::from(options.tls());
    connector
        .connect(name, tcp)
        .await
        .map_err(|error| Failure { tls: true, what: format!("tls handshake with {host}: {error}") })
}

async fn exchange(
    options: &Options,
    stream: Box<dyn Stream>,
    mut request: Request<Full<Bytes>>,
    uri: &Uri,
) -> Result<Response<Incoming>, Failure> {
    let lost = |error: hyper::Error| Failure::new(format!("{}: {error}", without_query(uri)));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // Ends with the response's body, or when the caller drops it.
    tokio::spawn(connection);
    if let Some(Ok(host)) = uri.authority().map(|authority| authority.as_str().parse()) {
        request.headers_mut().insert(http::header::HOST, host);
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|error| Failure::new(format!("{uri}: {error}")))?;
    tokio::time::timeout(options.idle_timeout, sender.send_request(request))
        .await
        .map_err(|_| Failure::new(format!("{}: no answer within {:?}", without_query(uri), options.idle_timeout)))?
        .map_err(lost)
}

/// Redirects to blob storage carry signatures in the query; they do not belong into messages.
fn without_query(uri: &Uri) -> String {
    uri.to_string().split('?').next().unwrap_or_default().to_string()
}
