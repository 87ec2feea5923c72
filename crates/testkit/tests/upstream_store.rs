//! A store that an API server of upstream's has filled: built-in kinds as protobuf in its envelope, definitions and custom
//! objects as JSON with its order of members and a line's end, nothing sealed, no claims.

use pki::ClusterPki;
use std::sync::Arc;
use store::{Memory, Store, Txn};
use testkit::{Cluster, Setup, Value, json};
use wire::protobuf;

const UID: &str = "2b1c5a7e-7d2f-4c0c-9d3a-1f7f8a3b9c01";

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": "default", "uid": UID, "creationTimestamp": "2026-01-02T03:04:05Z"})
}

fn tree(value: &Value) -> value::Value {
    value::parse_lenient(value.to_string().as_bytes()).expect("JSON")
}

/// What upstream keeps at some of its keys.
fn stored() -> Vec<(&'static str, Vec<u8>)> {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("map"), "data": {"a": "1"}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("secret"), "type": "Opaque",
                        "data": {"password": "aHVudGVyMg=="}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("web"), "spec": {
        "type": "NodePort", "clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"], "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "externalTrafficPolicy": "Cluster", "selector": {"app": "web"},
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30777}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"), "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let definition = json!({
        "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1beta1",
        "metadata": {"name": "boats.example.com", "uid": UID, "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
                 "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
                 "version": "v1", "preserveUnknownFields": false,
                 "validation": {"openAPIV3Schema": {
                     "type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                 "versions": [{"name": "v1", "served": true, "storage": true}]},
        "status": {"storedVersions": ["v1"],
                   "acceptedNames": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
                   "conditions": [{"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "",
                                   "lastTransitionTime": "2026-01-02T03:04:05Z"},
                                  {"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
                                   "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"}]}});
    // A member that comes before `metadata`, and has one of its own.
    let boat = format!(
        "{{\"apiVersion\":\"example.com/v1\",\"cargo\":{{\"metadata\":{{\"name\":\"no\"}}}},\"kind\":\"Boat\",\"metadata\":{}}}\n",
        meta("ferry")
    );
    let proto = |value: &Value| protobuf::encode(&tree(value)).to_vec();
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "policy", "uid": UID, "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never",
                 "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""],
                                                         "apiVersions": ["v1"], "resources": ["pods"]}]},
                 "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]}});
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta("budget"),
                        "spec": {"minAvailable": 1, "selector": {}}});
    let budget = protobuf::encode(&tree(&budget));
    // The table of messages does not know the old version.
    let budget =
        protobuf::envelope("policy/v1beta1", "PodDisruptionBudget", protobuf::open(&budget).expect("ours").raw);
    vec![
        ("/registry/configmaps/default/map", proto(&map)),
        ("/registry/secrets/default/secret", proto(&secret)),
        ("/registry/services/specs/default/web", proto(&service)),
        ("/registry/deployments/default/web", proto(&deployment)),
        (
            "/registry/apiextensions.k8s.io/customresourcedefinitions/boats.example.com",
            format!("{definition}\n").into(),
        ),
        ("/registry/example.com/boats/default/ferry", boat.into()),
        ("/registry/mutatingadmissionpolicies/policy", proto(&policy)),
        ("/registry/poddisruptionbudgets/default/budget", budget.to_vec()),
        ("/registry/configmaps/odd/map", b"k8s\0odd".to_vec()),
        ("/registry/configmaps/sealed/map", b"k8s:enc:aescbc:v1:key1:gibberish".to_vec()),
    ]
}

async fn filled() -> Arc<dyn Store> {
    let store = Memory::new();
    for (key, value) in stored() {
        store.commit(Txn::create(key, value)).await.expect("absent");
    }
    store
}

async fn open(store: &Arc<dyn Store>, pki: &ClusterPki) -> Cluster {
    Cluster::open(Setup { store: Some((store.clone(), pki.clone())), ..Setup::default() }).await
}

async fn text(store: &Arc<dyn Store>, key: &str) -> Vec<u8> {
    store.get(key).await.expect("readable").expect("there").1.to_vec()
}

