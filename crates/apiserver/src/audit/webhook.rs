//! Audit events for a server elsewhere, in batches, or each by itself where requests wait for it. In batches, where it is
//! too slow for long, events are dropped and counted. Source: `apiserver/plugin/pkg/audit/{buffered,webhook}`, whose numbers these are.
//! Different from there: what is on its way is bounded as what waits is ([`Room`]). A server that hangs holds a batch for minutes.

use super::backend::{Batching, Limits, Mode, Outcome, Throttle};
use bytes::Bytes;
use net::{Endpoint, Outgoing};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use telemetry::Counter;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
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
/// The most events that are on their way at once: as many as wait by upstream's default.
const EVENTS: usize = 10_000;
/// The most bytes of events that wait, and of those that are on their way; one event, or one batch alone, may be larger.
const BYTES: usize = 64 << 20;

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
    room: Arc<Room>,
    runtime: Handle,
}

/// How much may be on its way. What finds no room waits in the queue, or is lost where nothing waits.
struct Room {
    most: [usize; 2],
    left: [Arc<Semaphore>; 2],
}

/// Room that is taken, until the events are delivered or given up.
type Taken = [OwnedSemaphorePermit; 2];

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Vec<u8>>,
    bytes: usize,
    closed: bool,
}

impl Webhook {
    /// Begins to send, on the present runtime. `lost` counts what could not be delivered.
    pub fn start(config: WebhookConfig, outgoing: Arc<Outgoing>, lost: Arc<Counter>) -> Self {
        Self::start_in(Room::new(EVENTS, BYTES), config, outgoing, lost)
    }
    fn start_in(room: Room, config: WebhookConfig, outgoing: Arc<Outgoing>, lost: Arc<Counter>) -> Self {
        let (queue, config, room) = (Arc::<Queue>::default(), Arc::new(config), Arc::new(room));
        if config.mode == Mode::Batch {
            tokio::spawn(send_all(queue.clone(), config.clone(), outgoing.clone(), lost.clone(), room.clone()));
        }
        Webhook { queue, config, outgoing, lost, room, runtime: Handle::current() }
    }
    pub fn mode(&self) -> Mode {
        self.config.mode
    }
    pub fn limits(&self) -> Option<Limits> {
        self.config.limits
    }
    /// Takes one event; false where too many wait, or are on their way. What does not gather is on its way, and the outcome
    /// waits for it.
    pub fn push(&self, event: Vec<u8>) -> (bool, Outcome) {
        if self.config.mode == Mode::Batch {
            return (self.queue.push(event, self.config.batching.buffer_size), Outcome::default());
        }
        // Who asked may be gone long before the server is given up: those who wait are no bound.
        let Some(taken) = self.room.find(std::slice::from_ref(&event)) else {
            return (false, Outcome::of(false, self.config.mode));
        };
        let (word, heard) = oneshot::channel();
        let (config, outgoing, lost) = (self.config.clone(), self.outgoing.clone(), self.lost.clone());
        self.runtime.spawn(async move {
            let _ = word.send(send(&config, &outgoing, vec![event], taken, &lost).await);
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

async fn send_all(
    queue: Arc<Queue>,
    config: Arc<WebhookConfig>,
    outgoing: Arc<Outgoing>,
    lost: Arc<Counter>,
    room: Arc<Room>,
) {
    let mut throttle = config.batching.throttle.map(|(rate, burst)| Throttle::new(rate, burst, Instant::now()));
    while let Some(events) = queue.batch(&config).await {
        if let Some(throttle) = &mut throttle {
            sleep(throttle.take(Instant::now())).await;
        }
        let Some(taken) = room.wait(&events).await else { return };
        let (config, outgoing, lost) = (config.clone(), outgoing.clone(), lost.clone());
        // A batch that is tried again does not hold up the next one, while there is room.
        tokio::spawn(async move { send(&config, &outgoing, events, taken, &lost).await });
    }
}

/// False where the events are lost.
async fn send(
    config: &WebhookConfig,
    outgoing: &Outgoing,
    events: Vec<Vec<u8>>,
    _taken: Taken,
    lost: &Counter,
) -> bool {
    let (body, count) = (list(&events), events.len() as u64);
    // The body has them: nothing is kept twice.
    drop(events);
    let sent = deliver(config, outgoing, body).await;
    if let Err(why) = &sent {
        lost.add(count);
        tracing::error!("audit webhook: {count} events are lost: {why}");
    }
    sent.is_ok()
}

impl Room {
    fn new(events: usize, bytes: usize) -> Self {
        let most = [events, bytes];
        Room { most, left: most.map(|most| Arc::new(Semaphore::new(most))) }
    }
    /// What is larger than the room needs all of it.
    fn needed(&self, events: &[Vec<u8>]) -> [u32; 2] {
        let needed = |count: usize, most: usize| u32::try_from(count.min(most)).unwrap_or(u32::MAX);
        let bytes = events.iter().map(Vec::len).sum();
        [needed(events.len(), self.most[0]), needed(bytes, self.most[1])]
    }
    /// `None` after the end, which does not come: nobody closes it.
    async fn wait(&self, events: &[Vec<u8>]) -> Option<Taken> {
        let ([count, bytes], [for_events, for_bytes]) = (self.needed(events), &self.left);
        let count = for_events.clone().acquire_many_owned(count).await.ok()?;
        Some([count, for_bytes.clone().acquire_many_owned(bytes).await.ok()?])
    }
    /// `None` where there is none.
    fn find(&self, events: &[Vec<u8>]) -> Option<Taken> {
        let ([count, bytes], [for_events, for_bytes]) = (self.needed(events), &self.left);
        let count = for_events.clone().try_acquire_many_owned(count).ok()?;
        Some([count, for_bytes.clone().try_acquire_many_owned(bytes).ok()?])
    }
}

impl Queue {
    fn push(&self, event: Vec<u8>, bound: usize) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() >= bound || waiting.bytes >= BYTES {
            return false;
        }
        waiting.bytes += event.len();
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
        let batch: Vec<Vec<u8>> = waiting.events.drain(..count).collect();
        waiting.bytes -= batch.iter().map(Vec::len).sum::<usize>();
        Some(batch)
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

    fn to(url: String) -> WebhookConfig {
        WebhookConfig::to(Endpoint { url, trust: net::Trust::System, identity: None, headers: Default::default() })
    }

    /// A server that takes connections and never says a word holds so much, and what comes then is dropped.
    #[tokio::test]
    async fn what_a_server_that_hangs_holds_is_bounded() {
        struct Nowhere;
        impl net::outgoing::Services for Nowhere {
            fn endpoint(&self, _: &str, _: &str, _: u16) -> Result<std::net::SocketAddr, String> {
                Err("there are no Services".into())
            }
        }
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = to(format!("https://{}", silent.local_addr().unwrap()));
        let batching = Batching { buffer_size: 10, max_size: 2, throttle: None, ..own.batching };
        for (events, bytes, length) in [(6, BYTES, 1), (EVENTS, 60, 10), (6, 60, 10), (1, 1, 1)] {
            let check = async |mode| {
                let config = WebhookConfig { mode, batching, ..own.clone() };
                let outgoing = Arc::new(Outgoing::new(Arc::new(Nowhere)));
                let webhook = Webhook::start_in(Room::new(events, bytes), config, outgoing, Arc::default());
                let mut taken = 0;
                for _ in 0..1000 {
                    let (took, _) = webhook.push(vec![b'x'; length]);
                    taken += usize::from(took);
                    // Time for whoever gathers and sends.
                    for _ in 0..4 {
                        tokio::task::yield_now().await;
                    }
                }
                taken
            };
            let sent = if events == 1 { [2, 1] } else { [6, 6] };
            assert_eq!(check(Mode::Batch).await, sent[0] + 2 + 10, "on the way, next, and waiting: {events} {bytes}");
            assert_eq!(check(Mode::Blocking).await, sent[1], "nothing waits: {events} {bytes}");
        }
    }

    #[test]
    fn what_waits_is_bounded_by_bytes() {
        let queue = Queue::default();
        let pushed: Vec<bool> = (0..4).map(|_| queue.push(vec![0; BYTES / 2], 100)).collect();
        assert_eq!(pushed, [true, true, false, false]);
    }

    #[tokio::test]
    async fn a_batch_is_full_or_all_that_is_left() {
        let queue = Queue::default();
        let own = to(String::new());
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
