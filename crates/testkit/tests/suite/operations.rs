//! The verbs that most kinds share, in the order in which the suite asks for them.
//!
//! Upstream writes them out kind by kind. Here a kind is its objects and what changes in them, and each is asked for all that
//! any of these specs asks: discovery, create, get, list and watch in one namespace and in all, update, the four kinds of
//! patches, the status, delete, deletecollection. What a client was answered is what every watch must tell, byte for byte.

use crate::scene::{Scene, Watching, object, refused};
use futures::future::BoxFuture;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, ObjectList, Patch, PatchParams, PostParams, WatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeSet, fmt::Debug};
use testkit::{Value, json};

/// What a type of k8s-openapi is.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
}
impl<K> Kind for K where
    K: Resource<DynamicType = ()> + Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Whose metadata is not changed beside their status.
const STRICT: [&str; 4] = ["ResourceClaim", "ServiceCIDR", "ValidatingAdmissionPolicy", "VolumeAttachment"];

/// One kind, and what is to be done with it.
pub struct Operations<K> {
    scene: Scene,
    api: Api<K>,
    everywhere: Api<K>,
    path: String,
    objects: [Value; 3],
    changes: [Value; 2],
    status: Option<[Value; 2]>,
    fields: Option<String>,
}

impl<K: Kind> Operations<K> {
    /// Of a kind with namespaces. Objects get the scenario's label, and a generated name where they have none.
    pub fn namespaced(scene: &Scene, object: impl Fn(usize) -> Value) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope>,
    {
        Operations::new(scene, scene.api(), Some(&scene.namespace), object)
    }
    /// The same of a kind of the cluster.
    pub fn cluster(scene: &Scene, object: impl Fn(usize) -> Value) -> Self {
        Operations::new(scene, scene.all(), None, object)
    }
    fn new(scene: &Scene, api: Api<K>, namespace: Option<&str>, made: impl Fn(usize) -> Value) -> Self {
        let objects = std::array::from_fn(|n| {
            let mut object = made(n);
            merge(&mut object, &json!({"metadata": {"labels": {"suite": scene.namespace}}}));
            if object["metadata"]["name"].is_null() {
                object["metadata"]["generateName"] = format!("{}-", scene.namespace).into();
            }
            object
        });
        let (path, everywhere) = (K::url_path(&(), namespace), scene.all());
        let changes = [json!({}), json!({})];
        Operations { scene: scene.clone(), api, everywhere, path, objects, changes, status: None, fields: None }
    }
    /// Merge patches of what is the kind's own: by a patch, and by an update.
    pub fn changing(self, patch: Value, update: Value) -> Self {
        Operations { changes: [patch, update], ..self }
    }
    /// Two states of its status.
    pub fn with_status(self, one: Value, other: Value) -> Self {
        Operations { status: Some([one, other]), ..self }
    }
    /// Lists and watches select by a field instead of the label.
    pub fn selecting(self, fields: String) -> Self {
        Operations { fields: Some(fields), ..self }
    }

    /// Everything.
    pub async fn all(&self) {
        self.discovery(if self.status.is_some() { &["status"] } else { &[] }).await;
        self.lifecycle().await;
        if self.status.is_some() {
            self.status().await;
        }
    }

