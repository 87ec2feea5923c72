//! What changed between two states of an object, as sets of fields. Source: structured-merge-diff's `typed.Compare`.

use super::{
    element,
    set::FieldSet,
    shape::{Form, Shape, both, items, members},
};
use schema::Schema;
use std::collections::BTreeMap;
use value::{Str, Value};

/// The fields that differ; no field is in two of the sets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    pub removed: FieldSet,
    pub modified: FieldSet,
    pub added: FieldSet,
}

impl Comparison {
    /// What the right side has that the left had not.
    pub fn changed(&self) -> FieldSet {
        let mut changed = self.modified.clone();
        changed.unite(&self.added);
        changed
    }
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }
    /// The same without what `keep` drops.
    pub(crate) fn filtered(self, keep: impl Fn(FieldSet) -> FieldSet) -> Self {
        Comparison { removed: keep(self.removed), modified: keep(self.modified), added: keep(self.added) }
    }
}

/// Compares two objects of one type.
pub fn compare(schema: &Schema, old: &Value, new: &Value) -> Comparison {
    compare_at(Shape::of(schema), old, new)
}

pub(crate) fn compare_at(shape: Shape, old: &Value, new: &Value) -> Comparison {
    let mut walk = Walk::default();
    if old != new {
        walk.at(shape, Some(old), Some(new), false);
    }
    walk.found
}

#[derive(Default)]
struct Walk {
    path: Vec<Str>,
    found: Comparison,
}

impl Walk {
    /// Two sides that differ; `inside` a value that is owned as a whole.
    fn at(&mut self, shape: Shape, old: Option<&Value>, new: Option<&Value>, mut inside: bool) {
        let form = |v: Option<&Value>| v.and_then(|v| shape.form(v));
        let (before, after) = (form(old), form(new));
        match (before, after) {
            // Without a schema a place may hold a list at first and an object later.
            (Some(a), Some(b)) if a != b => {
                self.content(shape, a, old, new, inside);
                inside |= self.content(shape, b, old, new, inside);
            }
            _ => {
                let form = after.or(before).unwrap_or(Form::Leaf);
                inside |= self.content(shape, form, old, new, inside);
            }
        }
        if !inside {
            match (old, new) {
                (None, _) => self.found.added.insert(&self.path),
                (_, None) => self.found.removed.insert(&self.path),
                _ => {}
            }
        }
    }

    /// True for a leaf.
    fn content(&mut self, shape: Shape, form: Form, old: Option<&Value>, new: Option<&Value>, inside: bool) -> bool {
        match form {
            Form::Members if members(old).is_some() || members(new).is_some() => {
                for (name, l, r) in both(members(old), members(new)) {
                    if l != r
                        && let Some(member) = shape.member(name)
                    {
                        self.path.push(element::field(name));
                        self.at(member.shape, l, r, inside);
                        self.path.pop();
                    }
                }
                false
            }
            Form::Items if !items(old).is_empty() || !items(new).is_empty() => {
                self.items(shape, items(old), items(new), inside);
                false
            }
            _ => {
                if !inside {
                    match (old, new) {
                        (None, _) => self.found.added.insert(&self.path),
                        (_, None) => self.found.removed.insert(&self.path),
                        _ => self.found.modified.insert(&self.path),
                    }
                }
                true
            }
        }
    }

    fn items(&mut self, shape: Shape, old: &[Value], new: &[Value], inside: bool) {
        type Sides<'v> = (Vec<&'v Value>, Vec<&'v Value>);
        let mut steps: BTreeMap<Str, Sides> = BTreeMap::new();
        for item in old {
            if let Ok(step) = shape.step(item) {
                steps.entry(step).or_default().0.push(item);
            }
        }
        for item in new {
            if let Ok(step) = shape.step(item) {
                steps.entry(step).or_default().1.push(item);
            }
        }
        let inner = shape.items();
        for (step, (old, new)) in steps {
            self.path.push(step);
            match (old.as_slice(), new.as_slice()) {
                ([] | [_], [] | [_]) if old == new => {}
                ([] | [_], [] | [_]) => self.at(inner, old.first().copied(), new.first().copied(), inside),
                // What stands twice counts as one value.
                ([_, _, ..], [_, _, ..]) => {
                    if old != new {
                        self.found.modified.insert(&self.path);
                    }
                }
                ([_, _, ..], _) => {
                    if let Some(one) = new.first() {
                        self.at(inner, None, Some(one), inside);
                    }
                    self.found.removed.insert(&self.path);
                }
                (_, [_, _, ..]) => {
                    if let Some(one) = old.first() {
                        self.at(inner, Some(one), None, inside);
                    }
                    self.found.added.insert(&self.path);
                }
            }
            self.path.pop();
        }
    }
}
