//! `/livez`, `/readyz`, `/healthz`: named checks, each with a path of its own.

use crate::{query::Query, respond};
use http::Response;
use net::Body;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What the checks look at.
#[derive(Default)]
pub struct Health {
    bootstrapped: AtomicBool,
    stopping: AtomicBool,
}

const LIVE: &[&str] = &["ping", "log", "etcd", "poststarthook/start-apiserver-admission-initializer"];
const READY: &[&str] = &["ping", "log", "etcd", "informer-sync", "poststarthook/rbac/bootstrap-roles", "shutdown"];

impl Health {
    /// What every cluster has exists.
    pub fn bootstrapped(&self) {
        self.bootstrapped.store(true, Relaxed);
    }
    /// No new clients, please.
    pub fn stopping(&self) {
        self.stopping.store(true, Relaxed);
    }
    fn passes(&self, check: &str) -> bool {
        match check {
            "poststarthook/rbac/bootstrap-roles" | "informer-sync" => self.bootstrapped.load(Relaxed),
            "shutdown" => !self.stopping.load(Relaxed),
            // The engine was opened from the store before the server could answer.
            _ => true,
        }
    }
}

/// `None` where the path is no health check.
pub fn answer(health: &Health, path: &str, query: &Query<'_>) -> Option<Response<Body>> {
    let (name, rest) = ["livez", "readyz", "healthz"].into_iter().find_map(|name| {
        let rest = path.strip_prefix('/')?.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((name, rest.trim_start_matches('/')))
    })?;
    let checks = if name == "livez" { LIVE } else { READY };
    if !rest.is_empty() {
        let check = checks.iter().find(|check| **check == rest)?;
        return Some(match health.passes(check) {
            true => text(200, "ok".into()),
            false => text(500, format!("internal server error: {check} failed\n")),
        });
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut lines = String::new();
    let mut failed = false;
    for check in checks {
        if excluded.contains(check) {
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
        let code = |path: &str| answer(&health, path, &Query::default()).map(|r| r.status().as_u16());
        assert_eq!((code("/livez"), code("/readyz"), code("/readyz/ping")), (Some(200), Some(500), Some(200)));
        assert_eq!(code("/readyz/poststarthook/rbac/bootstrap-roles"), Some(500));
        health.bootstrapped();
        assert_eq!(code("/readyz"), Some(200));
        assert_eq!((code("/readyz/none"), code("/livezz"), code("/api")), (None, None, None));
        health.stopping();
        assert_eq!((code("/livez"), code("/readyz")), (Some(200), Some(500)));
    }
}
