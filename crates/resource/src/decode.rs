//! From a request's tree to an object in the version that is worked on: types, unknown fields, defaults, conversion.

use crate::{Body, Call, FieldValidation, WriteOptions, convert, managed};
use base::{FieldErrors, Result, Status};
use schema::Mistyped;
use value::Value;

/// Why a tree is no object of its kind.
pub(crate) enum Refused {
    /// The answer as it stands.
    Status(Status),
    /// In a decoder's words; what is said around them depends on where the tree came from.
    Mistyped(Mistyped),
    /// The tree says that it is another kind than the call's.
    Foreign { kind: String, version: String, why: String },
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Refused::Status(status)
    }
}

/// Decodes a body in the version of the call. Types are checked, unknown fields are dropped and reported as
/// `fieldValidation` says, defaults are set; the result is in the version that is worked on.
pub(crate) fn decode(call: &Call, body: Body, options: &WriteOptions, warnings: &mut Vec<String>) -> Result<Value> {
    decode_tree(call, body.value, &Value::Null, body.duplicates, options, warnings).map_err(|refused| match refused {
        Refused::Status(status) => status,
        Refused::Mistyped(why) => why.status(&call.kind.kind, &call.kind.versions[call.version].name),
        Refused::Foreign { kind, version, why } => {
            let wanted = &call.kind.kind;
            Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {wanted}: {why}"))
        }
    })
}

/// The same for a tree of any origin, with what is known already of fields that stand twice. What the tree shares with
/// `old`, a stored object in the version of the call, was decoded before (`Null` for a tree of its own).
pub(crate) fn decode_tree(
    call: &Call,
    mut value: Value,
    old: &Value,
    duplicates: Vec<String>,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Value, Refused> {
    check_type_meta(call, &mut value)?;
    let version = &call.kind.versions[call.version];
    // Decoding drops empty lists; this one says something.
    let reset = managed::list(&value).as_array().is_some_and(Vec::is_empty);
    // The schema of a custom kind may have changed since.
    let old = if call.kind.custom.is_none() { old } else { &Value::Null };
    let mut problems = schema::decode_beside(&version.schema, &mut value, old).map_err(Refused::Mistyped)?;
    if reset {
        managed::put(&mut value, Value::Array(vec![Value::object()]));
    }
    if options.field_validation != FieldValidation::Ignore {
        // Those of YAML name their lines, and are found before the fields are looked at.
        let lines = duplicates.first().is_some_and(|first| first.starts_with("line "));
        let found = duplicates.len();
        problems.extend(duplicates);
        if lines {
            problems.rotate_right(found);
        }
        if !problems.is_empty() && options.field_validation == FieldValidation::Strict {
            let head = if lines { "yaml: unmarshal errors:\n  " } else { "" };
            return Err(Refused::Mistyped(Mistyped(format!("strict decoding error: {head}{}", problems.join(", ")))));
        }
        warnings.append(&mut problems);
    }
    Ok(to_working(call, value, old)?)
}

/// 422 for a patch whose result is no object of the kind. Upstream shows the result, or a strategic patch itself as Go
/// prints a map.
pub(crate) fn patch_refused(patch: &merge::Patch, result: &Value, why: Mistyped) -> Status {
    let shown = match patch.kind {
        merge::PatchKind::Strategic => merge::managed::go_text(&patch.body),
        _ => result.to_string(),
    };
    let mut errors = FieldErrors::default();
    errors.invalid("patch", &shown, why.to_string());
    Status::invalid("", "", "", &errors)
}

/// Defaults in the call's version, then conversion; what is shared with `old` has its defaults.
fn to_working(call: &Call, mut value: Value, old: &Value) -> Result<Value> {
    schema::apply_defaults_beside(&call.kind.versions[call.version].schema, &mut value, old);
    let mut value = convert::from_request(call, value)?;
    call.kind.hooks.default(&mut value);
    Ok(value)
}

fn check_type_meta(call: &Call, value: &mut Value) -> Result<(), Refused> {
    is_object(value)?;
    let wanted = call.api_version();
    if call.kind.custom.is_none() {
        foreign((&wanted, &call.kind.kind), || call.internal_type(), value)?;
    }
    match value.str_at(&["apiVersion"]) {
        "" => value.set(&["apiVersion"], wanted),
        given if given != wanted => {
            return Err(Refused::Status(Status::bad_request(format!(
                "the API version in the data ({given}) does not match the expected API version ({wanted})"
            ))));
        }
        _ => {}
    }
    match value.str_at(&["kind"]) {
        "" => value.set(&["kind"], &call.kind.kind),
        given if given != call.kind.kind => {
            return Err(Refused::Status(Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): the kind in the data is {given}",
                call.kind.kind
            ))));
        }
        _ => {}
    }
    Ok(())
}

/// What upstream calls the type of objects inside: `core.ConfigMap`.
pub(crate) fn internal(group: &str, kind: &str) -> String {
    match group {
        "" | "events.k8s.io" => format!("core.{kind}"),
        group => format!("{}.{kind}", group.split('.').next().unwrap_or(group)),
    }
}

/// What a decoder says of a tree that is none.
pub(crate) fn is_object(value: &Value) -> Result<(), Refused> {
    if value.as_object().is_none() {
        let given = match value.type_name() {
            "integer" => "number",
            "boolean" => "bool",
            name => name,
        };
        let text = format!("json: cannot unmarshal {given} into Go value of type map[string]interface {{}}");
        return Err(Refused::Mistyped(Mistyped(text)));
    }
    Ok(())
}

/// Upstream's decoder knows the built-in kinds: one that it does not know is not registered, and one that is another
/// cannot be converted. Another version of the same kind is found out later.
pub(crate) fn foreign(
    (wanted, wanted_kind): (&str, &str),
    internal: impl FnOnce() -> String,
    value: &Value,
) -> Result<(), Refused> {
    let or = |given: &str, default: &str| if given.is_empty() { default.to_string() } else { given.to_string() };
    let api_version = or(value.str_at(&["apiVersion"]), wanted);
    let kind = or(value.str_at(&["kind"]), wanted_kind);
    if api_version == wanted && kind == wanted_kind {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let why = if schema::builtin::of(group, version, &kind).is_none() {
        let scheme = "pkg/api/legacyscheme/scheme.go:30";
        format!("no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"{scheme}\"")
    } else if kind != wanted_kind {
        format!("converting ({version}.{kind}) to ({}): unknown conversion", internal())
    } else {
        return Ok(());
    };
    Err(Refused::Foreign { version: version.to_string(), kind, why })
}
