//! PodDisruptionBudgets, as objects that a controller looks at.

use crate::{
    operations::{Operations, version_of},
    scene::{Scene, object, scenarios, until},
};
use k8s_openapi::{api::policy::v1::PodDisruptionBudget, apimachinery::pkg::util::intstr::IntOrString};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use testkit::{Value, json};

scenarios! {
    "[sig-apps] DisruptionController should create a PodDisruptionBudget [Conformance]" => one,
    "[sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of PodDisruptionBudgets [Conformance]"
        => many,
}

async fn one(scene: Scene) {
    let least = |share: &str| json!({"spec": {"minAvailable": share}});
    Operations::<PodDisruptionBudget>::namespaced(&scene, |_| budget(json!("1%")))
        .changing(least("3%"), least("2%"))
        .all()
        .await;

    let budgets = scene.api::<PodDisruptionBudget>();
    create(&budgets, "foo", json!("1%")).await;
    let mut read = budgets.get("foo").await.expect("read");
    read.spec.as_mut().expect("a spec").min_available = Some(IntOrString::String("2%".into()));
    let updated = budgets.replace("foo", &PostParams::default(), &read).await.expect("updated");
    let least_of = |budget: &PodDisruptionBudget| budget.spec.as_ref().and_then(|spec| spec.min_available.clone());
    assert_eq!(least_of(&updated), Some(IntOrString::String("2%".into())));
    observed(&budgets, "foo").await;
    let patched = budgets.patch("foo", &PatchParams::default(), &Patch::Merge(least("3%"))).await.expect("patched");
    assert_eq!(least_of(&patched), Some(IntOrString::String("3%".into())));
    assert!(version_of(&patched) > version_of(&updated));
    observed(&budgets, "foo").await;
    budgets.delete("foo", &DeleteParams::default()).await.expect("deleted");
    until(&budgets, "foo", |budget| budget.is_none()).await;
}

async fn many(scene: Scene) {
    let budgets = scene.api::<PodDisruptionBudget>();
    let other = Api::<PodDisruptionBudget>::namespaced(scene.client(), &scene.namespace("other").await.name_any());
    create(&budgets, "foo", json!(2)).await;
    create(&budgets, "foo2", json!("1%")).await;
    create(&other, "foo3", json!(2)).await;
    let names = async |api: &Api<PodDisruptionBudget>, params: &ListParams| {
        let list = api.list(params).await.expect("a list");
        list.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
    };
    let labelled = ListParams::default().labels("foo_pdb=bar_pdb");
    assert_eq!(names(&scene.all(), &labelled).await, ["foo", "foo2", "foo3"]);
    assert_eq!(names(&budgets, &labelled).await, ["foo", "foo2"]);
    budgets.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
    assert!(names(&budgets, &ListParams::default()).await.is_empty());
    assert_eq!(names(&scene.all(), &labelled).await, ["foo3"]);
}

fn budget(least: Value) -> Value {
    json!({"spec": {"minAvailable": least, "selector": {"matchLabels": {"foo": "bar"}}}})
}

async fn create(budgets: &Api<PodDisruptionBudget>, name: &str, least: Value) {
    let mut made = budget(least);
    made["metadata"] = json!({"name": name, "labels": {"foo_pdb": "bar_pdb"}});
    budgets.create(&PostParams::default(), &object(made)).await.expect("created");
    observed(budgets, name).await;
}

/// The controller has seen this budget as it is.
async fn observed(budgets: &Api<PodDisruptionBudget>, name: &str) {
    let seen = |budget: &PodDisruptionBudget| budget.status.as_ref().and_then(|status| status.observed_generation);
    until(budgets, name, |budget| budget.is_some_and(|b| seen(b) >= b.metadata.generation)).await;
}
