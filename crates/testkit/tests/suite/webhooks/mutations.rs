//! What mutating webhooks make of objects.

use super::{Hooks, rule, to_be_mutated};
use crate::{
    custom::{self, Custom},
    scene::Scene,
};
use k8s_openapi::{
    api::admissionregistration::v1::MutatingWebhookConfiguration,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use testkit::{Value, json};

type Configuration = MutatingWebhookConfiguration;

fn mutated(stages: &[&str]) -> Value {
    let keys = ["start"].iter().chain(stages);
    keys.map(|key| (format!("mutation-{key}"), json!("yes"))).collect()
}

pub async fn config_maps(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    hooks.register::<Configuration>("stages", &[hooks.stage(1), hooks.stage(2)]).await;
    let made = hooks.create_map("to-be-mutated", to_be_mutated()).await.expect("created");
    assert_eq!(json!(made.data), mutated(&["stage-1", "stage-2"]));
    let other = hooks.create_map("other", json!({"a": "b"})).await.expect("created");
    assert_eq!(json!(other.data), json!({"a": "b"}));
}

pub async fn pods(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let hook = hooks.hook("adding-init-container.k8s.io", "/mutating-pods", rule("", "pods", &["CREATE"]));
    hooks.register::<Configuration>("pods", &[hook]).await;
    let pod = hooks.create_pod("webhook-to-be-mutated", Value::Null, "example").await.expect("created");
    let added = pod.spec.expect("a spec").init_containers.unwrap_or_default();
    assert_eq!(added.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["webhook-added-init-container"]);
    assert_eq!(added[0].image.as_deref(), Some("webhook-added-image"));
    assert_eq!(added[0].termination_message_policy.as_deref(), Some("File"));
    assert_eq!(added[0].image_pull_policy.as_deref(), Some("Always"));
}

/// Two stages over a custom resource, in every version that it has; only the first looks at updates.
async fn staged(scene: &Scene, hooks: &Hooks, versions: Value) -> Custom {
    let custom = Custom::define(scene, versions, Value::Null).await;
    let stage = |n: u8, operations: &[&str]| {
        let name = format!("mutate-custom-resource-data-stage-{n}.k8s.io");
        hooks.hook(&name, "/mutating-custom-resource", rule(&custom.group, "things", operations))
    };
    let stages = [stage(1, &["CREATE", "UPDATE"]), stage(2, &["CREATE"])];
    hooks.register::<Configuration>("custom", &stages).await;
    custom
}

async fn create(custom: &Custom) -> DynamicObject {
    let thing = custom.object("v1", "cr-instance-1", json!({"data": to_be_mutated()}));
    custom.api("v1").create(&PostParams::default(), &thing).await.expect("created")
}

pub async fn custom_resources(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let custom = staged(&scene, &hooks, json!([custom::any("v1", true)])).await;
    assert_eq!(create(&custom).await.data["data"], mutated(&["stage-1", "stage-2"]));
}

pub async fn pruned(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let text = json!({"type": "string"});
    // The second stage's field is in no schema.
    let data = json!({"type": "object", "properties": {"mutation-start": text, "mutation-stage-1": text}});
    let schema = json!({"type": "object", "properties": {"data": data}});
    let of = |name: &str, storage| custom::version(name, storage, schema.clone());
    let custom = staged(&scene, &hooks, json!([of("v1", true), of("v2", false)])).await;
    assert_eq!(create(&custom).await.data["data"], mutated(&["stage-1"]));
}

pub async fn versions(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let custom = staged(&scene, &hooks, json!([custom::any("v1", true), custom::any("v2", false)])).await;
    create(&custom).await;
    let turned = json!({"spec": {"versions": [custom::any("v1", false), custom::any("v2", true)]}});
    let definitions = scene.all::<CustomResourceDefinition>();
    let defined = definitions.patch(&custom.name(), &PatchParams::default(), &Patch::Strategic(turned)).await;
    let stored = defined.expect("patched").status.expect("a status").stored_versions;
    assert_eq!(stored, Some(vec!["v1".to_string(), "v2".to_string()]));

    let patch = json!([{"op": "add", "path": "/dummy", "value": "test"}]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch).expect("a patch"));
    let made = custom.api("v2").patch("cr-instance-1", &PatchParams::default(), &patch).await.expect("patched");
    assert_eq!(made.types.expect("types").api_version, format!("{}/v2", custom.group));
    assert_eq!((&made.data["data"], &made.data["dummy"]), (&mutated(&["stage-1", "stage-2"]), &json!("test")));
}

pub async fn all_but_one(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let mut hook = hooks.stage(1);
    hook["matchConditions"] = json!([{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]);
    hooks.register::<Configuration>("conditions", &[hook]).await;
    for (name, data) in [("any", mutated(&["stage-1"])), ("skip-me", to_be_mutated())] {
        let made = hooks.create_map(name, to_be_mutated()).await.expect("created");
        assert_eq!(json!(made.data), data, "{name}");
    }
}
