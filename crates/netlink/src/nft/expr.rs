//! The expressions that rules are made of: the kernel's own instructions over sixteen 32-bit registers. A concatenated key
//! is loaded field by field into consecutive registers, then looked up at the first of them.

use std::time::Duration;

use super::Family;
use crate::message::Message;

/// A 32-bit register, 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reg(pub u8);

impl Reg {
    fn number(self) -> u32 {
        8 + u32::from(self.0)
    }
}

/// What happens to the packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

impl Verdict {
    fn code(&self) -> i32 {
        match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Jump(_) => -3,
            Verdict::Goto(_) => -4,
            Verdict::Return => -5,
        }
    }

    pub(super) fn from_parts(code: i32, chain: Option<String>) -> Option<Verdict> {
        match (code, chain) {
            (0, _) => Some(Verdict::Drop),
            (1, _) => Some(Verdict::Accept),
            (-5, _) => Some(Verdict::Return),
            (-3, Some(chain)) => Some(Verdict::Jump(chain)),
            (-4, Some(chain)) => Some(Verdict::Goto(chain)),
            _ => None,
        }
    }

    /// The content of a data attribute.
    pub(super) fn encode(&self, m: &mut Message) {
        m.nest(2, |m| {
            m.attr_be32(1, self.code() as u32);
            if let Verdict::Jump(chain) | Verdict::Goto(chain) = self {
                m.attr_str(2, chain);
            }
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaKey {
    /// The packet's mark, in machine order.
    Mark,
    /// Index of the link it came in by, in machine order.
    Iif,
    /// Index of the link it goes out by, in machine order.
    Oif,
    /// Name of the link it came in by, 16 bytes.
    IifName,
    /// Name of the link it goes out by, 16 bytes.
    OifName,
    /// Transport protocol, one byte.
    L4Proto,
}

impl MetaKey {
    fn number(self) -> u32 {
        match self {
            MetaKey::Mark => 3,
            MetaKey::Iif => 4,
            MetaKey::Oif => 5,
            MetaKey::IifName => 6,
            MetaKey::OifName => 7,
            MetaKey::L4Proto => 16,
        }
    }
}

/// Properties of the tracked connection, in machine order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtKey {
    /// Bits: [`CtKey::NEW`] and others.
    State,
    /// Bits: [`CtKey::DNAT`] and others.
    Status,
}

impl CtKey {
    pub const ESTABLISHED: u32 = 2;
    pub const RELATED: u32 = 4;
    pub const NEW: u32 = 8;
    /// The destination was translated.
    pub const DNAT: u32 = 32;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CmpOp {
    Eq,
    Ne,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    Source,
    Destination,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// ICMP destination unreachable with this code (3: port).
    Icmp(u8),
    TcpReset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DynsetOp {
    /// Add unless it is there.
    Add,
    /// Add, or start its time anew.
    Update,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// Loads bytes of the network header.
    Network { offset: u32, length: u32, to: Reg },
    /// Loads bytes of the transport header.
    Transport { offset: u32, length: u32, to: Reg },
    /// Loads a property of the packet.
    Meta { key: MetaKey, to: Reg },
    /// Sets the packet's mark.
    SetMark { from: Reg },
    /// Loads a property of the connection.
    Ct { key: CtKey, to: Reg },
    /// Ends the rule unless the comparison holds.
    Cmp { from: Reg, op: CmpOp, value: Vec<u8> },
    /// `to = from & mask ^ xor`.
    Bitwise { from: Reg, to: Reg, mask: Vec<u8>, xor: Vec<u8> },
    /// Ends the rule unless the key is (or with `invert` is not) in the set.
    InSet { set: String, key: Reg, invert: bool },
    /// Ends the rule unless the key is in the map; loads its value.
    Map { map: String, key: Reg, to: Reg },
    /// Ends the rule unless the key is in the map; performs its verdict.
    VerdictMap { map: String, key: Reg },
    /// A random number below `modulus`, in machine order.
    Random { modulus: u32, to: Reg },
    /// The type (`RTN_…`, machine order) of the destination or source address in this node's routing.
    AddressType { destination: bool, to: Reg },
    /// Translates to the address, and port if given, in registers.
    Nat { kind: Nat, family: Family, address: Reg, port: Option<Reg> },
    /// Translates the source to the address of the link that it leaves by, with a random port.
    Masquerade,
    /// Answers the sender.
    Reject(Reject),
    /// Adds an element to a dynamic set or map.
    Dynset { set: String, op: DynsetOp, key: Reg, value: Option<Reg>, timeout: Duration },
    /// Counts packets and bytes.
    Counter,
    /// Loads bytes.
    Immediate { to: Reg, value: Vec<u8> },
    /// Ends with a verdict.
    Verdict(Verdict),
}

impl Expr {
    /// Loads the IPv4 source address.
    pub fn ipv4_source(to: Reg) -> Expr {
        Expr::Network { offset: 12, length: 4, to }
    }

    /// Loads the IPv4 destination address.
    pub fn ipv4_destination(to: Reg) -> Expr {
        Expr::Network { offset: 16, length: 4, to }
    }

    /// Loads the destination port of TCP, UDP or SCTP.
    pub fn destination_port(to: Reg) -> Expr {
        Expr::Transport { offset: 2, length: 2, to }
    }

    /// Ends the rule unless the 32-bit value in a register has one of the bits.
    pub fn any_bit(from: Reg, bits: u32) -> [Expr; 2] {
        let (mask, xor) = (bits.to_ne_bytes().to_vec(), vec![0; 4]);
        [Expr::Bitwise { from, to: from, mask, xor }, Expr::Cmp { from, op: CmpOp::Ne, value: vec![0; 4] }]
    }

    pub(super) fn encode(&self, m: &mut Message) {
        m.nest(1, |m| {
            m.attr_str(1, self.name());
            m.nest(2, |m| self.encode_data(m));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Expr::Network { .. } | Expr::Transport { .. } => "payload",
            Expr::Meta { .. } | Expr::SetMark { .. } => "meta",
            Expr::Ct { .. } => "ct",
            Expr::Cmp { .. } => "cmp",
            Expr::Bitwise { .. } => "bitwise",
            Expr::InSet { .. } | Expr::Map { .. } | Expr::VerdictMap { .. } => "lookup",
            Expr::Random { .. } => "numgen",
            Expr::AddressType { .. } => "fib",
            Expr::Nat { .. } => "nat",
            Expr::Masquerade => "masq",
            Expr::Reject(_) => "reject",
            Expr::Dynset { .. } => "dynset",
            Expr::Counter => "counter",
            Expr::Immediate { .. } | Expr::Verdict(_) => "immediate",
        }
    }

    /// Attribute numbers as in the kernel's `linux/netfilter/nf_tables.h`; numbers travel big-endian.
    fn encode_data(&self, m: &mut Message) {
        match self {
            Expr::Network { offset, length, to } => payload(m, 1, *offset, *length, *to),
            Expr::Transport { offset, length, to } => payload(m, 2, *offset, *length, *to),
            Expr::Meta { key, to } => {
                m.attr_be32(1, to.number());
                m.attr_be32(2, key.number());
            }
            Expr::SetMark { from } => {
                m.attr_be32(2, MetaKey::Mark.number());
                m.attr_be32(3, from.number());
            }
            Expr::Ct { key, to } => {
                m.attr_be32(1, to.number());
                m.attr_be32(2, if *key == CtKey::State { 0 } else { 2 });
            }
            Expr::Cmp { from, op, value } => {
                m.attr_be32(1, from.number());
                m.attr_be32(2, u32::from(*op == CmpOp::Ne));
                m.nest(3, |m| m.attr(1, value));
            }
            Expr::Bitwise { from, to, mask, xor } => {
                m.attr_be32(1, from.number());
                m.attr_be32(2, to.number());
                m.attr_be32(3, mask.len() as u32);
                m.nest(4, |m| m.attr(1, mask));
                m.nest(5, |m| m.attr(1, xor));
            }
            Expr::InSet { set, key, invert } => {
                m.attr_str(1, set);
                m.attr_be32(2, key.number());
                m.attr_be32(5, u32::from(*invert));
            }
            Expr::Map { map, key, to } => {
                m.attr_str(1, map);
                m.attr_be32(2, key.number());
                m.attr_be32(3, to.number());
            }
            Expr::VerdictMap { map, key } => {
                m.attr_str(1, map);
                m.attr_be32(2, key.number());
                m.attr_be32(3, 0);
            }
            Expr::Random { modulus, to } => {
                m.attr_be32(1, to.number());
                m.attr_be32(2, *modulus);
                m.attr_be32(3, 1);
            }
            Expr::AddressType { destination, to } => {
                m.attr_be32(1, to.number());
                m.attr_be32(2, 3);
                m.attr_be32(3, if *destination { 2 } else { 1 });
            }
            Expr::Nat { kind, family, address, port } => {
                m.attr_be32(1, u32::from(*kind == Nat::Destination));
                m.attr_be32(2, if *family == Family::Ip6 { 10 } else { 2 });
                m.attr_be32(3, address.number());
                if let Some(port) = port {
                    m.attr_be32(5, port.number());
                }
            }
            Expr::Masquerade => m.attr_be32(1, 0x10),
            Expr::Reject(Reject::Icmp(code)) => {
                m.attr_be32(1, 0);
                m.attr(2, &[*code]);
            }
            Expr::Reject(Reject::TcpReset) => m.attr_be32(1, 1),
            Expr::Dynset { set, op, key, value, timeout } => {
                m.attr_str(1, set);
                m.attr_be32(3, if *op == DynsetOp::Add { 0 } else { 1 });
                m.attr_be32(4, key.number());
                if let Some(value) = value {
                    m.attr_be32(5, value.number());
                }
                m.attr_be64(6, timeout.as_millis() as u64);
            }
            Expr::Counter => {}
            Expr::Immediate { to, value } => {
                m.attr_be32(1, to.number());
                m.nest(2, |m| m.attr(1, value));
            }
            Expr::Verdict(verdict) => {
                m.attr_be32(1, 0);
                m.nest(2, |m| verdict.encode(m));
            }
        }
    }
}

fn payload(m: &mut Message, base: u32, offset: u32, length: u32, to: Reg) {
    m.attr_be32(1, to.number());
    m.attr_be32(2, base);
    m.attr_be32(3, offset);
    m.attr_be32(4, length);
}
