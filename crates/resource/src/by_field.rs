//! The objects of a kind by the value of one field: pods by node. Changed under the cache's lock together with the
//! objects, so that there is no moment at which the one knows what the other does not.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};
use value::{Object, ObjectKey, Str};

/// An index by one selectable field. Objects without a value are not in it.
#[derive(Default)]
pub struct ByField {
    /// The field's place among the kind's selectable ones; `None` for a kind without an index.
    field: Option<usize>,
    values: HashMap<Str, BTreeMap<ObjectKey, Arc<Object>>>,
}

impl ByField {
    pub fn new(field: Option<usize>) -> Self {
        ByField { field, values: HashMap::new() }
    }

    /// An object came in the place of another one.
    pub fn put(&mut self, previous: Option<&Object>, object: &Arc<Object>) {
        let Some(field) = self.field else { return };
        let value = |object: &Object| object.meta.fields.get(field).cloned().unwrap_or_default();
        let new = value(object);
        if let Some(previous) = previous.filter(|previous| value(previous) != new) {
            self.take(previous);
        }
        if !new.is_empty() {
            self.values.entry(new).or_default().insert(object.key.clone(), object.clone());
        }
    }

    /// An object went.
    pub fn take(&mut self, object: &Object) {
        let Some(value) = self.field.and_then(|field| object.meta.fields.get(field)) else { return };
        if let Some(objects) = self.values.get_mut(value) {
            objects.remove(&object.key);
            if objects.is_empty() {
                self.values.remove(value);
            }
        }
    }

    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// The objects with a value, of one namespace where given; `None` where there is no index.
    pub fn find(&self, value: &str, namespace: Option<&str>) -> Option<Vec<Arc<Object>>> {
        self.field.filter(|_| !value.is_empty())?;
        let Some(objects) = self.values.get(value) else { return Some(Vec::new()) };
        let Some(namespace) = namespace else { return Some(objects.values().cloned().collect()) };
        let from = (Bound::Included(ObjectKey::new(namespace, "")), Bound::Unbounded);
        let found = objects.range(from).take_while(|(key, _)| key.namespace == namespace);
        Some(found.map(|(_, object)| object.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Revision;
    use value::Meta;

    fn pod(namespace: &str, name: &str, node: &str) -> Arc<Object> {
        let meta = Meta { fields: ["x".into(), Str::from(node)].into(), ..Meta::default() };
        Object::new(ObjectKey::new(namespace, name), Revision(1), meta, "{}".into())
    }

    fn names(index: &ByField, node: &str, namespace: Option<&str>) -> Vec<String> {
        index.find(node, namespace).unwrap().iter().map(|o| o.key.to_string()).collect()
    }

    #[test]
    fn objects_are_found_where_their_field_says() {
        let mut index = ByField::new(Some(1));
        let (unbound, bound) = (pod("b", "p", ""), pod("b", "p", "n1"));
        index.put(None, &unbound);
        assert!(names(&index, "n1", None).is_empty());
        index.put(Some(&unbound), &bound);
        for (namespace, name) in [("a", "q"), ("b", "a"), ("bb", "p")] {
            index.put(None, &pod(namespace, name, "n1"));
        }
        index.put(None, &pod("b", "r", "n2"));
        assert_eq!(names(&index, "n1", None), ["a/q", "b/a", "b/p", "bb/p"]);
        assert_eq!(names(&index, "n1", Some("b")), ["b/a", "b/p"]);
        assert_eq!(names(&index, "n2", Some("b")), ["b/r"]);
        assert!(names(&index, "n3", None).is_empty());
        let moved = pod("b", "p", "n2");
        index.put(Some(&bound), &moved);
        assert_eq!(
            (names(&index, "n1", Some("b")), names(&index, "n2", Some("b"))),
            (vec!["b/a".into()], vec!["b/p".into(), "b/r".into()])
        );
        index.take(&moved);
        index.take(&pod("b", "r", "n2"));
        assert!(names(&index, "n2", None).is_empty() && index.values.len() == 1);
        assert!(index.find("", None).is_none() && ByField::default().find("n1", None).is_none());
    }
}
