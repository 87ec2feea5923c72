//! NetworkPolicy: who may speak to whom.

use super::GROUP;
use crate::{at::At, cells, declare::declare, ip, rules::PROTOCOLS};
use base::{FieldErrors, status::Problem};
use schema::{Column, Context, Hooks, Kind};
use value::{Value, value};

pub fn kind() -> Kind {
    declare(GROUP, "NetworkPolicy")
        .plural("networkpolicies")
        .short(["netpol"])
        .version("v1", "io.k8s.api.networking.v1.NetworkPolicy", columns())
        .generation()
        .hooks(NetworkPolicy)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Pod-Selector", |obj, _| cells::selector(obj.at(&["spec", "podSelector"])).into()),
        Column::age(),
    ]
}

#[derive(Debug)]
struct NetworkPolicy;

/// Where traffic goes, and what its other ends are called.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

impl Hooks for NetworkPolicy {
    fn default(&self, obj: &mut Value) {
        if obj.items_at(&["spec", "policyTypes"]).is_empty() {
            let egress = !obj.items_at(&["spec", "egress"]).is_empty();
            let types = if egress { value!(["Ingress", "Egress"]) } else { value!(["Ingress"]) };
            obj.set(&["spec", "policyTypes"], types);
        }
    }

    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        spec.get("podSelector").label_selector_after(errors, old.map(|old| old.at(&["spec", "podSelector"])));
        let before = old.map(networks).unwrap_or_default();
        for (direction, ends) in DIRECTIONS {
            for rule in spec.get(direction).items() {
                rule.get("ports").items().for_each(|p| port(p, errors));
                rule.get(ends).items().for_each(|p| peer(p, &before, errors));
            }
        }
        let types = spec.get("policyTypes");
        if types.len() > 2 {
            return types.invalid(errors, "may not specify more than two policyTypes");
        }
        types.items().for_each(|ty| ty.one_of_if_set(errors, &["Ingress", "Egress"]));
    }

    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        let root = At::root(obj);
        let (spec, mut warnings) = (root.get("spec"), Vec::new());
        for (direction, ends) in DIRECTIONS {
            for rule in spec.get(direction).items() {
                for peer in rule.get(ends).items() {
                    let block = peer.get("ipBlock");
                    warnings.extend(ip::cidr_warnings(block.get("cidr").path, block.get("cidr").str()));
                    for except in block.get("except").items() {
                        warnings.extend(ip::cidr_warnings(except.path, except.str()));
                    }
                }
            }
        }
        warnings
    }
}

/// Every network that the object names: an update may keep them as they are, wherever it puts them.
fn networks(obj: &Value) -> Vec<&str> {
    let rules = DIRECTIONS.into_iter().flat_map(|(direction, ends)| {
        obj.items_at(&["spec", direction]).iter().flat_map(move |rule| rule.items_at(&[ends]))
    });
    let blocks = rules.map(|peer| peer.at(&["ipBlock"]));
    blocks
        .flat_map(|block| {
            let excepts = block.items_at(&["except"]).iter().filter_map(Value::as_str);
            std::iter::once(block.str_at(&["cidr"])).chain(excepts)
        })
        .collect()
}

fn port(port: At, errors: &mut FieldErrors) {
    let (number, end) = (port.get("port"), port.get("endPort"));
    let protocol = port.get("protocol");
    if protocol.is_set() && !PROTOCOLS.contains(&protocol.str()) {
        protocol.unsupported(errors, &["TCP", "UDP", "SCTP"]);
    }
    match number.value {
        Value::Null if end.is_set() => end.invalid_int(errors, "may not be specified when `port` is not specified"),
        Value::Null => {}
        Value::String(_) => {
            if end.is_set() {
                end.invalid_int(errors, "may not be specified when `port` is non-numeric");
            }
            number.port_name(errors);
        }
        _ => {
            number.port(errors);
            if end.is_set() {
                if end.int() < number.int() {
                    // Upstream prints the port here, not its end.
                    let value = Some(number.int().to_string());
                    errors.add(Problem::Invalid, end.path, value, "must be greater than or equal to `port`");
                }
                end.port(errors);
            }
        }
    }
}

