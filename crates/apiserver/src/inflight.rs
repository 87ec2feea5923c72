//! How many requests run at once: the seat where priority and fairness will decide.
//!
//! A request waits for a turn in its user's share, and then, with its body read, for a seat; where too many wait
//! already, it is told to come back. So whoever sends many requests, or sends them slowly, stands in its own way first.
//! Nodes and the control plane have lanes of their own (upstream gives them priority levels): no other user can keep
//! them from the server. Long-running requests and `system:masters` need neither (as upstream's `exempt`), so that an
//! administrator always gets in.

use base::{Reason, Result, Status, User};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use telemetry::{Counter, Gauge, Registry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Upstream's defaults: 400 reading and 200 writing requests. Nodes and the control plane have as many again.
const READING: usize = 400;
const WRITING: usize = 200;
/// What one user may have of either at once.
const READING_SHARE: usize = READING / 2;
const WRITING_SHARE: usize = WRITING / 2;
/// How many may wait for a seat of each sort, and for a turn of one user.
const QUEUE: usize = 2000;

pub struct InFlight {
    everybody: Lanes,
    system: Lanes,
    /// The shares of users that have a request under way, by name.
    shares: Mutex<HashMap<String, Arc<Share>>>,
    rejected: Arc<Counter>,
}

struct Lanes {
    reading: Lane,
    writing: Lane,
}

struct Lane {
    seats: Semaphore,
    waiting: AtomicUsize,
    running: Arc<Gauge>,
}

/// The requests of one user.
struct Share {
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Held from before a request's body is read until it is answered.
pub struct Turn<'a> {
    shares: &'a Mutex<HashMap<String, Arc<Share>>>,
    name: &'a str,
    /// `None` while it waits, and once it is given back.
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.permit = None;
        let mut shares = self.shares.lock();
        // Every turn of the user, waiting or not, holds its share's semaphore.
        if shares.get(self.name).is_some_and(|share| share.is_idle()) {
            shares.remove(self.name);
        }
    }
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

impl Share {
    fn new() -> Self {
        Share {
            reading: Arc::new(Semaphore::new(READING_SHARE)),
            writing: Arc::new(Semaphore::new(WRITING_SHARE)),
            waiting: AtomicUsize::new(0),
        }
    }
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.reading) == 1 && Arc::strong_count(&self.writing) == 1
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
        let lanes = || Lanes { reading: lane(READING, "readOnly"), writing: lane(WRITING, "mutating") };
        InFlight {
            everybody: lanes(),
            system: lanes(),
            shares: Mutex::default(),
            rejected: registry.single("apiserver_flowcontrol_rejected_requests_total", "Requests told to come back."),
        }
    }
    /// Waits for a turn in the user's share; 429 where too many of its requests wait.
    pub async fn turn<'a>(&'a self, user: &'a User, mutating: bool) -> Result<Turn<'a>> {
        // Dropped last: it looks whether the share is still held.
        let mut turn = Turn { shares: &self.shares, name: &user.name, permit: None };
        let (share, semaphore) = {
            let mut shares = self.shares.lock();
            let share = match shares.get(&user.name) {
                Some(share) => share.clone(),
                None => shares.entry(user.name.clone()).or_insert(Arc::new(Share::new())).clone(),
            };
            let semaphore = if mutating { share.writing.clone() } else { share.reading.clone() };
            (share, semaphore)
        };
        let permit = match semaphore.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.wait(&share.waiting)?;
                semaphore.acquire_owned().await.map_err(|_| busy())?
            }
        };
        turn.permit = Some(permit);
        Ok(turn)
    }
    /// Waits for a seat; 429 where the queue is full.
    pub async fn seat(&self, user: &User, mutating: bool) -> Result<Seat<'_>> {
        let lanes = if is_system(user) { &self.system } else { &self.everybody };
        let lane = if mutating { &lanes.writing } else { &lanes.reading };
        let permit = match lane.seats.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.wait(&lane.waiting)?;
                lane.seats.acquire().await.map_err(|_| busy())?
            }
        };
        lane.running.add(1);
        Ok(Seat { _permit: permit, running: &lane.running })
    }
    fn wait<'a>(&self, waiting: &'a AtomicUsize) -> Result<Waiting<'a>> {
        if waiting.fetch_add(1, Relaxed) >= QUEUE {
            waiting.fetch_sub(1, Relaxed);
            self.rejected.inc();
            return Err(busy());
        }
        Ok(Waiting(waiting))
    }
}

/// Nodes and the control plane.
fn is_system(user: &User) -> bool {
    user.node_name().is_some()
        || user.name.starts_with("system:kube-")
        || user.in_group("system:serviceaccounts:kube-system")
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
    use futures::FutureExt;

    fn named(name: &str) -> User {
        User::new(name, [])
    }

    #[tokio::test]
    async fn a_full_queue_is_told_to_come_back() {
        let inflight = InFlight::new(&Registry::default());
        let alice = named("alice");
        let mut seats = Vec::new();
        for _ in 0..WRITING {
            seats.push(inflight.seat(&alice, true).await.unwrap());
        }
        inflight.everybody.writing.waiting.store(QUEUE, Relaxed);
        assert_eq!(inflight.seat(&alice, true).await.err().map(|e| e.code()), Some(429));
        assert!(inflight.seat(&alice, false).await.is_ok());
        // Whom nobody else keeps out.
        let node = User::new("system:node:n1", ["system:nodes"]);
        let controller = User::service_account("kube-system", "node-controller", "");
        for user in [&node, &controller, &named("system:kube-scheduler")] {
            assert!(inflight.seat(user, true).now_or_never().is_some_and(|seat| seat.is_ok()), "{user:?}");
        }
        seats.pop();
        assert!(inflight.seat(&alice, true).await.is_ok());
    }

    #[test]
    fn a_user_has_a_share() {
        let inflight = InFlight::new(&Registry::default());
        let (alice, bob) = (named("alice"), named("bob"));
        let turn = |user| inflight.turn(user, true).now_or_never().map(|turn| turn.expect("no refusal"));
        let mut turns: Vec<_> = (0..WRITING_SHARE).map(|_| turn(&alice).expect("a turn")).collect();
        assert!(turn(&alice).is_none());
        assert!(turn(&bob).is_some());
        turns.pop();
        turns.extend(turn(&alice));
        assert_eq!(turns.len(), WRITING_SHARE);
        inflight.shares.lock()["alice"].waiting.store(QUEUE, Relaxed);
        let refused = inflight.turn(&alice, true).now_or_never().expect("an answer");
        assert_eq!(refused.err().map(|e| e.code()), Some(429));
        drop(turns);
        assert!(inflight.shares.lock().is_empty());
    }
}
