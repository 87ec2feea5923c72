//! A stream of watch events, from lines of JSON or from the server's own objects.

use crate::{Error, Result, transport::Body};
use base::Status;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use value::Object;

/// One event.
#[derive(Debug, Clone)]
pub enum WatchEvent {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    Deleted(Arc<Object>),
    /// Nothing changed up to this revision.
    Bookmark(String),
}

/// Events in order. It ends when the server ends it; the next watch goes on from the last revision seen.
pub struct WatchStream(Source);

enum Source {
    Lines { body: Body, buffer: BytesMut },
    Shared(Box<dyn SharedEvents>),
}

/// Events that need no decoding.
pub(crate) trait SharedEvents: Send {
    /// Fills `out` with what is ready, waiting for the first; `Ok(false)` at the end.
    fn next<'a>(&'a mut self, out: &'a mut Vec<WatchEvent>) -> crate::BoxFuture<'a, Result<bool>>;
}

impl std::fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WatchStream")
    }
}

impl WatchStream {
    pub(crate) fn of_body(body: Body) -> Self {
        WatchStream(Source::Lines { body, buffer: BytesMut::new() })
    }
    pub(crate) fn shared(events: Box<dyn SharedEvents>) -> Self {
        WatchStream(Source::Shared(events))
    }
    /// The events that are ready, at least one; `None` when the server has ended the stream. An error ends it too: a 410
    /// ([`Error::is_expired`]) asks for a new list.
    pub async fn next(&mut self) -> Option<Result<Vec<WatchEvent>>> {
        match &mut self.0 {
            Source::Shared(events) => {
                let mut out = Vec::new();
                match events.next(&mut out).await {
                    Ok(false) if out.is_empty() => None,
                    Ok(_) => Some(Ok(out)),
                    Err(e) => Some(Err(e)),
                }
            }
            Source::Lines { body, buffer } => loop {
                let mut out = Vec::new();
                while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                    let line = buffer.split_to(end + 1).freeze();
                    match parse_line(&line) {
                        Ok(event) => out.extend(event),
                        Err(e) => return Some(Err(e)),
                    }
                }
                if !out.is_empty() {
                    return Some(Ok(out));
                }
                match body.frame().await? {
                    Ok(frame) => buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                    Err(e) => return Some(Err(Error::Transport(e.to_string()))),
                }
            },
        }
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

fn parse_line(line: &[u8]) -> Result<Option<WatchEvent>> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let decode = |e: &dyn std::fmt::Display| Error::Decode(format!("watch event: {e}"));
    let line: Line = serde_json::from_slice(line).map_err(|e| decode(&e))?;
    let object = || Object::from_json(Bytes::copy_from_slice(line.object.get().as_bytes())).map_err(|e| decode(&e));
    Ok(Some(match line.r#type {
        "ADDED" => WatchEvent::Added(object()?),
        "MODIFIED" => WatchEvent::Modified(object()?),
        "DELETED" => WatchEvent::Deleted(object()?),
        "BOOKMARK" => WatchEvent::Bookmark(object()?.value().str_at(&["metadata", "resourceVersion"]).into()),
        "ERROR" => {
            let json = serde_json::from_str(line.object.get()).map_err(|e| decode(&e))?;
            return Err(Error::Status(Status::from_json(&json).unwrap_or_else(|| Status::internal(line.object.get()))));
        }
        other => return Err(decode(&format!("unknown type {other:?}"))),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Full, StreamBody};

    fn body(parts: Vec<&'static str>) -> Body {
        let frames = parts.into_iter().map(|p| Ok::<_, crate::BoxError>(http_body::Frame::data(Bytes::from(p))));
        StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
    }

    #[tokio::test]
    async fn lines_may_be_split_anywhere() {
        let mut stream = WatchStream::of_body(body(vec![
            r#"{"type":"ADDED","object":{"metadata":{"na"#,
            "me\":\"a\"}}}\n{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n",
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#,
            "\n",
        ]));
        let events = stream.next().await.unwrap().unwrap();
        assert!(
            matches!(&events[..], [WatchEvent::Added(o), WatchEvent::Bookmark(rv)] if o.name() == "a" && rv == "9")
        );
        assert!(stream.next().await.unwrap().unwrap_err().is_expired());
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn an_empty_body_is_an_end() {
        let body = Full::new(Bytes::new()).map_err(|e| match e {}).boxed_unsync();
        assert!(WatchStream::of_body(body).next().await.is_none());
    }
}
