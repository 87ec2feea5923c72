//! What the backends of the audit log have in common: whether requests wait for them, how events gather, how large they may
//! be, and how the flags say it. Source: `apiserver/pkg/server/options/audit.go`, whose sentences these are, and
//! `apiserver/plugin/pkg/audit/truncate`.

use super::{
    event::{Entry, Format, Pending},
    policy::Level,
};
use crate::deadline::DEADLINE;
use std::time::Duration;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

/// Whether a request waits for what is written of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Events gather, and what is too much is dropped.
    Batch,
    /// The answer waits until its events are written, or could not be.
    Blocking,
    /// The same, and a request of which the first event cannot be written is refused.
    BlockingStrict,
}

const MODES: [(&str, Mode); 3] =
    [("batch", Mode::Batch), ("blocking", Mode::Blocking), ("blocking-strict", Mode::BlockingStrict)];

/// How events gather in [`Mode::Batch`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batching {
    /// How many events may wait.
    pub buffer_size: usize,
    /// The most that are written at once.
    pub max_size: usize,
    /// How long an event waits for others.
    pub max_wait: Duration,
    /// Batches per second, and how many may be saved up; `None` for no bound.
    pub throttle: Option<(f64, u32)>,
}

/// The most bytes of an event, and of a batch. An event that is larger loses its objects, or is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub event: usize,
    pub batch: usize,
}

/// What is noted of an event that has lost its objects.
const TRUNCATED: (&str, &str) = ("audit.k8s.io/truncated", "true");

/// The line of an event; `None` where it is too large even without its objects.
pub fn line(entry: &Entry<'_>, format: Format, limits: Option<Limits>) -> Option<Pending> {
    let whole = Pending::of(entry, format);
    let Some(most) = limits.map(|limits| limits.event) else { return Some(whole) };
    // Sizes are those of JSON in either format.
    let size = |entry: &Entry<'_>, line: &Pending| match format {
        Format::Json => line.len(),
        Format::Legacy => Pending::of(entry, Format::Json).len(),
    };
    if size(entry, &whole) <= most {
        return Some(whole);
    }
    if entry.level < Level::Request {
        return None;
    }
    let mut annotations = entry.annotations.to_vec();
    annotations.push(TRUNCATED);
    let cut = Entry { request_object: None, response_object: None, annotations: &annotations, ..*entry };
    let line = Pending::of(&cut, format);
    (size(&cut, &line) <= most).then_some(line)
}

/// What has become of an event, once everybody who is waited for has said so.
#[derive(Debug)]
#[must_use]
pub struct Outcome {
    kept: bool,
    waiting: Vec<(oneshot::Receiver<bool>, Mode)>,
}

impl Default for Outcome {
    fn default() -> Self {
        Outcome { kept: true, waiting: Vec::new() }
    }
}

impl Outcome {
    pub(super) fn of(taken: bool, mode: Mode) -> Self {
        Outcome { kept: taken || mode != Mode::BlockingStrict, waiting: Vec::new() }
    }
    pub(super) fn later(word: oneshot::Receiver<bool>, mode: Mode) -> Self {
        Outcome { kept: true, waiting: vec![(word, mode)] }
    }
    pub fn and(mut self, other: Outcome) -> Self {
        self.kept &= other.kept;
        self.waiting.extend(other.waiting);
        self
    }
    /// False where the request must not go on. Waits as long as a request may take and no longer; the client's own deadline
    /// does not count, or it could choose not to wait. What is not settled by then is not written as far as anyone knows.
    pub async fn settled(self) -> bool {
        self.settled_within(DEADLINE).await
    }
    async fn settled_within(self, longest: Duration) -> bool {
        let mut kept = self.kept;
        // Most wait for nobody, and need no clock.
        if self.waiting.is_empty() {
            return kept;
        }
        let due = Instant::now() + longest;
        for (word, mode) in self.waiting {
            let taken = timeout_at(due, word).await.is_ok_and(|word| word.unwrap_or(false));
            kept &= taken || mode != Mode::BlockingStrict;
        }
        kept
    }
}

