//! The pod spec as a whole, in the order of upstream's `ValidatePodSpec`.

use super::{containers, resources, scheduling, security, volumes, whole};
use crate::{at::At, rules::quantity};
use base::FieldErrors;

/// Where a spec stands; a few rules hold for pods only, which templates of older clusters already break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum In {
    Pod,
    Template,
}

const RESTART: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const INT32_MAX: i64 = i32::MAX as i64;

/// A `PodTemplateSpec`.
pub fn template(template: At, errors: &mut FieldErrors) {
    let metadata = template.get("metadata");
    // Upstream reports them without `metadata` in the path.
    At { value: metadata.get("labels").value, path: template.path.key("labels") }.labels(errors);
    At { value: metadata.get("annotations").value, path: template.path.key("annotations") }.annotations(errors);
    validate(template.get("spec"), In::Template, errors);
    let spec = template.get("spec");
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}

/// A `PodSpec`.
pub fn validate(spec: At, place: In, errors: &mut FieldErrors) {
    let grace = spec.get("terminationGracePeriodSeconds");
    grace.need(errors);
    let volumes = volumes::validate(spec.get("volumes"), errors);
    whole::resource_claims(spec, errors);
    containers::validate(spec, &volumes, errors);
    resources::pod(spec, errors);
    host_network(spec, place, errors);
    spec.get("restartPolicy").one_of(errors, &RESTART);
    spec.get("dnsPolicy").one_of(errors, &DNS);
    spec.get("nodeSelector").labels(errors);
    security::pod(spec, errors);
    scheduling::affinity(spec.get("affinity"), errors);
    dns_config(spec, errors);
    for gate in spec.get("readinessGates").items() {
        gate.get("conditionType").qualified_name(errors);
    }
    scheduling::gates(spec.get("schedulingGates"), errors);
    scheduling::spread(spec.get("topologySpreadConstraints"), errors);
    whole::host_users(spec, errors);
    whole::host_name(spec, errors);
    names(spec, errors);
    scheduling::tolerations(spec.get("tolerations"), errors);
    for alias in spec.get("hostAliases").items() {
        alias.get("ip").ip(errors);
        for host in alias.get("hostnames").items() {
            host.dns_subdomain(errors);
        }
    }
    for class in ["priorityClassName", "runtimeClassName"] {
        if !spec.get(class).is_empty() {
            spec.get(class).dns_subdomain(errors);
        }
    }
    spec.get("preemptionPolicy").one_of_if_set(errors, &["PreemptLowerPriority", "Never"]);
    for (_, amount) in spec.get("overhead").entries() {
        if quantity(amount.value).is_none() {
            amount.invalid(errors, "must be a valid resource quantity");
        }
    }
    let os = spec.get("os");
    if os.is_set() {
        os.get("name").one_of(errors, &["linux", "windows"]);
        whole::operating_system(spec, errors);
    }
    if place == In::Pod {
        pod_only(spec, errors);
    }
}

fn names(spec: At, errors: &mut FieldErrors) {
    for name in ["serviceAccountName", "nodeName"] {
        if !spec.get(name).is_empty() {
            spec.get(name).dns_subdomain(errors);
        }
    }
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.range(errors, 1, INT32_MAX);
    }
    for label in ["hostname", "subdomain"] {
        if !spec.get(label).is_empty() {
            spec.get(label).dns_label(errors);
        }
    }
}

/// With the host's network a container's port is the host's.
fn host_network(spec: At, place: In, errors: &mut FieldErrors) {
    if !spec.get("hostNetwork").flag() {
        return;
    }
    for container in spec.get("containers").items() {
        for port in container.get("ports").items() {
            let host = port.get("hostPort");
            if (place == In::Pod || host.int() != 0) && host.int() != port.get("containerPort").int() {
                host.invalid_int(errors, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns_config(spec: At, errors: &mut FieldErrors) {
    let config = spec.get("dnsConfig");
    let servers = config.get("nameservers");
    if spec.get("dnsPolicy").str() == "None" {
        if !config.is_set() {
            return config.required(errors, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            return servers.required(errors, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    if servers.len() > 3 {
        servers.invalid(errors, "must not have more than 3 nameservers");
    }
    for server in servers.items() {
        server.ip(errors);
    }
    let searches = config.get("searches");
    if searches.len() > 32 {
        searches.invalid(errors, "must not have more than 32 search paths");
    }
    if searches.items().map(|s| s.str().len() + 1).sum::<usize>() > 2049 {
        searches.invalid(errors, "must not have more than 2048 characters (including spaces) in the search list");
    }
    for search in searches.items().filter(|s| s.str() != ".") {
        let name = search.str().strip_suffix('.').unwrap_or(search.str());
        // Underscores are allowed in search paths, nowhere else.
        search.shape_as(errors, name, base::names::search_path(name));
    }
    for option in config.get("options").items() {
        if option.get("name").is_empty() {
            option.required(errors, "must not be empty");
        }
    }
}

/// Rules that came too late for templates.
fn pod_only(spec: At, errors: &mut FieldErrors) {
    if spec.get("serviceAccountName").is_empty() {
        for volume in spec.get("volumes").items() {
            let projected = volume.get("projected");
            for source in projected.get("sources").items() {
                let token = source.get("serviceAccountToken");
                if token.is_set() {
                    token.forbidden(errors, "must not be specified when serviceAccountName is not set");
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).items() {
            containers::image_has_no_spaces(container, errors);
        }
    }
}
