//! What goes with its owner, what stays, and in which order; and a namespace with all that is in it.

use crate::scene::{IMAGE, Scene, object, scenarios, until};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::{ConfigMap, Namespace, Pod, ReplicationController, Service, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use testkit::{Value, json};

scenarios! {
    "[sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning [Conformance]"
        => a_deployment_with_its_set,
    "[sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning [Conformance]"
        => a_controller_with_its_pods,
    "[sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so [Serial] [Conformance]"
        => pods_first,
    "[sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]" => a_circle,
    "[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted [Serial] [Conformance]"
        => two_owners,
    "[sig-api-machinery] Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan [Conformance]"
        => an_orphaned_set,
    "[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so [Serial] [Conformance]"
        => orphaned_pods,
    "[sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a namespace is deleted [Conformance]"
        => a_namespace_with_its_services,
}

const MANY: usize = 20;

async fn create<K>(scene: &Scene, value: Value) -> K
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    scene.api::<K>().create(&PostParams::default(), &object(value)).await.expect("created")
}

/// Deletes this very object, with what a propagation policy says.
async fn delete<K>(scene: &Scene, owner: &K, policy: DeleteParams)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let this = Preconditions { uid: owner.uid(), resource_version: None };
    scene.api::<K>().delete(&owner.name_any(), &policy.preconditions(this)).await.expect("deleted");
}

fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {
        "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": IMAGE}]}})
}

/// A controller of pods that are there.
async fn controller(scene: &Scene, name: &str, replicas: usize) -> (ReplicationController, Vec<Pod>) {
    let controller = json!({"metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"app": name}, "template": template(name)}});
    create::<ReplicationController>(scene, controller).await;
    let full = |controller: &ReplicationController| {
        controller.status.as_ref().is_some_and(|status| status.replicas as usize == replicas)
    };
    let controllers = scene.api::<ReplicationController>();
    let controller = until(&controllers, name, |controller| controller.is_some_and(full)).await;
    (controller.expect("a controller"), scene.count(&format!("app={name}"), replicas).await)
}

/// A Deployment of two pods, and its set once it has them.
async fn deployment(scene: &Scene) -> (Deployment, ReplicaSet) {
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("web")}});
    let deployment = create::<Deployment>(scene, deployment).await;
    let set = scene.count::<ReplicaSet>("app=web", 1).await.swap_remove(0);
    let full = |set: &ReplicaSet| set.status.as_ref().is_some_and(|status| status.replicas == 2);
    let set = until(&scene.api(), &set.name_any(), |set| set.is_some_and(full)).await;
    (deployment, set.expect("a set"))
}

/// Returns once the garbage collector has seen all that happened until now: it has collected what came after.
async fn collected(scene: &Scene) {
    let owner = create::<ConfigMap>(scene, json!({"metadata": {"name": "owner"}})).await;
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": [reference(&owner, false)]}});
    create::<ConfigMap>(scene, owned).await;
    delete(scene, &owner, DeleteParams::background()).await;
    until(&scene.api::<ConfigMap>(), "owned", |map| map.is_none()).await;
}

fn reference<K: Resource<DynamicType = ()>>(owner: &K, controls: bool) -> OwnerReference {
    let mut reference = owner.owner_ref(&()).expect("an owner");
    reference.controller = controls.then_some(true);
    reference.block_owner_deletion = controls.then_some(true);
    reference
}

async fn own(pods: &Api<Pod>, name: &str, reference: &OwnerReference) -> Pod {
    let patch = Patch::Strategic(json!({"metadata": {"ownerReferences": [reference]}}));
    pods.patch(name, &PatchParams::default(), &patch).await.expect("patched")
}

/// Whether the controller has made all of its pods or not.
async fn a_controller_with_its_pods(scene: Scene) {
    let controller = json!({"metadata": {"name": "rc"}, "spec": {
        "replicas": 2, "selector": {"app": "rc"}, "template": template("rc")}});
    let controller = create::<ReplicationController>(&scene, controller).await;
    let mut pods = scene.admin.watch(&format!("{}?watch=1", scene.path("api/v1", "pods"))).await;
    pods.next().await;
    delete(&scene, &controller, DeleteParams::background()).await;
    scene.count::<Pod>("", 0).await;
    collected(&scene).await;
    assert!(scene.api::<ReplicationController>().get_opt("rc").await.expect("an answer").is_none());
    scene.count::<Pod>("", 0).await;
}

async fn orphaned_pods(scene: Scene) {
    let (controller, _) = controller(&scene, "rc", MANY).await;
    delete(&scene, &controller, DeleteParams::orphan()).await;
    until(&scene.api::<ReplicationController>(), "rc", |controller| controller.is_none()).await;
    collected(&scene).await;
    for pod in scene.count::<Pod>("", MANY).await {
        assert!(pod.owner_references().is_empty() && pod.metadata.deletion_timestamp.is_none(), "{pod:?}");
    }
}

