//! Events: what `kubectl describe` shows below an object.
//!
//! Recording never waits and never fails: one task per recorder writes, and what it cannot keep up with is dropped. The same event again raises the count of the first;
//! many that differ only in their message are combined; an object that produces a flood is cut off. Numbers are those of
//! `client-go/tools/record/events_cache.go`: 10 similar within 10 minutes, bursts of 25, one more every five minutes.

use base::{clock::Clock, time};
use client::{Client, Patch, kinds};
use std::{collections::HashMap, sync::Arc};
use time::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use value::{Object, Str, Value, value};

/// How many events may wait to be written. Source: `maxQueuedEvents` of `client-go/tools/record`.
const WAITING: usize = 1000;

/// `Normal` or `Warning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Normal,
    Warning,
}

/// The object that an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Reference {
    pub api_version: Str,
    pub kind: Str,
    pub namespace: Str,
    pub name: Str,
    pub uid: Str,
    pub resource_version: Str,
    /// `spec.containers{web}`
    pub field_path: Str,
}

impl Reference {
    /// To an object of a known kind.
    pub fn to(api_version: &str, kind: &str, object: &Object) -> Self {
        Reference {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: object.key.namespace.clone(),
            name: object.key.name.clone(),
            uid: object.meta.uid.clone(),
            resource_version: object.revision.to_string().into(),
            field_path: Str::default(),
        }
    }
    /// The same object, a part of it.
    pub fn field(&self, path: impl Into<Str>) -> Self {
        Reference { field_path: path.into(), ..self.clone() }
    }
    fn to_value(&self) -> Value {
        let fields = [
            ("apiVersion", &self.api_version),
            ("kind", &self.kind),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("resourceVersion", &self.resource_version),
            ("fieldPath", &self.field_path),
        ];
        Value::Object(fields.into_iter().filter(|(_, v)| !v.is_empty()).collect())
    }
}

/// Records events of one component. Clones share the writer.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Record>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone)]
struct Record {
    about: Reference,
    kind: EventKind,
    reason: Str,
    message: String,
    at: Timestamp,
}

impl Recorder {
    /// `component` as `kubelet`; `host` is the node for components of a node, else empty. Needs a Tokio runtime.
    pub fn new(client: Client, component: &str, host: &str, clock: Arc<dyn Clock>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let source = Source { component: component.into(), host: host.into() };
        tokio::spawn(write(client, source, receiver));
        Recorder { sender, clock }
    }
    /// A recorder whose events go nowhere, for tests.
    pub fn silent() -> Self {
        Recorder { sender: mpsc::channel(1).0, clock: Arc::new(base::clock::System) }
    }
    /// Notes an event; never waits.
    pub fn event(&self, about: &Reference, kind: EventKind, reason: &str, message: impl Into<String>) {
        let record =
            Record { about: about.clone(), kind, reason: reason.into(), message: message.into(), at: self.clock.now() };
        // Without a writer (silent, or the runtime is ending) the event is lost, as events may be.
        if let Err(mpsc::error::TrySendError::Full(lost)) = self.sender.try_send(record) {
            tracing::warn!(event = %lost.reason, object = %lost.about.name, "too many events wait; one is dropped");
        }
    }
    pub fn normal(&self, about: &Reference, reason: &str, message: impl Into<String>) {
        self.event(about, EventKind::Normal, reason, message);
    }
    pub fn warning(&self, about: &Reference, reason: &str, message: impl Into<String>) {
        self.event(about, EventKind::Warning, reason, message);
    }
}

#[derive(Debug, Clone)]
struct Source {
    component: Str,
    host: Str,
}

async fn write(client: Client, source: Source, mut records: mpsc::Receiver<Record>) {
    let mut correlator = Correlator::default();
    while let Some(record) = records.recv().await {
        let Some(action) = correlator.decide(record) else { continue };
        let namespace = match action.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        let api = client.api(&kinds::EVENTS).namespace(namespace);
        let count = value!({"count": action.count, "lastTimestamp": time::seconds(action.last), "message": action.record.message});
        let mut result = Ok(());
        if action.count > 1 {
            result = api.patch(&action.name, &Patch::Merge(count)).await.map(drop);
        }
        // The first of its kind, or the earlier one has expired in the meantime.
        if action.count == 1 || result.as_ref().is_err_and(client::Error::is_not_found) {
            result = api.create(&action.body(&source, namespace)).await.map(drop);
        }
        if let Err(error) = result {
            tracing::debug!(event = %action.record.reason, object = %action.record.about.name, %error, "event not written");
        }
    }
}

/// What to write.
#[derive(Debug)]
struct Action {
    record: Record,
    namespace: Str,
    name: String,
    count: u32,
    first: Timestamp,
    last: Timestamp,
}

impl Action {
    fn body(&self, source: &Source, namespace: &str) -> Value {
        let mut event = value!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": self.name, "namespace": namespace},
            "reason": self.record.reason.as_str(), "message": self.record.message,
            "type": format!("{:?}", self.record.kind),
            "firstTimestamp": time::seconds(self.first), "lastTimestamp": time::seconds(self.last),
            "count": self.count, "source": {"component": source.component.as_str()},
            "reportingComponent": source.component.as_str(), "reportingInstance": source.host.as_str(),
        });
        event.set(&["involvedObject"], self.record.about.to_value());
        if !source.host.is_empty() {
            event.set(&["source", "host"], &source.host);
        }
        event
    }
}

