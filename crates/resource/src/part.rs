//! Bodies of subresources that are a kind of their own: a Scale, a Binding, an Eviction. They are held to that kind's
//! built-in schema and to the path as any object is.

use crate::{
    Body, Call, FieldValidation, WriteOptions,
    decode::{self, Refused},
};
use base::{Result, Status};
use schema::Mistyped;
use value::{Object, Value};

/// Older versions that upstream's decoder takes, and that read alike.
const FORMER: [(&str, &str); 4] = [
    ("policy/v1beta1", "Eviction"),
    ("extensions/v1beta1", "Scale"),
    ("apps/v1beta1", "Scale"),
    ("apps/v1beta2", "Scale"),
];

/// The body of a request, decoded; as it is where the subresource is a part of the object.
pub(crate) fn body(call: &Call, body: Body, options: &WriteOptions, warnings: &mut Vec<String>) -> Result<Value> {
    let value = tree(call, body.value, body.duplicates, options, warnings).map_err(|refused| match refused {
        Refused::Status(status) => status,
        Refused::Mistyped(why) => {
            let (kind, version) = named(call).map_or(("", ""), |(_, version, kind)| (kind, version));
            why.status(kind, version)
        }
        Refused::Foreign { kind, version, why } => {
            let wanted = named(call).map_or("", |(.., kind)| kind);
            Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {wanted}: {why}"))
        }
    })?;
    let namespace = value.namespace();
    if named(call).is_some() && !namespace.is_empty() && namespace != call.namespace {
        let text = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(text));
    }
    Ok(value)
}

/// The same for a tree of any origin, without the path.
pub(crate) fn tree(
    call: &Call,
    mut value: Value,
    duplicates: Vec<String>,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Value, Refused> {
    let Some((group, version, kind)) = named(call) else { return Ok(value) };
    decode::is_object(&value)?;
    let wanted = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
    if !FORMER.contains(&(value.str_at(&["apiVersion"]), kind)) {
        decode::foreign((&wanted, kind), || decode::internal(group, kind), &value)?;
    }
    value.set(&["apiVersion"], wanted);
    value.set(&["kind"], kind);
    let Some(schema) = schema::builtin::of(group, version, kind) else { return Ok(value) };
    let mut problems = schema::decode(&schema, &mut value).map_err(Refused::Mistyped)?;
    problems.extend(duplicates);
    match options.field_validation {
        FieldValidation::Strict if !problems.is_empty() => {
            Err(Refused::Mistyped(Mistyped(format!("strict decoding error: {}", problems.join(", ")))))
        }
        FieldValidation::Ignore => Ok(value),
        FieldValidation::Strict | FieldValidation::Warn => {
            warnings.append(&mut problems);
            Ok(value)
        }
    }
}

/// Whether a body that replaces names the object of the path, and no other one that had its name.
pub(crate) fn replaces(call: &Call, value: &Value, current: &Object) -> Result<()> {
    match value.name() {
        "" => {
            let text = format!("the name of the object ({} based on URL) was undeterminable", call.name);
            return Err(Status::bad_request(format!("{text}: name must be provided")));
        }
        name if name != call.name => {
            let text = format!("the name of the object ({name}) does not match the name on the URL ({})", call.name);
            return Err(Status::bad_request(text));
        }
        _ => {}
    }
    let uid = value.str_at(&["metadata", "uid"]);
    if uid.is_empty() || uid == current.meta.uid { Ok(()) } else { Err(call.other_uid(uid, current)) }
}

/// Group, version and kind of the body, where it has one of its own.
fn named(call: &Call) -> Option<(&str, &str, &str)> {
    let (group, version, kind) = call.kind.subresource_of(call.version, call.subresource.as_deref()?)?.body.as_ref()?;
    Some((group, version, kind))
}
