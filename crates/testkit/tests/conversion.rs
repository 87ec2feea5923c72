//! Conversion webhooks beyond upstream's specs, which stand in `suite/conversion.rs`: what one may change, how often it is
//! asked, and what follows from each of its faults.

mod host_port;

use http::Response;
use net::Body;
use parking_lot::Mutex;
use std::{ops::Deref, sync::Arc};
use testkit::{
    Caller, Cluster, Extension, Value,
    extension::{Call, reply, reviewed},
    json,
};
use tokio::sync::Notify;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/e2es.stable.example.com";

/// The path of the kind in a version.
fn path(version: &str) -> String {
    format!("/apis/stable.example.com/{version}/namespaces/default/e2es")
}

/// What the webhook does wrong.
#[derive(Clone, Copy, PartialEq, Default)]
enum Fault {
    #[default]
    Nothing,
    Code,
    Refusal,
    Uid,
    Fewer,
    Version,
    Name,
    Labels,
    Garbage,
    /// The next review that is about an object `slow` is never answered.
    Hang,
}

struct Webhook {
    server: Extension,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The requests of reviews, in their order.
    seen: Mutex<Vec<Value>>,
    fault: Mutex<Fault>,
    /// Told when a review hangs.
    hangs: Notify,
}

impl Deref for Webhook {
    type Target = State;
    fn deref(&self) -> &State {
        &self.state
    }
}

impl Webhook {
    async fn start(cluster: &Cluster) -> Self {
        let state = Arc::<State>::default();
        let own = state.clone();
        let answer = move |call| {
            let response = own.answer(&call);
            async {
                match response {
                    Some(response) => response,
                    None => std::future::pending().await,
                }
            }
        };
        let server = Extension::start("127.0.0.1", "converter.default.svc", &cluster.pki.front_proxy, answer).await;
        Webhook { server, state }
    }
    fn conversion(&self, reviews: &[&str]) -> Value {
        let url = format!("https://{}/crdconvert", self.server.address);
        let client = json!({"url": url, "caBundle": self.server.bundle});
        json!({"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": reviews}})
    }
}

impl State {
    fn fails(&self, fault: Fault) {
        *self.fault.lock() = fault;
    }
    /// How many objects each review since the last look was about.
    fn asked(&self) -> Vec<usize> {
        let seen = std::mem::take(&mut *self.seen.lock());
        seen.iter().map(|request| request["objects"].as_array().map_or(0, Vec::len)).collect()
    }
    /// Nothing where it hangs.
    fn answer(&self, call: &Call) -> Option<Response<Body>> {
        let fault = *self.fault.lock();
        if fault == Fault::Code {
            return Some(Response::builder().status(500).body(Body::from("broken\n")).expect("a response"));
        }
        if fault == Fault::Garbage {
            return Some(Response::new(Body::from("{")));
        }
        let review = call.json();
        let request = &review["request"];
        self.seen.lock().push(request.clone());
        let (Some(wanted), Some(objects)) = (request["desiredAPIVersion"].as_str(), request["objects"].as_array())
        else {
            return Some(reply(400, &Value::Null));
        };
        if fault == Fault::Hang && objects.iter().any(|object| object["metadata"]["name"] == "slow") {
            *self.fault.lock() = Fault::Nothing;
            self.hangs.notify_one();
            return None;
        }
        let mut converted: Vec<Value> = objects.iter().map(|object| convert(object, wanted)).collect();
        let mut response = json!({"result": {"status": "Success"}});
        match fault {
            Fault::Refusal => response["result"] = json!({"status": "Failure", "message": "not today"}),
            Fault::Uid => response["uid"] = json!("other"),
            Fault::Fewer => drop(converted.pop()),
            Fault::Version => converted[0]["apiVersion"] = json!("stable.example.com/v3"),
            Fault::Name => converted[0]["metadata"]["name"] = json!("other"),
            Fault::Labels => converted[0]["metadata"]["labels"] = json!({"a b": "c"}),
            _ => {}
        }
        response["convertedObjects"] = json!(converted);
        Some(reviewed(&review, response))
    }
}

fn convert(object: &Value, wanted: &str) -> Value {
    let mut object = host_port::convert(object, wanted);
    // Not the webhook's to change; restored by the server.
    object["metadata"]["generation"] = json!(77);
    object["metadata"]["annotations"]["converted"] = json!("yes");
    object["unknown"] = json!("pruned");
    object
}

