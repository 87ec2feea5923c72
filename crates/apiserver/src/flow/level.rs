//! A priority level at work: its queues behind a lock, and the seats that requests hold.

use super::{
    limits::{Bounds, Demand},
    queues::{Arrival, Limit, Queues, Refusal, Running, Started},
    table::Schema,
};
use crate::request_info::RequestInfo;
use base::{Reason, Result, Status, User};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use telemetry::Gauge;
use tokio::sync::oneshot;

/// The longest that a request waits for a seat. Source: upstream's, a quarter of the request timeout.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// One priority level. It outlives its object as long as somebody waits in it.
pub struct Level {
    pub name: String,
    /// Its requests never wait.
    pub exempt: bool,
    epoch: Instant,
    queues: Mutex<Queues<Waiter>>,
    /// The widest that a request is estimated at.
    pub width: AtomicU32,
    /// Of an exempt level, which has no queues: what runs, and the most that did.
    free: AtomicU32,
    highest: AtomicU32,
    pub dispatched: AtomicU64,
    /// By [`Refusal`].
    pub refused: [AtomicU64; 4],
    pub limit: Arc<Gauge>,
}

/// Who waits: how to tell it, and what a dump says of it.
pub struct Waiter {
    start: oneshot::Sender<Running>,
    pub schema: Arc<Schema>,
    pub flow: String,
    pub details: Details,
}

/// What is asked, and by whom.
pub struct Details {
    pub user: String,
    pub verb: &'static str,
    pub path: String,
    pub namespace: String,
    pub name: String,
    pub api_version: String,
    pub resource: String,
    pub subresource: String,
}

impl Details {
    fn of(user: &User, info: &RequestInfo<'_>) -> Self {
        let api_version = match (info.group, info.version) {
            ("", version) => version.to_string(),
            (group, version) => format!("{group}/{version}"),
        };
        Details {
            user: user.name.clone(),
            verb: info.verb,
            path: info.path.into(),
            namespace: info.namespace.into(),
            name: info.name.to_string(),
            api_version,
            resource: info.resource.into(),
            subresource: info.subresource.into(),
        }
    }
}

/// What is known of a request before it waits.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub flow: &'a str,
    pub user: &'a User,
    pub info: &'a RequestInfo<'a>,
}

