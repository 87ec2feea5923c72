//! What a namespace may use in all.

use crate::scene::{IMAGE, Scene, Watching, object, refused, scenarios, until};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::ReplicaSet,
        core::v1::{ConfigMap, Pod, ReplicationController, ResourceQuota, Secret, Service},
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt::Debug};
use testkit::{Value, json};

scenarios! {
    "[sig-api-machinery] ResourceQuota should apply changes to a resourcequota status [Conformance]" => status,
    "[sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota. [Conformance]"
        => update_and_delete,
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap. [Conformance]"
        => |scene| life::<ConfigMap>(scene, "configmaps", 1, json!({"data": {"a": "b"}})),
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod. [Conformance]"
        => life_of_a_pod,
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set. [Conformance]"
        => |scene| life::<ReplicaSet>(scene, "count/replicasets.apps", 0, replicas(json!({"matchLabels": {"app": "x"}}))),
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication controller. [Conformance]"
        => |scene| life::<ReplicationController>(scene, "replicationcontrollers", 0, replicas(json!({"app": "x"}))),
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret. [Conformance]"
        => |scene| life::<Secret>(scene, "secrets", 0, json!({"stringData": {"a": "b"}})),
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service. [Conformance]"
        => life_of_a_service,
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated. [Conformance]"
        => promptly,
    "[sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota [Conformance]" => lifecycle,
    "[sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope. [Conformance]"
        => best_effort,
    "[sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes. [Conformance]"
        => terminating,
}

/// A bit of everything that can be limited.
fn everything() -> Value {
    json!({"pods": "5", "services": "10", "services.nodeports": "1", "services.loadbalancers": "1",
        "replicationcontrollers": "10", "resourcequotas": "1", "cpu": "1", "memory": "500Mi", "configmaps": "10",
        "secrets": "10", "persistentvolumeclaims": "10", "requests.storage": "10Gi", "ephemeral-storage": "50Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "10",
        "gold.storageclass.storage.k8s.io/requests.storage": "10Gi", "count/replicasets.apps": "5",
        "requests.example.com/dongle": "3"})
}

/// A quota whose status says what it limits, and at the beginning nothing but itself is used.
struct Quota {
    quotas: Api<ResourceQuota>,
    name: &'static str,
}

impl Quota {
    async fn create(scene: &Scene, name: &'static str, spec: Value) -> Self {
        let quota: ResourceQuota = object(json!({"metadata": {"name": name}, "spec": spec}));
        let quotas = scene.api::<ResourceQuota>();
        let hard = quota.spec.clone().and_then(|spec| spec.hard);
        quotas.create(&PostParams::default(), &quota).await.expect("a quota");
        let calculated = |quota: &ResourceQuota| {
            quota.status.as_ref().is_some_and(|status| status.hard == hard && status.used.is_some())
        };
        until(&quotas, name, |quota| quota.is_some_and(calculated)).await;
        Quota { quotas, name }
    }
    /// Everything limited, and nothing used but by what each namespace has.
    async fn of_everything(scene: &Scene) -> Self {
        let quota = Quota::create(scene, "test-quota", json!({"hard": everything()})).await;
        let mut nothing = everything();
        for (resource, amount) in nothing.as_object_mut().expect("amounts") {
            *amount = if matches!(resource.as_str(), "resourcequotas" | "configmaps") { "1" } else { "0" }.into();
        }
        quota.used(nothing).await;
        quota
    }
    /// Waits until its usage holds these amounts.
    async fn used(&self, amounts: Value) {
        let amounts: BTreeMap<String, Quantity> = object(amounts);
        let same = |quota: &ResourceQuota| {
            let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
            amounts.iter().all(|(resource, amount)| used.and_then(|used| used.get(resource)) == Some(amount))
        };
        until(&self.quotas, self.name, |quota| quota.is_some_and(same)).await;
    }
}

/// What a client was refused with by a quota has this in it.
#[track_caller]
pub fn exceeded<T: Debug>(answer: kube::Result<T>, message: &str) {
    let said = refused(answer, 403, "Forbidden");
    assert!(said.contains(message), "{said}");
}

pub async fn create<K>(scene: &Scene, value: Value) -> kube::Result<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    scene.api::<K>().create(&PostParams::default(), &object(value)).await
}

