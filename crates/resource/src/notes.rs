//! What a write gathers on its way beside its answer: annotations for the audit log (what admission found, changed, or let
//! pass), and, where it is refused, what its client was to be warned of.

use parking_lot::Mutex;
use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// Shared by everybody who works on one request; without a reader nothing is kept.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    audit: Option<Arc<Inner>>,
    warned: Option<Arc<Mutex<Vec<String>>>>,
}

#[derive(Debug)]
struct Inner {
    of_bodies: bool,
    noted: Mutex<Vec<(String, String)>>,
}

impl Notes {
    /// For a request that is written down; `of_bodies`: with what it carries (patches of webhooks too).
    pub fn kept(of_bodies: bool) -> Self {
        Notes { audit: Some(Arc::new(Inner { of_bodies, noted: Mutex::default() })), warned: None }
    }
    /// Whether anybody will read them.
    pub fn wanted(&self) -> bool {
        self.audit.is_some()
    }
    /// Whether what the request carries may be told.
    pub fn of_bodies(&self) -> bool {
        self.audit.as_ref().is_some_and(|inner| inner.of_bodies)
    }
    /// Notes a value under a key of the form `domain/name`. What was noted first stays: a write that is tried again finds
    /// the same once more.
    pub fn add(&self, key: impl Into<String>, value: impl FnOnce() -> String) {
        let Some(inner) = &self.audit else { return };
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
    /// Keeps from now on what the client of a refused write is warned of.
    pub fn keep_warnings(&mut self) {
        self.warned = Some(Arc::default());
    }
    /// What the client of the write is warned of, where it is refused.
    pub fn warnings(&self) -> Vec<String> {
        self.warned.as_ref().map(|warned| warned.lock().clone()).unwrap_or_default()
    }
    /// All of them so far.
    pub fn all(&self) -> Vec<(String, String)> {
        self.audit.as_ref().map(|inner| inner.noted.lock().clone()).unwrap_or_default()
    }
}

/// The warnings of one try of a write. Those that no answer takes are told with the refusal.
pub(crate) struct Warnings {
    list: Vec<String>,
    untold: Option<Arc<Mutex<Vec<String>>>>,
}

impl Warnings {
    pub fn of(notes: &Notes) -> Self {
        Warnings { list: Vec::new(), untold: notes.warned.clone() }
    }
    /// For the answer.
    pub fn take(mut self) -> Vec<String> {
        self.untold = None;
        std::mem::take(&mut self.list)
    }
}

impl Deref for Warnings {
    type Target = Vec<String>;
    fn deref(&self) -> &Vec<String> {
        &self.list
    }
}
impl DerefMut for Warnings {
    fn deref_mut(&mut self) -> &mut Vec<String> {
        &mut self.list
    }
}
impl Drop for Warnings {
    fn drop(&mut self) {
        // A later try has gathered its own again.
        if let Some(untold) = &self.untold {
            *untold.lock() = std::mem::take(&mut self.list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_that_no_answer_takes_are_kept() {
        let mut notes = Notes::default();
        notes.keep_warnings();
        for text in ["first try", "second try"] {
            Warnings::of(&notes).push(text.into());
        }
        assert_eq!(notes.warnings(), ["second try"]);
        let mut answered = Warnings::of(&notes);
        answered.push("third".into());
        assert_eq!((answered.take(), notes.warnings().len()), (vec!["third".to_string()], 1));
        Warnings::of(&Notes::default()).push("nobody reads it".into());
    }

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
