//! Whether a write fits into the quotas of its namespace, and what a namespace uses.

use crate::{Amounts, Subject, scope};
use base::{quantity::Quantity, time::Timestamp};
use value::Value;

/// A write that quotas are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    pub subject: Subject<'a>,
    pub subresource: &'a str,
    pub object: &'a Value,
    /// The object before an update.
    pub old: Option<&'a Value>,
    pub now: Timestamp,
}

/// What `status.used` of each quota that counts the write becomes: the quota's place in `quotas`, and its new usage. The
/// error is upstream's sentence after `forbidden:`.
pub fn charge(quotas: &[Value], write: &Write<'_>) -> Result<Vec<(usize, Amounts)>, String> {
    let Write { subject, subresource, object, old, now } = *write;
    match old {
        None if !subresource.is_empty() => return Ok(Vec::new()),
        Some(old) if !subject.update_counts(subresource, old, object) => return Ok(Vec::new()),
        _ => {}
    }
    let mut charges = Vec::new();
    for (i, quota) in quotas.iter().enumerate() {
        let hard = Amounts::of(quota.at(&["status", "hard"]));
        let restricted: Vec<&str> = hard.names().filter(|name| subject.counts(name)).collect();
        if restricted.is_empty() || !scope::holds(quota, subject, object) {
            continue;
        }
        if let Some(missing) = subject.missing(&restricted, object) {
            return Err(format!("failed quota: {}: {missing}", quota.name()));
        }
        let used = Amounts::of(quota.at(&["status", "used"]));
        if restricted.iter().any(|name| used.get(name).is_none()) {
            return Err(format!("status unknown for quota: {}, resources: {}", quota.name(), restricted.join(",")));
        }
        charges.push((i, hard, used));
    }
    if charges.is_empty() {
        return Ok(Vec::new());
    }
    let cost = subject.usage(object, now);
    let negative: Vec<&str> = cost.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let mut charged = Vec::new();
    for (i, hard, used) in charges {
        let Some(quota) = quotas.get(i) else { continue };
        // Whoever was counted before pays only for what is more.
        let before = old.filter(|old| scope::holds(quota, subject, old)).map(|old| subject.usage(old, now));
        let more = before.map_or(cost.clone(), |before| cost.beyond(&before)).without_zeros();
        let more = more.only(|name| hard.get(name).is_some());
        if more.is_empty() {
            continue;
        }
        let mut after = used.clone();
        after.add(&more);
        let over = |name: &str| more.get(name).is_some() && after.get(name) > hard.get(name);
        let exceeded = more.only(over);
        if subresource != "status" && !exceeded.is_empty() {
            return Err(format!(
                "exceeded quota: {}, requested: {exceeded}, used: {}, limited: {}",
                quota.name(),
                used.only(over),
                hard.only(over)
            ));
        }
        charged.push((i, after));
    }
    Ok(charged)
}

