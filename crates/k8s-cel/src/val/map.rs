//! Maps: the members of an object's tree, or entries that an expression made.

use super::{EvalError, Fallible, Text, Val, adapt, equal};
use crate::decl::{Decl, Shape};
use std::{cmp::Ordering, sync::Arc};

#[derive(Debug, Clone)]
pub enum Map<'a> {
    /// With the declaration of the map where it has a schema.
    Tree(&'a value::Map, Option<&'a Decl>),
    Vals(Arc<MapVals<'a>>),
}

/// Entries sorted by key. Keys are booleans, numbers and strings; numbers that are equal are one key whatever their type.
#[derive(Debug, Clone, Default)]
pub struct MapVals<'a>(Vec<(Val<'a>, Val<'a>)>);

impl<'a> MapVals<'a> {
    fn find(&self, key: &Val<'_>) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| order(k, key))
    }
    pub fn get(&self, key: &Val<'_>) -> Option<&Val<'a>> {
        self.find(key).ok().map(|i| &self.0[i].1)
    }
    /// Adds an entry; an error where the key is there already or can be none.
    pub fn insert(&mut self, key: Val<'a>, value: Val<'a>) -> Fallible<()> {
        if !matches!(key, Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::String(_)) {
            return Err(EvalError::new(format!("unsupported key type: {}", key.type_of().name())));
        }
        match self.find(&key) {
            Ok(_) => Err(EvalError::new(format!("insert failed: key {key} already exists"))),
            Err(at) => {
                self.0.insert(at, (key, value));
                Ok(())
            }
        }
    }
    /// Sets an entry of a literal, where a later one replaces an earlier one.
    pub fn set(&mut self, key: Val<'a>, value: Val<'a>) -> Fallible<()> {
        match self.find(&key) {
            Ok(at) => {
                self.0[at].1 = value;
                Ok(())
            }
            Err(_) => self.insert(key, value),
        }
    }
    pub fn iter(&self) -> std::slice::Iter<'_, (Val<'a>, Val<'a>)> {
        self.0.iter()
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Map::Tree(map, _) => map.len(),
            Map::Vals(vals) => vals.0.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn get_str(&self, key: &str) -> Option<Fallible<Val<'a>>> {
        match self {
            Map::Tree(map, decl) => map.get(key).map(|value| adapt(value, element(*decl))),
            Map::Vals(vals) => vals.get(&Val::String(Text::Borrowed(key))).cloned().map(Ok),
        }
    }
    /// The value at a key; `None` where there is none.
    pub fn get(&self, key: &Val<'_>) -> Option<Fallible<Val<'a>>> {
        match (self, key) {
            (map, Val::String(key)) => map.get_str(key),
            (Map::Tree(..), _) => None,
            (Map::Vals(vals), key) => vals.get(key).cloned().map(Ok),
        }
    }
    pub fn keys(&self) -> Vec<Val<'a>> {
        match self {
            Map::Tree(map, _) => map.keys().map(|key| Val::String(Text::Borrowed(key))).collect(),
            Map::Vals(vals) => vals.0.iter().map(|(key, _)| key.clone()).collect(),
        }
    }
    pub fn entries(&self) -> Fallible<Vec<(Val<'a>, Val<'a>)>> {
        match self {
            Map::Tree(map, decl) => {
                let entry = |(key, value)| Ok((Val::String(Text::Borrowed(key)), adapt(value, element(*decl))?));
                map.iter().map(entry).collect()
            }
            Map::Vals(vals) => Ok(vals.0.clone()),
        }
    }
    pub(super) fn same(&self, other: &Map<'a>) -> bool {
        if self.len() != other.len() {
            return false;
        }
        if let (Map::Tree(a, None), Map::Tree(b, None)) = (self, other)
            && std::ptr::eq(*a, *b)
        {
            return true;
        }
        let Ok(entries) = self.entries() else { return false };
        entries.iter().all(|(key, value)| match other.get(key) {
            Some(Ok(there)) => equal(value, &there),
            _ => false,
        })
    }
}

fn element(decl: Option<&Decl>) -> Option<&Decl> {
    match decl.map(|decl| &decl.shape) {
        Some(Shape::Map { element }) => Some(element),
        _ => None,
    }
}

/// Booleans, then numbers, then strings.
fn order(a: &Val<'_>, b: &Val<'_>) -> Ordering {
    let rank = |v: &Val<'_>| match v {
        Val::Bool(_) => 0,
        Val::Int(_) | Val::Uint(_) | Val::Double(_) => 1,
        Val::String(_) => 2,
        _ => 3,
    };
    match (a, b) {
        (Val::String(a), Val::String(b)) => a.as_str().cmp(b),
        (a, b) => rank(a).cmp(&rank(b)).then_with(|| super::compare(a, b).unwrap_or(Ordering::Equal)),
    }
}
