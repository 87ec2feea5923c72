//! Cluster addresses and node ports: kept over updates, released when the type no longer needs them, chosen from what
//! is free, claimed. Addresses come from the network that the server was started with, and from every ServiceCIDR that is
//! ready. Source: `pkg/registry/core/service/storage/alloc.go`, `ipallocator/cidrallocator.go`, KEP-1880, KEP-3070 (the band
//! for chosen addresses).

use super::{is_headless, needs_health_port, needs_node_ports};
use crate::rules::same;
use base::{FieldErrors, Result, Status, status::Problem};
use schema::{Claim, ClusterConfig, Context, Pool, View};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};
use value::{Object, Value, value};

const GROUP: &str = "networking.k8s.io";

/// `clusterIP` is the first of `clusterIPs`; clients that know only the one get the other.
pub fn mirror(obj: &mut Value, old: Option<&Value>) {
    let ip = obj.str_at(&["spec", "clusterIP"]).to_string();
    let many = obj.at(&["spec", "clusterIPs"]).clone();
    let none = many.as_array().is_none_or(Vec::is_empty);
    let Some(old) = old else {
        if !ip.is_empty() && none {
            obj.set(&["spec", "clusterIPs"], value!([ip]));
        }
        return;
    };
    let (old_ip, old_many) = (old.str_at(&["spec", "clusterIP"]), old.at(&["spec", "clusterIPs"]));
    if ip == old_ip {
        if none && !old_many.is_null() {
            obj.set(&["spec", "clusterIPs"], old_many);
        }
    } else if same(&many, old_many) {
        // Only the singular was changed: the plural follows.
        if ip.is_empty() {
            obj.remove(&["spec", "clusterIPs"]);
        } else {
            obj.set(&["spec", "clusterIPs"], value!([ip]));
        }
    }
}

/// Clears what the new type does not use, unless the client set it in the same request (then validation refuses it).
pub fn release(obj: &mut Value, old: &Value) {
    let (new, before) = (obj.at(&["spec"]).clone(), old.at(&["spec"]));
    let ty = |spec: &Value| spec.str_at(&["type"]).to_string();
    let unchanged = |field: &str| same(new.at(&[field]), before.at(&[field]));
    let mut clear: Vec<&str> = Vec::new();
    if ty(before) != "ExternalName" && ty(&new) == "ExternalName" {
        if unchanged("clusterIP") && unchanged("clusterIPs") {
            clear.extend(["clusterIP", "clusterIPs"]);
        }
        clear.extend(["ipFamilies", "ipFamilyPolicy"].into_iter().filter(|f| unchanged(f)));
    }
    if ty(before) == "LoadBalancer" && ty(&new) != "LoadBalancer" {
        clear.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"].into_iter().filter(|f| unchanged(f)));
    }
    if needs_health_port(before) && !needs_health_port(&new) && unchanged("healthCheckNodePort") {
        clear.push("healthCheckNodePort");
    }
    if super::externally_accessible(before) && !super::externally_accessible(&new) && unchanged("externalTrafficPolicy")
    {
        clear.push("externalTrafficPolicy");
    }
    for field in clear {
        obj.remove(&["spec", field]);
    }
    if needs_node_ports(before) && !needs_node_ports(&new) && node_ports(before).is_superset(&node_ports(&new)) {
        for port in obj.array_at_mut(&["spec", "ports"]).into_iter().flatten() {
            port.remove(&["nodePort"]);
        }
    }
    if ty(&new) != "LoadBalancer" {
        obj.set(&["status", "loadBalancer"], Value::object());
    }
}

