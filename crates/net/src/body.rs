//! The body of every response: one type, so that the request path needs no box for the common cases.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a response streams. A list is `Chunks`: the shared bytes of each object between commas, copied only by TLS.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Full(Bytes),
    Chunks(vec::IntoIter<Bytes>, u64),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>),
}

impl Body {
    /// All of `chunks`, with their length known beforehand.
    pub fn chunks(chunks: Vec<Bytes>) -> Self {
        let length = chunks.iter().map(|c| c.len() as u64).sum();
        Body::Chunks(chunks.into_iter(), length)
    }
    /// Any other body.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        use http_body_util::BodyExt;
        Body::Stream(Box::pin(body.map_err(Into::into)))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body::Full(bytes)
    }
}
impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body::Full(bytes.into())
    }
}
impl From<String> for Body {
    fn from(text: String) -> Self {
        Body::Full(text.into())
    }
}
impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Body::Full(Bytes::from_static(text.as_bytes()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match this {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Body::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Body::Chunks(chunks, left) => Poll::Ready(gather(chunks, left).map(|bytes| Ok(Frame::data(bytes)))),
            Body::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }
    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(bytes) => bytes.is_empty(),
            Body::Chunks(_, left) => *left == 0,
            Body::Stream(body) => body.is_end_stream(),
        }
    }
    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Chunks(_, left) => SizeHint::with_exact(*left),
            Body::Stream(body) => body.size_hint(),
        }
    }
}

/// Small chunks (a ConfigMap, a comma) are joined to frames of at least 32 KiB: a frame per object costs HTTP/2 more
/// than the copy does. Large ones pass as they are.
fn gather(chunks: &mut vec::IntoIter<Bytes>, left: &mut u64) -> Option<Bytes> {
    const FRAME: usize = 32 * 1024;
    let first = chunks.find(|c| !c.is_empty())?;
    *left -= first.len() as u64;
    if first.len() >= FRAME {
        return Some(first);
    }
    let mut joined = Vec::with_capacity(FRAME.min(first.len() + *left as usize) + 4096);
    joined.extend_from_slice(&first);
    while joined.len() < FRAME {
        let Some(next) = chunks.next() else { break };
        *left -= next.len() as u64;
        joined.extend_from_slice(&next);
    }
    Some(joined.into())
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({:?})", http_body::Body::size_hint(self))
    }
}

/// For `map_err` on bodies that cannot fail.
pub fn never(e: Infallible) -> BoxError {
    match e {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn chunks_arrive_whole_and_the_length_is_known() {
        let parts: Vec<Bytes> = (0..5000).map(|i| Bytes::from(format!("{i},"))).collect();
        let want: Vec<u8> = parts.concat();
        let body = Body::chunks(parts);
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(want.len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), want);
    }

    #[tokio::test]
    async fn an_empty_list_of_chunks_ends() {
        assert!(Body::chunks(vec![Bytes::new()]).collect().await.unwrap().to_bytes().is_empty());
    }
}
