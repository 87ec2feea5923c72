//! `[sig-api-machinery] ResourceQuota`.

use crate::support::{CONTROLLERS, DEFAULT, PODS, SERVICES, controller, pod, start};
use testkit::{Caller, Value, json};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

/// Creates a quota and waits until its status says what it limits.
async fn quota(admin: &Caller, name: &str, spec: Value) {
    admin.create(QUOTAS, &json!({"metadata": {"name": name}, "spec": spec})).await;
    let whole = |quota: &Value| quota["status"]["hard"] == spec["hard"] && quota["status"]["used"].is_object();
    admin.until(QUOTAS, name, |quota| quota.is_some_and(whole)).await;
}

/// Waits until the quota's usage holds these amounts.
async fn used(admin: &Caller, name: &str, want: Value) {
    let same = |quota: &Value| {
        want.as_object().expect("amounts").iter().all(|(resource, amount)| quota["status"]["used"][resource] == *amount)
    };
    admin.until(QUOTAS, name, |quota| quota.is_some_and(same)).await;
}

async fn exceeded(admin: &Caller, collection: &str, object: &Value, message: &str) {
    let said = admin.post(collection, object).await.refused(403, "Forbidden");
    assert!(said.contains(message), "{said}");
}

async fn delete(admin: &Caller, path: String) {
    admin.delete(&path, &json!({"gracePeriodSeconds": 0})).await.expect(200);
}

