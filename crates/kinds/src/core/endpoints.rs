//! Endpoints: the addresses behind a Service, all in one object. EndpointSlice has taken its place.

use crate::{
    at::At,
    cells::few,
    declare::declare,
    ip,
    rules::{PROTOCOLS, same},
};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("", "Endpoints")
        .plural("endpoints")
        .short(["ep"])
        .version("v1", "io.k8s.api.core.v1.Endpoints", columns())
        .deprecated("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        .stored_under("services/endpoints")
        .create_on_update()
        .hooks(Endpoints)
        .build()
}

fn columns() -> Vec<Column> {
    vec![Column::object_name(), Column::text("Endpoints", |obj, _| few(&addresses(obj)).into()), Column::age()]
}

/// `ip:port` of each address, or `ip` where the subset has no ports.
fn addresses(obj: &Value) -> Vec<String> {
    let mut list = Vec::new();
    for subset in obj.items_at(&["subsets"]) {
        let ips = || subset.items_at(&["addresses"]).iter().map(|a| a.str_at(&["ip"]));
        let ports = subset.items_at(&["ports"]);
        if ports.is_empty() {
            list.extend(ips().map(String::from));
        }
        for port in ports {
            let join = |ip: &str| {
                let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_string() };
                format!("{ip}:{}", port.at(&["port"]))
            };
            list.extend(ips().map(join));
        }
    }
    list
}

#[derive(Debug)]
struct Endpoints;

impl Hooks for Endpoints {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        if old.is_some_and(|old| same(old.at(&["subsets"]), obj.at(&["subsets"]))) {
            return;
        }
        for subset in At::root(obj).get("subsets").items() {
            let (ready, unready) = (subset.get("addresses"), subset.get("notReadyAddresses"));
            if ready.is_empty() && unready.is_empty() {
                subset.required(errors, "must specify `addresses` or `notReadyAddresses`");
            }
            for list in [ready, unready] {
                list.items().for_each(|a| address(a, errors));
            }
            let ports = subset.get("ports");
            ports.items().for_each(|p| port(p, ports.len() > 1, errors));
        }
    }

    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        if obj.str_at(&["metadata", "labels", "endpoints.kubernetes.io/managed-by"]) == "endpoint-controller" {
            return Vec::new();
        }
        let (root, mut warnings) = (At::root(obj), Vec::new());
        for subset in root.get("subsets").items() {
            for list in ["addresses", "notReadyAddresses"] {
                let list = subset.get(list);
                warnings.extend(list.items().filter_map(|a| ip::ip_warning(a.get("ip").path, a.get("ip").str())));
            }
        }
        warnings
    }
}

fn address(address: At, errors: &mut FieldErrors) {
    address.get("ip").any_ip(errors, &[]);
    if !address.get("hostname").is_empty() {
        address.get("hostname").dns_label(errors);
    }
    if address.get("nodeName").is_set() {
        address.get("nodeName").dns_subdomain(errors);
    }
    address.get("ip").endpoint_ip(errors);
}

fn port(port: At, named: bool, errors: &mut FieldErrors) {
    let name = port.get("name");
    if named && name.is_empty() {
        name.required(errors, "");
    } else if !name.is_empty() {
        name.dns_label(errors);
    }
    port.get("port").port(errors);
    port.get("protocol").one_of(errors, &PROTOCOLS);
    if port.get("appProtocol").is_set() {
        port.get("appProtocol").qualified_name(errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        create(
            &kind(),
            value!({"subsets": [{"ports": [{"port": 0}]}, {"addresses": [{"ip": "127.0.0.1"}, {"ip": "x"}],
                "ports": [{"port": 1, "name": "a"}, {"port": 2}]}]}),
            expect![[r#"
                subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`
                subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
                subsets[1].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
                subsets[1].addresses[1].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
                subsets[1].ports[1].name: Required value"#]],
        );
    }

    #[test]
    fn columns() {
        let ips = value!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]);
        let mut subset = value!({"ports": [{"port": 80}, {"port": 81}]});
        subset.set(&["addresses"], ips);
        let mut obj = Value::object();
        obj.set(&["subsets"], Value::Array(vec![subset]));
        cells(&kind(), obj, expect!["obj | 10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more... | 5m"]);
    }
}
