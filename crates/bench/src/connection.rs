//! One connection, HTTP/2 or HTTP/1.1, with as little between the caller and hyper as there can be.

use crate::target::{Acting, Target};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection and what every request on it carries.
pub struct Connection {
    sender: Sender,
    authority: String,
    authorization: Option<HeaderValue>,
    acting: Option<Acting>,
}

enum Sender {
    Two(http2::SendRequest<Full<Bytes>>),
    One(http1::SendRequest<Full<Bytes>>),
}

/// What is sent, beside the path.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Call {
    pub fn get(path: impl Into<String>) -> Self {
        Call { method: Method::GET, path: path.into(), content_type: "", body: Bytes::new() }
    }
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Call { method: Method::POST, path: path.into(), content_type: "application/json", body: body.into() }
    }
    pub fn delete(path: impl Into<String>) -> Self {
        Call { method: Method::DELETE, path: path.into(), content_type: "", body: Bytes::new() }
    }
}

impl Connection {
    /// Dials. HTTP/2 windows are those of Go's client (4 MiB per stream, 1 GiB per connection), the usual one here.
    pub async fn open(target: &Target) -> Result<Self, String> {
        let authority = target.authority();
        let fail = |e: &dyn std::fmt::Display| format!("{authority}: {e}");
        let name = ServerName::try_from(target.host.clone()).map_err(|e| fail(&e))?;
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(|e| fail(&e))?;
        stream.set_nodelay(true).map_err(|e| fail(&e))?;
        let stream = TlsConnector::from(target.tls.clone()).connect(name, stream).await.map_err(|e| fail(&e))?;
        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let sender = if two {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(4 << 20).initial_connection_window_size(1 << 30);
            let (sender, connection) = builder.handshake(io).await.map_err(|e| fail(&e))?;
            tokio::spawn(connection);
            Sender::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(|e| fail(&e))?;
            tokio::spawn(connection);
            Sender::One(sender)
        };
        Ok(Connection { sender, authority, authorization: target.authorization.clone(), acting: target.acting })
    }

    /// Another handle on the same connection; `None` where requests of HTTP/1.1 would have to queue.
    pub fn share(&self) -> Option<Self> {
        let Sender::Two(sender) = &self.sender else { return None };
        let sender = Sender::Two(sender.clone());
        let (authority, authorization) = (self.authority.clone(), self.authorization.clone());
        Some(Connection { sender, authority, authorization, acting: self.acting })
    }

    /// Sends a request; the response's body is still to come.
    pub async fn send(&mut self, call: &Call) -> Result<Response<Incoming>, String> {
        let two = matches!(self.sender, Sender::Two(_));
        let mut request = Request::builder().method(call.method.clone());
        request = match two {
            true => request.uri(format!("https://{}{}", self.authority, call.path)),
            false => request.uri(call.path.as_str()).header(header::HOST, &self.authority),
        };
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(acting) = self.acting {
            request = request.header("impersonate-user", acting.user);
            for group in acting.groups {
                request = request.header("impersonate-group", *group);
            }
        }
        request = request.header(header::ACCEPT, HeaderValue::from_static("application/json"));
        request = request.header(header::USER_AGENT, HeaderValue::from_static("ferry-bench"));
        if !call.content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, HeaderValue::from_static(call.content_type));
        }
        let request = request.body(Full::new(call.body.clone())).map_err(|e| format!("{}: {e}", call.path))?;
        let sent = match &mut self.sender {
            Sender::Two(sender) => {
                sender.ready().await.map_err(|e| e.to_string())?;
                sender.send_request(request).await
            }
            Sender::One(sender) => {
                sender.ready().await.map_err(|e| e.to_string())?;
                sender.send_request(request).await
            }
        };
        sent.map_err(|e| format!("{} {}: {e}", call.method, call.path))
    }

    /// Sends a request and reads its answer to the end without keeping it; its status and size in bytes.
    pub async fn exchange(&mut self, call: &Call) -> Result<(StatusCode, u64), String> {
        let response = self.send(call).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let text = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
            return Err(format!("{} {}: {status}: {}", call.method, call.path, String::from_utf8_lossy(&text)));
        }
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| format!("{} {}: {e}", call.method, call.path))?;
            size += frame.data_ref().map_or(0, |d| d.len() as u64);
        }
        Ok((status, size))
    }

    /// Sends a request and returns its answer; any status.
    pub async fn fetch(&mut self, call: &Call) -> Result<(StatusCode, Bytes), String> {
        let response = self.send(call).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| format!("{}: {e}", call.path))?;
        Ok((status, body.to_bytes()))
    }
    /// Creates one object; one that is there already is as good.
    pub async fn make(&mut self, path: &str, body: Vec<u8>) -> Result<Bytes, String> {
        match self.fetch(&Call::post(path, body)).await? {
            (StatusCode::CREATED | StatusCode::CONFLICT, answer) => Ok(answer),
            (status, answer) => Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&answer))),
        }
    }
}
