//! The ruleset in the kernel's words: sets, chains, rules and the bytes of elements. Everything that does not depend on services is
//! written once; after that only elements change, and a chain appears with the first group of its size.
//!
//! The result of one map is the key of the next, which the kernel takes and the `nft` program (1.0.6) cannot print: look at the chains
//! `services` and `postrouting` and at the maps one by one.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netlink::Cidr;
use netlink::nft::set::{Bytes, Field};
use netlink::nft::{
    Batch, Chain, ChainType, CmpOp, CtKey, DynsetOp, Element, Expr, Family, Hook, MetaKey, Nat, Reg, Reject, Set,
    Table, Value, Verdict,
};

use crate::ruleset::{Changes, Delta, Frontend, GroupId, Pick, Refusal, Target, Via};

pub(crate) const AFFINITY: &str = "affinity";
const SERVICES: &str = "services";
const REFUSED: &str = "refused";
const FRONTENDS: &str = "frontends";
const LOCAL_FRONTENDS: &str = "local-frontends";
const GROUPS: &str = "groups";
const ENDPOINTS: &str = "endpoints";
const CLUSTER_IPS: &str = "cluster-ips";
const HAIRPIN: &str = "hairpin";

/// The bit of the packet's mark that means "masquerade", the same that kube-proxy takes by default.
const MASQUERADE: u32 = 0x4000;
const RTN_LOCAL: u32 = 2;
/// Clients with a remembered endpoint, per node.
const AFFINITY_SIZE: u32 = 65_536;

/// The proxy's table.
pub(crate) fn table() -> Table {
    Table::new(Family::Ip, "ferry")
}

/// The table without any service, in place of whatever was there.
pub(crate) fn replace(pod_cidr: Option<Cidr>) -> Batch {
    let mut batch = Batch::new();
    let t = table();
    batch.replace_table(&t);
    let frontend = [Field::Protocol, Field::Ipv4, Field::Port];
    let target = [Field::Ipv4, Field::Port];
    batch.add_set(&t, &Set::verdict_map(SERVICES, &frontend));
    batch.add_set(&t, &Set::verdict_map(REFUSED, &frontend));
    batch.add_set(&t, &Set::map(FRONTENDS, &frontend, &[Field::Number]));
    batch.add_set(&t, &Set::map(LOCAL_FRONTENDS, &frontend, &[Field::Number]));
    batch.add_set(&t, &Set::verdict_map(GROUPS, &[Field::Number]));
    batch.add_set(&t, &Set::map(ENDPOINTS, &[Field::Number, Field::Number], &target));
    batch.add_set(&t, &Set::members(CLUSTER_IPS, &[Field::Ipv4]));
    batch.add_set(&t, &Set::members(HAIRPIN, &[Field::Ipv4, Field::Ipv4]));
    let affinity = Set::map(AFFINITY, &[Field::Number, Field::Ipv4], &target);
    batch.add_set(&t, &Set { dynamic: Some(AFFINITY_SIZE), ..affinity });
    refusal_rules(&mut batch, &t);
    service_rules(&mut batch, &t, pod_cidr);
    masquerade_rules(&mut batch, &t);
    batch
}

