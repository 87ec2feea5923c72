//! Server-side apply: a configuration merged into an object on its author's behalf. Source: `merge.Updater.Apply` of
//! structured-merge-diff, and the managers that upstream wraps around it.

use super::{
    Versions, Write,
    compare::compare_at,
    created::created,
    fields::{misfits, named, reconciled, with_parents},
    managers::{Manager, Managers, Operation},
    merging::{merged, without},
    set::{FieldSet, shown},
    shape::Shape,
    strip,
    track::Comparisons,
};
use base::Status;
use value::{Str, Value, value};

/// What an apply makes of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// In the version of the write, without managed fields, defaults not set; `None` where nothing changes.
    pub object: Option<Value>,
    /// `metadata.managedFields`, Null for none.
    pub managed: Value,
}

/// Why a configuration is not applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// Fields belong to others, and the write is not forced.
    Conflicts(Vec<Conflict>),
    /// The configuration does not fit its type; a line per field where it does not.
    Misfit(String),
    /// A version could not be converted.
    Status(Status),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Refused::Status(status)
    }
}

/// One field that somebody else owns.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// As messages name it: `"kubectl" using apps/v1`.
    pub manager: String,
    /// `.spec.replicas`
    pub path: String,
}

impl Refused {
    /// 409 with a cause per field, as kubectl prints it.
    pub fn conflict_status(conflicts: &[Conflict]) -> Status {
        let mut message = match conflicts {
            [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.path),
            many => format!("Apply failed with {} conflicts:", many.len()),
        };
        if conflicts.len() > 1 {
            let mut last = "";
            for conflict in conflicts {
                if conflict.manager != last {
                    message.push_str(if last.is_empty() { " " } else { "\n" });
                    message.push_str(&format!("conflicts with {}:", conflict.manager));
                    last = &conflict.manager;
                }
                message.push_str(&format!("\n- {}", conflict.path));
            }
        }
        let cause = |c: &Conflict| {
            let text = format!("conflict with {}", c.manager);
            value!({"reason": "FieldManagerConflict", "message": text, "field": c.path})
        };
        let causes: Value = conflicts.iter().map(cause).collect();
        let mut status = value!({"kind": "Status", "reason": "Conflict", "message": message, "code": 409});
        status.set(&["details", "causes"], causes);
        Status::from_json(&(&status).into()).unwrap_or_else(|| Status::new(base::Reason::Conflict, message))
    }
}

/// Merges `config` into an object. `live` is the object in the version of the write, without managed fields, and what it
/// has there; `None` where there is no object yet. The configuration is as it came: no defaults, no canonical values.
pub fn apply(
    versions: &dyn Versions,
    live: Option<(&Value, &Value)>,
    config: &Value,
    write: &Write,
    force: bool,
) -> Result<Applied, Refused> {
    let Some(schema) = versions.schema(write.api_version) else {
        return Err(Status::internal(format!("no corresponding type for {}", write.api_version)).into());
    };
    let shape = Shape::of(schema);
    let lines = misfits(shape, config);
    match lines.as_slice() {
        [] => {}
        [one] => return Err(Refused::Misfit(one.clone())),
        many => return Err(Refused::Misfit(format!("errors:\n  {}", many.join("\n  ")))),
    }
    let managers = live.map(|(object, list)| owners(versions, object, list, write)).unwrap_or_default();
    let live = live.map(|(object, _)| object);
    let made = attempt(versions, shape, live, managers.clone(), config, write, force);
    let made = match (made, live) {
        // What kubectl applied on the client's side is its own: the first apply on the server's takes it over.
        (Err(Tried::Conflicts(conflicts)), Some(live)) if write.manager == KUBECTL && !force => {
            let own = applied_before(shape, live, write).unwrap_or_default();
            let foreign: Vec<(Conflict, Vec<Str>)> =
                conflicts.into_iter().filter(|(_, path)| !own.contains(path)).collect();
            match foreign.is_empty() {
                true => attempt(versions, shape, Some(live), managers, config, write, true),
                false => Err(Tried::Conflicts(foreign)),
            }
        }
        (made, _) => made,
    };
    let mut applied = made.map_err(|refused| match refused {
        Tried::Conflicts(conflicts) => Refused::Conflicts(conflicts.into_iter().map(|(c, _)| c).collect()),
        Tried::Status(status) => Refused::Status(status),
    })?;
    if write.manager == KUBECTL {
        keep_last_applied(&mut applied, live, config);
    }
    Ok(applied)
}

