//! Where a cluster keeps what, below its data directory.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Where the cgroups of a node's pods are, below the root that the agent sees.
pub const POD_CGROUP: &str = "/pods";

#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    /// Keys that are kept elsewhere.
    pki: Option<PathBuf>,
}

impl Layout {
    pub fn new(root: &Path) -> Self {
        Layout { root: root.to_path_buf(), pki: None }
    }
    /// The same with the cluster's keys in a directory of their own.
    pub fn with_pki(self, pki: Option<PathBuf>) -> Self {
        Layout { pki, ..self }
    }
    /// Makes the directory, for root's eyes only.
    pub fn create(&self) -> Result<(), String> {
        use std::os::unix::fs::DirBuilderExt;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
        made.map_err(|e| format!("{}: {e}", self.root.display()))
    }
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }
    pub fn pki(&self) -> PathBuf {
        self.pki.clone().unwrap_or_else(|| self.root.join("pki"))
    }
    pub fn ca(&self) -> PathBuf {
        self.pki().join("ca.crt")
    }
    pub fn audit_log(&self) -> PathBuf {
        self.root.join("audit.log")
    }
    pub fn server_log(&self) -> PathBuf {
        self.root.join("server.log")
    }
    pub fn machines(&self) -> PathBuf {
        self.root.join("cloud")
    }
    /// The range of all pods, once chosen.
    pub fn pod_network(&self) -> PathBuf {
        self.root.join("pod-network")
    }
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }
    /// The process that runs the cluster writes its id here.
    pub fn pid(&self) -> PathBuf {
        self.root.join("ferry.pid")
    }
    /// Removes what Ferry keeps here, and the directory if nothing else is in it. Returns false where something is:
    /// `--data-dir` may have named somebody's own directory.
    pub fn purge(&self) -> Result<bool, String> {
        let own = [
            self.store(),
            self.pki(),
            self.machines(),
            self.images(),
            self.pod_network(),
            self.server_log(),
            self.audit_log(),
            self.context(),
            self.pid(),
        ];
        // An agent's, where the directory is one's.
        let of_node = ["runtime", "network", "pods", "logs", "seccomp"].map(|name| self.root.join(name));
        let own = own.into_iter().chain(of_node);
        for path in own {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(format!("{}: {e}", path.display())),
                _ => {}
            }
        }
        match fs::remove_dir(&self.root) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(e) => Err(format!("{}: {e}", self.root.display())),
        }
    }
    /// Which context of which kubeconfig points here: `down` removes it.
    pub fn context(&self) -> PathBuf {
        self.root.join("kubeconfig-path")
    }
}
