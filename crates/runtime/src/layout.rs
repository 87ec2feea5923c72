//! The directory of a pod: which file is what.
//!
//! ```text
//! <root>/pods/<sandbox id>/pod.json        what was asked for, written first
//!                         /shim.json       what the shim has to make of it
//!                         /shim.sock       the shim's socket
//!                         /shim.log        the shim's own complaints
//!                         /journal         changes of state, with sequence numbers
//!                         /acked           the last acknowledged sequence, eight bytes
//!                         /network.json    the pod's addresses: its presence says that the sandbox got ready
//!                         /stopped         its presence says that the sandbox was stopped on purpose
//!                         /netns           the network namespace, bind-mounted
//!                         /shm             the pod's /dev/shm
//!                         /hosts, /hostname, /resolv.conf
//!                         /containers/<id>/container.json, /upper, /work, /root
//! ```

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Paths of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDir(pub PathBuf);

impl PodDir {
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    pub fn config(&self) -> PathBuf {
        self.file("pod.json")
    }
    pub fn shim_config(&self) -> PathBuf {
        self.file("shim.json")
    }
    pub fn socket(&self) -> PathBuf {
        self.file("shim.sock")
    }
    pub fn journal(&self) -> PathBuf {
        self.file("journal")
    }
    pub fn network(&self) -> PathBuf {
        self.file("network.json")
    }
    pub fn stopped(&self) -> PathBuf {
        self.file("stopped")
    }
    pub fn netns(&self) -> PathBuf {
        self.file("netns")
    }
    pub fn shm(&self) -> PathBuf {
        self.file("shm")
    }
    pub fn container(&self, id: &str) -> PathBuf {
        self.file("containers").join(id)
    }

    /// The last acknowledged sequence; zero before the first.
    pub fn acknowledged(&self) -> u64 {
        std::fs::read(self.file("acked")).ok().and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    /// Keeps an acknowledgement. Eight bytes in one write: whole or not there when the process dies.
    pub fn acknowledge(&self, sequence: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(self.file("acked"))?;
        file.write_all_at(&sequence.to_le_bytes(), 0)
    }
}

/// Reads a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let text = std::fs::read(path)?;
    serde_json::from_slice(&text).map_err(|e| io::Error::other(format!("{}: {e}", path.display())))
}

/// Writes a JSON file so that it is whole or absent.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}
