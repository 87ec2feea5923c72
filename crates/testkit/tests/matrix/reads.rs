//! list, watch, tables, partial metadata, discovery.

use crate::{
    samples::{CUSTOM_GROUP, widgets},
    subject::{Subject, each, names, revision},
};
use testkit::{Cluster, Value, json};

const WATCH_LIST: &str = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

#[tokio::test]
async fn list() {
    each(async |s: &Subject| {
        let collection = s.collection();
        let before = s.admin.get(&collection).await;
        let before = s.code("list", &before, 200);
        s.same("kind", before["kind"].as_str(), Some(s.kind.list_kind.as_str()));
        s.same("apiVersion", before["apiVersion"].as_str(), Some(s.api_version().as_str()));
        s.holds("items is a list", before["items"].is_array());
        for (plain, tier) in [("l-c", "a"), ("l-a", "a"), ("l-b", "b")] {
            let object = s.labelled(plain, tier);
            s.create(&object).await;
        }
        let all = s.admin.get(&collection).await;
        let all = s.code("list", &all, 200);
        let total = names(&before).len() + 3;
        s.same("all of them", names(&all).len(), total);
        let mut sorted = names(&all);
        sorted.sort();
        s.same("in order", &names(&all), &sorted);

        // Page by page: the same names, and the exact number of the rest.
        let (mut paged, mut token) = (Vec::new(), String::new());
        for page in 0.. {
            let answer = s.admin.get(&format!("{collection}?limit=2&continue={token}")).await;
            let list = s.code("page", &answer, 200);
            paged.extend(names(&list));
            let rest = total.saturating_sub(2 * (page + 1));
            let want = if rest == 0 { Value::Null } else { rest.into() };
            s.same("remainingItemCount", &list["metadata"]["remainingItemCount"], &want);
            s.same("one state", revision(&list), revision(&all));
            token = list["metadata"]["continue"].as_str().unwrap_or_default().into();
            if token.is_empty() || page > total {
                break;
            }
            if page == 0 {
                // Pages are pages of the first one's state.
                let object = s.object("l-late");
                s.create(&object).await;
            }
        }
        s.same("pages", paged, names(&all));

        let name = s.name("l-b");
        for (query, want) in [
            ("labelSelector=tier%3Da".to_string(), vec!["l-a", "l-c"]),
            ("labelSelector=tier+in+(b,c)".into(), vec!["l-b"]),
            ("labelSelector=tier,tier!%3Da".into(), vec!["l-b"]),
            (format!("fieldSelector=metadata.name%3D{name}"), vec!["l-b"]),
            (format!("fieldSelector=metadata.name!%3D{name}&labelSelector=tier"), vec!["l-a", "l-c"]),
            ("labelSelector=tier&limit=1&resourceVersion=0".into(), vec!["l-a", "l-b", "l-c"]),
        ] {
            let answer = s.admin.get(&format!("{collection}?{query}")).await;
            let list = s.code(&query, &answer, 200);
            let want: Vec<String> = want.into_iter().map(|plain| s.name(plain)).collect();
            s.same(&query, names(&list), want);
            s.same("a selection has no remainingItemCount", &list["metadata"]["remainingItemCount"], &Value::Null);
        }
        let answer = s.admin.get(&format!("{}?labelSelector=tier", s.everywhere())).await;
        let list = s.code("in all namespaces", &answer, 200);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let here = |o: &&Value| !s.kind.namespaced() || o["metadata"]["namespace"] == s.namespace.as_str();
        s.same("in all namespaces", items.iter().filter(here).count(), 3);
        let answer = s.admin.get(&format!("{collection}?fieldSelector=spec.nothing%3D1")).await;
        s.code("an unknown field", &answer, 400);
        let exact = format!("{collection}?resourceVersion={}&resourceVersionMatch=Exact", revision(&before));
        let answer = s.admin.get(&exact).await;
        let list = s.code("at a revision", &answer, 200);
        s.same("at a revision", names(&list), names(&before));
    })
    .await;
}

