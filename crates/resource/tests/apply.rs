//! Managed fields and server-side apply through the engine's own door: what is stored, answered, refused and skipped.

use base::{Reason, Revision, User, clock::System};
use merge::{Patch, PatchKind};
use resource::*;
use schema::*;
use std::sync::Arc;
use store::Memory;
use value::{Str, Value, value};

fn kinds() -> Catalog {
    let sub = |name: &str, action| Subresource { name: name.into(), body: None, verbs: vec![Verb::Patch], action };
    let path = |names: &[&str]| names.iter().map(|n| Str::from(*n)).collect::<Vec<_>>();
    let kind = |group: &str, name: &str, plural: &str, apart: bool| Kind {
        group: group.into(),
        kind: name.into(),
        list_kind: format!("{name}List").into(),
        plural: plural.into(),
        singular: "".into(),
        short_names: vec![],
        categories: vec![],
        scope: Scope::Namespaced,
        versions: vec![Version {
            name: "v1".into(),
            served: true,
            deprecated: None,
            schema: builtin::of(group, "v1", name).unwrap(),
            columns: vec![],
        }],
        storage: 0,
        verbs: vec![Verb::Patch],
        subresources: vec![
            sub("status", SubresourceAction::Fields(vec![path(&["status"])])),
            sub(
                "scale",
                SubresourceAction::Scale {
                    replicas: path(&["spec", "replicas"]),
                    status_replicas: path(&["status", "replicas"]),
                    selector: None,
                },
            ),
        ],
        selectable: vec![],
        policy: Policy { status_apart: apart, generation: Generation::Spec, ..Policy::default() },
        hooks: Arc::new(NoHooks),
        custom: None,
    };
    Catalog::new([kind("", "ConfigMap", "configmaps", false), kind("apps", "Deployment", "deployments", true)])
}

struct Bench(Arc<Engine>);

impl Bench {
    async fn new() -> Self {
        let options = Options {
            cluster: ClusterConfig::default(),
            clock: Arc::new(System),
            admission: Arc::new(AdmitAll),
            sealer: Arc::new(Unsealed::default()),
        };
        Bench(Engine::open(Memory::new(), kinds(), options).await.unwrap())
    }
    fn call(&self, group: &str, plural: &str, name: &str, sub: &str) -> Call {
        Call {
            user: Arc::new(User::new("tester", [])),
            kind: self.0.catalog().get(group, plural).unwrap().clone(),
            version: 0,
            namespace: "ns".into(),
            name: name.into(),
            subresource: Some(sub.into()).filter(|s: &Str| !s.is_empty()),
        }
    }
    fn map(&self) -> Call {
        self.call("", "configmaps", "a", "")
    }
    async fn apply(&self, call: &Call, manager: &str, force: bool, config: Value) -> base::Result<Reply> {
        let patch = Patch { kind: PatchKind::Apply, body: config, duplicates: vec![] };
        self.0.apply(call, &patch, &by(manager, force), &|| Ok(())).await
    }
    async fn current(&self, call: &Call) -> Value {
        let mut whole = call.clone();
        whole.subresource = None;
        self.0.get(&whole, None).await.unwrap().answer.value()
    }
}

fn by(manager: &str, force: bool) -> WriteOptions {
    WriteOptions { field_manager: manager.into(), force, ..WriteOptions::default() }
}

fn map(data: Value) -> Value {
    let mut object = value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    object.set(&["data"], data);
    object
}

fn deployment(replicas: Option<i64>) -> Value {
    let mut object = value!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    });
    if let Some(n) = replicas {
        object.set(&["spec", "replicas"], n);
    }
    object
}

fn managers(object: &Value) -> Vec<String> {
    let list = object.items_at(&["metadata", "managedFields"]);
    let shown = |m: &Value| {
        let text = |key: &str| m.str_at(&[key]).to_string();
        format!("{} {} {} {}", text("manager"), text("operation"), text("subresource"), m.at(&["fieldsV1"]))
    };
    list.iter().map(shown).collect()
}

fn revision(object: &Value) -> Revision {
    object.str_at(&["metadata", "resourceVersion"]).parse().unwrap()
}

