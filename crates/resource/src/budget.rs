//! What the rings of all kinds may hold together.
//!
//! One budget, because what a process may spend does not grow with the number of its kinds. The kind that holds most gives
//! way: a busy kind does not cost a quiet one its history, and where one kind is busy it may have nearly all. Decided
//! against evicting the oldest event of all: after a second of pods being created nobody could resume any watch.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that rings of events may hold, by [`crate::Event::weight`].
pub const RINGS: usize = 64 << 20;
/// A kind gives way by that part of the budget at once.
const PART: usize = 64;

/// The budget of one engine.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    pub fn new(limit: usize) -> Self {
        Budget { limit, used: AtomicUsize::new(0) }
    }
    pub fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }
    pub fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }
    pub fn is_exceeded(&self) -> bool {
        self.used.load(Relaxed) > self.limit
    }
    /// How much a ring gives up when it is asked to.
    pub fn part(&self) -> usize {
        self.limit / PART
    }
    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }
}