async fn a_deployment_with_its_set(scene: Scene) {
    let (deployment, _) = deployment(&scene).await;
    delete(&scene, &deployment, DeleteParams::background()).await;
    until(&scene.api::<Deployment>(), "web", |deployment| deployment.is_none()).await;
    scene.count::<ReplicaSet>("", 0).await;
    scene.count::<Pod>("", 0).await;
}

async fn an_orphaned_set(scene: Scene) {
    let (deployment, set) = deployment(&scene).await;
    let controls = set.owner_references().iter().any(|owner| owner.uid == deployment.uid().expect("an identity"));
    assert!(controls, "{set:?}");
    delete(&scene, &deployment, DeleteParams::orphan()).await;
    until(&scene.api::<Deployment>(), "web", |deployment| deployment.is_none()).await;
    collected(&scene).await;
    let left = scene.count::<ReplicaSet>("", 1).await.swap_remove(0);
    assert_eq!((left.uid(), left.owner_references()), (set.uid(), &[][..]));
    for pod in scene.count::<Pod>("", 2).await {
        assert_eq!(pod.owner_references()[0].uid, set.uid().expect("an identity"));
    }
}

async fn pods_first(scene: Scene) {
    let (controller, pods) = controller(&scene, "rc", MANY).await;
    // One that cannot go yet shows that its owner waits.
    let (api, held) = (scene.api::<Pod>(), pods[0].name_any());
    let finalizers = |list: Value| Patch::Merge(json!({"metadata": {"finalizers": list}}));
    api.patch(&held, &PatchParams::default(), &finalizers(json!(["example.com/hold"]))).await.expect("patched");
    delete(&scene, &controller, DeleteParams::foreground()).await;
    scene.count::<Pod>("", 1).await;
    let waiting = scene.api::<ReplicationController>().get("rc").await.expect("still there");
    assert_eq!(waiting.finalizers(), ["foregroundDeletion"]);
    api.patch(&held, &PatchParams::default(), &finalizers(Value::Null)).await.expect("patched");
    until(&scene.api::<ReplicationController>(), "rc", |controller| controller.is_none()).await;
    assert!(api.list(&ListParams::default()).await.expect("a list").items.is_empty());
}

async fn two_owners(scene: Scene) {
    let (going, pods) = controller(&scene, "going", MANY).await;
    let (staying, _) = controller(&scene, "staying", 0).await;
    for pod in &pods[..MANY / 2] {
        let pod = own(&scene.api(), &pod.name_any(), &reference(&staying, false)).await;
        assert_eq!(pod.owner_references().len(), 2);
    }
    delete(&scene, &going, DeleteParams::foreground()).await;
    until(&scene.api::<ReplicationController>(), "going", |controller| controller.is_none()).await;
    collected(&scene).await;
    let mut left: Vec<String> = Vec::new();
    for pod in scene.count::<Pod>("", MANY / 2).await {
        let owners: Vec<&str> = pod.owner_references().iter().map(|owner| owner.name.as_str()).collect();
        assert_eq!((owners, &pod.metadata.deletion_timestamp), (vec!["staying"], &None));
        left.push(pod.name_any());
    }
    left.sort();
    let mut kept: Vec<String> = pods[..MANY / 2].iter().map(ResourceExt::name_any).collect();
    kept.sort();
    assert_eq!(left, kept);
}

/// Each of three pods is owned by the one before it, and would wait for the one behind it.
async fn a_circle(scene: Scene) {
    let mut pods = Vec::new();
    for name in ["pod-0", "pod-1", "pod-2"] {
        let pod = json!({"metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": IMAGE}]}});
        pods.push(create::<Pod>(&scene, pod).await);
    }
    for (n, pod) in pods.iter().enumerate() {
        own(&scene.api(), &pod.name_any(), &reference(&pods[(n + 2) % 3], true)).await;
    }
    delete(&scene, &pods[0], DeleteParams::foreground()).await;
    scene.count::<Pod>("", 0).await;
}

async fn a_namespace_with_its_services(scene: Scene) {
    let (namespaces, name) = (scene.all::<Namespace>(), scene.own("going"));
    let namespace: Namespace = object(json!({"metadata": {"name": name}}));
    let services = Api::<Service>::namespaced(scene.client(), &name);
    let accounts = Api::<ServiceAccount>::namespaced(scene.client(), &name);
    let first = namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
    until(&accounts, "default", |account| account.is_some()).await;
    let service = object(json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"foo": "bar", "baz": "blah"}, "ports": [{"port": 80, "targetPort": 80}]}}));
    services.create(&PostParams::default(), &service).await.expect("a service");

    namespaces.delete(&name, &DeleteParams::default()).await.expect("deleted");
    until(&namespaces, &name, |namespace| namespace.is_none()).await;
    let second = namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
    assert_ne!(first.uid(), second.uid());
    assert!(services.get_opt("web").await.expect("an answer").is_none());
    assert!(services.list(&ListParams::default()).await.expect("a list").items.is_empty());
    namespaces.delete(&name, &DeleteParams::default()).await.expect("deleted");
}
