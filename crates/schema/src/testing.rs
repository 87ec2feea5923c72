//! A small catalog for the tests of documents.

use crate::{
    Catalog, Column, Generation, Kind, NoHooks, Policy, Scope, Subresource, SubresourceAction, Verb, Version, builtin,
    crd,
};
use std::sync::Arc;
use value::{Str, value};

fn builtin_kind(group: &str, kind: &str, subresources: Vec<Subresource>) -> Kind {
    let version = Version {
        name: "v1".into(),
        served: true,
        deprecated: None,
        schema: builtin::of(group, "v1", kind).unwrap(),
        columns: vec![Column::object_name(), Column::age()],
    };
    Kind {
        group: group.into(),
        kind: kind.into(),
        list_kind: Str::from(format!("{kind}List")),
        plural: Str::from(format!("{}s", kind.to_lowercase())),
        singular: kind.to_lowercase().into(),
        short_names: vec![],
        categories: vec![],
        scope: Scope::Namespaced,
        versions: vec![version],
        storage: 0,
        verbs: vec![Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch],
        subresources,
        selectable: vec![],
        policy: Policy { generation: Generation::Spec, ..Policy::default() },
        hooks: Arc::new(NoHooks),
        custom: None,
    }
}

/// Pod with an eviction subresource, Deployment with status, and a custom kind.
pub(crate) fn catalog() -> Catalog {
    let eviction = Subresource {
        name: "eviction".into(),
        body: Some(("policy".into(), "v1".into(), "Eviction".into())),
        verbs: vec![Verb::Create],
        action: SubresourceAction::Act,
    };
    let status = Subresource {
        name: "status".into(),
        body: None,
        verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
        action: SubresourceAction::Fields(vec![vec!["status".into()]]),
    };
    let crontab = value!({"metadata": {"uid": "u"}, "spec": {
        "group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "crontabs", "kind": "CronTab"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "description": "A timetable.",
            "properties": {"spec": {"type": "object", "properties": {"cronSpec": {"type": "string", "description": "When."}}}}}}}]}});
    Catalog::new([
        builtin_kind("", "Pod", vec![eviction]),
        builtin_kind("apps", "Deployment", vec![status]),
        crd::kind_of(&crontab).unwrap(),
    ])
}
