//! What a set of equal pods lacks.

use super::{
    kind::Kind,
    status::{self, Counts},
};
use crate::{
    claim::{Claim, claim},
    pod::{Pod, deletion_order},
};
use base::time::{SignedDuration, Timestamp};
use std::{sync::Arc, time::Duration};
use value::{Str, Value};

/// At most so many creations or deletions at once. Source: `BurstReplicas`.
const BURST: usize = 500;

/// The difference between what is and what should be.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Pods to create from the template.
    pub create: usize,
    /// Names of pods to delete.
    pub delete: Vec<Str>,
    /// Names and uids of pods to adopt and to release.
    pub adopt: Vec<(Str, Str)>,
    pub release: Vec<(Str, Str)>,
    /// What there is.
    pub counts: Counts,
    /// The status is not what it should be, provided that what is planned succeeds.
    pub status: bool,
    /// Creations and deletions were not considered.
    pub pending: bool,
    /// When a ready pod will count as available.
    pub look_again: Option<Duration>,
}

impl Plan {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        let Plan { create, delete, adopt, release, status, look_again, counts: _, pending: _ } = self;
        let lists = delete.is_empty() && adopt.is_empty() && release.is_empty();
        *create == 0 && lists && !status && look_again.is_none()
    }
}

/// Compares a set with the pods of its namespace. `pending`: earlier requests are not visible yet, so pods are only
/// counted.
pub fn plan(kind: &Kind, set: &Value, pods: &[Arc<Pod>], pending: bool, now: Timestamp) -> Plan {
    let mut plan = Plan { pending, ..Plan::default() };
    let Some(selector) = kind.selector(set) else { return plan };
    let deleting = !set.at(&["metadata", "deletionTimestamp"]).is_null();
    let uid = set.str_at(&["metadata", "uid"]);
    let mut owned: Vec<&Arc<Pod>> = Vec::new();
    for pod in pods {
        match claim(&**pod, uid, deleting, &selector) {
            Claim::Keep => owned.push(pod),
            Claim::Adopt if pod.active() => {
                plan.adopt.push((pod.key.name.clone(), pod.uid.clone()));
                owned.push(pod);
            }
            Claim::Release => plan.release.push((pod.key.name.clone(), pod.uid.clone())),
            Claim::Adopt | Claim::Leave => {}
        }
    }
    let mut active: Vec<&Arc<Pod>> = owned.iter().filter(|p| p.active()).copied().collect();
    let wanted = set.at(&["spec", "replicas"]).as_i64().unwrap_or(1).max(0) as usize;
    if !deleting && !pending {
        plan.create = wanted.saturating_sub(active.len()).min(BURST);
        let surplus = active.len().saturating_sub(wanted).min(BURST);
        active.sort_by(|a, b| deletion_order(a, b));
        plan.delete = active.iter().take(surplus).map(|p| p.key.name.clone()).collect();
    }
    let min_ready = SignedDuration::from_secs(set.at(&["spec", "minReadySeconds"]).as_i64().unwrap_or(0));
    let waits =
        active.iter().filter_map(|p| p.available_in(min_ready, now)).filter(|left| *left > SignedDuration::ZERO);
    plan.look_again = waits.min().and_then(|left| Duration::try_from(left).ok());
    plan.counts = counts(set, &active, owned.iter().filter(|p| p.deleting).count(), min_ready, now);
    let outcome = if pending { status::Outcome::Unknown } else { status::Outcome::Fine };
    plan.status = status::status(kind, set, &plan.counts, &outcome, now).is_some();
    plan
}

