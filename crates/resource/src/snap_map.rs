//! An ordered map of shared objects that is cheap to clone: the shape behind lists, watch starts and continue tokens.
//!
//! A sorted vector of sorted chunks, both behind `Arc`s. A clone copies one pointer; a change copies a chunk only while
//! a clone is alive that shares it. Decided against: a balanced persistent tree (an allocation per node, and walking
//! 5,000 objects means chasing 5,000 pointers), and a lock around a `BTreeMap` (a long list would block writers).

use std::{ops::ControlFlow, sync::Arc};
use value::{Object, ObjectKey};

/// A chunk that grows beyond this is split in two.
const CHUNK: usize = 512;

type Chunk = Vec<Arc<Object>>;

/// Objects by namespace and name.
#[derive(Debug, Clone, Default)]
pub struct SnapMap {
    chunks: Arc<Vec<Arc<Chunk>>>,
    len: usize,
}

impl SnapMap {
    pub fn len(&self) -> usize {
        self.len
    }

    /// The chunk where `key` stands or would stand.
    fn chunk_of(&self, key: &ObjectKey) -> usize {
        self.chunks.partition_point(|chunk| chunk[0].key <= *key).saturating_sub(1)
    }

    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        chunk.binary_search_by(|o| o.key.cmp(key)).ok().map(|i| &chunk[i])
    }

    /// Sets an object; returns the one that stood there.
    pub fn insert(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let at = self.chunk_of(&object.key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(shared) = chunks.get_mut(at) else {
            chunks.push(Arc::new(vec![object]));
            self.len += 1;
            return None;
        };
        let chunk = Arc::make_mut(shared);
        match chunk.binary_search_by(|o| o.key.cmp(&object.key)) {
            Ok(i) => Some(std::mem::replace(&mut chunk[i], object)),
            Err(i) => {
                chunk.insert(i, object);
                self.len += 1;
                if chunk.len() > CHUNK {
                    // Names often come in order (a bulk load): leave the full half behind and go on with an empty one.
                    let cut = if i + 1 == chunk.len() { CHUNK } else { CHUNK / 2 };
                    let tail = chunk.split_off(cut);
                    chunks.insert(at + 1, Arc::new(tail));
                }
                None
            }
        }
    }

    pub fn remove(&mut self, key: &ObjectKey) -> Option<Arc<Object>> {
        let at = self.chunk_of(key);
        let found = self.chunks.get(at)?.binary_search_by(|o| o.key.cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let removed = Arc::make_mut(&mut chunks[at]).remove(found);
        if chunks[at].is_empty() {
            chunks.remove(at);
        }
        self.len -= 1;
        Some(removed)
    }

    /// Walks objects in order, from `start` (inclusive) on, until `visit` breaks.
    pub fn walk_from(&self, start: Option<&ObjectKey>, mut visit: impl FnMut(&Arc<Object>) -> ControlFlow<()>) {
        let (first, offset) = match start {
            None => (0, 0),
            Some(key) => {
                let at = self.chunk_of(key);
                (at, self.chunks.get(at).map_or(0, |chunk| chunk.partition_point(|o| o.key < *key)))
            }
        };
        for (i, chunk) in self.chunks.iter().enumerate().skip(first) {
            for object in &chunk[if i == first { offset } else { 0 }..] {
                if visit(object).is_break() {
                    return;
                }
            }
        }
    }

    /// All objects in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The objects of one namespace, in order; all of them for `""`.
    pub fn namespace(&self, namespace: &str) -> Vec<Arc<Object>> {
        if namespace.is_empty() {
            return self.iter().cloned().collect();
        }
        let mut out = Vec::new();
        self.walk_from(Some(&ObjectKey::new(namespace, "")), |o| {
            if o.key.namespace != namespace {
                return ControlFlow::Break(());
            }
            out.push(o.clone());
            ControlFlow::Continue(())
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Revision;
    use std::collections::BTreeMap;
    use value::Meta;

    fn object(namespace: &str, name: &str, revision: u64) -> Arc<Object> {
        Object::new(ObjectKey::new(namespace, name), Revision(revision), Meta::default(), "{}".into())
    }

    #[test]
    fn behaves_as_a_sorted_map_and_clones_stay_as_they_were() {
        let (mut map, mut model) = (SnapMap::default(), BTreeMap::new());
        let mut snapshots = Vec::new();
        let mut seed = 7_u64;
        for step in 0..20_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = format!("n{}", (seed >> 33) % 3000);
            let o = object(if step % 3 == 0 { "a" } else { "b" }, &name, step);
            if (seed >> 20).is_multiple_of(4) {
                assert_eq!(map.remove(&o.key).map(|o| o.revision), model.remove(&o.key));
            } else {
                let old = map.insert(o.clone()).map(|o| o.revision);
                assert_eq!(old, model.insert(o.key.clone(), o.revision));
            }
            if step % 5000 == 0 {
                snapshots.push((map.clone(), model.clone()));
            }
        }
        snapshots.push((map, model));
        for (map, model) in snapshots {
            assert_eq!(map.len(), model.len());
            assert!(map.iter().map(|o| (&o.key, &o.revision)).eq(model.iter()));
            let b: Vec<_> = map.namespace("b").iter().map(|o| o.key.clone()).collect();
            assert!(b.iter().eq(model.keys().filter(|k| k.namespace == "b")));
        }
    }

    #[test]
    fn walks_from_a_key() {
        let mut map = SnapMap::default();
        for i in 0..2000 {
            map.insert(object("ns", &format!("n{i:04}"), i));
        }
        let mut seen = Vec::new();
        map.walk_from(Some(&ObjectKey::new("ns", "n0998x")), |o| {
            seen.push(o.name().to_string());
            if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(seen, ["n0999", "n1000", "n1001"]);
    }
}
