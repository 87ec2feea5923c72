//! ResourceClaim: a request for devices, and the devices that were found for it. What it asks for never changes.

use super::{GROUP, claim, status};
use crate::{
    at::At,
    declare::declare,
    rules::{IMMUTABLE, same},
};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare(GROUP, "ResourceClaim")
        .answers_deleted()
        .version("v1", "io.k8s.api.resource.v1.ResourceClaim", columns())
        .status()
        .without_metadata()
        .hooks(ResourceClaim)
        .build()
}

fn columns() -> Vec<Column> {
    vec![Column::object_name(), Column::text("State", |obj, _| state(obj).into()), Column::age()]
}

/// `pending`, `allocated`, `allocated,reserved`, each behind `deleted,` while the claim goes.
fn state(obj: &Value) -> String {
    let deleted = !obj.at(&["metadata", "deletionTimestamp"]).is_null();
    let allocated = !obj.at(&["status", "allocation"]).is_null();
    let reserved = !obj.items_at(&["status", "reservedFor"]).is_empty();
    let states = [
        ("deleted", deleted),
        ("pending", !allocated && !deleted),
        ("allocated", allocated),
        ("reserved", allocated && reserved),
    ];
    states.into_iter().filter(|(_, is)| *is).map(|(state, _)| state).collect::<Vec<_>>().join(",")
}

#[derive(Debug)]
struct ResourceClaim;

impl Hooks for ResourceClaim {
    fn default(&self, obj: &mut Value) {
        claim::defaults(obj.at_mut(&["spec"]));
    }

