//! The wire format itself: tags, varints, lengths. Source: protobuf.dev/programming-guides/encoding.

use super::Malformed;
use bytes::Bytes;

pub const VARINT: u32 = 0;
pub const FIXED64: u32 = 1;
pub const BYTES: u32 = 2;
pub const FIXED32: u32 = 5;

/// Bytes that a varint takes.
pub fn varint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends fields.
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn with_capacity(n: usize) -> Self {
        Writer(Vec::with_capacity(n))
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
    pub fn into_bytes(self) -> Bytes {
        self.0.into()
    }
    pub fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    pub fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }
    pub fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, BYTES);
        self.varint(bytes.len() as u64);
        self.extend(bytes);
    }
    pub fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }
    /// A bool or an integer; negative ones take ten bytes, as int32 and int64 do.
    pub fn integer(&mut self, field: u32, n: i64) {
        self.tag(field, VARINT);
        self.varint(n as u64);
    }
    pub fn double(&mut self, field: u32, n: f64) {
        self.tag(field, FIXED64);
        self.extend(&n.to_le_bytes());
    }
    /// A message, whose length is put before it once it is known: one byte is kept free, and the few messages over 127
    /// bytes move to make room. Sizing everything beforehand would walk the tree twice.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer)) {
        self.tag(field, BYTES);
        self.0.push(0);
        let start = self.0.len();
        write(self);
        let length = (self.0.len() - start) as u64;
        let extra = varint_len(length) - 1;
        if extra > 0 {
            let end = self.0.len();
            self.0.resize(end + extra, 0);
            self.0.copy_within(start..end, start + extra);
        }
        let mut n = length;
        for i in 0..=extra {
            self.0[start - 1 + i] = n as u8 & 0x7f | if i < extra { 0x80 } else { 0 };
            n >>= 7;
        }
    }
}

/// One field as it stands on the wire.
pub enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Content<'_> {
    pub fn wire_type(&self) -> u32 {
        match self {
            Content::Number(_) => VARINT,
            Content::Bytes(_) => BYTES,
        }
    }
}

/// Takes fields off a message: number and content. Groups, which nothing writes any more, are refused.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn next(&mut self) -> Result<Option<(u32, Content<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).unwrap_or(0);
        if field == 0 {
            return Err(Malformed(format!("proto: illegal tag {} (wire type {})", tag >> 3, tag & 7)));
        }
        let content = match tag as u32 & 7 {
            VARINT => Content::Number(self.varint()?),
            FIXED64 => Content::Number(u64::from_le_bytes(self.fixed()?)),
            FIXED32 => Content::Number(u64::from(u32::from_le_bytes(self.fixed()?))),
            BYTES => {
                let length = self.varint()?;
                Content::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            other => return Err(Malformed(format!("proto: illegal wireType {other}"))),
        };
        Ok(Some((field, content)))
    }
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut n = 0_u64;
        for (i, byte) in self.0.iter().take(10).enumerate() {
            n |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = &self.0[i + 1..];
                return Ok(n);
            }
        }
        Err(Malformed(if self.0.len() < 10 { "unexpected EOF" } else { "proto: integer overflow" }.into()))
    }
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(|| Malformed("unexpected EOF".into()))?;
        self.0 = tail;
        Ok(head)
    }
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk().ok_or_else(|| Malformed("unexpected EOF".into()))?;
        self.0 = tail;
        Ok(*head)
    }
}
