//! nftables and connection tracking against the real kernel, with packets.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use netlink::nft::set::{Bytes, Field};
use netlink::nft::{
    Batch, Chain, ChainType, CmpOp, CtKey, DynsetOp, Element, Expr, Family, Hook, MetaKey, Nat, Nft, Reg, Reject, Set,
    Table, Value, Verdict, set,
};
use netlink::{Cidr, Namespace};

const UDP: u8 = 17;

fn table() -> Table {
    Table::new(Family::Ip, "test")
}

fn service(port: u16) -> Vec<u8> {
    Bytes::new().protocol(UDP).ipv4(Ipv4Addr::new(10, 96, 0, 1)).port(port).done()
}

fn endpoint(port: u16) -> Value {
    Value::Data(Bytes::new().ipv4(Ipv4Addr::LOCALHOST).port(port).done())
}

/// Loads (protocol, destination, port) into registers 0 to 2.
fn load_service() -> [Expr; 3] {
    [Expr::Meta { key: MetaKey::L4Proto, to: Reg(0) }, Expr::ipv4_destination(Reg(1)), Expr::destination_port(Reg(2))]
}

/// A namespace whose output is translated by a map from service to endpoint.
fn balanced() -> (Namespace, Nft) {
    let namespace = Namespace::anonymous().expect("namespace");
    let mut nft = namespace.nft().expect("nft handle");
    let mut route = namespace.route().expect("route handle");
    route.add_address("lo", "10.0.0.1/32".parse::<Cidr>().expect("cidr")).expect("address");
    let lo = route.index("lo").expect("index");
    let default = "0.0.0.0/0".parse().expect("cidr");
    route.replace_route(&netlink::RouteEntry::on_link(default, lo)).expect("route");
    let mut batch = Batch::new();
    batch.replace_table(&table());
    batch.add_set(
        &table(),
        &Set::map("services", &[Field::Protocol, Field::Ipv4, Field::Port], &[Field::Ipv4, Field::Port]),
    );
    batch.add_chain(&table(), &Chain::base("output", ChainType::Nat, Hook::Output, -100));
    let mut rule = load_service().to_vec();
    rule.push(Expr::Map { map: "services".into(), key: Reg(0), to: Reg(4) });
    rule.push(Expr::Counter);
    let destination = Nat::Destination;
    rule.push(Expr::Nat { kind: destination, family: Family::Ip, address: Reg(4), port: Some(Reg(5)) });
    batch.add_rule(&table(), "output", "translate", &rule);
    nft.commit(batch).expect("commit");
    (namespace, nft)
}

fn ask(port: u16) -> Option<String> {
    let socket = UdpSocket::bind("10.0.0.1:0").expect("bind");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    socket.connect(("10.96.0.1", port)).expect("connect");
    socket.send(b"who").ok()?;
    let mut buffer = [0; 64];
    let n = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..n]).into_owned())
}

fn serve(name: &'static str, port: u16) {
    let socket = UdpSocket::bind(("127.0.0.1", port)).expect("bind");
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), from);
        }
    });
}

#[test]
fn a_map_translates_and_follows_changes() {
    let (namespace, mut nft) = balanced();
    let mut batch = Batch::new();
    batch.add_elements(&table(), "services", &[Element::entry(service(53), endpoint(5001))]);
    nft.commit(batch).expect("add");
    namespace.run(|| (serve("one", 5001), serve("two", 5002))).expect("run");
    assert_eq!(namespace.run(|| ask(53)).expect("run").as_deref(), Some("one"));

    let mut batch = Batch::new();
    batch.delete_elements(&table(), "services", &[Element::member(service(53))]);
    batch.add_elements(&table(), "services", &[Element::entry(service(53), endpoint(5002))]);
    nft.commit(batch).expect("replace in one transaction");
    assert_eq!(namespace.run(|| ask(53)).expect("run").as_deref(), Some("two"));
    assert_eq!(nft.elements(&table(), "services").expect("dump").len(), 1);

    let mut conntrack = namespace.conntrack().expect("conntrack");
    let flows = conntrack.flows(|f| f.protocol == UDP && f.original.destination.1 == 53).expect("flows");
    assert_eq!(flows.len(), 2, "{flows:?}");
    let endpoints: Vec<_> = flows.iter().map(|f| f.reply.source.1).collect();
    assert!(endpoints.contains(&5001) && endpoints.contains(&5002), "{flows:?}");
    conntrack.delete(&flows[0]).expect("delete");
    conntrack.delete(&flows[0]).expect("twice is fine");
    assert_eq!(conntrack.flows(|f| f.original.destination.1 == 53).expect("flows"), vec![flows[1]]);
}

