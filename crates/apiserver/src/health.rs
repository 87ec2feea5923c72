//! `/livez`, `/readyz`, `/healthz`: named checks, each with a path of its own.

use crate::{query::Query, respond};
use http::Response;
use net::Body;
use parking_lot::Mutex;
use resource::Engine;
use seal::Encryption;
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// What the checks look at.
#[derive(Default)]
pub struct Health {
    bootstrapped: AtomicBool,
    stopping: AtomicBool,
    /// What the store last said, and when.
    store: Mutex<Option<(Instant, bool)>>,
    /// What the key services last said; `None` where there are none.
    keys: Mutex<Option<Result<(), String>>>,
}

/// `etcd` is the store, under the name by which everybody looks for it. `ping` says that requests are answered.
const LIVE: &[&str] = &["ping", "etcd"];
const READY: &[&str] = &["ping", "etcd", "poststarthook/rbac/bootstrap-roles", "shutdown"];

/// All key services at once. Whether they are well is asked of them every few seconds at most.
const KEYS: &str = "kms-providers";

/// Probes come from many; the store is asked once in this time.
const FRESH: Duration = Duration::from_secs(1);
/// A store that takes longer does not pass. Source: upstream's `--etcd-healthcheck-timeout`.
const PATIENCE: Duration = Duration::from_secs(2);

impl Health {
    /// What every cluster has exists.
    pub fn bootstrapped(&self) {
        self.bootstrapped.store(true, Relaxed);
    }
    /// No new clients, please.
    pub fn stopping(&self) {
        self.stopping.store(true, Relaxed);
    }
    /// Asks the store, unless it has just been asked.
    async fn ask_store(&self, engine: &Engine) {
        let known = *self.store.lock();
        if known.is_some_and(|(at, _)| at.elapsed() < FRESH) {
            return;
        }
        let passed = match tokio::time::timeout(PATIENCE, engine.check_store()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "the store does not take writes");
                false
            }
            Err(_) => {
                tracing::error!("the store does not answer");
                false
            }
        };
        *self.store.lock() = Some((Instant::now(), passed));
    }
    fn passes(&self, check: &str) -> bool {
        match check {
            "etcd" => self.store.lock().is_some_and(|(_, passed)| passed),
            "poststarthook/rbac/bootstrap-roles" => self.bootstrapped.load(Relaxed),
            "shutdown" => !self.stopping.load(Relaxed),
            KEYS => !matches!(&*self.keys.lock(), Some(Err(_))),
            _ => true,
        }
    }
}

/// `None` where the path is no health check.
pub async fn answer(
    health: &Health,
    engine: &Engine,
    encryption: &Encryption,
    path: &str,
    query: &Query<'_>,
) -> Option<Response<Body>> {
    let (name, rest) = named(path)?;
    let asked = async {
        let keys = if encryption.has_check() { Some(encryption.check().await) } else { None };
        *health.keys.lock() = keys;
    };
    tokio::join!(health.ask_store(engine), asked);
    report(health, name, rest, query)
}

/// `livez` and `etcd`, of `/livez/etcd`.
fn named(path: &str) -> Option<(&'static str, &str)> {
    ["livez", "readyz", "healthz"].into_iter().find_map(|name| {
        let rest = path.strip_prefix('/')?.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((name, rest.trim_start_matches('/')))
    })
}

fn report(health: &Health, name: &str, rest: &str, query: &Query<'_>) -> Option<Response<Body>> {
    let checks = if name == "livez" { LIVE } else { READY };
    let keys = health.keys.lock().clone();
    let checks: Vec<&str> = checks.iter().copied().chain(keys.as_ref().map(|_| KEYS)).collect();
    if !rest.is_empty() {
        let check = *checks.iter().find(|check| **check == rest)?;
        return Some(match (health.passes(check), keys) {
            (true, _) => text(200, "ok".into()),
            (false, Some(Err(why))) if check == KEYS => text(500, format!("internal server error: {why}\n")),
            (false, _) => text(500, format!("internal server error: {check} failed\n")),
        });
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut lines = String::new();
    let mut failed = false;
    for check in checks {
        if excluded.contains(&check) {
            lines.push_str(&format!("[+]{check} excluded: ok\n"));
        } else if health.passes(check) {
            lines.push_str(&format!("[+]{check} ok\n"));
        } else {
            failed = true;
            lines.push_str(&format!("[-]{check} failed: reason withheld\n"));
        }
    }
    Some(match (failed, query.get("verbose").is_some()) {
        (true, _) => text(500, format!("{lines}{name} check failed\n")),
        (false, true) => text(200, format!("{lines}{name} check passed\n")),
        (false, false) => text(200, "ok".into()),
    })
}

fn text(code: u16, body: String) -> Response<Body> {
    respond::bytes(code, "text/plain; charset=utf-8", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_bootstrap() {
        let health = Health::default();
        let store = |passed| *health.store.lock() = Some((Instant::now(), passed));
        let code = |path: &str| {
            let (name, rest) = named(path)?;
            report(&health, name, rest, &Query::default()).map(|r| r.status().as_u16())
        };
        store(true);
        assert_eq!((code("/livez"), code("/readyz"), code("/readyz/ping")), (Some(200), Some(500), Some(200)));
        assert_eq!(code("/readyz/poststarthook/rbac/bootstrap-roles"), Some(500));
        health.bootstrapped();
        assert_eq!(code("/readyz"), Some(200));
        assert_eq!((code("/readyz/none"), code("/livezz"), code("/api")), (None, None, None));
        store(false);
        assert_eq!((code("/livez"), code("/readyz"), code("/livez/etcd")), (Some(500), Some(500), Some(500)));
        assert_eq!(code("/livez/ping"), Some(200));
        store(true);
        health.stopping();
        assert_eq!((code("/livez"), code("/readyz")), (Some(200), Some(500)));
    }
}
