//! The audit log: who did what, one `audit.k8s.io/v1 Event` of level Metadata per line.
//!
//! A request writes its line into a shared buffer in memory; a thread carries the buffer to the file. The request path
//! never waits for the disk: where the disk is slower than the requests for long, lines are dropped and counted
//! (upstream's batching backend does the same). Decided against a channel of events: each would be a handful of
//! allocations per request.

use crate::{request_info::RequestInfo, server::Origin};
use base::{User, time::Timestamp};
use parking_lot::{Condvar, Mutex};
use std::{
    cell::RefCell,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use telemetry::{Counter, Registry};

/// The most that may wait for the disk.
const BOUND: usize = 16 << 20;
/// Lines are gathered that long before they are written.
const LINGER: Duration = Duration::from_millis(50);
/// A file is put aside at that size, and one older one is kept. Source: upstream's flag is 100 MB by default.
const ROTATE: u64 = 100 << 20;

/// The log of one server. Dropping it writes what is left.
pub struct Audit {
    shared: Arc<Shared>,
    dropped: Arc<Counter>,
    written: Arc<Counter>,
    writer: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    buffer: Mutex<Buffer>,
    filled: Condvar,
}

#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    closed: bool,
}

/// What a line says, borrowed from the request.
pub struct Entry<'a> {
    pub id: &'a str,
    pub info: &'a RequestInfo<'a>,
    pub uri: &'a str,
    pub user: &'a User,
    pub impersonated: Option<&'a User>,
    pub origin: &'a Origin,
    pub agent: &'a str,
    pub code: u16,
    /// Why authorization allowed it; empty where it did not get that far.
    pub reason: &'a str,
    pub decided: Option<bool>,
    pub received: Timestamp,
    pub done: Timestamp,
}

