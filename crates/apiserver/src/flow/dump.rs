//! `/debug/api_priority_and_fairness/`: what the queues hold, as the tables that upstream prints.

use super::{FlowControl, level::Level, queues::Refusal};
use base::time::Timestamp;
use std::{
    fmt::Write,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

const PREFIX: &str = "/debug/api_priority_and_fairness/";

/// The text of a dump; `None` where the path names none.
pub fn answer(flow: &FlowControl, path: &str, now: Timestamp) -> Option<String> {
    let mut out = String::new();
    match path.strip_prefix(PREFIX)? {
        "dump_priority_levels" => levels(flow, &mut out),
        "dump_queues" => queues(flow, &mut out),
        "dump_requests" => requests(flow, now, &mut out),
        _ => return None,
    }
    Some(out)
}

fn each(flow: &FlowControl, mut look: impl FnMut(&Level)) {
    let table = flow.table();
    let mut levels: Vec<_> = table.levels.iter().map(|entry| &entry.level).collect();
    levels.sort_by(|a, b| a.name.cmp(&b.name));
    levels.into_iter().for_each(|level| look(level));
}

fn levels(flow: &FlowControl, out: &mut String) {
    out.push_str(
        "PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, \
         DispatchedRequests, RejectedRequests, TimedoutRequests, CancelledRequests\n",
    );
    each(flow, |level| {
        let (active, waiting, executing) = level.look(|queues| {
            let active = queues.queues().iter().filter(|queue| !queue.waiting.is_empty()).count();
            (active, queues.waiting(), queues.executing() + level.free())
        });
        let refused = |why: Refusal| level.refused[why as usize].load(Relaxed);
        let _ = writeln!(
            out,
            "{}, {active}, {}, false, {waiting}, {executing}, {}, {}, {}, {}",
            level.name,
            waiting == 0 && executing == 0,
            level.dispatched.load(Relaxed),
            refused(Refusal::ConcurrencyLimit) + refused(Refusal::QueueFull),
            refused(Refusal::TimeOut),
            refused(Refusal::Cancelled),
        );
    });
}

fn queues(flow: &FlowControl, out: &mut String) {
    out.push_str(
        "PriorityLevelName, Index, PendingRequests, ExecutingRequests, SeatsInUse, NextDispatchR, InitialSeatsSum\n",
    );
    each(flow, |level| {
        level.look(|queues| {
            for (i, queue) in queues.queues().iter().enumerate() {
                let _ = writeln!(
                    out,
                    "{}, {i}, {}, {}, {}, {:.8}ss, {}",
                    level.name,
                    queue.waiting.len(),
                    queue.executing,
                    queue.seats,
                    queue.next,
                    queue.wanted(),
                );
            }
        });
    });
}

fn requests(flow: &FlowControl, now: Timestamp, out: &mut String) {
    out.push_str(
        "PriorityLevelName, FlowSchemaName, QueueIndex, RequestIndexInQueue, FlowDistingsher, ArriveTime, InitialSeats\n",
    );
    each(flow, |level| {
        let passed = Instant::now().duration_since(level.epoch());
        level.look(|queues| {
            for (i, queue) in queues.queues().iter().enumerate() {
                for (j, waiting) in queue.waiting.iter().enumerate() {
                    let since = passed.saturating_sub(Duration::try_from_secs_f64(waiting.since).unwrap_or_default());
                    let arrived = now.checked_sub(since).unwrap_or(now);
                    let who = &waiting.who;
                    let _ = writeln!(
                        out,
                        "{}, {}, {i}, {j}, {}, {arrived}, {}",
                        level.name, who.schema.name, who.flow, waiting.seats
                    );
                }
            }
        });
    });
}
