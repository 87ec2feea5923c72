//! `metav1.Status`: the one error that a client of the API ever sees.
//!
//! Every boundary has an error enum of its own; each becomes a [`Status`] in one place, its `From` implementation.
//! Wording follows `k8s.io/apimachinery/pkg/api/errors`, because clients match on it.

use serde_json::{Value, json};
use std::fmt;

/// `status.reason`, with the HTTP code that upstream pairs it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServerTimeout,
    Timeout,
    ServiceUnavailable,
}

impl Reason {
    /// The HTTP status code.
    pub fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::InternalError | Reason::ServerTimeout => 500,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
        }
    }
}

/// What kind of problem a field has; `Display` is the word that messages use and `reason` the one in `details.causes`.
/// Source: `k8s.io/apimachinery/pkg/util/validation/field`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    Required,
    Invalid,
    NotSupported,
    Duplicate,
    Forbidden,
    NotFound,
    TooLong,
    TooMany,
    TypeInvalid,
    Internal,
}

impl Problem {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Problem::Required => ("FieldValueRequired", "Required value"),
            Problem::Invalid => ("FieldValueInvalid", "Invalid value"),
            Problem::NotSupported => ("FieldValueNotSupported", "Unsupported value"),
            Problem::Duplicate => ("FieldValueDuplicate", "Duplicate value"),
            Problem::Forbidden => ("FieldValueForbidden", "Forbidden"),
            Problem::NotFound => ("FieldValueNotFound", "Not found"),
            Problem::TooLong => ("FieldValueTooLong", "Too long"),
            Problem::TooMany => ("FieldValueTooMany", "Too many"),
            Problem::TypeInvalid => ("FieldValueTypeInvalid", "Invalid value"),
            Problem::Internal => ("InternalError", "Internal error"),
        }
    }
}

/// One thing that is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    pub problem: Problem,
    /// `spec.containers[1].image`
    pub path: String,
    /// The offending value as upstream prints it (strings quoted, objects as JSON); absent where upstream prints none.
    pub value: Option<String>,
    pub detail: String,
}

impl FieldError {
    /// What stands in `details.causes[].message` and, behind the path, in the status message.
    pub fn message(&self) -> String {
        let word = self.problem.words().1;
        let head = match &self.value {
            Some(value) => format!("{word}: {value}"),
            None => word.to_string(),
        };
        if self.detail.is_empty() { head } else { format!("{head}: {}", self.detail) }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message())
    }
}

/// The errors that a validation gathers, in the order found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// All in one line, as upstream prints what is wrong with a configuration: one as it is, several in brackets.
    pub fn aggregate(&self) -> String {
        let all: Vec<String> = self.0.iter().map(FieldError::to_string).collect();
        if let [one] = all.as_slice() { one.clone() } else { format!("[{}]", all.join(", ")) }
    }
    /// Adds one error; `value` is printed as it stands.
    pub fn add(&mut self, problem: Problem, path: impl fmt::Display, value: Option<String>, detail: impl Into<String>) {
        self.0.push(FieldError { problem, path: path.to_string(), value, detail: detail.into() });
    }
    /// `Required value`, with an optional detail.
    pub fn required(&mut self, path: impl fmt::Display, detail: impl Into<String>) {
        self.add(Problem::Required, path, None, detail);
    }
    /// `Invalid value: "x": detail` for a string.
    pub fn invalid(&mut self, path: impl fmt::Display, value: &str, detail: impl Into<String>) {
        self.add(Problem::Invalid, path, Some(quote(value)), detail);
    }
    /// `Invalid value: 7: detail` for anything that prints as it stands in a message (numbers, JSON).
    pub fn invalid_raw(&mut self, path: impl fmt::Display, value: impl fmt::Display, detail: impl Into<String>) {
        self.add(Problem::Invalid, path, Some(value.to_string()), detail);
    }
    /// `Unsupported value: "x": supported values: "A", "B"`.
    pub fn not_supported(&mut self, path: impl fmt::Display, value: &str, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        self.add(Problem::NotSupported, path, Some(quote(value)), format!("supported values: {}", list.join(", ")));
    }
    /// `Duplicate value: "x"`.
    pub fn duplicate(&mut self, path: impl fmt::Display, value: &str) {
        self.add(Problem::Duplicate, path, Some(quote(value)), "");
    }
    /// `Forbidden: detail`.
    pub fn forbidden(&mut self, path: impl fmt::Display, detail: impl Into<String>) {
        self.add(Problem::Forbidden, path, None, detail);
    }
    /// `Too long: may not be more than N bytes`.
    pub fn too_long(&mut self, path: impl fmt::Display, max: usize) {
        self.add(Problem::TooLong, path, None, format!("may not be more than {max} bytes"));
    }
    /// True when nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A string as Go's `%q` prints it in messages.
