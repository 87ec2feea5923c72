//! The seam to the admission chain.

use crate::{Call, WriteOptions};
use base::{BoxFuture, Result, time::Timestamp};
use schema::{Operation, View};
use value::Value;

/// What an admission plugin sees of a request. Objects are in the kind's storage version.
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
    pub now: Timestamp,
    pub warnings: Vec<String>,
}

/// The chain: mutating plugins run before validation, validating ones after.
pub trait Admission: Send + Sync {
    /// False where no plugin cares: the engine then skips both calls.
    fn applies(&self, call: &Call, operation: Operation) -> bool;
    fn mutate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>>;
    fn validate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>>;
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
