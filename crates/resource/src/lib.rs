//! The engine: every verb on every kind, built-in or custom, over one store.
//!
//! Bytes become a tree once; the tree is defaulted, converted, admitted, prepared, validated and committed by one
//! compare-and-swap; the committed object is encoded once and shared by gets, lists, watches and caches. A verb is a
//! file; what differs by kind is data in [`schema::Kind`] or a hook. Invariants: there is no code here that names a
//! kind; reads never touch the store; a reply means durable and visible to the next read.

mod admission;
mod answered;
mod apply;
mod budget;
mod by_field;
mod cache;
mod call;
mod claims;
mod convert;
mod create;
mod current;
mod decode;
mod defaulted;
mod delete;
mod encode;
mod engine;
mod event;
mod layout;
mod list;
mod managed;
mod meta;
mod notes;
mod own;
mod part;
mod publish;
mod respecified;
mod seal;
mod snap_map;
mod subresource;
mod topics;
mod unreadable;
mod update;
mod watch;
mod wheel;

pub use admission::{Admission, AdmitAll, Attributes, Beside, Charge};
pub use base::BoxFuture;
pub use call::{Answer, Body, Call, FieldValidation, ListQuery, ListReply, Reply, VersionMatch, WriteOptions};
pub use convert::{Conversions, Converter};
pub use engine::{Engine, OpenError, Options};
pub use event::{Event, EventKind, json_frame};
pub use notes::Notes;
pub use own::follow;
pub use seal::{Opened, Sealer, Unsealed};
pub use watch::{Delivery, Watcher};
