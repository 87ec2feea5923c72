//! One sink's way through the store: the oldest state that etcd still has, then every event, from member to member.
//!
//! A watch that ends is opened again at the next member, at the revision after the last one seen: what comes twice is left
//! out by the index, and etcd itself refuses to begin later than asked. Only when that revision has been compacted in the
//! meantime (nothing was reached for longer than history is kept) is there a gap; the sink is then given the state anew
//! ([`Sink::reset`]), and whoever reads from it begins anew as well.

use crate::{
    Shared, client,
    index::{Index, item, successor},
    pending::Trace,
    proto::{Event, RangeRequest, WatchCreate, WatchRequest, Watching},
    revision,
};
use bytes::Bytes;
use grpc::Status;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use store::{Item, OpenError, Sink};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep, timeout},
};

/// At most so many revisions of history are played to a new sink, however long etcd keeps it.
const HISTORY: i64 = 100_000;
/// For opening a watch, and for etcd to say that its start is compacted.
const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// After what time alone does not mend.
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// Keys of the first page; a page that is small or large changes it for the next.
const PAGE: i64 = 1000;
const PAGE_BYTES: usize = 8 << 20;

type Told = oneshot::Sender<Result<i64, OpenError>>;

/// Follows until the store is closed. `tell` is told when the sink has come to where etcd was at the beginning.
pub async fn run(shared: Arc<Shared>, sink: Arc<dyn Sink>, tell: Told) {
    let mut stop = shared.stop.subscribe();
    let follower = Follower {
        index: Index::new(&shared.options.prefix),
        progress: shared.feed(),
        sink,
        goal: 0,
        tell: Some(tell),
        shared,
    };
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = follower.follow() => {}
    }
}

struct Follower {
    shared: Arc<Shared>,
    sink: Arc<dyn Sink>,
    index: Index,
    progress: watch::Sender<i64>,
    goal: i64,
    tell: Option<Told>,
}

/// Why a watch is over.
enum Ended {
    /// The member went, or lost its cluster.
    Broken(Status),
    /// Its start is forgotten.
    Compacted,
    /// etcd does not want it.
    Refused(Status),
}

impl Follower {
    async fn follow(mut self) {
        if let Err(e) = self.begin().await {
            return self.refuse(&e);
        }
        let mut pause = PAUSE;
        loop {
            let before = self.index.seen;
            let ended = self.watch().await;
            // The first attempts go round the members; then there is no hurry.
            pause = if self.index.seen > before { PAUSE } else { (pause * 3 / 2).min(LONG_PAUSE) };
            match ended {
                Ended::Broken(e) => {
                    tracing::info!(revision = self.index.seen, "etcd: the watch ended: {}", e.message());
                    sleep(pause).await;
                }
                Ended::Refused(e) if self.tell.is_some() => return self.refuse(&e),
                Ended::Refused(e) => {
                    tracing::error!(revision = self.index.seen, "etcd refuses a watch: {}", e.message());
                    sleep(LONG_PAUSE).await;
                }
                Ended::Compacted => {
                    tracing::warn!(revision = self.index.seen, "etcd has forgotten what came after; reading it anew");
                    while let Err(e) = self.begin_anew().await {
                        tracing::warn!("etcd: reading it anew: {}", e.message());
                        sleep(LONG_PAUSE).await;
                    }
                }
            }
        }
    }

