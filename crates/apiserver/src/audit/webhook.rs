//! Audit events for a server elsewhere, in batches, or each by itself where requests wait for it. In batches, where it is
//! too slow for long, events are dropped and counted. Source: `apiserver/plugin/pkg/audit/{buffered,webhook}`, whose numbers these are.

use super::backend::{Batching, Limits, Mode, Outcome, Throttle};
use bytes::Bytes;
use net::{Endpoint, Outgoing};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use telemetry::Counter;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
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
    pub mode: Mode,
    pub batching: Batching,
    pub limits: Option<Limits>,
    pub initial_backoff: Duration,
}

impl WebhookConfig {
    /// With upstream's defaults.
    pub fn to(endpoint: Endpoint) -> Self {
        WebhookConfig {
            endpoint,
            mode: Mode::Batch,
            batching: Batching {
                buffer_size: 10_000,
                max_size: 400,
                max_wait: Duration::from_secs(30),
                throttle: Some((10.0, 15)),
            },
            limits: None,
            initial_backoff: Duration::from_secs(10),
        }
    }
}

/// The sending end. Dropping it sends what is left, while the runtime lives.
pub struct Webhook {
    queue: Arc<Queue>,
    config: Arc<WebhookConfig>,
    outgoing: Arc<Outgoing>,
    lost: Arc<Counter>,
    runtime: Handle,
}

#[derive(Default)]
struct Queue {
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
        let (queue, config) = (Arc::<Queue>::default(), Arc::new(config));
        if config.mode == Mode::Batch {
            tokio::spawn(send_all(queue.clone(), config.clone(), outgoing.clone(), lost.clone()));
        }
        Webhook { queue, config, outgoing, lost, runtime: Handle::current() }
    }
    pub fn mode(&self) -> Mode {
        self.config.mode
    }
    pub fn limits(&self) -> Option<Limits> {
        self.config.limits
    }
    /// Takes one event; false where too many wait. What does not gather is on its way, and the outcome waits for it.
    pub fn push(&self, event: Vec<u8>) -> (bool, Outcome) {
        if self.config.mode == Mode::Batch {
            return (self.queue.push(event, self.config.batching.buffer_size), Outcome::default());
        }
        let (word, heard) = oneshot::channel();
        let (config, outgoing, lost) = (self.config.clone(), self.outgoing.clone(), self.lost.clone());
        self.runtime.spawn(async move {
            let _ = word.send(send(&config, &outgoing, &[event], &lost).await);
        });
        (true, Outcome::later(heard, self.config.mode))
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.queue.waiting.lock().closed = true;
        self.queue.filled.notify_one();
    }
}

async fn send_all(queue: Arc<Queue>, config: Arc<WebhookConfig>, outgoing: Arc<Outgoing>, lost: Arc<Counter>) {
    let mut throttle = config.batching.throttle.map(|(rate, burst)| Throttle::new(rate, burst, Instant::now()));
    while let Some(events) = queue.batch(&config).await {
        if let Some(throttle) = &mut throttle {
            sleep(throttle.take(Instant::now())).await;
        }
        let (config, outgoing, lost) = (config.clone(), outgoing.clone(), lost.clone());
        // A batch that is tried again does not hold up the next one.
        tokio::spawn(async move { send(&config, &outgoing, &events, &lost).await });
    }
}

/// False where the events are lost.
async fn send(config: &WebhookConfig, outgoing: &Outgoing, events: &[Vec<u8>], lost: &Counter) -> bool {
    let sent = deliver(config, outgoing, list(events)).await;
    if let Err(why) = &sent {
        let count = events.len() as u64;
        lost.add(count);
        tracing::error!("audit webhook: {count} events are lost: {why}");
    }
    sent.is_ok()
}

impl Queue {
    fn push(&self, event: Vec<u8>, bound: usize) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() >= bound {
            return false;
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.filled.notify_one();
        true
    }
    /// The next batch: full, or as it is once the first event has waited long enough. `None` after the end.
    async fn batch(&self, config: &WebhookConfig) -> Option<Vec<Vec<u8>>> {
        while self.look(|waiting| waiting.events.is_empty()) {
            if self.look(|waiting| waiting.closed) {
                return None;
            }
            self.filled.notified().await;
        }
        let most = config.batching.max_size;
        let due = Instant::now() + config.batching.max_wait;
        while self.look(|waiting| waiting.events.len() < most && !waiting.closed) {
            if timeout_at(due, self.filled.notified()).await.is_err() {
                break;
            }
        }
        let mut waiting = self.waiting.lock();
        let mut bytes = 0;
        let fits = |event: &&Vec<u8>| {
            bytes += event.len();
            config.limits.is_none_or(|limits| bytes <= limits.batch)
        };
        let count = waiting.events.iter().take(most).take_while(fits).count().max(1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_a_list() {
        let list = list(&[b"{\"a\":1}\n".to_vec(), b"{\"a\":2}\n".to_vec()]);
        let list = value::parse(&list).unwrap().value;
        assert_eq!((list.str_at(&["kind"]), list.items_at(&["items"]).len()), ("EventList", 2));
    }

    #[tokio::test]
    async fn a_batch_is_full_or_all_that_is_left() {
        let queue = Queue::default();
        let endpoint =
            Endpoint { url: String::new(), trust: net::Trust::System, identity: None, headers: Default::default() };
        let own = WebhookConfig::to(endpoint);
        let config = WebhookConfig { batching: Batching { max_size: 2, ..own.batching }, ..own };
        let pushed: Vec<bool> = (0..4u8).map(|n| queue.push(vec![n], 3)).collect();
        assert_eq!(pushed, [true, true, true, false], "the fourth finds no room");
        assert_eq!(queue.batch(&config).await, Some(vec![vec![0], vec![1]]));
        queue.waiting.lock().closed = true;
        assert_eq!(queue.batch(&config).await, Some(vec![vec![2]]), "the end waits for nothing");
        assert_eq!(queue.batch(&config).await, None);

        // A batch ends where it would be too large; an event alone never is.
        let queue = Queue::default();
        let config = WebhookConfig {
            batching: Batching { max_size: 3, ..config.batching },
            limits: Some(Limits { event: 4, batch: 4 }),
            ..config
        };
        for length in [2, 2, 1, 5] {
            assert!(queue.push(vec![7; length], 9));
        }
        queue.waiting.lock().closed = true;
        let mut lengths = Vec::new();
        while let Some(batch) = queue.batch(&config).await {
            lengths.push(batch.iter().map(Vec::len).collect::<Vec<_>>());
        }
        assert_eq!(lengths, [vec![2, 2], vec![1], vec![5]]);
    }
}
