//! WebSocket over an HTTP/1.1 upgrade: the server's side with subprotocol negotiation, and the client's.

use crate::{Body, BoxError};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::fmt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{client::IntoClientRequest, handshake::derive_accept_key, protocol::WebSocketConfig},
};

pub use tokio_tungstenite::WebSocketStream;
pub use tokio_tungstenite::tungstenite::protocol::Role;
pub use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
pub use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message, protocol::CloseFrame};

/// The server's end of an accepted WebSocket.
pub type ServerSocket = WebSocketStream<TokioIo<Upgraded>>;

/// The longest message that a server takes unless it says otherwise, in bytes. Source: not more than upstream takes
/// (32 MiB, `golang.org/x/net/websocket`); not much less, for the Python client sends what its caller writes to a command
/// (a file, an archive) as one message of one frame, and frames were never longer here.
pub const LONGEST: usize = 16 << 20;

/// Why a request is no WebSocket that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not an upgrade to `websocket`, or of a version other than 13.
    NotWebSocket,
    /// The client offers subprotocols, and none of ours.
    NoProtocol,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::NotWebSocket => "you must use websocket protocol",
            Refused::NoProtocol => "unable to negotiate a websocket subprotocol",
        })
    }
}
impl std::error::Error for Refused {}

/// A WebSocket that becomes usable once the answer went out.
pub struct Pending {
    upgrade: OnUpgrade,
    /// The negotiated subprotocol; empty where the client offered none.
    pub protocol: String,
    longest: usize,
}

impl Pending {
    /// After [`answer`], with what it has chosen.
    pub fn new(upgrade: OnUpgrade, protocol: String) -> Self {
        Pending { upgrade, protocol, longest: LONGEST }
    }
    /// With another bound for the client's messages than [`LONGEST`].
    pub fn at_most(self, longest: usize) -> Self {
        Pending { longest, ..self }
    }
    /// Waits for the connection to switch.
    pub async fn ready(self) -> Result<ServerSocket, BoxError> {
        let upgraded = self.upgrade.await?;
        Ok(server(TokioIo::new(upgraded), self.longest).await)
    }
}

/// The server's side of a connection that has switched. A client's message beyond `longest` bytes, in one frame or several,
/// is an error, and not gathered.
pub async fn server<S: AsyncRead + AsyncWrite + Unpin>(stream: S, longest: usize) -> WebSocketStream<S> {
    let limits = WebSocketConfig::default().max_message_size(Some(longest)).max_frame_size(Some(longest));
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await
}

/// True where the request asks for a WebSocket.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, header::CONNECTION, "upgrade") && has_token(headers, header::UPGRADE, "websocket")
}

/// True where the request asks to switch to any protocol (SPDY, too).
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::CONNECTION, "upgrade") && headers.contains_key(header::UPGRADE)
}

/// Accepts a WebSocket: the 101 answer, and the socket to await after returning it. `protocols` are ours by preference.
pub fn accept<B>(request: &mut Request<B>, protocols: &[&str]) -> Result<(Response<Body>, Pending), Refused> {
    let (response, protocol) = answer(request.headers(), protocols)?;
    Ok((response, Pending::new(hyper::upgrade::on(request), protocol)))
}

/// The 101 answer to a request with these headers, and the subprotocol that it names.
pub fn answer(headers: &HeaderMap, protocols: &[&str]) -> Result<(Response<Body>, String), Refused> {
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(Refused::NotWebSocket)?;
    if !is_websocket(headers) || version != Some(b"13") {
        return Err(Refused::NotWebSocket);
    }
    let answer_key = derive_accept_key(key.as_bytes());
    let offered: Vec<&str> = tokens(headers, header::SEC_WEBSOCKET_PROTOCOL).collect();
    let chosen = protocols.iter().find(|p| offered.contains(p)).copied();
    if chosen.is_none() && !offered.is_empty() {
        return Err(Refused::NoProtocol);
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(value) = HeaderValue::from_str(&answer_key) {
        out.insert(header::SEC_WEBSOCKET_ACCEPT, value);
    }
    if let Some(value) = chosen.and_then(|p| HeaderValue::from_str(p).ok()) {
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok((response, chosen.unwrap_or_default().into()))
}

/// Opens a WebSocket on a connected stream. `uri` is `wss://host/path?query`; the answer says which protocol was chosen.
pub async fn connect<S>(
    stream: S,
    uri: &str,
    protocols: &[&str],
    headers: HeaderMap,
) -> Result<(WebSocketStream<S>, String), WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = uri.into_client_request()?;
    request.headers_mut().extend(headers);
    if !protocols.is_empty() {
        let value = HeaderValue::from_str(&protocols.join(", "))?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    let (socket, response) = client_async_with_config(request, stream, None).await?;
    let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|v| v.to_str().ok());
    Ok((socket, chosen.unwrap_or_default().into()))
}

fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|t| t.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };

    /// How the server takes a message of frames with so many bytes each.
    async fn taken(longest: usize, frames: &[usize]) -> Result<usize, WebSocketError> {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        for (i, length) in frames.iter().enumerate() {
            let code = if i == 0 { Data::Binary } else { Data::Continue };
            let frame = Frame::message(vec![7; *length], OpCode::Data(code), i + 1 == frames.len());
            client.send(Message::Frame(frame)).await.unwrap();
        }
        server(ours, longest).await.next().await.unwrap().map(|message| message.len())
    }

    #[tokio::test]
    async fn messages_are_bounded() {
        for (frames, ok) in [
            (&[1000][..], true),
            (&[1001], false),
            (&[500, 500], true),
            (&[500, 501], false),
            (&[400, 400, 400], false),
        ] {
            match taken(1000, frames).await {
                Ok(length) => assert!(ok && length == frames.iter().sum::<usize>(), "{frames:?}"),
                Err(WebSocketError::Capacity(_)) => assert!(!ok, "{frames:?}"),
                Err(other) => panic!("{frames:?}: {other}"),
            }
        }
    }
}
