//! The network that Ferry brings along: one bridge per node as the pods' gateway, a veth pair per pod, addresses from the
//! node's range.
//!
//! A pod has its address alone (a /32) and reaches everything, its neighbours on the bridge too, through the gateway. So every packet
//! is routed by the node: services, host ports and policies see it in one place, whether or not the kernel shows bridged
//! frames to netfilter (`bridge-nf-call-iptables`), and no setting of the node's has to change for that. The price is one
//! routing step between pods of a node. Decided against: a /24 inside the pod, which makes neighbours bypass the tables.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netlink::error::{allow_exists, allow_missing};
use netlink::nft::{Batch, Nft};
use netlink::{Cidr, LinkChange, Mac, Namespace, Route, RouteEntry, Veth, sysctl};

use crate::error::kernel;
use crate::ipam::{Record, Records};
use crate::{AddRequest, AddResult, Attachment, Error, IpConfig, Network, Result, RouteConfig, remove, tables};

/// The usual name of a node's bridge.
pub const BRIDGE: &str = "ferry-pods";

/// How the node's network is laid out.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where attachments are kept; survives the daemon.
    pub state_dir: PathBuf,
    /// The bridge's name.
    pub bridge: String,
    /// The node's `spec.podCIDR`. Its first address is the gateway.
    pub pod_cidr: Cidr,
    /// What pods reach with their own address: the cluster's pod range and the node network.
    pub unmasqueraded: Vec<Cidr>,
    /// Largest packet of a pod's interface.
    pub mtu: u32,
}

impl Config {
    /// The usual layout.
    pub fn new(state_dir: impl Into<PathBuf>, pod_cidr: Cidr, unmasqueraded: Vec<Cidr>) -> Config {
        Config { state_dir: state_dir.into(), bridge: BRIDGE.into(), pod_cidr, unmasqueraded, mtu: 1500 }
    }
}

/// The built-in network of one node.
pub struct Builtin {
    config: Config,
    gateway: Ipv4Addr,
    /// The kernel shows bridged frames to netfilter, which then may send a translated one back out of the port it came from.
    hairpin: bool,
    records: Mutex<Records>,
    links: Mutex<Route>,
    nft: Mutex<Nft>,
}

impl Builtin {
    /// Opens the node's network in the calling thread's network namespace: makes the bridge if absent, and puts the rules
    /// of the attachments on disk in place of whatever was there, in one transaction.
    pub fn open(config: Config) -> Result<Builtin> {
        let Some(IpAddr::V4(gateway)) = config.pod_cidr.nth(1).filter(|_| config.pod_cidr.prefix <= 30) else {
            let reason = "a pod range is an IPv4 prefix of at most 30 bits".to_string();
            return Err(Error::Invalid { object: config.pod_cidr.to_string(), reason });
        };
        let records = Records::open(&config.state_dir.join("attachments"), config.pod_cidr)?;
        let mut links = Route::open().map_err(kernel(&config.bridge))?;
        bridge(&mut links, &config, gateway).map_err(kernel(format!("bridge {}", config.bridge)))?;
        remove::set(&config.state_dir)?;
        let mut nft = Nft::open().map_err(kernel("nftables"))?;
        nft.commit(tables::replace(config.pod_cidr, &config.unmasqueraded, records.all()))
            .map_err(kernel("pod rules"))?;
        let hairpin = sysctl::read("net/bridge/bridge-nf-call-iptables").map_err(kernel("pod rules"))?;
        Ok(Builtin {
            gateway,
            hairpin: hairpin.is_some_and(|v| v == "1"),
            records: Mutex::new(records),
            links: Mutex::new(links),
            nft: Mutex::new(nft),
            config,
        })
    }

    /// The attachments on disk, whether or not their containers live.
    pub fn attachments(&self) -> Vec<Attachment> {
        lock(&self.records).all().map(|record| record.attachment.clone()).collect()
    }

