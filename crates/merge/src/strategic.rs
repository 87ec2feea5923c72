//! Strategic merge patch: lists merge by key where the schema says so, and directives say what merging cannot.
//!
//! `$patch: replace|delete`, `$retainKeys`, `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>`.
//! Source of the rules: `k8s.io/apimachinery/pkg/util/strategicpatch`, in particular the order of merged lists: the order
//! in the patch wins, what only the server has keeps its place as well as it can.

use crate::{managed::go_text, merge::without_nulls};
use base::{Result, Status};
use schema::{Arena, NodeId, Patch, Schema};
use std::collections::HashMap;
use value::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// The patched object.
pub(crate) fn apply(schema: &Schema, mut current: Value, patch: &Value) -> Result<Value> {
    let (arena, id) = schema.parts();
    if !matches!(current, Value::Object(_)) {
        current = Value::object();
    }
    if let (Value::Object(original), Value::Object(patch)) = (&mut current, patch) {
        Merger { arena }.map(original, patch, Some(id))?;
    }
    Ok(current)
}

struct Merger<'a> {
    arena: &'a Arena,
}

/// How a field merges.
#[derive(Clone, Copy)]
struct How<'a> {
    /// The node of the field's value.
    node: Option<NodeId>,
    merge: bool,
    /// An object is replaced as a whole.
    whole: bool,
    /// Empty for lists of scalars.
    key: &'a str,
}

