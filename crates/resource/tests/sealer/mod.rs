//! A sealer whose work can be seen: a mark and the bytes turned around, with a key that can be changed.

use bytes::Bytes;
use resource::{Opened, Sealer};
use schema::Kind;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use tokio::sync::watch;

/// Seals kinds that are sealed by nature. Opens what was sealed with today's key and the one before.
pub struct Marked {
    key: AtomicU8,
    changed: watch::Sender<u64>,
}

impl Default for Marked {
    fn default() -> Self {
        Marked { key: AtomicU8::new(1), changed: watch::Sender::new(0) }
    }
}

#[allow(clippy::allow_attributes, unused, reason = "each test binary uses a part")]
impl Marked {
    /// From now on this key seals.
    pub fn rotate(&self, key: u8) {
        self.key.store(key, Relaxed);
        self.changed.send_modify(|n| *n += 1);
    }
}

impl Sealer for Marked {
    fn seal(&self, kind: &Kind, _: &str, plain: &Bytes) -> Result<Bytes, String> {
        if !kind.policy.sealed {
            return Ok(plain.clone());
        }
        let key = self.key.load(Relaxed);
        Ok([b"sealed:", &[key][..], &plain.iter().rev().copied().collect::<Vec<u8>>()].concat().into())
    }
    fn open(&self, kind: &Kind, _: &str, stored: &Bytes) -> Result<Opened, String> {
        if !kind.policy.sealed {
            return Ok(Opened { plain: stored.clone(), stale: false });
        }
        let today = self.key.load(Relaxed);
        match stored.strip_prefix(b"sealed:").and_then(<[u8]>::split_first) {
            Some((key, rest)) if *key == today || *key + 1 == today => {
                Ok(Opened { plain: rest.iter().rev().copied().collect(), stale: *key != today })
            }
            _ => Err("no key opens it".into()),
        }
    }
    fn rotates(&self, kind: &Kind) -> bool {
        kind.policy.sealed
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
