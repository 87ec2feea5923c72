//! Nodes with what runs on them: the picture that a decision is made from.

use crate::model::{Amounts, Node, Pod, add};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use value::{ObjectKey, Str};

/// One node and its load.
#[derive(Debug, Clone)]
pub struct NodeState {
    pub node: Arc<Node>,
    /// Pods that hold something here, bound or about to be.
    pub pods: BTreeMap<ObjectKey, Arc<Pod>>,
    pub requested: Amounts,
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
                self.nodes.insert(name.clone(), NodeState { node, pods: BTreeMap::new(), requested: Amounts::new() });
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
                add(&mut state.requested, &pod.requests);
                self.places.insert(pod.key.clone(), pod.node.clone());
                state.pods.insert(pod.key.clone(), pod);
            }
            None => drop(self.homeless.insert(pod.key.clone(), pod)),
        }
    }

    /// A pod went.
    pub fn remove_pod(&mut self, key: &ObjectKey) {
        self.homeless.remove(key);
        let Some(node) = self.places.remove(key) else { return };
        let Some(state) = self.nodes.get_mut(&node) else { return };
        if let Some(pod) = state.pods.remove(key) {
            for (name, n) in &pod.requests {
                if let Some(total) = state.requested.get_mut(name) {
                    *total -= n;
                }
            }
        }
    }
}

impl NodeState {
    /// How much of a resource is asked for here.
    pub fn requested(&self, resource: &str) -> i64 {
        self.requested.get(resource).copied().unwrap_or(0)
    }
    /// How much of a resource the node has to give.
    pub fn allocatable(&self, resource: &str) -> i64 {
        self.node.allocatable.get(resource).copied().unwrap_or(0)
    }
}
