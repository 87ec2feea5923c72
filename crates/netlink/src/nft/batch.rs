//! A transaction under construction: an ordered list of messages, each with the words that an error will use for it.

use super::set::{Element, Kind, Set, Value, layout};
use super::{Chain, ChainType, Expr, Hook, SUBSYSTEM, Table};
use crate::message::Message;

const NEW_TABLE: u8 = 0;
const DEL_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
const DEL_CHAIN: u8 = 5;
const NEW_RULE: u8 = 6;
const DEL_RULE: u8 = 8;
const NEW_SET: u8 = 9;
const DEL_SET: u8 = 11;
const NEW_ELEMENT: u8 = 12;
const DEL_ELEMENT: u8 = 14;

const SET_INTERVAL: u32 = 0x4;
const SET_MAP: u32 = 0x8;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVAL: u32 = 0x20;
const DATA_VERDICT: u32 = 0xffff_ff00;
const ELEMENT_INTERVAL_END: u32 = 1;

/// Elements of one message stay below this many bytes: the list is one attribute, whose length has 16 bits.
const ELEMENTS_BYTES: usize = 60_000;

pub(super) struct Step {
    pub(super) message: Message,
    pub(super) operation: &'static str,
    pub(super) object: String,
}

/// Changes that [`super::Nft::commit`] performs together.
#[derive(Default)]
pub struct Batch {
    pub(super) steps: Vec<Step>,
    sets: u32,
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Creates the table, or keeps it.
    pub fn add_table(&mut self, table: &Table) {
        let mut m = message(NEW_TABLE, libc::NLM_F_CREATE, table);
        m.attr_str(1, &table.name);
        self.push(m, "create table", table.to_string());
    }

    /// Deletes the table with everything in it. It must exist.
    pub fn delete_table(&mut self, table: &Table) {
        let mut m = message(DEL_TABLE, 0, table);
        m.attr_str(1, &table.name);
        self.push(m, "delete table", table.to_string());
    }

    /// Empties the table, or creates it: nobody sees it half filled.
    pub fn replace_table(&mut self, table: &Table) {
        self.add_table(table);
        self.delete_table(table);
        self.add_table(table);
    }

    /// Creates the chain, or keeps it.
    pub fn add_chain(&mut self, table: &Table, chain: &Chain) {
        let mut m = message(NEW_CHAIN, libc::NLM_F_CREATE, table);
        m.attr_str(1, &table.name);
        m.attr_str(3, &chain.name);
        if let Some((kind, hook, priority)) = chain.base {
            m.nest(4, |m| {
                m.attr_be32(1, hook_number(hook));
                m.attr_be32(2, priority as u32);
            });
            m.attr_str(7, type_name(kind));
        }
        self.push(m, "create chain", format!("{table} {}", chain.name));
    }

    /// Deletes the rules of a chain.
    pub fn flush_chain(&mut self, table: &Table, chain: &str) {
        let mut m = message(DEL_RULE, 0, table);
        m.attr_str(1, &table.name);
        m.attr_str(2, chain);
        self.push(m, "flush chain", format!("{table} {chain}"));
    }

    /// Deletes a chain and its rules. Nothing may refer to it any more.
    pub fn delete_chain(&mut self, table: &Table, chain: &str) {
        let mut m = message(DEL_CHAIN, 0, table);
        m.attr_str(1, &table.name);
        m.attr_str(3, chain);
        self.push(m, "delete chain", format!("{table} {chain}"));
    }

    /// Appends a rule. The comment (at most 120 bytes are kept) is for whoever reads `nft list ruleset`.
    pub fn add_rule(&mut self, table: &Table, chain: &str, comment: &str, exprs: &[Expr]) {
        let mut m = message(NEW_RULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, table);
        m.attr_str(1, &table.name);
        m.attr_str(2, chain);
        m.nest(4, |m| exprs.iter().for_each(|expr| expr.encode(m)));
        if !comment.is_empty() {
            let text = &comment.as_bytes()[..comment.len().min(120)];
            let mut data = vec![0, text.len() as u8 + 1];
            data.extend_from_slice(text);
            data.push(0);
            m.attr(7, &data);
        }
        self.push(m, "add rule", format!("{table} {chain} ({comment})"));
    }

