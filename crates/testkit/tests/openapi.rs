//! OpenAPI documents as clients fetch and keep them. What they say of custom kinds is told by `suite/openapi.rs`.

use http::header::{CACHE_CONTROL, ETAG, LOCATION};
use testkit::{Cluster, Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GROUP: &str = "apis/docs.example.com/v1";

fn definition(schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "pages.docs.example.com"},
        "spec": {"group": "docs.example.com", "scope": "Namespaced", "names": {"plural": "pages", "kind": "Page"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
    })
}

#[tokio::test]
async fn documents_are_known_by_their_hash() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let core = admin.get("/openapi/v3/api/v1").await;
    let schema = json!({"type": "object", "description": "A page."});
    admin.create(DEFINITIONS, &definition(schema)).await;

    let index = admin.get("/openapi/v3").await.expect(200);
    let url = index["paths"][GROUP]["serverRelativeURL"].as_str().unwrap().to_string();
    let answer = admin.get(&url).await;
    let document = answer.expect(200);
    assert_eq!(answer.headers[CACHE_CONTROL], "public, immutable");
    assert!(document["components"]["schemas"]["com.example.docs.v1.Page"].is_object());

    // What is known is not sent again; an old name leads to the new one; others are as they were.
    let etag = answer.headers[ETAG].to_str().unwrap().to_string();
    assert_eq!(url, format!("/openapi/v3/{GROUP}?hash={}", etag.trim_matches('"')));
    let again = admin.with("if-none-match", &etag).get(&format!("/openapi/v3/{GROUP}")).await;
    assert_eq!((again.code, again.body.len()), (304, 0));
    let moved = admin.get(&format!("/openapi/v3/{GROUP}?hash=OLD")).await;
    assert_eq!((moved.code, moved.headers[LOCATION].to_str().unwrap()), (301, url.as_str()));
    let other = admin.get("/openapi/v3/api/v1").await;
    assert_eq!(core.headers[ETAG], other.headers[ETAG]);

    let changed =
        json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "New."}]);
    admin.patch(&format!("{DEFINITIONS}/pages.docs.example.com"), "json", &changed).await.expect(200);
    let changed = admin.with("if-none-match", &etag).get(&format!("/openapi/v3/{GROUP}")).await.expect(200);
    assert_eq!(changed["components"]["schemas"]["com.example.docs.v1.Page"]["description"], "New.");

    admin.delete(&format!("{DEFINITIONS}/pages.docs.example.com"), &json!({})).await.expect(200);
    let patch = json!({"metadata": {"finalizers": null}});
    admin.patch(&format!("{DEFINITIONS}/pages.docs.example.com"), "merge", &patch).await;
    assert_eq!(admin.get(&format!("/openapi/v3/{GROUP}")).await.code, 404);
}

/// Every built-in type and field says what it is for, but for those that say nothing upstream either, and a large document
/// is the same with and without compression.
#[tokio::test]
async fn everything_built_in_is_described() {
    /// Upstream's server has no texts for them.
    const SILENT: [&str; 3] =
        ["v1.IngressRule.http", "v1.CertificateSigningRequest.metadata", "v1.ExternalDocumentation."];
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let index = admin.get("/openapi/v3").await.expect(200);
    let mut types = 0;
    for path in index["paths"].as_object().unwrap().keys() {
        let document = admin.get(&format!("/openapi/v3/{path}")).await.expect(200);
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            types += 1;
            assert!(schema["description"].is_string(), "{name}");
            for (field, property) in schema["properties"].as_object().into_iter().flatten() {
                let place = format!("{name}.{field}");
                let silent = name.ends_with("JSONSchemaProps") || SILENT.iter().any(|s| place.contains(s));
                assert!(silent || property["description"].is_string(), "{place}");
            }
        }
    }
    assert!(types > 800, "{types}");
    let plain = admin.get("/openapi/v3/api/v1").await;
    let packed = admin.with("accept-encoding", "gzip").get("/openapi/v3/api/v1").await;
    assert_eq!(
        (packed.headers["content-encoding"].to_str().unwrap(), packed.headers.get(ETAG)),
        ("gzip", plain.headers.get(ETAG))
    );
    assert!(packed.body.len() * 5 < plain.body.len(), "{} of {}", packed.body.len(), plain.body.len());
}
