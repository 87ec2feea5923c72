//! Archives, registries, content and overlay snapshots.
//!
//! An image enters by [`Store::import`] (an archive file), [`Store::pull`] (a registry) or [`toolbox::make_image`] (the running
//! binary) and is then an [`Image`]: its configuration and the directories of its layers, ready for an overlay mount. The store is a directory
//! that several processes may have open; see [`store`] for what protects it.
//!
//! Invariants: nothing is named before its digest was checked; a layer directory is complete or absent; one directory per diff id.

mod archive;
mod auth;
mod cri_service;
mod decompress;
mod digest;
mod error;
mod layout;
mod pull;
mod reference;
mod registry;
pub mod spec;
pub mod store;
pub mod toolbox;
mod transport;
mod unpack;

pub use auth::{Credentials, Keyring};
pub use digest::Digest;
pub use error::{Error, Result};
pub use reference::Reference;
pub use store::{Collected, Image, ImageConfig, Store};
pub use transport::Options as RegistryOptions;
pub use unpack::Limits;
