//! Discovery of what other servers serve, put among this server's own. Pure: documents in, documents out.
//!
//! A group that is not available is missing in the lists of groups, and stale in the aggregated form, as upstream has
//! it. Groups and versions stand in the order of their priorities.

use super::{Remote, register::priorities};
use std::{cmp::Reverse, collections::BTreeMap};
use value::{Value, value};

/// `/apis`
pub fn group_list(mut list: Value, remotes: &[&Remote]) -> Value {
    let mut groups = list.items_at(&["groups"]).to_vec();
    let available: Vec<&Remote> = remotes.iter().copied().filter(|r| r.available).collect();
    for remote in &available {
        match groups.iter_mut().find(|g| g.str_at(&["name"]) == remote.group) {
            Some(group) => add_version(group, remote, &available),
            None => groups.push(body(remote, &available)),
        }
    }
    groups.sort_by_key(|g| {
        let name = g.str_at(&["name"]).to_string();
        Reverse((priority(&name, remotes), Reverse(name)))
    });
    list.set(&["groups"], groups);
    list
}

/// `/apis/<group>`; `None` where nobody serves it.
pub fn group(own: Option<Value>, name: &str, remotes: &[&Remote]) -> Option<Value> {
    let available: Vec<&Remote> = remotes.iter().copied().filter(|r| r.available && r.group == name).collect();
    let mut group = match own {
        Some(own) => own,
        None => {
            let mut group = body(available.first()?, &available);
            group.set(&["kind"], "APIGroup");
            group.set(&["apiVersion"], "v1");
            group
        }
    };
    for remote in &available {
        add_version(&mut group, remote, &available);
    }
    Some(group)
}

/// Aggregated discovery of `/apis`. `resources` are what the servers said last.
pub fn aggregated(mut list: Value, remotes: &[&Remote], resources: &dyn Fn(&Remote) -> Value) -> Value {
    let mut items = list.items_at(&["items"]).to_vec();
    for remote in remotes {
        let fresh = if remote.available { "Current" } else { "Stale" };
        let mut entry = value!({"version": remote.version.as_str(), "freshness": fresh});
        entry.set(&["resources"], listed(&resources(remote), remote));
        let item = match items.iter_mut().find(|i| i.str_at(&["metadata", "name"]) == remote.group) {
            Some(item) => item,
            None => {
                items.push(value!({"metadata": {"name": remote.group.as_str(), "creationTimestamp": null}}));
                let last = items.len() - 1;
                &mut items[last]
            }
        };
        let mut versions = item.items_at(&["versions"]).to_vec();
        versions.retain(|v| v.str_at(&["version"]) != remote.version);
        versions.push(entry);
        versions.sort_by_key(|v| Reverse(version_priority(&remote.group, v.str_at(&["version"]), remotes)));
        item.set(&["versions"], versions);
    }
    items.sort_by_key(|i| {
        let name = i.str_at(&["metadata", "name"]).to_string();
        Reverse((priority(&name, remotes), Reverse(name)))
    });
    list.set(&["items"], items);
    list
}

fn priority(group: &str, remotes: &[&Remote]) -> i64 {
    let remote = remotes.iter().filter(|r| r.group == group).map(|r| r.group_priority).max();
    remote.unwrap_or_else(|| priorities(group, "v1").0)
}

fn version_priority(group: &str, version: &str, remotes: &[&Remote]) -> i64 {
    let remote = remotes.iter().find(|r| r.group == group && r.version == version).map(|r| r.version_priority);
    remote.unwrap_or_else(|| priorities(group, version).1)
}

fn body(remote: &Remote, remotes: &[&Remote]) -> Value {
    let mut body = value!({"name": remote.group.as_str()});
    add_version(&mut body, remote, remotes);
    body
}

fn add_version(group: &mut Value, remote: &Remote, remotes: &[&Remote]) {
    let mut versions = group.items_at(&["versions"]).to_vec();
    versions.retain(|v| v.str_at(&["version"]) != remote.version);
    let entry =
        value!({"groupVersion": format!("{}/{}", remote.group, remote.version), "version": remote.version.as_str()});
    versions.push(entry);
    versions.sort_by_key(|v| Reverse(version_priority(&remote.group, v.str_at(&["version"]), remotes)));
    group.set(&["preferredVersion"], versions[0].clone());
    group.set(&["versions"], versions);
}

