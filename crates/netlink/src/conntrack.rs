//! Tracked IPv4 connections: list and delete. UDP knows no end of a connection, so a flow would follow an endpoint that is
//! gone for as long as its client keeps sending; whoever changes NAT rules has to cut such flows.

use std::net::Ipv4Addr;

use crate::Result;
use crate::message::{Message, after, attr, be16};
use crate::socket::Socket;

const SUBSYSTEM: u8 = 1;
const GET: u8 = 1;
const DELETE: u8 = 2;
const NFGENMSG: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;

/// Source and destination of one direction. Ports are 0 where the protocol has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
}

/// A tracked connection. For a connection through a service, `original.destination` is what the client asked for, and
/// `reply.source` the endpoint that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    pub protocol: u8,
    pub original: Tuple,
    pub reply: Tuple,
    id: u32,
}

impl Flow {
    /// A flow that no kernel has seen, for tables of cases.
    pub fn new(protocol: u8, original: Tuple, reply: Tuple) -> Flow {
        Flow { protocol, original, reply, id: 0 }
    }
}

/// Tracked connections of one network namespace.
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// A handle for the calling thread's network namespace.
    pub fn open() -> Result<Conntrack> {
        Ok(Conntrack { socket: Socket::open(libc::NETLINK_NETFILTER)? })
    }

    /// The IPv4 flows for which `wanted` holds.
    pub fn flows(&mut self, mut wanted: impl FnMut(&Flow) -> bool) -> Result<Vec<Flow>> {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        let message = Message::netfilter(SUBSYSTEM, GET, flags, libc::AF_INET as u8, 0);
        let mut found = Vec::new();
        self.socket.dump(message, "connections", |received| {
            let rest = after(received.body, NFGENMSG, "connections")?;
            found.extend(parse(rest).filter(|flow| wanted(flow)));
            Ok(())
        })?;
        Ok(found)
    }

    /// Forgets a flow; one that ended meanwhile is success. Its next packet is a new connection.
    pub fn delete(&mut self, flow: &Flow) -> Result<()> {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut message = Message::netfilter(SUBSYSTEM, DELETE, flags, libc::AF_INET as u8, 0);
        message.nest(CTA_TUPLE_ORIG, |m| {
            m.nest(CTA_TUPLE_IP, |m| {
                m.attr(1, &flow.original.source.0.octets());
                m.attr(2, &flow.original.destination.0.octets());
            });
            m.nest(CTA_TUPLE_PROTO, |m| {
                m.attr(1, &[flow.protocol]);
                m.attr(2, &flow.original.source.1.to_be_bytes());
                m.attr(3, &flow.original.destination.1.to_be_bytes());
            });
        });
        // The id keeps a new flow with the same addresses alive.
        message.attr(CTA_ID, &flow.id.to_ne_bytes());
        let object = format!("connection {:?} to {:?}", flow.original.source, flow.original.destination);
        match self.socket.request(message, "delete", &object) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

fn parse(attributes: &[u8]) -> Option<Flow> {
    let (protocol, original) = tuple(attr(attributes, CTA_TUPLE_ORIG)?)?;
    let (_, reply) = tuple(attr(attributes, CTA_TUPLE_REPLY)?)?;
    let id = attr(attributes, CTA_ID).and_then(|v| v.try_into().ok()).map_or(0, u32::from_ne_bytes);
    Some(Flow { protocol, original, reply, id })
}

fn tuple(value: &[u8]) -> Option<(u8, Tuple)> {
    let (ip, proto) = (attr(value, CTA_TUPLE_IP)?, attr(value, CTA_TUPLE_PROTO)?);
    let address = |kind| <[u8; 4]>::try_from(attr(ip, kind)?).ok().map(Ipv4Addr::from);
    let port = |kind| attr(proto, kind).and_then(be16).unwrap_or(0);
    let tuple = Tuple { source: (address(1)?, port(2)), destination: (address(2)?, port(3)) };
    Some((*attr(proto, 1)?.first()?, tuple))
}
