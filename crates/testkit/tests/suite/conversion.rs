//! Custom resources in versions between which a webhook converts.

#[path = "../host_port/mod.rs"]
mod host_port;

use crate::{
    custom::Custom,
    extension::Served,
    scene::{Scene, Watching, scenarios},
};
use futures::{StreamExt, stream::BoxStream};
use host_port::{convert, is, v1, v2, versions};
use http::Response;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchParams},
    runtime::watcher::{self, Event},
};
use net::Body;
use testkit::{
    PATIENCE, Value,
    extension::{Call, reply, reviewed},
    json,
};

scenarios! {
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert a non homogeneous list of CRs [Conformance]"
        => lists,
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert from CR v1 to CR v2 [Conformance]"
        => objects,
    "[sig-api-machinery] CustomResourceFieldSelectors [Privileged:ClusterAdmin] CustomResourceFieldSelectors MUST list and watch custom resources matching the field selector [Conformance]"
        => selected,
}

async fn answer(call: Call) -> Response<Body> {
    if call.uri.path() != "/crdconvert" {
        return reply(404, &Value::Null);
    }
    let review = call.json();
    let wanted = review["request"]["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects = review["request"]["objects"].as_array().into_iter().flatten();
    let converted: Vec<Value> = objects.map(|object| convert(object, wanted)).collect();
    reviewed(&review, json!({"convertedObjects": converted, "result": {"status": "Success"}}))
}

/// The kind, stored as v1, and its converter.
async fn start(scene: &Scene) -> (Custom, Served) {
    let served = Served::start(scene, "e2e-test-crd-conversion-webhook", 9443, answer).await;
    let webhook =
        json!({"clientConfig": served.client_config("/crdconvert"), "conversionReviewVersions": ["v1", "v1beta1"]});
    let conversion = json!({"conversion": {"strategy": "Webhook", "webhook": webhook}});
    (Custom::define(scene, versions("v1"), conversion).await, served)
}

async fn create(custom: &Custom, version: &str, name: &str, fields: Value) -> Value {
    let object = custom.object(version, name, fields);
    json!(custom.api(version).create(&PostParams::default(), &object).await.expect("created"))
}

async fn objects(scene: Scene) {
    let (custom, _served) = start(&scene).await;
    let made = create(&custom, "v1", "cr-instance-1", v1("localhost:8080")).await;
    is(&made, "v1");
    let shown = json!(custom.api("v2").get("cr-instance-1").await.expect("as v2"));
    is(&shown, "v2");
    assert_eq!(shown["metadata"], made["metadata"]);
    // The other way around.
    is(&create(&custom, "v2", "cr-instance-2", v2("localhost", "8080")).await, "v2");
    is(&json!(custom.api("v1").get("cr-instance-2").await.expect("as v1")), "v1");
}

async fn lists(scene: Scene) {
    let (custom, _served) = start(&scene).await;
    create(&custom, "v1", "cr-instance-1", v1("localhost:8080")).await;
    let turned = Patch::Merge(json!({"spec": {"versions": versions("v2")}}));
    let definitions = scene.all::<CustomResourceDefinition>();
    let defined = definitions.patch(&custom.name(), &PatchParams::default(), &turned).await.expect("patched");
    let stored = defined.status.and_then(|status| status.stored_versions).unwrap_or_default();
    assert_eq!(stored, ["v1", "v2"]);
    create(&custom, "v1", "cr-instance-2", v1("localhost:8080")).await;
    for version in ["v1", "v2"] {
        let list = custom.api(version).list(&ListParams::default()).await.expect("a list");
        assert_eq!(list.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["cr-instance-1", "cr-instance-2"]);
        list.iter().for_each(|object| is(&json!(object), version));
    }
}

/// The next events of a watch, as type and name.
async fn told(watch: &mut Watching<DynamicObject>, events: &[(&str, &str)]) {
    for (kind, name) in events {
        assert_eq!(watch.expect(kind).await.name_any(), *name);
    }
}

/// The cache of a client, which lists and then watches.
struct Informer(BoxStream<'static, watcher::Result<Event<DynamicObject>>>);

impl Informer {
    /// One that has listed nothing.
    async fn start(api: Api<DynamicObject>, fields: &str) -> Self {
        let mut informer = Informer(watcher::watcher(api, watcher::Config::default().fields(fields)).boxed());
        assert!(matches!(informer.next().await, Event::Init));
        assert!(matches!(informer.next().await, Event::InitDone));
        informer
    }
    async fn next(&mut self) -> Event<DynamicObject> {
        let event = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("no event came");
        event.expect("it goes on").expect("an event")
    }
    async fn told(&mut self, events: &[(&str, &str)]) {
        for (kind, name) in events {
            let event = match self.next().await {
                Event::Apply(object) => ("ADDED", object),
                Event::Delete(object) => ("DELETED", object),
                other => panic!("{other:?}"),
            };
            assert_eq!((event.0, event.1.name_any().as_str()), (*kind, *name));
        }
    }
}

async fn selected(scene: Scene) {
    let (custom, _served) = start(&scene).await;
    let (old, new) = (custom.api("v1"), custom.api("v2"));
    let (host, both, joint) = ("host=host1", "host=host1,port=80", "hostPort=host1:80");
    let watch = async |api: &Api<DynamicObject>, fields: &str| {
        let version = api.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
        Watching::open(api, &WatchParams::default().fields(fields), &version.expect("a version")).await
    };
    let mut watches = [watch(&new, host).await, watch(&new, both).await, watch(&old, joint).await];
    let mut informers = [Informer::start(new.clone(), host).await, Informer::start(new.clone(), both).await];

    create(&custom, "v2", "a", v2("host1", "80")).await;
    create(&custom, "v2", "b", v2("host1", "8080")).await;
    create(&custom, "v2", "c", json!({"host": "host2"})).await;
    let listed = async |api: &Api<DynamicObject>, fields: &str| -> Vec<String> {
        let list = api.list(&ListParams::default().fields(fields)).await.expect("a list");
        list.iter().map(ResourceExt::name_any).collect()
    };
    assert_eq!(listed(&new, host).await, ["a", "b"]);
    assert_eq!(listed(&new, both).await, ["a"]);
    assert_eq!(listed(&old, joint).await, ["a"]);
    assert_eq!(listed(&old, "hostPort=host1:8080").await, ["b"]);
    let (all, one) = ([("ADDED", "a"), ("ADDED", "b")], [("ADDED", "a")]);
    told(&mut watches[0], &all).await;
    told(&mut watches[1], &one).await;
    told(&mut watches[2], &one).await;
    informers[0].told(&all).await;
    informers[1].told(&one).await;

    let now = DeleteParams::default().grace_period(0);
    new.delete_collection(&now, &ListParams::default().fields(both)).await.expect("deleted");
    let mut b = new.get("b").await.expect("as v2");
    b.data["host"] = json!("host2");
    new.replace("b", &PostParams::default(), &b).await.expect("updated");
    assert_eq!(listed(&new, host).await, [] as [&str; 0]);
    assert_eq!(listed(&new, both).await, [] as [&str; 0]);
    assert_eq!(listed(&new, "host=host2").await, ["b", "c"]);
    let (all, one) = ([("DELETED", "a"), ("DELETED", "b")], [("DELETED", "a")]);
    told(&mut watches[0], &all).await;
    told(&mut watches[1], &one).await;
    told(&mut watches[2], &one).await;
    informers[0].told(&all).await;
    informers[1].told(&one).await;
}
