//! What calls take beside a name and a body.

use value::{Value, value};

/// Selection and paging of a list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// `app=web,tier!=db`; empty selects all.
    pub label_selector: String,
    /// `spec.nodeName=n1`; empty selects all.
    pub field_selector: String,
    /// Page size; zero asks for everything at once.
    pub limit: usize,
    pub continue_token: String,
    /// `""` most recent, `"0"` whatever the server has.
    pub resource_version: String,
}

impl ListOptions {
    /// All objects that the field selector takes.
    pub fn fields(selector: impl Into<String>) -> Self {
        ListOptions { field_selector: selector.into(), ..Default::default() }
    }
    /// All objects that the label selector takes.
    pub fn labels(selector: impl Into<String>) -> Self {
        ListOptions { label_selector: selector.into(), ..Default::default() }
    }
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let limit = if self.limit == 0 { String::new() } else { self.limit.to_string() };
        vec![
            ("labelSelector", self.label_selector.clone()),
            ("fieldSelector", self.field_selector.clone()),
            ("limit", limit),
            ("continue", self.continue_token.clone()),
            ("resourceVersion", self.resource_version.clone()),
        ]
    }
}

/// Where a watch begins and what it sees.
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// The revision after which events are sent.
    pub resource_version: String,
}

impl WatchOptions {
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        vec![
            ("watch", "true".into()),
            ("allowWatchBookmarks", "true".into()),
            ("labelSelector", self.label_selector.clone()),
            ("fieldSelector", self.field_selector.clone()),
            ("resourceVersion", self.resource_version.clone()),
        ]
    }
}

/// The four kinds of patch.
#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own, with merge keys.
    Strategic(Value),
    /// RFC 6902; the value is an array.
    Json(Value),
    /// Server-side apply.
    Apply { value: Value, manager: String, force: bool },
}

impl Patch {
    pub(crate) fn content_type(&self) -> &'static str {
        match self {
            Patch::Merge(_) => "application/merge-patch+json",
            Patch::Strategic(_) => "application/strategic-merge-patch+json",
            Patch::Json(_) => "application/json-patch+json",
            Patch::Apply { .. } => "application/apply-patch+yaml",
        }
    }
    pub(crate) fn value(&self) -> &Value {
        match self {
            Patch::Merge(value) | Patch::Strategic(value) | Patch::Json(value) | Patch::Apply { value, .. } => value,
        }
    }
}

/// `metav1.DeleteOptions`.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// `None`: the object's own.
    pub grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground` or `Orphan`.
    pub propagation_policy: Option<&'static str>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// Only if the object still is the one with this uid.
    pub fn uid(uid: impl Into<String>) -> Self {
        DeleteOptions { uid: Some(uid.into()), ..Default::default() }
    }
    /// With the grace period in seconds.
    pub fn grace(self, seconds: i64) -> Self {
        DeleteOptions { grace_period_seconds: Some(seconds), ..self }
    }
    /// With a propagation policy.
    pub fn propagation(self, policy: &'static str) -> Self {
        DeleteOptions { propagation_policy: Some(policy), ..self }
    }
    pub(crate) fn to_value(&self) -> Value {
        let mut out = value!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(seconds) = self.grace_period_seconds {
            out.set(&["gracePeriodSeconds"], seconds);
        }
        if let Some(policy) = self.propagation_policy {
            out.set(&["propagationPolicy"], policy);
        }
        if let Some(uid) = &self.uid {
            out.set(&["preconditions", "uid"], uid);
        }
        if let Some(revision) = &self.resource_version {
            out.set(&["preconditions", "resourceVersion"], revision);
        }
        out
    }
}
