//! Keeps the table in step with its objects, tells schemas whether their level exists, and sets limits every ten seconds.

use super::{FlowControl, table::Reference};
use base::clock::Clock;
use resource::{Body, Engine, WriteOptions};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use value::{Value, value};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
/// How often limits are set by demand. Source: upstream's.
const PERIOD: Duration = Duration::from_secs(10);

impl FlowControl {
    /// Follows the objects of an engine until either is dropped.
    pub fn follow(self: &Arc<Self>, engine: &Arc<Engine>, clock: Arc<dyn Clock>) {
        for plural in [SCHEMAS, LEVELS] {
            tokio::spawn(follow(Arc::downgrade(self), Arc::downgrade(engine), clock.clone(), plural));
        }
        let flow = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut timer = tokio::time::interval(PERIOD);
            loop {
                timer.tick().await;
                let Some(flow) = flow.upgrade() else { return };
                flow.adjust();
            }
        });
    }
    /// Takes over the objects as they are now. Answers with the statuses that are to be written.
    fn refresh(&self, engine: &Engine) -> Vec<Reference> {
        let (schemas, levels) = (engine.view().list(GROUP, SCHEMAS, None), engine.view().list(GROUP, LEVELS, None));
        self.set(&schemas, &levels)
    }
}

async fn follow(flow: Weak<FlowControl>, engine: Weak<Engine>, clock: Arc<dyn Clock>, plural: &'static str) {
    while let Some(mut watcher) = resource::follow(&flow, &engine, GROUP, plural).await {
        let mut batch = Vec::new();
        loop {
            let Some((flow, engine)) = flow.upgrade().zip(engine.upgrade()) else { return };
            for reference in flow.refresh(&engine) {
                tell(&engine, &reference, &*clock).await;
            }
            drop((flow, engine));
            batch.clear();
            if !matches!(watcher.next(&mut batch).await, Ok(true)) {
                break;
            }
        }
    }
}

/// Writes the condition `Dangling` where it is not what it should be. A lost race is made good by the next event.
async fn tell(engine: &Engine, reference: &Reference, clock: &dyn Clock) {
    let present = reference.schema.value();
    let Some(conditions) = conditions(&present, reference, base::time::seconds(clock.now())) else { return };
    let Some(mut call) = engine.own_call(GROUP, SCHEMAS, "", present.name()) else { return };
    call.subresource = Some("status".into());
    let mut wanted = present;
    wanted.set(&["status", "conditions"], conditions);
    if let Err(error) = engine.update(&call, Body::from(wanted), &WriteOptions::default()).await {
        tracing::debug!(%error, "status of flow schema {}", call.name);
    }
}

/// The conditions of a schema; `None` where they are right already.
fn conditions(present: &Value, reference: &Reference, now: String) -> Option<Vec<Value>> {
    let (status, reason, end) = match reference.found {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let message =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {:?} {end}", reference.level);
    let all = present.at(&["status", "conditions"]).as_array().into_iter().flatten();
    let (own, mut others): (Vec<Value>, Vec<Value>) = all.cloned().partition(|c| c.str_at(&["type"]) == "Dangling");
    let own = own.first().unwrap_or(&Value::Null);
    let has = |key: &str, value: &str| own.str_at(&[key]) == value;
    if has("status", status) && has("reason", reason) && has("message", &message) {
        return None;
    }
    let since = if has("status", status) { own.str_at(&["lastTransitionTime"]).to_string() } else { now };
    others.push(value!({
        "type": "Dangling", "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
    }));
    Some(others)
}
