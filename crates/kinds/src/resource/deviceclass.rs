//! DeviceClass: a sort of device that claims may ask for by name.

use super::{GROUP, claim::MAX_CONFIG, parts};
use crate::{at::At, declare::declare};
use base::{FieldErrors, names};
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare(GROUP, "DeviceClass")
        .plural("deviceclasses")
        .answers_deleted()
        .cluster()
        .version("v1", "io.k8s.api.resource.v1.DeviceClass", vec![Column::object_name(), Column::age()])
        .generation()
        .hooks(DeviceClass)
        .build()
}

#[derive(Debug)]
struct DeviceClass;

impl Hooks for DeviceClass {
    fn validate(&self, _cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        parts::selectors(spec.get("selectors"), errors);
        let config = spec.get("config");
        if config.fits(errors, MAX_CONFIG) {
            config.items().for_each(|config| parts::configuration(config, errors));
        }
        let extended = spec.get("extendedResourceName");
        if extended.is_set() && !is_extended(extended.str()) {
            extended.invalid(errors, "must be a valid extended resource name");
        }
    }
}

/// True for the name of a resource that is not Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::create;
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        for (spec, want) in [
            (
                value!({"selectors": [{"cel": {"expression": "true"}}], "extendedResourceName": "example.com/gpu"}),
                expect![""],
            ),
            (
                value!({"selectors": [{}, {"cel": {"expression": ""}}], "extendedResourceName": "cpu"}),
                expect![[r#"
                    spec.selectors[0].cel: Required value
                    spec.selectors[1].cel.expression: Invalid value: "": compilation failed: ERROR: <input>:1:1: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
                     | 
                     | ^
                    spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name"#]],
            ),
            (
                value!({"config": [{}, {"opaque": {}}, {"opaque": {"driver": "a b", "parameters": 1}}, {"opaque": {"driver": "D.x", "parameters": {}}}]}),
                expect![[r#"
                    spec.config[0].opaque: Required value
                    spec.config[1].opaque.driver: Required value
                    spec.config[1].opaque.parameters: Required value
                    spec.config[2].opaque.driver: Invalid value: "a b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                    spec.config[2].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object"#]],
            ),
        ] {
            create(&kind(), value!({"spec": spec}), want);
        }
        for (expression, want) in [
            (r#"device.driver == "dra.example.com" && "dra.example.com" in device.attributes"#, expect![""]),
            (
                r#"cel.bind(dra, device.attributes["dra.example.com"], dra.model.matches("^a.*") && dra.sriov)"#,
                expect![""],
            ),
            (r#"device.capacity["dra.example.com"].memory.isGreaterThan(quantity("1Gi"))"#, expect![""]),
            (r#"device.attributes["a.example.com"].version.isGreaterThan(semver("1.0.0"))"#, expect![""]),
            (r#"device.attributes["a.example.com"].usable"#, expect![""]),
            ("device.allowMultipleAllocations", expect![""]),
            (
                "1",
                expect![[
                    r#"spec.selectors[0].cel.expression: Invalid value: "1": must evaluate to bool or the unknown type, not int"#
                ]],
            ),
            (
                "device.diver",
                expect![[r#"
                spec.selectors[0].cel.expression: Invalid value: "device.diver": compilation failed: ERROR: <input>:1:7: undefined field 'diver'
                 | device.diver
                 | ......^"#]],
            ),
            (
                "?!",
                expect![[r#"
                spec.selectors[0].cel.expression: Invalid value: "?!": compilation failed: ERROR: <input>:1:1: Syntax error: mismatched input '?' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
                 | ?!
                 | ^"#]],
            ),
            (
                "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a == b && c == d))))",
                expect!["spec.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit"],
            ),
        ] {
            create(&kind(), value!({"spec": {"selectors": [{"cel": {"expression": expression}}]}}), want);
        }
        let many = vec![value!({"cel": {"expression": "true"}}); 33];
        create(
            &kind(),
            value!({"spec": {"selectors": many}}),
            expect!["spec.selectors: Too many: 33: must have at most 32 items"],
        );
    }
}
