//! ResourceClaimTemplate: the claim that each pod gets that names it.

use super::GROUP;
use crate::declare::declare;
use schema::{Column, Kind};

pub fn kind() -> Kind {
    declare(GROUP, "ResourceClaimTemplate")
        .version("v1", "io.k8s.api.resource.v1.ResourceClaimTemplate", vec![Column::object_name(), Column::age()])
        .build()
}
