//! create, update, patch, delete and what they share: dry runs, field validation, subresources, generations.

use crate::subject::{Subject, each, names, revision};
use schema::{Generation, SubresourceAction, Verb};
use testkit::{Value, json};

#[tokio::test]
async fn create() {
    each(async |s: &Subject| {
        let (collection, path, name, object) = (s.collection(), s.path("one"), s.name("one"), s.object("one"));
        let created = s.create(&object).await;
        let got = s.admin.get(&path).await;
        let got = s.code("get", &got, 200);
        s.same("what create and get answer", &created, &got);
        s.same("apiVersion", got["apiVersion"].as_str(), Some(s.api_version().as_str()));
        s.same("kind", got["kind"].as_str(), Some(s.kind.kind.as_str()));
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            s.holds(field, got["metadata"][field].as_str().is_some_and(|text| !text.is_empty()));
        }
        let again = s.admin.post(&collection, &object).await;
        let text = format!("{} \"{name}\" already exists", s.qualified());
        s.refused("create again", &again, 409, "AlreadyExists", &text);
        let yaml = serde_saphyr::to_string(&s.object("two")).expect("YAML");
        let answer = s.admin.send("POST", &collection, "application/yaml", yaml).await;
        s.code("create from YAML", &answer, 201);
        let mut versioned = s.object("three");
        versioned["metadata"]["resourceVersion"] = "1".into();
        let answer = s.admin.post(&collection, &versioned).await;
        s.holds("create with a resourceVersion is refused", answer.code >= 400);
        if s.kind.namespaced() {
            let mut elsewhere = s.object("three");
            elsewhere["metadata"]["namespace"] = "default".into();
            let answer = s.admin.post(&collection, &elsewhere).await;
            let text = "the namespace of the provided object does not match the namespace sent on the request";
            s.refused("create in another namespace", &answer, 400, "BadRequest", text);
        }
        let missing = s.admin.get(&s.path("none")).await;
        let text = format!("{} \"{}\" not found", s.qualified(), s.name("none"));
        s.refused("get what is not there", &missing, 404, "NotFound", &text);
    })
    .await;
}

#[tokio::test]
async fn generate_name() {
    each(async |s: &Subject| {
        // Their names follow from what they are about.
        if ["CustomResourceDefinition", "APIService", "IPAddress"].contains(&s.kind.kind.as_str()) {
            return;
        }
        let mut object = s.object("gen");
        object["metadata"] = json!({"generateName": "gen-"});
        let (one, two) = (s.create(&object).await, s.create(&object).await);
        let name = one["metadata"]["name"].as_str().unwrap_or_default().to_string();
        s.holds("five more characters", name.len() == 9 && name.starts_with("gen-"));
        s.same("generateName stays", one["metadata"]["generateName"].as_str(), Some("gen-"));
        s.holds("each its own name", one["metadata"]["name"] != two["metadata"]["name"]);
    })
    .await;
}

