//! The node's network: it can be opened only once the node has a range of pod addresses, and pods wait for it.

use client::{Client, kinds};
use cni::{AddRequest, AddResult, Attachment, Builtin, Config, Network};
use control::{Caches, Selection};
use netlink::{Cidr, Route};
use parking_lot::{Condvar, Mutex};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::watch;

/// Where every node's DNS answers; the address that node-local caches use elsewhere too.
pub const DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);

/// How long a detachment waits for the network before its caller has to try again.
const PATIENCE: Duration = Duration::from_secs(20);

/// A network that is not there yet, and then is.
#[derive(Default)]
pub struct Later {
    network: OnceLock<Builtin>,
    set: Mutex<bool>,
    changed: Condvar,
}

impl Later {
    pub fn set(&self, network: Builtin) {
        let _ = self.network.set(network);
        *self.set.lock() = true;
        self.changed.notify_all();
    }
    fn get(&self) -> cni::Result<&Builtin> {
        self.network.get().ok_or_else(|| cni::Error::Invalid {
            object: "network".into(),
            reason: "the node has no range of pod addresses yet".into(),
        })
    }
}

impl Network for Later {
    fn add(&self, request: &AddRequest) -> cni::Result<AddResult> {
        self.get()?.add(request)
    }
    fn del(&self, request: &Attachment) -> cni::Result<()> {
        // The pod may have been attached by an earlier process: to say "done" here would leave its link and its address.
        self.changed.wait_while_for(&mut self.set.lock(), |set| !*set, PATIENCE);
        self.get()?.del(request)
    }
    fn check(&self, request: &AddRequest) -> cni::Result<()> {
        self.get()?.check(request)
    }
    fn gc(&self, live: &[Attachment]) -> cni::Result<()> {
        // Asked for again once the network is there.
        self.network.get().map_or(Ok(()), |network| network.gc(live))
    }
    fn status(&self) -> cni::Result<()> {
        self.get()?.status()
    }
}

/// Waits until the node's object says which addresses its pods get.
pub async fn pod_range(client: &Client, node: &str) -> Cidr {
    let caches = Caches::new(client.clone());
    let cache = caches.select(&kinds::NODES, Selection::fields(format!("metadata.name={node}")));
    let (sender, mut range) = watch::channel(None);
    cache.on_event(move |event| {
        let found = event.new.and_then(|o| o.value().str_at(&["spec", "podCIDR"]).parse::<Cidr>().ok());
        if found.is_some() {
            sender.send_replace(found);
        }
    });
    match range.wait_for(Option::is_some).await.map(|r| *r) {
        Ok(Some(range)) => range,
        // The cache ends only with this process.
        _ => std::future::pending().await,
    }
}

/// Makes the bridge for that range and puts the DNS address on it. Blocking.
pub fn open(state: PathBuf, range: Cidr, unmasqueraded: Vec<Cidr>) -> Result<Builtin, String> {
    let config = Config::new(state, range, unmasqueraded);
    let bridge = config.bridge.clone();
    let network = Builtin::open(config).map_err(|e| e.to_string())?;
    let mut route = Route::open().map_err(|e| e.to_string())?;
    let address = Cidr::host(DNS);
    let has = |a: &netlink::Address| a.cidr.address == IpAddr::V4(DNS);
    if !route.addresses().map_err(|e| e.to_string())?.iter().any(has) {
        route.add_address(&bridge, address).map_err(|e| e.to_string())?;
    }
    Ok(network)
}

/// One network shared by the runtime and by whoever opens it.
pub fn later() -> Arc<Later> {
    Arc::default()
}