    fn refuse(mut self, e: &Status) {
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(Err(OpenError::Unavailable { why: client::say(e) }));
        }
    }

    /// Gives the sink its base.
    async fn begin(&mut self) -> Result<(), Status> {
        let (at, items) = loop {
            self.goal = self.shared.members.revision().await?;
            let oldest = self.oldest(self.goal).await?;
            match self.state(oldest).await {
                Ok(items) => break (oldest, items),
                // Compacted while it was read.
                Err(e) if client::is_compacted(&e) => {}
                Err(e) => return Err(e),
            }
        };
        self.index.begin(at, &items);
        self.shared.pending.read_anew(&items);
        self.sink.base(revision(at), &mut items.into_iter());
        self.arrived();
        Ok(())
    }

    /// Replaces what the sink has, after a gap.
    async fn begin_anew(&mut self) -> Result<(), Status> {
        let now = self.shared.members.revision().await?;
        let items = self.state(now).await?;
        self.index.begin(now, &items);
        self.shared.pending.read_anew(&items);
        self.sink.reset(revision(now), &mut items.into_iter());
        self.arrived();
        Ok(())
    }

    /// The oldest revision that can be read, within [`HISTORY`].
    async fn oldest(&self, head: i64) -> Result<i64, Status> {
        let wanted = (head - HISTORY).max(1);
        let key = Bytes::from_static(client::COMPACT_KEY);
        let look = RangeRequest { key, revision: wanted, count_only: true, ..Default::default() };
        match self.shared.members.range(look).await {
            Ok(_) => Ok(wanted),
            // Which revision is the oldest, only a watch is told.
            Err(e) if client::is_compacted(&e) => Ok(self.compacted(wanted).await.unwrap_or(head).min(head)),
            Err(e) => Err(e),
        }
    }

    /// The revision that a watch from a forgotten one is told; `None` where none comes.
    async fn compacted(&self, start: i64) -> Option<i64> {
        let (_, channel) = self.shared.members.now();
        let (requests, receiver) = mpsc::channel(1);
        let create = WatchCreate { key: Bytes::from_static(client::COMPACT_KEY), start, ..Default::default() };
        let asking = async {
            requests.send(WatchRequest { request: Some(Watching::Create(create)) }).await.ok()?;
            let mut answers = self.shared.members.watch(channel, receiver).await.ok()?;
            while let Ok(Some(answer)) = answers.next().await {
                if answer.compacted > 0 {
                    return Some(answer.compacted);
                }
            }
            None
        };
        timeout(ANSWER, asking).await.ok()?
    }

    /// All our keys as of a revision, page by page.
    async fn state(&self, at: i64) -> Result<Vec<Item>, Status> {
        let prefix = self.shared.options.prefix.as_bytes();
        let end = successor(prefix);
        let (mut key, mut limit) = (Bytes::copy_from_slice(prefix), PAGE);
        let mut items = Vec::new();
        loop {
            let request = RangeRequest { key, end: end.clone(), limit, revision: at, ..Default::default() };
            let page = self.shared.members.range(request).await?;
            let bytes: usize = page.items.iter().map(|item| item.key.len() + item.value.len()).sum();
            limit = match bytes {
                small if small < PAGE_BYTES / 4 => limit * 2,
                large if large > PAGE_BYTES => (limit / 2).max(10),
                _ => limit,
            };
            let Some(last) = page.items.last().filter(|_| page.more) else {
                items.extend(page.items.into_iter().filter_map(item));
                return Ok(items);
            };
            key = [&last.key[..], b"\0"].concat().into();
            items.extend(page.items.into_iter().filter_map(item));
        }
    }

    /// Watches every key from the next revision on, until the watch ends.
    async fn watch(&mut self) -> Ended {
        let shared = self.shared.clone();
        let (turn, channel) = shared.members.now();
        let (requests, receiver) = mpsc::channel(1);
        let all = Bytes::from_static(b"\0");
        let create = WatchCreate { key: all.clone(), end: all, start: self.index.seen + 1, fragment: true };
        let opening = async {
            // The channel is new and holds one.
            let _ = requests.send(WatchRequest { request: Some(Watching::Create(create)) }).await;
            shared.members.watch(channel, receiver).await
        };
        let broken = |e: Status| {
            if client::is_refusal(&e) {
                return Ended::Refused(e);
            }
            shared.members.leave(turn);
            Ended::Broken(e)
        };
        let mut answers = match timeout(ANSWER, opening).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(e)) => return broken(e),
            Err(_) => return broken(Status::deadline_exceeded("no answer to a watch")),
        };
        let mut parts: Vec<Event> = Vec::new();
        loop {
            let answer = match answers.next().await {
                Ok(Some(answer)) => answer,
                Ok(None) => return broken(Status::unavailable("the member ended it")),
                Err(e) => return broken(e),
            };
            if answer.compacted > 0 {
                return Ended::Compacted;
            }
            if answer.canceled {
                return broken(Status::unavailable(answer.reason));
            }
            parts.extend(answer.events);
            if !answer.fragment && !parts.is_empty() {
                self.deliver(std::mem::take(&mut parts));
            }
        }
    }

    fn deliver(&mut self, events: Vec<Event>) {
        let (fence, seen) = (&self.shared.fence, self.index.seen);
        let traces = events.iter().filter_map(|event| event.item.as_ref());
        let traces = traces.filter(|item| item.modified > seen && fence.is_trace(&item.key));
        let traces: Vec<Trace> = traces.map(|item| (item.modified, item.value.clone())).collect();
        let mut changes = self.index.take(events);
        self.shared.pending.recognise(&mut changes, &traces);
        if !changes.is_empty() {
            self.sink.changes(&changes);
        }
        if changes.last().is_none_or(|last| crate::number(last.revision) < self.index.seen) {
            self.sink.progress(revision(self.index.seen));
        }
        self.arrived();
    }

    /// The sink has seen all up to where the index is.
    fn arrived(&mut self) {
        let seen = self.index.seen;
        self.progress.send_replace(seen);
        let slowest = self.shared.feeds.lock().iter().map(|feed| *feed.borrow()).min();
        self.shared.head.fetch_max(slowest.unwrap_or(seen), Ordering::AcqRel);
        if seen >= self.goal
            && let Some(tell) = self.tell.take()
        {
            let _ = tell.send(Ok(seen));
        }
    }
}
