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
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What nodes are made of.
const MAKES: &str = "it makes namespaces, cgroups and network links";

/// Fails for others than root, and says what `command` needs root for.
fn need_root(command: &str, why: &str) -> Outcome {
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => Err(format!("`ferry {command}` needs root: {why}")),
    }
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

/// Ctrl-C and SIGTERM. Listened for from the beginning: one that comes while a cluster starts must stop it in order, too.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|e| format!("signals: {e}"));
        Ok(Stop { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }
    /// Resolves at the first.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
