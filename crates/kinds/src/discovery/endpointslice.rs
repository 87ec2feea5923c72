//! EndpointSlice: some of the addresses behind a Service, all of one family.

use crate::{
    at::At,
    cells::few,
    declare::declare,
    ip,
    rules::{PROTOCOLS, same},
};
use base::{FieldErrors, names};
use schema::{Column, ColumnType, Context, Hooks, Kind};
use std::{collections::BTreeSet, net::IpAddr};
use value::Value;

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const CONTROLLERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
const MAX_HINTS: usize = 8;

pub fn kind() -> Kind {
    declare("discovery.k8s.io", "EndpointSlice")
        .version("v1", "io.k8s.api.discovery.v1.EndpointSlice", columns())
        .generation()
        .hooks(EndpointSlice)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::path("AddressType", ColumnType::String, "addressType"),
        Column::text("Ports", |slice, _| {
            let port = |p: &Value| match (p.at(&["port"]).as_i64(), p.str_at(&["name"])) {
                (Some(number), _) => number.to_string(),
                (None, "") => "*".into(),
                (None, name) => name.into(),
            };
            unset(few(&slice.items_at(&["ports"]).iter().map(port).collect::<Vec<_>>()))
        }),
        Column::text("Endpoints", |slice, _| {
            let endpoints = slice.items_at(&["endpoints"]).iter();
            let addresses = endpoints.flat_map(|e| e.items_at(&["addresses"])).filter_map(Value::as_str);
            unset(few(&addresses.map(String::from).collect::<Vec<_>>()))
        }),
        Column::age(),
    ]
}

/// Upstream says `<unset>` here where others say `<none>`.
fn unset(text: String) -> Value {
    if text == "<none>" { "<unset>".into() } else { text.into() }
}

#[derive(Debug)]
struct EndpointSlice;

impl Hooks for EndpointSlice {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let ty = root.get("addressType");
        ty.one_of(errors, &["FQDN", "IPv4", "IPv6"]);
        ports(root.get("ports"), errors);
        let unchanged = old.is_some_and(|old| same(old.at(&["endpoints"]), obj.at(&["endpoints"])));
        if !unchanged {
            endpoints(root.get("endpoints"), ty.str(), errors);
        }
        if let Some(old) = old {
            ty.immutable(errors, old.at(&["addressType"]));
        }
    }

    fn warnings(&self, _cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && obj.str_at(&["addressType"]) == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".into());
        }
        // Controllers write addresses as they should be.
        if !CONTROLLERS.contains(&obj.str_at(&["metadata", "labels", "endpointslice.kubernetes.io/managed-by"])) {
            for endpoint in At::root(obj).get("endpoints").items() {
                let addresses = endpoint.get("addresses");
                warnings.extend(addresses.items().filter_map(|address| ip::ip_warning(address.path, address.str())));
            }
        }
        warnings
    }
}

fn ports(ports: At, errors: &mut FieldErrors) {
    if ports.len() > MAX_PORTS {
        return ports.too_many(errors, MAX_PORTS);
    }
    let mut names = BTreeSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            name.dns_label(errors);
        }
        if !names.insert(name.str().to_string()) {
            name.duplicate(errors);
        }
        port.get("protocol").one_of(errors, &PROTOCOLS);
        if port.get("appProtocol").is_set() {
            port.get("appProtocol").qualified_name(errors);
        }
    }
}

fn endpoints(endpoints: At, ty: &str, errors: &mut FieldErrors) {
    if endpoints.len() > MAX_ENDPOINTS {
        return endpoints.too_many(errors, MAX_ENDPOINTS);
    }
    for endpoint in endpoints.items() {
        let addresses = endpoint.get("addresses");
        match addresses.len() {
            0 => addresses.required(errors, "must contain at least 1 address"),
            n if n > MAX_ADDRESSES => addresses.too_many(errors, MAX_ADDRESSES),
            _ => {}
        }
        for address in addresses.items() {
            self::address(addresses, address, ty, errors);
        }
        if endpoint.get("nodeName").is_set() {
            endpoint.get("nodeName").dns_subdomain(errors);
        }
        if endpoint.get("hostname").is_set() {
            endpoint.get("hostname").dns_label(errors);
        }
        let hints = endpoint.get("hints");
        for list in ["forZones", "forNodes"] {
            hint_names(hints.get(list), list, errors);
        }
    }
}

fn address(list: At, address: At, ty: &str, errors: &mut FieldErrors) {
    let found = errors.0.len();
    let ip = match ty {
        "FQDN" => return domain(address, errors),
        "IPv6" => address.canonical_ip(errors),
        "IPv4" => address.any_ip(errors, &[]),
        _ => return,
    };
    let Some(ip) = ip.filter(|_| errors.0.len() == found) else { return };
    let fits = matches!((ip, ty), (IpAddr::V4(_), "IPv4") | (IpAddr::V6(_), "IPv6"));
    if !fits && ["IPv4", "IPv6"].contains(&ty) {
        list.invalid_as(errors, address.str(), format!("must be an {ty} address"));
    }
    address.endpoint_ip(errors);
}

/// At least two labels, and a dot behind them if it likes.
fn domain(address: At, errors: &mut FieldErrors) {
    if !address.need(errors) {
        return;
    }
    let name = address.str().strip_suffix('.').unwrap_or(address.str());
    match names::subdomain(name) {
        Err(why) => address.invalid_as(errors, name, why),
        Ok(()) if !name.contains('.') => {
            address.invalid_as(errors, name, "should be a domain with at least two segments separated by dots");
        }
        Ok(()) => {
            for label in name.split('.') {
                if let Err(why) = names::label(label) {
                    return address.invalid_as(errors, label, why);
                }
            }
        }
    }
}

fn hint_names(hints: At, list: &str, errors: &mut FieldErrors) {
    if hints.len() > MAX_HINTS {
        return hints.too_many(errors, MAX_HINTS);
    }
    let mut seen = BTreeSet::new();
    for hint in hints.items() {
        let name = hint.get("name");
        if !seen.insert(name.str().to_string()) {
            name.duplicate(errors);
        }
        if list == "forZones" { name.label_value(errors) } else { name.dns_subdomain(errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        create(
            &kind(),
            value!({"addressType": "IPv4", "ports": [{}, {}], "endpoints": [{}, {"addresses": ["fd00::1"]}, {"addresses": ["x"], "nodeName": "N"}]}),
            expect![[r#"
                ports[1].name: Duplicate value: ""
                endpoints[0].addresses: Required value: must contain at least 1 address
                endpoints[1].addresses: Invalid value: "fd00::1": must be an IPv4 address
                endpoints[2].addresses[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
                endpoints[2].nodeName: Invalid value: "N": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
        );
        update(
            &kind(),
            value!({"addressType": "IPv4", "endpoints": []}),
            value!({"addressType": "IPv6", "endpoints": []}),
            expect![[r#"addressType: Invalid value: "IPv6": field is immutable"#]],
        );
    }

    #[test]
    fn columns() {
        cells(
            &kind(),
            value!({"addressType": "IPv4", "endpoints": []}),
            expect!["obj | IPv4 | <unset> | <unset> | 5m"],
        );
        cells(
            &kind(),
            value!({"addressType": "IPv4", "ports": [{"port": 80}, {"name": "x"}],
                "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]}),
            expect!["obj | IPv4 | 80,x | 10.0.0.1,10.0.0.2 | 5m"],
        );
    }
}