#[tokio::test]
async fn every_write_is_tracked() {
    let bench = Bench::new().await;
    let mut call = bench.map();
    call.name = "".into();
    let made = bench.0.create(&call, map(value!({"k": "v"})).into(), &by("creator", false)).await.unwrap();
    let made = made.answer.value();
    assert_eq!(managers(&made), [r#"creator Update  {"f:data":{".":{},"f:k":{}}}"#]);
    let entry = &made.items_at(&["metadata", "managedFields"])[0];
    assert_eq!(
        (entry.str_at(&["apiVersion"]), entry.str_at(&["fieldsType"]), entry.str_at(&["time"])),
        ("v1", "FieldsV1", made.str_at(&["metadata", "creationTimestamp"]))
    );

    let call = bench.map();
    let mut next = made.clone();
    next.set(&["data", "l"], "w");
    next.remove(&["metadata", "managedFields"]);
    let put = bench.0.update(&call, next.into(), &by("editor", false)).await.unwrap().answer.value();
    let want = [r#"creator Update  {"f:data":{".":{},"f:k":{}}}"#, r#"editor Update  {"f:data":{"f:l":{}}}"#];
    assert_eq!(managers(&put), want);

    let patch = merge::parse("application/merge-patch+json", br#"{"data":{"k":"x"}}"#).unwrap();
    let patched = bench.0.patch(&call, &patch, &by("editor", false)).await.unwrap().answer.value();
    let want = [r#"creator Update  {"f:data":{".":{}}}"#, r#"editor Update  {"f:data":{"f:k":{},"f:l":{}}}"#];
    assert_eq!(managers(&patched), want.map(|w| w.replace(r#"{".":{}}"#, "{}")));

    let again = bench.0.patch(&call, &patch, &by("third", false)).await.unwrap().answer.value();
    assert_eq!(again, patched, "a write without a change has no manager");

    let reset = merge::parse("application/merge-patch+json", br#"{"metadata":{"managedFields":[{}]}}"#).unwrap();
    for forget in
        [reset, merge::parse("application/merge-patch+json", br#"{"metadata":{"managedFields":[]}}"#).unwrap()]
    {
        let forgotten = bench.0.patch(&call, &forget, &by("editor", false)).await.unwrap().answer.value();
        assert!(forgotten.at(&["metadata", "managedFields"]).is_null(), "{forgotten}");
    }
}

#[tokio::test]
async fn a_list_given_by_a_patch_counts() {
    let bench = Bench::new().await;
    let call = bench.map();
    bench.apply(&call, "m", false, map(value!({"k": "v"}))).await.unwrap();
    let rename = br#"[{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "n"}]"#;
    let patch = merge::parse("application/json-patch+json", rename).unwrap();
    let renamed = bench.0.patch(&call, &patch, &by("editor", false)).await.unwrap().answer.value();
    assert_eq!(managers(&renamed), [r#"n Apply  {"f:data":{"f:k":{}}}"#]);
    let wrong = br#"[{"op": "replace", "path": "/metadata/managedFields/0/operation", "value": "Guess"}]"#;
    let patch = merge::parse("application/json-patch+json", wrong).unwrap();
    let kept = bench.0.patch(&call, &patch, &by("editor", false)).await.unwrap().answer.value();
    assert_eq!(managers(&kept), managers(&renamed));
}

#[tokio::test]
async fn apply_creates_merges_and_removes() {
    let bench = Bench::new().await;
    let call = bench.map();
    let made = bench.apply(&call, "m", false, map(value!({"a": "1", "b": "1"}))).await.unwrap();
    assert!(made.created);
    let made = made.answer.value();
    assert_eq!(managers(&made), [r#"m Apply  {"f:data":{"f:a":{},"f:b":{}}}"#]);

    let same = bench.apply(&call, "m", false, map(value!({"a": "1", "b": "1"}))).await.unwrap();
    assert!(!same.created);
    assert_eq!(same.answer.value(), made, "nothing changed, so nothing was written");

    let next = bench.apply(&call, "m", false, map(value!({"a": "2"}))).await.unwrap().answer.value();
    assert_eq!(next.at(&["data"]), &value!({"a": "2"}));
    assert!(revision(&next) > revision(&made));

    let status = bench.apply(&call, "n", false, map(value!({"a": "3"}))).await.unwrap_err();
    assert_eq!((status.code(), status.reason()), (409, "Conflict"));
    assert_eq!(status.message(), "Apply failed with 1 conflict: conflict with \"m\": .data.a");
    let details = status.to_json()["details"].to_string();
    let cause = r#"{"causes":[{"field":".data.a","message":"conflict with \"m\"","reason":"FieldManagerConflict"}]}"#;
    assert_eq!(details, cause);
    let forced = bench.apply(&call, "n", true, map(value!({"a": "3"}))).await.unwrap().answer.value();
    assert_eq!(managers(&forced), [r#"n Apply  {"f:data":{"f:a":{}}}"#]);
}

#[tokio::test]
async fn dry_runs_and_refusals() {
    let bench = Bench::new().await;
    let call = bench.map();
    let patch = |config| Patch { kind: PatchKind::Apply, body: config, duplicates: vec![] };
    let dry = WriteOptions { dry_run: true, ..by("m", false) };
    let tried = bench.0.apply(&call, &patch(map(value!({"a": "1"}))), &dry, &|| Ok(())).await.unwrap();
    assert!(tried.created && managers(&tried.answer.value()).len() == 1);
    assert!(bench.0.get(&call, None).await.unwrap_err().is(Reason::NotFound));

    let no = || Err(base::Status::forbidden("", "configmaps", "a", "no"));
    let refused = bench.0.apply(&call, &patch(map(value!({}))), &by("m", false), &no).await.unwrap_err();
    assert!(refused.is(Reason::Forbidden));

    let strict = WriteOptions { field_validation: FieldValidation::Strict, ..by("m", false) };
    let twice = Patch { duplicates: vec!["key \"a\" already set in map".into()], ..patch(map(value!({"a": "1"}))) };
    let refused = bench.0.apply(&call, &twice, &strict, &|| Ok(())).await.unwrap_err();
    assert!(refused.message().starts_with("error strict decoding YAML: "), "{refused}");
    let warned = bench.0.apply(&call, &twice, &by("m", false), &|| Ok(())).await.unwrap();
    assert_eq!(warned.warnings, ["key \"a\" already set in map"]);

    let mut other = map(value!({}));
    other.set(&["kind"], "Secret");
    let mut managed = map(value!({}));
    managed.set(&["metadata", "managedFields"], value!([{}]));
    let mut unknown = map(value!({}));
    unknown.set(&["spec"], 1);
    let mut old = map(value!({}));
    old.set(&["metadata", "resourceVersion"], "9999");
    let mut named = map(value!({}));
    named.set(&["metadata", "name"], "b");
    for (config, code, text) in [
        (other, 400, "invalid object type: /v1, Kind=Secret"),
        (managed, 400, "metadata.managedFields must be nil"),
        (
            unknown,
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .spec: field not declared in schema",
        ),
        (
            old,
            409,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        (named, 400, "the name of the object (b) does not match the name on the URL (a)"),
    ] {
        let status = bench.apply(&call, "m", false, config).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, text));
    }
    let mut known = map(value!({}));
    known.set(&["metadata", "uid"], "1");
    let elsewhere = bench.call("", "configmaps", "none", "");
    known.set(&["metadata", "name"], "none");
    let status = bench.apply(&elsewhere, "m", false, known).await.unwrap_err();
    assert!(status.message().contains("uid mismatch: the provided object specified uid 1"), "{status}");
}

#[tokio::test]
async fn subresources_have_managers_of_their_own() {
    let bench = Bench::new().await;
    let main = bench.call("apps", "deployments", "a", "");
    let mut with_status = deployment(Some(1));
    with_status.set(&["status", "replicas"], 7);
    let made = bench.apply(&main, "m", false, with_status).await.unwrap().answer.value();
    assert!(made.at(&["status", "replicas"]).is_null());
    assert!(!managers(&made)[0].contains("f:status"), "{made}");

    let status = bench.call("apps", "deployments", "a", "status");
    let config = value!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"replicas": 9}, "status": {"replicas": 3}});
    let told = bench.apply(&status, "ctl", false, config).await.unwrap().answer.value();
    assert_eq!(
        (told.at(&["spec", "replicas"]).as_i64(), told.at(&["status", "replicas"]).as_i64()),
        (Some(1), Some(3))
    );
    assert_eq!(managers(&told)[0], r#"ctl Apply status {"f:status":{"f:replicas":{}}}"#);

    // The scale: first an update, then an apply that meets its owner.
    let scale = bench.call("apps", "deployments", "a", "scale");
    let body =
        value!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 4}});
    bench.0.update(&scale, body.clone().into(), &by("hpa", false)).await.unwrap();
    let now = bench.current(&scale).await;
    assert_eq!(managers(&now).last().unwrap(), r#"hpa Update scale {"f:spec":{"f:replicas":{}}}"#);
    assert_eq!(now.items_at(&["metadata", "managedFields"]).last().unwrap().str_at(&["apiVersion"]), "apps/v1");
    let mut five = body.clone();
    five.set(&["spec", "replicas"], 5);
    let refused = bench.apply(&scale, "n", false, five.clone()).await.unwrap_err();
    let text =
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using apps/v1: .spec.replicas";
    assert_eq!(refused.message(), text);
    let scaled = bench.apply(&scale, "n", true, five).await.unwrap().answer.value();
    assert_eq!((scaled.str_at(&["kind"]), scaled.at(&["spec", "replicas"]).as_i64()), ("Scale", Some(5)));
    let now = bench.current(&scale).await;
    assert!(managers(&now).contains(&r#"n Apply scale {"f:spec":{"f:replicas":{}}}"#.to_string()), "{now}");
    assert!(!managers(&now).iter().any(|m| m.starts_with("hpa")));
    // Whoever leaves the field out does not take it back.
    let kept = bench.apply(&main, "m", false, deployment(None)).await.unwrap().answer.value();
    assert_eq!(kept.at(&["spec", "replicas"]).as_i64(), Some(5));
}

#[tokio::test]
async fn times_alone_are_no_change() {
    let bench = Bench::new().await;
    let main = bench.call("apps", "deployments", "a", "");
    let mut config = deployment(None);
    // Stored as `500m`: what is applied differs from what is there each time, and changes nothing.
    let limits = value!([{"name": "c", "image": "i", "resources": {"limits": {"cpu": "0.5"}}}]);
    config.set(&["spec", "template", "spec", "containers"], limits);
    let made = bench.apply(&main, "m", false, config.clone()).await.unwrap().answer.value();
    let again = bench.apply(&main, "m", false, config).await.unwrap().answer.value();
    assert_eq!(revision(&again), revision(&made));
}
