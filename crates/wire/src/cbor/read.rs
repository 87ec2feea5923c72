//! From bytes to a tree: everything well-formed that JSON could say as well.

use super::{DEEPEST, Malformed, SELF_DESCRIBED};
use base::ids::hex;
use base::time::{self, Timestamp};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use value::{Map, Str, Value};

type Result<T> = std::result::Result<T, Malformed>;

/// The tree of one data item, which must be all there is. See the module for what is refused.
pub fn decode(bytes: &[u8]) -> Result<Value> {
    let (value, rest) = decode_first(bytes)?;
    if rest.is_empty() {
        return Ok(value);
    }
    let at = bytes.len() - rest.len();
    Err(Malformed(format!("cbor: {} bytes of extraneous data starting at index {at}", rest.len())))
}

/// The tree of the first item of a sequence, and what follows it.
pub fn decode_first(bytes: &[u8]) -> Result<(Value, &[u8])> {
    if bytes.is_empty() {
        return Err(Malformed("EOF".into()));
    }
    // The mark is no level: what was written at the limit can be read.
    let mut reader = Reader(bytes.strip_prefix(&SELF_DESCRIBED).unwrap_or(bytes));
    let value = reader.item(0, Later::Nothing)?;
    Ok((value, reader.0))
}

/// What a tag says a byte string inside it is to become.
#[derive(Clone, Copy)]
enum Later {
    Nothing,
    Base64Url,
    Base64,
    Hex,
}

/// The first byte of an item, with its argument.
enum Head {
    Of {
        major: u8,
        argument: u64,
    },
    /// An open array, map or string.
    Open {
        major: u8,
    },
    /// Booleans, null, floats.
    Simple(Value),
    Break,
}

struct Reader<'a>(&'a [u8]);

const NAMES: [&str; 8] =
    ["positive integer", "negative integer", "byte string", "UTF-8 text string", "array", "map", "tag", "primitives"];

impl<'a> Reader<'a> {
    fn item(&mut self, level: usize, later: Later) -> Result<Value> {
        match self.head()? {
            Head::Simple(value) => Ok(value),
            Head::Break => Err(Malformed("cbor: unexpected \"break\" code".into())),
            head => self.rest(head, level, later),
        }
    }

    /// What follows a head that is no simple value.
    fn rest(&mut self, head: Head, level: usize, later: Later) -> Result<Value> {
        let (major, length) = match head {
            Head::Of { major, argument } => (major, Some(argument)),
            Head::Open { major } => (major, None),
            Head::Simple(value) => return Ok(value),
            Head::Break => return Err(Malformed("cbor: unexpected \"break\" code".into())),
        };
        match (major, length) {
            (0, Some(n)) => i64::try_from(n).map(Value::Int).map_err(|_| overflow("positive integer", &n.to_string())),
            (1, Some(n)) => match i64::try_from(n) {
                Ok(n) => Ok(Value::Int(!n)),
                Err(_) => Err(overflow("negative integer", &format!("-{}", u128::from(n) + 1))),
            },
            (2 | 3, length) => self.string(major, length, later).map(Value::String),
            (4, length) => self.array(length, deeper(level)?, later),
            (5, length) => self.map(length, deeper(level)?, later),
            (6, Some(tag)) => self.tagged(tag, deeper(level)?, later),
            _ => Err(Malformed(format!(
                "cbor: invalid additional information 31 for type {}",
                NAMES[usize::from(major)]
            ))),
        }
    }

