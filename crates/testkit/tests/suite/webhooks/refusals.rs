//! What validating webhooks refuse, and what becomes of a request whose webhook does not answer.

use super::{Hooks, configuration, denied, disallowed, map, rule};
use crate::{
    custom::{self, Custom},
    scene::{Scene, object, refused, update},
};
use k8s_openapi::{
    api::{
        admissionregistration::v1::ValidatingWebhookConfiguration,
        core::v1::{ConfigMap, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{AttachParams, DeleteParams, Patch, PatchParams, PostParams},
};
use testkit::{Value, json};

type Configuration = ValidatingWebhookConfiguration;

const UNWANTED: &str = "the configmap contains unwanted data";

/// A webhook that cannot be called: without its authority the server's certificate is nobody's.
fn unreachable(hooks: &Hooks, name: &str) -> Value {
    let mut hook = hooks.hook(name, "/configmaps", rule("", "configmaps", &["CREATE"]));
    hook["clientConfig"]["caBundle"] = Value::Null;
    hook
}

/// ConfigMaps of another namespace with the mark and one more label.
async fn beside(hooks: &Hooks, name: &str, label: &str) -> Api<ConfigMap> {
    let namespace = hooks.scene.namespace(name).await.name_any();
    let mut labels = hooks.mark.clone();
    labels[label] = json!("yes");
    hooks.scene.label(&namespace, labels).await;
    Api::namespaced(hooks.scene.client(), &namespace)
}

pub async fn pods_and_config_maps(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let (by_pods, by_maps) =
        ("deny-unwanted-pod-container-name-and-label.k8s.io", "deny-unwanted-configmap-data.k8s.io");
    let deny_pods = hooks.hook(by_pods, "/pods", rule("", "pods", &["CREATE"]));
    let mut deny_maps = hooks.deny_config_maps();
    deny_maps["namespaceSelector"]["matchExpressions"] =
        json!([{"key": "skip-webhook-admission", "operator": "NotIn", "values": ["yes"]}]);
    let mut open = unreachable(&hooks, "fail-open.k8s.io");
    open["failurePolicy"] = json!("Ignore");
    hooks.register::<Configuration>("deny", &[deny_pods, deny_maps, open]).await;

    let why = denied(hooks.create_pod("bad", disallowed(), "webhook-disallow").await, by_pods);
    assert_eq!(why, "the pod contains unwanted label; the pod contains unwanted container name;");
    let hanging = hooks.create_pod("hanging", json!({"webhook-e2e-test": "wait-forever"}), "wait-forever");
    let good = hooks.create_pod("good", Value::Null, "c");
    let (hanging, good) = futures::join!(hanging, good);
    good.expect("a pod that nobody objects to");
    let why = refused(hanging, 500, "InternalError");
    let call = format!("failed calling webhook \"{by_pods}\": failed to call webhook: Post");
    assert!(why.contains(&call) && why.ends_with("context deadline exceeded"), "{why}");
    assert!(scene.api::<Pod>().get_opt("hanging").await.expect("an answer").is_none());

    assert_eq!(denied(hooks.create_map("bad", disallowed()).await, by_maps), UNWANTED);
    let mut good = hooks.create_map("good", json!({"admit": "this"})).await.expect("a good one");
    let maps = scene.api::<ConfigMap>();
    let patch = Patch::Strategic(json!({"data": disallowed()}));
    assert_eq!(denied(maps.patch("good", &PatchParams::default(), &patch).await, by_maps), UNWANTED);
    let unwanted = ("webhook-e2e-test".to_string(), "webhook-disallow".to_string());
    good.data.get_or_insert_default().extend([unwanted]);
    assert_eq!(denied(maps.replace("good", &PostParams::default(), &good).await, by_maps), UNWANTED);
    assert_eq!(maps.get("good").await.expect("as it was").data, map("", json!({"admit": "this"})).data);

    let exempted = beside(&hooks, "exempted", "skip-webhook-admission").await;
    exempted.create(&PostParams::default(), &map("bad", disallowed())).await.expect("no webhook asked");
}

pub async fn attaching(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let by = "deny-attaching-pod.k8s.io";
    let hook = hooks.hook(by, "/pods/attach", rule("", "pods/attach", &["CONNECT"]));
    hooks.register::<Configuration>("attach", &[hook]).await;
    for pod in ["to-be-attached-pod", "another"] {
        hooks.create_pod(pod, Value::Null, "container1").await.expect("a pod");
    }
    let pods = scene.api::<Pod>();
    let attach = AttachParams::default().container("container1").stdin(true).stderr(false);
    let why = "attaching to pod 'to-be-attached-pod' is not allowed";
    assert_eq!(denied(pods.attach("to-be-attached-pod", &attach).await.map(drop), by), why);
    let other = pods.attach("another", &attach).await.map(drop).expect_err("it does not run").to_string();
    assert!(!other.contains(by), "{other}");
    // As kubectl asks by SPDY.
    let path = format!("{}/to-be-attached-pod/attach?container=container1&stdin=true", scene.path("api/v1", "pods"));
    let status = scene.admin.send("POST", &path, "", "").await.expect(400);
    assert_eq!(status["message"], format!("admission webhook \"{by}\" denied the request: {why}"));
}

pub async fn custom_resources(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let custom = Custom::define(&scene, json!([custom::any("v1", true)]), Value::Null).await;
    let by = "deny-unwanted-custom-resource-data.k8s.io";
    let rule = rule(&custom.group, "things", &["CREATE", "UPDATE", "DELETE"]);
    hooks.register::<Configuration>("custom", &[hooks.hook(by, "/custom-resource", rule)]).await;
    let things = custom.api("v1");
    let create = async |name: &str, data: Value| {
        things.create(&PostParams::default(), &custom.object("v1", name, json!({"data": data}))).await
    };
    let unwanted = "the custom resource contains unwanted data";
    assert_eq!(denied(create("first", disallowed()).await, by), unwanted);

    let mut second = create("second", json!({"webhook-e2e-test": "webhook-nondeletable"})).await.expect("for now");
    second.data["data"] = disallowed();
    assert_eq!(denied(things.replace("second", &PostParams::default(), &second).await, by), unwanted);
    let why = denied(things.delete("second", &DeleteParams::default()).await, by);
    assert_eq!(why, "the custom resource cannot be deleted because it contains unwanted key and value");
    update(&things, "second", |thing| thing.data["data"]["webhook-e2e-test"] = json!("webhook-allow")).await;
    things.delete("second", &DeleteParams::default()).await.expect("deleted");
    assert!(things.get_opt("second").await.expect("an answer").is_none());
}

pub async fn definitions(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let by = "deny-crd-with-unwanted-label.k8s.io";
    let mut hook = hooks.hook(by, "/crd", rule("apiextensions.k8s.io", "customresourcedefinitions", &["CREATE"]));
    hook["namespaceSelector"] = Value::Null;
    hook["objectSelector"] = json!({"matchLabels": hooks.mark});
    hooks.register::<Configuration>("crd", &[hook]).await;
    let definitions = scene.all::<CustomResourceDefinition>();
    let create = async |kind: &str, labels: Value| {
        let names = json!({"names": custom::names(kind)});
        let mut definition = custom::definition(&scene, json!([custom::any("v1", true)]), names);
        definition.metadata.labels = object(labels);
        definitions.create(&PostParams::default(), &definition).await
    };
    let mut labels = disallowed();
    // Only those with the scenario's mark are looked at.
    create("Unseen", labels.clone()).await.expect("a definition");
    labels[&scene.namespace] = json!("true");
    assert_eq!(denied(create("Denied", labels).await, by), "the crd contains unwanted label");
    create("Allowed", hooks.mark.clone()).await.expect("a definition");
}

pub async fn closed(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let mut hook = unreachable(&hooks, "fail-closed.k8s.io");
    hook["failurePolicy"] = json!("Fail");
    hook["namespaceSelector"]["matchExpressions"] =
        json!([{"key": "fail-closed-webhook", "operator": "In", "values": ["yes"]}]);
    hooks.register::<Configuration>("closed", &[hook]).await;
    let closed = beside(&hooks, "closed", "fail-closed-webhook").await;
    let why = refused(closed.create(&PostParams::default(), &map("foo", json!({}))).await, 500, "InternalError");
    let call = format!(
        "Internal error occurred: failed calling webhook \"fail-closed.k8s.io\": failed to call webhook: \
         Post \"https://e2e-test-webhook.{}.svc:8443/configmaps?timeout=10s\": ",
        scene.namespace
    );
    assert!(why.starts_with(&call), "{why}");
    assert!(closed.get_opt("foo").await.expect("an answer").is_none());
    hooks.create_map("foo", json!({})).await.expect("elsewhere");
}

/// A webhook that takes five seconds, with each timeout and failure policy.
pub async fn timeouts(scene: Scene) {
    let hooks = Hooks::start(&scene).await;
    let by = "allow-configmap-with-delay-webhook.k8s.io";
    let configurations = scene.all::<Configuration>();
    let maps = scene.api::<ConfigMap>();
    let create = async |policy: &str, timeout: Value| {
        let mut hook = hooks.hook(by, "/always-allow-delay-5s", rule("", "configmaps", &["CREATE"]));
        hook["failurePolicy"] = policy.into();
        hook["timeoutSeconds"] = timeout;
        let slow = configuration::<Configuration>(&scene.own("slow"), &[hook]);
        configurations.create(&PostParams::default(), &slow).await.expect("registered");
        let answer = hooks.create_map("map", json!({})).await;
        configurations.delete(&scene.own("slow"), &DeleteParams::default()).await.expect("deleted");
        answer
    };
    let why = refused(create("Fail", json!(1)).await, 500, "InternalError");
    assert!(why.ends_with("/always-allow-delay-5s?timeout=1s\": context deadline exceeded"), "{why}");
    assert!(maps.get_opt("map").await.expect("an answer").is_none());
    for (policy, timeout) in [("Ignore", json!(1)), ("Fail", json!(10)), ("Fail", Value::Null)] {
        let what = format!("{policy} after {timeout}");
        create(policy, timeout).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        maps.delete("map", &DeleteParams::default()).await.expect("deleted");
    }
}
