//! CustomResourceDefinitions as they change under their objects.

use testkit::{Caller, Cluster, Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NAME: &str = "things.life.example.com";

fn version(name: &str, storage: bool) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
        "type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    }}})
}

fn definition(versions: &[Value]) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": NAME},
        "spec": {"group": "life.example.com", "scope": "Namespaced", "versions": versions,
            "names": {"plural": "things", "kind": "Thing"}},
    })
}

fn things(version: &str) -> String {
    format!("/apis/life.example.com/{version}/namespaces/default/things")
}

fn thing(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn set_versions(admin: &Caller, versions: &[Value]) -> Value {
    let patch = json!({"spec": {"versions": versions}});
    admin.patch(&format!("{DEFINITIONS}/{NAME}"), "merge", &patch).await.expect(200)
}

#[tokio::test]
async fn versions_come_and_go() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(DEFINITIONS, &definition(&[version("v1", true)])).await;
    let old = admin.create(&things("v1"), &thing("old", json!({"n": 1}))).await;
    admin.get(&things("v2")).await.refused(404, "NotFound");

    let defined = set_versions(&admin, &[version("v1", true), version("v2", false)]).await;
    assert_eq!(defined["status"]["storedVersions"], json!(["v1"]));
    let seen = admin.get(&format!("{}/old", things("v2"))).await.expect(200);
    assert_eq!((&seen["apiVersion"], &seen["spec"]), (&json!("life.example.com/v2"), &old["spec"]));
    assert_eq!(seen["metadata"], old["metadata"], "nothing is written by reading");

    // Stored from now on as v2; what is there stays readable as both.
    let defined = set_versions(&admin, &[version("v1", false), version("v2", true)]).await;
    assert_eq!(defined["status"]["storedVersions"], json!(["v1", "v2"]));
    admin.create(&things("v1"), &thing("new", json!({"n": 2}))).await;
    for v in ["v1", "v2"] {
        let list = admin.get(&things(v)).await.expect(200);
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 2);
        assert!(items.iter().all(|t| t["apiVersion"] == format!("life.example.com/{v}")), "{list}");
    }
    let patched = admin.patch(&format!("{}/old", things("v1")), "merge", &json!({"spec": {"n": 3}})).await.expect(200);
    assert_eq!((&patched["apiVersion"], &patched["spec"]["n"]), (&json!("life.example.com/v1"), &json!(3)));
    let mut watch = admin.watch(&format!("{}?watch=1", things("v1"))).await;
    for _ in 0..2 {
        let (kind, object) = watch.next().await;
        assert_eq!((kind.as_str(), &object["apiVersion"]), ("ADDED", &json!("life.example.com/v1")));
    }

    // No longer served: its path is gone, its objects are not.
    let mut hidden = version("v1", false);
    hidden["served"] = false.into();
    set_versions(&admin, &[hidden, version("v2", true)]).await;
    admin.get(&things("v1")).await.refused(404, "NotFound");
    assert_eq!(admin.names(&things("v2")).await, ["new", "old"]);
    let group = admin.get("/apis/life.example.com").await.expect(200);
    assert_eq!(group["versions"], json!([{"groupVersion": "life.example.com/v2", "version": "v2"}]));
}

#[tokio::test]
async fn a_new_schema_counts_from_the_next_write() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(DEFINITIONS, &definition(&[version("v1", true)])).await;
    admin.create(&things("v1"), &thing("old", json!({"n": -1}))).await;
    let mut stricter = version("v1", true);
    stricter["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] = json!({
        "n": {"type": "integer", "minimum": 0}, "color": {"type": "string", "default": "red"},
    });
    set_versions(&admin, &[stricter]).await;
    let made = admin.create(&things("v1"), &thing("new", json!({"n": 1}))).await;
    assert_eq!(made["spec"], json!({"n": 1, "color": "red"}));
    let message = admin.post(&things("v1"), &thing("bad", json!({"n": -1}))).await.refused(422, "Invalid");
    assert!(
        message.contains("spec.n: Invalid value: -1: spec.n in body should be greater than or equal to 0"),
        "{message}"
    );
    // What was valid when it was written may stay as it is (ratcheting), and gets its defaults when it is written.
    let path = format!("{}/old", things("v1"));
    let labelled = admin.patch(&path, "merge", &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    assert_eq!(labelled["spec"], json!({"n": -1, "color": "red"}));
    let message = admin.patch(&path, "merge", &json!({"spec": {"n": -2}})).await.refused(422, "Invalid");
    assert!(message.contains("spec.n: Invalid value: -2"), "{message}");
}

