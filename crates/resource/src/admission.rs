//! The seam to the admission chain.

use crate::{Call, Conversions, WriteOptions};
use base::{BoxFuture, Result, time::Timestamp};
use schema::{Operation, View};
use std::sync::Arc;
use value::{Object, Value};

/// What an admission plugin sees of a request. Objects are in the version that is worked on ([`Call::working_version`]).
pub struct Attributes<'a> {
    pub call: &'a Call,
    pub operation: Operation,
    /// The name of the object: at creation the path has none.
    pub name: String,
    /// The object as it would be written; `Null` for a deletion and a connection.
    pub object: Value,
    /// The object as it is.
    pub old: Option<&'a Value>,
    pub options: &'a WriteOptions,
    pub view: &'a dyn View,
    pub conversions: &'a Conversions,
    pub now: Timestamp,
    pub warnings: Vec<String>,
}

/// A write that is ready for the store, for those who keep accounts of writes.
pub struct Charge<'a> {
    pub call: &'a Call,
    pub operation: Operation,
    /// In the kind's storage version, valid and admitted.
    pub object: &'a Value,
    pub old: Option<&'a Value>,
    pub view: &'a dyn View,
    pub now: Timestamp,
}

/// The new state of another object, which is written in the same transaction or not at all.
pub struct Beside {
    pub group: &'static str,
    pub plural: &'static str,
    /// The state that it replaces; where that is not the newest one any more, the account is asked again.
    pub old: Arc<Object>,
    pub new: Value,
}

/// The chain: mutating plugins run before validation, validating ones after.
pub trait Admission: Send + Sync {
    /// False where no plugin cares: the engine then skips both calls.
    fn applies(&self, call: &Call, operation: Operation) -> bool;
    fn mutate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>>;
    fn validate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>>;
    /// What else a write changes: the quotas that it is charged to. The last word on a write, said as often as somebody
    /// else was faster.
    fn charge(&self, _write: &Charge<'_>) -> Result<Vec<Beside>> {
        Ok(Vec::new())
    }
}

/// No plugins: for tests of the engine alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdmitAll;

impl Admission for AdmitAll {
    fn applies(&self, _: &Call, _: Operation) -> bool {
        false
    }
    fn mutate<'a>(&'a self, _: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn validate<'a>(&'a self, _: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}
