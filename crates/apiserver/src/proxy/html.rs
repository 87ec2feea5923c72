//! A body of HTML whose links are rewritten on its way, plain or compressed.

use super::links::{Html, Place};
use bytes::{Buf, Bytes};
use flate2::{
    Compression,
    write::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder},
};
use http::{HeaderMap, header};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use net::BoxError;
use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

/// How HTML is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Plain,
    Gzip,
    Deflate,
}

/// How to read the links of an answer; `None` where it is no HTML, or nothing that can be read.
pub fn readable(headers: &HeaderMap) -> Option<Encoding> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    if text(header::CONTENT_TYPE).split(';').next().map(str::trim) != Some("text/html") {
        return None;
    }
    match text(header::CONTENT_ENCODING) {
        "" => Some(Encoding::Plain),
        "gzip" => Some(Encoding::Gzip),
        "deflate" => Some(Encoding::Deflate),
        _ => None,
    }
}

/// What reads a coding, and what writes it again.
type Gzip = (GzDecoder<Vec<u8>>, GzEncoder<Vec<u8>>);
type Deflate = (DeflateDecoder<Vec<u8>>, DeflateEncoder<Vec<u8>>);

/// The packings on both sides of the reader.
enum Packed {
    Plain,
    Gzip(Box<Gzip>),
    Deflate(Box<Deflate>),
}

pub struct Rewritten {
    body: Incoming,
    filter: Option<Filter>,
}

impl Rewritten {
    pub fn new(body: Incoming, encoding: Encoding, place: Place) -> Self {
        Rewritten { body, filter: Some(Filter::new(encoding, place)) }
    }
}

impl Body for Rewritten {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let Some(filter) = &mut this.filter else { return Poll::Ready(None) };
            let out = if filter.rest.is_empty() {
                match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        // Trailers are of the connection.
                        if let Ok(data) = frame.into_data() {
                            filter.take(data);
                        }
                        continue;
                    }
                    Some(Err(e)) => {
                        this.filter = None;
                        return Poll::Ready(Some(Err(e.into())));
                    }
                    None => this.filter.take().map_or(Ok(Vec::new()), Filter::finish),
                }
            } else {
                filter.step()
            };
            match out {
                Ok(out) if out.is_empty() => {
                    // Others come first while there is much in little.
                    if this.filter.as_ref().is_some_and(|filter| !filter.rest.is_empty()) {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Ok(out) => return Poll::Ready(Some(Ok(Frame::data(out.into())))),
                Err(e) => {
                    this.filter = None;
                    return Poll::Ready(Some(Err(e.into())));
                }
            }
        }
    }
}

struct Filter {
    packed: Packed,
    html: Html,
    /// What has come and is not read yet.
    rest: Bytes,
    /// A body without a byte is none, packed or not.
    begun: bool,
}

impl Filter {
    fn new(encoding: Encoding, place: Place) -> Self {
        let level = Compression::default();
        let packed = match encoding {
            Encoding::Plain => Packed::Plain,
            Encoding::Gzip => Packed::Gzip(Box::new((GzDecoder::new(Vec::new()), GzEncoder::new(Vec::new(), level)))),
            Encoding::Deflate => {
                Packed::Deflate(Box::new((DeflateDecoder::new(Vec::new()), DeflateEncoder::new(Vec::new(), level))))
            }
        };
        Filter { packed, html: Html::new(place), rest: Bytes::new(), begun: false }
    }

    /// The next piece, once the one before is read.
    fn take(&mut self, piece: Bytes) {
        self.begun |= !piece.is_empty();
        self.rest = piece;
    }

    /// Reads on in the piece, as far as memory may be taken for at once.
    fn step(&mut self) -> io::Result<Vec<u8>> {
        let text = self.unpack()?;
        let text = self.html.push(&text);
        match &mut self.packed {
            Packed::Plain => Ok(text),
            Packed::Gzip(packed) => {
                packed.1.write_all(&text)?;
                Ok(std::mem::take(packed.1.get_mut()))
            }
            Packed::Deflate(packed) => {
                packed.1.write_all(&text)?;
                Ok(std::mem::take(packed.1.get_mut()))
            }
        }
    }

