//! What one object costs, and which of a quota's resources its kind counts towards.
//!
//! Everything costs one of `count/plural.group`; pods, claims, services and device claims cost more. Source: upstream's
//! evaluators and the page "Resource Quotas" of the documentation.

use crate::{Amounts, pod};
use base::{quantity::Quantity, time::Timestamp};
use std::time::Duration;
use value::Value;

/// What a request or an object is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    pub group: &'a str,
    pub plural: &'a str,
}

/// What pods count towards, beside counts, huge pages and extended resources.
const POD: [&str; 10] = [
    "pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
const SERVICE: [&str; 3] = ["services", "services.nodeports", "services.loadbalancers"];
const CLAIM: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
/// Between the name of a storage class and the resource.
const OF_STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// After the name of a device class.
const OF_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// What an allocation of all devices counts as: as many as one claim may hold.
const ALL_DEVICES: i64 = 32;
/// Kinds whose plain name was a resource before `count/` was.
const PLAIN_COUNTS: [&str; 4] = ["configmaps", "secrets", "replicationcontrollers", "resourcequotas"];

impl Subject<'_> {
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }
    /// `count/deployments.apps`
    pub fn count(&self) -> String {
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("count/{}{dot}{}", self.plural, self.group)
    }

    /// Whether objects of this kind count towards a resource of a quota.
    pub fn counts(&self, resource: &str) -> bool {
        if resource.starts_with("count/") {
            return resource == self.count();
        }
        if self.group.is_empty() && PLAIN_COUNTS.contains(&self.plural) {
            return resource == self.plural;
        }
        match (self.group, self.plural) {
            ("", "pods") => {
                let huge = ["hugepages-", "requests.hugepages-"].iter().any(|prefix| resource.starts_with(prefix));
                POD.contains(&resource) || huge || is_extended_request(resource)
            }
            ("", "services") => SERVICE.contains(&resource),
            ("", "persistentvolumeclaims") => {
                let of_class = resource.split_once(OF_STORAGE_CLASS).map(|(_, of)| of);
                CLAIM.contains(&of_class.unwrap_or(resource))
            }
            ("resource.k8s.io", "resourceclaims") => resource.ends_with(OF_DEVICE_CLASS),
            _ => false,
        }
    }

    /// What an object costs.
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        let mut cost = Amounts::default();
        cost.set(self.count(), Quantity::from_units(1));
        match (self.group, self.plural) {
            ("", plural) if PLAIN_COUNTS.contains(&plural) => cost.set(plural, Quantity::from_units(1)),
            ("", "pods") if is_alive(object, now) => {
                of_pod(&pod::requests_with_overhead(object), &pod::limits_with_overhead(object), &mut cost);
            }
            ("", "services") => of_service(object, &mut cost),
            ("", "persistentvolumeclaims") => of_claim(object, &mut cost),
            ("resource.k8s.io", "resourceclaims") => of_devices(object, &mut cost),
            _ => {}
        }
        cost
    }

    /// Whether an update may change what the object costs; creations always do.
    pub fn update_counts(&self, subresource: &str, old: &Value, new: &Value) -> bool {
        let deadline = |pod: &Value| pod.at(&["spec", "activeDeadlineSeconds"]).as_i64().is_some();
        let allocated = |claim: &Value| claim.at(&["status", "allocatedResources"]).clone();
        match (self.group, self.plural, subresource) {
            ("", "pods", "") => deadline(old) != deadline(new),
            ("", "pods", "resize") => true,
            ("", "persistentvolumeclaims", "status") => allocated(old) != allocated(new),
            ("", "services" | "persistentvolumeclaims", "") | ("resource.k8s.io", "resourceclaims", "") => true,
            _ => false,
        }
    }

    /// `must specify limits.cpu for: app; …` where a quota on processor or memory makes every container say what it needs.
    pub fn missing(&self, restricted: &[&str], object: &Value) -> Option<String> {
        if !self.is("", "pods") || pod::has_own_resources(object) {
            return None;
        }
        let mut required: Vec<&str> = restricted.iter().copied().filter(|r| is_mandatory(r)).collect();
        required.sort_unstable();
        let lists = ["containers", "initContainers"].into_iter().flat_map(|list| object.items_at(&["spec", list]));
        let containers: Vec<(&str, Amounts)> = lists
            .map(|container| {
                let mut cost = Amounts::default();
                let of = |list: &str| Amounts::of(container.at(&["resources", list]));
                of_pod(&of("requests"), &of("limits"), &mut cost);
                (container.str_at(&["name"]), cost)
            })
            .collect();
        let told: Vec<String> = required
            .into_iter()
            .filter_map(|resource| {
                let without = containers.iter().filter(|(_, cost)| cost.get(resource).is_none());
                let mut names: Vec<&str> = without.map(|(name, _)| *name).collect();
                names.sort_unstable();
                names.dedup();
                (!names.is_empty()).then(|| format!("{resource} for: {}", names.join(",")))
            })
            .collect();
        (!told.is_empty()).then(|| format!("must specify {}", told.join("; ")))
    }
}

