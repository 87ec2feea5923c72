//! The back-off of crashing containers and failing pulls: 10 s, doubling to 5 minutes, forgotten after 10 quiet minutes.

use base::time::{SignedDuration, Timestamp};

/// `initialBackOff` and `MaxContainerBackOff` of `pkg/kubelet/kubelet.go`.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
const MAX: SignedDuration = SignedDuration::from_secs(300);

/// The back-off after the latest crash. The first crash has none: the container restarts at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub delay: SignedDuration,
    updated: Timestamp,
}

impl Backoff {
    /// The back-off for a container that ended at `finished` and is being restarted now.
    pub fn next(current: Option<Backoff>, finished: Timestamp, now: Timestamp) -> Backoff {
        let delay = match current {
            Some(b) if !b.expired(finished) => (b.delay * 2).min(MAX),
            _ => FIRST,
        };
        Backoff { delay, updated: now }
    }
    /// Until when a container that ended at `finished` must wait; `None` where it ran long enough.
    pub fn until(&self, finished: Timestamp) -> Option<Timestamp> {
        (!self.expired(finished)).then(|| finished + self.delay)
    }
    fn expired(&self, finished: Timestamp) -> bool {
        finished.duration_since(self.updated) > MAX * 2
    }
}

/// The delay after `tries` failed pulls in a row (1 for the first).
pub fn pull_delay(tries: u32) -> SignedDuration {
    (FIRST * 2i32.saturating_pow(tries.saturating_sub(1).min(6))).min(MAX)
}

/// `10s`, `1m20s`, `5m0s`: a duration as Go prints it.
pub fn go_duration(d: SignedDuration) -> String {
    let seconds = d.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn doubles_and_forgets() {
        let mut backoff = None;
        let mut delays = Vec::new();
        for crash in 0..8 {
            let b = Backoff::next(backoff, at(crash * 10), at(crash * 10 + 1));
            delays.push(b.delay.as_secs());
            backoff = Some(b);
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300, 300]);
        let b = backoff.unwrap();
        assert_eq!(b.until(at(100)), Some(at(400)));
        assert_eq!(b.until(at(71 + 601)), None);
        assert_eq!(Backoff::next(backoff, at(1000), at(1000)).delay.as_secs(), 10);
    }

    #[test]
    fn words() {
        assert_eq!(
            [10, 80, 300, 3600].map(|s| go_duration(SignedDuration::from_secs(s))),
            ["10s", "1m20s", "5m0s", "1h0m0s"]
        );
        assert_eq!([1, 2, 5, 6, 99].map(|n| pull_delay(n).as_secs()), [10, 20, 160, 300, 300]);
    }
}
