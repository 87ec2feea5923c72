//! One `audit.k8s.io/v1 Event` as a line of JSON. Written straight into a buffer: a tree would be a handful of allocations
//! per request.

use super::policy::{Level, Stage};
use crate::{request_info::RequestInfo, server::Origin};
use base::{User, time::Timestamp};
use bytes::Bytes;
use std::{cell::RefCell, io::Write};
use value::Value;

/// The most bytes of a text of the caller's in the line of a request that was refused: what anybody may say costs little.
/// A request that was let in is written down in full, or padding would hide what was done.
const REFUSED: usize = 2048;
/// The most that is ever written of a client's name. Source: upstream's `maxUserAgentLength`.
const AGENT: usize = 1024;
/// What stands for the rest. Source: upstream's mark of a client's name.
const CUT: &str = "...TRUNCATED";

/// What a line says, borrowed from the request.
pub struct Entry<'a> {
    pub level: Level,
    pub stage: Stage,
    pub id: &'a str,
    pub info: &'a RequestInfo<'a>,
    pub uri: &'a str,
    pub user: &'a User,
    pub impersonated: Option<&'a User>,
    /// The verb that let a constrained impersonation pass; empty for any other.
    pub constraint: &'a str,
    pub origin: &'a Origin,
    pub agent: &'a str,
    /// What a write has found out of the object that the path does not say.
    pub object: &'a ObjectRef,
    /// The code of the answer, where there is one by now.
    pub code: Option<u16>,
    /// The Status that was the answer.
    pub status: Option<&'a Value>,
    pub request_object: Option<&'a Bytes>,
    pub response_object: Option<&'a Bytes>,
    pub received: Timestamp,
    pub now: Timestamp,
    /// In the order in which they were made; sorted here.
    pub annotations: &'a [(&'a str, &'a str)],
}

/// Name and identity of the object of a write, where the path has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectRef {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Json,
    /// A line of text with some of what JSON says. Source: apiserver's `audit.EventString`.
    Legacy,
}

/// A line that lacks only the time of its stage.
#[derive(Debug, Default, Clone)]
pub struct Pending {
    line: Vec<u8>,
    /// Where the time stands, where there is one.
    stamp: Option<usize>,
}

impl Pending {
    /// A line for later.
    pub fn of(entry: &Entry<'_>, format: Format) -> Self {
        let mut line = Vec::with_capacity(1024);
        let stamp = match format {
            Format::Json => Some(write(&mut line, entry)),
            Format::Legacy => {
                legacy(&mut line, entry);
                None
            }
        };
        Pending { line, stamp }
    }
    /// Bytes.
    pub fn len(&self) -> usize {
        self.line.len()
    }
    /// The line of a stage that is reached now.
    pub fn at(mut self, now: Timestamp) -> Vec<u8> {
        if let Some(at) = self.stamp {
            let mut text = Vec::with_capacity(27);
            stamp(&mut text, now);
            self.line[at..at + text.len()].copy_from_slice(&text);
        }
        self.line
    }
}

