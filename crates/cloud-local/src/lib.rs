//! Machines as isolated hosts on this machine. A machine is a network, a mount, a UTS and a cgroup namespace pinned by bind mounts, a
//! cgroup subtree, a directory of real storage, and an address on the cluster's bridge. It has no process of its own and no pid
//! namespace (whose init would take every pod with it): what runs in it enters it, and what it pinned outlives whoever made it.
//!
//! The bridge belongs to the host and carries the host's address, so that node addresses are reachable from here, and machines
//! reach the control plane. The only setting of the host that changes is `ip_forward`; [`down`] puts it back.
//!
//! Everything is found again from what lies in the directory and from names that follow from it, so that [`down`] works after
//! `kill -9`, and two clusters in two directories do not touch each other.
//!
//! Decided against: a supervisor process per machine (one more thing to lose), network namespaces under `/run/netns` (shared with
//! other programs), a bridge inside a namespace of its own (the host would need a leg into it all the same).

mod cgroup;
mod down;
mod enter;
mod error;
mod machine;
mod mounts;
mod network;
mod ranges;
pub mod routes;

pub use down::down;
pub use enter::{Entered, enter};
pub use error::{Error, Result};
pub use machine::{Bind, Machine, Spec};
pub use routes::NodeRoute;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use netlink::{Cidr, Namespace, Route};

use error::io_at;
use network::Network;

/// Where the machines of a cluster live, and how they are joined.
#[derive(Debug, Clone)]
pub struct Config {
    /// State, pins and storage. On a real file system, not an overlay: containers put overlays on it.
    pub dir: PathBuf,
    /// Addresses of the machines; the first is the host's. Chosen so that it collides with nothing if absent, and kept.
    pub node_network: Option<Cidr>,
    /// Lets machines and pods reach what the host reaches: turns `ip_forward` on, and masquerades the node network.
    pub forward: bool,
    /// Where the former `ip_forward` and every cluster's ranges are remembered; common to all clusters of a host and empty after a
    /// reboot, as that setting is.
    pub host_state: PathBuf,
}

impl Config {
    /// The usual layout below a data directory.
    pub fn new(dir: impl Into<PathBuf>) -> Config {
        Config { dir: dir.into(), node_network: None, forward: true, host_state: "/run/ferry".into() }
    }
}

/// The machines of one cluster. Belongs to the network namespace of the thread that opened it.
pub struct Machines {
    config: Config,
    tag: String,
    network: Network,
    host: Namespace,
    /// Held while a machine is given its address.
    naming: Mutex<()>,
}

impl Machines {
    /// Opens the directory and makes the bridge, or finds both as an earlier process left them. Needs root.
    pub fn open(config: Config) -> Result<Machines> {
        fs::create_dir_all(config.dir.join("machines")).map_err(io_at(&config.dir))?;
        let config = Config { dir: config.dir.canonicalize().map_err(io_at(&config.dir))?, ..config };
        mounts::check_storage(&config.dir)?;
        let tag = tag(&config.dir);
        let network = network::open(&config, &tag)?;
        let host = Namespace::current().map_err(error::kernel("host"))?;
        Ok(Machines { config, tag, network, host, naming: Mutex::new(()) })
    }

    /// The host's address on the bridge: where machines and pods find a control plane that listens on the host.
    pub fn gateway(&self) -> Ipv4Addr {
        self.network.gateway
    }

    /// The addresses of all machines and the host.
    pub fn node_network(&self) -> Cidr {
        self.network.range
    }

    /// Makes a machine, or brings an existing one up again (after a reboot nothing of it but its directory is left). A machine
    /// keeps its address.
    pub fn create(&self, name: &str, spec: &Spec) -> Result<Machine> {
        machine::create(self, name, spec)
    }

    /// The machines that exist, by name.
    pub fn list(&self) -> Result<Vec<Machine>> {
        machine::list(&self.config.dir)
    }

    /// The machine of that name.
    pub fn get(&self, name: &str) -> Result<Option<Machine>> {
        Ok(self.list()?.into_iter().find(|machine| machine.name == name))
    }

    /// Ends everything that runs in the machine and removes it. Its storage goes too with `purge`.
    pub fn delete(&self, name: &str, purge: bool) -> Result<()> {
        down::machine(&self.config.dir, &self.tag, name, &mut self.route()?, purge)
    }

    /// Brings the host's routes, and those of every machine that is up, to the pods of these nodes. Agents may do the same for their
    /// own machine ([`routes::apply`]); the outcome is one.
    pub fn set_routes(&self, nodes: &[NodeRoute]) -> Result<()> {
        routes::apply(&mut self.route()?, self.network.range, None, nodes)?;
        for machine in self.list()?.iter().filter(|machine| machine.is_up()) {
            let mut route = machine.namespace()?.route().map_err(error::kernel(&machine.name))?;
            routes::apply(&mut route, self.network.range, Some(&machine.name), nodes)?;
        }
        Ok(())
    }

    pub(crate) fn route(&self) -> Result<Route> {
        self.host.route().map_err(error::kernel("host"))
    }

    /// The lowest address that no machine has. The host has the first; the last is the broadcast address.
    fn free_address(&self) -> Result<Ipv4Addr> {
        let taken: BTreeSet<IpAddr> = self.list()?.iter().map(|machine| machine.address.address).collect();
        let range = self.network.range;
        (2..)
            .map_while(|n| range.nth(n + 1).and(range.nth(n)))
            .find(|address| !taken.contains(address))
            .and_then(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .ok_or_else(|| Error::Invalid {
                object: range.to_string(),
                reason: "no address is left for a machine".into(),
            })
    }
}

/// Tells the clusters of a host apart in the names of links, tables and cgroups: 20 bits of the directory's hash.
pub(crate) fn tag(dir: &Path) -> String {
    let hash = dir
        .to_string_lossy()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{:05x}", (hash ^ hash >> 20 ^ hash >> 40) & 0xf_ffff)
}

/// The bridge, and the prefix of every link of the cluster on the host.
pub(crate) fn bridge_name(tag: &str) -> String {
    format!("ferry{tag}")
}
