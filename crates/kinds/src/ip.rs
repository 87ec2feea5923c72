//! Addresses and networks in fields: what is refused, and what is only warned about.
//!
//! Two generations of fields exist. Old ones take any spelling of an address (`FE80:0::1`) but neither leading zeros nor
//! IPv4 inside IPv6, except where the object said so before; new ones want the canonical spelling. Source:
//! `k8s.io/apimachinery/pkg/util/validation/ip.go`, KEP-4858 (strict since 1.36).

use crate::at::At;
use base::{FieldErrors, status::quote};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use value::Path;

const NO_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address in any spelling, also with leading zeros.
pub fn parse(text: &str) -> Option<IpAddr> {
    let octets = || {
        let parts: Vec<&str> = text.split('.').collect();
        let octet = |part: &&str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u8>().ok()).flatten();
        let octets: Vec<u8> = parts.iter().map(octet).collect::<Option<_>>()?;
        <[u8; 4]>::try_from(octets).ok().map(IpAddr::from)
    };
    text.parse().ok().or_else(octets)
}

/// A network in any spelling: the address as written, and the length of the prefix.
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, length) = text.split_once('/')?;
    let ip = parse(ip)?;
    let length = length.bytes().all(|b| b.is_ascii_digit()).then(|| length.parse::<u8>().ok()).flatten()?;
    (length <= bits(ip)).then_some((ip, length))
}

/// True where the network holds the address.
pub fn contains((network, length): (IpAddr, u8), ip: IpAddr) -> bool {
    network.is_ipv4() == ip.is_ipv4() && masked(ip, length) == masked(network, length)
}

/// The first address of the network that this one is in.
pub fn masked(ip: IpAddr, length: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// As Go's `net.IP` prints it: IPv4 inside IPv6 is IPv4.
fn canonical(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| v6.to_string(), |v4| v4.to_string()),
        IpAddr::V4(v4) => v4.to_string(),
    }
}

impl At<'_> {
    /// An address of an old field; `before` lists what the old object may keep.
    pub fn any_ip(&self, errors: &mut FieldErrors, before: &[&str]) -> Option<IpAddr> {
        if before.contains(&self.str()) {
            return parse(self.str());
        }
        let Some(ip) = parse(self.str()) else {
            self.invalid(errors, NO_IP);
            return None;
        };
        if self.str().parse::<IpAddr>().is_err() {
            self.invalid(errors, "must not have leading 0s");
        }
        if is_mapped(ip) {
            self.invalid(errors, "must not be an IPv4-mapped IPv6 address");
        }
        Some(ip)
    }
    /// An address of a new field, in its canonical spelling.
    pub fn canonical_ip(&self, errors: &mut FieldErrors) -> Option<IpAddr> {
        let found = errors.0.len();
        let ip = self.any_ip(errors, &[])?;
        if errors.0.len() == found && self.str() != ip.to_string() {
            self.invalid(errors, format!("must be in canonical form ({})", quote(&ip.to_string())));
        }
        Some(ip)
    }
    /// A network of an old field; `before` lists what the old object may keep.
    pub fn any_cidr(&self, errors: &mut FieldErrors, before: &[&str]) -> Option<(IpAddr, u8)> {
        if before.contains(&self.str()) {
            return parse_cidr(self.str());
        }
        let Some((ip, length)) = parse_cidr(self.str()) else {
            self.invalid(errors, NO_CIDR);
            return None;
        };
        let (address, prefix) = self.str().split_once('/').unwrap_or_default();
        if address.parse::<IpAddr>().is_err() || prefix != length.to_string() {
            self.invalid(errors, "must not have leading 0s in IP or prefix length");
        } else if is_mapped(ip) {
            self.invalid(errors, "must not have an IPv4-mapped IPv6 address");
        } else if masked(ip, length) != ip {
            self.invalid(errors, "must not have bits set beyond the prefix length");
        }
        Some((ip, length))
    }
    /// A network of a new field, in its canonical spelling.
    pub fn canonical_cidr(&self, errors: &mut FieldErrors) -> Option<(IpAddr, u8)> {
        let found = errors.0.len();
        let (ip, length) = self.any_cidr(errors, &[])?;
        let wanted = format!("{ip}/{length}");
        if errors.0.len() == found && self.str() != wanted {
            self.invalid(errors, format!("must be in canonical form ({})", quote(&wanted)));
        }
        Some((ip, length))
    }
    /// An address with the length of its network, `10.1.2.3/24`.
    pub fn interface_address(&self, errors: &mut FieldErrors) {
        let Some((ip, length)) = parse_cidr(self.str()) else {
            return self.invalid(errors, "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)");
        };
        let length = if is_mapped(ip) { length.saturating_sub(96) } else { length };
        let wanted = format!("{}/{length}", canonical(ip));
        if self.str() != wanted {
            self.invalid(errors, format!("must be in canonical form ({})", quote(&wanted)));
        }
    }
}