impl<'a> Merger<'a> {
    fn how(&self, node: Option<NodeId>, field: &str) -> How<'a> {
        let none = How { node: None, merge: false, whole: false, key: "" };
        let Some(node) = node.map(|id| &self.arena[id]) else { return none };
        match (node.field(field), node.additional) {
            (Some(f), _) => {
                let merge = matches!(f.patch, Patch::Merge | Patch::MergeRetainKeys);
                How { node: Some(f.node), merge, whole: f.patch == Patch::Whole, key: &f.merge_key }
            }
            (None, additional) => How { node: additional, ..none },
        }
    }

    fn map(&self, original: &mut Map, patch: &Map, node: Option<NodeId>) -> Result<()> {
        match patch.get(PATCH).map(|directive| directive.as_str().unwrap_or("")) {
            None => {}
            Some("replace") => {
                *original = patch.iter().filter(|(k, _)| *k != PATCH).map(|(k, v)| (k, v.clone())).collect();
                return Ok(());
            }
            Some("delete") => {
                *original = Map::new();
                return Ok(());
            }
            Some(other) => return Err(unknown_directive(other, patch)),
        }
        retain_keys(original, patch)?;
        let mut ordered: Vec<&str> = Vec::new();
        for (key, order) in patch.iter() {
            if let Some(field) = key.strip_prefix(SET_ORDER) {
                self.set_order(original, patch, field, order, self.how(node, field))?;
                ordered.push(field);
            }
        }
        for (key, change) in patch.iter() {
            if key == RETAIN || key.starts_with(SET_ORDER) || ordered.contains(&key) {
                continue;
            }
            match key.strip_prefix(DELETE_FROM) {
                Some(field) => delete_from(original, field, change)?,
                None => self.member(original, key, change, self.how(node, key))?,
            }
        }
        Ok(())
    }

    fn member(&self, original: &mut Map, key: &str, change: &Value, how: How) -> Result<()> {
        match (original.get_mut(key), change) {
            (_, Value::Null) => {
                original.remove(key);
            }
            (Some(Value::Object(old)), Value::Object(new)) if !how.whole => self.map(old, new, how.node)?,
            (Some(Value::Array(old)), Value::Array(new)) if how.merge => {
                let merged = self.list(std::mem::take(old), new, how)?;
                *old = merged;
            }
            (Some(Value::Array(old)), Value::Array(new)) => *old = new.clone(),
            _ => match fresh(change) {
                Some(value) => {
                    original.insert(key, value);
                }
                None => {
                    original.remove(key);
                }
            },
        }
        Ok(())
    }

    /// Merges two lists and puts the result in order.
    fn list(&self, original: Vec<Value>, patch: &[Value], how: How) -> Result<Vec<Value>> {
        if original.is_empty() && patch.is_empty() {
            return Ok(original);
        }
        let objects = original.iter().chain(patch).any(|v| matches!(v, Value::Object(_)));
        if !objects {
            let (server, wanted) = (Ranks::new(original.iter()), Ranks::new(patch.iter()));
            let mut seen = Ranks::default();
            let mut merged = original;
            merged.extend(patch.iter().cloned());
            merged.retain(|item| seen.add(item, 0));
            return Ok(arrange(merged, &wanted, &server, ""));
        }
        if how.key.is_empty() {
            return Err(Status::plain("cannot merge lists without merge key"));
        }
        self.keyed_list(original, patch, how)
    }

    fn keyed_list(&self, mut merged: Vec<Value>, patch: &[Value], how: How) -> Result<Vec<Value>> {
        let (mut plain, mut gone, mut replace): (Vec<&Value>, Ranks, bool) = (Vec::new(), Ranks::default(), false);
        for item in patch {
            let Value::Object(map) = item else { return Err(bad_type("map", item)) };
            match map.get(PATCH).map(|directive| directive.as_str().unwrap_or("")) {
                None => plain.push(item),
                Some("delete") => {
                    gone.add(key_of(item, how.key)?, 0);
                }
                Some("replace") => replace = true,
                Some("merge") => return Err(Status::plain("merging lists cannot yet be specified in the patch")),
                Some(other) => return Err(unknown_directive(other, map)),
            }
        }
        if replace {
            return Ok(plain.into_iter().cloned().collect());
        }
        merged.retain(|old| gone.of(ident(old, how.key)).is_none());
        let server = Ranks::new(merged.iter().map(|v| ident(v, how.key)));
        let mut places = Ranks::new(merged.iter().map(|v| ident(v, how.key)));
        let item_node = how.node.and_then(|id| self.arena[id].items);
        for item in &plain {
            let value = key_of(item, how.key)?;
            let found = places.of(value).and_then(|i| merged.get_mut(i));
            match (found, item) {
                (Some(Value::Object(old)), Value::Object(new)) => self.map(old, new, item_node)?,
                _ => {
                    places.add(value, merged.len());
                    merged.extend(fresh(item));
                }
            }
        }
        let wanted = Ranks::new(plain.iter().map(|item| ident(item, how.key)));
        Ok(arrange(merged, &wanted, &server, how.key))
    }

    /// `$setElementOrder/<field>`: merges the list of the same patch and enforces the given order.
    fn set_order(&self, original: &mut Map, patch: &Map, field: &str, order: &Value, how: How) -> Result<()> {
        let Value::Array(order) = order else { return Err(bad_type("list", order)) };
        let change = match patch.get(field) {
            Some(Value::Array(items)) => Some(items),
            Some(Value::Null) | None => None,
            Some(other) => return Err(bad_type("list", other)),
        };
        let old = match original.get_mut(field) {
            Some(Value::Array(items)) => Some(std::mem::take(items)),
            Some(Value::Null) | None => None,
            Some(other) => return Err(bad_type("list", other)),
        };
        let keys: Vec<&Value> = order
            .iter()
            .map(|item| if how.key.is_empty() { Ok(item) } else { key_of(item, how.key) })
            .collect::<Result<_>>()?;
        if let Some(change) = change {
            check_order(change, &keys, how.key)?;
        }
        let server = Ranks::new(old.iter().flatten().map(|v| ident(v, how.key)));
        let merged = match (old, change) {
            (None, None) => return Ok(()),
            (Some(old), None) => old,
            (None, Some(change)) => change.iter().filter_map(fresh).collect(),
            (Some(old), Some(change)) if how.merge => self.list(old, change, how)?,
            (Some(_), Some(change)) => change.clone(),
        };
        original.insert(field, Value::Array(arrange(merged, &Ranks::new(keys.into_iter()), &server, how.key)));
        Ok(())
    }
}

/// The items of the patch must stand in the order that the directive gives, and each must be named in it.
fn check_order(change: &[Value], keys: &[&Value], key: &str) -> Result<()> {
    let mut rest = keys.iter();
    for item in change.iter().filter(|item| item.get(PATCH).is_none()) {
        if !keys.is_empty() && !rest.any(|k| *k == ident(item, key)) {
            let patch = go_text(&Value::Array(change.to_vec()));
            let order = go_text(&keys.iter().map(|k| (*k).clone()).collect());
            let text = format!("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n");
            return Err(Status::plain(text));
        }
    }
    Ok(())
}

/// What tells an item of a list from the others: its merge key, or itself.
fn ident<'v>(item: &'v Value, key: &str) -> &'v Value {
    if key.is_empty() { item } else { item.get(key).unwrap_or(&Value::Null) }
}

/// Positions by what tells items apart; of equal ones the first. Lists may be long, so nothing is searched in them.
#[derive(Default)]
struct Ranks(HashMap<Vec<u8>, usize>);

impl Ranks {
    fn new<'v>(items: impl Iterator<Item = &'v Value>) -> Self {
        let mut ranks = Ranks::default();
        items.enumerate().for_each(|(i, item)| {
            ranks.add(item, i);
        });
        ranks
    }
    /// False where it stood already.
    fn add(&mut self, ident: &Value, at: usize) -> bool {
        let before = self.0.len();
        self.0.entry(ident.to_json()).or_insert(at);
        self.0.len() > before
    }
    fn of(&self, ident: &Value) -> Option<usize> {
        self.0.get(&ident.to_json()).copied()
    }
}

