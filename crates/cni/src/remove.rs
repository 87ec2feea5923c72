//! Taking the built-in network down: links, rules, and the host's settings as they were before.
//!
//! The settings that routing needs are the host's own. What they were is written down before they are changed for the first
//! time; in a machine that has a network of its own nobody ever asks for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use netlink::error::allow_missing;
use netlink::nft::{Batch, Nft};
use netlink::{Route, sysctl};

use crate::error::kernel;
use crate::{Error, Result, tables};

const FILE: &str = "settings.json";

/// Settings of the whole host, and what they have to be for pods.
const SETTINGS: [(&str, &str); 2] = [
    ("net/ipv4/ip_forward", "1"),
    // A packet to a neighbour goes out where it came in; pods need not be told of a shorter way, there is none.
    ("net/ipv4/conf/all/send_redirects", "0"),
];

/// Makes the settings, keeping what they were.
pub(crate) fn set(state_dir: &Path) -> Result<()> {
    let path = state_dir.join(FILE);
    let state = |source| Error::State { path: path.clone(), source };
    if !path.exists() {
        let mut before = BTreeMap::new();
        for (name, _) in SETTINGS {
            before.insert(name, sysctl::read(name).map_err(kernel(name))?.unwrap_or_default());
        }
        let temporary = path.with_extension("tmp");
        let text = serde_json::to_vec(&before).map_err(|e| state(e.into()))?;
        fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path)).map_err(state)?;
    }
    SETTINGS.iter().try_for_each(|(name, value)| sysctl::write(name, value).map_err(kernel(*name)))
}

/// Removes what [`crate::Builtin`] made in the calling thread's network namespace: every link of a pod, the bridge and the
/// rules; and puts the settings back. Attachments on disk are forgotten. Success where there is nothing.
pub fn remove(state_dir: &Path, bridge: &str) -> Result<()> {
    let mut links = Route::open().map_err(kernel(bridge))?;
    let all = links.links().map_err(kernel(bridge))?;
    if let Some(found) = all.iter().find(|l| l.name == bridge) {
        for port in all.iter().filter(|l| l.master == Some(found.index)) {
            // Its other end, in the pod, goes with it.
            allow_missing(links.delete_link(&port.name)).map_err(kernel(&port.name))?;
        }
        allow_missing(links.delete_link(bridge)).map_err(kernel(bridge))?;
    }
    let mut nft = Nft::open().map_err(kernel("nftables"))?;
    if nft.has_table(&tables::table()).map_err(kernel("pod rules"))? {
        let mut batch = Batch::new();
        batch.delete_table(&tables::table());
        nft.commit(batch).map_err(kernel("pod rules"))?;
    }
    let path = state_dir.join(FILE);
    let state = |source| Error::State { path: path.clone(), source };
    match fs::read(&path) {
        Ok(text) => {
            let before: BTreeMap<String, String> = serde_json::from_slice(&text).map_err(|e| state(e.into()))?;
            for (name, value) in before.iter().filter(|(name, _)| SETTINGS.iter().any(|(own, _)| own == name)) {
                sysctl::write_if_present(name, value).map_err(kernel(name))?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(state(error)),
    }
    match fs::remove_dir_all(state_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(state(error)),
        _ => Ok(()),
    }
}
