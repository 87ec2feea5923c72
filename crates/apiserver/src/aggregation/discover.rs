//! The documents that tell of all servers, made from this server's own.

use super::{Remote, merge};
use crate::stack::Exchange;
use schema::{discovery, openapi};
use value::Value;

/// The document at a path where others have a part in it; `None` where it is this server's alone.
pub fn merged(x: &Exchange<'_>, parts: &[&str], aggregated: bool) -> Option<Value> {
    let aggregation = &x.server.aggregation;
    let all = aggregation.all();
    if all.is_empty() {
        return None;
    }
    let remotes: Vec<&Remote> = all.values().map(|remote| &**remote).collect();
    let catalog = x.server.engine.catalog();
    match parts {
        ["apis"] if aggregated => {
            let own = discovery::aggregated(&catalog, false);
            Some(merge::aggregated(own, &remotes, &|remote| aggregation.resources(remote)))
        }
        ["apis"] => Some(merge::group_list(discovery::group_list(&catalog), &remotes)),
        ["apis", group] if remotes.iter().any(|r| r.group == *group) => {
            merge::group(discovery::group(&catalog, group), group, &remotes)
        }
        ["openapi", "v3"] => {
            let mut index = openapi::index(&catalog);
            for remote in remotes.iter().filter(|r| r.available) {
                let path = format!("apis/{}/{}", remote.group, remote.version);
                let url = format!("/openapi/v3/{path}");
                index.set(&["paths", &path, "serverRelativeURL"], url);
            }
            Some(index)
        }
        _ => None,
    }
}
