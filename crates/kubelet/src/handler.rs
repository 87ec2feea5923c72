//! The ways to reach into a container for probes and hooks: HTTP, TCP, gRPC and ports by name.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// What is kept of an answer or an output, as upstream keeps it.
const MAX: usize = 10 * 1024;

/// A port by number or by name.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(n) => *n,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => {
                    name.parse().map_err(|_| format!("couldn't find port: {name} in container {}", container.name))?
                }
            }
        }
    };
    u16::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// The end of an output as text.
pub fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(MAX)..]).trim_end().to_string()
}

/// A GET as probes and hooks make it; code and body. Redirects are not followed: their code counts as success.
pub async fn http_get(get: &HTTPGetAction, container: &Container, pod_ip: &str) -> Result<(u16, String), String> {
    let port = port(&get.port, container)?;
    let host = get.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| pod_ip.to_string());
    let tls = get.scheme.as_deref() == Some("HTTPS");
    let path = get.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_string() } else { format!("/{path}") };
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let scheme = if tls { "https" } else { "http" };
    let failed = |e: &dyn std::fmt::Display| format!("Get \"{scheme}://{authority}{path}\": {e}");
    let mut request = http::Request::get(&path);
    let mut named = false;
    for header in get.http_headers.iter().flatten() {
        named |= header.name.eq_ignore_ascii_case("host");
        request = request.header(&header.name, &header.value);
    }
    if !named {
        request = request.header(http::header::HOST, &authority);
    }
    let has = |name: &str| get.http_headers.iter().flatten().any(|h| h.name.eq_ignore_ascii_case(name));
    if !has("user-agent") {
        request = request.header(http::header::USER_AGENT, "kube-probe/1.36");
    }
    if !has("accept") {
        request = request.header(http::header::ACCEPT, "*/*");
    }
    let request = request.body(Full::<Bytes>::default()).map_err(|e| failed(&e))?;
    let stream = dial(&host, port).await.map_err(|e| failed(&e))?;
    let exchanged = match tls {
        true => exchange(secure(stream, &host).await.map_err(|e| failed(&e))?, request).await,
        false => exchange(stream, request).await,
    };
    exchanged.map_err(|e| failed(&e))
}

async fn exchange<S>(stream: S, request: http::Request<Full<Bytes>>) -> Result<(u16, String), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await?;
        let code = response.status().as_u16();
        // A body that is too long or breaks off says nothing against the code.
        let body = Limited::new(response.into_body(), MAX).collect().await;
        Ok((code, body.map(|b| tail(&b.to_bytes())).unwrap_or_default()))
    }
    .await;
    driver.abort();
    answer
}

/// Connects and hangs up.
pub async fn tcp(host: &str, port: u16) -> Result<(), String> {
    dial(host, port).await.map(drop)
}

/// The error reads as Go's.
async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let connected = TcpStream::connect((host, port)).await.and_then(|stream| {
        stream.set_nodelay(true)?;
        Ok(stream)
    });
    connected.map_err(|e| match e.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("dial tcp {host}:{port}: connect: connection refused"),
        std::io::ErrorKind::HostUnreachable => format!("dial tcp {host}:{port}: connect: no route to host"),
        _ => format!("dial tcp {host}:{port}: {e}"),
    })
}

/// `grpc.health.v1.Health/Check` without TLS.
pub async fn grpc(host: &str, port: u16, service: &str) -> Result<(), String> {
    let failed = |e: &dyn std::fmt::Display| format!("error: health rpc probe failed: {e}");
    let stream = dial(host, port)
        .await
        .map_err(|e| format!("timeout: failed to connect service \"{host}:{port}\" within 1s: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|e| failed(&e))?;
    let driver = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{host}:{port}/grpc.health.v1.Health/Check"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .header(http::header::USER_AGENT, "kube-probe/1.36")
        .body(Full::new(Bytes::from(health_request(service))))
        .map_err(|e| failed(&e))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
        let mut status = grpc_status(response.headers());
        let body = response.into_body().collect().await.map_err(|e| failed(&e))?;
        if let Some(trailers) = body.trailers() {
            status = status.or(grpc_status(trailers));
        }
        let bytes = body.to_bytes();
        match status {
            Some(0) | None => serving(&bytes),
            Some(12) => {
                Err("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".into())
            }
            Some(code) => Err(failed(&format!("code {code}"))),
        }
    }
    .await;
    driver.abort();
    answer
}

fn grpc_status(headers: &http::HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// One gRPC frame with `HealthCheckRequest{service}`.
fn health_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Names are short: validation allows no service name of 128 bytes or more that anybody uses.
        message.extend([0x0a, u8::try_from(service.len().min(127)).unwrap_or(127)]);
        message.extend(&service.as_bytes()[..service.len().min(127)]);
    }
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend(message);
    frame
}

