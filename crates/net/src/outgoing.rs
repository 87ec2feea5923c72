//! Calls out of the server: webhooks, key sets of issuers, extension API servers.
//!
//! A call goes to a URL or to a Service. A Service is reached at one of its ready endpoints, which [`Services`] finds, while
//! TLS still checks `name.namespace.svc`: so a server needs neither cluster DNS nor a service proxy on its own host.
//! Connections are kept per set of authorities and identity, and chosen by hyper's pool. Errors carry the words that
//! Go's client has for them, because users search for those. Nothing here retries, and there is no call without TLS.

use crate::tls::{self, Trust};
use base::BoxFuture;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use parking_lot::Mutex;
use pki::Leaf;
use rustls::{ClientConfig, pki_types::ServerName};
use std::{
    collections::HashMap,
    error::Error,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Where Services are.
pub trait Services: Send + Sync {
    /// The address of one ready endpoint of a Service's port. The error is the sentence that the caller is told.
    fn endpoint(&self, namespace: &str, name: &str, port: u16) -> Result<SocketAddr, String>;
}

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// `https://host[:port]/path`
    Url(String),
    /// `path` begins with a slash, or is empty.
    Service { namespace: String, name: String, port: u16, path: String },
}

impl Target {
    /// As messages show it.
    pub fn url(&self) -> String {
        match self {
            Target::Url(url) => url.clone(),
            Target::Service { namespace, name, port, path } => format!("https://{name}.{namespace}.svc:{port}{path}"),
        }
    }
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub target: Target,
    /// Without the question mark; `None` for no query.
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trust: Trust,
    /// What the server shows of itself, where it is asked.
    pub identity: Option<Arc<Leaf>>,
    /// For the whole call.
    pub timeout: Duration,
    /// The most that is read of the answer, in bytes.
    pub limit: usize,
}

/// What came back, whatever its code.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer. Printed as Go prints it: `Post "https://…": dial tcp 10.0.0.7:443: connect: connection refused`.
#[derive(Debug)]
pub struct CallError {
    /// With the method: `Post "https://…"`.
    pub what: String,
    pub why: Why,
}

#[derive(Debug)]
pub enum Why {
    /// The URL is none, or not https.
    Address,
    /// The timeout passed.
    Timeout,
    /// The authorities or the identity cannot be read.
    Tls(String),
    /// No connection, or it broke.
    Failed(String),
    /// The answer is longer than the limit.
    TooLong(usize),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.what)?;
        match &self.why {
            Why::Address => f.write_str("not a valid https URL"),
            Why::Timeout => f.write_str("context deadline exceeded"),
            Why::Tls(why) | Why::Failed(why) => f.write_str(why),
            Why::TooLong(limit) => write!(f, "the answer has more than {limit} bytes"),
        }
    }
}
impl Error for CallError {}

/// How many sets of authorities and identities keep connections; above it all are forgotten and made again.
const CLIENTS: usize = 64;

type Pool = Client<Connector, Full<Bytes>>;

/// Makes calls; one per server.
pub struct Outgoing {
    services: Arc<dyn Services>,
    pools: Mutex<HashMap<(Trust, Option<String>), Pool>>,
}

impl Outgoing {
    pub fn new(services: Arc<dyn Services>) -> Self {
        Outgoing { services, pools: Mutex::default() }
    }

    /// Calls, and reads the answer.
    pub fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, CallError>> {
        Box::pin(async move {
            let url = call.target.url();
            let url = call.query.as_ref().map_or(url.clone(), |query| format!("{url}?{query}"));
            let verb = title(call.method.as_str());
            let failed = |why| CallError { what: format!("{verb} {url:?}"), why };
            let timeout = call.timeout;
            let exchange = self.exchange(call, &url);
            tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(Why::Timeout)).map_err(failed)
        })
    }

    async fn exchange(&self, call: Call, url: &str) -> Result<Answer, Why> {
        let uri: Uri = url.parse().map_err(|_| Why::Address)?;
        if uri.scheme_str() != Some("https") || uri.host().is_none() {
            return Err(Why::Address);
        }
        let pool = self.pool(&call).map_err(Why::Tls)?;
        let mut request = http::Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = call.headers;
        let response = pool.request(request).await.map_err(|e| Why::Failed(innermost(&e)))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, call.limit).collect().await.map_err(|e| match e.is::<LengthLimitError>() {
            true => Why::TooLong(call.limit),
            false => Why::Failed(innermost(&*e)),
        })?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }

    fn pool(&self, call: &Call) -> Result<Pool, String> {
        let key = (call.trust.clone(), call.identity.as_ref().map(|leaf| leaf.cert_pem.clone()));
        if let Some(pool) = self.pools.lock().get(&key) {
            return Ok(pool.clone());
        }
        let config = tls::trusting(&call.trust, call.identity.as_deref()).map_err(|e| e.to_string())?;
        let connector = Connector { services: self.services.clone(), config };
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .build(connector);
        let mut pools = self.pools.lock();
        if pools.len() >= CLIENTS {
            pools.clear();
        }
        pools.insert(key, pool.clone());
        Ok(pool)
    }
}

/// Connects by TLS to the host of a URL; hosts of the form `name.namespace.svc` are Services.
#[derive(Clone)]
pub struct Connector {
    services: Arc<dyn Services>,
    config: Arc<ClientConfig>,
}