impl Audit {
    /// Appends to a file (mode 0600).
    pub fn open(path: &Path, registry: &Registry) -> io::Result<Self> {
        let file = append(path)?;
        let shared = Arc::new(Shared { buffer: Mutex::default(), filled: Condvar::new() });
        let (theirs, path) = (shared.clone(), path.to_path_buf());
        let writer = std::thread::Builder::new().name("audit".into()).spawn(move || carry(&theirs, file, path))?;
        Ok(Audit {
            shared,
            dropped: registry.single("apiserver_audit_dropped_total", "Audit events lost to a slow disk."),
            written: registry.single("apiserver_audit_event_total", "Audit events."),
            writer: Some(writer),
        })
    }
    /// Writes one line, or drops it where too many wait.
    pub fn record(&self, entry: &Entry<'_>) {
        let mut buffer = self.shared.buffer.lock();
        if buffer.lines.len() >= BOUND {
            drop(buffer);
            self.dropped.inc();
            return;
        }
        let first = buffer.lines.is_empty();
        line(&mut buffer.lines, entry);
        drop(buffer);
        self.written.inc();
        if first {
            self.shared.filled.notify_one();
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.shared.buffer.lock().closed = true;
        self.shared.filled.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
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
/// refused or failed always is. `user` is the caller itself, not whom it impersonates.
pub fn worth(info: &RequestInfo<'_>, user: &User, code: u16) -> bool {
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
    let reads = matches!(info.verb, "get" | "list" | "watch") && info.resource != "secrets";
    let routine = matches!(info.resource, "events" | "leases");
    !((routine || reads) && is_component(user))
}

/// An exact list: anybody may be called `system:serviceaccount:…`.
fn is_component(user: &User) -> bool {
    let own = ["system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"];
    own.contains(&user.name.as_str())
        || user.node_name().is_some()
        || user.name.strip_prefix("system:serviceaccount:kube-system:").is_some_and(|name| CONTROLLERS.contains(&name))
}

/// The writer thread: waits for lines, lets more gather, writes them.
fn carry(shared: &Shared, mut file: File, path: PathBuf) {
    let mut size = file.metadata().map(|m| m.len()).unwrap_or(0);
    let mut taken = Vec::new();
    loop {
        let closed = {
            let mut buffer = shared.buffer.lock();
            while buffer.lines.is_empty() && !buffer.closed {
                shared.filled.wait(&mut buffer);
            }
            if !buffer.closed {
                shared.filled.wait_while_for(&mut buffer, |b| !b.closed && b.lines.len() < BOUND / 4, LINGER);
            }
            std::mem::swap(&mut taken, &mut buffer.lines);
            buffer.closed
        };
        if let Err(e) = file.write_all(&taken) {
            tracing::error!("audit log {}: {e}", path.display());
        }
        size += taken.len() as u64;
        taken.clear();
        taken.shrink_to(1 << 20);
        if size >= ROTATE {
            let aside = path.with_extension("log.1");
            match std::fs::rename(&path, &aside).and_then(|()| append(&path)) {
                Ok(fresh) => (file, size) = (fresh, 0),
                Err(e) => tracing::error!("audit log {}: {e}", path.display()),
            }
        }
        if closed {
            return;
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn line(out: &mut Vec<u8>, e: &Entry<'_>) {
    out.extend_from_slice(br#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"#);
    text(out, e.id);
    out.extend_from_slice(br#","stage":"ResponseComplete","requestURI":"#);
    text(out, e.uri);
    out.extend_from_slice(br#","verb":"#);
    text(out, e.info.verb);
    out.extend_from_slice(br#","user":"#);
    user(out, e.user);
    if let Some(impersonated) = e.impersonated {
        out.extend_from_slice(br#","impersonatedUser":"#);
        user(out, impersonated);
    }
    if let Origin::Address(address) = e.origin {
        let _ = write!(out, r#","sourceIPs":["{address}"]"#);
    }
    if !e.agent.is_empty() {
        member(out, "userAgent", e.agent);
    }
    if e.info.is_resource {
        out.extend_from_slice(br#","objectRef":{"resource":"#);
        text(out, e.info.resource);
        for (key, value) in [
            ("namespace", e.info.namespace),
            ("name", &e.info.name),
            ("apiGroup", e.info.group),
            ("apiVersion", e.info.version),
            ("subresource", e.info.subresource),
        ] {
            if !value.is_empty() {
                member(out, key, value);
            }
        }
        out.push(b'}');
    }
    let _ = write!(out, r#","responseStatus":{{"metadata":{{}},"code":{}}},"requestReceivedTimestamp":""#, e.code);
    stamp(out, e.received);
    out.extend_from_slice(br#"","stageTimestamp":""#);
    stamp(out, e.done);
    out.push(b'"');
    if let Some(allowed) = e.decided {
        let decision = if allowed { "allow" } else { "forbid" };
        let _ = write!(
            out,
            r#","annotations":{{"authorization.k8s.io/decision":"{decision}","authorization.k8s.io/reason":"#
        );
        text(out, e.reason);
        out.push(b'}');
    }
    out.extend_from_slice(b"}\n");
}

fn user(out: &mut Vec<u8>, user: &User) {
    out.extend_from_slice(br#"{"username":"#);
    text(out, &user.name);
    if !user.uid.is_empty() {
        member(out, "uid", &user.uid);
    }
    for (i, group) in user.groups.iter().enumerate() {
        out.extend_from_slice(if i == 0 { br#","groups":["# } else { b"," });
        text(out, group);
    }
    if !user.groups.is_empty() {
        out.push(b']');
    }
    for (i, (key, values)) in user.extra.iter().enumerate() {
        out.extend_from_slice(if i == 0 { br#","extra":{"# } else { b"," });
        text(out, key);
        out.extend_from_slice(b":[");
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            text(out, value);
        }
        out.push(b']');
    }
    if !user.extra.is_empty() {
        out.push(b'}');
    }
    out.push(b'}');
}

fn member(out: &mut Vec<u8>, key: &str, value: &str) {
    let _ = write!(out, ",\"{key}\":");
    text(out, value);
}

/// A JSON string.
fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    for b in value.bytes() {
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            0..0x20 => {
                let _ = write!(out, "\\u{b:04x}");
            }
            _ => out.push(b),
        }
    }
    out.push(b'"');
}

/// `2026-01-02T03:04:05.678901Z`; the part up to the second is made once a second per thread.
fn stamp(out: &mut Vec<u8>, at: Timestamp) {
    thread_local!(static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) });
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != at.as_second() {
            *second = at.as_second();
            *text = base::time::seconds(at);
            text.pop();
        }
        out.extend_from_slice(text.as_bytes());
    });
    let _ = write!(out, ".{:06}Z", at.subsec_nanosecond() / 1000);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;
    use http::Method;

    #[test]
    fn lines_are_events() {
        let path = std::env::temp_dir().join(format!("ferry-audit-{}.log", base::ids::suffix(8)));
        let audit = Audit::open(&path, &Registry::default()).unwrap();
        let info = RequestInfo::parse(&Method::GET, "/api/v1/namespaces/d/secrets/s", &Query::default());
        let user = User { extra: vec![("k".into(), vec!["v\"".into()])], ..User::new("alice\n", ["a", "b"]) };
        let at = base::time::parse("2026-01-02T03:04:05.000678Z").unwrap();
        audit.record(&Entry {
            id: "id",
            info: &info,
            uri: "/api/v1/namespaces/d/secrets/s",
            user: &user,
            impersonated: Some(&User::default()),
            origin: &Origin::Address([127, 0, 0, 1].into()),
            agent: "curl",
            code: 200,
            reason: "RBAC: \"x\"",
            decided: Some(true),
            received: at,
            done: at,
        });
        drop(audit);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let event = value::parse(text.trim_end().as_bytes()).unwrap().value;
        assert_eq!(event.str_at(&["user", "username"]), "alice\n");
        assert_eq!(event.at(&["user", "extra", "k"]).to_string(), r#"["v\""]"#);
        assert_eq!(event.str_at(&["objectRef", "name"]), "s");
        assert_eq!(event.str_at(&["requestReceivedTimestamp"]), "2026-01-02T03:04:05.000678Z");
        assert_eq!(event.at(&["sourceIPs"]).to_string(), r#"["127.0.0.1"]"#);
        assert_eq!(event.str_at(&["annotations", "authorization.k8s.io/reason"]), "RBAC: \"x\"");
    }

    #[test]
    fn routine_is_left_out() {
        let node = User::new("system:node:n1", ["system:nodes"]);
        let named = |name: &str| User::new(name, []);
        let check_code = |method: Method, path: &str, user: &User, code: u16, want: bool| {
            let info = RequestInfo::parse(&method, path, &Query::default());
            assert_eq!(worth(&info, user, code), want, "{method} {path} {user:?} {code}");
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
