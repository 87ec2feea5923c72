//! SPDY/3.1 frames, as far as Kubernetes' clients speak them: streams with headers, data, ping, end.
//!
//! The protocol is long dead elsewhere, and so are its libraries: hence code of our own. There is no flow control in the
//! client at the other end, and none here. Headers
//! are one zlib stream per direction, primed with the dictionary of the draft (draft-mbelshe-httpbis-spdy-00, 2.6.10.1).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// A frame from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A new stream; `fin`: the client sends nothing on it.
    Open {
        stream: u32,
        fin: bool,
        headers: Vec<(String, String)>,
    },
    Data {
        stream: u32,
        fin: bool,
        bytes: Vec<u8>,
    },
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Settings, windows, and whatever else may be left unread.
    Other,
}

/// The longest frame that is taken: clients send pieces of 32 KiB.
const MAX: usize = 1 << 20;
/// The longest headers of one frame, unpacked: clients send a few short ones, and a little can unpack to very much.
const HEADERS: usize = 16 << 10;

/// Reads frames; holds the state of the headers' compression.
pub struct Reader {
    headers: Decompress,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { headers: Decompress::new(true) }
    }
}

impl Reader {
    /// The next frame; an error or `None` ends the connection.
    pub async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
        let mut head = [0; 8];
        match from.read_exact(&mut head).await {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => drop(other?),
        }
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let (flags, length) = (head[4], u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize);
        if length > MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a SPDY frame that is too long"));
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).await?;
        let fin = flags & 1 != 0;
        if first & 0x8000_0000 == 0 {
            return Ok(Some(Frame::Data { stream: first, fin, bytes: body }));
        }
        let id =
            |at: usize| body.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) & 0x7fff_ffff);
        Ok(Some(match first & 0xffff {
            1 if body.len() >= 10 => Frame::Open { stream: id(0), fin, headers: self.headers(&body[10..])? },
            // HEADERS, too, move the compression on.
            8 if body.len() >= 4 => {
                self.headers(&body[4..])?;
                Frame::Other
            }
            3 => Frame::Reset { stream: id(0) },
            6 => Frame::Ping { id: id(0) },
            7 => Frame::GoAway,
            _ => Frame::Other,
        }))
    }

    fn headers(&mut self, packed: &[u8]) -> io::Result<Vec<(String, String)>> {
        let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("SPDY headers: {why}"));
        let mut plain = Vec::with_capacity(4096);
        let begun = self.headers.total_in();
        loop {
            let done = usize::try_from(self.headers.total_in() - begun).unwrap_or(packed.len());
            let produced = plain.len();
            if plain.len() > HEADERS {
                return Err(bad("too long"));
            }
            plain.reserve(4096);
            match self.headers.decompress_vec(&packed[done..], &mut plain, FlushDecompress::Sync) {
                Ok(_) => {
                    let now = usize::try_from(self.headers.total_in() - begun).unwrap_or(packed.len());
                    if now == done && plain.len() == produced {
                        break;
                    }
                }
                Err(e) if e.needs_dictionary().is_some() => {
                    self.headers.set_dictionary(&dictionary()).map_err(|e| bad(&e.to_string()))?;
                }
                Err(e) => return Err(bad(&e.to_string())),
            }
        }
        pairs(&plain).ok_or_else(|| bad("torn"))
    }
}