#[tokio::test]
async fn update() {
    each(async |s: &Subject| {
        let (path, name, object) = (s.path("one"), s.name("one"), s.object("one"));
        let created = s.create(&object).await;
        let same = s.admin.put(&path, &created).await;
        let same = s.code("put without a change", &same, 200);
        s.same("revision after no change", revision(&same), revision(&created));
        let mut next = created.clone();
        next["metadata"]["labels"]["step"] = "1".into();
        let updated = s.admin.put(&path, &next).await;
        let updated = s.code("put", &updated, 200);
        s.holds("a later revision", revision(&updated) != revision(&created));
        s.same("the label", updated["metadata"]["labels"]["step"].as_str(), Some("1"));
        s.same("uid stays", &updated["metadata"]["uid"], &created["metadata"]["uid"]);
        let stale = s.admin.put(&path, &next).await;
        let text = format!(
            "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your changes to the latest version and try again",
            s.qualified()
        );
        s.refused("put at a stale revision", &stale, 409, "Conflict", &text);

        let mut wrong = updated.clone();
        wrong["metadata"]["name"] = "other".into();
        let answer = s.admin.put(&path, &wrong).await;
        let text = format!("the name of the object (other) does not match the name on the URL ({name})");
        s.refused("put under another name", &answer, 400, "BadRequest", &text);
        if s.kind.namespaced() {
            let mut wrong = updated.clone();
            wrong["metadata"]["namespace"] = "default".into();
            let answer = s.admin.put(&path, &wrong).await;
            let text = "the namespace of the provided object does not match the namespace sent on the request";
            s.refused("put from another namespace", &answer, 400, "BadRequest", text);
        }
        let mut wrong = updated.clone();
        wrong["metadata"]["uid"] = "c0ffee00-0000-4000-8000-000000000000".into();
        let answer = s.admin.put(&path, &wrong).await;
        s.code("put with another uid", &answer, 409);
        let mut wrong = updated.clone();
        wrong["metadata"]["resourceVersion"] = "rubbish".into();
        let answer = s.admin.put(&path, &wrong).await;
        // Upstream has 500 for it.
        s.code("put with no revision at all", &answer, 500);

        let mut free = updated.clone();
        free["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        free["metadata"]["labels"]["step"] = "2".into();
        let answer = s.admin.put(&path, &free).await;
        s.code("put without a revision", &answer, if s.kind.policy.unconditional_update { 200 } else { 422 });

        let missing = s.object("missing");
        let answer = s.admin.put(&s.path("missing"), &missing).await;
        s.code("put what is not there", &answer, if s.kind.policy.create_on_update { 201 } else { 404 });
    })
    .await;
}

#[tokio::test]
async fn patch() {
    each(async |s: &Subject| {
        let path = s.path("one");
        let created = s.create(&s.labelled("one", "a")).await;
        let answer = s.admin.patch(&path, "merge", &json!({"metadata": {"labels": {"merge": "1"}}})).await;
        let merged = s.code("merge patch", &answer, 200);
        s.same("labels", own_labels(&merged), json!({"tier": "a", "merge": "1"}));
        let answer = s.admin.patch(&path, "merge", &json!({"metadata": {"labels": {"merge": "1"}}})).await;
        let again = s.code("merge patch without a change", &answer, 200);
        s.same("revision after no change", revision(&again), revision(&merged));
        let operations = json!([
            {"op": "test", "path": "/metadata/labels/tier", "value": "a"},
            {"op": "remove", "path": "/metadata/labels/merge"},
            {"op": "add", "path": "/metadata/annotations", "value": {"a/b": "c"}},
        ]);
        let answer = s.admin.patch(&path, "json", &operations).await;
        let patched = s.code("JSON patch", &answer, 200);
        s.same("labels", own_labels(&patched), json!({"tier": "a"}));
        s.same("annotations", own_annotations(&patched), json!({"a/b": "c"}));
        let answer =
            s.admin.patch(&path, "json", &json!([{"op": "test", "path": "/metadata/labels/tier", "value": "b"}])).await;
        s.code("JSON patch whose test fails", &answer, 422);
        let answer = s.admin.patch(&path, "json", &json!([{"op": "remove", "path": "/metadata/labels/none"}])).await;
        s.code("JSON patch of nothing", &answer, 422);
        let answer = s.admin.patch(&path, "json", &json!({"op": "test"})).await;
        s.code("JSON patch that is none", &answer, 400);
        let answer = s.admin.patch(&path, "strategic-merge", &json!({"metadata": {"labels": {"s": "1"}}})).await;
        let strategic = s.code("strategic patch", &answer, if s.custom() { 415 } else { 200 });
        if !s.custom() {
            s.same("labels", own_labels(&strategic), json!({"tier": "a", "s": "1"}));
        }
        let answer = s.admin.send("PATCH", &path, "application/json", "{}").await;
        s.code("patch of an unknown kind", &answer, 415);
        let stale = json!({"metadata": {"resourceVersion": revision(&created), "labels": {"x": "y"}}});
        let answer = s.admin.patch(&path, "merge", &stale).await;
        s.code("patch at a stale revision", &answer, 409);
        let answer = s.admin.patch(&path, "merge", &json!({"metadata": {"name": "other"}})).await;
        s.code("patch of the name", &answer, 400);
        let answer = s.admin.patch(&s.path("none"), "merge", &json!({})).await;
        s.code("patch of what is not there", &answer, 404);
    })
    .await;
}

#[tokio::test]
async fn generations() {
    each(async |s: &Subject| {
        let path = s.path("one");
        let created = s.create(&s.object("one")).await;
        let want = |n: i64| match s.kind.policy.generation {
            Generation::Spec => json!(n),
            Generation::Changes if n > 1 => json!(n - 1),
            Generation::Once => json!(1),
            Generation::None | Generation::Changes => Value::Null,
        };
        s.same("generation of a new object", &created["metadata"]["generation"], &want(1));
        let answer = s.admin.patch(&path, "merge", &json!({"metadata": {"labels": {"a": "b"}}})).await;
        let labelled = s.code("label", &answer, 200);
        s.same("generation after a label", &labelled["metadata"]["generation"], &want(1));
        let change = s.sample("one").change;
        if !change.is_null() {
            let answer = s.admin.patch(&path, "merge", &change).await;
            let changed = s.code("change", &answer, 200);
            s.holds("the change is there", contains(&changed, &change));
            s.same("generation after a change", &changed["metadata"]["generation"], &want(2));
        }
        let answer = s.admin.patch(&path, "merge", &json!({"metadata": {"generation": 77}})).await;
        let kept = s.code("generation by hand", &answer, 200);
        s.holds("generation is the server's", kept["metadata"]["generation"] != 77);
    })
    .await;
}

#[tokio::test]
async fn dry_run() {
    each(async |s: &Subject| {
        let (collection, path, object) = (s.collection(), s.path("one"), s.labelled("one", "a"));
        let answer = s.admin.post(&format!("{collection}?dryRun=All"), &object).await;
        let made = s.code("create", &answer, 201);
        s.same("the object is answered", made["metadata"]["name"].as_str(), Some(s.name("one").as_str()));
        let answer = s.admin.get(&path).await;
        s.code("nothing was created", &answer, 404);
        let created = s.create(&object).await;
        let answer = s.admin.post(&format!("{collection}?dryRun=All"), &object).await;
        s.code("create what is there", &answer, 409);
        let mut next = created.clone();
        next["metadata"]["labels"]["tier"] = "b".into();
        let answer = s.admin.put(&format!("{path}?dryRun=All"), &next).await;
        let made = s.code("update", &answer, 200);
        s.same("the update is answered", made["metadata"]["labels"]["tier"].as_str(), Some("b"));
        let patch = json!({"metadata": {"labels": {"tier": "c"}}});
        let answer = s.admin.patch(&format!("{path}?dryRun=All"), "merge", &patch).await;
        let made = s.code("patch", &answer, 200);
        s.same("the patch is answered", made["metadata"]["labels"]["tier"].as_str(), Some("c"));
        let answer = s.admin.delete(&format!("{path}?dryRun=All"), &Value::Null).await;
        s.code("delete", &answer, 200);
        let answer = s.admin.delete(&path, &json!({"dryRun": ["All"]})).await;
        s.code("delete by its body", &answer, 200);
        if s.kind.verbs.contains(&Verb::DeleteCollection) {
            let answer = s.admin.delete(&format!("{collection}?dryRun=All&labelSelector=tier"), &Value::Null).await;
            s.code("delete the collection", &answer, 200);
        }
        let got = s.admin.get(&path).await;
        let got = s.code("get", &got, 200);
        s.same("nothing has changed", got, created);
    })
    .await;
}

#[tokio::test]
async fn field_validation() {
    each(async |s: &Subject| {
        let mut object = s.object("one");
        object["bogus"] = json!(1);
        // The same member twice can only be written by hand.
        let text = object.to_string().replacen('{', r#"{"kind":"Overwritten","#, 1);
        let send = async |query: &str| {
            let path = format!("{}?dryRun=All{query}", s.collection());
            s.admin.send("POST", &path, "application/json", text.clone()).await
        };
        let (ignore, warn, default, strict) = (
            send("&fieldValidation=Ignore").await,
            send("&fieldValidation=Warn").await,
            send("").await,
            send("&fieldValidation=Strict").await,
        );
        let made = s.code("Ignore", &ignore, 201);
        s.same("unknown fields are dropped", &made["bogus"], &Value::Null);
        let deprecation = s.kind.versions[s.version].deprecated.is_some();
        s.same("no warning", ignore.warnings().len(), usize::from(deprecation));
        s.code("Warn", &warn, 201);
        for text in ["unknown field \"bogus\"", "duplicate field \"kind\""] {
            s.holds(&format!("Warn: {text} in {:?}", warn.warnings()), warn.warnings().iter().any(|w| w == text));
        }
        s.same("the default is Warn", warn.warnings(), default.warnings());
        let status = s.code("Strict", &strict, 400);
        let message = status["message"].as_str().unwrap_or_default().to_string();
        for text in ["strict decoding error: ", "unknown field \"bogus\"", "duplicate field \"kind\""] {
            s.holds(&format!("Strict: {text:?} in {message:?}"), message.contains(text));
        }
    })
    .await;
}

#[tokio::test]
async fn field_validation_of_patches() {
    each(async |s: &Subject| {
        let path = s.path("one");
        s.create(&s.object("one")).await;
        let twice = r#"{"bogus": 1, "metadata": {"labels": {"a": "1", "a": "2"}}}"#;
        let send = async |kind: &str, directive: &str| {
            let url = format!("{path}?dryRun=All&fieldValidation={directive}");
            s.admin.send("PATCH", &url, &format!("application/{kind}+json"), twice).await
        };
        let kinds = if s.custom() { &["merge-patch"][..] } else { &["merge-patch", "strategic-merge-patch"] };
        for kind in kinds {
            let ignore = send(kind, "Ignore").await;
            s.code("Ignore", &ignore, 200);
            let deprecated = usize::from(s.kind.versions[s.version].deprecated.is_some());
            s.same("no warning", ignore.warnings().len(), deprecated);
            let warn = send(kind, "Warn").await;
            s.code("Warn", &warn, 200);
            for text in ["unknown field \"bogus\"", "duplicate field \"metadata.labels.a\""] {
                s.holds(&format!("Warn: {text} in {:?}", warn.warnings()), warn.warnings().iter().any(|w| w == text));
            }
            let strict = send(kind, "Strict").await;
            let status = s.code("Strict", &strict, 422);
            let message = status["message"].as_str().unwrap_or_default().to_string();
            let head = " \"\" is invalid: patch: Invalid value: \"";
            s.holds(&format!("{message:?} begins as upstream's"), message.starts_with(head));
            let end = "strict decoding error: unknown field \"bogus\", duplicate field \"metadata.labels.a\"";
            s.holds(&format!("{message:?} ends as upstream's"), message.ends_with(end));
        }
    })
    .await;
}

#[tokio::test]
async fn delete() {
    each(async |s: &Subject| {
        let (collection, path, name) = (s.collection(), s.path("one"), s.name("one"));
        let created = s.create(&s.object("one")).await;
        let wrong = json!({"preconditions": {"uid": "c0ffee00-0000-4000-8000-000000000000"}});
        let answer = s.admin.delete(&path, &wrong).await;
        s.code("another uid", &answer, 409);
        let answer = s.admin.delete(&path, &json!({"preconditions": {"resourceVersion": "1"}})).await;
        s.code("another revision", &answer, 409);
        let right = json!({"preconditions": {
            "uid": created["metadata"]["uid"], "resourceVersion": created["metadata"]["resourceVersion"],
        }, "propagationPolicy": "Background"});
        let answer = s.admin.delete(&path, &right).await;
        let gone = s.code("delete", &answer, 200);
        if s.goes_at_once() {
            // A pod without a node goes at once too, and is answered with itself.
            if gone["kind"] == "Status" {
                s.same("status", gone["status"].as_str(), Some("Success"));
                s.same("details.name", gone["details"]["name"].as_str(), Some(name.as_str()));
                s.same("details.uid", &gone["details"]["uid"], &created["metadata"]["uid"]);
            }
            let answer = s.admin.get(&path).await;
            s.code("it is gone", &answer, 404);
            let answer = s.admin.delete(&path, &Value::Null).await;
            s.code("delete what is not there", &answer, 404);
        } else {
            s.holds("deletionTimestamp", gone["metadata"]["deletionTimestamp"].is_string());
        }
        if !s.kind.verbs.contains(&Verb::DeleteCollection) {
            let answer = s.admin.delete(&collection, &Value::Null).await;
            s.code("delete the collection", &answer, 405);
            return;
        }
        for tier in ["a", "b"] {
            let object = s.labelled(&format!("many-{tier}"), tier);
            s.create(&object).await;
        }
        // Nobody takes an orphan finalizer away here, which is what the oldest kinds get without a word.
        let background = json!({"propagationPolicy": "Background"});
        let answer = s.admin.delete(&format!("{collection}?labelSelector=tier%3Da"), &background).await;
        let list = s.code("delete the collection", &answer, 200);
        s.same("what was deleted", names(&list), vec![s.name("many-a")]);
        let answer = s.admin.get(&s.path("many-a")).await;
        if s.goes_at_once() {
            s.code("selected: gone", &answer, 404);
        }
        let answer = s.admin.get(&s.path("many-b")).await;
        let kept = s.code("not selected: there", &answer, 200);
        s.same("nobody deletes it", &kept["metadata"]["deletionTimestamp"], &Value::Null);
    })
    .await;
}

#[tokio::test]
async fn finalizers_and_propagation() {
    each(async |s: &Subject| {
        let path = s.path("held");
        let mut object = s.object("held");
        object["metadata"]["finalizers"] = json!(["example.com/hold"]);
        s.create(&object).await;
        let answer = s.admin.delete(&path, &Value::Null).await;
        let held = s.code("delete", &answer, 200);
        s.same("it is held", held["metadata"]["name"].as_str(), Some(s.name("held").as_str()));
        s.holds("deletionTimestamp", held["metadata"]["deletionTimestamp"].is_string());
        let mut more = held.clone();
        let finalizers = more["metadata"]["finalizers"].as_array_mut().expect("finalizers");
        finalizers.push("example.com/late".into());
        let answer = s.admin.put(&path, &more).await;
        s.code("one more finalizer", &answer, 422);
        let answer = s.admin.patch(&path, "merge", &json!({"metadata": {"finalizers": null}})).await;
        s.code("let go", &answer, 200);
        if s.goes_at_once() || s.kind.kind == "CustomResourceDefinition" {
            let answer = s.admin.get(&path).await;
            s.code("it is gone", &answer, 404);
        }
        for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
            let plain = policy.to_lowercase();
            let (path, object) = (s.path(&plain), s.object(&plain));
            s.create(&object).await;
            let answer = s.admin.delete(&format!("{path}?propagationPolicy={policy}"), &Value::Null).await;
            let held = s.code(policy, &answer, 200);
            let finalizers = held["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            s.holds(&format!("{finalizer} in {finalizers:?}"), finalizers.contains(&finalizer.into()));
            let answer = s.admin.delete(&path, &json!({"propagationPolicy": "Background"})).await;
            s.code("Background after all", &answer, 200);
            if s.goes_at_once() {
                let answer = s.admin.get(&path).await;
                s.code("it is gone", &answer, 404);
            }
        }
        let answer = s.admin.delete(&s.path("none"), &json!({"propagationPolicy": "Sometimes"})).await;
        s.code("a policy that does not exist", &answer, 422);
    })
    .await;
}

#[tokio::test]
async fn status() {
    each(async |s: &Subject| {
        let sample = s.sample("one");
        if sample.status.is_null() {
            return;
        }
        let (path, object) = (s.path("one"), s.object("one"));
        let created = s.create(&object).await;
        let wanted = json!({"status": sample.status, "metadata": {"labels": {"via": "status"}}});
        let mut both = wanted.clone();
        merge(&mut both, &sample.change);
        let answer = s.admin.patch(&format!("{path}/status"), "merge", &both).await;
        let told = s.code("patch status", &answer, 200);
        s.holds(&format!("the status is there: {}", told["status"]), contains(&told["status"], &sample.status));
        if !sample.change.is_null() {
            s.holds("the rest is not", !contains(&told, &sample.change));
        }
        s.same("generation stays", &told["metadata"]["generation"], &created["metadata"]["generation"]);
        let answer = s.admin.get(&format!("{path}/status")).await;
        let got = s.code("get status", &answer, 200);
        s.same("the whole object is answered", &got, &told);
        if s.kind.policy.status_apart {
            let answer = s.admin.patch(&path, "merge", &json!({"status": null})).await;
            let kept = s.code("status from the main resource", &answer, 200);
            s.same("the status stays", &kept["status"], &told["status"]);
        }
        let mut put = told.clone();
        put["metadata"]["resourceVersion"] = revision(&created).into();
        let answer = s.admin.put(&format!("{path}/status"), &put).await;
        s.code("put status at a stale revision", &answer, 409);
        let answer = s.admin.post(&format!("{path}/status"), &put).await;
        s.code("post status", &answer, 405);
    })
    .await;
}

#[tokio::test]
async fn scale() {
    each(async |s: &Subject| {
        if !s.kind.subresources.iter().any(|r| matches!(r.action, SubresourceAction::Scale { .. })) {
            return;
        }
        let path = s.path("one");
        let created = s.create(&s.object("one")).await;
        let answer = s.admin.get(&format!("{path}/scale")).await;
        let mut scale = s.code("get scale", &answer, 200);
        s.same("kind", &scale["kind"], &json!("Scale"));
        s.same("apiVersion", &scale["apiVersion"], &json!("autoscaling/v1"));
        s.same("replicas", &scale["spec"]["replicas"], &json!(1));
        s.same("revision", revision(&scale), revision(&created));
        scale["spec"]["replicas"] = 5.into();
        let answer = s.admin.put(&format!("{path}/scale"), &scale).await;
        let scaled = s.code("put scale", &answer, 200);
        s.same("replicas", &scaled["spec"]["replicas"], &json!(5));
        let answer = s.admin.put(&format!("{path}/scale"), &scale).await;
        s.code("put scale at a stale revision", &answer, 409);
        let answer = s.admin.patch(&format!("{path}/scale"), "merge", &json!({"spec": {"replicas": 6}})).await;
        s.code("patch scale", &answer, 200);
        let answer = s.admin.get(&path).await;
        let object = s.code("get", &answer, 200);
        s.same("replicas", &object["spec"]["replicas"], &json!(6));
        s.same("generation counts", &object["metadata"]["generation"], &json!(3));
        let answer = s.admin.patch(&format!("{path}/scale"), "merge", &json!({"spec": {"replicas": -1}})).await;
        s.code("negative", &answer, 422);
    })
    .await;
}

/// The labels but for the one that every namespace has.
fn own_labels(object: &Value) -> Value {
    let mut labels = object["metadata"]["labels"].clone();
    labels.as_object_mut().map(|labels| labels.remove("kubernetes.io/metadata.name"));
    labels
}

/// The annotations but for the one that every DaemonSet has.
fn own_annotations(object: &Value) -> Value {
    let mut annotations = object["metadata"]["annotations"].clone();
    annotations.as_object_mut().map(|all| all.remove("deprecated.daemonset.template.generation"));
    annotations
}

/// True if everything of `part` is in `whole`.
fn contains(whole: &Value, part: &Value) -> bool {
    match part {
        Value::Object(map) => map.iter().all(|(key, value)| contains(&whole[key], value)),
        Value::Array(items) => {
            whole.as_array().is_some_and(|w| w.len() == items.len() && w.iter().zip(items).all(|(w, p)| contains(w, p)))
        }
        other => whole == other,
    }
}

fn merge(into: &mut Value, from: &Value) {
    match from {
        Value::Object(map) => map.iter().for_each(|(key, value)| merge(&mut into[key], value)),
        Value::Null => {}
        other => *into = other.clone(),
    }
}

/// Objects of one namespace do not show in another.
#[tokio::test]
async fn namespaces_apart() {
    each(async |s: &Subject| {
        if !s.kind.namespaced() {
            return;
        }
        s.create(&s.object("one")).await;
        let elsewhere = s.collection().replace(&format!("/{}/", s.namespace), "/default/");
        let answer = s.admin.get(&format!("{elsewhere}/one")).await;
        s.code("get in another namespace", &answer, 404);
        let nowhere = s.collection().replace(&format!("/{}/", s.namespace), "/nowhere/");
        let mut object = s.object("one");
        object["metadata"].as_object_mut().unwrap().remove("namespace");
        if object["involvedObject"].is_object() {
            object["involvedObject"]["namespace"] = "nowhere".into();
        }
        if object["regarding"].is_object() {
            object["regarding"]["namespace"] = "nowhere".into();
        }
        let answer = s.admin.post(&nowhere, &object).await;
        s.refused("create where there is no namespace", &answer, 404, "NotFound", "namespaces \"nowhere\" not found");
    })
    .await;
}