/// Appends the changes, in an order in which nothing refers to what is not there.
pub(crate) fn change(batch: &mut Batch, changes: &Changes) {
    let t = table();
    for pick in &changes.new_chains {
        pick_chain(batch, &t, *pick);
    }
    let ip = |ip: &Ipv4Addr| Bytes::new().ipv4(*ip).done();
    let twice = |ip: &Ipv4Addr| Bytes::new().ipv4(*ip).ipv4(*ip).done();
    let group = |id: &GroupId| Bytes::new().number(id.0).done();
    let endpoint = |(id, index): &(GroupId, u32)| Bytes::new().number(id.0).number(*index).done();
    remove(batch, SERVICES, &changes.services, frontend_key);
    remove(batch, REFUSED, &changes.refused, frontend_key);
    remove(batch, FRONTENDS, &changes.frontends, frontend_key);
    remove(batch, LOCAL_FRONTENDS, &changes.local_frontends, frontend_key);
    remove(batch, GROUPS, &changes.groups, group);
    remove(batch, ENDPOINTS, &changes.endpoints, endpoint);
    remove(batch, CLUSTER_IPS, &changes.cluster_ips, ip);
    remove(batch, HAIRPIN, &changes.hairpin, twice);
    let goto = |chain: &str| Value::Verdict(Verdict::Goto(chain.into()));
    add(batch, ENDPOINTS, &changes.endpoints, endpoint, |target| Value::Data(target_value(target)));
    add(batch, GROUPS, &changes.groups, group, |pick| goto(&chain_name(*pick)));
    let number = |id: &GroupId| Value::Data(Bytes::new().number(id.0).done());
    add(batch, FRONTENDS, &changes.frontends, frontend_key, number);
    add(batch, LOCAL_FRONTENDS, &changes.local_frontends, frontend_key, number);
    add(batch, SERVICES, &changes.services, frontend_key, |via| match via {
        Via::ClusterIp => goto("cluster-ip"),
        Via::External => goto("external"),
        Via::ExternalLocal => goto("external-local"),
    });
    add(batch, REFUSED, &changes.refused, frontend_key, |refusal| match refusal {
        Refusal::Reject => goto("reject"),
        Refusal::Drop => Value::Verdict(Verdict::Drop),
    });
    add(batch, CLUSTER_IPS, &changes.cluster_ips, ip, |()| Value::None);
    add(batch, HAIRPIN, &changes.hairpin, twice, |()| Value::None);
    for pick in &changes.old_chains {
        batch.delete_chain(&t, &chain_name(*pick));
    }
}

/// What a dumped affinity entry says.
pub(crate) fn parse_affinity(element: &Element) -> Option<(GroupId, Ipv4Addr, Target)> {
    let Value::Data(data) = &element.value else { return None };
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok());
    let port = word(data, 4)?;
    let target = Target { address: word(data, 0)?.into(), port: u16::from_be_bytes([port[0], port[1]]) };
    Some((GroupId(u32::from_ne_bytes(word(&element.key, 0)?)), word(&element.key, 4)?.into(), target))
}

fn remove<K, V>(batch: &mut Batch, set: &str, delta: &Delta<K, V>, key: impl Fn(&K) -> Vec<u8>) {
    let elements: Vec<_> = delta.removed.iter().map(|k| Element::member(key(k))).collect();
    batch.delete_elements(&table(), set, &elements);
}

fn add<K, V>(
    batch: &mut Batch,
    set: &str,
    delta: &Delta<K, V>,
    key: impl Fn(&K) -> Vec<u8>,
    value: impl Fn(&V) -> Value,
) {
    let elements: Vec<_> = delta.added.iter().map(|(k, v)| Element::entry(key(k), value(v))).collect();
    batch.add_elements(&table(), set, &elements);
}

fn frontend_key(frontend: &Frontend) -> Vec<u8> {
    Bytes::new().protocol(frontend.protocol.number()).ipv4(frontend.address).port(frontend.port).done()
}

fn target_value(target: &Target) -> Vec<u8> {
    Bytes::new().ipv4(target.address).port(target.port).done()
}

fn chain_name(pick: Pick) -> String {
    let from = if pick.external_local { "local" } else { "cluster" };
    match pick.affinity {
        None => format!("{from}-{}", pick.count),
        Some(timeout) => format!("{from}-{}-sticky-{}", pick.count, timeout.as_secs()),
    }
}

/// Loads the frontend that a packet asks for into registers 0 to 2.
fn load_frontend() -> Vec<Expr> {
    let protocol = Expr::Meta { key: MetaKey::L4Proto, to: Reg(0) };
    vec![protocol, Expr::ipv4_destination(Reg(1)), Expr::destination_port(Reg(2))]
}

/// Loads the number of the frontend's group into register 4.
fn load_group(frontends: &str) -> Vec<Expr> {
    let mut rule = load_frontend();
    rule.push(Expr::Map { map: frontends.into(), key: Reg(0), to: Reg(4) });
    rule
}

