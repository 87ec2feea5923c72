//! The container runtime seam, shaped as the CRI v1 protocol (`runtime.v1`): what the kubelet asks of a runtime.
//!
//! Messages carry the protocol's names and meanings, so that an adapter to containerd or CRI-O is a rename; fields that
//! nobody uses are absent. Three things differ on purpose. Requests with one or two fields are plain arguments. Streams
//! (exec, attach, port forward) come back as channels instead of a URL, because runtime and kubelet share a process.
//! Events carry a sequence per sandbox and are acknowledged, so that an exit survives the death of the listener.
//!
//! Invariants: everything here is data and traits, no I/O (but for the contract suite in [`contract`]); every message
//! is `serde`, because runtimes persist them.

pub mod container;
pub mod contract;
pub mod error;
pub mod image;
pub mod sandbox;
pub mod service;
pub mod stream;

pub use container::*;
pub use error::{Error, ImageReason, Result};
pub use image::*;
pub use sandbox::*;
pub use service::{BoxFuture, ImageService, RuntimeCondition, RuntimeService, Version};
pub use stream::{ByteStream, EventStream, ExecStreams, TerminalSize};
