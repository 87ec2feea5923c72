//! A kind as a value.
//!
//! Everything that upstream spreads over a REST storage, a strategy, a printer and generated code stands here as data;
//! what data cannot say is a [`Hooks`] object. Decided against: a trait per kind with associated types, because every
//! client of the engine would be generic and a CRD could not be one.

use crate::{Column, Hooks, Schema};
use std::{sync::Arc, time::Duration};
use value::{Str, Value};

/// One group and kind, with all its versions.
#[derive(Debug, Clone)]
pub struct Kind {
    /// `""` is the legacy group.
    pub group: Str,
    pub kind: Str,
    pub list_kind: Str,
    pub plural: Str,
    pub singular: Str,
    pub short_names: Vec<Str>,
    pub categories: Vec<Str>,
    pub scope: Scope,
    /// Preferred first: the order of discovery.
    pub versions: Vec<Version>,
    /// Index into `versions`: the one that is stored.
    pub storage: usize,
    pub verbs: Vec<Verb>,
    pub subresources: Vec<Subresource>,
    /// Fields that field selectors may name beside `metadata.name` and `metadata.namespace`.
    pub selectable: Vec<SelectableField>,
    pub policy: Policy,
    pub hooks: Arc<dyn Hooks>,
    /// The UID of the CustomResourceDefinition that made this kind; `None` for a built-in one.
    pub custom: Option<Str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// One version of a kind.
#[derive(Debug, Clone)]
pub struct Version {
    /// `v1`. A version of a legacy kind that stands in a named group has both: `events.k8s.io/v1` is a view of the
    /// legacy Event. Paths and discovery go by [`Kind::group_version`].
    pub name: Str,
    pub served: bool,
    /// The warning that a deprecated version answers with.
    pub deprecated: Option<Str>,
    pub schema: Schema,
    /// What `kubectl get` shows; `Name` first.
    pub columns: Vec<Column>,
}

/// A field that field selectors may name.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectableField {
    /// As selectors write it: `spec.nodeName`.
    pub name: Str,
    /// Object members from the root: `["spec", "nodeName"]`.
    pub path: Vec<Str>,
    /// Where the value stands when it does not stand at `path` (an event's reporting component, for its source).
    pub or: Option<Vec<Str>>,
    /// What an absent field counts as (`"false"` for `spec.unschedulable`, `""` for most).
    pub absent: Str,
    /// Objects are found by its value without a walk; one field of a kind at most.
    pub indexed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    /// As discovery and RBAC write it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

/// `pods/status`, `deployments/scale`, `serviceaccounts/token` …
#[derive(Debug, Clone, PartialEq)]
pub struct Subresource {
    pub name: Str,
    /// Group, version and kind of its body where that is not the parent's own.
    pub body: Option<(Str, Str, Str)>,
    pub verbs: Vec<Verb>,
    pub action: SubresourceAction,
}

/// What a request to a subresource does. The engine knows these few mechanisms, and no subresource by name.
#[derive(Debug, Clone, PartialEq)]
pub enum SubresourceAction {
    /// Reads the whole object; writes only the listed top-level or nested fields (`["status"]`,
    /// `["spec", "ephemeralContainers"]`, `["metadata", "labels"]`).
    Fields(Vec<Vec<Str>>),
    /// `autoscaling/v1 Scale` over paths of the object.
    Scale { replicas: Vec<Str>, status_replicas: Vec<Str>, selector: Option<Vec<Str>> },
    /// A body that acts on the object by [`Hooks::act`]: binding, eviction, approval.
    Act,
    /// Answered by the server, not the engine.
    Server(Connector),
}

/// What the server does with a subresource that is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connector {
    /// A token for whom the object stands for.
    Token,
    /// What a container of the object has written.
    Log,
    /// A connection to a container of the object, named like the subresource: exec, attach, portforward.
    Stream,
    /// Any request, passed to what listens there.
    Proxy(Listener),
}

/// What listens behind a `proxy` subresource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The object itself, at the address in its status.
    Itself,
    /// One of the endpoints behind the object.
    Endpoint,
    /// The kubelet of the machine that the object is, or another port there.
    Kubelet,
}

