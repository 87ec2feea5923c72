//! Aggregation: another API server has a group.

mod sample;

use crate::{
    extension::Served,
    operations::{has, version_of},
    scene::{Scene, Watching, object, refused, scenarios, until, update},
};
use k8s_openapi::{
    api::{
        authentication::v1::TokenRequest,
        core::v1::ServiceAccount,
        rbac::v1::{ClusterRoleBinding, RoleBinding},
    },
    kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceCondition},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchParams},
    discovery::{Discovery, verbs},
};
use sample::{GROUP, Sample, VERSION};
use std::sync::Arc;
use testkit::{Value, json};

scenarios! {
    "[sig-api-machinery] Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator [LinuxOnly] [Conformance]"
        => sample_server,
}

const NAME: &str = "v1alpha1.wardle.example.com";

async fn sample_server(scene: Scene) {
    let _served = start(&scene).await;
    let services = scene.all::<APIService>();
    let registered = until(&services, NAME, |service| {
        condition(service, "Available").is_some_and(|condition| condition.status == "True")
    });
    let registered = registered.await.expect("it is there");
    flunders_by_requests(&scene).await;
    let flunders = flunders_by_discovery(&scene).await;
    let version = flunders.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
    let mut watch = Watching::open(&flunders, &WatchParams::default(), &version.expect("a version")).await;
    let made = create(&scene, &flunders).await;
    assert_eq!(watch.expect("ADDED").await.name_any(), made.name_any());
    // The server asks this one who may do what.
    let jane = scene.cluster.user("jane", &[]);
    let path = flunders_path(&scene);
    jane.get(&path).await.refused(403, "Forbidden");

    statuses(&scene, &registered).await;
    flunders.delete(&made.name_any(), &DeleteParams::default()).await.expect("deleted");
    assert_eq!(watch.expect("DELETED").await.name_any(), made.name_any());
    assert!(flunders.list(&ListParams::default()).await.expect("a list").items.is_empty());
    every_verb(&scene, &flunders).await;
    removed(&scene, &services).await;
}

/// The server behind its Service, with what it may do, and its registration.
async fn start(scene: &Scene) -> Served {
    let server = Arc::new(Sample::new(delegate(scene).await, scene.cluster.pki.front_proxy.cert_pem()).await);
    let answer = move |call| {
        let server = server.clone();
        async move { server.answer(call).await }
    };
    let served = Served::start(scene, "sample-api", 7443, answer).await;
    let service = json!({"metadata": {"name": NAME}, "spec": {"group": GROUP, "version": VERSION,
        "groupPriorityMinimum": 2000, "versionPriority": 200, "service": served.service, "caBundle": served.bundle()}});
    scene.all::<APIService>().create(&PostParams::default(), &object(service)).await.expect("registered");
    served
}

/// A service account that may read how users are passed on, and ask what they may do.
async fn delegate(scene: &Scene) -> Client {
    let accounts = scene.api::<ServiceAccount>();
    let account = object(json!({"metadata": {"name": "sample-apiserver"}}));
    accounts.create(&PostParams::default(), &account).await.expect("an account");
    let subjects = json!([{"kind": "ServiceAccount", "name": "sample-apiserver", "namespace": scene.namespace}]);
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let binding =
        |name: &str, role: Value| json!({"metadata": {"name": scene.own(name)}, "roleRef": role, "subjects": subjects});
    let readers: Api<RoleBinding> = Api::namespaced(scene.client(), "kube-system");
    let reader = binding("wardler-auth-reader", role("Role", "extension-apiserver-authentication-reader"));
    readers.create(&PostParams::default(), &object(reader)).await.expect("a binding");
    let delegator = binding("wardler-auth-delegator", role("ClusterRole", "system:auth-delegator"));
    let delegators = scene.all::<ClusterRoleBinding>();
    delegators.create(&PostParams::default(), &object(delegator)).await.expect("a binding");
    let request = TokenRequest::default();
    let token = accounts.create_token_request("sample-apiserver", &PostParams::default(), &request).await;
    let token = token.expect("a token").status.and_then(|status| status.token).expect("a token");
    scene.cluster.token(&token).kube()
}

fn flunders_path(scene: &Scene) -> String {
    scene.path(&format!("apis/{GROUP}/{VERSION}"), "flunders")
}

fn flunder(name: &str) -> Value {
    json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Flunder",
        "metadata": {"name": name, "labels": {"sample-label": "true"}}, "spec": {}})
}

async fn flunders_by_requests(scene: &Scene) {
    let (admin, path) = (&scene.admin, flunders_path(scene));
    assert!(admin.names(&path).await.is_empty());
    has(&admin.create(&path, &flunder("rest-flunder")).await, &flunder("rest-flunder"));
    assert_eq!(admin.names(&path).await, ["rest-flunder"]);
    admin.delete(&format!("{path}/rest-flunder"), &Value::Null).await.expect(200);
    assert!(admin.names(&path).await.is_empty());
}

