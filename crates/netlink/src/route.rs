//! Addresses and routes, and the handle that all of rtnetlink shares.

use std::net::IpAddr;

use crate::Result;
use crate::cidr::Cidr;
use crate::message::{Message, after, attrs, u32_at};
use crate::socket::Socket;

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const TABLE_MAIN: u32 = 254;

/// Links, addresses and routes of one network namespace.
pub struct Route {
    pub(crate) socket: Socket,
}

/// An address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub link: u32,
    pub cidr: Cidr,
}

/// A unicast route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteEntry {
    /// `0.0.0.0/0` is the default route.
    pub destination: Cidr,
    pub gateway: Option<IpAddr>,
    /// Index of the link; may be absent where a gateway decides it.
    pub link: Option<u32>,
    /// The source address of what the node itself sends this way.
    pub source: Option<IpAddr>,
}

impl RouteEntry {
    /// A route to `destination` by way of `gateway`.
    pub fn via(destination: Cidr, gateway: IpAddr) -> RouteEntry {
        RouteEntry { destination, gateway: Some(gateway), link: None, source: None }
    }

    /// A route to `destination` that is directly on a link.
    pub fn on_link(destination: Cidr, link: u32) -> RouteEntry {
        RouteEntry { destination, gateway: None, link: Some(link), source: None }
    }
}

impl Route {
    /// A handle for the calling thread's network namespace.
    pub fn open() -> Result<Route> {
        Ok(Route { socket: Socket::open(libc::NETLINK_ROUTE)? })
    }

    /// Adds an address, or keeps it if it is there.
    pub fn add_address(&mut self, link: &str, cidr: Cidr) -> Result<()> {
        let index = self.index(link)?;
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let message = address_message(RTM_NEWADDR, flags, index, cidr);
        self.socket.request(message, "add address", &format!("{cidr} on {link}"))
    }

    /// Removes an address.
    pub fn delete_address(&mut self, link: &str, cidr: Cidr) -> Result<()> {
        let index = self.index(link)?;
        let message = address_message(RTM_DELADDR, libc::NLM_F_REQUEST | libc::NLM_F_ACK, index, cidr);
        self.socket.request(message, "delete address", &format!("{cidr} on {link}"))
    }

    /// All addresses of the namespace.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        self.retry_interrupted(|route| {
            let mut message = Message::new(RTM_GETADDR, (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16);
            message.raw(&[0; IFADDRMSG]);
            let mut found = Vec::new();
            route.socket.dump(message, "addresses", |received| {
                let rest = after(received.body, IFADDRMSG, "addresses")?;
                let prefix = received.body[1];
                let link = u32_at(received.body, 4).unwrap_or_default();
                let mut address = None;
                for (kind, value) in attrs(rest) {
                    // On a point-to-point link IFA_ADDRESS is the peer's; IFA_LOCAL is always ours.
                    if kind == IFA_LOCAL || kind == IFA_ADDRESS && address.is_none() {
                        address = ip(value);
                    }
                }
                found.extend(address.map(|address| Address { link, cidr: Cidr { address, prefix } }));
                Ok(())
            })?;
            Ok(found)
        })
    }

    /// Adds a route, or replaces the one with this destination.
    pub fn replace_route(&mut self, entry: &RouteEntry) -> Result<()> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.socket.request(route_message(RTM_NEWROUTE, flags, entry), "set route", &describe(entry))
    }

    /// Deletes the route that matches every given field.
    pub fn delete_route(&mut self, entry: &RouteEntry) -> Result<()> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        self.socket.request(route_message(RTM_DELROUTE, flags, entry), "delete route", &describe(entry))
    }

    /// The unicast routes of the main table, both families.
    pub fn routes(&mut self) -> Result<Vec<RouteEntry>> {
        self.retry_interrupted(|route| {
            let mut message = Message::new(RTM_GETROUTE, (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16);
            message.raw(&[0; RTMSG]);
            let mut found = Vec::new();
            route.socket.dump(message, "routes", |received| {
                found.extend(parse_route(received.body)?);
                Ok(())
            })?;
            Ok(found)
        })
    }

    /// A dump that a concurrent change interrupted is inconsistent and has to be read again.
    pub(crate) fn retry_interrupted<T>(&mut self, mut read: impl FnMut(&mut Route) -> Result<T>) -> Result<T> {
        for _ in 0..20 {
            match read(self) {
                Err(error) if error.errno() == Some(libc::EINTR) => {}
                other => return other,
            }
        }
        read(self)
    }
}

fn address_message(kind: u16, flags: i32, index: u32, cidr: Cidr) -> Message {
    let mut message = Message::new(kind, flags as u16);
    message.raw(&[family(cidr.address), cidr.prefix, 0, 0]);
    message.raw(&index.to_ne_bytes());
    message.attr(IFA_LOCAL, &octets(cidr.address));
    message.attr(IFA_ADDRESS, &octets(cidr.address));
    message
}

fn route_message(kind: u16, flags: i32, entry: &RouteEntry) -> Message {
    let scope = if entry.gateway.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
    let (table, protocol, unicast) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RTN_UNICAST);
    // A deletion that names neither protocol nor scope matches whatever they are.
    let (protocol, scope) = if kind == RTM_DELROUTE { (0, libc::RT_SCOPE_NOWHERE) } else { (protocol, scope) };
    let mut message = Message::new(kind, flags as u16);
    let destination = entry.destination.network();
    message.raw(&[family(destination.address), destination.prefix, 0, 0, table, protocol, scope, unicast]);
    message.raw(&[0; 4]);
    if destination.prefix > 0 {
        message.attr(RTA_DST, &octets(destination.address));
    }
    if let Some(gateway) = entry.gateway {
        message.attr(RTA_GATEWAY, &octets(gateway));
    }
    if let Some(link) = entry.link {
        message.attr_u32(RTA_OIF, link);
    }
    if let Some(source) = entry.source {
        message.attr(RTA_PREFSRC, &octets(source));
    }
    message
}

fn parse_route(body: &[u8]) -> Result<Option<RouteEntry>> {
    let rest = after(body, RTMSG, "routes")?;
    let (family, prefix, mut table, kind) = (body[0], body[1], u32::from(body[4]), body[7]);
    let any: IpAddr = match i32::from(family) {
        libc::AF_INET => IpAddr::from([0u8; 4]),
        libc::AF_INET6 => IpAddr::from([0u8; 16]),
        _ => return Ok(None),
    };
    let mut entry = RouteEntry { destination: Cidr { address: any, prefix }, gateway: None, link: None, source: None };
    for (kind, value) in attrs(rest) {
        match kind {
            RTA_DST => entry.destination.address = ip(value).unwrap_or(any),
            RTA_GATEWAY => entry.gateway = ip(value),
            RTA_OIF => entry.link = u32_at(value, 0),
            RTA_PREFSRC => entry.source = ip(value),
            RTA_TABLE => table = u32_at(value, 0).unwrap_or(table),
            _ => {}
        }
    }
    Ok((table == TABLE_MAIN && kind == libc::RTN_UNICAST).then_some(entry))
}

fn describe(entry: &RouteEntry) -> String {
    match (entry.gateway, entry.link) {
        (Some(gateway), _) => format!("{} via {gateway}", entry.destination.network()),
        (None, Some(link)) => format!("{} on link {link}", entry.destination.network()),
        (None, None) => entry.destination.network().to_string(),
    }
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}
