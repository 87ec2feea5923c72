//! CustomResourceDefinition: an object that declares a kind. [`schema::crd`] makes a [`Kind`] of it, and finds what is
//! wrong with its schemas; the engine installs the kind while the definition is established. Here stand the rules about
//! the object: names, versions, what never changes.

use super::{customresource::CustomResource, names, rules};
use crate::{
    at::At,
    cells::{condition, created_at},
    declare::declare,
};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use std::{collections::BTreeSet, sync::Arc};
use value::{Path, Value, value};

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

pub fn kind() -> Kind {
    let ty = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
    declare("apiextensions.k8s.io", "CustomResourceDefinition")
        .short(["crd", "crds"])
        .categories(["api-extensions"])
        .cluster()
        .version("v1", ty, vec![Column::object_name(), created_at()])
        .generation()
        .status()
        .conditional_update()
        .defines_kinds()
        .hashed_as("v1beta1")
        .hooks(CustomResourceDefinition)
        .build()
}

#[derive(Debug)]
struct CustomResourceDefinition;

impl Hooks for CustomResourceDefinition {
    fn default(&self, obj: &mut Value) {
        if obj.at(&["spec"]).as_object().is_none() {
            return;
        }
        let spec = obj.at_mut(&["spec"]);
        let kind = spec.str_at(&["names", "kind"]).to_string();
        if !kind.is_empty() {
            spec.set_default(&["names", "singular"], kind.to_lowercase());
            spec.set_default(&["names", "listKind"], format!("{kind}List"));
        }
        spec.set_default(&["conversion"], value!({"strategy": "None"}));
    }

    fn prepare_create(&self, cx: &Context, obj: &mut Value) {
        obj.set(&["status"], Value::object());
        // Held until a controller has deleted the objects of the kind.
        let mut finalizers = obj.items_at(&["metadata", "finalizers"]).to_vec();
        if !finalizers.iter().any(|f| *f == CLEANUP) {
            finalizers.push(CLEANUP.into());
        }
        obj.set(&["metadata", "finalizers"], finalizers);
        prepare(cx, obj);
    }

    fn prepare_update(&self, cx: &Context, obj: &mut Value, _old: &Value) {
        if cx.subresource.is_none() {
            prepare(cx, obj);
        }
    }

    fn defines(&self, obj: &Value) -> Option<Kind> {
        let established = condition(obj, "Established").is_some_and(|c| c.str_at(&["status"]) == "True");
        let mut kind = if established { schema::crd::kind_of(obj).ok()? } else { return None };
        kind.hooks = Arc::new(CustomResource::new(&kind));
        Some(kind)
    }

    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            return;
        }
        let spec = root.get("spec");
        let (group, names) = (spec.get("group"), spec.get("names"));
        let want = format!("{}.{}", names.get("plural").str(), group.str());
        // Neither half may change later, which is said of the one that does.
        if old.is_none() && obj.name() != want {
            errors.invalid("metadata.name", obj.name(), "must be spec.names.plural+\".\"+spec.group");
        }
        if group.need(errors) {
            group.dns_subdomain(errors);
            if !group.str().contains('.') {
                group.invalid(errors, "should be a domain with at least one dot");
            }
        }
        approval(root, group.str(), errors);
        spec.get("scope").one_of(errors, &["Cluster", "Namespaced"]);
        check_names(names, errors);
        versions(spec.get("versions"), errors);
        if errors.is_empty() {
            let mut found = FieldErrors::default();
            match schema::crd::kind_of(obj) {
                Ok(kind) => check_rules(&kind, obj, old, &mut found),
                Err(wrong) => found = wrong,
            }
            hoist(obj, &mut found);
            errors.0.extend(found.0);
        }
        if let Some(old) = old {
            changes(spec, old, errors);
        }
    }
}

/// Status that follows from the spec.
fn prepare(cx: &Context, obj: &mut Value) {
    // Objects may exist in every version that was ever the stored one.
    if let Some(version) = stored_version(obj).map(Value::from) {
        let mut versions = obj.items_at(&["status", "storedVersions"]).to_vec();
        if !versions.contains(&version) {
            versions.push(version);
            obj.set(&["status", "storedVersions"], versions);
        }
    }
    let others = cx.view.list("apiextensions.k8s.io", "customresourcedefinitions", None);
    names::accept(obj, &others, cx.now);
}

