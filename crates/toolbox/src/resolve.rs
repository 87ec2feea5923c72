//! `nslookup`, with a resolver of its own: the point of the program is to show what the cluster's DNS answers, search list
//! included, and not what libc makes of it.

use crate::common::{Failure, Outcome, stdout};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const A: u16 = 1;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// `nslookup [-type=A|AAAA|SRV|PTR|TXT|CNAME] name [server]`
pub fn nslookup(args: &[String]) -> Outcome {
    let (mut types, mut operands) = (vec![A, AAAA], Vec::new());
    for arg in args {
        match arg.strip_prefix('-') {
            None => operands.push(arg.as_str()),
            Some(option) => {
                let name =
                    option.split_once('=').filter(|(key, _)| matches!(*key, "type" | "q" | "query" | "querytype"));
                types = vec![match name.map(|(_, value)| value.to_uppercase()).as_deref() {
                    Some("A") => A,
                    Some("AAAA") => AAAA,
                    Some("SRV") => SRV,
                    Some("PTR") => PTR,
                    Some("TXT") => TXT,
                    Some("CNAME") => CNAME,
                    _ => return Err(format!("unknown option {arg}").into()),
                }];
            }
        }
    }
    let (name, server) = match operands.as_slice() {
        [name] => (*name, None),
        [name, server] => (*name, Some(*server)),
        _ => return Err("usage: nslookup [-type=A|AAAA|SRV|PTR|TXT|CNAME] name [server]".into()),
    };
    let mut config = Config::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    if let Some(server) = server {
        config.servers = vec![address(server).ok_or_else(|| format!("bad server address '{server}'"))?];
    }
    let server = *config.servers.first().ok_or("no name server in /etc/resolv.conf")?;
    let mut out = stdout();
    write!(out, "Server:\t\t{}\nAddress:\t{server}\n\n", server.ip())?;
    let (candidates, types) = match name.parse::<IpAddr>() {
        Ok(ip) => (vec![reverse(ip)], vec![PTR]),
        Err(_) => (config.candidates(name), types),
    };
    let mut last = String::new();
    for candidate in candidates {
        let mut found = false;
        for kind in &types {
            match query(&config.servers, &candidate, *kind)? {
                Ok(records) => {
                    found |= !records.is_empty();
                    records.iter().try_for_each(|record| writeln!(out, "{record}"))?;
                }
                Err(code) => last = format!("** server can't find {candidate}: {code}"),
            }
        }
        if found {
            out.flush()?;
            return Ok(0);
        }
        if last.is_empty() {
            last = format!("** can't find {candidate}: No answer");
        }
    }
    writeln!(out, "{last}")?;
    out.flush()?;
    Ok(1)
}

struct Config {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Config {
    fn parse(text: &str) -> Self {
        let mut config = Config { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => config.servers.extend(words.next().and_then(address)),
                Some("search" | "domain") => config.search = words.map(str::to_string).collect(),
                Some("options") => {
                    let ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    config.ndots = ndots.unwrap_or(config.ndots);
                }
                _ => {}
            }
        }
        config
    }

    /// The names to try, in the order of libc.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_string()];
        }
        let mut names: Vec<_> = self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        let dots = name.matches('.').count();
        names.insert(if dots >= self.ndots { 0 } else { names.len() }, name.to_string());
        names
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53)))
}

fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

/// Printable records, or the name of the response code.
fn query(servers: &[SocketAddr], name: &str, kind: u16) -> Result<Result<Vec<String>, &'static str>, Failure> {
    let id = (std::process::id() as u16).wrapping_mul(31).wrapping_add(kind);
    let mut packet = vec![(id >> 8) as u8, id as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(format!("bad name '{name}'").into());
        }
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.extend([0, (kind >> 8) as u8, kind as u8, 0, 1]);
    let mut buffer = [0; 4096];
    for server in servers.iter().cycle().take(servers.len() * 2) {
        let socket = UdpSocket::bind(if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" })?;
        socket.set_read_timeout(Some(Duration::from_secs(3)))?;
        if socket.connect(server).and_then(|()| socket.send(&packet)).is_err() {
            continue;
        }
        if let Ok(n) = socket.recv(&mut buffer)
            && buffer[..2] == packet[..2]
        {
            return parse(&buffer[..n]).ok_or_else(|| Failure::from("malformed answer"));
        }
    }
    Err("connection timed out; no servers could be reached".into())
}

fn parse(packet: &[u8]) -> Option<Result<Vec<String>, &'static str>> {
    let short = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    match packet.get(3)? & 15 {
        0 => {}
        3 => return Some(Err("NXDOMAIN")),
        2 => return Some(Err("SERVFAIL")),
        5 => return Some(Err("REFUSED")),
        _ => return Some(Err("server error")),
    }
    let (questions, answers) = (short(4)?, short(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = name_at(packet, at)?.1 + 4;
    }
    let mut lines = Vec::new();
    for _ in 0..answers {
        let (owner, next) = name_at(packet, at)?;
        let (kind, length) = (short(next)?, usize::from(short(next + 8)?));
        let start = next + 10;
        let data = packet.get(start..start + length)?;
        lines.push(match kind {
            A => format!("Name:\t{owner}\nAddress: {}", Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)),
            AAAA => format!("Name:\t{owner}\nAddress: {}", Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?)),
            CNAME => format!("{owner}\tcanonical name = {}.", name_at(packet, start)?.0),
            PTR => format!("{owner}\tname = {}.", name_at(packet, start)?.0),
            SRV => {
                let target = name_at(packet, start + 6)?.0;
                format!("{owner}\tservice = {} {} {} {target}.", short(start)?, short(start + 2)?, short(start + 4)?)
            }
            TXT => format!("{owner}\ttext = {:?}", String::from_utf8_lossy(data.get(1..)?)),
            other => format!("{owner}\ttype {other}"),
        });
        at = start + length;
    }
    Some(Ok(lines))
}

/// A name, compressed or not, and where it ends.
fn name_at(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut labels, mut end) = (Vec::new(), None);
    // Every pointer must lead somewhere new; a bound keeps circles out.
    for _ in 0..128 {
        let length = usize::from(*packet.get(at)?);
        if length >= 192 {
            end.get_or_insert(at + 2);
            at = ((length & 63) << 8) | usize::from(*packet.get(at + 1)?);
        } else if length == 0 {
            return Some((labels.join("."), end.unwrap_or(at + 1)));
        } else {
            labels.push(String::from_utf8_lossy(packet.get(at + 1..at + 1 + length)?).into_owned());
            at += 1 + length;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_list() {
        let config =
            Config::parse("nameserver 10.0.0.10\nsearch ns.svc.cluster.local svc.cluster.local\noptions ndots:5\n");
        assert_eq!(config.servers, ["10.0.0.10:53".parse().expect("address")]);
        assert_eq!(config.candidates("web"), ["web.ns.svc.cluster.local", "web.svc.cluster.local", "web"]);
        assert_eq!(config.candidates("web."), ["web"]);
        assert_eq!(Config::parse("search x").candidates("a.b"), ["a.b", "a.b.x"]);
    }

    #[test]
    fn hostile_packets() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0, 0, 0x81, 0x83, 0, 0, 0, 0, 0, 0, 0, 0]), Some(Err("NXDOMAIN")));
        // A name that points at itself.
        let mut circle = vec![0, 0, 0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 0];
        circle.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]);
        assert_eq!(parse(&circle), None);
        assert_eq!(reverse("10.1.2.3".parse().expect("ip")), "3.2.1.10.in-addr.arpa");
    }
}
