//! IPAddress objects: who holds which address of the Service network, for people and tools that look there (KEP-1880).
//!
//! Decided against allocating by them, as upstream does: a Service claims its address in its own transaction, so that there is
//! nothing to repair. These objects follow the Services; what somebody else made is left alone.

use base::{clock::Clock, time::Timestamp};
use client::{Client, DeleteOptions, Gvr, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use std::{net::IpAddr, sync::Arc};
use value::{Object, ObjectKey, Str, Value, value};

const ADDRESSES: Gvr = Gvr::inline("networking.k8s.io", "v1", "ipaddresses");
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// The index of Services by their addresses.
const HELD: &str = "cluster-ips";

struct Addresses {
    client: Client,
    services: Cache,
    addresses: Cache,
}

/// Runs the controller until its caches end.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<Str> = Queue::default();
    let (services, addresses) = (caches.kind(&kinds::SERVICES), caches.kind(&ADDRESSES));
    services.index(HELD, |service| held(&service.tree()));
    services.subscribe(&queue, |event| {
        let states = [event.old, event.new].into_iter().flatten();
        states.flat_map(|service: &Arc<Object>| held(&service.tree())).collect::<Vec<_>>()
    });
    addresses.subscribe(&queue, |event| Some(event.key.name.clone()));
    services.wait_synced().await;
    addresses.wait_synced().await;
    let controller = Addresses { client: caches.client().clone(), services, addresses };
    control::run(Arc::new(controller), queue, 1, clock).await;
}

/// The addresses of a Service.
fn held(service: &Value) -> Vec<Str> {
    let all = service.items_at(&["spec", "clusterIPs"]).iter().filter_map(Value::as_str);
    all.filter(|ip| ip.parse::<IpAddr>().is_ok()).map(Str::from).collect()
}

#[derive(Debug, PartialEq)]
enum Change {
    Create(Value),
    /// It names somebody else, and what it says cannot be changed: it is made anew.
    Replace(Str),
    /// Its Service is gone.
    Delete(Str),
}

/// What an address lacks, given the Service that holds it.
fn plan(address: &str, holder: Option<(&str, &str)>, present: Option<&Value>) -> Option<Change> {
    let own = |object: &Value| object.str_at(&["metadata", "labels", MANAGED_BY]) == MANAGER;
    let uid = |object: &Value| Str::from(object.str_at(&["metadata", "uid"]));
    match (holder, present) {
        (None, Some(present)) => own(present).then(|| Change::Delete(uid(present))),
        (None, None) => None,
        (Some((namespace, name)), Some(present)) => {
            let parent = present.at(&["spec", "parentRef"]);
            let same = parent.str_at(&["namespace"]) == namespace && parent.str_at(&["name"]) == name;
            (!same && own(present)).then(|| Change::Replace(uid(present)))
        }
        (Some((namespace, name)), None) => Some(Change::Create(value!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {"name": address, "labels": {
                FAMILY: if address.contains(':') { "IPv6" } else { "IPv4" }, MANAGED_BY: MANAGER,
            }},
            "spec": {"parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": name}},
        }))),
    }
}

impl Reconciler for Addresses {
    type Key = Str;
    type Plan = Change;

    fn name(&self) -> &'static str {
        "service-addresses"
    }

    fn plan(&self, address: &Str, _now: Timestamp) -> Option<Change> {
        let service = self.services.by_index(HELD, address).pop();
        let holder = service.as_ref().map(|service| (service.key.namespace.as_str(), service.key.name.as_str()));
        let present = self.addresses.get(&ObjectKey::cluster(address.clone())).filter(|o| !o.meta.deleting);
        plan(address, holder, present.map(|object| object.value()).as_ref())
    }

    async fn execute(&self, address: &Str, change: Change) -> Result<Outcome, client::Error> {
        let api = self.client.api(&ADDRESSES);
        let done = match &change {
            Change::Create(object) => api.create(object).await.map(|_| ()),
            Change::Delete(uid) | Change::Replace(uid) => api.delete(address, &DeleteOptions::uid(uid.as_str())).await,
        };
        match done {
            // The cache will say so.
            Err(error) if error.is_already_exists() || error.is_not_found() || error.is_conflict() => Ok(Outcome::Done),
            other => other.map(|()| Outcome::Done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_follows_its_service() {
        let Some(Change::Create(made)) = plan("10.96.0.9", Some(("shop", "web")), None) else { panic!("nothing made") };
        assert_eq!(made.name(), "10.96.0.9");
        assert_eq!(made.str_at(&["metadata", "labels", FAMILY]), "IPv4");
        let mut present = made;
        present.set(&["metadata", "uid"], "u");
        assert_eq!(plan("10.96.0.9", Some(("shop", "web")), Some(&present)), None);
        assert_eq!(plan("10.96.0.9", Some(("shop", "api")), Some(&present)), Some(Change::Replace("u".into())));
        assert_eq!(plan("10.96.0.9", None, Some(&present)), Some(Change::Delete("u".into())));
        present.remove(&["metadata", "labels"]);
        assert_eq!(plan("10.96.0.9", None, Some(&present)), None);
        let six = plan("fd00::9", Some(("shop", "web")), None);
        assert!(matches!(six, Some(Change::Create(v)) if v.str_at(&["metadata", "labels", FAMILY]) == "IPv6"));
    }
}
