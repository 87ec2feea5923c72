//! What `kubectl get pods` shows. Source of the reasons: `pkg/printers/internalversion`, `printPod`.

use crate::cells::{or_none, since};
use base::time::Timestamp;
use schema::Column;
use value::Value;

pub fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Ready", |pod, _| Summary::of(pod).ready().into()),
        Column::text("Status", |pod, _| Summary::of(pod).reason.into()),
        Column::text("Restarts", |pod, now| Summary::of(pod).restarts(now).into()),
        Column::age(),
        Column::text("IP", |pod, _| {
            let ips = pod.items_at(&["status", "podIPs"]);
            or_none(ips.first().map_or("", |ip| ip.str_at(&["ip"]))).into()
        })
        .wide(),
        Column::text("Node", |pod, _| or_none(pod.str_at(&["spec", "nodeName"])).into()).wide(),
        Column::text("Nominated Node", |pod, _| or_none(pod.str_at(&["status", "nominatedNodeName"])).into()).wide(),
        Column::text("Readiness Gates", |pod, _| gates(pod).into()).wide(),
    ]
}

/// What three columns derive from the same walk over the statuses.
struct Summary<'a> {
    reason: String,
    total: usize,
    ready: usize,
    restarts: i64,
    /// RFC 3339 sorts as text while all times are written in UTC.
    last_restart: &'a str,
}

impl<'a> Summary<'a> {
    fn of(pod: &'a Value) -> Self {
        let status = pod.at(&["status"]);
        let reason = [status.str_at(&["reason"]), status.str_at(&["phase"])];
        let restartable = pod.items_at(&["spec", "initContainers"]).iter().filter(|c| is_restartable(c)).count();
        let mut summary = Summary {
            reason: reason.into_iter().find(|r| !r.is_empty()).unwrap_or("").into(),
            total: pod.items_at(&["spec", "containers"]).len() + restartable,
            ready: 0,
            restarts: 0,
            last_restart: "",
        };
        let gated = |c: &Value| c.str_at(&["type"]) == "PodScheduled" && c.str_at(&["reason"]) == "SchedulingGated";
        if status.items_at(&["conditions"]).iter().any(gated) {
            summary.reason = "SchedulingGated".into();
        }
        let sidecars = summary.init(pod);
        if let Some((restarts, last)) = sidecars {
            (summary.restarts, summary.last_restart) = (restarts, last);
            summary.regular(pod);
        }
        let deleting = !pod.at(&["metadata", "deletionTimestamp"]).is_null();
        if deleting && status.str_at(&["reason"]) == "NodeLost" {
            summary.reason = "Unknown".into();
        } else if deleting && !["Failed", "Succeeded"].contains(&status.str_at(&["phase"])) {
            summary.reason = "Terminating".into();
        }
        summary
    }

    /// Init containers. When they are through: the restarts of the ones that keep running (side-cars), and their last.
    fn init(&mut self, pod: &'a Value) -> Option<(i64, &'a str)> {
        let specs = pod.items_at(&["spec", "initContainers"]);
        let (mut sidecar_restarts, mut sidecar_last) = (0, "");
        let mut waiting = false;
        for (i, status) in pod.items_at(&["status", "initContainerStatuses"]).iter().enumerate() {
            let spec = specs.iter().find(|c| c.at(&["name"]) == status.at(&["name"]));
            let sidecar = spec.is_some_and(is_restartable);
            self.count(status);
            if sidecar {
                sidecar_restarts += status.at(&["restartCount"]).as_i64().unwrap_or(0);
                sidecar_last = sidecar_last.max(last_end(status));
            }
            let ended = status.at(&["state", "terminated"]);
            let waits = status.str_at(&["state", "waiting", "reason"]);
            if !ended.is_null() && ended.at(&["exitCode"]).as_i64().unwrap_or(0) == 0 {
                continue;
            }
            if sidecar && status.at(&["started"]).as_bool() == Some(true) {
                self.ready += usize::from(status.at(&["ready"]).as_bool() == Some(true));
                continue;
            }
            self.reason = match waits {
                _ if !ended.is_null() => format!("Init:{}", end_reason(ended)),
                "" | "PodInitializing" => format!("Init:{i}/{}", specs.len()),
                waits => format!("Init:{waits}"),
            };
            waiting = true;
            break;
        }
        let initialized = || is_true(pod, "Initialized");
        (!waiting || initialized()).then_some((sidecar_restarts, sidecar_last))
    }

    /// Regular containers, the last one first: the first one's reason wins.
    fn regular(&mut self, pod: &'a Value) {
        let (mut running, mut error) = (false, String::new());
        for status in pod.items_at(&["status", "containerStatuses"]).iter().rev() {
            self.count(status);
            let ended = status.at(&["state", "terminated"]);
            let waits = status.str_at(&["state", "waiting", "reason"]);
            if !waits.is_empty() {
                self.reason = waits.into();
            } else if !ended.is_null() {
                self.reason = end_reason(ended);
                if ended.at(&["exitCode"]).as_i64().unwrap_or(0) != 0 {
                    error.clone_from(&self.reason);
                }
            } else if status.at(&["ready"]).as_bool() == Some(true) && !status.at(&["state", "running"]).is_null() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            if running && is_true(pod, "Ready") {
                self.reason = "Running".into();
            } else if !error.is_empty() {
                self.reason = error;
            } else if running {
                self.reason = "NotReady".into();
            }
        }
    }

    fn count(&mut self, status: &'a Value) {
        self.restarts += status.at(&["restartCount"]).as_i64().unwrap_or(0);
        self.last_restart = self.last_restart.max(last_end(status));
    }

    fn ready(&self) -> String {
        format!("{}/{}", self.ready, self.total)
    }

    /// `2 (5m ago)`
    fn restarts(&self, now: Timestamp) -> String {
        match (self.restarts, self.last_restart) {
            (0, _) | (_, "") => self.restarts.to_string(),
            (n, last) => format!("{n} ({} ago)", since(&last.into(), now)),
        }
    }
}

/// An init container that keeps running: a side-car.
fn is_restartable(container: &Value) -> bool {
    container.str_at(&["restartPolicy"]) == "Always"
}

fn is_true(pod: &Value, condition: &str) -> bool {
    crate::cells::condition(pod, condition).is_some_and(|c| c.str_at(&["status"]) == "True")
}

fn last_end(status: &Value) -> &str {
    status.str_at(&["lastState", "terminated", "finishedAt"])
}

/// `Error`, `Signal:9`, `ExitCode:1`
fn end_reason(ended: &Value) -> String {
    let number = |field| ended.at(&[field]).as_i64().unwrap_or(0);
    match ended.str_at(&["reason"]) {
        "" if number("signal") != 0 => format!("Signal:{}", number("signal")),
        "" => format!("ExitCode:{}", number("exitCode")),
        reason => reason.into(),
    }
}

/// How many of the readiness gates are open.
fn gates(pod: &Value) -> String {
    let gates = pod.items_at(&["spec", "readinessGates"]);
    let open = gates.iter().filter(|g| is_true(pod, g.str_at(&["conditionType"]))).count();
    if gates.is_empty() { "<none>".into() } else { format!("{open}/{}", gates.len()) }
}