fn definition(conversion: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "e2es.stable.example.com"},
        "spec": {"group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "e2es", "kind": "E2e"},
            "versions": host_port::versions("v1"), "conversion": conversion},
    })
}

async fn start() -> (Cluster, Caller, Webhook) {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let hook = Webhook::start(&cluster).await;
    admin.create(DEFINITIONS, &definition(hook.conversion(&["v1", "v1beta1"]))).await;
    (cluster, admin, hook)
}

fn v1(name: &str, host_port: &str) -> Value {
    named(name, host_port::v1(host_port))
}

fn v2(name: &str, host: &str, port: &str) -> Value {
    named(name, host_port::v2(host, port))
}

fn named(name: &str, mut object: Value) -> Value {
    object["metadata"] = json!({"name": name});
    object
}

#[track_caller]
fn is_v1(object: &Value) {
    host_port::is(object, "v1");
}

#[track_caller]
fn is_v2(object: &Value) {
    host_port::is(object, "v2");
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_a_converter_is_asked_and_may_change() {
    let (_cluster, admin, hook) = start().await;
    let made = admin.create(&path("v1"), &v1("a", "localhost:8080")).await;
    assert_eq!(hook.asked(), [] as [usize; 0], "the stored version is converted by nobody");
    let shown = admin.get(&format!("{}/a", path("v2"))).await.expect(200);
    is_v2(&shown);
    let (old, new) = (&made["metadata"], &shown["metadata"]);
    for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "name", "namespace", "managedFields"] {
        assert_eq!(old[field], new[field], "{field}");
    }
    assert_eq!(new["annotations"], json!({"converted": "yes"}));
    let request = hook.seen.lock()[0].clone();
    assert_eq!(request["desiredAPIVersion"], "stable.example.com/v2");
    assert_eq!(request["objects"][0]["hostPort"], "localhost:8080");
}

#[tokio::test]
async fn lists_convert_what_they_must_once() {
    let (_cluster, admin, hook) = start().await;
    admin.create(&path("v1"), &v1("a", "localhost:8080")).await;
    let patch = json!({"spec": {"versions": host_port::versions("v2")}});
    admin.patch(DEFINITION, "merge", &patch).await.expect(200);
    admin.create(&path("v1"), &v1("b", "localhost:8080")).await;
    hook.asked();
    for version in ["v1", "v2"] {
        assert_eq!(admin.names(&path(version)).await, ["a", "b"]);
        // One of the two is stored in each version; a list of what was listed before asks nobody.
        assert_eq!(hook.asked().iter().sum::<usize>(), usize::from(version == "v2"));
        admin.get(&path(version)).await.expect(200);
        assert_eq!(hook.asked(), [] as [usize; 0]);
    }
    // A write that says nothing new moves the object to the version that is stored today.
    let one = format!("{}/a", path("v2"));
    let before = admin.get(&one).await.expect(200);
    let after = admin.put(&one, &before).await.expect(200);
    is_v2(&after);
    assert_ne!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]);
    hook.asked();
    admin.get(&path("v2")).await.expect(200);
    assert_eq!(hook.asked(), [] as [usize; 0]);
}

#[tokio::test]
async fn pages_of_what_a_field_selects() {
    let (_cluster, admin, _hook) = start().await;
    for (name, host) in [("a", "host1"), ("b", "host2"), ("c", "host1")] {
        admin.create(&path("v2"), &v2(name, host, "80")).await;
    }
    let selected = format!("{}?fieldSelector=host%3Dhost1&limit=1", path("v2"));
    let page = admin.get(&selected).await.expect(200);
    assert_eq!(names(&page), ["a"]);
    let token = page["metadata"]["continue"].as_str().unwrap();
    let rest = admin.get(&format!("{selected}&continue={token}")).await.expect(200);
    assert_eq!((names(&rest), &rest["metadata"]["continue"]), (vec!["c"], &Value::Null));
}