#[tokio::test]
async fn should_create_a_resource_quota_and_ensure_its_status_is_promptly_calculated() {
    let (cluster, admin) = start().await;
    quota(
        &admin,
        "q",
        json!({"hard": {"pods": "5", "services": "10", "resourcequotas": "1", "cpu": "1",
        "memory": "500Mi", "secrets": "10", "requests.storage": "10Gi", "count/replicasets.apps": "5",
        "gold.storageclass.storage.k8s.io/requests.storage": "10Gi"}}),
    )
    .await;
    used(
        &admin,
        "q",
        json!({"pods": "0", "services": "1", "resourcequotas": "1", "cpu": "0", "memory": "0",
        "secrets": "0", "requests.storage": "0", "count/replicasets.apps": "0",
        "gold.storageclass.storage.k8s.io/requests.storage": "0"}),
    )
    .await;
    exceeded(
        &admin,
        QUOTAS,
        &json!({"metadata": {"name": "second"}, "spec": {"hard": {"pods": "1"}}}),
        "resourcequotas \"second\" is forbidden: exceeded quota: q, requested: resourcequotas=1, used: resourcequotas=1, limited: resourcequotas=1",
    )
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn should_capture_the_life_of_a_service() {
    let (cluster, admin) = start().await;
    quota(&admin, "q", json!({"hard": {"services": "3", "services.nodeports": "1", "services.loadbalancers": "1"}}))
        .await;
    let service =
        |name: &str, kind: &str| json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    admin.create(SERVICES, &service("a", "ClusterIP")).await;
    admin.create(SERVICES, &service("b", "NodePort")).await;
    exceeded(&admin, SERVICES, &service("c", "LoadBalancer"), "exceeded quota: q").await;
    used(&admin, "q", json!({"services": "3", "services.nodeports": "1", "services.loadbalancers": "0"})).await;
    // A change of type costs what is new.
    let typed = json!({"spec": {"type": "NodePort"}});
    let said = admin.patch(&format!("{SERVICES}/a"), "merge", &typed).await.refused(403, "Forbidden");
    assert!(
        said.contains("requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1"),
        "{said}"
    );
    delete(&admin, format!("{SERVICES}/a")).await;
    delete(&admin, format!("{SERVICES}/b")).await;
    used(&admin, "q", json!({"services": "1", "services.nodeports": "0"})).await;
    cluster.stop().await;
}

#[tokio::test]
async fn should_capture_the_life_of_secrets_config_maps_controllers_and_sets() {
    let (cluster, admin) = start().await;
    quota(
        &admin,
        "q",
        json!({"hard": {"secrets": "1", "configmaps": "2", "replicationcontrollers": "1",
        "count/replicasets.apps": "1"}}),
    )
    .await;
    used(
        &admin,
        "q",
        json!({"secrets": "0", "configmaps": "1", "replicationcontrollers": "0", "count/replicasets.apps": "0"}),
    )
    .await;
    let (secrets, maps) = (format!("{DEFAULT}/secrets"), format!("{DEFAULT}/configmaps"));
    let mut set = controller("one", 0);
    set["spec"]["selector"] = json!({"matchLabels": {"app": "one"}});
    let named = |name: &str| json!({"metadata": {"name": name}});
    let of =
        [(secrets.as_str(), named("one")), (&maps, named("one")), (CONTROLLERS, controller("one", 0)), (SETS, set)];
    for (collection, object) in &of {
        admin.create(collection, object).await;
        let mut second = object.clone();
        second["metadata"]["name"] = json!("two");
        exceeded(&admin, collection, &second, "exceeded quota: q, requested: ").await;
    }
    let full = json!({"secrets": "1", "configmaps": "2", "replicationcontrollers": "1", "count/replicasets.apps": "1"});
    used(&admin, "q", full).await;
    for (collection, _) in &of {
        delete(&admin, format!("{collection}/one")).await;
    }
    used(
        &admin,
        "q",
        json!({"secrets": "0", "configmaps": "1", "replicationcontrollers": "0", "count/replicasets.apps": "0"}),
    )
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn should_capture_the_life_of_a_pod() {
    let (cluster, admin) = start().await;
    quota(
        &admin,
        "q",
        json!({"hard": {"pods": "5", "cpu": "1", "memory": "500Mi", "requests.ephemeral-storage": "50Gi",
        "requests.example.com/dongle": "3"}}),
    )
    .await;
    let asks = |cpu: &str, memory: &str, dongles: &str| {
        json!({"requests": {"cpu": cpu, "memory": memory, "ephemeral-storage": "30Gi", "example.com/dongle": dongles},
            "limits": {"example.com/dongle": dongles}})
    };
    admin.create(PODS, &pod("first", asks("500m", "252Mi", "2"))).await;
    let one = json!({"pods": "1", "cpu": "500m", "memory": "252Mi", "requests.ephemeral-storage": "30Gi",
        "requests.example.com/dongle": "2"});
    used(&admin, "q", one.clone()).await;
    exceeded(&admin, PODS, &pod("second", asks("600m", "100Mi", "1")),
        "exceeded quota: q, requested: cpu=600m,requests.ephemeral-storage=30Gi, used: cpu=500m,requests.ephemeral-storage=30Gi, limited: cpu=1,requests.ephemeral-storage=50Gi").await;
    exceeded(
        &admin,
        PODS,
        &pod(
            "third",
            json!({"requests": {"cpu": "1m", "memory": "1Mi", "example.com/dongle": "2"},
        "limits": {"example.com/dongle": "2"}}),
        ),
        "requested: requests.example.com/dongle=2",
    )
    .await;
    exceeded(&admin, PODS, &pod("silent", json!({})), "failed quota: q: must specify cpu for: c; memory for: c").await;
    let more = json!([{"op": "replace", "path": "/spec/containers/0/resources/requests/cpu", "value": "100m"}]);
    assert_eq!(admin.patch(&format!("{PODS}/first"), "json", &more).await.code, 422);
    used(&admin, "q", one).await;
    // A pod that has ended costs nothing.
    let ended = json!({"status": {"phase": "Succeeded"}});
    admin.patch(&format!("{PODS}/first/status"), "merge", &ended).await.expect(200);
    used(&admin, "q", json!({"pods": "0", "cpu": "0", "requests.example.com/dongle": "0"})).await;
    delete(&admin, format!("{PODS}/first")).await;
    cluster.stop().await;
}

#[tokio::test]
async fn should_verify_resource_quota_with_terminating_scopes() {
    let (cluster, admin) = start().await;
    let hard = json!({"pods": "1", "requests.cpu": "1", "limits.cpu": "1"});
    quota(&admin, "ending", json!({"hard": hard, "scopes": ["Terminating"]})).await;
    quota(&admin, "lasting", json!({"hard": hard, "scopes": ["NotTerminating"]})).await;
    let asks = json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1"}});
    let (one, none) =
        (json!({"pods": "1", "requests.cpu": "500m", "limits.cpu": "1"}), json!({"pods": "0", "requests.cpu": "0"}));
    admin.create(PODS, &pod("long", asks.clone())).await;
    used(&admin, "lasting", one.clone()).await;
    used(&admin, "ending", none.clone()).await;
    let mut short = pod("short", asks);
    short["spec"]["activeDeadlineSeconds"] = json!(3600);
    admin.create(PODS, &short).await;
    used(&admin, "ending", one.clone()).await;
    used(&admin, "lasting", one).await;
    delete(&admin, format!("{PODS}/long")).await;
    delete(&admin, format!("{PODS}/short")).await;
    used(&admin, "lasting", none.clone()).await;
    used(&admin, "ending", none).await;
    cluster.stop().await;
}

#[tokio::test]
async fn should_verify_resource_quota_with_best_effort_scope() {
    let (cluster, admin) = start().await;
    quota(&admin, "best", json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]})).await;
    quota(&admin, "rest", json!({"hard": {"pods": "1"}, "scopes": ["NotBestEffort"]})).await;
    admin.create(PODS, &pod("best", json!({}))).await;
    used(&admin, "best", json!({"pods": "1"})).await;
    used(&admin, "rest", json!({"pods": "0"})).await;
    exceeded(
        &admin,
        PODS,
        &pod("more", json!({})),
        "exceeded quota: best, requested: pods=1, used: pods=1, limited: pods=1",
    )
    .await;
    delete(&admin, format!("{PODS}/best")).await;
    used(&admin, "best", json!({"pods": "0"})).await;
    admin.create(PODS, &pod("rest", json!({"requests": {"cpu": "1m"}}))).await;
    used(&admin, "rest", json!({"pods": "1"})).await;
    used(&admin, "best", json!({"pods": "0"})).await;
    cluster.stop().await;
}