/// A backend's flags, without `--audit-log-` or `--audit-webhook-`; what is not given is the backend's own.
#[derive(Debug, Clone, Default)]
pub struct BackendFlags {
    pub mode: Option<String>,
    pub batch_buffer_size: Option<i64>,
    pub batch_max_size: Option<i64>,
    pub batch_max_wait: Option<Duration>,
    pub batch_throttle_enable: Option<bool>,
    pub batch_throttle_qps: Option<f64>,
    pub batch_throttle_burst: Option<i64>,
    pub truncate_enabled: Option<bool>,
    pub truncate_max_batch_size: Option<i64>,
    pub truncate_max_event_size: Option<i64>,
    pub version: Option<String>,
}

/// What they come to.
pub type Feed = (Mode, Batching, Option<Limits>);

impl BackendFlags {
    /// `plugin` is `log` or `webhook`; `throttle` what holds where only one of its numbers is given.
    pub fn feed(&self, plugin: &str, own: (Mode, Batching), throttle: (f64, u32)) -> Result<Feed, String> {
        let (mode, batching) = own;
        let mode = match &self.mode {
            None => mode,
            Some(asked) => MODES.iter().find(|(name, _)| name == asked).map(|(_, mode)| *mode).ok_or_else(|| {
                let all: Vec<&str> = MODES.iter().map(|(name, _)| *name).collect();
                format!("invalid audit {plugin} mode {asked}, allowed modes are \"{}\"", all.join(","))
            })?,
        };
        let batching = match mode {
            Mode::Batch => self.batching(plugin, batching, throttle)?,
            // Nobody looks at these.
            Mode::Blocking | Mode::BlockingStrict => batching,
        };
        let limits = self.limits(plugin)?;
        match self.version.as_deref() {
            None | Some("audit.k8s.io/v1") => Ok((mode, batching, limits)),
            Some(_) => Err("invalid group version, allowed versions are [\"audit.k8s.io/v1\"]".into()),
        }
    }

    fn batching(&self, plugin: &str, own: Batching, throttle: (f64, u32)) -> Result<Batching, String> {
        let wrong = |what: &str, n: &dyn std::fmt::Display| {
            format!("invalid audit batch {plugin} {what} {n}, must be a positive number")
        };
        let count = |given: Option<i64>, own: usize, what: &str| match given {
            None => Ok(own),
            Some(n) => usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| wrong(what, &n)),
        };
        let enabled = self.batch_throttle_enable.unwrap_or(own.throttle.is_some());
        let throttle = match enabled {
            false => None,
            true => {
                let (rate, burst) = own.throttle.unwrap_or(throttle);
                let rate = self.batch_throttle_qps.unwrap_or(rate);
                if rate.is_nan() || rate <= 0.0 {
                    return Err(wrong("throttle QPS", &rate));
                }
                let burst = match self.batch_throttle_burst {
                    None => burst,
                    Some(n) => u32::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| wrong("throttle burst", &n))?,
                };
                Some((rate, burst))
            }
        };
        Ok(Batching {
            buffer_size: count(self.batch_buffer_size, own.buffer_size, "buffer size")?,
            max_size: count(self.batch_max_size, own.max_size, "max batch size")?,
            max_wait: self.batch_max_wait.unwrap_or(own.max_wait),
            throttle,
        })
    }

    fn limits(&self, plugin: &str) -> Result<Option<Limits>, String> {
        let event = self.truncate_max_event_size.unwrap_or(100 << 10);
        let batch = self.truncate_max_batch_size.unwrap_or(10 << 20);
        if event <= 0 {
            return Err(format!("invalid audit truncate {plugin} max event size {event}, must be a positive number"));
        }
        if batch < event {
            let text = format!("invalid audit truncate {plugin} max batch size {batch}, must be greater than");
            return Err(format!("{text} max event size ({event})"));
        }
        let size = |n: i64| usize::try_from(n).unwrap_or(usize::MAX);
        let enabled = self.truncate_enabled.unwrap_or(false);
        Ok(enabled.then(|| Limits { event: size(event), batch: size(batch) }))
    }
}

