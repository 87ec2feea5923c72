//! What a Deployment does next, given its ReplicaSets.
//!
//! One round takes one step: make the new set, resize, clean up, report. The next event of a ReplicaSet asks for the next
//! round, so that no step builds on something not yet seen.

use super::{
    rolling::{self, Bounds},
    set::{DESIRED, HASH, MAX, REVISION, Set, annotation, is_private},
    status::{self, Facts},
};
use crate::claim;
use base::{ids, time::Timestamp};
use std::time::Duration;
use value::{Map, Str, Value};

/// One set's new size.
#[derive(Debug, PartialEq)]
pub struct Scale {
    /// The whole object as it should be: size and annotations.
    pub object: Value,
    pub from: i64,
    pub to: i64,
}

/// The next step.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// A ReplicaSet to create.
    pub create: Option<Value>,
    /// ReplicaSets to write (a change of size or only of annotations).
    pub scale: Vec<Scale>,
    /// Old ReplicaSets beyond the history limit: name and uid.
    pub delete: Vec<(Str, Str)>,
    /// The revision annotation of the Deployment itself, where it is not what it should be.
    pub revision: Option<i64>,
    pub status: Option<Value>,
    /// When the progress deadline passes.
    pub look_again: Option<Duration>,
}

/// `sets`: those that the Deployment owns.
pub fn plan(deployment: &Value, sets: &[Value], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut sets: Vec<Set> = sets.iter().map(Set::read).collect();
    sets.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
    let template = deployment.at(&["spec", "template"]);
    let new = sets.iter().find(|s| s.has_template(template));
    let old: Vec<&Set> = sets.iter().filter(|s| new.is_none_or(|n| n.name != s.name)).collect();
    let all: Vec<&Set> = sets.iter().collect();
    let bounds = Bounds::of(deployment);
    let going = !deployment.at(&["metadata", "deletionTimestamp"]).is_null();
    let paused = deployment.at(&["spec", "paused"]).as_bool() == Some(true);
    if !going {
        let revision = revision(new, &old);
        let resized = all.iter().any(|s| s.replicas > 0 && annotation(&s.object, DESIRED) != bounds.wanted.to_string());
        if paused || (resized && new.is_some()) {
            resize(&mut plan, deployment, new, &old, &all, bounds);
        } else if let Some(new) = new {
            roll(&mut plan, deployment, new, &old, &all, bounds, revision);
        } else if deployment.str_at(&["spec", "strategy", "type"]) == "Recreate" && old.iter().any(|s| s.current > 0) {
            plan.scale = old.iter().filter(|s| s.replicas > 0).map(|s| scaled(s, 0, bounds)).collect();
        } else {
            plan.create = Some(new_set(deployment, &all, bounds, revision));
        }
        if new.is_some() || plan.create.is_some() {
            plan.revision = Some(revision).filter(|r| annotation(deployment, REVISION) != r.to_string());
        }
    }
    let creates = plan.create.as_ref().map(|s| s.name().to_string());
    let facts = Facts { deployment, new, all: &all, bounds, creates: creates.as_deref(), now };
    let status = status::status(&facts);
    if status::complete(deployment, &status) && !going {
        plan.delete = beyond_history(deployment, &old);
    }
    let deadline = status::deadline(deployment, &status);
    plan.look_again =
        deadline.and_then(|at| Duration::try_from(at.duration_since(now)).ok()).map(|d| d + Duration::from_secs(1));
    plan.status = Some(status).filter(|s| s != deployment.at(&["status"]));
    plan
}

/// The revision of the new set: one more than the highest old one, unless it already is the highest.
fn revision(new: Option<&Set>, old: &[&Set]) -> i64 {
    let highest = old.iter().map(|s| s.revision).max().unwrap_or(0);
    new.map_or(highest + 1, |n| n.revision.max(highest + 1))
}

