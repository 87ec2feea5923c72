//! nftables over nfnetlink: one [`Batch`] is one transaction that the kernel takes whole or not at all.
//!
//! Keys and values are the raw bytes of the packet fields, every field of a concatenation padded to four bytes; the
//! functions of [`set`] make them. Named maps of the hash type are all we need, so that adding or deleting an element costs
//! the same in a map of ten or of a hundred thousand. Anonymous sets and interval trees are slow to change and are used for
//! a handful of fixed prefixes at most.

mod batch;
mod dump;
mod expr;
pub mod set;

pub use batch::Batch;
pub use dump::{ChainInfo, SetInfo};
pub use expr::{CmpOp, CtKey, DynsetOp, Expr, MetaKey, Nat, Reg, Reject, Verdict};
pub use set::{Element, Set, Value};

use crate::message::Message;
use crate::socket::{Ack, Socket};
use crate::{Error, Result};

pub(crate) const SUBSYSTEM: u8 = 10;
pub(crate) const NFGENMSG: usize = 4;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// The packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    Inet,
    Ip,
    Ip6,
}

impl Family {
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Ip => 2,
            Family::Ip6 => 10,
        }
    }

    fn from_number(number: u8) -> Option<Family> {
        [Family::Inet, Family::Ip, Family::Ip6].into_iter().find(|f| f.number() == number)
    }
}

/// A table's identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Table {
    pub family: Family,
    pub name: String,
}

impl Table {
    pub fn new(family: Family, name: impl Into<String>) -> Table {
        Table { family, name: name.into() }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = match self.family {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
        };
        write!(f, "{family} {}", self.name)
    }
}

/// Where a base chain hooks into the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainType {
    Filter,
    Nat,
    Route,
}

/// A chain: a base chain if it has a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub name: String,
    /// Type, hook and priority (-100 is where DNAT is usual, 100 SNAT, 0 filtering).
    pub base: Option<(ChainType, Hook, i32)>,
}

impl Chain {
    /// A chain that others jump or go to.
    pub fn regular(name: impl Into<String>) -> Chain {
        Chain { name: name.into(), base: None }
    }

    /// A chain that the stack calls.
    pub fn base(name: impl Into<String>, kind: ChainType, hook: Hook, priority: i32) -> Chain {
        Chain { name: name.into(), base: Some((kind, hook, priority)) }
    }
}

/// nftables of one network namespace.
pub struct Nft {
    pub(crate) socket: Socket,
}

impl Nft {
    /// A handle for the calling thread's network namespace.
    pub fn open() -> Result<Nft> {
        Ok(Nft { socket: Socket::open(libc::NETLINK_NETFILTER)? })
    }

    /// Performs the batch as one transaction. On an error nothing of it took effect; the error names the first object that
    /// the kernel refused.
    pub fn commit(&mut self, batch: Batch) -> Result<()> {
        let mut steps = batch.steps;
        let Some(last) = steps.last_mut() else { return Ok(()) };
        last.message.bytes[6] |= libc::NLM_F_ACK as u8;
        let mut bytes = Vec::with_capacity(steps.iter().map(|s| s.message.bytes.len()).sum::<usize>() + 64);
        let begin = self.append(&mut bytes, control(BATCH_BEGIN));
        let mut sequences = Vec::with_capacity(steps.len());
        for step in &mut steps {
            let message = std::mem::replace(&mut step.message, Message { bytes: Vec::new() });
            let start = bytes.len();
            sequences.push((self.append(&mut bytes, message), start));
        }
        self.append(&mut bytes, control(BATCH_END));
        self.socket.reserve(bytes.len());
        self.socket.send(&bytes, "nftables transaction")?;
        let acks = self.socket.acks("nftables transaction")?;
        if let Some(failed) = acks.iter().find(|ack| ack.errno != 0) {
            let at = sequences.iter().position(|(sequence, _)| *sequence == failed.sequence);
            return Err(refused(failed, at.map(|i| (&steps[i], &bytes[sequences[i].1..]))));
        }
        let wanted = sequences.last().map_or(begin, |(sequence, _)| *sequence);
        match acks.iter().any(|ack| ack.sequence == wanted) {
            true => Ok(()),
            false => Err(Error::Protocol { object: "nftables transaction".into(), reason: "no acknowledgement" }),
        }
    }

    fn append(&mut self, bytes: &mut Vec<u8>, mut message: Message) -> u32 {
        let sequence = self.socket.next_sequence();
        message.finish(sequence);
        bytes.extend_from_slice(&message.bytes);
        sequence
    }
}

fn control(kind: u16) -> Message {
    let mut message = Message::new(kind, libc::NLM_F_REQUEST as u16);
    message.raw(&[0, 0]);
    message.raw(&u16::from(SUBSYSTEM).to_be_bytes());
    message
}

fn refused(ack: &Ack, step: Option<(&batch::Step, &[u8])>) -> Error {
    let (operation, mut object) = match step {
        Some((step, _)) => (step.operation, step.object.clone()),
        None => ("commit", "nftables transaction".to_string()),
    };
    // The offset of the bad attribute tells which element of many it was.
    if let (Some(offset), Some((_, message))) = (ack.offset, step)
        && let Some(key) = message.get(offset..).and_then(dump::element_key)
    {
        object = format!("{object}, key {}", set::show_key(key));
    }
    Error::Kernel { operation, object, errno: ack.errno, detail: ack.detail.clone() }
}
