//! What a frame's payload holds: records, one after another, little-endian.
//!
//! | tag | record | fields |
//! | --- | --- | --- |
//! | 1 | keyspace | id u32, length u16, name |
//! | 2 | transaction | keyspace u32, revision u64, count u32, entries |
//! | 3 | item of a base | as a transaction with one entry; the revision is the key's |
//! | 4 | floor | keyspace u32, revision u64: history up to here is forgotten |
//! | 5 | end of a base | number of items u64 |
//!
//! An entry is: 1 for a value or 0 for a deletion u8, key length u32, value length u32, expiry in milliseconds since
//! 1970 or 0 i64, key, value. All lengths stand in front, so that an entry can be found from the place of its value.

use store::{Revision, Timestamp};

const KEYSPACE: u8 = 1;
const TXN: u8 = 2;
const ITEM: u8 = 3;
const FLOOR: u8 = 4;
const END: u8 = 5;

/// Bytes of an entry in front of its key.
pub const ENTRY_HEADER: usize = 17;
/// Bytes of a transaction or item in front of its entries.
pub const TXN_HEADER: usize = 17;

/// One record, borrowed from a payload.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    Keyspace { id: u32, name: &'a str },
    Txn { keyspace: u32, revision: Revision, entries: Vec<Entry<'a>> },
    Item { keyspace: u32, revision: Revision, entry: Entry<'a> },
    Floor { keyspace: u32, revision: Revision },
    End { items: u64 },
}

/// One key's write.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub key: &'a str,
    /// Offset of the value in the payload, and its length; `None` for a deletion.
    pub value: Option<(usize, usize)>,
    pub expires: Option<Timestamp>,
}

pub fn put_keyspace(out: &mut Vec<u8>, id: u32, name: &str) {
    out.push(KEYSPACE);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

/// `count` entries must follow.
pub fn put_txn(out: &mut Vec<u8>, keyspace: u32, revision: Revision, count: usize) {
    put_head(out, TXN, keyspace, revision, count);
}

/// One entry must follow.
pub fn put_item(out: &mut Vec<u8>, keyspace: u32, revision: Revision) {
    put_head(out, ITEM, keyspace, revision, 1);
}

pub fn put_floor(out: &mut Vec<u8>, keyspace: u32, revision: Revision) {
    out.push(FLOOR);
    out.extend_from_slice(&keyspace.to_le_bytes());
    out.extend_from_slice(&revision.0.to_le_bytes());
}

pub fn put_end(out: &mut Vec<u8>, items: u64) {
    out.push(END);
    out.extend_from_slice(&items.to_le_bytes());
}

/// Appends an entry and returns where in `out` its value lies.
pub fn put_entry(out: &mut Vec<u8>, key: &str, value: Option<&[u8]>, expires: Option<Timestamp>) -> usize {
    out.push(u8::from(value.is_some()));
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(&(value.map_or(0, <[u8]>::len) as u32).to_le_bytes());
    // 0 stands for none; the instant itself would have passed anyway.
    out.extend_from_slice(&expires.map_or(0, |t| t.as_millisecond().max(1)).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    let at = out.len();
    out.extend_from_slice(value.unwrap_or_default());
    at
}

/// Reads the expiry out of an entry's header; `None` also when the bytes are none.
pub fn entry_expires(header: &[u8]) -> Option<Timestamp> {
    let millis = i64::from_le_bytes(*header.get(9..)?.first_chunk()?);
    if millis == 0 { None } else { Timestamp::from_millisecond(millis).ok() }
}

fn put_head(out: &mut Vec<u8>, tag: u8, keyspace: u32, revision: Revision, count: usize) {
    out.push(tag);
    out.extend_from_slice(&keyspace.to_le_bytes());
    out.extend_from_slice(&revision.0.to_le_bytes());
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

/// The records of a payload. A malformed one ends the iteration with an error: the checksum held, so it is not damage
/// but a format that this version does not know.
pub struct Records<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        Records { payload, at: 0 }
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let bytes = self.payload.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn revision(&mut self) -> Option<Revision> {
        self.array().map(|bytes| Revision(u64::from_le_bytes(bytes)))
    }

    fn str(&mut self, n: usize) -> Option<&'a str> {
        std::str::from_utf8(self.take(n)?).ok()
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let header = self.take(ENTRY_HEADER)?;
        let u32_at = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?) as usize);
        let key = self.str(u32_at(1)?)?;
        let value = (self.at, u32_at(5)?);
        self.take(value.1)?;
        Some(Entry { key, value: (header[0] == 1).then_some(value), expires: entry_expires(header) })
    }

    fn record(&mut self) -> Option<Record<'a>> {
        let [tag] = self.array()?;
        Some(match tag {
            KEYSPACE => {
                let id = self.u32()?;
                let len = u16::from_le_bytes(self.array()?);
                Record::Keyspace { id, name: self.str(len.into())? }
            }
            TXN | ITEM => {
                let (keyspace, revision, count) = (self.u32()?, self.revision()?, self.u32()?);
                let mut entries = Vec::with_capacity(count.min(16) as usize);
                for _ in 0..count {
                    entries.push(self.entry()?);
                }
                if tag == TXN {
                    Record::Txn { keyspace, revision, entries }
                } else {
                    Record::Item { keyspace, revision, entry: entries.pop()? }
                }
            }
            FLOOR => Record::Floor { keyspace: self.u32()?, revision: self.revision()? },
            END => Record::End { items: u64::from_le_bytes(self.array()?) },
            _ => return None,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    /// The record, or the offset in the payload of one that cannot be read.
    type Item = Result<Record<'a>, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        if start >= self.payload.len() {
            return None;
        }
        let record = self.record();
        if record.is_none() {
            self.at = self.payload.len();
        }
        Some(record.ok_or(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let mut out = Vec::new();
        let expires = Timestamp::from_millisecond(1_700_000_000_123).ok();
        put_keyspace(&mut out, 3, "default");
        put_txn(&mut out, 3, Revision(9), 2);
        let at = put_entry(&mut out, "/a", Some(b"value"), expires);
        put_entry(&mut out, "/b", None, None);
        assert_eq!(entry_expires(&out[at - 2 - ENTRY_HEADER..at]), expires);
        put_item(&mut out, 3, Revision(4));
        let item = put_entry(&mut out, "/c", Some(b""), None);
        put_floor(&mut out, 3, Revision(5));
        put_end(&mut out, 1);
        let read: Vec<_> = Records::new(&out).map(|r| r.expect("readable")).collect();
        assert_eq!(
            read,
            [
                Record::Keyspace { id: 3, name: "default" },
                Record::Txn {
                    keyspace: 3,
                    revision: Revision(9),
                    entries: vec![
                        Entry { key: "/a", value: Some((at, 5)), expires },
                        Entry { key: "/b", value: None, expires: None }
                    ]
                },
                Record::Item {
                    keyspace: 3,
                    revision: Revision(4),
                    entry: Entry { key: "/c", value: Some((item, 0)), expires: None }
                },
                Record::Floor { keyspace: 3, revision: Revision(5) },
                Record::End { items: 1 },
            ]
        );
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_an_error_not_a_panic() {
        let mut out = Vec::new();
        put_txn(&mut out, 1, Revision(1), 1);
        put_entry(&mut out, "/a", Some(b"value"), None);
        for cut in 1..out.len() {
            assert_eq!(Records::new(&out[..cut]).last(), Some(Err(0)), "cut at {cut}");
        }
        assert_eq!(Records::new(&[200]).last(), Some(Err(0)));
    }
}