/// One step of a rollout.
fn roll(plan: &mut Plan, deployment: &Value, new: &Set, old: &[&Set], all: &[&Set], bounds: Bounds, revision: i64) {
    let recreate = deployment.str_at(&["spec", "strategy", "type"]) == "Recreate";
    if recreate && old.iter().any(|s| s.replicas > 0 || s.current > 0) {
        plan.scale = old.iter().filter(|s| s.replicas > 0).map(|s| scaled(s, 0, bounds)).collect();
        return;
    }
    let size = if recreate { bounds.wanted } else { rolling::grow(new, all, bounds) };
    let wanted = annotated(new, deployment, size, bounds, revision);
    if wanted != new.object {
        plan.scale.push(Scale { object: wanted, from: new.replicas, to: size });
    }
    if size != new.replicas {
        return;
    }
    let live: Vec<&Set> = old.iter().filter(|s| s.replicas > 0).copied().collect();
    for (name, size) in rolling::shrink(new, &live, bounds) {
        plan.scale.extend(live.iter().find(|s| s.name == name).map(|s| scaled(s, size, bounds)));
    }
}

/// Resizing without a step of the rollout.
fn resize(plan: &mut Plan, deployment: &Value, new: Option<&Set>, old: &[&Set], all: &[&Set], bounds: Bounds) {
    let active: Vec<&Set> = all.iter().filter(|s| s.replicas > 0).copied().collect();
    let recreate = deployment.str_at(&["spec", "strategy", "type"]) == "Recreate";
    let saturated = new.is_some_and(|n| n.replicas == bounds.wanted && n.available == bounds.wanted);
    let sizes: Vec<(Str, i64)> = match (active.as_slice(), new) {
        ([], Some(new)) => vec![(new.name.clone(), bounds.wanted)],
        ([one], _) => vec![(one.name.clone(), bounds.wanted)],
        (_, Some(_)) if saturated => old.iter().map(|s| (s.name.clone(), 0)).collect(),
        (many, _) if !recreate => rolling::share(many, bounds),
        _ => Vec::new(),
    };
    for set in all {
        let size = sizes.iter().find(|(name, _)| *name == set.name).map_or(set.replicas, |(_, size)| *size);
        let change = scaled(set, size, bounds);
        let stays_small = size == 0 && set.replicas == 0;
        if change.object != set.object && !stays_small {
            plan.scale.push(change);
        }
    }
}

fn scaled(set: &Set, size: i64, bounds: Bounds) -> Scale {
    let mut object = set.object.clone();
    object.set(&["spec", "replicas"], size);
    object.set(&["metadata", "annotations", DESIRED], bounds.wanted.to_string());
    object.set(&["metadata", "annotations", MAX], bounds.most().to_string());
    Scale { object, from: set.replicas, to: size }
}

/// The new set with the Deployment's annotations and its revision.
fn annotated(new: &Set, deployment: &Value, size: i64, bounds: Bounds, revision: i64) -> Value {
    let mut object = scaled(new, size, bounds).object;
    for (key, text) in deployment.members_at(&["metadata", "annotations"]).filter(|(key, _)| !is_private(key)) {
        object.set(&["metadata", "annotations", key], text);
    }
    object.set(&["metadata", "annotations", REVISION], revision.to_string());
    if deployment.at(&["spec", "minReadySeconds"]).as_i64().unwrap_or(0) > 0 {
        object.set(&["spec", "minReadySeconds"], deployment.at(&["spec", "minReadySeconds"]));
    }
    object
}

fn new_set(deployment: &Value, all: &[&Set], bounds: Bounds, revision: i64) -> Value {
    let template = deployment.at(&["spec", "template"]);
    let mut seed = template.to_json();
    seed.extend_from_slice(deployment.at(&["status", "collisionCount"]).to_string().as_bytes());
    let hash = ids::stable_suffix(&seed);
    let mut set = Value::object();
    set.set(&["apiVersion"], "apps/v1");
    set.set(&["kind"], "ReplicaSet");
    set.set(&["metadata", "name"], format!("{}-{hash}", deployment.name()));
    set.set(&["metadata", "namespace"], deployment.namespace());
    set.set(&["metadata", "ownerReferences"], vec![claim::reference("apps/v1", "Deployment", deployment)]);
    let mut labels: Map = template.at(&["metadata", "labels"]).as_object().cloned().unwrap_or_default();
    labels.insert(HASH, hash.as_str());
    set.set(&["metadata", "labels"], labels.clone());
    set.set(&["spec", "selector"], deployment.at(&["spec", "selector"]));
    set.set(&["spec", "selector", "matchLabels", HASH], hash.as_str());
    set.set(&["spec", "template"], template);
    set.set(&["spec", "template", "metadata", "labels"], labels);
    set.set(&["spec", "replicas"], 0);
    let fresh = Set::read(&set);
    let size = match deployment.str_at(&["spec", "strategy", "type"]) {
        "Recreate" => bounds.wanted,
        _ => rolling::grow(&fresh, all, bounds),
    };
    annotated(&fresh, deployment, size, bounds, revision)
}

