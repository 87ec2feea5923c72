//! Topology spread: how many pods of a kind stand in each domain. Source: KEP-895, KEP-3022.

use crate::{
    filter::{affinity_admits, taints_admit},
    model::{Node, Pod, Spread},
    snapshot::{NodeState, Snapshot},
};
use std::collections::BTreeMap;
use value::Str;

/// Counts per constraint of one pod.
#[derive(Debug)]
pub struct Domains {
    /// In the order of the pod's constraints: pods by value of the topology key.
    counts: Vec<BTreeMap<Str, i64>>,
}

impl Domains {
    /// Counts what the pod's constraints select.
    pub fn of(pod: &Pod, snapshot: &Snapshot) -> Self {
        Domains { counts: pod.spread.iter().map(|c| count(pod, c, snapshot)).collect() }
    }

    /// Why the node breaks a hard constraint.
    pub fn reason(&self, pod: &Pod, node: &Node) -> Option<&'static str> {
        for (constraint, counts) in pod.spread.iter().zip(&self.counts).filter(|(c, _)| c.hard) {
            let Some(domain) = node.labels.label(&constraint.key) else {
                return Some("node(s) didn't match pod topology spread constraints (missing required label)");
            };
            let few = (counts.len() as i64) < constraint.min_domains;
            let least = if few { 0 } else { counts.values().min().copied().unwrap_or(0) };
            let own = i64::from(constraint.selector.matches(&pod.meta));
            let here = counts.get(domain).copied().unwrap_or(0);
            if here + own - least > constraint.max_skew {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        None
    }

    /// The load that soft constraints see on a node: less is better. `None` where the node lacks a key.
    pub fn soft_load(&self, pod: &Pod, node: &Node) -> Option<f64> {
        let mut load = 0.0;
        for (constraint, counts) in pod.spread.iter().zip(&self.counts).filter(|(c, _)| !c.hard) {
            let domain = node.labels.label(&constraint.key)?;
            // More domains, more weight: upstream multiplies by the logarithm of their number.
            let weight = (counts.len() as f64 + 2.0).ln();
            load += counts.get(domain).copied().unwrap_or(0) as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        Some(load)
    }
}

fn count(pod: &Pod, constraint: &Spread, snapshot: &Snapshot) -> BTreeMap<Str, i64> {
    let mut counts = BTreeMap::new();
    for state in snapshot.nodes.values().filter(|state| counts_here(pod, constraint, state)) {
        let Some(domain) = state.node.labels.label(&constraint.key) else { continue };
        let selected =
            |p: &Pod| !p.deleting && p.key.namespace == pod.key.namespace && constraint.selector.matches(&p.meta);
        let here = state.pods.values().filter(|p| selected(p)).count() as i64;
        *counts.entry(domain.into()).or_default() += here;
    }
    counts
}

fn counts_here(pod: &Pod, constraint: &Spread, state: &NodeState) -> bool {
    (!constraint.honor_affinity || affinity_admits(pod, state))
        && (!constraint.honor_taints || taints_admit(pod, state))
}