async fn delete<K>(scene: &Scene, name: &str)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    // Without a policy, a ReplicationController would wait for the garbage collector.
    scene.api::<K>().delete(name, &DeleteParams::background().grace_period(0)).await.expect("deleted");
}

/// A pod of one container with these resources.
pub fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"nodeSelector": {"example.com/no": "node"},
        "containers": [{"name": "c", "image": IMAGE, "resources": resources}]}})
}

fn replicas(selector: Value) -> Value {
    let template =
        json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": IMAGE}]}});
    json!({"spec": {"replicas": 0, "selector": selector, "template": template}})
}

async fn promptly(scene: Scene) {
    Quota::of_everything(&scene).await;
    let second = json!({"metadata": {"name": "second"}, "spec": {"hard": {"pods": "1"}}});
    exceeded(
        create::<ResourceQuota>(&scene, second).await,
        "resourcequotas \"second\" is forbidden: exceeded quota: test-quota, requested: resourcequotas=1, used: resourcequotas=1, limited: resourcequotas=1",
    );
}

/// One of a kind fits beside those that were there before, a second does not; what is deleted is given back.
async fn life<K>(scene: Scene, resource: &'static str, before: u32, mut one: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let (none, full) = (before.to_string(), (before + 1).to_string());
    let mut hard = everything();
    hard[resource] = json!(full);
    let quota = Quota::create(&scene, "test-quota", json!({"hard": hard})).await;
    quota.used(json!({"resourcequotas": "1", resource: none})).await;

    one["metadata"] = json!({"name": "one"});
    create::<K>(&scene, one.clone()).await.expect("the first");
    quota.used(json!({"resourcequotas": "1", resource: full})).await;
    one["metadata"] = json!({"name": "two"});
    let limit = format!(
        "exceeded quota: test-quota, requested: {resource}=1, used: {resource}={full}, limited: {resource}={full}"
    );
    exceeded(create::<K>(&scene, one).await, &limit);

    delete::<K>(&scene, "one").await;
    quota.used(json!({"resourcequotas": "1", resource: none})).await;
}

async fn life_of_a_service(scene: Scene) {
    let quota = Quota::of_everything(&scene).await;
    let service = |name: &str, kind: &str| {
        let mut spec = json!({"type": kind, "ports": [{"port": 80, "targetPort": 80}]});
        if kind == "LoadBalancer" {
            spec["allocateLoadBalancerNodePorts"] = true.into();
        }
        json!({"metadata": {"name": name}, "spec": spec})
    };
    create::<Service>(&scene, service("plain", "ClusterIP")).await.expect("a service");
    create::<Service>(&scene, service("node-port", "NodePort")).await.expect("a service");
    let port = "requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1";
    exceeded(create::<Service>(&scene, service("balanced", "LoadBalancer")).await, port);
    quota
        .used(json!({"resourcequotas": "1", "services": "2", "services.nodeports": "1", "services.loadbalancers": "0"}))
        .await;
    // A change of type costs what is new.
    let typed = Patch::Merge(json!({"spec": {"type": "NodePort"}}));
    exceeded(scene.api::<Service>().patch("plain", &PatchParams::default(), &typed).await, port);

    delete::<Service>(&scene, "plain").await;
    delete::<Service>(&scene, "node-port").await;
    quota.used(json!({"resourcequotas": "1", "services": "0", "services.nodeports": "0"})).await;
}

