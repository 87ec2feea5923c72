//! Which events a watcher of one object, or of one value of a selectable field, has to look at.
//!
//! A thousand agents watch pods, each those of its own node: a commit must wake one of them, not all. A watcher that can
//! only match a *topic* follows the positions of that topic's events in the ring and hears of nothing else. Topics are
//! kept for those that somebody follows and for no others, so they cost nothing where nobody does, and a custom kind's
//! selectable fields are served like a pod's. Decided against: an index over all values that objects have (most are
//! never asked for), and a queue of events per watcher (one that does not read would pin them).

use crate::event::Event;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::sync::watch;
use value::{ObjectKey, Str};

/// What all that a watcher can match has in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    Object(ObjectKey),
    /// A selectable field, by its place in the kind's list, and its value.
    Field(usize, Str),
}

/// The positions of one topic's events.
pub struct Bucket {
    places: Mutex<Places>,
    /// Changes when the topic has news, once per batch.
    wake: watch::Sender<u64>,
}

struct Places {
    /// Events before this position were not noted: whoever stands there reads the ring.
    since: u64,
    noted: VecDeque<u64>,
    /// The topic means something else now, or nothing.
    ended: bool,
    followers: usize,
    /// Has news since the last wake.
    touched: bool,
}

/// What a follower finds behind its position.
pub enum Found {
    /// Not noted yet, up to a position: the ring has to be read.
    Scan(u64),
    /// These positions (at most as many as asked for), and whether they are all.
    Noted(Vec<u64>, bool),
    /// The topic has ended.
    Ended,
}

impl Bucket {
    pub fn behind(&self, position: u64, limit: usize) -> Found {
        let places = self.places.lock();
        if places.ended {
            return Found::Ended;
        }
        if position < places.since {
            return Found::Scan(places.since);
        }
        let from = places.noted.partition_point(|at| *at < position);
        let to = places.noted.len().min(from + limit);
        Found::Noted(places.noted.range(from..to).copied().collect(), to == places.noted.len())
    }
    pub fn wakes(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }
    pub fn wake(&self) {
        self.places.lock().touched = false;
        self.wake.send_modify(|news| *news += 1);
    }
    /// Notes an event; positions before `first` have left the ring. True for the first news since the last wake.
    fn note(&self, position: u64, first: u64) -> bool {
        let mut places = self.places.lock();
        while places.noted.front().is_some_and(|at| *at < first) {
            // Whoever stands there must find that it fell off: the ring says so.
            places.since = places.noted.pop_front().map_or(0, |at| at + 1).max(places.since);
        }
        if places.noted.back() != Some(&position) {
            places.noted.push_back(position);
        }
        !std::mem::replace(&mut places.touched, true)
    }
}

/// The topics of one kind that somebody follows.
#[derive(Default)]
pub struct Topics {
    objects: HashMap<ObjectKey, Arc<Bucket>>,
    /// By field; few fields are ever followed.
    fields: Vec<(usize, HashMap<Str, Arc<Bucket>>)>,
    /// With news since the last wake.
    touched: Vec<Arc<Bucket>>,
}

impl Topics {
    /// Joins the followers of a topic. Events from `end` on will be noted.
    pub fn join(&mut self, topic: &Topic, end: u64) -> Arc<Bucket> {
        let fresh = || {
            let places = Places { since: end, noted: VecDeque::new(), ended: false, followers: 0, touched: false };
            Arc::new(Bucket { places: Mutex::new(places), wake: watch::Sender::new(0) })
        };
        let bucket = match topic {
            Topic::Object(key) => self.objects.entry(key.clone()).or_insert_with(fresh),
            Topic::Field(field, value) => {
                let known = self.fields.iter().position(|(f, _)| f == field);
                let at = known.unwrap_or_else(|| {
                    self.fields.push((*field, HashMap::new()));
                    self.fields.len() - 1
                });
                self.fields[at].1.entry(value.clone()).or_insert_with(fresh)
            }
        };
        bucket.places.lock().followers += 1;
        bucket.clone()
    }

    /// Leaves; the last one takes the topic along.
    pub fn leave(&mut self, topic: &Topic, bucket: &Arc<Bucket>) {
        let last = {
            let mut places = bucket.places.lock();
            places.followers -= 1;
            places.followers == 0 && !places.ended
        };
        if !last {
            return;
        }
        match topic {
            Topic::Object(key) => drop(self.objects.remove(key)),
            Topic::Field(field, value) => {
                if let Some(at) = self.fields.iter().position(|(f, _)| f == field) {
                    self.fields[at].1.remove(value);
                    if self.fields[at].1.is_empty() {
                        self.fields.swap_remove(at);
                    }
                }
            }
        }
    }

    /// Notes an event at its position in the ring that begins at `first`.
    pub fn note(&mut self, event: &Event, position: u64, first: u64) {
        let touched = &mut self.touched;
        let mut tell = |bucket: Option<&Arc<Bucket>>| {
            if let Some(bucket) = bucket.filter(|b| b.note(position, first)) {
                touched.push(bucket.clone());
            }
        };
        if !self.objects.is_empty() {
            tell(self.objects.get(&event.object.key));
        }
        for (field, values) in &self.fields {
            // What lacks the field counts as empty, as in selectors.
            let of = |o: &value::Object| o.meta.fields.get(*field).cloned().unwrap_or_default();
            let (now, before) = (of(&event.object), event.previous.as_deref().map(of));
            tell(values.get(&now));
            if let Some(before) = before.filter(|before| *before != now) {
                tell(values.get(&before));
            }
        }
    }

    /// The topics with news since the last call.
    pub fn touched(&mut self) -> Vec<Arc<Bucket>> {
        std::mem::take(&mut self.touched)
    }

    /// Ends all topics: their followers begin anew.
    pub fn end(&mut self) {
        let fields = std::mem::take(&mut self.fields).into_iter().flat_map(|(_, values)| values.into_values());
        for bucket in std::mem::take(&mut self.objects).into_values().chain(fields) {
            bucket.places.lock().ended = true;
            self.touched.push(bucket);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.objects.len() + self.fields.iter().map(|(_, values)| values.len()).sum::<usize>()
    }
}
