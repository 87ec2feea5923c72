//! Label and field selectors: parsing, matching and printing, as `k8s.io/apimachinery/pkg/{labels,fields}` do.
//!
//! A selector is parsed once per request and then asked for every object, so matching works on the [`value::Meta`] that
//! every object carries and allocates nothing. Invariant: nothing here knows a kind; field selectors are compiled
//! against a list of names that the caller gives.

mod field;
mod label;

pub use field::{CompiledFieldSelector, FieldRequirement, FieldSelector};
pub use label::{LabelSelector, Operator, Requirement};
