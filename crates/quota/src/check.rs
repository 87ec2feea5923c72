//! Whether a write fits into the quotas of its namespace, and what a namespace uses.

use crate::{Amounts, Subject, scope};
use base::{quantity::Quantity, time::Timestamp};
use std::collections::BTreeSet;
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

/// Why a write is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Upstream's sentence after `forbidden:`.
    Forbidden(String),
    /// A sentence that upstream says without a code.
    Plain(String),
}

/// A resource that nobody consumes where no quota covers it. Source: `LimitedResource` of upstream's
/// `ResourceQuotaConfiguration`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limited {
    group: String,
    plural: String,
    /// Parts of names of resources.
    contains: Vec<String>,
    /// `ScopedResourceSelectorRequirement`s.
    scopes: Vec<Value>,
}

impl Limited {
    /// Of an entry of `limitedResources`.
    pub fn of(entry: &Value) -> Self {
        let contains = entry.items_at(&["matchContains"]).iter().filter_map(Value::as_str);
        Limited {
            group: entry.str_at(&["apiGroup"]).into(),
            plural: entry.str_at(&["resource"]).into(),
            contains: contains.map(String::from).collect(),
            scopes: entry.items_at(&["matchScopes"]).to_vec(),
        }
    }
    pub fn is_about(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }
    /// Scopes are held against objects of every kind.
    pub fn has_scopes(&self) -> bool {
        !self.scopes.is_empty()
    }
}