impl Connector {
    pub fn new(services: Arc<dyn Services>, config: Arc<ClientConfig>) -> Self {
        Connector { services, config }
    }
    /// A TLS stream to `host:port`; the certificate must name `host`.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TlsStream<TcpStream>> {
        let stream = match service(host) {
            Some((name, namespace)) => {
                let address = self.services.endpoint(namespace, name, port).map_err(io::Error::other)?;
                TcpStream::connect(address).await.map_err(|e| dialling(&address.to_string(), &e))?
            }
            None => TcpStream::connect((host, port)).await.map_err(|e| dialling(&format!("{host}:{port}"), &e))?,
        };
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_string()).map_err(io::Error::other)?;
        TlsConnector::from(self.config.clone()).connect(name, stream).await.map_err(|e| handshake(&e))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Stream>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
            this.connect(host, uri.port_u16().unwrap_or(443)).await.map(|s| Stream(TokioIo::new(s)))
        })
    }
}

/// A TLS stream that tells hyper which protocol was agreed on.
pub struct Stream(TokioIo<TlsStream<TcpStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self.0.inner().get_ref().1.alpn_protocol() == Some(b"h2") {
            true => Connected::new().negotiated_h2(),
            false => Connected::new(),
        }
    }
}
impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}
impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Name and namespace, where a host is a Service's.
fn service(host: &str) -> Option<(&str, &str)> {
    host.strip_suffix(".svc")?.split_once('.').filter(|(_, namespace)| !namespace.contains('.'))
}

/// `POST` as Go's client prints it: `Post`.
fn title(method: &str) -> String {
    let (first, rest) = method.split_at(1.min(method.len()));
    format!("{first}{}", rest.to_ascii_lowercase())
}

/// A connection that was not made, in the words of Go's client.
pub(crate) fn dialling(to: &str, e: &io::Error) -> io::Error {
    let why = match e.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_string(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_string(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_string(),
        io::ErrorKind::TimedOut => "i/o timeout".to_string(),
        _ if e.raw_os_error().is_none() => {
            let host = to.rsplit_once(':').map_or(to, |(host, _)| host);
            return io::Error::other(format!("dial tcp: lookup {host}: no such host"));
        }
        _ => e.to_string(),
    };
    io::Error::new(e.kind(), format!("dial tcp {to}: {why}"))
}

/// The same of a handshake.
pub(crate) fn handshake(e: &io::Error) -> io::Error {
    use rustls::{CertificateError as C, Error as E};
    let why = match e.get_ref().and_then(|inner| inner.downcast_ref::<E>()) {
        Some(E::InvalidCertificate(C::UnknownIssuer)) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_string()
        }
        Some(E::InvalidCertificate(C::Expired | C::ExpiredContext { .. })) => {
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid".to_string()
        }
        Some(E::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            "http: server gave HTTP response to HTTPS client".to_string()
        }
        Some(E::InvalidCertificate(why)) => format!("tls: failed to verify certificate: x509: {why}"),
        Some(other) => format!("tls: {other}"),
        None if e.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_string(),
        None => e.to_string(),
    };
    io::Error::new(e.kind(), why)
}

/// The cause below the layers of a client's errors.
fn innermost(e: &(dyn Error + 'static)) -> String {
    let mut cause = e;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;
    impl Services for Nowhere {
        fn endpoint(&self, _: &str, name: &str, _: u16) -> Result<SocketAddr, String> {
            Err(format!("no endpoints available for service {name:?}"))
        }
    }

    async fn told(target: Target, trust: Trust) -> String {
        let call = Call {
            method: Method::POST,
            target,
            query: Some("timeout=1s".into()),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            trust,
            identity: None,
            timeout: Duration::from_secs(5),
            limit: 1 << 20,
        };
        Outgoing::new(Arc::new(Nowhere)).call(call).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn says_why_there_is_no_answer() {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let url = |text: String| Target::Url(text);
        let service = |namespace: &str| Target::Service {
            namespace: namespace.into(),
            name: "hook".into(),
            port: 443,
            path: "/x".into(),
        };
        for (target, trust, want) in [
            (
                url(format!("https://127.0.0.1:{port}/x")),
                Trust::Anyone,
                format!(
                    "Post \"https://127.0.0.1:{port}/x?timeout=1s\": dial tcp 127.0.0.1:{port}: connect: connection refused"
                ),
            ),
            (
                url("http://127.0.0.1/x".into()),
                Trust::Anyone,
                "Post \"http://127.0.0.1/x?timeout=1s\": not a valid https URL".into(),
            ),
            (
                service("default"),
                Trust::Anyone,
                "Post \"https://hook.default.svc:443/x?timeout=1s\": no endpoints available for service \"hook\""
                    .into(),
            ),
            (
                service("default"),
                Trust::Bundle(Bytes::from_static(b"nothing")),
                "Post \"https://hook.default.svc:443/x?timeout=1s\": ".into(),
            ),
        ] {
            let said = told(target, trust).await;
            assert!(said.starts_with(&want), "{said}");
        }
    }

    #[test]
    fn which_hosts_are_services() {
        for (host, want) in [
            ("hook.default.svc", Some(("hook", "default"))),
            ("hook.svc", None),
            ("a.b.c.svc", None),
            ("hook.default.svc.cluster.local", None),
            ("example.com", None),
        ] {
            assert_eq!(service(host), want, "{host}");
        }
    }
}
