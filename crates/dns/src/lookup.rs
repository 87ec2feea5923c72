//! A question to an answer. Pure; it knows the specification's names and nothing of sockets.
//!
//! A name that exists, or lies above one that does, but has no record of the type asked for gives NODATA; any other name of the zone
//! NXDOMAIN. A headless service without ready endpoints does not exist (specification, 2.4.1).

use crate::zone::{Entry, Zone};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Seconds that cluster addresses may be remembered: they change only when a service is made anew.
const TTL: u32 = 30;
/// For what follows endpoints, and for absence.
const SHORT_TTL: u32 = 5;
const VERSION_TTL: u32 = 28800;
const VERSION: &str = "1.1.0";

/// What the zone says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Answers, and additional addresses of SRV targets.
    Records(Vec<Record>, Vec<Record>),
    /// An alias whose target is to be looked up too.
    Alias(Box<(Record, Name)>),
    NoData,
    NxDomain,
    /// Not of this zone.
    NotOurs,
}

impl Zone {
    /// Answers one question. Owner names keep the spelling of the question.
    pub(crate) fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        let text = name.to_ascii().to_lowercase();
        let text = text.trim_end_matches('.');
        if text.ends_with(".in-addr.arpa") || text.ends_with(".ip6.arpa") {
            return self.reverse(name, text, kind);
        }
        let relative = match text.strip_suffix(self.domain.as_str()) {
            Some("") => "",
            Some(rest) => match rest.strip_suffix('.') {
                Some(rest) => rest,
                None => return Answer::NotOurs,
            },
            None => return Answer::NotOurs,
        };
        let labels: Vec<&str> = relative.split('.').filter(|label| !label.is_empty()).collect();
        match labels.as_slice() {
            [] if kind == RecordType::SOA => Answer::Records(vec![self.soa()], Vec::new()),
            [] | ["svc"] | ["pod"] => Answer::NoData,
            ["dns-version"] => match kind {
                RecordType::TXT => {
                    let data = RData::TXT(TXT::new(vec![VERSION.to_string()]));
                    Answer::Records(vec![Record::from_rdata(name.clone(), VERSION_TTL, data)], Vec::new())
                }
                _ => Answer::NoData,
            },
            [namespace, "svc"] if self.has_namespace(namespace) => Answer::NoData,
            [_, "pod"] => Answer::NoData,
            [address, _, "pod"] => match dashed(address) {
                Some(address) => addresses(name, kind, &[address], SHORT_TTL),
                None => Answer::NxDomain,
            },
            [rest @ .., service, namespace, "svc"] => match self.get(namespace, service) {
                Some(entry) => self.service(name, kind, rest, entry, &format!("{service}.{namespace}")),
                None => Answer::NxDomain,
            },
            _ => Answer::NxDomain,
        }
    }

    /// For the authority section of negative answers: it says how long they may be remembered.
    pub(crate) fn soa(&self) -> Record {
        let origin = parse(&self.domain);
        let data = SOA::new(
            parse(&format!("ns.dns.{}", self.domain)),
            parse(&format!("hostmaster.{}", self.domain)),
            1,
            7200,
            1800,
            86400,
            SHORT_TTL,
        );
        Record::from_rdata(origin, SHORT_TTL, RData::SOA(data))
    }

    fn service(&self, name: &Name, kind: RecordType, rest: &[&str], entry: &Entry, own: &str) -> Answer {
        let ttl = if entry.headless { SHORT_TTL } else { TTL };
        if entry.headless && entry.addresses.is_empty() {
            return Answer::NxDomain;
        }
        match rest {
            [] => match &entry.alias {
                Some(target) => {
                    let target = parse(target);
                    let record = Record::from_rdata(name.clone(), ttl, RData::CNAME(CNAME(target.clone())));
                    if kind == RecordType::CNAME {
                        return Answer::Records(vec![record], Vec::new());
                    }
                    Answer::Alias(Box::new((record, target)))
                }
                // Without a port SRV names them all, as CoreDNS does.
                None if kind == RecordType::SRV => self.srv(name, entry, own, ttl, |_, _| true),
                None => addresses(name, kind, &entry.addresses, ttl),
            },
            [protocol] if protocol.starts_with('_') => {
                let exists = entry.srv.iter().any(|srv| srv.protocol == protocol[1..]);
                if exists { Answer::NoData } else { Answer::NxDomain }
            }
            [host] => match entry.hosts.get(*host) {
                Some(found) => addresses(name, kind, found, ttl),
                None => Answer::NxDomain,
            },
            [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
                let wanted = |p: &str, q: &str| p == &port[1..] && q == &protocol[1..];
                if !entry.srv.iter().any(|srv| wanted(&srv.port, &srv.protocol)) {
                    return Answer::NxDomain;
                }
                match kind {
                    RecordType::SRV => self.srv(name, entry, own, ttl, wanted),
                    _ => Answer::NoData,
                }
            }
            _ => Answer::NxDomain,
        }
    }

    fn srv(&self, name: &Name, entry: &Entry, own: &str, ttl: u32, wanted: impl Fn(&str, &str) -> bool) -> Answer {
        let found: Vec<_> = entry.srv.iter().filter(|srv| wanted(&srv.port, &srv.protocol)).collect();
        if found.is_empty() {
            return Answer::NoData;
        }
        // Weights of one priority share 100.
        let weight = (100 / found.len()).max(1) as u16;
        let (mut records, mut additional) = (Vec::new(), Vec::new());
        for srv in found {
            let (target, ips) = match &srv.host {
                Some(host) => (format!("{host}.{own}.svc.{}", self.domain), entry.hosts.get(host)),
                None => (format!("{own}.svc.{}", self.domain), Some(&entry.addresses)),
            };
            let target = parse(&target);
            let data = RData::SRV(SRV::new(0, weight, srv.number, target.clone()));
            records.push(Record::from_rdata(name.clone(), ttl, data));
            for ip in ips.into_iter().flatten() {
                let record = Record::from_rdata(target.clone(), ttl, data_of(*ip));
                if !additional.contains(&record) {
                    additional.push(record);
                }
            }
        }
        Answer::Records(records, additional)
    }

    fn reverse(&self, name: &Name, text: &str, kind: RecordType) -> Answer {
        let names = reversed(text).map(|address| self.names_of(address)).unwrap_or_default();
        if names.is_empty() {
            // Other addresses are the upstream's business.
            return Answer::NotOurs;
        }
        if kind != RecordType::PTR {
            return Answer::NoData;
        }
        let record = |target: &String| Record::from_rdata(name.clone(), SHORT_TTL, RData::PTR(PTR(parse(target))));
        Answer::Records(names.iter().map(record).collect(), Vec::new())
    }
}

