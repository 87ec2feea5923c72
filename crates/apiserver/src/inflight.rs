//! How many requests run at once: the seat where priority and fairness will decide.
//!
//! A request waits for a seat; where too many wait already, it is told to come back. Long-running requests and
//! `system:masters` need none (as upstream's `exempt` priority level), so that an administrator always gets in.

use base::{Reason, Result, Status};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use telemetry::{Counter, Gauge, Registry};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Upstream's defaults: 400 reading and 200 writing requests.
const READING: usize = 400;
const WRITING: usize = 200;
/// How many may wait for a seat of each sort.
const QUEUE: usize = 2000;

pub struct InFlight {
    reading: Lane,
    writing: Lane,
    rejected: Arc<Counter>,
}

struct Lane {
    seats: Semaphore,
    waiting: AtomicUsize,
    running: Arc<Gauge>,
}

/// Held while a request runs.
pub struct Seat<'a> {
    _permit: SemaphorePermit<'a>,
    running: &'a Gauge,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.running.add(-1);
    }
}

impl InFlight {
    pub fn new(registry: &Registry) -> Self {
        let running = registry.family::<Gauge>(
            "apiserver_current_inflight_requests",
            "Requests that hold a seat.",
            &["request_kind"],
        );
        let lane = |seats, kind: &str| Lane {
            seats: Semaphore::new(seats),
            waiting: AtomicUsize::new(0),
            running: running.with(&[kind]),
        };
        InFlight {
            reading: lane(READING, "readOnly"),
            writing: lane(WRITING, "mutating"),
            rejected: registry.single("apiserver_flowcontrol_rejected_requests_total", "Requests told to come back."),
        }
    }
    /// Waits for a seat; 429 where the queue is full.
    pub async fn seat(&self, mutating: bool) -> Result<Seat<'_>> {
        let lane = if mutating { &self.writing } else { &self.reading };
        let permit = match lane.seats.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                if lane.waiting.fetch_add(1, Relaxed) >= QUEUE {
                    lane.waiting.fetch_sub(1, Relaxed);
                    self.rejected.inc();
                    return Err(busy());
                }
                let waited = Waiting(&lane.waiting);
                let permit = lane.seats.acquire().await.map_err(|_| busy());
                drop(waited);
                permit?
            }
        };
        lane.running.add(1);
        Ok(Seat { _permit: permit, running: &lane.running })
    }
}

/// Counts down also where the client goes away while it waits.
struct Waiting<'a>(&'a AtomicUsize);
impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn busy() -> Status {
    Status::new(Reason::TooManyRequests, "Too many requests, please try again later.").with_retry_after(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_is_told_to_come_back() {
        let inflight = InFlight::new(&Registry::default());
        let mut seats = Vec::new();
        for _ in 0..WRITING {
            seats.push(inflight.seat(true).await.unwrap());
        }
        inflight.writing.waiting.store(QUEUE, Relaxed);
        assert_eq!(inflight.seat(true).await.err().map(|e| e.code()), Some(429));
        assert!(inflight.seat(false).await.is_ok());
        seats.pop();
        assert!(inflight.seat(true).await.is_ok());
    }
}