/// Found by either form of discovery, with all verbs.
async fn flunders_by_discovery(scene: &Scene) -> Api<DynamicObject> {
    let find = |found: &Discovery| -> ApiResource {
        let group = found.get(GROUP).expect("the group");
        assert_eq!(group.preferred_version(), Some(VERSION));
        let (resource, can) = group.recommended_kind("Flunder").expect("the kind");
        for verb in [verbs::CREATE, verbs::DELETE, verbs::GET, verbs::LIST, verbs::PATCH, verbs::UPDATE, verbs::WATCH] {
            assert!(can.supports_operation(verb), "{verb}");
        }
        resource
    };
    let discovery = || Discovery::new(scene.client()).filter(&[GROUP]);
    let resource = find(&discovery().run().await.expect("documents"));
    assert_eq!(find(&discovery().run_aggregated().await.expect("documents")), resource);
    Api::namespaced_with(scene.client(), &scene.namespace, &resource)
}

async fn create(scene: &Scene, flunders: &Api<DynamicObject>) -> DynamicObject {
    let made = flunders.create(&PostParams::default(), &object(flunder("dynamic-flunder"))).await.expect("created");
    assert_eq!(made.namespace(), Some(scene.namespace.clone()));
    let list = flunders.list(&ListParams::default()).await.expect("a list");
    assert_eq!(list.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["dynamic-flunder"]);
    made
}

/// Those that upstream's spec leaves to others.
async fn every_verb(scene: &Scene, flunders: &Api<DynamicObject>) {
    let made = create(scene, flunders).await;
    let name = made.name_any();
    refused(flunders.create(&PostParams::default(), &object(flunder(&name))).await, 409, "AlreadyExists");
    let patch = Patch::Merge(json!({"spec": {"reference": "a"}}));
    flunders.patch(&name, &PatchParams::default(), &patch).await.expect("patched");
    refused(flunders.replace(&name, &PostParams::default(), &made).await, 409, "Conflict");
    update(flunders, &name, |flunder| flunder.data["spec"]["reference"] = json!("b")).await;
    assert_eq!(flunders.get(&name).await.expect("a flunder").data["spec"], json!({"reference": "b"}));
    flunders.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
    refused(flunders.get(&name).await, 404, "NotFound");
    create(scene, flunders).await;
}

fn condition<'a>(service: Option<&'a APIService>, kind: &str) -> Option<&'a APIServiceCondition> {
    service?.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn own(kind: &str) -> APIServiceCondition {
    object(json!({"type": kind, "status": "True", "reason": "E2E", "message": "Set from e2e test"}))
}

/// What a client makes of the registration and of its status.
async fn statuses(scene: &Scene, registered: &APIService) {
    let services = scene.all::<APIService>();
    let status = services.get_status(NAME).await.expect("a status");
    let first = &status.status.as_ref().and_then(|status| status.conditions.as_ref()).expect("conditions")[0];
    assert_eq!((first.type_.as_str(), first.message.as_deref()), ("Available", Some("all checks passed")));
    let merge = |patch: Value| Patch::Merge(patch);
    let patched =
        services.patch(NAME, &PatchParams::default(), &merge(json!({"spec": {"versionPriority": 400}}))).await;
    let patched = patched.expect("patched");
    assert_eq!(patched.spec.as_ref().map(|spec| spec.version_priority), Some(400));
    assert!(version_of(&patched) > version_of(&status) && version_of(&status) >= version_of(registered));
    let list = services.list(&ListParams::default()).await.expect("a list");
    assert!(list.iter().any(|service| service.name_any() == NAME));
    let labels = Patch::Strategic(json!({"metadata": {"labels": {"e2e-apiservice": "patched"}}}));
    services.patch(NAME, &PatchParams::default(), &labels).await.expect("labelled");
    assert_eq!(services.get(NAME).await.expect("it").labels()["e2e-apiservice"], "patched");

    loop {
        let mut seen = services.get_status(NAME).await.expect("a status");
        let conditions = &mut seen.status.get_or_insert_default().conditions;
        conditions.get_or_insert_default().push(own("StatusUpdated"));
        match services.replace_status(NAME, &PostParams::default(), &seen).await {
            Err(kube::Error::Api(status)) if status.reason == "Conflict" => {}
            answer => break drop(answer.expect("updated")),
        }
    }
    let seen = services.get_status(NAME).await.expect("a status");
    assert_eq!(condition(Some(&seen), "StatusUpdated"), Some(&own("StatusUpdated")));
    let mut conditions = seen.status.and_then(|status| status.conditions).unwrap_or_default();
    conditions.push(own("StatusPatched"));
    let patch = merge(json!({"status": {"conditions": conditions}}));
    services.patch_status(NAME, &PatchParams::default(), &patch).await.expect("patched");
    let seen = services.get_status(NAME).await.expect("a status");
    assert_eq!(condition(Some(&seen), "StatusPatched"), Some(&own("StatusPatched")));
    assert_eq!(condition(Some(&seen), "Available").map(|condition| condition.status.as_str()), Some("True"));

    let updated = update(&services, NAME, |service| {
        *service.labels_mut() = [(NAME.to_string(), "updated".to_string())].into();
    });
    assert_eq!(json!(updated.await.labels()), json!({NAME: "updated"}));
}

/// By a selection, as a collection; nothing is left of the group.
async fn removed(scene: &Scene, services: &Api<APIService>) {
    let selected = ListParams::default().labels(&format!("{NAME}=updated"));
    services.delete_collection(&DeleteParams::default(), &selected).await.expect("deleted");
    until(services, NAME, |service| service.is_none()).await;
    assert!(services.list(&selected).await.expect("a list").items.is_empty());
    scene.admin.get(&flunders_path(scene)).await.refused(404, "NotFound");
    let groups = scene.admin.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().expect("groups").iter().all(|group| group["name"] != GROUP));
}