/// A bucket of tokens.
pub(super) struct Throttle {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Throttle {
    pub(super) fn new(rate: f64, burst: u32, now: Instant) -> Self {
        Throttle { rate, burst: burst.into(), tokens: burst.into(), at: now }
    }
    /// Takes a token; how long until it is there.
    pub(super) fn take(&mut self, now: Instant) -> Duration {
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + grown).min(self.burst) - 1.0;
        self.at = now;
        Duration::try_from_secs_f64((-self.tokens / self.rate).max(0.0)).unwrap_or(Duration::MAX)
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
    fn flags() {
        const OWN: Batching =
            Batching { buffer_size: 7, max_size: 5, max_wait: Duration::from_secs(3), throttle: Some((10.0, 15)) };
        let feed = |flags: BackendFlags| flags.feed("webhook", (Mode::Batch, OWN), (10.0, 15));
        assert_eq!(feed(BackendFlags::default()), Ok((Mode::Batch, OWN, None)));
        let given = BackendFlags {
            batch_throttle_enable: Some(false),
            batch_max_size: Some(1),
            truncate_enabled: Some(true),
            ..BackendFlags::default()
        };
        let limits = Limits { event: 102_400, batch: 10_485_760 };
        let want = Batching { max_size: 1, throttle: None, ..OWN };
        assert_eq!(feed(given.clone()), Ok((Mode::Batch, want, Some(limits))));
        let strict = BackendFlags { mode: Some("blocking-strict".into()), batch_max_size: Some(-1), ..given.clone() };
        assert_eq!(feed(strict).map(|(mode, ..)| mode), Ok(Mode::BlockingStrict), "what is not used is not looked at");
        let base = BackendFlags::default;
        for (flags, why) in [
            (
                BackendFlags { mode: Some("fast".into()), ..base() },
                "invalid audit webhook mode fast, allowed modes are \"batch,blocking,blocking-strict\"",
            ),
            (
                BackendFlags { batch_buffer_size: Some(0), ..base() },
                "invalid audit batch webhook buffer size 0, must be a positive number",
            ),
            (
                BackendFlags { batch_max_size: Some(-4), ..base() },
                "invalid audit batch webhook max batch size -4, must be a positive number",
            ),
            (
                BackendFlags { batch_throttle_qps: Some(-1.0), ..base() },
                "invalid audit batch webhook throttle QPS -1, must be a positive number",
            ),
            (
                BackendFlags { batch_throttle_burst: Some(0), ..base() },
                "invalid audit batch webhook throttle burst 0, must be a positive number",
            ),
            (
                BackendFlags { truncate_max_event_size: Some(0), ..base() },
                "invalid audit truncate webhook max event size 0, must be a positive number",
            ),
            (
                BackendFlags { truncate_max_batch_size: Some(9), truncate_max_event_size: Some(10), ..base() },
                "invalid audit truncate webhook max batch size 9, must be greater than max event size (10)",
            ),
            (
                BackendFlags { version: Some("audit.k8s.io/v1beta1".into()), ..base() },
                "invalid group version, allowed versions are [\"audit.k8s.io/v1\"]",
            ),
        ] {
            assert_eq!(feed(flags), Err(why.to_string()));
        }
    }

    #[tokio::test]
    async fn who_is_waited_for() {
        let word = |said: Option<bool>, mode| {
            let (sender, receiver) = oneshot::channel();
            if let Some(said) = said {
                sender.send(said).unwrap();
            }
            Outcome::later(receiver, mode)
        };
        for (outcome, kept) in [
            (Outcome::default(), true),
            (Outcome::of(false, Mode::Batch), true),
            (Outcome::of(false, Mode::Blocking), true),
            (Outcome::of(false, Mode::BlockingStrict), false),
            (word(Some(true), Mode::BlockingStrict), true),
            (word(Some(false), Mode::Blocking), true),
            (word(Some(false), Mode::BlockingStrict), false),
            (word(None, Mode::BlockingStrict), false),
            (Outcome::of(false, Mode::BlockingStrict).and(word(Some(true), Mode::BlockingStrict)), false),
        ] {
            let told = format!("{outcome:?}");
            assert_eq!(outcome.settled().await, kept, "{told}");
        }
        // Nobody says a word.
        for (mode, kept) in [(Mode::Blocking, true), (Mode::BlockingStrict, false)] {
            let (_silent, receiver) = oneshot::channel();
            assert_eq!(Outcome::later(receiver, mode).settled_within(Duration::ZERO).await, kept);
        }
    }
}
