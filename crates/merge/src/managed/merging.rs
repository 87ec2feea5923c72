//! An applied configuration merged into an object, and fields taken out of one. Source: structured-merge-diff's
//! `typed.Merge` and `RemoveItems`.

use super::{
    element,
    set::FieldSet,
    shape::{Form, Shape, both, items, members},
};
use std::collections::HashMap;
use value::{Map, Str, Value};

/// The object with everything that the configuration names; nothing is removed. Items keep the object's order where the
/// configuration says nothing about it.
pub(crate) fn merged(shape: Shape, live: Option<&Value>, config: Option<&Value>) -> Value {
    let (Some(l), Some(c)) = (live, config) else { return live.or(config).cloned().unwrap_or_default() };
    let form = match (shape.form(l), shape.form(c)) {
        (Some(a), Some(b)) if a != b => return c.clone(),
        (a, b) => b.or(a).unwrap_or(Form::Leaf),
    };
    match form {
        Form::Members if members(live).is_some() || members(config).is_some() => {
            let merge = |(name, l, c)| {
                let member = shape.member(name)?;
                Some((Str::from(name), merged(member.shape, l, c)))
            };
            Value::Object(both(members(live), members(config)).filter_map(merge).collect())
        }
        Form::Items if !items(live).is_empty() || !items(config).is_empty() => {
            Value::Array(merged_items(shape, items(live), items(config)))
        }
        _ => c.clone(),
    }
}

/// Items of the object keep their places, those of the configuration theirs among each other; where both disagree about
/// an order, the configuration's counts.
fn merged_items(shape: Shape, live: &[Value], config: &[Value]) -> Vec<Value> {
    let steps = |list: &[Value]| -> Vec<Option<Str>> { list.iter().map(|item| shape.step(item).ok()).collect() };
    let (ours, theirs) = (steps(live), steps(config));
    let index = |steps: &[Option<Str>]| -> HashMap<Str, Vec<usize>> {
        let mut index: HashMap<Str, Vec<usize>> = HashMap::new();
        for (i, step) in steps.iter().enumerate() {
            if let Some(step) = step {
                index.entry(step.clone()).or_default().push(i);
            }
        }
        index
    };
    let (our_index, their_index) = (index(&ours), index(&theirs));
    let inner = shape.items();
    // What stands twice in the object is replaced, not merged.
    let item = |step: &Str, c: usize| -> Value {
        let before = match our_index.get(step).map(Vec::as_slice) {
            Some([one]) => Some(&live[*one]),
            _ => None,
        };
        merged(inner, before, Some(&config[c]))
    };
    // The items of both, in the configuration's order.
    let mut shared = theirs.iter().flatten().filter(|step| our_index.contains_key(*step));
    let mut next = shared.next();
    let mut done: Vec<&Str> = Vec::new();
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let (mut l, mut c) = (0, 0);
    while l < ours.len() || c < theirs.len() {
        if let (Some(our), Some(their)) = (ours.get(l), theirs.get(c)) {
            match (our, their) {
                (Some(our), Some(their)) if our == their => {
                    out.push(item(our, c));
                    done.push(our);
                    (l, c, next) = (l + 1, c + 1, shared.next());
                    continue;
                }
                // In both, but another one comes first.
                (Some(our), _) if their_index.contains_key(our) && next.is_some_and(|next| next != our) => {
                    l += 1;
                    continue;
                }
                _ => {}
            }
        }
        if let Some(our) = ours.get(l) {
            match our {
                Some(step) if their_index.contains_key(step) => {
                    if done.contains(&step) {
                        l += 1;
                    }
                }
                _ => {
                    out.push(live[l].clone());
                    l += 1;
                    continue;
                }
            }
        }
        if let Some(their) = theirs.get(c) {
            match their {
                Some(step) => {
                    out.push(item(step, c));
                    done.push(step);
                    if next == Some(step) {
                        next = shared.next();
                    }
                }
                None => out.push(config[c].clone()),
            }
            c += 1;
        }
    }
    out
}

/// The value without the fields of a set. What loses all its members stays as an empty object or list; what is owned as
/// a whole goes as a whole or not at all.
pub(crate) fn without(shape: Shape, value: &Value, gone: &FieldSet) -> Value {
    match (value, shape.form(value)) {
        (Value::Object(map), Some(Form::Members)) => {
            let mut out = Map::new();
            for (name, item) in map.iter() {
                let step = element::field(name);
                if gone.has(&step) {
                    continue;
                }
                let kept = match (gone.below(&step), shape.member(name)) {
                    (Some(below), Some(member)) => without(member.shape, item, &below),
                    _ => item.clone(),
                };
                out.insert(name, kept);
            }
            Value::Object(out)
        }
        (Value::Array(list), Some(Form::Items)) => {
            let inner = shape.items();
            let kept = list.iter().filter_map(|item| {
                let Ok(step) = shape.step(item) else { return Some(item.clone()) };
                if gone.has(&step) {
                    return None;
                }
                Some(match gone.below(&step) {
                    Some(below) => without(inner, item, &below),
                    None => item.clone(),
                })
            });
            Value::Array(kept.collect())
        }
        _ => value.clone(),
    }
}
