//! A body of HTML whose links are rewritten on its way, plain or compressed.

use super::links::{Html, Place};
use bytes::Bytes;
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
            let out = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => filter.push(&data),
                    // Trailers are of the connection.
                    Err(_) => continue,
                },
                Some(Err(e)) => {
                    this.filter = None;
                    return Poll::Ready(Some(Err(e.into())));
                }
                None => this.filter.take().map_or(Ok(Vec::new()), Filter::finish),
            };
            match out {
                Ok(out) if out.is_empty() => continue,
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
        Filter { packed, html: Html::new(place), begun: false }
    }

    fn push(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        self.begun |= !piece.is_empty();
        match &mut self.packed {
            Packed::Plain => Ok(self.html.push(piece)),
            Packed::Gzip(packed) => {
                let (from, to) = &mut **packed;
                from.write_all(piece)?;
                from.flush()?;
                to.write_all(&self.html.push(&std::mem::take(from.get_mut())))?;
                Ok(std::mem::take(to.get_mut()))
            }
            Packed::Deflate(packed) => {
                let (from, to) = &mut **packed;
                from.write_all(piece)?;
                from.flush()?;
                to.write_all(&self.html.push(&std::mem::take(from.get_mut())))?;
                Ok(std::mem::take(to.get_mut()))
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
        let mut out: Vec<u8> = page.chunks(5).flat_map(|piece| filter.push(piece).unwrap()).collect();
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