/// Counts again what a quota's `spec.hard` limits; `objects` are all of the namespace whose kinds [`Subject::counts`] one of
/// them. Every limited resource is named, also where nothing uses it.
pub fn count<'a>(
    quota: &Value,
    objects: impl IntoIterator<Item = (Subject<'a>, &'a Value)>,
    now: Timestamp,
) -> Amounts {
    let hard = Amounts::of(quota.at(&["spec", "hard"]));
    let mut used: Amounts = hard.names().map(|name| (name.to_string(), Quantity::ZERO)).collect();
    for (subject, object) in objects {
        if scope::holds(quota, subject, object) {
            used.add(&subject.usage(object, now).only(|name| hard.get(name).is_some() && subject.counts(name)));
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    const PODS: Subject<'static> = Subject { group: "", plural: "pods" };

    fn pod(cpu: &str) -> Value {
        value!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources":
            {"requests": {"cpu": cpu, "memory": "1Gi"}}}]}})
    }
    fn quota(hard: Value, used: Value) -> Value {
        value!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
    }
    fn told(quota: Value, subject: Subject<'_>, object: &Value, old: Option<&Value>) -> String {
        let write = Write { subject, subresource: "", object, old, now: Timestamp::UNIX_EPOCH };
        match charge(&[quota], &write) {
            Ok(charges) => charges.iter().map(|(_, used)| used.to_string()).collect::<Vec<_>>().join(" "),
            Err(why) => why,
        }
    }

    #[test]
    fn what_a_creation_is_charged() {
        for (hard, used, pod, want) in [
            (value!({"pods": "2"}), value!({"pods": "1"}), pod("1"), "pods=2"),
            (
                value!({"pods": "2"}),
                value!({"pods": "2"}),
                pod("1"),
                "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2",
            ),
            (
                value!({"cpu": "2", "requests.memory": "8Gi"}),
                value!({"cpu": "1500m", "requests.memory": "0"}),
                pod("1"),
                "exceeded quota: q, requested: cpu=1, used: cpu=1500m, limited: cpu=2",
            ),
            (
                value!({"limits.cpu": "2", "limits.memory": "1Gi"}),
                value!({"limits.cpu": "0", "limits.memory": "0"}),
                pod("1"),
                "failed quota: q: must specify limits.cpu for: c; limits.memory for: c",
            ),
            (value!({"pods": "2"}), value!({}), pod("1"), "status unknown for quota: q, resources: pods"),
            (value!({"services": "2"}), value!({"services": "2"}), pod("1"), ""),
            (value!({"count/pods": "5"}), value!({"count/pods": "4"}), pod("1"), "count/pods=5"),
        ] {
            assert_eq!(told(quota(hard, used), PODS, &pod, None), want);
        }
    }

    #[test]
    fn an_update_pays_for_what_is_more() {
        let services = Subject { group: "", plural: "services" };
        let service = |kind: &str| value!({"spec": {"type": kind, "ports": [{"port": 80}, {"port": 81}]}});
        let limit = || {
            quota(
                value!({"services": "5", "services.nodeports": "3"}),
                value!({"services": "1", "services.nodeports": "0"}),
            )
        };
        let (plain, ports) = (service("ClusterIP"), service("NodePort"));
        assert_eq!(told(limit(), services, &ports, Some(&plain)), "services=1,services.nodeports=2");
        assert_eq!(told(limit(), services, &plain, Some(&ports)), "");
        assert_eq!(told(limit(), services, &plain, Some(&plain)), "");
    }

    #[test]
    fn what_a_namespace_uses() {
        let ended = value!({"metadata": {"name": "e"}, "status": {"phase": "Succeeded"}, "spec": {"containers": []}});
        let claim = value!({"metadata": {"name": "d"}, "spec": {"storageClassName": "gold", "resources":
            {"requests": {"storage": "2Gi"}}}});
        let (one, two) = (pod("1"), pod("500m"));
        let claims = Subject { group: "", plural: "persistentvolumeclaims" };
        let jobs = Subject { group: "batch", plural: "jobs" };
        let hard = value!({"pods": "9", "count/pods": "9", "requests.cpu": "4", "count/jobs.batch": "3", "secrets": "1",
            "gold.storageclass.storage.k8s.io/requests.storage": "5Gi"});
        let job = value!({"metadata": {"name": "j"}});
        let objects = [(PODS, &one), (PODS, &two), (PODS, &ended), (claims, &claim), (jobs, &job)];
        assert_eq!(
            count(&quota(hard, value!({})), objects, Timestamp::UNIX_EPOCH).to_string(),
            "count/jobs.batch=1,count/pods=3,gold.storageclass.storage.k8s.io/requests.storage=2Gi,pods=2,requests.cpu=1500m,\
             secrets=0"
        );
    }

    #[test]
    fn devices_count_by_class() {
        let claims = Subject { group: "resource.k8s.io", plural: "resourceclaims" };
        let some = value!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2});
        let all = value!({"deviceClassName": "nic", "allocationMode": "All"});
        let claim = value!({"spec": {"devices": {"requests": [
            {"name": "a", "exactly": some}, {"name": "b", "firstAvailable": [some, all]}]}}});
        assert_eq!(
            claims.usage(&claim, Timestamp::UNIX_EPOCH).to_string(),
            "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=4,\
             nic.deviceclass.resource.k8s.io/devices=32"
        );
    }
}
