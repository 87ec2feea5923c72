//! The node's nftables for pods, in a table of their own: host ports, and the source address of what leaves the cluster.
//! Pure: pods in, batch out.
//!
//! Host ports are two maps, so that a packet costs the same whatever their number. A connection to `127.0.0.1` is left alone:
//! to translate it, the kernel would have to route loopback addresses (`route_localnet`), which opens every local service
//! of the node to its neighbours.

use std::net::{IpAddr, Ipv4Addr};

use netlink::Cidr;
use netlink::nft::set::{Bytes, Field};
use netlink::nft::{
    Batch, Chain, ChainType, CmpOp, CtKey, Element, Expr, Family, Hook, MetaKey, Nat, Reg, Set, Table, Value, Verdict,
};

use crate::ipam::Record;

const PORTS: &str = "host-ports";
const PORTS_BY_ADDRESS: &str = "host-ports-by-address";
const HAIRPIN: &str = "hairpin";
const RTN_LOCAL: u32 = 2;

/// The built-in network's table.
pub(crate) fn table() -> Table {
    Table::new(Family::Ip, "ferry-cni")
}

/// The whole table, in place of whatever was there.
pub(crate) fn replace<'a>(pods: Cidr, unmasqueraded: &[Cidr], records: impl Iterator<Item = &'a Record>) -> Batch {
    let mut batch = Batch::new();
    let t = table();
    batch.replace_table(&t);
    batch.add_set(&t, &Set::map(PORTS, &[Field::Protocol, Field::Port], &[Field::Ipv4, Field::Port]));
    let by_address = [Field::Protocol, Field::Ipv4, Field::Port];
    batch.add_set(&t, &Set::map(PORTS_BY_ADDRESS, &by_address, &[Field::Ipv4, Field::Port]));
    batch.add_set(&t, &Set::members(HAIRPIN, &[Field::Ipv4, Field::Ipv4]));
    host_port_rules(&mut batch, &t);
    batch.add_chain(&t, &Chain::base("postrouting", ChainType::Nat, Hook::Postrouting, 100));
    masquerade_rules(&mut batch, &t, pods, unmasqueraded);
    records.for_each(|record| add(&mut batch, record));
    batch
}

/// What a pod adds.
pub(crate) fn add(batch: &mut Batch, record: &Record) {
    for (set, elements) in elements(record) {
        batch.add_elements(&table(), set, &elements);
    }
}

/// The same, taken away.
pub(crate) fn remove(batch: &mut Batch, record: &Record) {
    for (set, elements) in elements(record) {
        batch.delete_elements(&table(), set, &elements);
    }
}

fn elements(record: &Record) -> Vec<(&'static str, Vec<Element>)> {
    if record.ports.is_empty() {
        return Vec::new();
    }
    let (mut everywhere, mut by_address) = (Vec::new(), Vec::new());
    for port in &record.ports {
        let value = Value::Data(Bytes::new().ipv4(record.address).port(port.container_port).done());
        let key = Bytes::new().protocol(port.protocol.number());
        match port.host_ip {
            Some(IpAddr::V4(ip)) if !ip.is_unspecified() => {
                by_address.push(Element::entry(key.ipv4(ip).port(port.host_port).done(), value));
            }
            // An IPv6 address is none of this table's.
            Some(IpAddr::V6(ip)) if !ip.is_unspecified() => {}
            _ => everywhere.push(Element::entry(key.port(port.host_port).done(), value)),
        }
    }
    let itself = Element::member(Bytes::new().ipv4(record.address).ipv4(record.address).done());
    vec![(PORTS, everywhere), (PORTS_BY_ADDRESS, by_address), (HAIRPIN, vec![itself])]
}

