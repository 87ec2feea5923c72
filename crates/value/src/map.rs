//! A map as a sorted vector: small, ordered, cheap to walk; look-ups are binary searches over inline strings.

use crate::{Str, Value};
use std::{cmp::Ordering, sync::Arc};

/// The order of keys, as `str` has it. Most keys of one object differ in their first byte or in their first eight, which
/// saves the call that compares the rest; field names are looked up more often than anything else is done.
#[inline]
pub fn order(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    match (a.first(), b.first()) {
        (Some(x), Some(y)) if x != y => return x.cmp(y),
        _ => {}
    }
    match (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        (Some(x), Some(y)) if x != y => u64::from_be_bytes(*x).cmp(&u64::from_be_bytes(*y)),
        _ => a.cmp(b),
    }
}

/// String keys to values, sorted by key, each key once.
///
/// A copy shares its entries with the original until either changes: a write holds the old, the new and the published
/// state of an object at once, which differ in a few places. Lists are copied, but their objects are shared in turn. The
/// price is a second allocation per map (none for an empty one); a thin one would need `unsafe`.
#[derive(Debug, Clone, Default)]
pub struct Map(Option<Arc<Entries>>);

type Entries = Vec<(Str, Value)>;

impl Map {
    /// An empty map.
    pub const fn new() -> Self {
        Map(None)
    }
    /// Sorts `entries`; of equal keys the last one wins. Returns the keys that stood more than once.
    pub fn from_entries(mut entries: Vec<(Str, Value)>) -> (Self, Vec<Str>) {
        let mut repeated = Vec::new();
        if entries.is_empty() {
            return (Map::new(), repeated);
        }
        if !entries.is_sorted_by(|a, b| order(&a.0, &b.0).is_lt()) {
            entries.sort_by(|a, b| order(&a.0, &b.0)); // stable: of equal keys the later one stays later
            entries.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(later, kept);
                    repeated.push(kept.0.clone());
                }
                same
            });
        }
        (Map(Some(Arc::new(entries))), repeated)
    }
    fn entries(&self) -> &[(Str, Value)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
    /// The entries for a change; nobody else sees it.
    fn own(&mut self) -> &mut Entries {
        Arc::make_mut(self.0.get_or_insert_default())
    }
    fn find(&self, key: &str) -> Result<usize, usize> {
        self.entries().binary_search_by(|(k, _)| order(k, key))
    }
    /// True for two that share their entries, which is quickly known; others may be equal all the same.
    pub fn is_shared_with(&self, other: &Map) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.find(key).ok().map(|i| &self.entries()[i].1)
    }
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.find(key).ok().map(|i| &mut self.own()[i].1)
    }
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }
    /// Sets a key; returns what stood there.
    pub fn insert(&mut self, key: impl Into<Str>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(i) => Some(std::mem::replace(&mut self.own()[i].1, value)),
            Err(i) => {
                self.own().insert(i, (key, value));
                None
            }
        }
    }
    /// The value at `key`, made by `default` where there is none.
    pub fn entry(&mut self, key: &str, default: impl FnOnce() -> Value) -> &mut Value {
        let found = self.find(key);
        let entries = self.own();
        let i = match found {
            Ok(i) => i,
            Err(i) => {
                entries.insert(i, (key.into(), default()));
                i
            }
        };
        &mut entries[i].1
    }
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.find(key).ok().map(|i| self.own().remove(i).1)
    }
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        if !self.is_empty() {
            self.own().retain_mut(|(k, v)| keep(k, v));
        }
    }
    pub fn len(&self) -> usize {
        self.entries().len()
    }
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + DoubleEndedIterator {
        self.entries().iter().map(|(k, v)| (k.as_str(), v))
    }
    /// For a change of any value: what was shared is shared no more. [`Map::get_mut`] changes one.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut Value)> {
        let entries = if self.is_empty() { &mut [] } else { self.own().as_mut_slice() };
        entries.iter_mut().map(|(k, v)| (k.as_str(), v))
    }
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries().iter().map(|(k, _)| k.as_str())
    }
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.entries().iter().map(|(_, v)| v)
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        self.is_shared_with(other) || self.entries() == other.entries()
    }
}

impl IntoIterator for Map {
    type Item = (Str, Value);
    type IntoIter = std::vec::IntoIter<(Str, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default().into_iter()
    }
}

impl<K: Into<Str>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        Map::from_entries(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect()).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_keys_wins_and_is_reported() {
        let entries = vec![("b".into(), 1.into()), ("a".into(), 2.into()), ("b".into(), 3.into())];
        let (map, repeated) = Map::from_entries(entries);
        assert_eq!(map.iter().collect::<Vec<_>>(), [("a", &2.into()), ("b", &3.into())]);
        assert_eq!(repeated, ["b"]);
    }

    #[test]
    fn keys_have_the_order_of_strings() {
        let keys = ["", "a", "ab", "abcdefgh", "abcdefgi", "abcdefgh0", "abcdefghi", "abcdefgZ", "b", "é", "ü", "z"];
        for a in keys {
            for b in keys {
                assert_eq!(order(a, b), a.cmp(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn insert_and_remove_keep_the_order() {
        let mut map: Map = [("b", 1), ("d", 2)].into_iter().collect();
        map.insert("c", 3);
        map.insert("a", 4);
        assert_eq!(map.keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!(map.remove("b"), Some(1.into()));
        assert_eq!(map.get("b"), None);
        *map.entry("z", || Value::Null) = 5.into();
        assert_eq!(map.get("z"), Some(&5.into()));
    }

    #[test]
    fn a_copy_is_shared_until_one_of_both_changes() {
        let mut map: Map = [("a", Value::object()), ("b", [1].into_iter().collect())].into_iter().collect();
        let copy = map.clone();
        assert!(map.is_shared_with(&copy) && map.get_mut("none").is_none() && map.is_shared_with(&copy));
        map.insert("c", 1);
        assert_eq!(map.remove("none"), None);
        let again = map.clone();
        assert!(!map.is_shared_with(&copy) && map != copy && map == again);
        *map.entry("a", || Value::Null) = 2.into();
        map.retain(|key, _| key != "b");
        assert_eq!(map.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(copy.iter().next(), Some(("a", &Value::object())));
        assert_eq!(again.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(copy.len(), 2);
        assert_eq!(Map::new(), Map::from_entries(Vec::new()).0);
    }
}
