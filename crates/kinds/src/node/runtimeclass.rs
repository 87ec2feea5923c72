//! RuntimeClass: a name for a way to run containers.

use crate::{at::At, declare::declare, template};
use base::FieldErrors;
use schema::{Column, ColumnType, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("node.k8s.io", "RuntimeClass")
        .plural("runtimeclasses")
        .cluster()
        .version("v1", "io.k8s.api.node.v1.RuntimeClass", columns())
        .create_on_update()
        .conditional_update()
        .hooks(RuntimeClass)
        .build()
}

fn columns() -> Vec<Column> {
    vec![Column::object_name(), Column::path("Handler", ColumnType::String, "handler"), Column::age()]
}

#[derive(Debug)]
struct RuntimeClass;

impl Hooks for RuntimeClass {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let handler = root.get("handler");
        handler.dns_label(errors);
        let overhead = root.get("overhead");
        for (_, amount) in overhead.get("podFixed").entries() {
            amount.quantity(errors);
        }
        let scheduling = root.get("scheduling");
        scheduling.get("nodeSelector").labels(errors);
        template::tolerations(scheduling.get("tolerations"), errors);
        if let Some(old) = old {
            handler.immutable(errors, old.at(&["handler"]));
        }
    }
}
