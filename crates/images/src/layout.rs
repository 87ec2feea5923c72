//! The store's directories and locks.
//!
//! ```text
//! blobs/sha256/<hex>   manifests and configurations; layers only until they are unpacked
//! layers/<diff id>/    unpacked layers, shared by all images
//! images/<id>.json     one record per image
//! holds/<owner>.json   layers that a running pod's mounts need
//! ingest/              downloads (`<hex>.part`, kept to be resumed) and whatever is not finished
//! locks/               files to lock; they carry no data
//! ```
//!
//! Everything appears under its final name by one rename, so a reader needs no lock and a crash leaves only files in `ingest`.
//! Locks are `flock`s: they work between processes and between tasks of one process, and end with their holder.

use crate::digest::{Digest, Hasher, HashingReader};
use crate::error::{At, Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where things are; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: Arc<Path>,
}

/// A held lock; ends when dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Layout {
    pub fn create(root: &Path) -> Result<Self> {
        for dir in ["blobs/sha256", "layers", "images", "holds", "ingest", "locks"] {
            let path = root.join(dir);
            fs::create_dir_all(&path).at(&path)?;
        }
        // Absolute, because overlay mounts and other processes read the paths.
        let root = root.canonicalize().at(root)?;
        Ok(Layout { root: root.into() })
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    pub fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    pub fn record(&self, id: &Digest) -> PathBuf {
        self.root.join("images").join(format!("{}.json", id.hex()))
    }

    pub fn partial(&self, digest: &Digest) -> PathBuf {
        self.root.join("ingest").join(format!("{}.part", digest.hex()))
    }

    /// A name that no other process or task uses; its prefix tells the sweeper whose it was.
    pub fn temporary(&self) -> PathBuf {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.root.join("ingest").join(format!("tmp-{}-{nanos:x}-{n}", std::process::id()))
    }

    /// Waits for the lock `name`.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        let (path, file) = self.lock_file(name)?;
        file.lock().at(&path)?;
        Ok(Lock(file))
    }

    pub fn lock_shared(&self, name: &str) -> Result<Lock> {
        let (path, file) = self.lock_file(name)?;
        file.lock_shared().at(&path)?;
        Ok(Lock(file))
    }

    /// `None` if somebody else holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        let (path, file) = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error).at(&path),
        }
    }

    fn lock_file(&self, name: &str) -> Result<(PathBuf, File)> {
        let path = self.root.join("locks").join(name);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).at(&path)?;
        Ok((path, file))
    }

    /// Writes a whole file under its final name, durably.
    pub fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.temporary();
        let write = || -> io::Result<()> {
            let mut file = File::create_new(&temporary)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            fs::rename(&temporary, path)
        };
        write().at(path).inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }

    /// Stores a small blob from memory, after checking it.
    pub fn put_blob(&self, digest: &Digest, object: &str, bytes: &[u8]) -> Result<()> {
        digest.verify(object, bytes)?;
        self.write_atomic(&self.blob(digest), bytes)
    }

    /// A small blob, checked again as it is read. `None` if it is not there or its bytes have rotted.
    pub fn get_blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let bytes = fs::read(self.blob(digest)).ok()?;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    }
}

/// A blob on its way in. Bytes of an earlier attempt are kept and counted; the lock keeps a second download of the same blob out.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    len: u64,
    layout: Layout,
    digest: Digest,
    _lock: Lock,
}

impl Partial {
    /// Opens the partial file of `digest`, waiting for whoever writes it now. `None` if the blob is complete meanwhile.
    pub fn open(layout: &Layout, digest: &Digest) -> Result<Option<Self>> {
        let lock = layout.lock(&format!("blob-{}", digest.hex()))?;
        if layout.blob(digest).exists() {
            return Ok(None);
        }
        let path = layout.partial(digest);
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).at(&path)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 128 * 1024];
        let mut len = 0;
        loop {
            let n = file.read(&mut buffer).at(&path)?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            len += n as u64;
        }
        Ok(Some(Partial { path, file, hasher, len, layout: layout.clone(), digest: digest.clone(), _lock: lock }))
    }

    /// Bytes that are there already.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Starts over: the server does not resume, or what is there is too long.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).at(&self.path)?;
        io::Seek::rewind(&mut self.file).at(&self.path)?;
        self.hasher = Hasher::default();
        self.len = 0;
        Ok(())
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).at(&self.path)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Checks size and digest and gives the blob its name. Content that is wrong is thrown away: resuming it can never help.
    pub fn commit(self, object: &str, size: u64) -> Result<()> {
        let Partial { path, file, hasher, len, layout, digest, _lock } = self;
        let verified = if len == size {
            digest.expect(object, &hasher.finish())
        } else {
            Err(Error::DigestMismatch {
                object: object.to_string(),
                expected: format!("{size} bytes"),
                actual: format!("{len} bytes"),
            })
        };
        if let Err(error) = verified {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        file.sync_data().at(&path)?;
        let blob = layout.blob(&digest);
        fs::rename(&path, &blob).at(&blob)
    }
}

/// Whether the file at `path` has the digest; used for members of archives, which are read in place.
pub(crate) fn file_digest(reader: impl Read) -> io::Result<Digest> {
    HashingReader::new(reader).finish()
}
