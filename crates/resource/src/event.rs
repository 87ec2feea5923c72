//! One change of one object, shared by all watchers.

use base::Revision;
use bytes::Bytes;
use std::sync::{Arc, OnceLock};
use value::Object;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl EventKind {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
            EventKind::Bookmark => "BOOKMARK",
            EventKind::Error => "ERROR",
        }
    }
}

/// A committed change as the ring holds it.
#[derive(Debug)]
pub struct Event {
    pub kind: EventKind,
    pub revision: Revision,
    /// The object after the change; for a deletion its last state, with the revision of the deletion.
    pub object: Arc<Object>,
    /// The object before the change.
    pub previous: Option<Arc<Object>>,
    json: OnceLock<Bytes>,
    protobuf: OnceLock<Bytes>,
}

impl Event {
    pub fn new(kind: EventKind, revision: Revision, object: Arc<Object>, previous: Option<Arc<Object>>) -> Arc<Self> {
        Arc::new(Event { kind, revision, object, previous, json: OnceLock::new(), protobuf: OnceLock::new() })
    }
    /// The frame of a JSON watch ([`json_frame`]); `make` runs at most once for all watchers.
    pub fn json_frame(&self, make: impl FnOnce(EventKind, &Object) -> Bytes) -> Bytes {
        self.json.get_or_init(|| make(self.kind, &self.object)).clone()
    }
    /// The same of a protobuf watch.
    pub fn protobuf_frame(&self, make: impl FnOnce(EventKind, &Object) -> Bytes) -> Bytes {
        self.protobuf.get_or_init(|| make(self.kind, &self.object)).clone()
    }
    /// What the event costs the ring at most, in bytes: the object and its frame in both encodings (made on first need;
    /// protobuf is about three quarters of the JSON), and what it replaced.
    pub fn weight(&self) -> usize {
        512 + self.object.json().len() * 7 / 2 + self.previous.as_ref().map_or(0, |o| o.json().len())
    }
}

/// `{"type":"ADDED","object":…}` and a newline.
pub fn json_frame(kind: EventKind, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.word().as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}
