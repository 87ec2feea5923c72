//! EventRateLimit: so many Events per server, namespace, user, or source and object, and no more.
//!
//! A bucket per key, filled as time passes. Keys are as many as the configuration says, and the one that was used longest
//! ago makes room: it begins again with a full bucket. Of a key its hash is kept: the text is the client's, and as long as
//! the client likes. The hash is keyed, so nobody can look for a text that shares another's bucket.

use crate::{Plugin, Target, images::joined};
use base::{Reason, Result, Status, time::Timestamp};
use parking_lot::Mutex;
use resource::{Attributes, Call};
use schema::Operation;
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
};

/// How many keys are kept where the configuration does not say.
pub const KEYS: usize = 4096;

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

impl By {
    pub const NAMES: [&str; 4] = ["Namespace", "Server", "SourceAndObject", "User"];

    pub fn of(name: &str) -> Option<By> {
        match name {
            "Server" => Some(By::Server),
            "Namespace" => Some(By::Namespace),
            "User" => Some(By::User),
            "SourceAndObject" => Some(By::SourceAndObject),
            _ => None,
        }
    }
}

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub by: By,
    /// Per second, in the long run.
    pub rate: u32,
    /// At once.
    pub burst: u32,
    pub keys: usize,
}

pub struct EventRateLimit(Vec<(Limit, Mutex<Buckets>)>);

impl EventRateLimit {
    pub fn new(limits: &[Limit]) -> Self {
        EventRateLimit(limits.iter().map(|limit| (*limit, Mutex::default())).collect())
    }
}

impl Plugin for EventRateLimit {
    fn applies(&self, call: &Call, target: Target<'_>) -> bool {
        // Those that come by events.k8s.io are of another kind, which upstream does not limit.
        target.plural == "events"
            && call.group().is_empty()
            && matches!(target.operation, Operation::Create | Operation::Update)
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if a.options.dry_run {
            return Ok(());
        }
        let mut told = Vec::new();
        for (limit, buckets) in &self.0 {
            let key = key(limit.by, a);
            if !buckets.lock().take(limit, &key, a.now) {
                let by = By::name(limit.by);
                told.push(format!("limit reached on type {by} for key {key}"));
            }
        }
        if told.is_empty() {
            return Ok(());
        }
        let why = joined(told.iter().map(String::as_str));
        Err(Status::new(Reason::TooManyRequests, format!("Too many requests: {why}")))
    }
}

impl By {
    fn name(self) -> &'static str {
        match self {
            By::Server => "Server",
            By::Namespace => "Namespace",
            By::User => "User",
            By::SourceAndObject => "SourceAndObject",
        }
    }
}

fn key(by: By, a: &Attributes<'_>) -> String {
    match by {
        By::Server => String::new(),
        By::Namespace => a.call.namespace.to_string(),
        By::User => a.call.user.name.clone(),
        By::SourceAndObject => {
            let of = |path: [&str; 2]| a.object.str_at(&path).to_string();
            let source = ["component", "host"].map(|field| of(["source", field]));
            let object = ["kind", "namespace", "name", "uid", "apiVersion"].map(|field| of(["involvedObject", field]));
            source.into_iter().chain(object).collect()
        }
    }
}

#[derive(Default)]
struct Buckets {
    hashing: RandomState,
    /// By the hash of their key.
    by_key: HashMap<u64, Bucket>,
    /// Hashes of keys by when they were last used.
    by_use: BTreeMap<u64, u64>,
    uses: u64,
}

struct Bucket {
    left: f64,
    at: Timestamp,
    used: u64,
}

impl Buckets {
    /// Takes one of a key's, where there is one.
    fn take(&mut self, limit: &Limit, key: &str, now: Timestamp) -> bool {
        self.uses += 1;
        let full = f64::from(limit.burst);
        let key = self.hashing.hash_one(key);
        if !self.by_key.contains_key(&key) {
            if self.by_key.len() >= limit.keys
                && let Some((_, oldest)) = self.by_use.pop_first()
            {
                self.by_key.remove(&oldest);
            }
            self.by_key.insert(key, Bucket { left: full, at: now, used: self.uses });
        }
        let Some(bucket) = self.by_key.get_mut(&key) else { return true };
        self.by_use.remove(&bucket.used);
        bucket.used = self.uses;
        self.by_use.insert(self.uses, key);
        // A clock that goes back fills nothing.
        let passed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.at = bucket.at.max(now);
        bucket.left = (bucket.left + passed * f64::from(limit.rate)).min(full);
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check};
    use value::value;

    #[test]
    fn buckets_fill_with_time() {
        let limit = Limit { by: By::User, rate: 2, burst: 3, keys: 2 };
        let mut buckets = Buckets::default();
        let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
        let mut taken = |key: &str, ms: i64| buckets.take(&limit, key, at(ms));
        let burst: Vec<bool> = (0..4).map(|_| taken("a", 0)).collect();
        assert_eq!(burst, [true, true, true, false]);
        assert!(!taken("a", 499));
        assert!(taken("a", 500));
        assert!(!taken("a", 500));
        assert!(taken("a", 60_000) && taken("a", 60_000) && taken("a", 60_000), "full again, and no more than full");
        assert!(!taken("a", 60_000) && !taken("a", 0), "a clock that went back");
        // A third key makes the first one forgotten, which was used longest ago.
        assert!(taken("b", 60_000) && taken("c", 60_000) && taken("a", 60_000));
    }

    #[test]
    fn what_is_counted_together() {
        let event = |namespace: &str, name: &str| {
            value!({"metadata": {"name": name, "namespace": namespace}, "source": {"component": "kubelet"},
                "involvedObject": {"kind": "Pod", "name": name}})
        };
        let limit = |by: By| Limit { by, rate: 1, burst: 1, keys: 8 };
        let create = |namespace: &str, name: &str| Case::default().create("", "events", event(namespace, name));
        let plugin = EventRateLimit::new(&[limit(By::Namespace), limit(By::SourceAndObject)]);
        check(&plugin, create("a", "x"), "ok");
        check(&plugin, create("b", "y"), "ok");
        check(&plugin, create("b", "z"), "429 Too many requests: limit reached on type Namespace for key b");
        check(
            &plugin,
            create("a", "x"),
            "429 Too many requests: [limit reached on type Namespace for key a, limit reached on type SourceAndObject for key kubeletPodx]",
        );
        check(&plugin, Case::default().create("", "configmaps", event("a", "x")), "ok");
    }
}