#[tokio::test]
async fn definitions_that_are_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let change = |edit: &dyn Fn(&mut Value)| {
        let mut definition = definition(&[version("v1", true)]);
        edit(&mut definition);
        definition
    };
    for (object, want) in [
        (
            change(&|d| d["metadata"]["name"] = "x.example.com".into()),
            "metadata.name: Invalid value: \"x.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (change(&|d| d["spec"]["versions"] = json!([])), "spec.versions"),
        (
            change(&|d| d["spec"]["versions"][0]["storage"] = false.into()),
            "must have exactly one version marked as storage version",
        ),
        (change(&|d| d["spec"]["scope"] = "Galaxy".into()), "spec.scope: Unsupported value: \"Galaxy\""),
        (change(&|d| d["spec"]["versions"][0]["schema"] = Value::Null), "schema"),
        (change(&|d| d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["type"] = "string".into()), "type"),
        (
            change(&|d| {
                d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["n"] =
                    json!({})
            }),
            "must not be empty for specified object fields",
        ),
        (change(&|d| d["spec"]["names"]["kind"] = "bad kind".into()), "spec.names.kind"),
    ] {
        let message = admin.post(DEFINITIONS, &object).await.refused(422, "Invalid");
        assert!(message.contains(want), "{message}\nshould contain {want}");
    }
    admin.create(DEFINITIONS, &definition(&[version("v1", true)])).await;
    let path = format!("{DEFINITIONS}/{NAME}");
    for (patch, field) in [
        (json!({"spec": {"scope": "Cluster"}}), "spec.scope"),
        (json!({"spec": {"group": "other.example.com"}}), "spec.group"),
    ] {
        let message = admin.patch(&path, "merge", &patch).await.refused(422, "Invalid");
        assert!(message.contains(field) && message.contains("field is immutable"), "{message}");
    }
    // Another definition may not take a name that is taken; it waits for it.
    let mut rival = definition(&[version("v1", true)]);
    rival["metadata"]["name"] = "others.life.example.com".into();
    rival["spec"]["names"] = json!({"plural": "others", "kind": "Thing"});
    let made = admin.create(DEFINITIONS, &rival).await;
    let conditions = made["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "NamesAccepted" && c["status"] == "False"), "{conditions:?}");
    admin.get("/apis/life.example.com/v1/others").await.refused(404, "NotFound");
}

/// What is stored as `others.life.example.com` is nobody's business but its own.
#[tokio::test]
async fn cluster_scope() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut definition = definition(&[version("v1", true)]);
    definition["spec"]["scope"] = "Cluster".into();
    admin.create(DEFINITIONS, &definition).await;
    let wide = "/apis/life.example.com/v1/things";
    let made = admin.create(wide, &thing("a", json!({}))).await;
    assert_eq!(made["metadata"]["namespace"], Value::Null);
    admin.get(&format!("{wide}/a")).await.expect(200);
    admin.get(&things("v1")).await.refused(404, "NotFound");
}