    /// The group, its version, the resource with its verbs, and these subresources are documented.
    pub async fn discovery(&self, subresources: &[&str]) {
        let (group, version, plural) = (K::group(&()), K::version(&()), K::plural(&()));
        let admin = &self.scene.admin;
        let is =
            |list: &Value, key: &str, name: &str| list.as_array().is_some_and(|all| all.iter().any(|e| e[key] == name));
        let document = if group.is_empty() {
            let versions = admin.get("/api").await.expect(200);
            assert!(versions["versions"].as_array().is_some_and(|all| all.contains(&json!(version))), "{versions}");
            format!("/api/{version}")
        } else {
            let groups = admin.get("/apis").await.expect(200);
            let own = groups["groups"].as_array().and_then(|all| all.iter().find(|g| g["name"] == *group));
            assert!(own.is_some_and(|own| is(&own["versions"], "version", &version)), "{groups}");
            let own = admin.get(&format!("/apis/{group}")).await.expect(200);
            assert!(is(&own["versions"], "version", &version), "{own}");
            format!("/apis/{group}/{version}")
        };
        let resources = admin.get(&document).await.expect(200);
        let entry = |name: &str| {
            let found = resources["resources"].as_array().and_then(|all| all.iter().find(|r| r["name"] == name));
            let entry = found.unwrap_or_else(|| panic!("no {name} in {resources}"));
            assert_eq!(entry["kind"], *K::kind(&()), "{entry}");
            let verbs = entry["verbs"].as_array().into_iter().flatten().filter_map(Value::as_str);
            verbs.map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(entry(&plural), VERBS);
        for subresource in subresources {
            assert_eq!(entry(&format!("{plural}/{subresource}")), ["get", "patch", "update"]);
        }
    }

    /// From the creation of three to the deletion of one, and then of the others as a collection.
    pub fn lifecycle(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let first = self.create(0).await;
            let second = self.create(1).await;
            let name = first.name_any();
            let read = self.api.get(&name).await.expect("the first");
            assert_eq!(read.uid(), first.uid());
            has(&read, &self.objects[0]);
            let mut again = self.objects[0].clone();
            again["metadata"]["name"] = name.as_str().into();
            refused(self.api.create(&PostParams::default(), &object(again)).await, 409, "AlreadyExists");

            let version = self.listed(&[&first, &second]).await.metadata.resource_version.expect("a version");
            let mut watches = vec![
                Watching::open(&self.api, &self.watched(), &version).await,
                Watching::open(&self.everywhere, &self.watched(), &version).await,
            ];
            let third = self.create(2).await;
            for watch in &mut watches {
                watch.told("ADDED", &third).await;
            }
            self.listed(&[&first, &second, &third]).await;
            let only = WatchParams::default().fields(&format!("metadata.name={name}"));
            watches.push(Watching::open(&self.api, &only, &version).await);
            let mut initial = Watching::open(&self.api, &self.watched(), "").await;
            initial.until(|told| told.uid() == first.uid()).await;

            let patched = self.patch(&name, "merge", &mark("annotations", "patched", &self.changes[0])).await;
            assert!(version_of(&patched) > version_of(&read), "{patched:?}");
            let updated = self.update(&name).await;
            assert!(version_of(&updated) > version_of(&patched), "{updated:?}");
            refused(self.api.replace(&name, &PostParams::default(), &patched).await, 409, "Conflict");
            let strategic = self.patch(&name, "strategic-merge", &mark("labels", &name, &self.changes[0])).await;
            let labelled =
                self.everywhere.list(&ListParams::default().labels(&format!("{name}=true"))).await.expect("a list");
            assert_eq!(labelled.items.len(), 1, "{labelled:?}");
            let added = json!([{"op": "add", "path": "/metadata/labels/json", "value": "true"}]);
            let by_json = self.patch(&name, "json", &added).await;
            has(&by_json, &mark("labels", "json", &json!({})));
            let applied = self.patch(&name, "apply", &self.whole(&name, mark("labels", "applied", &json!({})))).await;
            for watch in &mut watches {
                for state in [&patched, &updated, &strategic, &by_json, &applied] {
                    watch.told("MODIFIED", state).await;
                }
            }

            self.api.delete(&name, &DeleteParams::default()).await.expect("deleted");
            for watch in &mut watches {
                assert_eq!(watch.deleted().await.uid(), first.uid());
            }
            refused(self.api.get(&name).await, 404, "NotFound");
            self.listed(&[&second, &third]).await;
            self.api.delete_collection(&DeleteParams::default(), &self.selected()).await.expect("deleted");
            for watch in &mut watches[..2] {
                let gone = BTreeSet::from([watch.deleted().await.uid(), watch.deleted().await.uid()]);
                assert_eq!(gone, BTreeSet::from([second.uid(), third.uid()]));
            }
            self.listed(&[]).await;
        })
    }

    /// What a selector selects goes, and the rest stays.
    pub async fn collection(&self) {
        let made = [self.create(0).await, self.create(1).await, self.create(2).await];
        let list = self.listed(&[&made[0], &made[1], &made[2]]).await;
        let version = list.metadata.resource_version.expect("a version");
        let mut watch = Watching::open(&self.api, &self.watched(), &version).await;
        let kept = made[2].name_any();
        self.patch(&kept, "merge", &json!({"metadata": {"labels": {"suite": "kept"}}})).await;
        self.api.delete_collection(&DeleteParams::default(), &self.selected()).await.expect("deleted");
        // One because it is not selected any more.
        for _ in &made {
            watch.deleted().await;
        }
        self.listed(&[]).await;
        assert_eq!(self.api.get(&kept).await.expect("what was not selected").uid(), made[2].uid());
        self.api.delete(&kept, &DeleteParams::default()).await.expect("deleted");
    }

    /// Reads of the status, and the writes that change it, and of the rest no more than the kind lets through.
    pub fn status(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let [one, other] = self.status.as_ref().expect("a status");
            let made = self.create(0).await;
            let name = made.name_any();
            let mut watch =
                Watching::open(&self.api, &self.watched(), &made.resource_version().expect("a version")).await;
            let status = format!("{name}/status");
            let read = self.scene.admin.get(&format!("{}/{status}", self.path)).await.expect(200);
            assert_eq!((&read["apiVersion"], &read["kind"]), (&json!(K::api_version(&())), &json!(K::kind(&()))));
            assert_eq!(read["metadata"]["uid"].as_str(), made.uid().as_deref());

            let wanted = |state: &Value| json!({"status": state});
            let patch = mark("annotations", "patched-status", &wanted(one));
            let patched = self.patch_unseen(&status, "merge", &patch).await;
            has(&patched, &wanted(one));
            assert_eq!(patched.annotations().contains_key("patched-status"), !STRICT.contains(&&*K::kind(&())));
            let updated = loop {
                let mut value = json!(self.api.get_status(&name).await.expect("its status"));
                merge(&mut value, &wanted(other));
                match self.api.replace_status(&name, &PostParams::default(), &object(value)).await {
                    Err(kube::Error::Api(status)) if status.reason == "Conflict" => {}
                    answer => break answer.expect("updated"),
                }
            };
            has(&updated, &wanted(other));
            let strategic = self.patch(&status, "strategic-merge", &wanted(one)).await;
            let by_json = self.patch(&status, "json", &json!([{"op": "add", "path": "/status", "value": other}])).await;
            has(&by_json, &wanted(other));
            let applied = self.patch(&status, "apply", &self.whole(&name, wanted(one))).await;
            for state in [&patched, &updated, &strategic, &by_json, &applied] {
                watch.told("MODIFIED", state).await;
            }
            // Not by the object's own path; what a controller writes in between is no answer.
            let (before, ignored) = loop {
                let before = self.api.get(&name).await.expect("read");
                let mut patch = mark("annotations", "beside", &wanted(other));
                patch["metadata"]["resourceVersion"] = json!(before.resource_version());
                match self.api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                    Err(kube::Error::Api(status)) if status.reason == "Conflict" => {}
                    answer => break (before, answer.expect("patched")),
                }
            };
            assert_eq!(json!(ignored)["status"], json!(before)["status"]);
            self.api.delete(&name, &DeleteParams::default()).await.expect("deleted");
        })
    }

    /// One of the objects; the answer has what was asked for.
    pub async fn create(&self, n: usize) -> K {
        let sent = json!(object::<K>(self.objects[n].clone()));
        let made = self.scene.admin.post(&format!("{}?fieldValidation=Strict", self.path), &sent).await.expect(201);
        let made: K = object(made);
        let mut wanted = self.objects[n].clone();
        wanted["metadata"].as_object_mut().expect("an object").remove("generateName");
        // Where there is a subresource, it alone writes the status.
        wanted.as_object_mut().expect("an object").remove("status");
        has(&made, &wanted);
        assert!(version_of(&made) > 0);
        assert!(made.uid().is_some() && made.creation_timestamp().is_some(), "{made:?}");
        made
    }
    /// By reading it, changing it and writing it back, as often as others come between.
    pub async fn update(&self, name: &str) -> K {
        loop {
            let mut sent = json!(self.api.get(name).await.expect("read"));
            merge(&mut sent, &mark("annotations", "updated", &self.changes[1]));
            match self.api.replace(name, &PostParams::default(), &object(sent.clone())).await {
                Err(kube::Error::Api(status)) if status.reason == "Conflict" => {}
                answer => {
                    let updated = answer.expect("updated");
                    for own in ["resourceVersion", "managedFields", "generation"] {
                        sent["metadata"].as_object_mut().expect("an object").remove(own);
                    }
                    has(&updated, &sent);
                    return updated;
                }
            }
        }
    }

    /// What a patch of `name` or `name/status` is answered with; it has what the patch says.
    async fn patch(&self, name: &str, kind: &str, patch: &Value) -> K {
        let patched = self.patch_unseen(name, kind, patch).await;
        match kind {
            "json" => {}
            "merge" => has(&patched, patch),
            // Of others' items they say nothing.
            _ => assert!(contains(&json!(patched), patch, false), "not all of {patch} in {patched:?}"),
        }
        patched
    }
    async fn patch_unseen(&self, name: &str, kind: &str, patch: &Value) -> K {
        let manager = if kind == "apply" { "&fieldManager=suite&force=true" } else { "" };
        let path = format!("{}/{name}?fieldValidation=Strict{manager}", self.path);
        object(self.scene.admin.patch(&path, kind, patch).await.expect(200))
    }
    /// A list in the namespace and one in all have exactly these.
    async fn listed(&self, wanted: &[&K]) -> ObjectList<K> {
        let list = self.api.list(&self.selected()).await.expect("a list");
        let everywhere = self.everywhere.list(&self.selected()).await.expect("a list");
        let wanted: BTreeSet<_> = wanted.iter().map(|object| object.uid()).collect();
        for list in [&list, &everywhere] {
            assert_eq!(list.iter().map(|item| item.uid()).collect::<BTreeSet<_>>(), wanted);
        }
        list
    }
    fn selected(&self) -> ListParams {
        match &self.fields {
            Some(fields) => ListParams::default().fields(fields),
            None => ListParams::default().labels(&format!("suite={}", self.scene.namespace)),
        }
    }
    fn watched(&self) -> WatchParams {
        let ListParams { label_selector, field_selector, .. } = self.selected();
        WatchParams { label_selector, field_selector, ..WatchParams::default() }
    }
    /// An applied configuration says what it is.
    fn whole(&self, name: &str, mut patch: Value) -> Value {
        merge(
            &mut patch,
            &json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}}),
        );
        patch
    }
}

