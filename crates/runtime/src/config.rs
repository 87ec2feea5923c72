//! What the binary that embeds the runtime decides.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// The runtime's surroundings.
#[derive(Clone)]
pub struct Config {
    /// State: pods, their logs of start, their writable layers. On real storage: an upper directory cannot be on an overlay.
    pub root: PathBuf,
    /// The cgroup below which everything is put, as `/ferry/node-1`; `/` for the hierarchies' roots.
    pub cgroup_root: String,
    /// How this binary is started again as a shim.
    pub shim: ShimCommand,
    pub images: images::Store,
    /// Attaches sandboxes that have a network namespace of their own.
    pub network: Arc<dyn cni::Network>,
    /// Bytes of a log file before it is rotated, and how many files are kept with the current one.
    pub log_max_size: u64,
    pub log_max_files: usize,
}

/// A program and the arguments before the pod's directory: `ferry shim <pod-dir>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimCommand {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

/// This very executable, whatever has become of its path.
pub(crate) const SELF: &str = "/proc/self/exe";

impl Config {
    /// Usual values: this executable as `… shim <pod-dir>`, logs of 10 MiB, five of them.
    pub fn new(root: PathBuf, images: images::Store, network: Arc<dyn cni::Network>) -> Self {
        Self {
            root,
            cgroup_root: "/ferry".into(),
            // Not by its path: an upgrade may have put another version there.
            shim: ShimCommand { program: SELF.into(), args: vec!["shim".into()] },
            images,
            network,
            log_max_size: 10 << 20,
            log_max_files: 5,
        }
    }
}