/// An update that leaves out what was chosen before keeps it.
pub fn keep(obj: &mut Value, old: &Value) {
    let before = old.at(&["spec"]);
    let new = obj.at(&["spec"]).clone();
    if before.str_at(&["type"]) != "ExternalName" && new.str_at(&["type"]) != "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if same(new.at(&[field]), &Value::Null) && !before.at(&[field]).is_null() {
                obj.set(&["spec", field], before.at(&[field]));
            }
        }
    }
    if needs_node_ports(before) && needs_node_ports(&new) {
        let taken = &node_ports(before) & &node_ports(&new);
        for port in obj.array_at_mut(&["spec", "ports"]).into_iter().flatten() {
            if port.at(&["nodePort"]).as_i64().unwrap_or(0) != 0 {
                continue;
            }
            let name = port.str_at(&["name"]);
            let known = before.items_at(&["ports"]).iter().find(|p| p.str_at(&["name"]) == name);
            let number = known.and_then(|p| p.at(&["nodePort"]).as_i64()).filter(|n| *n != 0 && !taken.contains(n));
            if let Some(number) = number {
                port.set(&["nodePort"], number);
            }
        }
    }
    if needs_health_port(before) && needs_health_port(&new) {
        let field = ["spec", "healthCheckNodePort"];
        if new.at(&["healthCheckNodePort"]).as_i64().unwrap_or(0) == 0 && !old.at(&field).is_null() {
            obj.set(&field, old.at(&field));
        }
    }
}

/// Chooses what is missing and checks what was asked for.
pub fn allocate(cx: &Context, obj: &mut Value, old: Option<&Value>, pool: &dyn Pool) -> Result<()> {
    let cluster = cx.cluster;
    let mut errors = FieldErrors::default();
    // The object's own claims are not in its way.
    let own: BTreeSet<Claim> = old.map(claims).unwrap_or_default().into_iter().collect();
    let free = |claim: &Claim| own.contains(claim) || !pool.taken(claim);
    if obj.str_at(&["spec", "type"]) != "ExternalName" {
        families(cluster, obj, &mut errors);
        // Nor is an address free that somebody has made an object for by hand.
        let unheld = |ip: IpAddr| free(&ip_claim(ip)) && !is_held(cx.view, ip);
        address(&networks(cx), obj, &own, &unheld, &mut errors);
    }
    ports(cluster, obj, &own, &free, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "Service", obj.name(), &errors)) }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Fills `ipFamilies` and `ipFamilyPolicy`. The cluster has one family.
fn families(cluster: &ClusterConfig, obj: &mut Value, errors: &mut FieldErrors) {
    let spec = obj.at(&["spec"]);
    let own = family(cluster.service_cidr.0);
    let other = if own == "IPv4" { "IPv6" } else { "IPv4" };
    let abstract_headless = is_headless(spec) && spec.at(&["selector"]).as_object().is_none_or(|s| s.is_empty());
    let policy = match spec.str_at(&["ipFamilyPolicy"]) {
        "" if abstract_headless => "RequireDualStack",
        "" => "SingleStack",
        policy => policy,
    }
    .to_string();
    let mut families = spec.items_at(&["ipFamilies"]).to_vec();
    if abstract_headless {
        // Whoever writes the endpoints may use any family.
        if families.is_empty() {
            families.push(own.into());
        }
        if families.len() < 2 && policy != "SingleStack" {
            families.push(if families[0] == own { other } else { own }.into());
        }
    } else {
        if policy == "RequireDualStack" {
            let detail = "this cluster is not configured for dual-stack services";
            errors.invalid("spec.ipFamilyPolicy", &policy, detail);
        }
        for (i, family) in families.iter().enumerate().filter(|(_, f)| **f == other) {
            let family = family.as_str().unwrap_or("");
            errors.invalid(format!("spec.ipFamilies[{i}]"), family, "not configured on this cluster");
        }
        if families.is_empty() {
            families.push(own.into());
        }
    }
    obj.set(&["spec", "ipFamilyPolicy"], policy);
    obj.set(&["spec", "ipFamilies"], families);
}

fn ip_claim(ip: IpAddr) -> Claim {
    Claim(format!("service-ip/{ip}").into())
}

fn port_claim(port: i64) -> Claim {
    Claim(format!("node-port/{port}").into())
}

