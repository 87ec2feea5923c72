//! From a request's tree to an object in its storage version: types, unknown fields, defaults, conversion.

use crate::{Body, Call, FieldValidation, WriteOptions, encode};
use base::{Result, Status};
use schema::Kind;
use std::sync::Arc;
use value::{Object, Value};

/// Decodes a body in the version of the call. Types are checked, unknown fields are dropped and reported as
/// `fieldValidation` says, defaults are set; the result is in the storage version.
pub(crate) fn decode(call: &Call, body: Body, options: &WriteOptions, warnings: &mut Vec<String>) -> Result<Value> {
    let Body { mut value, duplicates } = body;
    check_type_meta(call, &mut value)?;
    let version = &call.kind.versions[call.version];
    let unknown = schema::decode(&version.schema, &mut value).map_err(|e| e.status(&call.kind.kind, &version.name))?;
    if options.field_validation != FieldValidation::Ignore {
        let mut problems = unknown;
        problems.extend(duplicates.into_iter().map(|f| format!("duplicate field \"{f}\"")));
        if !problems.is_empty() && options.field_validation == FieldValidation::Strict {
            return Err(schema::strict_status(&call.kind.kind, &version.name, &problems));
        }
        warnings.append(&mut problems);
    }
    to_storage(call, value)
}

/// Defaults in the call's version, then conversion.
pub(crate) fn to_storage(call: &Call, mut value: Value) -> Result<Value> {
    schema::apply_defaults(&call.kind.versions[call.version].schema, &mut value);
    let mut value = convert(&call.kind, value, call.version, call.kind.storage)?;
    call.kind.hooks.default(&mut value);
    Ok(value)
}

/// Converts a tree between two versions of its kind.
pub(crate) fn convert(kind: &Kind, mut value: Value, from: usize, to: usize) -> Result<Value> {
    if from != to {
        kind.hooks.convert(&mut value, &kind.versions[from].name, &kind.versions[to].name)?;
        value.set(&["apiVersion"], kind.api_version(to));
    }
    Ok(value)
}

/// A stored object in the version of the call: the same one where that is how it was stored.
pub(crate) fn in_version(kind: &Kind, version: usize, object: &Arc<Object>) -> Result<Arc<Object>> {
    let wanted = kind.api_version(version);
    let stored = encode::api_version(object.json());
    if stored == wanted {
        return Ok(object.clone());
    }
    let from = stored.rsplit('/').next().and_then(|v| kind.version(v)).unwrap_or(kind.storage);
    let value = convert(kind, object.value(), from, version)?;
    let json = encode::complete(&value, object.revision);
    Ok(Object::new(object.key.clone(), object.revision, object.meta.clone(), json))
}

/// A stored object's tree in the storage version.
pub(crate) fn stored_value(kind: &Kind, object: &Arc<Object>) -> Result<Value> {
    Ok(in_version(kind, kind.storage, object)?.value())
}

fn check_type_meta(call: &Call, value: &mut Value) -> Result<()> {
    if value.as_object().is_none() {
        let given = match value.type_name() {
            "integer" => "number",
            "boolean" => "bool",
            name => name,
        };
        let text = format!("json: cannot unmarshal {given} into Go value of type map[string]interface {{}}");
        return Err(schema::Mistyped(text).status(&call.kind.kind, &call.kind.versions[call.version].name));
    }
    let wanted = call.api_version();
    match value.str_at(&["apiVersion"]) {
        "" => value.set(&["apiVersion"], wanted),
        given if given != wanted => {
            return Err(Status::bad_request(format!(
                "the API version in the data ({given}) does not match the expected API version ({wanted})"
            )));
        }
        _ => {}
    }
    match value.str_at(&["kind"]) {
        "" => value.set(&["kind"], &call.kind.kind),
        given if given != call.kind.kind => {
            return Err(Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): the kind in the data is {given}",
                call.kind.kind
            )));
        }
        _ => {}
    }
    Ok(())
}
