//! One client for every component: the same calls whether the API server is in this process or across a socket.
//!
//! A [`Client`] is a cheap handle on a [`Transport`]: in process the transport is the server's own service object with the
//! component's identity, remotely it is kube-rs (TLS, client certificates, token files that are read again). On it stand
//! [`Api`] values, one per resource, which speak in shared [`value::Object`]s, trees or typed structs, as the caller likes.
//! Decided against: kube-rs's `Api` everywhere, because it parses every object into an owned struct, which in process
//! costs more than the call itself.
//!
//! Invariants: nothing here caches or retries (callers do, [`Error`] says when); no error carries a credential.

mod api;
mod error;
mod gvr;
mod http_api;
mod in_process;
pub mod kubeconfig;
mod options;
mod remote;
mod transport;
mod watch;

pub use api::{Api, ObjectList};
pub use error::{Error, Result};
pub use gvr::{Gvr, kinds};
pub use options::{DeleteOptions, ListOptions, Patch, WatchOptions};
pub use remote::{Credentials, Remote, Rotator};
pub use transport::{Body, BoxError, BoxFuture, Client, Transport};
pub use watch::{WatchEvent, WatchStream};
