//! Discovery documents as pure functions of the catalog: `/api`, `/apis`, a group, a group's version, and the aggregated
//! form (KEP-3352) that asks for all of it at once.
//!
//! Nothing is cached here; the server keeps the encoded documents by the catalog's generation.

use crate::{Catalog, Kind, Subresource, Verb, by_priority, group_priority};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use value::{Str, Value, value};

/// `/api`. `address` is host and port of the server.
pub fn api_versions(address: &str) -> Value {
    value!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`: every group but the legacy one.
pub fn group_list(catalog: &Catalog) -> Value {
    let groups: Value = groups(catalog).iter().filter(|g| !g.is_empty()).map(|g| group_body(catalog, g)).collect();
    let mut list = value!({"kind": "APIGroupList", "apiVersion": "v1"});
    list.set(&["groups"], groups);
    list
}

/// `/apis/<group>`; `None` for a group that does not exist.
pub fn group(catalog: &Catalog, name: &str) -> Option<Value> {
    if name.is_empty() || !groups(catalog).iter().any(|g| *g == name) {
        return None;
    }
    let mut body = group_body(catalog, name);
    body.set(&["kind"], "APIGroup");
    body.set(&["apiVersion"], "v1");
    Some(body)
}

/// `/api/v1`, `/apis/<group>/<version>`: an APIResourceList; `None` where nothing is served.
pub fn resource_list(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let kinds = served(catalog, group, version);
    if kinds.is_empty() {
        return None;
    }
    let mut resources: Vec<Value> = Vec::new();
    for (kind, index) in kinds {
        let mut main = value!({
            "name": kind.plural.as_str(),
            "singularName": kind.singular.as_str(),
            "namespaced": kind.namespaced(),
            "kind": kind.kind.as_str(),
        });
        main.set(&["verbs"], main_verbs(kind));
        set_list(&mut main, "shortNames", &kind.short_names);
        set_list(&mut main, "categories", &kind.categories);
        if kind.verbs.contains(&Verb::Watch) {
            main.set(&["storageVersionHash"], storage_version_hash(kind));
        }
        resources.push(main);
        for sub in kind.subresources_of(index) {
            let mut entry = value!({
                "name": format!("{}/{}", kind.plural, sub.name),
                "singularName": "",
                "namespaced": kind.namespaced(),
                "kind": sub.body.as_ref().map_or(&kind.kind, |(_, _, kind)| kind).as_str(),
            });
            entry.set(&["verbs"], verbs(&sub.verbs));
            if let Some((g, v, _)) = foreign(sub, group, version) {
                entry.set(&["group"], g);
                entry.set(&["version"], v);
            }
            resources.push(entry);
        }
    }
    // By name; of a custom resource the status stands first.
    let custom =
        |name: &str| served(catalog, group, version).iter().any(|(k, _)| k.custom.is_some() && *k.plural == *name);
    resources.sort_by_cached_key(|entry| {
        let name = entry.str_at(&["name"]);
        let (plural, sub) = name.split_once('/').unwrap_or((name, ""));
        (plural.to_string(), sub == "scale" && custom(plural), sub.to_string())
    });
    let mut list = value!({"kind": "APIResourceList", "groupVersion": group_version(group, version)});
    // The legacy group answers as it did before there were groups.
    if !group.is_empty() {
        list.set(&["apiVersion"], "v1");
    }
    list.set(&["resources"], resources);
    Some(list)
}

/// APIGroupDiscoveryList (`apidiscovery.k8s.io/v2`): the legacy group for `/api`, all others for `/apis`.
pub fn aggregated(catalog: &Catalog, legacy: bool) -> Value {
    let mut items = Vec::new();
    for group in groups(catalog).into_iter().filter(|g| g.is_empty() == legacy) {
        let mut versions = Vec::new();
        for version in versions_of(catalog, &group) {
            let mut kinds = served(catalog, &group, &version);
            kinds.sort_by(|a, b| a.0.plural.cmp(&b.0.plural));
            let resources = kinds.into_iter().map(|(kind, index)| aggregated_resource(kind, index, &group, &version));
            let resources: Value = resources.collect();
            let mut entry = value!({"version": version.as_str(), "freshness": "Current"});
            entry.set(&["resources"], resources);
            versions.push(entry);
        }
        let mut item = value!({"metadata": {}});
        if !group.is_empty() {
            item.set(&["metadata", "name"], group);
        }
        item.set(&["versions"], versions);
        items.push(item);
    }
    let mut list = value!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}});
    list.set(&["items"], items);
    list
}

fn aggregated_resource(kind: &Kind, index: usize, group: &str, version: &str) -> Value {
    let scope = if kind.namespaced() { "Namespaced" } else { "Cluster" };
    // Upstream names group and version of built-in kinds only where they differ from the list's own.
    let own = if kind.custom.is_some() { (group, version) } else { ("", "") };
    let response = |g: &str, v: &str, k: &str| value!({"group": g, "version": v, "kind": k});
    let mut entry = value!({
        "resource": kind.plural.as_str(), "scope": scope, "singularResource": kind.singular.as_str(),
    });
    entry.set(&["responseKind"], response(own.0, own.1, &kind.kind));
    entry.set(&["verbs"], main_verbs(kind));
    set_list(&mut entry, "shortNames", &kind.short_names);
    set_list(&mut entry, "categories", &kind.categories);
    let mut subresources: Vec<Value> = Vec::new();
    for sub in kind.subresources_of(index) {
        let body = match (&sub.body, foreign(sub, group, version)) {
            (_, Some((g, v, k))) => response(g, v, k),
            (Some((_, _, k)), None) => response(own.0, own.1, k),
            (None, None) => response(own.0, own.1, &kind.kind),
        };
        let mut one = value!({"subresource": sub.name.as_str()});
        one.set(&["responseKind"], body);
        one.set(&["verbs"], verbs(&sub.verbs));
        subresources.push(one);
    }
    subresources.sort_by(|a, b| a.str_at(&["subresource"]).cmp(b.str_at(&["subresource"])));
    if !subresources.is_empty() {
        entry.set(&["subresources"], subresources);
    }
    entry
}

/// Groups with something served, in upstream's order, custom ones behind.
pub(crate) fn groups(catalog: &Catalog) -> Vec<Str> {
    let mut groups: Vec<Str> = catalog.groups().into_iter().map(Str::from).collect();
    groups.sort_by(|a, b| (group_priority(a), a).cmp(&(group_priority(b), b)));
    groups
}

/// The served versions of a group, preferred first.
pub(crate) fn versions_of(catalog: &Catalog, group: &str) -> Vec<Str> {
    let all = catalog.served().map(|(kind, index)| kind.group_version(index));
    let names: BTreeSet<&str> = all.filter(|(g, _)| *g == group).map(|(_, version)| version).collect();
    let mut names: Vec<Str> = names.into_iter().map(Str::from).collect();
    names.sort_by(|a, b| by_priority(a, b));
    names
}

/// The kinds that serve a version, with the version's index, by plural.
pub(crate) fn served<'c>(catalog: &'c Catalog, group: &str, version: &str) -> Vec<(&'c Kind, usize)> {
    let all = catalog.served().filter(|(kind, index)| kind.group_version(*index) == (group, version));
    all.map(|(kind, index)| (kind.as_ref(), index)).collect()
}

/// `apps/v1`, or `v1`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_string() } else { format!("{group}/{version}") }
}

fn group_body(catalog: &Catalog, group: &str) -> Value {
    let versions = versions_of(catalog, group);
    let entry = |v: &Str| value!({"groupVersion": group_version(group, v), "version": v.as_str()});
    let mut body = value!({"name": group});
    body.set(&["versions"], versions.iter().map(entry).collect::<Value>());
    if let Some(first) = versions.first() {
        body.set(&["preferredVersion"], entry(first));
    }
    body
}

/// The body of a subresource where it is not of the list's own group and version.
fn foreign<'s>(sub: &'s Subresource, group: &str, version: &str) -> Option<(&'s Str, &'s Str, &'s Str)> {
    let (g, v, k) = sub.body.as_ref()?;
    (g != group || v != version).then_some((g, v, k))
}

/// Those of custom resources stand in the order in which upstream writes them down.
fn main_verbs(kind: &Kind) -> Value {
    const CUSTOM: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
    match kind.custom {
        Some(_) => CUSTOM.into_iter().filter(|name| kind.verbs.iter().any(|v| v.name() == *name)).collect(),
        None => verbs(&kind.verbs),
    }
}

fn verbs(verbs: &[Verb]) -> Value {
    let mut names: Vec<&str> = verbs.iter().map(|v| v.name()).collect();
    names.sort_unstable();
    names.into_iter().collect()
}

fn set_list(entry: &mut Value, key: &str, list: &[Str]) {
    if !list.is_empty() {
        entry.set(&[key], list.iter().collect::<Value>());
    }
}

/// The first eight bytes of the SHA-256 of `group/version/kind` of the stored version, in base64.
fn storage_version_hash(kind: &Kind) -> String {
    let (group, version) = kind.group_version(kind.storage);
    let version = kind.policy.hashed_as.as_deref().unwrap_or(version);
    let digest = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    base64(&digest[..8])
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let symbol = ALPHABET[(word >> (18 - 6 * i) & 63) as usize] as char;
            out.push(if i <= chunk.len() { symbol } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::catalog;

    #[test]
    fn groups_and_versions() {
        let catalog = catalog();
        let list = group_list(&catalog);
        let names: Vec<&str> = list.items_at(&["groups"]).iter().map(|g| g.str_at(&["name"])).collect();
        assert_eq!(names, ["apps", "stable.example.com"]);
        assert_eq!(
            group(&catalog, "apps").unwrap().to_string(),
            r#"{"apiVersion":"v1","kind":"APIGroup","name":"apps","preferredVersion":{"groupVersion":"apps/v1","version":"v1"},"versions":[{"groupVersion":"apps/v1","version":"v1"}]}"#
        );
        assert!(group(&catalog, "none").is_none() && resource_list(&catalog, "apps", "v9").is_none());
    }

    #[test]
    fn resources_with_subresources() {
        let list = resource_list(&catalog(), "", "v1").unwrap();
        let pods = &list.items_at(&["resources"])[0];
        assert_eq!(pods.str_at(&["storageVersionHash"]), "xPOwRZ+Yhw8=");
        assert_eq!(
            list.items_at(&["resources"])[1].to_string(),
            r#"{"group":"policy","kind":"Eviction","name":"pods/eviction","namespaced":true,"singularName":"","verbs":["create"],"version":"v1"}"#
        );
        assert_eq!(pods.at(&["verbs"]).to_string(), r#"["create","delete","get","list","patch","update","watch"]"#);
    }

    #[test]
    fn all_at_once() {
        let all = aggregated(&catalog(), false);
        let items = all.items_at(&["items"]);
        assert_eq!((items.len(), items[0].str_at(&["metadata", "name"])), (2, "apps"));
        let resource = &items[1].items_at(&["versions"])[0].items_at(&["resources"])[0];
        assert_eq!(
            resource.at(&["responseKind"]).to_string(),
            r#"{"group":"stable.example.com","kind":"CronTab","version":"v1"}"#
        );
        let legacy = aggregated(&catalog(), true);
        let pods = &legacy.items_at(&["items"])[0].items_at(&["versions"])[0].items_at(&["resources"])[0];
        assert_eq!(
            pods.items_at(&["subresources"])[0].at(&["responseKind"]).to_string(),
            r#"{"group":"policy","kind":"Eviction","version":"v1"}"#
        );
    }
}
