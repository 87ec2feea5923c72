//! Tables for the Service kind.

use super::kind;
use crate::testing::{cells, create, created, defaults, update, updated, within, within_view};
use expect_test::{Expect, expect};
use schema::{Claim, Operation, Pool};
use std::collections::BTreeSet;
use value::{Value, value};

struct Taken(BTreeSet<Claim>);
impl Pool for Taken {
    fn taken(&self, claim: &Claim) -> bool {
        self.0.contains(claim)
    }
}

fn taken<const N: usize>(claims: [&str; N]) -> Taken {
    Taken(claims.into_iter().map(|c| Claim(c.into())).collect())
}

fn service(spec: Value) -> Value {
    let mut obj = Value::object();
    obj.set(&["spec"], spec);
    obj.set_default(&["spec", "selector"], value!({"app": "web"}));
    obj.set_default(&["spec", "ports"], value!([{"port": 80}]));
    obj
}

/// A service as the engine makes it, with a free pool unless told otherwise.
fn made(spec: Value, pool: &Taken) -> Result<Value, String> {
    let mut obj = created(&kind(), service(spec));
    let result = within(Operation::Create, None, |cx| kind().hooks.allocate(cx, &mut obj, None, pool));
    result.map(|()| obj).map_err(|status| status.message().to_string())
}

#[track_caller]
fn refused(spec: Value, pool: &Taken, want: Expect) {
    want.assert_eq(&made(spec, pool).expect_err("refused"));
}

#[test]
fn defaulting() {
    for (spec, want) in [
        (
            value!({}),
            expect![[
                r#"{"internalTrafficPolicy":"Cluster","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"selector":{"app":"web"},"sessionAffinity":"None","type":"ClusterIP"}"#
            ]],
        ),
        (
            value!({"type": "NodePort", "sessionAffinity": "ClientIP", "ports": [{"port": 53, "protocol": "UDP", "targetPort": "dns"}]}),
            expect![[
                r#"{"externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster","ports":[{"port":53,"protocol":"UDP","targetPort":"dns"}],"selector":{"app":"web"},"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10800}},"type":"NodePort"}"#
            ]],
        ),
        (
            value!({"type": "LoadBalancer"}),
            expect![[
                r#"{"allocateLoadBalancerNodePorts":true,"externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"selector":{"app":"web"},"sessionAffinity":"None","type":"LoadBalancer"}"#
            ]],
        ),
        (
            value!({"type": "ExternalName", "externalName": "example.com"}),
            expect![[
                r#"{"externalName":"example.com","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"selector":{"app":"web"},"sessionAffinity":"None","type":"ExternalName"}"#
            ]],
        ),
    ] {
        defaults(&kind(), service(spec), &["spec"], want);
    }
}

#[test]
fn addresses_are_chosen_from_the_upper_band() {
    let obj = made(value!({}), &taken([])).unwrap();
    let ip: std::net::Ipv4Addr = obj.str_at(&["spec", "clusterIP"]).parse().unwrap();
    assert_eq!(ip.octets()[..2], [10, 96]);
    assert!(u32::from(ip) - u32::from(std::net::Ipv4Addr::new(10, 96, 0, 0)) > 256, "{ip}");
    assert_eq!(obj.at(&["spec", "clusterIPs"]), &value!([ip.to_string()]));
    assert_eq!(obj.at(&["spec", "ipFamilies"]), &value!(["IPv4"]));
    assert_eq!(kind().hooks.claims(&obj), [Claim(format!("service-ip/{ip}").into())]);
}

#[test]
fn what_was_asked_for_is_checked() {
    let obj = made(value!({"clusterIP": "10.96.0.10"}), &taken([])).unwrap();
    assert_eq!(obj.at(&["spec", "clusterIPs"]), &value!(["10.96.0.10"]));
    refused(
        value!({"clusterIP": "10.96.0.10"}),
        &taken(["service-ip/10.96.0.10"]),
        expect![[
            r#"Service "obj" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated"#
        ]],
    );
    refused(
        value!({"clusterIP": "10.97.0.10"}),
        &taken([]),
        expect![[
            r#"Service "obj" is invalid: spec.clusterIPs: Invalid value: ["10.97.0.10"]: failed to allocate IP 10.97.0.10: the provided network does not match the current range"#
        ]],
    );
    refused(
        value!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
        &taken([]),
        expect![[
            r#"Service "obj" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"#
        ]],
    );
    refused(
        value!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
        &taken(["node-port/30080"]),
        expect![[
            r#"Service "obj" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"#
        ]],
    );
    refused(
        value!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "RequireDualStack"}),
        &taken([]),
        expect![[
            r#"Service "obj" is invalid: [spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services, spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster]"#
        ]],
    );
}