fn pairs(plain: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = plain;
    let mut number = || -> Option<usize> {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        usize::try_from(u32::from_be_bytes(*head)).ok()
    };
    let count = number()?;
    let mut at = 4;
    let text = |at: &mut usize| -> Option<String> {
        let length = plain.get(*at..*at + 4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let bytes = plain.get(*at + 4..(*at + 4).checked_add(length)?)?;
        *at += 4 + length;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    let mut pairs = Vec::new();
    for _ in 0..count.min(256) {
        pairs.push((text(&mut at)?.to_ascii_lowercase(), text(&mut at)?));
    }
    Some(pairs)
}

/// Makes frames; holds the state of the headers' compression.
pub struct Writer {
    headers: Compress,
}

impl Writer {
    pub fn new() -> io::Result<Self> {
        let mut headers = Compress::new(Compression::fast(), true);
        headers.set_dictionary(&dictionary()).map_err(io::Error::other)?;
        Ok(Writer { headers })
    }
    /// SYN_REPLY without headers.
    pub fn reply(&mut self, stream: u32) -> io::Result<Vec<u8>> {
        let mut packed = Vec::with_capacity(256);
        self.headers.compress_vec(&0u32.to_be_bytes(), &mut packed, FlushCompress::Sync).map_err(io::Error::other)?;
        let mut body = stream.to_be_bytes().to_vec();
        body.extend(packed);
        Ok(control(2, &body))
    }
}

/// A data frame.
pub fn data(stream: u32, fin: bool, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
    let mut frame = stream.to_be_bytes().to_vec();
    frame.extend([u8::from(fin), length[1], length[2], length[3]]);
    frame.extend_from_slice(bytes);
    frame
}

/// A stream that is not wanted.
pub fn reset(stream: u32) -> Vec<u8> {
    const REFUSED: u32 = 3;
    control(3, &[stream.to_be_bytes(), REFUSED.to_be_bytes()].concat())
}

/// Nothing more comes; `last` is the last stream that was taken.
pub fn go_away(last: u32) -> Vec<u8> {
    control(7, &[last.to_be_bytes(), 0u32.to_be_bytes()].concat())
}

/// The answer to a ping.
pub fn ping(id: u32) -> Vec<u8> {
    control(6, &id.to_be_bytes())
}

fn control(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![0x80, 3];
    frame.extend(kind.to_be_bytes());
    frame.extend([0, length[1], length[2], length[3]]);
    frame.extend_from_slice(body);
    frame
}

/// The words that the draft lists, each behind its length, and a tail without lengths.
fn dictionary() -> Vec<u8> {
    const WORDS: &str = "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|\
        accept-ranges|age|allow|authorization|cache-control|connection|content-base|content-encoding|content-language|\
        content-length|content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|\
        if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|\
        pragma|proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|\
        upgrade|user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|\
        set-cookie|keep-alive|origin";
    const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
        203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
        403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
        Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
        chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
        text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
    let mut out = Vec::with_capacity(1423);
    for word in WORDS.split('|') {
        out.extend(u32::try_from(word.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(word.as_bytes());
    }
    out.extend_from_slice(TAIL.as_bytes());
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A client's side, for tests.
    pub(crate) struct ClientSide(Compress);

    impl ClientSide {
        pub(crate) fn new() -> Self {
            let mut headers = Compress::new(Compression::best(), true);
            headers.set_dictionary(&dictionary()).unwrap();
            ClientSide(headers)
        }
        pub(crate) fn open(&mut self, stream: u32, fin: bool, headers: &[(&str, &str)]) -> Vec<u8> {
            let mut plain = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
            for text in headers.iter().flat_map(|(k, v)| [*k, *v]) {
                plain.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                plain.extend_from_slice(text.as_bytes());
            }
            let mut packed = Vec::with_capacity(4096);
            self.0.compress_vec(&plain, &mut packed, FlushCompress::Sync).unwrap();
            let mut body = stream.to_be_bytes().to_vec();
            body.extend([0; 6]);
            body.extend(packed);
            let mut frame = control(1, &body);
            frame[4] = u8::from(fin);
            frame
        }
    }

    #[test]
    fn the_dictionary_is_the_drafts() {
        let words = dictionary();
        let (a, b) = words.iter().fold((1u32, 0u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        assert_eq!((words.len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    #[tokio::test]
    async fn frames_round_trip() {
        let mut client = ClientSide::new();
        let mut bytes = client.open(1, true, &[("streamtype", "error"), ("port", "80")]);
        bytes.extend(client.open(3, false, &[("streamtype", "data"), ("port", "80")]));
        bytes.extend(data(3, false, b"hello"));
        bytes.extend(ping(7));
        bytes.extend(control(9, &[0; 8]));
        bytes.extend(data(3, true, b""));
        let mut reader = Reader::default();
        let mut from = bytes.as_slice();
        let mut frames = Vec::new();
        while let Some(frame) = reader.next(&mut from).await.unwrap() {
            frames.push(frame);
        }
        let headers = |kind: &str| vec![("streamtype".to_string(), kind.to_string()), ("port".into(), "80".into())];
        assert_eq!(
            frames,
            [
                Frame::Open { stream: 1, fin: true, headers: headers("error") },
                Frame::Open { stream: 3, fin: false, headers: headers("data") },
                Frame::Data { stream: 3, fin: false, bytes: b"hello".to_vec() },
                Frame::Ping { id: 7 },
                Frame::Other,
                Frame::Data { stream: 3, fin: true, bytes: Vec::new() },
            ]
        );
        let torn = client.open(5, false, &[("a", "b")]);
        assert!(Reader::default().next(&mut &torn[..]).await.is_err(), "headers of another connection");
    }
    #[tokio::test]
    async fn headers_that_unpack_to_much_are_refused() {
        for (length, taken) in [(100, true), (HEADERS - 100, true), (HEADERS + 1, false), (1 << 19, false)] {
            let frame = ClientSide::new().open(1, false, &[("requestid", &"7".repeat(length))]);
            assert_eq!(Reader::default().next(&mut &frame[..]).await.is_ok(), taken, "{length}");
        }
    }
}
