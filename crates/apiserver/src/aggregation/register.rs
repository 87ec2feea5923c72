//! APIServices that stand for this server itself: one per group and version that it serves.
//!
//! Those of built-in groups are made when the server starts; those of custom resources come and go with their
//! definitions, and are known by their label. Whatever else is written into one stays. Source of the numbers:
//! `pkg/controlplane/apiserver/aggregator.go` and `cmd/kube-apiserver/app/aggregator.go`.

use super::{GROUP, PLURAL, call};
use crate::server::Inner;
use base::{Reason, Result, Status};
use resource::{Body, WriteOptions};
use schema::Catalog;
use std::collections::BTreeMap;
use value::{Value, value};

/// Who keeps the object: the start of the server, or its running.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const AT_START: &str = "onstart";
const ALWAYS: &str = "true";

/// `groupPriorityMinimum` of the built-in groups; greater stands first.
const GROUPS: &[(&str, i64)] = &[
    ("", 18000),
    ("apiregistration.k8s.io", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("resource.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
];

/// The priorities of a group and of its version. Custom ones come last.
pub fn priorities(group: &str, version: &str) -> (i64, i64) {
    let Some((_, group_priority)) = GROUPS.iter().find(|(name, _)| *name == group) else { return (1000, 100) };
    let version_priority = match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", "v1") => 21,
        (_, "v1") => 15,
        _ => 9,
    };
    (*group_priority, version_priority)
}

/// The objects that there should be, by name.
fn desired(catalog: &Catalog) -> BTreeMap<String, Value> {
    let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
    for (kind, index) in catalog.served() {
        let (group, version) = kind.group_version(index);
        // The aggregator's own group is served whatever an object says.
        if group == GROUP {
            continue;
        }
        let name = format!("{version}.{group}");
        let managed = if kind.custom.is_some() { ALWAYS } else { AT_START };
        let (group_priority, version_priority) = priorities(group, version);
        wanted.entry(name.clone()).or_insert_with(|| {
            let mut spec = value!({
                "version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority,
            });
            if !group.is_empty() {
                spec.set(&["group"], group);
            }
            let mut labels = Value::object();
            labels.set(&[MANAGED], managed);
            value!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": name, "labels": labels}, "spec": spec,
            })
        });
    }
    wanted
}

/// Creates what is missing and removes what stood for definitions that are gone.
pub async fn sync(server: &Inner) -> Result<()> {
    let engine = &server.engine;
    let wanted = desired(&engine.catalog());
    let present = engine.view().list(GROUP, PLURAL, None);
    let options = WriteOptions::default();
    let missing = wanted.iter().filter(|(name, _)| !present.iter().any(|object| object.name() == *name));
    let create = missing.map(|(_, object)| async {
        let Some(call) = call(engine, "", None) else { return Ok(()) };
        ignore(engine.create(&call, Body::from(object.clone()), &options).await.map(drop), Reason::AlreadyExists)
    });
    futures::future::try_join_all(create).await?;
    for object in present {
        if object.meta.label(MANAGED) == Some(ALWAYS) && !wanted.contains_key(object.name()) {
            let Some(call) = call(engine, object.name(), None) else { continue };
            let same = value!({"preconditions": {"uid": object.meta.uid.as_str()}});
            let deleted = engine.delete(&call, Some(same), &options).await.map(drop);
            ignore(ignore(deleted, Reason::NotFound), Reason::Conflict)?;
        }
    }
    Ok(())
}

/// Another server of the same cluster may be faster.
fn ignore(done: Result<()>, reason: Reason) -> Result<()> {
    done.or_else(|e: Status| if e.is(reason) { Ok(()) } else { Err(e) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_for_each_version() {
        let wanted = desired(&kinds::builtin());
        let of = |name: &str| {
            let spec = wanted.get(name).map(|o| o.at(&["spec"]).clone()).unwrap_or_default();
            (spec.at(&["groupPriorityMinimum"]).as_i64(), spec.at(&["versionPriority"]).as_i64())
        };
        for (name, want) in [
            ("v1.", (Some(18000), Some(1))),
            ("v1.apps", (Some(17800), Some(15))),
            ("v1.autoscaling", (Some(17500), Some(15))),
            ("v2.autoscaling", (Some(17500), Some(30))),
            ("v1.resource.k8s.io", (Some(16200), Some(21))),
            ("v1.apiregistration.k8s.io", (None, None)),
        ] {
            assert_eq!(of(name), want, "{name}");
        }
        // Every built-in group has its number.
        assert!(wanted.values().all(|o| o.at(&["spec", "groupPriorityMinimum"]).as_i64() > Some(1000)), "{wanted:#?}");
    }
}
