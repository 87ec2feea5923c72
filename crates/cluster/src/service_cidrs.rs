//! ServiceCIDRs: each has a finalizer and says that it is ready, and one that is to go stays while it is the only network of
//! an address that is in use (KEP-1880). Source: upstream's `service-cidr-controller`, whose sentences these are.
//!
//! There are few of them and what becomes of one may depend on all others, so all are looked at together. Held addresses are
//! those of Services, beside the IPAddress objects, which follow them.

use base::{
    clock::Clock,
    time::{self, SignedDuration, Timestamp},
};
use client::{Client, Gvr, Patch, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use std::{net::IpAddr, sync::Arc, time::Duration};
use value::{Object, Str, Value, value};

const NETWORKS: Gvr = Gvr::inline("networking.k8s.io", "v1", "servicecidrs");
const ADDRESSES: Gvr = Gvr::inline("networking.k8s.io", "v1", "ipaddresses");
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const FINALIZERS: [&str; 2] = ["metadata", "finalizers"];
/// So long a network that goes stays at least: no server gives addresses of it by then.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

struct Networks {
    client: Client,
    networks: Cache,
    addresses: Cache,
    services: Cache,
}

/// Runs the controller until its caches end.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<()> = Queue::default();
    let networks = caches.kind(&NETWORKS);
    let (addresses, services) = (caches.kind(&ADDRESSES), caches.kind(&kinds::SERVICES));
    networks.subscribe(&queue, |_| Some(()));
    for users in [&addresses, &services] {
        // Only what goes may set a network free.
        users.subscribe(&queue, |event| event.new.is_none().then_some(()));
        users.wait_synced().await;
    }
    networks.wait_synced().await;
    let controller = Networks { client: caches.client().clone(), networks, addresses, services };
    control::run(Arc::new(controller), queue, 1, clock).await;
}

#[derive(Debug, PartialEq)]
enum Change {
    Protect(Value),
    Release(Value),
    Say(Value),
}

/// What is to be done now, each with the name of its network, and when to look again.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    changes: Vec<(Str, Change)>,
    again: Option<Duration>,
}

/// What all networks lack; `held` are the addresses in use.
fn plan(networks: &[Arc<Value>], held: impl Fn() -> Vec<IpAddr>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    for network in networks {
        let name = Str::from(network.name());
        let finalizers = network.items_at(&FINALIZERS);
        let is_protected = finalizers.iter().any(|f| f.as_str() == Some(FINALIZER));
        let Some(since) = network.at(&["metadata", "deletionTimestamp"]).as_str() else {
            if !is_protected {
                let mut finalizers = finalizers.to_vec();
                finalizers.push(FINALIZER.into());
                plan.changes.push((name.clone(), Change::Protect(patch(network, finalizers))));
            }
            let condition = ("True", "", "Kubernetes Service CIDR is ready");
            plan.changes.extend(said(network, condition, now).map(|patch| (name, Change::Say(patch))));
            continue;
        };
        if !is_protected {
            continue;
        }
        if is_needed(network, networks, &held) {
            let why = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
            let condition = ("False", "Terminating", why);
            plan.changes.extend(said(network, condition, now).map(|patch| (name, Change::Say(patch))));
            continue;
        }
        let end = since.parse::<Timestamp>().ok().and_then(|since| since.checked_add(GRACE).ok());
        let left = end.map_or(SignedDuration::ZERO, |end| end.duration_since(now));
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => plan.again = Some(plan.again.map_or(left, |again| again.min(left))),
            _ => {
                let others = finalizers.iter().filter(|f| f.as_str() != Some(FINALIZER)).cloned().collect();
                plan.changes.push((name, Change::Release(patch(network, others))));
            }
        }
    }
    plan
}

fn patch(network: &Value, finalizers: Vec<Value>) -> Value {
    let revision = network.str_at(&["metadata", "resourceVersion"]);
    let mut patch = value!({"metadata": {"resourceVersion": revision}});
    patch.set(&FINALIZERS, Value::Array(finalizers));
    patch
}

/// The status with the condition; `None` where it says so already.
fn said(network: &Value, (status, reason, message): (&str, &str, &str), now: Timestamp) -> Option<Value> {
    let conditions = network.items_at(&["status", "conditions"]);
    let (own, others): (Vec<_>, Vec<_>) = conditions.iter().cloned().partition(|c| c.str_at(&["type"]) == "Ready");
    let same =
        |c: &Value| (c.str_at(&["status"]), c.str_at(&["reason"]), c.str_at(&["message"])) == (status, reason, message);
    if own.iter().any(same) {
        return None;
    }
    let ready = value!({"type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": (time::seconds(now))});
    let conditions: Vec<Value> = others.into_iter().chain([ready]).collect();
    Some(value!({"status": {"conditions": (Value::Array(conditions))}}))
}

/// Whether addresses that are in use would have no network any more.
fn is_needed(network: &Value, all: &[Arc<Value>], held: impl Fn() -> Vec<IpAddr>) -> bool {
    let stays =
        |other: &&Arc<Value>| other.name() != network.name() && other.at(&["metadata", "deletionTimestamp"]).is_null();
    let others: Vec<Prefix> = all.iter().filter(stays).flat_map(|other| prefixes(other)).collect();
    let own = prefixes(network);
    if own.iter().all(|own| others.iter().any(|other| other.holds(own.address) && other.length <= own.length)) {
        return false;
    }
    let only_here = |ip: &IpAddr| own.iter().any(|own| own.holds(*ip)) && !others.iter().any(|other| other.holds(*ip));
    held().iter().any(only_here)
}

