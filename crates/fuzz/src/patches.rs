//! Patches and configurations, on objects that are as much from outside.

use crate::{parts, tree};
use merge::managed::{self, FieldSet, Managers, Reach, Versions, Write};
use schema::Schema;
use std::sync::LazyLock;
use value::Value;

/// A patch, then an object.
pub fn json(data: &[u8]) {
    patched("application/json-patch+json", None, data);
}

/// Applied twice it is the same as once (RFC 7386).
pub fn merge(data: &[u8]) {
    if let Some((patch, once)) = patched("application/merge-patch+json", None, data) {
        assert_eq!(merge::apply(&patch, None, &once).ok(), Some(once));
    }
}

/// On a Pod.
pub fn strategic(data: &[u8]) {
    patched("application/strategic-merge-patch+json", Some(&PODS.0), data);
}

fn patched(content_type: &str, schema: Option<&Schema>, data: &[u8]) -> Option<(merge::Patch, Value)> {
    let [patch, object] = parts(data)[..] else { return None };
    let object = tree(object)?;
    let patch = merge::parse(content_type, patch).ok()?;
    let done = merge::apply(&patch, schema, &object).ok()?;
    Some((patch, done))
}

/// A configuration of a Pod, the live object (or nothing), and its managed fields.
pub fn apply(data: &[u8]) {
    let parts = parts(data);
    let object = |part: &&[u8]| tree(part).filter(|tree| tree.as_object().is_some());
    // That it is of the kind is checked before; what is stored was checked once.
    let Some(config) = parts.first().and_then(object) else { return };
    let live = parts.get(1).and_then(object);
    let list =
        parts.get(2).and_then(|part| tree(part)).filter(|list| Managers::check(list).is_ok()).unwrap_or_default();
    let reach = Reach::default();
    let write =
        Write { manager: "fuzz", api_version: "v1", subresource: "", time: "2026-01-02T03:04:05Z", reach: &reach };
    for force in [false, true] {
        let live = live.as_ref().map(|live| (live, &list));
        let Ok(applied) = managed::apply(&*PODS, live, &config, &write, force) else { continue };
        Managers::check(&applied.managed).unwrap_or_else(|why| panic!("{why}: {}", applied.managed));
        let Some(object) = applied.object.as_ref().or(live.map(|(live, _)| live)) else { continue };
        // The same once more changes nothing and is in conflict with nobody.
        let again = managed::apply(&*PODS, Some((object, &applied.managed)), &config, &write, false);
        match again {
            Ok(again) => assert_eq!(said(again.object.as_ref().unwrap_or(object)), said(object), "after {object}"),
            Err(_) => panic!("refused the second time: {config} on {object}"),
        }
    }
}

/// Without fields that hold nothing: an emptied map that the configuration has as null is one or the other, as upstream's merge
/// leaves it, and decoding the object drops both.
fn said(value: &Value) -> Value {
    let mut value = value.clone();
    empties(&mut value);
    value
}

/// Takes them out; whether the value itself holds nothing.
fn empties(value: &mut Value) -> bool {
    if let Some(items) = value.as_array_mut() {
        for item in items.iter_mut() {
            empties(item);
        }
        return items.is_empty();
    }
    let Some(fields) = value.as_object_mut() else { return value.is_null() };
    fields.retain(|_, field| !empties(field));
    fields.is_empty()
}

/// A set of fields, and another.
pub fn fields(data: &[u8]) {
    let sets: Vec<FieldSet> = parts(data).iter().filter_map(|part| FieldSet::read(&tree(part)?).ok()).collect();
    for set in &sets {
        let text = set.to_json();
        let read = value::parse_lenient(text.as_bytes()).expect("JSON");
        assert_eq!(FieldSet::read(&read).expect("a set").to_json(), text);
        let _ = set.leaves();
    }
    if let [a, b, ..] = &sets[..] {
        let mut union = a.clone();
        union.unite(b);
        let mut rest = union.clone();
        rest.subtract(b);
        let both = a.intersection(b);
        let mut whole = rest;
        whole.unite(b);
        assert_eq!(whole.to_json(), union.to_json());
        let mut same = a.clone();
        same.unite(&both);
        assert_eq!(same.to_json(), a.to_json());
    }
}

struct Pods(Schema);

static PODS: LazyLock<Pods> = LazyLock::new(|| Pods(schema::builtin::of("", "v1", "Pod").expect("built in")));

impl Versions for Pods {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        (api_version == "v1").then_some(&self.0)
    }
    fn convert(&self, object: &Value, api_version: &str) -> base::Result<Option<Value>> {
        Ok((api_version == "v1").then(|| object.clone()))
    }
    fn custom(&self) -> bool {
        false
    }
}
