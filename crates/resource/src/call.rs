//! What a request to the engine says, and what it answers.

use crate::Notes;
use base::{Result, Revision, Status, User};
use schema::Kind;
use std::{sync::Arc, time::Duration};
use value::{Object, ObjectKey, Str, Value};

/// Who asks for what.
#[derive(Debug, Clone)]
pub struct Call {
    pub user: Arc<User>,
    pub kind: Arc<Kind>,
    /// Index of the version that the path names.
    pub version: usize,
    /// `""` for cluster scope, and for all namespaces of a collection.
    pub namespace: Str,
    /// `""` for a collection.
    pub name: Str,
    pub subresource: Option<Str>,
}

impl Call {
    /// What upstream calls the type of the objects inside: `core.ConfigMap`.
    pub fn internal_type(&self) -> String {
        crate::decode::internal(&self.kind.group, &self.kind.kind)
    }
    /// The key of the object that the path names.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.clone(), self.name.clone())
    }
    /// `pods "web" not found`
    pub fn not_found(&self) -> Status {
        Status::not_found(self.group(), &self.kind.plural, &self.name)
    }
    /// The group that the path names: a view of a legacy kind stands in another one than its kind.
    pub fn group(&self) -> &str {
        self.kind.group_version(self.version).0
    }
    /// 409: the object is not what the client knows.
    pub(crate) fn stale(&self) -> Status {
        Status::stale(self.group(), &self.kind.plural, &self.name)
    }
    /// `apiVersion` of the call's version.
    pub fn api_version(&self) -> String {
        self.kind.api_version(self.version)
    }
    /// A conflict with the given reason.
    pub fn conflict(&self, why: &str) -> Status {
        Status::conflict(self.group(), &self.kind.plural, &self.name, why)
    }
    /// A conflict with the uid that a write names. Source: apiserver's `storage.NewInvalidObjError`.
    pub(crate) fn other_uid(&self, asked: &str, current: &Object) -> Status {
        let key = self.kind.store_key(&current.key);
        let why =
            format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {}", current.meta.uid);
        let text = "StorageError: invalid object, Code: 4, Key:";
        self.conflict(&format!("{text} {key}, ResourceVersion: 0, AdditionalErrorMsg: {why}"))
    }
    /// The version in which a write is worked on, up to the store: of a custom kind the one of the path, because each of
    /// its versions has a schema and rules of its own; of a built-in kind the stored one, which its hooks know.
    pub fn working_version(&self) -> usize {
        if self.kind.custom.is_some() { self.version } else { self.kind.storage }
    }
}

/// A decoded request body.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    pub value: Value,
    /// Fields that stood more than once, as strict validation reports them: `duplicate field "spec.replicas"`.
    pub duplicates: Vec<String>,
}

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        Body { value, duplicates: Vec::new() }
    }
}

/// `fieldValidation`. Source: KEP-2885.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Options of a write.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
    pub field_manager: Str,
    pub force: bool,
    /// As admission is told: `CreateOptions`, `PatchOptions` …; empty where nobody has said.
    pub kind: &'static str,
    /// The DeleteOptions of a deletion; Null for none.
    pub deletion: Value,
    /// Where admission notes what the audit log shall say.
    pub notes: Notes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// Options of list, watch and deletecollection.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    pub labels: select::LabelSelector,
    pub fields: select::FieldSelector,
    /// 0 or absent: no limit.
    pub limit: Option<usize>,
    pub continue_token: Option<String>,
    /// As given; `None` and `""` mean the most recent, `"0"` any.
    pub resource_version: Option<String>,
    pub version_match: Option<VersionMatch>,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
    /// The watch ends in good order after this long.
    pub timeout: Option<Duration>,
}

/// One object as an answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Committed, in the version of the call: the bytes go out as they are.
    Stored(Arc<Object>),
    /// Made for this answer: a dry run, a Scale, a `Status` of success.
    Made(Value),
}

impl Answer {
    /// The JSON.
    pub fn json(&self) -> bytes::Bytes {
        match self {
            Answer::Stored(object) => object.json().clone(),
            Answer::Made(value) => value.to_json().into(),
        }
    }
    /// The tree.
    pub fn value(&self) -> Value {
        match self {
            Answer::Stored(object) => object.value(),
            Answer::Made(value) => value.clone(),
        }
    }
}

/// The answer to a verb on one object.
#[derive(Debug, Clone)]
pub struct Reply {
    pub answer: Answer,
    /// 201 instead of 200.
    pub created: bool,
    /// `Warning` headers.
    pub warnings: Vec<String>,
}

impl Reply {
    pub(crate) fn ok(answer: Answer) -> Self {
        Reply { answer, created: false, warnings: Vec::new() }
    }
}

/// The answer to a list.
#[derive(Debug, Clone)]
pub struct ListReply {
    /// In the version of the call.
    pub items: Vec<Arc<Object>>,
    pub revision: Revision,
    pub continue_token: Option<String>,
    /// How many more there are; known only without selectors.
    pub remaining: Option<u64>,
}

/// Go's words for text that is no revision.
pub(crate) fn not_unsigned(text: &str) -> String {
    let why = match !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        true => "value out of range",
        false => "invalid syntax",
    };
    format!("strconv.ParseUint: parsing {}: {why}", base::status::quote(text))
}

/// `metadata.resourceVersion` of a written object: absent and `""` and `"0"` say nothing.
pub(crate) fn given_revision(value: &Value) -> Result<Option<Revision>> {
    match value.str_at(&["metadata", "resourceVersion"]) {
        "" | "0" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Status::plain(not_unsigned(text))),
    }
}
