//! The driver: caches to zones. A change is one service planned anew; a first list is one plan of everything.

use crate::input::{EndpointSlice, Service};
use crate::plan::{plan, plan_service};
use crate::server::Server;
use crate::zone::Zone;
use client::kinds::{ENDPOINT_SLICES, SERVICES};
use control::{Backoff, Cache, Caches, Queue};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use value::{ObjectKey, Str};

const BY_SERVICE: &str = "dns-service";
/// Changes that are taken into one new zone.
const BATCH: usize = 256;

/// The caches that DNS reads.
#[derive(Debug, Clone)]
pub struct Watched {
    pub services: Cache<Arc<Service>>,
    pub slices: Cache<Arc<EndpointSlice>>,
}

impl Watched {
    /// The shared ones, started if nobody did yet.
    pub fn new(caches: &Caches) -> Self {
        Watched { services: caches.projected(&SERVICES), slices: caches.projected(&ENDPOINT_SLICES) }
    }

    /// The names of one service as the caches have it now.
    fn update(&self, zone: &mut Zone, key: &ObjectKey) {
        let entry = self.services.get(key).map(|service| {
            let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
            plan_service(&service, &slices.iter().map(|slice| &**slice).collect::<Vec<_>>())
        });
        zone.set(&key.namespace, &key.name, entry);
    }
}

/// Serves `domain` (`cluster.local`) until dropped. Before the caches hold all there is, nothing is answered: a question that waits is
/// asked again, while a wrong NXDOMAIN would be remembered.
pub async fn run(watched: Watched, domain: &str, server: Server) {
    watched.slices.index(BY_SERVICE, |slice| vec![Str::from(format!("{}/{}", slice.namespace, slice.service))]);
    watched.services.wait_synced().await;
    watched.slices.wait_synced().await;
    // Subscribed before the first plan is made, so that no change falls between; what the queue repeats costs little.
    let queue: Queue<ObjectKey> = Queue::new(Backoff { first: Duration::from_millis(5), max: Duration::from_secs(1) });
    watched.services.subscribe_keys(&queue);
    watched.slices.subscribe(&queue, |event| {
        let slices = event.old.into_iter().chain(event.new);
        slices.map(|slice| ObjectKey::new(slice.namespace.as_str(), slice.service.as_str())).collect::<Vec<_>>()
    });
    let services: Vec<Service> = watched.services.list().iter().map(|service| Service::clone(service)).collect();
    let slices: Vec<EndpointSlice> = watched.slices.list().iter().map(|slice| EndpointSlice::clone(slice)).collect();
    let (sender, receiver) = watch::channel(Arc::new(plan(domain, &services, &slices)));
    let follow = async {
        while let Some(first) = queue.next().await {
            let mut zone = Zone::clone(&sender.borrow());
            let mut key = first;
            for n in 1.. {
                watched.update(&mut zone, &key);
                queue.done(&key);
                if n >= BATCH || queue.pending() == 0 {
                    break;
                }
                let Some(next) = queue.next().await else { break };
                key = next;
            }
            sender.send_if_modified(|current| {
                let changed = **current != zone;
                if changed {
                    *current = Arc::new(zone);
                }
                changed
            });
        }
    };
    tokio::select! {
        () = server.run(receiver) => {}
        () = follow => {}
    }
}
