//! The compact tree that the engine works on, field paths, and the shared [`Object`].
//!
//! A built-in object and a custom resource are the same [`Value`]; code per kind reads it by path. Typed structs exist
//! only in controllers, decoded from an object's bytes when asked for. Map keys are sorted, so equality is structural and
//! encoding is canonical. Decided against: `serde_json::Value` (three times the memory, and silent about duplicate keys).
//!
//! Invariants: an [`Object`] never changes; its JSON is made once; nothing here knows a kind.

mod complaint;
mod convert;
mod json;
mod map;
mod object;
mod path;
mod read;
pub mod shared;
mod tree;

pub use compact_str::CompactString as Str;
pub use complaint::complaint;
pub use convert::{from_value, to_value};
pub use json::{Parsed, SyntaxError, parse, parse_from, parse_lenient};
pub use map::{Map, order};
pub use object::{Meta, Object, ObjectKey};
pub use path::Path;
pub use tree::Value;

/// `json!`-style literals: `value!({"a": [1, x]})` builds a [`Value`] from anything `serde_json::json!` takes.
#[macro_export]
macro_rules! value {
    ($($json:tt)+) => { $crate::Value::from($crate::__json!($($json)+)) };
}
#[doc(hidden)]
pub use serde_json::json as __json;
