//! What is kept in memory of a keyspace: for every key where its value lies, and for every retained change where the
//! value before it lay. Pure; values stay on disk.
//!
//! The state as of an older revision is not stored: it is today's index with the newer changes taken back. That costs a
//! pass over the history when somebody subscribes or the log is folded, and nothing on the way of a commit. Decided
//! against: a persistent map with a version per revision, whose nodes cost more memory per key than all this.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
};
use store::Revision;

/// Where a value lies. 24 bytes, and no more for an `Option`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The revision that wrote it.
    pub revision: Revision,
    pub segment: NonZeroU32,
    /// Of the value, from the beginning of the file.
    pub offset: u32,
    pub len: u32,
}

/// A retained change.
#[derive(Debug, Clone)]
pub struct Past {
    pub key: Arc<str>,
    pub revision: Revision,
    /// The log segment that holds the transaction.
    pub segment: NonZeroU32,
    /// Offset and length of the value; `None`: deleted.
    pub value: Option<(u32, u32)>,
    pub previous: Option<Slot>,
}

impl Past {
    /// Where the value that it wrote lies.
    pub fn slot(&self) -> Option<Slot> {
        self.value.map(|(offset, len)| Slot { revision: self.revision, segment: self.segment, offset, len })
    }
}

/// A keyspace as of its newest durable revision, and the way there from `floor`.
#[derive(Debug, Default)]
pub struct State {
    pub index: BTreeMap<Arc<str>, Slot>,
    pub history: VecDeque<Past>,
    /// The oldest revision whose state is still known.
    pub floor: Revision,
    pub head: Revision,
    /// Keys and values of the index, in bytes.
    pub live: u64,
}

impl State {
    /// Takes over one key of a base.
    pub fn load(&mut self, key: Arc<str>, slot: Slot) {
        self.live += size(&key, &slot);
        if let Some(old) = self.index.insert(key.clone(), slot) {
            self.live -= size(&key, &old);
        }
    }

    /// Applies one write of the transaction at `revision`; returns the revision that it replaced.
    pub fn apply(
        &mut self,
        key: Arc<str>,
        revision: Revision,
        segment: NonZeroU32,
        value: Option<(u32, u32)>,
    ) -> Option<Revision> {
        let mut past = Past { key, revision, segment, value, previous: None };
        past.previous = match past.slot() {
            Some(slot) => {
                self.live += size(&past.key, &slot);
                self.index.insert(past.key.clone(), slot)
            }
            None => self.index.remove(&past.key),
        };
        if let Some(old) = &past.previous {
            self.live -= size(&past.key, old);
        }
        let previous = past.previous.map(|slot| slot.revision);
        self.history.push_back(past);
        self.head = revision;
        previous
    }

    /// Forgets the history up to `to`, which becomes the floor.
    pub fn forget(&mut self, to: Revision) {
        let gone = self.history.partition_point(|past| past.revision <= to);
        self.history.drain(..gone);
        if self.history.capacity() > 1024 + 4 * self.history.len() {
            self.history.shrink_to(2 * self.history.len());
        }
        self.floor = self.floor.max(to.min(self.head));
    }

    /// The keys and where their values lie as of `revision`, which must not be below the floor. In the order of the
    /// disk, so that reading them all is one sweep.
    pub fn as_of(&self, revision: Revision) -> Vec<(Arc<str>, Slot)> {
        let mut before: HashMap<&Arc<str>, Option<Slot>> = HashMap::new();
        for past in self.history.iter().rev().take_while(|past| past.revision > revision) {
            before.insert(&past.key, past.previous);
        }
        let untouched = self.index.iter().filter(|(key, _)| !before.contains_key(key));
        let mut out: Vec<_> = untouched.map(|(key, slot)| (key.clone(), *slot)).collect();
        out.extend(before.iter().filter_map(|(key, slot)| Some((Arc::clone(key), (*slot)?))));
        out.sort_unstable_by_key(|(_, slot)| (slot.segment, slot.offset));
        out
    }

    /// Some of the changes after `revision`: whole transactions, and no more than one beyond `limit`.
    pub fn since(&self, revision: Revision, limit: usize) -> Vec<Past> {
        let from = self.history.partition_point(|past| past.revision <= revision);
        let mut out: Vec<Past> = Vec::new();
        for past in self.history.range(from..) {
            if out.len() >= limit && out.last().is_some_and(|last| last.revision != past.revision) {
                break;
            }
            out.push(past.clone());
        }
        out
    }