    fn prepare_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        if cx.subresource == Some("status") {
            status::forget_given_back(obj, old);
        }
    }

    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        match old {
            Some(old) if cx.subresource == Some("status") => status::validate(cx, obj, old, errors),
            Some(old) if !same(old.at(&["spec"]), spec.value) => spec.invalid(errors, IMMUTABLE),
            Some(_) => {}
            None => {
                let requests = spec.value.items_at(&["devices", "requests"]);
                let devices = spec.path.key("devices");
                claim::admin_access(cx, obj, requests, &["exactly", "adminAccess"], devices.key("requests"), errors);
                claim::spec(spec, errors);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, defaults, update, update_of};
    use expect_test::expect;
    use value::value;

    fn one(status: Value) -> Value {
        value!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}, "status": status})
    }

    #[test]
    fn one_device_unless_it_says_more() {
        let spec = value!({"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}},
            {"name": "b", "firstAvailable": [{"name": "x", "allocationMode": "All"}, {"name": "y"}]}]}});
        defaults(
            &kind(),
            value!({"spec": spec}),
            &["spec", "devices", "requests"],
            expect![[
                r#"[{"exactly":{"allocationMode":"ExactCount","count":1,"deviceClassName":"c"},"name":"a"},{"firstAvailable":[{"allocationMode":"All","deviceClassName":"","name":"x"},{"allocationMode":"ExactCount","count":1,"deviceClassName":"","name":"y"}],"name":"b"}]"#
            ]],
        );
    }

    #[test]
    fn validation() {
        create(&kind(), one(Value::Null), expect![""]);
        let request = |body: Value| value!({"spec": {"devices": {"requests": [body]}}});
        for (body, want) in [
            (
                value!({"name": "R"}),
                expect![[r#"
                spec.devices.requests[0].name: Invalid value: "R": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
                spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"#]],
            ),
            (
                value!({"name": "r", "exactly": {}, "firstAvailable": [{}]}),
                expect![
                    "spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
                ],
            ),
            (
                value!({"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": true}}),
                expect![
                    "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
                ],
            ),
            (
                value!({"name": "r", "exactly": {"allocationMode": "All", "count": 2, "selectors": [{}],
                    "tolerations": [{"operator": "Exists", "value": "x"}, {"operator": "Like", "effect": "Never"}]}}),
                expect![[r#"
                    spec.devices.requests[0].exactly.deviceClassName: Required value
                    spec.devices.requests[0].exactly.selectors[0].cel: Required value
                    spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'
                    spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: "x": must be empty for operator `Exists`
                    spec.devices.requests[0].exactly.tolerations[1].operator: Unsupported value: "Like": supported values: "Equal", "Exists"
                    spec.devices.requests[0].exactly.tolerations[1].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "None""#]],
            ),
            (
                value!({"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "c", "count": -1}, {"name": "a", "deviceClassName": "c", "allocationMode": "Some"}]}),
                expect![[r#"
                    spec.devices.requests[0].firstAvailable[0].count: Invalid value: -1: must be greater than zero
                    spec.devices.requests[0].firstAvailable[1].allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"
                    spec.devices.requests[0].firstAvailable[1]: Duplicate value: "a""#]],
            ),
        ] {
            create(&kind(), request(body), want);
        }
        let mut obj = one(Value::Null);
        obj.set(
            &["spec", "devices", "constraints"],
            value!([{}, {"requests": ["r", "r", "x", "r/y", "a/b/c"], "matchAttribute": "model"}]),
        );
        obj.set(&["spec", "devices", "config"], value!([{"requests": ["x"]}]));
        create(
            &kind(),
            obj,
            expect![[r#"
            spec.devices.constraints[0]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set
            spec.devices.constraints[1].requests[2]: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[1].requests[3]: Invalid value: "r/y": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[1].requests[4]: Invalid value: "a/b/c": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[1].requests[1]: Duplicate value: "r"
            spec.devices.constraints[1].matchAttribute: Invalid value: "model": a fully qualified name must be a domain and a name separated by a slash
            spec.devices.config[0].requests[0]: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.config[0].opaque: Required value"#]],
        );
    }

    #[test]
    fn what_is_asked_for_never_changes() {
        let mut other = one(Value::Null);
        other.set(&["spec", "devices", "requests"], value!([]));
        update(
            &kind(),
            one(Value::Null),
            other,
            expect![[r#"spec: Invalid value: {"devices":{"requests":[]}}: field is immutable"#]],
        );
    }

    #[test]
    fn status() {
        let result = value!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "d"});
        let allocation = value!({"devices": {"results": [result]}});
        let with = |reserved: Value, devices: Value| {
            one(value!({"allocation": allocation, "reservedFor": reserved, "devices": devices}))
        };
        let device = |name: &str| value!({"driver": "d.example.com", "pool": "p", "device": name});
        let consumer = value!({"resource": "pods", "name": "p", "uid": "u"});
        let check =
            |old: Value, new: Value, want: expect_test::Expect| update_of(&kind(), Some("status"), old, new, want);
        check(one(Value::Null), with(value!([consumer]), value!([(device("d"))])), expect![""]);
        check(
            one(Value::Null),
            one(value!({"reservedFor": [consumer]})),
            expect!["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
        );
        check(
            with(value!([]), value!([])),
            one(value!({"allocation": {"devices": {}}})),
            expect![[r#"status.allocation: Invalid value: {"devices":{}}: field is immutable"#]],
        );
        let mut bad = device("d");
        bad.set(&["networkData"], value!({"ips": ["10.0.0.1", "10.0.0.1/24", "10.0.0.1/24"]}));
        bad.set(&["data"], value!([]));
        bad.set(&["conditions"], value!([{"type": "Ready"}]));
        bad.set(&["shareID"], "x");
        check(
            one(Value::Null),
            with(value!([{}, consumer, consumer]), value!([bad, (device("e"))])),
            expect![[r#"
            status.reservedFor[0].resource: Required value
            status.reservedFor[0].name: Required value
            status.reservedFor[0].uid: Required value
            status.reservedFor[2]: Duplicate value: "u"
            status.devices[0].shareID: Invalid value: "x": error validating uid: invalid UUID length: 1
            status.devices[0]: Invalid value: "d.example.com/p/d/x": must be an allocated device in the claim
            status.devices[0].conditions[0].status: Required value
            status.devices[0].conditions[0].lastTransitionTime: Required value
            status.devices[0].conditions[0].reason: Required value
            status.devices[0].data: Invalid value: "<value omitted>": must be a valid JSON object
            status.devices[0].networkData.ips[0]: Invalid value: "10.0.0.1": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)
            status.devices[0].networkData.ips[2]: Duplicate value: "10.0.0.1/24"
            status.devices[1]: Invalid value: "d.example.com/p/e": must be an allocated device in the claim"#]],
        );
        let unknown = value!({"request": "x", "driver": "", "pool": "A/b", "device": "", "bindingConditions": ["a"], "bindingFailureConditions": ["a"]});
        check(
            one(Value::Null),
            one(
                value!({"allocation": {"devices": {"results": [unknown], "config": [{"source": "Other"}]}, "nodeSelector": {}}}),
            ),
            expect![[r#"
                status.allocation.devices.results[0].request: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
                status.allocation.devices.results[0].driver: Required value
                status.allocation.devices.results[0].pool: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                status.allocation.devices.results[0].device: Invalid value: "": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
                status.allocation.devices.results[0].bindingFailureConditions[0]: Invalid value: "a": bindingFailureConditions must not overlap with bindingConditions
                status.allocation.devices.config[0].source: Unsupported value: "Other": supported values: "FromClaim", "FromClass"
                status.allocation.devices.config[0].opaque: Required value
                status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term"#]],
        );
        // What is given back is spoken of no more.
        let given = crate::testing::within(schema::Operation::Update, Some("status"), |cx| {
            let (old, mut new) = (with(value!([]), value!([(device("d"))])), one(value!({"devices": [(device("d"))]})));
            kind().hooks.prepare_update(cx, &mut new, &old);
            new
        });
        assert_eq!(given.at(&["status"]).to_string(), "{}");
    }

    #[test]
    fn columns() {
        for (status, want) in [
            (value!({}), expect!["obj | pending | 5m"]),
            (value!({"allocation": {}}), expect!["obj | allocated | 5m"]),
            (value!({"allocation": {}, "reservedFor": [{}]}), expect!["obj | allocated,reserved | 5m"]),
        ] {
            cells(&kind(), one(status), want);
        }
    }
}
