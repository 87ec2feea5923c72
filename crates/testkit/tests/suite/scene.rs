//! What every scenario has: a share of the one control plane, a namespace, and clients.

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Namespace};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::wait::await_condition,
};
use netlink::{Cidr, netns};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt::Debug,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
};
use testkit::{Caller, Cluster, PATIENCE, Value, json};
use tokio::runtime::Runtime;

/// A spec's name and what happens in it.
pub type Scenario = (&'static str, Story);
pub type Story = fn(Scene) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A table of names and async functions of a [`Scene`].
macro_rules! scenarios {
    ($($name:literal => $story:expr,)*) => {
        pub fn table() -> Vec<$crate::scene::Scenario> {
            vec![$(($name, |scene| Box::pin($story(scene)))),*]
        }
    };
}
pub(crate) use scenarios;

/// An address of this test alone, such as pods have; servers that a Service stands for listen on it.
pub const POD_ADDRESS: &str = "10.211.0.7";

/// Images are names only: nothing runs.
pub const IMAGE: &str = "registry.example.com/c:1";

/// One control plane for all, started by the first who needs it.
pub struct Stage {
    // Dropped before its runtime.
    cluster: OnceLock<Arc<Cluster>>,
    runtime: Runtime,
}

impl Stage {
    /// In a network namespace of its own, which every later thread is in as well.
    pub fn new() -> Self {
        let namespace = netlink::Namespace::anonymous().expect("a namespace");
        let address = POD_ADDRESS.parse::<IpAddr>().expect("an address");
        namespace.route().expect("routes").add_address("lo", Cidr::host(address)).expect("an address");
        netns::enter(namespace.fd()).expect("to enter it");
        Stage { runtime: Runtime::new().expect("a runtime"), cluster: OnceLock::new() }
    }

    fn cluster(&self) -> Arc<Cluster> {
        let cluster = self.cluster.get_or_init(|| {
            let starting = async { Cluster::start().await.with_controllers() };
            Arc::new(self.runtime.block_on(starting))
        });
        cluster.clone()
    }

    /// Plays one in a namespace of its own; the panic's text if it fails.
    pub fn play(&self, story: Story) -> Result<(), String> {
        let cluster = self.cluster();
        self.runtime.block_on(async {
            let scene = Scene::open(cluster).await;
            let own = scene.clone();
            let task = tokio::spawn(async move {
                tokio::time::timeout(2 * PATIENCE, story(own)).await.expect("an end");
            });
            let end = task.await;
            scene.close().await;
            end.map_err(|error| match error.try_into_panic() {
                Ok(panic) => {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").into()
                }
                Err(error) => error.to_string(),
            })
        })
    }
}

/// One scenario's share.
#[derive(Clone)]
pub struct Scene {
    pub cluster: Arc<Cluster>,
    /// `system:masters`
    pub admin: Caller,
    /// The scenario's own namespace; names outside it begin with its name, too.
    pub namespace: String,
}

impl Scene {
    async fn open(cluster: Arc<Cluster>) -> Self {
        let admin = cluster.admin();
        let object = serde_json::from_value(json!({"metadata": {"generateName": "spec-"}})).expect("a namespace");
        let namespaces: Api<Namespace> = Api::all(admin.kube());
        let made = namespaces.create(&PostParams::default(), &object).await.expect("a namespace");
        let scene = Scene { cluster, admin, namespace: made.metadata.name.expect("a name") };
        // As the suite's framework does: pods need the one, and mount the other.
        scene.admin.until(&scene.path("api/v1", "serviceaccounts"), "default", |account| account.is_some()).await;
        scene.admin.until(&scene.path("api/v1", "configmaps"), "kube-root-ca.crt", |map| map.is_some()).await;
        scene
    }
    async fn close(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.expect("the namespace");
    }

    /// kube-rs as the administrator.
    pub fn client(&self) -> Client {
        self.admin.kube()
    }
    /// A kind in the scenario's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client(), &self.namespace)
    }
    /// A kind of the cluster, or one in all namespaces.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::all(self.client())
    }
    /// Waits until a selection of a kind in the scenario's namespace holds that many objects, and answers with them.
    pub async fn count<K>(&self, labels: &str, want: usize) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned,
    {
        let collection = K::url_path(&(), Some(&self.namespace));
        let found = self.admin.count(&collection, &labels.replace('=', "%3D"), want).await;
        found.into_iter().map(object).collect()
    }
    /// The path of a collection in the scenario's namespace: `path("apis/apps/v1", "deployments")`.
    pub fn path(&self, version: &str, resource: &str) -> String {
        format!("/{version}/namespaces/{}/{resource}", self.namespace)
    }
    /// One more namespace, of that name of the scenario's.
    pub async fn namespace(&self, name: &str) -> Namespace {
        let object = object(json!({"metadata": {"name": self.own(name)}}));
        self.all().create(&PostParams::default(), &object).await.expect("a namespace")
    }
    /// Labels the scenario's namespace with its own name; selectors of this label meet nobody else.
    pub async fn mark(&self) -> Value {
        let mark = json!({&self.namespace: "true"});
        self.label(&self.namespace, mark.clone()).await;
        mark
    }
    /// Labels a namespace.
    pub async fn label(&self, namespace: &str, labels: Value) {
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        let namespaces = self.all::<Namespace>();
        namespaces.patch(namespace, &PatchParams::default(), &patch).await.expect("labelled");
    }
    /// A name of this scenario's for what has no namespace.
    pub fn own(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }
}