    /// The last revision that lies in a segment before `cut`, as far as it is remembered: from it on, the log from
    /// `cut` leads to the head.
    pub fn last_before(&self, cut: NonZeroU32) -> Revision {
        match self.history.partition_point(|past| past.segment < cut) {
            0 => self.floor,
            n => self.history[n - 1].revision,
        }
    }

    /// Points what still refers to `old` at `new`: the value was copied. Only the index; see [`State::relocate_past`].
    pub fn relocate(&mut self, key: &str, old: Slot, new: Slot) {
        if let Some(slot) = self.index.get_mut(key)
            && *slot == old
        {
            *slot = new;
        }
    }

    /// The same for the values that history remembers as replaced.
    pub fn relocate_past(&mut self, moved: &HashMap<Arc<str>, Slot>) {
        for past in &mut self.history {
            if let Some(previous) = &mut past.previous
                && let Some(new) = moved.get(&past.key)
                && new.revision == previous.revision
            {
                *previous = *new;
            }
        }
    }
}

fn size(key: &str, slot: &Slot) -> u64 {
    (crate::record::TXN_HEADER + crate::record::ENTRY_HEADER + key.len()) as u64 + u64::from(slot.len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seg(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).expect("not zero")
    }

    /// a=1 b=2 a=3 -b=4 b=5, two changes per segment.
    fn sample() -> State {
        let mut state = State::default();
        for (i, (key, value)) in
            [("a", Some((1, 1))), ("b", Some((2, 1))), ("a", Some((3, 1))), ("b", None), ("b", Some((5, 1)))]
                .into_iter()
                .enumerate()
        {
            state.apply(key.into(), Revision(i as u64 + 1), seg(i as u32 / 2 + 1), value);
        }
        state
    }

    fn shown(state: &State, at: u64) -> String {
        let mut keys: Vec<_> = state.as_of(Revision(at)).iter().map(|(k, s)| format!("{k}={}", s.revision)).collect();
        keys.sort();
        keys.join(" ")
    }

    #[test]
    fn the_past_is_the_present_with_changes_taken_back() {
        let state = sample();
        let all: Vec<_> = (0..=5).map(|at| shown(&state, at)).collect();
        assert_eq!(all, ["", "a=1", "a=1 b=2", "a=3 b=2", "a=3", "a=3 b=5"]);
    }

    #[test]
    fn forgetting_moves_the_floor_and_keeps_the_present() {
        let mut state = sample();
        state.forget(Revision(3));
        assert_eq!((state.floor, state.history.len()), (Revision(3), 2));
        assert_eq!(shown(&state, 3), "a=3 b=2");
        state.forget(Revision(1));
        assert_eq!(state.floor, Revision(3), "what is forgotten stays forgotten");
        state.forget(Revision(99));
        assert_eq!((state.floor, shown(&state, 5).as_str()), (Revision(5), "a=3 b=5"));
    }

    #[test]
    fn a_cut_falls_between_segments() {
        let mut state = sample();
        assert_eq!(state.last_before(seg(1)), Revision(0));
        assert_eq!(state.last_before(seg(2)), Revision(2));
        assert_eq!(state.last_before(seg(9)), Revision(5));
        state.forget(Revision(4));
        assert_eq!(state.last_before(seg(2)), Revision(4));
    }

    #[test]
    fn live_bytes_follow_the_index() {
        let mut state = sample();
        let two = state.live;
        state.apply("b".into(), Revision(6), seg(3), None);
        assert_eq!(state.live * 2, two);
        state.apply("a".into(), Revision(7), seg(3), None);
        assert_eq!(state.live, 0);
    }

    #[test]
    fn since_never_splits_a_transaction() {
        let mut state = State::default();
        for (key, revision) in [("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 2)] {
            state.apply(key.into(), Revision(revision), seg(1), Some((0, 0)));
        }
        assert_eq!(state.since(Revision(0), 1).len(), 3);
        assert_eq!(state.since(Revision(1), 1).len(), 2);
        assert_eq!(state.since(Revision(2), 1).len(), 0);
    }
}
