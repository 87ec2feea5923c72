//! Server-side apply and managed fields, for every kind alike.

use crate::subject::{Subject, each, revision};
use schema::Verb;
use testkit::{Value, json};

const APPLY: &str = "application/apply-patch+yaml";

/// Applies an object by name of a manager; `more` is the rest of the query.
async fn apply(s: &Subject, path: &str, manager: &str, more: &str, object: &Value) -> testkit::Answer {
    s.admin.send("PATCH", &format!("{path}?fieldManager={manager}{more}"), APPLY, object.to_string()).await
}

/// The managers of an object: name and operation.
fn managers(object: &Value) -> Vec<(String, String)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_string();
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    list.iter().map(|entry| (text(entry, "manager"), text(entry, "operation"))).collect()
}

fn fields(object: &Value, manager: &str) -> Value {
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    list.into_iter()
        .find(|entry| entry["manager"] == manager)
        .map(|entry| entry["fieldsV1"].clone())
        .unwrap_or_default()
}

#[tokio::test]
async fn applied() {
    each(async |s: &Subject| {
        if !s.kind.verbs.contains(&Verb::Patch) {
            return;
        }
        let (path, object) = (s.path("one"), s.labelled("one", "a"));
        let answer = apply(s, &path, "m", "&dryRun=All", &object).await;
        s.code("apply, dry", &answer, 201);
        let answer = s.admin.get(&path).await;
        s.code("nothing was created", &answer, 404);
        let answer = apply(s, &path, "m", "", &object).await;
        let made = s.code("apply what is not there", &answer, 201);
        s.holds("its manager", managers(&made).contains(&("m".into(), "Apply".into())));
        s.same("the label is owned", &fields(&made, "m")["f:metadata"]["f:labels"]["f:tier"], &json!({}));
        s.same("nothing of the server's", &fields(&made, "m")["f:metadata"]["f:name"], &Value::Null);
        // A controller may have written meanwhile.
        let answer = apply(s, &path, "m", "", &object).await;
        let again = s.code("apply again", &answer, 200);
        let answer = apply(s, &path, "m", "", &object).await;
        let third = s.code("and again", &answer, 200);
        s.same("revision after no change", revision(&third), revision(&again));

        let other = s.labelled("one", "b");
        let answer = apply(s, &path, "n", "", &other).await;
        let text = "Apply failed with 1 conflict: conflict with \"m\": .metadata.labels.tier";
        s.refused("apply what another owns", &answer, 409, "Conflict", text);
        let cause = json!([{"reason": "FieldManagerConflict", "message": "conflict with \"m\"", "field": ".metadata.labels.tier"}]);
        s.same("its cause", &serde_json::from_slice::<Value>(&answer.body).unwrap()["details"]["causes"], &cause);
        let answer = apply(s, &path, "n", "&force=true", &other).await;
        let forced = s.code("forced", &answer, 200);
        s.same("label", forced["metadata"]["labels"]["tier"].as_str(), Some("b"));
        s.same("no more the first one's", &fields(&forced, "m")["f:metadata"]["f:labels"]["f:tier"], &Value::Null);
        // What its last owner leaves out goes.
        let answer = apply(s, &path, "n", "", &s.object("one")).await;
        let left = s.code("apply without the label", &answer, 200);
        s.same("label", &left["metadata"]["labels"]["tier"], &Value::Null);

        let answer = s.admin.send("PATCH", &path, APPLY, object.to_string()).await;
        let text = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        s.refused("apply by nobody", &answer, 422, "Invalid", text);
        let mut unknown = object.clone();
        unknown["unheardOf"] = json!({"x": 1});
        let answer = apply(s, &path, "m", "", &unknown).await;
        s.holds("a field that is not declared", answer.text().contains(".unheardOf: field not declared in schema"));
        let mut wrong = object.clone();
        wrong["kind"] = "Other".into();
        let answer = apply(s, &path, "m", "", &wrong).await;
        s.code("apply of another kind", &answer, 400);
        let yaml = serde_saphyr::to_string(&s.labelled("two", "y")).expect("YAML");
        let answer = s.admin.send("PATCH", &format!("{}?fieldManager=m", s.path("two")), APPLY, yaml).await;
        s.code("apply YAML", &answer, 201);
    })
    .await;
}

#[tokio::test]
async fn tracked() {
    each(async |s: &Subject| {
        let (path, writer) = (s.path("one"), s.admin.with("user-agent", "writer/1.0 (test)"));
        let answer = writer.post(&format!("{}?fieldManager=creator", s.collection()), &s.labelled("one", "a")).await;
        let made = s.code("create", &answer, 201);
        s.holds("who created it", managers(&made).contains(&("creator".into(), "Update".into())));
        s.same("labels are new", &fields(&made, "creator")["f:metadata"]["f:labels"]["."], &json!({}));
        if !s.kind.verbs.contains(&Verb::Patch) {
            return;
        }
        let patch = json!({"metadata": {"labels": {"tier": "b"}}});
        let answer = writer.patch(&path, "merge", &patch).await;
        let patched = s.code("patch", &answer, 200);
        let want = json!({"f:labels": {"f:tier": {}}});
        s.same("who patched it, by its agent", &fields(&patched, "writer")["f:metadata"], &want);
        s.same(
            "taken from the creator",
            &fields(&patched, "creator")["f:metadata"]["f:labels"]["f:tier"],
            &Value::Null,
        );
        let mut next = patched.clone();
        next["metadata"].as_object_mut().unwrap().remove("managedFields");
        let answer = writer.put(&path, &next).await;
        let same = s.code("put without managed fields", &answer, 200);
        s.same("they stay", &same["metadata"]["managedFields"], &patched["metadata"]["managedFields"]);
        let answer = writer.patch(&path, "merge", &json!({"metadata": {"managedFields": [{}]}})).await;
        let reset = s.code("forget all", &answer, 200);
        s.same("no managers", &reset["metadata"]["managedFields"], &Value::Null);
    })
    .await;
}

#[tokio::test]
async fn applied_status() {
    each(async |s: &Subject| {
        let sample = s.sample("one");
        if sample.status.is_null() {
            return;
        }
        s.create(&s.object("one")).await;
        let mut config =
            json!({"apiVersion": s.api_version(), "kind": s.kind.kind.as_str(), "metadata": {"name": s.name("one")}});
        config["status"] = sample.status.clone();
        let answer = apply(s, &format!("{}/status", s.path("one")), "teller", "&force=true", &config).await;
        let told = s.code("apply a status", &answer, 200);
        let own = fields(&told, "teller");
        s.holds(
            &format!("only the status is owned: {own}"),
            own.as_object().is_some_and(|m| m.keys().eq(["f:status"])),
        );
        let entry =
            told["metadata"]["managedFields"].as_array().into_iter().flatten().find(|m| m["manager"] == "teller");
        s.same("its subresource", entry.and_then(|m| m["subresource"].as_str()), Some("status"));
    })
    .await;
}
