//! The caches of one process and cluster: one per kind and selection, started when first asked for.

use crate::{
    Cache,
    cache::{Keep, Value},
    source::{self, Update},
};
use client::{Client, Gvr};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::Arc,
};
use value::{Object, Str};

/// What part of an object a cache keeps. Equal projections wake nobody.
pub trait Projection: Clone + PartialEq + Send + Sync + 'static {
    /// `None` where the object is of no interest.
    fn project(object: &Object) -> Option<Self>;
}

/// Which objects a cache holds; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    pub namespace: Option<Str>,
    pub labels: String,
    pub fields: String,
}

impl Selection {
    /// `spec.nodeName=n1`
    pub fn fields(selector: impl Into<String>) -> Self {
        Selection { fields: selector.into(), ..Default::default() }
    }
    /// `app=web`
    pub fn labels(selector: impl Into<String>) -> Self {
        Selection { labels: selector.into(), ..Default::default() }
    }
    /// Everything of one namespace.
    pub fn namespace(namespace: impl Into<Str>) -> Self {
        Selection { namespace: Some(namespace.into()), ..Default::default() }
    }
    /// One object.
    pub fn one(namespace: impl Into<Str>, name: &str) -> Self {
        Selection { fields: format!("metadata.name={name}"), ..Selection::namespace(namespace) }
    }
}

/// The shared caches. A clone is another handle on the same ones.
#[derive(Clone)]
pub struct Caches {
    /// Fills the caches.
    reader: Client,
    /// Writes for the controller that holds this handle.
    client: Client,
    running: Arc<Mutex<HashMap<Key, Box<dyn Any + Send>>>>,
}

/// Resource, selection and type of value; the value is a `Cache` of that type.
type Key = (Gvr, Selection, TypeId);

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caches").field("running", &self.running.lock().len()).finish()
    }
}

impl Caches {
    /// Nothing runs before a cache is asked for. Caches need a Tokio runtime around them.
    pub fn new(client: Client) -> Self {
        Caches { reader: client.clone(), client, running: Arc::default() }
    }
    /// The same caches, for a controller that writes with an identity of its own.
    pub fn acting_as(&self, client: Client) -> Self {
        Caches { client, ..self.clone() }
    }
    /// The client that a controller writes with; unless told otherwise, the one that fills the caches.
    pub fn client(&self) -> &Client {
        &self.client
    }
    /// All objects of a kind, whole and shared.
    pub fn kind(&self, gvr: &Gvr) -> Cache {
        self.select(gvr, Selection::default())
    }
    /// Some objects of a kind, whole and shared.
    pub fn select(&self, gvr: &Gvr, selection: Selection) -> Cache {
        self.start(gvr, selection, Keep { project: |object| Some(object.clone()), same: |_, _| false })
    }
    /// A projection of all objects of a kind.
    pub fn projected<P: Projection>(&self, gvr: &Gvr) -> Cache<Arc<P>> {
        let keep = Keep { project: |object| P::project(object).map(Arc::new), same: |a: &Arc<P>, b| a == b };
        self.start(gvr, Selection::default(), keep)
    }
    /// All objects of a kind, decoded. An object that does not decode is left out and logged.
    pub fn typed<T: DeserializeOwned + Send + Sync + 'static>(&self, gvr: &Gvr) -> Cache<Arc<T>> {
        self.start(gvr, Selection::default(), Keep { project: decode::<T>, same: |_, _| false })
    }
    /// Ends a cache that nobody needs any more (those of one pod's ConfigMaps, say); handles keep it until they are gone.
    pub fn forget(&self, gvr: &Gvr, selection: &Selection) {
        self.running.lock().retain(|(g, s, _), _| g != gvr || s != selection);
    }

    fn start<V: Value>(&self, gvr: &Gvr, selection: Selection, keep: Keep<V>) -> Cache<V> {
        let mut running = self.running.lock();
        let key = (gvr.clone(), selection.clone(), TypeId::of::<V>());
        if let Some(cache) = running.get(&key).and_then(|cache| cache.downcast_ref::<Cache<V>>()) {
            return cache.clone();
        }
        let cache = Cache::detached();
        let weak = cache.weak();
        let api = self.reader.api(gvr).namespace(selection.namespace.clone().unwrap_or_default());
        let sink = move |update: Update| weak.update(update, &keep);
        cache.own(tokio::spawn(source::follow(api, selection, sink)).abort_handle());
        running.insert(key, Box::new(cache.clone()));
        cache
    }
}

fn decode<T: DeserializeOwned>(object: &Arc<Object>) -> Option<Arc<T>> {
    let decoded = object.decode().map(Arc::new);
    decoded.inspect_err(|error| tracing::warn!(object = %object.key, %error, "cannot decode")).ok()
}
