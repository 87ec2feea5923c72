//! A set of fields, which is a FieldsV1 document: the stored form is the working form.
//!
//! Keys are steps ([`super::element`]); `{}` below a step says that it is a member, `".":{}` beside others that it is one
//! together with them. Decided against: a tree of decoded path elements as upstream has it, because every update would
//! decode the sets of all managers only to leave most of them as they are. Here a change of three fields touches three
//! places. The price: items with numbers in their keys stand in the order of their text (`10` before `9`), where
//! upstream's order is that of the numbers.
//!
//! Invariants: steps have their canonical spelling; there is no step with nothing in or below it, and no `.` at the root.

use super::element;
use value::{Map, Str, Value};

/// The mark of a step that is a member beside what stands below it.
const SELF: &str = ".";

/// Fields of one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FieldSet(pub(crate) Map);

/// A member without anything below.
const LEAF: Value = Value::object();

impl FieldSet {
    pub const fn new() -> Self {
        FieldSet(Map::new())
    }
    /// Reads a FieldsV1 document that a client wrote. Steps of a kind that is not known are passed over; a step that
    /// cannot be read is an error.
    pub fn read(fields: &Value) -> Result<Self, String> {
        match fields {
            Value::Null => Ok(FieldSet::new()),
            Value::Object(map) => Ok(FieldSet(read(map)?.0)),
            other => Err(format!("expected an object: {other}")),
        }
    }
    /// Whether a document looks like FieldsV1: objects all the way down, and steps with a colon in their place.
    pub(crate) fn check(fields: &Value) -> Result<(), String> {
        let Value::Object(map) = fields else { return Err(format!("expected an object: {fields}")) };
        map.iter().try_for_each(|(step, below)| match step.as_bytes() {
            b"." | [_, b':', ..] => FieldSet::check(below),
            _ => Err(format!("missing colon: {step}")),
        })
    }
    /// A FieldsV1 document that was written from a set.
    pub(crate) fn trusted(fields: &Value) -> Self {
        FieldSet(fields.as_object().cloned().unwrap_or_default())
    }
    /// The FieldsV1 document.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }
    /// The FieldsV1 document as JSON.
    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// True where the step at the end of `path` is a member.
    pub fn contains(&self, path: &[Str]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let parent = parents.iter().try_fold(&self.0, |map, step| map.get(step)?.as_object());
        parent.and_then(|map| map.get(last)).is_some_and(is_member)
    }
    /// Adds one field; its parents do not become members by that.
    pub fn insert(&mut self, path: &[Str]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut map = &mut self.0;
        for step in parents {
            // A leaf on the way stays a member beside what comes below it.
            let known = map.contains_key(step);
            let Value::Object(below) = map.entry(step, || LEAF) else { return };
            if known && below.is_empty() {
                below.insert(SELF, LEAF);
            }
            map = below;
        }
        match map.entry(last, || LEAF) {
            Value::Object(below) if !below.is_empty() => {
                below.insert(SELF, LEAF);
            }
            _ => {}
        }
    }
    /// Adds all fields of another set.
    pub fn unite(&mut self, other: &FieldSet) {
        unite(&mut self.0, &other.0);
    }
    /// Removes the fields of another set; what stands below a removed one stays.
    pub fn subtract(&mut self, other: &FieldSet) {
        subtract(&mut self.0, &other.0, false);
    }
    /// Removes the fields of another set with everything below them.
    pub fn subtract_deep(&mut self, other: &FieldSet) {
        subtract(&mut self.0, &other.0, true);
    }
    /// The fields that are in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        FieldSet(intersect(&self.0, &other.0))
    }
    /// The fields below which there is no other.
    pub fn leaves(&self) -> FieldSet {
        fn of(map: &Map) -> Map {
            let below = map.iter().filter(|(step, _)| *step != SELF);
            below.map(|(step, v)| (step, v.as_object().map_or(LEAF, |m| Value::Object(of(m))))).collect()
        }
        FieldSet(of(&self.0))
    }
    /// The fields at or below one of the given places; an empty place keeps everything.
    pub fn only_below(&self, places: &[Vec<Str>]) -> FieldSet {
        if places.iter().any(Vec::is_empty) {
            return self.clone();
        }
        let mut out = Map::new();
        for (step, below) in self.0.iter() {
            let inner: Vec<Vec<Str>> =
                places.iter().filter(|p| p.first().is_some_and(|s| s == step)).map(|p| p[1..].to_vec()).collect();
            let Some(map) = below.as_object().filter(|_| !inner.is_empty()) else { continue };
            let mut kept = match inner.iter().any(Vec::is_empty) {
                true => map.clone(),
                // A place below: the step itself is kept where it is a member, as upstream's matcher does.
                false => FieldSet(without_self(map)).only_below(&inner).0,
            };
            match (is_member(below), kept.is_empty()) {
                (false, true) => continue,
                (true, false) => {
                    kept.insert(SELF, LEAF);
                }
                _ => {}
            }
            out.insert(step, Value::Object(kept));
        }
        FieldSet(out)
    }
    /// Every field, parents before what is below them; members of one level come first.
    pub fn each(&self, mut visit: impl FnMut(&[Str])) {
        fn walk(map: &Map, path: &mut Vec<Str>, visit: &mut impl FnMut(&[Str])) {
            let steps = || map.iter().filter(|(step, _)| *step != SELF);
            for (step, _) in steps().filter(|(_, below)| is_member(below)) {
                path.push(step.into());
                visit(path);
                path.pop();
            }
            for (step, below) in steps() {
                if let Some(below) = below.as_object().filter(|m| !m.is_empty()) {
                    path.push(step.into());
                    walk(below, path, visit);
                    path.pop();
                }
            }
        }
        walk(&self.0, &mut Vec::new(), &mut visit);
    }
    /// What stands below one step, without the step itself.
    pub(crate) fn below(&self, step: &str) -> Option<FieldSet> {
        let map = self.0.get(step)?.as_object()?;
        let below = without_self(map);
        (!below.is_empty()).then_some(FieldSet(below))
    }
    /// True where one step is a member.
    pub(crate) fn has(&self, step: &str) -> bool {
        self.0.get(step).is_some_and(is_member)
    }
    /// The steps at the root with copies of what stands below each: whether it is a member, and the rest.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&str, bool, FieldSet)> {
        self.0.iter().map(|(step, below)| {
            let rest = below.as_object().map(without_self).unwrap_or_default();
            (step, is_member(below), FieldSet(rest))
        })
    }
    /// Puts one step with all that is below it; nothing where there is nothing.
    pub(crate) fn put(&mut self, step: &str, member: bool, below: FieldSet) {
        let mut map = below.0;
        if map.is_empty() && !member {
            return;
        }
        if member && !map.is_empty() {
            map.insert(SELF, LEAF);
        }
        self.0.insert(step, Value::Object(map));
    }
}