async fn life_of_a_pod(scene: Scene) {
    let quota = Quota::of_everything(&scene).await;
    let asks = |cpu: &str, memory: &str, storage: &str, dongles: &str| {
        json!({"requests": {"cpu": cpu, "memory": memory, "ephemeral-storage": storage, "example.com/dongle": dongles},
            "limits": {"example.com/dongle": dongles}})
    };
    create::<Pod>(&scene, pod("first", asks("500m", "252Mi", "30Gi", "2"))).await.expect("a pod");
    let one = json!({"resourcequotas": "1", "pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi",
        "requests.example.com/dongle": "2"});
    quota.used(one.clone()).await;

    exceeded(
        create::<Pod>(&scene, pod("second", asks("600m", "100Mi", "1Gi", "1"))).await,
        "exceeded quota: test-quota, requested: cpu=600m, used: cpu=500m, limited: cpu=1",
    );
    exceeded(
        create::<Pod>(&scene, pod("third", asks("500m", "100Mi", "20Gi", "2"))).await,
        "requested: requests.example.com/dongle=2, used: requests.example.com/dongle=2, limited: requests.example.com/dongle=3",
    );
    exceeded(
        create::<Pod>(&scene, pod("silent", json!({}))).await,
        "failed quota: test-quota: must specify cpu for: c; memory for: c",
    );
    let cheaper = json!({"cpu": "100m", "memory": "100Mi", "ephemeral-storage": "10Gi"});
    let cheaper = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": cheaper}}]}});
    let said = scene.api::<Pod>().patch("first", &PatchParams::default(), &Patch::Strategic(cheaper)).await;
    refused(said, 422, "Invalid");
    quota.used(one.clone()).await;

    // A pod that has ended costs nothing, nor does one that is gone.
    let nothing = json!({"resourcequotas": "1", "pods": "0", "cpu": "0", "memory": "0", "ephemeral-storage": "0",
        "requests.example.com/dongle": "0"});
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    scene.api::<Pod>().patch_status("first", &PatchParams::default(), &ended).await.expect("a phase");
    quota.used(nothing.clone()).await;
    create::<Pod>(&scene, pod("again", asks("500m", "252Mi", "30Gi", "2"))).await.expect("a pod");
    quota.used(one).await;
    delete::<Pod>(&scene, "again").await;
    quota.used(nothing).await;
}

/// A pod counts for the quota of its own scope alone, and until it is deleted.
async fn scoped(scene: &Scene, mine: &Quota, other: &Quota, pod: Value, cost: &Value) {
    let nothing: Value =
        cost.as_object().expect("amounts").keys().map(|resource| (resource.clone(), json!("0"))).collect();
    let made = create::<Pod>(scene, pod).await.expect("a pod");
    mine.used(cost.clone()).await;
    other.used(nothing.clone()).await;
    delete::<Pod>(scene, &made.name_any()).await;
    mine.used(nothing.clone()).await;
    other.used(nothing).await;
}