fn to_group(frontends: &str) -> Vec<Expr> {
    let mut rule = load_group(frontends);
    rule.push(Expr::VerdictMap { map: GROUPS.into(), key: Reg(4) });
    rule
}

fn mark_for_masquerade() -> Vec<Expr> {
    let (mask, xor) = ((!MASQUERADE).to_ne_bytes().to_vec(), MASQUERADE.to_ne_bytes().to_vec());
    vec![
        Expr::Meta { key: MetaKey::Mark, to: Reg(0) },
        Expr::Bitwise { from: Reg(0), to: Reg(0), mask, xor },
        Expr::SetMark { from: Reg(0) },
    ]
}

fn is_new() -> Vec<Expr> {
    let mut rule = vec![Expr::Ct { key: CtKey::State, to: Reg(0) }];
    rule.extend(Expr::any_bit(Reg(0), CtKey::NEW));
    rule
}

/// Services that nobody answers for, before translation; and after it, what still goes to a cluster address.
fn refusal_rules(batch: &mut Batch, t: &Table) {
    batch.add_chain(t, &Chain::regular("reject"));
    batch.add_rule(t, "reject", "", &[Expr::Counter, Expr::Reject(Reject::Icmp(3))]);
    for (chain, hook) in [("refuse-prerouting", Hook::Prerouting), ("refuse-output", Hook::Output)] {
        batch.add_chain(t, &Chain::base(chain, ChainType::Filter, hook, -110));
        let mut rule = is_new();
        rule.extend(load_frontend());
        rule.push(Expr::VerdictMap { map: REFUSED.into(), key: Reg(0) });
        batch.add_rule(t, chain, "services without endpoints", &rule);
    }
    for (chain, hook) in [("unknown-forward", Hook::Forward), ("unknown-output", Hook::Output)] {
        batch.add_chain(t, &Chain::base(chain, ChainType::Filter, hook, 0));
        let mut rule = is_new();
        rule.push(Expr::ipv4_destination(Reg(0)));
        rule.push(Expr::InSet { set: CLUSTER_IPS.into(), key: Reg(0), invert: false });
        rule.push(Expr::Verdict(Verdict::Goto("reject".into())));
        batch.add_rule(t, chain, "ports that a service does not have", &rule);
    }
}

fn service_rules(batch: &mut Batch, t: &Table, pod_cidr: Option<Cidr>) {
    for chain in ["services", "cluster-ip", "external", "external-local"] {
        batch.add_chain(t, &Chain::regular(chain));
    }
    let mut rule = load_frontend();
    rule.push(Expr::VerdictMap { map: SERVICES.into(), key: Reg(0) });
    batch.add_rule(t, "services", "", &rule);

    if let Some(mut rule) = from_pods(pod_cidr, CmpOp::Ne) {
        rule.extend(mark_for_masquerade());
        batch.add_rule(t, "cluster-ip", "not from a pod of this node", &rule);
    }
    batch.add_rule(t, "cluster-ip", "", &to_group(FRONTENDS));

    batch.add_rule(t, "external", "the answer must come back through this node", &mark_for_masquerade());
    batch.add_rule(t, "external", "", &to_group(FRONTENDS));

    if let Some(mut rule) = from_pods(pod_cidr, CmpOp::Eq) {
        rule.extend(to_group(FRONTENDS));
        batch.add_rule(t, "external-local", "pods of this node reach every endpoint", &rule);
    }
    let from_here = [
        Expr::AddressType { destination: false, to: Reg(0) },
        Expr::Cmp { from: Reg(0), op: CmpOp::Eq, value: RTN_LOCAL.to_ne_bytes().to_vec() },
    ];
    let mut rule = from_here.to_vec();
    rule.extend(mark_for_masquerade());
    rule.extend(to_group(FRONTENDS));
    batch.add_rule(t, "external-local", "and so does the node itself", &rule);
    batch.add_rule(t, "external-local", "everyone else: endpoints of this node", &to_group(LOCAL_FRONTENDS));
    batch.add_rule(t, "external-local", "or silence", &[Expr::Verdict(Verdict::Drop)]);

    for (chain, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        batch.add_chain(t, &Chain::base(chain, ChainType::Nat, hook, -100));
        batch.add_rule(t, chain, "", &[Expr::Verdict(Verdict::Goto("services".into()))]);
    }
}

