//! Kinds of the scenario's own, by CustomResourceDefinitions.

use crate::scene::{Scene, object, until};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams},
    runtime::{conditions, wait::Condition},
};
use testkit::{Value, json};

/// A definition that was established, and its objects.
pub struct Custom {
    scene: Scene,
    pub group: String,
    pub definition: CustomResourceDefinition,
}

impl Custom {
    /// `Thing` in these versions, in a group of the scenario's own; `more` goes into the definition's spec.
    pub async fn define(scene: &Scene, versions: Value, more: Value) -> Self {
        Custom::establish(scene, definition(scene, versions, more)).await
    }
    /// Creates a definition and waits until it is established.
    pub async fn establish(scene: &Scene, definition: CustomResourceDefinition) -> Self {
        let definitions = scene.all::<CustomResourceDefinition>();
        let name = definition.name_any();
        definitions.create(&PostParams::default(), &definition).await.expect("a definition");
        let established = conditions::is_crd_established();
        let definition = until(&definitions, &name, |definition| established.matches_object(definition)).await;
        let definition = definition.expect("it is there");
        Custom { scene: scene.clone(), group: definition.spec.group.clone(), definition }
    }
    /// The definition's.
    pub fn name(&self) -> String {
        self.definition.name_any()
    }
    pub fn plural(&self) -> &str {
        &self.definition.spec.names.plural
    }
    pub fn kind(&self) -> &str {
        &self.definition.spec.names.kind
    }
    fn namespaced(&self) -> bool {
        self.definition.spec.scope == "Namespaced"
    }
    /// Its objects in one version; those in the scenario's namespace where they have one.
    pub fn api(&self, version: &str) -> Api<DynamicObject> {
        let resource = self.resource(version);
        match self.namespaced() {
            true => Api::namespaced_with(self.scene.client(), &self.scene.namespace, &resource),
            false => Api::all_with(self.scene.client(), &resource),
        }
    }
    /// The path of the same.
    pub fn path(&self, version: &str) -> String {
        let version = format!("apis/{}/{version}", self.group);
        match self.namespaced() {
            true => self.scene.path(&version, self.plural()),
            false => format!("/{version}/{}", self.plural()),
        }
    }
    /// An object with these fields beside its metadata.
    pub fn object(&self, version: &str, name: &str, fields: Value) -> DynamicObject {
        DynamicObject::new(name, &self.resource(version)).data(fields)
    }
    fn resource(&self, version: &str) -> ApiResource {
        let kind = GroupVersionKind::gvk(&self.group, version, self.kind());
        ApiResource::from_gvk_with_plural(&kind, self.plural())
    }
    /// Deletes it and waits until it is gone, and its objects with it.
    pub async fn remove(self) {
        let definitions = self.scene.all::<CustomResourceDefinition>();
        definitions.delete(&self.name(), &DeleteParams::default()).await.expect("deleted");
        until(&definitions, &self.name(), |definition| definition.is_none()).await;
    }
}

/// What [`Custom::define`] writes.
pub fn definition(scene: &Scene, versions: Value, more: Value) -> CustomResourceDefinition {
    let mut spec = json!({"group": format!("{}.example.com", scene.namespace), "scope": "Namespaced",
        "versions": versions, "names": names("Thing")});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let name = format!("{}.{}", spec["names"]["plural"], spec["group"]).replace('"', "");
    object(json!({"metadata": {"name": name}, "spec": spec}))
}

/// The names of a kind in a definition's spec.
pub fn names(kind: &str) -> Value {
    let singular = kind.to_lowercase();
    json!({"plural": format!("{singular}s"), "singular": singular, "kind": kind, "listKind": format!("{kind}List")})
}

/// A version that takes any field.
pub fn any(name: &str, storage: bool) -> Value {
    version(name, storage, json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))
}

/// A version with this schema.
pub fn version(name: &str, storage: bool, schema: Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
}
