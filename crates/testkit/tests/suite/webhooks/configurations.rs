//! Configurations as objects: when they are in force, what they may say, and that no webhook is asked of them.

use super::{Hooks, configuration, denied, disallowed, rule, to_be_mutated};
use crate::scene::{Scene, object, refused, update};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::ConfigMap,
};
use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use testkit::{Value, json};

/// Configurations of a kind, and how its webhooks show.
pub trait Configuration: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug {
    /// One of its webhooks.
    fn hook(hooks: &Hooks) -> Value;
    /// Whether it acts on new ConfigMaps.
    async fn acts(hooks: &Hooks) -> bool;
}

impl Configuration for ValidatingWebhookConfiguration {
    fn hook(hooks: &Hooks) -> Value {
        hooks.deny_config_maps()
    }
    async fn acts(hooks: &Hooks) -> bool {
        let answer = hooks.create_map("probe", disallowed()).await;
        if answer.is_ok() {
            hooks.scene.api::<ConfigMap>().delete("probe", &DeleteParams::default()).await.expect("deleted");
            return false;
        }
        denied(answer, "deny-unwanted-configmap-data.k8s.io");
        true
    }
}

impl Configuration for MutatingWebhookConfiguration {
    fn hook(hooks: &Hooks) -> Value {
        hooks.stage(1)
    }
    async fn acts(hooks: &Hooks) -> bool {
        let made = hooks.create_map("probe", to_be_mutated()).await.expect("created");
        hooks.scene.api::<ConfigMap>().delete("probe", &DeleteParams::default()).await.expect("deleted");
        made.data.unwrap_or_default().contains_key("mutation-stage-1")
    }
}

/// Changes a field of the first webhook.
fn set<K: Configuration>(configuration: &mut K, field: &str, to: Value) {
    let mut value = json!(configuration);
    *value["webhooks"][0].pointer_mut(field).expect("the field") = to;
    *configuration = object(value);
}

pub async fn listed<K: Configuration>(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let configurations = scene.all::<K>();
    let names: Vec<String> = (0..10).map(|n| scene.own(&n.to_string())).collect();
    for name in &names {
        let mut one: K = configuration(name, &[K::hook(&hooks)]);
        one.labels_mut().insert("e2e-list-test".into(), scene.namespace.clone());
        configurations.create(&PostParams::default(), &one).await.expect("created");
    }
    let ours = ListParams::default().labels(&format!("e2e-list-test={}", scene.namespace));
    let list = configurations.list(&ours).await.expect("a list");
    assert_eq!(list.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), names);
    assert!(K::acts(&hooks).await);
    configurations.delete_collection(&DeleteParams::default(), &ours).await.expect("deleted");
    assert!(configurations.list(&ours).await.expect("a list").items.is_empty());
    assert!(!K::acts(&hooks).await);
}

pub async fn changed<K: Configuration>(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let configurations = scene.all::<K>();
    let made = hooks.register::<K>("changed", &[K::hook(&hooks)]).await;
    assert!(K::acts(&hooks).await);
    let name = made.name_any();
    let updated = update(&configurations, &name, |one| set(one, "/rules/0/operations", json!(["UPDATE"]))).await;
    assert!(!K::acts(&hooks).await);
    let patch = json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch).expect("a patch"));
    let patched = configurations.patch(&name, &PatchParams::default(), &patch).await.expect("patched");
    let versions = [&made, &updated, &patched].map(|one| one.resource_version().expect("a version"));
    let numbers = versions.map(|version| version.parse::<u64>().expect("a number"));
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(K::acts(&hooks).await);
}

fn conditions(of: &[(&str, &str)]) -> Value {
    of.iter().map(|(name, expression)| json!({"name": name, "expression": expression})).collect()
}