impl Level {
    pub fn new(name: &str, exempt: bool, limit: Limit, bounds: Bounds, epoch: Instant, gauge: Arc<Gauge>) -> Self {
        Level {
            name: name.into(),
            exempt,
            epoch,
            queues: Mutex::new(Queues::new(limit, bounds.nominal)),
            width: AtomicU32::new(1),
            free: AtomicU32::new(0),
            highest: AtomicU32::new(0),
            dispatched: AtomicU64::new(0),
            refused: Default::default(),
            limit: gauge,
        }
    }
    /// A seat for a request; waits where there is none, and 429 where too many do.
    pub async fn seat(&self, schema: &Arc<Schema>, hash: u64, seats: u32, asked: Asked<'_>) -> Result<Seat> {
        if self.exempt {
            let now = self.free.fetch_add(seats, Relaxed) + seats;
            self.highest.fetch_max(now, Relaxed);
            return Ok(self.begin(schema, Held::Free(seats)));
        }
        let mut place = {
            let mut queues = self.queues.lock();
            match queues.arrive(self.now(), hash, seats) {
                Arrival::Run(running) => {
                    drop(queues);
                    return Ok(self.begin(schema, Held::Running(running)));
                }
                Arrival::Refuse(why) => return Err(self.refuse(schema, why)),
                Arrival::Wait(queue) => {
                    let (start, told) = oneshot::channel();
                    let Asked { flow, user, info } = asked;
                    let who =
                        Waiter { start, schema: schema.clone(), flow: flow.into(), details: Details::of(user, info) };
                    let (ticket, started) = queues.wait(queue, seats, who);
                    self.start(&mut queues, started);
                    schema.metrics.waiting.add(1);
                    Place { level: self, schema, queue, ticket, told, since: Instant::now(), begun: false }
                }
            }
        };
        match tokio::time::timeout(PATIENCE, &mut place.told).await {
            Ok(Ok(running)) => {
                place.begun = true;
                Ok(self.begin(schema, Held::Running(running)))
            }
            _ => {
                place.begun = place.give_up();
                Err(self.refuse(schema, Refusal::TimeOut))
            }
        }
    }
    fn begin(&self, schema: &Arc<Schema>, held: Held) -> Seat {
        self.dispatched.fetch_add(1, Relaxed);
        schema.metrics.dispatched.inc();
        schema.metrics.executing.add(1);
        Seat { schema: schema.clone(), held }
    }
    fn refuse(&self, schema: &Schema, why: Refusal) -> Status {
        self.refused[why as usize].fetch_add(1, Relaxed);
        schema.metrics.refused[why as usize].inc();
        Status::new(Reason::TooManyRequests, "Too many requests, please try again later.").with_retry_after(1)
    }
    /// Tells those who begin. The lock is held, so nobody gives up meanwhile.
    fn start(&self, queues: &mut Queues<Waiter>, mut started: Started<Waiter>) {
        while let Some((who, running)) = started.pop() {
            if who.start.send(running).is_err() {
                started.extend(queues.finish(self.now(), running));
            }
        }
    }
    fn finish(&self, running: Running) {
        let mut queues = self.queues.lock();
        let started = queues.finish(self.now(), running);
        self.start(&mut queues, started);
    }
    pub fn set(&self, limit: Limit, seats: u32) {
        let mut queues = self.queues.lock();
        let started = queues.set(self.now(), limit, seats);
        self.start(&mut queues, started);
        self.limit.set(seats.into());
    }
    /// What was asked for since the last call.
    pub fn demand(&self) -> Demand {
        if self.exempt {
            let now = self.free.load(Relaxed);
            let high = self.highest.swap(now, Relaxed).max(now);
            return Demand { average: high.into(), deviation: 0.0, high };
        }
        self.queues.lock().demand(self.now())
    }
    /// Looks at the queues, for a dump.
    pub fn look<T>(&self, look: impl FnOnce(&Queues<Waiter>) -> T) -> T {
        look(&self.queues.lock())
    }
    /// Requests of an exempt level.
    pub fn free(&self) -> u32 {
        self.free.load(Relaxed)
    }
    /// When this level's time began.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }
    fn now(&self) -> f64 {
        self.epoch.elapsed().as_secs_f64()
    }
}

enum Held {
    Free(u32),
    Running(Running),
}

/// Held while a request runs.
pub struct Seat {
    schema: Arc<Schema>,
    held: Held,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let level = &self.schema.level;
        match self.held {
            Held::Free(seats) => {
                level.free.fetch_sub(seats, Relaxed);
            }
            Held::Running(running) => level.finish(running),
        }
        self.schema.metrics.executing.add(-1);
    }
}

/// A place in a queue. It is left also where the client goes away.
struct Place<'a> {
    level: &'a Level,
    schema: &'a Schema,
    queue: usize,
    ticket: u64,
    told: oneshot::Receiver<Running>,
    since: Instant,
    /// Nothing is left to be given back.
    begun: bool,
}

impl Place<'_> {
    fn give_up(&mut self) -> bool {
        let mut queues = self.level.queues.lock();
        let now = self.level.now();
        let started = match queues.give_up(now, self.queue, self.ticket) {
            Some(started) => started,
            // Told in the same moment.
            None => match self.told.try_recv() {
                Ok(running) => queues.finish(now, running),
                Err(_) => Vec::new(),
            },
        };
        self.level.start(&mut queues, started);
        true
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.begun {
            self.give_up();
            self.level.refused[Refusal::Cancelled as usize].fetch_add(1, Relaxed);
        }
        self.schema.metrics.waiting.add(-1);
        self.schema.metrics.waited.observe(self.since.elapsed());
    }
}
