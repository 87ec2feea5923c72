//! The catalog as a whole: every kind is complete, and its names, verbs and subresources are those of the API.

use crate::builtin;
use schema::{SubresourceAction, discovery};
use std::collections::BTreeSet;
use value::Value;

/// What a Kubernetes 1.36 serves by default: group and version, plural, kind, scope, short names, categories, verbs,
/// storageVersionHash, subresources. `-` is nothing; verbs are letters ([`letters`]); a subresource is `name:verbs`, with
/// `=kind` where its body is not the parent's, and group and version where those are not the parent's either.
const FACTS: &str = include_str!("../data/discovery.txt");

/// `cdDglpuw`: create, delete, deletecollection, get, list, patch, update, watch.
fn letters(verbs: &Value) -> String {
    let letter = |verb: &Value| match verb.as_str() {
        Some("deletecollection") => 'D',
        verb => verb.and_then(|verb| verb.chars().next()).unwrap_or('?'),
    };
    verbs.items_at(&[]).iter().map(letter).collect()
}

fn join(names: &[Value]) -> String {
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    if names.is_empty() { "-".into() } else { names.join(",") }
}

/// The lines of one group and version, from the list that clients ask for first.
fn lines_of(group: &str, version: &str) -> Vec<String> {
    let list = discovery::resource_list(&builtin(), group, version).expect("a version that is served");
    let resources = list.items_at(&["resources"]);
    let (parts, whole): (Vec<&Value>, Vec<&Value>) = resources.iter().partition(|r| r.str_at(&["name"]).contains('/'));
    let line = |resource: &&Value| {
        let (name, kind) = (resource.str_at(&["name"]), resource.str_at(&["kind"]));
        let scope = if resource.at(&["namespaced"]).as_bool() == Some(true) { "N" } else { "C" };
        let hash = match resource.str_at(&["storageVersionHash"]) {
            "" => "-",
            hash => hash,
        };
        let mut words = vec![list.str_at(&["groupVersion"]).to_string(), name.into(), kind.into(), scope.into()];
        words.extend([join(resource.items_at(&["shortNames"])), join(resource.items_at(&["categories"]))]);
        words.extend([letters(resource.at(&["verbs"])), hash.into()]);
        for part in &parts {
            let Some(sub) = part.str_at(&["name"]).strip_prefix(&format!("{name}/")) else { continue };
            let body = match (part.str_at(&["group"]), part.str_at(&["version"]), part.str_at(&["kind"])) {
                ("", _, own) if own == kind => String::new(),
                ("", _, other) => format!("={other}"),
                (group, version, other) => format!("={group}/{version}/{other}"),
            };
            words.push(format!("{sub}:{}{body}", letters(part.at(&["verbs"]))));
        }
        words.join(" ")
    };
    whole.iter().map(line).collect()
}

#[test]
fn discovery_is_that_of_the_api() {
    let catalog = builtin();
    let served: BTreeSet<(String, String)> = catalog
        .served()
        .map(|(kind, version)| kind.group_version(version))
        .map(|(group, version)| (group.to_string(), version.to_string()))
        .collect();
    let have: BTreeSet<String> = served.iter().flat_map(|(group, version)| lines_of(group, version)).collect();
    let want: BTreeSet<String> = FACTS.lines().map(String::from).collect();
    let missing: Vec<_> = want.difference(&have).collect();
    let extra: Vec<_> = have.difference(&want).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}\nnot in the facts {extra:#?}");
}

/// The document that asks for everything at once says the same as the lists.
#[test]
fn aggregated_discovery_says_the_same() {
    for legacy in [true, false] {
        let all = discovery::aggregated(&builtin(), legacy);
        for group in all.items_at(&["items"]) {
            for version in group.items_at(&["versions"]) {
                let (name, number) = (group.str_at(&["metadata", "name"]), version.str_at(&["version"]));
                let lines = lines_of(name, number);
                let resources = version.items_at(&["resources"]);
                assert_eq!(resources.len(), lines.len(), "{name}/{number}");
                for (resource, line) in resources.iter().zip(lines) {
                    let words: Vec<&str> = line.split(' ').collect();
                    assert_eq!(resource.str_at(&["resource"]), words[1]);
                    assert_eq!(resource.str_at(&["responseKind", "kind"]), words[2]);
                    assert_eq!(resource.str_at(&["scope"]).get(..1), Some(words[3]));
                    assert_eq!(letters(resource.at(&["verbs"])), words[6], "{line}");
                    assert_eq!(resource.items_at(&["subresources"]).len(), words.len() - 8, "{line}");
                }
            }
        }
    }
}

#[test]
fn the_newer_version_is_preferred() {
    let group = discovery::group(&builtin(), "autoscaling").expect("a group that is served");
    assert_eq!(group.str_at(&["preferredVersion", "version"]), "v2");
    assert_eq!(group.items_at(&["versions"]).len(), 2);
}

#[test]
fn every_kind_is_complete() {
    for kind in builtin().iter() {
        let name = &kind.kind;
        assert_eq!(kind.singular, name.to_lowercase(), "{name}");
        assert_eq!(kind.list_kind, format!("{name}List"), "{name}");
        assert!(kind.storage < kind.versions.len(), "{name}");
        assert!(kind.custom.is_none(), "{name}");
        for version in &kind.versions {
            assert!(version.served, "{name}");
            let node = version.schema.node();
            assert!(node.name.ends_with(&format!(".{name}")), "{name} has the schema of {}", node.name);
            assert!(node.field("metadata").is_some(), "{name}");
            assert!(!version.columns.is_empty(), "{name}");
        }
        let has_status = kind.subresource("status").is_some();
        assert!(has_status || !kind.policy.status_apart, "{name} keeps a status apart that nobody can write");
    }
}

#[test]
fn paths_lead_into_the_schema() {
    for kind in builtin().iter() {
        let mut paths: Vec<&[value::Str]> = Vec::new();
        for subresource in &kind.subresources {
            match &subresource.action {
                SubresourceAction::Fields(fields) => paths.extend(fields.iter().map(Vec::as_slice)),
                SubresourceAction::Scale { replicas, status_replicas, selector } => {
                    paths.extend([replicas.as_slice(), status_replicas]);
                    paths.extend(selector.iter().map(Vec::as_slice));
                }
                SubresourceAction::Act | SubresourceAction::Server(_) => {}
            }
        }
        paths.extend(kind.selectable.iter().map(|field| field.path.as_slice()));
        for path in paths {
            let mut schema = kind.versions[kind.storage].schema.clone();
            for step in path {
                let field = schema.node().field(step).unwrap_or_else(|| panic!("{}: no {step} in {path:?}", kind.kind));
                schema = schema.goto(field.node);
            }
        }
    }
}

#[test]
fn short_names_are_unique_in_a_group() {
    let mut seen = BTreeSet::new();
    for kind in builtin().iter() {
        for name in kind.short_names.iter().chain([&kind.plural]) {
            assert!(seen.insert((kind.group.clone(), name.clone())), "{name} twice");
        }
    }
}
