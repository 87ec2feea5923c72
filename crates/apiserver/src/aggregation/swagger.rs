//! OpenAPI of version 2: what other servers describe, put into this server's own document. Pure: documents in, documents
//! out. Source of the rules: `k8s.io/kube-openapi/pkg/aggregator`.
//!
//! Of another server's document only the paths of the version count that it serves for us, and what they refer to. Where
//! two mean different things by one name, the later one is renamed: `…Status_v2`.

use std::collections::{BTreeMap, BTreeSet};
use value::{Map, Value};

const GVKS: &str = "x-kubernetes-group-version-kind";
/// What is referred to by name.
const SECTIONS: [&str; 2] = ["definitions", "parameters"];

/// The part of a document that is about a version of a group; `None` where there is none.
pub fn part(document: &Value, group: &str, version: &str) -> Option<Value> {
    let prefix = format!("/apis/{group}/{version}/");
    let paths: Map = document
        .members_at(&["paths"])
        .filter(|(path, _)| path.starts_with(&prefix))
        .map(|(path, item)| (path, item.clone()))
        .collect();
    if paths.is_empty() {
        return None;
    }
    let paths = Value::Object(paths);
    let (before, after) = (used(document, document.at(&["paths"])), used(document, &paths));
    let mut out = Value::object();
    out.set(&["paths"], paths);
    for section in SECTIONS {
        // What nothing has ever referred to is there for its own sake.
        let keep = |name: &str| {
            let name = (section, name.to_string());
            after.contains(&name) || !before.contains(&name)
        };
        let kept: Map = document
            .members_at(&[section])
            .filter(|(name, _)| keep(name))
            .map(|(name, item)| (name, item.clone()))
            .collect();
        out.set(&[section], Value::Object(kept));
    }
    Some(out)
}

/// A document with the parts of others. A path that is there already stays as it is.
pub fn merged<'a>(mut own: Value, parts: impl Iterator<Item = &'a Value>) -> Value {
    for part in parts {
        let mut renames = BTreeMap::new();
        for section in SECTIONS {
            for (name, new) in renamed(&own, part, section) {
                renames.insert(reference(section, &name), reference(section, &new));
            }
        }
        let part = if renames.is_empty() { part.clone() } else { refer(part, &renames) };
        for section in SECTIONS {
            for (name, item) in part.members_at(&[section]) {
                let name = match renames.get(&reference(section, name)) {
                    Some(new) => new.strip_prefix(&reference(section, "")).unwrap_or(name),
                    None => name,
                };
                match own.at(&[section, name]) {
                    Value::Null => own.set(&[section, name], item),
                    known => {
                        if let Some(gvks) = joined(known.at(&[GVKS]), item.at(&[GVKS])) {
                            own.set(&[section, name, GVKS], gvks);
                        }
                    }
                }
            }
        }
        for (path, item) in part.members_at(&["paths"]) {
            if own.at(&["paths", path]).is_null() {
                own.set(&["paths", path], item);
            }
        }
    }
    own
}

/// The names of a section that mean something else in the document, and what they are called instead.
fn renamed(own: &Value, part: &Value, section: &str) -> Vec<(String, String)> {
    let mut taken = BTreeSet::new();
    let mut renames = Vec::new();
    for (name, item) in part.members_at(&[section]) {
        let known = |name: &str| Some(own.at(&[section, name])).filter(|known| !known.is_null());
        if known(name).is_none_or(|known| alike(known, item)) {
            continue;
        }
        let new = (2..).map(|n| format!("{name}_v{n}")).find(|new| match known(new) {
            Some(known) => alike(known, item),
            None => !taken.contains(new) && part.at(&[section, new]).is_null(),
        });
        if let Some(new) = new {
            taken.insert(new.clone());
            renames.push((name.to_string(), new));
        }
    }
    renames
}

/// The same but for the kinds that they are named as.
fn alike(a: &Value, b: &Value) -> bool {
    let bare = |v: &Value| {
        let mut v = v.clone();
        v.remove(&[GVKS]);
        v
    };
    a == b || bare(a) == bare(b)
}