/// An object of a kind from its JSON.
#[track_caller]
pub fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"))
}

/// Waits until a condition holds for the object of that name (`None`: there is none), and answers with that state.
pub async fn until<K>(api: &Api<K>, name: &str, holds: impl Fn(Option<&K>) -> bool) -> Option<K>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let reached = Box::pin(await_condition(api.clone(), name, holds));
    match tokio::time::timeout(PATIENCE, reached).await {
        Ok(state) => state.expect("a watch"),
        Err(_) => panic!("{name} never came to be as expected; it is {:?}", api.get_opt(name).await),
    }
}

/// Changes an object as it stands; again, when somebody was faster.
pub async fn update<K>(api: &Api<K>, name: &str, change: impl Fn(&mut K)) -> K
where
    K: Clone + DeserializeOwned + Serialize + Debug,
{
    loop {
        let mut found = api.get(name).await.expect("an object");
        change(&mut found);
        match api.replace(name, &PostParams::default(), &found).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            answer => return answer.expect("updated"),
        }
    }
}

/// `code` and the reason of what a client was refused with.
#[track_caller]
pub fn refused<T: Debug>(answer: kube::Result<T>, code: u16, reason: &str) -> String {
    match answer {
        Err(kube::Error::Api(status)) => {
            assert_eq!((status.code, status.reason.as_str()), (code, reason), "{}", status.message);
            status.message.clone()
        }
        other => panic!("expected {code} {reason}: {other:?}"),
    }
}

/// A kube-rs watch, event by event.
pub struct Watching<K>(BoxStream<'static, kube::Result<WatchEvent<K>>>);

impl<K: Clone + DeserializeOwned + Debug + Send + 'static> Watching<K> {
    /// From a resource version on (`0`: from what is there).
    pub async fn open(api: &Api<K>, params: &WatchParams, version: &str) -> Self {
        Watching(api.watch(params, version).await.expect("a watch").boxed())
    }
    /// The next event; panics where none comes.
    pub async fn next(&mut self) -> WatchEvent<K> {
        let event = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("no event came");
        event.expect("the watch ended").expect("an event")
    }
    /// The object of the next event, which is of this type (`ADDED`, `MODIFIED`, `DELETED`).
    pub async fn expect(&mut self, kind: &str) -> K {
        match (kind, self.next().await) {
            ("ADDED", WatchEvent::Added(object))
            | ("MODIFIED", WatchEvent::Modified(object))
            | ("DELETED", WatchEvent::Deleted(object)) => object,
            (_, other) => panic!("expected {kind}: {other:?}"),
        }
    }
    /// The first object for which a condition holds, in an event that is no deletion.
    pub async fn until(&mut self, holds: impl Fn(&K) -> bool) -> K {
        self.find(&["ADDED", "MODIFIED"], holds).await
    }
    /// The next deletion; changes before it are passed over.
    pub async fn deleted(&mut self) -> K {
        self.find(&["DELETED"], |_| true).await
    }
    /// An event of this type tells just this state; others before it are passed over.
    pub async fn told(&mut self, kind: &str, state: &K)
    where
        K: PartialEq,
    {
        self.find(&[kind], |object| object == state).await;
    }
    async fn find(&mut self, kinds: &[&str], holds: impl Fn(&K) -> bool) -> K {
        let mut last = None;
        loop {
            let event = tokio::time::timeout(PATIENCE, self.0.next()).await;
            let event = event.unwrap_or_else(|_| panic!("it never came; the last was {last:?}"));
            let (kind, object) = match event.expect("the watch ended").expect("an event") {
                WatchEvent::Added(object) => ("ADDED", object),
                WatchEvent::Modified(object) => ("MODIFIED", object),
                WatchEvent::Deleted(object) => ("DELETED", object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => panic!("{status:?}"),
            };
            if kinds.contains(&kind) && holds(&object) {
                return object;
            }
            last = Some((kind, object));
        }
    }
}
