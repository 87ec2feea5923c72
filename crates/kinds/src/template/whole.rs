//! Rules that look at a pod as a whole: claims for devices and who uses them, a users' namespace, the operating system.

use crate::at::At;
use base::{FieldErrors, status::Problem};
use std::collections::BTreeSet;

/// `resourceClaims`, and every container's reference to one.
pub fn resource_claims(spec: At, errors: &mut FieldErrors) {
    let mut names = BTreeSet::new();
    for claim in spec.get("resourceClaims").items() {
        let name = claim.get("name");
        if name.need(errors) {
            if names.insert(name.str().to_string()) {
                name.dns_label(errors);
            } else {
                name.duplicate(errors);
            }
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"].map(|field| claim.value.at(&[field]));
        match sources.map(|source| !source.is_null()) {
            [true, true] => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                claim.invalid(errors, detail);
            }
            [false, false] => {
                claim.invalid(errors, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
            }
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if claim.get(field).is_set() {
                claim.get(field).dns_subdomain(errors);
            }
        }
    }
    each_container(spec, &mut |container| {
        let resources = container.get("resources");
        references(resources.get("claims"), &names, errors);
    });
}

/// The claims that a container uses, whole or one request of them, each once.
fn references(claims: At, names: &BTreeSet<String>, errors: &mut FieldErrors) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for claim in claims.items() {
        let (name, request) = (claim.value.str_at(&["name"]), claim.get("request"));
        if name.is_empty() {
            claim.required(errors, "");
            continue;
        }
        if seen.contains(name) {
            errors.duplicate(claim.path, name);
        } else {
            let key = if request.is_empty() { name.to_string() } else { format!("{name}/{}", request.str()) };
            if !request.is_empty() {
                request.dns_label(errors);
            }
            if seen.contains(&key) {
                errors.duplicate(claim.path, &key);
            } else if request.is_empty() {
                let parts = seen.iter().filter(|key| key.split_once('/').is_some_and(|(of, _)| of == name)).count();
                (0..parts).for_each(|_| errors.duplicate(claim.path, name));
            }
            seen.insert(key);
        }
        if !names.contains(name) {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            let detail = match known.as_slice() {
                [] => "must be one of the names in pod.spec.resourceClaims which is empty".to_string(),
                known => format!("must be one of the names in pod.spec.resourceClaims: {}", known.join(", ")),
            };
            errors.add(Problem::NotFound, claim.path, Some(base::status::quote(name)), detail);
        }
    }
}

/// Users of its own, and the host's other namespaces, do not go together.
pub fn host_users(spec: At, errors: &mut FieldErrors) {
    const WHEN: &str = "when `hostUsers` is false";
    if spec.get("hostUsers").value.as_bool() != Some(false) {
        return;
    }
    // Upstream's path has capitals where the field has none.
    for (field, place) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.get(field).flag() {
            errors.forbidden(spec.path.key(place), WHEN);
        }
    }
    each_container(spec, &mut |container| {
        if !container.get("volumeDevices").is_empty() {
            container.get("volumeDevices").forbidden(errors, WHEN);
        }
    });
}

/// A host name of the pod's choice.
pub fn host_name(spec: At, errors: &mut FieldErrors) {
    const MAX: usize = 64;
    let name = spec.get("hostnameOverride");
    if !name.is_set() {
        return;
    }
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.get(field).flag() {
            name.forbidden(errors, format!("may not be specified when {field} is true"));
        }
    }
    if name.str().len() > MAX {
        errors.too_long(name.path, MAX);
    }
    name.dns_subdomain(errors);
}