/// Empty old sets beyond `revisionHistoryLimit`, oldest revisions first.
fn beyond_history(deployment: &Value, old: &[&Set]) -> Vec<(Str, Str)> {
    let limit = deployment.at(&["spec", "revisionHistoryLimit"]).as_i64().unwrap_or(10).max(0) as usize;
    let mut empty: Vec<&&Set> = old.iter().filter(|s| s.replicas == 0 && s.current == 0).collect();
    empty.sort_by_key(|s| s.revision);
    let surplus = old.len().saturating_sub(limit);
    let identity = |s: &&&Set| (s.name.clone(), s.object.str_at(&["metadata", "uid"]).into());
    empty.iter().take(surplus).map(identity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::time::parse;
    use value::value;

    fn now() -> Timestamp {
        parse("2026-01-01T00:00:00Z").unwrap()
    }

    fn deployment(image: &str, replicas: i64) -> Value {
        value!({
            "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1, "annotations": {"team": "a"}},
            "spec": {"replicas": replicas, "revisionHistoryLimit": 1, "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}}},
        })
    }

    /// Plays rounds with sets whose pods become available at once, until nothing changes.
    fn settle(deployment: &mut Value, sets: &mut Vec<Value>) -> Vec<String> {
        let mut log = Vec::new();
        for _ in 0..40 {
            let got = plan(deployment, sets, now());
            if let Some(set) = &got.create {
                log.push(format!("create {}", set.at(&["spec", "replicas"])));
                sets.push(set.clone());
            }
            for scale in &got.scale {
                if scale.from != scale.to {
                    log.push(format!("{}->{}", scale.from, scale.to));
                }
                let at = sets.iter().position(|s| s.name() == scale.object.name()).unwrap();
                sets[at] = scale.object.clone();
            }
            sets.retain(|s| !got.delete.iter().any(|d| *d.0 == *s.name()));
            log.extend(got.delete.iter().map(|_| "delete".to_string()));
            if let Some(revision) = got.revision {
                deployment.set(&["metadata", "annotations", REVISION], revision.to_string());
            }
            if let Some(status) = &got.status {
                deployment.set(&["status"], status);
            }
            let mut moved = false;
            for set in sets.iter_mut() {
                let n = set.at(&["spec", "replicas"]).clone();
                moved |= set.at(&["status", "availableReplicas"]) != &n;
                set.set(
                    &["status"],
                    value!({"replicas": n.as_i64(), "readyReplicas": n.as_i64(), "availableReplicas": n.as_i64()}),
                );
            }
            let idle = Plan { look_again: None, ..got };
            if idle == Plan::default() && !moved {
                return log;
            }
        }
        panic!("does not settle: {log:?}");
    }

    #[test]
    fn creates_rolls_and_rolls_back() {
        let (mut d, mut sets) = (deployment("one", 4), Vec::new());
        assert_eq!(settle(&mut d, &mut sets), ["create 4"]);
        assert_eq!(annotation(&d, REVISION), "1");
        let first = sets[0].name().to_string();
        assert_eq!(sets[0].str_at(&["metadata", "annotations", "team"]), "a");
        assert_eq!(d.at(&["status", "availableReplicas"]).as_i64(), Some(4));
        d.set(
            &["spec", "template", "spec", "containers"],
            deployment("two", 4).at(&["spec", "template", "spec", "containers"]),
        );
        let log = settle(&mut d, &mut sets);
        assert_eq!(log[0], "create 1");
        assert_eq!(sets.iter().map(|s| s.at(&["spec", "replicas"]).as_i64().unwrap()).collect::<Vec<_>>(), [0, 4]);
        assert_eq!(annotation(&d, REVISION), "2");
        // Back to the first template: its set is used again, with a new revision.
        d.set(
            &["spec", "template", "spec", "containers"],
            deployment("one", 4).at(&["spec", "template", "spec", "containers"]),
        );
        settle(&mut d, &mut sets);
        let set = sets.iter().find(|s| s.name() == first).unwrap();
        assert_eq!(set.at(&["spec", "replicas"]).as_i64(), Some(4));
        assert_eq!((annotation(set, REVISION), annotation(&d, REVISION)), ("3", "3"));
        let progressing = d
            .items_at(&["status", "conditions"])
            .iter()
            .find(|c| c.str_at(&["type"]) == "Progressing")
            .unwrap()
            .clone();
        assert_eq!(progressing.str_at(&["reason"]), "NewReplicaSetAvailable");
        assert_eq!(progressing.str_at(&["message"]), format!("ReplicaSet \"{first}\" has successfully progressed."));
        // A third template: the history holds one.
        d.set(
            &["spec", "template", "spec", "containers"],
            deployment("three", 4).at(&["spec", "template", "spec", "containers"]),
        );
        assert!(settle(&mut d, &mut sets).contains(&"delete".to_string()));
        assert_eq!(sets.len(), 2);
    }

    #[test]
    fn scaling_changes_sizes_only() {
        let (mut d, mut sets) = (deployment("one", 2), Vec::new());
        settle(&mut d, &mut sets);
        d.set(&["spec", "replicas"], 5);
        assert_eq!(settle(&mut d, &mut sets), ["2->5"]);
        d.set(&["spec", "replicas"], 0);
        assert_eq!(settle(&mut d, &mut sets), ["5->0"]);
        d.set(&["spec", "replicas"], 3);
        assert_eq!(settle(&mut d, &mut sets), ["0->3"]);
    }

    #[test]
    fn recreate_empties_first() {
        let (mut d, mut sets) = (deployment("one", 2), Vec::new());
        d.set(&["spec", "strategy"], value!({"type": "Recreate"}));
        settle(&mut d, &mut sets);
        d.set(
            &["spec", "template", "spec", "containers"],
            deployment("two", 2).at(&["spec", "template", "spec", "containers"]),
        );
        assert_eq!(settle(&mut d, &mut sets), ["2->0", "create 2"]);
    }

    #[test]
    fn a_paused_one_only_resizes() {
        let (mut d, mut sets) = (deployment("one", 2), Vec::new());
        settle(&mut d, &mut sets);
        d.set(&["spec", "paused"], true);
        d.set(
            &["spec", "template", "spec", "containers"],
            deployment("two", 2).at(&["spec", "template", "spec", "containers"]),
        );
        d.set(&["spec", "replicas"], 4);
        assert_eq!(settle(&mut d, &mut sets), ["2->4"]);
        assert_eq!(sets.len(), 1);
    }

    #[test]
    fn a_rollout_that_stands_still_times_out() {
        let mut d = deployment("one", 2);
        let first = plan(&d, &[], now());
        d.set(&["status"], first.status.unwrap());
        let mut set = first.create.unwrap();
        set.set(&["status"], value!({"replicas": 2}));
        let second = plan(&d, std::slice::from_ref(&set), now());
        assert_eq!(second.look_again, Some(Duration::from_secs(601)));
        d.set(&["status"], second.status.unwrap());
        let late = plan(&d, &[set], parse("2026-01-01T00:11:00Z").unwrap());
        let conditions = late.status.unwrap();
        let progressing =
            conditions.items_at(&["conditions"]).iter().find(|c| c.str_at(&["type"]) == "Progressing").unwrap().clone();
        assert_eq!(
            (progressing.str_at(&["status"]), progressing.str_at(&["reason"])),
            ("False", "ProgressDeadlineExceeded")
        );
    }
}
