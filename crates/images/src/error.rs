//! One error enum for everything that can go wrong between a reference and a directory of files.
//!
//! Who retries: the kubelet, with its own back-off, for every variant but [`Error::InvalidName`] and [`Error::BadArchive`],
//! which stay wrong. Inside this crate only a broken download is taken up again, where it broke off.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image cannot be had.
#[derive(Debug)]
pub enum Error {
    /// The reference does not follow the grammar of image names.
    InvalidName { reference: String, what: String },
    /// Neither the store nor the registry knows the image; `what` is the registry's own message.
    NotFound { reference: String, what: String },
    /// The registry wants credentials, or other ones.
    Unauthorized { reference: String, what: String },
    /// The registry cannot be reached, is overloaded or answers outside the protocol.
    RegistryUnavailable { registry: String, what: String },
    /// Content is not what its digest or size says.
    DigestMismatch { object: String, expected: String, actual: String },
    /// An archive file is not an image archive, is damaged or incomplete.
    BadArchive { file: PathBuf, what: String },
    /// A manifest, configuration or layer is malformed, unsupported or hostile.
    BadContent { object: String, what: String },
    /// The image exists, but not for this machine.
    NoPlatform { reference: String, platform: String },
    /// The store's own files cannot be read or written.
    Io { path: PathBuf, source: io::Error },
}

impl Error {
    /// The waiting reason a kubelet shows for it (`pkg/kubelet/images/types.go`).
    pub fn reason(&self) -> &'static str {
        match self {
            Error::InvalidName { .. } => "InvalidImageName",
            Error::RegistryUnavailable { .. } => "RegistryUnavailable",
            _ => "ErrImagePull",
        }
    }

    pub(crate) fn content(object: impl fmt::Display, what: impl fmt::Display) -> Self {
        Error::BadContent { object: object.to_string(), what: what.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidName { reference, what } => write!(f, "couldn't parse image name {reference:?}: {what}"),
            Error::NotFound { reference, what } => write!(f, "image {reference:?}: not found: {what}"),
            Error::Unauthorized { reference, what } => write!(f, "image {reference:?}: unauthorized: {what}"),
            Error::RegistryUnavailable { registry, what } => write!(f, "registry {registry}: {what}"),
            Error::DigestMismatch { object, expected, actual } => {
                write!(f, "{object}: expected {expected}, got {actual}")
            }
            Error::BadArchive { file, what } => write!(f, "image archive {}: {what}", file.display()),
            Error::BadContent { object, what } => write!(f, "{object}: {what}"),
            Error::NoPlatform { reference, platform } => {
                write!(f, "image {reference:?}: no match for platform {platform} in the manifest list")
            }
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Adds the path that an I/O error is about.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| Error::Io { path: path.to_path_buf(), source: error.into() })
    }
}