/// What to say about an address of an old field that passed.
pub fn ip_warning(path: Path, text: &str) -> Option<String> {
    let ip = parse(text)?;
    let (have, want) = (quote(text), quote(&canonical(ip)));
    if is_mapped(ip) || text.parse::<IpAddr>().is_err() {
        return Some(format!("{path}: non-standard IP address {have} is invalid: use {want}"));
    }
    (ip.is_ipv6() && ip.to_string() != text)
        .then(|| format!("{path}: IPv6 address {have} should be in RFC 5952 canonical format ({want})"))
}

/// What to say about a network of an old field that passed.
pub fn cidr_warnings(path: Path, text: &str) -> Vec<String> {
    let Some((ip, length)) = parse_cidr(text) else { return Vec::new() };
    let have = quote(text);
    let network = quote(&format!("{}/{length}", canonical(masked(ip, length))));
    let mut warnings = Vec::new();
    if masked(ip, length) != ip {
        let single = quote(&format!("{}/{}", canonical(ip), bits(ip)));
        let text = format!("CIDR value {have} is ambiguous in this context (should be {network} or {single}?)");
        warnings.push(format!("{path}: {text}"));
    }
    let (address, prefix) = text.split_once('/').unwrap_or_default();
    if is_mapped(ip) || address.parse::<IpAddr>().is_err() || prefix != length.to_string() {
        warnings.push(format!("{path}: non-standard CIDR value {have} is invalid: use {network}"));
    }
    if warnings.is_empty() && ip.is_ipv6() && format!("{ip}/{length}") != text {
        warnings.push(format!("{path}: IPv6 CIDR value {have} should be in RFC 5952 canonical format ({network})"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::Value;

    fn errors(text: &str, check: impl Fn(At, &mut FieldErrors)) -> String {
        let value = Value::from(text);
        let mut errors = FieldErrors::default();
        check(At { value: &value, path: Path::root().key("f") }, &mut errors);
        errors.0.iter().map(|e| e.detail.clone()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn addresses() {
        for (text, any, canonical) in [
            ("10.0.0.1", "", ""),
            ("10.0.00.1", "must not have leading 0s", "must not have leading 0s"),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address", "must not be an IPv4-mapped IPv6 address"),
            ("FD00:0::1", "", r#"must be in canonical form ("fd00::1")"#),
            ("10.0.0.256", NO_IP, NO_IP),
            ("10.0.1", NO_IP, NO_IP),
            ("fe80::1%eth0", NO_IP, NO_IP),
        ] {
            assert_eq!(errors(text, |at, errors| _ = at.any_ip(errors, &[])), any, "{text}");
            assert_eq!(errors(text, |at, errors| _ = at.canonical_ip(errors)), canonical, "{text}");
            assert_eq!(errors(text, |at, errors| _ = at.any_ip(errors, &[text])), "", "{text}");
        }
    }

    #[test]
    fn networks() {
        for (text, any, canonical) in [
            ("10.0.0.0/8", "", ""),
            ("10.0.0.0/08", "must not have leading 0s in IP or prefix length", ""),
            ("10.0.0.1/8", "must not have bits set beyond the prefix length", ""),
            ("::ffff:1.2.3.0/120", "must not have an IPv4-mapped IPv6 address", ""),
            ("FD00::/8", "", r#"must be in canonical form ("fd00::/8")"#),
            ("10.0.0.0/33", NO_CIDR, ""),
            ("10.0.0.0", NO_CIDR, ""),
            ("0.0.0.0/0", "", ""),
        ] {
            assert_eq!(errors(text, |at, errors| _ = at.any_cidr(errors, &[])), any, "{text}");
            let canonical = if canonical.is_empty() { any } else { canonical };
            assert_eq!(errors(text, |at, errors| _ = at.canonical_cidr(errors)), canonical, "{text}");
        }
        assert!(contains((IpAddr::from([10, 1, 0, 0]), 16), IpAddr::from([10, 1, 255, 1])));
        assert!(!contains((IpAddr::from([10, 1, 0, 0]), 16), IpAddr::from([10, 2, 0, 1])));
        assert!(contains((IpAddr::from([0, 0, 0, 0]), 0), IpAddr::from([10, 2, 0, 1])));
    }

    #[test]
    fn interfaces() {
        assert_eq!(errors("10.1.2.3/24", |at, errors| at.interface_address(errors)), "");
        assert_eq!(
            errors("10.1.2.3/024", |at, errors| at.interface_address(errors)),
            r#"must be in canonical form ("10.1.2.3/24")"#
        );
    }

    #[test]
    fn warnings() {
        let root = Path::root();
        let path = root.key("f");
        assert_eq!(ip_warning(path, "10.0.0.1"), None);
        assert_eq!(
            ip_warning(path, "010.0.0.1").as_deref(),
            Some(r#"f: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1""#)
        );
        assert_eq!(
            ip_warning(path, "fd00::0").as_deref(),
            Some(r#"f: IPv6 address "fd00::0" should be in RFC 5952 canonical format ("fd00::")"#)
        );
        assert_eq!(
            cidr_warnings(path, "10.0.0.1/8"),
            [r#"f: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)"#]
        );
        assert_eq!(cidr_warnings(path, "10.0.0.0/8"), Vec::<String>::new());
    }
}
