//! ServiceAccount: the identity of a pod.

use crate::declare::declare;
use schema::{Column, Connector, Kind, Verb};

pub fn kind() -> Kind {
    declare("", "ServiceAccount")
        .answers_deleted()
        .short(["sa"])
        .version("v1", "io.k8s.api.core.v1.ServiceAccount", vec![Column::object_name(), Column::age()])
        .server("token", Connector::Token, Some(("authentication.k8s.io", "v1", "TokenRequest")), [Verb::Create])
        .build()
}
