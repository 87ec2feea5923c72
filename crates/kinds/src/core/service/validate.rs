//! The rules of a Service, in the order of upstream's `validateService`.

use super::{externally_accessible, is_headless, needs_health_port};
use crate::{
    at::At,
    ip,
    rules::{IMMUTABLE, PROTOCOLS, same},
};
use base::FieldErrors;
use std::{collections::BTreeSet, net::IpAddr};
use value::Value;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];

/// The main resource.
pub fn service(obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let root = At::root(obj);
    let spec = root.get("spec");
    if let Some(old) = old {
        cluster_ips_change(spec, old.at(&["spec"]), errors);
        class_change(spec, old.at(&["spec"]), errors);
        let health = "healthCheckNodePort";
        if needs_health_port(old.at(&["spec"]))
            && needs_health_port(spec.value)
            && spec.get(health).int() != old.at(&["spec", health]).as_i64().unwrap_or(0)
        {
            spec.get(health).forbidden(errors, IMMUTABLE);
        }
    }
    let headless = is_headless(spec.value);
    if spec.get("ports").is_empty() && !headless && spec.get("type").str() != "ExternalName" {
        spec.get("ports").required(errors, "");
    }
    by_type(spec, headless, errors);
    ports(spec.get("ports"), errors);
    spec.get("selector").labels(errors);
    affinity(spec, errors);
    if spec.get("type").str() != "ExternalName" {
        cluster_ips(spec, headless, &texts(old, &["spec", "clusterIPs"]), errors);
    }
    let before = texts(old, &["spec", "externalIPs"]);
    for ip in spec.get("externalIPs").items() {
        if ip.any_ip(errors, &before).is_some() {
            ip.endpoint_ip(errors);
        }
    }
    spec.get("type").one_of(errors, &TYPES);
    unique_ports(spec, errors);
    source_ranges(spec, &texts(old, &["spec", "loadBalancerSourceRanges"]), errors);
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    let class = spec.get("loadBalancerClass");
    if spec.get("type").str() != "LoadBalancer" {
        if allocate.is_set() {
            allocate.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
        }
        if class.is_set() {
            class.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
        }
    } else if class.is_set() {
        class.qualified_name(errors);
    }
    traffic(spec, errors);
}

/// The status subresource.
pub fn status(obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let root = At::root(obj);
    let status = root.get("status");
    let balancer = status.get("loadBalancer");
    let points = balancer.get("ingress");
    if !points.is_empty() && obj.str_at(&["spec", "type"]) != "LoadBalancer" {
        return points.forbidden(errors, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    let points_before = old.map(|old| old.items_at(&["status", "loadBalancer", "ingress"])).unwrap_or_default();
    let before: Vec<&str> = points_before.iter().map(|point| point.str_at(&["ip"])).collect();
    for point in points.items() {
        let (ip, mode, hostname) = (point.get("ip"), point.get("ipMode"), point.get("hostname"));
        if !ip.is_empty() {
            ip.any_ip(errors, &before);
        }
        match (mode.is_set(), ip.is_empty()) {
            (false, false) => mode.required(errors, "must be specified when `ip` is set"),
            (true, true) => mode.forbidden(errors, "may not be specified when `ip` is not set"),
            (true, false) => mode.one_of_if_set(errors, &["Proxy", "VIP"]),
            (false, true) => {}
        }
        if !hostname.is_empty() {
            hostname.dns_subdomain(errors);
            if ip::parse(hostname.str()).is_some() {
                hostname.invalid(errors, "must be a DNS name, not an IP address");
            }
        }
    }
}

/// The texts of a list of the old object.
fn texts<'a>(old: Option<&'a Value>, path: &[&str]) -> Vec<&'a str> {
    old.map(|old| old.items_at(path)).unwrap_or_default().iter().filter_map(Value::as_str).collect()
}

fn by_type(spec: At, headless: bool, errors: &mut FieldErrors) {
    let ty = spec.get("type").str();
    match ty {
        "LoadBalancer" | "NodePort" if headless => {
            let ips = spec.get("clusterIPs");
            let detail = format!("may not be set to 'None' for {ty} services");
            errors.invalid(ips.path.index(0), "None", detail);
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !spec.get(field).is_empty() {
                    spec.get(field).forbidden(errors, "may not be set for ExternalName services");
                }
            }
            let name = spec.get("externalName");
            if name.need(errors) {
                let name_str = name.str().strip_suffix('.').unwrap_or(name.str());
                name.shape_as(errors, name_str, base::names::subdomain(name_str));
            }
        }
        _ => {}
    }
}

fn ports(ports: At, errors: &mut FieldErrors) {
    let mut names = BTreeSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            name.dns_label(errors);
            if !names.insert(name.str().to_string()) {
                name.duplicate(errors);
            }
        } else if ports.len() > 1 {
            name.required(errors, "");
        }
        port.get("port").port(errors);
        port.get("protocol").one_of(errors, &PROTOCOLS);
        port.get("targetPort").port_number_or_name(errors);
        if port.get("appProtocol").is_set() {
            port.get("appProtocol").qualified_name(errors);
        }
    }
}