/// Rules of the engine that differ by kind.
#[derive(Debug, Clone)]
pub struct Policy {
    pub generation: Generation,
    /// The `status` field is dropped from writes to the main resource (there is a `status` subresource).
    pub status_apart: bool,
    /// PUT to a name that does not exist creates it.
    pub create_on_update: bool,
    /// PUT without resourceVersion overwrites.
    pub unconditional_update: bool,
    /// Deletion sets `deletionTimestamp` and waits for the grace period ([`Hooks::grace`]).
    pub graceful: bool,
    /// A deletion that is done is answered with the object instead of a Status.
    pub answers_deleted: bool,
    /// Objects vanish that long after their last write (events).
    pub ttl: Option<Duration>,
    /// Stored bytes are sealed (secrets).
    pub sealed: bool,
    /// Components write it all the time: what they do to it is no news to who reads an audit log.
    pub routine: bool,
    /// No owner reference may name it.
    pub never_owns: bool,
    /// The directory of its keys in the store, below `/registry/`, where upstream does not call it as the layout has it
    /// ([`Kind::prefix`]).
    pub stored_under: Option<Str>,
    /// The directory in stores of Ferry 0.1, before it followed upstream in this.
    pub stored_formerly: Option<Str>,
    pub name: NameRule,
    /// A deletion that names no propagation policy leaves what the object owns: upstream's oldest kinds, whose first
    /// clients took care of that themselves.
    pub orphan_by_default: bool,
    /// Its objects define kinds ([`Hooks::defines`]): CustomResourceDefinition.
    pub defines_kinds: bool,
    /// The version that upstream stores, where that is not the one stored here: discovery's `storageVersionHash` is made
    /// of its name, and clients hold it against what they know. Objects that upstream stored are read under it, in the
    /// shape of the version stored here.
    pub hashed_as: Option<Str>,
    /// Who converts between the versions, where [`Hooks::convert`] does not.
    pub conversion: Option<Arc<ConversionWebhook>>,
    /// What versions have of their own, in the order of [`Kind::versions`]; empty where all have the same.
    pub by_version: Vec<VersionParts>,
}

/// What one version of a custom kind has.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionParts {
    pub subresources: Vec<Subresource>,
    /// Names of [`Kind::selectable`] fields.
    pub selectable: Vec<Str>,
}

/// A webhook that converts objects. Source: `apiextensions.k8s.io/v1`.
#[derive(Debug, PartialEq)]
pub struct ConversionWebhook {
    /// The name of the definition.
    pub definition: Str,
    /// `spec.conversion.webhook`, as the definition writes it.
    pub config: Value,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            generation: Generation::None,
            status_apart: false,
            create_on_update: false,
            unconditional_update: true,
            graceful: false,
            answers_deleted: false,
            ttl: None,
            sealed: false,
            routine: false,
            never_owns: false,
            stored_under: None,
            stored_formerly: None,
            name: NameRule::Subdomain,
            orphan_by_default: false,
            defines_kinds: false,
            hashed_as: None,
            conversion: None,
            by_version: Vec::new(),
        }
    }
}

/// When `metadata.generation` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Never set.
    None,
    /// Starts at 1, and stays.
    Once,
    /// Absent at first, then the number of changes of anything but `metadata` and `status`.
    Changes,
    /// Starts at 1, counts when anything but `metadata` and `status` changes.
    Spec,
}

/// What `metadata.name` must look like. Source: `k8s.io/apimachinery/pkg/api/validation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 characters.
    Subdomain,
    /// RFC 1123 label, at most 63.
    Label,
    /// RFC 1035 label, at most 63 (services).
    Label1035,
    /// Anything that fits in one path segment (RBAC kinds).
    PathSegment,
}

impl Kind {
    /// `deployments.apps`, or `pods`.
    pub fn qualified(&self) -> String {
        base::status::qualified(&self.group, &self.plural)
    }
    /// `apps/v1`, or `v1`: `apiVersion` of the version at that index.
    pub fn api_version(&self, version: usize) -> String {
        let version = &self.versions[version].name;
        if self.group.is_empty() { version.to_string() } else { format!("{}/{version}", self.group) }
    }
    /// Group and version as paths and discovery have them.
    pub fn group_version(&self, version: usize) -> (&str, &str) {
        let name = self.versions[version].name.as_str();
        name.split_once('/').unwrap_or((&self.group, name))
    }
    /// The index of a version by name.
    pub fn version(&self, name: &str) -> Option<usize> {
        self.versions.iter().position(|v| v.name == name)
    }
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
    /// A subresource by name, of whatever version.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
    /// The subresources of a version.
    pub fn subresources_of(&self, version: usize) -> &[Subresource] {
        self.policy.by_version.get(version).map_or(&self.subresources, |own| &own.subresources)
    }
    /// A subresource of a version by name.
    pub fn subresource_of(&self, version: usize, name: &str) -> Option<&Subresource> {
        self.subresources_of(version).iter().find(|s| s.name == name)
    }
    /// Whether a version keeps its status apart ([`Policy::status_apart`]).
    pub fn status_apart(&self, version: usize) -> bool {
        match self.policy.by_version.is_empty() {
            true => self.policy.status_apart,
            false => self.subresource_of(version, "status").is_some(),
        }
    }
    /// The prefix of its keys in the store, with a trailing slash. Upstream's layout: built-in kinds stand under their
    /// resource (`/registry/pods/`) or where their declaration says, custom ones under group and resource.
    pub fn prefix(&self) -> String {
        match (&self.policy.stored_under, &self.custom) {
            (Some(directory), _) => format!("/registry/{directory}/"),
            (None, None) => format!("/registry/{}/", self.plural),
            (None, Some(_)) => format!("/registry/{}/{}/", self.group, self.plural),
        }
    }
    /// The prefix of its keys in stores that an older version wrote, where that was another.
    pub fn former_prefix(&self) -> Option<String> {
        self.policy.stored_formerly.as_ref().map(|directory| format!("/registry/{directory}/"))
    }
    /// The key of one object in the store.
    pub fn store_key(&self, key: &value::ObjectKey) -> String {
        format!("{}{key}", self.prefix())
    }
}
