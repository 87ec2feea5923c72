//! The driver: watches the caches, plans, applies. One change or a thousand that come together are one transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use client::kinds::{ENDPOINT_SLICES, SERVICES};
use control::{Cache, Caches};
use tokio::sync::Notify;

use crate::executor::{Applied, Proxy};
use crate::input::{EndpointSlice, Node, Service};
use crate::plan::plan;

/// How long after a failure the kernel is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest pause between two transactions while changes keep coming.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The caches that the proxy reads.
#[derive(Debug, Clone)]
pub struct Watched {
    pub services: Cache<Arc<Service>>,
    pub slices: Cache<Arc<EndpointSlice>>,
}

impl Watched {
    /// The shared ones, started if nobody did yet.
    pub fn new(caches: &Caches) -> Watched {
        Watched { services: caches.projected(&SERVICES), slices: caches.projected(&ENDPOINT_SLICES) }
    }
}

/// Keeps the node's tables as the caches say, until it is dropped; what is in the kernel then stays and goes on working.
/// `applied` is told of every transaction; its first call means that the node serves services. Nothing is touched before both caches
/// hold all there is: a daemon that starts again must not take away what works.
pub async fn run(watched: Watched, node: Node, proxy: Proxy, applied: impl Fn(&Applied) + Send) {
    let changed = Arc::new(Notify::new());
    let wake = |changed: &Arc<Notify>| {
        let changed = changed.clone();
        move || changed.notify_one()
    };
    let (service, slice) = (wake(&changed), wake(&changed));
    watched.services.on_event(move |_| service());
    watched.slices.on_event(move |_| slice());
    watched.services.wait_synced().await;
    watched.slices.wait_synced().await;
    let node = Arc::new(node);
    let mut proxy = Some(proxy);
    loop {
        let Some(executor) = proxy.take() else { return };
        let started = Instant::now();
        let (work, of) = (watched.clone(), node.clone());
        // Planning ten thousand services and a transaction of as many take milliseconds each: too long for the runtime's threads.
        let done = tokio::task::spawn_blocking(move || step(executor, &work, &of)).await;
        let Ok((executor, result)) = done else {
            tracing::error!("the service tables are no longer kept: a plan panicked");
            return;
        };
        proxy = Some(executor);
        match result {
            Ok(done) => {
                tracing::debug!(elements = done.elements, flows = done.flows, took = ?started.elapsed(), "service tables applied");
                applied(&done);
            }
            Err(error) => {
                tracing::warn!(%error, "service tables not applied; trying again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        // Under a storm of changes, at most half of a core's time goes here; a single change waits for nothing.
        let earliest = Instant::now() + started.elapsed().min(LONGEST_PAUSE);
        changed.notified().await;
        tokio::time::sleep_until(earliest.into()).await;
    }
}

fn step(mut proxy: Proxy, watched: &Watched, node: &Node) -> (Proxy, netlink::Result<Applied>) {
    let result = proxy.apply(plan(&watched.services.list(), &watched.slices.list(), node));
    (proxy, result)
}
