//! What the in-process transport carries beside an HTTP message: who calls, and the shared objects themselves.
//!
//! A caller in the server's own process speaks the same HTTP to the same request stack; these types travel in the
//! `extensions` of its requests and responses, so that nothing is encoded or parsed between two parts of one process.
//! They stand here because `client` and `apiserver` both need them and neither may know the other. The TCP listener
//! removes [`InProcess`] from whatever arrives over a socket.

use crate::Object;
use base::{Revision, Status, User};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

/// Request extension: the identity of a caller inside the process, as its client certificate would say. The caller
/// lists its groups itself; `system:authenticated` is added where it is missing.
#[derive(Debug, Clone)]
pub struct InProcess {
    pub user: Arc<User>,
    /// Lists and watches answer with [`SharedList`] or [`SharedWatch`] in the response's extensions and an empty body.
    /// Where the server cannot (another version than the stored one, a Table), it answers with an ordinary body.
    pub shared: bool,
}

/// Response extension of a get, create, update, patch or delete that answers with a stored object (the body holds the
/// same bytes).
#[derive(Debug, Clone)]
pub struct SharedObject(pub Arc<Object>);

/// Response extension of a list.
#[derive(Debug, Clone)]
pub struct SharedList {
    pub items: Arc<[Arc<Object>]>,
    pub revision: Revision,
    pub continue_token: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedEventKind {
    Added,
    Modified,
    Deleted,
    /// Only the revision of the object counts.
    Bookmark,
    /// The bookmark that ends the initial list of a `sendInitialEvents` watch.
    InitialEventsEnd,
}

/// One watch event.
#[derive(Debug, Clone)]
pub struct SharedEvent {
    pub kind: SharedEventKind,
    pub object: Arc<Object>,
}

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A running watch. Dropping it ends the watch.
pub trait EventSource: Send {
    /// Waits until at least one event is there and appends as many as are ready. `Ok(false)`: the watch ended in good
    /// order (its timeout); `Err`: what an ERROR event would hold (410 after falling behind), and the end.
    fn next<'a>(&'a mut self, out: &'a mut Vec<SharedEvent>) -> BoxFuture<'a, Result<bool, Status>>;
}

/// Response extension of a watch: taken once by the caller. (Extensions must be `Clone`, hence the shared slot.)
#[derive(Clone)]
pub struct SharedWatch(Arc<Mutex<Option<Box<dyn EventSource>>>>);

impl SharedWatch {
    pub fn new(source: Box<dyn EventSource>) -> Self {
        SharedWatch(Arc::new(Mutex::new(Some(source))))
    }
    /// The watch itself; `None` where it was taken before.
    pub fn take(&self) -> Option<Box<dyn EventSource>> {
        self.0.lock().ok()?.take()
    }
}

impl std::fmt::Debug for SharedWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedWatch")
    }
}
