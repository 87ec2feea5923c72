//! Every verb through the engine's own door, on a plain kind, on one with status and grace, and across restarts.

mod sealer;

use base::{Reason, Revision, Status, User, clock::System};
use resource::*;
use schema::*;
use sealer::Marked;
use std::{net::IpAddr, sync::Arc, time::Duration};
use store::{Memory, Store, Txn, Write};
use value::{Object, Str, Value, value};

/// A kind with status, generation, grace and a claim on `spec.address`.
#[derive(Debug)]
struct WidgetHooks;

impl Hooks for WidgetHooks {
    fn grace(&self, obj: &Value, requested: Option<i64>) -> i64 {
        requested.unwrap_or(obj.at(&["spec", "replicas"]).as_i64().unwrap_or(0)).max(0)
    }
    fn claims(&self, obj: &Value) -> Vec<Claim> {
        let address = obj.str_at(&["spec", "template", "metadata", "name"]);
        if address.is_empty() { Vec::new() } else { vec![Claim(format!("address/{address}").into())] }
    }
    fn allocate(&self, _: &Context, obj: &mut Value, _: Option<&Value>, pool: &dyn Pool) -> base::Result<()> {
        if obj.str_at(&["spec", "template", "metadata", "name"]) == "any" {
            let free = (0..).map(|i| format!("a{i}")).find(|a| !pool.taken(&Claim(format!("address/{a}").into())));
            obj.set(&["spec", "template", "metadata", "name"], free);
        }
        Ok(())
    }
}

fn kind(group: &str, name: &str, plural: &str, schema: Schema, hooks: Arc<dyn Hooks>, policy: Policy) -> Kind {
    Kind {
        group: group.into(),
        kind: name.into(),
        list_kind: format!("{name}List").into(),
        plural: plural.into(),
        singular: name.to_lowercase().into(),
        short_names: vec![],
        categories: vec![],
        scope: Scope::Namespaced,
        versions: vec![Version { name: "v1".into(), served: true, deprecated: None, schema, columns: vec![] }],
        storage: 0,
        verbs: vec![Verb::Get],
        subresources: vec![
            Subresource {
                name: "status".into(),
                body: None,
                verbs: vec![Verb::Get],
                action: SubresourceAction::Fields(vec![vec!["status".into()]]),
            },
            Subresource {
                name: "scale".into(),
                body: None,
                verbs: vec![Verb::Get],
                action: SubresourceAction::Scale {
                    replicas: vec!["spec".into(), "replicas".into()],
                    status_replicas: vec!["status".into(), "replicas".into()],
                    selector: Some(vec!["spec".into(), "selector".into()]),
                },
            },
        ],
        selectable: vec![SelectableField {
            name: "spec.replicas".into(),
            path: vec!["spec".into(), "replicas".into()],
            or: None,
            absent: "0".into(),
            indexed: false,
        }],
        policy,
        hooks,
        custom: None,
    }
}

fn catalog() -> Catalog {
    let schema = |name| builtin::schema(name).unwrap();
    let widget = Policy { status_apart: true, generation: Generation::Spec, graceful: true, ..Policy::default() };
    let widget = Policy { hashed_as: Some("v1beta9".into()), ..widget };
    Catalog::new([
        kind(
            "",
            "ConfigMap",
            "configmaps",
            schema("io.k8s.api.core.v1.ConfigMap"),
            Arc::new(NoHooks),
            Policy::default(),
        ),
        kind(
            "",
            "Secret",
            "secrets",
            schema("io.k8s.api.core.v1.Secret"),
            Arc::new(NoHooks),
            Policy { sealed: true, ..Policy::default() },
        ),
        kind(
            "apps",
            "Deployment",
            "deployments",
            schema("io.k8s.api.apps.v1.Deployment"),
            Arc::new(WidgetHooks),
            widget,
        ),
    ])
}

async fn engine_on(store: Arc<dyn Store>) -> Arc<Engine> {
    open(store).await.unwrap()
}

