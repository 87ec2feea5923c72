//! What the threads and keyspaces of one directory share.

use crate::{
    Options, Stats, Sync,
    fold::Folder,
    keyspace::Keyspace,
    queue::{Op, Queue, What},
    recover::Recovered,
    segment::Segments,
    state::State,
    timer::Expiries,
    writer::Log,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use store::CommitError;
use tokio::sync::oneshot;

pub struct Shared {
    pub dir: PathBuf,
    pub options: Options,
    pub segments: Segments,
    pub queue: Queue,
    pub expiries: Expiries,
    pub folder: Folder,
    /// Bytes in log segments, and of live keys and values: their ratio says when to fold.
    pub log_bytes: AtomicU64,
    pub live_bytes: AtomicU64,
    failed: OnceLock<Arc<io::Error>>,
    keyspaces: Mutex<Keyspaces>,
}

#[derive(Default)]
struct Keyspaces {
    by_name: BTreeMap<String, Arc<Keyspace>>,
    next: u32,
}

impl Shared {
    /// Puts together what recovery found.
    pub fn new(dir: &Path, options: Options, recovered: Recovered, sync: Sync) -> (Arc<Shared>, Log) {
        let live: u64 = recovered.keyspaces.values().map(|(_, state)| state.live).sum();
        let shared = Arc::new(Shared {
            dir: dir.into(),
            options,
            segments: recovered.segments,
            queue: Queue::default(),
            expiries: Expiries::new(recovered.expiries),
            folder: Folder::default(),
            log_bytes: AtomicU64::new(recovered.log_bytes),
            live_bytes: AtomicU64::new(live),
            failed: OnceLock::new(),
            keyspaces: Mutex::default(),
        });
        let defined: HashSet<u32> = recovered.keyspaces.keys().copied().collect();
        {
            let mut keyspaces = shared.keyspaces.lock();
            keyspaces.next = defined.iter().max().map_or(1, |id| id + 1);
            for (id, (name, state)) in recovered.keyspaces {
                let keyspace = Keyspace::new(id, &name, state, shared.clone());
                keyspaces.by_name.insert(name, keyspace);
            }
        }
        (shared, Log::new(recovered.active, recovered.at, recovered.frame, defined, sync))
    }

    /// Finds or makes a keyspace.
    pub fn keyspace(self: &Arc<Self>, name: &str) -> Arc<Keyspace> {
        assert!(name.len() <= usize::from(u16::MAX), "a keyspace's name has at most 65,535 bytes");
        let mut keyspaces = self.keyspaces.lock();
        if let Some(keyspace) = keyspaces.by_name.get(name) {
            return keyspace.clone();
        }
        let keyspace = Keyspace::new(keyspaces.next, name, State::default(), self.clone());
        keyspaces.next += 1;
        keyspaces.by_name.insert(name.into(), keyspace.clone());
        keyspace
    }

    /// All keyspaces, by name.
    pub fn keyspaces(&self) -> Vec<Arc<Keyspace>> {
        self.keyspaces.lock().by_name.values().cloned().collect()
    }

    /// The keyspace with that number.
    pub fn keyspace_by_id(&self, id: u32) -> Option<Arc<Keyspace>> {
        self.keyspaces.lock().by_name.values().find(|keyspace| keyspace.id == id).cloned()
    }

    /// Ends the ring of references between keyspaces and this.
    pub fn forget_keyspaces(&self) {
        self.keyspaces.lock().by_name.clear();
    }

    /// Makes the store read-only. The first reason stays.
    pub fn fail(&self, error: io::Error) {
        if self.failed.set(Arc::new(error)).is_ok()
            && let Some(error) = self.failed.get()
        {
            tracing::error!(dir = %self.dir.display(), %error, "the disk failed: the store is read-only until it is opened again");
        }
    }

    /// The error of every commit since the disk failed.
    pub fn failure(&self) -> Option<CommitError> {
        self.failed.get().map(|error| CommitError::Io(error.clone()))
    }

    /// Blocks until everything that was queued before is published.
    pub fn barrier(&self) -> Result<(), CommitError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Op { what: What::Barrier(Ok(store::Revision::ZERO)), reply: Some(reply) })?;
        answer.blocking_recv().unwrap_or(Err(CommitError::Closed)).map(|_| ())
    }

    /// Whether the log has outgrown the live data.
    pub fn log_is_large(&self) -> bool {
        self.log_bytes.load(Ordering::Relaxed) > self.fold_threshold()
    }

    /// The size of the log from which it is folded.
    pub fn fold_threshold(&self) -> u64 {
        self.options.fold_bytes + self.live_bytes.load(Ordering::Relaxed)
    }

    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            log_bytes: self.log_bytes.load(Ordering::Relaxed),
            live_bytes: self.live_bytes.load(Ordering::Relaxed),
            segments: self.segments.table().len(),
            ..Stats::default()
        };
        for keyspace in self.keyspaces() {
            let inner = keyspace.inner.lock();
            stats.keyspaces += 1;
            stats.keys += inner.state.index.len();
            stats.history += inner.state.history.len();
        }
        stats
    }

    /// Tells all threads to end.
    pub fn close(&self) {
        self.expiries.close();
        self.folder.close();
        self.queue.close();
    }
}