/// The managers of an object, by today's schema. An object without any was never applied: what stands in it belongs to
/// `before-first-apply`.
fn owners(versions: &dyn Versions, object: &Value, list: &Value, write: &Write) -> Managers {
    let mut managers = Managers::trusted(list);
    if managers.0.is_empty()
        && let Some(schema) = versions.schema(write.api_version)
    {
        let fields = write.reach.of(created(schema, versions.custom(), object, &write.reach.never));
        let before = Write { manager: "before-first-apply", ..write.clone() };
        let entry = Manager { fields, time: Some(write.time.into()), ..before.entry(Operation::Update) };
        managers.0.push(entry);
        managers.0.retain(|m| !m.fields.is_empty());
    }
    for manager in &mut managers.0 {
        if let Some(schema) = versions.schema(&manager.api_version)
            && let Some(fields) = reconciled(Shape::of(schema), &manager.fields)
        {
            manager.fields = fields;
        }
    }
    managers
}

/// Why one attempt failed; conflicts with their places.
enum Tried {
    Conflicts(Vec<(Conflict, Vec<Str>)>),
    Status(Status),
}

impl From<Status> for Tried {
    fn from(status: Status) -> Self {
        Tried::Status(status)
    }
}

fn attempt(
    versions: &dyn Versions,
    shape: Shape,
    live: Option<&Value>,
    mut managers: Managers,
    config: &Value,
    write: &Write,
    force: bool,
) -> Result<Applied, Tried> {
    let mut entry = write.entry(Operation::Apply);
    entry.fields = write.reach.of(named(shape, config));
    let last = managers.position(&entry).map(|i| managers.0.remove(i));
    entry.time = last.as_ref().and_then(|last| last.time.clone());
    let whole = merged(shape, live, Some(config));
    let new = match (last, live) {
        (Some(last), Some(_)) if !last.fields.is_empty() => {
            let mut all = managers.clone();
            all.0.push(entry.clone());
            prune(versions, whole, &all, &last, write)?
        }
        _ => whole,
    };
    if let Some(live) = live {
        settle(versions, live, &new, &mut managers, write, force)?;
    }
    strip(&mut entry.fields);
    let same = live == Some(&new);
    if !same {
        entry.time = Some(write.time.into());
    }
    if !entry.fields.is_empty() {
        managers.0.push(entry);
    }
    Ok(Applied { object: (!same).then_some(new), managed: managers.into_value() })
}

/// Takes from the other managers what changes; a conflict where that is not forced.
fn settle(
    versions: &dyn Versions,
    live: &Value,
    new: &Value,
    managers: &mut Managers,
    write: &Write,
    force: bool,
) -> Result<(), Tried> {
    let mut comparisons = Comparisons::new(versions, live, new, write);
    let mut conflicts = Vec::new();
    let mut kept = Vec::with_capacity(managers.0.len() + 1);
    for mut manager in std::mem::take(&mut managers.0) {
        let Some(comparison) = comparisons.of(&manager.api_version)? else { continue };
        let conflict = manager.fields.intersection(&comparison.changed());
        if !conflict.is_empty() {
            conflicts.push((manager.clone(), conflict.clone()));
        }
        manager.fields.subtract(&conflict);
        manager.fields.subtract(&comparison.removed);
        if !manager.fields.is_empty() {
            kept.push(manager);
        }
    }
    if !force && !conflicts.is_empty() {
        conflicts.sort_by(|(a, _), (b, _)| (&a.name, a.operation).cmp(&(&b.name, b.operation)));
        let mut list = Vec::new();
        for (manager, set) in conflicts {
            let manager = manager.shown();
            set.each(|path| list.push((Conflict { manager: manager.clone(), path: shown(path) }, path.to_vec())));
        }
        return Err(Tried::Conflicts(list));
    }
    managers.0 = kept;
    Ok(())
}

