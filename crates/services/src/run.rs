//! The controllers: one key per Service; pods and slices name the Services they concern.

use crate::{
    endpoints,
    plan::{self, MANAGED_BY, MANAGER, Plan, Pod, SERVICE_NAME, services_of},
};
use base::{clock::Clock, time::Timestamp};
use client::{Client, DeleteOptions, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use parking_lot::RwLock;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use value::{Map, Object, ObjectKey, Str, Value};

/// The index of pods by each of their labels.
const LABEL: &str = "label";

/// Under what that index files a pod.
fn filed(namespace: &str, name: &str, value: &str) -> Str {
    format!("{namespace}/{name}={value}").into()
}

/// Selectors of Services, by namespace: what a pod's event is matched against.
type Selectors = Arc<RwLock<HashMap<Str, BTreeMap<Str, (Str, Map)>>>>;

struct Slices {
    client: Client,
    /// Writes Endpoints, with an identity of its own.
    endpoints_client: Client,
    services: Cache,
    pods: Cache<Arc<Pod>>,
    slices: Cache,
    endpoints: Cache,
    nodes: Cache,
}

/// What one Service lacks.
#[derive(Debug)]
struct Changes {
    slices: Plan,
    endpoints: Option<EndpointsChange>,
}

#[derive(Debug)]
enum EndpointsChange {
    /// The object as it should be; with its revision where it exists.
    Write(Value),
    /// Its Service is gone.
    Delete,
}

/// Runs the EndpointSlice and Endpoints controllers until their caches end.
pub async fn run(caches: Caches, endpoints_client: Client, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let controller = Arc::new(Slices {
        client: caches.client().clone(),
        endpoints_client,
        services: caches.kind(&kinds::SERVICES),
        pods: caches.projected(&kinds::PODS),
        slices: caches.kind(&kinds::ENDPOINT_SLICES),
        endpoints: caches.kind(&kinds::ENDPOINTS),
        nodes: caches.kind(&kinds::NODES),
    });
    controller.slices.index(SERVICE_NAME, |o| {
        let own = o.meta.label(MANAGED_BY) == Some(MANAGER);
        let name = o.meta.label(SERVICE_NAME).filter(|_| own);
        name.map(|name| Str::from(format!("{}/{name}", o.key.namespace))).into_iter().collect()
    });
    controller.pods.index(LABEL, |pod| pod.labels.iter().map(|(k, v)| filed(&pod.namespace, k, v)).collect());
    let selectors: Selectors = Arc::default();
    let known = selectors.clone();
    controller.services.subscribe(&queue, move |event| {
        let mut known = known.write();
        let names = known.entry(event.key.namespace.clone()).or_default();
        let selector = event.new.map(|o| o.value().at(&["spec", "selector"]).as_object().cloned().unwrap_or_default());
        match selector {
            Some(selector) => names.insert(event.key.name.clone(), (event.key.name.clone(), selector)),
            None => names.remove(&event.key.name),
        };
        Some(event.key.clone())
    });
    controller.pods.subscribe(&queue, move |event| {
        let states: Vec<&Pod> = [event.old, event.new].into_iter().flatten().map(|p| &**p).collect();
        let known = selectors.read();
        let names =
            known.get(&event.key.namespace).map(|names| services_of(&states, names.values())).unwrap_or_default();
        names.into_iter().map(|name| ObjectKey::new(event.key.namespace.clone(), name)).collect::<Vec<_>>()
    });
    controller.slices.subscribe(&queue, |event| {
        let name = event.latest().meta.label(SERVICE_NAME)?;
        Some(ObjectKey::new(event.key.namespace.clone(), name))
    });
    for synced in [&controller.services, &controller.slices, &controller.endpoints, &controller.nodes] {
        synced.wait_synced().await;
    }
    controller.pods.wait_synced().await;
    control::run(controller, queue, 4, clock).await;
}

impl Slices {
    /// The pods that a Service may select: those with the rarest of the labels that it wants.
    fn selected(&self, key: &ObjectKey, service: Option<&Value>) -> Vec<Arc<Pod>> {
        let wanted = service.into_iter().flat_map(|service| service.members_at(&["spec", "selector"]));
        let labels: Vec<Str> =
            wanted.map(|(name, value)| filed(&key.namespace, name, value.as_str().unwrap_or_default())).collect();
        self.pods.by_rarest(LABEL, &labels)
    }

    fn zone(&self, node: &str) -> Str {
        let node = self.nodes.get(&ObjectKey::cluster(node));
        node.and_then(|n| n.meta.label("topology.kubernetes.io/zone").map(Str::from)).unwrap_or_default()
    }

    fn endpoints_change(&self, key: &ObjectKey, service: Option<&Value>, pods: &[Arc<Pod>]) -> Option<EndpointsChange> {
        let present = self.endpoints.get(key);
        let Some(service) = service else {
            let own =
                present.is_some_and(|o: Arc<Object>| o.meta.label(endpoints::MANAGED_BY) == Some(endpoints::MANAGER));
            return own.then_some(EndpointsChange::Delete);
        };
        let mut wanted = endpoints::desired(service, pods)?;
        let Some(present) = present.map(|o| o.value()) else { return Some(EndpointsChange::Write(wanted)) };
        let same = |field: &[&str]| present.at(field) == wanted.at(field);
        if same(&["subsets"]) && same(&["metadata", "labels"]) {
            return None;
        }
        wanted.set(&["metadata", "resourceVersion"], present.at(&["metadata", "resourceVersion"]));
        Some(EndpointsChange::Write(wanted))
    }
}

impl Reconciler for Slices {
    type Key = ObjectKey;
    type Plan = Changes;

    fn name(&self) -> &'static str {
        "endpointslice"
    }

    fn plan(&self, key: &ObjectKey, _now: Timestamp) -> Option<Changes> {
        let service = self.services.get(key).filter(|o| !o.meta.deleting).map(|o| o.value());
        let pods = self.selected(key, service.as_ref());
        let slices: Vec<Value> =
            self.slices.by_index(SERVICE_NAME, &key.to_string()).iter().map(|o| o.value()).collect();
        let slices = plan::plan(service.as_ref(), &pods, &slices, &|node| self.zone(node));
        let endpoints = self.endpoints_change(key, service.as_ref(), &pods);
        (!slices.is_empty() || endpoints.is_some()).then_some(Changes { slices, endpoints })
    }

    async fn execute(&self, key: &ObjectKey, changes: Changes) -> Result<Outcome, client::Error> {
        apply(&self.client, &self.slices, key, &changes.slices).await?;
        let api = self.endpoints_client.api(&kinds::ENDPOINTS).namespace(key.namespace.clone());
        match changes.endpoints {
            Some(EndpointsChange::Write(wanted)) => {
                let made = match wanted.at(&["metadata", "resourceVersion"]).is_null() {
                    true => api.create(&wanted).await?,
                    false => api.update(&key.name, &wanted).await?,
                };
                self.endpoints.put(made.key.clone(), made.revision, made);
            }
            Some(EndpointsChange::Delete) => match api.delete(&key.name, &DeleteOptions::default()).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            },
            None => {}
        }
        Ok(Outcome::Done)
    }
}

/// Writes what slices lack. The cache takes the answers in at once, so that the next look does not create the same again.
pub(crate) async fn apply(client: &Client, slices: &Cache, key: &ObjectKey, plan: &Plan) -> Result<(), client::Error> {
    let api = client.api(&kinds::ENDPOINT_SLICES).namespace(key.namespace.clone());
    for slice in &plan.create {
        let made = api.create(slice).await?;
        slices.put(made.key.clone(), made.revision, made);
    }
    for slice in &plan.update {
        let made = api.update(slice.name(), slice).await?;
        slices.put(made.key.clone(), made.revision, made);
    }
    for name in &plan.delete {
        match api.delete(name, &DeleteOptions::default()).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