/// Items that `wanted` names, in its order, interleaved with the others by the order that the server had.
fn arrange(merged: Vec<Value>, wanted: &Ranks, server: &Ranks, key: &str) -> Vec<Value> {
    type Ranked = (Option<usize>, Option<usize>, Value);
    let ranked = merged.into_iter().map(|item| (wanted.of(ident(&item, key)), server.of(ident(&item, key)), item));
    let (mut named, others): (Vec<Ranked>, Vec<Ranked>) = ranked.partition(|(wanted, _, _)| wanted.is_some());
    named.sort_by_key(|(wanted, _, _)| *wanted);
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut left, mut right) = (others.into_iter().peekable(), named.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((_, l, _)), Some((_, r, _))) => matches!((l, r), (Some(l), Some(r)) if l < r),
        };
        out.extend(if take_left { left.next() } else { right.next() }.map(|(_, _, item)| item));
    }
}

/// `$retainKeys`: members that the list does not name go; the patch may touch no other.
fn retain_keys(original: &mut Map, patch: &Map) -> Result<()> {
    let Some(keys) = patch.get(RETAIN) else { return Ok(()) };
    let bad = || Status::bad_request("invalid patch format of retainKeys");
    let keys = keys.as_array().ok_or_else(bad)?;
    let named = |key: &str| keys.iter().any(|k| *k == key);
    let directive = |key: &str| key == RETAIN || key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    if patch.iter().any(|(k, v)| !v.is_null() && !directive(k) && !named(k)) {
        return Err(bad());
    }
    original.retain(|key, _| named(key));
    Ok(())
}

fn delete_from(original: &mut Map, field: &str, gone: &Value) -> Result<()> {
    let gone = gone.as_array().ok_or_else(|| Status::bad_request("invalid patch format of primitive list"))?;
    if let Some(Value::Array(items)) = original.get_mut(field) {
        let gone = Ranks::new(gone.iter());
        items.retain(|item| gone.of(item).is_none());
    }
    Ok(())
}

/// A value of the patch that nothing stood in the way of: without nulls and without directives. `None` where it is
/// itself a directive.
fn fresh(value: &Value) -> Option<Value> {
    let mut value = without_nulls(value);
    strip(&mut value).then_some(value)
}

fn strip(value: &mut Value) -> bool {
    match value {
        Value::Object(map) => {
            if map.contains_key(PATCH) {
                return false;
            }
            map.retain(|key, member| {
                key != RETAIN && !key.starts_with(SET_ORDER) && !key.starts_with(DELETE_FROM) && strip(member)
            });
        }
        Value::Array(items) => items.retain_mut(strip),
        _ => {}
    }
    true
}

fn key_of<'v>(item: &'v Value, key: &str) -> Result<&'v Value> {
    item.get(key)
        .ok_or_else(|| Status::plain(format!("map: {} does not contain declared merge key: {key}", go_text(item))))
}

fn unknown_directive(directive: &str, patch: &Map) -> Status {
    let patch = go_text(&Value::Object(patch.clone()));
    Status::plain(format!("unknown patch type: {directive} in map: {patch}"))
}

fn bad_type(expected: &str, actual: &Value) -> Status {
    Status::plain(format!("expected a {expected}, but received a {}", actual.type_name()))
}

#[cfg(test)]
mod tests {
    use schema::builtin;
    use value::parse_lenient;

