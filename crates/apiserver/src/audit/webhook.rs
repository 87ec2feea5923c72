//! Audit events for a server elsewhere, in batches. Requests never wait for it: where it is too slow for long, events are
//! dropped and counted. Source: `apiserver/plugin/pkg/audit/{buffered,webhook}`, whose numbers these are.

use bytes::Bytes;
use net::{Endpoint, Outgoing};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use telemetry::Counter;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

/// For one call. Source: client-go has none of its own; this is the time of a request here.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most that is read of an answer, which says nothing.
const LIMIT: usize = 64 << 10;
/// How often a batch is sent before it is given up, and how the pauses between grow. Source: upstream's
/// `DefaultRetryBackoffWithInitialDelay`.
const TRIES: u32 = 5;
const GROWTH: f64 = 1.5;

/// The server, and how events are gathered for it.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    pub endpoint: Endpoint,
    /// How many events may wait.
    pub buffer_size: usize,
    /// The most that are sent at once.
    pub max_size: usize,
    /// How long an event waits for others.
    pub max_wait: Duration,
    /// Batches per second, and how many may be saved up; `None` for no bound.
    pub throttle: Option<(f64, u32)>,
    pub initial_backoff: Duration,
}

impl WebhookConfig {
    /// With upstream's defaults.
    pub fn to(endpoint: Endpoint) -> Self {
        WebhookConfig {
            endpoint,
            buffer_size: 10_000,
            max_size: 400,
            max_wait: Duration::from_secs(30),
            throttle: Some((10.0, 15)),
            initial_backoff: Duration::from_secs(10),
        }
    }
}

/// The sending end. Dropping it sends what is left, while the runtime lives.
pub struct Webhook(Arc<Queue>);

struct Queue {
    bound: usize,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Vec<u8>>,
    closed: bool,
}

impl Webhook {
    /// Begins to send, on the present runtime. `lost` counts what could not be delivered.
    pub fn start(config: WebhookConfig, outgoing: Arc<Outgoing>, lost: Arc<Counter>) -> Self {
        let queue = Arc::new(Queue { bound: config.buffer_size, waiting: Mutex::default(), filled: Notify::new() });
        tokio::spawn(send_all(queue.clone(), Arc::new(config), outgoing, lost));
        Webhook(queue)
    }
    /// Takes one event; false where too many wait.
    pub fn push(&self, event: Vec<u8>) -> bool {
        let mut waiting = self.0.waiting.lock();
        if waiting.events.len() >= self.0.bound {
            return false;
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.0.filled.notify_one();
        true
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.0.waiting.lock().closed = true;
        self.0.filled.notify_one();
    }
}

async fn send_all(queue: Arc<Queue>, config: Arc<WebhookConfig>, outgoing: Arc<Outgoing>, lost: Arc<Counter>) {
    let mut throttle = config.throttle.map(|(rate, burst)| Throttle::new(rate, burst, Instant::now()));
    while let Some(events) = queue.batch(&config).await {
        if let Some(throttle) = &mut throttle {
            sleep(throttle.take(Instant::now())).await;
        }
        let (config, outgoing, lost) = (config.clone(), outgoing.clone(), lost.clone());
        // A batch that is tried again does not hold up the next one.
        tokio::spawn(async move {
            let count = events.len() as u64;
            if let Err(why) = deliver(&config, &outgoing, list(&events)).await {
                lost.add(count);
                tracing::error!("audit webhook: {count} events are lost: {why}");
            }
        });
    }
}

impl Queue {
    /// The next batch: full, or as it is once the first event has waited long enough. `None` after the end.
    async fn batch(&self, config: &WebhookConfig) -> Option<Vec<Vec<u8>>> {
        while self.look(|waiting| waiting.events.is_empty()) {
            if self.look(|waiting| waiting.closed) {
                return None;
            }
            self.filled.notified().await;
        }
        let due = Instant::now() + config.max_wait;
        while self.look(|waiting| waiting.events.len() < config.max_size && !waiting.closed) {
            if timeout_at(due, self.filled.notified()).await.is_err() {
                break;
            }
        }
        let mut waiting = self.waiting.lock();
        let count = waiting.events.len().min(config.max_size);
        Some(waiting.events.drain(..count).collect())
    }
    fn look<T>(&self, read: impl FnOnce(&Waiting) -> T) -> T {
        read(&self.waiting.lock())
    }
}

async fn deliver(config: &WebhookConfig, outgoing: &Outgoing, body: Bytes) -> Result<(), String> {
    let mut pause = config.initial_backoff;
    let mut tries = 0;
    loop {
        tries += 1;
        let why = match outgoing.call(config.endpoint.post(body.clone(), TIMEOUT, LIMIT)).await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            Ok(answer) => format!("{}: {}", config.endpoint.url, answer.status),
            Err(e) => e.to_string(),
        };
        if tries == TRIES {
            return Err(why);
        }
        tracing::debug!("audit webhook: {why}");
        sleep(pause).await;
        pause = pause.mul_f64(GROWTH);
    }
}

/// An `EventList` of lines.
fn list(events: &[Vec<u8>]) -> Bytes {
    let mut out = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#.to_vec();
    for (i, event) in events.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(event.trim_ascii_end());
    }
    out.extend_from_slice(b"]}\n");
    out.into()
}

/// A bucket of tokens.
struct Throttle {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Throttle {
    fn new(rate: f64, burst: u32, now: Instant) -> Self {
        Throttle { rate, burst: burst.into(), tokens: burst.into(), at: now }
    }
    /// Takes a token; how long until it is there.
    fn take(&mut self, now: Instant) -> Duration {
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + grown).min(self.burst) - 1.0;
        self.at = now;
        Duration::from_secs_f64((-self.tokens / self.rate).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_pass_and_then_its_rate() {
        let start = Instant::now();
        let mut throttle = Throttle::new(10.0, 2, start);
        let mut wait = |ms| throttle.take(start + Duration::from_millis(ms)).as_millis();
        assert_eq!((wait(0), wait(0), wait(0), wait(0)), (0, 0, 100, 200));
        assert_eq!((wait(1000), wait(1000), wait(1000)), (0, 0, 100));
    }

    #[test]
    fn lines_become_a_list() {
        let list = list(&[b"{\"a\":1}\n".to_vec(), b"{\"a\":2}\n".to_vec()]);
        let list = value::parse(&list).unwrap().value;
        assert_eq!((list.str_at(&["kind"]), list.items_at(&["items"]).len()), ("EventList", 2));
    }

    #[tokio::test]
    async fn a_batch_is_full_or_all_that_is_left() {
        let queue = Queue { bound: 3, waiting: Mutex::default(), filled: Notify::new() };
        let endpoint =
            Endpoint { url: String::new(), trust: net::Trust::System, identity: None, headers: Default::default() };
        let config = WebhookConfig { max_size: 2, ..WebhookConfig::to(endpoint) };
        let webhook = Webhook(Arc::new(queue));
        let pushed: Vec<bool> = (0..4u8).map(|n| webhook.push(vec![n])).collect();
        assert_eq!(pushed, [true, true, true, false], "the fourth finds no room");
        let queue = webhook.0.clone();
        assert_eq!(queue.batch(&config).await, Some(vec![vec![0], vec![1]]));
        drop(webhook);
        assert_eq!(queue.batch(&config).await, Some(vec![vec![2]]), "the end waits for nothing");
        assert_eq!(queue.batch(&config).await, None);
    }
}
