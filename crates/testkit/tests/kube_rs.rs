//! What kube-rs's own machinery makes of the API: discovery, caches over both kinds of watch, conditions, and many
//! writers at once.

use futures::{StreamExt, TryStreamExt, future::try_join_all};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Node, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Discovery, ResourceExt,
    api::{
        Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    },
    core::PartialObjectMeta,
    discovery::{Scope, verbs},
    runtime::{WatchStreamExt, conditions, reflector, wait::await_condition, watcher},
};
use std::collections::BTreeSet;
use testkit::{Cluster, PATIENCE, Value, json};

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a sample")
}

fn config_map(name: &str) -> ConfigMap {
    typed(json!({"metadata": {"name": name}, "data": {"k": "v"}}))
}

#[tokio::test]
async fn discovery_finds_what_the_catalog_has() {
    let cluster = Cluster::start().await;
    let client = cluster.admin().kube();
    for discovery in [
        Discovery::new(client.clone()).run().await.unwrap(),
        Discovery::new(client.clone()).run_aggregated().await.unwrap(),
    ] {
        for (group, kind, plural, scope) in [
            ("", "Pod", "pods", Scope::Namespaced),
            ("apps", "Deployment", "deployments", Scope::Namespaced),
            ("", "Node", "nodes", Scope::Cluster),
            ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", Scope::Cluster),
            ("events.k8s.io", "Event", "events", Scope::Namespaced),
        ] {
            let gvk = GroupVersionKind::gvk(group, "v1", kind);
            let (resource, capabilities) = discovery.resolve_gvk(&gvk).unwrap_or_else(|| panic!("{gvk:?}"));
            assert_eq!((resource.plural.as_str(), capabilities.scope.clone()), (plural, scope));
            assert!(capabilities.supports_operation(verbs::WATCH), "{kind}");
        }
    }
    let version = client.apiserver_version().await.unwrap();
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "36"));
}

