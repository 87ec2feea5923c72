//! Probes, lifecycle hooks and the actions that both perform.

use crate::at::At;
use base::FieldErrors;

const ACTIONS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Lifecycle hooks and the three probes of a container; `grace` is the pod's termination grace period.
pub fn all(container: At, grace: Option<i64>, errors: &mut FieldErrors) {
    let lifecycle = container.get("lifecycle");
    for hook in ["postStart", "preStop"] {
        if lifecycle.get(hook).is_set() {
            action(lifecycle.get(hook), grace, errors);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let container_probe = container.get(name);
        if container_probe.is_set() {
            probe(container_probe, name, grace, errors);
        }
    }
}

fn probe(probe: At, name: &str, grace: Option<i64>, errors: &mut FieldErrors) {
    action(probe, grace, errors);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        probe.get(field).non_negative(errors);
    }
    let own_grace = probe.get("terminationGracePeriodSeconds");
    if own_grace.is_set() && own_grace.int() <= 0 {
        own_grace.invalid_int(errors, "must be greater than 0");
    }
    match name {
        "readinessProbe" if own_grace.is_set() => own_grace.invalid_int(errors, "must not be set for readinessProbes"),
        "livenessProbe" | "startupProbe" if probe.get("successThreshold").int() != 1 => {
            probe.get("successThreshold").invalid_int(errors, "must be 1");
        }
        _ => {}
    }
}

/// Exactly one action.
fn action(holder: At, grace: Option<i64>, errors: &mut FieldErrors) {
    let mut found = ACTIONS.into_iter().filter(|a| holder.get(a).is_set());
    let Some(first) = found.next() else {
        return holder.required(errors, "must specify a handler type");
    };
    one(first, holder.get(first), grace, errors);
    for other in found {
        holder.get(other).forbidden(errors, "may not specify more than 1 handler type");
    }
}

fn one(name: &str, action: At, grace: Option<i64>, errors: &mut FieldErrors) {
    match name {
        "exec" => {
            action.get("command").need(errors);
        }
        "httpGet" => {
            action.get("path").need(errors);
            action.get("port").port_number_or_name(errors);
            action.get("scheme").one_of_if_set(errors, &["HTTP", "HTTPS"]);
            for header in action.get("httpHeaders").items() {
                let name = header.get("name").str();
                action.get("httpHeaders").shape_as(errors, name, base::names::http_header_name(name));
            }
        }
        "tcpSocket" => action.get("port").port_number_or_name(errors),
        "grpc" => action.get("port").port(errors),
        _ => {
            let seconds = action.get("seconds").int();
            if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.invalid_raw(action.path, seconds, detail);
            }
        }
    }
}
