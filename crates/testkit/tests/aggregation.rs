//! Aggregation beyond upstream's spec, which stands in `suite/aggregation`: what an extension server sees of a request,
//! and what documents and conditions tell of it. It believes a name only from whoever shows the front proxy's certificate.

mod namespace;

use apiserver::{Keys, ProxyClient};
use auth::RequestHeaders;
use http::{Response, header};
use namespace::{POD_ADDRESS, beside_a_pod};
use net::Body;
use pki::ClusterPki;
use std::time::Duration;
use testkit::{
    Caller, Cluster, Extension, Setup, Value,
    extension::{Call, reply},
    json,
};

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

/// Serves `wardle.example.com/v1alpha1`: what it has been asked, and by whom.
async fn answer(call: Call) -> Response<Body> {
    if !matches!(call.client.as_deref(), Some("front-proxy-client" | "operators-proxy")) {
        return reply(401, &json!({"why": "no front proxy"}));
    }
    let claimed = ["x-user", "x-uid", "x-group", "x-more-a"].map(|name| call.header(name)).concat();
    match call.uri.path() {
        "/apis/wardle.example.com/v1alpha1" => reply(
            200,
            &json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1alpha1",
                "resources": [{"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                    "verbs": ["create", "get", "list"]}],
            }),
        ),
        "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders/elsewhere" => {
            let response = Response::builder().status(302).header(header::LOCATION, "https://example.com/");
            response.body(Body::Empty).expect("a response")
        }
        "/openapi/v2" => {
            let known = call.header("if-none-match") == ["\"one\""];
            let mut response = if known { reply(304, &Value::Null) } else { reply(200, &described()) };
            response.headers_mut().insert(header::ETAG, "\"one\"".parse().expect("a header"));
            response
        }
        _ => reply(
            200,
            &json!({
                "method": call.method.as_str(), "uri": call.uri.to_string(),
                "user": call.header("x-remote-user"), "groups": call.header("x-remote-group"),
                "claimed": claimed, "proxy": call.client,
                "authorization": call.header("authorization"), "impersonate": call.header("impersonate-user"),
            }),
        ),
    }
}

/// What the server says of itself: more than is passed on to it, and a name that means something else here.
fn described() -> Value {
    let own = json!({"get": {"responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/wardle.Flunder"}}}}});
    let taken = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    json!({
        "swagger": "2.0", "info": {"title": "Wardle", "version": "v0"},
        "paths": {FLUNDERS: own, "/apis/wardle.example.com/v1beta1/more": own, "/healthz": own},
        "definitions": {
            "wardle.Flunder": {"type": "object", "properties": {
                "metadata": {"$ref": format!("#/definitions/{taken}")}}},
            taken: {"type": "object", "description": "not the usual one"},
        },
    })
}

/// The usual headers, and others that the operator has chosen.
fn more_names() -> RequestHeaders {
    let mut headers = RequestHeaders::usual(String::new());
    headers.usernames.push("X-User".into());
    headers.uids.push("X-Uid".into());
    headers.groups.push("X-Group".into());
    headers.extra_prefixes.push("X-More-".into());
    headers
}

