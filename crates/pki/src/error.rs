//! What can go wrong with keys and certificates. Nobody retries: the input or the file has to change.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug)]
pub enum Error {
    /// The text is not the PEM or DER that it should be.
    Malformed { what: &'static str, why: String },
    /// A file cannot be read or written.
    Io { path: PathBuf, source: io::Error },
    /// Half of a pair is there: making a new one would orphan everything that the other half signed.
    Incomplete { present: PathBuf, missing: PathBuf },
    /// What a file holds is not what it should hold.
    Content { path: PathBuf, source: Box<Error> },
    /// A file is missing although something depends on what was in it.
    Missing { path: PathBuf, needed_for: PathBuf },
    /// A request asks for what this crate cannot issue.
    Unsupported(String),
}

impl Error {
    pub(crate) fn malformed(what: &'static str, why: impl fmt::Display) -> Self {
        Error::Malformed { what, why: why.to_string() }
    }
    /// Names the file that is at fault.
    pub(crate) fn at(path: &Path) -> impl FnOnce(Error) -> Self {
        move |source| Error::Content { path: path.into(), source: Box::new(source) }
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
            Error::Content { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Missing { path, needed_for } => {
                write!(
                    f,
                    "{} is missing, and {} cannot be used without it: restore it",
                    path.display(),
                    needed_for.display()
                )
            }
            Error::Unsupported(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Content { source, .. } => Some(source),
            _ => None,
        }
    }
}
