//! An object of a request in the versions in which others see it, and back.

use base::{Result, Status};
use resource::{Attributes, Call};
use schema::Kind;
use std::sync::Arc;
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
    let subresource = call.kind.subresource_of(call.version, call.subresource.as_deref()?)?;
    subresource.body.as_ref().map(|(group, version, kind)| (group.as_str(), version.as_str(), kind.as_str()))
}

/// A tree of a request in a version; null stays null.
pub async fn shown(a: &Attributes<'_>, object: &Value, version: usize) -> Result<Value> {
    if object.is_null() || body(a.call).is_some() {
        return Ok(object.clone());
    }
    a.conversions.tree(&a.call.kind, object.clone(), a.call.working_version(), version).await
}

/// A tree in a version, as somebody else has changed it, as the engine wants it: typed, pruned, with defaults, in the
/// version that is worked on.
pub async fn taken(a: &Attributes<'_>, mut object: Value, version: usize) -> Result<Value> {
    let call = a.call;
    if body(call).is_some() {
        return Ok(object);
    }
    let schema = &call.kind.versions[version].schema;
    schema::decode(schema, &mut object).map_err(|why| Status::internal(why.to_string()))?;
    schema::apply_defaults(schema, &mut object);
    let mut object = a.conversions.tree(&call.kind, object, version, call.working_version()).await?;
    call.kind.hooks.default(&mut object);
    Ok(object)
}

/// A stored object in a version, whichever it is stored in.
pub async fn in_version(a: &Attributes<'_>, kind: &Kind, object: &Arc<Object>, version: usize) -> Result<Value> {
    Ok(a.conversions.object(kind, version, object).await?.value())
}
