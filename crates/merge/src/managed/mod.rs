//! Managed fields and server-side apply (KEP-555).
//!
//! Every object says in `metadata.managedFields` who wrote which of its fields. [`track_create`] and [`track_update`]
//! keep that up for writes of any kind; [`apply()`] merges a configuration whose author says who it is: what others own
//! and the configuration would change is a conflict, what the author applied before and applies no more goes unless
//! somebody else owns it. Everything is a function of trees and schemas; the object's kind is asked for its versions
//! ([`Versions`]) and for nothing else. Source of the rules: structured-merge-diff and
//! `k8s.io/apimachinery/pkg/util/managedfields`.
//!
//! Invariants: sets are kept in the version that their manager wrote; nobody's set is left empty.

mod apply;
mod atomics;
mod compare;
mod created;
mod element;
mod fields;
mod known;
mod managers;
mod merging;
mod set;
mod shape;
mod track;

pub use apply::{Applied, Conflict, Refused, apply};
pub use atomics::atomics;
pub use compare::{Comparison, compare};
pub use fields::go_text;
pub use known::Known;
pub use managers::{Manager, Managers, Operation, is_reset, same_but_for_times};
pub use set::FieldSet;
pub use track::{track_create, track_update};

use schema::Schema;
use value::{Str, Value};

/// The versions of a kind.
pub trait Versions {
    /// The schema of a version by its `apiVersion`; `None` for one that is not known (any more).
    fn schema(&self, api_version: &str) -> Option<&Schema>;
    /// An object in another version, without defaults. `None` where either version is not known.
    fn convert(&self, object: &Value, api_version: &str) -> base::Result<Option<Value>>;
    /// True for a custom kind: its new objects begin with nothing, not with the zero value of a Go type.
    fn custom(&self) -> bool;
}

/// A write, as managers are concerned with it.
#[derive(Debug, Clone)]
pub struct Write<'a> {
    /// `fieldManager`, or the client's name.
    pub manager: &'a str,
    /// The version that the request names.
    pub api_version: &'a str,
    /// `""` for the main resource.
    pub subresource: &'a str,
    /// As it will stand in the object.
    pub time: &'a str,
    pub reach: &'a Reach,
}

/// Which fields a request's endpoint writes at all; what it drops is nobody's by it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reach {
    /// Places that are written; `None` for all.
    pub only: Option<Vec<Vec<Str>>>,
    /// Top-level members that are not.
    pub never: Vec<Str>,
}

impl Reach {
    fn of(&self, set: FieldSet) -> FieldSet {
        let mut set = match &self.only {
            Some(places) => {
                let steps = |place: &Vec<Str>| place.iter().map(|name| element::field(name)).collect();
                set.only_below(&places.iter().map(steps).collect::<Vec<Vec<Str>>>())
            }
            None => set,
        };
        for name in &self.never {
            set.0.remove(&element::field(name));
        }
        set
    }
}

impl Write<'_> {
    fn entry(&self, operation: Operation) -> Manager {
        Manager {
            name: if self.manager.is_empty() { "unknown" } else { self.manager }.into(),
            operation,
            api_version: self.api_version.into(),
            subresource: self.subresource.into(),
            time: None,
            fields: FieldSet::new(),
        }
    }
}

/// Removes what belongs to nobody: the type, the object's identity, what the server counts.
fn strip(set: &mut FieldSet) {
    for name in ["apiVersion", "kind"] {
        set.0.remove(&element::field(name));
    }
    if let Some(mut below) = set.below("f:metadata") {
        for name in created::STRIPPED {
            // Only the field itself, as upstream's difference: nothing stands below any of them.
            below.0.remove(&element::field(name));
        }
        set.0.remove("f:metadata");
        set.put("f:metadata", false, below);
    } else {
        set.0.remove("f:metadata");
    }
}
