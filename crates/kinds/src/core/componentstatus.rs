//! ComponentStatus: how the control plane's parts were once asked how they are. Nothing is stored, and no part of this
//! server answers separately: the list is empty. (`/livez` and `/readyz` say more.)

use crate::declare::declare;
use schema::{Column, Kind, Verb};
use value::Value;

pub fn kind() -> Kind {
    declare("", "ComponentStatus")
        .plural("componentstatuses")
        .short(["cs"])
        .cluster()
        .version("v1", "io.k8s.api.core.v1.ComponentStatus", columns())
        .deprecated("v1 ComponentStatus is deprecated in v1.19+")
        .read_only([Verb::Get, Verb::List])
        .build()
}

fn columns() -> Vec<Column> {
    fn healthy(obj: &Value) -> Option<&Value> {
        obj.items_at(&["conditions"]).iter().find(|c| c.str_at(&["type"]) == "Healthy")
    }
    fn said(obj: &Value, field: &str) -> Value {
        healthy(obj).map_or("", |condition| condition.str_at(&[field])).into()
    }
    vec![
        Column::object_name(),
        Column::text("Status", |obj, _| match healthy(obj).map(|condition| condition.str_at(&["status"])) {
            Some("True") => "Healthy".into(),
            Some(_) => "Unhealthy".into(),
            None => "Unknown".into(),
        }),
        Column::text("Message", |obj, _| said(obj, "message")),
        Column::text("Error", |obj, _| said(obj, "error")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use value::value;

    #[test]
    fn columns() {
        let condition = value!({"type": "Healthy", "status": "True", "message": "ok"});
        crate::testing::cells(&kind(), value!({"conditions": [condition]}), expect!["obj | Healthy | ok | "]);
        crate::testing::cells(&kind(), value!({}), expect!["obj | Unknown |  | "]);
    }
}