/// What `status.used` of each quota that counts the write becomes: the quota's place in `quotas`, and its new usage. `limited`
/// is what needs a quota.
pub fn charge(quotas: &[Value], write: &Write<'_>, limited: &[Limited]) -> Result<Vec<(usize, Amounts)>, Refusal> {
    let forbidden = |why: String| Err(Refusal::Forbidden(why));
    let Write { subject, subresource, object, old, now } = *write;
    match old {
        None if !subresource.is_empty() => return Ok(Vec::new()),
        Some(old) if !subject.update_counts(subresource, old, object) => return Ok(Vec::new()),
        _ => {}
    }
    let mut charges = Vec::new();
    let mut covered: BTreeSet<&str> = BTreeSet::new();
    let hards: Vec<Amounts> = quotas.iter().map(|quota| Amounts::of(quota.at(&["status", "hard"]))).collect();
    for (i, quota) in quotas.iter().enumerate() {
        let Some(hard) = hards.get(i) else { continue };
        let restricted: Vec<&str> = hard.names().filter(|name| subject.counts(name)).collect();
        if restricted.is_empty() || !scope::holds(quota, subject, object) {
            continue;
        }
        if let Some(missing) = subject.missing(&restricted, object) {
            return forbidden(format!("failed quota: {}: {missing}", quota.name()));
        }
        let used = Amounts::of(quota.at(&["status", "used"]));
        if restricted.iter().any(|name| used.get(name).is_none()) {
            return forbidden(format!(
                "status unknown for quota: {}, resources: {}",
                quota.name(),
                restricted.join(",")
            ));
        }
        charges.push((i, hard, used));
        covered.extend(restricted);
    }
    if charges.is_empty() && limited.is_empty() {
        return Ok(Vec::new());
    }
    let cost = subject.usage(object, now);
    let negative: Vec<&str> = cost.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name).collect();
    if !negative.is_empty() {
        return forbidden(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    // Whoever was counted before pays only for what is more.
    let more_than = |old: Option<&Value>| {
        let before = old.map(|old| subject.usage(old, now));
        before.map_or(cost.clone(), |before| cost.beyond(&before)).without_zeros()
    };
    let more_of = |quota: &Value| more_than(old.filter(|old| scope::holds(quota, subject, old)));
    let counted = |(i, ..): &(usize, &Amounts, Amounts)| quotas.get(*i).is_some_and(|quota| !more_of(quota).is_empty());
    let costs = if charges.is_empty() { !more_than(old).is_empty() } else { charges.iter().any(counted) };
    if !costs {
        return Ok(Vec::new());
    }
    uncovered(quotas, write, limited, &cost, &covered)?;
    let mut charged = Vec::new();
    for (i, hard, used) in charges {
        let Some(quota) = quotas.get(i) else { continue };
        let more = more_of(quota);
        let more = more.only(|name| hard.get(name).is_some());
        if more.is_empty() {
            continue;
        }
        let mut after = used.clone();
        after.add(&more);
        let over = |name: &str| more.get(name).is_some() && after.get(name) > hard.get(name);
        let exceeded = more.only(over);
        if subresource != "status" && !exceeded.is_empty() {
            return forbidden(format!(
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

/// Refuses what is limited and in no quota.
fn uncovered(
    quotas: &[Value],
    write: &Write<'_>,
    limited: &[Limited],
    cost: &Amounts,
    covered: &BTreeSet<&str>,
) -> Result<(), Refusal> {
    let subject = write.subject;
    let about = || limited.iter().filter(|limited| limited.is_about(subject.group, subject.plural));
    let is_limited =
        |name: &str| about().any(|limited| limited.contains.iter().any(|part| name.contains(part.as_str())));
    let consumed = cost.iter().filter(|(_, amount)| !amount.is_zero()).map(|(name, _)| name);
    let missing: Vec<&str> = consumed.filter(|name| is_limited(name) && !covered.contains(name)).collect();
    if !missing.is_empty() {
        return Err(Refusal::Forbidden(format!("insufficient quota to consume: {}", missing.join(","))));
    }
    let matches = |selector: &&Value| scope::selects(selector, subject, write.object);
    let asked = limited.iter().flat_map(|limited| &limited.scopes).filter(matches);
    let selected: Vec<Value> = quotas.iter().flat_map(scope::selectors).filter(|s| matches(&s)).collect();
    let is_covered = |name: &str| selected.iter().any(|selector| selector.str_at(&["scopeName"]) == name);
    let missing: Vec<String> = asked.filter(|s| !is_covered(s.str_at(&["scopeName"]))).map(scope::printed).collect();
    if !missing.is_empty() {
        let missing = missing.join(" ");
        return Err(Refusal::Plain(format!("insufficient quota to match these scopes: [{missing}]")));
    }
    Ok(())
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
        match charge(&[quota], &write, &[]) {
            Ok(charges) => charges.iter().map(|(_, used)| used.to_string()).collect::<Vec<_>>().join(" "),
            Err(Refusal::Forbidden(why) | Refusal::Plain(why)) => why,
        }
    }

    #[test]
    fn what_is_limited_needs_a_quota() {
        let limits = |entry: Value| vec![Limited::of(&entry)];
        let cpu = || limits(value!({"resource": "pods", "matchContains": ["cpu", "count/pods"]}));
        let scope = value!({"scopeName": "PriorityClass", "operator": "In", "values": ["high", "higher"]});
        let high = || limits(value!({"resource": "pods", "matchScopes": [scope]}));
        let of = |hard: Value| {
            quota(
                hard.clone(),
                hard.members_at(&[]).map(|(n, _)| (n.to_string(), Quantity::ZERO)).collect::<Amounts>().to_value(),
            )
        };
        let mut urgent = pod("1");
        urgent.set(&["spec", "priorityClassName"], "high");
        let mut of_class = of(value!({"pods": "5"}));
        of_class.set(
            &["spec", "scopeSelector", "matchExpressions"],
            value!([{"scopeName": "PriorityClass", "operator": "Exists"}]),
        );
        let scopes = "insufficient quota to match these scopes: [{PriorityClass In [high higher]}]";
        for (quotas, pod, limited, want) in [
            (vec![], pod("1"), Vec::new(), ""),
            (vec![], pod("1"), cpu(), "insufficient quota to consume: count/pods,cpu,requests.cpu"),
            (vec![], pod("1"), limits(value!({"resource": "services", "matchContains": ["cpu"]})), ""),
            (
                vec![of(value!({"cpu": "9", "pods": "9"}))],
                pod("1"),
                cpu(),
                "insufficient quota to consume: count/pods,requests.cpu",
            ),
            (
                vec![of(value!({"cpu": "9", "requests.cpu": "9", "count/pods": "9"}))],
                pod("1"),
                cpu(),
                "count/pods=1,cpu=1,requests.cpu=1",
            ),
            (vec![], urgent.clone(), high(), scopes),
            (vec![of(value!({"pods": "9"}))], urgent.clone(), high(), scopes),
            (vec![of_class], urgent.clone(), high(), "pods=1"),
            (vec![], pod("1"), high(), ""),
        ] {
            let write = Write { subject: PODS, subresource: "", object: &pod, old: None, now: Timestamp::UNIX_EPOCH };
            let got = match charge(&quotas, &write, &limited) {
                Ok(charges) => charges.iter().map(|(_, used)| used.to_string()).collect::<Vec<_>>().join(" "),
                Err(Refusal::Forbidden(why) | Refusal::Plain(why)) => why,
            };
            assert_eq!(got, want);
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
