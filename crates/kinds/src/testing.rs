//! What tests of kinds need: an empty cluster around a hook, and tables that show its effect as text.

use base::{FieldErrors, User, time::Timestamp};
use expect_test::Expect;
use schema::{ClusterConfig, ColumnSource, Context, Kind, Operation, View};
use std::sync::Arc;
use value::{Meta, Object, ObjectKey, Value};

struct Nothing;
impl View for Nothing {
    fn get(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Arc<Object>> {
        None
    }
    fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Arc<Object>> {
        Vec::new()
    }
}

/// A cluster that holds objects of one kind.
pub struct Holding {
    group: &'static str,
    plural: &'static str,
    objects: Vec<Arc<Object>>,
}

impl Holding {
    pub fn new(group: &'static str, plural: &'static str, objects: &[Value]) -> Self {
        let object = |value: &Value| {
            let key = ObjectKey::new(value.namespace(), value.name());
            Object::new(key, base::Revision::default(), Meta::of(value, Box::default()), value.to_json().into())
        };
        Holding { group, plural, objects: objects.iter().map(object).collect() }
    }
}

impl View for Holding {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.list(group, plural, Some(namespace)).into_iter().find(|object| object.key.name == name)
    }
    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let all = if (group, plural) == (self.group, self.plural) { self.objects.as_slice() } else { &[] };
        all.iter().filter(|object| namespace.is_none_or(|n| object.key.namespace == n)).cloned().collect()
    }
}

/// `2026-01-02T03:10:00Z`; [`cells`] shows objects made five minutes before.
pub fn now() -> Timestamp {
    base::time::parse("2026-01-02T03:10:00Z").expect("a time")
}

/// Runs `f` in a cluster of its own, as the user `alice`.
pub fn within<T>(operation: Operation, subresource: Option<&str>, f: impl FnOnce(&Context) -> T) -> T {
    within_view(operation, subresource, &Nothing, f)
}

/// The same where there are other objects.
pub fn within_view<T>(
    operation: Operation,
    subresource: Option<&str>,
    view: &dyn View,
    f: impl FnOnce(&Context) -> T,
) -> T {
    let user = User::new("alice", ["system:authenticated"]);
    let cluster = ClusterConfig::default();
    f(&Context { now: now(), user: &user, operation, subresource, version: "v1", cluster: &cluster, view })
}

/// The object with a name and the time of its creation.
fn named(mut obj: Value) -> Value {
    obj.set_default(&["metadata", "name"], "obj");
    obj.set_default(&["metadata", "creationTimestamp"], "2026-01-02T03:05:00Z");
    obj
}

fn texts(errors: &FieldErrors) -> String {
    errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The engine's first steps: canonical form, the schema's defaults, the kind's.
fn default(kind: &Kind, obj: &mut Value) {
    schema::normalize(&kind.versions[0].schema, obj);
    schema::apply_defaults(&kind.versions[0].schema, obj);
    kind.hooks.default(obj);
}

/// Checks what defaulting makes of an object; shows the part at `path` only.
#[track_caller]
pub fn defaults(kind: &Kind, mut obj: Value, path: &[&str], want: Expect) {
    default(kind, &mut obj);
    want.assert_eq(&obj.at(path).to_string());
}

/// Checks the errors of a creation, one to a line, after defaulting and preparation.
#[track_caller]
pub fn create(kind: &Kind, obj: Value, want: Expect) {
    let mut obj = named(obj);
    let mut errors = FieldErrors::default();
    within(Operation::Create, None, |cx| {
        default(kind, &mut obj);
        kind.hooks.prepare_create(cx, &mut obj);
        kind.hooks.validate(cx, &obj, None, &mut errors);
    });
    want.assert_eq(&texts(&errors));
}

/// Checks the errors of an update of the main resource.
#[track_caller]
pub fn update(kind: &Kind, old: Value, new: Value, want: Expect) {
    update_of(kind, None, old, new, want);
}

/// Checks the errors of an update of a subresource; both objects are defaulted.
#[track_caller]
pub fn update_of(kind: &Kind, subresource: Option<&str>, old: Value, new: Value, want: Expect) {
    let (mut old, mut new) = (named(old), named(new));
    let mut errors = FieldErrors::default();
    within(Operation::Update, subresource, |cx| {
        default(kind, &mut old);
        default(kind, &mut new);
        kind.hooks.prepare_update(cx, &mut new, &old);
        kind.hooks.validate(cx, &new, Some(&old), &mut errors);
    });
    want.assert_eq(&texts(&errors));
}

/// The object as it is after creation: defaulted and prepared.
pub fn created(kind: &Kind, obj: Value) -> Value {
    let mut obj = named(obj);
    within(Operation::Create, None, |cx| {
        default(kind, &mut obj);
        kind.hooks.prepare_create(cx, &mut obj);
    });
    obj
}

/// The object as it is after an update of the main resource.
pub fn updated(kind: &Kind, old: &Value, new: Value) -> Value {
    let mut new = named(new);
    within(Operation::Update, None, |cx| {
        default(kind, &mut new);
        kind.hooks.prepare_update(cx, &mut new, old);
    });
    new
}

/// The object as it is after an update of a subresource.
pub fn updated_of(kind: &Kind, subresource: &str, old: &Value, new: Value) -> Value {
    let mut new = named(new);
    within(Operation::Update, Some(subresource), |cx| {
        default(kind, &mut new);
        kind.hooks.prepare_update(cx, &mut new, old);
    });
    new
}

/// Checks the warnings of a creation, one to a line.
#[track_caller]
pub fn warnings(kind: &Kind, obj: Value, want: Expect) {
    let obj = created(kind, obj);
    let warnings = within(Operation::Create, None, |cx| kind.hooks.warnings(cx, &obj, None));
    want.assert_eq(&warnings.join("\n"));
}

/// Checks the cells of the first version's columns, wide ones behind `||`.
#[track_caller]
pub fn cells(kind: &Kind, obj: Value, want: Expect) {
    let obj = named(obj);
    let (mut narrow, mut wide) = (Vec::new(), Vec::new());
    for column in &kind.versions[0].columns {
        let cell = match &column.source {
            ColumnSource::Fn(f) => f(&obj, now()),
            ColumnSource::Age(path) => {
                let path: Vec<&str> = path.iter().map(|s| s.as_str()).collect();
                crate::cells::since(obj.at(&path), now()).into()
            }
            ColumnSource::Path(path) => {
                let path: Vec<&str> = path.iter().map(|s| s.as_str()).collect();
                obj.at(&path).clone()
            }
            ColumnSource::JsonPath(path) => path.into(),
        };
        let text = cell.as_str().map_or_else(|| cell.to_string(), String::from);
        if column.priority == 0 { narrow.push(text) } else { wide.push(text) }
    }
    let mut line = narrow.join(" | ");
    if !wide.is_empty() {
        line += " || ";
        line += &wide.join(" | ");
    }
    want.assert_eq(&line);
}
