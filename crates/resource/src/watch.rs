//! `watch`: a position in the ring, a filter, and a sleep until the next batch.
//!
//! Nothing is buffered per watcher: one that does not keep up falls off the ring and is told 410. Events are shared;
//! only one whose object enters or leaves the selection is made for the watcher. One that can match a single object, or
//! a single value of a selectable field, sleeps through all other events ([`crate::topics`]).

use crate::{
    Call, Engine, ListQuery,
    cache::Follower,
    decode, encode,
    event::{Event, EventKind, json_frame},
    list::{Filter, parse_revision, too_old},
    wheel::Alarm,
};
use base::{Result, Revision, Status};
use bytes::Bytes;
use schema::Kind;
use std::{collections::VecDeque, ops::ControlFlow, sync::Arc, time::Duration};
use tokio::time::Instant;
use value::{Meta, Object, ObjectKey, value};

/// How many events a watcher takes from the ring at once.
const BATCH: usize = 256;

/// How often a bookmark is sent to a watcher that wants them. Source: upstream's watch cache.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// One event as one watcher gets it.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub kind: EventKind,
    /// For a bookmark, an object that holds only its revision (and the annotation that ends an initial list).
    pub object: Arc<Object>,
    /// The shared event, where the watcher gets it as it is.
    shared: Option<Arc<Event>>,
}

impl Delivery {
    /// The frame of a JSON watch; shared by all watchers that get the event as it is.
    pub fn json_frame(&self) -> Bytes {
        match &self.shared {
            Some(event) => event.json_frame(),
            None => json_frame(self.kind, self.object.json()),
        }
    }
    /// The same of a protobuf watch, which `make` makes.
    pub fn protobuf_frame(&self, make: impl FnOnce(EventKind, &Object) -> Bytes) -> Bytes {
        match &self.shared {
            Some(event) => event.protobuf_frame(make),
            None => make(self.kind, &self.object),
        }
    }
    /// True for the bookmark that ends the initial list. Source: KEP-3157.
    pub fn ends_initial_list(&self) -> bool {
        self.kind == EventKind::Bookmark && self.object.json().windows(24).any(|w| w == b"k8s.io/initial-events-en")
    }
}

/// A running watch.
pub struct Watcher {
    kind: Arc<Kind>,
    version: usize,
    filter: Filter,
    follower: Follower,
    published: Arc<crate::publish::Published>,
    position: u64,
    /// Events up to here are not the watcher's: it may name a revision that is still to come.
    after: Revision,
    /// The initial list, ahead of the ring.
    initial: VecDeque<Delivery>,
    bookmark_at: Option<Instant>,
    ends_at: Option<Instant>,
    /// At the nearer of both.
    alarm: Option<Alarm>,
    batch: Vec<Arc<Event>>,
    /// Why there is nothing to watch.
    failed: Option<Status>,
    ended: bool,
}

impl Engine {
    /// Starts a watch. Without a revision (or with `"0"`) the present objects come first, as ADDED.
    pub async fn watch(&self, call: &Call, query: &ListQuery) -> Result<Watcher> {
        let filter = Filter::new(call, query)?;
        let cache = self.published.cache(&call.kind).ok_or_else(Status::no_such_path)?;
        let asked = parse_revision(query.resource_version.as_deref())?;
        let list_first = query.send_initial_events.unwrap_or(asked.is_none());
        let mut failed = None;
        let (mut initial, position) = match (list_first, asked) {
            (true, asked) => {
                if let Some(revision) = asked {
                    self.wait_for(revision).await?;
                }
                let applied = self.revision();
                let (objects, last, position) = cache.start();
                let mut initial = VecDeque::new();
                objects.walk_from(filter.first_key(None).as_ref(), |object| {
                    if filter.is_past(object) {
                        return ControlFlow::Break(());
                    }
                    if filter.matches(object) {
                        initial.push_back(Delivery { kind: EventKind::Added, object: object.clone(), shared: None });
                    }
                    ControlFlow::Continue(())
                });
                if query.send_initial_events == Some(true) && query.allow_bookmarks {
                    initial.push_back(bookmark(&call.kind, call.version, applied.max(last), true));
                }
                (initial, position)
            }
            (false, None) => (VecDeque::new(), cache.start().2),
            (false, Some(revision)) => match cache.position_after(revision) {
                Ok(position) => (VecDeque::new(), position),
                // As upstream: once the request is understood, what is wrong is an event of the watch.
                Err(oldest) => {
                    failed = Some(too_old(revision, oldest.0));
                    (VecDeque::new(), 0)
                }
            },
        };
        convert(&call.kind, call.version, initial.make_contiguous())?;
        let now = Instant::now();
        let mut watcher = Watcher {
            kind: call.kind.clone(),
            version: call.version,
            follower: cache.follow(filter.topic()),
            filter,
            published: self.published.clone(),
            position,
            after: if list_first { Revision::ZERO } else { asked.unwrap_or(Revision::ZERO) },
            initial,
            bookmark_at: query.allow_bookmarks.then_some(now + BOOKMARK_EVERY),
            ends_at: query.timeout.map(|timeout| now + timeout),
            alarm: None,
            batch: Vec::new(),
            failed,
            ended: false,
        };
        watcher.set_alarm();
        Ok(watcher)
    }
}

