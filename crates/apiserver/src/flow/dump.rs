//! `/debug/api_priority_and_fairness/`: what the queues hold, as the tables that upstream prints.
//!
//! Different from upstream: requests that run are counted and not listed, for nothing is kept of a request that has a
//! seat. No request here holds seats when it is done, so final seats are 0.

use super::{
    FlowControl,
    level::Level,
    queues::{ESTIMATE, Refusal},
};
use crate::query::Query;
use base::time::Timestamp;
use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

const PREFIX: &str = "/debug/api_priority_and_fairness/";
/// Go's time of nothing.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The text of a dump; `None` where the path names none.
pub fn answer(flow: &FlowControl, path: &str, query: &Query<'_>, now: Timestamp) -> Option<String> {
    let rows = match path.strip_prefix(PREFIX)? {
        "dump_priority_levels" => levels(flow),
        "dump_queues" => queues(flow),
        "dump_requests" => requests(flow, query.get("includeRequestDetails").is_some_and(|text| !text.is_empty()), now),
        _ => return None,
    };
    Some(aligned(&rows))
}

type Row = Vec<String>;

fn heads(names: &[&str]) -> Row {
    names.iter().map(|name| name.to_string()).collect()
}

/// Cells with a comma behind, as wide as the widest of their column and a space, and at least eight; the last as it is.
fn aligned(rows: &[Row]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count() + 2).max().unwrap_or(0).max(8);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths).take(columns.saturating_sub(1)) {
            out.push_str(&format!("{:width$}", format!("{cell},")));
        }
        out.push_str(row.last().map_or("", |cell| cell));
        out.push('\n');
    }
    out
}

/// Seconds of seats.
fn work(seconds: f64) -> String {
    format!("{seconds:.8}ss")
}

fn each(flow: &FlowControl, mut look: impl FnMut(&Level)) {
    let table = flow.table();
    let mut levels: Vec<_> = table.levels.iter().map(|entry| &entry.level).collect();
    levels.sort_by(|a, b| a.name.cmp(&b.name));
    levels.into_iter().for_each(|level| look(level));
}

fn levels(flow: &FlowControl) -> Vec<Row> {
    let mut rows = vec![heads(&[
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ])];
    each(flow, |level| {
        let (active, waiting, executing) = level.look(|queues| {
            let active = queues.queues().iter().filter(|queue| !queue.waiting.is_empty()).count();
            (active, queues.waiting(), queues.executing() + level.free())
        });
        let refused = |why: Refusal| level.refused[why as usize].load(Relaxed);
        rows.push(vec![
            level.name.clone(),
            active.to_string(),
            (waiting == 0 && executing == 0).to_string(),
            "false".into(),
            waiting.to_string(),
            executing.to_string(),
            level.dispatched.load(Relaxed).to_string(),
            (refused(Refusal::ConcurrencyLimit) + refused(Refusal::QueueFull)).to_string(),
            refused(Refusal::TimeOut).to_string(),
            refused(Refusal::Cancelled).to_string(),
        ]);
    });
    rows
}

fn queues(flow: &FlowControl) -> Vec<Row> {
    let mut rows = vec![heads(&[
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ])];
    each(flow, |level| {
        level.look(|queues| {
            for (i, queue) in queues.queues().iter().enumerate() {
                rows.push(vec![
                    level.name.clone(),
                    i.to_string(),
                    queue.waiting.len().to_string(),
                    queue.executing.to_string(),
                    queue.seats.to_string(),
                    work(queue.next),
                    queue.wanted().to_string(),
                    queue.wanted().to_string(),
                    work(ESTIMATE * f64::from(queue.wanted())),
                ]);
            }
        });
    });
    rows
}

fn requests(flow: &FlowControl, detailed: bool, now: Timestamp) -> Vec<Row> {
    let mut head = heads(&[
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ]);
    if detailed {
        let more = ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];
        head.extend(heads(&more));
    }
    let mut rows = vec![head];
    each(flow, |level| {
        let passed = Instant::now().duration_since(level.epoch());
        level.look(|queues| {
            for (i, queue) in queues.queues().iter().enumerate() {
                for (j, waiting) in queue.waiting.iter().enumerate() {
                    let since = passed.saturating_sub(Duration::try_from_secs_f64(waiting.since).unwrap_or_default());
                    let (who, details) = (&waiting.who, &waiting.who.details);
                    let mut row = vec![
                        level.name.clone(),
                        who.schema.name.clone(),
                        i.to_string(),
                        j.to_string(),
                        who.flow.clone(),
                        now.checked_sub(since).unwrap_or(now).to_string(),
                        waiting.seats.to_string(),
                        "0".into(),
                        "0s".into(),
                        NEVER.into(),
                    ];
                    if detailed {
                        let d = details;
                        let all = [
                            &d.user,
                            d.verb,
                            &d.path,
                            &d.namespace,
                            &d.name,
                            &d.api_version,
                            &d.resource,
                            &d.subresource,
                        ];
                        row.extend(heads(&all));
                    }
                    rows.push(row);
                }
            }
        });
    });
    rows
}
