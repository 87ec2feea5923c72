//! What a claim asks for: requests, constraints between them, parameters. A template holds the same.

use super::parts::{self, name, text};
use crate::at::At;
use base::FieldErrors;
use schema::Context;
use std::collections::{BTreeMap, BTreeSet};
use value::{Path, Value};

/// As many as an allocation may have results.
const MAX_REQUESTS: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
pub const MAX_CONFIG: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_TOLERATIONS: usize = 16;
const NOT_A_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
/// The label of a namespace in which devices may be had that others use.
const ADMIN: &str = "resource.kubernetes.io/admin-access";

/// Fills what requests leave out: one device.
pub fn defaults(spec: &mut Value) {
    let one = |request: &mut Value| {
        if request.str_at(&["allocationMode"]).is_empty() {
            request.set(&["allocationMode"], "ExactCount");
        }
        if request.str_at(&["allocationMode"]) == "ExactCount" && request.at(&["count"]).as_i64().unwrap_or(0) == 0 {
            request.set(&["count"], 1);
        }
    };
    for request in spec.array_at_mut(&["devices", "requests"]).into_iter().flatten() {
        if let Some(exactly) = request.get_mut("exactly").filter(|e| e.as_object().is_some()) {
            one(exactly);
        }
        request.array_at_mut(&["firstAvailable"]).into_iter().flatten().for_each(one);
    }
}

/// Names of requests, and of the alternatives of each.
pub struct Requests<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Requests<'a> {
    pub fn of(spec: &'a Value) -> Self {
        let requests = spec.items_at(&["devices", "requests"]).iter();
        Requests(
            requests
                .map(|request| {
                    let alternatives = request.items_at(&["firstAvailable"]).iter().map(|sub| sub.str_at(&["name"]));
                    (request.str_at(&["name"]), alternatives.collect())
                })
                .collect(),
        )
    }
    fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, sub)) => self.0.get(request).is_some_and(|subs| subs.contains(sub)),
        }
    }
    /// A place that names a request.
    pub fn check(&self, reference: At, errors: &mut FieldErrors) {
        use base::names::label;
        let parts: Vec<&str> = reference.str().split('/').collect();
        if parts.len() > 2 {
            return reference.invalid(errors, NOT_A_REQUEST);
        }
        for part in parts {
            reference.shape_as(errors, part, label(part));
        }
        if !self.has(reference.str()) {
            reference.invalid(errors, NOT_A_REQUEST);
        }
    }
    /// A list of such places.
    pub fn check_all(&self, list: At, errors: &mut FieldErrors) {
        if list.fits(errors, MAX_REQUESTS) {
            list.items().for_each(|reference| self.check(reference, errors));
            list.unique_by(errors, text);
        }
    }
}

/// A `ResourceClaimSpec`.
pub fn spec(spec: At, errors: &mut FieldErrors) {
    let devices = spec.get("devices");
    let names = Requests::of(spec.value);
    let requests = devices.get("requests");
    if requests.fits(errors, MAX_REQUESTS) {
        requests.items().for_each(|r| request(r, errors));
        requests.unique_by(errors, name);
    }
    let constraints = devices.get("constraints");
    if constraints.fits(errors, MAX_CONSTRAINTS) {
        constraints.items().for_each(|c| constraint(c, &names, errors));
    }
    let config = devices.get("config");
    if config.fits(errors, MAX_CONFIG) {
        for config in config.items() {
            names.check_all(config.get("requests"), errors);
            parts::configuration(config, errors);
        }
    }
}

fn request(request: At, errors: &mut FieldErrors) {
    request.get("name").dns_label(errors);
    let (exactly, first) = (request.get("exactly"), request.get("firstAvailable"));
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    match (exactly.is_set(), !first.is_empty()) {
        (false, false) => request.required(errors, ONE),
        (true, true) => errors.invalid_raw(request.path, "null", format!("{ONE}, but multiple fields are set")),
        (true, false) => self::devices(exactly, errors),
        (false, true) if first.fits(errors, MAX_ALTERNATIVES) => {
            for sub in first.items() {
                sub.get("name").dns_label(errors);
                self::devices(sub, errors);
            }
            first.unique_by(errors, name);
        }
        (false, true) => {}
    }
}

/// How many devices of which class.
fn devices(request: At, errors: &mut FieldErrors) {
    let class = request.get("deviceClassName");
    if class.need(errors) {
        class.dns_subdomain(errors);
    }
    parts::selectors(request.get("selectors"), errors);
    let (mode, count) = (request.get("allocationMode"), request.get("count"));
    match mode.str() {
        "All" if count.int() != 0 => count.invalid_int(errors, "must not be specified when allocationMode is 'All'"),
        "All" => {}
        "ExactCount" if count.int() <= 0 => count.invalid_int(errors, "must be greater than zero"),
        "ExactCount" => {}
        _ => mode.unsupported(errors, &["All", "ExactCount"]),
    }
    let tolerations = request.get("tolerations");
    if tolerations.fits(errors, MAX_TOLERATIONS) {
        tolerations.items().for_each(|t| parts::toleration(t, errors));
    }
}

fn constraint(constraint: At, names: &Requests, errors: &mut FieldErrors) {
    names.check_all(constraint.get("requests"), errors);
    let attributes = ["matchAttribute", "distinctAttribute"];
    let Some(field) = attributes.into_iter().find(|field| constraint.get(field).is_set()) else {
        let detail =
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
        return constraint.required(errors, detail);
    };
    let attribute = constraint.get(field);
    attribute.device_property(attribute.str(), errors);
    if !attribute.str().contains('/') {
        attribute.invalid(errors, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

/// The first of these that asks for what others use needs the namespace's leave. `path` leads to the list.
pub fn admin_access(
    cx: &Context,
    obj: &Value,
    requests: &[Value],
    member: &[&str],
    path: Path,
    errors: &mut FieldErrors,
) {
    let Some(i) = requests.iter().position(|request| request.at(member).as_bool() == Some(true)) else { return };
    let allowed =
        cx.view.get("", "namespaces", "", obj.namespace()).is_some_and(|ns| ns.meta.label(ADMIN) == Some("true"));
    if !allowed {
        let detail = format!("admin access to devices requires the `{ADMIN}: true` label on the containing namespace");
        errors.forbidden(path.index(i).key("adminAccess"), detail);
    }
}
