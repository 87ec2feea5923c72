//! What the kernel holds: for verification, for finding what an earlier process left, and for elements that the packet path
//! added.

use std::time::Duration;

use super::set::{Element, Value};
use super::{Family, NFGENMSG, Nft, SUBSYSTEM, Table, Verdict};
use crate::Result;
use crate::message::{Message, after, attr, attrs, be32, be64, text};

const GET_TABLE: u8 = 1;
const GET_CHAIN: u8 = 4;
const GET_RULE: u8 = 7;
const GET_SET: u8 = 10;
const GET_ELEMENT: u8 = 13;

/// A chain that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainInfo {
    pub name: String,
    /// Whether the stack calls it.
    pub base: bool,
    /// Rules, jumps and elements that refer to it, and its own rules.
    pub uses: u32,
}

/// A set that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetInfo {
    pub name: String,
    pub key_length: u32,
}

impl Nft {
    /// All tables.
    pub fn tables(&mut self) -> Result<Vec<Table>> {
        self.read(
            GET_TABLE,
            0,
            "tables",
            |_| {},
            |family, attributes| Some(Table { family: Family::from_number(family)?, name: text(attr(attributes, 1)?) }),
        )
    }

    /// Whether the table exists.
    pub fn has_table(&mut self, table: &Table) -> Result<bool> {
        Ok(self.tables()?.contains(table))
    }

    /// The chains of a table.
    pub fn chains(&mut self, table: &Table) -> Result<Vec<ChainInfo>> {
        self.read(
            GET_CHAIN,
            table.family.number(),
            &table.name,
            |_| {},
            |_, attributes| {
                (text(attr(attributes, 1)?) == table.name).then_some(())?;
                Some(ChainInfo {
                    name: text(attr(attributes, 3)?),
                    base: attr(attributes, 4).is_some(),
                    uses: attr(attributes, 6).and_then(be32).unwrap_or(0),
                })
            },
        )
    }

    /// The number of rules in a table.
    pub fn rules(&mut self, table: &Table) -> Result<usize> {
        let found = self.read(
            GET_RULE,
            table.family.number(),
            &table.name,
            |m| m.attr_str(1, &table.name),
            |_, attributes| attr(attributes, 3).map(|_| ()),
        )?;
        Ok(found.len())
    }

    /// The named sets and maps of a table.
    pub fn sets(&mut self, table: &Table) -> Result<Vec<SetInfo>> {
        self.read(
            GET_SET,
            table.family.number(),
            &table.name,
            |m| m.attr_str(1, &table.name),
            |_, attributes| {
                Some(SetInfo {
                    name: text(attr(attributes, 2)?),
                    key_length: attr(attributes, 5).and_then(be32).unwrap_or(0),
                })
            },
        )
    }

    /// The elements of a set or map, ordered by key. A hash table that the kernel is resizing in the background (after a
    /// large change) shows some elements twice, which is mended here, and may leave some out, which cannot be: use this to
    /// verify or to tidy up, not as the truth about what to change.
    pub fn elements(&mut self, table: &Table, set: &str) -> Result<Vec<Element>> {
        let object = format!("{table} {set}");
        let lists = self.read(
            GET_ELEMENT,
            table.family.number(),
            &object,
            |m| {
                m.attr_str(1, &table.name);
                m.attr_str(2, set);
            },
            |_, attributes| {
                let list = attr(attributes, 3)?;
                Some(attrs(list).filter_map(|(_, element)| parse(element)).collect::<Vec<_>>())
            },
        )?;
        let mut elements: Vec<_> = lists.into_iter().flatten().collect();
        elements.sort_by(|a, b| (&a.key, a.interval_end).cmp(&(&b.key, b.interval_end)));
        elements.dedup_by(|a, b| a.key == b.key && a.interval_end == b.interval_end);
        Ok(elements)
    }

    /// A dump, repeated if a concurrent change made it inconsistent.
    fn read<T>(
        &mut self,
        kind: u8,
        family: u8,
        object: &str,
        fill: impl Fn(&mut Message),
        parse: impl Fn(u8, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        for attempt in 0.. {
            let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
            let mut message = Message::netfilter(SUBSYSTEM, kind, flags, family, 0);
            fill(&mut message);
            let mut found = Vec::new();
            let read = self.socket.dump(message, object, |received| {
                let rest = after(received.body, NFGENMSG, object)?;
                found.extend(parse(received.body[0], rest));
                Ok(())
            });
            match read {
                Ok(()) => return Ok(found),
                Err(error) if error.errno() == Some(libc::EINTR) && attempt < 20 => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop returns")
    }
}

fn parse(element: &[u8]) -> Option<Element> {
    let key = attr(attr(element, 1)?, 1)?.to_vec();
    let value = match attr(element, 2) {
        None => Value::None,
        Some(data) => match (attr(data, 1), attr(data, 2)) {
            (Some(bytes), _) => Value::Data(bytes.to_vec()),
            (None, Some(verdict)) => {
                Value::Verdict(Verdict::from_parts(be32(attr(verdict, 1)?)? as i32, attr(verdict, 2).map(text))?)
            }
            (None, None) => Value::None,
        },
    };
    let duration = |kind| attr(element, kind).and_then(be64).map(Duration::from_millis);
    Some(Element {
        key,
        value,
        timeout: duration(4),
        expires: duration(5),
        interval_end: attr(element, 3).and_then(be32).unwrap_or(0) & 1 != 0,
    })
}

/// The key inside an element attribute that starts here, as an error's offset points at it.
pub(super) fn element_key(attribute: &[u8]) -> Option<&[u8]> {
    let (_, element) = attrs(attribute).next()?;
    attr(attr(element, 1)?, 1)
}