fn stored_version(obj: &Value) -> Option<&str> {
    let versions = obj.items_at(&["spec", "versions"]);
    versions.iter().find(|v| v.at(&["storage"]).as_bool() == Some(true)).map(|v| v.str_at(&["name"]))
}

/// Groups of the project itself need its approval. Source: KEP-1111.
fn approval(root: At, group: &str, errors: &mut FieldErrors) {
    const KEY: &str = "api-approved.kubernetes.io";
    let protected = ["k8s.io", "kubernetes.io"];
    if !protected.iter().any(|domain| group == *domain || group.ends_with(&format!(".{domain}"))) {
        return;
    }
    let metadata = root.get("metadata");
    let annotations = metadata.get("annotations");
    let annotation = annotations.entry(KEY);
    match annotation.str() {
        "" => annotation.required(
            errors,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", \
             see https://github.com/kubernetes/enhancements/pull/1111",
        ),
        text if text.starts_with("unapproved") || text.contains("://") => {}
        _ => annotation.invalid(
            errors,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a \
             reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111",
        ),
    }
}

fn check_names(names: At, errors: &mut FieldErrors) {
    for field in ["plural", "singular", "kind", "listKind"] {
        let name = names.get(field);
        if name.need(errors) {
            // Kinds are labels but for their capitals.
            name.shape(errors, base::names::label1035(&name.str().to_lowercase()));
        }
    }
    if !names.get("kind").is_empty() && names.get("kind").str() == names.get("listKind").str() {
        names.get("listKind").invalid(errors, "kind and listKind may not be the same");
    }
    for list in ["shortNames", "categories"] {
        for name in names.get(list).items() {
            name.shape(errors, base::names::label1035(name.str()));
        }
    }
}

fn versions(versions: At, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for version in versions.items() {
        let name = version.get("name");
        name.shape(errors, base::names::label1035(name.str()));
        if !seen.insert(name.str().to_string()) {
            versions.invalid(errors, "must contain unique version names");
        }
        let schema = version.get("schema");
        if !schema.get("openAPIV3Schema").is_set() {
            schema.get("openAPIV3Schema").required(errors, "schemas are required");
        }
    }
    if versions.items().filter(|v| v.get("storage").flag()).count() != 1 {
        versions.invalid(errors, "must have exactly one version marked as storage version");
    }
}

/// The rules of the schemas. A schema that an update leaves as it is may hold what is refused today.
fn check_rules(kind: &Kind, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let source = |version: &Value| version.at(&["schema", "openAPIV3Schema"]).clone();
    let before: Vec<&Value> = old.iter().flat_map(|old| old.items_at(&["spec", "versions"])).collect();
    for (i, version) in obj.items_at(&["spec", "versions"]).iter().enumerate() {
        let name = version.str_at(&["name"]);
        let (Some(made), source) = (kind.version(name), source(version)) else { continue };
        let unchanged =
            |old: &&Value| old.str_at(&["name"]) == name && *old.at(&["schema", "openAPIV3Schema"]) == source;
        if before.iter().any(unchanged) {
            continue;
        }
        let (root, place) = (Path::root(), format!("spec.versions[{i}].schema.openAPIV3Schema"));
        rules::check(&kind.versions[made].schema, &source, &root.key(&place), errors);
    }
}

/// What all versions say alike stands above them in upstream's own form of a definition, which is where its messages
/// point; it is said once.
fn hoist(obj: &Value, errors: &mut FieldErrors) {
    let versions = obj.items_at(&["spec", "versions"]);
    let Some(first) = versions.first() else { return };
    for (field, above) in [
        ("schema", "validation"),
        ("subresources", "subresources"),
        ("additionalPrinterColumns", "additionalPrinterColumns"),
        ("selectableFields", "selectableFields"),
    ] {
        let said = first.at(&[field]);
        if said.is_null() || versions.iter().any(|v| v.at(&[field]) != said) {
            continue;
        }
        for i in 0..versions.len() {
            let here = format!("spec.versions[{i}].{field}");
            errors.0.retain_mut(|error| {
                let below = error.path.strip_prefix(&here).map(String::from);
                match below {
                    Some(below) if below.is_empty() || below.starts_with(['.', '[']) => {
                        error.detail = error.detail.replace(&here, &format!("spec.{above}"));
                        error.path = format!("spec.{above}{below}");
                        i == 0
                    }
                    _ => true,
                }
            });
        }
    }
}

