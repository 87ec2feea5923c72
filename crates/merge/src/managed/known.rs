//! The sets of objects that are alike.
//!
//! A client that creates many objects creates much the same one again and again: the pods of a ReplicaSet name the same
//! fields, whatever the values. Their set is made once and shared by all of them ([`value::Map`] is copied on write), which
//! saves making it, freeing it and keeping it. A set is found by its [`trace`](super::created::trace), which is complete:
//! equal traces mean equal sets, so nothing is ever shared by the accident of a hash.
//!
//! What is created once is not worth keeping: a set is kept when its trace comes for the second time.

use super::set::FieldSet;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

/// So many sets are kept; when there are more, all are forgotten, and what is still used comes again.
const KEPT: usize = 128;
/// A longer trace is not kept: objects like that are rare.
const LONGEST: usize = 16 << 10;

/// The sets that new objects have had lately, of all kinds.
#[derive(Debug, Default)]
pub struct Known {
    state: Mutex<State>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct State {
    sets: HashMap<Box<[u8]>, FieldSet>,
    /// Hashes of traces that came once, each in the place that it says.
    once: Vec<u64>,
}

impl Known {
    /// The set of a trace, `make` where it is not known.
    pub(crate) fn get(&self, trace: &[u8], make: impl FnOnce() -> FieldSet) -> FieldSet {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = state.sets.get(trace) {
            return set.clone();
        }
        let hash = self.hasher.hash_one(trace);
        state.once.resize(KEPT, 0);
        let seen = std::mem::replace(&mut state.once[hash as usize % KEPT], hash) == hash;
        drop(state);
        let set = make();
        if seen && trace.len() <= LONGEST {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.sets.len() >= KEPT {
                state.sets.clear();
            }
            state.sets.insert(trace.into(), set.clone());
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_kept_when_it_is_wanted_again() {
        let known = Known::default();
        let mut made = 0;
        let mut get = |trace: &str| {
            let before = made;
            known.get(trace.as_bytes(), || {
                made += 1;
                FieldSet::new()
            });
            made > before
        };
        assert_eq!([get("a"), get("a"), get("a"), get("a")], [true, true, false, false]);
        let long = "x".repeat(LONGEST + 1);
        assert_eq!([get(&long), get(&long), get(&long)], [true, true, true]);
        for i in 0..=KEPT {
            let other = format!("{i}");
            get(&other);
            get(&other);
        }
        assert!(get("a"), "all were forgotten");
        assert!(known.state.lock().unwrap().sets.len() <= KEPT);
    }
}