async fn open(store: Arc<dyn Store>) -> Result<Arc<Engine>, OpenError> {
    let options = Options {
        cluster: ClusterConfig { service_cidr: (IpAddr::from([10, 0, 0, 0]), 24), ..ClusterConfig::default() },
        clock: Arc::new(System),
        admission: Arc::new(AdmitAll),
        sealer: Arc::new(Marked::default()),
    };
    Engine::open(store, catalog(), options).await
}

struct Door(Arc<Engine>);

async fn door() -> Door {
    Door(engine_on(Memory::new()).await)
}

impl Door {
    fn call(&self, plural: &str, name: &str) -> Call {
        let group = if plural == "deployments" { "apps" } else { "" };
        let kind = self.0.catalog().get(group, plural).unwrap().clone();
        Call {
            user: Arc::new(User::master("test")),
            kind,
            version: 0,
            namespace: "ns".into(),
            name: name.into(),
            subresource: None,
        }
    }
    fn sub(&self, plural: &str, name: &str, sub: &str) -> Call {
        Call { subresource: Some(sub.into()), ..self.call(plural, name) }
    }
    async fn create(&self, plural: &str, body: Value) -> Result<Value, Status> {
        let reply = self.0.create(&self.call(plural, ""), body.into(), &WriteOptions::default()).await?;
        assert!(reply.created);
        Ok(reply.answer.value())
    }
    async fn get(&self, plural: &str, name: &str) -> Result<Value, Status> {
        Ok(self.0.get(&self.call(plural, name), None).await?.answer.value())
    }
    async fn update(&self, call: &Call, body: Value) -> Result<Value, Status> {
        Ok(self.0.update(call, body.into(), &WriteOptions::default()).await?.answer.value())
    }
    async fn patch(&self, call: &Call, content_type: &str, body: &str) -> Result<Value, Status> {
        let patch = merge::parse(content_type, body.as_bytes())?;
        Ok(self.0.patch(call, &patch, &WriteOptions::default()).await?.answer.value())
    }
    async fn delete(&self, plural: &str, name: &str, options: Value) -> Result<Value, Status> {
        let reply = self.0.delete(&self.call(plural, name), Some(options), &WriteOptions::default()).await?;
        Ok(reply.answer.value())
    }
    async fn list(&self, plural: &str, query: ListQuery) -> Result<ListReply, Status> {
        self.0.list(&self.call(plural, ""), &query).await
    }
}

fn config_map(name: &str) -> Value {
    value!({"metadata": {"name": name, "labels": {"n": name}}, "data": {"k": "v"}})
}

fn deployment(name: &str, replicas: i64) -> Value {
    value!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": {}}, "status": {"replicas": 9}})
}

fn names(items: &[Arc<Object>]) -> Vec<String> {
    items.iter().map(|o| o.name().to_string()).collect()
}

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON: &str = "application/json-patch+json";

