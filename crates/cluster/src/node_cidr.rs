//! A range of pod addresses for every node. Source: `--allocate-node-cidrs`, `RangeAllocator`.

use base::{clock::Clock, time::Timestamp};
use client::{Client, Patch, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, btree_map::Entry},
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
    /// Which part that is; `None` for what is none of its parts.
    fn index(self, cidr: &str) -> Option<u32> {
        let address: Ipv4Addr = cidr.strip_suffix(&format!("/{}", self.node_prefix))?.parse().ok()?;
        let n = u32::from(address).checked_sub(u32::from(self.base))? >> (32 - self.node_prefix);
        self.part(n).filter(|part| part == cidr).map(|_| n)
    }
}

/// Who has which part: what nodes say, and what was given away and cannot be seen yet. Followed node by node: a look at all
/// of them for each would be a look at millions in a large cluster.
#[derive(Debug, Default)]
struct Parts {
    of: BTreeMap<Str, u32>,
    /// How many have it: somebody may have written the same into two nodes.
    taken: BTreeMap<u32, usize>,
}

impl Parts {
    fn hold(&mut self, name: &Str, n: u32) {
        if self.of.get(name) != Some(&n) {
            self.release(name);
            self.of.insert(name.clone(), n);
            *self.taken.entry(n).or_default() += 1;
        }
    }
    fn release(&mut self, name: &Str) {
        let Some(n) = self.of.remove(name) else { return };
        if let Entry::Occupied(mut holders) = self.taken.entry(n) {
            *holders.get_mut() -= 1;
            if *holders.get() == 0 {
                holders.remove();
            }
        }
    }
    /// A part for a node that has none: the one that it was given, or the first that nobody has.
    fn give(&mut self, network: PodNetwork, name: &Str) -> Option<String> {
        let free = || (0..).zip(self.taken.keys()).find_map(|(n, taken)| (n != *taken).then_some(n));
        let n = self.of.get(name).copied().or_else(free).or_else(|| u32::try_from(self.taken.len()).ok())?;
        let part = network.part(n)?;
        self.hold(name, n);
        Some(part)
    }
}

struct NodeCidr {
    client: Client,
    nodes: Cache,
    network: PodNetwork,
    /// `None` until all nodes have been looked at.
    parts: Mutex<Option<Parts>>,
}

impl NodeCidr {
    /// What all nodes say.
    fn look(&self) -> Parts {
        let mut parts = Parts::default();
        for node in self.nodes.list() {
            if let Some(n) = cidr(&node).and_then(|cidr| self.network.index(&cidr)) {
                parts.hold(&node.key.name, n);
            }
        }
        parts
    }
}

/// Runs the controller until its cache ends.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>, network: PodNetwork) {
    let queue: Queue<ObjectKey> = Queue::default();
    let nodes = caches.kind(&kinds::NODES);
    nodes.subscribe_keys(&queue);
    nodes.wait_synced().await;
    let client = caches.client().clone();
    control::run(Arc::new(NodeCidr { client, nodes, network, parts: Mutex::default() }), queue, 1, clock).await;
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
        let mut parts = self.parts.lock();
        let parts = parts.get_or_insert_with(|| self.look());
        let Some(node) = self.nodes.get(key) else {
            parts.release(&key.name);
            return None;
        };
        if let Some(cidr) = cidr(&node) {
            match self.network.index(&cidr) {
                Some(n) => parts.hold(&key.name, n),
                None => parts.release(&key.name),
            }
            return None;
        }
        let part = parts.give(self.network, &key.name);
        if part.is_none() {
            tracing::error!(node = %key.name, "no pod addresses are left for this node");
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
        for (cidr, index) in [
            ("10.244.3.0/24", Some(3)),
            ("10.244.0.0/24", Some(0)),
            ("10.244.4.0/24", None),
            ("10.244.1.1/24", None),
            ("10.244.1.0/25", None),
            ("10.0.0.0/24", None),
            ("x", None),
        ] {
            assert_eq!(network.index(cidr), index, "{cidr}");
        }
        let mut parts = Parts::default();
        parts.hold(&"a".into(), 0);
        parts.hold(&"twin".into(), 0);
        parts.hold(&"c".into(), 2);
        let mut give = |name: &str| parts.give(network, &name.into());
        assert_eq!(give("b").as_deref(), Some("10.244.1.0/24"));
        // Again, as long as nobody has seen it.
        assert_eq!(give("b").as_deref(), Some("10.244.1.0/24"));
        assert_eq!((give("d").as_deref(), give("e")), (Some("10.244.3.0/24"), None));
        parts.release(&"a".into());
        assert_eq!(parts.give(network, &"e".into()), None);
        parts.release(&"twin".into());
        parts.release(&"nobody".into());
        assert_eq!(parts.give(network, &"e".into()).as_deref(), Some("10.244.0.0/24"));
    }
}
