//! The store on a real etcd: etcd's transactions, etcd's watch, etcd's leases, under the same contract as the others.
//!
//! A commit is one etcd transaction that compares the last revision of each key, as a rule the same few bytes that
//! upstream sends. Its reply waits until our own watch has brought the revision to every sink: a read after a reply sees
//! it, whichever of them came first. Following is one range at an old revision, in pages, and one watch from there.
//!
//! The watch is of *every* key, not of `/registry/`: each revision then comes as an event, so a linearizable read (the
//! revision that etcd has now, awaited here) needs no progress notifications, which cannot be trusted before 3.4.31 and
//! 3.5.13. Foreign keys are dropped on arrival; an etcd that others load heavily is not for this.
//!
//! Several servers may use one etcd, and members of it may die. A call that was surely not sent is made at the next
//! member; behind a transaction whose answer was lost a fence is raised (`fence`), and what the watch has not shown before
//! that can never take place, so it is sent again (`decide`).
//!
//! Decided against: etcd's Go-style client balancer (one member at a time is enough), previous values in events (an index
//! of revisions is smaller than sending each value twice), a lease per key (upstream shares them, too).
//!
//! Invariants: the contract of [`store`]; a sink is told by one task, in order, across members and reconnections; nothing
//! is written outside the prefix but `compact_rev_key`, which upstream's servers share, and `ferry/fence/` and `ferry/trace/`.

mod client;
mod commit;
mod compact;
mod current;
mod decide;
mod fence;
mod follow;
mod gates;
mod index;
#[cfg(feature = "etcd")]
pub mod lab;
mod leases;
#[cfg(feature = "etcd")]
pub mod meddler;
mod pending;
pub mod proto;
mod tls;

pub use grpc::Endpoint;
pub use tls::{TlsFiles, endpoints};

use base::{BoxFuture, Revision};
use bytes::Bytes;
use client::Members;
use grpc::Status;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use store::{CommitError, Item, OpenError, ReadError, Sink, Store, Txn};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};

/// Where the etcd is and what of it is ours.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its members, or some of them.
    pub endpoints: Vec<Endpoint>,
    /// Keys that begin with this are ours.
    pub prefix: String,
    /// How often history is forgotten; `None` leaves it to somebody else.
    pub compact_every: Option<Duration>,
}

impl Options {
    /// As upstream has it: keys under `/registry/`, compaction every five minutes.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Options { endpoints, prefix: "/registry/".into(), compact_every: Some(Duration::from_secs(300)) }
    }
}

/// A keyspace on an etcd. Dropping it ends its watches.
pub struct Etcd(Arc<Shared>);

/// What the store's tasks share.
struct Shared {
    options: Options,
    members: Members,
    runtime: Handle,
    gates: gates::Gates,
    pending: pending::Pending,
    fence: fence::Fence,
    leases: leases::Leases,
    current: current::Current,
    /// How far each sink is.
    feeds: Mutex<Vec<watch::Receiver<i64>>>,
    /// The newest revision that every sink has seen.
    head: AtomicI64,
    stop: watch::Sender<bool>,
}

impl Etcd {
    /// Connects to a member that answers. Must be called in the runtime that is to serve the store.
    pub async fn open(options: Options) -> Result<Arc<Etcd>, OpenError> {
        let unavailable = |e: Status| OpenError::Unavailable { why: client::say(&e) };
        if options.endpoints.is_empty() {
            return Err(OpenError::Unavailable { why: "etcd: no endpoint is given".into() });
        }
        let members = Members::new(&options.endpoints);
        let head = members.revision().await.map_err(unavailable)?;
        members.greet().await;
        let shared = Arc::new(Shared {
            options,
            members,
            runtime: Handle::current(),
            gates: gates::Gates::default(),
            pending: pending::Pending::default(),
            fence: fence::Fence::new(),
            leases: leases::Leases::default(),
            current: current::Current::default(),
            feeds: Mutex::default(),
            head: AtomicI64::new(head),
            stop: watch::Sender::new(false),
        });
        if let Some(every) = shared.options.compact_every {
            tokio::spawn(compact::run(Arc::downgrade(&shared), every));
        }
        Ok(Arc::new(Etcd(shared)))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.0.stop.send_replace(true);
    }
}

impl Shared {
    /// Waits until every sink has seen a revision.
    async fn published(&self, revision: i64) {
        let feeds = self.feeds.lock().clone();
        for mut feed in feeds {
            // One that has ended waits for nothing.
            let _ = feed.wait_for(|seen| *seen >= revision).await;
        }
        self.head.fetch_max(revision, Ordering::AcqRel);
    }

    /// How far a new sink is.
    fn feed(&self) -> watch::Sender<i64> {
        let (sender, receiver) = watch::channel(0);
        let mut feeds = self.feeds.lock();
        feeds.retain(|feed| feed.has_changed().is_ok());
        feeds.push(receiver);
        sender
    }
}

fn revision(number: i64) -> Revision {
    Revision(number.max(0) as u64)
}

fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn unread(status: &Status) -> ReadError {
    ReadError::Unavailable { why: client::say(status).into() }
}

impl Store for Etcd {
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, CommitError>> {
        if let Err(e) = txn.check() {
            return Box::pin(std::future::ready(Err(e)));
        }
        let turn = self.0.gates.enter(&txn);
        let task = self.0.runtime.spawn(commit::run(self.0.clone(), txn, turn));
        Box::pin(async move { task.await.unwrap_or(Err(CommitError::Closed)) })
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) -> BoxFuture<'_, Result<Revision, OpenError>> {
        let (tell, told) = oneshot::channel();
        self.0.runtime.spawn(follow::run(self.0.clone(), sink, tell));
        Box::pin(async move { told.await.unwrap_or(Err(OpenError::Closed)).map(revision) })
    }

    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<(Revision, Bytes)>, ReadError>> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        Box::pin(async move {
            let request = proto::RangeRequest { key, ..Default::default() };
            let answer = self.0.members.range(request).await.map_err(|e| unread(&e))?;
            Ok(answer.items.into_iter().next().map(|item| (revision(item.modified), item.value)))
        })
    }

    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Vec<Item>, ReadError>> {
        let prefix = if prefix.len() < self.0.options.prefix.len() { &self.0.options.prefix } else { prefix };
        let end = index::successor(prefix.as_bytes());
        let key = match after {
            Some(after) if after >= prefix => Bytes::from(format!("{after}\0")),
            _ => Bytes::copy_from_slice(prefix.as_bytes()),
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Box::pin(async move {
            if limit == 0 || key >= end {
                return Ok(Vec::new());
            }
            let request = proto::RangeRequest { key, end, limit, ..Default::default() };
            let answer = self.0.members.range(request).await.map_err(|e| unread(&e))?;
            Ok(answer.items.into_iter().filter_map(index::item).collect())
        })
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            let compacting = compact::to(&self.0.members, number(revision)).await;
            compacting.map_err(|e| CommitError::Unavailable { why: client::say(&e).into() })
        })
    }

    fn head(&self) -> Revision {
        revision(self.0.head.load(Ordering::Acquire))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn current(&self) -> BoxFuture<'_, Result<Revision, ReadError>> {
        Box::pin(async move { self.0.current.ask(&self.0).await.map(revision).map_err(|e| unread(&e)) })
    }
}
