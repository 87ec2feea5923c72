//! Priority and fairness: which requests have a seat, which wait, which are told to come back.
//!
//! [`schema`] says to which priority level a request belongs, [`limits`] how many seats a level has, [`queues`] who of
//! its requests is next; those are values and functions. [`level`] holds a level's queues behind a lock, [`table`] the
//! present objects, [`follow`] keeps them present, [`turns`] bounds bodies that come slowly. Source: KEP-1040.
//!
//! A request takes a seat once its body is there, so that no slow client holds one. A list, and the beginning of a watch, is as wide as the objects that it
//! passes; a write is one seat wide: upstream adds seats for the watchers that it wakes, but here an event is
//! encoded once for all of them. Watches hold their seat only until they have begun.

pub mod dump;
mod follow;
mod level;
mod limits;
mod queues;
mod schema;
mod table;
mod turns;

pub use level::Seat;
pub use table::Schema;
pub use turns::Turns;

use crate::request_info::RequestInfo;
use base::{Result, User};
use http::{HeaderName, HeaderValue};
use level::Asked;
use limits::Smoothed;
use parking_lot::{Mutex, RwLock};
use schema::By;
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};
use table::{Families, Reference, Table};
use telemetry::Registry;

/// The widest that a request is thought. Source: upstream's `maximumListSeatsLimit`.
const WIDEST: u32 = 10;
/// As many objects fill a seat of a list. Source: upstream's `objectsPerSeat`.
const OBJECTS: usize = 100;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// The one of a server.
pub struct FlowControl {
    table: RwLock<Arc<Table>>,
    families: Families,
    epoch: Instant,
    /// What levels were asked for lately, by name.
    demands: Mutex<HashMap<String, Smoothed>>,
    pub turns: Turns,
}

impl FlowControl {
    /// With the two levels that are always there; [`FlowControl::follow`] brings the others.
    pub fn new(registry: &Registry) -> Self {
        let (families, epoch) = (Families::new(registry), Instant::now());
        let (table, _) = Table::new(None, &[], &[], &families, epoch);
        let table = RwLock::new(Arc::new(table));
        FlowControl { table, families, epoch, demands: Mutex::default(), turns: Turns::new(registry) }
    }
    /// Where a request belongs.
    pub fn classify(&self, user: &User, info: &RequestInfo<'_>) -> Arc<Schema> {
        let table = self.table.read();
        table.classify(user, info).clone()
    }
    /// A seat for a request of that schema. `objects`: how many it passes, where it is a list or begins with one.
    pub async fn seat(
        &self,
        schema: &Arc<Schema>,
        user: &User,
        info: &RequestInfo<'_>,
        objects: impl FnOnce() -> usize,
    ) -> Result<Seat> {
        let level = &schema.level;
        if level.exempt {
            return level.seat(schema, 0, 1, Asked { flow: "", user, info }).await;
        }
        let flow = schema.by.distinguish(user, info);
        let hash = match schema.by {
            By::Nothing => 0,
            _ => self.table.read().hash(schema, flow),
        };
        // A list of one name is a read of it.
        let listed = matches!(info.verb, "list" | "watch") && info.name.is_empty();
        let seats = if listed { width(objects(), level.width.load(Relaxed)) } else { 1 };
        level.seat(schema, hash, seats, Asked { flow, user, info }).await
    }
    /// Takes over the objects as they are now.
    fn set(&self, schemas: &[Arc<value::Object>], levels: &[Arc<value::Object>]) -> Vec<Reference> {
        let mut table = self.table.write();
        let (new, references) = Table::new(Some(&table), schemas, levels, &self.families, self.epoch);
        *table = Arc::new(new);
        references
    }
    /// Sets every level's limit by what was asked for since the last time.
    fn adjust(&self) {
        let table = self.table.read().clone();
        let mut demands = self.demands.lock();
        demands.retain(|name, _| table.levels.iter().any(|entry| entry.level.name == *name));
        let levels: Vec<limits::Level> = table
            .levels
            .iter()
            .map(|entry| {
                let demand = entry.level.demand();
                let smoothed = demands.entry(entry.level.name.clone()).or_default();
                smoothed.update(demand);
                limits::Level {
                    bounds: entry.bounds,
                    exempt: entry.level.exempt,
                    high: demand.high,
                    smoothed: smoothed.0,
                    current: entry.level.look(|queues| queues.seats()),
                }
            })
            .collect();
        for ((entry, level), seats) in table.levels.iter().zip(&levels).zip(limits::adjust(&levels)) {
            if seats != level.current {
                entry.level.set(entry.limit, seats);
            }
        }
    }
    fn table(&self) -> Arc<Table> {
        self.table.read().clone()
    }
}

impl Schema {
    /// The headers that say where a request belonged.
    pub fn headers(&self) -> [(HeaderName, HeaderValue); 2] {
        [(SCHEMA_UID, self.uid.clone()), (LEVEL_UID, self.level_uid.clone())]
    }
}

fn width(objects: usize, most: u32) -> u32 {
    u32::try_from(objects.div_ceil(OBJECTS)).unwrap_or(u32::MAX).clamp(1, most.max(1))
}

#[cfg(test)]
mod tests;
