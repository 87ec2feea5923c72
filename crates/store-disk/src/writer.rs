//! The disk thread: one frame, one write and one fdatasync for everything that has queued up meanwhile.
//!
//! Nobody waits for company: a group is what came while the last one was being written, so a single writer pays for one
//! fsync and 64 writers share it. When a write or an fsync fails the kernel may have dropped the pages and a later fsync
//! may report success, so nothing that follows can be trusted: every operation from then on is answered with the error.

use crate::{
    Sync,
    frame::{self, Kind},
    publish::Batch,
    queue::{Op, What},
    record,
    segment::Segment,
    shared::Shared,
};
use std::{
    collections::{HashSet, VecDeque},
    io,
    num::NonZeroU32,
    os::unix::fs::FileExt,
    sync::{Arc, atomic::Ordering, mpsc::SyncSender},
};

/// A group ends when it has reached this many bytes; one transaction may be longer.
const GROUP_BYTES: usize = 4 << 20;

/// Where the log ends.
pub struct Log {
    segment: Arc<Segment>,
    id: NonZeroU32,
    at: u64,
    /// The number of the next frame.
    number: u64,
    /// Keyspaces whose name the log or its base holds.
    defined: HashSet<u32>,
    sync: Sync,
    frame: Vec<u8>,
}

impl Log {
    pub fn new(active: (NonZeroU32, Arc<Segment>), at: u64, number: u64, defined: HashSet<u32>, sync: Sync) -> Self {
        Log { segment: active.1, id: active.0, at, number, defined, sync, frame: Vec::new() }
    }

    /// Makes the group durable and notes where the values lie.
    fn write(&mut self, shared: &Shared, ops: &mut [Op]) -> io::Result<()> {
        if self.frame.len() == frame::FRAME_HEADER {
            return Ok(());
        }
        let len = frame::frame_len(self.frame.len() - frame::FRAME_HEADER) as u64;
        if self.at > frame::SEGMENT_HEADER as u64 && self.at + len > shared.options.segment_bytes {
            self.roll(shared, len)?;
        }
        frame::seal(&mut self.frame, self.segment.header.salt, self.number);
        for op in ops {
            if let What::Txn { writes, .. } = &mut op.what {
                for write in writes {
                    write.offset += self.at as u32;
                }
            }
        }
        self.segment.file.write_all_at(&self.frame, self.at)?;
        (self.sync)(&self.segment.file)?;
        self.at += len;
        self.number += 1;
        shared.log_bytes.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the segment, which is durable to its last frame, and begins the next.
    fn roll(&mut self, shared: &Shared, len: u64) -> io::Result<()> {
        let id = shared.segments.next_id()?;
        let space = shared.options.segment_bytes.max(frame::SEGMENT_HEADER as u64 + len);
        let next = Arc::new(Segment::create(&shared.dir, Kind::Log, id, self.number, space)?);
        shared.segments.edit(|table| {
            table.insert(id, next.clone());
        });
        self.segment.file.set_len(self.at)?;
        (self.segment, self.id, self.at) = (next, id, frame::SEGMENT_HEADER as u64);
        Ok(())
    }

    /// Appends the records of `op` to the frame under way.
    fn encode(&mut self, op: &mut Op) {
        let out = &mut self.frame;
        match &mut op.what {
            What::Barrier(_) => {}
            What::Floor { keyspace, revision } => record::put_floor(out, keyspace.id, *revision),
            What::Txn { keyspace, revision, writes } => {
                if self.defined.insert(keyspace.id) {
                    record::put_keyspace(out, keyspace.id, &keyspace.name);
                }
                record::put_txn(out, keyspace.id, *revision, writes.len());
                for write in writes {
                    write.offset = record::put_entry(out, &write.key, write.value.as_deref(), write.expires) as u32;
                }
            }
        }
    }
}

/// Writes until the queue is closed and empty.
pub fn run(shared: &Shared, mut log: Log, publisher: &SyncSender<Batch>) {
    let mut backlog = VecDeque::new();
    while shared.queue.take(&mut backlog) {
        let mut ops = Vec::with_capacity(backlog.len());
        frame::begin(&mut log.frame);
        while log.frame.len() < GROUP_BYTES
            && let Some(mut op) = backlog.pop_front()
        {
            log.encode(&mut op);
            ops.push(op);
        }
        if shared.failure().is_none()
            && let Err(error) = log.write(shared, &mut ops)
        {
            shared.fail(error);
        }
        if let Some(failure) = shared.failure() {
            for reply in ops.into_iter().filter_map(|op| op.reply) {
                let _ = reply.send(Err(failure.clone()));
            }
        } else if publisher.send(Batch { ops, segment: log.id }).is_err() {
            shared.fail(io::Error::other("a subscriber panicked"));
        }
        if log.frame.capacity() > 2 * GROUP_BYTES {
            log.frame = Vec::new();
        }
    }
}
