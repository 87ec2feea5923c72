//! A clock that stands still until it is told otherwise.

use base::{clock::Clock, time::SignedDuration, time::Timestamp};
use parking_lot::Mutex;
use std::sync::Arc;

/// Starts at the present second, so that certificates made beside it are valid.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    pub fn new() -> Arc<Self> {
        Arc::new(ManualClock(Mutex::new(Timestamp::now())))
    }
    /// Moves on (or back).
    pub fn advance(&self, by: SignedDuration) {
        let mut now = self.0.lock();
        *now = now.checked_add(by).unwrap_or(*now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}
