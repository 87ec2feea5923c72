//! Admission policies in CEL.

use crate::{
    operations::Operations,
    scene::{IMAGE, Scene, object, refused, scenarios},
};
use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
        ValidatingAdmissionPolicyBinding,
    },
    apps::v1::{Deployment, ReplicaSet},
};
use kube::{
    Resource,
    api::{DeleteParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use testkit::{Value, json};

scenarios! {
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment [Conformance]"
        => replicas_set,
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment with annotations [Conformance]"
        => annotated,
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicy API operations [Conformance]"
        => mutating,
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicyBinding API operations [Conformance]"
        => mutating_bindings,
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should allow expressions to refer variables. [Conformance]"
        => variables,
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicy API operations [Conformance]"
        => validating,
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicyBinding API operations [Conformance]"
        => validating_bindings,
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should validate against a Deployment [Conformance]"
        => replicas_judged,
}

/// A policy over Deployments in the scenario's namespace, and its binding.
async fn bind<P, B>(scene: &Scene, policy: Value, binding: Value)
where
    P: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
    B: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    let here = json!({"matchLabels": scene.mark().await});
    let mut policy = json!({"metadata": {"name": scene.own("policy.example.com")}, "spec": policy});
    policy["spec"]["matchConstraints"] = deployments(&["CREATE", "UPDATE"]);
    policy["spec"]["matchConstraints"]["namespaceSelector"] = here.clone();
    let mut binding = json!({"metadata": {"name": scene.own("binding.example.com")}, "spec": binding});
    binding["spec"]["policyName"] = policy["metadata"]["name"].clone();
    binding["spec"]["matchResources"] = json!({"namespaceSelector": here});
    scene.all::<P>().create(&PostParams::default(), &object(policy)).await.expect("a policy");
    scene.all::<B>().create(&PostParams::default(), &object(binding)).await.expect("a binding");
}

fn deployments(operations: &[&str]) -> Value {
    json!({"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": operations,
        "resources": ["deployments"]}]})
}

/// A Deployment, or a ReplicaSet.
fn replicated<K: DeserializeOwned>(name: &str, replicas: u32) -> K {
    let labels = json!({"app": "nginx"});
    object(json!({"metadata": {"name": name, "labels": labels}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "nginx", "image": IMAGE}]}}}}))
}

async fn create(scene: &Scene, replicas: u32) -> kube::Result<Deployment> {
    let name = format!("replicas-{replicas}");
    scene.api().create(&PostParams::default(), &replicated(&name, replicas)).await
}

/// What a policy says against a Deployment.
#[track_caller]
fn why(scene: &Scene, answer: kube::Result<Deployment>) -> String {
    let text = refused(answer, 422, "Invalid");
    let (policy, binding) = (scene.own("policy.example.com"), scene.own("binding.example.com"));
    let by = format!("is forbidden: ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: ");
    text.split_once(&by).unwrap_or_else(|| panic!("{text}")).1.into()
}

/// ReplicaSets are none of the policy's business.
async fn replica_sets_are_free(scene: &Scene) {
    let sets = scene.api::<ReplicaSet>();
    sets.create(&PostParams::default(), &replicated("non-replicated", 1)).await.expect("created");
    sets.delete("non-replicated", &DeleteParams::default()).await.expect("deleted");
}

async fn replicas_judged(scene: Scene) {
    let policy = json!({"validations": [
        {"expression": "object.spec.replicas > 0",
            "messageExpression": "'wants replicas > 0, got ' + string(object.spec.replicas)"},
        {"expression": "object.spec.replicas > 1",
            "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"},
        {"expression": format!("namespaceObject.metadata.name == '{}'", scene.namespace),
            "message": "Internal error! Other namespace should not be allowed."}]});
    bind::<ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding>(
        &scene,
        policy,
        json!({"validationActions": ["Deny"]}),
    )
    .await;
    // A text and a number cannot be joined, so the expression itself is the message.
    assert_eq!(why(&scene, create(&scene, 1).await), "failed expression: object.spec.replicas > 1");
    assert_eq!(why(&scene, create(&scene, 0).await), "wants replicas > 0, got 0");
    create(&scene, 2).await.expect("enough");
    replica_sets_are_free(&scene).await;
    scene.api::<Deployment>().delete("replicas-2", &DeleteParams::default()).await.expect("deleted");
    // Without its binding a policy does nothing.
    let bindings = scene.all::<ValidatingAdmissionPolicyBinding>();
    bindings.delete(&scene.own("binding.example.com"), &DeleteParams::default()).await.expect("deleted");
    create(&scene, 1).await.expect("free");
}

