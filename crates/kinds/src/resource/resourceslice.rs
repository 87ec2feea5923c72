//! ResourceSlice: devices that a driver offers, and where.

use super::GROUP;
use crate::declare::declare;
use schema::{Column, Kind};

pub fn kind() -> Kind {
    declare(GROUP, "ResourceSlice")
        .cluster()
        .version("v1", "io.k8s.api.resource.v1.ResourceSlice", columns())
        .generation()
        .selectable(["spec.nodeName", "spec.driver"])
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Node", |obj, _| obj.str_at(&["spec", "nodeName"]).into()),
        Column::text("Driver", |obj, _| obj.str_at(&["spec", "driver"]).into()),
        Column::text("Pool", |obj, _| obj.str_at(&["spec", "pool", "name"]).into()),
        Column::age(),
    ]
}
