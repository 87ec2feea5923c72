//! Keeping the log short: forgetting old history, and folding old segments into a new base.
//!
//! Forgetting is cheap (a record in the log, an entry less in memory) and happens every [`crate::Options::retention`].
//! Folding writes the live data of all keyspaces anew, so it happens only when the log has outgrown them; then the
//! writing is paid for by what was written before. Commits go on meanwhile: the lock of a keyspace is held to copy its
//! index, and then for a thousand keys at a time.
//!
//! Crash-safe by order: the new base is durable before the manifest names it, the manifest is durable before old files
//! go. A crash in between leaves files that no manifest names; the next opening removes them.

use crate::{
    frame::{self, Kind},
    keyspace::Keyspace,
    manifest::Manifest,
    publish::too_much_history,
    read::Sweep,
    record,
    segment::Segment,
    shared::Shared,
    state::Slot,
};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::HashMap,
    fs, io,
    num::NonZeroU32,
    os::unix::fs::FileExt,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};
use store::Revision;

/// A frame of a base ends when it has reached this many bytes. It is synced at once, so that the log's fdatasync never
/// waits for a mountain of somebody else's pages.
const FRAME_BYTES: usize = 2 << 20;
/// Keys that are pointed at their new places under one hold of the lock.
const RELOCATE: usize = 1000;

/// Wakes the folding thread.
#[derive(Default)]
pub struct Folder {
    signal: Mutex<Signal>,
    wake: Condvar,
    /// One fold at a time.
    folding: Mutex<()>,
}

#[derive(Default)]
struct Signal {
    requested: bool,
    closed: bool,
}

impl Folder {
    /// Asks for a look at the sizes.
    pub fn request(&self) {
        let mut signal = self.signal.lock();
        if !std::mem::replace(&mut signal.requested, true) {
            self.wake.notify_one();
        }
    }

    pub fn close(&self) {
        self.signal.lock().closed = true;
        self.wake.notify_one();
    }

    fn closed(&self) -> bool {
        self.signal.lock().closed
    }
}

/// How much of the log is folded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The older segments, so that half of the threshold remains as history.
    Older,
    /// All but the segment that is being written, and all history is forgotten.
    Everything,
}

/// Forgets and folds until the store is closed.
pub fn run(shared: &Shared) {
    let mut tick = Instant::now() + shared.options.retention;
    // Where each keyspace was at the last tick.
    let mut marks: HashMap<u32, Revision> = HashMap::new();
    loop {
        {
            let mut signal = shared.folder.signal.lock();
            while !signal.requested && !signal.closed {
                if shared.folder.wake.wait_until(&mut signal, tick).timed_out() {
                    break;
                }
            }
            if signal.closed {
                return;
            }
            signal.requested = false;
        }
        for keyspace in shared.keyspaces() {
            if let Some(revision) = too_much_history(&keyspace) {
                forget(&keyspace, revision);
            }
        }
        if Instant::now() >= tick {
            tick = Instant::now() + shared.options.retention;
            for keyspace in shared.keyspaces() {
                let head = store::Store::head(&*keyspace);
                if let Some(mark) = marks.insert(keyspace.id, head) {
                    forget(&keyspace, mark);
                }
            }
        }
        if shared.log_is_large()
            && let Err(error) = fold(shared, Cut::Older)
        {
            // The old files are complete and stay in use; the next request tries again.
            tracing::error!(dir = %shared.dir.display(), %error, "folding the log failed");
        }
    }
}

fn forget(keyspace: &Keyspace, revision: Revision) {
    if let Err(error) = keyspace.forget(revision) {
        tracing::warn!(keyspace = keyspace.name, %error, "forgetting history failed");
    }
}

/// One keyspace's part of the new base.
struct Part {
    keyspace: Arc<Keyspace>,
    revision: Revision,
    /// Key, where its value was, and where it is now.
    items: Vec<(Arc<str>, Slot, Slot)>,
}

