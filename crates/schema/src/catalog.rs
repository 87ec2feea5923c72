//! The catalog: one `Arc<Kind>` per group and kind, looked up by path, by name, or walked for discovery.
//!
//! A catalog never changes; installing a CRD makes a new one that shares every other kind (a thousand clusters in one
//! process share the built-in ones).

use crate::Kind;
use std::{collections::BTreeMap, sync::Arc};
use value::Str;

/// All kinds of one cluster, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// By group and plural.
    kinds: BTreeMap<(Str, Str), Arc<Kind>>,
}

/// What a path names: the kind, and the index of the version asked for.
#[derive(Debug, Clone)]
pub struct Lookup {
    pub kind: Arc<Kind>,
    pub version: usize,
}

impl Catalog {
    /// A catalog of these kinds.
    pub fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Catalog { kinds: kinds.into_iter().map(|k| ((k.group.clone(), k.plural.clone()), Arc::new(k))).collect() }
    }
    /// This catalog with one kind added or replaced.
    pub fn with(&self, kind: Arc<Kind>) -> Self {
        let mut catalog = self.clone();
        catalog.kinds.insert((kind.group.clone(), kind.plural.clone()), kind);
        catalog
    }
    /// This catalog without one kind.
    pub fn without(&self, group: &str, plural: &str) -> Self {
        let mut catalog = self.clone();
        catalog.kinds.remove(&(group.into(), plural.into()));
        catalog
    }
    /// A kind by group and plural.
    pub fn get(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(&(Str::from(group), Str::from(plural)))
    }
    /// A served version by the parts of a path.
    pub fn resolve(&self, group: &str, version: &str, plural: &str) -> Option<Lookup> {
        let own = || self.get(group, plural).and_then(|kind| Some((kind, kind.version(version)?)));
        // A view of a legacy kind: events.k8s.io/v1.
        let legacy =
            || self.get("", plural).and_then(|kind| Some((kind, kind.version(&format!("{group}/{version}"))?)));
        let (kind, version) = own().or_else(legacy).filter(|(kind, version)| kind.versions[*version].served)?;
        Some(Lookup { kind: kind.clone(), version })
    }
    /// A kind by group and kind name.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.iter().find(|k| k.group == group && k.kind == kind)
    }
    /// All kinds, by group and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }
    /// The groups with a served version, each once, sorted.
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.served().map(|(kind, version)| kind.group_version(version).0).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
    /// Every served version of every kind, by index.
    pub fn served(&self) -> impl Iterator<Item = (&Arc<Kind>, usize)> {
        self.iter()
            .flat_map(|kind| (0..kind.versions.len()).map(move |v| (kind, v)).filter(|(k, v)| k.versions[*v].served))
    }
}
