//! The zone: what each service's names mean.
//!
//! A value behind nested `Arc`s: a change to one service copies its namespace's map and the map of namespaces, not ten thousand
//! entries, while queries go on reading the version they began with.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// One version of all names of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Lower case, without a dot at either end: `cluster.local`.
    pub domain: String,
    namespaces: HashMap<String, Arc<HashMap<String, Arc<Entry>>>>,
}

/// The names of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Of the service's own name: cluster addresses, or those of all endpoints if it is headless.
    pub addresses: Vec<IpAddr>,
    /// Addresses follow endpoints, so they may be remembered for a shorter time only.
    pub headless: bool,
    /// The name that it stands for, instead of addresses.
    pub alias: Option<String>,
    /// Endpoints of a headless service by the first label of their name.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    pub srv: Vec<Srv>,
}

/// One named port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Srv {
    pub port: String,
    pub protocol: String,
    pub number: u16,
    /// First label of the target below the service's name; `None` is the service itself.
    pub host: Option<String>,
}

impl Zone {
    /// A zone without services.
    pub fn new(domain: &str) -> Self {
        Zone { domain: domain.trim_matches('.').to_lowercase(), namespaces: HashMap::new() }
    }

    /// Sets or removes the names of one service.
    pub fn set(&mut self, namespace: &str, service: &str, entry: Option<Entry>) {
        match entry {
            Some(entry) => {
                let services = self.namespaces.entry(namespace.to_string()).or_default();
                Arc::make_mut(services).insert(service.to_string(), Arc::new(entry));
            }
            None => {
                let Some(services) = self.namespaces.get_mut(namespace) else { return };
                if services.contains_key(service) {
                    Arc::make_mut(services).remove(service);
                }
                if services.is_empty() {
                    self.namespaces.remove(namespace);
                }
            }
        }
    }

    /// The names of one service, if there is one.
    pub fn get(&self, namespace: &str, service: &str) -> Option<&Entry> {
        self.namespaces.get(namespace)?.get(service).map(|entry| &**entry)
    }

    /// Whether the namespace has any service.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// The names that an address has, for PTR. A scan: reverse queries are rare, and an index would be as large as the zone.
    pub fn names_of(&self, address: IpAddr) -> Vec<String> {
        let mut names = Vec::new();
        for (namespace, services) in &self.namespaces {
            for (service, entry) in services.iter() {
                let own = format!("{service}.{namespace}.svc.{}", self.domain);
                if !entry.headless && entry.addresses.contains(&address) {
                    names.push(own);
                    continue;
                }
                let hosts = entry.hosts.iter().filter(|(_, addresses)| addresses.contains(&address));
                names.extend(hosts.map(|(host, _)| format!("{host}.{own}")));
            }
        }
        names.sort();
        names
    }
}
