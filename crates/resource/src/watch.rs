//! `watch`: a position in the ring, a filter, and a sleep until the next batch.
//!
//! Nothing is buffered per watcher: one that does not keep up falls off the ring and is told 410. Events are shared;
//! only one whose object enters or leaves the selection is made for the watcher. One that can match a single object, or
//! a single value of a selectable field, sleeps through all other events ([`crate::topics`]).

use crate::{
    Call, Engine, ListQuery,
    cache::Follower,
    convert::Conversions,
    encode,
    event::{Event, EventKind},
    list::{Filter, no_revision, parse_revision, too_old},
    wheel::Alarm,
};
use base::{Result, Revision, Status};
use bytes::Bytes;
use schema::Kind;
use std::{collections::VecDeque, sync::Arc, time::Duration};
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
    /// The frame of a JSON watch, which `make` makes; shared by all watchers that get the event as it is.
    pub fn json_frame(&self, make: impl FnOnce(EventKind, &Object) -> Bytes) -> Bytes {
        match &self.shared {
            Some(event) => event.json_frame(make),
            None => make(self.kind, &self.object),
        }
    }
    /// The same of a protobuf watch.
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
    conversions: Arc<Conversions>,
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
        let text = query.resource_version.as_deref();
        // Which is no Status with upstream.
        let asked = parse_revision(text).map_err(|_| Status::plain(no_revision(text.unwrap_or_default())))?;
        let list_first = query.send_initial_events.unwrap_or(asked.is_none());
        if list_first {
            filter.check_readable(&call.kind, &self.published.unreadable)?;
        }
        let mut failed = None;
        let (initial, position) = match (list_first, asked) {
            (true, _) => {
                self.reach(query.resource_version.as_deref()).await?;
                let applied = self.revision();
                let (objects, last, position) = cache.start();
                let (mut items, _) = filter.select(&objects, filter.first_key(None).as_ref(), usize::MAX);
                self.select_converted(call, &filter, &mut items, usize::MAX).await?;
                self.conversions.objects(&call.kind, call.version, &mut items).await?;
                let added = |object| Delivery { kind: EventKind::Added, object, shared: None };
                let mut initial: VecDeque<Delivery> = items.into_iter().map(added).collect();
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
        let now = Instant::now();
        let mut watcher = Watcher {
            kind: call.kind.clone(),
            version: call.version,
            follower: cache.follow(filter.topic()),
            filter,
            published: self.published.clone(),
            conversions: self.conversions.clone(),
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
            if self.take_ready(out).await? {
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
    async fn take_ready(&mut self, out: &mut Vec<Delivery>) -> Result<bool> {
        self.batch.clear();
        let mut batch = std::mem::take(&mut self.batch);
        let read = self.follower.read(self.position, BATCH, &mut batch);
        let position = read.map_err(|oldest| too_old(Revision::ZERO, oldest.0))?;
        batch.retain(|event| event.revision > self.after);
        if self.kind.versions.len() == 1 {
            out.extend(batch.iter().filter_map(|event| self.select(event, &event.object, event.previous.as_ref())));
        } else if self.is_outdated() {
            self.ended = true;
        } else {
            // Whoever stops waiting here finds the events where they were.
            out.extend(self.convert(&batch).await?);
        }
        self.batch = batch;
        Ok(std::mem::replace(&mut self.position, position) != position)
    }

    /// True where the definition names another webhook than it did: as upstream, what is watched then is watched anew.
    fn is_outdated(&self) -> bool {
        let same = |now: &Arc<Kind>| now.policy.conversion == self.kind.policy.conversion;
        let asks = self.kind.policy.conversion.is_some();
        asks && !self.published.catalog.read().get(&self.kind.group, &self.kind.plural).is_some_and(same)
    }

    /// Events in the watcher's version; where selectors look at what is converted, before they are held against it.
    async fn convert(&self, events: &[Arc<Event>]) -> Result<Vec<Delivery>> {
        let mut deliveries = Vec::new();
        if self.filter.converted {
            let reached: Vec<&Arc<Event>> = events.iter().filter(|e| self.filter.reaches(&e.object)).collect();
            let mut objects: Vec<Arc<Object>> = reached.iter().map(|e| e.object.clone()).collect();
            objects.extend(reached.iter().filter_map(|e| e.previous.clone()));
            self.conversions.objects(&self.kind, self.version, &mut objects).await?;
            let mut previous = objects.split_off(reached.len()).into_iter();
            for (event, object) in reached.into_iter().zip(&objects) {
                let previous = event.previous.as_ref().and_then(|_| previous.next());
                deliveries.extend(self.select(event, object, previous.as_ref()));
            }
            return Ok(deliveries);
        }
        let each = |event: &Arc<Event>| self.select(event, &event.object, event.previous.as_ref());
        deliveries.extend(events.iter().filter_map(each));
        let mut objects: Vec<Arc<Object>> = deliveries.iter().map(|d| d.object.clone()).collect();
        self.conversions.objects(&self.kind, self.version, &mut objects).await?;
        for (delivery, object) in deliveries.iter_mut().zip(objects) {
            // The shared frame is in the stored version.
            if !Arc::ptr_eq(&object, &delivery.object) {
                (delivery.object, delivery.shared) = (object, None);
            }
        }
        Ok(deliveries)
    }

    /// An event as this watcher sees it, of whose object and its state before these are its versions.
    fn select(&self, event: &Arc<Event>, object: &Arc<Object>, previous: Option<&Arc<Object>>) -> Option<Delivery> {
        let before = previous.is_some_and(|o| self.filter.matches(o));
        let after = event.kind != EventKind::Deleted && self.filter.matches(object);
        let kind = match (before, after) {
            (false, false) => return None,
            (false, true) => EventKind::Added,
            (true, true) => EventKind::Modified,
            (true, false) => EventKind::Deleted,
        };
        if kind == event.kind {
            let shared = Arc::ptr_eq(object, &event.object).then(|| event.clone());
            return Some(Delivery { kind, object: object.clone(), shared });
        }
        let object = match (kind, previous) {
            // It left the selection: the state that the watcher knows, with the revision of the change.
            (EventKind::Deleted, Some(previous)) => {
                let json = encode::replace_revision(previous.json(), event.revision);
                Object::new(previous.key.clone(), event.revision, previous.meta.clone(), json)
            }
            _ => object.clone(),
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
