//! Tables: services and endpoints in, answers out.

use crate::lookup::Answer;
use crate::{Endpoint, EndpointSlice, Kind, Port, Service, Zone, plan, plan_service};
use expect_test::{Expect, expect};
use hickory_proto::rr::{Name, Record, RecordType};
use std::net::IpAddr;

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().expect("address")).collect()
}

fn service(name: &str, kind: Kind, ports: &[(&str, &str, u16)]) -> Service {
    Service { namespace: "default".into(), name: name.into(), kind, ports: ports_of(ports), publish_not_ready: false }
}

fn ports_of(ports: &[(&str, &str, u16)]) -> Vec<Port> {
    ports
        .iter()
        .map(|(name, protocol, number)| Port { name: (*name).into(), protocol: (*protocol).into(), number: *number })
        .collect()
}

fn endpoint(ip: &str, hostname: Option<&str>, ready: bool) -> Endpoint {
    Endpoint { addresses: ips(&[ip]), hostname: hostname.map(str::to_string), ready }
}

fn slice(service: &str, ports: &[(&str, &str, u16)], endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice { namespace: "default".into(), service: service.into(), ports: ports_of(ports), endpoints }
}

fn zone() -> Zone {
    let mut early = service("early", Kind::Headless, &[]);
    early.publish_not_ready = true;
    let services = [
        service("web", Kind::ClusterIp(ips(&["10.96.0.10", "fd00::10"])), &[("http", "tcp", 80), ("dns", "udp", 53)]),
        service("plain", Kind::ClusterIp(ips(&["10.96.0.11"])), &[("", "tcp", 80)]),
        service("db", Kind::Headless, &[("sql", "tcp", 5432)]),
        service("empty", Kind::Headless, &[("x", "tcp", 1)]),
        service("ext", Kind::ExternalName("example.org.".into()), &[]),
        service("inner", Kind::ExternalName("web.default.svc.cluster.local".into()), &[]),
        early,
    ];
    let slices = [
        slice(
            "db",
            &[("sql", "tcp", 5433)],
            vec![
                endpoint("10.1.0.1", Some("db-0"), true),
                endpoint("10.1.0.2", Some("DB-1"), true),
                endpoint("10.1.0.3", None, true),
                endpoint("10.1.0.4", Some("db-2"), false),
            ],
        ),
        slice("db", &[("sql", "tcp", 5433)], vec![endpoint("fd00::1", None, true)]),
        slice("empty", &[("x", "tcp", 1)], vec![endpoint("10.1.0.9", None, false)]),
        slice("early", &[], vec![endpoint("10.1.0.8", Some("e"), false)]),
    ];
    plan("Cluster.Local.", &services, &slices)
}

fn show(answer: Answer) -> String {
    let line = |record: &Record| format!("{} {} {} {}\n", record.name, record.ttl, record.record_type(), record.data);
    match answer {
        Answer::Records(records, additional) => {
            let extra: String = additional.iter().map(|record| format!("+ {}", line(record))).collect();
            records.iter().map(line).collect::<String>() + &extra
        }
        Answer::Alias(alias) => format!("{}then {}\n", line(&alias.0), alias.1),
        other => format!("{other:?}\n"),
    }
}

fn check(zone: &Zone, name: &str, kind: RecordType, expected: Expect) {
    let name = Name::from_ascii(format!("{name}.")).expect("name");
    expected.assert_eq(&show(zone.answer(&name, kind)));
}

