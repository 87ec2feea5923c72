//! IPv4 and IPv6 prefixes: an address and the number of its bits that name the network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::Error;

/// An address with a prefix length. Host bits are kept (`10.0.0.7/24` is an interface address); see [`Cidr::network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Cidr {
    /// Fails if the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Cidr, Error> {
        if prefix > width(&address) {
            return Err(Error::Invalid { object: format!("{address}/{prefix}"), reason: "prefix too long".into() });
        }
        Ok(Cidr { address, prefix })
    }

    /// The prefix of one address alone.
    pub fn host(address: impl Into<IpAddr>) -> Cidr {
        let address = address.into();
        Cidr { address, prefix: width(&address) }
    }

    /// The same prefix with all host bits zero.
    pub fn network(self) -> Cidr {
        let address = match self.address {
            IpAddr::V4(a) => IpAddr::V4((u32::from(a) & mask4(self.prefix)).into()),
            IpAddr::V6(a) => IpAddr::V6((u128::from(a) & mask6(self.prefix)).into()),
        };
        Cidr { address, prefix: self.prefix }
    }

    /// Whether the address lies inside; never across families.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)) & mask4(self.prefix) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)) & mask6(self.prefix) == 0,
            _ => false,
        }
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Cidr) -> bool {
        let shorter = self.prefix.min(other.prefix);
        Cidr { prefix: shorter, ..self }.contains(other.address)
    }

    /// The nth address of the network (0 is the network's own address), if it lies inside.
    pub fn nth(self, n: u32) -> Option<IpAddr> {
        let found = match self.network().address {
            IpAddr::V4(a) => IpAddr::V4(u32::from(a).checked_add(n)?.into()),
            IpAddr::V6(a) => IpAddr::V6(u128::from(a).checked_add(u128::from(n))?.into()),
        };
        self.contains(found).then_some(found)
    }

    /// The IPv4 netmask; all ones for an IPv6 prefix is not representable and gives `None`.
    pub fn netmask(self) -> Option<Ipv4Addr> {
        self.address.is_ipv4().then(|| mask4(self.prefix).into())
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = Error;

    fn from_str(s: &str) -> Result<Cidr, Error> {
        let invalid = || Error::Invalid { object: s.to_string(), reason: "not an address with a prefix length".into() };
        let (address, prefix) = s.split_once('/').ok_or_else(invalid)?;
        Cidr::new(address.parse().map_err(|_| invalid())?, prefix.parse().map_err(|_| invalid())?)
    }
}

fn width(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(s: &str) -> Cidr {
        s.parse().expect(s)
    }

    #[test]
    fn prefixes_contain_and_overlap() {
        assert!(cidr("10.244.1.0/24").contains("10.244.1.255".parse().unwrap()));
        assert!(!cidr("10.244.1.0/24").contains("10.244.2.0".parse().unwrap()));
        assert!(cidr("0.0.0.0/0").contains("1.2.3.4".parse().unwrap()));
        assert!(cidr("10.0.0.0/8").overlaps(cidr("10.244.1.0/24")));
        assert!(cidr("10.244.1.0/24").overlaps(cidr("10.0.0.0/8")));
        assert!(!cidr("172.30.0.0/24").overlaps(cidr("172.30.1.0/24")));
        assert!(cidr("fd00::/64").contains("fd00::1".parse().unwrap()));
        assert!(!cidr("0.0.0.0/0").contains("fd00::1".parse().unwrap()));
    }

    #[test]
    fn addresses_are_counted_from_the_network() {
        assert_eq!(cidr("172.30.0.9/24").nth(1), Some("172.30.0.1".parse().unwrap()));
        assert_eq!(cidr("172.30.0.0/30").nth(4), None);
        assert_eq!(cidr("172.30.0.9/24").network().to_string(), "172.30.0.0/24");
        assert_eq!(cidr("172.30.0.0/22").netmask(), Some(Ipv4Addr::new(255, 255, 252, 0)));
    }

    #[test]
    fn malformed_prefixes_are_refused() {
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "fd00::/129", "10.0.0/8", "/"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
