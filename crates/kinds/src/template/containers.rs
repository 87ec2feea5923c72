//! Containers: regular, init and ephemeral ones.

use super::{env, probes, resources, security, volumes, volumes::Volumes};
use crate::{at::At, rules::PROTOCOLS};
use base::FieldErrors;
use std::collections::BTreeSet;

const PULL: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const RESTART: [&str; 3] = ["Always", "Never", "OnFailure"];
const NOT_EPHEMERAL: [&str; 6] = ["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"];

/// All containers of a pod spec.
pub fn validate(spec: At, volumes: &Volumes, errors: &mut FieldErrors) {
    let grace = spec.get("terminationGracePeriodSeconds").value.as_i64();
    let mut names = BTreeSet::new();
    regular(spec, volumes, grace, &mut names, errors);
    init(spec, volumes, grace, &mut names, errors);
    ephemeral(spec, volumes, names, errors);
}

/// A rule for pods, not for templates.
pub fn image_has_no_spaces(container: At, errors: &mut FieldErrors) {
    let image = container.get("image");
    if image.str().trim() != image.str() {
        image.invalid(errors, "must not have leading or trailing whitespace");
    }
}

fn regular(spec: At, volumes: &Volumes, grace: Option<i64>, names: &mut BTreeSet<String>, errors: &mut FieldErrors) {
    let list = spec.get("containers");
    if !list.need(errors) {
        return;
    }
    for container in list.items() {
        common(spec, container, volumes, errors);
        if !names.insert(container.get("name").str().into()) {
            container.get("name").duplicate(errors);
        }
        probes::all(container, grace, errors);
        restart_policy(container, errors);
    }
    host_ports(list.items(), &mut BTreeSet::new(), errors);
}

fn init(spec: At, volumes: &Volumes, grace: Option<i64>, names: &mut BTreeSet<String>, errors: &mut FieldErrors) {
    let list = spec.get("initContainers");
    for container in list.items() {
        common(spec, container, volumes, errors);
        restart_policy(container, errors);
        let name = container.get("name");
        if names.contains(name.str()) {
            name.duplicate(errors);
        } else if !name.is_empty() {
            names.insert(name.str().into());
        }
        // Init containers run one by one: each may use the ports of the others.
        host_ports([container].into_iter(), &mut BTreeSet::new(), errors);
        if container.get("restartPolicy").str() == "Always" {
            probes::all(container, grace, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.get(field).is_set() {
                let detail = "may not be set for init containers without restartPolicy=Always";
                container.get(field).forbidden(errors, detail);
            }
        }
    }
}

fn ephemeral(spec: At, volumes: &Volumes, others: BTreeSet<String>, errors: &mut FieldErrors) {
    let mut names = others.clone();
    for container in spec.get("ephemeralContainers").items() {
        common(spec, container, volumes, errors);
        image_has_no_spaces(container, errors);
        let name = container.get("name");
        if !names.insert(name.str().into()) {
            name.duplicate(errors);
        }
        let target = container.get("targetContainerName");
        if !target.is_empty() && !others.contains(target.str()) {
            target.not_found(errors);
        }
        for field in NOT_EPHEMERAL.into_iter().filter(|f| !container.get(f).is_empty()) {
            container.get(field).forbidden(errors, "cannot be set for an Ephemeral Container");
        }
        for mount in container.get("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.get(field).is_empty() {
                    mount.get(field).forbidden(errors, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// What every container must be.
fn common(spec: At, container: At, volumes: &Volumes, errors: &mut FieldErrors) {
    let name = container.get("name");
    if name.need(errors) {
        name.dns_label(errors);
    }
    container.get("image").need(errors);
    container.get("terminationMessagePolicy").one_of(errors, &["File", "FallbackToLogsOnError"]);
    ports(container.get("ports"), errors);
    env::vars(container.get("env"), errors);
    env::from(container.get("envFrom"), errors);
    volumes::mounts(container, volumes, errors);
    volumes::devices(container, volumes, errors);
    container.get("imagePullPolicy").one_of(errors, &PULL);
    resources::requirements(container.get("resources"), errors);
    resources::resize_policy(container.get("resizePolicy"), spec.get("restartPolicy").str(), errors);
    security::container(container.get("securityContext"), errors);
}

fn ports(ports: At, errors: &mut FieldErrors) {
    let mut names = BTreeSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            let before = errors.0.len();
            name.port_name(errors);
            if errors.0.len() == before && !names.insert(name.str().to_string()) {
                name.duplicate(errors);
            }
        }
        let number = port.get("containerPort");
        if number.int() == 0 {
            number.required(errors, "");
        } else {
            number.port(errors);
        }
        if port.get("hostPort").int() != 0 {
            port.get("hostPort").port(errors);
        }
        port.get("protocol").one_of(errors, &PROTOCOLS);
    }
}

/// No two containers may hold the same port of the host.
fn host_ports<'a>(containers: impl Iterator<Item = At<'a>>, seen: &mut BTreeSet<String>, errors: &mut FieldErrors) {
    for container in containers {
        for port in container.get("ports").items().filter(|p| p.get("hostPort").int() != 0) {
            let host = port.get("hostPort");
            let key = format!("{}/{}/{}", port.get("protocol").str(), port.get("hostIP").str(), host.int());
            if seen.contains(&key) {
                errors.duplicate(host.path, &key);
            }
            seen.insert(key);
        }
    }
}

/// A container's own restart policy and its rules by exit code (KEP-5307).
fn restart_policy(container: At, errors: &mut FieldErrors) {
    let (policy, rules) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    if policy.is_set() {
        policy.one_of_if_set(errors, &RESTART);
    } else if !rules.is_empty() {
        policy.required(errors, "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > 20 {
        rules.too_many(errors, 20);
    }
    for rule in rules.items() {
        rule.get("action").one_of_if_set(errors, &["Restart", "RestartAllContainers"]);
        let codes = rule.get("exitCodes");
        if !codes.is_set() {
            codes.required(errors, "must be specified");
            continue;
        }
        codes.get("operator").one_of_if_set(errors, &["In", "NotIn"]);
        if codes.get("values").len() > 255 {
            codes.get("values").too_many(errors, 255);
        }
    }
}
