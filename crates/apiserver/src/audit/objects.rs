//! What a request carries and what it is answered with, as far as the policy wants it written down.
//!
//! Bodies are kept as they came (they are shared bytes) and become JSON when the event is made. What is written is what the
//! client sent: upstream writes it with the defaults of its version.

use super::{ObjectRef, Verdict, policy::Level};
use bytes::Bytes;
use parking_lot::Mutex;
use value::Value;

/// Of one request.
#[derive(Debug, Default)]
pub struct Objects {
    request: Mutex<Option<Bytes>>,
    response: Mutex<Option<Value>>,
    reference: Mutex<ObjectRef>,
}

impl Objects {
    /// The body of a write, of a content type.
    pub fn request(&self, verdict: &Verdict, content_type: Option<&str>, body: &Bytes) {
        if verdict.level < Level::Request || body.is_empty() {
            return;
        }
        // A patch's type says what it does; it is written in JSON, or in YAML.
        let form = content_type.map(|text| match text.split(';').next().unwrap_or("").trim() {
            kind if kind.ends_with("+json") => "application/json",
            kind if kind.ends_with("+yaml") => "application/yaml",
            kind => kind,
        });
        let Ok(decoded) = wire::decode(form, body, true) else { return };
        let mut tree = decoded.value;
        strip(verdict, &mut tree);
        *self.request.lock() = Some(tree.to_json().into());
    }
    /// What a write made; the name of what has none in its path.
    pub fn made(&self, verdict: &Verdict, meta: impl FnOnce() -> ObjectRef) {
        if verdict.level >= Level::Metadata {
            *self.reference.lock() = meta();
        }
    }
    /// The answer.
    pub fn response(&self, verdict: &Verdict, answer: impl FnOnce() -> Option<Value>) {
        if verdict.level < Level::RequestResponse {
            return;
        }
        if let Some(mut tree) = answer() {
            strip(verdict, &mut tree);
            *self.response.lock() = Some(tree);
        }
    }
    /// What there is by now: reference, request, answer.
    pub fn taken(&self) -> (ObjectRef, Option<Bytes>, Option<Bytes>) {
        let response = self.response.lock().take().map(|tree| tree.to_json().into());
        (self.reference.lock().clone(), self.request.lock().clone(), response)
    }
}

fn strip(verdict: &Verdict, tree: &mut Value) {
    if !verdict.omit_managed_fields {
        return;
    }
    tree.remove(&["metadata", "managedFields"]);
    if let Some(Value::Array(items)) = tree.as_object_mut().and_then(|map| map.get_mut("items")) {
        for item in items {
            item.remove(&["metadata", "managedFields"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn bodies_by_level() {
        let verdict = |level, omit_managed_fields| Verdict { level, omit_managed_fields, ..Verdict::default() };
        let managed = br#"{"metadata": {"name": "x", "managedFields": [{}]}, "a": 1}"#;
        for (level, kind, body, want) in [
            (Level::Metadata, "application/json", &managed[..], None),
            (Level::Request, "application/json", managed, Some(r#"{"a":1,"metadata":{"name":"x"}}"#)),
            (Level::Request, "application/apply-patch+yaml", b"a: 1\n", Some(r#"{"a":1}"#)),
            (Level::Request, "application/json-patch+json", b"[ 1 ]", Some("[1]")),
            (Level::Request, "application/json", b"{", None),
            (Level::Request, "application/json", b"", None),
        ] {
            let objects = Objects::default();
            objects.request(&verdict(level, true), Some(kind), &Bytes::copy_from_slice(body));
            let got = objects.taken().1;
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{kind}");
        }
        let objects = Objects::default();
        let list = || value!({"items": [{"metadata": {"managedFields": []}}]});
        objects.response(&verdict(Level::Request, false), || panic!("nobody asks"));
        objects.response(&verdict(Level::RequestResponse, true), || Some(list()));
        assert_eq!(objects.taken().2.unwrap(), r#"{"items":[{"metadata":{}}]}"#);
    }
}