#[tokio::test]
async fn what_upstream_stored_is_read_and_written_as_ours_when_it_changes() {
    let (store, pki) = (filled().await, ClusterPki::ephemeral().expect("keys"));
    let cluster = open(&store, &pki).await;
    let admin = cluster.admin();
    let core = "/api/v1/namespaces/default";
    let map = admin.get(&format!("{core}/configmaps/map")).await.expect(200);
    assert_eq!((&map["data"]["a"], &map["metadata"]["uid"]), (&"1".into(), &UID.into()), "{map}");
    let secret = admin.get(&format!("{core}/secrets/secret")).await.expect(200);
    assert_eq!(secret["data"]["password"], "aHVudGVyMg==");
    let deployment = admin.get("/apis/apps/v1/namespaces/default/deployments/web").await.expect(200);
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["name"], "c");
    assert_eq!(deployment["spec"]["replicas"], 0);
    let boat = admin.get("/apis/example.com/v1/namespaces/default/boats/ferry").await.expect(200);
    assert_eq!((&boat["metadata"]["name"], &boat["cargo"]["metadata"]["name"]), (&"ferry".into(), &"no".into()));
    assert!(boat["metadata"]["resourceVersion"].is_string() && boat["cargo"]["metadata"]["resourceVersion"].is_null());
    // Versions that are not served here, and what they meant.
    let policy = admin.get("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/policy").await.expect(200);
    assert_eq!(
        (&policy["apiVersion"], &policy["spec"]["mutations"][0]["jsonPatch"]["expression"]),
        (&"admissionregistration.k8s.io/v1".into(), &"[]".into()),
        "{policy}"
    );
    let budget = admin.get("/apis/policy/v1/namespaces/default/poddisruptionbudgets/budget").await.expect(200);
    assert_eq!((&budget["apiVersion"], &budget["spec"]["minAvailable"]), (&"policy/v1".into(), &1.into()), "{budget}");
    assert_eq!(budget["spec"]["selector"]["matchExpressions"][0]["operator"], "Exists", "{budget}");
    // What cannot be opened, or read, says so, and nothing else is touched by it.
    for namespace in ["sealed", "odd"] {
        let closed = admin.get(&format!("/api/v1/namespaces/{namespace}/configmaps/map")).await;
        assert_ne!(closed.code, 200, "{}", closed.text());
    }
    // Nothing is written before it changes; then as ours, and Secrets sealed.
    for (key, path, at) in [
        (
            "/registry/configmaps/default/map",
            format!("{core}/configmaps/map"),
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\"",
        ),
        ("/registry/secrets/default/secret", format!("{core}/secrets/secret"), "k8s:enc:"),
        (
            "/registry/deployments/default/web",
            "/apis/apps/v1/namespaces/default/deployments/web".into(),
            "{\"apiVersion\":\"apps/v1\"",
        ),
    ] {
        assert!(protobuf::is_envelope(&text(&store, key).await));
        let mut object = admin.get(&path).await.expect(200);
        object["metadata"]["labels"] = json!({"changed": "yes"});
        admin.put(&path, &object).await.expect(200);
        let now = text(&store, key).await;
        assert!(now.starts_with(at.as_bytes()), "{key}: {}", String::from_utf8_lossy(&now));
        assert_eq!(admin.get(&path).await.expect(200)["metadata"]["labels"]["changed"], "yes");
    }
}

#[tokio::test]
async fn what_upstreams_services_hold_is_not_given_away() {
    let (store, pki) = (filled().await, ClusterPki::ephemeral().expect("keys"));
    for round in ["first", "second"] {
        let cluster = open(&store, &pki).await;
        let admin = cluster.admin();
        let services = "/api/v1/namespaces/default/services";
        let service = |spec: Value| json!({"metadata": {"name": round}, "spec": spec});
        let address = service(json!({"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}));
        let refused = admin.post(services, &address).await;
        assert!(refused.refused(422, "Invalid").contains("already allocated"), "{}", refused.text());
        let port = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30777}]}));
        let refused = admin.post(services, &port).await;
        assert!(refused.refused(422, "Invalid").contains("already allocated"), "{}", refused.text());
    }
    // With its Service it is free again.
    let cluster = open(&store, &pki).await;
    let admin = cluster.admin();
    let services = "/api/v1/namespaces/default/services";
    admin.delete(&format!("{services}/web"), &Value::Null).await.expect(200);
    let address = json!({"metadata": {"name": "next"}, "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}});
    admin.create(services, &address).await;
}
