//! The audit log: who did what, as events of `audit.k8s.io/v1`.
//!
//! What is written down is said by a [`Policy`] of the operator's, or, without one, by [`worth`]: one line of level Metadata
//! for every request but routine. Where it goes: a [`Log`] on disk and a [`Webhook`]. The request path waits for neither,
//! unless an operator says so ([`backend::Mode`]): where they are slower than the requests for long, events are dropped and counted
//! (upstream's batching backend does the same). Decided against a channel of events: each would be a handful of allocations per request.

mod backend;
mod event;
mod file;
mod objects;
mod policy;
pub mod stages;
mod webhook;

pub use backend::{BackendFlags, Outcome};
pub use event::{Entry, Format, ObjectRef, Pending};
pub use file::LogConfig;
pub use objects::Objects;
pub use policy::{Level, Policy, Stage, Stages, Verdict};
pub use webhook::WebhookConfig;

use crate::request_info::RequestInfo;
use base::{User, time::Timestamp};
use file::Log;
use net::Outgoing;
use parking_lot::Mutex;
use schema::Catalog;
use std::{io, path::PathBuf, sync::Arc};
use telemetry::{Counter, Family, Registry};
use webhook::Webhook;

/// What is written down, and where.
#[derive(Debug, Clone, Default)]
pub struct AuditConfig {
    /// `None`: Ferry's own, [`worth`].
    pub policy: Option<Policy>,
    pub log: Option<LogConfig>,
    pub webhook: Option<WebhookConfig>,
}

impl AuditConfig {
    /// A policy in its own words; the error says what is wrong with it.
    pub fn with_policy(policy: &value::Value) -> Result<Self, String> {
        Ok(AuditConfig { policy: Some(Policy::of(policy)?), ..AuditConfig::default() })
    }
    /// Ferry's own policy into a file.
    pub fn to_file(path: PathBuf) -> Self {
        AuditConfig { log: Some(LogConfig::at(path)), ..AuditConfig::default() }
    }
}

/// Lines a second, and at once, of refusals of callers that nobody knows. What is beyond is counted: a caller that needs no
/// credential could push everything else out of the log.
const NOBODYS: (f64, f64) = (10.0, 100.0);

/// What may be written of a flood: tokens that come back with time.
struct Bucket {
    left: f64,
    at: Timestamp,
}

impl Bucket {
    fn take(&mut self, now: Timestamp) -> bool {
        let (rate, most) = NOBODYS;
        let passed = now.duration_since(self.at).as_secs_f64().max(0.0);
        (self.left, self.at) = ((self.left + passed * rate).min(most), now);
        let taken = self.left >= 1.0;
        self.left -= f64::from(u8::from(taken));
        taken
    }
}

/// The audit log of one server.
pub struct Audit {
    policy: Option<Policy>,
    log: Option<Log>,
    webhook: Option<Webhook>,
    dropped: Arc<Counter>,
    written: Arc<Counter>,
    levels: Arc<Family<Counter>>,
    nobodys: Mutex<Bucket>,
    unwritten: Arc<Counter>,
    /// Events that are too large even without their objects.
    oversized: Arc<Counter>,
}

/// The lines of one event, a backend each, for later.
#[derive(Debug, Default)]
pub struct Lines {
    log: Option<Pending>,
    webhook: Option<Pending>,
}

