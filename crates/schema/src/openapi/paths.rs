//! Paths and operations of a kind.

use super::{Dialect, schemas::Schemas};
use crate::{Kind, Subresource, Verb, builtin, discovery::group_version};
use value::{Value, value};

/// Adds every path of a kind in one version.
pub(crate) fn add(paths: &mut Value, schemas: &mut Schemas, kind: &Kind, index: usize) {
    let (group, version) = kind.group_version(index);
    let root = format!("/{}/{}", if group.is_empty() { "api" } else { "apis" }, group_version(group, version));
    let scope = if kind.namespaced() { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{scope}/{}", kind.plural);
    let body = schemas.kind(kind, index);
    let list = if kind.verbs.contains(&Verb::List) { schemas.list(kind, index) } else { Value::Null };
    let dialect = schemas.dialect();
    let mut maker = Maker { schemas, kind, group, version, body, list };
    let mut add = |path: &str, operations: Vec<(&str, Value)>, named: bool| {
        if operations.is_empty() {
            return;
        }
        for (method, operation) in operations {
            paths.set(&[path, method], operation);
        }
        paths.set(&[path, "parameters"], path_parameters(dialect, path.contains("{namespace}"), named));
    };
    use Verb::{Create, Delete, DeleteCollection, Get, List, Patch, Update};
    let has = |verb: &Verb| kind.verbs.contains(verb);
    let chosen = |verbs: &[Verb]| verbs.iter().copied().filter(|v| has(v)).collect::<Vec<Verb>>();
    let operations = |maker: &mut Maker, verbs: &[Verb]| -> Vec<(&'static str, Value)> {
        chosen(verbs).into_iter().map(|verb| maker.operation(verb)).collect()
    };
    let on_collection = operations(&mut maker, &[List, Create, DeleteCollection]);
    let on_item = operations(&mut maker, &[Get, Update, Patch, Delete]);
    let everywhere = if kind.namespaced() { operations(&mut maker, &[List]) } else { Vec::new() };
    let subresources: Vec<(String, Vec<(&'static str, Value)>)> = kind
        .subresources_of(index)
        .iter()
        .map(|sub| (format!("{collection}/{{name}}/{}", sub.name), maker.subresource(sub)))
        .collect();
    add(&collection, on_collection, false);
    add(&format!("{collection}/{{name}}"), on_item, true);
    add(&format!("{root}/{}", kind.plural), everywhere, false);
    for (path, operations) in subresources {
        add(&path, operations, true);
    }
}

struct Maker<'a, 'b> {
    schemas: &'a mut Schemas<'b>,
    kind: &'a Kind,
    group: &'a str,
    version: &'a str,
    /// References to the object and its list.
    body: Value,
    list: Value,
}

impl Maker<'_, '_> {
    /// The HTTP method and what it does.
    fn operation(&mut self, verb: Verb) -> (&'static str, Value) {
        let gvk = (self.group.to_string(), self.version.to_string(), self.kind.kind.to_string());
        let (object, list) = (self.body.clone(), self.list.clone());
        let status = self.schemas.builtin("io.k8s.apimachinery.pkg.apis.meta.v1.Status");
        match verb {
            Verb::List => ("get", self.make("list", &gvk, None, &list, LIST, &[200])),
            Verb::Create => ("post", self.make("post", &gvk, Some(&object), &object, WRITE, &[200, 201, 202])),
            Verb::DeleteCollection => {
                let mut parameters = [LIST, DELETE].concat();
                parameters.retain(|(name, _)| !["watch", "allowWatchBookmarks"].contains(name));
                ("delete", self.make("deletecollection", &gvk, None, &status, &parameters, &[200]))
            }
            Verb::Get => ("get", self.make("get", &gvk, None, &object, &[], &[200])),
            Verb::Update => ("put", self.make("put", &gvk, Some(&object), &object, WRITE, &[200, 201])),
            Verb::Patch => self.patch(&gvk, &object),
            Verb::Delete | Verb::Watch => ("delete", self.make("delete", &gvk, None, &status, DELETE, &[200, 202])),
        }
    }

    fn patch(&mut self, gvk: &(String, String, String), object: &Value) -> (&'static str, Value) {
        let patch = self.schemas.builtin("io.k8s.apimachinery.pkg.apis.meta.v1.Patch");
        let parameters = [WRITE, &[("force", "boolean")]].concat();
        ("patch", self.make("patch", gvk, Some(&patch), object, &parameters, &[200, 201]))
    }

    fn subresource(&mut self, sub: &Subresource) -> Vec<(&'static str, Value)> {
        let own = (self.group.to_string(), self.version.to_string(), self.kind.kind.to_string());
        let gvk = match &sub.body {
            Some((group, version, kind)) => (group.to_string(), version.to_string(), kind.to_string()),
            None => own,
        };
        let object = match &sub.body {
            None => self.body.clone(),
            Some((group, version, kind)) => match builtin::of(group, version, kind) {
                Some(schema) => self.schemas.builtin(&schema.node().name),
                // Options of connect requests have no schema.
                None => value!({"type": "string"}),
            },
        };
        // Streams: whatever the method, the request connects.
        let connects = gvk.2.ends_with("Options");
        let connect = |method: &'static str| (method, self.make("connect", &gvk, None, &object, &[], &[200]));
        if connects {
            return sub.verbs.iter().map(|verb| connect(method(*verb))).collect();
        }
        let made = sub.verbs.iter().map(|verb| match verb {
            Verb::Get => ("get", self.make("get", &gvk, None, &object, &[], &[200])),
            Verb::Create => ("post", self.make("post", &gvk, Some(&object), &object, WRITE, &[200, 201, 202])),
            Verb::Update => ("put", self.make("put", &gvk, Some(&object), &object, WRITE, &[200, 201])),
            Verb::Patch => self.patch(&gvk, &object),
            _ => ("delete", self.make("delete", &gvk, None, &object, &[], &[200])),
        });
        made.collect()
    }

    fn make(
        &self,
        action: &str,
        (group, version, kind): &(String, String, String),
        body: Option<&Value>,
        answer: &Value,
        parameters: &[(&str, &str)],
        codes: &[u16],
    ) -> Value {
        let dialect = self.schemas.dialect();
        let first = self.group.split('.').next().filter(|g| !g.is_empty()).unwrap_or("core");
        let mut parameters: Vec<Value> = parameters.iter().map(|(name, ty)| query(dialect, name, ty)).collect();
        let mut out = value!({
            "tags": [format!("{first}_{}", self.version)],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group.as_str(), "version": version.as_str(), "kind": kind.as_str()},
        });
        let types: &[&str] = match action {
            "patch" if self.kind.custom.is_some() => &PATCHES[..3],
            "patch" => PATCHES,
            _ => &["*/*"],
        };
        match (body, dialect) {
            (Some(schema), Dialect::V3) => {
                for media_type in types {
                    out.set(&["requestBody", "content", media_type, "schema"], schema);
                }
                out.set(&["requestBody", "required"], true);
            }
            (Some(schema), Dialect::V2) => {
                let mut parameter = value!({"in": "body", "name": "body", "required": true});
                parameter.set(&["schema"], schema);
                parameters.push(parameter);
                out.set(&["consumes"], types.iter().copied().collect::<Value>());
            }
            (None, _) => {}
        }
        if dialect == Dialect::V2 {
            out.set(&["produces"], ["application/json", "application/yaml"].into_iter().collect::<Value>());
        }
        // An empty list is none: Go clients do not write one, and compare.
        if !parameters.is_empty() {
            out.set(&["parameters"], parameters);
        }
        out.set(&["responses", "401", "description"], "Unauthorized");
        for code in codes {
            let (code, text) = (code.to_string(), ["OK", "Created", "Accepted"][usize::from(code - 200)]);
            out.set(&["responses", &code, "description"], text);
            match dialect {
                Dialect::V3 => {
                    for media_type in ["application/json", "application/yaml"] {
                        out.set(&["responses", &code, "content", media_type, "schema"], answer);
                    }
                }
                Dialect::V2 => out.set(&["responses", &code, "schema"], answer),
            }
        }
        out
    }
}

fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Get | Verb::List | Verb::Watch => "get",
        Verb::Create => "post",
        Verb::Update => "put",
        Verb::Patch => "patch",
        Verb::Delete | Verb::DeleteCollection => "delete",
    }
}

/// The strategic one last: custom resources do without.
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

const WRITE: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];

const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];

fn query(dialect: Dialect, name: &str, ty: &str) -> Value {
    parameter(dialect, "query", name, ty)
}

fn parameter(dialect: Dialect, place: &str, name: &str, ty: &str) -> Value {
    let mut out = value!({"in": place, "name": name});
    match dialect {
        Dialect::V3 => out.set(&["schema"], value!({"type": ty, "uniqueItems": true})),
        Dialect::V2 => {
            out.set(&["type"], ty);
            out.set(&["uniqueItems"], true);
        }
    }
    if place == "path" {
        out.set(&["required"], true);
    }
    out
}

fn path_parameters(dialect: Dialect, namespaced: bool, named: bool) -> Value {
    let mut out = Vec::new();
    if named {
        out.push(parameter(dialect, "path", "name", "string"));
    }
    if namespaced {
        out.push(parameter(dialect, "path", "namespace", "string"));
    }
    out.push(query(dialect, "pretty", "string"));
    Value::Array(out)
}
