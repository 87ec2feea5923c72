//! The patches of the API: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch; and who owns what
//! ([`managed`]), with server-side apply.
//!
//! A patch is parsed once per request and applied as often as the write is retried. Application is pure: patch, schema
//! and the current object in, the new object out; decoding, defaults and validation of the result are the engine's.
//! Invariant: the patch is never changed, and only the current object is copied as a whole.

mod json;
pub mod managed;
mod merge;
mod strategic;

use base::{Reason, Result, Status};
use schema::Schema;
use value::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchKind {
    /// In the order in which messages list them.
    const ALL: [(PatchKind, &str); 4] = [
        (PatchKind::Json, "application/json-patch+json"),
        (PatchKind::Merge, "application/merge-patch+json"),
        (PatchKind::Strategic, "application/strategic-merge-patch+json"),
        (PatchKind::Apply, "application/apply-patch+yaml"),
    ];
    /// The media types of all, in the order in which messages list them; custom resources have no strategic merge patch.
    pub fn names(strategic: bool) -> Vec<&'static str> {
        let wanted = |kind| strategic || kind != PatchKind::Strategic;
        PatchKind::ALL.iter().filter(|(kind, _)| wanted(*kind)).map(|(_, name)| *name).collect()
    }
    /// From a `Content-Type`; parameters such as the charset are ignored. 415 for anything else.
    pub fn of(content_type: &str) -> Result<Self> {
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        let found = PatchKind::ALL.into_iter().find(|(_, name)| *name == media_type);
        found.map(|(kind, _)| kind).ok_or_else(|| unsupported(|_| true))
    }
}

/// A parsed patch.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    pub kind: PatchKind,
    /// A list of operations for a JSON patch, an object for the others.
    pub body: Value,
    /// Fields that stood twice, as strict validation reports them: `duplicate field "spec.replicas"`.
    pub duplicates: Vec<String>,
}

/// Reads a patch in JSON (a configuration that is applied may be YAML, which its reader has parsed already). 415 for an
/// unknown content type, 400 for a body that is no such patch, 413 for a JSON patch of more
/// than 10,000 operations.
pub fn parse(content_type: &str, body: &[u8]) -> Result<Patch> {
    let kind = PatchKind::of(content_type)?;
    let refused = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    let parsed = value::parse(body).map_err(|_| refused(value::complaint(body)))?;
    if kind == PatchKind::Merge && parsed.value.is_null() {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    let (want, expected) = match (kind, &parsed.value) {
        (PatchKind::Json, Value::Array(_)) => (true, ""),
        (PatchKind::Merge | PatchKind::Strategic | PatchKind::Apply, Value::Object(_)) => (true, ""),
        (PatchKind::Json, _) => (false, "[]handlers.jsonPatchOp"),
        _ => (false, "map[string]interface {}"),
    };
    if !want {
        let given = match parsed.value.type_name() {
            "integer" => "number",
            "boolean" => "bool",
            other => other,
        };
        return Err(refused(format!("json: cannot unmarshal {given} into Go value of type {expected}")));
    }
    if kind == PatchKind::Json {
        json::check(&parsed.value)?;
    }
    let prefix = if kind == PatchKind::Json { "json patch " } else { "" };
    let duplicates = parsed.duplicates.iter().map(|path| format!("{prefix}duplicate field \"{path}\"")).collect();
    Ok(Patch { kind, body: parsed.value, duplicates })
}

/// The object after the patch. `schema` is that of the object's version; `None` for a custom kind, which has no
/// strategic merge patch (415). 422 where the patch does not fit the object.
pub fn apply(patch: &Patch, schema: Option<&Schema>, current: &Value) -> Result<Value> {
    apply_to(patch, schema, current.clone())
}

/// The same where the object is not needed any more: nothing is copied.
pub fn apply_to(patch: &Patch, schema: Option<&Schema>, mut current: Value) -> Result<Value> {
    match (patch.kind, schema) {
        (PatchKind::Json, _) => json::apply(&patch.body, current),
        (PatchKind::Merge, _) => {
            merge::apply(&mut current, &patch.body);
            Ok(current)
        }
        (PatchKind::Strategic, Some(schema)) => strategic::apply(schema, current, &patch.body),
        (PatchKind::Strategic, None) => Err(unsupported(|kind| kind != PatchKind::Strategic)),
        // Needs to know who applies, and what others own: `managed::apply`.
        (PatchKind::Apply, _) => Err(unsupported(|kind| kind != PatchKind::Apply)),
    }
}

/// The object after a JSON patch of somebody who may know why it does not fit: admission, for its answers.
pub fn json_patch(patch: &Patch, current: Value) -> Result<Value, String> {
    json::run_all(&patch.body, current)
}

fn unsupported(accepted: impl Fn(PatchKind) -> bool) -> Status {
    let names = PatchKind::ALL.iter().filter(|(kind, _)| accepted(*kind)).map(|(_, name)| *name);
    let names: Vec<&str> = names.collect();
    let text = "the body of the request was in an unknown format - accepted media types include";
    Status::new(Reason::UnsupportedMediaType, format!("{text}: {}", names.join(", ")))
}

/// 422 for a JSON patch that does not fit the object. Upstream does not say why, and so do we: clients match on the sentence.
fn rejected() -> Status {
    Status::new(Reason::Invalid, "the server rejected our request due to an error in our request").with_empty_details()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_patch() {
        for (content_type, body, code, want) in [
            (
                "text/plain",
                "{}",
                415,
                "accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
            ),
            (
                "application/merge-patch+json",
                "[]",
                400,
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            (
                "application/json-patch+json",
                "{}",
                400,
                "cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            ("application/json-patch+json", "[", 400, "error decoding patch: "),
        ] {
            let status = parse(content_type, body.as_bytes()).unwrap_err();
            assert_eq!(status.code(), code);
            assert!(status.message().contains(want), "{}", status.message());
        }
        let many = format!("[{}{{}}]", "{\"op\":\"add\",\"path\":\"\"},".repeat(10_000));
        assert_eq!(parse("application/json-patch+json", many.as_bytes()).unwrap_err().code(), 413);
    }

    #[test]
    fn notes_duplicates_and_refuses_strategic_patches_of_custom_kinds() {
        let patch = parse("application/merge-patch+json; charset=utf-8", br#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(patch.duplicates, ["duplicate field \"a\""]);
        let patch = parse("application/strategic-merge-patch+json", b"{}").unwrap();
        assert_eq!(apply(&patch, None, &Value::object()).unwrap_err().code(), 415);
    }
}
