//! The seam of sealing: what the engine asks of whoever encrypts stored bytes. Keys, files and key services are in the
//! crate `seal`; the engine only knows that a value may be opened, may be stale, or may not be readable for now.

use bytes::Bytes;
use schema::Kind;
use tokio::sync::watch;

/// A stored value, opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub plain: Bytes,
    /// Sealed otherwise than it would be today: whoever writes the object writes it anew, changed or not.
    pub stale: bool,
}

/// Turns the bytes of an object into what the store keeps, and back.
pub trait Sealer: Send + Sync {
    /// `key` is the store key: where the algorithm allows it, sealed bytes cannot be moved to another one. An error
    /// fails the write.
    fn seal(&self, kind: &Kind, key: &str, plain: &Bytes) -> Result<Bytes, String>;
    /// An error says why, without the key; the object is unreadable until [`Sealer::changes`] tells of better news.
    /// May wait for a key service, seconds at most.
    fn open(&self, kind: &Kind, key: &str, stored: &Bytes) -> Result<Opened, String>;
    /// Whether values of a kind can be stale at all; asked at each write that changes nothing.
    fn rotates(&self, kind: &Kind) -> bool;
    /// Changes when what could not be opened may open now.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Keeps bytes as they are: for tests of the engine alone.
#[derive(Debug, Default)]
pub struct Unsealed(watch::Sender<u64>);

impl Sealer for Unsealed {
    fn seal(&self, _: &Kind, _: &str, plain: &Bytes) -> Result<Bytes, String> {
        Ok(plain.clone())
    }
    fn open(&self, _: &Kind, _: &str, stored: &Bytes) -> Result<Opened, String> {
        Ok(Opened { plain: stored.clone(), stale: false })
    }
    fn rotates(&self, _: &Kind) -> bool {
        false
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