/// Writes a new base, makes it valid, points memory at it and removes what it replaces. Blocks.
pub fn fold(shared: &Shared, cut: Cut) -> io::Result<()> {
    let _one_at_a_time = shared.folder.folding.lock();
    if let Some(failure) = shared.failure() {
        return Err(io::Error::other(failure.to_string()));
    }
    let Some((cut_id, frame)) = choose(shared, cut)? else { return Ok(()) };
    // Segments before the cut are complete, but their last transactions may still be on the way to the index.
    shared.barrier().map_err(|e| io::Error::other(e.to_string()))?;
    let mut writer = Writer::new(shared);
    let mut parts = Vec::new();
    let written = shared.keyspaces().into_iter().try_for_each(|keyspace| {
        parts.push(writer.keyspace(keyspace, cut_id, cut)?);
        Ok(())
    });
    let base = match written.and_then(|()| writer.finish()) {
        Ok(base) => base,
        Err(e) => {
            for segment in &writer.done {
                let _ = fs::remove_file(&segment.path);
            }
            return Err(e);
        }
    };
    let ids: Vec<NonZeroU32> = base.iter().map(|segment| id_of(segment)).collect();
    shared.segments.edit(|table| table.extend(base.iter().map(|segment| (id_of(segment), segment.clone()))));
    // From here to the end an error leaves both sets of files, and either manifest is true.
    Manifest { base: ids.clone(), log: cut_id, frame }.write(&shared.dir)?;
    for part in parts {
        relocate(part);
    }
    remove_replaced(shared, &ids, cut_id)
}

fn id_of(segment: &Segment) -> NonZeroU32 {
    NonZeroU32::new(segment.header.id).unwrap_or(NonZeroU32::MAX)
}

/// The first segment that stays and the number of its first frame; `None` when there is nothing to fold.
fn choose(shared: &Shared, cut: Cut) -> io::Result<Option<(NonZeroU32, u64)>> {
    let table = shared.segments.table();
    let logs: Vec<_> = table.iter().filter(|(_, segment)| segment.header.kind == Kind::Log).collect();
    let mut keep = None;
    let mut bytes = 0;
    for (id, segment) in logs.iter().rev() {
        bytes += segment.file.metadata()?.len();
        if keep.is_some() && (cut == Cut::Everything || bytes > shared.fold_threshold() / 2) {
            break;
        }
        keep = Some((**id, segment.header.first));
    }
    Ok(keep.filter(|(id, _)| cut == Cut::Everything || logs.first().is_some_and(|(first, _)| *first != id)))
}

/// Writes base segments.
struct Writer<'a> {
    shared: &'a Shared,
    done: Vec<Arc<Segment>>,
    at: u64,
    number: u64,
    items: u64,
    frame: Vec<u8>,
    /// Items in the frame under way: part and index of the item, offset of the value in the frame.
    open: Vec<(usize, usize)>,
}

