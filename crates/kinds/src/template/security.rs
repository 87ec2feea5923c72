//! Security contexts of pods and containers.

use super::volumes::relative_path;
use crate::at::At;
use base::{FieldErrors, names};
use std::collections::BTreeSet;

const SECCOMP: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

/// The pod's own `securityContext`, and what of the spec depends on it.
pub fn pod(spec: At, errors: &mut FieldErrors) {
    let context = spec.get("securityContext");
    for id in ["fsGroup", "runAsUser", "runAsGroup"] {
        id_number(context.get(id), errors);
    }
    for group in context.get("supplementalGroups").items() {
        id_number(group, errors);
    }
    if spec.get("shareProcessNamespace").flag() && spec.get("hostPID").flag() {
        let place = context.get("shareProcessNamespace");
        errors.invalid_raw(place.path, true, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(context.get("sysctls"), errors);
    context.get("fsGroupChangePolicy").one_of_if_set(errors, &["Always", "OnRootMismatch"]);
    profile(context, errors);
    context.get("supplementalGroupsPolicy").one_of_if_set(errors, &["Merge", "Strict"]);
    context.get("seLinuxChangePolicy").one_of_if_set(errors, &["MountOption", "Recursive"]);
}

/// A container's `securityContext`.
pub fn container(context: At, errors: &mut FieldErrors) {
    for id in ["runAsUser", "runAsGroup"] {
        id_number(context.get(id), errors);
    }
    context.get("procMount").one_of_if_set(errors, &["Default", "Unmasked"]);
    profile(context, errors);
    if context.get("allowPrivilegeEscalation").value.as_bool() == Some(false) {
        if context.get("privileged").flag() {
            context.invalid(errors, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        let capabilities = context.get("capabilities");
        if capabilities.get("add").items().any(|c| c.str() == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            context.invalid(errors, detail);
        }
    }
}

fn id_number(id: At, errors: &mut FieldErrors) {
    if id.is_set() {
        id.shape(errors, names::id_number(id.int()));
    }
}

/// seccomp and AppArmor profiles share their shape.
fn profile(context: At, errors: &mut FieldErrors) {
    for (field, word) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let profile = context.get(field);
        if !profile.is_set() {
            continue;
        }
        let (ty, local) = (profile.get("type"), profile.get("localhostProfile"));
        ty.one_of(errors, &SECCOMP);
        match (ty.str() == "Localhost", local.is_set()) {
            (true, false) => local.required(errors, format!("must be set when {word} type is Localhost")),
            (true, true) if field == "seccompProfile" => relative_path(local, errors),
            (false, true) => local.invalid(errors, format!("can only be set when {word} type is Localhost")),
            _ => {}
        }
    }
}

fn sysctls(list: At, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for sysctl in list.items() {
        let name = sysctl.get("name");
        if !name.need(errors) {
            continue;
        }
        if !sysctl_name(name.str()) {
            let regex = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            name.invalid(errors, format!("must have at most 253 characters and match regex {regex}"));
        } else if !seen.insert(name.str().to_string()) {
            name.duplicate(errors);
        }
    }
}

fn sysctl_name(name: &str) -> bool {
    let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            bytes.iter().all(|c| word(*c) || b"-_".contains(c))
                && bytes.first().is_some_and(|c| word(*c))
                && bytes.last().is_some_and(|c| word(*c))
        })
}