pub fn quote(s: &str) -> String {
    Value::from(s).to_string()
}

/// `metav1.Status` of a failure. Boxed inside, so that a `Result` that carries it stays small.
#[derive(Debug, Clone, PartialEq)]
pub struct Status(Box<Inner>);

#[derive(Debug, Clone, PartialEq)]
struct Inner {
    code: u16,
    /// A [`Reason`], or another server's own word.
    reason: String,
    message: String,
    details: Option<Value>,
    /// `metadata.continue`: with it the client goes on with a list whose state is gone.
    continue_token: Option<String>,
}

/// What every fallible call of the API returns.
pub type Result<T, E = Status> = std::result::Result<T, E>;

impl Status {
    /// A failure with a reason and a message, without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Status(Box::new(Inner {
            code: reason.code(),
            reason: format!("{reason:?}"),
            message: message.into(),
            details: None,
            continue_token: None,
        }))
    }
    /// Adds `metadata.continue`.
    pub fn with_continue(mut self, token: impl Into<String>) -> Self {
        self.0.continue_token = Some(token.into());
        self
    }
    /// Adds `details.name`, `.group`, `.kind` (upstream puts the resource's name into `kind` for most reasons).
    pub fn with_details(mut self, group: &str, kind: &str, name: &str) -> Self {
        let mut details = serde_json::Map::new();
        for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                details.insert(key.into(), value.into());
            }
        }
        if !details.is_empty() {
            self.0.details = Some(Value::Object(details));
        }
        self
    }
    /// Empty `details`: what upstream's server says where it answers for a path or a form and not for an object.
    pub fn with_empty_details(mut self) -> Self {
        self.0.details.get_or_insert_with(|| json!({}));
        self
    }
    /// Adds one entry of `details.causes` that names no field.
    pub fn with_cause(mut self, reason: &str, message: &str) -> Self {
        let causes = &mut self.0.details.get_or_insert_with(|| json!({}))["causes"];
        if causes.is_null() {
            *causes = json!([]);
        }
        if let Some(list) = causes.as_array_mut() {
            list.push(json!({"reason": reason, "message": message}));
        }
        self
    }
    /// Adds `details.retryAfterSeconds`; servers repeat it as the `Retry-After` header.
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.0.details.get_or_insert_with(|| json!({}))["retryAfterSeconds"] = seconds.into();
        self
    }
    /// Replaces the code but keeps the reason (a plain 404 of an unknown path, say).
    pub fn with_code(mut self, code: u16) -> Self {
        self.0.code = code;
        self
    }

    /// `pods "web" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        Status::new(Reason::NotFound, format!("{} \"{name}\" not found", qualified(group, resource)))
            .with_details(group, resource, name)
    }
    /// `the server could not find the requested resource`: no such path.
    pub fn no_such_path() -> Self {
        Status::new(Reason::NotFound, "the server could not find the requested resource").with_empty_details()
    }
    /// `pods "web" already exists`.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        Status::new(Reason::AlreadyExists, format!("{} \"{name}\" already exists", qualified(group, resource)))
            .with_details(group, resource, name)
    }
    /// `Operation cannot be fulfilled on pods "web": …`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, resource);
        Status::new(Reason::Conflict, format!("Operation cannot be fulfilled on {what} \"{name}\": {why}"))
            .with_details(group, resource, name)
    }
    /// The conflict of a stale `resourceVersion`.
    pub fn stale(group: &str, resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(group, resource, name, why)
    }
    /// `pods "web" is forbidden: …`.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, resource);
        let message = match name {
            "" => format!("{what} is forbidden: {why}"),
            name => format!("{what} \"{name}\" is forbidden: {why}"),
        };
        Status::new(Reason::Forbidden, message).with_details(group, resource, name)
    }
    /// `Pod "web" is invalid: spec.containers: Required value`. `kind` is the kind, not the resource.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &FieldErrors) -> Self {
        let what = if group.is_empty() { kind.to_string() } else { format!("{kind}.{group}") };
        let mut texts: Vec<String> = Vec::with_capacity(errors.0.len());
        for text in errors.0.iter().map(FieldError::to_string) {
            // The message says a thing once, however many causes it has.
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut status = Status::new(Reason::Invalid, format!("{what} \"{name}\" is invalid: {list}"))
            .with_details(group, kind, name);
        let causes: Vec<Value> = errors
            .0
            .iter()
            .map(|e| json!({"reason": e.problem.words().0, "message": e.message(), "field": e.path}))
            .collect();
        status.0.details.get_or_insert_with(|| json!({}))["causes"] = causes.into();
        status
    }
    /// 400 with the given text.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Status::new(Reason::BadRequest, message)
    }
    /// `Unauthorized`, nothing more: a caller who is nobody learns nothing.
    pub fn unauthorized() -> Self {
        Status::new(Reason::Unauthorized, "Unauthorized")
    }
    /// `Internal error occurred: …`.
    pub fn internal(why: impl fmt::Display) -> Self {
        let mut status = Status::new(Reason::InternalError, format!("Internal error occurred: {why}"));
        status.0.details = Some(json!({"causes": [{"message": why.to_string()}]}));
        status
    }
    /// 500 without a reason: what upstream's server makes of an error that is no Status. kubectl prints the text alone.
    pub fn plain(message: impl Into<String>) -> Self {
        let mut status = Status::new(Reason::InternalError, message);
        status.0.reason.clear();
        status
    }
    /// 410 with reason `Expired`: the revision is older than what the server still holds.
    pub fn expired(message: impl Into<String>) -> Self {
        Status::new(Reason::Expired, message)
    }
    /// `the server does not allow this method on the requested resource`.
    pub fn method_not_allowed() -> Self {
        Status::new(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
            .with_empty_details()
    }
    /// 504: the client names a revision that the server has not reached.
    pub fn too_large_version(asked: impl fmt::Display, current: impl fmt::Display) -> Self {
        let what = "Too large resource version";
        Status::new(Reason::Timeout, format!("Timeout: {what}: {asked}, current: {current}"))
            .with_cause("ResourceVersionTooLarge", what)
            .with_retry_after(1)
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.0.code
    }
    /// `status.reason`.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
    /// True for the given reason.
    pub fn is(&self, reason: Reason) -> bool {
        self.0.reason == format!("{reason:?}")
    }
    /// `status.message`.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// `details.retryAfterSeconds`.
    pub fn retry_after(&self) -> Option<u64> {
        self.0.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }
    /// The whole object, as it goes over the wire.
    pub fn to_json(&self) -> Value {
        let mut out = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.0.message, "code": self.0.code,
        });
        if !self.0.reason.is_empty() {
            out["reason"] = self.0.reason.as_str().into();
        }
        if let Some(token) = &self.0.continue_token {
            out["metadata"]["continue"] = token.as_str().into();
        }
        if let Some(details) = &self.0.details {
            out["details"] = details.clone();
        }
        out
    }
    /// Reads a Status that another server sent; `None` where the JSON is something else.
    pub fn from_json(v: &Value) -> Option<Self> {
        (v["kind"] == "Status").then(|| {
            Status(Box::new(Inner {
                code: v["code"].as_u64().and_then(|c| c.try_into().ok()).unwrap_or(500),
                reason: v["reason"].as_str().unwrap_or_default().into(),
                message: v["message"].as_str().unwrap_or_default().into(),
                details: v.get("details").cloned(),
                continue_token: v["metadata"]["continue"].as_str().map(Into::into),
            }))
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Status {}

/// `deployments.apps`, or `pods` in the legacy group: how messages name a resource.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_string() } else { format!("{resource}.{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_names_object_and_path() {
        let mut errors = FieldErrors::default();
        errors.required("spec.containers[1].image", "");
        let status = Status::invalid("", "Pod", "web-0", &errors);
        assert_eq!(status.message(), r#"Pod "web-0" is invalid: spec.containers[1].image: Required value"#);
        assert_eq!(status.code(), 422);
        assert_eq!(status.to_json()["details"]["causes"][0]["field"], "spec.containers[1].image");
        errors.not_supported("spec.restartPolicy", "Sometimes", &["Always", "Never"]);
        assert_eq!(
            Status::invalid("apps", "Deployment", "d", &errors).message(),
            r#"Deployment.apps "d" is invalid: [spec.containers[1].image: Required value, spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never"]"#
        );
    }

    #[test]
    fn a_message_says_a_thing_once() {
        let mut errors = FieldErrors::default();
        errors.invalid("metadata.uid", "x", "field is immutable");
        errors.invalid("metadata.uid", "x", "field is immutable");
        let status = Status::invalid("", "ConfigMap", "a", &errors);
        assert_eq!(
            status.message(),
            r#"ConfigMap "a" is invalid: metadata.uid: Invalid value: "x": field is immutable"#
        );
        assert_eq!(status.to_json()["details"]["causes"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_revision_of_the_future() {
        let status = Status::too_large_version(9, 7);
        assert_eq!(status.message(), "Timeout: Too large resource version: 9, current: 7");
        assert_eq!(
            status.to_json()["details"],
            json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1})
        );
    }

    #[test]
    fn a_status_survives_the_wire() {
        let status = Status::not_found("apps", "deployments", "web").with_retry_after(2);
        assert_eq!(Status::from_json(&status.to_json()), Some(status.clone()));
        assert_eq!(status.message(), r#"deployments.apps "web" not found"#);
        assert_eq!(status.retry_after(), Some(2));
    }
}
