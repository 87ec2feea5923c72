//! An object of a request in the versions in which others see it, and back.

use base::{Result, Status};
use resource::Call;
use schema::Kind;
use value::{Object, Value};

/// Group, version and kind of what a request carries.
pub fn kind_of(call: &Call, version: usize) -> (&str, &str, &str) {
    match body(call) {
        Some((group, version, kind)) => (group, version, kind),
        None => {
            let (group, version) = call.kind.group_version(version);
            (group, version, &call.kind.kind)
        }
    }
}

/// The kind of a subresource's own body.
fn body(call: &Call) -> Option<(&str, &str, &str)> {
    let subresource = call.kind.subresource(call.subresource.as_deref()?)?;
    subresource.body.as_ref().map(|(group, version, kind)| (group.as_str(), version.as_str(), kind.as_str()))
}

/// A tree of the engine in a version; null stays null.
pub fn shown(call: &Call, object: &Value, version: usize) -> Result<Value> {
    if object.is_null() || body(call).is_some() {
        return Ok(object.clone());
    }
    convert(&call.kind, object.clone(), call.kind.storage, version)
}

/// A tree in a version, as somebody else has changed it, as the engine wants it: typed, pruned, with defaults, in the
/// storage version.
pub fn taken(call: &Call, mut object: Value, version: usize) -> Result<Value> {
    if body(call).is_some() {
        return Ok(object);
    }
    let schema = &call.kind.versions[version].schema;
    schema::decode(schema, &mut object).map_err(|why| Status::internal(why.to_string()))?;
    schema::apply_defaults(schema, &mut object);
    let mut object = convert(&call.kind, object, version, call.kind.storage)?;
    call.kind.hooks.default(&mut object);
    Ok(object)
}

fn convert(kind: &Kind, mut object: Value, from: usize, to: usize) -> Result<Value> {
    if from != to {
        kind.hooks.convert(&mut object, &kind.versions[from].name, &kind.versions[to].name)?;
        object.set(&["apiVersion"], kind.api_version(to));
    }
    Ok(object)
}

/// A stored object in a version, whichever it is stored in.
pub fn in_version(kind: &Kind, object: &Object, version: usize) -> Result<Value> {
    let value = object.value();
    let stored = value.str_at(&["apiVersion"]).rsplit('/').next().and_then(|name| kind.version(name));
    convert(kind, value, stored.unwrap_or(kind.storage), version)
}
