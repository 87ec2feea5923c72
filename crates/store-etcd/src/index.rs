//! From etcd's events to changes: ours out of all, with the revision that each replaced.

use crate::{
    proto::{Event, KeyValue},
    revision,
};
use bytes::Bytes;
use std::{collections::HashMap, sync::Arc};
use store::{Change, Item};

/// etcd's kind of an event that deletes.
const DELETE: i32 = 1;

/// Which revision wrote each of our keys last, and up to where events were taken.
pub struct Index {
    prefix: String,
    keys: HashMap<Arc<str>, i64>,
    /// All events up to here were taken.
    pub seen: i64,
}

impl Index {
    pub fn new(prefix: &str) -> Self {
        Index { prefix: prefix.into(), keys: HashMap::new(), seen: 0 }
    }

    /// Begins anew with a state.
    pub fn begin(&mut self, at: i64, items: &[Item]) {
        self.keys = items.iter().map(|(key, modified, _)| (key.clone(), crate::number(*modified))).collect();
        self.seen = at;
    }

    /// The changes of our keys, of events in order; what was taken before is left out.
    pub fn take(&mut self, events: Vec<Event>) -> Vec<Change> {
        let mut changes = Vec::with_capacity(events.len());
        let (seen, mut last) = (self.seen, self.seen);
        for Event { kind, item } in events {
            let Some(item) = item.filter(|item| item.modified > seen) else { continue };
            last = last.max(item.modified);
            let Some(key) = std::str::from_utf8(&item.key).ok().filter(|key| key.starts_with(&self.prefix)) else {
                continue;
            };
            let at = revision(item.modified);
            if kind == DELETE {
                // A key that was never seen is one that came and went in a transaction of somebody else.
                if let Some((key, previous)) = self.keys.remove_entry(key) {
                    changes.push(Change { key, revision: at, value: None, previous: Some(revision(previous)) });
                }
                continue;
            }
            let (key, previous) = match self.keys.get_key_value(key) {
                Some((key, previous)) => (key.clone(), Some(revision(*previous))),
                None => (Arc::from(key), None),
            };
            self.keys.insert(key.clone(), item.modified);
            changes.push(Change { key, revision: at, value: Some(item.value), previous });
        }
        self.seen = last;
        changes
    }
}

/// What a range answered; `None` for a key that is no text, which is not ours.
pub fn item(item: KeyValue) -> Option<Item> {
    Some((Arc::from(std::str::from_utf8(&item.key).ok()?), revision(item.modified), item.value))
}

/// The first key behind all that begin with a prefix; `\0`, which is etcd's "to the end", where there is none.
pub fn successor(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte < 0xff);
    let Some(last) = kept else { return Bytes::from_static(b"\0") };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: i32, key: &'static str, modified: i64, value: &'static str) -> Event {
        let item = KeyValue { key: key.into(), modified, value: value.into(), ..Default::default() };
        Event { kind, item: Some(item) }
    }

    fn show(changes: &[Change]) -> String {
        let show = |c: &Change| {
            let value = c.value.as_ref().map_or("-".into(), |v| String::from_utf8_lossy(v).into_owned());
            format!("{}:{}={value}<{}", c.revision, c.key, c.previous.unwrap_or_default())
        };
        changes.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn events_become_changes() {
        let mut index = Index::new("/registry/");
        index.begin(5, &[("/registry/a".into(), revision(3), Bytes::new())]);
        let mut take = |events| show(&index.take(events));
        assert_eq!(
            take(vec![event(0, "/registry/a", 6, "x"), event(0, "/registry/b", 6, "y")]),
            "6:/registry/a=x<3 6:/registry/b=y<0"
        );
        // A stream that begins again tells what is known.
        assert_eq!(take(vec![event(0, "/registry/b", 6, "y"), event(1, "/registry/b", 7, "")]), "7:/registry/b=-<6");
        // Foreign keys move the revision and nothing else.
        assert_eq!(take(vec![event(0, "compact_rev_key", 8, "7"), event(1, "/registry/none", 9, "")]), "");
        assert_eq!(take(vec![event(0, "/registry/b", 9, "z")]), "");
        assert_eq!(take(vec![event(0, "/registry/b", 10, "z")]), "10:/registry/b=z<0");
        assert_eq!(index.seen, 10);
    }

    #[test]
    fn successors() {
        for (prefix, end) in [("/registry/", "/registry0"), ("a", "b"), ("", "\0")] {
            assert_eq!(successor(prefix.as_bytes()), end);
        }
        assert_eq!(successor(b"a\xff\xff"), "b");
        assert_eq!(successor(b"\xff"), "\0");
    }
}
