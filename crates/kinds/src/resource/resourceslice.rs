//! ResourceSlice: devices that a driver offers, and where.

use super::{GROUP, device, parts::name};
use crate::{
    at::At,
    declare::declare,
    rules::{IMMUTABLE, same},
    template,
};
use base::{FieldErrors, status::quote, time};
use schema::{Column, Context, Hooks, Kind};
use value::Value;

const MAX_DEVICES: usize = 128;
/// Where devices have taints, lists, or share counters.
const MAX_ADVANCED: usize = 64;
const MAX_COUNTER_SETS: usize = 8;

pub fn kind() -> Kind {
    declare(GROUP, "ResourceSlice")
        .answers_deleted()
        .cluster()
        .version("v1", "io.k8s.api.resource.v1.ResourceSlice", columns())
        .generation()
        .selectable(["spec.nodeName", "spec.driver"])
        .hooks(ResourceSlice)
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

#[derive(Debug)]
struct ResourceSlice;

impl Hooks for ResourceSlice {
    fn prepare_create(&self, cx: &Context, obj: &mut Value) {
        prepare(cx, obj, None);
    }
    fn prepare_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        prepare(cx, obj, Some(old));
    }

    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        spec.get("driver").driver_name(errors);
        let pool = spec.get("pool");
        pool.get("name").pool_name(errors);
        if pool.get("resourceSliceCount").int() <= 0 {
            pool.get("resourceSliceCount").invalid_int(errors, "must be greater than zero");
        }
        if pool.get("generation").int() < 0 {
            pool.get("generation").invalid_int(errors, "must be greater than or equal to zero");
        }
        if let Some(old) = old {
            for (at, path) in [
                (pool.get("name"), ["spec", "pool", "name"].as_slice()),
                (spec.get("driver"), &["spec", "driver"]),
                (spec.get("nodeName"), &["spec", "nodeName"]),
            ] {
                if !same(at.value, old.at(path)) {
                    at.invalid(errors, IMMUTABLE);
                }
            }
        }
        place(spec, errors);
        if !spec.get("sharedCounters").is_empty() && !spec.get("devices").is_empty() {
            spec.invalid_as(errors, "", "only one of `sharedCounters` or `devices` is allowed");
        }
        devices(spec, old, errors);
        let sets = spec.get("sharedCounters");
        if sets.fits(errors, MAX_COUNTER_SETS) {
            for set in sets.items() {
                if set.get("name").need(errors) {
                    set.get("name").dns_label(errors);
                }
                device::counters(set.get("counters"), errors);
            }
            sets.unique_by(errors, name);
        }
    }

    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        let driver = obj.str_at(&["spec", "driver"]);
        if driver == driver.to_lowercase() {
            return Vec::new();
        }
        let text = "driver names should be lowercase";
        vec![format!("spec.driver: {text}; {} contains uppercase characters", quote(driver))]
    }
}

fn prepare(cx: &Context, obj: &mut Value, old: Option<&Value>) {
    let before = old.map(|old| old.items_at(&["spec", "devices"])).unwrap_or_default();
    let lists = !before.iter().any(device::has_lists);
    let mappings = !before.iter().any(|d| !d.at(&["nodeAllocatableResourceMappings"]).is_null());
    let now = time::seconds(cx.now);
    for device in obj.array_at_mut(&["spec", "devices"]).into_iter().flatten() {
        device::drop_disabled(device, lists, mappings);
        for taint in device.array_at_mut(&["taints"]).into_iter().flatten() {
            taint.set_default(&["timeAdded"], now.as_str());
        }
    }
}

