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
        .stored_under("apiextensions.k8s.io/customresourcedefinitions")
        .defines_kinds()
        .hashed_as("v1beta1")
        .hooks(CustomResourceDefinition)
        .build()
}

#[derive(Debug)]
struct CustomResourceDefinition;

impl Hooks for CustomResourceDefinition {
    fn receive(&self, obj: &mut Value) {
        super::v1beta1::to_v1(obj);
    }

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
        conversion(spec.get("conversion"), errors);
        stored_versions(obj, errors);
        let unknown = spec.get("preserveUnknownFields");
        if unknown.flag() && old.is_none_or(|old| old.at(&["spec", "preserveUnknownFields"]) != unknown.value) {
            let text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                        spec.versions[*].schema instead";
            unknown.invalid(errors, text);
        }
        {
            let mut found = FieldErrors::default();
            match schema::crd::kind_of(obj) {
                Ok(kind) => check_rules(&kind, obj, old, &mut found),
                Err(wrong) => found = wrong,
            }
            hoist(obj, &mut found);
            for error in found.0.iter_mut().filter(|error| error.path == "spec.versions") {
                error.value = Some(go_versions(obj.at(&["spec", "versions"])));
            }
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
    for field in ["plural", "singular"] {
        let name = names.get(field);
        if name.need(errors) {
            name.shape(errors, base::names::label1035(name.str()));
        }
    }
    for field in ["kind", "listKind"] {
        let name = names.get(field);
        if name.need(errors)
            && let Err(why) = base::names::label1035(&name.str().to_lowercase())
        {
            name.invalid(errors, format!("may have mixed case, but should otherwise match: {why}"));
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
    let mut twice = false;
    for (i, version) in versions.items().enumerate() {
        let name = version.get("name");
        let shape = base::names::label1035(name.str());
        if let (0, Err(why)) = (i, &shape) {
            // The first one has a second place in upstream's own form of a definition.
            errors.invalid("spec.version", name.str(), why);
        }
        name.shape(errors, shape);
        twice |= !seen.insert(name.str().to_string());
    }
    if twice {
        errors.invalid_raw(versions.path, go_versions(versions.value), "must contain unique version names");
    }
}

/// Versions as upstream's messages show them, where all that they say alike is left out.
fn go_versions(versions: &Value) -> String {
    let flag = |v: &Value, key: &str| v.at(&[key]).as_bool() == Some(true);
    let one = |v: &Value| {
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":null,\
             \"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}}",
            Value::from(v.str_at(&["name"])),
            flag(v, "served"),
            flag(v, "storage"),
            flag(v, "deprecated"),
            v.at(&["deprecationWarning"]),
        )
    };
    let all: Vec<String> = versions.items_at(&[]).iter().map(one).collect();
    format!("[{}]", all.join(","))
}

/// The versions that may be stored must be known to be.
fn stored_versions(obj: &Value, errors: &mut FieldErrors) {
    let stored = obj.at(&["status", "storedVersions"]);
    if stored.items_at(&[]).is_empty() {
        return errors.invalid_raw("status.storedVersions", "null", "must have at least one stored version");
    }
    for version in obj.items_at(&["spec", "versions"]) {
        let storage = version.at(&["storage"]).as_bool() == Some(true);
        if storage && !stored.items_at(&[]).contains(version.at(&["name"])) {
            let detail = format!("must have the storage version {}", version.str_at(&["name"]));
            errors.invalid_raw("status.storedVersions", stored, detail);
        }
    }
}

/// How objects pass from one version to another. The paths are those of upstream's own form of a definition.
fn conversion(conversion: At, errors: &mut FieldErrors) {
    conversion.get("strategy").one_of(errors, &["None", "Webhook"]);
    let webhook = conversion.get("webhook");
    let client = At { value: webhook.get("clientConfig").value, path: conversion.path.key("webhookClientConfig") };
    let reviews = webhook.get("conversionReviewVersions");
    let reviews = At { value: reviews.value, path: conversion.path.key("conversionReviewVersions") };
    if conversion.get("strategy").str() != "Webhook" {
        for given in [client, reviews] {
            if !given.is_empty() {
                given.forbidden(errors, "should not be set when strategy is not set to Webhook");
            }
        }
        return;
    }
    match client.is_set() {
        true => client.webhook_client(errors),
        false => client.required(errors, "required when strategy is set to Webhook"),
    }
    if !reviews.need(errors) {
        return;
    }
    let mut seen = BTreeSet::new();
    let before = errors.0.len();
    for version in reviews.items() {
        version.shape(errors, base::names::label1035(version.str()));
        if !seen.insert(version.str()) {
            version.invalid(errors, "duplicate version");
        }
    }
    if errors.0.len() == before && !seen.iter().any(|v| ["v1", "v1beta1"].contains(v)) {
        reviews.invalid(errors, "must include at least one of v1, v1beta1");
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
                spec.versions[1].name: Invalid value: "V": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
                status.storedVersions: Invalid value: null: must have at least one stored version
                spec.versions[0].schema.openAPIV3Schema: Required value
                spec.versions[1].schema.openAPIV3Schema: Required value
                spec.versions: Invalid value: [{"Name":"v1","Served":false,"Storage":false,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null},{"Name":"V","Served":false,"Storage":false,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}]: must have exactly one version marked as storage version"#]],
        );
    }

    /// What a server of upstream 1.36.2 answered to each of these definitions, in any order.
    #[test]
    fn refused_as_upstream_does() {
        let mut differ = Vec::new();
        for line in include_str!("definitions.jsonl").lines() {
            let case = value::parse_lenient(line.as_bytes()).expect("JSON");
            let mut obj = case.at(&["definition"]).clone();
            let mut errors = FieldErrors::default();
            crate::testing::within(schema::Operation::Create, None, |cx| {
                kind().hooks.default(&mut obj);
                kind().hooks.prepare_create(cx, &mut obj);
                kind().hooks.validate(cx, &obj, None, &mut errors);
            });
            let said: BTreeSet<String> = errors.0.iter().map(ToString::to_string).collect();
            let want: BTreeSet<String> =
                case.items_at(&["said"]).iter().filter_map(|text| text.as_str().map(String::from)).collect();
            let name = case.str_at(&["name"]);
            differ.extend(want.difference(&said).map(|text| format!("{name}: - {text}")));
            differ.extend(said.difference(&want).map(|text| format!("{name}: + {text}")));
        }
        assert!(differ.is_empty(), "{}", differ.join("\n"));
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
