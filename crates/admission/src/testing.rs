//! Cases for plugin tests: a world, a request, and what became of it.

use crate::{Plugin, Target};
use base::{Revision, User, time::Timestamp};
use resource::{Attributes, Call, Conversions, WriteOptions};
use schema::{Kind, NoHooks, Operation, Policy, Scope, View};
use std::sync::Arc;
use value::{Meta, Object, ObjectKey, Str, Value};

/// A kind in these versions (the last one stored), and a call to it.
pub fn call(group: &str, plural: &str, versions: &[&str], namespace: &str, name: &str, subresource: &str) -> Call {
    let mut kind = kind(group, plural, !namespace.is_empty());
    kind.versions = versions.iter().map(version).collect();
    kind.storage = versions.len() - 1;
    Call {
        user: Arc::new(User { groups: Vec::new(), ..User::component("somebody") }),
        kind: Arc::new(kind),
        version: 0,
        namespace: namespace.into(),
        name: name.into(),
        subresource: Some(subresource.into()).filter(|s: &Str| !s.is_empty()),
    }
}

fn version(name: &&str) -> schema::Version {
    let mut arena = schema::Arena::default();
    let root = arena.push(schema::Node::default());
    schema::Version {
        name: Str::from(*name),
        served: true,
        deprecated: None,
        schema: schema::Schema::new(Arc::new(arena), root),
        columns: Vec::new(),
    }
}

fn kind(group: &str, plural: &str, namespaced: bool) -> Kind {
    Kind {
        group: group.into(),
        kind: "Kind".into(),
        list_kind: "KindList".into(),
        plural: plural.into(),
        singular: "kind".into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: if namespaced { Scope::Namespaced } else { Scope::Cluster },
        versions: vec![version(&"v1")],
        storage: 0,
        verbs: Vec::new(),
        subresources: Vec::new(),
        selectable: Vec::new(),
        policy: Policy::default(),
        hooks: Arc::new(NoHooks),
        custom: None,
    }
}

#[derive(Default)]
pub struct World(Vec<(&'static str, Arc<Object>)>);

impl World {
    pub fn and(mut self, plural: &'static str, v: Value) -> Self {
        let key = ObjectKey::new(v.namespace(), v.name());
        self.0.push((plural, Object::new(key, Revision(1), Meta::of(&v, Box::default()), v.to_json().into())));
        self
    }
}

impl View for World {
    fn get(&self, _: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let found = self.0.iter().find(|(p, o)| *p == plural && o.namespace() == namespace && o.name() == name);
        found.map(|(_, o)| o.clone())
    }
    fn list(&self, _: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let of = |(p, o): &&(&str, Arc<Object>)| *p == plural && namespace.is_none_or(|n| n == o.namespace());
        self.0.iter().filter(of).map(|(_, o)| o.clone()).collect()
    }
}

pub struct Case {
    pub view: World,
    user: User,
    group: Str,
    plural: Str,
    subresource: Str,
    operation: Operation,
    object: Value,
    old: Option<Value>,
}

impl Default for Case {
    fn default() -> Self {
        Case {
            view: World::default(),
            user: User::new("somebody", []),
            group: "".into(),
            plural: "".into(),
            subresource: "".into(),
            operation: Operation::Connect,
            object: Value::Null,
            old: None,
        }
    }
}

impl Case {
    pub fn with(self, plural: &'static str, v: Value) -> Self {
        Case { view: self.view.and(plural, v), ..self }
    }
    pub fn by(self, user: User) -> Self {
        Case { user, ..self }
    }
    pub fn create(self, group: &str, plural: &str, object: Value) -> Self {
        Case { group: group.into(), plural: plural.into(), operation: Operation::Create, object, ..self }
    }
    pub fn update(self, group: &str, plural: &str, subresource: &str, object: Value, old: Value) -> Self {
        let (group, plural, subresource) = (group.into(), plural.into(), subresource.into());
        Case { group, plural, subresource, operation: Operation::Update, object, old: Some(old), ..self }
    }
    pub fn delete(self, group: &str, plural: &str, old: Value) -> Self {
        Case { group: group.into(), plural: plural.into(), operation: Operation::Delete, old: Some(old), ..self }
    }
}

/// Runs both halves; `ok`, or code and message.
pub fn run(plugin: &dyn Plugin, case: Case) -> String {
    match outcome(plugin, case) {
        Ok(_) => "ok".into(),
        Err(status) => format!("{} {}", status.code(), status.message()),
    }
}

#[track_caller]
pub fn check(plugin: &dyn Plugin, case: Case, want: &str) {
    assert_eq!(run(plugin, case), want);
}

/// The object as the plugin leaves it.
#[track_caller]
pub fn object_of(plugin: &dyn Plugin, case: Case) -> Value {
    outcome(plugin, case).unwrap()
}

/// What the client is warned of.
#[track_caller]
pub fn warnings_of(plugin: &dyn Plugin, case: Case) -> Vec<String> {
    decided(plugin, case).unwrap().1
}

fn outcome(plugin: &dyn Plugin, case: Case) -> base::Result<Value> {
    decided(plugin, case).map(|(object, _)| object)
}

fn decided(plugin: &dyn Plugin, case: Case) -> base::Result<(Value, Vec<String>)> {
    let subject = if case.object.is_null() { case.old.clone().unwrap_or_default() } else { case.object.clone() };
    let namespaced = !subject.namespace().is_empty();
    let kind = kind(&case.group, &case.plural, namespaced);
    let call = Call {
        user: Arc::new(case.user),
        kind: Arc::new(kind),
        version: 0,
        namespace: subject.namespace().into(),
        name: if case.operation == Operation::Create { "".into() } else { subject.name().into() },
        subresource: Some(case.subresource).filter(|s| !s.is_empty()),
    };
    let options = WriteOptions::default();
    let mut attributes = Attributes {
        call: &call,
        operation: case.operation,
        name: subject.name().into(),
        object: case.object,
        old: case.old.as_ref(),
        options: &options,
        view: &case.view,
        conversions: &Conversions::default(),
        now: Timestamp::UNIX_EPOCH,
        warnings: Vec::new(),
    };
    if plugin.applies(&call, Target::of(&call, case.operation)) {
        plugin.mutate(&mut attributes)?;
        plugin.validate(&mut attributes)?;
    }
    Ok((attributes.object, attributes.warnings))
}
