//! Discovery, old and aggregated, the version, and what has no table.

use crate::scene::{Scene, scenarios};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;
use kube::Discovery;
use testkit::{Value, json};

scenarios! {
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface [Conformance]"
        => aggregated_by_a_client,
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers [Conformance]"
        => aggregated_documents,
    "[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup [Conformance]"
        => a_resource_of_each_version,
    "[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup [Conformance]"
        => preferred_versions,
    "[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does not implement metadata [Conformance]"
        => no_table_of_a_review,
    "[sig-api-machinery] server version should find the server version [Conformance]"
        => the_version,
}

/// Group, version and a resource of it.
const RESOURCES: [(&str, &str, &str); 19] = [
    ("", "v1", "namespaces"),
    ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "v1", "apiservices"),
    ("apps", "v1", "deployments"),
    ("authentication.k8s.io", "v1", "tokenreviews"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
    ("autoscaling", "v1", "horizontalpodautoscalers"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("batch", "v1", "jobs"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests"),
    ("coordination.k8s.io", "v1", "leases"),
    ("discovery.k8s.io", "v1", "endpointslices"),
    ("events.k8s.io", "v1", "events"),
    ("networking.k8s.io", "v1", "ingresses"),
    ("node.k8s.io", "v1", "runtimeclasses"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("storage.k8s.io", "v1", "csinodes"),
];

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What kube-rs makes of the aggregated documents.
pub async fn run_aggregated(scene: &Scene) -> Discovery {
    Discovery::new(scene.client()).run_aggregated().await.expect("discovery")
}

/// Whether a client's discovery knows a resource.
pub fn knows(discovery: &Discovery, group: &str, version: &str, resource: &str) -> bool {
    let Some(group) = discovery.get(group) else { return false };
    group.versions().any(|v| v == version)
        && group.versioned_resources(version).iter().any(|(kind, _)| kind.plural == resource)
}

/// The aggregated document of `/api` or `/apis`.
pub async fn aggregated(scene: &Scene, path: &str) -> Value {
    let answer = scene.admin.with("accept", AGGREGATED).get(path).await;
    let document = answer.expect(200);
    assert_eq!(answer.content_type(), AGGREGATED);
    assert_eq!(
        (&document["kind"], &document["apiVersion"]),
        (&json!("APIGroupDiscoveryList"), &json!("apidiscovery.k8s.io/v2"))
    );
    document
}

/// The entry of a resource in such a document; null where there is none.
pub fn entry(document: &Value, group: &str, version: &str, resource: &str) -> Value {
    let find = |list: &Value, key: &str, want: &str| -> Value {
        let is = |item: &&Value| item.pointer(key).and_then(Value::as_str).unwrap_or("") == want;
        list.as_array().into_iter().flatten().find(is).cloned().unwrap_or_default()
    };
    let group = find(&document["items"], "/metadata/name", group);
    find(&find(&group["versions"], "/version", version)["resources"], "/resource", resource)
}

async fn aggregated_by_a_client(scene: Scene) {
    let discovery = run_aggregated(&scene).await;
    for (group, version, resource) in RESOURCES {
        assert!(knows(&discovery, group, version, resource), "{group}/{version} {resource}");
    }
}

async fn aggregated_documents(scene: Scene) {
    let (core, groups) = (aggregated(&scene, "/api").await, aggregated(&scene, "/apis").await);
    for (group, version, resource) in RESOURCES {
        let found = entry(if group.is_empty() { &core } else { &groups }, group, version, resource);
        assert!(found["responseKind"]["kind"].is_string(), "{group}/{version} {resource}: {found}");
        assert!(found["verbs"].as_array().is_some_and(|verbs| !verbs.is_empty()), "{found}");
    }
}

async fn a_resource_of_each_version(scene: Scene) {
    let client = scene.client();
    for (group, version, resource) in RESOURCES {
        let (name, list) = match group {
            "" => (version.to_string(), client.list_core_api_resources(version).await),
            _ => {
                let name = format!("{group}/{version}");
                let list = client.list_api_group_resources(&name).await;
                (name, list)
            }
        };
        let list = list.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(list.group_version, name);
        assert!(list.resources.iter().any(|r| r.name == resource), "{name} {resource}");
    }
}

async fn preferred_versions(scene: Scene) {
    let groups = scene.client().list_api_groups().await.expect("groups").groups;
    // Other scenarios' groups come and go.
    let lasting: Vec<&APIGroup> = groups.iter().filter(|group| !group.name.ends_with(".example.com")).collect();
    assert!(lasting.len() > 15, "{groups:?}");
    for group in lasting {
        let alone = scene.admin.get(&format!("/apis/{}/", group.name)).await.expect(200);
        let alone: APIGroup = serde_json::from_value(alone).expect("a group");
        assert_eq!((&alone.name, &alone.versions), (&group.name, &group.versions));
        let preferred = alone.preferred_version.expect("a preferred version");
        assert!(alone.versions.contains(&preferred), "{preferred:?} of {:?}", alone.versions);
    }
}

async fn no_table_of_a_review(scene: Scene) {
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let tables = scene.admin.with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    tables.post(reviews, &review).await.refused(406, "NotAcceptable");
    let answer = scene.admin.create(reviews, &review).await;
    assert_eq!(answer["status"]["allowed"], true);
}

async fn the_version(scene: Scene) {
    let version = scene.client().apiserver_version().await.expect("a version");
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "36"));
    assert!(version.git_version.starts_with("v1.36."), "{}", version.git_version);
}