#[tokio::test]
async fn should_be_able_to_update_and_delete_resource_quota() {
    let (cluster, admin) = start().await;
    quota(&admin, "q", json!({"hard": {"cpu": "1", "memory": "500Mi"}})).await;
    let wider = json!({"spec": {"hard": {"cpu": "2", "memory": "1Gi"}}});
    admin.patch(&format!("{QUOTAS}/q"), "merge", &wider).await.expect(200);
    admin.until(QUOTAS, "q", |quota| quota.is_some_and(|q| q["status"]["hard"] == wider["spec"]["hard"])).await;
    delete(&admin, format!("{QUOTAS}/q")).await;
    admin.get(&format!("{QUOTAS}/q")).await.refused(404, "NotFound");
    admin.create(PODS, &pod("free", json!({}))).await;
    cluster.stop().await;
}

#[tokio::test]
async fn should_apply_changes_to_a_resourcequota_status() {
    let (cluster, admin) = start().await;
    quota(&admin, "q", json!({"hard": {"cpu": "500m", "memory": "500Mi"}})).await;
    let said = json!({"status": {"hard": {"cpu": "1", "memory": "1Gi"}}});
    let answer = admin.patch(&format!("{QUOTAS}/q/status"), "merge", &said).await.expect(200);
    assert_eq!(answer["status"]["hard"], said["status"]["hard"]);
    assert_eq!(answer["spec"]["hard"], json!({"cpu": "500m", "memory": "500Mi"}));
    // What the status says is the controller's to say.
    admin.until(QUOTAS, "q", |quota| quota.is_some_and(|q| q["status"]["hard"] == q["spec"]["hard"])).await;
    cluster.stop().await;
}

#[tokio::test]
async fn room_for_one_is_given_to_one() {
    let (cluster, admin) = start().await;
    quota(&admin, "q", json!({"hard": {"configmaps": "4"}})).await;
    let maps = format!("{DEFAULT}/configmaps");
    let tries = (0..12).map(|i| {
        let (admin, maps) = (&admin, &maps);
        async move { admin.post(maps, &json!({"metadata": {"name": format!("m{i}")}})).await.code }
    });
    let mut codes = futures::future::join_all(tries).await;
    codes.sort_unstable();
    assert_eq!(codes, [vec![201; 3], vec![403; 9]].concat());
    used(&admin, "q", json!({"configmaps": "4"})).await;
    // A dry run costs nothing, and is refused like any other; so is a write that fails for another reason.
    delete(&admin, format!("{maps}/kube-root-ca.crt")).await;
    used(&admin, "q", json!({"configmaps": "4"})).await;
    exceeded(&admin, &format!("{maps}?dryRun=All"), &json!({"metadata": {"name": "dry"}}), "exceeded quota: q").await;
    cluster.stop().await;
}
