//! Answers that go out over a WebSocket, for clients that ask so: logs and watches. What they say afterwards is read, so
//! that the connection's own frames are answered, and not heard.
//!
//! Source: upstream's `wsstream.Reader` for logs; its watch sends a message per event, text where the encoding is text.

use crate::stack::Exchange;
use base::{Reason, Result, Status};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::{Buf, Bytes};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use net::{
    Body,
    websocket::{self, Message, Pending},
};

/// How bytes become messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Text,
    Binary,
    /// Text, in base64.
    Base64,
    /// Binary, without the length before each frame.
    Unprefixed,
}

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// The length before a frame of a protobuf stream, in bytes.
const PREFIX: usize = 4;

/// How a browser shows a token: as a subprotocol, in base64 for URLs. Source: upstream's `ProtocolAuthenticator`.
const TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// A token, or that what is shown is none.
pub type Token = std::result::Result<String, BadToken>;

/// Not base64, no text, several, or nothing beside it that could be spoken.
#[derive(Debug, PartialEq, Eq)]
pub struct BadToken;

/// Takes the token out of the subprotocols that a request offers; nobody behind this server is shown it.
pub fn take_token(headers: &mut HeaderMap) -> Option<Token> {
    if !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) || !websocket::is_websocket(headers) {
        return None;
    }
    let all = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    let all = all.flat_map(|v| v.split(',')).map(|p| p.trim().to_string());
    let (tokens, others): (Vec<String>, Vec<String>) = all.partition(|protocol| protocol.starts_with(TOKEN));
    let first = tokens.first()?;
    let bytes = URL_SAFE_NO_PAD.decode(&first[TOKEN.len()..]).ok();
    let token = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Ok(others) = HeaderValue::from_str(&others.join(", "))
        && !others.is_empty()
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, others);
    }
    match token {
        Some(token) if tokens.len() == 1 && !others.is_empty() => Some(Ok(token)).filter(|_| first.len() > TOKEN.len()),
        _ => Some(Err(BadToken)),
    }
}

/// Whether the request wants its answer so.
pub fn wanted(x: &Exchange<'_>) -> bool {
    websocket::is_websocket(&x.parts.headers)
}

/// Sends a stream of bytes, after an empty message; anything but a success is left as it is.
pub fn bytes(x: &mut Exchange<'_>, response: Response<Body>) -> Result<Response<Body>> {
    send(x, response, &[BINARY, BASE64], |protocol, _| match protocol {
        BASE64 => (Framing::Base64, true),
        _ => (Framing::Binary, true),
    })
}

/// Sends a watch, each frame of which is an event.
pub fn events(x: &mut Exchange<'_>, response: Response<Body>) -> Result<Response<Body>> {
    // No subprotocol says how events are sent; the one that a client offers is its own affair.
    let offered = x.parts.headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|v| v.to_str().ok());
    let own: Vec<String> =
        offered.filter(|text| !text.contains(',')).map(|text| text.trim().into()).into_iter().collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    send(x, response, &own, |_, content_type| {
        let framing = match content_type {
            text if text.contains("protobuf") => Framing::Unprefixed,
            text if text.contains("cbor") => Framing::Binary,
            _ => Framing::Text,
        };
        (framing, false)
    })
}

/// `how` says for the subprotocol and the content type how to frame, and whether an empty message comes first.
fn send(
    x: &mut Exchange<'_>,
    response: Response<Body>,
    protocols: &[&str],
    how: impl Fn(&str, &str) -> (Framing, bool),
) -> Result<Response<Body>> {
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let refused = |why: websocket::Refused| match why {
        websocket::Refused::NotWebSocket => Status::bad_request(why.to_string()),
        websocket::Refused::NoProtocol => Status::new(Reason::Forbidden, why.to_string()),
    };
    let (mut answer, protocol) = websocket::answer(&x.parts.headers, protocols).map_err(refused)?;
    // Only HTTP/1.1 has it.
    let upgrade = x.upgrade.take().ok_or_else(|| Status::bad_request("you must use websocket protocol"))?;
    let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
    let text = content_type.as_ref().and_then(|v| v.to_str().ok()).unwrap_or("");
    let (framing, hello) = how(&protocol, text);
    if let Some(content_type) = content_type {
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    let pending = Pending::new(upgrade, protocol);
    let lasts = x.lasts.get_or_insert_default().clone();
    tokio::spawn(async move {
        let _lasts = lasts;
        if let Err(e) = copy(pending, response.into_body(), framing, hello).await {
            tracing::debug!("answer over a WebSocket: {e}");
        }
    });
    Ok(answer)
}

async fn copy(
    pending: Pending,
    mut body: Body,
    framing: Framing,
    hello: bool,
) -> std::result::Result<(), net::BoxError> {
    let (mut sink, mut heard) = pending.ready().await?.split();
    if hello {
        sink.send(framing.message(Bytes::new())).await?;
    }
    loop {
        tokio::select! {
            frame = body.frame() => match frame {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        sink.send(framing.message(data)).await?;
                    }
                }
                None => break,
            },
            said = heard.next() => match said {
                None | Some(Err(_) | Ok(Message::Close(_))) => return Ok(()),
                // What has to be answered is answered with the next flush.
                Some(Ok(_)) => sink.flush().await?,
            },
        }
    }
    sink.close().await?;
    // The other end closes, too.
    while let Some(Ok(_)) = heard.next().await {}
    Ok(())
}

impl Framing {
    fn message(self, mut data: Bytes) -> Message {
        match self {
            Framing::Binary => Message::Binary(data),
            Framing::Unprefixed => {
                data.advance(PREFIX.min(data.len()));
                Message::Binary(data)
            }
            Framing::Base64 => Message::Text(STANDARD.encode(&data).into()),
            Framing::Text => match std::str::from_utf8(&data) {
                Ok(text) => Message::Text(text.into()),
                Err(_) => Message::Binary(data),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_taken_from_the_subprotocols() {
        for (offered, want, left) in [
            (
                &["v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"][..],
                Some(Ok("secret".to_string())),
                "v4.channel.k8s.io",
            ),
            (&["a", "b, base64url.bearer.authorization.k8s.io.c2VjcmV0"], Some(Ok("secret".into())), "a, b"),
            (&["a, b"], None, "a, b"),
            (&["base64url.bearer.authorization.k8s.io.c2VjcmV0"], Some(Err(BadToken)), ""),
            (&["a, base64url.bearer.authorization.k8s.io.=="], Some(Err(BadToken)), "a"),
            (
                &["a, base64url.bearer.authorization.k8s.io.YQ, base64url.bearer.authorization.k8s.io.YQ"],
                Some(Err(BadToken)),
                "a",
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("connection", HeaderValue::from_static("Upgrade"));
            headers.insert("upgrade", HeaderValue::from_static("websocket"));
            for protocols in offered {
                headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocols));
            }
            assert_eq!(take_token(&mut headers), want, "{offered:?}");
            let all: Vec<&str> =
                headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok()).collect();
            assert_eq!(all.join(", "), left);
        }
    }
}
