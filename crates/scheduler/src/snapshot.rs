//! Nodes with what runs on them: the picture that a decision is made from.

use crate::model::{Amounts, Node, Pod, add};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use value::{ObjectKey, Str};

/// What a pod without requests is thought to use: 100 milli-cores and 200 MB. Source: upstream's non-zero defaults.
pub const ASSUMED: [(&str, i64); 2] = [("cpu", 100), ("memory", 200 * 1024 * 1024)];

/// What a pod is thought to use, for each resource of [`ASSUMED`].
pub fn thought(pod: &Pod) -> [i64; ASSUMED.len()] {
    ASSUMED.map(|(name, assumed)| pod.requests.get(name).copied().filter(|n| *n > 0).unwrap_or(assumed))
}

/// One node and its load. Sums follow each pod that comes or goes: a decision asks for them once per node.
#[derive(Debug, Clone)]
pub struct NodeState {
    pub node: Arc<Node>,
    /// Pods that hold something here, bound or about to be.
    pub pods: BTreeMap<ObjectKey, Arc<Pod>>,
    pub requested: Amounts,
    /// What they are thought to use, for each resource of [`ASSUMED`].
    pub thought: [i64; ASSUMED.len()],
    /// How many of them that are not being deleted belong to an owner.
    owners: HashMap<Str, usize>,
}

/// All nodes, by name. Kept up to date by the events of pods and nodes; a decision reads it, and assumes its outcome in
/// it before the binding is written.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub nodes: BTreeMap<Str, NodeState>,
    /// Where each counted pod stands.
    places: HashMap<ObjectKey, Str>,
    /// Pods on nodes that are not known (yet).
    homeless: HashMap<ObjectKey, Arc<Pod>>,
}

impl Snapshot {
    /// A node came or changed.
    pub fn set_node(&mut self, node: Node) {
        let (name, node) = (node.name.clone(), Arc::new(node));
        match self.nodes.get_mut(&name) {
            Some(state) => state.node = node,
            None => {
                self.nodes.insert(name.clone(), NodeState::new(node));
                let here: Vec<_> = self.homeless.values().filter(|p| p.node == name).cloned().collect();
                for pod in here {
                    self.set_pod(pod);
                }
            }
        }
    }

    /// A node went.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(state) = self.nodes.remove(name) {
            for (key, pod) in state.pods {
                self.places.remove(&key);
                self.homeless.insert(key, pod);
            }
        }
    }

    /// A pod with a node came or changed; one without a node, or a finished one, holds nothing.
    pub fn set_pod(&mut self, pod: Arc<Pod>) {
        self.remove_pod(&pod.key);
        if pod.node.is_empty() || pod.finished {
            return;
        }
        match self.nodes.get_mut(&pod.node) {
            Some(state) => {
                self.places.insert(pod.key.clone(), pod.node.clone());
                state.put(pod);
            }
            None => drop(self.homeless.insert(pod.key.clone(), pod)),
        }
    }

    /// A pod went.
    pub fn remove_pod(&mut self, key: &ObjectKey) {
        self.homeless.remove(key);
        let Some(node) = self.places.remove(key) else { return };
        let Some(state) = self.nodes.get_mut(&node) else { return };
        state.take(key);
    }
}

impl NodeState {
    fn new(node: Arc<Node>) -> Self {
        let (pods, requested, owners) = (BTreeMap::new(), Amounts::new(), HashMap::new());
        NodeState { node, pods, requested, thought: [0; ASSUMED.len()], owners }
    }
    fn put(&mut self, pod: Arc<Pod>) {
        add(&mut self.requested, &pod.requests);
        self.thought.iter_mut().zip(thought(&pod)).for_each(|(sum, n)| *sum += n);
        if !pod.owner.is_empty() && !pod.deleting {
            *self.owners.entry(pod.owner.clone()).or_default() += 1;
        }
        self.pods.insert(pod.key.clone(), pod);
    }
    fn take(&mut self, key: &ObjectKey) {
        let Some(pod) = self.pods.remove(key) else { return };
        for (name, n) in &pod.requests {
            if let Some(total) = self.requested.get_mut(name) {
                *total -= n;
            }
        }
        self.thought.iter_mut().zip(thought(&pod)).for_each(|(sum, n)| *sum -= n);
        if let Some(count) = self.owners.get_mut(&pod.owner).filter(|_| !pod.deleting) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&pod.owner);
            }
        }
    }
    /// How many pods here belong to an owner, those that are being deleted not counted.
    pub fn of_owner(&self, owner: &str) -> usize {
        self.owners.get(owner).copied().unwrap_or(0)
    }
    /// How much of a resource is asked for here.
    pub fn requested(&self, resource: &str) -> i64 {
        self.requested.get(resource).copied().unwrap_or(0)
    }
    /// How much of a resource the node has to give.
    pub fn allocatable(&self, resource: &str) -> i64 {
        self.node.allocatable.get(resource).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::Object;

    fn pod(name: &str, cpu: &str, owner: &str, deleting: bool) -> Arc<Pod> {
        let requests =
            if cpu.is_empty() { String::new() } else { format!(r#""resources":{{"requests":{{"cpu":"{cpu}"}}}},"#) };
        let gone = if deleting { r#","deletionTimestamp":"2026-01-01T00:00:00Z""# } else { "" };
        let owners = format!(
            r#","ownerReferences":[{{"apiVersion":"v1","kind":"R","name":"r","uid":"{owner}","controller":true}}]"#
        );
        let json = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"ns","uid":"{name}"{gone}{owners}}},"spec":{{"nodeName":"n","containers":[{{{requests}"name":"c"}}]}}}}"#
        );
        Arc::new(Pod::read(&Object::from_json(json.into()).unwrap()))
    }

    /// The sums as they would be found by looking at every pod.
    fn check(snapshot: &Snapshot, pods: &[&Arc<Pod>]) {
        let state = &snapshot.nodes["n"];
        let mut sums = [0; ASSUMED.len()];
        pods.iter().for_each(|pod| sums.iter_mut().zip(thought(pod)).for_each(|(sum, n)| *sum += n));
        assert_eq!(state.thought, sums);
        assert_eq!(state.requested("cpu"), pods.iter().filter_map(|p| p.requests.get("cpu")).sum::<i64>());
        for owner in ["a", "b"] {
            let count = pods.iter().filter(|p| p.owner == owner && !p.deleting).count();
            assert_eq!(state.of_owner(owner), count, "{owner}");
        }
    }

    #[test]
    fn sums_follow_the_pods() {
        let mut snapshot = Snapshot::default();
        let node = r#"{"metadata":{"name":"n"},"status":{"allocatable":{"cpu":"4"}}}"#;
        snapshot.set_node(Node::read(&Object::from_json(node.into()).unwrap()));
        let (one, two, three) = (pod("1", "500m", "a", false), pod("2", "", "a", false), pod("3", "1", "b", false));
        for pod in [&one, &two, &three] {
            snapshot.set_pod(pod.clone());
        }
        check(&snapshot, &[&one, &two, &three]);
        let (bigger, leaving) = (pod("1", "2", "a", false), pod("3", "1", "b", true));
        snapshot.set_pod(bigger.clone());
        snapshot.set_pod(leaving.clone());
        check(&snapshot, &[&bigger, &two, &leaving]);
        snapshot.remove_pod(&two.key);
        snapshot.remove_pod(&two.key);
        snapshot.remove_pod(&leaving.key);
        check(&snapshot, &[&bigger]);
    }
}
