//! CSINode: the drivers that run on a node. Named like it.

use super::rules;
use crate::{at::At, declare::declare, rules::IMMUTABLE, rules::same};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use std::collections::BTreeSet;
use value::Value;

const NODE_ID_MAX: usize = 256;

pub fn kind() -> Kind {
    declare("storage.k8s.io", "CSINode")
        .answers_deleted()
        .cluster()
        .version("v1", "io.k8s.api.storage.v1.CSINode", columns())
        .conditional_update()
        .hooks(CsiNode)
        .build()
}

fn columns() -> Vec<Column> {
    let drivers = Column::number("Drivers", |obj, _| obj.items_at(&["spec", "drivers"]).len().into());
    vec![Column::object_name(), drivers, Column::age()]
}

#[derive(Debug)]
struct CsiNode;

impl Hooks for CsiNode {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        let drivers = spec.get("drivers");
        let mut names = BTreeSet::new();
        for entry in drivers.items() {
            driver(entry, errors);
            if !names.insert(entry.get("name").str().to_string()) {
                entry.get("name").duplicate(errors);
            }
        }
        // How many volumes fit may change, nothing else of a driver that stays.
        let rest = |driver: &Value| {
            let mut rest = driver.clone();
            rest.remove(&["allocatable"]);
            rest
        };
        for before in old.map_or(&[][..], |old| old.items_at(&["spec", "drivers"])) {
            for now in drivers.value.items_at(&[]).iter().filter(|now| now.at(&["name"]) == before.at(&["name"])) {
                if !same(&rest(now), &rest(before)) {
                    errors.invalid_raw(drivers.path, rest(now), IMMUTABLE);
                }
            }
        }
    }
}

fn driver(driver: At, errors: &mut FieldErrors) {
    rules::driver(driver.get("name"), errors);
    let id = driver.get("nodeID");
    id.need(errors);
    if id.str().len() > NODE_ID_MAX {
        id.invalid(errors, format!("must be {NODE_ID_MAX} characters or less"));
    }
    let allocatable = driver.get("allocatable");
    allocatable.get("count").non_negative(errors);
    // Upstream reports the keys at the driver.
    let (keys, mut seen) = (driver.get("topologyKeys"), BTreeSet::new());
    for key in keys.items().map(|key| key.str()) {
        if key.is_empty() {
            driver.required(errors, "");
        }
        if !seen.insert(key) {
            errors.duplicate(driver.path, key);
        }
        driver.shape_as(errors, key, base::names::qualified_name(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;
    use value::value;

    fn node(driver: Value) -> Value {
        value!({"spec": {"drivers": [driver]}})
    }

    #[test]
    fn validation() {
        let good = value!({"name": "a", "nodeID": "1", "topologyKeys": ["zone"], "allocatable": {"count": 5}});
        create(&kind(), node(good.clone()), expect![]);
        create(
            &kind(),
            node(value!({"topologyKeys": ["", "a b", "z", "z"], "allocatable": {"count": -1}})),
            expect![[r#"
            spec.drivers[0].name: Required value
            spec.drivers[0].nodeID: Required value
            spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0
            spec.drivers[0]: Required value
            spec.drivers[0]: Invalid value: "": name part must be non-empty; name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.drivers[0]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.drivers[0]: Duplicate value: "z""#]],
        );
        create(
            &kind(),
            value!({"spec": {"drivers": [good, {"name": "a", "nodeID": "x".repeat(257)}]}}),
            expect![[r#"
            spec.drivers[1].nodeID: Invalid value: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": must be 256 characters or less
            spec.drivers[1].name: Duplicate value: "a""#]],
        );
        update(
            &kind(),
            node(good.clone()),
            node(value!({"name": "a", "nodeID": "1", "topologyKeys": ["zone"], "allocatable": {"count": 6}})),
            expect![],
        );
        update(
            &kind(),
            node(good.clone()),
            node(value!({"name": "a", "nodeID": "2"})),
            expect![[
                r#"spec.drivers: Invalid value: {"name":"a","nodeID":"2","topologyKeys":null}: field is immutable"#
            ]],
        );
        cells(&kind(), node(good), expect!["obj | 1 | 5m"]);
    }
}