/// Where addresses may come from, the server's own network first. It counts also before there is an object of it.
fn networks(cx: &Context) -> Vec<Network> {
    let own = cx.cluster.service_cidr;
    let objects = cx.view.list(GROUP, "servicecidrs", None);
    let of = |object: &Arc<Object>| -> Vec<(Network, bool)> {
        let tree = object.tree();
        let mut conditions = tree.items_at(&["status", "conditions"]).iter();
        // Where nobody has said anything it is ready.
        let ready = conditions.find(|c| c.str_at(&["type"]) == "Ready").is_none_or(|c| c.str_at(&["status"]) == "True");
        let texts = tree.items_at(&["spec", "cidrs"]).iter().filter_map(Value::as_str);
        texts.filter_map(network).map(|network| (network, ready && !object.meta.deleting)).collect()
    };
    let mut all: Vec<(Network, bool)> = objects.iter().flat_map(of).collect();
    if all.iter().all(|(network, _)| *network != own) {
        all.push((own, true));
    }
    let ready = all.into_iter().filter(|((ip, _), ready)| *ready && ip.is_ipv4() == own.0.is_ipv4());
    let mut networks: Vec<Network> = ready.map(|(network, _)| network).collect();
    networks.sort_by_key(|network| (*network != own, *network));
    networks.dedup();
    networks
}

/// Address and prefix length.
type Network = (IpAddr, u8);

fn network(text: &str) -> Option<Network> {
    let (ip, length) = text.split_once('/')?;
    Some((ip.parse().ok()?, length.parse().ok()?))
}

/// Whether there is an IPAddress that does not merely follow a Service.
fn is_held(view: &dyn View, ip: IpAddr) -> bool {
    let found = view.get(GROUP, "ipaddresses", "", &ip.to_string());
    found.is_some_and(|o| o.meta.label("ipaddress.kubernetes.io/managed-by") != Some("ipallocator.k8s.io"))
}

fn address(
    networks: &[Network],
    obj: &mut Value,
    own: &BTreeSet<Claim>,
    free: &dyn Fn(IpAddr) -> bool,
    errors: &mut FieldErrors,
) {
    let asked = obj.str_at(&["spec", "clusterIP"]).to_string();
    if is_headless(obj.at(&["spec"])) {
        return;
    }
    if asked.is_empty() {
        match networks.iter().find_map(|network| choose_ip(*network, free)) {
            Some(ip) => {
                obj.set(&["spec", "clusterIP"], ip.to_string());
                obj.set(&["spec", "clusterIPs"], value!([ip.to_string()]));
            }
            None => {
                errors.add(Problem::Internal, "spec.clusterIPs", None, "failed to allocate a serviceIP: range is full")
            }
        }
        return;
    }
    // What is no address at all is validation's to report.
    let Ok(ip) = asked.parse::<IpAddr>() else { return };
    // What it has it keeps, also of a network that takes nobody new.
    if own.contains(&ip_claim(ip)) {
        return;
    }
    let why = if !networks.iter().any(|(network, length)| in_network(ip, *network, *length)) {
        "the provided network does not match the current range".to_string()
    } else if !free(ip) {
        "provided IP is already allocated".to_string()
    } else {
        return;
    };
    let all = obj.at(&["spec", "clusterIPs"]).to_string();
    errors.invalid_raw("spec.clusterIPs", all, format!("failed to allocate IP {ip}: {why}"));
}

/// The number of an address, and the number of bits it has.
fn number(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (ip.into(), 128),
    }
}

fn in_network(ip: IpAddr, network: IpAddr, length: u8) -> bool {
    let ((ip, bits), (network, network_bits)) = (number(ip), number(network));
    let host = bits.saturating_sub(length.into());
    bits == network_bits && (host >= 128 || ip >> host == network >> host)
}

/// A random free address, from the upper band first: the lower one is for people who choose their own.
fn choose_ip((network, length): Network, free: &dyn Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let (first, bits) = number(network);
    let host_bits = bits.saturating_sub(length.into()).min(16);
    // Neither the network's own address nor the broadcast address of IPv4.
    let size = (1_u128 << host_bits).saturating_sub(if bits == 32 { 2 } else { 1 });
    let band = (size / 16).clamp(16, 256).min(size);
    let address = |n: u128| match network {
        IpAddr::V4(_) => IpAddr::from(u32::try_from(first + n).unwrap_or(0).to_be_bytes()),
        IpAddr::V6(_) => IpAddr::from((first + n).to_be_bytes()),
    };
    let upper = scan(band + 1, size);
    let mut numbers = upper.chain(scan(1, band));
    numbers.find_map(|n| Some(address(n)).filter(|ip| free(*ip)))
}

