//! Room for expressions that nest deeply.
//!
//! Checking, planning and estimating recurse over the tree, with frames of some kilobytes in unoptimized builds; the tree is
//! at most 300 nodes high. What real rules look like runs where it is called. Evaluation keeps its frames small instead.

use std::thread;

/// From this height on the work gets a stack of its own.
const HIGH: usize = 40;
const STACK: usize = 32 << 20;

/// Runs `work` for a tree of some height; `None` where there is no room for it.
pub fn run<T: Send>(height: usize, work: impl FnOnce() -> T + Send) -> Option<T> {
    if height < HIGH {
        return Some(work());
    }
    thread::scope(|scope| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).ok()?.join().ok())
}