fn counts(set: &Value, active: &[&Arc<Pod>], terminating: usize, min_ready: SignedDuration, now: Timestamp) -> Counts {
    let template = set.at(&["spec", "template", "metadata", "labels"]);
    let labelled = |p: &Pod| {
        let mut labels = template.as_object().into_iter().flat_map(|m| m.iter());
        labels.all(|(k, v)| p.labels.get(k) == Some(v))
    };
    let count = |test: &dyn Fn(&Pod) -> bool| active.iter().filter(|p| test(p)).count();
    Counts {
        replicas: active.len(),
        fully_labeled: count(&labelled),
        ready: count(&|p| p.ready()),
        available: count(&|p| p.available(min_ready, now)),
        terminating,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica_set::{REPLICA_SET, REPLICATION_CONTROLLER};
    use base::time::parse;
    use value::{ObjectKey, value};

    fn now() -> Timestamp {
        parse("2026-01-01T00:10:00Z").unwrap()
    }

    fn set(replicas: i64) -> Value {
        value!({
            "metadata": {"name": "web", "namespace": "n", "uid": "rs", "generation": 1},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "minReadySeconds": 30,
                     "template": {"metadata": {"labels": {"a": "b"}}}},
        })
    }

    fn pod(name: &str, change: impl FnOnce(&mut Pod)) -> Arc<Pod> {
        let mut pod = Pod {
            key: ObjectKey::new("n", name),
            uid: name.into(),
            labels: value!({"a": "b"}),
            controller: Some("rs".into()),
            deleting: false,
            phase: "Running".into(),
            scheduled: true,
            ready_since: parse("2026-01-01T00:00:00Z"),
            restarts: 0,
            created: parse("2026-01-01T00:00:00Z"),
            cost: 0,
        };
        change(&mut pod);
        Arc::new(pod)
    }

    #[test]
    fn creates_what_lacks_and_counts_what_is() {
        let pods = [
            pod("a", |_| {}),
            pod("b", |p| p.ready_since = parse("2026-01-01T00:09:50Z")),
            pod("c", |p| p.phase = "Failed".into()),
            pod("d", |p| p.deleting = true),
            pod("e", |p| p.controller = Some("other".into())),
        ];
        let got = plan(&REPLICA_SET, &set(3), &pods, false, now());
        assert_eq!((got.create, got.delete.len()), (1, 0));
        assert_eq!(got.look_again, Some(Duration::from_secs(20)));
        let counts = Counts { replicas: 2, ready: 2, available: 1, fully_labeled: 2, terminating: 1 };
        assert_eq!((got.status, got.counts), (true, counts));
        assert_eq!(plan(&REPLICA_SET, &set(3), &pods, true, now()).create, 0);
    }

    #[test]
    fn deletes_the_least_useful_first() {
        let pods = [
            pod("ready", |_| {}),
            pod("young", |p| p.ready_since = parse("2026-01-01T00:05:00Z")),
            pod("unready", |p| p.ready_since = None),
            pod("pending", |p| {
                p.phase = "Pending".into();
                p.scheduled = false;
                p.ready_since = None;
            }),
            pod("cheap", |p| p.cost = -1),
        ];
        assert_eq!(plan(&REPLICA_SET, &set(1), &pods, false, now()).delete, ["pending", "unready", "cheap", "young"]);
    }

    #[test]
    fn adopts_orphans_and_releases_strangers() {
        let pods = [pod("orphan", |p| p.controller = None), pod("stray", |p| p.labels = value!({"a": "x"}))];
        let got = plan(&REPLICA_SET, &set(1), &pods, false, now());
        assert_eq!(got.adopt, [("orphan".into(), "orphan".into())]);
        assert_eq!(got.release, [("stray".into(), "stray".into())]);
        assert_eq!(got.create, 0);
    }

    #[test]
    fn a_replication_controller_selects_by_a_map() {
        let mut controller = set(1);
        controller.set(&["spec", "selector"], value!({"a": "b"}));
        let pods = [pod("orphan", |p| p.controller = None), pod("stray", |p| p.labels = value!({"a": "x"}))];
        let got = plan(&REPLICATION_CONTROLLER, &controller, &pods, false, now());
        assert_eq!((got.adopt.len(), got.release.len(), got.create), (1, 1, 0));
    }
}
