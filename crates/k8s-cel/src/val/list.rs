//! Lists: a slice of an object's tree, or elements that an expression made.

use super::{Fallible, Val, adapt, equal};
use crate::decl::{Decl, Shape};
use schema::ListType;
use std::sync::Arc;
use value::{Str, Value};

#[derive(Debug, Clone)]
pub enum List<'a> {
    /// With the declaration of the list where it has a schema.
    Tree(&'a Vec<Value>, Option<&'a Decl>),
    /// With the declaration of the list that it was made from: sums of sets are sets.
    Vals(Arc<Vec<Val<'a>>>, Option<&'a Decl>),
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            List::Tree(items, _) => items.len(),
            List::Vals(items, _) => items.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// An element; `None` beyond the end.
    pub fn get(&self, index: usize) -> Option<Fallible<Val<'a>>> {
        match self {
            List::Tree(items, decl) => items.get(index).map(|item| adapt(item, element(*decl))),
            List::Vals(items, _) => items.get(index).cloned().map(Ok),
        }
    }
    pub fn iter(&self) -> impl Iterator<Item = Fallible<Val<'a>>> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }
    pub fn to_vec(&self) -> Fallible<Vec<Val<'a>>> {
        self.iter().collect()
    }
    pub fn contains(&self, wanted: &Val<'a>) -> Fallible<bool> {
        for item in self.iter() {
            if equal(&item?, wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    }
    pub(super) fn decl(&self) -> Option<&'a Decl> {
        match self {
            List::Tree(_, decl) | List::Vals(_, decl) => *decl,
        }
    }

    /// The concatenation; a set stays a set, and of a list map equal keys are replaced where they stand.
    pub fn concat(&self, other: &List<'a>) -> Fallible<List<'a>> {
        let decl = self.decl();
        let mut items = self.to_vec()?;
        match kind(decl) {
            Kind::Atomic => {
                for item in other.iter() {
                    items.push(item?);
                }
            }
            Kind::Set => {
                for item in other.iter() {
                    let item = item?;
                    if !items.iter().any(|have| equal(have, &item)) {
                        items.push(item);
                    }
                }
            }
            Kind::Map(keys) => {
                for item in other.iter() {
                    let item = item?;
                    match items.iter_mut().find(|have| same_keys(have, &item, keys)) {
                        Some(have) => *have = item,
                        None => items.push(item),
                    }
                }
            }
        }
        Ok(List::Vals(Arc::new(items), decl))
    }

    /// Equality as the left list's type has it: sets and list maps without regard to order.
    pub(super) fn same(&self, other: &List<'a>) -> bool {
        if self.len() != other.len() {
            return false;
        }
        let (Ok(left), Ok(right)) = (self.to_vec(), other.to_vec()) else { return false };
        match kind(self.decl()) {
            Kind::Atomic => left.iter().zip(&right).all(|(a, b)| equal(a, b)),
            Kind::Set => left.iter().all(|a| right.iter().any(|b| equal(a, b))),
            Kind::Map(keys) => {
                let matching = |a: &Val<'a>| right.iter().find(|b| same_keys(a, b, keys));
                left.iter().all(|a| matching(a).is_some_and(|b| equal(a, b)))
            }
        }
    }
}

enum Kind<'a> {
    Atomic,
    Set,
    Map(&'a [Str]),
}

fn kind(decl: Option<&Decl>) -> Kind<'_> {
    match decl.map(|decl| &decl.shape) {
        Some(Shape::List { list_type: ListType::Set, .. }) => Kind::Set,
        Some(Shape::List { list_type: ListType::Map, keys, .. }) => Kind::Map(keys),
        _ => Kind::Atomic,
    }
}

fn element(decl: Option<&Decl>) -> Option<&Decl> {
    match decl.map(|decl| &decl.shape) {
        Some(Shape::List { element, .. }) => Some(element),
        _ => None,
    }
}

fn same_keys(a: &Val<'_>, b: &Val<'_>, keys: &[Str]) -> bool {
    keys.iter().all(|key| match (raw(a, key), raw(b, key)) {
        (Some(a), Some(b)) => equal(&a, &b),
        (None, None) => true,
        _ => false,
    })
}

/// A member by its name in the object.
fn raw<'a>(val: &Val<'a>, key: &str) -> Option<Val<'a>> {
    match val {
        Val::Object(map, _) => adapt(map.get(key)?, None).ok(),
        Val::Map(map) => map.get_str(key)?.ok(),
        _ => None,
    }
}
