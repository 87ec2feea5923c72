//! ResourceClaim: a request for devices, and the devices that were found for it.

use super::GROUP;
use crate::declare::declare;
use schema::{Column, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare(GROUP, "ResourceClaim")
        .version("v1", "io.k8s.api.resource.v1.ResourceClaim", columns())
        .status()
        .build()
}

fn columns() -> Vec<Column> {
    vec![Column::object_name(), Column::text("State", |obj, _| state(obj).into()), Column::age()]
}

/// `pending`, `allocated`, `allocated,reserved`, each behind `deleted,` while the claim goes.
fn state(obj: &Value) -> String {
    let deleted = !obj.at(&["metadata", "deletionTimestamp"]).is_null();
    let allocated = !obj.at(&["status", "allocation"]).is_null();
    let reserved = !obj.items_at(&["status", "reservedFor"]).is_empty();
    let states = [
        ("deleted", deleted),
        ("pending", !allocated && !deleted),
        ("allocated", allocated),
        ("reserved", allocated && reserved),
    ];
    states.into_iter().filter(|(_, is)| *is).map(|(state, _)| state).collect::<Vec<_>>().join(",")
}
