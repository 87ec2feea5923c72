//! Leadership by a Lease: of several processes one does the work.
//!
//! Times are upstream's: a lease lasts 15 s, its holder must renew within 10 s and tries every 2 s. Clocks of different
//! machines are not compared: a candidate takes over when it has itself seen no renewal for the lease's duration.

use base::{clock::Clock, time};
use client::{Api, Client, Error, kinds};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::Instant;
use value::{Value, value};

/// Which lease, and who asks.
#[derive(Debug, Clone)]
pub struct LeaderConfig {
    pub namespace: String,
    pub name: String,
    /// Unique per process: host name and a random suffix.
    pub identity: String,
}

const LEASE: Duration = Duration::from_secs(15);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);

/// Waits until this process leads, runs `work` and renews meanwhile. Returns when `work` ends, or `None` when the lease was
/// lost (the work is dropped then).
pub async fn lead<F: Future>(
    client: Client,
    config: LeaderConfig,
    clock: Arc<dyn Clock>,
    work: F,
) -> Option<F::Output> {
    let api = client.api(&kinds::LEASES).namespace(config.namespace.as_str());
    acquire(&api, &config, &*clock).await;
    tracing::info!(lease = %config.name, identity = %config.identity, "leading");
    tokio::select! {
        output = work => {
            release(&api, &config, &*clock).await;
            Some(output)
        }
        () = renew(&api, &config, &*clock) => {
            tracing::warn!(lease = %config.name, "leadership lost");
            None
        }
    }
}

/// What a candidate knows: the lease as last seen and since when it has not changed.
struct Seen {
    spec: Value,
    at: Instant,
}

async fn acquire(api: &Api, config: &LeaderConfig, clock: &dyn Clock) {
    let mut seen: Option<Seen> = None;
    loop {
        match attempt(api, config, clock, &mut seen).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::debug!(lease = %config.name, %error, "cannot take the lease"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn attempt(api: &Api, config: &LeaderConfig, clock: &dyn Clock, seen: &mut Option<Seen>) -> Result<bool, Error> {
    let now = time::micros(clock.now());
    let Some(object) = api.get_opt(&config.name).await? else {
        let lease = value!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": config.name, "namespace": config.namespace},
            "spec": {"holderIdentity": config.identity, "leaseDurationSeconds": LEASE.as_secs(),
                     "acquireTime": now, "renewTime": now, "leaseTransitions": 0},
        });
        return api.create(&lease).await.map(|_| true);
    };
    let mut lease = object.value();
    let spec = lease.at(&["spec"]).clone();
    if seen.as_ref().is_none_or(|seen| seen.spec != spec) {
        *seen = Some(Seen { spec: spec.clone(), at: Instant::now() });
    }
    let expired = seen.as_ref().is_some_and(|seen| seen.at.elapsed() > LEASE);
    let Some(next) = claim(&spec, &config.identity, expired, &now) else { return Ok(false) };
    lease.set(&["spec"], next);
    // The resourceVersion in the body makes this a compare-and-swap.
    api.update(&config.name, &lease).await.map(|_| true)
}

/// The lease as its next holder writes it; `None` where somebody else holds it.
fn claim(spec: &Value, identity: &str, expired: bool, now: &str) -> Option<Value> {
    let holder = spec.str_at(&["holderIdentity"]);
    if holder != identity && !holder.is_empty() && !expired {
        return None;
    }
    let mut next = spec.clone();
    if holder != identity {
        let transitions = spec.at(&["leaseTransitions"]).as_i64().unwrap_or(0);
        next.set(&["holderIdentity"], identity);
        next.set(&["acquireTime"], now);
        next.set(&["leaseTransitions"], transitions + 1);
    }
    next.set(&["leaseDurationSeconds"], LEASE.as_secs());
    next.set(&["renewTime"], now);
    Some(next)
}

/// Returns when the lease could not be renewed in time.
async fn renew(api: &Api, config: &LeaderConfig, clock: &dyn Clock) {
    let mut last = Instant::now();
    let mut seen = None;
    while last.elapsed() < RENEW_DEADLINE {
        tokio::time::sleep(RETRY).await;
        match attempt(api, config, clock, &mut seen).await {
            Ok(true) => last = Instant::now(),
            Ok(false) => return,
            Err(error) => tracing::debug!(lease = %config.name, %error, "cannot renew"),
        }
    }
}

/// Gives the lease back, so that another need not wait for its end.
async fn release(api: &Api, config: &LeaderConfig, clock: &dyn Clock) {
    let Ok(object) = api.get(&config.name).await else { return };
    let mut lease = object.value();
    if lease.str_at(&["spec", "holderIdentity"]) == config.identity {
        lease.set(&["spec", "holderIdentity"], "");
        lease.set(&["spec", "renewTime"], time::micros(clock.now()));
        let _ = api.update(&config.name, &lease).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(holder: &str, expired: bool, want: Option<(&str, i64)>) {
        let spec = value!({"holderIdentity": holder, "leaseTransitions": 3});
        let next = claim(&spec, "me", expired, "t");
        let got = next.as_ref().map(|s| (s.str_at(&["holderIdentity"]), s.at(&["leaseTransitions"]).as_i64().unwrap()));
        assert_eq!(got, want);
    }

    #[test]
    fn who_may_claim() {
        check("me", false, Some(("me", 3)));
        check("", false, Some(("me", 4)));
        check("other", false, None);
        check("other", true, Some(("me", 4)));
    }
}
