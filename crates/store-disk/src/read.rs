//! Values from disk. A sweep reads ahead, since base and history are read in the order in which they lie there.

use crate::{
    record::{ENTRY_HEADER, entry_expires},
    segment::{Segment, Table, read_at},
    state::Slot,
};
use std::{io, num::NonZeroU32, sync::Arc};
use store::{Bytes, OpenError, ReadError, Timestamp};

/// How much is read ahead, when the next value is near.
const AHEAD: usize = 512 << 10;

/// Reads values out of the segments of one table.
pub struct Sweep {
    table: Arc<Table>,
    window: Vec<u8>,
    segment: Option<NonZeroU32>,
    start: usize,
}

impl Sweep {
    pub fn new(table: Arc<Table>) -> Self {
        Sweep { table, window: Vec::new(), segment: None, start: 0 }
    }

    /// A copy of the value: a slice of the window would keep all of it in memory.
    pub fn value(&mut self, slot: Slot) -> Result<Bytes, OpenError> {
        self.bytes(slot.segment, slot.offset as usize, slot.len as usize).map(Bytes::copy_from_slice)
    }

    /// Value and expiry of the entry of `key`.
    pub fn entry(&mut self, key: &str, slot: Slot) -> Result<(&[u8], Option<Timestamp>), OpenError> {
        let front = ENTRY_HEADER + key.len();
        let Some(offset) = (slot.offset as usize).checked_sub(front) else {
            return Err(self.get(slot.segment)?.corrupt(slot.offset.into(), "an entry lies before the file"));
        };
        let segment = self.get(slot.segment)?;
        let bytes = self.bytes(slot.segment, offset, front + slot.len as usize)?;
        if &bytes[ENTRY_HEADER..front] != key.as_bytes() {
            return Err(segment.corrupt(offset as u64, format!("the entry of {key} is no longer there")));
        }
        Ok((&bytes[front..], entry_expires(bytes)))
    }

    fn get(&self, segment: NonZeroU32) -> Result<Arc<Segment>, OpenError> {
        self.table.get(&segment).cloned().ok_or(OpenError::Closed)
    }

    fn bytes(&mut self, id: NonZeroU32, offset: usize, len: usize) -> Result<&[u8], OpenError> {
        let end = self.start + self.window.len();
        let forward = self.segment == Some(id) && offset >= self.start;
        if !forward || offset + len > end {
            let segment = self.get(id)?;
            let ahead = if forward && offset < end + AHEAD { AHEAD } else { 0 };
            self.window.resize(len.max(ahead), 0);
            let got = read_at(&segment.file, &mut self.window, offset as u64).map_err(|e| segment.io(e))?;
            self.window.truncate(got);
            if got < len {
                self.segment = None;
                return Err(segment.io(io::ErrorKind::UnexpectedEof.into()));
            }
            (self.segment, self.start) = (Some(id), offset);
        }
        let from = offset - self.start;
        Ok(&self.window[from..from + len])
    }
}

/// For callers that only read.
pub fn as_read_error(error: OpenError) -> ReadError {
    match error {
        OpenError::Io { source, .. } => ReadError::Io(Arc::new(source)),
        OpenError::Closed => ReadError::Closed,
        other => ReadError::Io(Arc::new(io::Error::new(io::ErrorKind::InvalidData, other.to_string()))),
    }
}
