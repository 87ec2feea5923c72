//! Annotations for the audit log that a write gathers on its way: what admission found, changed, or let pass.

use parking_lot::Mutex;
use std::sync::Arc;

/// Shared by everybody who works on one request; without a reader nothing is kept.
#[derive(Debug, Clone, Default)]
pub struct Notes(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    of_bodies: bool,
    noted: Mutex<Vec<(String, String)>>,
}

impl Notes {
    /// For a request that is written down; `of_bodies`: with what it carries (patches of webhooks too).
    pub fn kept(of_bodies: bool) -> Self {
        Notes(Some(Arc::new(Inner { of_bodies, noted: Mutex::default() })))
    }
    /// Whether anybody will read them.
    pub fn wanted(&self) -> bool {
        self.0.is_some()
    }
    /// Whether what the request carries may be told.
    pub fn of_bodies(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.of_bodies)
    }
    /// Notes a value under a key of the form `domain/name`. What was noted first stays: a write that is tried again finds
    /// the same once more.
    pub fn add(&self, key: impl Into<String>, value: impl FnOnce() -> String) {
        let Some(inner) = &self.0 else { return };
        let key = key.into();
        if !key.contains('/') || base::names::qualified_name(&key).is_err() {
            tracing::warn!("an audit annotation has a key that is none: {key:?}");
            return;
        }
        let mut noted = inner.noted.lock();
        if noted.iter().all(|(have, _)| *have != key) {
            noted.push((key, value()));
        }
    }
    /// All of them so far.
    pub fn all(&self) -> Vec<(String, String)> {
        self.0.as_ref().map(|inner| inner.noted.lock().clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_good_key_stays() {
        let notes = Notes::kept(false);
        for (key, value) in [("a.io/k", "1"), ("a.io/k", "2"), ("plain", "3"), ("a/b/c", "4"), ("UPPER_/x", "5")] {
            notes.add(key, || value.into());
        }
        assert_eq!(notes.all(), [("a.io/k".to_string(), "1".to_string())]);
        Notes::default().add("a.io/k", || panic!("nobody reads it"));
    }
}
