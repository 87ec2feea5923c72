//! The engine's side of managed fields: what `merge::managed` needs to know of a kind and a request, and where the list
//! stands while an object is being written.
//!
//! The list is taken out of both states before they are patched, compared or prepared, and put back before admission: a
//! patch does not copy it, and a change of the list alone is told from a change of the object. What admission and the
//! kind's hooks change belongs to nobody, as with upstream, which tracks before them.

use crate::{
    Call, Engine, WriteOptions,
    convert::{self, KindVersions},
    engine::{Change, Half},
};
use base::{Result, time};
use merge::managed::{self, Known, Reach, Write};
use schema::{Operation, SubresourceAction};
use value::Value;

const LIST: &[&str] = &["metadata", "managedFields"];

/// Takes the list out of an object; Null where there is none.
pub(crate) fn take(object: &mut Value) -> Value {
    object.remove(LIST).unwrap_or_default()
}

/// Puts a list into an object that has none.
pub(crate) fn put(object: &mut Value, list: Value) {
    if !list.is_null() {
        object.set(LIST, list);
    }
}

/// The list as it stands in an object.
pub(crate) fn list(object: &Value) -> &Value {
    object.at(LIST)
}

/// A request, as managers are concerned with it.
pub(crate) struct Tracked<'a> {
    call: &'a Call,
    api_version: String,
    manager: &'a str,
    time: String,
    reach: Reach,
}

impl<'a> Tracked<'a> {
    pub fn new(call: &'a Call, options: &'a WriteOptions, now: time::Timestamp) -> Self {
        Tracked {
            call,
            api_version: call.api_version(),
            manager: &options.field_manager,
            time: time::seconds(now),
            reach: reach(call),
        }
    }
    /// The same as a write to one field of the object by way of a subresource.
    pub fn write(&self) -> Write<'_> {
        Write {
            manager: self.manager,
            api_version: &self.api_version,
            subresource: self.call.subresource.as_deref().unwrap_or(""),
            time: &self.time,
            reach: &self.reach,
        }
    }
    /// The list of a new object in the version that is worked on, of which it was `given`.
    pub fn create(&self, object: &Value, given: &Value, known: &Known) -> Result<Value> {
        let versions = KindVersions::new(&self.call.kind, &[]);
        if self.is_working() {
            return managed::track_create(&versions, object, given, &self.write(), Some(known));
        }
        let object = convert::for_reply(self.call, object.clone())?;
        managed::track_create(&versions, &object, given, &self.write(), Some(known))
    }
    /// The list after an update. Both states are in the version that is worked on and without theirs.
    pub fn update(
        &self,
        versions: &KindVersions<'_>,
        old: &Value,
        new: &Value,
        live: &Value,
        given: &Value,
    ) -> Result<Value> {
        if self.is_working() || old == new {
            return managed::track_update(versions, old, new, live, given, &self.write());
        }
        let shown = |v: &Value| convert::for_reply(self.call, v.clone());
        managed::track_update(versions, &shown(old)?, &shown(new)?, live, given, &self.write())
    }
    /// True where the request's version is the one that is worked on.
    fn is_working(&self) -> bool {
        self.call.version == self.call.working_version()
    }
}

/// The fields that the call's endpoint writes.
fn reach(call: &Call) -> Reach {
    let kind = &call.kind;
    let Some(name) = call.subresource.as_deref() else {
        let never = if kind.status_apart(call.version) { vec!["status".into()] } else { Vec::new() };
        return Reach { only: None, never };
    };
    match kind.subresource_of(call.version, name).map(|s| &s.action) {
        Some(SubresourceAction::Fields(fields)) => Reach { only: Some(fields.clone()), never: Vec::new() },
        Some(SubresourceAction::Scale { replicas, .. }) => {
            Reach { only: Some(vec![replicas.clone()]), never: Vec::new() }
        }
        _ => Reach::default(),
    }
}

impl Engine {
    /// Mutating admission of an object with its managers.
    pub(crate) async fn mutate(
        &self,
        call: &Call,
        mut object: Value,
        old: Option<&Value>,
        managers: Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Value> {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        if !self.options.admission.applies(call, operation) {
            put(&mut object, managers);
            return Ok(object);
        }
        put(&mut object, managers.clone());
        let change = Change { object, old, options, warnings };
        let mut object = self.admit(Half::Mutating, call, operation, change).await?;
        // What stands there as it was put, which sharing tells at once, is as it should be.
        if *list(&object) != managers {
            warnings.extend(mend(&mut object, old));
        }
        Ok(object)
    }
}

/// Takes back a list that admission has made unreadable; the warning that the client gets for it. What stands then is
/// the old object's, not as upstream the one before admission: no copy is made of every list for the sake of a broken
/// webhook.
fn mend(object: &mut Value, old: Option<&Value>) -> Option<String> {
    let why = managed::Managers::check(list(object)).err()?;
    take(object);
    put(object, old.map(|old| list(old).clone()).unwrap_or_default());
    Some(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}"
    ))
}

/// Where only times in the list differ from what is stored, they are what they were: a write that changes nothing is
/// none. Source: `IgnoreManagedFieldsTimestampsTransformer`.
pub(crate) fn keep_times(new: &mut Value, old: &Value) {
    if list(new) == list(old) || !managed::same_but_for_times(list(new), list(old)) {
        return;
    }
    let changed = take(new);
    let live = list(old).clone();
    put(new, live);
    if new != old {
        take(new);
        put(new, changed);
    }
}
