//! Admission webhooks: a server that does what upstream's test image does, and configurations that name it.

mod configurations;
mod mutations;
mod refusals;
mod server;

use crate::{
    extension::Served,
    scene::{Scene, object, scenarios},
};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::{ConfigMap, Pod},
};
use kube::{Resource, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use testkit::{Value, json};

scenarios! {
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing mutating webhooks should work [Conformance]"
        => configurations::listed::<MutatingWebhookConfiguration>,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing validating webhooks should work [Conformance]"
        => configurations::listed::<ValidatingWebhookConfiguration>,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a mutating webhook should work [Conformance]"
        => configurations::changed::<MutatingWebhookConfiguration>,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a validating webhook should work [Conformance]"
        => configurations::changed::<ValidatingWebhookConfiguration>,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update mutating webhook configurations with match conditions [Conformance]"
        => configurations::conditions_kept::<MutatingWebhookConfiguration>,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update validating webhook configurations with match conditions [Conformance]"
        => configurations::conditions_kept::<ValidatingWebhookConfiguration>,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject mutating webhook configurations with invalid match conditions [Conformance]"
        => configurations::conditions_refused::<MutatingWebhookConfiguration>,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject validating webhook configurations with invalid match conditions [Conformance]"
        => configurations::conditions_refused::<ValidatingWebhookConfiguration>,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should include webhook resources in discovery documents [Conformance]"
        => configurations::discovered,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should not be able to mutate or prevent deletion of webhook configuration objects [Conformance]"
        => configurations::beyond_webhooks,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny attaching pod [Conformance]"
        => refusals::attaching,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny custom resource creation, update and deletion [Conformance]"
        => refusals::custom_resources,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny pod and configmap creation [Conformance]"
        => refusals::pods_and_config_maps,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should deny crd creation [Conformance]"
        => refusals::definitions,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should honor timeout [Conformance]"
        => refusals::timeouts,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should unconditionally reject operations on fail closed webhook [Conformance]"
        => refusals::closed,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate configmap [Conformance]"
        => mutations::config_maps,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource [Conformance]"
        => mutations::custom_resources,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with different stored version [Conformance]"
        => mutations::versions,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with pruning [Conformance]"
        => mutations::pruned,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate everything except 'skip-me' configmaps [Conformance]"
        => mutations::all_but_one,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate pod and apply defaults after mutation [Conformance]"
        => mutations::pods,
}

/// The server behind its Service, for a scenario whose namespace is marked.
struct Hooks {
    scene: Scene,
    served: Served,
    mark: Value,
}

impl Hooks {
    async fn start(scene: &Scene) -> Self {
        let served = Served::start(scene, "e2e-test-webhook", 8443, server::answer).await;
        Hooks { scene: scene.clone(), served, mark: scene.mark().await }
    }
    /// A webhook for what happens in namespaces with the scenario's mark.
    fn hook(&self, name: &str, path: &str, rule: Value) -> Value {
        json!({"name": name, "clientConfig": self.served.client_config(path), "rules": [rule], "sideEffects": "None",
            "admissionReviewVersions": ["v1", "v1beta1"], "namespaceSelector": {"matchLabels": self.mark}})
    }
    /// The webhook that adds what a ConfigMap's data lack.
    fn stage(&self, n: u8) -> Value {
        let name = format!("adding-configmap-data-stage-{n}.k8s.io");
        self.hook(&name, "/mutating-configmaps", rule("", "configmaps", &["CREATE"]))
    }
    /// The webhook that refuses ConfigMaps with unwanted data.
    fn deny_config_maps(&self) -> Value {
        let rule = rule("", "configmaps", &["CREATE", "UPDATE", "DELETE"]);
        self.hook("deny-unwanted-configmap-data.k8s.io", "/configmaps", rule)
    }
    /// A configuration of the scenario's, written.
    async fn register<K>(&self, name: &str, hooks: &[Value]) -> K
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
    {
        let configuration = configuration(&self.scene.own(name), hooks);
        self.scene.all().create(&PostParams::default(), &configuration).await.expect("registered")
    }
    async fn create_map(&self, name: &str, data: Value) -> kube::Result<ConfigMap> {
        self.scene.api().create(&PostParams::default(), &map(name, data)).await
    }
    async fn create_pod(&self, name: &str, labels: Value, container: &str) -> kube::Result<Pod> {
        let pod = json!({"metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": container, "image": crate::scene::IMAGE}]}});
        self.scene.api().create(&PostParams::default(), &object(pod)).await
    }
}

fn configuration<K: DeserializeOwned>(name: &str, hooks: &[Value]) -> K {
    object(json!({"metadata": {"name": name}, "webhooks": hooks}))
}

fn rule(group: &str, resource: &str, operations: &[&str]) -> Value {
    json!({"operations": operations, "apiGroups": [group], "apiVersions": ["*"], "resources": [resource]})
}

fn map(name: &str, data: Value) -> ConfigMap {
    object(json!({"metadata": {"name": name}, "data": data}))
}

/// What the server takes offence at.
fn disallowed() -> Value {
    json!({"webhook-e2e-test": "webhook-disallow"})
}

/// What the server adds to.
fn to_be_mutated() -> Value {
    json!({"mutation-start": "yes"})
}

/// The explanation in a webhook's refusal.
#[track_caller]
fn denied<T: Debug>(answer: kube::Result<T>, hook: &str) -> String {
    match answer {
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.code, 400, "{status:?}");
            let by = format!("admission webhook \"{hook}\" denied the request: ");
            status.message.strip_prefix(&by).unwrap_or_else(|| panic!("{status:?}")).into()
        }
        other => panic!("expected a refusal by {hook}: {other:?}"),
    }
}