#[tokio::test]
async fn watches_are_in_the_version_that_they_ask_for() {
    let (_cluster, admin, hook) = start().await;
    admin.create(&path("v1"), &v1("a", "localhost:8080")).await;
    let query = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut old = admin.watch(&format!("{}?{query}", path("v1"))).await;
    let mut new = admin.watch(&format!("{}?{query}", path("v2"))).await;
    let mut again = admin.watch(&format!("{}?{query}", path("v2"))).await;
    is_v1(&old.next().await.1);
    is_v2(&new.next().await.1);
    is_v2(&again.next().await.1);
    for (watch, version) in [(&mut old, "v1"), (&mut new, "v2"), (&mut again, "v2")] {
        let (kind, object) = watch.next().await;
        assert_eq!(
            (kind.as_str(), &object["apiVersion"]),
            ("BOOKMARK", &json!(format!("stable.example.com/{version}")))
        );
    }
    assert_eq!(hook.asked(), [1], "what one watch has asked for is known to the other");
    let change = json!({"hostPort": "host1:80"});
    admin.patch(&format!("{}/a", path("v1")), "merge", &change).await.expect(200);
    assert_eq!(old.next().await.1["hostPort"], "host1:80");
    for watch in [&mut new, &mut again] {
        let (kind, object) = watch.next().await;
        assert_eq!((kind.as_str(), &object["host"], &object["port"]), ("MODIFIED", &json!("host1"), &json!("80")));
    }
    admin.delete(&format!("{}/a", path("v2")), &Value::Null).await.expect(200);
    let (kind, object) = new.next().await;
    assert_eq!((kind.as_str(), &object["host"]), ("DELETED", &json!("host1")));
    // Another storage version is another way to every version: what is watched has to be watched anew.
    let other = json!({"spec": {"conversion": hook.conversion(&["v1beta1"])}});
    admin.patch(DEFINITION, "merge", &other).await.expect(200);
    admin.create(&path("v1"), &v1("b", "localhost:8080")).await;
    assert!(new.ended().await);
    is_v2(&admin.get(&format!("{}/b", path("v2"))).await.expect(200));
}

#[tokio::test]
async fn every_write_in_another_version_than_the_stored_one() {
    let (_cluster, admin, _hook) = start().await;
    admin.create(&path("v1"), &v1("a", "host1:80")).await;
    let (old, new) = (format!("{}/a", path("v1")), format!("{}/a", path("v2")));
    let merged = admin.patch(&new, "merge", &json!({"port": "81"})).await.expect(200);
    assert_eq!((&merged["host"], &merged["port"]), (&json!("host1"), &json!("81")));
    assert_eq!(admin.get(&old).await.expect(200)["hostPort"], "host1:81");
    let patch =
        json!([{"op": "test", "path": "/host", "value": "host1"}, {"op": "replace", "path": "/port", "value": "82"}]);
    admin.patch(&new, "json", &patch).await.expect(200);
    assert_eq!(admin.get(&old).await.expect(200)["hostPort"], "host1:82");
    // Types are those of the version of the request.
    let text = admin.patch(&new, "merge", &json!({"port": 83})).await.refused(422, "Invalid");
    assert!(text.contains("port"), "{text}");
    let strict = format!("{new}?fieldValidation=Strict");
    let answer = admin.patch(&strict, "merge", &json!({"hostPort": "x:1"})).await;
    assert!(answer.text().contains("unknown field") && answer.code >= 400, "{}", answer.text());
    let dry = admin.patch(&format!("{new}?dryRun=All"), "merge", &json!({"port": "99"})).await.expect(200);
    assert_eq!(dry["port"], "99");
    assert_eq!(admin.get(&old).await.expect(200)["hostPort"], "host1:82");

    let mut config = v2("a", "host1", "84");
    config["apiVersion"] = json!("stable.example.com/v2");
    config["kind"] = json!("E2e");
    let conflict = admin.patch(&format!("{new}?fieldManager=me"), "apply", &config).await.refused(409, "Conflict");
    assert!(conflict.contains(".port"), "{conflict}");
    let applied = admin.patch(&format!("{new}?fieldManager=me&force=true"), "apply", &config).await.expect(200);
    assert_eq!(applied["port"], "84");
    let entry = |object: &Value, name: &str| {
        let all = object["metadata"]["managedFields"].as_array().unwrap().clone();
        all.into_iter().find(|m| m["manager"] == name)
    };
    let own = entry(&applied, "me").unwrap();
    assert_eq!((&own["apiVersion"], &own["operation"]), (&json!("stable.example.com/v2"), &json!("Apply")));
    assert!(own["fieldsV1"].get("f:port").is_some(), "{own}");
    // An apply of less removes what only it owned; in v1 that is a part of a field.
    let mut less = config.clone();
    less.as_object_mut().unwrap().remove("port");
    let less = admin.patch(&format!("{new}?fieldManager=me"), "apply", &less).await.expect(200);
    assert!(less["port"].as_str().unwrap_or("").is_empty(), "{less}");
    admin.patch(&format!("{new}?fieldManager=me"), "apply", &config).await.expect(200);
    // An update in v1 takes from the manager of v2 what it changes there.
    let taken = admin.patch(&format!("{old}?fieldManager=other"), "merge", &json!({"hostPort": "host9:84"})).await;
    let taken = taken.expect(200);
    let own = entry(&taken, "me").unwrap();
    assert!(own["fieldsV1"].get("f:host").is_none() && own["fieldsV1"].get("f:port").is_some(), "{own}");
    let held = admin.patch(&new, "merge", &json!({"metadata": {"finalizers": ["example.com/held"]}})).await;
    held.expect(200);
    let going = admin.delete(&new, &Value::Null).await.expect(200);
    assert_eq!((&going["apiVersion"], &going["kind"]), (&json!("stable.example.com/v2"), &json!("E2e")));
    admin.patch(&new, "merge", &json!({"metadata": {"finalizers": []}})).await.expect(200);
    assert_eq!(admin.get(&old).await.code, 404);
}