/// Removes what the manager applied last time, does not apply now, and nobody else owns.
fn prune(
    versions: &dyn Versions,
    merged: Value,
    managers: &Managers,
    last: &Manager,
    write: &Write,
) -> Result<Value, Status> {
    let version = last.api_version.as_str();
    let Some(schema) = versions.schema(version) else { return Ok(merged) };
    let shape = Shape::of(schema);
    let Some(all) = in_version(versions, &merged, version)? else { return Ok(merged) };
    let last_set = with_parents(shape, &last.fields);
    let mut pruned = without(shape, &all, &last_set);
    // What others own comes back: first in the version at hand, because a conversion may need it.
    let mut spoken: Vec<&str> = managers.0.iter().map(|m| m.api_version.as_str()).collect();
    spoken.sort_by_key(|v| (*v != version, v.to_string()));
    spoken.dedup();
    for owned_in in spoken {
        let mut owned = FieldSet::new();
        for manager in managers.0.iter().filter(|m| m.api_version == owned_in) {
            owned.unite(&manager.fields);
        }
        let Some(schema) = versions.schema(owned_in) else { continue };
        let shape = Shape::of(schema);
        let (Some(all), Some(some)) = (in_version(versions, &all, owned_in)?, in_version(versions, &pruned, owned_in)?)
        else {
            continue;
        };
        let mut gone = with_parents(shape, &named(shape, &all));
        let mut kept = with_parents(shape, &named(shape, &some));
        kept.unite(&with_parents(shape, &owned));
        gone.subtract(&kept);
        pruned = without(shape, &all, &gone);
    }
    // What nobody owned, this manager neither, does not go.
    let Some(some) = in_version(versions, &pruned, version)? else { return Ok(merged) };
    let mut gone = with_parents(shape, &named(shape, &all));
    gone.subtract(&with_parents(shape, &named(shape, &some)));
    let pruned = without(shape, &all, &gone.intersection(&last_set));
    Ok(in_version(versions, &pruned, write.api_version)?.unwrap_or(merged))
}

fn in_version(versions: &dyn Versions, object: &Value, api_version: &str) -> Result<Option<Value>, Status> {
    if object.str_at(&["apiVersion"]) == api_version {
        return Ok(Some(object.clone()));
    }
    versions.convert(object, api_version)
}

const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &[&str] = &["metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"];
/// All annotations of one object together, in bytes.
const ANNOTATIONS_MAX: usize = 256 << 10;

/// What the annotation of client-side apply names and the object still has as it was applied.
fn applied_before(shape: Shape, live: &Value, write: &Write) -> Option<FieldSet> {
    let applied = value::parse_lenient(live.at(LAST_APPLIED).as_str()?.as_bytes()).ok()?;
    if applied.str_at(&["apiVersion"]) != write.api_version || !misfits(shape, &applied).is_empty() {
        return None;
    }
    let mut own = named(shape, &applied);
    let differs = compare_at(shape, &applied, live);
    own.subtract(&differs.modified);
    own.subtract(&differs.added);
    own.subtract(&differs.removed);
    Some(own)
}

/// Keeps the annotation of client-side apply true where an object has one, so that kubectl may be asked either way.
fn keep_last_applied(applied: &mut Applied, live: Option<&Value>, config: &Value) {
    let Some(current) = applied.object.as_ref().or(live) else { return };
    let Some(before) = current.at(LAST_APPLIED).as_str().filter(|text| !text.is_empty()) else { return };
    let mut said = config.clone();
    said.remove(LAST_APPLIED);
    let text = format!("{said}\n");
    if text == before {
        return;
    }
    let mut object = current.clone();
    object.set(LAST_APPLIED, text);
    let annotations = object.members_at(&["metadata", "annotations"]);
    let size: usize = annotations.map(|(key, text)| key.len() + text.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_MAX {
        object.remove(LAST_APPLIED);
    }
    applied.object = Some(object);
}