/// Appends the line; says where in the buffer the time of the stage begins.
pub fn write(out: &mut Vec<u8>, e: &Entry<'_>) -> usize {
    let most = if e.code.is_some_and(|code| (400..500).contains(&code)) { REFUSED } else { usize::MAX };
    let _ = write!(out, r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"{}","auditID":"#, e.level.name());
    text(out, e.id);
    let _ = write!(out, r#","stage":"{}","requestURI":"#, e.stage.name());
    clipped(out, e.uri, most);
    out.extend_from_slice(br#","verb":"#);
    clipped(out, e.info.verb, most);
    out.extend_from_slice(br#","user":"#);
    user(out, e.user);
    if let Some(impersonated) = e.impersonated {
        out.extend_from_slice(br#","impersonatedUser":"#);
        user(out, impersonated);
    }
    if !e.constraint.is_empty() {
        out.extend_from_slice(br#","authenticationMetadata":{"impersonationConstraint":"#);
        text(out, e.constraint);
        out.push(b'}');
    }
    if let Origin::Address(address) = e.origin {
        let _ = write!(out, r#","sourceIPs":["{address}"]"#);
    }
    if !e.agent.is_empty() {
        out.extend_from_slice(br#","userAgent":"#);
        clipped(out, e.agent, AGENT);
    }
    if e.info.is_resource {
        object_ref(out, e.info, e.object, most);
    }
    if let Some(code) = e.code {
        response_status(out, code, e.status, most);
    }
    for (key, object) in [("requestObject", e.request_object), ("responseObject", e.response_object)] {
        if let Some(object) = object {
            let _ = write!(out, r#","{key}":"#);
            out.extend_from_slice(object);
        }
    }
    out.extend_from_slice(br#","requestReceivedTimestamp":""#);
    stamp(out, e.received);
    out.extend_from_slice(br#"","stageTimestamp":""#);
    let at = out.len();
    stamp(out, e.now);
    out.push(b'"');
    annotations(out, e.annotations);
    out.extend_from_slice(b"}\n");
    at
}

fn legacy(out: &mut Vec<u8>, e: &Entry<'_>) {
    use base::status::quote;
    // Each is quoted, and the list once more as a whole.
    let list = |groups: &[String]| groups.iter().map(|g| quote(g)).collect::<Vec<_>>().join(",");
    let or = |text: &str, none: &str| quote(if text.is_empty() { none } else { text });
    let ip = match e.origin {
        Origin::Address(address) => address.to_string(),
        _ => String::new(),
    };
    let groups = if e.user.name.is_empty() { String::new() } else { list(&e.user.groups) };
    let (other, others) = match e.impersonated {
        None => ("<self>".to_string(), "<lookup>".to_string()),
        Some(user) if user.groups.is_empty() => (user.name.clone(), "<lookup>".to_string()),
        Some(user) => (user.name.clone(), list(&user.groups)),
    };
    let namespace = if e.info.is_resource { e.info.namespace } else { "" };
    stamp(out, e.received);
    let _ = writeln!(
        out,
        " AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} namespace={} uri={} response=\"{}\"",
        quote(e.id),
        quote(e.stage.name()),
        or(&ip, "<unknown>"),
        quote(e.info.verb),
        or(&e.user.name, "<none>"),
        or(&groups, "<none>"),
        quote(&other),
        quote(&others),
        quote(e.agent),
        or(namespace, "<none>"),
        quote(e.uri),
        e.code.map_or_else(|| "<deferred>".to_string(), |code| code.to_string()),
    );
}

fn object_ref(out: &mut Vec<u8>, info: &RequestInfo<'_>, object: &ObjectRef, most: usize) {
    out.extend_from_slice(br#","objectRef":{"resource":"#);
    clipped(out, info.resource, most);
    let name = if info.name.is_empty() { &object.name } else { &*info.name };
    for (key, value) in [
        ("namespace", info.namespace),
        ("name", name),
        ("uid", &object.uid),
        ("apiGroup", info.group),
        ("apiVersion", info.version),
        ("resourceVersion", &object.resource_version),
        ("subresource", info.subresource),
    ] {
        if !value.is_empty() {
            let _ = write!(out, ",\"{key}\":");
            clipped(out, value, most);
        }
    }
    out.push(b'}');
}

/// Of a Status that was the answer its bounded fields.
fn response_status(out: &mut Vec<u8>, code: u16, status: Option<&Value>, most: usize) {
    out.extend_from_slice(br#","responseStatus":{"metadata":{}"#);
    if let Some(status) = status {
        for key in ["status", "message", "reason"] {
            let said = status.str_at(&[key]);
            if !said.is_empty() {
                let _ = write!(out, ",\"{key}\":");
                clipped(out, said, most);
            }
        }
        for (i, (key, said)) in status.members_at(&["details"]).enumerate() {
            out.extend_from_slice(if i == 0 { br#","details":{"# } else { b"," });
            text(out, key);
            out.push(b':');
            match said.as_str() {
                Some(said) => clipped(out, said, most),
                None => _ = write!(out, "{said}"),
            }
        }
        if status.members_at(&["details"]).next().is_some() {
            out.push(b'}');
        }
    }
    let _ = write!(out, r#","code":{code}}}"#);
}

fn annotations(out: &mut Vec<u8>, annotations: &[(&str, &str)]) {
    let mut sorted = annotations.to_vec();
    sorted.sort_unstable();
    for (i, (key, value)) in sorted.iter().enumerate() {
        out.extend_from_slice(if i == 0 { br#","annotations":{"# } else { b"," });
        text(out, key);
        out.push(b':');
        text(out, value);
    }
    if !sorted.is_empty() {
        out.push(b'}');
    }
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
    clipped(out, value, usize::MAX);
}

/// A JSON string of about so many bytes of the line; a mark says that there was more.
fn clipped(out: &mut Vec<u8>, value: &str, most: usize) {
    out.push(b'"');
    let end = out.len().saturating_add(most);
    for (i, b) in value.bytes().enumerate() {
        if out.len() >= end && value.is_char_boundary(i) {
            out.extend_from_slice(CUT.as_bytes());
            break;
        }
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
    use super::{
        super::backend::{self, Limits},
        *,
    };
    use crate::query::Query;
    use http::Method;
    use value::value;

    fn told(entry: &Entry<'_>) -> Value {
        let mut line = Vec::new();
        write(&mut line, entry);
        value::parse(&line).unwrap().value
    }

    #[test]
    fn lines_are_events() {
        let info = RequestInfo::parse(&Method::GET, "/api/v1/namespaces/d/secrets/s", &Query::default());
        let user = User { extra: vec![("k".into(), vec!["v\"".into()])], ..User::new("alice\n", ["a", "b"]) };
        let at = base::time::parse("2026-01-02T03:04:05.000678Z").unwrap();
        let status =
            value!({"status": "Failure", "message": "no", "reason": "NotFound", "code": 404, "details": {"name": "s"}});
        let entry = Entry {
            level: Level::RequestResponse,
            stage: Stage::ResponseComplete,
            id: "id",
            info: &info,
            uri: "/api/v1/namespaces/d/secrets/s",
            user: &user,
            impersonated: Some(&User::default()),
            constraint: "impersonate:user-info",
            origin: &Origin::Address([127, 0, 0, 1].into()),
            agent: "curl",
            object: &ObjectRef { name: "other".into(), uid: "u".into(), resource_version: "7".into() },
            code: Some(404),
            status: Some(&status),
            request_object: Some(&Bytes::from_static(b"{\"a\":1}")),
            response_object: None,
            received: at,
            now: at,
            annotations: &[("b/c", "x"), ("a/decision", "RBAC: \"x\"")],
        };
        let event = told(&entry);
        assert_eq!(event.str_at(&["user", "username"]), "alice\n");
        assert_eq!(event.at(&["user", "extra", "k"]).to_string(), r#"["v\""]"#);
        assert_eq!(
            event.at(&["objectRef"]),
            &value!({"resource": "secrets", "namespace": "d", "name": "s", "uid": "u", "apiVersion": "v1", "resourceVersion": "7"})
        );
        assert_eq!(
            event.at(&["responseStatus"]),
            &value!({"metadata": {}, "status": "Failure", "message": "no", "reason": "NotFound", "details": {"name": "s"}, "code": 404})
        );
        assert_eq!(event.str_at(&["authenticationMetadata", "impersonationConstraint"]), "impersonate:user-info");
        assert_eq!(event.at(&["requestObject", "a"]).as_i64(), Some(1));
        assert_eq!(event.str_at(&["requestReceivedTimestamp"]), "2026-01-02T03:04:05.000678Z");
        assert_eq!(event.at(&["sourceIPs"]).to_string(), r#"["127.0.0.1"]"#);
        assert_eq!(event.at(&["annotations"]).to_string(), r#"{"a/decision":"RBAC: \"x\"","b/c":"x"}"#);

        // A line of a refused request is short, whatever the caller says; one of a request that was let in is whole.
        let path = format!("/api/v1/namespaces/d/pods/{}", "é".repeat(30_000));
        let long = RequestInfo::parse(&Method::GET, &path, &Query::default());
        let status = value!({"message": path, "details": {"name": path, "causes": []}});
        let line = |code: u16| {
            let (info, uri, status) = (&long, path.as_str(), Some(&status));
            let entry = Entry { info, uri, status, agent: &path, code: Some(code), ..entry };
            let mut line = Vec::new();
            write(&mut line, &entry);
            (line.len(), told(&entry))
        };
        let (length, refused) = line(403);
        assert!(length < 16 << 10, "{length}");
        for at in [
            &["requestURI"][..],
            &["objectRef", "name"],
            &["responseStatus", "message"],
            &["responseStatus", "details", "name"],
        ] {
            let said = refused.str_at(at);
            assert!(said.ends_with("é...TRUNCATED") && said.len() <= 2048 + CUT.len(), "{at:?}: {}", said.len());
        }
        assert_eq!(refused.at(&["responseStatus", "details", "causes"]), &value!([]));
        let done = line(101).1;
        assert_eq!(done.str_at(&["requestURI"]), path);
        assert_eq!(done.str_at(&["userAgent"]).len(), AGENT + CUT.len());

        let later = base::time::parse("2026-01-02T03:05:06.123456Z").unwrap();
        let text = Pending::of(&Entry { user: &User::new("alice", ["a", "b"]), ..entry }, Format::Legacy).at(later);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "2026-01-02T03:04:05.000678Z AUDIT: id=\"id\" stage=\"ResponseComplete\" ip=\"127.0.0.1\" method=\"get\" user=\"alice\" groups=\"\\\"a\\\",\\\"b\\\"\" as=\"\" asgroups=\"<lookup>\" user-agent=\"curl\" namespace=\"d\" uri=\"/api/v1/namespaces/d/secrets/s\" response=\"404\"\n"
        );
        // Too large, it loses its objects; too large still, it is lost.
        let size = Pending::of(&entry, Format::Json).len();
        let fitted = |event| {
            let line = backend::line(&entry, Format::Json, Some(Limits { event, batch: event }));
            line.map(|line| value::parse(&line.at(later)).unwrap().value)
        };
        assert!(!fitted(size).unwrap().at(&["requestObject"]).is_null());
        let cut = Entry { level: Level::Metadata, ..entry };
        assert!(backend::line(&cut, Format::Json, Some(Limits { event: 10, batch: 10 })).is_none());
        let long = Bytes::from(format!("{{\"a\":\"{}\"}}", "x".repeat(4000)));
        let large = Entry { request_object: Some(&long), ..entry };
        let line = backend::line(&large, Format::Json, Some(Limits { event: 2000, batch: 2000 })).unwrap();
        let line = value::parse(&line.at(later)).unwrap().value;
        assert!(line.at(&["requestObject"]).is_null());
        assert_eq!(line.str_at(&["annotations", "audit.k8s.io/truncated"]), "true");
        assert!(fitted(200).is_none());

        let end = value::parse(&Pending::of(&entry, Format::Json).at(later)).unwrap().value;
        assert_eq!(end.str_at(&["stageTimestamp"]), "2026-01-02T03:05:06.123456Z");
        assert_eq!(end.str_at(&["requestReceivedTimestamp"]), "2026-01-02T03:04:05.000678Z");
    }
}
