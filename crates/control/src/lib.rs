//! What every controller stands on: one shared cache per kind, work queues, the plan runner, expectations, events, leases.
//!
//! A controller reads caches, decides in a pure function that returns a printable plan, and executes the plan through the
//! API. Caches fill from either source: in the server's process they hold the server's own objects (nothing is copied or
//! parsed), over a socket they follow kube-rs's watcher. Events of caches put keys into queues; a key is worked on by one
//! worker at a time, and failed keys come back later.
//!
//! Invariants: a cache never misses a deletion, whatever happens to its connection; an idle controller has no timer and no
//! task that wakes; nothing here knows what a controller is for.

mod cache;
mod caches;
mod events;
mod expectations;
pub mod index;
mod lease;
mod queue;
mod runner;
mod source;

pub use cache::{Cache, Event, Value as CacheValue};
pub use caches::{Caches, Projection, Selection};
pub use events::{EventKind, Recorder, Reference};
pub use expectations::{Expectations, UidExpectations};
pub use lease::{LeaderConfig, lead};
pub use queue::{Backoff, Queue};
pub use runner::{Outcome, Reconciler, run, spawn};