/// Both lists of kinds; `None` where the first says all.
fn joined(own: &Value, more: &Value) -> Option<Value> {
    let mut all = own.items_at(&[]).to_vec();
    let before = all.len();
    for item in more.items_at(&[]) {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
    (all.len() > before).then(|| Value::Array(all))
}

fn reference(section: &str, name: &str) -> String {
    format!("#/{section}/{name}")
}

/// What paths refer to, and what that refers to.
fn used(document: &Value, paths: &Value) -> BTreeSet<(&'static str, String)> {
    let mut found = BTreeSet::new();
    let mut open = vec![paths];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                for (key, item) in map.iter() {
                    open.push(item);
                    let Some(text) = item.as_str().filter(|_| key == "$ref") else { continue };
                    let section = SECTIONS.into_iter().find_map(|s| {
                        Some((s, text.strip_prefix("#/")?.strip_prefix(s)?.strip_prefix('/')?.to_string()))
                    });
                    if let Some((section, name)) = section
                        && found.insert((section, name.clone()))
                    {
                        open.push(document.at(&[section, &name]));
                    }
                }
            }
            Value::Array(items) => open.extend(items.iter()),
            _ => {}
        }
    }
    found
}

/// The same with other references.
fn refer(value: &Value, renames: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(map) => {
            let each = map.iter().map(|(key, item)| match item.as_str().and_then(|text| renames.get(text)) {
                Some(new) if key == "$ref" => (key, Value::from(new.as_str())),
                _ => (key, refer(item, renames)),
            });
            Value::Object(each.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| refer(item, renames)).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn get(schema: &str) -> Value {
        let reference = format!("#/definitions/{schema}");
        value!({"get": {"responses": {"200": {"schema": {"$ref": reference}}}}})
    }

    fn theirs() -> Value {
        let mut document = value!({"swagger": "2.0", "definitions": {
            "Flunder": {"properties": {"meta": {"$ref": "#/definitions/Meta"}, "status": {"$ref": "#/definitions/Status"}}},
            "Status": {"type": "string"}, "Meta": {"type": "object", (GVKS): [{"kind": "B"}]},
            "Other": {"type": "object"}, "Free": {"type": "integer"}}});
        document.set(&["paths", "/apis/w/v1/flunders"], get("Flunder"));
        document.set(&["paths", "/apis/w/v2/others"], get("Other"));
        document.set(&["paths", "/apis/"], get("Other"));
        document
    }

    #[test]
    fn only_what_a_server_serves_for_us() {
        let part = part(&theirs(), "w", "v1").unwrap();
        let names = |section: &str| part.members_at(&[section]).map(|(k, _)| k.to_string()).collect::<Vec<_>>();
        assert_eq!(names("paths"), ["/apis/w/v1/flunders"]);
        assert_eq!(names("definitions"), ["Flunder", "Free", "Meta", "Status"]);
        assert!(super::part(&theirs(), "w", "v3").is_none());
    }

    #[test]
    fn names_that_mean_something_else_are_changed() {
        let mut own = value!({"swagger": "2.0", "info": {}, "definitions": {
            "Status": {"type": "object"}, "Status_v2": {"type": "boolean"}, "Meta": {"type": "object", (GVKS): [{"kind": "A"}]}}});
        own.set(&["paths", "/api/v1/x"], get("Status"));
        let part = part(&theirs(), "w", "v1").unwrap();
        let all = merged(own.clone(), [&part, &part].into_iter());
        assert_eq!(all.at(&["definitions", "Status"]), &value!({"type": "object"}));
        assert_eq!(all.at(&["definitions", "Status_v3"]), &value!({"type": "string"}));
        let status = ["definitions", "Flunder", "properties", "status", "$ref"];
        assert_eq!(all.str_at(&status), "#/definitions/Status_v3");
        assert_eq!(all.at(&["definitions", "Meta", GVKS]), &value!([{"kind": "A"}, {"kind": "B"}]));
        assert!(all.at(&["definitions", "Status_v4"]).is_null(), "the second time it is known");
        assert_eq!(all.at(&["paths", "/apis/w/v1/flunders"]), &get("Flunder"));
        assert_eq!(merged(own.clone(), std::iter::empty()), own);
    }
}