fn host_port_rules(batch: &mut Batch, t: &Table) {
    let chain = "host-port";
    batch.add_chain(t, &Chain::regular(chain));
    let mut rule = in_prefix(Expr::ipv4_destination(Reg(0)), Ipv4Addr::LOCALHOST, 8, CmpOp::Eq);
    rule.push(Expr::Verdict(Verdict::Return));
    batch.add_rule(t, chain, "loopback stays", &rule);
    let translate = |map: &str| {
        [
            Expr::Map { map: map.into(), key: Reg(0), to: Reg(4) },
            Expr::Nat { kind: Nat::Destination, family: Family::Ip, address: Reg(4), port: Some(Reg(5)) },
        ]
    };
    let protocol = Expr::Meta { key: MetaKey::L4Proto, to: Reg(0) };
    let mut rule = vec![protocol.clone(), Expr::ipv4_destination(Reg(1)), Expr::destination_port(Reg(2))];
    rule.extend(translate(PORTS_BY_ADDRESS));
    batch.add_rule(t, chain, "host ports of one address", &rule);
    let mut rule = vec![Expr::AddressType { destination: true, to: Reg(0) }];
    rule.push(Expr::Cmp { from: Reg(0), op: CmpOp::Eq, value: RTN_LOCAL.to_ne_bytes().to_vec() });
    rule.extend([protocol, Expr::destination_port(Reg(1))]);
    rule.extend(translate(PORTS));
    batch.add_rule(t, chain, "host ports", &rule);
    for (base, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        batch.add_chain(t, &Chain::base(base, ChainType::Nat, hook, -100));
        batch.add_rule(t, base, "", &[Expr::Verdict(Verdict::Goto(chain.into()))]);
    }
}

/// A pod that reaches itself by its host port must not see its own address as the sender; what leaves for outside carries
/// the node's address, because nobody outside knows a way back to a pod.
fn masquerade_rules(batch: &mut Batch, t: &Table, pods: Cidr, unmasqueraded: &[Cidr]) {
    let chain = "postrouting";
    let mut rule = vec![Expr::Ct { key: CtKey::Status, to: Reg(0) }];
    rule.extend(Expr::any_bit(Reg(0), CtKey::DNAT));
    rule.extend([Expr::ipv4_source(Reg(0)), Expr::ipv4_destination(Reg(1))]);
    rule.push(Expr::InSet { set: HAIRPIN.into(), key: Reg(0), invert: false });
    rule.push(Expr::Masquerade);
    batch.add_rule(t, chain, "a pod to itself by its host port", &rule);
    let from = |pods: Cidr, op| match pods.network().address {
        IpAddr::V4(network) => in_prefix(Expr::ipv4_source(Reg(0)), network, pods.prefix, op),
        IpAddr::V6(_) => Vec::new(),
    };
    let mut rule = from(pods, CmpOp::Ne);
    rule.push(Expr::Verdict(Verdict::Return));
    batch.add_rule(t, chain, "not from a pod", &rule);
    let multicast = Cidr { address: IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), prefix: 4 };
    for cidr in unmasqueraded.iter().chain([&pods, &multicast]) {
        if let IpAddr::V4(network) = cidr.network().address {
            let mut rule = in_prefix(Expr::ipv4_destination(Reg(0)), network, cidr.prefix, CmpOp::Eq);
            rule.push(Expr::Verdict(Verdict::Return));
            batch.add_rule(t, chain, "inside the cluster", &rule);
        }
    }
    batch.add_rule(t, chain, "leaves the cluster", &[Expr::Masquerade]);
}

/// Goes on if the address that `load` puts into register 0 lies in the prefix (or with `Ne`, outside).
fn in_prefix(load: Expr, network: Ipv4Addr, prefix: u8, op: CmpOp) -> Vec<Expr> {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    let value = (u32::from(network) & mask).to_be_bytes().to_vec();
    vec![
        load,
        Expr::Bitwise { from: Reg(0), to: Reg(0), mask: mask.to_be_bytes().to_vec(), xor: vec![0; 4] },
        Expr::Cmp { from: Reg(0), op, value },
    ]
}
