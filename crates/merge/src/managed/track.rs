//! Who owns what after a write that is no apply.

use super::{
    Versions, Write,
    compare::{Comparison, compare},
    created::{created, trace},
    fields::reconciled,
    known::Known,
    managers::{Managers, Operation, is_reset},
    shape::Shape,
    strip,
};
use base::Result;
use std::collections::HashMap;
use value::{Str, Value};

/// Room for the trace of most objects.
const TRACE: usize = 4 << 10;

/// `metadata.managedFields` of a new object, in the version of the write; `given` is what the client put there. Null
/// where nobody owns anything. `known` shares the sets of objects that are alike; without it every one is made anew.
pub fn track_create(
    versions: &dyn Versions,
    object: &Value,
    given: &Value,
    write: &Write,
    known: Option<&Known>,
) -> Result<Value> {
    let Some(schema) = versions.schema(write.api_version) else { return Ok(Value::Null) };
    let mut entry = write.entry(Operation::Update);
    let (custom, never) = (versions.custom(), &write.reach.never);
    let make = || created(schema, custom, object, never);
    entry.fields = match known {
        // The schema of a built-in type never changes, so that its name stands for it.
        Some(known) if !custom => {
            let mut told = Vec::with_capacity(TRACE);
            told.extend_from_slice(write.api_version.as_bytes());
            told.push(b' ');
            told.extend_from_slice(object.str_at(&["kind"]).as_bytes());
            trace(schema, object, never, &mut told);
            known.get(&told, make)
        }
        _ => make(),
    };
    entry.time = Some(write.time.into());
    let mut managers = match given.items_at(&[]) {
        [] => Managers::default(),
        _ => Managers::read(given).unwrap_or_default(),
    };
    // Whoever is named beside the creator keeps what the creator did not write, which is nothing that is there.
    managers.0.retain_mut(|m| {
        m.fields.subtract(&entry.fields);
        !m.fields.is_empty()
    });
    match managers.position(&entry) {
        Some(i) => {
            managers.0[i].fields.unite(&entry.fields);
            managers.0[i].time = entry.time;
        }
        None if entry.fields.is_empty() => {}
        None => managers.0.push(entry),
    }
    managers.cap();
    Ok(managers.into_value())
}

/// `metadata.managedFields` after an update. `old` and `new` are in the version of the write and without that list;
/// `live` is what the old object has there, `given` what the new one came with (a client may change it; an empty entry
/// forgets all). An object that has no managers gets none.
pub fn track_update(
    versions: &dyn Versions,
    old: &Value,
    new: &Value,
    live: &Value,
    given: &Value,
    write: &Write,
) -> Result<Value> {
    let reset = is_reset(given);
    // Of a subresource nobody may write the list.
    let given = if write.subresource.is_empty() { given } else { &Value::Null };
    if reset && !given.is_null() {
        return Ok(Value::Null);
    }
    let told = !given.items_at(&[]).is_empty() && given != live;
    if live.is_null() && !told {
        return Ok(Value::Null);
    }
    if old == new && !told {
        return Ok(live.clone());
    }
    let mut managers = match told {
        false => Managers::trusted(live),
        true => match Managers::read(given) {
            Ok(given) if !given.0.is_empty() => given,
            _ => Managers::trusted(live),
        },
    };
    if managers.0.is_empty() {
        return Ok(Value::Null);
    }
    let mut all = Comparisons::new(versions, old, new, write);
    let Some(own) = all.of(write.api_version)?.cloned() else { return Ok(managers.into_value()) };
    let entry = write.entry(Operation::Update);
    let mut kept = Vec::with_capacity(managers.0.len() + 1);
    for mut manager in managers.0 {
        // The versions of objects come and go; what was named in one that is gone is nobody's.
        let Some(comparison) = all.of(&manager.api_version)? else { continue };
        if let Some(schema) = versions.schema(&manager.api_version)
            && let Some(fields) = reconciled(Shape::of(schema), &manager.fields)
        {
            manager.fields = fields;
        }
        manager.fields.subtract(&comparison.modified);
        manager.fields.subtract(&comparison.added);
        manager.fields.subtract(&comparison.removed);
        if !manager.fields.is_empty() {
            kept.push(manager);
        }
    }
    managers = Managers(kept);
    let mut fields = write.reach.of(own.changed());
    strip(&mut fields);
    if !fields.is_empty() {
        match managers.position(&entry) {
            Some(i) => {
                managers.0[i].fields.unite(&fields);
                managers.0[i].time = Some(write.time.into());
            }
            None => {
                managers.0.push(super::Manager { fields, time: Some(write.time.into()), ..entry });
            }
        }
    }
    managers.cap();
    Ok(managers.into_value())
}

/// What changed, in every version that somebody speaks.
pub(super) struct Comparisons<'a> {
    versions: &'a dyn Versions,
    old: &'a Value,
    new: &'a Value,
    write: &'a Write<'a>,
    made: HashMap<Str, Option<Comparison>>,
}

impl<'a> Comparisons<'a> {
    pub fn new(versions: &'a dyn Versions, old: &'a Value, new: &'a Value, write: &'a Write<'a>) -> Self {
        Comparisons { versions, old, new, write, made: HashMap::new() }
    }
    /// `None` for a version that is not known.
    pub fn of(&mut self, api_version: &str) -> Result<Option<&Comparison>> {
        if !self.made.contains_key(api_version) {
            let made = self.make(api_version)?;
            self.made.insert(api_version.into(), made);
        }
        Ok(self.made.get(api_version).and_then(Option::as_ref))
    }
    fn make(&self, api_version: &str) -> Result<Option<Comparison>> {
        let Some(schema) = self.versions.schema(api_version) else { return Ok(None) };
        let reach = |comparison: Comparison| Some(comparison.filtered(|set| self.write.reach.of(set)));
        if api_version == self.write.api_version {
            return Ok(reach(compare(schema, self.old, self.new)));
        }
        let old = self.versions.convert(self.old, api_version)?;
        let new = self.versions.convert(self.new, api_version)?;
        let (Some(old), Some(new)) = (old, new) else { return Ok(None) };
        Ok(reach(compare(schema, &old, &new)))
    }
}