/// A patch with one label or annotation more.
fn mark(map: &str, key: &str, patch: &Value) -> Value {
    let mut patch = patch.clone();
    merge(&mut patch, &json!({"metadata": {map: {key: "true"}}}));
    patch
}

/// As a decimal number that grows.
#[track_caller]
pub fn version_of(object: &impl ResourceExt) -> u64 {
    let version = object.resource_version().expect("a version");
    version.parse().unwrap_or_else(|_| panic!("{version} is no number"))
}

/// RFC 7386
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.remove(key)),
            value => merge(target.entry(key).or_insert(Value::Null), value),
        }
    }
}

/// Everything that is wanted is there; there may be more fields, but no more items.
#[track_caller]
pub fn has(actual: &impl Serialize, wanted: &Value) {
    let actual = json!(actual);
    assert!(contains(&actual, wanted, true), "not just {wanted} in {actual}");
}

fn contains(actual: &Value, wanted: &Value, just: bool) -> bool {
    match (actual, wanted) {
        (Value::Object(actual), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| contains(actual.get(key).unwrap_or(&Value::Null), wanted, just))
        }
        (Value::Array(actual), Value::Array(wanted)) if just => {
            actual.len() == wanted.len()
                && actual.iter().zip(wanted).all(|(actual, wanted)| contains(actual, wanted, just))
        }
        (Value::Array(actual), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| actual.iter().any(|actual| contains(actual, wanted, just)))
        }
        // What has no members is not sent.
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Object(wanted)) => wanted.is_empty(),
        (actual, wanted) => actual == wanted,
    }
}
