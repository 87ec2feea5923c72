//! What stored objects are sealed with: keys of a file, KMS plugins, and the cluster's own key.
//!
//! The engine hands over bytes and a kind ([`resource::Sealer`]); which provider a kind has follows from an
//! EncryptionConfiguration (`apiserver.config.k8s.io/v1`), upstream's file with upstream's rules, words and stored
//! prefixes, so that values can be shared with or brought over from upstream's API server. Without a file, and for
//! kinds that are sealed by nature (Secrets) where the file does not name them, the cluster's own key is used.
//!
//! The first provider of a kind writes, all of them read, and what another than the first one reads is *stale*: the next
//! write of the object seals it anew. The cluster's own key reads behind all others, so that a file may come and be
//! rolled out without a moment in which old values do not open.
//!
//! Decided against: KMS v1. Upstream serves it only behind a feature gate that is off.
//!
//! Invariants: no key reaches a log, an error or a metric; a value that does not open is an error that says why, never
//! an empty object; what is swapped by a reload is swapped whole.

mod cipher;
mod config;
mod encryption;
mod kms;
mod metrics;
mod providers;
mod reload;
mod validate;

pub use encryption::{Encryption, Settings};

use std::{fmt, path::PathBuf};

/// Why an encryption configuration cannot be used. The words are upstream's.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    File(PathBuf, std::io::Error),
    /// There is nothing in the file.
    Empty(PathBuf),
    /// The file is no EncryptionConfiguration.
    Malformed(PathBuf, String),
    /// It is one that makes no sense.
    Invalid(base::FieldErrors),
    /// Its providers cannot be made.
    Providers(String),
    /// New providers that do not work are not put in the place of old ones.
    Unhealthy(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PARSING: &str = "error while parsing file: ";
        const LOADING: &str = "error while loading file: ";
        match self {
            Error::File(path, e) => {
                write!(f, "{PARSING}{LOADING}error reading encryption provider configuration file {path:?}: {e}")
            }
            Error::Empty(path) => {
                write!(f, "{PARSING}{LOADING}encryption provider configuration file {path:?} is empty")
            }
            Error::Malformed(path, why) => {
                write!(f, "{PARSING}error decoding encryption provider configuration file {path:?}: {why}")
            }
            Error::Invalid(errors) => match errors.0.as_slice() {
                [one] => write!(f, "{PARSING}{one}"),
                all => {
                    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                    write!(f, "{PARSING}[{}]", all.join(", "))
                }
            },
            Error::Providers(why) => write!(f, "error while building transformers: {why}"),
            Error::Unhealthy(why) => write!(f, "health check for new transformers failed: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::File(_, e) => Some(e),
            _ => None,
        }
    }
}
