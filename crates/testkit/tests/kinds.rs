//! What single kinds do beyond what the matrix asks of all: evictions and budgets, versions of one object, selectors that
//! the server makes, scales.

use testkit::{Answer, Caller, Cluster, Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn start() -> (Cluster, Caller) {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    (cluster, admin)
}

/// A pod that runs and is ready, without a node, so that it goes at once.
async fn ready_pod(admin: &Caller, name: &str, finalizers: Value) {
    let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}, "finalizers": finalizers},
        "spec": {"containers": [{"name": "c", "image": "registry.example.com/c:1"}]}});
    admin.create(PODS, &pod).await;
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    admin.patch(&format!("{PODS}/{name}/status"), "merge", &status).await.expect(200);
}

async fn budget(admin: &Caller, allowed: i64) {
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    admin.create(BUDGETS, &budget).await;
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    admin.patch(&format!("{BUDGETS}/b/status"), "merge", &status).await.expect(200);
}

async fn evict(admin: &Caller, name: &str, query: &str) -> Answer {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    admin.post(&format!("{PODS}/{name}/eviction{query}"), &body).await
}

#[tokio::test]
async fn a_budget_is_charged_for_an_eviction() {
    let (_cluster, admin) = start().await;
    budget(&admin, 1).await;
    ready_pod(&admin, "one", json!(["example.com/hold"])).await;
    ready_pod(&admin, "two", json!([])).await;

    let before = admin.get(&format!("{BUDGETS}/b")).await.expect(200);
    assert_eq!(evict(&admin, "one", "?dryRun=All").await.expect(201)["status"], "Success");
    assert_eq!(admin.get(&format!("{BUDGETS}/b")).await.expect(200), before, "a dry run charges nothing");

    assert_eq!(evict(&admin, "one", "").await.expect(201)["status"], "Success");
    let held = admin.get(&format!("{PODS}/one")).await.expect(200);
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    let conditions = held["status"]["conditions"].as_array().cloned().unwrap_or_default();
    assert!(
        conditions.iter().any(|c| c["type"] == "DisruptionTarget" && c["reason"] == "EvictionByEvictionAPI"),
        "{held}"
    );
    let charged = admin.get(&format!("{BUDGETS}/b")).await.expect(200);
    assert_eq!(charged["status"]["disruptionsAllowed"], 0);
    assert!(charged["status"]["disruptedPods"]["one"].is_string());

    let refused = evict(&admin, "two", "").await;
    assert_eq!(
        refused.refused(429, "TooManyRequests"),
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    assert_eq!(
        refused.json()["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget b does not allow evicting pods currently"}])
    );
    admin.get(&format!("{PODS}/two")).await.expect(200);
}

/// Whoever is later finds the budget spent.
#[tokio::test]
async fn one_disruption_is_given_once() {
    let (_cluster, admin) = start().await;
    budget(&admin, 3).await;
    let names: Vec<String> = (0..8).map(|n| format!("p-{n}")).collect();
    for name in &names {
        ready_pod(&admin, name, json!([])).await;
    }
    let answers = futures::future::join_all(names.iter().map(|name| evict(&admin, name, ""))).await;
    let gone = answers.iter().filter(|answer| answer.code == 201).count();
    let refused = answers.iter().filter(|answer| answer.code == 429).count();
    assert_eq!((gone, refused), (3, 5), "{:?}", answers.iter().map(Answer::text).collect::<Vec<_>>());
    let left = admin.get(PODS).await.expect(200)["items"].as_array().map_or(0, Vec::len);
    assert_eq!(left, 5);
}

#[tokio::test]
async fn an_autoscaler_is_one_object_in_two_versions() {
    let (_cluster, admin) = start().await;
    let path = |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let old = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 60, "scaleTargetRef": target}});
    let made = admin.create(&path("v1"), &old).await;
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 60);
    let new = admin.get(&format!("{}/h", path("v2"))).await.expect(200);
    assert_eq!(new["apiVersion"], "autoscaling/v2");
    assert_eq!(new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 60);
    let more = json!({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}, "metrics": [
        {"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "5"}}}]}});
    admin.patch(&format!("{}/h", path("v2")), "merge", &more).await.expect(200);
    // A client of the old version changes what it knows, and what it does not know stays.
    admin.patch(&format!("{}/h", path("v1")), "merge", &json!({"spec": {"maxReplicas": 7}})).await.expect(200);
    let after = admin.get(&format!("{}/h", path("v2"))).await.expect(200);
    assert_eq!(after["spec"]["maxReplicas"], 7);
    assert_eq!(after["spec"]["metrics"][0]["pods"]["metric"]["name"], "hits");
    assert_eq!(after["spec"]["behavior"]["scaleDown"]["selectPolicy"], "Disabled");
    assert_eq!(after["metadata"]["annotations"], Value::Null);
}

#[tokio::test]
async fn a_job_selects_its_own_pods() {
    let (_cluster, admin) = start().await;
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "registry.example.com/c:1"}]});
    let job = json!({"metadata": {"generateName": "j-"}, "spec": {"template": {"spec": pod}}});
    let made = admin.create("/apis/batch/v1/namespaces/default/jobs", &job).await;
    let labels = &made["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["batch.kubernetes.io/job-name"], made["metadata"]["name"]);
    assert_eq!(labels["batch.kubernetes.io/controller-uid"], made["metadata"]["uid"]);
    assert_eq!(made["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], made["metadata"]["uid"]);
}

#[tokio::test]
async fn scales_say_the_selector() {
    let (_cluster, admin) = start().await;
    let pod = json!({"containers": [{"name": "c", "image": "registry.example.com/c:1"}]});
    let template = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}, "spec": pod});
    let own = json!({"metadata": {"name": "w"}, "spec": {"replicas": 2, "template": template}});
    let controllers = "/api/v1/namespaces/default/replicationcontrollers";
    admin.create(controllers, &own).await;
    let scale = admin.get(&format!("{controllers}/w/scale")).await.expect(200);
    assert_eq!(scale["status"]["selector"], "app=web,tier=front");
    let mut set = own.clone();
    set["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    let sets = "/apis/apps/v1/namespaces/default/statefulsets";
    admin.create(sets, &set).await;
    let scale = admin.get(&format!("{sets}/w/scale")).await.expect(200);
    assert_eq!(scale["status"]["selector"], "app=web");
}
