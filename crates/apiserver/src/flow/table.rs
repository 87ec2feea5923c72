//! The present flow schemas and priority levels, and which schema a user's request belongs to.
//!
//! A table is made anew when an object changes, and never changes itself but for what it remembers: which rules are
//! about a user at all. So a known user's request is matched against the few rules that are about it.

use super::{
    level::Level,
    limits::{self, Bounds, Share},
    queues::{Limit, Refusal},
    schema::{By, Rule},
};
use crate::request_info::RequestInfo;
use base::User;
use http::HeaderValue;
use parking_lot::RwLock;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};
use telemetry::{Counter, Family, Gauge, Histogram, Registry};
use value::{Object, Value, value};

/// How many users' rules are remembered; beyond that they are looked for anew.
const REMEMBERED: usize = 10_000;

/// A flow schema, and the level that it leads to.
pub struct Schema {
    pub name: String,
    pub uid: HeaderValue,
    pub level: Arc<Level>,
    pub level_uid: HeaderValue,
    pub by: By,
    pub metrics: SchemaMetrics,
}

/// What is counted per schema.
pub struct SchemaMetrics {
    pub dispatched: Arc<Counter>,
    pub refused: [Arc<Counter>; 4],
    pub waiting: Arc<Gauge>,
    pub executing: Arc<Gauge>,
    pub waited: Arc<Histogram>,
}

/// The families of those, and of the levels.
pub struct Families {
    dispatched: Arc<Family<Counter>>,
    refused: Arc<Family<Counter>>,
    waiting: Arc<Family<Gauge>>,
    executing: Arc<Family<Gauge>>,
    waited: Arc<Family<Histogram>>,
    nominal: Arc<Family<Gauge>>,
    lower: Arc<Family<Gauge>>,
    upper: Arc<Family<Gauge>>,
    current: Arc<Family<Gauge>>,
}

impl Families {
    pub fn new(registry: &Registry) -> Self {
        const BOTH: &[&str] = &["flow_schema", "priority_level"];
        const LEVEL: &[&str] = &["priority_level"];
        Families {
            dispatched: registry.family(
                "apiserver_flowcontrol_dispatched_requests_total",
                "Requests that had a seat.",
                BOTH,
            ),
            refused: registry.family(
                "apiserver_flowcontrol_rejected_requests_total",
                "Requests told to come back.",
                &["flow_schema", "priority_level", "reason"],
            ),
            waiting: registry.family("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait.", BOTH),
            executing: registry.family("apiserver_flowcontrol_current_executing_requests", "Requests that run.", BOTH),
            waited: registry.family(
                "apiserver_flowcontrol_request_wait_duration_seconds",
                "How long requests waited, of those that did.",
                BOTH,
            ),
            nominal: registry.family("apiserver_flowcontrol_nominal_limit_seats", "Seats by shares.", LEVEL),
            lower: registry.family("apiserver_flowcontrol_lower_limit_seats", "Seats that are never lent.", LEVEL),
            upper: registry.family("apiserver_flowcontrol_upper_limit_seats", "Seats with all borrowed.", LEVEL),
            current: registry.family("apiserver_flowcontrol_current_limit_seats", "Seats at present.", LEVEL),
        }
    }
    fn of(&self, schema: &str, level: &str) -> SchemaMetrics {
        let both = [schema, level];
        SchemaMetrics {
            dispatched: self.dispatched.with(&both),
            refused: Refusal::ALL.map(|why| self.refused.with(&[schema, level, why.word()])),
            waiting: self.waiting.with(&both),
            executing: self.executing.with(&both),
            waited: self.waited.with(&both),
        }
    }
}

/// A level, and what its object says.
#[derive(Clone)]
pub struct Entry {
    pub level: Arc<Level>,
    pub limit: Limit,
    pub bounds: Bounds,
    uid: HeaderValue,
}

/// All of them.
pub struct Table {
    pub levels: Vec<Entry>,
    /// By precedence.
    pub schemas: Vec<Arc<Schema>>,
    rules: Vec<(usize, Rule)>,
    catch_all: Arc<Schema>,
    hasher: RandomState,
    users: RwLock<HashMap<u64, Arc<Known>>>,
}

/// The rules that are about a user.
struct Known {
    name: String,
    groups: Vec<String>,
    rules: Box<[u32]>,
}

/// What a schema leads to: found or not, for its status.
pub struct Reference {
    pub schema: Arc<Object>,
    pub level: String,
    pub found: bool,
}

