//! Events, in the group that they came from and in the one that they are of now: the same objects.

use crate::{
    operations::{Operations, has},
    scene::{Scene, object, refused, scenarios},
};
use k8s_openapi::api::{core::v1 as core, events::v1 as events};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use testkit::{Value, json};

scenarios! {
    "[sig-instrumentation] Events should manage the lifecycle of an event [Conformance]" => old_ones,
    "[sig-instrumentation] Events should delete a collection of events [Conformance]" => old_collection,
    "[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed [Conformance]"
        => new_ones,
    "[sig-instrumentation] Events API should delete a collection of events [Conformance]" => new_collection,
}

async fn old_ones(scene: Scene) {
    old(&scene).all().await;
    // An update that does not say what it is an update of.
    let events = scene.api::<core::Event>();
    let made = old(&scene).create(0).await;
    let mut sent = json!(made);
    sent["metadata"]["resourceVersion"] = Value::Null;
    sent["metadata"]["managedFields"] = Value::Null;
    sent["series"] = series(100);
    events.replace(&made.name_any(), &PostParams::default(), &object(sent.clone())).await.expect("updated");
    let mut read = json!(events.get(&made.name_any()).await.expect("read"));
    for map in [&mut read, &mut sent] {
        map["metadata"]["resourceVersion"].take();
        map["metadata"]["managedFields"].take();
    }
    assert_eq!(read, sent);
}

async fn old_collection(scene: Scene) {
    old(&scene).collection().await;
}

async fn new_ones(scene: Scene) {
    new(&scene).all().await;
    let made = new(&scene).create(0).await;
    let (name, events) = (made.name_any(), scene.api::<events::Event>());
    // Each group's name for who reports.
    let reporter = ListParams::default().fields("reportingController=test-controller");
    let source = ListParams::default().fields("source=test-controller");
    let by_reporter = events.list(&reporter).await.expect("a list");
    assert_eq!(by_reporter.iter().map(ResourceExt::uid).collect::<Vec<_>>(), [made.uid()]);
    let by_source = scene.api::<core::Event>().list(&source).await.expect("a list");
    assert_eq!(by_source.iter().map(ResourceExt::uid).collect::<Vec<_>>(), [made.uid()]);
    has(
        &by_source.items[0],
        &json!({"message": "a note", "reportingComponent": "test-controller", "involvedObject": {"namespace": scene.namespace}}),
    );
    // Only the series changes in what is once said.
    let said = events.patch(&name, &PatchParams::default(), &Patch::Strategic(json!({"note": "another"}))).await;
    refused(said, 422, "Invalid");
}

async fn new_collection(scene: Scene) {
    new(&scene).collection().await;
}

fn old(scene: &Scene) -> Operations<core::Event> {
    let made = Operations::namespaced(scene, |_| {
        json!({"message": "a test event", "reason": "Test", "type": "Normal", "count": 1,
            "involvedObject": {"namespace": scene.namespace}})
    });
    made.changing(json!({"message": "a patched event"}), json!({"series": series(100)}))
}

fn new(scene: &Scene) -> Operations<events::Event> {
    let made = Operations::namespaced(scene, |_| {
        json!({"eventTime": TIME, "note": "a note", "action": "Do", "reason": "Test", "type": "Normal",
            "reportingController": "test-controller", "reportingInstance": "test-node",
            "regarding": {"namespace": scene.namespace}})
    });
    made.changing(json!({"series": series(2)}), json!({"series": series(100)}))
}

const TIME: &str = "2017-09-19T13:49:16.000000Z";

fn series(count: i64) -> Value {
    json!({"count": count, "lastObservedTime": TIME})
}