/// A mistake that upstream must keep: quotas on these make them mandatory.
fn is_mandatory(resource: &str) -> bool {
    let of = resource.strip_prefix("requests.").or(resource.strip_prefix("limits.")).unwrap_or(resource);
    matches!(of, "cpu" | "memory")
}

/// `requests.nvidia.com/gpu`
fn is_extended_request(resource: &str) -> bool {
    let Some(name) = resource.strip_prefix("requests.") else { return false };
    is_extended(name) || name.starts_with("deviceclass.resource.kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// A pod that has ended, or should have by now, costs nothing but its object.
fn is_alive(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod.str_at(&["status", "phase"]), "Failed" | "Succeeded") {
        return false;
    }
    let deleted = pod.str_at(&["metadata", "deletionTimestamp"]).parse::<Timestamp>().ok();
    let grace = pod.at(&["metadata", "deletionGracePeriodSeconds"]).as_i64().and_then(|s| u64::try_from(s).ok());
    match (deleted, grace) {
        (Some(deleted), Some(grace)) => !deleted.checked_add(Duration::from_secs(grace)).is_ok_and(|end| now > end),
        _ => true,
    }
}

fn of_pod(requests: &Amounts, limits: &Amounts, cost: &mut Amounts) {
    cost.set("pods", Quantity::from_units(1));
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(request) = requests.get(name) {
            cost.set(name, request);
            cost.set(format!("requests.{name}"), request);
        }
        if let Some(limit) = limits.get(name) {
            cost.set(format!("limits.{name}"), limit);
        }
    }
    for (name, request) in requests.iter() {
        let huge = name.starts_with("hugepages-");
        if huge {
            cost.set(name, request);
        }
        if huge || is_extended(name) {
            cost.set(format!("requests.{name}"), request);
        }
    }
}

fn of_service(service: &Value, cost: &mut Amounts) {
    let ports = service.items_at(&["spec", "ports"]);
    let kind = service.str_at(&["spec", "type"]);
    let allocates = service.at(&["spec", "allocateLoadBalancerNodePorts"]).as_bool() != Some(false);
    let node_ports = match kind {
        "NodePort" => ports.len(),
        "LoadBalancer" if allocates => ports.len(),
        "LoadBalancer" => ports.iter().filter(|p| p.at(&["nodePort"]).as_i64().unwrap_or(0) != 0).count(),
        _ => 0,
    };
    cost.set("services", Quantity::from_units(1));
    cost.set("services.nodeports", Quantity::from_units(node_ports as i64));
    cost.set("services.loadbalancers", Quantity::from_units(i64::from(kind == "LoadBalancer")));
}

fn of_claim(claim: &Value, cost: &mut Amounts) {
    // The annotation came before the field.
    let class = match claim.at(&["metadata", "annotations"]).get("volume.beta.kubernetes.io/storage-class") {
        Some(class) => class.as_str().unwrap_or(""),
        None => claim.str_at(&["spec", "storageClassName"]),
    };
    let mut storage = Amounts::of(claim.at(&["spec", "resources", "requests"])).only(|name| name == "storage");
    if !storage.is_empty() {
        storage.max(&Amounts::of(claim.at(&["status", "allocatedResources"])).only(|name| name == "storage"));
    }
    let mut both = |resource: &str, amount: Quantity| {
        cost.set(resource, amount);
        if !class.is_empty() {
            cost.set(format!("{class}{OF_STORAGE_CLASS}{resource}"), amount);
        }
    };
    both("persistentvolumeclaims", Quantity::from_units(1));
    if let Some(amount) = storage.get("storage") {
        both("requests.storage", amount);
    }
}

fn of_devices(claim: &Value, cost: &mut Amounts) {
    let count = |request: &Value| match request.str_at(&["allocationMode"]) {
        "All" => ALL_DEVICES,
        "ExactCount" => request.at(&["count"]).as_i64().unwrap_or(0),
        _ => 0,
    };
    let of = |request: &Value| {
        let name = format!("{}{OF_DEVICE_CLASS}", request.str_at(&["deviceClassName"]));
        Amounts::from_iter([(name, Quantity::from_units(count(request)))])
    };
    for request in claim.items_at(&["spec", "devices", "requests"]) {
        let alternatives = request.items_at(&["firstAvailable"]);
        if alternatives.is_empty() {
            if request.get("exactly").is_some() {
                cost.add(&of(request.at(&["exactly"])));
            }
            continue;
        }
        // One of them will be: each class is charged with the worst.
        let mut worst = Amounts::default();
        alternatives.iter().for_each(|alternative| worst.max(&of(alternative)));
        cost.add(&worst);
    }
}
