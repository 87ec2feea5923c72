//! A range of pod addresses for every node. Source: `--allocate-node-cidrs`, `RangeAllocator`.

use base::{clock::Clock, time::Timestamp};
use client::{Client, Patch, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};
use value::{Object, ObjectKey, Str, value};

/// The cluster's pod network and the length of a node's part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodNetwork {
    pub base: Ipv4Addr,
    pub prefix: u8,
    pub node_prefix: u8,
}

impl PodNetwork {
    /// The n-th part; `None` beyond the last.
    pub fn part(self, n: u32) -> Option<String> {
        let parts = 1_u32.checked_shl(u32::from(self.node_prefix - self.prefix))?;
        let address = u32::from(self.base) + (n << (32 - self.node_prefix));
        (n < parts).then(|| format!("{}/{}", Ipv4Addr::from(address), self.node_prefix))
    }
    /// The first part that is not taken.
    pub fn free(self, taken: &BTreeSet<String>) -> Option<String> {
        (0..).map_while(|n| self.part(n)).find(|part| !taken.contains(part))
    }
}

struct NodeCidr {
    client: Client,
    nodes: Cache,
    network: PodNetwork,
    /// Given away, and perhaps not visible in the cache yet.
    given: Mutex<BTreeMap<Str, String>>,
}

/// Runs the controller until its cache ends.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>, network: PodNetwork) {
    let queue: Queue<ObjectKey> = Queue::default();
    let nodes = caches.kind(&kinds::NODES);
    nodes.subscribe_keys(&queue);
    nodes.wait_synced().await;
    let client = caches.client().clone();
    control::run(Arc::new(NodeCidr { client, nodes, network, given: Mutex::default() }), queue, 1, clock).await;
}

fn cidr(node: &Object) -> Option<String> {
    Some(node.value().str_at(&["spec", "podCIDR"]).to_string()).filter(|c| !c.is_empty())
}

impl Reconciler for NodeCidr {
    type Key = ObjectKey;
    type Plan = String;

    fn name(&self) -> &'static str {
        "node-ipam"
    }

    fn plan(&self, key: &ObjectKey, _now: Timestamp) -> Option<String> {
        let Some(node) = self.nodes.get(key) else {
            self.given.lock().remove(&key.name);
            return None;
        };
        if cidr(&node).is_some() {
            return None;
        }
        let mut given = self.given.lock();
        let mut taken: BTreeSet<String> = self.nodes.list().iter().filter_map(|n| cidr(n)).collect();
        taken.extend(given.iter().filter(|(name, _)| **name != key.name).map(|(_, part)| part.clone()));
        let part = self.network.free(&taken);
        match &part {
            Some(part) => drop(given.insert(key.name.clone(), part.clone())),
            None => tracing::error!(node = %key.name, "no pod addresses are left for this node"),
        }
        part
    }

    async fn execute(&self, key: &ObjectKey, part: String) -> Result<Outcome, client::Error> {
        let patch = value!({"spec": {"podCIDR": part, "podCIDRs": [part]}});
        match self.client.api(&kinds::NODES).patch(&key.name, &Patch::Strategic(patch)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Outcome::Done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_given_in_order_and_run_out() {
        let network = PodNetwork { base: Ipv4Addr::new(10, 244, 0, 0), prefix: 22, node_prefix: 24 };
        assert_eq!(network.part(2).as_deref(), Some("10.244.2.0/24"));
        assert_eq!(network.part(4), None);
        let taken: BTreeSet<String> = ["10.244.0.0/24".into(), "10.244.2.0/24".into()].into();
        assert_eq!(network.free(&taken).as_deref(), Some("10.244.1.0/24"));
        let all = (0..4).filter_map(|n| network.part(n)).collect();
        assert_eq!(network.free(&all), None);
    }
}