async fn slice(admin: &Caller, port: u16) {
    let slice = json!({
        "metadata": {"name": "wardle", "labels": {"kubernetes.io/service-name": "wardle"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": [POD_ADDRESS], "conditions": {"ready": true}}],
        "ports": [{"name": "tls", "port": port, "protocol": "TCP"}],
    });
    admin.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
}

/// Waits until the condition `Available` has this reason, and gives its message.
async fn reason(admin: &Caller, reason: &str) -> String {
    let condition = |object: &Value| object["status"]["conditions"][0].clone();
    let holds = |object: Option<&Value>| object.is_some_and(|o| condition(o)["reason"] == reason);
    let object = admin.until(API_SERVICES, "v1alpha1.wardle.example.com", holds).await.expect("an object");
    condition(&object)["message"].as_str().unwrap_or_default().to_string()
}

#[test]
fn another_server_has_its_group() {
    beside_a_pod(|| async {
        let cluster = Cluster::open(Setup { request_headers: Some(more_names()), ..Setup::default() }).await;
        let admin = cluster.admin();
        let running = Extension::start(POD_ADDRESS, "wardle.default.svc", &cluster.pki.front_proxy, answer).await;
        admin.get(FLUNDERS).await.refused(404, "NotFound");

        let object = json!({
            "metadata": {"name": "v1alpha1.wardle.example.com"},
            "spec": {
                "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
                "service": {"namespace": "default", "name": "wardle", "port": 7443},
                "caBundle": running.bundle,
            },
        });
        admin.create(API_SERVICES, &object).await;
        assert_eq!(reason(&admin, "ServiceNotFound").await, "service/wardle in \"default\" is not present");
        let unavailable = admin.get(FLUNDERS).await;
        assert_eq!((unavailable.code, unavailable.text()), (503, "service unavailable\n".into()));
        let ports = json!([{"name": "tls", "port": 7443}]);
        let service = json!({"metadata": {"name": "wardle"}, "spec": {"ports": ports}});
        admin.create("/api/v1/namespaces/default/services", &service).await;
        reason(&admin, "EndpointsNotFound").await;
        slice(&admin, running.address.port()).await;
        assert_eq!(reason(&admin, "Passed").await, "all checks passed");

        // The caller's name arrives, and nothing by which it could be somebody else.
        let liar = admin.with("X-Remote-User", "root").with("X-User", "root").with("X-Uid", "0");
        let liar = liar.with("X-Group", "system:masters").with("X-More-A", "b");
        let seen = liar.get(&format!("{FLUNDERS}/f?x=1")).await.expect(200);
        assert_eq!(seen["claimed"], json!([]), "names that the server tells others to believe");
        assert_eq!((&seen["uri"], &seen["user"]), (&format!("{FLUNDERS}/f?x=1").into(), &json!(["admin"])));
        assert_eq!(seen["groups"], json!(["system:masters", "system:authenticated"]));
        assert_eq!(seen["authorization"], json!([]));
        let seen = admin.with("Impersonate-User", "jane").post(FLUNDERS, &json!({})).await;
        seen.refused(403, "Forbidden");
        let seen = admin.post(FLUNDERS, &json!({"kind": "Flunder"})).await.expect(200);
        assert_eq!(seen["method"], "POST");
        cluster.user("jane", &[]).get(FLUNDERS).await.refused(403, "Forbidden");
        assert_eq!(admin.get(&format!("{FLUNDERS}/elsewhere")).await.code, 502);

        told_by_discovery(&admin).await;
        told_by_openapi(&admin).await;

        // A server that goes is said to be gone; what others say of it stays behind that.
        drop(running);
        let changed = json!({"metadata": {"annotations": {"a": "b"}}});
        let name = format!("{API_SERVICES}/v1alpha1.wardle.example.com");
        let other =
            json!([{"op": "add", "path": "/status/conditions/-", "value": {"type": "Other", "status": "True"}}]);
        admin.patch(&format!("{name}/status"), "json", &other).await.expect(200);
        admin.patch(&name, "merge", &changed).await.expect(200);
        let why = reason(&admin, "FailedDiscoveryCheck").await;
        assert!(
            why.starts_with(
                "failing or missing response from https://wardle.default.svc:7443/apis/wardle.example.com/v1alpha1: "
            ),
            "{why}"
        );
        assert_eq!(admin.get(&name).await.expect(200)["status"]["conditions"][1]["type"], "Other");
        let list = admin.get("/apis").await.expect(200);
        assert!(list["groups"].as_array().expect("groups").iter().all(|g| g["name"] != "wardle.example.com"));
        admin.delete(&name, &Value::Null).await.expect(200);
        admin.until(API_SERVICES, "v1alpha1.wardle.example.com", |object| object.is_none()).await;
        swagger(&admin, |document| document["paths"].get(FLUNDERS).is_none()).await;
        cluster.stop().await;
    });
}

#[test]
fn it_shows_the_certificate_that_the_operator_has_chosen() {
    beside_a_pod(|| async {
        let pki = ClusterPki::ephemeral().expect("keys");
        let dir = std::env::temp_dir().join(format!("ferry-proxy-client-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let own = pki.front_proxy.client("operators-proxy", None).expect("a certificate");
        own.save(&dir, "own").expect("files");
        let proxy_client = Some(ProxyClient { certificate: dir.join("own.crt"), key: dir.join("own.key") });
        let keys = Keys { proxy_client, ..Keys::default() };
        let store = Some((store::Memory::new() as std::sync::Arc<dyn store::Store>, pki.clone()));
        let cluster = Cluster::open(Setup { keys, store, ..Setup::default() }).await;
        let admin = cluster.admin();
        let running = Extension::start(POD_ADDRESS, "wardle.default.svc", &pki.front_proxy, answer).await;
        let service = json!({"metadata": {"name": "wardle"}, "spec": {"ports": [{"name": "tls", "port": 7443}]}});
        admin.create("/api/v1/namespaces/default/services", &service).await;
        slice(&admin, running.address.port()).await;
        let object = json!({
            "metadata": {"name": "v1alpha1.wardle.example.com"},
            "spec": {
                "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
                "service": {"namespace": "default", "name": "wardle", "port": 7443},
                "caBundle": running.bundle,
            },
        });
        admin.create(API_SERVICES, &object).await;
        reason(&admin, "Passed").await;
        assert_eq!(admin.get(FLUNDERS).await.expect(200)["proxy"], "operators-proxy");
        cluster.stop().await;
        let _ = std::fs::remove_dir_all(&dir);
    });
}

async fn told_by_discovery(admin: &Caller) {
    let group = admin.get("/apis/wardle.example.com").await.expect(200);
    assert_eq!((&group["kind"], &group["preferredVersion"]["version"]), (&"APIGroup".into(), &"v1alpha1".into()));
    let list = admin.get("/apis").await.expect(200);
    let names: Vec<&str> =
        list["groups"].as_array().expect("groups").iter().filter_map(|g| g["name"].as_str()).collect();
    assert_eq!(names.last(), Some(&"wardle.example.com"), "behind the built-in ones: {names:?}");
    let resources = admin.get("/apis/wardle.example.com/v1alpha1").await.expect(200);
    assert_eq!(resources["resources"][0]["name"], "flunders");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let all = admin.with("Accept", accept).get("/apis").await.expect(200);
    let own = all["items"].as_array().expect("items").iter().find(|g| g["metadata"]["name"] == "wardle.example.com");
    let version = &own.expect("the group")["versions"][0];
    assert_eq!((&version["version"], &version["freshness"]), (&"v1alpha1".into(), &"Current".into()));
    assert_eq!(version["resources"][0]["responseKind"]["kind"], "Flunder");
    let index = admin.get("/openapi/v3").await.expect(200);
    assert!(index["paths"]["apis/wardle.example.com/v1alpha1"].is_object(), "{index}");
}

/// The document of version 2, once it is as expected.
async fn swagger(admin: &Caller, holds: impl Fn(&Value) -> bool) -> (Value, String) {
    let found = async {
        loop {
            let answer = admin.get("/openapi/v2").await;
            let document = answer.expect(200);
            if holds(&document) {
                let etag = answer.headers[header::ETAG].to_str().expect("text").to_string();
                return (document, etag);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.expect("a document as expected")
}

async fn told_by_openapi(admin: &Caller) {
    let (document, etag) = swagger(admin, |document| document["paths"].get(FLUNDERS).is_some()).await;
    assert_eq!(document["info"]["title"], "Kubernetes");
    assert!(document["paths"].get("/apis/wardle.example.com/v1beta1/more").is_none());
    assert!(document["paths"].get("/api/v1/pods").is_some() && document["paths"].get("/healthz").is_none());
    let metadata = &document["definitions"]["wardle.Flunder"]["properties"]["metadata"]["$ref"];
    let renamed = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta_v2";
    assert_eq!(metadata, &json!(format!("#/definitions/{renamed}")));
    assert_eq!(document["definitions"][renamed]["description"], "not the usual one");
    assert_eq!(admin.with("If-None-Match", &etag).get("/openapi/v2").await.code, 304);
    let protobuf = admin.with("Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf");
    let text = protobuf.get("/openapi/v2").await;
    assert!(text.code == 200 && text.body.windows(14).any(|w| w == b"wardle.Flunder"));
}

#[tokio::test]
async fn this_server_is_registered_for_what_it_serves() {
    let cluster = Cluster::start().await.with_controllers();
    let admin = cluster.admin();
    let names = admin.names(API_SERVICES).await;
    for name in ["v1.", "v1.apps", "v2.autoscaling", "v1.rbac.authorization.k8s.io"] {
        assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
    }
    let apps = admin.get(&format!("{API_SERVICES}/v1.apps")).await.expect(200);
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
    assert_eq!(
        apps["spec"],
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15})
    );
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    admin.create(definitions, &definition).await;
    let widgets = admin.until(API_SERVICES, "v1.example.com", |object| object.is_some()).await.expect("an object");
    assert_eq!(widgets["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    assert_eq!(widgets["spec"]["groupPriorityMinimum"], 1000);
    admin.get("/apis/example.com/v1/namespaces/default/widgets").await.expect(200);
    admin.delete(&format!("{definitions}/widgets.example.com"), &Value::Null).await.expect(200);
    admin.until(API_SERVICES, "v1.example.com", |object| object.is_none()).await;
    cluster.stop().await;
}
