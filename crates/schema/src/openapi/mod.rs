//! OpenAPI documents made from the catalog: version 3 by group and version, and version 2 as one document.
//!
//! They hold what clients act on: paths with action and kind, query parameters (kubectl looks for `fieldValidation`
//! there), and schemas with list types, merge keys, patch strategies and values of enums. What types are for is asked of
//! whoever wants the document ([`Prose`]): custom resources bring their own, which are part of their definition.

mod enums;
mod paths;
mod schemas;

use crate::{
    Catalog,
    discovery::{group_version, groups, served, versions_of},
};
use base::ids::hex;
use sha2::{Digest, Sha256};
use value::{Value, value};

/// Which document is made; the two differ in where things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    V2,
    V3,
}

/// What a built-in type is for, by its full name and `""`, or a field of it, by the type's name and its own.
pub type Prose<'a> = &'a dyn Fn(&str, &str) -> Option<&'a str>;

/// Counts up when other documents are made of the same catalog: clients keep them by their fingerprint.
const EDITION: &str = "2";

/// `/openapi/v3`: the documents there are, with URLs that change with their content.
pub fn index(catalog: &Catalog) -> Value {
    let mut paths = Value::object();
    for group in groups(catalog) {
        for version in versions_of(catalog, &group) {
            let path = format!("{}/{}", if group.is_empty() { "api" } else { "apis" }, group_version(&group, &version));
            let hash = fingerprint(catalog, &group, &version).unwrap_or_default();
            let url = format!("/openapi/v3/{path}?hash={hash}");
            paths.set(&[&path, "serverRelativeURL"], url);
        }
    }
    let mut index = Value::object();
    index.set(&["paths"], paths);
    index
}