    fn head(&mut self) -> Result<Head> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = match info {
            0..24 => u64::from(info),
            24 => u64::from(self.take(1)?[0]),
            25 => u64::from(u16::from_be_bytes(self.fixed()?)),
            26 => u64::from(u32::from_be_bytes(self.fixed()?)),
            27 => u64::from_be_bytes(self.fixed()?),
            31 if major == 7 => return Ok(Head::Break),
            31 if (2..6).contains(&major) => return Ok(Head::Open { major }),
            _ => {
                let name = NAMES[usize::from(major)];
                return Err(Malformed(format!("cbor: invalid additional information {info} for type {name}")));
            }
        };
        if major < 7 {
            return Ok(Head::Of { major, argument });
        }
        let value = match (info, argument) {
            (20, _) => Value::Bool(false),
            (21, _) => Value::Bool(true),
            (22, _) => Value::Null,
            (24, n @ 0..32) => {
                return Err(Malformed(format!("cbor: invalid simple value {n} for type primitives")));
            }
            (25, bits) => finite(half(bits as u16))?,
            (26, bits) => finite(f64::from(f32::from_bits(bits as u32)))?,
            (27, bits) => finite(f64::from_bits(bits))?,
            (_, n) => {
                let why = format!("simple value {n} is not recognized");
                return Err(Malformed(format!(
                    "cbor: data item of cbor type primitives is not accepted by protocol: {why}"
                )));
            }
        };
        Ok(Head::Simple(value))
    }

    /// Text, or bytes as the text that they stand for.
    fn string(&mut self, major: u8, length: Option<u64>, later: Later) -> Result<Str> {
        let joined;
        let bytes = match length {
            Some(length) => self.counted(length)?,
            None => {
                joined = self.chunks(major)?;
                &joined
            }
        };
        match (major, later) {
            (3, _) | (_, Later::Nothing) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(text.into()),
                Err(_) if major == 3 => Err(Malformed("cbor: invalid UTF-8 string".into())),
                Err(_) => Err(Malformed("cbor: a byte string without a tag for its encoding is not UTF-8".into())),
            },
            (_, Later::Base64Url) => Ok(URL_SAFE_NO_PAD.encode(bytes).into()),
            (_, Later::Base64) => Ok(STANDARD.encode(bytes).into()),
            (_, Later::Hex) => Ok(hex(bytes).into()),
        }
    }

    /// The pieces of a string of indefinite length, each of which has a length and the string's own type.
    fn chunks(&mut self, major: u8) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let name = NAMES[usize::from(major)];
        loop {
            match self.head()? {
                Head::Break => return Ok(out),
                Head::Of { major: own, argument } if own == major => {
                    let chunk = self.counted(argument)?;
                    if major == 3 && std::str::from_utf8(chunk).is_err() {
                        return Err(Malformed("cbor: invalid UTF-8 string".into()));
                    }
                    out.extend_from_slice(chunk);
                }
                Head::Open { major: own } if own == major => {
                    return Err(Malformed(format!("cbor: indefinite-length {name} chunk is not definite-length")));
                }
                Head::Of { major: other, .. } | Head::Open { major: other } => {
                    let other = NAMES[usize::from(other)];
                    let text = format!("cbor: wrong element type {other} for indefinite-length {name}");
                    return Err(Malformed(text));
                }
                Head::Simple(_) => {
                    let text = format!("cbor: wrong element type primitives for indefinite-length {name}");
                    return Err(Malformed(text));
                }
            }
        }
    }

    fn array(&mut self, length: Option<u64>, level: usize, later: Later) -> Result<Value> {
        let mut items = Vec::with_capacity(room(length, self.0.len()));
        while length.is_none_or(|length| (items.len() as u64) < length) {
            match self.head()? {
                Head::Break if length.is_none() => break,
                head => items.push(self.rest(head, level, later)?),
            }
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, length: Option<u64>, level: usize, later: Later) -> Result<Value> {
        let mut entries = Vec::with_capacity(room(length, self.0.len() / 2));
        while length.is_none_or(|length| (entries.len() as u64) < length) {
            let key = match self.head()? {
                Head::Break if length.is_none() => break,
                head => self.rest(head, level, later)?,
            };
            let Value::String(key) = key else {
                let text = format!("cbor: cannot unmarshal {} into Go value of type string", key.type_name());
                return Err(Malformed(text));
            };
            entries.push((key, self.item(level, later)?));
        }
        // The sorting form tells that a key is there twice, not where.
        let order: Vec<Str> = entries.iter().map(|(key, _)| key.clone()).collect();
        let (map, repeated) = Map::from_entries(entries);
        match repeated.first() {
            None => Ok(Value::Object(map)),
            Some(key) => {
                let at = order.iter().rposition(|k| k == key).unwrap_or(0);
                Err(Malformed(format!("cbor: found duplicate map key {key:?} at map element index {at}")))
            }
        }
    }

    fn tagged(&mut self, tag: u64, level: usize, later: Later) -> Result<Value> {
        let later = match tag {
            0 | 1 => return self.time(tag, level),
            2 | 3 => {
                return Err(Malformed("cbor: data item of cbor type tag is not accepted by protocol: bignum".into()));
            }
            21 => Later::Base64Url,
            22 => Later::Base64,
            23 => Later::Hex,
            _ => later,
        };
        self.item(level, later)
    }

    /// Tags 0 and 1: a time, as its text.
    fn time(&mut self, tag: u64, level: usize) -> Result<Value> {
        let content = self.item(level, Later::Nothing)?;
        let wrong = || Malformed(format!("cbor: tag {tag} is not followed by a time"));
        match (tag, content) {
            (0, Value::String(text)) => match time::parse(&text) {
                Some(_) => Ok(text.into()),
                None => Err(wrong()),
            },
            (1, Value::Int(seconds)) => Timestamp::from_second(seconds).map(text_of).map_err(|_| wrong()),
            (1, Value::Float(seconds)) => {
                let (whole, part) = (seconds.floor(), seconds - seconds.floor());
                let time = Timestamp::new(whole as i64, (part * 1e9) as i32);
                time.map(text_of).map_err(|_| wrong())
            }
            _ => Err(wrong()),
        }
    }

    /// As many bytes as a length says.
    fn counted(&mut self, length: u64) -> Result<&'a [u8]> {
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(|| Malformed("unexpected EOF".into()))?;
        self.0 = tail;
        Ok(head)
    }
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk().ok_or_else(|| Malformed("unexpected EOF".into()))?;
        self.0 = tail;
        Ok(*head)
    }
}

fn text_of(time: Timestamp) -> Value {
    time.to_string().into()
}

/// For how many entries to make room at once. A length is a claim, and an entry takes far more room than its byte: what is
/// nested may claim the same bytes at every level, so that beyond a little only entries that are there are worth room.
pub(super) fn room(claimed: Option<u64>, possible: usize) -> usize {
    const MOST: usize = 4096;
    usize::try_from(claimed.unwrap_or(0)).unwrap_or(usize::MAX).min(possible).min(MOST)
}

fn deeper(level: usize) -> Result<usize> {
    if level < DEEPEST { Ok(level + 1) } else { Err(Malformed(format!("cbor: exceeded max nested level {DEEPEST}"))) }
}

fn overflow(from: &str, number: &str) -> Malformed {
    let into = "cannot unmarshal";
    Malformed(format!("cbor: {into} {from} into Go value of type int64 ({number} overflows Go's int64)"))
}

fn finite(f: f64) -> Result<Value> {
    let what = match f {
        f if f.is_nan() => "floating-point NaN",
        f if f.is_infinite() => "floating-point infinity",
        f => return Ok(Value::Float(f)),
    };
    Err(Malformed(format!("cbor: data item of cbor type primitives is not accepted by protocol: {what}")))
}

/// The number that the bits of a binary16 stand for.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}