/// `HealthCheckResponse{status: SERVING}` behind the frame's five bytes.
fn serving(frame: &[u8]) -> Result<(), String> {
    let word = match frame.get(5..) {
        Some([0x08, 1, ..]) => return Ok(()),
        Some([0x08, 2, ..]) => "NOT_SERVING",
        Some([0x08, 3, ..]) => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    };
    Err(format!("service unhealthy (responded with {word:?})"))
}

/// Probes and hooks ask whether a container answers, not who it is: its certificate is its own affair, as upstream has it.
async fn secure(stream: TcpStream, host: &str) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let config = net::tls::trusting(&net::tls::Trust::Anyone, None).map_err(std::io::Error::other)?;
    // What follows speaks HTTP/1.1.
    let mut config = (*config).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_string()).map_err(std::io::Error::other)?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ContainerPort;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn ports_by_name() {
        let container = Container {
            ports: Some(vec![ContainerPort {
                name: Some("http".into()),
                container_port: 8080,
                ..ContainerPort::default()
            }]),
            ..Container::default()
        };
        assert_eq!(port(&IntOrString::String("http".into()), &container), Ok(8080));
        assert_eq!(port(&IntOrString::String("81".into()), &container), Ok(81));
        assert_eq!(port(&IntOrString::Int(80), &container), Ok(80));
        assert!(port(&IntOrString::String("x".into()), &container).is_err());
        assert!(port(&IntOrString::Int(70000), &container).is_err());
    }

    #[test]
    fn health_frames() {
        assert_eq!(health_request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert!(serving(&[0, 0, 0, 0, 2, 8, 1]).is_ok());
        assert!(serving(&[0, 0, 0, 0, 2, 8, 2]).unwrap_err().contains("NOT_SERVING"));
        assert!(serving(&[]).is_err());
    }

    #[tokio::test]
    async fn a_get_reports_the_code() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).await.unwrap();
            let text = String::from_utf8_lossy(&buffer[..n]).to_string();
            assert!(text.starts_with("GET /healthz HTTP/1.1\r\n") && text.contains("kube-probe/1.36"), "{text}");
            stream.write_all(b"HTTP/1.1 503 x\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        });
        let get = HTTPGetAction {
            path: Some("healthz".into()),
            port: IntOrString::Int(port.into()),
            ..HTTPGetAction::default()
        };
        assert_eq!(http_get(&get, &Container::default(), "127.0.0.1").await, Ok((503, "no".into())));
        assert!(tcp("127.0.0.1", 1).await.is_err());
    }

    /// A server whose certificate nobody has vouched for is as good as any.
    #[tokio::test]
    async fn a_get_over_tls_takes_any_certificate() {
        let ca = pki::Authority::new("stranger").unwrap();
        let leaf = ca.server("somebody", &["elsewhere".to_string()]).unwrap();
        let slot = net::CertificateSlot::new(&leaf).unwrap();
        let tls = net::tls::server(slot, ca.roots()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await.unwrap();
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..n].starts_with(b"GET /x HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            stream.flush().await.unwrap();
            let _ = stream.read(&mut buffer).await;
        });
        let get = HTTPGetAction {
            path: Some("/x".into()),
            port: IntOrString::Int(port.into()),
            scheme: Some("HTTPS".into()),
            ..HTTPGetAction::default()
        };
        assert_eq!(http_get(&get, &Container::default(), "127.0.0.1").await, Ok((200, "ok".into())));
    }

    /// The health service over HTTP/2, answering with that status byte.
    async fn health_server(status: u8) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, health_request("web"));
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                let frame = Bytes::from(vec![0, 0, 0, 0, 2, 8, status]);
                let body = Full::new(frame).with_trailers(std::future::ready(Some(Ok(trailers))));
                let mut response = http::Response::new(body);
                response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
                Ok::<_, std::convert::Infallible>(response)
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
        port
    }

    #[tokio::test]
    async fn grpc_health_is_asked() {
        assert_eq!(grpc("127.0.0.1", health_server(1).await, "web").await, Ok(()));
        let error = grpc("127.0.0.1", health_server(2).await, "web").await.unwrap_err();
        assert_eq!(error, "service unhealthy (responded with \"NOT_SERVING\")");
    }
}