impl Watcher {
    /// Appends what is ready, waiting for at least one event. False once the watch has ended in good order; an error
    /// (410) ends it too.
    pub async fn next(&mut self, out: &mut Vec<Delivery>) -> Result<bool> {
        let before = out.len();
        while out.len() == before {
            if let Some(status) = self.failed.take() {
                self.ended = true;
                return Err(status);
            }
            if self.ended {
                return Ok(false);
            }
            out.extend(self.initial.drain(..self.initial.len().min(BATCH)));
            if out.len() > before {
                break;
            }
            self.follower.wakes.mark_unchanged();
            if self.take_ready(out)? {
                continue;
            }
            tokio::select! {
                woken = self.follower.wakes.changed() => if woken.is_err() { self.ended = true },
                () = rings(self.alarm.as_ref()) => self.on_time(out),
            }
        }
        Ok(true)
    }

    /// One batch from the ring; true if there was any, selected or not, and there may be more.
    fn take_ready(&mut self, out: &mut Vec<Delivery>) -> Result<bool> {
        self.batch.clear();
        let mut batch = std::mem::take(&mut self.batch);
        let read = self.follower.read(self.position, BATCH, &mut batch);
        let position = read.map_err(|oldest| too_old(Revision::ZERO, oldest.0))?;
        let moved = std::mem::replace(&mut self.position, position) != position;
        let start = out.len();
        let later = batch.iter().filter(|event| event.revision > self.after);
        out.extend(later.filter_map(|event| self.select(event)));
        self.batch = batch;
        convert(&self.kind, self.version, &mut out[start..])?;
        Ok(moved)
    }

    /// An event as this watcher sees it.
    fn select(&self, event: &Arc<Event>) -> Option<Delivery> {
        let before = event.previous.as_ref().is_some_and(|o| self.filter.matches(o));
        let after = event.kind != EventKind::Deleted && self.filter.matches(&event.object);
        let kind = match (before, after) {
            (false, false) => return None,
            (false, true) => EventKind::Added,
            (true, true) => EventKind::Modified,
            (true, false) => EventKind::Deleted,
        };
        if kind == event.kind {
            return Some(Delivery { kind, object: event.object.clone(), shared: Some(event.clone()) });
        }
        let object = match (kind, &event.previous) {
            // It left the selection: the state that the watcher knows, with the revision of the change.
            (EventKind::Deleted, Some(previous)) => {
                let json = encode::replace_revision(previous.json(), event.revision);
                Object::new(previous.key.clone(), event.revision, previous.meta.clone(), json)
            }
            _ => event.object.clone(),
        };
        Some(Delivery { kind, object, shared: None })
    }

    fn on_time(&mut self, out: &mut Vec<Delivery>) {
        let now = Instant::now();
        if self.ends_at.is_some_and(|at| at <= now) {
            self.ended = true;
            return;
        }
        if self.bookmark_at.is_some_and(|at| at <= now) {
            self.bookmark_at = Some(now + BOOKMARK_EVERY);
            // Everything up to `applied` is in the ring; only a watcher at its end has seen all of it.
            let applied = *self.published.applied.borrow();
            if let Some(last) = self.follower.caught_up(self.position) {
                out.push(bookmark(&self.kind, self.version, applied.max(last), false));
            }
        }
        self.set_alarm();
    }

    fn set_alarm(&mut self) {
        let at = [self.bookmark_at, self.ends_at].into_iter().flatten().min();
        self.alarm = at.map(|at| self.published.wheel.alarm(at));
    }
}

/// Puts events into another version than the stored one; the shared frame is of no use then.
fn convert(kind: &Kind, version: usize, deliveries: &mut [Delivery]) -> Result<()> {
    if kind.versions.len() == 1 {
        return Ok(());
    }
    for delivery in deliveries.iter_mut().filter(|d| d.kind != EventKind::Bookmark) {
        let object = decode::in_version(kind, version, &delivery.object)?;
        if !Arc::ptr_eq(&object, &delivery.object) {
            delivery.object = object;
            delivery.shared = None;
        }
    }
    Ok(())
}

fn bookmark(kind: &Kind, version: usize, revision: Revision, ends_initial: bool) -> Delivery {
    let mut object = value!({"apiVersion": kind.api_version(version), "kind": kind.kind.as_str(), "metadata": {}});
    if ends_initial {
        object.set(&["metadata", "annotations", "k8s.io/initial-events-end"], "true");
    }
    let json = encode::complete(&object, revision);
    let object = Object::new(ObjectKey::cluster(""), revision, Meta::default(), json);
    Delivery { kind: EventKind::Bookmark, object, shared: None }
}

async fn rings(alarm: Option<&Alarm>) {
    match alarm {
        Some(alarm) => alarm.rings().await,
        None => std::future::pending().await,
    }
}
