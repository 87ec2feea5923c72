//! The API server: one request stack over the engine.
//!
//! [`stack`] is the path of every request, read from top to bottom; [`dispatch`] takes what passed it to the engine, the
//! same way for every kind. Documents (discovery, OpenAPI) are functions of the catalog, cached by its generation.
//! Streams to containers are passed through to the node's HTTPS endpoint byte by byte.
//!
//! Invariants: there is one door, for callers in the process as for those on the network (they differ in where the
//! identity comes from); behind authorization only admission and reviews look at the caller; no kind is named outside [`bootstrap`],
//! [`nodes`] and [`virtual_kinds`]; a response body never copies an object to send it.

mod access;
mod admission_files;
mod aggregation;
mod audit;
mod body;
mod bootstrap;
mod connect;
mod conversion;
mod deadline;
mod dispatch;
mod documents;
mod flow;
mod fronts;
mod gzip;
mod health;
mod keys;
mod kubeconfig;
mod metrics;
mod nodes;
mod params;
mod proxy;
mod query;
mod request_info;
mod respond;
mod server;
mod services;
mod socket;
mod stack;
mod verbs;
mod version;
mod virtual_kinds;
mod watch;

pub use access::{Access, AccessFiles, Authentication, Authorization, ConfigFile};
pub use admission::{Choice as AdmissionChoice, Settings as AdmissionSettings};
pub use admission_files::admission_settings;
pub use audit::{AuditConfig, BackendFlags};
pub use auth::RequestHeaders;
pub use keys::{Keys, ProxyClient, TokenKeys};
pub use request_info::RequestInfo;
pub use seal::Settings as EncryptionSettings;
pub use server::{Config, Server};
pub use version::GIT_VERSION;
