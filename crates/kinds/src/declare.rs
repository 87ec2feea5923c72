//! The words in which a kind is declared. A file of this crate reads like the kind's entry in the API reference:
//! group, names, scope, versions, subresources, selectable fields, then the hooks.
//!
//! A builder and not a struct literal, because most kinds differ from the common case in two or three facts, and those
//! facts should be all that stands in their file. Decided against: a macro, which no editor understands.

use schema::{
    Column, Connector, Generation, Hooks, Kind, NameRule, NoHooks, Policy, Scope, SelectableField, Subresource,
    SubresourceAction, Verb, Version,
};
use std::{sync::Arc, time::Duration};
use value::Str;

/// All verbs of a stored kind.
pub const ALL: [Verb; 8] =
    [Verb::Create, Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];
const WRITABLE: [Verb; 3] = [Verb::Get, Verb::Patch, Verb::Update];

/// Group, version and kind of the body of a subresource.
pub type Body = (&'static str, &'static str, &'static str);

/// A kind in the making; [`Declaration::build`] gives the value.
#[derive(Debug)]
pub struct Declaration(Kind);

/// Starts a namespaced kind with all verbs, name rule and policy of the common case. The plural is the kind in lower
/// case with an `s`, unless [`Declaration::plural`] says otherwise.
pub fn declare(group: &str, kind: &str) -> Declaration {
    let singular = kind.to_lowercase();
    Declaration(Kind {
        group: group.into(),
        kind: kind.into(),
        list_kind: format!("{kind}List").into(),
        plural: format!("{singular}s").into(),
        singular: singular.into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: Scope::Namespaced,
        versions: Vec::new(),
        storage: 0,
        verbs: ALL.to_vec(),
        subresources: Vec::new(),
        selectable: Vec::new(),
        policy: Policy::default(),
        hooks: Arc::new(NoHooks),
        custom: None,
    })
}

impl Declaration {
    pub fn plural(mut self, plural: &str) -> Self {
        self.0.plural = plural.into();
        self
    }
    pub fn short<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.0.short_names = names.map(Str::from).to_vec();
        self
    }
    pub fn categories<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.0.categories = names.map(Str::from).to_vec();
        self
    }
    /// Not in a namespace.
    pub fn cluster(mut self) -> Self {
        self.0.scope = Scope::Cluster;
        self
    }
    /// A served version and the built-in type of its objects. The first one is preferred and stored. Panics for a type
    /// that the table does not have: a mistake in this crate, which the test over the catalog finds.
    pub fn version(mut self, name: &str, ty: &str, columns: Vec<Column>) -> Self {
        let schema = schema::builtin::schema(ty).unwrap_or_else(|| panic!("no built-in type {ty}"));
        self.0.versions.push(Version { name: name.into(), served: true, deprecated: None, schema, columns });
        self
    }
    /// A message that goes with every answer in the newest declared version.
    pub fn deprecated(mut self, warning: &str) -> Self {
        if let Some(version) = self.0.versions.last_mut() {
            version.deprecated = Some(warning.into());
        }
        self
    }
    pub fn without(mut self, verb: Verb) -> Self {
        self.0.verbs.retain(|v| *v != verb);
        self
    }
    /// Nothing is stored that clients could write.
    pub fn read_only<const N: usize>(mut self, verbs: [Verb; N]) -> Self {
        self.0.verbs = verbs.to_vec();
        self
    }
    /// Nothing is stored: the server answers a POST (reviews, bindings).
    pub fn create_only(mut self) -> Self {
        self.0.verbs = vec![Verb::Create];
        self
    }

    /// A `status` subresource; writes to the object itself leave the status alone.
    pub fn status(mut self) -> Self {
        self.0.policy.status_apart = true;
        self.fields("status", [&["status"]])
    }
    /// A subresource that writes these fields only, and what most of upstream's strategies let through of the metadata.
    pub fn fields<const N: usize>(mut self, name: &str, paths: [&[&str]; N]) -> Self {
        let beside = ["labels", "annotations", "finalizers"].map(|field| vec!["metadata".into(), Str::from(field)]);
        let paths = paths.map(|path| path.iter().map(|s| Str::from(*s)).collect());
        let paths = paths.into_iter().chain(beside).collect();
        self.0.subresources.push(Subresource {
            name: name.into(),
            body: None,
            verbs: WRITABLE.to_vec(),
            action: SubresourceAction::Fields(paths),
        });
        self
    }
    /// The last declared subresource writes no metadata.
    pub fn without_metadata(mut self) -> Self {
        if let Some(Subresource { action: SubresourceAction::Fields(paths), .. }) = self.0.subresources.last_mut() {
            paths.retain(|path| path.first().is_none_or(|first| first != "metadata"));
        }
        self
    }
    /// The last declared subresource takes these verbs only.
    pub fn only<const N: usize>(mut self, verbs: [Verb; N]) -> Self {
        if let Some(subresource) = self.0.subresources.last_mut() {
            subresource.verbs = verbs.to_vec();
        }
        self
    }
    /// `autoscaling/v1 Scale` over `spec.replicas`, `status.replicas` and `spec.selector`.
    pub fn scale(mut self) -> Self {
        let path = |a: &str, b: &str| vec![Str::from(a), Str::from(b)];
        self.0.subresources.push(Subresource {
            name: "scale".into(),
            body: Some(("autoscaling".into(), "v1".into(), "Scale".into())),
            verbs: WRITABLE.to_vec(),
            action: SubresourceAction::Scale {
                replicas: path("spec", "replicas"),
                status_replicas: path("status", "replicas"),
                selector: Some(path("spec", "selector")),
            },
        });
        self
    }
    /// A body posted to it acts on the object by [`Hooks::act`].
    pub fn act(self, name: &str, body: Body) -> Self {
        self.subresource(name, Some(body), &[Verb::Create], SubresourceAction::Act)
    }
    /// The server answers it, in this way.
    pub fn server<const N: usize>(
        self,
        name: &str,
        connector: Connector,
        body: Option<Body>,
        verbs: [Verb; N],
    ) -> Self {
        self.subresource(name, body, &verbs, SubresourceAction::Server(connector))
    }
    fn subresource(mut self, name: &str, body: Option<Body>, verbs: &[Verb], action: SubresourceAction) -> Self {
        let body = body.map(|(group, version, kind)| (group.into(), version.into(), kind.into()));
        self.0.subresources.push(Subresource { name: name.into(), body, verbs: verbs.to_vec(), action });
        self
    }

    /// Fields that selectors may name, each at the path that its name says; absent counts as `""`.
    pub fn selectable<const N: usize>(mut self, names: [&str; N]) -> Self {
        for name in names {
            self = self.selectable_at(name, name, "");
        }
        self
    }
    /// A field that selectors may name, at another path or with a value for its absence.
    pub fn selectable_at(mut self, name: &str, path: &str, absent: &str) -> Self {
        let path = path.split('.').map(Str::from).collect();
        self.0.selectable.push(SelectableField {
            name: name.into(),
            path,
            or: None,
            absent: absent.into(),
            indexed: false,
        });
        self
    }
    /// Objects are found by this field's value; it is selectable already.
    pub fn indexed(mut self, name: &str) -> Self {
        self.0.selectable.iter_mut().filter(|field| field.name == name).for_each(|field| field.indexed = true);
        self
    }
    /// A field that selectors may name, at the second path where the first has nothing.
    pub fn selectable_either(mut self, name: &str, path: &str, or: &str) -> Self {
        self = self.selectable_at(name, path, "");
        if let Some(field) = self.0.selectable.last_mut() {
            field.or = Some(or.split('.').map(Str::from).collect());
        }
        self
    }

    /// `metadata.generation` counts changes beside metadata and status.
    pub fn generation(self) -> Self {
        self.generations(Generation::Spec)
    }
    /// The same in one of the rarer ways.
    pub fn generations(mut self, rule: Generation) -> Self {
        self.0.policy.generation = rule;
        self
    }
    pub fn names(mut self, rule: NameRule) -> Self {
        self.0.policy.name = rule;
        self
    }
    /// PUT to a name that does not exist creates the object.
    pub fn create_on_update(mut self) -> Self {
        self.0.policy.create_on_update = true;
        self
    }
    /// PUT needs a resourceVersion.
    pub fn conditional_update(mut self) -> Self {
        self.0.policy.unconditional_update = false;
        self
    }
    /// Deletion waits for the grace period that [`Hooks::grace`] gives.
    pub fn graceful(mut self) -> Self {
        self.0.policy.graceful = true;
        self
    }
    /// A deletion is answered with the object.
    pub fn answers_deleted(mut self) -> Self {
        self.0.policy.answers_deleted = true;
        self
    }
    /// Objects vanish that long after their last write.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.0.policy.ttl = Some(ttl);
        self
    }
    /// Stored bytes are sealed.
    pub fn sealed(mut self) -> Self {
        self.0.policy.sealed = true;
        self
    }
    /// Components write it all the time, which is no news to an audit log.
    pub fn routine(mut self) -> Self {
        self.0.policy.routine = true;
        self
    }
    /// No owner reference may name it.
    pub fn never_owns(mut self) -> Self {
        self.0.policy.never_owns = true;
        self
    }
    /// A deletion that names no propagation policy leaves what the object owns.
    pub fn orphan_by_default(mut self) -> Self {
        self.0.policy.orphan_by_default = true;
        self
    }
    /// Its keys stand in another directory of the store than one named like its plural.
    pub fn stored_under(mut self, directory: &str) -> Self {
        self.0.policy.stored_under = Some(directory.into());
        self
    }
    /// They stood in that one in stores of Ferry 0.1, and are moved.
    pub fn stored_formerly(mut self, directory: &str) -> Self {
        self.0.policy.stored_formerly = Some(directory.into());
        self
    }
    /// Its objects define kinds, by [`Hooks::defines`].
    pub fn defines_kinds(mut self) -> Self {
        self.0.policy.defines_kinds = true;
        self
    }
    /// Upstream stores another version, whose name the `storageVersionHash` is made of.
    pub fn hashed_as(mut self, version: &str) -> Self {
        self.0.policy.hashed_as = Some(version.into());
        self
    }
    pub fn hooks(mut self, hooks: impl Hooks + 'static) -> Self {
        self.0.hooks = Arc::new(hooks);
        self
    }
    pub fn build(self) -> Kind {
        self.0
    }
}