#[tokio::test]
async fn watch() {
    each(async |s: &Subject| {
        let (collection, path, name) = (s.collection(), s.path("w-a"), s.name("w-a"));
        let start = s.admin.get(&collection).await;
        let start = revision(&s.code("list", &start, 200));
        let from = format!("{collection}?watch=true&resourceVersion={start}");
        let mut plain = s.admin.watch(&from).await;
        let mut selected = s.admin.watch(&format!("{from}&labelSelector=tier%3Da")).await;
        let created = s.create(&s.labelled("w-a", "b")).await;
        s.admin.patch(&path, "merge", &json!({"metadata": {"labels": {"tier": "a"}}})).await;
        s.admin.patch(&path, "merge", &json!({"metadata": {"labels": {"more": "x"}}})).await;
        let left = s.admin.patch(&path, "merge", &json!({"metadata": {"labels": {"tier": "c"}}})).await.json();
        let (kind, object) = plain.next().await;
        s.same("first", kind.as_str(), "ADDED");
        let object = if s.told() { plain.next().await.1 } else { object };
        s.same("as it was created", &object, &created);
        let want = vec![format!("MODIFIED {name}"); 3];
        s.same("then", plain.lines(3).await, want);
        let lines = selected.lines(2).await;
        s.same("into the selection", lines, vec![format!("ADDED {name}"), format!("MODIFIED {name}")]);
        let (kind, object) = selected.next().await;
        s.same("out of the selection", kind.as_str(), "DELETED");
        s.same("as it was known", object["metadata"]["labels"]["tier"].as_str(), Some("a"));
        s.same("at the revision of the change", revision(&object), revision(&left));
        s.admin.delete(&path, &json!({"propagationPolicy": "Background"})).await;
        if s.goes_at_once() {
            let (kind, object) = plain.next().await;
            s.same("last", (kind.as_str(), object["metadata"]["name"].as_str()), ("DELETED", Some(name.as_str())));
            s.holds("a deletion has a revision of its own", revision(&object) != revision(&left));
        }
        // Resuming behind the first event repeats nothing and loses nothing.
        let mut resumed =
            s.admin.watch(&format!("{collection}?watch=true&resourceVersion={}", revision(&created))).await;
        s.same("resumed", resumed.lines(3).await, vec![format!("MODIFIED {name}"); 3]);
        // Those by path, as old clients write them.
        let version = s.kind.group_version(s.version).1;
        let old = collection.replacen(&format!("/{version}/"), &format!("/{version}/watch/"), 1);
        let mut old = s.admin.watch(&format!("{old}?resourceVersion={}", revision(&created))).await;
        s.same("by path", old.lines(1).await, vec![format!("MODIFIED {name}")]);
    })
    .await;
}

#[tokio::test]
async fn watch_list() {
    each(async |s: &Subject| {
        for (plain, tier) in [("w-a", "a"), ("w-b", "b")] {
            let object = s.labelled(plain, tier);
            s.create(&object).await;
        }
        let query = format!("{WATCH_LIST}&labelSelector=tier");
        let mut watch = s.admin.watch(&format!("{}?{query}", s.collection())).await;
        let want = vec![format!("ADDED {}", s.name("w-a")), format!("ADDED {}", s.name("w-b"))];
        s.same("the present", watch.lines(2).await, want);
        let (kind, object) = watch.next().await;
        s.same("then", kind.as_str(), "BOOKMARK");
        let annotation = &object["metadata"]["annotations"]["k8s.io/initial-events-end"];
        s.same("the end of the list", annotation.as_str(), Some("true"));
        s.holds("at a revision", !revision(&object).is_empty());
        s.same("kind of a bookmark", object["kind"].as_str(), Some(s.kind.kind.as_str()));
        let object = s.labelled("w-c", "c");
        s.create(&object).await;
        s.same("and goes on", watch.lines(1).await, vec![format!("ADDED {}", s.name("w-c"))]);
    })
    .await;
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let cluster = Cluster::start().await;
    let mut watch = cluster.admin().watch("/api/v1/pods?watch=1&timeoutSeconds=1").await;
    assert!(watch.ended().await);
}