#[test]
fn cluster_addresses() {
    use RecordType::*;
    let zone = zone();
    check(
        &zone,
        "web.default.svc.cluster.local",
        A,
        expect![[r#"
        web.default.svc.cluster.local. 30 A 10.96.0.10
    "#]],
    );
    check(
        &zone,
        "WEB.default.Svc.cluster.LOCAL",
        AAAA,
        expect![[r#"
        WEB.default.Svc.cluster.LOCAL. 30 AAAA fd00::10
    "#]],
    );
    check(&zone, "plain.default.svc.cluster.local", AAAA, expect!["NoData\n"]);
    check(&zone, "plain.default.svc.cluster.local", MX, expect!["NoData\n"]);
    check(
        &zone,
        "_http._tcp.web.default.svc.cluster.local",
        SRV,
        expect![[r#"
        _http._tcp.web.default.svc.cluster.local. 30 SRV 0 100 80 web.default.svc.cluster.local.
        + web.default.svc.cluster.local. 30 A 10.96.0.10
        + web.default.svc.cluster.local. 30 AAAA fd00::10
    "#]],
    );
    check(&zone, "_http._udp.web.default.svc.cluster.local", SRV, expect!["NxDomain\n"]);
    check(&zone, "_http._tcp.web.default.svc.cluster.local", A, expect!["NoData\n"]);
    check(&zone, "_tcp.web.default.svc.cluster.local", A, expect!["NoData\n"]);
    check(&zone, "_sctp.web.default.svc.cluster.local", A, expect!["NxDomain\n"]);
    check(&zone, "plain.default.svc.cluster.local", SRV, expect!["NoData\n"]);
}

#[test]
fn headless() {
    use RecordType::*;
    let zone = zone();
    check(
        &zone,
        "db.default.svc.cluster.local",
        A,
        expect![[r#"
        db.default.svc.cluster.local. 5 A 10.1.0.1
        db.default.svc.cluster.local. 5 A 10.1.0.2
        db.default.svc.cluster.local. 5 A 10.1.0.3
    "#]],
    );
    check(
        &zone,
        "db-1.db.default.svc.cluster.local",
        A,
        expect![[r#"
        db-1.db.default.svc.cluster.local. 5 A 10.1.0.2
    "#]],
    );
    check(
        &zone,
        "10-1-0-3.db.default.svc.cluster.local",
        A,
        expect![[r#"
        10-1-0-3.db.default.svc.cluster.local. 5 A 10.1.0.3
    "#]],
    );
    check(&zone, "db-2.db.default.svc.cluster.local", A, expect!["NxDomain\n"]);
    check(
        &zone,
        "fd00--1.db.default.svc.cluster.local",
        AAAA,
        expect![[r#"
        fd00--1.db.default.svc.cluster.local. 5 AAAA fd00::1
    "#]],
    );
    // The endpoints' port, not the service's.
    check(
        &zone,
        "_sql._tcp.db.default.svc.cluster.local",
        SRV,
        expect![[r#"
        _sql._tcp.db.default.svc.cluster.local. 5 SRV 0 25 5433 10-1-0-3.db.default.svc.cluster.local.
        _sql._tcp.db.default.svc.cluster.local. 5 SRV 0 25 5433 db-0.db.default.svc.cluster.local.
        _sql._tcp.db.default.svc.cluster.local. 5 SRV 0 25 5433 db-1.db.default.svc.cluster.local.
        _sql._tcp.db.default.svc.cluster.local. 5 SRV 0 25 5433 fd00--1.db.default.svc.cluster.local.
        + 10-1-0-3.db.default.svc.cluster.local. 5 A 10.1.0.3
        + db-0.db.default.svc.cluster.local. 5 A 10.1.0.1
        + db-1.db.default.svc.cluster.local. 5 A 10.1.0.2
        + fd00--1.db.default.svc.cluster.local. 5 AAAA fd00::1
    "#]],
    );
    check(&zone, "empty.default.svc.cluster.local", A, expect!["NxDomain\n"]);
    check(
        &zone,
        "e.early.default.svc.cluster.local",
        A,
        expect![[r#"
        e.early.default.svc.cluster.local. 5 A 10.1.0.8
    "#]],
    );
}

#[test]
fn aliases_pods_and_the_rest() {
    use RecordType::*;
    let zone = zone();
    check(
        &zone,
        "ext.default.svc.cluster.local",
        A,
        expect![[r#"
        ext.default.svc.cluster.local. 30 CNAME example.org.
        then example.org.
    "#]],
    );
    check(
        &zone,
        "ext.default.svc.cluster.local",
        CNAME,
        expect![[r#"
        ext.default.svc.cluster.local. 30 CNAME example.org.
    "#]],
    );
    check(
        &zone,
        "10-1-2-3.any.pod.cluster.local",
        A,
        expect![[r#"
        10-1-2-3.any.pod.cluster.local. 5 A 10.1.2.3
    "#]],
    );
    check(&zone, "10-1-2.any.pod.cluster.local", A, expect!["NxDomain\n"]);
    check(
        &zone,
        "dns-version.cluster.local",
        TXT,
        expect![[r#"
        dns-version.cluster.local. 28800 TXT 1.1.0
    "#]],
    );
    check(&zone, "dns-version.cluster.local", A, expect!["NoData\n"]);
    for name in ["cluster.local", "svc.cluster.local", "default.svc.cluster.local", "any.pod.cluster.local"] {
        check(&zone, name, A, expect!["NoData\n"]);
    }
    for name in ["none.default.svc.cluster.local", "none.svc.cluster.local", "web.cluster.local", "a.b.c.cluster.local"]
    {
        check(&zone, name, A, expect!["NxDomain\n"]);
    }
    for name in ["example.org", "notcluster.local", "local"] {
        check(&zone, name, A, expect!["NotOurs\n"]);
    }
}

#[test]
fn reverse() {
    use RecordType::*;
    let zone = zone();
    check(
        &zone,
        "10.0.96.10.in-addr.arpa",
        PTR,
        expect![[r#"
        10.0.96.10.in-addr.arpa. 5 PTR web.default.svc.cluster.local.
    "#]],
    );
    check(
        &zone,
        "1.0.1.10.in-addr.arpa",
        PTR,
        expect![[r#"
        1.0.1.10.in-addr.arpa. 5 PTR db-0.db.default.svc.cluster.local.
    "#]],
    );
    let v6 = "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    check(
        &zone,
        v6,
        PTR,
        expect![[r#"
        0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 5 PTR web.default.svc.cluster.local.
    "#]],
    );
    check(&zone, "10.0.96.10.in-addr.arpa", A, expect!["NoData\n"]);
    check(&zone, "8.8.8.8.in-addr.arpa", PTR, expect!["NotOurs\n"]);
    check(&zone, "x.in-addr.arpa", PTR, expect!["NotOurs\n"]);
}

#[test]
fn a_change_touches_one_service() {
    let before = zone();
    let mut after = before.clone();
    let moved = service("web", Kind::ClusterIp(ips(&["10.96.0.99"])), &[]);
    after.set("default", "web", Some(plan_service(&moved, &[])));
    after.set("default", "db", None);
    after.set("other", "never", None);
    assert_eq!(before.get("default", "web").map(|entry| entry.addresses.len()), Some(2));
    assert_eq!(after.get("default", "web").map(|entry| entry.addresses.clone()), Some(ips(&["10.96.0.99"])));
    assert!(after.get("default", "db").is_none() && before.get("default", "db").is_some());
    assert!(after.get("default", "plain").is_some());
    for name in ["plain", "empty", "ext", "inner", "early", "web"] {
        after.set("default", name, None);
    }
    assert!(!after.has_namespace("default"));
    assert_eq!(after, Zone::new("cluster.local"));
}
