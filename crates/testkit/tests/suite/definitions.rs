//! CustomResourceDefinitions: their lives, their status, what discovery says of them, and what defaults do to objects.

use crate::{
    custom::{self, Custom},
    discovery,
    scene::{Scene, Watching, object, refused, scenarios, until},
};
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinition, CustomResourceDefinitionCondition,
    },
    apimachinery::pkg::apis::meta::v1::{APIGroup, APIGroupList, APIResourceList},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchParams},
};
use testkit::{Value, json};

scenarios! {
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface for CRDs [Conformance]"
        => discovered_by_a_client,
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request for CRDs [Conformance]"
        => in_the_aggregated_document,
    "[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch watch on custom resource definition objects [Conformance]"
        => watches_by_name,
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition creating/deleting custom resource definition objects works [Conformance]"
        => created_and_deleted,
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition getting/updating/patching custom resource definition status sub-resource works [Conformance]"
        => status,
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition listing custom resource definition objects works [Conformance]"
        => listed_by_label,
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting for requests and from storage works [Conformance]"
        => defaults,
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom resource definition resources in discovery documents [Conformance]"
        => definitions_are_discovered,
}

/// Something of the cluster that takes any field.
async fn wide(scene: &Scene) -> Custom {
    Custom::define(scene, json!([custom::any("v1", true)]), json!({"scope": "Cluster"})).await
}

/// A JSON patch.
fn operations(patch: Value) -> Patch<()> {
    Patch::Json(object(patch))
}

async fn created_and_deleted(scene: Scene) {
    let thing = wide(&scene).await;
    let (things, path) = (thing.api("v1"), thing.path("v1"));
    things.create(&PostParams::default(), &thing.object("v1", "one", json!({"a": 1}))).await.expect("created");
    assert_eq!(things.list(&ListParams::default()).await.expect("a list").items.len(), 1);
    thing.remove().await;
    scene.admin.get(&path).await.refused(404, "NotFound");
    refused(things.get("one").await, 404, "NotFound");
}

async fn listed_by_label(scene: Scene) {
    let label = ("of", scene.namespace.as_str());
    let define = async |kind: String, labelled: bool| {
        let more = json!({"scope": "Cluster", "names": custom::names(&kind)});
        let mut definition = custom::definition(&scene, json!([custom::any("v1", true)]), more);
        if labelled {
            definition.labels_mut().insert(label.0.into(), label.1.into());
        }
        Custom::establish(&scene, definition).await
    };
    let mut made = Vec::new();
    for n in 0..10 {
        made.push(define(format!("Kind{n}"), true).await.definition);
    }
    let other = define("Other".into(), false).await;

    let definitions = scene.all::<CustomResourceDefinition>();
    let selection = ListParams::default().labels(&format!("{}={}", label.0, label.1));
    let listed = definitions.list(&selection).await.expect("a list").items;
    let specs =
        |list: &[CustomResourceDefinition]| list.iter().map(|d| (d.name_any(), d.spec.clone())).collect::<Vec<_>>();
    assert_eq!(specs(&listed), specs(&made));

    definitions.delete_collection(&DeleteParams::default(), &selection).await.expect("deleted");
    for definition in &made {
        until(&definitions, &definition.name_any(), |definition| definition.is_none()).await;
    }
    let left = definitions.get(&other.name()).await.expect("it has no such label");
    assert_eq!(left.uid(), other.definition.uid());
    other.remove().await;
}

async fn status(scene: Scene) {
    let thing = wide(&scene).await;
    let (definitions, name) = (scene.all::<CustomResourceDefinition>(), thing.name());
    let condition =
        |message: &str| CustomResourceDefinitionCondition { message: Some(message.into()), ..Default::default() };
    let conditions = |definition: &CustomResourceDefinition| {
        definition.status.clone().and_then(|status| status.conditions).unwrap_or_default()
    };
    let updated = loop {
        let mut read = definitions.get_status(&name).await.expect("there");
        assert_eq!(read.spec, thing.definition.spec);
        let status = read.status.as_mut().expect("a status");
        status.conditions.get_or_insert_default().push(condition("updated"));
        match definitions.replace_status(&name, &PostParams::default(), &read).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            answer => break answer.expect("replaced"),
        }
    };
    assert!(conditions(&updated).contains(&condition("updated")), "{updated:?}");
    assert_eq!(definitions.get_status(&name).await.expect("there").status, updated.status);

    let patch = operations(json!([{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]));
    let patched = definitions.patch_status(&name, &PatchParams::default(), &patch).await;
    let patched = patched.expect("patched");
    assert!(conditions(&patched).contains(&condition("patched")), "{patched:?}");
    thing.remove().await;
}

async fn definitions_are_discovered(scene: Scene) {
    let document = async |path: &str| scene.admin.get(path).await.expect(200);
    let groups: APIGroupList = object(document("/apis").await);
    let group: APIGroup = object(document("/apis/apiextensions.k8s.io").await);
    assert!(groups.groups.iter().any(|listed| listed.name == group.name && listed.versions == group.versions));
    assert_eq!(group.name, "apiextensions.k8s.io");
    assert!(group.versions.iter().any(|v| v.version == "v1" && v.group_version == "apiextensions.k8s.io/v1"));
    let resources: APIResourceList = object(document("/apis/apiextensions.k8s.io/v1").await);
    assert_eq!(resources.group_version, "apiextensions.k8s.io/v1");
    let found = resources.resources.iter().find(|resource| resource.name == "customresourcedefinitions");
    let found = found.expect("definitions");
    assert_eq!((found.kind.as_str(), found.namespaced), ("CustomResourceDefinition", false));
}