#[tokio::test]
async fn tables() {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    each(async |s: &Subject| {
        let (collection, path, name) = (s.collection(), s.path("one"), s.name("one"));
        s.create(&s.labelled("one", "a")).await;
        let tables = s.admin.with("accept", TABLE);
        for url in [format!("{collection}?labelSelector=tier"), path.clone()] {
            let answer = tables.get(&url).await;
            let table = s.code("table", &answer, 200);
            s.same("kind", (&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
            let columns = table["columnDefinitions"].as_array().map_or(0, Vec::len);
            s.holds("columns", columns > 0);
            let rows = table["rows"].as_array().cloned().unwrap_or_default();
            s.same("rows", rows.len(), 1);
            let row = rows.first().cloned().unwrap_or_default();
            s.same("cells", row["cells"].as_array().map_or(0, Vec::len), columns);
            s.same("the row's object", row["object"]["metadata"]["name"].as_str(), Some(name.as_str()));
            s.same("is metadata", row["object"]["kind"].as_str(), Some("PartialObjectMetadata"));
            s.holds("the name is a cell", row["cells"].as_array().is_some_and(|c| c.contains(&name.as_str().into())));
        }
        let answer = tables.get(&format!("{path}?includeObject=Object")).await;
        let table = s.code("with objects", &answer, 200);
        s.same("with objects", table["rows"][0]["object"]["kind"].as_str(), Some(s.kind.kind.as_str()));
        let answer = tables.get(&format!("{path}?includeObject=None")).await;
        let table = s.code("without objects", &answer, 200);
        s.same("without objects", &table["rows"][0]["object"], &Value::Null);
        let mut watch = tables.watch(&format!("{collection}?watch=1&labelSelector=tier")).await;
        let (kind, table) = watch.next().await;
        s.same("watch of tables", (kind.as_str(), table["kind"].as_str()), ("ADDED", Some("Table")));
    })
    .await;
}

#[tokio::test]
async fn partial_metadata() {
    each(async |s: &Subject| {
        let (collection, path) = (s.collection(), s.path("one"));
        let created = s.create(&s.labelled("one", "a")).await;
        let one = s.admin.with("accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
        let answer = one.get(&path).await;
        let want =
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": created["metadata"]});
        let got = s.code("get", &answer, 200);
        s.same("get", got, want.clone());
        let many = s.admin.with("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
        let answer = many.get(&format!("{collection}?labelSelector=tier")).await;
        let list = s.code("list", &answer, 200);
        s.same("list", list["kind"].as_str(), Some("PartialObjectMetadataList"));
        s.same("items", &list["items"][0]["metadata"], &want["metadata"]);
        let mut watch = one.watch(&format!("{collection}?watch=1&labelSelector=tier")).await;
        s.same("watch", watch.next().await, ("ADDED".to_string(), want));
        let yaml = s.admin.with("accept", "application/yaml").get(&path).await;
        let back: Value = serde_saphyr::from_str(&yaml.text()).unwrap_or_default();
        s.same("YAML", (yaml.content_type(), back), ("application/yaml", created));
    })
    .await;
}

#[tokio::test]
async fn discovery() {
    each(async |s: &Subject| {
        let root = s.everywhere();
        let root = root.rsplit_once('/').map_or("", |(root, _)| root);
        let legacy = s.admin.get(root).await;
        let legacy = s.code("resource list", &legacy, 200);
        let resources = legacy["resources"].as_array().cloned().unwrap_or_default();
        let found = resources.iter().find(|r| r["name"] == s.kind.plural.as_str()).cloned().unwrap_or_default();
        s.same("kind", found["kind"].as_str(), Some(s.kind.kind.as_str()));
        s.same("namespaced", found["namespaced"].as_bool(), Some(s.kind.namespaced()));
        s.same("singularName", found["singularName"].as_str(), Some(s.kind.singular.as_str()));
        s.same("verbs", found["verbs"].as_array().map_or(0, Vec::len), s.kind.verbs.len());
        for sub in &s.kind.subresources.clone() {
            let name = format!("{}/{}", s.kind.plural, sub.name);
            s.holds(&name, resources.iter().any(|r| r["name"] == name.as_str()));
        }
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let whole = s.admin.with("accept", accept).get(if root.starts_with("/apis") { "/apis" } else { "/api" }).await;
        let whole = s.code("aggregated", &whole, 200);
        let (group, version) = s.kind.group_version(s.version);
        let (group, version) = (group.to_string(), version.to_string());
        let groups = whole["items"].as_array().cloned().unwrap_or_default();
        let of = |list: &Value, key: &str, name: &str| -> Value {
            let items = list.as_array().cloned().unwrap_or_default();
            items.into_iter().find(|item| item[key].as_str().unwrap_or("") == name).unwrap_or_default()
        };
        let group = groups.into_iter().find(|g| g["metadata"]["name"].as_str().unwrap_or("") == group);
        let group = group.unwrap_or_default();
        let resource = of(&of(&group["versions"], "version", &version)["resources"], "resource", &s.kind.plural);
        s.same("aggregated", resource["responseKind"]["kind"].as_str(), Some(s.kind.kind.as_str()));
    })
    .await;
}

/// What only a custom kind can show: its schema at work.
#[tokio::test]
async fn custom_resources() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let defined = admin.create(definitions, &widgets()).await;
    let conditions = defined["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for wanted in ["NamesAccepted", "Established"] {
        assert!(conditions.iter().any(|c| c["type"] == wanted && c["status"] == "True"), "{wanted}: {conditions:?}");
    }
    let collection = format!("/apis/{CUSTOM_GROUP}/v1/namespaces/default/widgets");
    let widget = |name: &str, spec: Value| json!({"apiVersion": format!("{CUSTOM_GROUP}/v1"), "kind": "Widget", "metadata": {"name": name}, "spec": spec});

    let made =
        admin.create(&collection, &widget("a", json!({"size": 1, "unknown": {"x": 1}, "free": {"any": [1]}}))).await;
    assert_eq!(
        made["spec"],
        json!({"size": 1, "color": "red", "replicas": 1, "free": {"any": [1]}}),
        "defaults, pruning"
    );
    admin.create(&collection, &widget("b", json!({"size": 2, "color": "blue"}))).await;
    let beta = admin.get(&collection.replace("/v1/", "/v1beta1/")).await.expect(200);
    assert_eq!(beta["apiVersion"], format!("{CUSTOM_GROUP}/v1beta1"));
    assert_eq!(beta["items"][0]["apiVersion"], format!("{CUSTOM_GROUP}/v1beta1"));

    let blue = admin.get(&format!("{collection}?fieldSelector=spec.color%3Dblue")).await.expect(200);
    assert_eq!(names(&blue), ["b"], "a selectable field");
    let table = admin.with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io").get(&collection).await.expect(200);
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| (&c["name"], &c["priority"])).collect();
    assert_eq!(columns, [(&json!("Name"), &json!(0)), (&json!("Size"), &json!(0)), (&json!("Color"), &json!(1))]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 1, "red"]));

    let answer = admin.post(&collection, &widget("c", json!({"size": 101, "color": 7}))).await;
    let message = answer.refused(422, "Invalid");
    assert!(message.contains("Widget.matrix.example.com \"c\" is invalid: "), "{message}");
    assert!(
        message.contains("spec.size: Invalid value: 101: spec.size in body should be less than or equal to 100"),
        "{message}"
    );
    assert!(
        message
            .contains("spec.color: Invalid value: \"integer\": spec.color in body must be of type string: \"integer\""),
        "{message}"
    );
    let answer = admin.post(&format!("{collection}?fieldValidation=Strict"), &widget("c", json!({"sise": 1}))).await;
    let message = answer.refused(400, "BadRequest");
    assert!(message.contains("strict decoding error: unknown field \"spec.sise\""), "{message}");
}
