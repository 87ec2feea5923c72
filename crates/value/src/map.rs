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
/// state of an object at once, which differ in a few places. Lists are copied, but their objects are shared in turn.
///
/// What is read is one block of memory in its size, because most of a document is never changed; a map that grows or
/// shrinks becomes a vector, which is a second one.
#[derive(Debug, Clone, Default)]
pub struct Map(Entries);

type Entry = (Str, Value);

#[derive(Debug, Clone, Default)]
enum Entries {
    #[default]
    None,
    Fixed(Arc<[Entry]>),
    Growing(Arc<Vec<Entry>>),
}

impl Map {
    /// An empty map.
    pub const fn new() -> Self {
        Map(Entries::None)
    }
    /// Sorts `entries`; of equal keys the last one wins. Returns the keys that stood more than once.
    pub fn from_entries(mut entries: Vec<Entry>) -> (Self, Vec<Str>) {
        let repeated = sort(&mut entries, 0);
        let map = if entries.is_empty() { Map::new() } else { Map(Entries::Growing(Arc::new(entries))) };
        (map, repeated)
    }
    /// The same of the entries from `start` on, which it takes out.
    pub(crate) fn from_tail(entries: &mut Vec<Entry>, start: usize) -> (Self, Vec<Str>) {
        let repeated = sort(entries, start);
        let map =
            if entries.len() == start { Map::new() } else { Map(Entries::Fixed(entries.drain(start..).collect())) };
        (map, repeated)
    }
    fn entries(&self) -> &[Entry] {
        match &self.0 {
            Entries::None => &[],
            Entries::Fixed(entries) => entries,
            Entries::Growing(entries) => entries,
        }
    }
    /// The entries for a change of their values; nobody else sees it.
    fn own(&mut self) -> &mut [Entry] {
        match &mut self.0 {
            Entries::None => &mut [],
            Entries::Fixed(entries) => Arc::make_mut(entries),
            Entries::Growing(entries) => Arc::make_mut(entries).as_mut_slice(),
        }
    }
    /// The entries for any change.
    fn grow(&mut self) -> &mut Vec<Entry> {
        if !matches!(self.0, Entries::Growing(_)) {
            self.0 = Entries::Growing(Arc::new(std::mem::take(self).into_entries(1)));
        }
        match &mut self.0 {
            Entries::Growing(entries) => Arc::make_mut(entries),
            _ => unreachable!("made so above"),
        }
    }
    /// Moved out where nobody shares them, with room for `more`.
    fn into_entries(self, more: usize) -> Vec<Entry> {
        match self.0 {
            Entries::None => Vec::with_capacity(more),
            Entries::Fixed(mut entries) => {
                let mut out = Vec::with_capacity(entries.len() + more);
                match Arc::get_mut(&mut entries) {
                    Some(own) => out.extend(own.iter_mut().map(std::mem::take)),
                    None => out.extend_from_slice(&entries),
                }
                out
            }
            Entries::Growing(entries) => Arc::unwrap_or_clone(entries),
        }
    }
    fn find(&self, key: &str) -> Result<usize, usize> {
        self.entries().binary_search_by(|(k, _)| order(k, key))
    }
    /// True for two that share their entries, which is quickly known; others may be equal all the same.
    pub fn is_shared_with(&self, other: &Map) -> bool {
        match (&self.0, &other.0) {
            (Entries::Fixed(a), Entries::Fixed(b)) => Arc::ptr_eq(a, b),
            (Entries::Growing(a), Entries::Growing(b)) => Arc::ptr_eq(a, b),
            (Entries::None, Entries::None) => true,
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
                self.grow().insert(i, (key, value));
                None
            }
        }
    }
    /// The value at `key`, made by `default` where there is none.
    pub fn entry(&mut self, key: &str, default: impl FnOnce() -> Value) -> &mut Value {
        match self.find(key) {
            Ok(i) => &mut self.own()[i].1,
            Err(i) => {
                let entries = self.grow();
                entries.insert(i, (key.into(), default()));
                &mut entries[i].1
            }
        }
    }
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.find(key).ok().map(|i| self.grow().remove(i).1)
    }
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        let mut gone = Vec::new();
        for (i, (k, v)) in self.own().iter_mut().enumerate() {
            if !keep(k, v) {
                gone.push(i);
            }
        }
        if !gone.is_empty() {
            let (mut gone, mut i) = (gone.into_iter().peekable(), 0..);
            self.grow().retain(|_| gone.next_if_eq(&i.next().unwrap_or_default()).is_none());
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
        self.own().iter_mut().map(|(k, v)| (k.as_str(), v))
    }
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries().iter().map(|(k, _)| k.as_str())
    }
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.entries().iter().map(|(_, v)| v)
    }
}