fn addresses(name: &Name, kind: RecordType, ips: &[IpAddr], ttl: u32) -> Answer {
    let wanted = |ip: &&IpAddr| match kind {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        _ => false,
    };
    let records: Vec<_> =
        ips.iter().filter(wanted).map(|ip| Record::from_rdata(name.clone(), ttl, data_of(*ip))).collect();
    if records.is_empty() { Answer::NoData } else { Answer::Records(records, Vec::new()) }
}

fn data_of(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

/// `10-0-0-1` or `fd00--1`.
fn dashed(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    v4.or_else(|| label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6))
}

/// The address that a reverse name stands for.
fn reversed(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_suffix(".in-addr.arpa") {
        let octets: Vec<&str> = rest.rsplit('.').collect();
        return octets.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let nibbles: Vec<&str> = text.strip_suffix(".ip6.arpa")?.rsplit('.').collect();
    if nibbles.len() != 32 || nibbles.iter().any(|nibble| nibble.len() != 1) {
        return None;
    }
    let groups: Vec<String> = nibbles.chunks(4).map(|group| group.concat()).collect();
    groups.join(":").parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// A name of our own making. One that cannot be a name (a wild ExternalName) becomes the root, which resolves to nothing.
fn parse(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap_or_else(|_| Name::root())
}