impl<'a> Writer<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut frame = Vec::new();
        frame::begin(&mut frame);
        Writer { shared, done: Vec::new(), at: 0, number: 1, items: 0, frame, open: Vec::new() }
    }

    /// Copies what the keyspace held where the cut is, or later.
    fn keyspace(&mut self, keyspace: Arc<Keyspace>, cut_id: NonZeroU32, cut: Cut) -> io::Result<Part> {
        let (revision, items, table) = {
            let inner = keyspace.inner.lock();
            let revision = match cut {
                Cut::Older => inner.state.last_before(cut_id),
                Cut::Everything => inner.state.head,
            };
            (revision, inner.state.as_of(revision), self.shared.segments.table())
        };
        let mut part =
            Part { revision, items: items.into_iter().map(|(key, slot)| (key, slot, slot)).collect(), keyspace };
        record::put_keyspace(&mut self.frame, part.keyspace.id, &part.keyspace.name);
        record::put_floor(&mut self.frame, part.keyspace.id, revision);
        let mut sweep = Sweep::new(table);
        for i in 0..part.items.len() {
            let (key, old, _) = &part.items[i];
            let (value, expires) = sweep.entry(key, *old).map_err(|e| io::Error::other(e.to_string()))?;
            record::put_item(&mut self.frame, part.keyspace.id, old.revision);
            let at = record::put_entry(&mut self.frame, key, Some(value), expires);
            self.items += 1;
            self.open.push((i, at));
            if self.frame.len() >= FRAME_BYTES {
                self.flush(&mut part)?;
                if self.shared.folder.closed() {
                    return Err(io::Error::other("the store is being closed"));
                }
            }
        }
        self.flush(&mut part)?;
        Ok(part)
    }

    /// Writes the frame and notes where its values lie.
    fn flush(&mut self, part: &mut Part) -> io::Result<()> {
        let (id, at) = self.write_frame()?;
        for (item, offset) in self.open.drain(..) {
            let (_, old, new) = &mut part.items[item];
            *new = Slot { segment: id, offset: (at + offset as u64) as u32, ..*old };
        }
        Ok(())
    }

    fn write_frame(&mut self) -> io::Result<(NonZeroU32, u64)> {
        let space = self.shared.options.segment_bytes;
        let len = frame::frame_len(self.frame.len() - frame::FRAME_HEADER) as u64;
        let segment = match self.done.last() {
            Some(segment) if self.at + len <= space => segment.clone(),
            full => {
                if let Some(full) = full {
                    full.file.set_len(self.at)?;
                    full.file.sync_all()?;
                }
                let id = self.shared.segments.next_id()?;
                let first = self.number;
                let next = Arc::new(Segment::create(&self.shared.dir, Kind::Base, id, first, space)?);
                self.done.push(next.clone());
                self.at = frame::SEGMENT_HEADER as u64;
                next
            }
        };
        frame::seal(&mut self.frame, segment.header.salt, self.number);
        segment.file.write_all_at(&self.frame, self.at)?;
        segment.file.sync_data()?;
        let at = self.at;
        self.at += len;
        self.number += 1;
        frame::begin(&mut self.frame);
        Ok((id_of(&segment), at))
    }

    /// Ends the base; all of it is durable.
    fn finish(&mut self) -> io::Result<Vec<Arc<Segment>>> {
        record::put_end(&mut self.frame, self.items);
        self.write_frame()?;
        if let Some(last) = self.done.last() {
            last.file.set_len(self.at)?;
            last.file.sync_all()?;
        }
        Ok(self.done.clone())
    }
}

/// Points index and history at the new places, and forgets the history that the base replaces.
fn relocate(part: Part) {
    let Part { keyspace, revision, items } = part;
    let _nobody_replays = keyspace.replay.lock();
    for some in items.chunks(RELOCATE) {
        let mut inner = keyspace.inner.lock();
        for (key, old, new) in some {
            inner.state.relocate(key, *old, *new);
        }
    }
    let moved: HashMap<Arc<str>, Slot> = items.into_iter().map(|(key, _, new)| (key, new)).collect();
    let mut inner = keyspace.inner.lock();
    inner.state.forget(revision);
    inner.state.relocate_past(&moved);
}

fn remove_replaced(shared: &Shared, base: &[NonZeroU32], cut: NonZeroU32) -> io::Result<()> {
    let table = shared.segments.table();
    let replaced = |(id, segment): &(&NonZeroU32, &Arc<Segment>)| match segment.header.kind {
        Kind::Log => **id < cut,
        Kind::Base => !base.contains(id),
    };
    let old: Vec<_> = table.iter().filter(replaced).collect();
    shared.segments.edit(|table| old.iter().for_each(|(id, _)| drop(table.remove(id))));
    for (_, segment) in &old {
        if segment.header.kind == Kind::Log {
            let len = segment.file.metadata()?.len().saturating_sub(frame::SEGMENT_HEADER as u64);
            shared.log_bytes.fetch_sub(len, Ordering::Relaxed);
        }
        fs::remove_file(&segment.path)?;
    }
    crate::segment::sync_dir(&shared.dir)
}