pub async fn conditions_kept<K: Configuration>(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let configurations = scene.all::<K>();
    let production = ("expression-1", "object.metadata.namespace == 'production'");
    let one = conditions(&[production]);
    let mut hook = K::hook(&hooks);
    hook["rules"][0]["operations"] = json!(["CREATE"]);
    hook["matchConditions"] = one.clone();
    let name = hooks.register::<K>("conditions", &[hook]).await.name_any();
    let kept = async || {
        json!(configurations.get(&name).await.expect("a configuration"))["webhooks"][0]["matchConditions"].clone()
    };
    assert_eq!(kept().await, one);
    assert!(!K::acts(&hooks).await, "no namespace is meant");

    let two = conditions(&[production, ("expression-2", "object.metadata.namespace == 'staging'")]);
    update(&configurations, &name, |one| set(one, "/matchConditions", two.clone())).await;
    assert_eq!(kept().await, two);
}

pub async fn conditions_refused<K: Configuration>(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let mut hook = K::hook(&hooks);
    hook["matchConditions"] = conditions(&[("invalid-expression-1", "... [] bad expression")]);
    let bad: K = configuration(&scene.own("bad"), &[hook]);
    let why = refused(scene.all().create(&PostParams::default(), &bad).await, 422, "Invalid");
    let place =
        "webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad expression\": compilation failed";
    assert!(why.contains(place), "{why}");
    assert!(scene.all::<K>().get_opt(&scene.own("bad")).await.expect("an answer").is_none());
}

pub async fn discovered(scene: Scene) {
    let group = "admissionregistration.k8s.io";
    let has_v1 = |document: &Value| {
        let versions = document["versions"].as_array().expect("versions").iter();
        versions.clone().any(|v| v["version"] == "v1" && v["groupVersion"] == format!("{group}/v1"))
    };
    let groups = scene.admin.get("/apis").await.expect(200);
    let found = groups["groups"].as_array().expect("groups").iter().find(|g| g["name"] == group);
    assert!(has_v1(found.expect("the group")));
    let document = scene.admin.get(&format!("/apis/{group}")).await.expect(200);
    assert!(document["name"] == group && has_v1(&document), "{document}");
    let resources = scene.client().list_api_group_resources(&format!("{group}/v1")).await.expect("resources");
    assert_eq!(resources.group_version, format!("{group}/v1"));
    for (name, kind) in [
        ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
        ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    ] {
        let resource = resources.resources.iter().find(|r| r.name == name).expect(name);
        assert_eq!((resource.kind.as_str(), resource.namespaced), (kind, false));
    }
}

/// Webhooks that would refuse each deletion of a configuration and label each new one are never asked.
pub async fn beyond_webhooks(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let all = |operation| {
        let mut rule = rule("admissionregistration.k8s.io", "validatingwebhookconfigurations", &[operation]);
        rule["resources"] = json!(["validatingwebhookconfigurations", "mutatingwebhookconfigurations"]);
        rule
    };
    let deny = hooks.hook("deny-webhook-configuration-deletions.k8s.io", "/always-deny", all("DELETE"));
    let label = hooks.hook("add-label-to-webhook-configurations.k8s.io", "/add-label", all("CREATE"));
    hooks.register::<ValidatingWebhookConfiguration>("blocking", &[deny]).await;
    hooks.register::<MutatingWebhookConfiguration>("blocking", &[label]).await;
    untouched::<ValidatingWebhookConfiguration>(&hooks).await;
    untouched::<MutatingWebhookConfiguration>(&hooks).await;
}

async fn untouched<K: Configuration>(hooks: &Hooks) {
    let mut idle = hooks.hook("dummy-webhook.k8s.io", "", rule("", "invalid", &["CREATE"]));
    idle["failurePolicy"] = json!("Ignore");
    let made = hooks.register::<K>("dummy", &[idle]).await;
    assert!(made.labels().is_empty(), "{made:?}");
    hooks.scene.all::<K>().delete(&made.name_any(), &DeleteParams::default()).await.expect("deleted");
    assert!(hooks.scene.all::<K>().get_opt(&made.name_any()).await.expect("an answer").is_none());
}
