//! Links: bridges, veth pairs, and what can be changed about any of them.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::message::{Message, after, attr, attrs, text, u32_at};
use crate::route::Route;
use crate::{Error, Result};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;

const IFINFOMSG: usize = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mac: Option<Mac>,
    pub mtu: u32,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    pub up: bool,
    /// `bridge`, `veth`, …; `None` for a device of hardware and for `lo`.
    pub kind: Option<String>,
}

/// One end of a new veth pair.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    pub name: &'a str,
    /// Chosen by the kernel if absent.
    pub mac: Option<Mac>,
    /// The namespace it appears in; the socket's own if absent.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// What to change about a link; absent fields stay.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinkChange<'a> {
    pub up: Option<bool>,
    pub name: Option<&'a str>,
    pub mtu: Option<u32>,
    pub mac: Option<Mac>,
    /// Index of the bridge to join; 0 leaves it.
    pub master: Option<u32>,
    pub namespace: Option<BorrowedFd<'a>>,
}

impl Route {
    /// Creates a bridge, without spanning tree. Give a MAC address: a bridge without one changes it with every port.
    pub fn add_bridge(&mut self, name: &str, mac: Option<Mac>) -> Result<()> {
        let mut message = new_link(name, mac)?;
        message.nest(IFLA_LINKINFO, |m| m.attr_str(IFLA_INFO_KIND, "bridge"));
        self.socket.request(message, "create bridge", name)
    }

    /// Creates a veth pair, each end in its own namespace, in one step: no half of it can be left behind.
    pub fn add_veth(&mut self, near: Veth<'_>, far: Veth<'_>, mtu: u32) -> Result<()> {
        check_name(far.name)?;
        let mut message = new_link(near.name, near.mac)?;
        message.attr_u32(IFLA_MTU, mtu);
        if let Some(namespace) = near.namespace {
            message.attr_u32(IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
        }
        message.nest(IFLA_LINKINFO, |m| {
            m.attr_str(IFLA_INFO_KIND, "veth");
            m.nest(IFLA_INFO_DATA, |m| {
                m.nest(VETH_INFO_PEER, |m| {
                    m.raw(&[0; IFINFOMSG]);
                    m.attr_str(IFLA_IFNAME, far.name);
                    m.attr_u32(IFLA_MTU, mtu);
                    if let Some(mac) = far.mac {
                        m.attr(IFLA_ADDRESS, &mac.0);
                    }
                    if let Some(namespace) = far.namespace {
                        m.attr_u32(IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
                    }
                });
            });
        });
        self.socket.request(message, "create veth", near.name)
    }

    /// Changes what the change names, in one request.
    pub fn set_link(&mut self, link: &str, change: LinkChange<'_>) -> Result<()> {
        let index = self.index(link)?;
        let up = change.up.map_or(0, u32::from) * libc::IFF_UP as u32;
        let mask = u32::from(change.up.is_some()) * libc::IFF_UP as u32;
        let mut message = Message::new(RTM_NEWLINK, (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16);
        message.raw(&ifinfomsg(index, up, mask));
        if let Some(name) = change.name {
            check_name(name)?;
            message.attr_str(IFLA_IFNAME, name);
        }
        if let Some(mtu) = change.mtu {
            message.attr_u32(IFLA_MTU, mtu);
        }
        if let Some(mac) = change.mac {
            message.attr(IFLA_ADDRESS, &mac.0);
        }
        if let Some(master) = change.master {
            message.attr_u32(IFLA_MASTER, master);
        }
        if let Some(namespace) = change.namespace {
            message.attr_u32(IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
        }
        self.socket.request(message, "change link", link)
    }

    /// Brings a link up.
    pub fn up(&mut self, link: &str) -> Result<()> {
        self.set_link(link, LinkChange { up: Some(true), ..LinkChange::default() })
    }

    /// Whether a bridge may send a frame back out of the port that it came in by.
    pub fn set_hairpin(&mut self, port: &str, on: bool) -> Result<()> {
        let mut info = ifinfomsg(self.index(port)?, 0, 0);
        info[0] = libc::AF_BRIDGE as u8;
        let mut message = Message::new(RTM_SETLINK, (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16);
        message.raw(&info);
        message.nest(IFLA_PROTINFO, |m| m.attr(IFLA_BRPORT_MODE, &[u8::from(on)]));
        self.socket.request(message, "set hairpin mode of", port)
    }

    /// Deletes a link; the other end of a veth goes with it.
    pub fn delete_link(&mut self, name: &str) -> Result<()> {
        check_name(name)?;
        let mut message = Message::new(RTM_DELLINK, (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16);
        message.raw(&ifinfomsg(0, 0, 0));
        message.attr_str(IFLA_IFNAME, name);
        self.socket.request(message, "delete link", name)
    }

    /// The link of that name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        check_name(name)?;
        let mut message = Message::new(RTM_GETLINK, libc::NLM_F_REQUEST as u16);
        message.raw(&ifinfomsg(0, 0, 0));
        message.attr_str(IFLA_IFNAME, name);
        let mut found = None;
        let read = self.socket.dump(message, name, |received| {
            found = Some(parse(received.body, name)?);
            Ok(())
        });
        match read {
            Ok(()) => Ok(found),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        self.retry_interrupted(|route| {
            let mut message = Message::new(RTM_GETLINK, (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16);
            message.raw(&ifinfomsg(0, 0, 0));
            let mut found = Vec::new();
            route.socket.dump(message, "links", |received| {
                found.push(parse(received.body, "links")?);
                Ok(())
            })?;
            Ok(found)
        })
    }

    /// The index of a link that must exist.
    pub fn index(&mut self, name: &str) -> Result<u32> {
        match self.link(name)? {
            Some(link) => Ok(link.index),
            None => Err(Error::Kernel {
                operation: "find link",
                object: name.to_string(),
                errno: libc::ENODEV,
                detail: None,
            }),
        }
    }
}

fn new_link(name: &str, mac: Option<Mac>) -> Result<Message> {
    check_name(name)?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = Message::new(RTM_NEWLINK, flags as u16);
    message.raw(&ifinfomsg(0, 0, 0));
    message.attr_str(IFLA_IFNAME, name);
    if let Some(mac) = mac {
        message.attr(IFLA_ADDRESS, &mac.0);
    }
    Ok(message)
}

fn ifinfomsg(index: u32, flags: u32, change: u32) -> [u8; IFINFOMSG] {
    let mut bytes = [0; IFINFOMSG];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn parse(body: &[u8], object: &str) -> Result<Link> {
    let rest = after(body, IFINFOMSG, object)?;
    let mut link = Link {
        index: u32_at(body, 4).unwrap_or_default(),
        name: String::new(),
        mac: None,
        mtu: 0,
        master: None,
        up: u32_at(body, 8).unwrap_or_default() & libc::IFF_UP as u32 != 0,
        kind: None,
    };
    for (kind, value) in attrs(rest) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
            IFLA_MTU => link.mtu = u32_at(value, 0).unwrap_or_default(),
            IFLA_MASTER => link.master = u32_at(value, 0),
            IFLA_LINKINFO => link.kind = attr(value, IFLA_INFO_KIND).map(text),
            _ => {}
        }
    }
    Ok(link)
}

/// The kernel's limit is 15 bytes.
fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 15 || name.bytes().any(|b| b == 0 || b == b'/' || b.is_ascii_whitespace()) {
        let reason = "not a link name (1 to 15 bytes without slash or space)".to_string();
        return Err(Error::Invalid { object: format!("link {name:?}"), reason });
    }
    Ok(())
}
