//! ServiceAccounts: the objects, their tokens, and the root certificates that come with a namespace.

use crate::{
    operations::Operations,
    scene::{Scene, Watching, object, scenarios, until},
};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenReview},
    core::v1::{ConfigMap, ServiceAccount},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, PostParams, WatchParams},
};
use testkit::json;

scenarios! {
    "[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount [Conformance]" => lifecycle,
    "[sig-auth] ServiceAccounts should update a ServiceAccount [Conformance]" => update,
    "[sig-auth] ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview [Conformance]" => token,
    "[sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace [Conformance]" => root,
}

fn accounts(scene: &Scene) -> Operations<ServiceAccount> {
    let mounted = |mounted: bool| json!({"automountServiceAccountToken": mounted});
    Operations::namespaced(scene, |_| mounted(false)).changing(mounted(false), mounted(true))
}

async fn lifecycle(scene: Scene) {
    accounts(&scene).all().await;
    // All of them go with a collection that nothing selects; the one that every namespace has comes again.
    let api = scene.api::<ServiceAccount>();
    let own = accounts(&scene).create(0).await;
    let before = api.get("default").await.expect("the default one");
    let watched = WatchParams::default().fields(&format!("metadata.name={}", own.name_any()));
    let mut watch = Watching::open(&api, &watched, "0").await;
    assert_eq!(watch.expect("ADDED").await, own);
    api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
    assert_eq!(watch.deleted().await.uid(), own.uid());
    until(&api, "default", |account| account.is_some_and(|account| account.uid() != before.uid())).await;
}

async fn update(scene: Scene) {
    let made = accounts(&scene).create(0).await;
    assert_eq!(made.automount_service_account_token, Some(false));
    let updated = accounts(&scene).update(&made.name_any()).await;
    assert_eq!(updated.automount_service_account_token, Some(true));
}

async fn token(scene: Scene) {
    let name = accounts(&scene).create(0).await.name_any();
    let (api, post) = (scene.api::<ServiceAccount>(), PostParams::default());
    let asked: TokenRequest = object(json!({"spec": {"audiences": []}}));
    let issued: TokenRequest = api.create_subresource("token", &name, &post, &asked).await.expect("a token");
    let token = issued.status.and_then(|status| status.token).expect("a token");
    let review = async |token: &str| {
        let review: TokenReview = object(json!({"spec": {"token": token}}));
        scene.all::<TokenReview>().create(&post, &review).await.expect("a review").status.expect("a status")
    };
    let known = review(&token).await;
    assert_eq!((known.authenticated, known.error), (Some(true), None));
    let user = known.user.expect("a user");
    assert_eq!(user.username, Some(format!("system:serviceaccount:{}:{name}", scene.namespace)));
    assert!(user.groups.is_some_and(|groups| groups.contains(&format!("system:serviceaccounts:{}", scene.namespace))));
    assert_ne!(review(&format!("{token}x")).await.authenticated, Some(true));
}

/// It comes by itself, comes again, and does not stay what somebody makes of it.
async fn root(scene: Scene) {
    const NAME: &str = "kube-root-ca.crt";
    let maps = scene.api::<ConfigMap>();
    let certificates = |map: &ConfigMap| map.data.as_ref().and_then(|data| data.get("ca.crt")).cloned();
    let first = until(&maps, NAME, |map| map.is_some()).await.expect("there");
    assert_eq!(certificates(&first).as_deref(), Some(scene.cluster.pki.ca.cert_pem()));
    maps.delete(NAME, &DeleteParams::default().grace_period(0)).await.expect("deleted");
    let second = until(&maps, NAME, |map| map.is_some_and(|map| map.uid() != first.uid())).await.expect("there");
    assert_eq!(certificates(&second), certificates(&first));
    let emptied = object(json!({"metadata": {"name": NAME}, "data": {"ca.crt": ""}}));
    let emptied = maps.replace(NAME, &PostParams::default(), &emptied).await.expect("changed");
    assert_eq!(certificates(&emptied).as_deref(), Some(""));
    until(&maps, NAME, |map| map.is_some_and(|map| certificates(map) == certificates(&first))).await;
}