async fn variables(scene: Scene) {
    let policy = json!({
        "variables": [{"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}],
        "validations": [{"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"}]});
    bind::<ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding>(
        &scene,
        policy,
        json!({"validationActions": ["Deny"]}),
    )
    .await;
    assert_eq!(why(&scene, create(&scene, 1).await), "failed expression: variables.replicas > 1");
    assert_eq!(why(&scene, create(&scene, 4).await), "failed expression: variables.oddReplicas");
    create(&scene, 3).await.expect("odd, and enough");
    replica_sets_are_free(&scene).await;
}

/// A Deployment as a policy's configuration leaves it, and a ReplicaSet, which it leaves alone.
async fn mutated(scene: &Scene, expression: &str) -> Deployment {
    let configuration = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let policy = json!({"reinvocationPolicy": "Never", "mutations": [configuration]});
    bind::<MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding>(scene, policy, json!({})).await;
    let set: ReplicaSet = replicated("set", 1);
    let made = scene.api().create(&PostParams::default(), &set).await.expect("created");
    assert_eq!((made.metadata.annotations, made.spec.and_then(|spec| spec.replicas)), (None, Some(1)));
    create(scene, 1).await.expect("created")
}

async fn annotated(scene: Scene) {
    let made =
        mutated(&scene, "Object{metadata: Object.metadata{annotations: {\"mutated-by\": \"admission-policy\"}}}").await;
    assert_eq!(json!(made.metadata.annotations), json!({"mutated-by": "admission-policy"}));
    assert_eq!(made.spec.and_then(|spec| spec.replicas), Some(1));
}

async fn replicas_set(scene: Scene) {
    let made = mutated(&scene, "Object{spec: Object.spec{replicas: 1337}}").await;
    let spec = made.spec.expect("a spec");
    assert_eq!((spec.replicas, spec.template.spec.map(|pod| pod.containers.len())), (Some(1337), Some(1)));
}

async fn validating(scene: Scene) {
    let spec = json!({"validations": [{"expression": "object.spec.replicas <= 100"}],
        "matchConstraints": deployments(&["CREATE"])});
    let condition = |kind: &str| {
        json!({"conditions": [{"type": kind, "status": "False", "reason": "E2E", "message": "Set from an e2e test",
            "lastTransitionTime": "2024-01-01T00:00:00Z"}]})
    };
    let policies = Operations::<ValidatingAdmissionPolicy>::cluster(&scene, |_| json!({"spec": spec}));
    let policies = policies.changing(failure("Ignore"), failure("Fail"));
    policies.with_status(condition("PatchStatusFailed"), condition("StatusUpdateFailed")).all().await;
}

fn failure(policy: &str) -> Value {
    json!({"spec": {"failurePolicy": policy}})
}

async fn validating_bindings(scene: Scene) {
    let spec = json!({"policyName": scene.own("policy"), "validationActions": ["Deny"]});
    let bindings = Operations::<ValidatingAdmissionPolicyBinding>::cluster(&scene, |_| json!({"spec": spec}));
    let actions = |action: &str| json!({"spec": {"validationActions": [action]}});
    bindings.changing(actions("Warn"), actions("Deny")).all().await;
}

async fn mutating(scene: Scene) {
    let expression = "Object{spec: Object.spec{replicas: 100}}";
    let configuration = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let spec = json!({"reinvocationPolicy": "Never", "mutations": [configuration],
        "matchConstraints": deployments(&["CREATE"])});
    let policies = Operations::<MutatingAdmissionPolicy>::cluster(&scene, |_| json!({"spec": spec}));
    let again = |policy: &str| json!({"spec": {"reinvocationPolicy": policy}});
    policies.changing(again("IfNeeded"), again("Never")).all().await;
}

async fn mutating_bindings(scene: Scene) {
    let of = |name: &str| json!({"spec": {"policyName": scene.own(name)}});
    let bindings = Operations::<MutatingAdmissionPolicyBinding>::cluster(&scene, |_| of("policy"));
    bindings.changing(of("new-policy"), of("policy")).all().await;
}