fn masquerade_rules(batch: &mut Batch, t: &Table) {
    let chain = "postrouting";
    batch.add_chain(t, &Chain::base(chain, ChainType::Nat, Hook::Postrouting, 100));
    let bytes = |n: u32| n.to_ne_bytes().to_vec();
    let rule = [
        Expr::Meta { key: MetaKey::Mark, to: Reg(0) },
        Expr::Bitwise { from: Reg(0), to: Reg(1), mask: bytes(MASQUERADE), xor: bytes(0) },
        Expr::Cmp { from: Reg(1), op: CmpOp::Ne, value: bytes(0) },
        // A packet that is wrapped on its way out passes here again and must not be masqueraded twice.
        Expr::Bitwise { from: Reg(0), to: Reg(0), mask: bytes(!MASQUERADE), xor: bytes(0) },
        Expr::SetMark { from: Reg(0) },
        Expr::Masquerade,
    ];
    batch.add_rule(t, chain, "marked", &rule);
    let mut rule = vec![Expr::Ct { key: CtKey::Status, to: Reg(0) }];
    rule.extend(Expr::any_bit(Reg(0), CtKey::DNAT));
    rule.extend([Expr::ipv4_source(Reg(0)), Expr::ipv4_destination(Reg(1))]);
    rule.push(Expr::InSet { set: HAIRPIN.into(), key: Reg(0), invert: false });
    rule.push(Expr::Masquerade);
    batch.add_rule(t, chain, "a pod to itself", &rule);
}

/// The chain of one way of choosing.
fn pick_chain(batch: &mut Batch, t: &Table, pick: Pick) {
    let (name, frontends) = (chain_name(pick), if pick.external_local { LOCAL_FRONTENDS } else { FRONTENDS });
    let translate = Expr::Nat { kind: Nat::Destination, family: Family::Ip, address: Reg(8), port: Some(Reg(9)) };
    let mut choose = load_group(frontends);
    choose.push(Expr::Random { modulus: pick.count, to: Reg(5) });
    choose.push(Expr::Map { map: ENDPOINTS.into(), key: Reg(4), to: Reg(8) });
    batch.add_chain(t, &Chain::regular(&name));
    if let Some(timeout) = pick.affinity {
        let remember = |op| {
            let timeout = timeout.max(Duration::from_secs(1));
            [
                Expr::ipv4_source(Reg(5)),
                Expr::Dynset { set: AFFINITY.into(), op, key: Reg(4), value: Some(Reg(8)), timeout },
                translate.clone(),
            ]
        };
        let mut rule = load_group(frontends);
        rule.push(Expr::ipv4_source(Reg(5)));
        rule.push(Expr::Map { map: AFFINITY.into(), key: Reg(4), to: Reg(8) });
        rule.extend(remember(DynsetOp::Update));
        batch.add_rule(t, &name, "a client that was here", &rule);
        let mut rule = choose.clone();
        rule.extend(remember(DynsetOp::Add));
        batch.add_rule(t, &name, "a new client", &rule);
    }
    // With affinity only reached when no more clients can be remembered.
    choose.push(translate);
    batch.add_rule(t, &name, "", &choose);
}

fn from_pods(pod_cidr: Option<Cidr>, op: CmpOp) -> Option<Vec<Expr>> {
    let network = pod_cidr?.network();
    let (IpAddr::V4(address), Some(mask)) = (network.address, network.netmask()) else { return None };
    Some(vec![
        Expr::ipv4_source(Reg(0)),
        Expr::Bitwise { from: Reg(0), to: Reg(0), mask: mask.octets().to_vec(), xor: vec![0; 4] },
        Expr::Cmp { from: Reg(0), op, value: address.octets().to_vec() },
    ])
}