fn affinity(spec: At, errors: &mut FieldErrors) {
    let (affinity, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    affinity.one_of(errors, &["ClientIP", "None"]);
    match affinity.str() {
        "ClientIP" => {
            let client = config.get("clientIP");
            let timeout = client.get("timeoutSeconds");
            if !(1..=86_400).contains(&timeout.int()) {
                timeout.invalid_int(errors, "must be greater than 0 and less than 86400");
            }
        }
        "None" if config.is_set() => config.forbidden(errors, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn cluster_ips(spec: At, headless: bool, before: &[&str], errors: &mut FieldErrors) {
    let (ip, ips) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    let first = ips.value.as_array().and_then(|ips| ips.first()).and_then(Value::as_str);
    match (ip.str(), first) {
        ("", Some(_)) => ips.invalid(errors, "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => ips.required(errors, ""),
        (ip, Some(first)) if ip != first => ips.invalid(errors, "first value must match `clusterIP`"),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    let families = spec.get("ipFamilies");
    for family in families.items() {
        family.one_of_if_set(errors, &["IPv4", "IPv6"]);
        if !seen.insert(family.str().to_string()) {
            family.duplicate(errors);
        }
    }
    spec.get("ipFamilyPolicy").one_of_if_set(errors, &POLICIES);
    if headless {
        if ips.len() > 1 {
            ips.invalid(errors, "'None' must be the first and only value");
        }
        return;
    }
    let parsed: Vec<Option<IpAddr>> = ips.items().map(|ip| ip.any_ip(errors, before)).collect();
    if ips.len() > 2 {
        ips.invalid(errors, "may only hold up to 2 values");
    }
    if let [Some(a), Some(b)] = parsed[..]
        && a.is_ipv4() == b.is_ipv4()
    {
        ips.invalid(errors, "may specify no more than one IP for each IP family");
    }
    for (i, ((ip, parsed), family)) in ips.items().zip(&parsed).zip(families.items()).enumerate() {
        let is_v4 = parsed.map(|ip| ip.is_ipv4());
        if is_v4.is_some_and(|v4| v4 != (family.str() == "IPv4")) {
            ip.invalid(errors, format!("expected an {} value as indicated by `ipFamilies[{i}]`", family.str()));
        }
    }
}

/// Addresses, once given, stay.
fn cluster_ips_change(spec: At, old: &Value, errors: &mut FieldErrors) {
    let external = |spec: &Value| spec.str_at(&["type"]) == "ExternalName";
    if external(spec.value) || external(old) || is_headless(spec.value) && is_headless(old) {
        return;
    }
    let (ips, before) = (spec.get("clusterIPs"), old.items_at(&["clusterIPs"]));
    if ips.is_empty() && !before.is_empty() {
        errors.invalid_raw(ips.path.index(0), "null", "primary clusterIP can not be unset");
    }
    for (i, (now, before)) in ips.items().zip(before).enumerate() {
        if now.value != before {
            errors.invalid_raw(ips.path.index(i), ips.value, "may not change once set");
        }
    }
}

fn class_change(spec: At, old: &Value, errors: &mut FieldErrors) {
    let balancer = |spec: &Value| spec.str_at(&["type"]) == "LoadBalancer";
    let class = spec.get("loadBalancerClass");
    if balancer(spec.value) && balancer(old) && !same(class.value, old.at(&["loadBalancerClass"])) {
        class.invalid(errors, "may not change once set");
    }
}

fn unique_ports(spec: At, errors: &mut FieldErrors) {
    let ports = spec.get("ports");
    if spec.get("type").str() == "ClusterIP" {
        for port in ports.items().filter(|p| p.get("nodePort").int() != 0) {
            port.get("nodePort").forbidden(errors, "may not be used when `type` is 'ClusterIP'");
        }
    }
    let (mut node_ports, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for port in ports.items() {
        let protocol = port.get("protocol").str().to_string();
        let number = port.get("nodePort").int();
        if number != 0 && !node_ports.insert((protocol, number)) {
            port.get("nodePort").duplicate(errors);
        }
    }
    for port in ports.items() {
        let (protocol, number) = (port.get("protocol").str(), port.get("port").int());
        if !numbers.insert((protocol.to_string(), number)) {
            let shown = value::value!({"port": number, "protocol": protocol, "targetPort": 0}).to_string();
            errors.add(base::status::Problem::Duplicate, port.path, Some(shown), "");
        }
    }
}

fn source_ranges(spec: At, before: &[&str], errors: &mut FieldErrors) {
    let ranges = spec.get("loadBalancerSourceRanges");
    // Upstream's path has a capital.
    let place = spec.path.key("LoadBalancerSourceRanges");
    if !ranges.is_empty() && spec.get("type").str() != "LoadBalancer" {
        errors.forbidden(place, "may only be used when `type` is 'LoadBalancer'");
    }
    for (i, range) in ranges.items().enumerate() {
        // Blanks around them were always let through.
        let trimmed = Value::from(range.str().trim());
        At { value: &trimmed, path: place.index(i) }.any_cidr(errors, before);
    }
}

fn traffic(spec: At, errors: &mut FieldErrors) {
    let (external, health) = (spec.get("externalTrafficPolicy"), spec.get("healthCheckNodePort"));
    if externally_accessible(spec.value) {
        external.one_of(errors, &["Cluster", "Local"]);
    } else if !external.is_empty() {
        external.invalid(errors, "may only be set for externally-accessible services");
    }
    if needs_health_port(spec.value) {
        if health.int() == 0 {
            health.required(errors, "");
        } else {
            health.port(errors);
        }
    } else if health.int() != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        health.invalid_int(errors, detail);
    }
    let internal = spec.get("internalTrafficPolicy");
    if ["ClusterIP", "NodePort", "LoadBalancer"].contains(&spec.get("type").str()) && internal.is_empty() {
        internal.required(errors, "");
    }
    internal.one_of_if_set(errors, &["Cluster", "Local"]);
    let distribution = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    spec.get("trafficDistribution").one_of_if_set(errors, &distribution);
}