/// What other objects' identity depends on.
fn changes(spec: At, old: &Value, errors: &mut FieldErrors) {
    let before = old.at(&["spec"]);
    spec.get("scope").immutable(errors, before.at(&["scope"]));
    spec.get("group").immutable(errors, before.at(&["group"]));
    let names = spec.get("names");
    names.get("plural").immutable(errors, before.at(&["names", "plural"]));
    names.get("kind").immutable(errors, before.at(&["names", "kind"]));
    let versions = spec.get("versions");
    for (i, version) in old.items_at(&["status", "storedVersions"]).iter().enumerate() {
        if versions.items().any(|v| v.get("name").value == version) {
            continue;
        }
        let name = version.as_str().unwrap_or("");
        let detail = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until \
             a storage migration ensures no data remains persisted in {name} and removes {name} from \
             status.storedVersions"
        );
        errors.invalid(format!("status.storedVersions[{i}]"), name, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, created, defaults, update, updated};
    use expect_test::expect;

    fn crd() -> Value {
        value!({
            "metadata": {"name": "lamps.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "lamps", "kind": "Lamp"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        })
    }

    fn with(path: &[&str], value: impl Into<Value>) -> Value {
        let mut obj = crd();
        obj.set(path, value);
        obj
    }

    #[test]
    fn defaulting() {
        defaults(
            &kind(),
            crd(),
            &["spec", "names"],
            expect![[r#"{"kind":"Lamp","listKind":"LampList","plural":"lamps","singular":"lamp"}"#]],
        );
        let made = created(&kind(), crd());
        assert_eq!(made.at(&["status", "storedVersions"]), &value!(["v1"]));
        let defined = kind().hooks.defines(&made).expect("established");
        assert_eq!((defined.qualified().as_str(), defined.kind.as_str()), ("lamps.example.com", "Lamp"));
        assert!(kind().hooks.defines(&crd()).is_none());
    }

    #[test]
    fn validation() {
        create(&kind(), crd(), expect![""]);
        create(
            &kind(),
            with(&["metadata", "name"], "lamps"),
            expect![[r#"metadata.name: Invalid value: "lamps": must be spec.names.plural+"."+spec.group"#]],
        );
        create(
            &kind(),
            with(&["spec", "group"], "local"),
            expect![[r#"
            metadata.name: Invalid value: "lamps.example.com": must be spec.names.plural+"."+spec.group
            spec.group: Invalid value: "local": should be a domain with at least one dot"#]],
        );
        let mut own = with(&["spec", "group"], "lamps.k8s.io");
        own.set(&["metadata", "name"], "lamps.lamps.k8s.io");
        create(
            &kind(),
            own,
            expect![[
                r#"metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111"#
            ]],
        );
        create(
            &kind(),
            with(&["spec", "names", "listKind"], "Lamp"),
            expect![[r#"spec.names.listKind: Invalid value: "Lamp": kind and listKind may not be the same"#]],
        );
        create(
            &kind(),
            with(&["spec", "versions"], value!([{"name": "v1"}, {"name": "V"}])),
            expect![[r#"
            spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required
            spec.versions[1].name: Invalid value: "V": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.versions[1].schema.openAPIV3Schema: Required value: schemas are required
            spec.versions: Invalid value: [{"name":"v1","served":false,"storage":false},{"name":"V","served":false,"storage":false}]: must have exactly one version marked as storage version"#]],
        );
    }

    #[test]
    fn what_stays() {
        let mut old = crd();
        old.set(&["status", "storedVersions"], value!(["v0", "v1"]));
        update(
            &kind(),
            old.clone(),
            with(&["spec", "scope"], "Cluster"),
            expect![[r#"
                spec.scope: Invalid value: "Cluster": field is immutable
                status.storedVersions[0]: Invalid value: "v0": missing from spec.versions; v0 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v0 and removes v0 from status.storedVersions"#]],
        );
        let after = updated(&kind(), &old, crd());
        assert_eq!(after.at(&["status", "storedVersions"]), &value!(["v1"]));
    }
}
