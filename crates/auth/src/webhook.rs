//! Reviews that another server makes: how it is asked, and how long what it said is kept.

use base::{clock::Clock, time::Timestamp};
use net::{Endpoint, Outgoing};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use std::{collections::HashMap, sync::Arc, time::Duration};
use value::Value;

/// The most that is read of an answer, in bytes.
const LIMIT: usize = 1 << 20;
/// The first pause after a failure that may pass, and how the next ones grow. Source: upstream's
/// `DefaultAuthWebhookRetryBackoff`.
const BACKOFF: Duration = Duration::from_millis(500);
const GROWTH: f64 = 1.5;
const TRIES: u32 = 5;

/// A server that answers reviews.
#[derive(Clone)]
pub struct Reviewer {
    pub endpoint: Endpoint,
    pub outgoing: Arc<Outgoing>,
    /// For each call.
    pub timeout: Duration,
}

impl Reviewer {
    /// The `status` of a review. What may pass (a server that is overloaded or breaks off) is tried again.
    pub async fn ask(&self, review: &Value) -> Result<Value, String> {
        self.ask_after(review, BACKOFF).await
    }

    /// The same with another first pause.
    pub async fn ask_after(&self, review: &Value, mut pause: Duration) -> Result<Value, String> {
        let body: bytes::Bytes = review.to_json().into();
        for tries in 1.. {
            let answer = self.outgoing.call(self.endpoint.post(body.clone(), self.timeout, LIMIT)).await;
            let (why, passes) = match answer {
                Ok(answer) if answer.status.is_success() => {
                    let tree = value::parse_lenient(&answer.body).map_err(|e| format!("{}: {e}", self.endpoint.url))?;
                    return Ok(tree.at(&["status"]).clone());
                }
                Ok(answer) => {
                    let passes = matches!(answer.status.as_u16(), 429 | 500 | 504);
                    (format!("{}: {}", self.endpoint.url, answer.status), passes)
                }
                Err(e) => {
                    let why = e.to_string();
                    let passes = why.contains("connection reset") || why.ends_with("EOF");
                    (why, passes)
                }
            };
            if !passes || tries == TRIES {
                return Err(why);
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(GROWTH);
        }
        Err("not asked".into())
    }
}

/// Answers by the hash of what was asked: nothing that is secret is kept in the clear.
pub struct Kept<V> {
    bound: usize,
    clock: Arc<dyn Clock>,
    entries: Mutex<HashMap<Key, (Timestamp, V)>>,
}

pub type Key = [u8; 32];

/// The hash of a question, whose parts are told apart.
pub fn key(parts: &[&str]) -> Key {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(part.as_bytes());
    }
    digest(&SHA256, &all).as_ref().try_into().unwrap_or_default()
}

impl<V: Clone> Kept<V> {
    pub fn new(bound: usize, clock: Arc<dyn Clock>) -> Self {
        Kept { bound, clock, entries: Mutex::default() }
    }
    /// What was said, while it counts.
    pub fn get(&self, key: &Key) -> Option<V> {
        let now = self.clock.now();
        self.entries.lock().get(key).filter(|(until, _)| now < *until).map(|(_, value)| value.clone())
    }
    pub fn put(&self, key: Key, value: V, life: Duration) {
        let now = self.clock.now();
        let Ok(until) = now.checked_add(base::time::SignedDuration::try_from(life).unwrap_or_default()) else { return };
        let mut entries = self.entries.lock();
        if entries.len() >= self.bound {
            entries.retain(|_, (until, _)| now < *until);
        }
        if entries.len() >= self.bound {
            entries.clear();
        }
        entries.insert(key, (until, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::Hand;

    #[test]
    fn answers_are_kept_for_their_time_and_not_without_bound() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let clock = Arc::new(Hand(Mutex::new(at(100))));
        let kept: Kept<u8> = Kept::new(2, clock.clone());
        kept.put(key(&["a"]), 1, Duration::from_secs(10));
        kept.put(key(&["b"]), 2, Duration::from_secs(20));
        *clock.0.lock() = at(110);
        assert_eq!((kept.get(&key(&["a"])), kept.get(&key(&["b"]))), (None, Some(2)));
        kept.put(key(&["c"]), 3, Duration::from_secs(20));
        assert_eq!((kept.get(&key(&["b"])), kept.get(&key(&["c"]))), (Some(2), Some(3)), "the old one makes room");
        kept.put(key(&["d"]), 4, Duration::from_secs(20));
        assert_eq!((kept.get(&key(&["b"])), kept.get(&key(&["d"]))), (None, Some(4)), "all of them make room");
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }
}
