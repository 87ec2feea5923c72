//! One command per file.

pub mod completions;
pub mod down;
pub mod image;
pub mod server;
pub mod up;
pub mod version;

use crate::{Outcome, layout::Layout};
use client::{Remote, kubeconfig};
use netlink::Cidr;
use std::{net::Ipv4Addr, path::PathBuf};

/// Everything that makes machines, mounts or networks needs root.
fn need_root(command: &str) -> Outcome {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(format!("`ferry {command}` needs root: it makes namespaces, cgroups and network links"))
}

/// Writes the file that was asked for, or merges the context `ferry` into the user's own.
fn write_kubeconfig(layout: &Layout, asked: Option<PathBuf>, remote: &Remote) -> Result<PathBuf, String> {
    let path = match asked {
        Some(path) => {
            kubeconfig::write_file(&path, &kubeconfig::document("ferry", remote)).map_err(|e| e.to_string())?;
            path
        }
        None => {
            let path = kubeconfig::default_path().map_err(|e| e.to_string())?;
            kubeconfig::merge_file(&path, "ferry", remote).map_err(|e| e.to_string())?;
            std::fs::write(layout.context(), path.as_os_str().as_encoded_bytes())
                .map_err(|e| format!("{}: {e}", layout.context().display()))?;
            path
        }
    };
    Ok(path)
}

/// The usual range of all pods.
fn default_pods() -> Cidr {
    Cidr { address: Ipv4Addr::new(10, 244, 0, 0).into(), prefix: 16 }
}

/// Waits for Ctrl-C or SIGTERM.
async fn asked_to_stop() -> Outcome {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}
