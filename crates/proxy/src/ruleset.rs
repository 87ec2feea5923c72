//! The desired content of the tables, as a value that prints, compares and subtracts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::input::Protocol;

/// What a client connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    pub protocol: Protocol,
    pub address: Ipv4Addr,
    pub port: u16,
}

/// Where a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub address: Ipv4Addr,
    pub port: u16,
}

/// A number for a group of endpoints, stable from plan to plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// Which rules a frontend's connections take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A cluster address: masqueraded if the client is no pod of this node.
    ClusterIp,
    /// A node port, external or load balancer address: always masqueraded, so that the answer comes back through here.
    External,
    /// The same with `externalTrafficPolicy: Local`: clients keep their address and reach only endpoints of this node;
    /// pods of this node and the node itself reach all.
    ExternalLocal,
}

/// What happens to connections that nobody can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No endpoint at all: the client is told.
    Reject,
    /// Endpoints, but none that this node may use: silence, so that a load balancer tries another node.
    Drop,
}

/// Which of a service's endpoints a group holds, and which lookup leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Cluster,
    InternalLocal,
    ExternalLocal,
}

/// How an endpoint is chosen. Each distinct one is a chain, because the kernel takes the modulus as a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pick {
    /// The group was found by the external-local lookup.
    pub external_local: bool,
    pub count: u32,
    /// A client stays with its endpoint for this long after its last connection.
    pub affinity: Option<Duration>,
}

/// A group of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `namespace/service:port`.
    pub name: String,
    pub scope: Scope,
    pub pick: Pick,
}

/// Everything in the table that depends on services. The invariant that [`crate::plan`] keeps: every frontend of `services` has its
/// group in `frontends` or `local_frontends`, and a group's endpoints are numbered from 0 to `pick.count` - 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    pub services: BTreeMap<Frontend, Via>,
    pub refused: BTreeMap<Frontend, Refusal>,
    pub frontends: BTreeMap<Frontend, GroupId>,
    pub local_frontends: BTreeMap<Frontend, GroupId>,
    pub groups: BTreeMap<GroupId, Group>,
    pub endpoints: BTreeMap<(GroupId, u32), Target>,
    /// What is sent to these and matches no port is rejected.
    pub cluster_ips: BTreeSet<Ipv4Addr>,
    /// Endpoints that may reach themselves through a service.
    pub hairpin: BTreeSet<Ipv4Addr>,
}

/// Entries to take out and to put in. A changed entry is in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta<K, V> {
    pub removed: Vec<K>,
    pub added: Vec<(K, V)>,
}

/// The difference of two rulesets, in the order of their fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub new_chains: BTreeSet<Pick>,
    pub old_chains: BTreeSet<Pick>,
    pub services: Delta<Frontend, Via>,
    pub refused: Delta<Frontend, Refusal>,
    pub frontends: Delta<Frontend, GroupId>,
    pub local_frontends: Delta<Frontend, GroupId>,
    pub groups: Delta<GroupId, Pick>,
    pub endpoints: Delta<(GroupId, u32), Target>,
    pub cluster_ips: Delta<Ipv4Addr, ()>,
    pub hairpin: Delta<Ipv4Addr, ()>,
}

impl Changes {
    /// Elements that a transaction touches.
    pub fn len(&self) -> usize {
        fn both<K, V>(delta: &Delta<K, V>) -> usize {
            delta.removed.len() + delta.added.len()
        }
        both(&self.services)
            + both(&self.refused)
            + both(&self.frontends)
            + both(&self.local_frontends)
            + both(&self.groups)
            + both(&self.endpoints)
            + both(&self.cluster_ips)
            + both(&self.hairpin)
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Ruleset {
    /// What turns `self` into `next`.
    pub fn diff(&self, next: &Ruleset) -> Changes {
        let picks = |ruleset: &Ruleset| ruleset.groups.values().map(|g| g.pick).collect::<BTreeSet<_>>();
        let how = |ruleset: &Ruleset| ruleset.groups.iter().map(|(id, g)| (*id, g.pick)).collect::<BTreeMap<_, _>>();
        let set = |set: &BTreeSet<Ipv4Addr>| set.iter().map(|ip| (*ip, ())).collect::<BTreeMap<_, _>>();
        let (before, after) = (picks(self), picks(next));
        Changes {
            new_chains: after.difference(&before).copied().collect(),
            old_chains: before.difference(&after).copied().collect(),
            services: delta(&self.services, &next.services),
            refused: delta(&self.refused, &next.refused),
            frontends: delta(&self.frontends, &next.frontends),
            local_frontends: delta(&self.local_frontends, &next.local_frontends),
            groups: delta(&how(self), &how(next)),
            endpoints: delta(&self.endpoints, &next.endpoints),
            cluster_ips: delta(&set(&self.cluster_ips), &set(&next.cluster_ips)),
            hairpin: delta(&set(&self.hairpin), &set(&next.hairpin)),
        }
    }

    /// The endpoints of a group.
    pub fn targets(&self, group: GroupId) -> impl Iterator<Item = Target> {
        self.endpoints.range((group, 0)..=(group, u32::MAX)).map(|(_, target)| *target)
    }

    /// Every endpoint that a connection to this frontend may end at.
    pub fn reachable(&self, frontend: &Frontend) -> BTreeSet<Target> {
        let groups = [self.frontends.get(frontend), self.local_frontends.get(frontend)];
        groups.into_iter().flatten().flat_map(|group| self.targets(*group)).collect()
    }
}

fn delta<K: Ord + Copy, V: PartialEq + Copy>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Delta<K, V> {
    Delta {
        removed: old.iter().filter(|(k, v)| new.get(k) != Some(v)).map(|(k, _)| *k).collect(),
        added: new.iter().filter(|(k, v)| old.get(k) != Some(v)).map(|(k, v)| (*k, *v)).collect(),
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", self.protocol, self.address, self.port)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}

/// One line per frontend and per group, with names instead of numbers.
impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = |id: &GroupId| match self.groups.get(id) {
            Some(group) => format!("{} {:?}", group.name, group.scope),
            None => "missing group".to_string(),
        };
        for (frontend, via) in &self.services {
            write!(f, "{frontend} {via:?}")?;
            if let Some(group) = self.frontends.get(frontend) {
                write!(f, " -> {}", label(group))?;
            }
            if let Some(group) = self.local_frontends.get(frontend) {
                write!(f, " | {}", label(group))?;
            }
            writeln!(f)?;
        }
        for (frontend, refusal) in &self.refused {
            writeln!(f, "{frontend} {refusal:?}")?;
        }
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| (&group.name, group.scope));
        for (id, group) in groups {
            let targets: Vec<_> = self.targets(*id).map(|t| t.to_string()).collect();
            write!(f, "{}: {}", label(id), targets.join(" "))?;
            match group.pick.affinity {
                Some(timeout) => writeln!(f, " (by client for {} s)", timeout.as_secs())?,
                None => writeln!(f)?,
            }
        }
        let join = |set: &BTreeSet<Ipv4Addr>| set.iter().map(|ip| format!(" {ip}")).collect::<String>();
        writeln!(f, "cluster:{}", join(&self.cluster_ips))?;
        writeln!(f, "hairpin:{}", join(&self.hairpin))
    }
}
