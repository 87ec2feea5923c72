//! Specs of upstream's suite that are not conformance and that every default cluster passes, each under its name.

use testkit::{Cluster, Value, json};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// API Streaming: should NOT be requested by client-go's List method.
#[tokio::test]
async fn what_is_listed_equals_what_was_created() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut made = admin.create(SECRETS, &json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}})).await;
    let object = made.as_object_mut().expect("an object");
    assert_eq!((object.remove("apiVersion"), object.remove("kind")), (Some(json!("v1")), Some(json!("Secret"))));
    for query in ["?limit=500", "?pretty=true"] {
        let list = admin.get(&format!("{SECRETS}{query}")).await.expect(200);
        assert_eq!((&list["kind"], &list["items"]), (&json!("SecretList"), &json!([made])), "{query}");
    }
    // Objects of custom kinds keep theirs, and so does what stands alone.
    assert_eq!(admin.get(&format!("{SECRETS}/s")).await.expect(200)["kind"], "Secret");
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Cluster",
        "names": {"plural": "things", "kind": "Thing"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    admin.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    let things = "/apis/example.com/v1/things";
    admin.create(things, &json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}})).await;
    let item = &admin.get(things).await.expect(200)["items"][0];
    assert_eq!((&item["apiVersion"], &item["kind"]), (&json!("example.com/v1"), &json!("Thing")));
}

/// API Streaming: server supports sending resources in Table format.
#[tokio::test]
async fn the_end_of_the_initial_events_is_a_row() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(SECRETS, &json!({"metadata": {"name": "s"}})).await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    for include in ["Metadata", "None"] {
        let path = format!("{SECRETS}?{query}&includeObject={include}&timeoutSeconds=1");
        let answer = admin.with("accept", TABLE).get(&path).await;
        assert_eq!(answer.code, 200);
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        let frames: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a frame")).collect();
        assert_eq!((&frames[0]["type"], &frames[1]["type"]), (&json!("ADDED"), &json!("BOOKMARK")));
        let rows = frames[1]["object"]["rows"].as_array().expect("rows");
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(rows[0]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true", "{include}");
        assert_eq!(rows[0]["cells"].as_array().map(Vec::len), Some(4));
    }
}

/// Server request timeout.
#[tokio::test]
async fn should_return_http_status_code_400_if_the_user_specifies_an_invalid_timeout_in_the_request_url() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for path in ["/version", SECRETS] {
        let refused = admin.get(&format!("{path}?timeout=invalid")).await.refused(400, "BadRequest");
        assert_eq!(refused, "invalid timeout specified in the request URL - time: invalid duration \"invalid\"");
        assert_eq!(admin.get(&format!("{path}?timeout=0s")).await.code, 200);
        assert_eq!(admin.get(&format!("{path}?timeout=3m")).await.code, 200);
    }
}

/// health handlers; MetricsGrabber, the metrics of the API server's checks; Invariant Metrics.
#[tokio::test]
async fn should_contain_necessary_checks() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    for (path, own) in [("healthz", "etcd"), ("livez", "etcd"), ("readyz", "informer-sync")] {
        let said = text(&admin.get(&format!("/{path}?verbose=1")).await.body);
        for check in [
            own,
            "ping",
            "log",
            "poststarthook/start-apiserver-admission-initializer",
            "poststarthook/crd-informer-synced",
            "poststarthook/bootstrap-controller",
            "poststarthook/scheduling/bootstrap-system-priority-classes",
            "poststarthook/storage-readiness",
            "autoregister-completion",
        ] {
            assert!(said.lines().any(|line| line == format!("[+]{check} ok")), "{check} of {path} in {said}");
        }
    }
    let slis = text(&admin.get("/metrics/slis").await.body);
    assert!(slis.contains("kubernetes_healthcheck{name=\"ping\",type=\"readyz\"} 1"), "{slis}");
    assert_eq!(cluster.anonymous().get("/metrics/slis").await.code, 403);
    let metrics = text(&admin.get("/metrics").await.body);
    for name in ["mismatch", "panic"] {
        let line = format!("apiserver_validation_declarative_validation_{name}_total 0");
        assert!(metrics.lines().any(|l| l == line), "{line}");
    }
}

/// OpenAPIV3 should round trip OpenAPI V3 for all built-in group versions: Go's types know no empty list of parameters.
#[tokio::test]
async fn a_document_has_no_empty_parameters() {
    let cluster = Cluster::start().await;
    let document = cluster.admin().get("/openapi/v3/apis/coordination.k8s.io/v1").await.expect(200);
    let paths = document["paths"].as_object().expect("paths");
    for (path, item) in paths {
        for (verb, operation) in item.as_object().expect("a path").iter().filter(|(key, _)| *key != "parameters") {
            assert_ne!(operation["parameters"], json!([]), "{verb} {path}");
        }
    }
}
