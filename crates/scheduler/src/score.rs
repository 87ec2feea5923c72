//! Scoring: which of the nodes that can take a pod takes it best. Weights are upstream's defaults.

use crate::{
    model::Pod,
    snapshot::{ASSUMED, NodeState, Snapshot, thought},
    spread::Domains,
};
use value::Str;

const MAX: f64 = 100.0;

/// Nodes with their scores, best first; equal ones in an order that depends on the pod's uid, so that not all go to the
/// first.
pub fn rank(pod: &Pod, feasible: &[Str], snapshot: &Snapshot, domains: &Domains) -> Vec<(Str, f64)> {
    let states: Vec<&NodeState> = feasible.iter().filter_map(|name| snapshot.nodes.get(name)).collect();
    let mut totals = vec![0.0; states.len()];
    let mut add = |weight: f64, scores: Vec<f64>| {
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += weight * score;
        }
    };
    add(1.0, states.iter().map(|s| least_allocated(pod, s)).collect());
    add(1.0, states.iter().map(|s| balanced(pod, s)).collect());
    add(1.0, states.iter().map(|s| image_locality(pod, s)).collect());
    add(3.0, less_is_better(states.iter().map(|s| Some(soft_taints(pod, s))).collect()));
    add(2.0, more_is_better(states.iter().map(|s| preferred(pod, s)).collect()));
    add(2.0, less_is_better(states.iter().map(|s| spread_load(pod, s, domains)).collect()));
    let mut ranked: Vec<(Str, f64)> = states.iter().map(|s| s.node.name.clone()).zip(totals).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| mix(&pod.uid, &a.0).cmp(&mix(&pod.uid, &b.0))));
    ranked
}

fn mix(uid: &str, name: &str) -> u32 {
    uid.bytes().chain(name.bytes()).fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// The share of a resource that is used.
fn share(state: &NodeState, resource: &str, used: i64) -> Option<f64> {
    let capacity = state.allocatable(resource);
    (capacity > 0).then(|| (used as f64 / capacity as f64).min(1.0))
}

fn least_allocated(pod: &Pod, state: &NodeState) -> f64 {
    let own = thought(pod);
    let shares = ASSUMED.iter().enumerate().map(|(i, (name, _))| share(state, name, state.thought[i] + own[i]));
    shares.map(|share| share.map_or(0.0, |s| (1.0 - s) * MAX)).sum::<f64>() / ASSUMED.len() as f64
}

/// Half the range, up when the pod makes the shares of cpu and memory more alike, down when less.
fn balanced(pod: &Pod, state: &NodeState) -> f64 {
    let evenness = |pod: Option<&Pod>| {
        let own = |name: &str| pod.and_then(|pod| pod.requests.get(name)).copied().unwrap_or(0);
        let shares: Vec<f64> =
            ASSUMED.iter().filter_map(|(name, _)| share(state, name, state.requested(name) + own(name))).collect();
        match shares.as_slice() {
            [a, b] => (1.0 - (a - b).abs() / 2.0) * MAX,
            _ => MAX,
        }
    };
    MAX / 2.0 + (MAX / 2.0 + evenness(Some(pod)) - evenness(None)) / 2.0
}

/// Between 23 MB and 1000 MB of the pod's images that the node already holds.
fn image_locality(pod: &Pod, state: &NodeState) -> f64 {
    const MB: f64 = 1024.0 * 1024.0;
    let held: i64 = pod.images.iter().filter_map(|i| state.node.images.get(i)).sum();
    let (low, high) = (23.0 * MB, 1000.0 * MB * pod.images.len().max(1) as f64);
    ((held as f64).clamp(low, high) - low) / (high - low) * MAX
}

fn soft_taints(pod: &Pod, state: &NodeState) -> f64 {
    state.node.taints.iter().filter(|t| t.effect == "PreferNoSchedule" && !pod.tolerates(t)).count() as f64
}

fn preferred(pod: &Pod, state: &NodeState) -> f64 {
    pod.preferred.iter().filter(|(_, term)| term.matches(&state.node)).map(|(weight, _)| *weight as f64).sum()
}

/// The pod's own soft constraints; without any, how many pods of the same owner stand here.
fn spread_load(pod: &Pod, state: &NodeState, domains: &Domains) -> Option<f64> {
    if pod.spread.iter().any(|c| !c.hard) {
        return domains.soft_load(pod, &state.node);
    }
    if !pod.spread.is_empty() || pod.owner.is_empty() {
        return Some(0.0);
    }
    Some(state.of_owner(&pod.owner) as f64)
}

fn more_is_better(scores: Vec<f64>) -> Vec<f64> {
    let most = scores.iter().copied().fold(0.0, f64::max);
    scores.into_iter().map(|s| if most > 0.0 { s / most * MAX } else { 0.0 }).collect()
}

/// Scaled so that the least load scores highest; `None` scores nothing.
fn less_is_better(loads: Vec<Option<f64>>) -> Vec<f64> {
    let most = loads.iter().flatten().copied().fold(0.0, f64::max);
    loads.into_iter().map(|load| load.map_or(0.0, |l| if most > 0.0 { (most - l) / most * MAX } else { MAX })).collect()
}