/// Fields of a pod, and of its security context, that mean nothing to Windows.
const NOT_WINDOWS: [&str; 4] = ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"];
const NOT_WINDOWS_CONTEXT: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const NOT_WINDOWS_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// What the pod's operating system does not know.
pub fn operating_system(spec: At, errors: &mut FieldErrors) {
    let os = spec.get("os");
    match os.get("name").str() {
        "linux" => {
            let detail = "windows options cannot be set for a linux pod";
            let mut check = |at: At| {
                let context = at.get("securityContext");
                if context.get("windowsOptions").is_set() {
                    context.get("windowsOptions").forbidden(errors, detail);
                }
            };
            check(spec);
            each_container(spec, &mut check);
        }
        "windows" => {
            let mut check = |at: At, fields: &[&str]| {
                let set =
                    |field: &str| !matches!(at.value.at(&[field]), value::Value::Null | value::Value::Bool(false));
                // Upstream's booleans of a pod are no pointers: false is nothing.
                for field in fields {
                    let pointer = !["hostPID", "hostIPC"].contains(field);
                    if set(field) || pointer && at.get(field).is_set() {
                        at.get(field).forbidden(errors, "cannot be set for a windows pod");
                    }
                }
            };
            check(spec, &NOT_WINDOWS);
            check(spec.get("securityContext"), &NOT_WINDOWS_CONTEXT);
            each_container(spec, &mut |container| check(container.get("securityContext"), &NOT_WINDOWS_CONTAINER));
        }
        _ => {}
    }
}

fn each_container(spec: At, f: &mut dyn FnMut(At)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        spec.get(list).items().for_each(&mut *f);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use value::{Value, value};

    fn check(spec: Value, rule: fn(At, &mut FieldErrors), want: Expect) {
        let mut errors = FieldErrors::default();
        rule(At::root(&spec), &mut errors);
        want.assert_eq(&errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn claims() {
        check(
            value!({
                "resourceClaims": [{"name": "gpu", "resourceClaimName": "g"}, {"name": "gpu"}, {"name": "x", "resourceClaimName": "A", "resourceClaimTemplateName": "t"}],
                "containers": [{"resources": {"claims": [{"name": "gpu", "request": "r"}, {"name": "gpu", "request": "r"}, {"name": "gpu"}, {"name": "none"}, {}]}}],
            }),
            resource_claims,
            expect![[r#"
                resourceClaims[1].name: Duplicate value: "gpu"
                resourceClaims[1]: Invalid value: {"name":"gpu"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`
                resourceClaims[2]: Invalid value: {"name":"x","resourceClaimName":"A","resourceClaimTemplateName":"t"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified
                resourceClaims[2].resourceClaimName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                containers[0].resources.claims[1]: Duplicate value: "gpu/r"
                containers[0].resources.claims[2]: Duplicate value: "gpu"
                containers[0].resources.claims[3]: Not found: "none": must be one of the names in pod.spec.resourceClaims: gpu, x
                containers[0].resources.claims[4]: Required value"#]],
        );
    }

    #[test]
    fn users() {
        check(
            value!({"hostUsers": false, "hostNetwork": true, "hostPID": true, "containers": [{"volumeDevices": [{}]}]}),
            host_users,
            expect![[r#"
                hostNetwork: Forbidden: when `hostUsers` is false
                HostPID: Forbidden: when `hostUsers` is false
                containers[0].volumeDevices: Forbidden: when `hostUsers` is false"#]],
        );
        check(value!({"hostUsers": true, "hostPID": true}), host_users, expect![""]);
    }

    #[test]
    fn systems() {
        check(
            value!({"os": {"name": "windows"}, "hostPID": false, "shareProcessNamespace": false, "securityContext": {"runAsUser": 1},
                "containers": [{"securityContext": {"privileged": false, "windowsOptions": {}}}]}),
            operating_system,
            expect![[r#"
                shareProcessNamespace: Forbidden: cannot be set for a windows pod
                securityContext.runAsUser: Forbidden: cannot be set for a windows pod
                containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod"#]],
        );
        check(
            value!({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}, "containers": [{"securityContext": {"windowsOptions": {}}}]}),
            operating_system,
            expect![[r#"
                securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod
                containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"#]],
        );
    }

    #[test]
    fn names() {
        check(
            value!({"hostnameOverride": "A", "hostNetwork": true, "setHostnameAsFQDN": true}),
            host_name,
            expect![[r#"
                hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true
                hostnameOverride: Forbidden: may not be specified when hostNetwork is true
                hostnameOverride: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
        );
    }
}