fn place(spec: At, errors: &mut FieldErrors) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut set = Vec::new();
    let (node, selector) = (spec.get("nodeName"), spec.get("nodeSelector"));
    if node.is_set() {
        if node.is_empty() {
            node.invalid(errors, "must be either unset or set to a non-empty string");
        } else {
            set.push("`nodeName`");
            node.dns_subdomain(errors);
        }
    }
    if selector.is_set() {
        set.push("`nodeSelector`");
        template::node_selector(selector, errors);
        let terms = selector.get("nodeSelectorTerms");
        if terms.len() != 1 {
            let printed = if terms.is_set() { terms.value.to_string() } else { "null".into() };
            errors.invalid_raw(terms.path, printed, "must have exactly one node selector term");
        }
    }
    for (field, word) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        let field = spec.get(field);
        if field.flag() {
            set.push(word);
        } else if field.is_set() {
            field.invalid(errors, "must be either unset or set to true");
        }
    }
    match set.len() {
        0 => spec.required(errors, ONE),
        1 => {}
        _ => spec.invalid_as(errors, &format!("{{{}}}", set.join(", ")), format!("{ONE}, but multiple fields are set")),
    }
}

fn devices(spec: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let devices = spec.get("devices");
    let list = spec.value.items_at(&["devices"]);
    let has = |field: &str| list.iter().any(|device| !device.items_at(&[field]).is_empty());
    let advanced = has("taints") || has("consumesCounters") || list.iter().any(device::has_lists);
    if !devices.fits(errors, if advanced { MAX_ADVANCED } else { MAX_DEVICES }) {
        return;
    }
    let before = old.map(|old| old.items_at(&["spec", "devices"])).unwrap_or_default();
    let placed = spec.get("perDeviceNodeSelection").flag();
    for device in devices.items() {
        let old = before.iter().find(|old| old.at(&["name"]) == device.value.at(&["name"]));
        device::device(device, old, placed, errors);
    }
    devices.unique_by(errors, name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, created, update, within};
    use expect_test::expect;
    use schema::Operation;
    use value::value;

    fn slice(devices: Value) -> Value {
        value!({"spec": {"driver": "gpu.example.com", "nodeName": "n1", "devices": devices,
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}})
    }

    #[test]
    fn validation() {
        create(
            &kind(),
            slice(
                value!([{"name": "d", "attributes": {"model": {"string": "m"}, "a.b/v": {"version": "1.2.3"}}, "capacity": {"memory": {"value": "1Gi"}}}]),
            ),
            expect![""],
        );
        create(
            &kind(),
            value!({"spec": {}}),
            expect![[r#"
            spec.driver: Required value
            spec.pool.name: Required value
            spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero
            spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"#]],
        );
        create(
            &kind(),
            slice(value!([
                {"name": "D", "attributes": {"1": {}, "/x": {"bool": true, "int": 1}, "v": {"version": "1"}}, "allNodes": true},
                {"name": "d", "taints": [{"key": "a b", "effect": "X"}], "consumesCounters": [{}, {"counterSet": "c", "counters": {"M": {"value": "1"}}}]},
                {"name": "d", "bindingConditions": ["a", "a"]},
            ])),
            expect![[r#"
                spec.devices[0].name: Invalid value: "D": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
                spec.devices[0].attributes: Invalid value: "": the domain must not be empty
                spec.devices[0].attributes[/x]: Invalid value: {"bool":true,"int":1}: exactly one value must be specified
                spec.devices[0].attributes: Invalid value: "1": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')
                spec.devices[0].attributes[1]: Invalid value: "": exactly one value must be specified
                spec.devices[0].attributes[v].version: Invalid value: "1": must be a string compatible with semver.org spec 2.0.0
                spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec
                spec.devices[1].taints[0].key: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                spec.devices[1].taints[0].effect: Unsupported value: "X": supported values: "NoExecute", "NoSchedule", "None"
                spec.devices[1].consumesCounters[0].counterSet: Required value
                spec.devices[1].consumesCounters[0].counters: Required value
                spec.devices[1].consumesCounters[1].counters: Invalid value: "M": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
                spec.devices[2].bindingConditions[1]: Duplicate value: "a"
                spec.devices[2].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions
                spec.devices[2]: Duplicate value: "d""#]],
        );
        let mut old = slice(value!([]));
        old.set(&["spec", "allNodes"], true);
        let mut new = old.clone();
        new.set(&["spec", "driver"], "x.example.com");
        new.set(&["spec", "nodeName"], "n2");
        update(
            &kind(),
            old,
            new,
            expect![[r#"
            spec.driver: Invalid value: "x.example.com": field is immutable
            spec.nodeName: Invalid value: "n2": field is immutable
            spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"#]],
        );
    }

    #[test]
    fn requests_have_rules() {
        let device = |shared: bool, policy: Value| {
            slice(
                value!([{"name": "d", "allowMultipleAllocations": shared, "capacity": {"m": {"value": "10", "requestPolicy": policy}}}]),
            )
        };
        for (shared, policy, want) in [
            (true, value!({"default": "2", "validValues": ["2", "4"]}), expect![""]),
            (true, value!({"default": "2", "validRange": {"min": "1", "max": "9", "step": "1"}}), expect![""]),
            (
                false,
                value!({}),
                expect!["spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
            ),
            (
                true,
                value!({"validValues": ["2"], "validRange": {"min": "1"}}),
                expect![[
                    r#"spec.devices[0].capacity[m].requestPolicy: Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#
                ]],
            ),
            (
                true,
                value!({"validValues": ["2"]}),
                expect![
                    "spec.devices[0].capacity[m].requestPolicy.default: Required value: required when validValues is defined"
                ],
            ),
            (
                true,
                value!({"default": "3", "validValues": ["4", "2", "2", "11"]}),
                expect![[r#"
                spec.devices[0].capacity[m].requestPolicy.validValues[1]: Invalid value: "2": values must be sorted in ascending order
                spec.devices[0].capacity[m].requestPolicy.validValues[3]: Invalid value: "11": option is larger than capacity value: 10
                spec.devices[0].capacity[m].requestPolicy.validValues[2]: Duplicate value: "2"
                spec.devices[0].capacity[m].requestPolicy.validValues: Invalid value: "3": default value is not valid according to the requestPolicy"#]],
            ),
            (
                true,
                value!({"default": "1", "validRange": {"min": "2", "max": "12", "step": "9"}}),
                expect![[r#"
                spec.devices[0].capacity[m].requestPolicy.validRange.min: Invalid value: "1": default is less than min: 2
                spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: "12": max is larger than capacity value: 10
                spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "9": one step 11 is larger than capacity value: 10
                spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "1": value is not a multiple of a given step (9) from (2)
                spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "12": value is not a multiple of a given step (9) from (2)"#]],
            ),
        ] {
            create(&kind(), device(shared, policy), want);
        }
    }

    #[test]
    fn a_taint_has_a_time_and_what_is_not_kept_goes() {
        let obj = slice(
            value!([{"name": "d", "taints": [{"key": "k", "effect": "NoSchedule"}], "attributes": {"a": {"bools": [true]}},
            "nodeAllocatableResourceMappings": {"cpu": {}}}]),
        );
        expect![[r#"[{"attributes":{"a":{}},"name":"d","taints":[{"effect":"NoSchedule","key":"k","timeAdded":"2026-01-02T03:10:00Z"}]}]"#]].assert_eq(&created(&kind(), obj).at(&["spec", "devices"]).to_string());
    }

    #[test]
    fn columns_and_warnings() {
        let mut obj = slice(value!([]));
        cells(&kind(), obj.clone(), expect!["obj | n1 | gpu.example.com | p | 5m"]);
        obj.set(&["spec", "driver"], "GPU.example.com");
        let warnings = within(Operation::Create, None, |cx| kind().hooks.warnings(cx, &obj, None));
        assert_eq!(
            warnings,
            [r#"spec.driver: driver names should be lowercase; "GPU.example.com" contains uppercase characters"#]
        );
    }
}
