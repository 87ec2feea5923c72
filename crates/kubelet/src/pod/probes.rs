//! Which probes run for which containers, and what their reports mean.

use crate::{
    pod::{
        decide::{containers, survives_kill},
        ephemeral::Place,
        state::{Condemned, Phase},
        worker::{Guard, Message, Worker},
    },
    probe::{self, Kind, Report, Target},
};
use base::time::SignedDuration;
use std::sync::Arc;

/// Starts and ends probes so that they fit the containers, and works out `started` and `ready`.
pub(crate) fn sync(worker: &mut Worker) {
    let ips = worker.ips();
    let pod = worker.pod.clone();
    for (spec, _) in containers(&pod) {
        let Some(container) = worker.state.containers.get_mut(&spec.name) else { continue };
        let Some(live) = worker.live.get_mut(&spec.name) else { continue };
        let Phase::Running { since } = container.phase else {
            live.probes.clear();
            continue;
        };
        live.startup_passed |= spec.startup_probe.is_none();
        container.started = live.hooked && live.startup_passed;
        let readiness = spec.readiness_probe.is_none() || live.readiness == Some(true);
        container.ready = container.started && readiness;
        let wanted: &[Kind] = match (live.hooked, live.startup_passed) {
            (false, _) => &[],
            (true, false) => &[Kind::Startup],
            (true, true) => &[Kind::Liveness, Kind::Readiness],
        };
        live.probes.retain(|kind, _| wanted.contains(kind));
        for kind in wanted.iter().filter(|kind| kind.of(spec).is_some()) {
            if live.probes.contains_key(kind) {
                continue;
            }
            let running_for = worker.node.now().duration_since(since).max(SignedDuration::ZERO).unsigned_abs();
            let target = Target {
                container: Arc::new(spec.clone()),
                id: container.id.clone(),
                pod_ip: ips.first().cloned().unwrap_or_default(),
                running_for,
            };
            let verdict = match kind {
                Kind::Startup => None,
                Kind::Liveness => Some(true),
                Kind::Readiness => live.readiness,
            };
            let inbox = worker.inbox.clone();
            let report = move |report| inbox.send(Message::Probe(report)).is_ok();
            let task = tokio::spawn(probe::run(worker.node.clone(), *kind, target, verdict, report));
            live.probes.insert(*kind, Guard(task.abort_handle()));
        }
    }
}

/// Takes a report: an event for each failure, and what a new verdict means.
pub(crate) fn take(worker: &mut Worker, report: Report) {
    let spec = containers(&worker.pod.clone())
        .find(|(spec, _)| spec.name == report.container)
        .map(|(spec, init)| (spec.clone(), init));
    let Some((spec, init)) = spec else { return };
    let about = worker.about(&report.container, if init { Place::Init } else { Place::Regular });
    let Some(live) = worker.live.get_mut(&report.container).filter(|live| live.id == report.id) else { return };
    let Some(container) = worker.state.containers.get_mut(&report.container) else { return };
    if !matches!(container.phase, Phase::Running { .. }) {
        return;
    }
    if let Some(message) = &report.message {
        let text = format!("{} probe failed: {message}", report.kind.word());
        worker.node.recorder.warning(&about, "Unhealthy", text);
    }
    let Some(good) = report.verdict else { return };
    match (report.kind, good) {
        (Kind::Readiness, good) => live.readiness = Some(good),
        (Kind::Startup, true) => live.startup_passed = true,
        (Kind::Liveness, true) => {}
        (kind, false) => {
            let grace = kind.of(&spec).and_then(|probe| probe.termination_grace_period_seconds);
            let word = kind.word().to_lowercase();
            let restart = if survives_kill(&worker.pod, &spec, init) { ", will be restarted" } else { "" };
            let message = format!("Container {} failed {word} probe{restart}", spec.name);
            container.condemned = Some(Condemned { message, grace });
        }
    }
}
