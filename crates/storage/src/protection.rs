//! Volumes, claims and attribute classes that are in use stay until they are not. Admission gives every one of them a
//! finalizer; here it is taken away once the object is to go and nothing refers to it. Source: upstream's
//! `pvc-protection-controller`, `pv-protection-controller` and `volumeattributesclass-protection-controller`.

use base::{clock::Clock, time::Timestamp};
use client::{Client, Gvr, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler};
use std::sync::Arc;
use value::{Object, ObjectKey, Value};

const VOLUMES: Gvr = Gvr::inline("", "v1", "persistentvolumes");
const CLAIMS: Gvr = Gvr::inline("", "v1", "persistentvolumeclaims");
const CLASSES: Gvr = Gvr::inline("storage.k8s.io", "v1", "volumeattributesclasses");
/// Index of pods by the claims they use, as `namespace/name`.
const CLAIM: &str = "claim";

/// A pod refers to its claims, also while it runs to its end; a claim keeps nobody who waits for a node.
pub async fn claims(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let (claims, pods) = (caches.kind(&CLAIMS), caches.kind(&kinds::PODS));
    pods.index(CLAIM, |pod| claims_of(pod).iter().map(|key| key.to_string().into()).collect());
    claims.subscribe(&queue, |event| event.new.filter(|o| o.meta.deleting).map(|o| o.key.clone()));
    pods.subscribe(&queue, |event| event.old.map(|pod| claims_of(pod)).unwrap_or_default());
    claims.wait_synced().await;
    pods.wait_synced().await;
    let in_use = move |claim: &Object| !pods.by_index(CLAIM, &claim.key.to_string()).is_empty();
    let finalizer = "kubernetes.io/pvc-protection";
    run("pvc-protection-controller", &caches, (CLAIMS, claims), finalizer, Box::new(in_use), queue, clock).await;
}

/// A bound volume is in use.
pub async fn volumes(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let volumes = caches.kind(&VOLUMES);
    volumes.subscribe(&queue, |event| event.new.filter(|o| o.meta.deleting).map(|o| o.key.clone()));
    volumes.wait_synced().await;
    let in_use = |volume: &Object| volume.tree().str_at(&["status", "phase"]) == "Bound";
    let finalizer = "kubernetes.io/pv-protection";
    run("pv-protection-controller", &caches, (VOLUMES, volumes), finalizer, Box::new(in_use), queue, clock).await;
}

/// Claims and volumes name their attribute class.
pub async fn attribute_classes(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let (classes, claims, volumes) = (caches.kind(&CLASSES), caches.kind(&CLAIMS), caches.kind(&VOLUMES));
    classes.subscribe(&queue, |event| event.new.filter(|o| o.meta.deleting).map(|o| o.key.clone()));
    for users in [&claims, &volumes] {
        users.subscribe(&queue, |event| event.old.map(|user| classes_of(user)).unwrap_or_default());
        users.wait_synced().await;
    }
    classes.wait_synced().await;
    let in_use = move |class: &Object| {
        [&claims, &volumes].into_iter().any(|all| all.list().iter().any(|u| names(u, &class.key)))
    };
    let finalizer = "kubernetes.io/vac-protection";
    let name = "volumeattributesclass-protection-controller";
    run(name, &caches, (CLASSES, classes), finalizer, Box::new(in_use), queue, clock).await;
}

type InUse = Box<dyn Fn(&Object) -> bool + Send + Sync>;

struct Protection {
    name: &'static str,
    client: Client,
    of: Gvr,
    objects: Cache,
    finalizer: &'static str,
    in_use: InUse,
}

async fn run(
    name: &'static str,
    caches: &Caches,
    (of, objects): (Gvr, Cache),
    finalizer: &'static str,
    in_use: InUse,
    queue: Queue<ObjectKey>,
    clock: Arc<dyn Clock>,
) {
    let protection = Protection { name, client: caches.client().clone(), of, objects, finalizer, in_use };
    control::run(Arc::new(protection), queue, 1, clock).await;
}

