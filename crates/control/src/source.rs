//! Follows one resource for ever and tells a sink what is there and what changes.
//!
//! Two ways, one contract: in process a list and a watch over shared objects, remotely kube-rs's watcher. After any break
//! the sink gets either the missing events or a [`Update::Replace`] with all that exists, so that it can find deletions
//! by difference. Errors never end it; it tries again, at first soon, later every half minute.

use base::Revision;
use bytes::Bytes;
use client::{Api, Error, ListOptions, WatchEvent, WatchOptions};
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    core::{ApiResource, DynamicResourceScope},
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use std::{borrow::Cow, sync::Arc, time::Duration};
use value::{Meta, Object, ObjectKey, Value};

use crate::Selection;

/// What happened at the source.
pub(crate) enum Update {
    /// Everything that exists now.
    Replace(Vec<Arc<Object>>),
    Apply(Arc<Object>),
    Delete(Arc<Object>),
}

/// Runs until its task is aborted.
pub(crate) async fn follow(api: Api, selection: Selection, sink: impl FnMut(Update) + Send) {
    match api.client().kube() {
        Some(kube) => follow_remote(kube, api, selection, sink).await,
        None => follow_local(api, selection, sink).await,
    }
}

async fn follow_local(api: Api, selection: Selection, mut sink: impl FnMut(Update) + Send) {
    let mut pause = Pause::default();
    let what = api.gvr().to_string();
    loop {
        let options = ListOptions {
            label_selector: selection.labels.clone(),
            field_selector: selection.fields.clone(),
            ..Default::default()
        };
        let list = match api.list(&options).await {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(resource = %what, %error, "cannot list");
                pause.wait().await;
                continue;
            }
        };
        sink(Update::Replace(list.items));
        watch_from(&api, &selection, list.revision, &mut sink, &mut pause).await;
    }
}

/// Watches from a revision on, through ends of the stream, until the revision is too old and a new list is due.
async fn watch_from(
    api: &Api,
    selection: &Selection,
    mut revision: String,
    sink: &mut (impl FnMut(Update) + Send),
    pause: &mut Pause,
) {
    loop {
        let options = WatchOptions {
            label_selector: selection.labels.clone(),
            field_selector: selection.fields.clone(),
            resource_version: revision.clone(),
        };
        let mut stream = match api.watch(&options).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(resource = %api.gvr(), %error, "cannot watch");
                pause.wait().await;
                if matches!(error, Error::Transport(_)) {
                    continue;
                }
                return;
            }
        };
        loop {
            match stream.next().await {
                Some(Ok(events)) => {
                    pause.reset();
                    for event in events {
                        revision = deliver(event, sink);
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(resource = %api.gvr(), %error, "watch broke");
                    if error.is_expired() || !error.retryable() {
                        pause.wait().await;
                        return;
                    }
                    pause.wait().await;
                    break;
                }
                None => {
                    pause.wait().await;
                    break;
                }
            }
        }
    }
}

/// Hands one event on and returns the revision that it stands for.
fn deliver(event: WatchEvent, sink: &mut impl FnMut(Update)) -> String {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            let revision = object.revision.to_string();
            sink(Update::Apply(object));
            revision
        }
        WatchEvent::Deleted(object) => {
            let revision = object.revision.to_string();
            sink(Update::Delete(object));
            revision
        }
        WatchEvent::Bookmark(revision) => revision,
    }
}

/// Delays between tries: none for the first, then 50 ms doubling to half a minute.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    async fn wait(&mut self) {
        if self.0 > 0 {
            let delay = Duration::from_millis(50 << self.0.min(10)).min(Duration::from_secs(30));
            tokio::time::sleep(delay).await;
        }
        self.0 += 1;
    }
    fn reset(&mut self) {
        self.0 = 0;
    }
}

async fn follow_remote(kube: kube::Client, api: Api, selection: Selection, mut sink: impl FnMut(Update) + Send) {
    let gvr = api.gvr();
    let resource = ApiResource {
        group: gvr.group.to_string(),
        version: gvr.version.to_string(),
        api_version: gvr.api_version(),
        // Only messages of kube-rs show the kind.
        kind: gvr.plural.to_string(),
        plural: gvr.plural.to_string(),
    };
    let objects: kube::Api<Remote> = match &selection.namespace {
        Some(namespace) => kube::Api::namespaced_with(kube, namespace, &resource),
        None => kube::Api::all_with(kube, &resource),
    };
    let config = watcher::Config::default().labels(&selection.labels).fields(&selection.fields);
    let mut events = std::pin::pin!(watcher(objects, config).backoff(Soon(0)));
    let mut initial = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => initial = Vec::new(),
            Ok(watcher::Event::InitApply(object)) => initial.push(object.object),
            Ok(watcher::Event::InitDone) => sink(Update::Replace(std::mem::take(&mut initial))),
            Ok(watcher::Event::Apply(object)) => sink(Update::Apply(object.object)),
            Ok(watcher::Event::Delete(object)) => sink(Update::Delete(object.object)),
            Err(error) => tracing::debug!(resource = %api.gvr(), %error, "watch broke"),
        }
    }
}

/// Tries again sooner than kube-rs's default: a node must notice quickly that its server is back. 100 ms doubling to 10 s,
/// and up to half of it more by chance, so that a hundred nodes do not come at once.
struct Soon(u32);

impl Iterator for Soon {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        let delay = Duration::from_millis(100 << self.0.min(7)).min(Duration::from_secs(10));
        self.0 += 1;
        let [chance] = base::ids::random::<1>();
        Some(delay + delay / 2 * u32::from(chance) / 255)
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// An object of any kind as kube-rs's watcher wants it: the three fields that it looks at, and ours.
#[derive(Debug, Clone)]
struct Remote {
    meta: ObjectMeta,
    object: Arc<Object>,
}

impl<'de> serde::Deserialize<'de> for Remote {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(d)?;
        let text = |field: &str| Some(value.str_at(&["metadata", field]).to_string()).filter(|s| !s.is_empty());
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..Default::default()
        };
        let key = ObjectKey::new(value.namespace(), value.name());
        let revision = value.str_at(&["metadata", "resourceVersion"]).parse().unwrap_or(Revision::ZERO);
        let object = Object::new(key, revision, Meta::of(&value, Box::default()), Bytes::from(value.to_json()));
        Ok(Remote { meta, object })
    }
}

impl kube::Resource for Remote {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;
    fn kind(dt: &ApiResource) -> Cow<'_, str> {
        dt.kind.as_str().into()
    }
    fn group(dt: &ApiResource) -> Cow<'_, str> {
        dt.group.as_str().into()
    }
    fn version(dt: &ApiResource) -> Cow<'_, str> {
        dt.version.as_str().into()
    }
    fn plural(dt: &ApiResource) -> Cow<'_, str> {
        dt.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
