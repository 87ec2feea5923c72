//! Sets and maps, and the bytes of their keys.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::expr::Verdict;

/// The type of one field of a key or value. It tells the kernel only a length; the number is for `nft list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A transport protocol's number, one byte.
    Protocol,
    /// A port, big-endian.
    Port,
    /// A 32-bit number in the machine's byte order.
    Number,
}

impl Field {
    fn type_number(self) -> u32 {
        match self {
            Field::Ipv4 => 7,
            Field::Ipv6 => 8,
            Field::Protocol => 12,
            Field::Port => 13,
            // nft's "mark": the only 32-bit type in machine order that it can print in a concatenation.
            Field::Number => 19,
        }
    }

    fn length(self) -> u32 {
        match self {
            Field::Ipv6 => 16,
            Field::Protocol => 1,
            Field::Port => 2,
            Field::Ipv4 | Field::Number => 4,
        }
    }
}

/// What a map gives for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A set: only membership.
    Set,
    /// A map to fields.
    Map(Vec<Field>),
    /// A map to verdicts.
    VerdictMap,
}

/// A named set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    pub key: Vec<Field>,
    pub kind: Kind,
    /// Keys are the bounds of ranges: see [`interval`].
    pub interval: bool,
    /// The packet path adds elements, which expire: at most this many.
    pub dynamic: Option<u32>,
}

impl Set {
    pub fn members(name: &str, key: &[Field]) -> Set {
        Set { name: name.into(), key: key.to_vec(), kind: Kind::Set, interval: false, dynamic: None }
    }

    pub fn map(name: &str, key: &[Field], value: &[Field]) -> Set {
        Set { kind: Kind::Map(value.to_vec()), ..Set::members(name, key) }
    }

    pub fn verdict_map(name: &str, key: &[Field]) -> Set {
        Set { kind: Kind::VerdictMap, ..Set::members(name, key) }
    }
}

/// Type number and length in bytes of a concatenation.
pub(super) fn layout(fields: &[Field]) -> (u32, u32) {
    match fields {
        [one] => (one.type_number(), one.length()),
        many => {
            let number = many.iter().fold(0, |number, field| number << 6 | field.type_number());
            (number, many.iter().map(|field| field.length().next_multiple_of(4)).sum())
        }
    }
}

/// What an element of a map holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    None,
    Data(Vec<u8>),
    Verdict(Verdict),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub key: Vec<u8>,
    pub value: Value,
    /// Only in dynamic sets: how long it lives.
    pub timeout: Option<Duration>,
    /// Only in a dump of a dynamic set: what is left of that.
    pub expires: Option<Duration>,
    /// The key is the first one after a range.
    pub interval_end: bool,
}

impl Element {
    /// A member of a set.
    pub fn member(key: Vec<u8>) -> Element {
        Element { key, value: Value::None, timeout: None, expires: None, interval_end: false }
    }

    /// An entry of a map.
    pub fn entry(key: Vec<u8>, value: Value) -> Element {
        Element { value, ..Element::member(key) }
    }
}

/// The two elements that hold a prefix in a set of IPv4 ranges.
pub fn interval(network: Ipv4Addr, prefix: u8) -> Vec<Element> {
    let size = 1u64 << (32 - u32::from(prefix.min(32)));
    let first = u64::from(u32::from(network)) & !(size - 1);
    let mut elements = vec![Element::member((first as u32).to_be_bytes().to_vec())];
    // A range up to the last address has no end element.
    if let Ok(end) = u32::try_from(first + size) {
        elements.push(Element { interval_end: true, ..Element::member(end.to_be_bytes().to_vec()) });
    }
    elements
}

/// Builds the bytes of a concatenated key or value.
#[derive(Debug, Default)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    pub fn new() -> Bytes {
        Bytes::default()
    }

    pub fn ipv4(mut self, address: Ipv4Addr) -> Bytes {
        self.0.extend_from_slice(&address.octets());
        self
    }

    pub fn protocol(mut self, number: u8) -> Bytes {
        self.0.extend_from_slice(&[number, 0, 0, 0]);
        self
    }

    pub fn port(mut self, port: u16) -> Bytes {
        self.0.extend_from_slice(&port.to_be_bytes());
        self.0.extend_from_slice(&[0, 0]);
        self
    }

    pub fn number(mut self, number: u32) -> Bytes {
        self.0.extend_from_slice(&number.to_ne_bytes());
        self
    }

    /// The bytes of a concatenation.
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

pub(super) fn show_key(key: &[u8]) -> String {
    let words: Vec<String> =
        key.chunks(4).map(|word| word.iter().map(u8::to_string).collect::<Vec<_>>().join(".")).collect();
    words.join(" . ")
}
