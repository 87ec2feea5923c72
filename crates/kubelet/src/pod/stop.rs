//! Stopping one container: the preStop hook, the stop signal, and a deadline that may move nearer meanwhile.

use crate::{
    hooks,
    node::Node,
    pod::{inbox::Inbox, worker::Message},
};
use base::time::{SignedDuration, Timestamp};
use control::Reference;
use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::Container;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// After the hook a container gets at least this long (`minimumGracePeriodInSeconds`).
const MINIMUM: Duration = Duration::from_secs(2);

/// Everything that a stop needs to know.
pub struct StopContainer {
    pub node: Arc<Node>,
    pub spec: Container,
    pub id: String,
    pub ips: Vec<String>,
    pub about: Reference,
    pub message: String,
    /// May move nearer.
    pub deadline: watch::Receiver<Timestamp>,
    pub inbox: Inbox,
}

impl StopContainer {
    /// Stops and reports the end to the inbox.
    pub async fn run(mut self) {
        self.node.recorder.normal(&self.about, "Killing", &self.message);
        if let Some(hook) = self.spec.lifecycle.as_ref().and_then(|l| l.pre_stop.clone()) {
            let node = self.node.clone();
            let mut running = std::pin::pin!(hooks::run(&node, &hook, &self.spec, &self.id, &self.ips));
            let mut deadline = self.deadline.clone();
            let result = loop {
                let left = left(*deadline.borrow_and_update(), node.now());
                tokio::select! {
                    result = &mut running => break result,
                    _ = tokio::time::sleep(left) => break Err("the grace period is over".into()),
                    Ok(()) = deadline.changed() => {}
                }
            };
            if let Err(error) = result {
                tracing::debug!(container = %self.spec.name, %error, "preStop hook");
                self.node.recorder.warning(&self.about, "FailedPreStopHook", "PreStopHook failed");
            }
        }
        let error = self.stop().await.err().map(|e| e.to_string());
        let status = self.node.runtime.container_status(&self.id).await.ok().map(Box::new);
        let _ = self.inbox.send(Message::Stopped { container: self.spec.name.clone(), id: self.id, status, error });
    }

    /// A nearer deadline is another call with a shorter timeout; the runtime takes the shorter one.
    async fn stop(&mut self) -> cri::Result<()> {
        let node = self.node.clone();
        let id = self.id.clone();
        let mut calls = FuturesUnordered::new();
        let timeout = left(*self.deadline.borrow_and_update(), node.now()).max(MINIMUM);
        calls.push(node.runtime.stop_container(&id, timeout));
        let mut open = true;
        loop {
            tokio::select! {
                Some(result) = calls.next() => return result,
                changed = self.deadline.changed(), if open => match changed {
                    Ok(()) => {
                        let timeout = left(*self.deadline.borrow_and_update(), node.now());
                        calls.push(node.runtime.stop_container(&id, timeout));
                    }
                    Err(_) => open = false,
                },
            }
        }
    }
}

fn left(deadline: Timestamp, now: Timestamp) -> Duration {
    deadline.duration_since(now).max(SignedDuration::ZERO).unsigned_abs()
}