impl std::fmt::Display for FieldSet {
    /// One field per line, as conflicts name them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines = Vec::new();
        self.each(|path| lines.push(shown(path)));
        f.write_str(&lines.join("\n"))
    }
}

/// A path as conflicts name it: `.spec.containers[name="web"].image`.
pub(crate) fn shown(path: &[Str]) -> String {
    path.iter().map(|step| element::shown(step)).collect()
}

fn is_member(below: &Value) -> bool {
    below.as_object().is_none_or(|m| m.is_empty() || m.contains_key(SELF))
}

fn without_self(map: &Map) -> Map {
    let mut map = map.clone();
    map.remove(SELF);
    map
}

/// What stands below a step, and whether the step is a member.
fn read(map: &Map) -> Result<(Map, bool), String> {
    let (mut out, mut member) = (FieldSet::new(), false);
    for (step, below) in map.iter() {
        if step == SELF {
            member = true;
            continue;
        }
        let Some(step) = element::canonical(step)? else { continue };
        let (inner, is_member) = match below {
            Value::Object(below) => read(below)?,
            Value::Null => (Map::new(), true),
            other => return Err(format!("expected an object: {other}")),
        };
        let mut one = FieldSet::new();
        one.put(&step, is_member, FieldSet(inner));
        out.unite(&one);
    }
    let nothing = out.is_empty();
    Ok((out.0, member || nothing))
}

fn unite(into: &mut Map, other: &Map) {
    for (step, theirs) in other.iter() {
        let Some(theirs) = theirs.as_object() else { continue };
        match into.get_mut(step) {
            Some(Value::Object(ours)) if step != SELF => {
                let leaf = ours.is_empty() || theirs.is_empty();
                unite(ours, theirs);
                // A leaf on either side stays a member beside what the other one has below.
                if leaf && !ours.is_empty() {
                    ours.insert(SELF, LEAF);
                }
            }
            Some(_) => {}
            None => {
                into.insert(step, Value::Object(theirs.clone()));
            }
        }
    }
}

fn subtract(from: &mut Map, other: &Map, deep: bool) {
    from.retain(|step, ours| {
        let Some(theirs) = other.get(step).and_then(Value::as_object).filter(|_| step != SELF) else { return true };
        let goes = theirs.is_empty() || theirs.contains_key(SELF);
        if deep && goes {
            return false;
        }
        let Value::Object(ours) = ours else { return false };
        let mut member = ours.is_empty();
        member |= ours.remove(SELF).is_some();
        member &= !goes;
        subtract(ours, theirs, deep);
        if member && !ours.is_empty() {
            ours.insert(SELF, LEAF);
        }
        member || !ours.is_empty()
    });
}