    /// Creates a set or map, or keeps it.
    pub fn add_set(&mut self, table: &Table, set: &Set) {
        let mut m = message(NEW_SET, libc::NLM_F_CREATE, table);
        let (key_type, key_length) = layout(&set.key);
        let mut flags = 0;
        flags |= if set.interval { SET_INTERVAL } else { 0 };
        flags |= if set.dynamic.is_some() { SET_EVAL | SET_TIMEOUT } else { 0 };
        flags |= if set.kind == Kind::Set { 0 } else { SET_MAP };
        m.attr_str(1, &table.name);
        m.attr_str(2, &set.name);
        m.attr_be32(3, flags);
        m.attr_be32(4, key_type);
        m.attr_be32(5, key_length);
        match &set.kind {
            Kind::Set => {}
            Kind::Map(fields) => {
                let (data_type, data_length) = layout(fields);
                m.attr_be32(6, data_type);
                m.attr_be32(7, data_length);
            }
            Kind::VerdictMap => m.attr_be32(6, DATA_VERDICT),
        }
        if let Some(size) = set.dynamic {
            m.nest(9, |m| m.attr_be32(1, size));
        }
        self.sets += 1;
        m.attr_be32(10, self.sets);
        self.push(m, "create set", format!("{table} {}", set.name));
    }

    /// Deletes a set. Nothing may refer to it any more.
    pub fn delete_set(&mut self, table: &Table, set: &str) {
        let mut m = message(DEL_SET, 0, table);
        m.attr_str(1, &table.name);
        m.attr_str(2, set);
        self.push(m, "delete set", format!("{table} {set}"));
    }

    /// Deletes all elements of a set.
    pub fn flush_set(&mut self, table: &Table, set: &str) {
        let mut m = message(DEL_ELEMENT, 0, table);
        m.attr_str(1, &table.name);
        m.attr_str(2, set);
        self.push(m, "flush set", format!("{table} {set}"));
    }

    /// Adds elements. An entry that exists with another value is an error: delete it first, in the same batch.
    pub fn add_elements(&mut self, table: &Table, set: &str, elements: &[Element]) {
        self.elements(NEW_ELEMENT, libc::NLM_F_CREATE, "add element to", table, set, elements);
    }

    /// Deletes elements by key. Each must exist.
    pub fn delete_elements(&mut self, table: &Table, set: &str, elements: &[Element]) {
        self.elements(DEL_ELEMENT, 0, "delete element of", table, set, elements);
    }

    fn elements(
        &mut self,
        kind: u8,
        flags: i32,
        operation: &'static str,
        table: &Table,
        set: &str,
        elements: &[Element],
    ) {
        let mut rest = elements.iter().peekable();
        while rest.peek().is_some() {
            let mut m = message(kind, flags, table);
            m.attr_str(1, &table.name);
            m.attr_str(2, set);
            m.nest(3, |m| {
                let start = m.bytes.len();
                while m.bytes.len() - start < ELEMENTS_BYTES {
                    let Some(element) = rest.next() else { break };
                    encode(m, element, kind == NEW_ELEMENT);
                }
            });
            self.push(m, operation, format!("{table} {set}"));
        }
    }

    fn push(&mut self, message: Message, operation: &'static str, object: String) {
        self.steps.push(Step { message, operation, object });
    }
}

fn encode(m: &mut Message, element: &Element, whole: bool) {
    m.nest(1, |m| {
        m.nest(1, |m| m.attr(1, &element.key));
        match &element.value {
            Value::Data(data) if whole => m.nest(2, |m| m.attr(1, data)),
            Value::Verdict(verdict) if whole => m.nest(2, |m| verdict.encode(m)),
            _ => {}
        }
        if element.interval_end {
            m.attr_be32(3, ELEMENT_INTERVAL_END);
        }
        if let Some(timeout) = element.timeout.filter(|_| whole) {
            m.attr_be64(4, timeout.as_millis() as u64);
        }
        if let Some(expires) = element.expires.filter(|_| whole) {
            m.attr_be64(5, expires.as_millis() as u64);
        }
    });
}

fn message(kind: u8, flags: i32, table: &Table) -> Message {
    Message::netfilter(SUBSYSTEM, kind, (libc::NLM_F_REQUEST | flags) as u16, table.family.number(), 0)
}

fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

fn type_name(kind: ChainType) -> &'static str {
    match kind {
        ChainType::Filter => "filter",
        ChainType::Nat => "nat",
        ChainType::Route => "route",
    }
}