/// Sorts what stands from `start` on; of equal keys the last one wins. The keys that stood more than once.
fn sort(entries: &mut Vec<Entry>, start: usize) -> Vec<Str> {
    let mut repeated = Vec::new();
    let ordered = |entries: &[Entry]| entries.is_sorted_by(|a, b| order(&a.0, &b.0).is_lt());
    if ordered(&entries[start..]) {
        return repeated;
    }
    entries[start..].sort_by(|a, b| order(&a.0, &b.0)); // stable: of equal keys the later one stays later
    if !ordered(&entries[start..]) {
        let mut tail = entries.split_off(start);
        tail.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
                repeated.push(kept.0.clone());
            }
            same
        });
        entries.append(&mut tail);
    }
    repeated
}

impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        self.is_shared_with(other) || self.entries() == other.entries()
    }
}

impl IntoIterator for Map {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;
    fn into_iter(self) -> Self::IntoIter {
        self.into_entries(0).into_iter()
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
    fn the_end_of_a_stack_becomes_a_map() {
        let entry = |k: &str, v: i64| (Str::from(k), Value::from(v));
        let mut stack = vec![entry("z", 0), entry("b", 1), entry("a", 2), entry("b", 3)];
        let (map, repeated) = Map::from_tail(&mut stack, 1);
        assert_eq!((stack.len(), repeated), (1, vec!["b".into()]));
        assert_eq!(map.iter().collect::<Vec<_>>(), [("a", &2.into()), ("b", &3.into())]);
        assert_eq!(Map::from_tail(&mut stack, 1), (Map::new(), vec![]));
    }

    #[test]
    fn a_copy_does_not_see_changes() {
        type Change = fn(&mut Map);
        let changes: [(Change, &str); 7] = [
            (|m| drop(m.insert("b", 7)), r#"{"a":1,"b":7}"#),
            (|m| drop(m.insert("0", 7)), r#"{"0":7,"a":1,"b":2}"#),
            (|m| *m.entry("a", || Value::Null) = 7.into(), r#"{"a":7,"b":2}"#),
            (|m| *m.entry("c", || Value::Null) = 7.into(), r#"{"a":1,"b":2,"c":7}"#),
            (|m| drop(m.remove("a")), r#"{"b":2}"#),
            (
                |m| {
                    m.retain(|k, v| {
                        *v = 7.into();
                        k == "b"
                    })
                },
                r#"{"b":7}"#,
            ),
            (|m| m.iter_mut().for_each(|(_, v)| *v = 7.into()), r#"{"a":7,"b":7}"#),
        ];
        let read = || match crate::parse_lenient(br#"{"a":1,"b":2}"#) {
            Ok(Value::Object(map)) => map,
            other => panic!("{other:?}"),
        };
        for (change, expected) in changes {
            let built: Map = [("a", 1), ("b", 2)].into_iter().collect();
            for mut map in [read(), built] {
                let copy = map.clone();
                assert!(copy.is_shared_with(&map));
                change(&mut map);
                assert_eq!(Value::Object(map.clone()).to_string(), expected);
                assert_eq!(copy, read());
                // Where nobody shares it, too.
                let mut own = read();
                change(&mut own);
                assert_eq!(own, map);
                assert_eq!(map.into_iter().count(), own.len());
            }
        }
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