impl Audit {
    /// `None` where nothing is written anywhere.
    pub fn open(config: AuditConfig, outgoing: &Arc<Outgoing>, registry: &Registry) -> io::Result<Option<Self>> {
        let lost = |plugin: &str| {
            let help = "Audit events that a backend could not write.";
            registry.family::<Counter>("apiserver_audit_error_total", help, &["plugin"]).with(&[plugin])
        };
        let log = config.log.as_ref().map(|log| Log::open(log, lost("log"))).transpose()?;
        let dropped: Arc<Counter> = registry.single("apiserver_audit_dropped_total", "Audit events that were lost.");
        let webhook = config.webhook.map(|webhook| Webhook::start(webhook, outgoing.clone(), dropped.clone()));
        if log.is_none() && webhook.is_none() {
            return Ok(None);
        }
        Ok(Some(Audit {
            oversized: lost("truncate"),
            policy: config.policy,
            log,
            webhook,
            dropped,
            written: registry.single("apiserver_audit_event_total", "Audit events."),
            levels: registry.family("apiserver_audit_level_total", "Requests by level of the policy.", &["level"]),
            nobodys: Mutex::new(Bucket { left: NOBODYS.1, at: Timestamp::UNIX_EPOCH }),
            unwritten: registry.single(
                "ferry_audit_unwritten_refusals_total",
                "Refusals of unauthenticated callers that were too many to write down.",
            ),
        }))
    }
    /// Whether one more refusal of an unauthenticated caller is written down; counts it where not.
    pub fn may_flood(&self, now: Timestamp) -> bool {
        let may = self.nobodys.lock().take(now);
        if !may {
            self.unwritten.inc();
        }
        may
    }
    /// What is to be written of a request. Without a policy that is seen at its end.
    pub fn judge(&self, info: &RequestInfo<'_>, user: &User) -> Verdict {
        let Some(policy) = &self.policy else {
            let omit_stages = Stages::default().with(Stage::RequestReceived).with(Stage::ResponseStarted);
            return Verdict { level: Level::Metadata, omit_stages, omit_managed_fields: false };
        };
        let verdict = policy.judge(info, user);
        self.levels.with(&[verdict.level.name()]).inc();
        verdict
    }
    /// Whether a policy of the operator's decides.
    pub fn has_policy(&self) -> bool {
        self.policy.is_some()
    }
    /// Writes one event, or drops it where too many wait.
    pub fn record(&self, entry: &Entry<'_>) -> Outcome {
        match (&self.webhook, &self.log) {
            (None, Some(log)) if log.is_plain() => {
                let (logged, outcome) = log.write(|out| _ = event::write(out, entry));
                self.count(logged);
                outcome
            }
            _ => self.emit(self.lines(entry), entry.now),
        }
    }
    /// The lines of an event whose stage is reached later.
    pub fn lines(&self, entry: &Entry<'_>) -> Lines {
        let line = |format, limits| {
            let line = backend::line(entry, format, limits);
            if line.is_none() {
                self.oversized.inc();
            }
            line
        };
        let log = self.log.as_ref().and_then(|log| line(log.format(), log.limits()));
        let webhook = self.webhook.as_ref().and_then(|webhook| match (&log, &self.log) {
            (Some(same), Some(log)) if log.is_plain() && webhook.limits().is_none() => Some(same.clone()),
            _ => line(Format::Json, webhook.limits()),
        });
        Lines { log, webhook }
    }
    /// Writes lines that were made before.
    pub fn emit(&self, lines: Lines, now: Timestamp) -> Outcome {
        let mut outcome = Outcome::default();
        let mut taken = true;
        if let Some(log) = &self.log {
            let (logged, its) = match lines.log {
                Some(line) => log.write(|out| out.extend_from_slice(&line.at(now))),
                None => (false, Outcome::of(false, log.mode())),
            };
            taken &= logged;
            outcome = outcome.and(its);
        }
        if let Some(webhook) = &self.webhook {
            let (sent, its) = match lines.webhook {
                Some(line) => webhook.push(line.at(now)),
                None => (false, Outcome::of(false, webhook.mode())),
            };
            taken &= sent;
            outcome = outcome.and(its);
        }
        self.count(taken);
        outcome
    }
    fn count(&self, taken: bool) {
        if taken { self.written.inc() } else { self.dropped.inc() }
    }
}

/// Controllers of this server, by their ServiceAccounts of `kube-system`.
const CONTROLLERS: [&str; 11] = [
    "certificate-controller",
    "deployment-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "generic-garbage-collector",
    "namespace-controller",
    "node-controller",
    "pod-garbage-collector",
    "replicaset-controller",
    "root-ca-cert-publisher",
    "service-account-controller",
];