    /// The text of one step.
    fn unpack(&mut self) -> io::Result<Bytes> {
        let rest = &mut self.rest;
        match &mut self.packed {
            Packed::Plain => Ok(std::mem::take(rest)),
            Packed::Gzip(packed) => {
                inflate(&mut packed.0, rest)?;
                Ok(std::mem::take(packed.0.get_mut()).into())
            }
            Packed::Deflate(packed) => {
                inflate(&mut packed.0, rest)?;
                Ok(std::mem::take(packed.0.get_mut()).into())
            }
        }
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        if !self.begun {
            return Ok(Vec::new());
        }
        let mut html = self.html;
        let mut rest = |last: Vec<u8>| [html.push(&last), html.finish()].concat();
        match self.packed {
            Packed::Plain => Ok(rest(Vec::new())),
            Packed::Gzip(packed) => {
                let (from, mut to) = *packed;
                to.write_all(&rest(from.finish()?))?;
                to.finish()
            }
            Packed::Deflate(ref mut packed) => {
                let (from, to) = &mut **packed;
                from.try_finish()?;
                to.write_all(&rest(std::mem::take(from.get_mut())))?;
                to.try_finish()?;
                Ok(std::mem::take(to.get_mut()))
            }
        }
    }
}

/// One write: a decoder stops reading when its own buffer of 32 KiB is full, whatever is left of the piece, so that what
/// comes out of it is never much more (deflate packs a thousand bytes into one). What it holds back comes with the last.
fn inflate(decoder: &mut impl Write, rest: &mut Bytes) -> io::Result<()> {
    match decoder.write(rest)? {
        // There is more than what was packed.
        0 => return Err(io::ErrorKind::WriteZero.into()),
        read => rest.advance(read),
    }
    if rest.is_empty() { decoder.flush() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read;
    use http::HeaderValue;
    use std::io::Read;

    const PAGE: &str = "<html><a href=\"/a\">a</a></html>";
    const WANT: &str = "<html><a href=\"/p/a\">a</a></html>";

    fn through(encoding: Encoding, page: &[u8]) -> Vec<u8> {
        let place = Place { prefix: "/p".into(), backend: "b".into(), host: "h".into() };
        let mut filter = Filter::new(encoding, place);
        let mut out = Vec::new();
        for piece in page.chunks(5) {
            filter.take(Bytes::copy_from_slice(piece));
            while !filter.rest.is_empty() {
                out.extend(filter.step().unwrap());
            }
        }
        out.extend(filter.finish().unwrap());
        out
    }

    #[test]
    fn every_packing() {
        assert_eq!(through(Encoding::Plain, PAGE.as_bytes()), WANT.as_bytes());
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(PAGE.as_bytes()).unwrap();
        let out = through(Encoding::Gzip, &packed.finish().unwrap());
        let mut text = String::new();
        read::GzDecoder::new(&out[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, WANT);
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
        packed.write_all(PAGE.as_bytes()).unwrap();
        let out = through(Encoding::Deflate, &packed.finish().unwrap());
        let mut text = String::new();
        read::DeflateDecoder::new(&out[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, WANT);
        assert!(through(Encoding::Gzip, b"").is_empty());
    }

    /// Much in little takes no more memory at once than anything else.
    #[test]
    fn a_bomb() {
        const SIZE: usize = 32 << 20;
        let text = vec![b' '; SIZE];
        let level = Compression::best();
        let mut gzip = GzEncoder::new(Vec::new(), level);
        gzip.write_all(&text).unwrap();
        let mut deflate = DeflateEncoder::new(Vec::new(), level);
        deflate.write_all(&text).unwrap();
        for (encoding, packed) in
            [(Encoding::Gzip, gzip.finish().unwrap()), (Encoding::Deflate, deflate.finish().unwrap())]
        {
            assert!(packed.len() < SIZE / 900, "{encoding:?}");
            let place = Place { prefix: "/p".into(), backend: "b".into(), host: "h".into() };
            let mut filter = Filter::new(encoding, place.clone());
            filter.take(packed.clone().into());
            let (mut largest, mut whole) = (0, 0);
            while !filter.rest.is_empty() {
                let text = filter.unpack().unwrap();
                (largest, whole) = (largest.max(text.len()), whole + text.len());
            }
            assert_eq!(whole, SIZE, "{encoding:?}");
            assert!(largest <= 128 << 10, "{encoding:?}: {largest} bytes at once");
            // And what goes out is again as small.
            let mut filter = Filter::new(encoding, place);
            filter.take(packed.into());
            let mut steps = 0;
            while !filter.rest.is_empty() {
                assert!(filter.step().unwrap().len() <= 128 << 10);
                steps += 1;
            }
            assert!(steps >= SIZE / (128 << 10), "{encoding:?}: {steps} steps");
        }
    }

    #[test]
    fn what_is_read() {
        for (kind, encoding, want) in [
            ("text/html", "", Some(Encoding::Plain)),
            ("text/html; charset=utf-8", "gzip", Some(Encoding::Gzip)),
            ("text/html", "deflate", Some(Encoding::Deflate)),
            ("text/html", "br", None),
            ("text/plain", "", None),
            ("", "", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
            assert_eq!(readable(&headers), want, "{kind} {encoding}");
        }
    }
}
