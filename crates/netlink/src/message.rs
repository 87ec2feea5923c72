//! The shape of netlink messages: a header, a fixed part, then attributes that nest. All of it is plain bytes; padding
//! to four bytes is the only subtlety.

use crate::{Error, Result};

/// The fixed header before every message.
pub(crate) const HEADER: usize = 16;

pub(crate) const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// One message under construction.
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
}

impl Message {
    /// `kind` and `flags` as in `struct nlmsghdr`; the sequence number is set when the message is sent.
    pub(crate) fn new(kind: u16, flags: u16) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Message { bytes }
    }

    /// A message of netfilter's: family and resource id follow the header.
    pub(crate) fn netfilter(subsystem: u8, kind: u8, flags: u16, family: u8, resource: u16) -> Message {
        let mut message = Message::new(u16::from(subsystem) << 8 | u16::from(kind), flags);
        message.raw(&[family, 0]);
        message.bytes.extend_from_slice(&resource.to_be_bytes());
        message
    }

    /// Bytes of the fixed part, unpadded.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("an attribute holds less than 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    pub(crate) fn attr_str(&mut self, kind: u16, value: &str) {
        let length = u16::try_from(value.len() + 5).expect("an attribute holds less than 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    pub(crate) fn attr_u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    pub(crate) fn attr_be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    pub(crate) fn attr_be64(&mut self, kind: u16, value: u64) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// An attribute that holds attributes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).expect("a nested attribute holds less than 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
    }

    /// Writes length and sequence number into the header.
    pub(crate) fn finish(&mut self, sequence: u32) {
        self.pad();
        let length = (self.bytes.len() as u32).to_ne_bytes();
        self.bytes[0..4].copy_from_slice(&length);
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One received message: its type and what follows the header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

/// The messages of one datagram.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32_at(rest, 0)? as usize;
        if length < HEADER || length > rest.len() {
            return None;
        }
        let message = Received {
            kind: u16_at(rest, 4)?,
            flags: u16_at(rest, 6)?,
            sequence: u32_at(rest, 8)?,
            body: &rest[HEADER..length],
        };
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some(message)
    })
}

/// The attributes after a fixed part: (type without flags, value).
pub(crate) fn attrs(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        if length < 4 || length > rest.len() {
            return None;
        }
        let found = (u16_at(rest, 2)? & NLA_TYPE_MASK, &rest[4..length]);
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some(found)
    })
}

/// The first attribute of that type.
pub(crate) fn attr(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A NUL-terminated name.
pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_ne_bytes([b[0], b[1]]))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

pub(crate) fn be16(bytes: &[u8]) -> Option<u16> {
    bytes.get(..2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

pub(crate) fn be32(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

pub(crate) fn be64(bytes: &[u8]) -> Option<u64> {
    bytes.get(..8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)
}

/// The part after a fixed struct of `size` bytes.
pub(crate) fn after<'a>(body: &'a [u8], size: usize, object: &str) -> Result<&'a [u8]> {
    body.get(size..).ok_or_else(|| Error::Protocol { object: object.to_string(), reason: "a message is too short" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back() {
        let mut message = Message::new(16, 5);
        message.raw(&[1, 2, 3, 4]);
        message.attr_str(3, "ferry");
        message.nest(18, |m| m.attr_u32(1, 7));
        message.finish(9);
        let datagram = message.bytes;
        let read: Vec<_> = messages(&datagram).collect();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].kind, read[0].flags, read[0].sequence), (16, 5, 9));
        let rest = after(read[0].body, 4, "x").unwrap();
        assert_eq!(text(attr(rest, 3).unwrap()), "ferry");
        assert_eq!(attr(attr(rest, 18).unwrap(), 1), Some(&7u32.to_ne_bytes()[..]));
    }

    #[test]
    fn a_torn_datagram_ends_the_iteration() {
        assert_eq!(messages(&[1, 2, 3]).count(), 0);
        assert_eq!(messages(&[200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(attrs(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attrs(&[255, 0, 1, 0]).count(), 0);
    }
}