    /// The address that an attachment has.
    pub fn address(&self, attachment: &Attachment) -> Option<IpAddr> {
        lock(&self.records).get(attachment).map(|record| record.address.into())
    }

    fn attach(&self, request: &AddRequest, record: &Record) -> netlink::Result<()> {
        let namespace = Namespace::open(&request.netns)?;
        let port = host_interface(&request.attachment);
        let ifname = request.attachment.ifname.as_str();
        {
            let mut links = lock(&self.links);
            // What an attempt before a crash left; its other end goes with it.
            allow_missing(links.delete_link(&port))?;
            let near = Veth { name: &port, mac: None, namespace: None };
            let far = Veth { name: ifname, mac: Some(mac(record.address)), namespace: Some(namespace.fd()) };
            links.add_veth(near, far, self.config.mtu)?;
            let master = Some(links.index(&self.config.bridge)?);
            links.set_link(&port, LinkChange { master, up: Some(true), ..LinkChange::default() })?;
            if self.hairpin {
                links.set_hairpin(&port, true)?;
            }
        }
        let mut inner = namespace.route()?;
        inner.up("lo")?;
        inner.add_address(ifname, Cidr::host(record.address))?;
        inner.up(ifname)?;
        let link = inner.index(ifname)?;
        inner.replace_route(&RouteEntry::on_link(Cidr::host(self.gateway), link))?;
        inner.replace_route(&RouteEntry::via(default_route(), self.gateway.into()))
    }

    fn detach(&self, record: &Record) -> Result<()> {
        let object = || format!("sandbox {}", record.attachment.container_id);
        if !record.ports.is_empty() {
            let mut batch = Batch::new();
            tables::remove(&mut batch, record);
            allow_missing(lock(&self.nft).commit(batch)).map_err(kernel(object()))?;
        }
        let port = host_interface(&record.attachment);
        allow_missing(lock(&self.links).delete_link(&port)).map_err(kernel(object()))?;
        lock(&self.records).release(&record.attachment)
    }

    fn result(&self, record: &Record) -> AddResult {
        let gateway = Some(IpAddr::V4(self.gateway));
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        AddResult {
            ips: vec![IpConfig { address: record.address.into(), prefix: 32, gateway }],
            routes: vec![
                RouteConfig { destination: self.gateway.into(), prefix: 32, gateway: None },
                RouteConfig { destination: any, prefix: 0, gateway },
            ],
            mac: mac(record.address).to_string(),
            host_interface: Some(host_interface(&record.attachment)),
        }
    }
}

impl Network for Builtin {
    fn add(&self, request: &AddRequest) -> Result<AddResult> {
        validate(&request.attachment)?;
        let object = || format!("pod {}/{}", request.pod.namespace, request.pod.name);
        let (record, new) = lock(&self.records).reserve(&request.attachment, &request.pod, &request.port_mappings)?;
        let attached = self.attach(request, &record).and_then(|()| {
            let mut batch = Batch::new();
            if new {
                tables::add(&mut batch, &record);
            }
            lock(&self.nft).commit(batch)
        });
        match attached {
            Ok(()) => {
                tracing::debug!(pod = object(), address = %record.address, "attached");
                Ok(self.result(&record))
            }
            Err(source) => {
                if let Err(error) = self.detach(&record) {
                    tracing::warn!(pod = object(), %error, "could not undo a failed attachment");
                }
                Err(Error::Kernel { object: object(), source })
            }
        }
    }

    fn del(&self, request: &Attachment) -> Result<()> {
        let record = lock(&self.records).get(request).cloned();
        match record {
            Some(record) => self.detach(&record),
            None => Ok(()),
        }
    }

