//! Large answers go out compressed to clients that take gzip. Source: `endpoints/handlers/responsewriters` (gate
//! `APIResponseCompression`): more than 128 KiB, at the level that costs least.
//!
//! The body is compressed as it is sent, a piece at each turn of the connection: a list of many megabytes holds up
//! nobody else and is never there twice.

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use net::{Body, BoxError};
use std::{
    io::{Read, Write},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

pub const THRESHOLD: u64 = 128 * 1024;
/// What is compressed in one turn.
const PIECE: usize = 128 * 1024;

/// The answer to a read, compressed where that is worth it.
pub fn packed(asked: &HeaderMap, mut response: Response<Body>) -> Response<Body> {
    let length = match response.body() {
        Body::Full(bytes) => bytes.len() as u64,
        Body::Chunks(_, length) => *length,
        Body::Empty | Body::Stream(_) => 0,
    };
    if length <= THRESHOLD || !response.status().is_success() || !takes(asked) {
        return response;
    }
    let chunks = match std::mem::take(response.body_mut()) {
        Body::Full(bytes) => vec![bytes].into_iter(),
        Body::Chunks(chunks, _) => chunks,
        other => {
            *response.body_mut() = other;
            return response;
        }
    };
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    *response.body_mut() = Body::Stream(Box::pin(Packed { chunks, rest: Bytes::new(), encoder: Some(encoder) }));
    marked(response)
}

/// Says of an answer that its body is compressed.
pub fn marked(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// What is kept and sent often is compressed once, and better.
pub fn pack(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    packed.expect("writing to memory does not fail").into()
}

/// What [`pack`] made, for a client that does not take it.
pub fn unpack(packed: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut plain).expect("it was packed here");
    plain.into()
}

/// True where `Accept-Encoding` has gzip; like upstream's server this one does not weigh.
pub fn takes(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|part| part.split(';').next().unwrap_or("").trim() == "gzip")
}

struct Packed {
    chunks: vec::IntoIter<Bytes>,
    /// What is left of a chunk that was too large for one turn.
    rest: Bytes,
    /// `None` once the end is written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Packed {
    /// The next compressed bytes; `None` at the end.
    fn turn(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        while let Some(encoder) = self.encoder.as_mut() {
            let mut left = PIECE;
            while left > 0 {
                if self.rest.is_empty() {
                    match self.chunks.next() {
                        Some(chunk) => self.rest = chunk,
                        None => break,
                    }
                }
                let piece = self.rest.split_to(self.rest.len().min(left));
                encoder.write_all(&piece)?;
                left -= piece.len();
            }
            if left > 0 {
                return self.encoder.take().map(GzEncoder::finish).transpose();
            }
            let ready = std::mem::take(encoder.get_mut());
            if !ready.is_empty() {
                return Ok(Some(ready));
            }
        }
        Ok(None)
    }
}

impl http_body::Body for Packed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match self.turn() {
            Ok(bytes) => bytes.map(|bytes| Ok(Frame::data(bytes.into()))),
            Err(why) => Some(Err(why.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(asked: &str, chunks: Vec<Bytes>) -> Response<Body> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(asked).unwrap());
        packed(&headers, Response::new(Body::chunks(chunks)))
    }

    #[test]
    fn what_is_large_is_packed_and_whole() {
        let chunks: Vec<Bytes> = (0..4000_u32).map(|i| Bytes::from(format!("{i:>10}").repeat(10))).collect();
        let plain = chunks.concat();
        let response = answer("deflate, gzip;q=0.5", chunks);
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        let Body::Stream(mut body) = response.into_body() else { panic!("a stream") };
        let mut packed = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
            packed.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert!(packed.len() < plain.len() / 2);
        let mut whole = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut whole).unwrap();
        assert_eq!(whole, plain);
        assert_eq!(unpack(&pack(&plain)), plain);
        assert!(pack(&plain).len() <= packed.len());
    }

    #[test]
    fn what_is_small_or_not_wanted_is_not() {
        let large = vec![Bytes::from(vec![b'a'; 200_000])];
        assert!(answer("identity", large.clone()).headers().is_empty());
        assert!(answer("gzip", vec![Bytes::from(vec![b'a'; 128 * 1024])]).headers().is_empty());
        assert!(!answer("gzip", large).headers().is_empty());
    }
}