#[tokio::test]
async fn a_custom_kind_without_a_type() {
    let cluster = Cluster::start().await;
    let client = cluster.admin().kube();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = typed(json!({
        "metadata": {"name": "things.kube.example.com"},
        "spec": {
            "group": "kube.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    }));
    definitions.create(&PostParams::default(), &definition).await.unwrap();
    let established = await_condition(definitions, "things.kube.example.com", conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established).await.unwrap().unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kube.example.com", "v1", "Thing"));
    let things: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
    let thing = DynamicObject::new("a", &resource).data(json!({"spec": {"deep": {"er": [1, 2]}}}));
    let made = things.create(&PostParams::default(), &thing).await.unwrap();
    assert_eq!(made.data["spec"], json!({"deep": {"er": [1, 2]}}));
    let status = Patch::Merge(json!({"status": {"seen": true}}));
    let told = things.patch_status("a", &PatchParams::default(), &status).await.unwrap();
    assert_eq!((told.data["status"]["seen"].as_bool(), told.metadata.generation), (Some(true), Some(1)));
    let entry = things.entry("a").await.unwrap().and_modify(|thing| thing.data["spec"] = json!({"n": 1}));
    let mut entry = entry.or_insert(|| unreachable!("it is there"));
    entry.commit(&PostParams::default()).await.unwrap();
    assert_eq!(things.get("a").await.unwrap().data["spec"], json!({"n": 1}));
    things.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(things.get_opt("a").await.unwrap().is_none());
}

/// Both ways in which a client keeps a cache end up with what a list says, while others write.
#[tokio::test]
async fn caches_agree_with_lists() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.admin().kube());
    for n in 0..20 {
        maps.create(&PostParams::default(), &config_map(&format!("before-{n}"))).await.unwrap();
    }
    for config in [watcher::Config::default().page_size(7), watcher::Config::default().streaming_lists()] {
        let (reader, writer) = reflector::store();
        let stream = watcher(maps.clone(), config).reflect(writer).default_backoff();
        let (seen, mut news) = tokio::sync::watch::channel(());
        let following = tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                event.expect("a watch does not fail");
                seen.send_replace(());
            }
        });
        reader.wait_until_ready().await.unwrap();
        let created =
            (0..10).map(async |n| maps.create(&PostParams::default(), &config_map(&format!("during-{n}"))).await);
        try_join_all(created).await.unwrap();
        for n in 0..5 {
            maps.delete(&format!("during-{n}"), &DeleteParams::default()).await.unwrap();
        }
        let version = |m: &ConfigMap| (m.name_any(), m.resource_version().unwrap_or_default());
        let want: BTreeSet<_> = maps.list(&ListParams::default()).await.unwrap().iter().map(version).collect();
        let agree = news.wait_for(|()| reader.state().iter().map(|m| version(m)).collect::<BTreeSet<_>>() == want);
        tokio::time::timeout(PATIENCE, agree).await.expect("the cache never agreed").unwrap();
        following.abort();
        maps.delete_collection(&DeleteParams::default(), &ListParams::default().fields("metadata.name=during-9"))
            .await
            .unwrap();
        for n in 5..9 {
            maps.delete(&format!("during-{n}"), &DeleteParams::default()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn no_write_is_lost_and_no_event() {
    const WRITERS: usize = 12;
    const EACH: usize = 15;
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let maps: Api<ConfigMap> = Api::default_namespaced(admin.kube());
    maps.create(&PostParams::default(), &config_map("shared")).await.unwrap();
    let path = "/api/v1/namespaces/default/configmaps";
    let start = admin.get(path).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_string();
    let mut watch = admin.watch(&format!("{path}?watch=1&resourceVersion={start}")).await;
    let writers = (0..WRITERS).map(async |writer| {
        for n in 0..EACH {
            let patch = Patch::Merge(json!({"data": {format!("{writer}-{n}"): "x"}}));
            maps.patch("shared", &PatchParams::default(), &patch).await?;
        }
        Ok::<_, kube::Error>(())
    });
    try_join_all(writers).await.unwrap();
    let end = maps.get("shared").await.unwrap();
    assert_eq!(end.data.unwrap().len(), 1 + WRITERS * EACH);
    let mut last = start.parse::<u64>().unwrap();
    for n in 1..=WRITERS * EACH {
        let (kind, object) = watch.next().await;
        assert_eq!((kind.as_str(), object["data"].as_object().unwrap().len()), ("MODIFIED", 1 + n));
        let revision = object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
        assert!(revision > last);
        last = revision;
    }

    // Of many who create one name, one succeeds.
    let contest = (0..WRITERS).map(async |_| maps.create(&PostParams::default(), &config_map("one")).await.is_ok());
    let won = futures::future::join_all(contest).await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
    // Of many who update what they have read, one succeeds at a time.
    let read = maps.get("one").await.unwrap();
    let contest = (0..WRITERS).map(async |n| {
        let mut mine = read.clone();
        mine.data = Some([("n".to_string(), n.to_string())].into());
        maps.replace("one", &PostParams::default(), &mine).await.is_ok()
    });
    let won = futures::future::join_all(contest).await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn pages_through_the_client() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.admin().kube());
    for n in 0..25 {
        maps.create(&PostParams::default(), &config_map(&format!("m-{n:02}"))).await.unwrap();
    }
    let (mut params, mut seen) = (ListParams::default().limit(10), Vec::new());
    loop {
        let page = maps.list_metadata(&params).await.unwrap();
        seen.extend(page.iter().map(|m| m.name_any()));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    let want: Vec<_> = (0..25).map(|n| format!("m-{n:02}")).collect();
    assert_eq!(seen, want);
    let maps: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(cluster.admin().kube());
    let stream = watcher(maps, watcher::Config::default()).applied_objects();
    let first: Vec<_> = stream.take(25).try_collect().await.unwrap();
    assert_eq!(first.len(), 25);
}

#[tokio::test]
async fn what_is_done_to_pods_and_nodes() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    let pods: Api<Pod> = Api::default_namespaced(admin.kube());
    let nodes: Api<Node> = Api::all(admin.kube());
    nodes.create(&PostParams::default(), &typed(json!({"metadata": {"name": "n"}}))).await.unwrap();
    nodes.cordon("n").await.unwrap();
    assert_eq!(nodes.get("n").await.unwrap().spec.unwrap().unschedulable, Some(true));
    nodes.uncordon("n").await.unwrap();

    let pod = |name: &str| -> Pod {
        typed(json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}))
    };
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n"}});
    let bind = "/api/v1/namespaces/default/pods/a/binding";
    assert_eq!(admin.post(bind, &binding).await.code, 201);
    assert_eq!(admin.post(bind, &binding).await.code, 409, "a pod is bound once");
    let bound = pods.get("a").await.unwrap();
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("n"));
    // Who adds a container for debugging writes no label beside it.
    let debug =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"ephemeralContainers": [{"name": "d", "image": "i"}]}});
    let debug = pods.patch_ephemeral_containers("a", &PatchParams::default(), &Patch::Strategic(debug)).await.unwrap();
    assert_eq!((debug.metadata.labels, debug.spec.unwrap().ephemeral_containers.map(|c| c.len())), (None, Some(1)));
    // With a node it takes its grace period.
    let going = pods.delete("a", &DeleteParams::default()).await.unwrap().left().expect("the pod");
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(30));
    let shorter = DeleteParams::default().grace_period(5);
    let going = pods.delete("a", &shorter).await.unwrap().left().expect("the pod");
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(5));
    let longer = DeleteParams::default().grace_period(50);
    let going = pods.delete("a", &longer).await.unwrap().left().expect("the pod");
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(5), "never longer");
    pods.delete("a", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert!(pods.get_opt("a").await.unwrap().is_none());

    pods.create(&PostParams::default(), &pod("b")).await.unwrap();
    pods.evict("b", &Default::default()).await.unwrap();
    assert!(pods.get_opt("b").await.unwrap().is_none());

    let deployments: Api<Deployment> = Api::default_namespaced(admin.kube());
    let deployment = typed(json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }}));
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let scale = deployments
        .patch_scale("d", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 4}})))
        .await
        .unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(4));
    let env =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "E", "value": "1"}]}]}}}});
    let patched = deployments.patch("d", &PatchParams::default(), &Patch::Strategic(env)).await.unwrap();
    let container = &patched.spec.unwrap().template.spec.unwrap().containers[0];
    assert_eq!((container.image.as_deref(), container.env.as_ref().map(Vec::len)), (Some("i"), Some(1)));
    deployments.restart("d").await.unwrap();
}

