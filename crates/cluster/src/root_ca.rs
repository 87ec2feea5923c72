//! The ConfigMap `kube-root-ca.crt` in every namespace: how pods come to trust the API server.

use base::{clock::Clock, time::Timestamp};
use client::{Client, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use std::sync::Arc;
use value::{ObjectKey, Str, Value, value};

const NAME: &str = "kube-root-ca.crt";

struct RootCa {
    client: Client,
    namespaces: Cache,
    maps: Cache,
    ca: String,
}

/// Runs the controller until its caches end; `ca` is the certificate in PEM.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>, ca: String) {
    let queue: Queue<Str> = Queue::default();
    let namespaces = caches.kind(&kinds::NAMESPACES);
    let maps = caches.select(&kinds::CONFIG_MAPS, control::Selection::fields(format!("metadata.name={NAME}")));
    namespaces.subscribe(&queue, |event| event.new.map(|o| o.key.name.clone()));
    maps.subscribe(&queue, |event| Some(event.key.namespace.clone()));
    namespaces.wait_synced().await;
    maps.wait_synced().await;
    let controller = RootCa { client: caches.client().clone(), namespaces, maps, ca };
    control::run(Arc::new(controller), queue, 1, clock).await;
}

/// What a namespace lacks.
#[derive(Debug)]
enum Change {
    Create(Value),
    Update(Value),
}

impl Reconciler for RootCa {
    type Key = Str;
    type Plan = Change;

    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher"
    }

    fn plan(&self, namespace: &Str, _now: Timestamp) -> Option<Change> {
        self.namespaces.get(&ObjectKey::cluster(namespace.clone())).filter(|o| !o.meta.deleting)?;
        let wanted = value!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": namespace.as_str(), "annotations": {
                "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
            }},
            "data": {"ca.crt": self.ca.as_str()},
        });
        match self.maps.get(&ObjectKey::new(namespace.clone(), NAME)) {
            None => Some(Change::Create(wanted)),
            Some(present) => (present.value().at(&["data"]) != wanted.at(&["data"])).then_some(Change::Update(wanted)),
        }
    }

    async fn execute(&self, namespace: &Str, change: Change) -> Result<Outcome, client::Error> {
        let api = self.client.api(&kinds::CONFIG_MAPS).namespace(namespace.clone());
        let result = match change {
            Change::Create(map) => api.create(&map).await,
            Change::Update(map) => api.update(NAME, &map).await,
        };
        match result {
            Err(error) if error.is_already_exists() || error.is_not_found() => Ok(Outcome::Done),
            other => other.map(|_| Outcome::Done),
        }
    }
}