    /// Patches the spec of a Pod.
    #[track_caller]
    fn check(current: &str, patch: &str, want: Result<&str, &str>) {
        let wrap = |spec: &str| parse_lenient(format!(r#"{{"spec":{spec}}}"#).as_bytes()).unwrap();
        let pod = builtin::of("", "v1", "Pod").unwrap();
        let got = super::apply(&pod, wrap(current), &wrap(patch));
        match want {
            Ok(want) => assert_eq!(got.unwrap().at(&["spec"]).to_string(), want),
            Err(want) => {
                let status = got.unwrap_err();
                assert!(status.message().contains(want), "{}", status.message());
            }
        }
    }

    #[test]
    fn lists_merge_by_key() {
        let two = r#"{"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"}]}"#;
        check(
            two,
            r#"{"containers":[{"name":"b","image":"3"}]}"#,
            Ok(r#"{"containers":[{"image":"1","name":"a"},{"image":"3","name":"b"}]}"#),
        );
        check(
            two,
            r#"{"containers":[{"name":"c"}]}"#,
            Ok(r#"{"containers":[{"name":"c"},{"image":"1","name":"a"},{"image":"2","name":"b"}]}"#),
        );
        check(
            two,
            r#"{"containers":[{"name":"a","$patch":"delete"}]}"#,
            Ok(r#"{"containers":[{"image":"2","name":"b"}]}"#),
        );
        check(two, r#"{"containers":[{"$patch":"replace"},{"name":"x"}]}"#, Ok(r#"{"containers":[{"name":"x"}]}"#));
        check(two, r#"{"containers":null}"#, Ok("{}"));
        check(two, r#"{"containers":[{"image":"x"}]}"#, Err("does not contain declared merge key: name"));
        check(
            two,
            r#"{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]}"#,
            Ok(r#"{"containers":[{"image":"2","name":"b"},{"image":"1","name":"a"}]}"#),
        );
        check(
            two,
            r#"{"$setElementOrder/containers":[{"name":"b"},{"name":"c"}],"containers":[{"name":"c","image":"9"}]}"#,
            Ok(r#"{"containers":[{"image":"1","name":"a"},{"image":"2","name":"b"},{"image":"9","name":"c"}]}"#),
        );
        check(
            two,
            r#"{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"c"}]}"#,
            Err("doesn't match $setElementOrder list"),
        );
    }

    #[test]
    fn maps_scalars_and_lists_without_strategy() {
        check(
            r#"{"nodeSelector":{"a":"1","b":"2"}}"#,
            r#"{"nodeSelector":{"a":null,"c":"3"}}"#,
            Ok(r#"{"nodeSelector":{"b":"2","c":"3"}}"#),
        );
        check(
            r#"{"nodeSelector":{"a":"1"}}"#,
            r#"{"nodeSelector":{"$patch":"replace","c":"3"}}"#,
            Ok(r#"{"nodeSelector":{"c":"3"}}"#),
        );
        check(r#"{"nodeSelector":{"a":"1"}}"#, r#"{"nodeSelector":{"$patch":"delete"}}"#, Ok(r#"{"nodeSelector":{}}"#));
        check(
            r#"{"tolerations":[{"key":"a"}]}"#,
            r#"{"tolerations":[{"key":"b"}]}"#,
            Ok(r#"{"tolerations":[{"key":"b"}]}"#),
        );
        check(r#"{}"#, r#"{"securityContext":{"runAsUser":1,"x":null}}"#, Ok(r#"{"securityContext":{"runAsUser":1}}"#));
        check(r#"{}"#, r#"{"securityContext":{"$patch":"other"}}"#, Ok("{}"));
        check(
            r#"{"securityContext":{}}"#,
            r#"{"securityContext":{"$patch":"other"}}"#,
            Err("unknown patch type: other"),
        );
    }

    #[test]
    fn an_object_may_be_replaced_as_a_whole() {
        let budget = builtin::of("policy", "v1", "PodDisruptionBudget").unwrap();
        let current = parse_lenient(br#"{"spec":{"selector":{"matchLabels":{"a":"b"}}}}"#).unwrap();
        let patch = parse_lenient(br#"{"spec":{"selector":{"matchLabels":{"c":"d"}}}}"#).unwrap();
        assert_eq!(super::apply(&budget, current, &patch).unwrap(), patch);
    }

    #[test]
    fn primitive_lists_and_retained_keys() {
        let pod = builtin::of("", "v1", "Pod").unwrap();
        let run = |current: &str, patch: &str| {
            let (current, patch) =
                (parse_lenient(current.as_bytes()).unwrap(), parse_lenient(patch.as_bytes()).unwrap());
            super::apply(&pod, current, &patch).map(|v| v.to_string())
        };
        let current = r#"{"metadata":{"finalizers":["a","b"]}}"#;
        assert_eq!(
            run(current, r#"{"metadata":{"finalizers":["c","b"]}}"#).unwrap(),
            r#"{"metadata":{"finalizers":["c","a","b"]}}"#
        );
        assert_eq!(
            run(current, r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}"#).unwrap(),
            r#"{"metadata":{"finalizers":["b"]}}"#
        );
        let volumes = r#"{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}}"#;
        let patch = r#"{"spec":{"volumes":[{"$retainKeys":["name","hostPath"],"name":"v","hostPath":{"path":"/x"}}]}}"#;
        assert_eq!(run(volumes, patch).unwrap(), r#"{"spec":{"volumes":[{"hostPath":{"path":"/x"},"name":"v"}]}}"#);
        let wrong = r#"{"spec":{"volumes":[{"$retainKeys":["name"],"name":"v","hostPath":{}}]}}"#;
        assert_eq!(run(volumes, wrong).unwrap_err().message(), "invalid patch format of retainKeys");
    }
}
