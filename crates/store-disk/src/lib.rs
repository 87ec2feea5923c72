//! The embedded store: a log of our own under an index that is kept in memory.
//!
//! One directory holds any number of keyspaces, which share one log and so one fsync. A commit passes three stations:
//! 1. the caller's thread ([`keyspace`]): under the keyspace's lock, conditions are compared with the newest assigned
//!    state, the revision is assigned, and the transaction joins the queue. A conflict ends here, without disk;
//! 2. the disk thread ([`writer`]): everything that has queued up becomes one frame, one write, one fdatasync;
//! 3. the publishing thread ([`publish`]): index, sinks, replies, in revision order, while the disk thread writes the next.
//!
//! In memory is, for every key, where its value lies ([`state`]); values are on disk. Opening reads the log from the
//! last base ([`recover`]); a background thread forgets old history and rewrites what is still live when the log has
//! outgrown it ([`fold`]).
//!
//! Invariants:
//! * nothing is answered before it is durable, and nothing at all after a write or fsync failed;
//! * a file that is damaged where it was acknowledged stops the opening, and opening changes nothing unless it succeeds;
//! * no value is held in memory beyond its commit; nothing here reads a value's content.
//!
//! Decided against: fjall, redb and SQLite. All three make fewer durable commits than this log under the same load
//! (figures and method in ARCHITECTURE.md), need up to twice the space, and a revisioned store would have to write
//! history and current state into them, which is every value twice.

mod fold;
mod frame;
mod keyspace;
mod manifest;
mod publish;
mod queue;
mod read;
mod record;
mod recover;
mod segment;
mod shared;
mod state;
mod timer;
mod writer;

#[cfg(test)]
mod tests;

use shared::Shared;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use store::{BoxFuture, OpenError, Store};

/// What may be chosen. The defaults are for production; tests make everything small.
#[derive(Debug, Clone)]
pub struct Options {
    /// The size of a log segment, in bytes. It is set aside at once.
    pub segment_bytes: u64,
    /// How long history is kept at least, unless the log outgrows the live data; up to twice as long at most.
    pub retention: Duration,
    /// The log is folded into a new base when it is larger than the live data and this, in bytes.
    pub fold_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 64 << 20, retention: Duration::from_secs(300), fold_bytes: 128 << 20 }
    }
}

/// Sizes, for metrics and tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub keyspaces: usize,
    pub keys: usize,
    /// Retained changes, all keyspaces together.
    pub history: usize,
    /// Bytes of keys and values that are live.
    pub live_bytes: u64,
    /// Bytes written to log segments since the base.
    pub log_bytes: u64,
    /// Segment files.
    pub segments: usize,
}

/// An open directory. Dropping it writes what is queued, stops the threads and lets go of the lock; keyspaces that are
/// still held answer `Closed` from then on.
pub struct Disk {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    _lock: File,
}

/// How a file is made durable; tests put a failing one in its place.
type Sync = Box<dyn FnMut(&File) -> io::Result<()> + Send>;

impl Disk {
    /// Opens the store in `dir`, or makes one. Blocks while it reads the log.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Disk, OpenError> {
        Disk::open_with(dir.as_ref(), options, Box::new(File::sync_data))
    }

    fn open_with(dir: &Path, options: Options, sync: Sync) -> Result<Disk, OpenError> {
        let lock = recover::lock(dir)?;
        let recovered = recover::recover(dir, &options)?;
        let (shared, log) = Shared::new(dir, options, recovered, sync);
        let mut threads = Vec::new();
        let (to_publish, published) = std::sync::mpsc::sync_channel(2);
        let mut start = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.into()).spawn(run);
            thread
                .map(|thread| threads.push(thread))
                .map_err(|source| OpenError::Io { path: PathBuf::from(dir), source })
        };
        let s = shared.clone();
        start("store-log", Box::new(move || writer::run(&s, log, &to_publish)))?;
        let s = shared.clone();
        start("store-publish", Box::new(move || publish::run(&s, &published)))?;
        let s = shared.clone();
        start("store-expire", Box::new(move || timer::run(&s)))?;
        let s = shared.clone();
        start("store-fold", Box::new(move || fold::run(&s)))?;
        Ok(Disk { shared, threads, _lock: lock })
    }

    /// The keyspace of that name (at most 65,535 bytes), empty at revision 0 when it was never written to.
    pub fn keyspace(&self, name: &str) -> Arc<dyn Store> {
        self.shared.keyspace(name)
    }

    /// Folds the log now: all live data goes into a new base, and all history is forgotten.
    pub fn fold(&self) -> BoxFuture<'static, io::Result<()>> {
        let shared = self.shared.clone();
        let closed = io::Error::other("the store is closed");
        keyspace::blocking(closed, move || fold::fold(&shared, fold::Cut::Everything))
    }

    /// Sizes at this moment.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already; the others must still be waited for.
            let _ = thread.join();
        }
        self.shared.forget_keyspaces();
    }
}
