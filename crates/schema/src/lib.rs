//! What a kind is: [`Kind`] and the [`Catalog`] of them, structural schemas, and the documents made from both.
//!
//! A built-in kind and a CustomResourceDefinition build the same [`Kind`] value; routes, discovery, OpenAPI, Table,
//! pruning, defaulting, strict decoding and field selectors are functions of it. Invariants: no function here does I/O;
//! there is no list of kinds in this crate (`kinds` has the built-in ones, the server makes those of CRDs).

mod catalog;
mod columns;
mod hooks;
mod kind;
mod structural;

pub use catalog::{Catalog, Lookup};
pub use columns::{Column, ColumnSource, ColumnType};
pub use hooks::{ActOutcome, Claim, ClusterConfig, Context, Hooks, NoHooks, Operation, Pool, View};
pub use kind::{
    Generation, Kind, NameRule, Policy, Scope, SelectableField, Subresource, SubresourceAction, Verb, Version,
};
pub use structural::{Arena, Checks, Field, ListType, Node, NodeId, Patch, Schema, Type};