fn intersect(a: &Map, b: &Map) -> Map {
    let mut out = Map::new();
    for (step, ours) in a.iter().filter(|(step, _)| *step != SELF) {
        let Some(theirs) = b.get(step) else { continue };
        let member = is_member(ours) && is_member(theirs);
        let mut below = match (ours, theirs) {
            (Value::Object(ours), Value::Object(theirs)) => intersect(ours, theirs),
            _ => Map::new(),
        };
        if below.is_empty() && !member {
            continue;
        }
        if member && !below.is_empty() {
            below.insert(SELF, LEAF);
        }
        out.insert(step, Value::Object(below));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::parse_lenient;

    fn set(json: &str) -> FieldSet {
        FieldSet::read(&parse_lenient(json.as_bytes()).unwrap()).unwrap()
    }
    const A: &str =
        r#"{"f:a":{},"f:b":{".":{},"f:c":{},"f:d":{"f:e":{}}},"f:l":{"k:{\"name\":\"x\"}":{".":{},"f:v":{}}}}"#;
    const B: &str = r#"{"f:b":{"f:c":{}},"f:l":{"k:{\"name\":\"x\"}":{},"k:{\"name\":\"y\"}":{}},"f:z":{}}"#;

    #[test]
    fn reads_and_writes_what_upstream_writes() {
        for (given, want) in [
            (A, A),
            (r#"{"f:a":{".":{}}}"#, r#"{"f:a":{}}"#),
            (r#"{".":{},"f:a":{}}"#, r#"{"f:a":{}}"#),
            (r#"{"f:a":{"x:later":{}}}"#, r#"{"f:a":{}}"#),
            (r#"{"f:l":{"k:{ \"b\":1,\"a\":2}":{}}}"#, r#"{"f:l":{"k:{\"a\":2,\"b\":1}":{}}}"#),
            ("{}", "{}"),
            ("null", "{}"),
        ] {
            assert_eq!(set(given).to_json(), want);
        }
        for bad in [r#"{"a":{}}"#, r#"{"f:a":3}"#, "[]", r#"{"f:a":{"k:[]":{}}}"#] {
            assert!(FieldSet::read(&parse_lenient(bad.as_bytes()).unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn sets_are_sets() {
        let (a, b) = (set(A), set(B));
        let with = |op: &dyn Fn(&mut FieldSet)| {
            let mut out = a.clone();
            op(&mut out);
            out.to_json()
        };
        assert_eq!(
            with(&|s| s.unite(&b)),
            r#"{"f:a":{},"f:b":{".":{},"f:c":{},"f:d":{"f:e":{}}},"f:l":{"k:{\"name\":\"x\"}":{".":{},"f:v":{}},"k:{\"name\":\"y\"}":{}},"f:z":{}}"#
        );
        assert_eq!(
            with(&|s| s.subtract(&b)),
            r#"{"f:a":{},"f:b":{".":{},"f:d":{"f:e":{}}},"f:l":{"k:{\"name\":\"x\"}":{"f:v":{}}}}"#
        );
        assert_eq!(with(&|s| s.subtract_deep(&b)), r#"{"f:a":{},"f:b":{".":{},"f:d":{"f:e":{}}}}"#);
        assert_eq!(with(&|s| s.subtract(&set(r#"{"f:a":{},"f:b":{}}"#))), {
            r#"{"f:b":{"f:c":{},"f:d":{"f:e":{}}},"f:l":{"k:{\"name\":\"x\"}":{".":{},"f:v":{}}}}"#
        });
        assert_eq!(with(&|s| s.subtract_deep(&set(A))), "{}");
        assert_eq!(with(&|s| s.subtract(&set(A))), "{}");
        assert_eq!(a.intersection(&b).to_json(), r#"{"f:b":{"f:c":{}},"f:l":{"k:{\"name\":\"x\"}":{}}}"#);
        assert_eq!(b.intersection(&a), a.intersection(&b));
        assert_eq!(
            a.leaves().to_json(),
            r#"{"f:a":{},"f:b":{"f:c":{},"f:d":{"f:e":{}}},"f:l":{"k:{\"name\":\"x\"}":{"f:v":{}}}}"#
        );
        // a = (a - b) + (a and b)
        let mut again = a.clone();
        again.subtract(&b);
        again.unite(&a.intersection(&b));
        assert_eq!(again, a);
    }

    #[test]
    fn one_field_at_a_time() {
        let mut s = FieldSet::new();
        let path = |text: &str| -> Vec<Str> { text.split('/').map(Str::from).collect() };
        for field in ["f:a/f:b", "f:a", "f:c", "f:c/f:d", "f:e/f:g/f:h"] {
            s.insert(&path(field));
            assert!(s.contains(&path(field)), "{field}");
        }
        assert_eq!(s.to_json(), r#"{"f:a":{".":{},"f:b":{}},"f:c":{".":{},"f:d":{}},"f:e":{"f:g":{"f:h":{}}}}"#);
        assert!(!s.contains(&path("f:e")) && !s.contains(&path("f:x")) && !s.contains(&[]));
        assert_eq!(s.to_string(), ".a\n.c\n.a.b\n.c.d\n.e.g.h");
        let kept = s.only_below(&[path("f:e"), path("f:a/f:b")]);
        assert_eq!(kept.to_json(), r#"{"f:a":{".":{},"f:b":{}},"f:e":{"f:g":{"f:h":{}}}}"#);
    }
}
