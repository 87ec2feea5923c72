//! Resource quotas: `status.hard` is what the quota limits, `status.used` what its namespace has.
//!
//! Admission charges a write in the write's own transaction; here everything is counted again from the objects, because
//! deletions, pods that end and quotas that are new are nobody's write. Both use `quota`. Source: upstream's
//! `resourcequota-controller`.

use crate::resources::served;
use base::{clock::Clock, time::Timestamp};
use client::{Client, Gvr, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler, Selection};
use parking_lot::RwLock;
use quota::{Amounts, Subject};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use value::{ObjectKey, Str, Value};

const QUOTAS: Gvr = Gvr::inline("", "v1", "resourcequotas");
/// Kinds that count towards more than their number.
const USUAL: [(&str, &str); 8] = [
    ("", "pods"),
    ("", "services"),
    ("", "persistentvolumeclaims"),
    ("", "configmaps"),
    ("", "secrets"),
    ("", "replicationcontrollers"),
    ("", "resourcequotas"),
    ("resource.k8s.io", "resourceclaims"),
];
/// Events of one namespace are counted together.
const GATHER: Duration = Duration::from_millis(100);
/// When a kind that nobody serves is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Group and plural.
type Name = (Str, Str);

struct Quotas {
    caches: Caches,
    quotas: Cache,
    /// What is counted; `None` for a kind that is not served.
    counted: RwLock<HashMap<Name, Option<Cache>>>,
    queue: Queue<ObjectKey>,
}

/// Runs the controller until its caches end.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let quotas = caches.kind(&QUOTAS);
    let added = queue.clone();
    quotas.on_event(move |event| {
        let Some(quota) = event.new else { return };
        let tree = quota.tree();
        // A quota that was charged was charged for an object that its cache may not show yet.
        match tree.at(&["spec", "hard"]) == tree.at(&["status", "hard"]) {
            true => added.add_after(quota.key.clone(), GATHER),
            false => added.add(quota.key.clone()),
        }
    });
    quotas.wait_synced().await;
    let definitions = caches.kind(&kinds::CRDS);
    let controller = Arc::new(Quotas { caches, quotas, counted: RwLock::default(), queue: queue.clone() });
    let weak = Arc::downgrade(&controller);
    // A kind that was not served may be now, and the other way round.
    definitions.on_event(move |_| {
        if let Some(controller) = weak.upgrade() {
            controller.counted.write().retain(|_, cache| cache.is_some());
        }
    });
    control::run(controller, queue, 2, clock).await;
}

#[derive(Debug)]
enum Plan {
    /// Kinds that a quota counts and nobody follows yet.
    Follow(BTreeSet<Name>),
    /// The quota with its new status.
    Write(Value),
}

impl Reconciler for Quotas {
    type Key = ObjectKey;
    type Plan = Plan;

    fn name(&self) -> &'static str {
        "resource-quota-controller"
    }

    fn plan(&self, key: &ObjectKey, now: Timestamp) -> Option<Plan> {
        let quota = self.quotas.get(key).filter(|quota| !quota.meta.deleting)?;
        let quota = quota.tree();
        let names = counted_by(&Amounts::of(quota.at(&["spec", "hard"])));
        let counted = self.counted.read();
        let missing: BTreeSet<Name> = names
            .iter()
            .filter(|name| !matches!(counted.get(*name), Some(cache) if cache.as_ref().is_none_or(Cache::is_synced)))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Some(Plan::Follow(missing));
        }
        let of_kind = |name: &Name| match counted.get(name) {
            Some(Some(cache)) => cache.list_namespace(&key.namespace),
            _ => Vec::new(),
        };
        let objects: Vec<(&Name, Arc<Value>)> =
            names.iter().flat_map(|name| of_kind(name).into_iter().map(move |object| (name, object.tree()))).collect();
        let subjects = objects.iter().map(|((group, plural), object)| (Subject { group, plural }, &**object));
        let used = quota::count(&quota, subjects, now);
        status(&quota, &used).map(Plan::Write)
    }

    async fn execute(&self, key: &ObjectKey, plan: Plan) -> Result<Outcome, client::Error> {
        match plan {
            Plan::Follow(names) => self.follow(names).await,
            Plan::Write(quota) => {
                let api = self.client().api(&QUOTAS).namespace(key.namespace.clone());
                match api.update_status(&key.name, &quota).await {
                    // Charged, or counted, by somebody else meanwhile: its event is on the way.
                    Err(error) if error.is_conflict() || error.is_not_found() => Ok(Outcome::Done),
                    other => other.map(|_| Outcome::Done),
                }
            }
        }
    }
}