impl Table {
    /// Of the objects as they are. Levels that the table before had go on.
    pub fn new(
        before: Option<&Table>,
        schemas: &[Arc<Object>],
        levels: &[Arc<Object>],
        families: &Families,
        epoch: Instant,
    ) -> (Self, Vec<Reference>) {
        let levels = self::levels(before, levels, families, epoch);
        let mut references = Vec::new();
        let mut found: Vec<(i64, Arc<Schema>, Vec<Rule>)> = Vec::new();
        for object in schemas {
            let value = object.value();
            let spec = value.at(&["spec"]);
            let wanted = spec.str_at(&["priorityLevelConfiguration", "name"]);
            let entry = levels.iter().find(|entry| entry.level.name == wanted);
            references.push(Reference { schema: object.clone(), level: wanted.into(), found: entry.is_some() });
            let Some(entry) = entry else { continue };
            let schema = made(object.name(), &object.meta.uid, entry, By::of(spec), families);
            found.push((spec.at(&["matchingPrecedence"]).as_i64().unwrap_or(1000), schema, Rule::list(spec)));
        }
        found.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        let last = found.iter().find(|(_, schema, _)| schema.name == "catch-all").map(|(_, schema, _)| schema.clone());
        let catch_all = last.or_else(|| {
            let entry = levels.iter().find(|entry| entry.level.name == "catch-all").or(levels.first())?;
            Some(made("catch-all", "", entry, By::User, families))
        });
        let mut table = Table {
            catch_all: catch_all.expect("there is a level catch-all whatever the objects say"),
            levels,
            schemas: Vec::new(),
            rules: Vec::new(),
            hasher: RandomState::new(),
            users: RwLock::default(),
        };
        for (i, (_, schema, rules)) in found.into_iter().enumerate() {
            table.schemas.push(schema);
            table.rules.extend(rules.into_iter().map(|rule| (i, rule)));
        }
        (table, references)
    }
    /// The schema of a request: the first that covers it.
    pub fn classify(&self, user: &User, info: &RequestInfo<'_>) -> &Arc<Schema> {
        let known = self.known(user);
        let rules = known.rules.iter().map(|rule| &self.rules[*rule as usize]);
        let found = rules.into_iter().find(|(_, rule)| rule.covers(info));
        found.map_or(&self.catch_all, |(schema, _)| &self.schemas[*schema])
    }
    fn known(&self, user: &User) -> Arc<Known> {
        let hash = self.hasher.hash_one((&user.name, &user.groups));
        let same = |known: &&Arc<Known>| known.name == user.name && known.groups == user.groups;
        if let Some(known) = self.users.read().get(&hash).filter(same) {
            return known.clone();
        }
        let rules = self.rules.iter().enumerate().filter(|(_, (_, rule))| rule.concerns(user));
        let rules = rules.filter_map(|(i, _)| u32::try_from(i).ok()).collect();
        let known = Arc::new(Known { name: user.name.clone(), groups: user.groups.clone(), rules });
        let mut users = self.users.write();
        if users.len() >= REMEMBERED {
            users.clear();
        }
        users.insert(hash, known.clone());
        known
    }
    /// The hash of a request's flow.
    pub fn hash(&self, schema: &Schema, flow: &str) -> u64 {
        self.hasher.hash_one((&schema.name, flow))
    }
}

fn made(name: &str, uid: &str, entry: &Entry, by: By, families: &Families) -> Arc<Schema> {
    Arc::new(Schema {
        name: name.into(),
        uid: header(uid),
        level: entry.level.clone(),
        level_uid: entry.uid.clone(),
        by,
        metrics: families.of(name, &entry.level.name),
    })
}

fn header(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""))
}

/// The levels of the objects; the two mandatory ones also where there is no object yet.
fn levels(before: Option<&Table>, objects: &[Arc<Object>], families: &Families, epoch: Instant) -> Vec<Entry> {
    let mut specs: Vec<(String, String, Value)> = objects
        .iter()
        .map(|object| (object.name().into(), object.meta.uid.to_string(), object.value().at(&["spec"]).clone()))
        .collect();
    for (name, spec) in [
        ("exempt", value!({"type": "Exempt"})),
        ("catch-all", value!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5}})),
    ] {
        if !specs.iter().any(|(known, ..)| known == name) {
            specs.push((name.into(), String::new(), spec));
        }
    }
    let shares: Vec<Share> = specs.iter().map(|(.., spec)| share(spec)).collect();
    let bounds = limits::bounds(limits::SERVER, &shares);
    let entry = |(((name, uid, spec), share), bounds): (((String, String, Value), Share), Bounds)| {
        let same = |entry: &&Entry| entry.level.name == name && entry.level.exempt == share.exempt;
        let old = before.and_then(|table| table.levels.iter().find(same));
        let limit = limit(&spec);
        let current = families.current.with(&[&name]);
        let level = match old {
            Some(old) => old.level.clone(),
            None => {
                current.set(bounds.nominal.into());
                Arc::new(Level::new(&name, share.exempt, limit, bounds, epoch, current))
            }
        };
        families.nominal.with(&[&name]).set(bounds.nominal.into());
        families.lower.with(&[&name]).set(bounds.min.into());
        families.upper.with(&[&name]).set(bounds.max.into());
        if old.is_some_and(|old| old.limit != limit || old.bounds != bounds) {
            level.set(limit, bounds.nominal);
        }
        let hand = if let Limit::Queue { hand, .. } = limit { hand } else { 1 };
        level.width.store(limits::max_width(bounds.nominal, hand, super::WIDEST), Relaxed);
        Entry { level, limit, bounds, uid: header(&uid) }
    };
    specs.into_iter().zip(shares).zip(bounds).map(entry).collect()
}

fn share(spec: &Value) -> Share {
    let exempt = spec.str_at(&["type"]) == "Exempt";
    let own = spec.at(&[if exempt { "exempt" } else { "limited" }]);
    let number = |key: &str| own.at(&[key]).as_i64().and_then(|n| u32::try_from(n).ok());
    Share {
        shares: number("nominalConcurrencyShares").unwrap_or(if exempt { 0 } else { 30 }),
        lendable_percent: number("lendablePercent").unwrap_or(0),
        borrowing_percent: number("borrowingLimitPercent"),
        exempt,
    }
}

fn limit(spec: &Value) -> Limit {
    let response = spec.at(&["limited", "limitResponse"]);
    if response.str_at(&["type"]) != "Queue" {
        return Limit::Reject;
    }
    let number = |key: &str, default: u32| {
        let given = response.at(&["queuing", key]).as_i64().and_then(|n| u32::try_from(n).ok());
        given.filter(|n| *n > 0).unwrap_or(default)
    };
    Limit::Queue { queues: number("queues", 64), hand: number("handSize", 8), length: number("queueLengthLimit", 50) }
}