fn peer(peer: At, before: &[&str], errors: &mut FieldErrors) {
    let block = peer.get("ipBlock");
    let selectors = ["podSelector", "namespaceSelector"].map(|name| peer.get(name).is_set());
    for name in ["podSelector", "namespaceSelector"] {
        peer.get(name).label_selector(errors);
    }
    if block.is_set() {
        self::block(block, before, errors);
    }
    match (selectors.contains(&true), block.is_set()) {
        (false, false) => peer.required(errors, "must specify a peer"),
        (true, true) => peer.forbidden(errors, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

fn block(block: At, before: &[&str], errors: &mut FieldErrors) {
    let cidr = block.get("cidr");
    if !cidr.need(errors) {
        return;
    }
    let Some(network) = cidr.any_cidr(errors, before) else { return };
    for except in block.get("except").items() {
        let Some((ip, length)) = except.any_cidr(errors, before) else { continue };
        if !ip::contains(network, ip::masked(ip, length)) || network.1 >= length {
            except.invalid(errors, "must be a strict subset of `cidr`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, defaults, update};
    use expect_test::expect;

    #[test]
    fn policy_types_follow_the_rules() {
        for (spec, want) in [
            (value!({"podSelector": {}}), expect![[r#"["Ingress"]"#]]),
            (value!({"egress": [{}]}), expect![[r#"["Ingress","Egress"]"#]]),
            (value!({"egress": [{}], "policyTypes": ["Egress"]}), expect![[r#"["Egress"]"#]]),
        ] {
            defaults(&kind(), value!({"spec": spec}), &["spec", "policyTypes"], want);
        }
    }

    #[test]
    fn validation() {
        for (spec, want) in [
            (value!({"podSelector": {}, "ingress": [{}]}), expect![""]),
            (
                value!({"ingress": [{"ports": [{"port": 0, "endPort": -1}, {"port": "a b", "endPort": 3}, {"endPort": 3}, {"protocol": "X"}]}]}),
                expect![[r#"
                    spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
                    spec.ingress[0].ports[0].endPort: Invalid value: 0: must be greater than or equal to `port`
                    spec.ingress[0].ports[0].endPort: Invalid value: -1: must be between 1 and 65535, inclusive
                    spec.ingress[0].ports[1].endPort: Invalid value: 3: may not be specified when `port` is non-numeric
                    spec.ingress[0].ports[1].port: Invalid value: "a b": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
                    spec.ingress[0].ports[2].endPort: Invalid value: 3: may not be specified when `port` is not specified
                    spec.ingress[0].ports[3].protocol: Unsupported value: "X": supported values: "TCP", "UDP", "SCTP""#]],
            ),
            (
                value!({"egress": [{"to": [{}, {"ipBlock": {}, "podSelector": {}},
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.0.0.0/8", "11.0.0.0/16", "x"]}}]}],
                    "policyTypes": ["Egress", "Other"]}),
                expect![[r#"
                    spec.egress[0].to[0]: Required value: must specify a peer
                    spec.egress[0].to[1].ipBlock.cidr: Required value
                    spec.egress[0].to[1]: Forbidden: may not specify both ipBlock and another peer
                    spec.egress[0].to[2].ipBlock.except[1]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`
                    spec.egress[0].to[2].ipBlock.except[2]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`
                    spec.egress[0].to[2].ipBlock.except[3]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
                    spec.policyTypes[1]: Unsupported value: "Other": supported values: "Ingress", "Egress""#]],
            ),
        ] {
            create(&kind(), value!({"spec": spec}), want);
        }
        let old = value!({"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]}});
        let new = value!({"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/8"}}, {"ipBlock": {"cidr": "11.0.0.1/8"}}]}]}});
        update(
            &kind(),
            old,
            new,
            expect![[
                r#"spec.egress[0].to[1].ipBlock.cidr: Invalid value: "11.0.0.1/8": must not have bits set beyond the prefix length"#
            ]],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), value!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}), expect!["obj | a=b | 5m"]);
    }
}