    fn check(&self, request: &AddRequest) -> Result<()> {
        let object = format!("pod {}/{}", request.pod.namespace, request.pod.name);
        let missing = |reason: String| Error::NotAttached { object: object.clone(), reason };
        let record = lock(&self.records).get(&request.attachment).cloned();
        let record = record.ok_or_else(|| missing("no address is reserved".into()))?;
        let read = || -> netlink::Result<Option<String>> {
            let port = host_interface(&request.attachment);
            let mut links = lock(&self.links);
            let bridge = links.index(&self.config.bridge)?;
            match links.link(&port)? {
                Some(link) if link.up && link.master == Some(bridge) => {}
                _ => return Ok(Some(format!("interface {port} is not a port of {}", self.config.bridge))),
            }
            let mut inner = Namespace::open(&request.netns)?.route()?;
            let Some(link) = inner.link(&request.attachment.ifname)? else {
                return Ok(Some(format!("interface {} is gone", request.attachment.ifname)));
            };
            let wanted = Cidr::host(record.address);
            if !inner.addresses()?.iter().any(|a| a.link == link.index && a.cidr == wanted) {
                return Ok(Some(format!("address {} is gone", record.address)));
            }
            let default = inner.routes()?.into_iter().find(|r| r.destination == default_route());
            let gone = default.and_then(|r| r.gateway) != Some(self.gateway.into());
            Ok(gone.then(|| "the default route is gone".into()))
        };
        match read().map_err(kernel(&object))? {
            None => Ok(()),
            Some(reason) => Err(missing(reason)),
        }
    }

    fn gc(&self, live: &[Attachment]) -> Result<()> {
        let dead: Vec<_> =
            lock(&self.records).all().filter(|record| !live.contains(&record.attachment)).cloned().collect();
        for record in dead {
            tracing::info!(sandbox = record.attachment.container_id, "releasing the address of a sandbox that is gone");
            self.detach(&record)?;
        }
        Ok(())
    }

    fn status(&self) -> Result<()> {
        lock(&self.links).index(&self.config.bridge).map(|_| ()).map_err(kernel("the node's pod network"))
    }
}

/// The bridge with the gateway's address, and the settings that routing between its ports needs.
fn bridge(links: &mut Route, config: &Config, gateway: Ipv4Addr) -> netlink::Result<()> {
    let name = config.bridge.as_str();
    // A fixed hardware address: pods keep it in their neighbour tables.
    allow_exists(links.add_bridge(name, Some(mac(gateway))))?;
    let mtu = Some(config.mtu);
    links.set_link(name, LinkChange { mac: Some(mac(gateway)), mtu, up: Some(true), ..LinkChange::default() })?;
    let own = Cidr { address: gateway.into(), prefix: config.pod_cidr.prefix };
    let index = links.index(name)?;
    for stale in links.addresses()?.into_iter().filter(|a| a.link == index && a.cidr.address.is_ipv4() && a.cidr != own)
    {
        // The node was given another range.
        allow_missing(links.delete_address(name, stale.cidr))?;
    }
    links.add_address(name, own)?;
    sysctl::write(&format!("net/ipv4/conf/{name}/send_redirects"), "0")
}

/// The hardware address follows from the address, so that whoever gets an address again fits old neighbour entries.
fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([0x0a, 0x58, a, b, c, d])
}

/// A name of 15 bytes from the attachment's identity (FNV-1a, 40 bits).
fn host_interface(attachment: &Attachment) -> String {
    let bytes = attachment.container_id.bytes().chain([0]).chain(attachment.ifname.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("ferry{:010x}", (hash ^ hash >> 40) & 0xff_ffff_ffff)
}

fn validate(attachment: &Attachment) -> Result<()> {
    let id = attachment.container_id.as_str();
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if id.is_empty() || id.len() > 128 || id.starts_with('.') || !id.bytes().all(valid) {
        return Err(Error::Invalid { object: format!("sandbox {id:?}"), reason: "malformed id".into() });
    }
    let name = attachment.ifname.as_str();
    if name.is_empty() || name.len() > 15 || name.starts_with('.') || !name.bytes().all(valid) {
        return Err(Error::Invalid { object: format!("interface {name:?}"), reason: "malformed name".into() });
    }
    Ok(())
}

fn default_route() -> Cidr {
    Cidr { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 }
}

/// What the locks guard stays consistent through a panic: each step of a change stands for itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