#[test]
fn headless_and_external_services_have_no_address() {
    let obj = made(value!({"clusterIP": "None"}), &taken([])).unwrap();
    assert_eq!(obj.at(&["spec", "clusterIPs"]), &value!(["None"]));
    assert!(kind().hooks.claims(&obj).is_empty());
    let obj = made(value!({"clusterIP": "None", "selector": {}}), &taken([])).unwrap();
    assert_eq!(obj.at(&["spec", "ipFamilies"]), &value!(["IPv4", "IPv6"]));
    let obj = made(value!({"type": "ExternalName", "externalName": "a.b"}), &taken([])).unwrap();
    assert!(obj.at(&["spec", "clusterIP"]).is_null());
}

#[test]
fn node_ports_are_chosen_and_claimed() {
    let obj =
        made(value!({"type": "NodePort", "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}), &taken([]))
            .unwrap();
    let ports: BTreeSet<i64> =
        obj.items_at(&["spec", "ports"]).iter().map(|p| p.at(&["nodePort"]).as_i64().unwrap()).collect();
    assert_eq!(ports.len(), 2);
    assert!(ports.iter().all(|p| (30000..=32767).contains(p)), "{ports:?}");
    assert_eq!(kind().hooks.claims(&obj).len(), 3);
    let local = made(value!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}), &taken([])).unwrap();
    assert!(local.at(&["spec", "healthCheckNodePort"]).as_i64().is_some());
    assert_eq!(kind().hooks.claims(&local).len(), 3);
}

#[test]
fn an_update_keeps_and_releases() {
    let node_port = made(
        value!({"type": "NodePort", "clusterIP": "10.96.0.10", "ports": [{"port": 80, "nodePort": 30080}]}),
        &taken([]),
    )
    .unwrap();
    // Nothing said: everything stays.
    let kept = updated(&kind(), &node_port, service(value!({"type": "NodePort"})));
    assert_eq!(kept.str_at(&["spec", "clusterIP"]), "10.96.0.10");
    assert_eq!(kept.items_at(&["spec", "ports"])[0].at(&["nodePort"]).as_i64(), Some(30080));
    // The old values sent along with another type: they go.
    let mut spec = node_port.at(&["spec"]).clone();
    spec.set(&["type"], "ClusterIP");
    let plain = updated(&kind(), &node_port, service(spec.clone()));
    assert!(plain.items_at(&["spec", "ports"])[0].at(&["nodePort"]).is_null());
    assert!(plain.at(&["spec", "externalTrafficPolicy"]).is_null());
    spec.set(&["type"], "ExternalName");
    spec.set(&["externalName"], "example.com");
    let external = updated(&kind(), &node_port, service(spec));
    assert!(external.at(&["spec", "clusterIPs"]).is_null());
    assert!(kind().hooks.claims(&external).is_empty());
}

#[test]
fn validation() {
    for (spec, want) in [
        (value!({}), expect![""]),
        (value!({"ports": []}), expect!["spec.ports: Required value"]),
        (
            value!({"type": "Own"}),
            expect![[
                r#"spec.type: Unsupported value: "Own": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#
            ]],
        ),
        (
            value!({"ports": [{"port": 0, "targetPort": "-"}, {"port": 80, "name": "a"}, {"port": 80, "name": "a", "protocol": "X"}, {"port": 80, "name": "b"}]}),
            expect![[r#"
            spec.ports[0].name: Required value
            spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.ports[0].targetPort: Invalid value: "-": must contain at least one letter (a-z)
            spec.ports[0].targetPort: Invalid value: "-": must not begin or end with a hyphen
            spec.ports[2].name: Duplicate value: "a"
            spec.ports[2].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"
            spec.ports[3]: Duplicate value: {"port":80,"protocol":"TCP","targetPort":0}"#]],
        ),
        (
            value!({"ports": [{"port": 80, "nodePort": 30000}]}),
            expect!["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            value!({"clusterIP": "x", "sessionAffinity": "Other"}),
            expect![[r#"
            spec.sessionAffinity: Unsupported value: "Other": supported values: "ClientIP", "None"
            spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#]],
        ),
        (
            value!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.2", "10.96.0.3"]}),
            expect![[r#"
            spec.clusterIPs: Invalid value: ["10.96.0.2","10.96.0.3"]: first value must match `clusterIP`
            spec.clusterIPs: Invalid value: ["10.96.0.2","10.96.0.3"]: may specify no more than one IP for each IP family"#]],
        ),
        (value!({"type": "ExternalName"}), expect!["spec.externalName: Required value"]),
        (
            value!({"type": "NodePort", "clusterIP": "None"}),
            expect![[r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services"#]],
        ),
        (
            value!({"externalTrafficPolicy": "Local", "allocateLoadBalancerNodePorts": true}),
            expect![[r#"
            spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'
            spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#]],
        ),
        (
            value!({"externalIPs": ["127.0.0.1", "y"], "internalTrafficPolicy": "Z"}),
            expect![[r#"
            spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
            spec.externalIPs[1]: Invalid value: "y": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.internalTrafficPolicy: Unsupported value: "Z": supported values: "Cluster", "Local""#]],
        ),
        (
            value!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", "x"]}),
            expect![[
                r#"spec.LoadBalancerSourceRanges[1]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#
            ]],
        ),
    ] {
        create(&kind(), service(spec), want);
    }
}

#[test]
fn addresses_do_not_change() {
    let old = service(value!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}));
    update(
        &kind(),
        old.clone(),
        service(value!({"clusterIP": "10.96.0.2"})),
        expect![[r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.2"]: may not change once set"#]],
    );
    update(
        &kind(),
        old,
        service(value!({"clusterIP": "10.96.0.2", "clusterIPs": ["10.96.0.2"]})),
        expect![[r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.2"]: may not change once set"#]],
    );
}

#[test]
fn columns() {
    for (spec, want) in [
        (
            value!({"type": "ClusterIP", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80, "protocol": "TCP"}]}),
            expect!["obj | ClusterIP | 10.96.0.1 | <none> | 80/TCP | 5m || app=web"],
        ),
        (
            value!({"type": "NodePort", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}),
            expect!["obj | NodePort | 10.96.0.1 | <none> | 80:30080/TCP,53/UDP | 5m || app=web"],
        ),
        (value!({"type": "LoadBalancer"}), expect!["obj | LoadBalancer | <none> | <pending> | 80/ | 5m || app=web"]),
        (
            value!({"type": "ExternalName", "externalName": "example.com", "ports": [], "selector": {}}),
            expect!["obj | ExternalName | <none> | example.com | <none> | 5m || <none>"],
        ),
    ] {
        cells(&kind(), service(spec), want);
    }
}

#[test]
fn addresses_come_from_every_network_that_is_ready() {
    /// All of the server's own network is taken.
    struct Full;
    impl Pool for Full {
        fn taken(&self, claim: &Claim) -> bool {
            claim.0.starts_with("service-ip/10.96.") || &*claim.0 == "service-ip/10.200.0.1"
        }
    }
    let network = |name: &str, cidr: &str, ready: &str| {
        let condition = value!([{"type": "Ready", "status": ready}]);
        value!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]}, "status": {"conditions": condition}})
    };
    let held = value!({"metadata": {"name": "10.200.0.3"}});
    let follows = value!({"metadata": {"name": "10.200.0.4", "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}}});
    let world = World(vec![
        ("servicecidrs", network("more", "10.200.0.0/29", "True")),
        ("servicecidrs", network("going", "10.201.0.0/29", "False")),
        ("servicecidrs", network("six", "fd00::/64", "True")),
        ("ipaddresses", held),
        ("ipaddresses", follows),
    ]);
    let asked = |ip: &str, old: Option<&Value>, pool: &dyn Pool| {
        let mut obj = created(&kind(), service(value!({})));
        if !ip.is_empty() {
            obj.set(&["spec", "clusterIP"], ip);
            obj.set(&["spec", "clusterIPs"], value!([ip]));
        }
        let done = within_view(Operation::Create, None, &world, |cx| kind().hooks.allocate(cx, &mut obj, old, pool));
        match done {
            Ok(()) => obj.str_at(&["spec", "clusterIP"]).to_string(),
            Err(status) => status.message().rsplit("failed to").next().unwrap_or_default().trim().to_string(),
        }
    };
    for _ in 0..20 {
        let chosen = asked("", None, &Full);
        assert!(["10.200.0.2", "10.200.0.4", "10.200.0.5", "10.200.0.6"].contains(&chosen.as_str()), "{chosen}");
        assert!(asked("", None, &taken([])).starts_with("10.96."), "the server's own is the first");
    }
    let mismatch = "the provided network does not match the current range";
    for (ip, want) in [
        ("10.200.0.2", "10.200.0.2".to_string()),
        ("10.200.0.1", "allocate IP 10.200.0.1: provided IP is already allocated".into()),
        ("10.200.0.3", "allocate IP 10.200.0.3: provided IP is already allocated".into()),
        ("10.201.0.1", format!("allocate IP 10.201.0.1: {mismatch}")),
        ("10.202.0.1", format!("allocate IP 10.202.0.1: {mismatch}")),
    ] {
        assert_eq!(asked(ip, None, &Full), want);
    }
    // What a Service has stays with it.
    let old = value!({"spec": {"type": "ClusterIP", "clusterIP": "10.201.0.1", "clusterIPs": ["10.201.0.1"]}});
    assert_eq!(asked("10.201.0.1", Some(&old), &Full), "10.201.0.1");
}

struct World(Vec<(&'static str, Value)>);

impl schema::View for World {
    fn get(&self, _: &str, plural: &str, _: &str, name: &str) -> Option<std::sync::Arc<value::Object>> {
        self.list("", plural, None).into_iter().find(|o| o.name() == name)
    }
    fn list(&self, _: &str, plural: &str, _: Option<&str>) -> Vec<std::sync::Arc<value::Object>> {
        let of = self.0.iter().filter(|(kind, _)| *kind == plural);
        of.filter_map(|(_, tree)| value::Object::from_json(tree.to_json().into()).ok()).collect()
    }
}
