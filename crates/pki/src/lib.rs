//! Certificate authorities, leaf certificates, certificate requests and key files.
//!
//! One algorithm: ECDSA P-256 (ring makes such a key in microseconds and every Kubernetes client takes it). Keys of
//! requests may be of any kind that ring can verify. Everything is a value; only [`file`] and [`cluster`] touch the disk.
//!
//! Invariants: a private key never reaches a log or an error; files are written whole or not at all, mode 0600; nothing
//! here decides who may have which certificate (that is admission and the signer).

pub mod authority;
pub mod cluster;
mod der;
pub mod error;
pub mod file;
pub mod identity;
pub mod leaf;
pub mod request;
pub mod signing;

pub use authority::{Authority, Usage};
pub use cluster::ClusterPki;
pub use error::{Error, Result};
pub use identity::Identity;
pub use leaf::Leaf;
pub use request::{CertificateRequest, Request};
pub use signing::{Algorithm, PublicKey, SigningKey};