#[tokio::test]
async fn two_managers_apply_one_object() {
    let cluster = Cluster::start().await;
    let client = cluster.admin().kube();
    let (maps, deployments): (Api<ConfigMap>, Api<Deployment>) =
        (Api::default_namespaced(client.clone()), Api::default_namespaced(client));
    let config =
        |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": data});
    let apply = async |manager: &str, force: bool, data: Value| {
        let mut params = PatchParams::apply(manager);
        params.force = force;
        maps.patch("shared", &params, &Patch::Apply(config(data))).await
    };
    let names = |map: &ConfigMap| -> Vec<String> {
        map.managed_fields().iter().filter_map(|entry| entry.manager.clone()).collect()
    };
    apply("one", false, json!({"a": "1", "b": "1"})).await.unwrap();
    let both = apply("two", false, json!({"c": "2"})).await.unwrap();
    assert_eq!((names(&both), both.data.unwrap().len()), (vec!["one".to_string(), "two".to_string()], 3));
    let Err(kube::Error::Api(refused)) = apply("two", false, json!({"a": "2", "c": "2"})).await else {
        panic!("the first one owns it")
    };
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    apply("two", true, json!({"a": "2", "c": "2"})).await.unwrap();
    let left = apply("one", false, json!({})).await.unwrap();
    assert_eq!(json!(left.data), json!({"a": "2", "c": "2"}), "what the other took stays, the rest goes");

    // A controller that applies a status, beside an owner that leaves the replicas to whoever scales.
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let whole = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let owner = PatchParams::apply("owner");
    deployments.patch("d", &owner, &Patch::Apply(&whole)).await.unwrap();
    let scale = Patch::Merge(json!({"spec": {"replicas": 3}}));
    deployments
        .patch_scale("d", &PatchParams { field_manager: Some("scaler".into()), ..PatchParams::default() }, &scale)
        .await
        .unwrap();
    let again = deployments.patch("d", &owner, &Patch::Apply(&whole)).await.unwrap();
    assert_eq!(again.spec.as_ref().unwrap().replicas, Some(3));
    let scaler =
        again.managed_fields().iter().find(|entry| entry.manager.as_deref() == Some("scaler")).cloned().unwrap();
    assert_eq!(scaler.subresource.as_deref(), Some("scale"));
    assert_eq!(json!(scaler.fields_v1), json!({"f:spec": {"f:replicas": {}}}));
    let condition = json!([{"type": "Seen", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z", "lastUpdateTime": "2026-01-02T03:04:05Z"}]);
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "status": {"conditions": condition}});
    let told = deployments.patch_status("d", &PatchParams::apply("teller"), &Patch::Apply(&status)).await.unwrap();
    let teller =
        told.managed_fields().iter().find(|entry| entry.manager.as_deref() == Some("teller")).cloned().unwrap();
    assert_eq!((teller.operation.as_deref(), teller.subresource.as_deref()), (Some("Apply"), Some("status")));
    assert!(told.status.unwrap().conditions.unwrap().iter().any(|c| c.type_ == "Seen"));
}