impl Reconciler for Protection {
    type Key = ObjectKey;
    /// The object without the finalizer.
    type Plan = Value;

    fn name(&self) -> &'static str {
        self.name
    }
    fn plan(&self, key: &ObjectKey, _now: Timestamp) -> Option<Value> {
        let object = self.objects.get(key).filter(|object| object.meta.deleting)?;
        released(&object, self.finalizer, || (self.in_use)(&object))
    }
    async fn execute(&self, key: &ObjectKey, released: Value) -> Result<Outcome, client::Error> {
        let api = self.client.api(&self.of).namespace(key.namespace.clone());
        match api.update(&key.name, &released).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(Outcome::Done),
        }
    }
}

/// `None` where the finalizer is not there, or has to stay. Its revision makes sure that nothing else is taken away.
fn released(object: &Object, finalizer: &str, in_use: impl Fn() -> bool) -> Option<Value> {
    let tree = object.tree();
    let (own, others): (Vec<_>, Vec<_>) =
        tree.items_at(&["metadata", "finalizers"]).iter().cloned().partition(|f| f.as_str() == Some(finalizer));
    if own.is_empty() || in_use() {
        return None;
    }
    let mut released = object.value();
    released.set(&["metadata", "finalizers"], Value::Array(others));
    Some(released)
}

/// The claims that a placed pod uses; ephemeral volumes have claims named after pod and volume.
fn claims_of(pod: &Object) -> Vec<ObjectKey> {
    let tree = pod.tree();
    if tree.str_at(&["spec", "nodeName"]).is_empty() {
        return Vec::new();
    }
    let named = tree.items_at(&["spec", "volumes"]).iter().filter_map(|volume| {
        match volume.str_at(&["persistentVolumeClaim", "claimName"]) {
            "" => volume.get("ephemeral").map(|_| format!("{}-{}", pod.name(), volume.str_at(&["name"]))),
            name => Some(name.to_string()),
        }
    });
    named.map(|name| ObjectKey::new(pod.namespace(), name)).collect()
}

fn classes_of(user: &Object) -> Vec<ObjectKey> {
    let tree = user.tree();
    let paths: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    let named = paths.into_iter().map(|path| tree.str_at(path)).filter(|name| !name.is_empty());
    named.map(ObjectKey::cluster).collect()
}

fn names(user: &Object, class: &ObjectKey) -> bool {
    classes_of(user).contains(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn object(json: &Value) -> Arc<Object> {
        Object::from_json(json.to_json().into()).unwrap()
    }

    #[test]
    fn what_a_pod_uses() {
        let volumes = value!([
            {"name": "a", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "b", "ephemeral": {}}, {"name": "c", "emptyDir": {}},
        ]);
        let pod = |node: &str| {
            let mut pod = value!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": node}});
            pod.set(&["spec", "volumes"], volumes.clone());
            claims_of(&object(&pod)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(pod("node-1"), ["n/data", "n/p-b"]);
        assert!(pod("").is_empty());
    }

    #[test]
    fn only_the_own_finalizer_goes_and_only_when_nothing_uses_the_object() {
        let claim = object(&value!({"metadata": {"name": "d", "namespace": "n", "resourceVersion": "7",
            "finalizers": ["x/y", "kubernetes.io/pvc-protection"]}}));
        let plan = |finalizer: &str, used: bool| released(&claim, finalizer, || used);
        let released = plan("kubernetes.io/pvc-protection", false).unwrap();
        assert_eq!(released.at(&["metadata", "finalizers"]), &value!(["x/y"]));
        assert_eq!(released.str_at(&["metadata", "resourceVersion"]), "7");
        assert_eq!(plan("kubernetes.io/pvc-protection", true), None);
        assert_eq!(plan("kubernetes.io/pv-protection", false), None);
    }
}
