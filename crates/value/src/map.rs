//! A map as a sorted vector: small, ordered, cheap to walk; look-ups are binary searches over inline strings.

use crate::{Str, Value};
use std::cmp::Ordering;

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
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map(Vec<(Str, Value)>);

impl Map {
    /// An empty map.
    pub const fn new() -> Self {
        Map(Vec::new())
    }
    /// Sorts `entries`; of equal keys the last one wins. Returns the keys that stood more than once.
    pub fn from_entries(mut entries: Vec<(Str, Value)>) -> (Self, Vec<Str>) {
        let mut repeated = Vec::new();
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
        (Map(entries), repeated)
    }
    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| order(k, key))
    }
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.find(key).ok().map(|i| &self.0[i].1)
    }
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.find(key).ok().map(|i| &mut self.0[i].1)
    }
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }
    /// Sets a key; returns what stood there.
    pub fn insert(&mut self, key: impl Into<Str>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(i) => Some(std::mem::replace(&mut self.0[i].1, value)),
            Err(i) => {
                self.0.insert(i, (key, value));
                None
            }
        }
    }
    /// The value at `key`, made by `default` where there is none.
    pub fn entry(&mut self, key: &str, default: impl FnOnce() -> Value) -> &mut Value {
        let i = match self.find(key) {
            Ok(i) => i,
            Err(i) => {
                self.0.insert(i, (key.into(), default()));
                i
            }
        };
        &mut self.0[i].1
    }
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.find(key).ok().map(|i| self.0.remove(i).1)
    }
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.0.retain_mut(|(k, v)| keep(k, v));
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + DoubleEndedIterator {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(k, v)| (k.as_str(), v))
    }
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(k, _)| k.as_str())
    }
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.0.iter().map(|(_, v)| v)
    }
}

impl IntoIterator for Map {
    type Item = (Str, Value);
    type IntoIter = std::vec::IntoIter<(Str, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
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
}