#[tokio::test]
async fn create_fills_metadata_and_refuses_a_second_one() {
    let door = door().await;
    let made = door.create("configmaps", config_map("a")).await.unwrap();
    assert_eq!(made.str_at(&["kind"]), "ConfigMap");
    assert_eq!(made.namespace(), "ns");
    assert_eq!(made.str_at(&["metadata", "uid"]).len(), 36);
    assert_eq!(made.str_at(&["metadata", "resourceVersion"]), "1");
    assert_eq!(door.get("configmaps", "a").await.unwrap(), made);
    let again = door.create("configmaps", config_map("a")).await.unwrap_err();
    assert_eq!(again.message(), r#"configmaps "a" already exists"#);
    let lost = door.get("configmaps", "b").await.unwrap_err();
    assert_eq!(lost.message(), r#"configmaps "b" not found"#);
    let wrong = door.create("configmaps", value!({"metadata": {"name": "A_b"}})).await.unwrap_err();
    assert!(
        wrong.message().starts_with(
            r#"ConfigMap "A_b" is invalid: metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain"#
        ),
        "{wrong}"
    );
}

#[tokio::test]
async fn generated_names_differ() {
    let door = door().await;
    let body = value!({"metadata": {"generateName": "x-"}});
    let (a, b) =
        (door.create("configmaps", body.clone()).await.unwrap(), door.create("configmaps", body).await.unwrap());
    assert!(a.name().starts_with("x-") && a.name().len() == 7 && a.name() != b.name());
}

#[tokio::test]
async fn field_validation() {
    let door = door().await;
    let call = door.call("configmaps", "");
    let parsed = value::parse(br#"{"metadata":{"name":"a"},"data":{"k":"1","k":"2"},"spek":{}}"#).unwrap();
    let duplicates = parsed.duplicates.iter().map(|path| format!("duplicate field \"{path}\"")).collect();
    let body = Body { value: parsed.value, duplicates };
    let with = |field_validation| WriteOptions { field_validation, dry_run: true, ..WriteOptions::default() };
    let strict = door.0.create(&call, body.clone(), &with(FieldValidation::Strict)).await.unwrap_err();
    assert_eq!(
        strict.message(),
        r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "spek", duplicate field "data.k""#
    );
    let warned = door.0.create(&call, body.clone(), &with(FieldValidation::Warn)).await.unwrap();
    assert_eq!(warned.warnings, [r#"unknown field "spek""#, r#"duplicate field "data.k""#]);
    assert!(warned.answer.value().at(&["spek"]).is_null());
    assert!(door.0.create(&call, body, &with(FieldValidation::Ignore)).await.unwrap().warnings.is_empty());
    assert!(door.get("configmaps", "a").await.is_err(), "a dry run writes nothing");
}

#[tokio::test]
async fn updates_keep_system_fields_and_honour_revisions() {
    let door = door().await;
    let first = door.create("configmaps", config_map("a")).await.unwrap();
    let mut next = config_map("a");
    next.set(&["data", "k"], "w");
    next.set(&["metadata", "creationTimestamp"], "2001-01-01T00:00:00Z");
    let second = door.update(&door.call("configmaps", "a"), next.clone()).await.unwrap();
    assert_eq!(second.at(&["metadata", "creationTimestamp"]), first.at(&["metadata", "creationTimestamp"]));
    assert_eq!(second.str_at(&["metadata", "resourceVersion"]), "2");
    next.set(&["metadata", "resourceVersion"], "1");
    let stale = door.update(&door.call("configmaps", "a"), next).await.unwrap_err();
    assert_eq!(
        stale.message(),
        r#"Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again"#
    );
    // The same again changes nothing, and takes no revision.
    let third = door.update(&door.call("configmaps", "a"), second.clone()).await.unwrap();
    assert_eq!(third, second);
}

#[tokio::test]
async fn patches_of_three_kinds() {
    let door = door().await;
    door.create("configmaps", config_map("a")).await.unwrap();
    let call = door.call("configmaps", "a");
    let merged = door.patch(&call, MERGE, r#"{"data":{"k":null,"x":"1"}}"#).await.unwrap();
    assert_eq!(merged.at(&["data"]).to_string(), r#"{"x":"1"}"#);
    let patched = door
        .patch(&call, JSON, r#"[{"op":"test","path":"/data/x","value":"1"},{"op":"add","path":"/data/y","value":"2"}]"#)
        .await
        .unwrap();
    assert_eq!(patched.at(&["data"]).to_string(), r#"{"x":"1","y":"2"}"#);
    let strategic = door.patch(&call, STRATEGIC, r#"{"data":{"$patch":"replace","z":"3"}}"#).await.unwrap();
    assert_eq!(strategic.at(&["data"]).to_string(), r#"{"z":"3"}"#);
    let stale = door.patch(&call, MERGE, r#"{"metadata":{"resourceVersion":"1"},"data":{"q":"1"}}"#).await.unwrap_err();
    assert!(stale.is(Reason::Conflict), "{stale}");
}

#[tokio::test]
async fn patches_at_once_are_all_applied() {
    let door = Arc::new(door().await);
    door.create("configmaps", config_map("a")).await.unwrap();
    let tasks = (0..16).map(|i| {
        let door = door.clone();
        tokio::spawn(async move {
            door.patch(&door.call("configmaps", "a"), MERGE, &format!(r#"{{"data":{{"k{i}":"1"}}}}"#)).await
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!(door.get("configmaps", "a").await.unwrap().at(&["data"]).as_object().unwrap().len(), 17);
}

#[tokio::test]
async fn patches_of_a_scale_do_not_fail_each_other() {
    let door = Arc::new(door().await);
    door.create("deployments", deployment("d", 1)).await.unwrap();
    let tasks = (2..18).map(|i| {
        let door = door.clone();
        tokio::spawn(async move {
            let patch = format!(r#"{{"spec":{{"replicas":{i}}}}}"#);
            door.patch(&door.sub("deployments", "d", "scale"), MERGE, &patch).await
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!(door.get("deployments", "d").await.unwrap().at(&["metadata", "generation"]).as_i64(), Some(17));
    let stale = r#"{"metadata":{"resourceVersion":"1"},"spec":{"replicas":1}}"#;
    let refused = door.patch(&door.sub("deployments", "d", "scale"), MERGE, stale).await.unwrap_err();
    assert!(refused.is(Reason::Conflict), "{refused}");
}

#[tokio::test]
async fn status_stands_apart_and_generation_counts_the_spec() {
    let door = door().await;
    let made = door.create("deployments", deployment("d", 1)).await.unwrap();
    assert_eq!(made.at(&["status"]).to_string(), "{}");
    assert_eq!(made.at(&["metadata", "generation"]).as_i64(), Some(1));
    let status = door
        .patch(&door.sub("deployments", "d", "status"), MERGE, r#"{"spec":{"replicas":7},"status":{"replicas":3}}"#)
        .await
        .unwrap();
    assert_eq!(
        (status.at(&["spec", "replicas"]).as_i64(), status.at(&["status", "replicas"]).as_i64()),
        (Some(1), Some(3))
    );
    assert_eq!(status.at(&["metadata", "generation"]).as_i64(), Some(1));
    let main = door
        .patch(&door.call("deployments", "d"), MERGE, r#"{"spec":{"replicas":7},"status":{"replicas":0}}"#)
        .await
        .unwrap();
    assert_eq!(
        (main.at(&["spec", "replicas"]).as_i64(), main.at(&["status", "replicas"]).as_i64()),
        (Some(7), Some(3))
    );
    assert_eq!(main.at(&["metadata", "generation"]).as_i64(), Some(2));
}

#[tokio::test]
async fn scale_reads_and_writes_replicas() {
    let door = door().await;
    door.create("deployments", deployment("d", 2)).await.unwrap();
    let scale = door.0.get(&door.sub("deployments", "d", "scale"), None).await.unwrap().answer.value();
    assert_eq!(scale.str_at(&["kind"]), "Scale");
    assert_eq!(scale.at(&["spec", "replicas"]).as_i64(), Some(2));
    assert_eq!(scale.str_at(&["status", "selector"]), "a=b");
    let scaled = door.patch(&door.sub("deployments", "d", "scale"), MERGE, r#"{"spec":{"replicas":5}}"#).await.unwrap();
    assert_eq!(scaled.at(&["spec", "replicas"]).as_i64(), Some(5));
    assert_eq!(door.get("deployments", "d").await.unwrap().at(&["spec", "replicas"]).as_i64(), Some(5));
    let mut wrong = scale;
    wrong.set(&["spec", "replicas"], -1);
    wrong.remove(&["metadata", "resourceVersion"]);
    assert!(door.update(&door.sub("deployments", "d", "scale"), wrong).await.unwrap_err().is(Reason::Invalid));
}

#[tokio::test]
async fn deletion_waits_for_grace_and_finalizers() {
    let door = door().await;
    let mut body = deployment("d", 30);
    body.set(&["metadata", "finalizers"], vec![Value::from("example.com/hold")]);
    door.create("deployments", body).await.unwrap();
    let going = door.delete("deployments", "d", value!({})).await.unwrap();
    assert_eq!(going.at(&["metadata", "deletionGracePeriodSeconds"]).as_i64(), Some(30));
    let stamp = going.at(&["metadata", "deletionTimestamp"]).clone();
    assert!(!stamp.is_null());
    // A longer period changes nothing, a shorter one does.
    let longer = door.delete("deployments", "d", value!({"gracePeriodSeconds": 60})).await.unwrap();
    assert_eq!(longer.at(&["metadata", "deletionTimestamp"]), &stamp);
    let now = door.delete("deployments", "d", value!({"gracePeriodSeconds": 0})).await.unwrap();
    assert_eq!(now.at(&["metadata", "deletionGracePeriodSeconds"]).as_i64(), Some(0));
    let added = door
        .patch(
            &door.call("deployments", "d"),
            MERGE,
            r#"{"metadata":{"finalizers":["example.com/hold","example.com/new"]}}"#,
        )
        .await
        .unwrap_err();
    assert!(added.message().contains("no new finalizers can be added if the object is being deleted"), "{added}");
    door.patch(&door.call("deployments", "d"), MERGE, r#"{"metadata":{"finalizers":null}}"#).await.unwrap();
    assert!(door.get("deployments", "d").await.unwrap_err().is(Reason::NotFound));
}

#[tokio::test]
async fn deletion_preconditions_and_policies() {
    let door = door().await;
    let made = door.create("configmaps", config_map("a")).await.unwrap();
    let refused = door.delete("configmaps", "a", value!({"preconditions": {"uid": "x"}})).await.unwrap_err();
    assert!(
        refused.is(Reason::Conflict) && refused.message().contains("the UID in the precondition (x) does not match"),
        "{refused}"
    );
    let held = door.delete("configmaps", "a", value!({"propagationPolicy": "Foreground"})).await.unwrap();
    assert_eq!(held.at(&["metadata", "finalizers"]).to_string(), r#"["foregroundDeletion"]"#);
    let gone = door.delete("configmaps", "a", value!({"propagationPolicy": "Background"})).await.unwrap();
    assert_eq!(gone.str_at(&["status"]), "Success");
    assert_eq!(gone.at(&["details", "uid"]), made.at(&["metadata", "uid"]));
}

#[tokio::test]
async fn lists_page_select_and_go_back() {
    let door = door().await;
    for i in 0..5 {
        door.create("configmaps", config_map(&format!("c{i}"))).await.unwrap();
    }
    let page = door.list("configmaps", ListQuery { limit: Some(2), ..ListQuery::default() }).await.unwrap();
    assert_eq!(
        (names(&page.items), page.remaining, page.revision),
        (vec!["c0".into(), "c1".into()], Some(3), Revision(5))
    );
    // What happens between two pages is not on the second.
    door.delete("configmaps", "c2", value!({})).await.unwrap();
    door.create("configmaps", config_map("c1x")).await.unwrap();
    let rest = door
        .list("configmaps", ListQuery { continue_token: page.continue_token, ..ListQuery::default() })
        .await
        .unwrap();
    assert_eq!((names(&rest.items), rest.revision), (vec!["c2".into(), "c3".into(), "c4".into()], Revision(5)));
    let labels = select::LabelSelector::parse("n in (c0,c4)").unwrap();
    let selected = door.list("configmaps", ListQuery { labels, ..ListQuery::default() }).await.unwrap();
    assert_eq!(names(&selected.items), ["c0", "c4"]);
    let fields = select::FieldSelector::parse("metadata.name=c3").unwrap();
    let selected = door.list("configmaps", ListQuery { fields, ..ListQuery::default() }).await.unwrap();
    assert_eq!(names(&selected.items), ["c3"]);
    let exact = ListQuery {
        resource_version: Some("3".into()),
        version_match: Some(VersionMatch::Exact),
        ..ListQuery::default()
    };
    assert_eq!(names(&door.list("configmaps", exact).await.unwrap().items), ["c0", "c1", "c2"]);
    let future = ListQuery { resource_version: Some("99".into()), ..ListQuery::default() };
    assert!(door.list("configmaps", future).await.unwrap_err().is(Reason::Timeout));
    let fields = select::FieldSelector::parse("spec.nothing=1").unwrap();
    assert!(
        door.list("configmaps", ListQuery { fields, ..ListQuery::default() }).await.unwrap_err().is(Reason::BadRequest)
    );
}

async fn drain(watcher: &mut Watcher, n: usize) -> Vec<String> {
    let (mut out, mut seen) = (Vec::new(), Vec::new());
    while seen.len() < n {
        out.clear();
        assert!(watcher.next(&mut out).await.unwrap());
        seen.extend(out.iter().map(|d| format!("{} {}@{}", d.kind.word(), d.object.name(), d.object.revision)));
    }
    seen
}

#[tokio::test]
async fn watches_resume_select_and_bookmark() {
    let door = door().await;
    door.create("deployments", deployment("a", 1)).await.unwrap();
    door.create("deployments", deployment("b", 2)).await.unwrap();
    let call = door.call("deployments", "");
    let from = |rv: &str| ListQuery { resource_version: Some(rv.into()), ..ListQuery::default() };
    let mut resumed = door.0.watch(&call, &from("1")).await.unwrap();
    let fields = select::FieldSelector::parse("spec.replicas=2").unwrap();
    let mut twos = door.0.watch(&call, &ListQuery { fields, ..ListQuery::default() }).await.unwrap();
    let initial = ListQuery {
        send_initial_events: Some(true),
        allow_bookmarks: true,
        version_match: Some(VersionMatch::NotOlderThan),
        ..ListQuery::default()
    };
    let mut streamed = door.0.watch(&call, &initial).await.unwrap();
    assert_eq!(drain(&mut streamed, 3).await, ["ADDED a@1", "ADDED b@2", "BOOKMARK @2"]);
    door.patch(&door.call("deployments", "a"), MERGE, r#"{"spec":{"replicas":2}}"#).await.unwrap();
    door.patch(&door.call("deployments", "b"), MERGE, r#"{"spec":{"replicas":3}}"#).await.unwrap();
    door.delete("deployments", "a", value!({"gracePeriodSeconds": 0})).await.unwrap();
    assert_eq!(drain(&mut resumed, 4).await, ["ADDED b@2", "MODIFIED a@3", "MODIFIED b@4", "DELETED a@5"]);
    assert_eq!(drain(&mut twos, 4).await, ["ADDED b@2", "ADDED a@3", "DELETED b@4", "DELETED a@5"]);
}

#[tokio::test]
async fn a_watch_ends_at_its_timeout_and_an_old_one_is_told() {
    let door = door().await;
    let call = door.call("configmaps", "");
    let short = ListQuery { timeout: Some(std::time::Duration::from_millis(20)), ..ListQuery::default() };
    let mut watcher = door.0.watch(&call, &short).await.unwrap();
    assert!(!watcher.next(&mut Vec::new()).await.unwrap());
}

#[tokio::test]
async fn claims_are_exclusive_and_come_back() {
    let door = door().await;
    let mut body = deployment("one", 0);
    body.set(&["spec", "template", "metadata", "name"], "any");
    let one = door.create("deployments", body.clone()).await.unwrap();
    body.set(&["metadata", "name"], "two");
    let two = door.create("deployments", body).await.unwrap();
    let held = |v: &Value| v.str_at(&["spec", "template", "metadata", "name"]).to_string();
    assert_eq!((held(&one).as_str(), held(&two).as_str()), ("a0", "a1"));
    door.delete("deployments", "one", value!({})).await.unwrap();
    let mut body = deployment("three", 0);
    body.set(&["spec", "template", "metadata", "name"], "any");
    assert_eq!(held(&door.create("deployments", body).await.unwrap()), "a0");
}

#[tokio::test]
async fn another_engine_on_the_same_store_sees_the_same() {
    let store: Arc<dyn Store> = Memory::new();
    let door = Door(engine_on(store.clone()).await);
    door.create("configmaps", config_map("a")).await.unwrap();
    let secret = value!({"metadata": {"name": "s"}, "data": {"p": "aHVzaA=="}});
    let secret = door.create("secrets", secret).await.unwrap();
    door.patch(&door.call("configmaps", "a"), MERGE, r#"{"data":{"x":"1"}}"#).await.unwrap();
    let (_, raw) = store.get("/registry/secrets/ns/s").await.unwrap().unwrap();
    assert!(raw.starts_with(b"sealed:"), "secrets are sealed at rest");
    let other = Door(engine_on(store).await);
    assert_eq!(other.get("configmaps", "a").await.unwrap(), door.get("configmaps", "a").await.unwrap());
    assert_eq!(other.get("secrets", "s").await.unwrap(), secret);
    // History survives: a watch goes on where the other left off.
    let call = other.call("configmaps", "");
    let query = ListQuery { resource_version: Some("1".into()), ..ListQuery::default() };
    let mut watcher = other.0.watch(&call, &query).await.unwrap();
    assert_eq!(drain(&mut watcher, 1).await, ["MODIFIED a@3"]);
}

/// A page waits for its list's revision: another server may have made the page before it, and been further.
#[tokio::test]
async fn a_page_is_never_older_than_the_one_before() {
    let (here, there) = (door().await, door().await);
    for name in ["a", "b", "c"] {
        there.create("configmaps", config_map(name)).await.unwrap();
    }
    here.create("configmaps", config_map("a")).await.unwrap();
    let first = there.list("configmaps", ListQuery { limit: Some(1), ..ListQuery::default() }).await.unwrap();
    let next = ListQuery { continue_token: first.continue_token, ..ListQuery::default() };
    let (second, ()) = tokio::join!(here.list("configmaps", next), async {
        for name in ["b", "c"] {
            here.create("configmaps", config_map(name)).await.unwrap();
        }
    });
    let second = second.unwrap();
    assert_eq!((names(&second.items), second.revision), (vec!["b".into(), "c".into()], Revision(3)));
}

/// A list of long ago is not gone on with as it was, but from the same key in whatever state there is.
#[tokio::test(start_paused = true)]
async fn pages_expire() {
    let door = door().await;
    for name in ["a", "b", "c"] {
        door.create("configmaps", config_map(name)).await.unwrap();
    }
    let first = door.list("configmaps", ListQuery { limit: Some(1), ..ListQuery::default() }).await.unwrap();
    let next = || ListQuery { continue_token: first.continue_token.clone(), ..ListQuery::default() };
    // Nothing is written: the state of then is that of now.
    tokio::time::sleep(Duration::from_secs(1200)).await;
    assert_eq!(names(&door.list("configmaps", next()).await.unwrap().items), ["b", "c"]);
    door.create("configmaps", config_map("bb")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(names(&door.list("configmaps", next()).await.unwrap().items), ["b", "c"]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let expired = door.list("configmaps", next()).await.unwrap_err();
    assert_eq!(expired.reason(), "Expired");
    let fresh = expired.to_json()["metadata"]["continue"].as_str().map(str::to_string);
    assert!(fresh.is_some());
    let rest = door.list("configmaps", ListQuery { continue_token: fresh, ..ListQuery::default() }).await.unwrap();
    assert_eq!((names(&rest.items), rest.revision), (vec!["b".into(), "bb".into(), "c".into()], Revision(4)));
}

#[tokio::test]
async fn revisions_and_strings_are_checked() {
    let door = door().await;
    let bad = ListQuery { resource_version: Some("abc".into()), ..ListQuery::default() };
    assert!(door.list("configmaps", bad).await.is_err());
    let token = ListQuery { continue_token: Some("zz".into()), ..ListQuery::default() };
    assert_eq!(
        door.list("configmaps", token).await.unwrap_err().message(),
        "invalid continue token: continue key is not valid"
    );
    let other: Str = "other".into();
    let mut body = config_map("a");
    body.set(&["metadata", "namespace"], &other);
    let wrong = door.create("configmaps", body).await.unwrap_err();
    assert_eq!(
        wrong.message(),
        "the namespace of the provided object does not match the namespace sent on the request"
    );
}

/// A version that is stored elsewhere and not served here, as JSON and as a message that the table does not have.
#[tokio::test]
async fn another_version_of_the_same_shape_is_read() {
    let store: Arc<dyn Store> = Memory::new();
    let spec = r#"{"replicas":3,"selector":{},"template":{}}"#;
    let json = |version: &str| {
        format!(r#"{{"kind":"Deployment","apiVersion":"apps/{version}","metadata":{{"name":"x"}},"spec":{spec}}}"#)
    };
    let message = wire::protobuf::encode(&value::parse_lenient(json("v1").as_bytes()).unwrap());
    let message = wire::protobuf::open(&message).unwrap().raw.to_vec();
    let message = |version: &str| wire::protobuf::envelope(&format!("apps/{version}"), "Deployment", &message);
    for (name, bytes) in [
        ("json", json("v1beta9").into()),
        ("message", message("v1beta9")),
        ("old-json", json("v1beta8").into()),
        ("old-message", message("v1beta8")),
    ] {
        store.commit(Txn::create(format!("/registry/deployments/ns/{name}"), bytes)).await.unwrap();
    }
    let door = Door(engine_on(store).await);
    for name in ["json", "message"] {
        let read = door.get("deployments", name).await.unwrap();
        assert_eq!((read.str_at(&["apiVersion"]), read.at(&["spec", "replicas"])), ("apps/v1", &3.into()), "{name}");
    }
    for name in ["old-json", "old-message"] {
        let why = door.get("deployments", name).await.unwrap_err().message().to_string();
        let key = format!("/registry/deployments/ns/{name}");
        assert_eq!(
            why,
            format!(r#"Internal error occurred: unable to transform key "{key}": no version "apps/v1beta8" is known"#)
        );
    }
}

/// Readers are told of bytes that are no object, whenever these come; nobody is shown what stood there before, or nothing.
#[tokio::test]
async fn what_is_no_object_is_an_error_of_who_reads_it() {
    const KEY: &str = "/registry/configmaps/ns/a";
    let store: Arc<dyn Store> = Memory::new();
    store.commit(Txn::create("/registry/configmaps/ns/odd", "k8s\0odd")).await.unwrap();
    let door = Door(engine_on(store.clone()).await);
    door.get("configmaps", "odd").await.unwrap_err();
    door.list("configmaps", ListQuery::default()).await.unwrap_err();
    store.commit(Txn { conditions: vec![], writes: vec![Write::delete("/registry/configmaps/ns/odd")] }).await.unwrap();

    let first = door.create("configmaps", config_map("a")).await.unwrap();
    let (at, bytes) = store.get(KEY).await.unwrap().unwrap();
    store.commit(Txn::update(KEY, at, "no object")).await.unwrap();
    let why = door.get("configmaps", "a").await.unwrap_err().message().to_string();
    assert!(why.contains(&format!("unable to transform key \"{KEY}\": not JSON")), "{why}");
    door.list("configmaps", ListQuery::default()).await.unwrap_err();
    store.commit(Txn { conditions: vec![], writes: vec![Write::put(KEY, bytes.clone())] }).await.unwrap();
    let again = door.get("configmaps", "a").await.unwrap();
    assert_eq!(again.at(&["metadata", "uid"]), first.at(&["metadata", "uid"]));
    assert_eq!(names(&door.list("configmaps", ListQuery::default()).await.unwrap().items), ["a"]);

    // What was written here is not passed over when it is damaged.
    let damaged = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":oops}}"#;
    store.commit(Txn::create("/registry/configmaps/ns/b", damaged)).await.unwrap();
    door.get("configmaps", "b").await.unwrap_err();
    let refused = open(store).await.err().expect("damage").to_string();
    assert!(refused.contains("/registry/configmaps/ns/b: not JSON"), "{refused}");
}
