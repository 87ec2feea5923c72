//! Forms that things of the API have wherever they stand: references, conditions, names of controllers and webhooks.
//! Wording follows `k8s.io/apimachinery/pkg/util/validation` and `pkg/apis/meta/v1/validation`.

use crate::at::At;
use base::{FieldErrors, names};
use std::collections::BTreeSet;
use value::Value;

const HTTP_PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
const NOT_A_PATH: &str = "must be a domain-prefixed path (such as \"acme.io/foo\")";
const THREE_SEGMENTS: &str = "should be a domain with at least three segments separated by dots";

impl At<'_> {
    /// `example.com/controller`
    pub fn domain_prefixed_path(&self, errors: &mut FieldErrors) {
        if !self.need(errors) {
            return;
        }
        let Some((host, path)) = self.str().split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty())
        else {
            return self.invalid(errors, NOT_A_PATH);
        };
        self.shape_as(errors, host, names::subdomain(host));
        if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b)) {
            self.invalid_as(errors, path, format!("Invalid path (regex used for validation is '{HTTP_PATH}')"));
        }
    }
    /// A domain of at least three labels.
    pub fn fully_qualified_name(&self, errors: &mut FieldErrors) {
        if !self.need(errors) {
            return;
        }
        match names::subdomain(self.str()) {
            Err(why) => self.invalid(errors, why),
            Ok(()) if self.str().split('.').count() < 3 => self.invalid(errors, THREE_SEGMENTS),
            Ok(()) => {}
        }
    }
    /// Something that can stand in a path; nothing is not reported.
    pub fn path_segment(&self, errors: &mut FieldErrors) {
        self.shape(errors, names::path_segment(self.str()));
    }
    /// `apiGroup`, `kind` and `name` of another object.
    pub fn object_reference(&self, errors: &mut FieldErrors) {
        if self.get("apiGroup").is_set() {
            self.get("apiGroup").dns_subdomain(errors);
        }
        for field in ["kind", "name"] {
            if self.get(field).need(errors) {
                self.get(field).path_segment(errors);
            }
        }
    }
    /// A `metav1.LabelSelector` that replaces another: values that the old one had wrong are not looked at.
    pub fn label_selector_after(&self, errors: &mut FieldErrors, old: Option<&Value>) {
        let lax = old.is_some_and(|old| {
            let mut found = FieldErrors::default();
            At::root(old).label_selector(&mut found);
            !found.is_empty()
        });
        let mut found = FieldErrors::default();
        self.label_selector(&mut found);
        let of_values = |path: &str| path.contains(".values[");
        errors.0.extend(found.0.into_iter().filter(|error| !(lax && of_values(&error.path))));
    }
    /// A list that stands for everything by `*`, which then stands alone; `what` is the word for the others.
    pub fn alone_if_wild(&self, errors: &mut FieldErrors, what: &str) {
        if self.len() > 1 && self.items().any(|item| item.str() == "*") {
            self.invalid(errors, format!("if '*' is present, must not specify other {what}"));
        }
    }
    /// A list of `metav1.Condition`.
    pub fn conditions(&self, errors: &mut FieldErrors) {
        let mut types = BTreeSet::new();
        for condition in self.items() {
            let ty = condition.get("type");
            if !types.insert(condition.value.str_at(&["type"])) {
                ty.duplicate(errors);
            }
            self::condition(condition, errors);
        }
    }
}

const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32 * 1024;
const REASON: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";

fn condition(condition: At, errors: &mut FieldErrors) {
    let ty = condition.get("type");
    if ty.need(errors) {
        ty.qualified_name(errors);
    }
    let status = condition.get("status");
    if status.need(errors) && !["True", "False", "Unknown"].contains(&status.str()) {
        status.unsupported(errors, &["False", "True", "Unknown"]);
    }
    if condition.get("observedGeneration").int() < 0 {
        condition.get("observedGeneration").non_negative(errors);
    }
    condition.get("lastTransitionTime").need(errors);
    let reason = condition.get("reason");
    if reason.need(errors) {
        let text = reason.str();
        if text.len() > MAX_REASON {
            errors.too_long(reason.path, MAX_REASON);
        }
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_,:".contains(&b));
        if !starts || !inner || text.ends_with([',', ':']) {
            let what = "a condition reason must start with alphabetic character, optionally followed by a string of \
                        alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
            reason.invalid(
                errors,
                names::regex_error(
                    what,
                    REASON,
                    &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
                ),
            );
        }
    }
    if condition.get("message").str().len() > MAX_MESSAGE {
        errors.too_long(condition.get("message").path, MAX_MESSAGE);
    }
}
