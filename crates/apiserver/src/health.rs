//! `/livez`, `/readyz`, `/healthz`: named checks, each with a path of its own, and what they said so far, `/metrics/slis`.
//!
//! The checks have upstream's names, because probes exclude and monitors count them by name. Much of what upstream does in
//! hooks after it listens is done here before the first request is answered; those pass with every answer.

use crate::{query::Query, respond};
use http::Response;
use net::Body;
use parking_lot::Mutex;
use resource::Engine;
use seal::Encryption;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use telemetry::{Counter, Family, Gauge, Registry};

/// What the checks look at.
#[derive(Default)]
pub struct Health {
    bootstrapped: AtomicBool,
    stopping: AtomicBool,
    /// What the store last said, and when.
    store: Mutex<Option<(Instant, bool)>>,
    /// What the key services last said; `None` where there are none.
    keys: Mutex<Option<Result<(), String>>>,
    slis: Slis,
}

/// What checks said, by name, by the path they were asked at, and by outcome. Source: KEP-3466.
struct Slis {
    registry: Registry,
    last: Arc<Family<Gauge>>,
    total: Arc<Family<Counter>>,
}

impl Default for Slis {
    fn default() -> Self {
        let registry = Registry::default();
        let last = "This metric records the result of a single healthcheck.";
        let total = "This metric records the results of all healthcheck.";
        Slis {
            last: registry.family("kubernetes_healthcheck", last, &["name", "type"]),
            total: registry.family("kubernetes_healthchecks_total", total, &["name", "status", "type"]),
            registry,
        }
    }
}

/// `etcd` is the store, under the name by which everybody looks for it. `ping` says that requests are answered.
const FIRST: &[&str] = &["ping", "log", "etcd"];

/// Caches are full before the server listens.
const CACHES: &str = "informer-sync";
const SHUTDOWN: &str = "shutdown";

/// Pass once what every cluster has exists.
const BOOTSTRAP: &[&str] = &[
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
];

/// Done before the first answer.
const STARTED: &[&str] = &[
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/storage-readiness",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
];

/// The checks of a path, `livez`, `readyz` or `healthz`.
fn checks(of: &str) -> impl Iterator<Item = &'static str> {
    let ready = of == "readyz";
    let own = |name: &'static str| ready.then_some(name);
    let always = FIRST.iter().copied().chain(own(CACHES)).chain(STARTED.iter().copied());
    always.chain(BOOTSTRAP.iter().copied()).chain(own(SHUTDOWN))
}

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
            SHUTDOWN => !self.stopping.load(Relaxed),
            KEYS => !matches!(&*self.keys.lock(), Some(Err(_))),
            check => !BOOTSTRAP.contains(&check) || self.bootstrapped.load(Relaxed),
        }
    }
    /// The outcome of a check asked at a path, which is counted.
    fn counted(&self, check: &str, of: &str) -> bool {
        let passed = self.passes(check);
        self.slis.last.with(&[check, of]).set(i64::from(passed));
        self.slis.total.with(&[check, if passed { "success" } else { "error" }, of]).inc();
        passed
    }
    /// What was said so far; what nobody has asked yet is asked now.
    fn slis(&self) -> String {
        for of in PATHS {
            for check in checks(of) {
                self.slis.last.with(&[check, of]).set(i64::from(self.passes(check)));
            }
        }
        self.slis.registry.print()
    }
}

const PATHS: [&str; 3] = ["livez", "readyz", "healthz"];

/// `None` where the path is neither a health check nor the metrics of them.
pub async fn answer(
    health: &Health,
    engine: &Engine,
    encryption: &Encryption,
    path: &str,
    query: &Query<'_>,
) -> Option<Response<Body>> {
    if path == "/metrics/slis" {
        health.ask_store(engine).await;
        return Some(respond::bytes(200, "text/plain; version=0.0.4; charset=utf-8", health.slis()));
    }
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
    PATHS.into_iter().find_map(|name| {
        let rest = path.strip_prefix('/')?.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((name, rest.trim_start_matches('/')))
    })
}

fn report(health: &Health, name: &str, rest: &str, query: &Query<'_>) -> Option<Response<Body>> {
    let keys = health.keys.lock().clone();
    let checks: Vec<&str> = checks(name).chain(keys.as_ref().map(|_| KEYS)).collect();
    if !rest.is_empty() {
        let check = *checks.iter().find(|check| **check == rest)?;
        return Some(match (health.counted(check, name), keys) {
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
        } else if health.counted(check, name) {
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
        assert_eq!((code("/livez"), code("/readyz"), code("/readyz/ping")), (Some(500), Some(500), Some(200)));
        assert_eq!(code("/livez/poststarthook/crd-informer-synced"), Some(200));
        assert_eq!(code("/readyz/poststarthook/rbac/bootstrap-roles"), Some(500));
        health.bootstrapped();
        assert_eq!((code("/livez"), code("/readyz"), code("/healthz")), (Some(200), Some(200), Some(200)));
        assert_eq!((code("/readyz/none"), code("/livezz"), code("/api")), (None, None, None));
        store(false);
        assert_eq!((code("/livez"), code("/readyz"), code("/livez/etcd")), (Some(500), Some(500), Some(500)));
        assert_eq!(code("/livez/ping"), Some(200));
        store(true);
        health.stopping();
        assert_eq!((code("/livez"), code("/readyz")), (Some(200), Some(500)));
    }

    #[test]
    fn checks_are_counted_where_they_are_asked() {
        let health = Health::default();
        let ask = || report(&health, "livez", "ping", &Query::default()).map(|r| r.status().as_u16());
        assert_eq!((ask(), ask()), (Some(200), Some(200)));
        report(&health, "readyz", "etcd", &Query::default());
        let text = health.slis();
        for line in [
            "kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1",
            "kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"livez\"} 2",
            "kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 0",
            "kubernetes_healthchecks_total{name=\"etcd\",status=\"error\",type=\"readyz\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(!text.contains("total{name=\"log\""), "nobody has asked for it");
    }
}