/// All numbers of a range, from a random one on and around.
fn scan(low: u128, high: u128) -> impl Iterator<Item = u128> {
    let count = (high + 1).saturating_sub(low);
    let start = u128::from(u64::from_le_bytes(base::ids::random::<8>())) % count.max(1);
    (0..count).map(move |i| low + (start + i) % count)
}

fn ports(
    cluster: &ClusterConfig,
    obj: &mut Value,
    own: &BTreeSet<Claim>,
    free: &dyn Fn(&Claim) -> bool,
    errors: &mut FieldErrors,
) {
    let spec = obj.at(&["spec"]).clone();
    let (low, high) = (i64::from(cluster.node_ports.0), i64::from(cluster.node_ports.1));
    // Within one service a number may serve several protocols.
    let mut used = node_ports(&spec);
    let fault = |port: i64| {
        if !(low..=high).contains(&port) && !own.contains(&port_claim(port)) {
            Some(format!("provided port is not in the valid range. The range of valid ports is {low}-{high}"))
        } else if free(&port_claim(port)) {
            None
        } else {
            Some("provided port is already allocated".to_string())
        }
    };
    let mut choose = || {
        let found = scan(low.unsigned_abs().into(), high.unsigned_abs().into())
            .filter_map(|n| i64::try_from(n).ok())
            .find(|n| !used.contains(n) && free(&port_claim(*n)));
        used.extend(found);
        found
    };
    let wants = needs_node_ports(&spec)
        && (spec.str_at(&["type"]) == "NodePort"
            || spec.at(&["allocateLoadBalancerNodePorts"]).as_bool().unwrap_or(true));
    for (i, port) in obj.array_at_mut(&["spec", "ports"]).into_iter().flatten().enumerate() {
        let path = format!("spec.ports[{i}].nodePort");
        match port.at(&["nodePort"]).as_i64().unwrap_or(0) {
            0 if wants => match choose() {
                Some(number) => port.set(&["nodePort"], number),
                None => errors.add(Problem::Internal, path, None, "failed to allocate a nodePort: range is full"),
            },
            0 => {}
            number if needs_node_ports(&spec) => {
                if let Some(why) = fault(number) {
                    errors.invalid_raw(path, number, why);
                }
            }
            _ => {}
        }
    }
    if needs_health_port(&spec) {
        match spec.at(&["healthCheckNodePort"]).as_i64().unwrap_or(0) {
            0 => {
                if let Some(number) = choose() {
                    obj.set(&["spec", "healthCheckNodePort"], number);
                }
            }
            number => {
                if let Some(why) = fault(number) {
                    errors.invalid_raw("spec.healthCheckNodePort", number, why);
                }
            }
        }
    }
}

fn node_ports(spec: &Value) -> BTreeSet<i64> {
    spec.items_at(&["ports"]).iter().filter_map(|p| p.at(&["nodePort"]).as_i64()).filter(|n| *n != 0).collect()
}

/// What a service holds alone.
pub fn claims(obj: &Value) -> Vec<Claim> {
    let spec = obj.at(&["spec"]);
    if spec.str_at(&["type"]) == "ExternalName" {
        return Vec::new();
    }
    let ips = spec.items_at(&["clusterIPs"]).iter().filter_map(|ip| ip.as_str()?.parse().ok()).map(ip_claim);
    let mut numbers = if needs_node_ports(spec) { node_ports(spec) } else { BTreeSet::new() };
    if needs_health_port(spec) {
        numbers.extend(spec.at(&["healthCheckNodePort"]).as_i64().filter(|n| *n != 0));
    }
    ips.chain(numbers.into_iter().map(port_claim)).collect()
}
