//! Environment variables and where they come from.

use crate::at::At;
use base::{FieldErrors, names};

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// Who asks for a field of the downward API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    Env,
    Volume,
}

/// `env`
pub fn vars(vars: At, errors: &mut FieldErrors) {
    for var in vars.items() {
        let name = var.get("name");
        if name.need(errors) {
            name.shape(errors, names::env_var_name(name.str()));
        }
        value_from(var, errors);
    }
}

/// `envFrom`
pub fn from(list: At, errors: &mut FieldErrors) {
    for source in list.items() {
        let prefix = source.get("prefix");
        if !prefix.is_empty() {
            prefix.shape(errors, names::env_var_name(prefix.str()));
        }
        let refs = ["configMapRef", "secretRef"];
        for name in refs.into_iter().filter(|r| source.get(r).is_set()) {
            reference_name(source.get(name), errors);
        }
        match refs.into_iter().filter(|r| source.get(r).is_set()).count() {
            0 => list.invalid_as(errors, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => list.invalid_as(errors, "", "may not have more than one field specified at a time"),
        }
    }
}

fn value_from(var: At, errors: &mut FieldErrors) {
    let from = var.get("valueFrom");
    if !from.is_set() {
        return;
    }
    if from.get("fieldRef").is_set() {
        field(from.get("fieldRef"), For::Env, errors);
    }
    if from.get("resourceFieldRef").is_set() {
        resource_field(from.get("resourceFieldRef"), For::Env, errors);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        let reference = from.get(key);
        if reference.is_set() {
            reference.get("name").dns_subdomain(errors);
            if reference.get("key").need(errors) {
                reference.get("key").config_key(errors);
            }
        }
    }
    let file = from.get("fileKeyRef");
    if file.is_set() {
        for field in ["key", "path", "volumeName"] {
            file.get(field).need(errors);
        }
    }
    match SOURCES.into_iter().filter(|s| from.get(s).is_set()).count() {
        0 => from.invalid_as(
            errors,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        _ if !var.get("value").is_empty() => {
            from.invalid_as(errors, "", "may not be specified when `value` is not empty");
        }
        1 => {}
        _ => from.invalid_as(errors, "", "may not have more than one field specified at a time"),
    }
}

fn reference_name(reference: At, errors: &mut FieldErrors) {
    if reference.get("name").need(errors) {
        reference.get("name").dns_subdomain(errors);
    }
}

/// A field of the pod: `metadata.name`, `metadata.labels['app']`.
pub fn field(reference: At, user: For, errors: &mut FieldErrors) {
    let path = reference.get("fieldPath");
    if !reference.get("apiVersion").need(errors) || !path.need(errors) {
        return;
    }
    let supported: &[&str] = if user == For::Env { &ENV_FIELDS } else { &VOLUME_FIELDS };
    let subscript = path.str().strip_suffix("']").and_then(|p| p.split_once("['"));
    match subscript {
        Some(("metadata.labels", key)) => reference.shape_as(errors, key, names::qualified_name(key)),
        Some(("metadata.annotations", key)) => {
            reference.shape_as(errors, &key.to_lowercase(), names::qualified_name(&key.to_lowercase()));
        }
        Some((other, _)) => reference.invalid_as(errors, other, "does not support subscript"),
        None if ENV_FIELDS.contains(&path.str()) || VOLUME_FIELDS.contains(&path.str()) => {
            path.one_of_if_set(errors, supported);
        }
        None => {
            path.invalid(errors, format!("error converting fieldPath: field label not supported: {}", path.str()));
        }
    }
}

/// `limits.cpu` and the like of a container.
pub fn resource_field(reference: At, user: For, errors: &mut FieldErrors) {
    let resource = reference.get("resource");
    if user == For::Volume && reference.get("containerName").is_empty() {
        reference.get("containerName").required(errors, "");
    } else if resource.need(errors)
        && !["requests.hugepages-", "limits.hugepages-"].iter().any(|p| resource.str().starts_with(p))
    {
        resource.one_of_if_set(errors, &RESOURCES);
    }
}