async fn discovered_by_a_client(scene: Scene) {
    let thing = Custom::define(&scene, json!([custom::any("v1", true)]), json!({})).await;
    let discovery = discovery::run_aggregated(&scene).await;
    assert!(discovery::knows(&discovery, &thing.group, "v1", thing.plural()));
    let group = thing.group.clone();
    thing.remove().await;
    assert!(!discovery::run_aggregated(&scene).await.has_group(&group));
}

async fn in_the_aggregated_document(scene: Scene) {
    let thing = Custom::define(&scene, json!([custom::any("v1", true)]), json!({})).await;
    let found = discovery::entry(&discovery::aggregated(&scene, "/apis").await, &thing.group, "v1", thing.plural());
    assert_eq!(found["responseKind"], json!({"group": thing.group, "version": "v1", "kind": thing.kind()}));
    assert_eq!((&found["scope"], &found["singularResource"]), (&json!("Namespaced"), &json!("thing")));
    let (group, plural) = (thing.group.clone(), thing.plural().to_string());
    thing.remove().await;
    let gone = discovery::entry(&discovery::aggregated(&scene, "/apis").await, &group, "v1", &plural);
    assert_eq!(gone, Value::Null);
}

/// Each of two watches tells of one object, by its name, and of the other nothing.
async fn watches_by_name(scene: Scene) {
    let thing = wide(&scene).await;
    let things = thing.api("v1");
    let watch = async |name: &str| {
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        Watching::<DynamicObject>::open(&things, &params, "").await
    };
    let names = ["name1", "name2"];
    let mut watches = [watch(names[0]).await, watch(names[1]).await];
    for (name, watch) in names.iter().zip(&mut watches) {
        let one = thing.object("v1", name, json!({"content": {"key": "value"}}));
        let made = things.create(&PostParams::default(), &one).await.expect("created");
        let types = made.types.clone().expect("types");
        assert_eq!((types.api_version, types.kind), (format!("{}/v1", thing.group), "Thing".to_string()));
        assert!(made.uid().is_some());
        assert_eq!(watch.expect("ADDED").await, made);
    }
    for (name, watch) in names.iter().zip(&mut watches) {
        let patch = operations(json!([{"op": "add", "path": "/dummy", "value": "test"}]));
        let patched = things.patch(name, &PatchParams::default(), &patch).await.expect("patched");
        assert_eq!(patched.data["dummy"], "test");
        assert_eq!(watch.expect("MODIFIED").await, patched);
    }
    for (name, watch) in names.iter().zip(&mut watches) {
        things.delete(name, &DeleteParams::default()).await.expect("deleted");
        assert_eq!(watch.expect("DELETED").await.name_any(), *name);
    }
    // Nothing of the other came in between, nor after its own deletion.
    for (name, watch) in names.iter().zip(&mut watches) {
        let again = things.create(&PostParams::default(), &thing.object("v1", name, json!({}))).await.expect("created");
        assert_eq!(watch.expect("ADDED").await, again);
    }
    thing.remove().await;
}

/// A default shows on what is read, and becomes part of what is written.
async fn defaults(scene: Scene) {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    let thing = Custom::define(&scene, json!([custom::version("v1", true, schema)]), json!({"scope": "Cluster"})).await;
    let (definitions, things) = (scene.all::<CustomResourceDefinition>(), thing.api("v1"));
    let redefine = async |patch: Value| {
        definitions.patch(&thing.name(), &PatchParams::default(), &operations(patch)).await.expect("patched")
    };
    let create = async |name: &str| things.create(&PostParams::default(), &thing.object("v1", name, json!({}))).await;
    let at = |field: &str| format!("/spec/versions/0/schema/openAPIV3Schema/properties/{field}/default");
    let fields = |thing: &DynamicObject| (thing.data["a"].clone(), thing.data["b"].clone());

    let first = create("first").await.expect("created");
    assert_eq!(fields(&first), (Value::Null, Value::Null));
    redefine(json!([{"op": "add", "path": at("a"), "value": "A"}])).await;
    let read = things.get("first").await.expect("there");
    assert_eq!(fields(&read), ("A".into(), Value::Null));
    assert_eq!(read.resource_version(), first.resource_version(), "nothing is written by reading");
    assert_eq!(fields(&things.list(&ListParams::default()).await.expect("a list").items[0]), ("A".into(), Value::Null));
    let second = create("second").await.expect("created");
    assert_eq!(fields(&second), ("A".into(), Value::Null));

    redefine(json!([{"op": "remove", "path": at("a")}, {"op": "add", "path": at("b"), "value": "B"}])).await;
    // What was stored with a default keeps it; what only showed one does so no longer.
    let last = things.get("second").await.expect("there");
    assert_eq!(fields(&last), ("A".into(), "B".into()));
    assert_eq!(last.resource_version(), second.resource_version());
    assert_eq!(fields(&things.get("first").await.expect("there")), (Value::Null, "B".into()));
    thing.remove().await;
}