/// Objects that were written at other times are found by a field that became selectable later, and a write without a
/// change moves an object to the storage version.
#[tokio::test]
async fn objects_follow_their_definition() {
    let dir = std::env::temp_dir().join(format!("ferry-definitions-{}", base::ids::suffix(10)));
    let cluster = Cluster::on_disk(&dir).await;
    let admin = cluster.admin();
    admin.create(DEFINITIONS, &definition(&[version("v1", true)])).await;
    admin.create(&things("v1"), &thing("one", json!({"n": 1}))).await;
    admin.create(&things("v1"), &thing("two", json!({"n": 2}))).await;
    let by_n = format!("{}?fieldSelector=spec.n%3D2", things("v1"));
    assert_eq!(admin.get(&by_n).await.code, 400);
    let mut selectable = version("v1", true);
    selectable["selectableFields"] = json!([{"jsonPath": ".spec.n"}]);
    set_versions(&admin, &[selectable.clone()]).await;
    assert_eq!(admin.names(&by_n).await, ["two"]);

    selectable["storage"] = false.into();
    let mut second = version("v2", true);
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"] =
        json!({"type": "string", "default": "red"});
    second["selectableFields"] = selectable["selectableFields"].clone();
    set_versions(&admin, &[selectable, second.clone()]).await;
    for name in ["one", "two"] {
        let path = format!("{}/{name}", things("v2"));
        let read = admin.get(&path).await.expect(200);
        let moved = admin.put(&path, &read).await.expect(200);
        assert_ne!(moved["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"], "it was written");
        assert_eq!(moved["spec"]["color"], "red");
    }
    let status = json!({"status": {"storedVersions": ["v2"]}});
    assert_eq!(admin.patch(&format!("{DEFINITIONS}/{NAME}/status"), "merge", &status).await.code, 200);
    set_versions(&admin, &[second]).await;
    let before = admin.get(&things("v2")).await.expect(200);
    let cluster = cluster.restart().await;
    assert_eq!(cluster.admin().get(&things("v2")).await.expect(200)["items"], before["items"]);
    cluster.stop().await;
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn each_version_has_its_own_subresources_and_fields() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let (mut v1, mut v2) = (version("v1", true), version("v2", false));
    let scale = |spec: &str, status: &str| json!({"specReplicasPath": spec, "statusReplicasPath": status});
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let field = |name: &str| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {name: {"type": "integer"}}});
    for (version, name) in [(&mut v1, "n"), (&mut v2, "m")] {
        version["schema"]["openAPIV3Schema"]["properties"] = json!({"spec": field(name), "status": open});
        version["subresources"] = json!({"scale": scale(&format!(".spec.{name}"), &format!(".status.{name}"))});
        version["selectableFields"] = json!([{"jsonPath": format!(".spec.{name}")}]);
    }
    v1["subresources"]["status"] = json!({});
    let mut v3 = version("v3", false);
    v3["schema"]["openAPIV3Schema"]["properties"] = json!({"spec": open});
    admin.create(DEFINITIONS, &definition(&[v1, v2, v3])).await;
    admin.create(&things("v1"), &thing("a", json!({"n": 1, "m": 5}))).await;

    for (version, replicas) in [("v1", 1), ("v2", 5)] {
        let found = admin.get(&format!("{}/a/scale", things(version))).await.expect(200);
        assert_eq!(found["spec"]["replicas"], replicas, "{version}");
    }
    let scaled = json!({"spec": {"replicas": 7}});
    admin.patch(&format!("{}/a/scale", things("v2")), "merge", &scaled).await.expect(200);
    let spec = admin.get(&format!("{}/a", things("v1"))).await.expect(200)["spec"].clone();
    assert_eq!(spec, json!({"n": 1, "m": 7}));
    for path in ["a/scale", "a/status"] {
        admin.get(&format!("{}/{path}", things("v3"))).await.refused(404, "NotFound");
    }
    // Only the first version keeps the status apart.
    let status = json!({"status": {"seen": true}});
    let kept = admin.patch(&format!("{}/a", things("v1")), "merge", &status).await.expect(200);
    assert!(kept.get("status").is_none(), "{kept}");
    let kept = admin.patch(&format!("{}/a", things("v2")), "merge", &status).await.expect(200);
    assert_eq!(kept["status"], json!({"seen": true}));

    let listed =
        |version: &str, field: &str| admin_get(&admin, format!("{}?fieldSelector=spec.{field}%3D7", things(version)));
    assert_eq!(listed("v2", "m").await.expect(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed("v1", "m").await.refused(400, "BadRequest"), "field label not supported: spec.m");
    assert_eq!(listed("v2", "n").await.refused(400, "BadRequest"), "field label not supported: spec.n");
    assert!(listed("v3", "n").await.refused(400, "BadRequest").starts_with("\"spec.n\" is not a known field selector"));

    let of = |version: &str| admin_get(&admin, format!("/apis/life.example.com/{version}"));
    for (version, want) in [
        ("v1", vec!["things", "things/status", "things/scale"]),
        ("v2", vec!["things", "things/scale"]),
        ("v3", vec!["things"]),
    ] {
        let list = of(version).await.expect(200);
        let names: Vec<&str> =
            list["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(names, want, "{version}");
    }
}

async fn admin_get(admin: &Caller, path: String) -> testkit::Answer {
    admin.get(&path).await
}