/// `/openapi/v3/api/v1`, `/openapi/v3/apis/<group>/<version>`; `None` where nothing is served.
pub fn document(catalog: &Catalog, group: &str, version: &str, prose: Prose) -> Option<Value> {
    let kinds = served(catalog, group, version);
    if kinds.is_empty() {
        return None;
    }
    let mut schemas = schemas::Schemas::new(Dialect::V3, prose);
    let mut paths = Value::object();
    for (kind, index) in kinds {
        paths::add(&mut paths, &mut schemas, kind, index);
    }
    let mut document = value!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "components": {"securitySchemes": {"BearerToken": {
            "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}}},
    });
    document.set(&["paths"], paths);
    document.set(&["components", "schemas"], schemas.finish());
    Some(document)
}

/// `/openapi/v2`: everything in one Swagger document.
pub fn v2(catalog: &Catalog, prose: Prose) -> Value {
    let mut schemas = schemas::Schemas::new(Dialect::V2, prose);
    let mut paths = Value::object();
    for (kind, index) in catalog.served() {
        paths::add(&mut paths, &mut schemas, kind, index);
    }
    let mut document = value!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "securityDefinitions": {"BearerToken": {
            "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}},
    });
    document.set(&["paths"], paths);
    document.set(&["definitions"], schemas.finish());
    document
}

/// Changes whenever the document does: built-in kinds change only with the binary, custom ones with their definition.
/// It is known without making the document. `None` where nothing is served.
pub fn fingerprint(catalog: &Catalog, group: &str, version: &str) -> Option<String> {
    let kinds = served(catalog, group, version);
    if kinds.is_empty() {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(concat!(env!("CARGO_PKG_VERSION"), " "));
    hash.update(EDITION);
    for (kind, index) in kinds {
        let subresources: Vec<&str> = kind.subresources_of(index).iter().map(|s| s.name.as_str()).collect();
        hash.update(format!("{}{}{:?}{:?}{subresources:?}", kind.plural, kind.kind, kind.scope, kind.verbs));
        if let Some(source) = &kind.versions[index].schema.parts().0.source {
            hash.update(source);
        }
    }
    Some(hex(&hash.finalize()).to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::catalog;

    /// Says of everything which it is.
    const NAMES: Prose<'static> = &|name, field| {
        let text = if field.is_empty() { name } else { field };
        Some(text.to_string().leak())
    };
    const SILENT: Prose<'static> = &|_, _| None;

    #[test]
    fn the_index_names_each_document() {
        let index = index(&catalog());
        let paths: Vec<&str> = index.members_at(&["paths"]).map(|(path, _)| path).collect();
        assert_eq!(paths, ["api/v1", "apis/apps/v1", "apis/stable.example.com/v1"]);
        let url = index.str_at(&["paths", "apis/apps/v1", "serverRelativeURL"]);
        assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
    }

    #[test]
    fn a_document_holds_what_kubectl_looks_for() {
        let document = document(&catalog(), "apps", "v1", SILENT).unwrap();
        let path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
        let patch = document.at(&["paths", path, "patch"]);
        assert_eq!(
            patch.at(&["x-kubernetes-group-version-kind"]).to_string(),
            r#"{"group":"apps","kind":"Deployment","version":"v1"}"#
        );
        let parameters: Vec<&str> = patch.items_at(&["parameters"]).iter().map(|p| p.str_at(&["name"])).collect();
        assert!(parameters.contains(&"fieldValidation") && parameters.contains(&"force"), "{parameters:?}");
        let schemas = document.at(&["components", "schemas"]);
        let containers = schemas.at(&["io.k8s.api.core.v1.PodSpec", "properties", "containers"]);
        assert_eq!(containers.str_at(&["x-kubernetes-patch-merge-key"]), "name");
        assert_eq!(containers.str_at(&["x-kubernetes-list-type"]), "map");
        assert_eq!(containers.str_at(&["items", "$ref"]), "#/components/schemas/io.k8s.api.core.v1.Container");
        assert_eq!(
            schemas.at(&["io.k8s.api.apps.v1.Deployment", "x-kubernetes-group-version-kind"]).to_string(),
            r#"[{"group":"apps","kind":"Deployment","version":"v1"}]"#
        );
        assert!(schemas.get("io.k8s.api.apps.v1.DeploymentList").is_some());
        assert!(super::document(&catalog(), "none", "v1", SILENT).is_none());
    }

    /// Every reference leads somewhere.
    #[test]
    fn documents_are_closed() {
        fn references<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
            match value {
                Value::Object(map) => map.iter().for_each(|(key, v)| match v.as_str() {
                    Some(text) if key == "$ref" => out.push(text),
                    _ => references(v, out),
                }),
                Value::Array(items) => items.iter().for_each(|v| references(v, out)),
                _ => {}
            }
        }
        let catalog = catalog();
        let documents = [
            (v2(&catalog, NAMES), "#/definitions/", vec!["definitions"]),
            (document(&catalog, "", "v1", NAMES).unwrap(), "#/components/schemas/", vec!["components", "schemas"]),
            (
                document(&catalog, "stable.example.com", "v1", NAMES).unwrap(),
                "#/components/schemas/",
                vec!["components", "schemas"],
            ),
        ];
        for (document, prefix, at) in documents {
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(found.len() > 10);
            for reference in found {
                let name = reference.strip_prefix(prefix).unwrap_or_else(|| panic!("{reference}"));
                assert!(document.at(&at).get(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn custom_resources_keep_their_prose() {
        let document = document(&catalog(), "stable.example.com", "v1", NAMES).unwrap();
        let schema = document.at(&["components", "schemas", "com.example.stable.v1.CronTab"]);
        assert_eq!(schema.str_at(&["description"]), "A timetable.");
        assert_eq!(schema.str_at(&["properties", "spec", "properties", "cronSpec", "description"]), "When.");
        // And what every object has is explained.
        for field in ["apiVersion", "kind", "metadata"] {
            assert_eq!(schema.str_at(&["properties", field, "description"]), field);
        }
        let meta = document.at(&["components", "schemas", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]);
        for (name, field) in meta.members_at(&["properties"]) {
            assert_eq!(field.str_at(&["description"]), name);
        }
        let list = document.at(&["components", "schemas", "com.example.stable.v1.CronTabList"]);
        assert_eq!(list.str_at(&["description"]), "CronTabList is a list of CronTab");
    }

    /// Version 3 lets nothing stand beside a reference, version 2 does.
    #[test]
    fn types_and_fields_are_described() {
        let catalog = catalog();
        let described = |document: &Value, at: &[&str]| {
            let spec = document.at(at).at(&["io.k8s.api.core.v1.PodSpec"]);
            assert_eq!(spec.str_at(&["description"]), "io.k8s.api.core.v1.PodSpec");
            assert_eq!(spec.str_at(&["properties", "hostname", "description"]), "hostname");
            let policy = spec.at(&["properties", "restartPolicy"]);
            assert_eq!(policy.at(&["enum"]).to_string(), r#"["Always","Never","OnFailure"]"#);
            let listed = "restartPolicy\n\nPossible enum values:\n - `\"Always\"`\n - `\"Never\"`\n - `\"OnFailure\"`";
            assert_eq!(policy.str_at(&["description"]), listed);
            let quantity = document.at(at).at(&["io.k8s.apimachinery.pkg.api.resource.Quantity", "description"]);
            assert!(quantity.as_str().is_some());
            spec.at(&["properties", "securityContext"]).to_string()
        };
        let v3 = described(&document(&catalog, "", "v1", NAMES).unwrap(), &["components", "schemas"]);
        assert!(v3.contains(r#""allOf":[{"$ref":"#), "{v3}");
        let v2 = described(&v2(&catalog, NAMES), &["definitions"]);
        assert!(v2.contains(r#""$ref":"#) && v2.contains(r#""description":"securityContext""#), "{v2}");
    }

    #[test]
    fn custom_resources_take_no_strategic_patch() {
        let path = |name| format!("/apis/{name}");
        let catalog = catalog();
        let v2 = v2(&catalog, SILENT);
        let taken = |path: &str| v2.at(&["paths", path, "patch", "consumes"]).to_string();
        let custom = taken(&path("stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"));
        assert!(custom.contains("merge-patch+json") && !custom.contains("strategic"), "{custom}");
        assert!(taken(&path("apps/v1/namespaces/{namespace}/deployments/{name}")).contains("strategic"));
        let v3 = document(&catalog, "stable.example.com", "v1", SILENT).unwrap().to_string();
        assert!(v3.contains("merge-patch+json") && !v3.contains("strategic"));
    }
}
