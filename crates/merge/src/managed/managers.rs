//! The managers of one object: who wrote what, in which version, by which operation. The list `metadata.managedFields`,
//! decoded and encoded.

use super::set::FieldSet;
use std::cmp::Ordering;
use value::{Str, Value, value};

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply: the manager's set is what it applied last.
    Apply,
    /// Anything else: the manager's set is what it changed so far.
    Update,
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Manager {
    pub name: Str,
    pub operation: Operation,
    /// The version that the fields are named in.
    pub api_version: Str,
    /// `""` for the main resource.
    pub subresource: Str,
    /// As it stands in the object; absent for an apply that changed nothing.
    pub time: Option<Str>,
    pub fields: FieldSet,
}

impl Manager {
    /// True for entries that are one: appliers are the same in any version.
    pub(crate) fn same(&self, other: &Manager) -> bool {
        self.operation == other.operation
            && self.name == other.name
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }
    /// How conflicts name it. Source: `printManager`.
    pub(crate) fn shown(&self) -> String {
        let quoted = |text: &str| base::status::quote(text);
        let mut text = quoted(&self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {}", quoted(&self.subresource)));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
    fn entry(self) -> Value {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut entry = value!({"operation": operation, "fieldsType": "FieldsV1"});
        let texts = [
            ("manager", Some(self.name)),
            ("apiVersion", Some(self.api_version)),
            ("subresource", Some(self.subresource)),
            ("time", self.time),
        ];
        for (key, text) in texts {
            if let Some(text) = text.filter(|t| !t.is_empty()) {
                entry.set(&[key], text);
            }
        }
        entry.set(&["fieldsV1"], self.fields.into_value());
        entry
    }
}

/// What `metadata.managedFields` says. Entries that are the same are one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Managers(pub Vec<Manager>);

impl Managers {
    /// Reads a list that a client may have written. `Err` says why it is none, in upstream's words.
    pub fn read(list: &Value) -> Result<Self, String> {
        Managers::decode(list, FieldSet::read)
    }
    /// Whether a list can be read, as far as a look at each step tells: asked of every write after admission.
    pub fn check(list: &Value) -> Result<(), String> {
        let steps = |fields: &Value| FieldSet::check(fields).map(|()| FieldSet::new());
        Managers::decode(list, steps).map(drop)
    }
    /// Reads a list that was written from [`Managers::into_value`].
    pub(crate) fn trusted(list: &Value) -> Self {
        Managers::decode(list, |fields| Ok(FieldSet::trusted(fields))).unwrap_or_default()
    }
    fn decode(list: &Value, fields: impl Fn(&Value) -> Result<FieldSet, String>) -> Result<Self, String> {
        let mut out: Vec<Manager> = Vec::new();
        for (i, entry) in list.items_at(&[]).iter().enumerate() {
            let operation = match entry.str_at(&["operation"]) {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".into()),
            };
            if entry.str_at(&["apiVersion"]).is_empty() {
                return Err("apiVersion must not be empty".into());
            }
            match entry.str_at(&["fieldsType"]) {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
                other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {i}")),
            }
            let manager = Manager {
                name: entry.str_at(&["manager"]).into(),
                operation,
                api_version: entry.str_at(&["apiVersion"]).into(),
                subresource: entry.str_at(&["subresource"]).into(),
                time: entry.at(&["time"]).as_str().map(Str::from),
                fields: fields(entry.at(&["fieldsV1"]))
                    .map_err(|why| format!("error decoding versioned set from {entry}: error decoding set: {why}"))?,
            };
            match out.iter_mut().find(|m| m.same(&manager)) {
                Some(earlier) => *earlier = manager,
                None => out.push(manager),
            }
        }
        Ok(Managers(out))
    }
    /// The list as it is stored: appliers first, then by time, name, version and subresource. Null where there is none.
    pub fn into_value(mut self) -> Value {
        self.0.retain(|m| !m.fields.is_empty());
        self.0.sort_by(|a, b| {
            a.operation
                .cmp(&b.operation)
                .then_with(|| a.time.cmp(&b.time))
                .then_with(|| a.name.cmp(&b.name))
                .then_with(|| a.api_version.cmp(&b.api_version))
                .then_with(|| a.subresource.cmp(&b.subresource))
        });
        match self.0.is_empty() {
            true => Value::Null,
            false => Value::Array(self.0.into_iter().map(Manager::entry).collect()),
        }
    }
    pub(crate) fn position(&self, of: &Manager) -> Option<usize> {
        self.0.iter().position(|m| m.same(of))
    }
    /// Folds the oldest updates together until there are no more than ten: those of one version become
    /// `ancient-changes`. Source: `capmanagers.go`.
    pub(crate) fn cap(&mut self) {
        let mut updates: Vec<Manager> = Vec::new();
        let count = self.0.iter().filter(|m| m.operation == Operation::Update).count();
        if count <= MAX_UPDATES {
            return;
        }
        self.0.retain(|m| {
            let update = m.operation == Operation::Update;
            if update {
                updates.push(m.clone());
            }
            !update
        });
        updates.sort_by(oldest_first);
        let mut kept: Vec<Manager> = Vec::new();
        let mut left = count;
        for manager in updates {
            let bucket = kept.iter_mut().find(|m| m.api_version == manager.api_version);
            match bucket {
                Some(bucket) if left > MAX_UPDATES => {
                    bucket.name = ANCIENT.into();
                    bucket.subresource = "".into();
                    bucket.fields.unite(&manager.fields);
                    // The later of the two.
                    bucket.time = manager.time;
                    left -= 1;
                }
                _ => kept.push(manager),
            }
        }
        self.0.append(&mut kept);
    }
}

/// How many entries of updates an object has at most.
const MAX_UPDATES: usize = 10;

const ANCIENT: &str = "ancient-changes";

fn oldest_first(a: &Manager, b: &Manager) -> Ordering {
    let id = |m: &Manager| (m.name.clone(), m.api_version.clone(), m.subresource.clone());
    a.time.cmp(&b.time).then_with(|| id(a).cmp(&id(b)))
}

/// True for a list by which a client asks to forget all managers: one empty entry.
pub fn is_reset(list: &Value) -> bool {
    matches!(list.items_at(&[]), [one] if one.as_object().is_some_and(value::Map::is_empty))
}

/// True for lists that differ in times alone.
pub fn same_but_for_times(a: &Value, b: &Value) -> bool {
    let (a, b) = (a.items_at(&[]), b.items_at(&[]));
    fn rest(entry: &Value) -> impl Iterator<Item = (&str, &Value)> {
        entry.members_at(&[]).filter(|(key, _)| *key != "time")
    }
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| rest(a).eq(rest(b)))
}
