//! PriorityClass: a name for a pod's priority. Two names belong to the system.

use crate::{at::At, declare::declare};
use base::FieldErrors;
use schema::{ClusterConfig, Column, ColumnType, Context, Generation, Hooks, Initial, Keep, Kind};
use value::{Value, value};

const HIGHEST: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

const DESCRIPTIONS: [&str; 2] = [
    "Used for system critical pods that must not be moved from their current node.",
    "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
];

pub fn kind() -> Kind {
    declare("scheduling.k8s.io", "PriorityClass")
        .plural("priorityclasses")
        .short(["pc"])
        .cluster()
        .version("v1", "io.k8s.api.scheduling.v1.PriorityClass", columns())
        .generations(Generation::Once)
        .hooks(PriorityClass)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::number("Value", |class, _| class.at(&["value"]).as_i64().unwrap_or(0).into()),
        Column {
            kind: ColumnType::Boolean,
            ..Column::text("Global-Default", |class, _| class.at(&["globalDefault"]).as_bool().unwrap_or(false).into())
        },
        Column::age(),
        Column::path("PreemptionPolicy", ColumnType::String, "preemptionPolicy"),
    ]
}

#[derive(Debug)]
struct PriorityClass;

impl Hooks for PriorityClass {
    fn initial(&self, _cluster: &ClusterConfig) -> Vec<Initial> {
        let class = |((name, number), description): ((&str, i64), &str)| Initial {
            object: value!({"metadata": {"name": name}, "value": number, "description": description}),
            keep: Keep::Once,
        };
        SYSTEM.into_iter().zip(DESCRIPTIONS).map(class).collect()
    }

    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let (number, policy) = (root.get("value"), root.get("preemptionPolicy"));
        if let Some(old) = old {
            if number.int() != old.at(&["value"]).as_i64().unwrap_or(0) {
                number.forbidden(errors, "may not be changed in an update.");
            }
            return policy.immutable(errors, old.at(&["preemptionPolicy"]));
        }
        if obj.name().starts_with("system-") {
            if let Err(why) = known(obj) {
                let detail =
                    "priority class names with 'system-' prefix are reserved for system use only. error: ".to_string();
                errors.forbidden("metadata.name", detail + &why);
            }
        } else if number.int() > HIGHEST {
            number.forbidden(errors, format!("maximum allowed value of a user defined priority is {HIGHEST}"));
        }
        policy.one_of_if_set(errors, &["PreemptLowerPriority", "Never"]);
    }
}

/// One of the system's own classes, as it is.
fn known(obj: &Value) -> Result<(), String> {
    let name = obj.name();
    let Some((_, value)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if obj.at(&["value"]).as_i64() != Some(*value) {
        return Err(format!("value of {name} PriorityClass must be {value}"));
    }
    if obj.at(&["globalDefault"]).as_bool() == Some(true) {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;

    #[test]
    fn validation() {
        create(&kind(), value!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000}), expect![""]);
        create(
            &kind(),
            value!({"metadata": {"name": "system-x"}, "value": 1}),
            expect![
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class"
            ],
        );
        create(
            &kind(),
            value!({"value": 1_000_000_001}),
            expect!["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        );
        update(
            &kind(),
            value!({"value": 1}),
            value!({"value": 2, "preemptionPolicy": "Never"}),
            expect![[r#"
            value: Forbidden: may not be changed in an update.
            preemptionPolicy: Invalid value: "Never": field is immutable"#]],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), value!({"value": 7}), expect!["obj | 7 | false | 5m | null"]);
    }
}
