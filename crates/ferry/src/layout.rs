//! Where a cluster keeps what, below its data directory.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Where the cgroups of a node's pods are, below the root that the agent sees.
pub const POD_CGROUP: &str = "/pods";

#[derive(Debug, Clone)]
pub struct Layout(PathBuf);

impl Layout {
    pub fn new(root: &Path) -> Self {
        Layout(root.to_path_buf())
    }
    /// Makes the directory, for root's eyes only.
    pub fn create(&self) -> Result<(), String> {
        use std::os::unix::fs::DirBuilderExt;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|e| format!("{}: {e}", self.0.display()))
    }
    pub fn root(&self) -> &Path {
        &self.0
    }
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }
    pub fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }
    pub fn ca(&self) -> PathBuf {
        self.pki().join("ca.crt")
    }
    pub fn audit_log(&self) -> PathBuf {
        self.0.join("audit.log")
    }
    pub fn server_log(&self) -> PathBuf {
        self.0.join("server.log")
    }
    pub fn machines(&self) -> PathBuf {
        self.0.join("cloud")
    }
    /// The range of all pods, once chosen.
    pub fn pod_network(&self) -> PathBuf {
        self.0.join("pod-network")
    }
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }
    /// The process that runs the cluster writes its id here.
    pub fn pid(&self) -> PathBuf {
        self.0.join("ferry.pid")
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
        let of_node = ["runtime", "network", "pods", "logs", "seccomp"].map(|name| self.0.join(name));
        let own = own.into_iter().chain(of_node);
        for path in own {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(format!("{}: {e}", path.display())),
                _ => {}
            }
        }
        match fs::remove_dir(&self.0) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(e) => Err(format!("{}: {e}", self.0.display())),
        }
    }
    /// Which context of which kubeconfig points here: `down` removes it.
    pub fn context(&self) -> PathBuf {
        self.0.join("kubeconfig-path")
    }
}