#[derive(Debug, Clone, Copy)]
struct Prefix {
    address: IpAddr,
    length: u32,
}

impl Prefix {
    fn holds(self, ip: IpAddr) -> bool {
        let host = |bits: u32| bits.saturating_sub(self.length);
        match (self.address, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                (u32::from(own) ^ u32::from(ip)).checked_shr(host(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                (u128::from(own) ^ u128::from(ip)).checked_shr(host(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

fn prefixes(network: &Value) -> Vec<Prefix> {
    let texts = network.items_at(&["spec", "cidrs"]).iter().filter_map(Value::as_str);
    let parsed = texts.filter_map(|text| {
        let (address, length) = text.split_once('/')?;
        Some(Prefix { address: address.parse().ok()?, length: length.parse().ok()? })
    });
    parsed.collect()
}

impl Networks {
    fn held(&self) -> Vec<IpAddr> {
        let of = |service: &Arc<Object>| -> Vec<IpAddr> {
            let tree = service.tree();
            let all = tree.items_at(&["spec", "clusterIPs"]).iter().filter_map(|ip| ip.as_str()?.parse().ok());
            all.collect()
        };
        let own = |object: &Arc<Object>| {
            let managed = object.meta.label("ipaddress.kubernetes.io/managed-by") == Some("ipallocator.k8s.io");
            managed.then(|| object.name().parse().ok()).flatten()
        };
        let addresses = self.addresses.list();
        let services = self.services.list();
        services.iter().flat_map(of).chain(addresses.iter().filter_map(own)).collect()
    }
}

impl Reconciler for Networks {
    type Key = ();
    type Plan = Plan;

    fn name(&self) -> &'static str {
        "service-cidr-controller"
    }

    fn plan(&self, (): &(), now: Timestamp) -> Option<Plan> {
        let networks: Vec<_> = self.networks.list().iter().map(|network| Arc::new(network.value())).collect();
        Some(plan(&networks, || self.held(), now)).filter(|plan| *plan != Plan::default())
    }

    async fn execute(&self, (): &(), plan: Plan) -> Result<Outcome, client::Error> {
        let api = self.client.api(&NETWORKS);
        for (name, change) in plan.changes {
            let done = match change {
                Change::Say(patch) => api.patch_status(&name, &Patch::Merge(patch)).await,
                Change::Protect(patch) | Change::Release(patch) => api.patch(&name, &Patch::Merge(patch)).await,
            };
            match done {
                // The cache will say what there is now.
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        Ok(plan.again.map_or(Outcome::Done, Outcome::After))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, cidr: &str) -> Value {
        value!({"metadata": {"name": name, "resourceVersion": "7", "finalizers": [FINALIZER]}, "spec": {"cidrs": [cidr]},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready"}]}})
    }
    fn going(name: &str, cidr: &str, since: i64) -> Value {
        let mut network = network(name, cidr);
        network.set(&["metadata", "deletionTimestamp"], time::seconds(at(since)));
        network
    }
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
    /// What is done at second 100, in short.
    fn told(networks: &[Value], held: &[&str]) -> String {
        let networks: Vec<_> = networks.iter().cloned().map(Arc::new).collect();
        let plan = plan(&networks, || held.iter().map(|ip| ip.parse().unwrap()).collect(), at(100));
        let told = plan.changes.iter().map(|(name, change)| match change {
            Change::Protect(patch) => format!("{name} protected {}", patch.at(&FINALIZERS)),
            Change::Release(patch) => format!("{name} released {}", patch.at(&FINALIZERS)),
            Change::Say(patch) => {
                format!("{name} {}", patch.items_at(&["status", "conditions"])[0].str_at(&["status"]))
            }
        });
        let again = plan.again.map(|again| format!("again in {}", again.as_secs()));
        told.chain(again).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn networks_are_ready_and_protected() {
        let new = value!({"metadata": {"name": "a", "finalizers": ["x"]}, "spec": {"cidrs": ["10.0.0.0/24"]}});
        assert_eq!(told(&[new], &[]), "a protected [\"x\",\"networking.k8s.io/service-cidr-finalizer\"], a True");
        assert_eq!(told(&[network("a", "10.0.0.0/24")], &["10.0.0.1"]), "");
    }

    #[test]
    fn a_network_goes_when_nobody_needs_it() {
        let own = || network("own", "10.96.0.0/16");
        for (networks, held, want) in [
            (vec![going("a", "10.0.0.0/24", 80)], vec![], "a released []"),
            (vec![going("a", "10.0.0.0/24", 95)], vec![], "again in 5"),
            (vec![going("a", "10.0.0.0/24", 80)], vec!["10.0.1.1"], "a released []"),
            (vec![going("a", "10.0.0.0/24", 80)], vec!["10.0.0.1"], "a False"),
            (vec![going("a", "10.96.7.0/24", 80), own()], vec!["10.96.7.1"], "a released []"),
            (vec![going("a", "10.0.0.0/24", 80), network("b", "10.0.0.0/25")], vec!["10.0.0.1"], "a released []"),
            (vec![going("a", "10.0.0.0/24", 80), network("b", "10.0.0.0/25")], vec!["10.0.0.200"], "a False"),
            // Of two that go together neither holds the other's addresses.
            (vec![going("a", "10.0.0.0/24", 80), going("b", "10.0.0.0/24", 80)], vec!["10.0.0.1"], "a False, b False"),
            (vec![going("a", "fd00::/64", 80), own()], vec!["fd00::1", "10.96.0.1"], "a False"),
        ] {
            assert_eq!(told(&networks, &held), want, "{held:?}");
        }
    }
}