async fn terminating(scene: Scene) {
    let hard = json!({"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi"});
    let ending = Quota::create(&scene, "ending", json!({"hard": hard, "scopes": ["Terminating"]})).await;
    let lasting = Quota::create(&scene, "lasting", json!({"hard": hard, "scopes": ["NotTerminating"]})).await;
    let asks = json!({"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "400Mi"}});
    let cost = json!({"pods": "1", "requests.cpu": "500m", "requests.memory": "200Mi", "limits.cpu": "1", "limits.memory": "400Mi"});
    scoped(&scene, &lasting, &ending, pod("long", asks.clone()), &cost).await;
    let mut short = pod("short", asks);
    short["spec"]["activeDeadlineSeconds"] = json!(3600);
    scoped(&scene, &ending, &lasting, short, &cost).await;
}

async fn best_effort(scene: Scene) {
    let best = Quota::create(&scene, "best", json!({"hard": {"pods": "5"}, "scopes": ["BestEffort"]})).await;
    let rest = Quota::create(&scene, "rest", json!({"hard": {"pods": "5"}, "scopes": ["NotBestEffort"]})).await;
    let cost = json!({"pods": "1"});
    scoped(&scene, &best, &rest, pod("careless", json!({})), &cost).await;
    let asks = json!({"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "400Mi"}});
    scoped(&scene, &rest, &best, pod("burstable", asks), &cost).await;
}

/// `spec.hard` of a quota, as JSON.
fn hard(quota: &ResourceQuota) -> Value {
    json!(quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()))
}

async fn update_and_delete(scene: Scene) {
    let narrow = json!({"cpu": "1", "memory": "500Mi"});
    let Quota { quotas, name } = Quota::create(&scene, "test-quota", json!({"hard": narrow})).await;
    let mut quota = quotas.get(name).await.expect("there");
    assert_eq!(hard(&quota), narrow);

    let wide = json!({"cpu": "2", "memory": "1Gi"});
    quota.spec = Some(object(json!({"hard": wide})));
    // As the suite does: not even a resource version.
    quota.metadata.resource_version = None;
    let updated = quotas.replace(name, &PostParams::default(), &quota).await.expect("replaced");
    assert_eq!(hard(&updated), wide);
    assert_eq!(hard(&quotas.get(name).await.expect("there")), wide);
    let followed = |quota: &ResourceQuota| json!(quota.status)["hard"] == wide;
    until(&quotas, name, |quota| quota.is_some_and(followed)).await;

    quotas.delete(name, &DeleteParams::default()).await.expect("deleted");
    refused(quotas.get(name).await, 404, "NotFound");
    create::<Pod>(&scene, pod("free", json!({}))).await.expect("nothing limits it any more");
}

async fn lifecycle(scene: Scene) {
    let label = format!("quota={}", scene.namespace);
    let quotas = scene.api::<ResourceQuota>();
    let quota = json!({"metadata": {"name": "test-quota", "labels": {"quota": scene.namespace}},
        "spec": {"hard": {"cpu": "1", "memory": "500Mi"}}});
    create::<ResourceQuota>(&scene, quota).await.expect("a quota");
    let there = quotas.get("test-quota").await.expect("there");
    assert_eq!(hard(&there), json!({"cpu": "1", "memory": "500Mi"}));

    let everywhere = scene.all::<ResourceQuota>().list(&ListParams::default().labels(&label)).await.expect("a list");
    assert_eq!(everywhere.items.len(), 1);
    let patch =
        Patch::Strategic(json!({"metadata": {"labels": {"more": "patched"}}, "spec": {"hard": {"memory": "750Mi"}}}));
    let patched = quotas.patch("test-quota", &PatchParams::default(), &patch).await.expect("patched");
    assert_eq!(
        (patched.labels()["more"].as_str(), hard(&patched)),
        ("patched", json!({"cpu": "1", "memory": "750Mi"}))
    );
    assert!(revision(&patched) > revision(&everywhere.items[0]));

    let selection = ListParams::default().labels(&label);
    quotas.delete_collection(&DeleteParams::default(), &selection).await.expect("deleted");
    refused(quotas.get("test-quota").await, 404, "NotFound");
}

/// Revisions are numbers that grow.
fn revision(quota: &ResourceQuota) -> u64 {
    quota.resource_version().and_then(|version| version.parse().ok()).expect("a revision")
}

async fn status(scene: Scene) {
    let quotas = scene.api::<ResourceQuota>();
    let name = "test-quota";
    let limits = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    let status = |quota: &ResourceQuota| json!(quota.status)["hard"].clone();
    let mut watch = Watching::open(&quotas, &WatchParams::default(), "").await;

    let first = limits("500m", "500Mi");
    let made = create::<ResourceQuota>(&scene, json!({"metadata": {"name": name}, "spec": {"hard": first}})).await;
    assert_eq!(hard(&made.expect("a quota")), first);
    // The controller writes the status as well: whoever comes second reads again.
    let updated = loop {
        let mut quota = quotas.get(name).await.expect("there");
        quota.status = Some(object(json!({"hard": first})));
        match quotas.replace_status(name, &PostParams::default(), &quota).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            answer => break answer.expect("a status"),
        }
    };
    assert_eq!((status(&updated), hard(&updated)), (first.clone(), first.clone()));
    watch.until(|quota| status(quota) == first).await;

    let second = limits("1", "1Gi");
    let patch = |part: &str, hard: &Value| Patch::Strategic(json!({part: {"hard": hard}}));
    let patched = quotas.patch(name, &PatchParams::default(), &patch("spec", &second)).await.expect("patched");
    assert_eq!(hard(&patched), second);
    let told = quotas.patch_status(name, &PatchParams::default(), &patch("status", &second)).await.expect("patched");
    assert_eq!(status(&told), second);
    watch.until(|quota| status(quota) == second).await;
    assert_eq!(status(&quotas.get_status(name).await.expect("there")), second);

    // What a status may say is the controller's affair: it comes back to the spec, which nobody has changed.
    let third = limits("2", "2Gi");
    let told = quotas.patch_status(name, &PatchParams::default(), &patch("status", &third)).await.expect("patched");
    assert_eq!((status(&told), hard(&told)), (third.clone(), second.clone()));
    watch.until(|quota| status(quota) == third).await;
    let back = watch.until(|quota| status(quota) == second).await;
    assert_eq!(hard(&back), second);
}