/// Decides which records become writes; holds what it needs of the recent ones.
#[derive(Debug, Default)]
struct Correlator {
    /// By everything including the message.
    written: HashMap<(Reference, EventKind, Str, String), Written>,
    /// By everything but the message.
    similar: HashMap<(Reference, EventKind, Str), Similar>,
    budgets: HashMap<Reference, Budget>,
}

#[derive(Debug)]
struct Written {
    name: String,
    count: u32,
    first: Timestamp,
}

#[derive(Debug)]
struct Similar {
    messages: std::collections::BTreeSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Budget {
    tokens: f64,
    at: Timestamp,
}

/// Entries of each table before it is emptied; losing it costs counts, nothing else.
const REMEMBER: usize = 4096;
const SIMILAR_MAX: usize = 10;
const SIMILAR_SPAN: SignedDuration = SignedDuration::from_mins(10);
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;

impl Correlator {
    fn decide(&mut self, mut record: Record) -> Option<Action> {
        if self.written.len() > REMEMBER || self.similar.len() > REMEMBER || self.budgets.len() > REMEMBER {
            *self = Correlator::default();
        }
        // The revision of the object says nothing about the event's sameness.
        let about = Reference { resource_version: Str::default(), ..record.about.clone() };
        self.combine(&about, &mut record);
        if !self.pay(&about, record.at) {
            return None;
        }
        let name = format!("{}.{:x}", record.about.name, record.at.as_nanosecond());
        let key = (about, record.kind, record.reason.clone(), record.message.clone());
        let written = self.written.entry(key).or_insert(Written { name, count: 0, first: record.at });
        written.count += 1;
        Some(Action {
            namespace: record.about.namespace.clone(),
            name: written.name.clone(),
            count: written.count,
            first: written.first,
            last: record.at,
            record,
        })
    }

    fn combine(&mut self, about: &Reference, record: &mut Record) {
        let key = (about.clone(), record.kind, record.reason.clone());
        let similar = self.similar.entry(key).or_insert(Similar { messages: Default::default(), last: record.at });
        if record.at.duration_since(similar.last) > SIMILAR_SPAN {
            similar.messages.clear();
        }
        similar.last = record.at;
        similar.messages.insert(record.message.clone());
        if similar.messages.len() >= SIMILAR_MAX {
            similar.messages.remove(&record.message);
            record.message = format!("(combined from similar events): {}", record.message);
        }
    }

    fn pay(&mut self, about: &Reference, now: Timestamp) -> bool {
        let about = Reference { field_path: Str::default(), ..about.clone() };
        let budget = self.budgets.entry(about).or_insert(Budget { tokens: BURST, at: now });
        let passed = now.duration_since(budget.at).as_secs_f64().max(0.0);
        budget.tokens = (budget.tokens + passed * REFILL_PER_SECOND).min(BURST);
        budget.at = now;
        if budget.tokens < 1.0 {
            return false;
        }
        budget.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, message: &str, second: i64) -> Record {
        Record {
            about: Reference { name: name.into(), namespace: "n".into(), kind: "Pod".into(), ..Default::default() },
            kind: EventKind::Normal,
            reason: "Started".into(),
            message: message.into(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn equal_events_are_counted() {
        let mut correlator = Correlator::default();
        let one = correlator.decide(record("a", "x", 1)).unwrap();
        let mut again = record("a", "x", 5);
        again.about.resource_version = "77".into();
        let two = correlator.decide(again).unwrap();
        assert_eq!((one.count, two.count, &one.name), (1, 2, &two.name));
        assert_eq!((two.first.as_second(), two.last.as_second()), (1, 5));
        assert_eq!(correlator.decide(record("a", "y", 6)).unwrap().count, 1);
        let source = Source { component: "kubelet".into(), host: "n1".into() };
        assert_eq!(
            one.body(&source, "n").to_string(),
            r#"{"apiVersion":"v1","count":1,"firstTimestamp":"1970-01-01T00:00:01Z","involvedObject":{"kind":"Pod","name":"a","namespace":"n"},"kind":"Event","lastTimestamp":"1970-01-01T00:00:01Z","message":"x","metadata":{"name":"a.3b9aca00","namespace":"n"},"reason":"Started","reportingComponent":"kubelet","reportingInstance":"n1","source":{"component":"kubelet","host":"n1"},"type":"Normal"}"#
        );
    }

    #[test]
    fn similar_events_are_combined_and_floods_cut_off() {
        let mut correlator = Correlator::default();
        let messages: Vec<String> = (0..40)
            .filter_map(|i| correlator.decide(record("a", &format!("m{i}"), i)))
            .map(|a| a.record.message)
            .collect();
        assert_eq!(messages.len(), 25);
        assert_eq!(messages[8], "m8");
        assert_eq!(messages[9], "(combined from similar events): m9");
        assert!(correlator.decide(record("b", "m", 40)).is_some());
        assert!(correlator.decide(record("a", "m", 400)).is_some());
    }
}
