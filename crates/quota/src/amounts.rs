//! Amounts by the name of a resource: what a `ResourceList` holds.

use base::quantity::Quantity;
use std::{collections::BTreeMap, fmt};
use value::{Map, Value};

/// Amounts by name, sorted; absent is not the same as zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<String, Quantity>);

impl Amounts {
    /// A `ResourceList`; what is no quantity is left out, because validation has its own words for it.
    pub fn of(list: &Value) -> Self {
        let entries = list.members_at(&[]).filter_map(|(name, amount)| Some((name.to_string(), quantity(amount)?)));
        Amounts(entries.collect())
    }
    pub fn get(&self, name: &str) -> Option<Quantity> {
        self.0.get(name).copied()
    }
    pub fn set(&mut self, name: impl Into<String>, amount: Quantity) {
        self.0.insert(name.into(), amount);
    }
    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Sums, name by name.
    pub fn add(&mut self, other: &Amounts) {
        for (name, amount) in other.iter() {
            let held = self.0.entry(name.to_string()).or_default();
            // The format of what is counted wins over that of nothing.
            *held = if held.is_zero() { amount } else { *held + amount };
        }
    }
    /// The larger one of both, name by name.
    pub fn max(&mut self, other: &Amounts) {
        for (name, amount) in other.iter() {
            let held = self.0.entry(name.to_string()).or_insert(amount);
            *held = (*held).max(amount);
        }
    }
    /// What is more than in `other`; nothing goes below zero.
    pub fn beyond(&self, other: &Amounts) -> Amounts {
        let more = self.iter().map(|(name, amount)| {
            let more = other.get(name).map_or(amount, |before| amount - before);
            (name.to_string(), if more.is_negative() { Quantity::ZERO } else { more })
        });
        Amounts(more.collect())
    }
    /// Only those whose name is wanted.
    pub fn only(&self, wanted: impl Fn(&str) -> bool) -> Amounts {
        Amounts(self.iter().filter(|(name, _)| wanted(name)).map(|(name, amount)| (name.to_string(), amount)).collect())
    }
    /// Without those that are zero.
    pub fn without_zeros(&self) -> Amounts {
        Amounts(self.iter().filter(|(_, a)| !a.is_zero()).map(|(name, amount)| (name.to_string(), amount)).collect())
    }
    /// As a `ResourceList`.
    pub fn to_value(&self) -> Value {
        let mut map = Map::default();
        for (name, amount) in self.iter() {
            map.insert(name, amount.to_string());
        }
        Value::Object(map)
    }
}

impl FromIterator<(String, Quantity)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (String, Quantity)>>(entries: I) -> Self {
        Amounts(entries.into_iter().collect())
    }
}

/// `limits.cpu=2,pods=1`, as messages show it.
impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, amount)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{name}={amount}")?;
        }
        Ok(())
    }
}

/// A quantity is written as text, and by some as a number.
fn quantity(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => Quantity::parse(text).ok(),
        other => Quantity::parse(&other.to_string()).ok(),
    }
}
