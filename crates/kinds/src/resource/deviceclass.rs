//! DeviceClass: a sort of device that claims may ask for by name.

use super::GROUP;
use crate::declare::declare;
use schema::{Column, Kind};

pub fn kind() -> Kind {
    declare(GROUP, "DeviceClass")
        .plural("deviceclasses")
        .cluster()
        .version("v1", "io.k8s.api.resource.v1.DeviceClass", vec![Column::object_name(), Column::age()])
        .generation()
        .build()
}
