//! Where a cluster keeps what, below its data directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

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
    /// Which context of which kubeconfig points here: `down` removes it.
    pub fn context(&self) -> PathBuf {
        self.0.join("kubeconfig-path")
    }
}