#[test]
fn a_refused_element_takes_nothing_and_is_named() {
    let (_namespace, mut nft) = balanced();
    let mut batch = Batch::new();
    batch.add_elements(&table(), "services", &[Element::entry(service(1), endpoint(1))]);
    batch.delete_elements(&table(), "services", &[Element::member(service(258))]);
    let error = nft.commit(batch).expect_err("the second does not exist");
    assert_eq!(
        error.to_string(),
        "delete element of ip test services, key 17.0.0.0 . 10.96.0.1 . 1.2.0.0: No such file or directory (os error 2)"
    );
    assert!(error.is_not_found());
    assert_eq!(nft.elements(&table(), "services").expect("dump"), vec![], "nothing of the batch took effect");
    let mut batch = Batch::new();
    batch.add_chain(&Table::new(Family::Ip, "absent"), &Chain::regular("x"));
    let error = nft.commit(batch).expect_err("no such table").to_string();
    assert!(error.starts_with("create chain ip absent x: No such file"), "{error}");
}

#[test]
fn ten_thousand_elements_are_one_transaction() {
    let (_namespace, mut nft) = balanced();
    let elements: Vec<_> = (0..30_000).map(|port| Element::entry(service(port), endpoint(port))).collect();
    let mut batch = Batch::new();
    batch.add_elements(&table(), "services", &elements);
    nft.commit(batch).expect("add");
    // While the kernel still spreads so many new elements over a larger hash table, a dump may miss some.
    let found = std::iter::repeat_with(|| nft.elements(&table(), "services").expect("dump"))
        .take(10_000)
        .find(|found| found.len() == elements.len())
        .expect("all elements are there");
    assert_eq!(found, elements);
    let mut batch = Batch::new();
    batch.delete_elements(&table(), "services", &elements[1..]);
    nft.commit(batch).expect("delete");
    assert_eq!(nft.elements(&table(), "services").expect("dump"), vec![elements[0].clone()]);
    let mut batch = Batch::new();
    batch.flush_set(&table(), "services");
    nft.commit(batch).expect("flush");
    assert_eq!(nft.elements(&table(), "services").expect("dump"), vec![]);
}