/// An APIResourceList in the form of aggregated discovery.
fn listed(list: &Value, remote: &Remote) -> Vec<Value> {
    let response = |entry: &Value| {
        let or = |key: &str, default: &str| match entry.str_at(&[key]) {
            "" => default.to_string(),
            given => given.to_string(),
        };
        value!({"group": or("group", &remote.group), "version": or("version", &remote.version), "kind": entry.str_at(&["kind"])})
    };
    let mut resources: BTreeMap<&str, Value> = BTreeMap::new();
    let (subresources, main): (Vec<&Value>, Vec<&Value>) =
        list.items_at(&["resources"]).iter().partition(|r| r.str_at(&["name"]).contains('/'));
    for entry in main {
        let scope = if entry.at(&["namespaced"]).as_bool() == Some(true) { "Namespaced" } else { "Cluster" };
        let mut resource = value!({
            "resource": entry.str_at(&["name"]), "scope": scope, "singularResource": entry.str_at(&["singularName"]),
        });
        resource.set(&["responseKind"], response(entry));
        for key in ["verbs", "shortNames", "categories"] {
            if !entry.items_at(&[key]).is_empty() {
                resource.set(&[key], entry.at(&[key]).clone());
            }
        }
        resources.insert(entry.str_at(&["name"]), resource);
    }
    for entry in subresources {
        let Some((name, subresource)) = entry.str_at(&["name"]).split_once('/') else { continue };
        let Some(resource) = resources.get_mut(name) else { continue };
        let mut one = value!({"subresource": subresource});
        one.set(&["responseKind"], response(entry));
        one.set(&["verbs"], entry.at(&["verbs"]).clone());
        let mut all = resource.items_at(&["subresources"]).to_vec();
        all.push(one);
        resource.set(&["subresources"], all);
    }
    resources.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(group: &str, version: &str, priorities: (i64, i64), available: bool) -> Remote {
        let spec = value!({
            "group": group, "version": version, "groupPriorityMinimum": (priorities.0), "versionPriority": (priorities.1),
            "service": {"namespace": "n", "name": "s", "port": 443}, "insecureSkipTLSVerify": true,
        });
        let status = if available { "True" } else { "False" };
        let object = value!({"spec": spec, "status": {"conditions": [{"type": "Available", "status": status}]}});
        Remote::of(&object).unwrap()
    }

    fn names(list: &Value, key: &str, path: &[&str]) -> String {
        let names: Vec<&str> = list.items_at(&[key]).iter().map(|g| g.str_at(path)).collect();
        names.join(" ")
    }

    #[test]
    fn groups_and_versions_in_order() {
        let own = || {
            value!({"groups": [
                {"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}]},
                {"name": "custom.io", "versions": [{"groupVersion": "custom.io/v1", "version": "v1"}]},
            ]})
        };
        let (first, low, high, gone) = (
            remote("first.io", "v1", (19000, 1), true),
            remote("a.io", "v1beta1", (500, 10), true),
            remote("a.io", "v1", (500, 20), true),
            remote("gone.io", "v1", (100, 1), false),
        );
        let remotes = [&low, &first, &high, &gone];
        let list = group_list(own(), &remotes);
        assert_eq!(names(&list, "groups", &["name"]), "first.io apps custom.io a.io");
        let a = group(None, "a.io", &remotes).unwrap();
        assert_eq!((a.str_at(&["kind"]), names(&a, "versions", &["version"]).as_str()), ("APIGroup", "v1 v1beta1"));
        assert_eq!(a.str_at(&["preferredVersion", "groupVersion"]), "a.io/v1");
        assert_eq!(group(None, "gone.io", &remotes), None);
        assert_eq!(group(None, "other.io", &remotes), None);
    }

    #[test]
    fn resources_of_others() {
        let (here, gone) = (remote("a.io", "v1", (500, 20), true), remote("gone.io", "v1", (100, 1), false));
        let said = value!({"resources": [
            {"name": "flunders/status", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get", "list"], "shortNames": ["fl"]},
        ]});
        let own = value!({"items": [{"metadata": {"name": "apps"}, "versions": [{"version": "v1"}]}]});
        let list = aggregated(own, &[&gone, &here], &|r| if r.available { said.clone() } else { Value::Null });
        assert_eq!(names(&list, "items", &["metadata", "name"]), "apps a.io gone.io");
        let items = list.items_at(&["items"]);
        assert_eq!(
            items[1].at(&["versions"]).to_string(),
            value!([{"version": "v1", "freshness": "Current", "resources": [{
                "resource": "flunders", "scope": "Namespaced", "singularResource": "flunder",
                "responseKind": {"group": "a.io", "version": "v1", "kind": "Flunder"},
                "verbs": ["get", "list"], "shortNames": ["fl"],
                "subresources": [{"subresource": "status", "responseKind": {"group": "a.io", "version": "v1", "kind": "Flunder"}, "verbs": ["get"]}],
            }]}])
            .to_string()
        );
        assert_eq!(items[2].items_at(&["versions"])[0].str_at(&["freshness"]), "Stale");
    }
}
