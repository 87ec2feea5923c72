//! A kind under test, and the soft assertions of the matrix: one run names every kind that fails, and how.

use crate::samples::{self, Sample};
use futures::FutureExt;
use schema::{Kind, Verb};
use std::{cell::RefCell, fmt::Debug, panic::AssertUnwindSafe, sync::Arc};
use testkit::{Answer, Caller, Cluster, Setup, Value, json};

/// One served version of one kind.
pub struct Subject {
    pub admin: Caller,
    pub kind: Arc<Kind>,
    pub version: usize,
    /// A namespace of this version alone.
    pub namespace: String,
    failures: RefCell<Vec<String>>,
}

/// Runs a test on every served version of every kind that stores objects.
pub async fn each(test: impl AsyncFn(&Subject)) {
    each_in(Setup::default(), async |_: &Cluster| {}, test).await;
}

/// The same on a cluster that is set up and prepared for it.
pub async fn each_in(setup: Setup, prepare: impl AsyncFnOnce(&Cluster), test: impl AsyncFn(&Subject)) {
    let cluster = Cluster::open(setup).await;
    let admin = cluster.admin();
    admin.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &samples::widgets()).await;
    prepare(&cluster).await;
    let catalog = cluster.server.engine().catalog();
    let mut failures = Vec::new();
    let mut count = 0;
    let stored = |kind: &Kind| kind.verbs.contains(&Verb::Create) && kind.verbs.contains(&Verb::Get);
    for (kind, version) in catalog.served().filter(|(kind, _)| stored(kind)) {
        count += 1;
        let namespace = format!("matrix-{count}");
        admin.create("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await;
        // Pods need it; nobody else makes it here. Under the test of its own kind it is not in the way.
        if kind.kind != "ServiceAccount" {
            let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            admin.create(&accounts, &json!({"metadata": {"name": "default"}})).await;
        }
        let mut subject =
            Subject { admin: admin.clone(), kind: kind.clone(), version, namespace, failures: RefCell::default() };
        if samples::sample(&kind.kind, &subject.api_version(), "x", "x").is_none() {
            failures.push(format!("{} has no sample in tests/matrix/samples.rs", kind.qualified()));
            continue;
        }
        if AssertUnwindSafe(test(&subject)).catch_unwind().await.is_err() {
            failures.push(format!("{}: panicked, see above", subject.label()));
        }
        failures.append(subject.failures.get_mut());
    }
    assert!(count > 20, "the catalog has {count} kinds");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

impl Subject {
    pub fn api_version(&self) -> String {
        let (group, version) = self.kind.group_version(self.version);
        if group.is_empty() { version.into() } else { format!("{group}/{version}") }
    }
    pub fn custom(&self) -> bool {
        self.kind.custom.is_some()
    }
    /// False for kinds that somebody else must let go first.
    pub fn goes_at_once(&self) -> bool {
        // What is in use is kept, which only a controller knows.
        let kept = ["PersistentVolume", "PersistentVolumeClaim", "VolumeAttributesClass"];
        let kind = self.kind.kind.as_str();
        !matches!(kind, "Namespace" | "CustomResourceDefinition") && !kept.contains(&kind)
    }
    fn root(&self) -> String {
        let (group, version) = self.kind.group_version(self.version);
        if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
    }
    /// All objects of the kind.
    pub fn everywhere(&self) -> String {
        format!("{}/{}", self.root(), self.kind.plural)
    }
    pub fn collection(&self) -> String {
        match self.kind.namespaced() {
            true => format!("{}/namespaces/{}/{}", self.root(), self.namespace, self.kind.plural),
            false => self.everywhere(),
        }
    }
    pub fn name(&self, plain: &str) -> String {
        samples::name(&self.kind.kind, plain)
    }
    pub fn path(&self, plain: &str) -> String {
        format!("{}/{}", self.collection(), self.name(plain))
    }
    pub fn sample(&self, plain: &str) -> Sample {
        samples::sample(&self.kind.kind, &self.api_version(), plain, &self.namespace).expect("a sample")
    }
    /// The whole object.
    pub fn object(&self, plain: &str) -> Value {
        let mut object = self.sample(plain).object;
        object["apiVersion"] = self.api_version().into();
        object["kind"] = self.kind.kind.as_str().into();
        object["metadata"] = json!({"name": self.name(plain)});
        if self.kind.namespaced() {
            object["metadata"]["namespace"] = self.namespace.as_str().into();
        }
        object
    }
    /// The whole object with a label `tier`.
    pub fn labelled(&self, plain: &str, tier: &str) -> Value {
        let mut object = self.object(plain);
        object["metadata"]["labels"] = json!({"tier": tier});
        object
    }
    /// Creates the sample; the created object, with what the server writes into it by itself.
    pub async fn create(&self, object: &Value) -> Value {
        let answer = self.admin.post(&self.collection(), object).await;
        let created = self.code("create", &answer, 201);
        if answer.code != 201 || !self.told() {
            return created;
        }
        let name = created["metadata"]["name"].as_str().unwrap_or_default();
        let from = format!("resourceVersion={}&fieldSelector=metadata.name%3D{name}", revision(&created));
        self.admin.watch(&format!("{}?watch=true&{from}", self.collection())).await.next().await.1
    }
    /// Whether the server itself writes the status of each object, once: whether a FlowSchema's level exists.
    pub fn told(&self) -> bool {
        self.kind.kind == "FlowSchema"
    }

    /// The answer's body; a failure is kept where the code is another.
    #[track_caller]
    pub fn code(&self, what: &str, answer: &Answer, code: u16) -> Value {
        if answer.code != code {
            let place = std::panic::Location::caller();
            let line = format!("{}: {what}: {} instead of {code}: {}", self.label(), answer.code, answer.text());
            self.failures.borrow_mut().push(format!("{line} (line {})", place.line()));
        }
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }
    /// A Status of this code, reason and message.
    #[track_caller]
    pub fn refused(&self, what: &str, answer: &Answer, code: u16, reason: &str, message: &str) {
        let status = self.code(what, answer, code);
        self.same(what, (status["reason"].as_str(), status["message"].as_str()), (Some(reason), Some(message)));
    }
    #[track_caller]
    pub fn same<T: PartialEq + Debug>(&self, what: &str, got: T, want: T) {
        if got != want {
            let place = std::panic::Location::caller();
            let line = format!("{}: {what}:\n    is     {got:?}\n    should {want:?}", self.label());
            self.failures.borrow_mut().push(format!("{line} (line {})", place.line()));
        }
    }
    #[track_caller]
    pub fn holds(&self, what: &str, holds: bool) {
        self.same(what, holds, true);
    }
    /// `configmaps`, `deployments.apps`: as messages have it.
    pub fn qualified(&self) -> String {
        base::status::qualified(self.kind.group_version(self.version).0, &self.kind.plural)
    }
    fn label(&self) -> String {
        format!("{} {}", self.api_version(), self.kind.kind)
    }
}

/// `metadata.resourceVersion`
pub fn revision(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().into()
}

pub fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_string()).collect()
}