/// True for requests that are worth a line: not probes, not documents, not what components do all the time. What was
/// refused or failed always is. `user` is the caller itself, not whom it impersonates; `catalog` tells what is routine and
/// what is secret.
pub fn worth(info: &RequestInfo<'_>, user: &User, code: u16, catalog: impl FnOnce() -> Arc<Catalog>) -> bool {
    if code >= 400 {
        return true;
    }
    if !info.is_resource {
        let quiet = ["/livez", "/readyz", "/healthz", "/metrics", "/version", "/openapi", "/api", "/apis"];
        return !quiet.iter().any(|p| info.path.strip_prefix(p).is_some_and(|r| r.is_empty() || r.starts_with('/')));
    }
    // Running a command begins with a read.
    if !matches!(info.subresource, "" | "status") {
        return true;
    }
    if !is_component(user) {
        return true;
    }
    let found = catalog().resolve(info.group, info.version, info.resource);
    let (sealed, routine) = found.map_or((false, false), |f| (f.kind.policy.sealed, f.kind.policy.routine));
    let reads = matches!(info.verb, "get" | "list" | "watch") && !sealed;
    !(routine || reads)
}

/// An exact list: anybody may be called `system:serviceaccount:…`.
fn is_component(user: &User) -> bool {
    let own = ["system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"];
    own.contains(&user.name.as_str())
        || user.node_name().is_some()
        || user.name.strip_prefix("system:serviceaccount:kube-system:").is_some_and(|name| CONTROLLERS.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;
    use http::Method;

    #[test]
    fn a_flood_of_nobodys_is_thinned() {
        let start = base::time::parse("2026-01-02T03:04:05Z").unwrap();
        let mut bucket = Bucket { left: NOBODYS.1, at: Timestamp::UNIX_EPOCH };
        let mut written = |millis: i64| {
            let now = start + base::time::SignedDuration::from_millis(millis);
            (0..1000).filter(|_| bucket.take(now)).count()
        };
        assert_eq!([written(0), written(0), written(50), written(1000), written(500)], [100, 0, 0, 10, 0]);
        assert_eq!(written(3_600_000), 100);
    }

    #[test]
    fn routine_is_left_out() {
        let node = User::new("system:node:n1", ["system:nodes"]);
        let named = |name: &str| User::new(name, []);
        let catalog = Arc::new(kinds::builtin());
        let check_code = |method: Method, path: &str, user: &User, code: u16, want: bool| {
            let info = RequestInfo::parse(&method, path, &Query::default());
            assert_eq!(worth(&info, user, code, || catalog.clone()), want, "{method} {path} {user:?} {code}");
        };
        let check = |method, path: &str, user: &User, want| check_code(method, path, user, 200, want);
        let (alice, scheduler) = (named("alice"), named("system:kube-scheduler"));
        check(Method::GET, "/livez/ping", &alice, false);
        check(Method::GET, "/apis", &alice, false);
        check_code(Method::GET, "/metrics", &named("system:anonymous"), 403, true);
        check(Method::GET, "/debug", &alice, true);
        check(Method::GET, "/api/v1/pods", &alice, true);
        check(Method::GET, "/api/v1/pods", &scheduler, false);
        check_code(Method::GET, "/api/v1/pods", &scheduler, 403, true);
        check(Method::GET, "/api/v1/secrets", &node, true);
        check(Method::GET, "/api/v1/pods", &node, false);
        check(Method::GET, "/api/v1/nodes/n1/status", &node, false);
        // A name alone makes no node.
        check(Method::GET, "/api/v1/pods", &named("system:node:n1"), true);
        check(Method::GET, "/api/v1/pods", &named("system:anonymous"), true);
        check(Method::GET, "/api/v1/pods", &named("system:serviceaccount:default:bot"), true);
        check(Method::GET, "/api/v1/pods", &named("system:serviceaccount:kube-system:bot"), true);
        check(Method::GET, "/api/v1/pods", &named("system:serviceaccount:kube-system:node-controller"), false);
        for what in ["exec", "attach", "portforward", "log"] {
            let path = format!("/api/v1/namespaces/d/pods/p/{what}");
            check(Method::GET, &path, &named("system:serviceaccount:kube-system:node-controller"), true);
            check(Method::GET, &path, &scheduler, true);
        }
        check(Method::POST, "/api/v1/namespaces/d/pods", &scheduler, true);
        check(Method::POST, "/api/v1/namespaces/d/events", &scheduler, false);
        check(Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", &node, false);
    }
}