/// Every expression and set type that exists here is accepted by the kernel in the place where it is meant.
#[test]
fn the_kernel_takes_every_expression() {
    let (_namespace, mut nft) = balanced();
    let t = table();
    let mut batch = Batch::new();
    batch.add_set(&t, &Set { interval: true, ..Set::members("prefixes", &[Field::Ipv4]) });
    batch.add_elements(&t, "prefixes", &set::interval(Ipv4Addr::new(10, 0, 0, 0), 8));
    batch.add_elements(&t, "prefixes", &set::interval(Ipv4Addr::new(240, 0, 0, 0), 4));
    batch.add_set(&t, &Set::verdict_map("verdicts", &[Field::Number]));
    let dynamic = Set::map("sticky", &[Field::Number, Field::Ipv4], &[Field::Ipv4, Field::Port]);
    batch.add_set(&t, &Set { dynamic: Some(65_536), ..dynamic });
    batch.add_chain(&t, &Chain::regular("leaf"));
    let goto = Value::Verdict(Verdict::Goto("leaf".into()));
    batch.add_elements(&t, "verdicts", &[Element::entry(Bytes::new().number(7).done(), goto.clone())]);
    let timeout = Some(Duration::from_secs(60));
    let key = Bytes::new().number(7).ipv4(Ipv4Addr::LOCALHOST).done();
    batch.add_elements(&t, "sticky", &[Element { timeout, ..Element::entry(key, endpoint(80)) }]);
    for (name, kind, hook, priority) in [
        ("prerouting", ChainType::Nat, Hook::Prerouting, -100),
        ("postrouting", ChainType::Nat, Hook::Postrouting, 100),
        ("forward", ChainType::Filter, Hook::Forward, 0),
        ("input", ChainType::Filter, Hook::Input, 0),
        ("mangle", ChainType::Route, Hook::Output, -150),
    ] {
        batch.add_chain(&t, &Chain::base(name, kind, hook, priority));
    }
    let mut rule = vec![
        Expr::AddressType { destination: true, to: Reg(0) },
        Expr::Cmp { from: Reg(0), op: CmpOp::Eq, value: 2u32.to_ne_bytes().to_vec() },
        Expr::Random { modulus: 3, to: Reg(1) },
        Expr::VerdictMap { map: "verdicts".into(), key: Reg(1) },
    ];
    batch.add_rule(&t, "prerouting", "choose", &rule);
    rule = vec![Expr::Immediate { to: Reg(0), value: 7u32.to_ne_bytes().to_vec() }, Expr::ipv4_source(Reg(1))];
    rule.push(Expr::Map { map: "sticky".into(), key: Reg(0), to: Reg(2) });
    rule.push(Expr::Dynset {
        set: "sticky".into(),
        op: DynsetOp::Update,
        key: Reg(0),
        value: Some(Reg(2)),
        timeout: Duration::from_secs(60),
    });
    batch.add_rule(&t, "leaf", "stick", &rule);
    rule = vec![Expr::ipv4_destination(Reg(0)), Expr::InSet { set: "prefixes".into(), key: Reg(0), invert: true }];
    rule.push(Expr::Masquerade);
    batch.add_rule(&t, "postrouting", "leave", &rule);
    rule = vec![Expr::Ct { key: CtKey::State, to: Reg(0) }];
    rule.extend(Expr::any_bit(Reg(0), CtKey::NEW));
    rule.push(Expr::Reject(Reject::Icmp(3)));
    batch.add_rule(&t, "forward", "refuse", &rule);
    rule = vec![Expr::Meta { key: MetaKey::Mark, to: Reg(0) }, Expr::SetMark { from: Reg(0) }];
    rule.push(Expr::Verdict(Verdict::Accept));
    batch.add_rule(&t, "mangle", "", &rule);
    nft.commit(batch).expect("commit");

    assert_eq!(nft.elements(&t, "prefixes").expect("dump").len(), 3, "the last range has no end");
    assert_eq!(nft.elements(&t, "verdicts").expect("dump")[0].value, goto);
    let sticky = nft.elements(&t, "sticky").expect("dump");
    assert_eq!((sticky[0].timeout, sticky[0].expires.is_some()), (timeout, true));
    assert_eq!(nft.rules(&t).expect("rules"), 6);
    let chains = nft.chains(&t).expect("chains");
    assert_eq!(chains.iter().filter(|c| c.base).count(), 6);
    assert_eq!(nft.sets(&t).expect("sets").len(), 4);

    let mut batch = Batch::new();
    batch.flush_set(&t, "verdicts");
    batch.flush_chain(&t, "leaf");
    batch.delete_chain(&t, "leaf");
    nft.commit(batch).expect("a chain goes once nothing refers to it");
    let mut batch = Batch::new();
    batch.delete_table(&t);
    nft.commit(batch).expect("delete table");
    assert!(!nft.has_table(&t).expect("tables"));
}
