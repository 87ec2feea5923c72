//! The clock seam: code that decides takes `now` as an argument; code that runs asks a [`Clock`].

use jiff::Timestamp;

/// Where `now` comes from. Tests hold a clock that they move by hand.
pub trait Clock: Send + Sync + 'static {
    /// The current instant (UTC).
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
