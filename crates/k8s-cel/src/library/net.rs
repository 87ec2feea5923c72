//! IP addresses and networks.

use super::{Opaque, Row, text};
use crate::val::{EvalError, Fallible, Val};
use std::{fmt, net::IpAddr};

pub(super) const ROWS: &[Row] = &[
    ("ip", "string_to_ip", "(string) IP", |a| {
        parse_ip(text(a, 0)?).map(|ip| Opaque::Ip(ip).into()).map_err(EvalError::new)
    }),
    ("ip", "cidr_ip", "CIDR.() IP", |a| Ok(Opaque::Ip(cidr(a, 0)?.ip).into())),
    ("isIP", "is_ip", "(string) bool", |a| Ok(parse_ip(text(a, 0)?).is_ok().into())),
    ("ip.isCanonical", "ip_is_canonical", "(string) bool", |a| {
        let text = text(a, 0)?;
        parse_ip(text).map(|ip| Val::Bool(ip.to_string() == text)).map_err(EvalError::new)
    }),
    ("family", "ip_family", "IP.() int", |a| Ok(Val::Int(if ip(a, 0)?.is_ipv4() { 4 } else { 6 }))),
    ("isUnspecified", "ip_is_unspecified", "IP.() bool", |a| Ok(ip(a, 0)?.is_unspecified().into())),
    ("isLoopback", "ip_is_loopback", "IP.() bool", |a| Ok(ip(a, 0)?.is_loopback().into())),
    ("isLinkLocalMulticast", "ip_is_link_local_multicast", "IP.() bool", |a| {
        Ok(Val::Bool(match ip(a, 0)? {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        }))
    }),
    ("isLinkLocalUnicast", "ip_is_link_local_unicast", "IP.() bool", |a| Ok(link_local(ip(a, 0)?).into())),
    ("isGlobalUnicast", "ip_is_global_unicast", "IP.() bool", |a| {
        let ip = ip(a, 0)?;
        let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        Ok(Val::Bool(!broadcast && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !link_local(ip)))
    }),
    ("cidr", "string_to_cidr", "(string) CIDR", |a| {
        Cidr::parse(text(a, 0)?).map(|net| Opaque::Cidr(net).into()).map_err(wrong_cidr)
    }),
    ("isCIDR", "is_cidr", "(string) bool", |a| Ok(Cidr::parse(text(a, 0)?).is_ok().into())),
    ("containsIP", "cidr_contains_ip_string", "CIDR.(string) bool", |a| {
        let ip = parse_ip(text(a, 1)?).map_err(EvalError::new)?;
        Ok(cidr(a, 0)?.contains(ip).into())
    }),
    ("containsIP", "cidr_contains_ip_ip", "CIDR.(IP) bool", |a| Ok(cidr(a, 0)?.contains(ip(a, 1)?).into())),
    ("containsCIDR", "cidr_contains_cidr_string", "CIDR.(string) bool", |a| {
        let other = Cidr::parse(text(a, 1)?).map_err(wrong_cidr)?;
        Ok(cidr(a, 0)?.covers(&other).into())
    }),
    ("containsCIDR", "cidr_contains_cidr", "CIDR.(CIDR) bool", |a| Ok(cidr(a, 0)?.covers(cidr(a, 1)?).into())),
    ("prefixLength", "cidr_prefix_length", "CIDR.() int", |a| Ok(Val::Int(cidr(a, 0)?.bits.into()))),
    ("masked", "cidr_masked", "CIDR.() CIDR", |a| Ok(Opaque::Cidr(cidr(a, 0)?.masked()).into())),
];

/// An address and how many of its bits name the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cidr {
    pub ip: IpAddr,
    pub bits: u8,
}

impl Cidr {
    fn parse(text: &str) -> Result<Cidr, String> {
        let wrong = |why: &str| {
            format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}")
        };
        let (ip, bits) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
        let ip: IpAddr = ip.parse().map_err(|_| wrong("unable to parse IP"))?;
        if is_mapped(&ip) {
            return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
        }
        let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
        let bits = bits.parse().ok().filter(|bits| plain && *bits <= width(&ip));
        Ok(Cidr { ip, bits: bits.ok_or_else(|| wrong("prefix length out of range"))? })
    }
    fn masked(&self) -> Cidr {
        let ip = match self.ip {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        };
        Cidr { ip, bits: self.bits }
    }
    fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.ip.is_ipv4() && Cidr { ip, bits: self.bits }.masked() == self.masked()
    }
    fn covers(&self, other: &Cidr) -> bool {
        self.bits <= other.bits && self.contains(other.ip)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

fn wrong_cidr(why: String) -> EvalError {
    EvalError::new(format!("network address parse error during conversion from string: {why}"))
}

fn width(ip: &IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn is_mapped(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if let Some((address, zone)) = text.split_once('%')
        && !zone.is_empty()
        && address.parse::<std::net::Ipv6Addr>().is_ok()
    {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let ip: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        )
    })?;
    if is_mapped(&ip) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    Ok(ip)
}

fn ip(args: &[Val<'_>], at: usize) -> Fallible<IpAddr> {
    match args.get(at) {
        Some(Val::Opaque(opaque)) => match &**opaque {
            Opaque::Ip(ip) => Ok(*ip),
            _ => Err(EvalError::no_overload()),
        },
        _ => Err(EvalError::no_overload()),
    }
}

fn cidr<'v>(args: &'v [Val<'_>], at: usize) -> Fallible<&'v Cidr> {
    match args.get(at) {
        Some(Val::Opaque(opaque)) => match &**opaque {
            Opaque::Cidr(cidr) => Ok(cidr),
            _ => Err(EvalError::no_overload()),
        },
        _ => Err(EvalError::no_overload()),
    }
}
