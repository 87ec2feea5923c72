//! Binding: tells the pod of the same name where to run. Posted to `pods/<name>/binding`, or, as long ago, to
//! `bindings`; never stored.

use crate::declare::declare;
use schema::{Column, Kind};

pub fn kind() -> Kind {
    declare("", "Binding")
        .version("v1", "io.k8s.api.core.v1.Binding", vec![Column::object_name()])
        .create_only()
        .build()
}
