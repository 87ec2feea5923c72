//! What the API server serves, as controllers need it that act on every kind.

use client::{Client, Gvr};
use value::{Str, Value, parse_lenient};

/// A served resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub gvr: Gvr,
    pub kind: Str,
    pub namespaced: bool,
    pub verbs: Vec<Str>,
}

impl Resource {
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

/// All resources in their preferred versions, subresources left out.
pub async fn served(client: &Client) -> Result<Vec<Resource>, client::Error> {
    let mut out = read("", "v1", &get(client, "/api/v1").await?);
    for group in get(client, "/apis").await?.items_at(&["groups"]) {
        let name = group.str_at(&["name"]);
        // A kind may exist only in a version that is not the preferred one: later versions add what is missing.
        for version in group.items_at(&["versions"]).iter().map(|v| v.str_at(&["version"])) {
            let document = get(client, &format!("/apis/{name}/{version}")).await?;
            for resource in read(name, version, &document) {
                if !out.iter().any(|r| r.gvr.group == resource.gvr.group && r.gvr.plural == resource.gvr.plural) {
                    out.push(resource);
                }
            }
        }
    }
    Ok(out)
}

async fn get(client: &Client, path: &str) -> Result<Value, client::Error> {
    let bytes = client.get_raw(path).await?;
    Ok(parse_lenient(&bytes).unwrap_or_default())
}

fn read(group: &str, version: &str, document: &Value) -> Vec<Resource> {
    let resources = document.items_at(&["resources"]).iter().filter(|r| !r.str_at(&["name"]).contains('/'));
    let read = resources.map(|r| Resource {
        gvr: Gvr::new(group, version, r.str_at(&["name"])),
        kind: r.str_at(&["kind"]).into(),
        namespaced: r.at(&["namespaced"]).as_bool().unwrap_or(false),
        verbs: r.items_at(&["verbs"]).iter().filter_map(Value::as_str).map(Str::from).collect(),
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn subresources_are_left_out() {
        let document = value!({"resources": [
            {"name": "pods", "kind": "Pod", "namespaced": true, "verbs": ["list", "delete"]},
            {"name": "pods/log", "kind": "Pod", "namespaced": true, "verbs": ["get"]},
        ]});
        let got = read("", "v1", &document);
        assert_eq!(got.len(), 1);
        assert!(got[0].can("delete") && !got[0].can("watch"));
    }
}
