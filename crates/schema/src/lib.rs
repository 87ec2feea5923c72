//! What a kind is: [`Kind`] and the [`Catalog`] of them, structural schemas, and the documents made from both.
//!
//! A built-in kind and a CustomResourceDefinition build the same [`Kind`] value; routes, discovery, OpenAPI, Table,
//! pruning, defaulting, strict decoding and field selectors are functions of it. Invariants: no function here does I/O;
//! there is no list of kinds in this crate (`kinds` has the built-in ones, the server makes those of CRDs).

pub mod builtin;
mod catalog;
mod columns;
pub mod crd;
mod decode;
mod defaults;
pub mod discovery;
mod features;
mod hooks;
mod kind;
pub mod openapi;
mod priority;
mod review;
mod structural;
#[cfg(test)]
mod testing;
mod validate;

pub use catalog::{Catalog, Lookup};
pub use columns::{Column, ColumnSource, ColumnType};
pub use decode::{Mistyped, check_types, decode, decode_beside, normalize, prune, strict_status, unknown_fields};
pub use defaults::{apply_defaults, apply_defaults_beside};
pub use features::{Features, GateError};
pub use hooks::{
    AUTO_UPDATE, ActOutcome, Claim, ClusterConfig, Context, Deletion, Hooks, Initial, Keep, NoHooks, Operation, Pool,
    View, Write,
};
pub use kind::{
    Connector, ConversionWebhook, Generation, Kind, Listener, NameRule, Policy, Scope, SelectableField, Subresource,
    SubresourceAction, Verb, Version, VersionParts,
};
pub use priority::{by_priority, group_priority};
pub use review::ReviewVersion;
pub use structural::{Arena, Checks, Empty, Field, ListType, Node, NodeId, Patch, Pattern, Schema, Type, go_regex};
pub use validate::{validate, validate_update};
