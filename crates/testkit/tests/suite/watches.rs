//! Watches: where they begin, what they tell, and in which order.
//!
//! That nothing is told is shown by what comes next: a watch's events are in the order of their revisions, so that an event
//! which should not be would stand before a later one.

use crate::scene::{Scene, Watching, object, scenarios};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
};
use testkit::json;

scenarios! {
    "[sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the previous watch [Conformance]"
        => restarted,
    "[sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]"
        => from_a_version,
    "[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps [Conformance]"
        => all_that_happens,
    "[sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the selector [Conformance]"
        => out_of_the_selection,
    "[sig-api-machinery] Watchers should receive events on concurrent watches in same order [Conformance]"
        => in_one_order,
}

/// ConfigMaps with one label that watches select by.
struct Maps(Api<ConfigMap>);

impl Maps {
    fn of(scene: &Scene) -> Self {
        Maps(scene.api())
    }
    async fn create(&self, name: &str, label: &str) -> ConfigMap {
        let map = object(json!({"metadata": {"name": name, "labels": {"watched": label}}}));
        self.0.create(&PostParams::default(), &map).await.expect("created")
    }
    /// Reads it and writes it back changed.
    async fn update(&self, name: &str, change: impl FnOnce(&mut ConfigMap)) -> ConfigMap {
        let mut map = self.0.get(name).await.expect("there");
        change(&mut map);
        self.0.replace(name, &PostParams::default(), &map).await.expect("replaced")
    }
    async fn mutate(&self, name: &str, mutation: u32) -> ConfigMap {
        self.update(name, |map| {
            map.data.get_or_insert_default().insert("mutation".into(), mutation.to_string());
        })
        .await
    }
    async fn relabel(&self, name: &str, label: &str) -> ConfigMap {
        self.update(name, |map| {
            map.labels_mut().insert("watched".into(), label.into());
        })
        .await
    }
    async fn delete(&self, name: &str) {
        self.0.delete(name, &DeleteParams::default()).await.expect("deleted");
    }
    /// Those with one of these labels, from a resource version on.
    async fn watch(&self, labels: &str, version: &str) -> Watching<ConfigMap> {
        let selector = format!("watched in ({labels})");
        Watching::open(&self.0, &WatchParams::default().labels(&selector), version).await
    }
}

async fn all_that_happens(scene: Scene) {
    let maps = Maps::of(&scene);
    let (mut a, mut b, mut both) = (maps.watch("a", "").await, maps.watch("b", "").await, maps.watch("a,b", "").await);

    let made = maps.create("first", "a").await;
    for watch in [&mut a, &mut both] {
        assert_eq!(watch.expect("ADDED").await, made);
    }
    for n in 1..=2 {
        let changed = maps.mutate("first", n).await;
        for watch in [&mut a, &mut both] {
            assert_eq!(watch.expect("MODIFIED").await, changed);
        }
    }
    maps.delete("first").await;
    for watch in [&mut a, &mut both] {
        assert_eq!(watch.expect("DELETED").await.uid(), made.uid());
    }

    let made = maps.create("second", "b").await;
    for watch in [&mut b, &mut both] {
        assert_eq!(watch.expect("ADDED").await, made);
    }
    maps.delete("second").await;
    for watch in [&mut b, &mut both] {
        assert_eq!(watch.expect("DELETED").await.uid(), made.uid());
    }

    // Neither was told of what the other selects.
    let (last_of_a, last_of_b) = (maps.create("last-a", "a").await, maps.create("last-b", "b").await);
    assert_eq!(a.expect("ADDED").await, last_of_a);
    assert_eq!(b.expect("ADDED").await, last_of_b);
}

async fn from_a_version(scene: Scene) {
    let maps = Maps::of(&scene);
    maps.create("watched", "this").await;
    let (first, second) = (maps.mutate("watched", 1).await, maps.mutate("watched", 2).await);
    maps.delete("watched").await;

    let mut watch = maps.watch("this", &first.resource_version().expect("a version")).await;
    assert_eq!(watch.expect("MODIFIED").await, second);
    assert_eq!(watch.expect("DELETED").await.data, second.data);
}

async fn restarted(scene: Scene) {
    let maps = Maps::of(&scene);
    let mut broken = maps.watch("this", "").await;
    let made = maps.create("watched", "this").await;
    let first = maps.mutate("watched", 1).await;
    assert_eq!(broken.expect("ADDED").await, made);
    let last = broken.expect("MODIFIED").await;
    assert_eq!(last, first);
    drop(broken);

    let second = maps.mutate("watched", 2).await;
    let mut watch = maps.watch("this", &last.resource_version().expect("a version")).await;
    maps.delete("watched").await;
    assert_eq!(watch.expect("MODIFIED").await, second);
    assert_eq!(watch.expect("DELETED").await.uid(), made.uid());
}

async fn out_of_the_selection(scene: Scene) {
    let maps = Maps::of(&scene);
    let mut watch = maps.watch("this", "").await;
    let made = maps.create("watched", "this").await;
    let first = maps.mutate("watched", 1).await;
    let out = maps.relabel("watched", "other").await;
    assert_eq!(watch.expect("ADDED").await, made);
    assert_eq!(watch.expect("MODIFIED").await, first);
    let gone = watch.expect("DELETED").await;
    assert_eq!((gone.labels(), gone.resource_version()), (first.labels(), out.resource_version()));

    // Unseen: what comes next is the return.
    maps.mutate("watched", 2).await;
    let back = maps.relabel("watched", "this").await;
    let third = maps.mutate("watched", 3).await;
    maps.delete("watched").await;
    assert_eq!(watch.expect("ADDED").await, back);
    assert_eq!(watch.expect("MODIFIED").await, third);
    assert_eq!(watch.expect("DELETED").await.data, third.data);
}

/// A watch more from each event on, while somebody writes: all tell the same revisions from there.
async fn in_one_order(scene: Scene) {
    let maps = scene.api::<ConfigMap>();
    let mut version = maps.list(&ListParams::default()).await.expect("a list").metadata.resource_version.expect("one");
    let writing = tokio::spawn(write(Maps(maps.clone())));
    let mut watches = Vec::new();
    for _ in 0..100 {
        watches.push(Watching::open(&maps, &WatchParams::default(), &version).await);
        let mut told = Vec::with_capacity(watches.len());
        for watch in &mut watches {
            told.push(next_version(watch).await);
        }
        assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
        version = told.swap_remove(0);
    }
    writing.abort();
}

/// Creates, changes and deletes, two maps at a time, until it is stopped.
async fn write(maps: Maps) {
    for n in 0.. {
        maps.create(&format!("n{n}"), "this").await;
        maps.mutate(&format!("n{n}"), n).await;
        if n > 0 {
            maps.delete(&format!("n{}", n - 1)).await;
        }
    }
}

async fn next_version(watch: &mut Watching<ConfigMap>) -> String {
    loop {
        match watch.next().await {
            WatchEvent::Added(map) | WatchEvent::Modified(map) | WatchEvent::Deleted(map) => {
                return map.resource_version().expect("a version");
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => panic!("{status:?}"),
        }
    }
}