impl Quotas {
    fn client(&self) -> &Client {
        self.caches.client()
    }

    async fn follow(&self, names: BTreeSet<Name>) -> Result<Outcome, client::Error> {
        let resources = served(self.client()).await?;
        let mut outcome = Outcome::Retry;
        for name in names {
            let resource = resources.iter().find(|r| r.gvr.group == name.0 && r.gvr.plural == name.1);
            let Some(resource) = resource.filter(|r| r.namespaced && r.can("list") && r.can("watch")) else {
                self.counted.write().insert(name, None);
                outcome = Outcome::After(LOOK_AGAIN);
                continue;
            };
            let cache = self.caches.select(&resource.gvr, Selection::default());
            let (quotas, queue) = (self.quotas.clone(), self.queue.clone());
            let known = self.counted.write().insert(name, Some(cache.clone())).is_some();
            if !known {
                cache.on_event(move |event| {
                    for quota in quotas.list_namespace(&event.key.namespace) {
                        queue.add_after(quota.key.clone(), GATHER);
                    }
                });
            }
            cache.wait_synced().await;
        }
        Ok(outcome)
    }
}

/// The kinds whose objects count towards one of these resources.
fn counted_by(hard: &Amounts) -> BTreeSet<Name> {
    let mut kinds = BTreeSet::new();
    for resource in hard.names() {
        if let Some(counted) = resource.strip_prefix("count/") {
            let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
            kinds.insert((group.into(), plural.into()));
        }
        let usual = USUAL.into_iter().filter(|(group, plural)| Subject { group, plural }.counts(resource));
        kinds.extend(usual.map(|(group, plural)| (group.into(), plural.into())));
    }
    kinds
}

/// The quota with what is used; `None` where its status says so already.
fn status(quota: &Value, used: &Amounts) -> Option<Value> {
    let hard = Amounts::of(quota.at(&["spec", "hard"]));
    let said = |field: &str| Amounts::of(quota.at(&["status", field]));
    let present = quota.at(&["status"]).get("used").is_some() || used.is_empty();
    if present && said("hard") == hard && said("used") == *used {
        return None;
    }
    let mut next = quota.clone();
    next.set(&["status", "hard"], quota.at(&["spec", "hard"]).clone());
    next.set(&["status", "used"], used.to_value());
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn which_kinds_a_quota_counts() {
        let hard = Amounts::of(&value!({"limits.cpu": "1", "count/jobs.batch": "2", "count/things.example.com": "1",
            "services.nodeports": "3", "configmaps": "1", "count/pods": "4"}));
        let names: Vec<String> = counted_by(&hard).iter().map(|(group, plural)| format!("{plural}.{group}")).collect();
        assert_eq!(names, ["configmaps.", "pods.", "services.", "jobs.batch", "things.example.com"]);
    }

    #[test]
    fn a_status_is_written_where_it_changes() {
        let used = Amounts::of(&value!({"pods": "1"}));
        let quota = |status: Value| {
            let mut quota = value!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}});
            quota.set(&["status"], status);
            status_of(&quota, &used)
        };
        let whole = value!({"hard": {"pods": "2"}, "used": {"pods": "1"}});
        assert_eq!(quota(value!({})), Some(whole.clone()));
        assert_eq!(quota(value!({"hard": {"pods": "2"}, "used": {"pods": "0"}})), Some(whole.clone()));
        assert_eq!(quota(whole), None);
    }

    fn status_of(quota: &Value, used: &Amounts) -> Option<Value> {
        status(quota, used).map(|next| next.at(&["status"]).clone())
    }
}
