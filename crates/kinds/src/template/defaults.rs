//! What a pod template looks like when its author leaves fields out, where the schema's own defaults do not say it
//! (those are most: policies, probes, modes, pull policy). Source: `k8s.io/kubernetes/pkg/apis/core/v1/defaults.go`.

use value::Value;

/// Fills the `PodTemplateSpec` at a path, if there is one.
pub fn pod_template_at(obj: &mut Value, path: &[&str]) {
    if obj.at(path).as_object().is_some() {
        pod_template(obj.at_mut(path));
    }
}

/// Fills a `PodTemplateSpec`.
pub fn pod_template(template: &mut Value) {
    if template.at(&["spec"]).as_object().is_some() {
        fill(template.at_mut(&["spec"]));
    }
}

/// Fills a `PodSpec`: `serviceAccount` is the old name of `serviceAccountName`, and clients see both.
pub fn fill(spec: &mut Value) {
    let account = [spec.str_at(&["serviceAccountName"]), spec.str_at(&["serviceAccount"])];
    let account = account.into_iter().find(|a| !a.is_empty()).map(String::from);
    if let Some(account) = account {
        spec.set(&["serviceAccountName"], &account);
        spec.set(&["serviceAccount"], account);
    }
    each(spec, "volumes", |volume| {
        if volume.at(&["image"]).as_object().is_some() {
            let latest = pulls_always(volume.str_at(&["image", "reference"]));
            volume.set_default(&["image", "pullPolicy"], if latest { "Always" } else { "IfNotPresent" });
        }
    });
}

/// Requests that are absent become the limits (pods only, not templates).
pub fn default_resources(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        each(spec, list, |container| {
            let limits = container.at(&["resources", "limits"]).clone();
            for (name, limit) in limits.members_at(&[]) {
                container.set_default(&["resources", "requests", name], limit);
            }
        });
    }
}

fn each(parent: &mut Value, list: &str, f: impl Fn(&mut Value)) {
    parent.array_at_mut(&[list]).into_iter().flatten().filter(|item| item.as_object().is_some()).for_each(f);
}

/// True for the tag `latest`, said or implied.
fn pulls_always(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}
