//! What can go wrong with keys and certificates. Nobody retries: the input or the file has to change.

use std::{fmt, io, path::PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug)]
pub enum Error {
    /// The text is not the PEM or DER that it should be.
    Malformed { what: &'static str, why: String },
    /// A file cannot be read or written.
    Io { path: PathBuf, source: io::Error },
    /// Half of a pair is there: making a new one would orphan everything that the other half signed.
    Incomplete { present: PathBuf, missing: PathBuf },
    /// A request asks for what this crate cannot issue.
    Unsupported(String),
}

impl Error {
    pub(crate) fn malformed(what: &'static str, why: impl fmt::Display) -> Self {
        Error::Malformed { what, why: why.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed { what, why } => write!(f, "malformed {what}: {why}"),
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Incomplete { present, missing } => {
                write!(f, "{} exists but {} does not: restore it, or remove both", present.display(), missing.display())
            }
            Error::Unsupported(why) => f.write_str(why),
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
