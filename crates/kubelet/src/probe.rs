//! Probes: the counting of results as a pure state machine, and the tries themselves.

use crate::{handler, node::Node};
use k8s_openapi::api::core::v1::{Container, Probe as Spec};
use std::{sync::Arc, time::Duration};

/// Which probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    /// As events name it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
    /// The container's probe of that kind.
    pub fn of(self, container: &Container) -> Option<&Spec> {
        match self {
            Kind::Startup => container.startup_probe.as_ref(),
            Kind::Liveness => container.liveness_probe.as_ref(),
            Kind::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// Counts results in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracker {
    success: i32,
    failure: i32,
    good: i32,
    bad: i32,
    verdict: Option<bool>,
}

impl Tracker {
    /// With the thresholds of a probe; `verdict` is what holds before the first result.
    pub fn new(spec: &Spec, verdict: Option<bool>) -> Self {
        Tracker {
            success: spec.success_threshold.unwrap_or(1).max(1),
            failure: spec.failure_threshold.unwrap_or(3).max(1),
            good: 0,
            bad: 0,
            verdict,
        }
    }
    /// Takes a result; returns the verdict where it changed.
    pub fn observe(&mut self, good: bool) -> Option<bool> {
        if good {
            (self.good, self.bad) = (self.good + 1, 0);
        } else {
            (self.good, self.bad) = (0, self.bad + 1);
        }
        let reached = if good { self.good >= self.success } else { self.bad >= self.failure };
        if !reached || self.verdict == Some(good) {
            return None;
        }
        self.verdict = Some(good);
        Some(good)
    }
}

/// What a probe says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub container: String,
    pub id: String,
    pub kind: Kind,
    /// The new verdict; `None` for a failure that does not change it (an event is due all the same).
    pub verdict: Option<bool>,
    /// Of a failure; empty where the command said nothing.
    pub message: Option<String>,
}

/// Where a probe goes.
#[derive(Debug, Clone)]
pub struct Target {
    pub container: Arc<Container>,
    pub id: String,
    pub pod_ip: String,
    pub running_for: Duration,
}

/// Probes until aborted (startup: until it has succeeded) and reports.
pub async fn run(
    node: Arc<Node>,
    kind: Kind,
    target: Target,
    verdict: Option<bool>,
    report: impl Fn(Report) -> bool + Send,
) {
    let Some(spec) = kind.of(&target.container).cloned() else { return };
    let seconds =
        |n: Option<i32>, default: u64| n.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(default);
    let initial = Duration::from_secs(seconds(spec.initial_delay_seconds, 0));
    let period = Duration::from_secs(seconds(spec.period_seconds, 10));
    let timeout = Duration::from_secs(seconds(spec.timeout_seconds, 1));
    let mut tracker = Tracker::new(&spec, verdict);
    tokio::time::sleep(initial.saturating_sub(target.running_for)).await;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let result = attempt(&node, &spec, &target, timeout).await;
        let verdict = tracker.observe(result.is_ok());
        let failed = result.is_err();
        if verdict.is_some() || failed {
            let report_of = Report {
                container: target.container.name.clone(),
                id: target.id.clone(),
                kind,
                verdict,
                message: result.err(),
            };
            if !report(report_of) {
                return;
            }
        }
        if verdict == Some(true) && kind == Kind::Startup {
            return;
        }
    }
}

async fn attempt(node: &Node, spec: &Spec, target: &Target, timeout: Duration) -> Result<(), String> {
    let container = &target.container;
    if let Some(exec) = &spec.exec {
        let command = exec.command.clone().unwrap_or_default();
        return match node.runtime.exec_sync(&target.id, &command, timeout).await {
            Ok(done) if done.exit_code == 0 => Ok(()),
            Ok(done) => Err(handler::tail(&[done.stdout, done.stderr].concat())),
            Err(cri::Error::DeadlineExceeded(_)) => {
                Err(format!("command timed out: {:?} timed out after {}s", command.join(" "), timeout.as_secs()))
            }
            Err(e) => Err(e.to_string()),
        };
    }
    let network = async {
        if let Some(get) = &spec.http_get {
            let (code, body) = handler::http_get(get, container, &target.pod_ip).await?;
            return match code {
                200..400 => Ok(()),
                _ => Err(format!("HTTP probe failed with statuscode: {code}")).inspect_err(|_| tracing::debug!(%body)),
            };
        }
        if let Some(tcp) = &spec.tcp_socket {
            let port = handler::port(&tcp.port, container)?;
            let host = tcp.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| target.pod_ip.clone());
            return handler::tcp(&host, port).await;
        }
        if let Some(grpc) = &spec.grpc {
            let port = u16::try_from(grpc.port).map_err(|_| format!("bad port {}", grpc.port))?;
            return handler::grpc(&target.pod_ip, port, grpc.service.as_deref().unwrap_or_default()).await;
        }
        Err(format!("missing probe handler for container {}", container.name))
    };
    match tokio::time::timeout(timeout, network).await {
        Ok(result) => result,
        Err(_) => Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results as `+` and `-`; the changes of verdict at their places.
    #[track_caller]
    fn check(success: i32, failure: i32, results: &str, want: &str) {
        let spec = Spec { success_threshold: Some(success), failure_threshold: Some(failure), ..Spec::default() };
        let mut tracker = Tracker::new(&spec, None);
        let words: String = results
            .chars()
            .map(|c| match tracker.observe(c == '+') {
                Some(true) => 'U',
                Some(false) => 'D',
                None => '.',
            })
            .collect();
        assert_eq!(words, want);
    }

    #[test]
    fn thresholds() {
        check(1, 3, "+++", "U..");
        check(1, 3, "--+--", "..U..");
        check(1, 3, "+---", "U..D");
        check(1, 3, "---+", "..DU");
        check(2, 2, "+-++--+", "...U.D.");
        check(1, 1, "-+-", "DUD");
    }
}
