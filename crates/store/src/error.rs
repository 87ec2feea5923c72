//! What stores answer when they cannot do it. None of these is retried in here: a conflict is the caller's to resolve,
//! everything else needs a person.

use base::Revision;
use std::{fmt, io, path::PathBuf, sync::Arc};

/// Why a transaction did not take place.
#[derive(Debug, Clone)]
pub enum CommitError {
    /// A condition did not hold: the key is at `current` (`None`: it does not exist). Read again and retry.
    Conflict { key: Arc<str>, current: Option<Revision> },
    /// Keys and values together are above [`crate::MAX_TXN_BYTES`].
    TooLarge { bytes: usize },
    /// The key is empty, or written twice in one transaction.
    BadKey { key: Arc<str> },
    /// The store was closed. Whether the commit took place is not known when it had been taken.
    Closed,
    /// The disk failed. The store is read-only from the first such failure until it is opened again: after a failed
    /// fsync nobody can say what is on the disk. Whether this commit took place is not known.
    Io(Arc<io::Error>),
    /// A store outside of this process does not take it as it is, now or later: nothing took place. `why` names what to change.
    Refused { why: Arc<str> },
    /// A store outside of this process refused, or could not be asked: nothing took place, nor will. The next one may succeed.
    Unavailable { why: Arc<str> },
    /// The answer of a store outside of this process was lost: whether the commit took place, or will before the next one
    /// of this process, is not known.
    InDoubt { why: Arc<str> },
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitError::Conflict { key, current: Some(at) } => write!(f, "{key} was changed: it is at revision {at}"),
            CommitError::Conflict { key, current: None } => write!(f, "{key} does not exist"),
            CommitError::TooLarge { bytes } => {
                write!(f, "the transaction holds {bytes} bytes; {} are allowed", crate::MAX_TXN_BYTES)
            }
            CommitError::BadKey { key } if key.is_empty() => write!(f, "a key must not be empty"),
            CommitError::BadKey { key } => write!(f, "{key} is written twice in one transaction"),
            CommitError::Closed => write!(f, "the store is closed"),
            CommitError::Io(e) => write!(f, "the store is read-only since its disk failed: {e}"),
            CommitError::Refused { why } | CommitError::Unavailable { why } => why.fmt(f),
            CommitError::InDoubt { why } => write!(f, "whether it was written is not known: {why}"),
        }
    }
}

impl std::error::Error for CommitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CommitError::Io(e) => Some(e.as_ref()),
            _ => None,
        }
    }
}

/// Why a store could not be opened, or replayed to a sink. Opening changes nothing on disk unless it succeeds.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds the directory.
    Locked {
        dir: PathBuf,
        /// As the holder wrote it; `None` when it has not come to that yet.
        by: Option<u32>,
    },
    /// Acknowledged data is damaged. Nothing is repaired by guessing: restore the file, or move the directory away.
    Corrupt { file: PathBuf, offset: u64, what: String },
    /// A file could not be read, written or made.
    Io { path: PathBuf, source: io::Error },
    /// The store was closed.
    Closed,
    /// A store outside of this process cannot be reached or refuses to be read.
    Unavailable { why: String },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked { dir, by: Some(pid) } => write!(f, "{} is in use by process {pid}", dir.display()),
            OpenError::Locked { dir, by: None } => write!(f, "{} is in use by another process", dir.display()),
            OpenError::Corrupt { file, offset, what } => {
                write!(f, "{} is damaged at byte {offset}: {what}; nothing was changed", file.display())
            }
            OpenError::Io { path, source } => write!(f, "{}: {source}", path.display()),
            OpenError::Closed => write!(f, "the store is closed"),
            OpenError::Unavailable { why } => why.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a read failed.
#[derive(Debug, Clone)]
pub enum ReadError {
    /// The disk failed.
    Io(Arc<io::Error>),
    /// The store was closed.
    Closed,
    /// A store outside of this process could not be asked. Ask again.
    Unavailable { why: Arc<str> },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(e) => write!(f, "reading the store failed: {e}"),
            ReadError::Closed => write!(f, "the store is closed"),
            ReadError::Unavailable { why } => why.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::Io(e) => Some(e.as_ref()),
            ReadError::Closed | ReadError::Unavailable { .. } => None,
        }
    }
}