#[tokio::test]
async fn what_a_broken_webhook_does_to_requests() {
    let (_cluster, admin, hook) = start().await;
    admin.create(&path("v1"), &v1("a", "localhost:8080")).await;
    let new = format!("{}/a", path("v2"));
    let subject = "conversion webhook for stable.example.com/v1, Kind=E2e";
    for (fault, want) in [
        (Fault::Code, "failed: an error on the server (\"broken\") has prevented the request from succeeding"),
        (Fault::Refusal, "failed: not today"),
        (Fault::Uid, "failed: expected response.uid="),
        (Fault::Fewer, "returned 0 objects, expected 1"),
        (
            Fault::Version,
            "returned invalid object at index 0: invalid groupVersion (expected stable.example.com/v2, received stable.example.com/v3)",
        ),
        (Fault::Name, "returned invalid object: must have the same name: a != other"),
        (Fault::Labels, "returned invalid metadata: metadata.labels: Invalid value: \"a b\": "),
        (Fault::Garbage, "failed: "),
    ] {
        hook.fails(fault);
        for answer in [
            admin.get(&new).await,
            admin.patch(&new, "merge", &json!({"port": "1"})).await,
            admin.delete(&new, &Value::Null).await,
            admin.get(&path("v2")).await,
        ] {
            let text = answer.refused(500, "");
            assert!(text.starts_with(&format!("{subject} {want}")), "{text}");
        }
        is_v1(&admin.get(&format!("{}/a", path("v1"))).await.expect(200));
        let made = admin.post(&path("v2"), &v2("b", "h", "1")).await;
        assert_eq!(made.code, 500, "{}", made.text());
        assert_eq!(admin.get(&format!("{}/b", path("v1"))).await.code, 404);
    }
    hook.fails(Fault::Nothing);
    is_v2(&admin.get(&new).await.expect(200));
    let metrics = admin.get("/metrics").await.text();
    let counted = "apiserver_conversion_webhook_request_total{result=\"failure\",failure_type=\"conversion_webhook_partial_response_failure\"}";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_call_that_hangs_is_its_callers_alone() {
    let (_cluster, admin, hook) = start().await;
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await;
    let other = |version: &str| path(version).replace("/default/", "/other/");
    admin.create(&path("v1"), &v1("slow", "localhost:8080")).await;
    admin.create(&other("v1"), &v1("quick", "localhost:8080")).await;
    hook.fails(Fault::Hang);
    let caller = admin.clone();
    let hanging = tokio::spawn(async move { caller.get(&path("v2")).await });
    hook.hangs.notified().await;
    // Neither other objects nor the same ones wait until the call is given up.
    assert_eq!(names(&admin.get(&other("v2")).await.expect(200)), ["quick"]);
    assert_eq!(names(&admin.get(&path("v2")).await.expect(200)), ["slow"]);
    assert!(!hanging.is_finished(), "it waits for its own answer");
    hanging.abort();
}

#[tokio::test]
async fn answers_go_with_the_definition() {
    let (cluster, admin, hook) = start().await;
    admin.create(&path("v1"), &v1("a", "localhost:8080")).await;
    admin.get(&path("v2")).await.expect(200);
    assert_eq!(hook.asked(), [1]);
    admin.get(&path("v2")).await.expect(200);
    assert_eq!(hook.asked(), [] as [usize; 0], "it is known");
    assert_ne!(cluster.server.engine().kept_conversions(), 0);
    admin.delete(&format!("{}/a", path("v1")), &Value::Null).await.expect(200);
    let definition = admin.delete(DEFINITION, &Value::Null).await.expect(200);
    if definition["kind"] != "Status" {
        admin.patch(DEFINITION, "merge", &json!({"metadata": {"finalizers": null}})).await;
    }
    admin.get(DEFINITION).await.refused(404, "NotFound");
    assert_eq!(cluster.server.engine().kept_conversions(), 0);
}

#[tokio::test]
async fn a_webhook_that_is_not_there() {
    let (_cluster, admin, hook) = start().await;
    admin.create(&path("v1"), &v1("a", "localhost:8080")).await;
    let service = json!({"namespace": "default", "name": "converter", "port": 9443, "path": "/crdconvert"});
    let gone = json!({"spec": {"conversion": {"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"url": null, "service": service, "caBundle": hook.server.bundle}}}}});
    admin.patch(DEFINITION, "merge", &gone).await.expect(200);
    let new = format!("{}/a", path("v2"));
    let text = admin.get(&new).await.refused(500, "");
    assert_eq!(
        text,
        "conversion webhook for stable.example.com/v1, Kind=E2e failed: Post \
         \"https://converter.default.svc:9443/crdconvert?timeout=30s\": service \"converter\" not found"
    );
    // It comes: found by its endpoints, without cluster DNS or proxy.
    let ports = json!([{"name": "x", "port": 9443, "targetPort": hook.server.address.port()}]);
    let spec = json!({"metadata": {"name": "converter"}, "spec": {"ports": ports}});
    admin.create("/api/v1/namespaces/default/services", &spec).await;
    let slice = json!({"metadata": {"name": "converter-1", "labels": {"kubernetes.io/service-name": "converter"}},
        "addressType": "IPv4", "ports": [{"name": "x", "port": hook.server.address.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]});
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let made = admin.post(slices, &slice).await;
    assert_eq!(made.code, 422, "endpoints on loopback are refused: {}", made.text());
}

#[tokio::test]
async fn reviews_of_the_first_beta_are_spoken() {
    let cluster = Cluster::start().await;
    let (admin, hook) = (cluster.admin(), Webhook::start(&cluster).await);
    admin.create(DEFINITIONS, &definition(hook.conversion(&["v0", "v1beta1", "v1"]))).await;
    admin.create(&path("v1"), &v1("a", "localhost:8080")).await;
    hook.fails(Fault::Uid);
    is_v2(&admin.get(&format!("{}/a", path("v2"))).await.expect(200));
}

#[tokio::test]
async fn without_a_webhook_only_the_version_changes() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut plain = definition(json!({"strategy": "None"}));
    for version in plain["spec"]["versions"].as_array_mut().unwrap() {
        version["schema"]["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"] = json!(true);
    }
    admin.create(DEFINITIONS, &plain).await;
    let made = admin.create(&path("v1"), &v1("a", "localhost:8080")).await;
    let new = format!("{}/a", path("v2"));
    let shown = admin.get(&new).await.expect(200);
    assert_eq!((&shown["apiVersion"], &shown["hostPort"]), (&json!("stable.example.com/v2"), &made["hostPort"]));
    let changed = admin.patch(&new, "merge", &json!({"host": "h"})).await.expect(200);
    assert_eq!((&changed["apiVersion"], &changed["host"]), (&json!("stable.example.com/v2"), &json!("h")));
    assert_eq!(admin.get(&path("v1")).await.expect(200)["items"][0]["host"], "h");
}

#[tokio::test]
async fn admission_sees_objects_in_the_version_that_it_asks_for() {
    let (_cluster, admin, _hook) = start().await;
    let policy = json!({"metadata": {"name": "no-port-1"}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": ["stable.example.com"], "apiVersions": ["v2"],
            "operations": ["CREATE", "UPDATE"], "resources": ["e2es"]}]},
        "validations": [{"expression": "object.port != '1'", "message": "port 1 is taken"}]}});
    admin.create("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", &policy).await;
    let binding =
        json!({"metadata": {"name": "b"}, "spec": {"policyName": "no-port-1", "validationActions": ["Deny"]}});
    admin.create("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", &binding).await;
    for (version, object) in [("v1", v1("a", "h:1")), ("v2", v2("a", "h", "1"))] {
        let answer = admin.post(&path(version), &object).await;
        assert!(answer.code == 422 && answer.text().contains("port 1 is taken"), "{}", answer.text());
    }
    admin.create(&path("v1"), &v1("a", "h:2")).await;
}
