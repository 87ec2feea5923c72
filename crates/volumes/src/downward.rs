//! The downward API: fields of the pod and resources of its containers, as text. Volumes and environment share it.

use crate::Error;
use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use std::collections::BTreeMap;

/// What the node knows and the pod's object does not say (yet).
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub node_name: String,
    pub pod_ips: Vec<String>,
    pub host_ips: Vec<String>,
    /// Allocatable of the node, which stands in for limits that a container lacks: `cpu`, `memory`, `ephemeral-storage`.
    pub allocatable: BTreeMap<String, String>,
}

/// The value of a `fieldRef`. Paths that only environment variables may use are taken here too; validation tells them apart.
pub fn field(pod: &Pod, facts: &Facts, path: &str) -> Result<String, Error> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(unsupported(path)),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => pairs(meta.labels.as_ref()),
        "metadata.annotations" => pairs(meta.annotations.as_ref()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(unsupported(path)),
    })
}

/// The value of a `resourceFieldRef`, rounded up to a whole number of divisors. A limit that is not set is the node's
/// allocatable.
pub fn resource(container: &Container, facts: &Facts, selector: &ResourceFieldSelector) -> Result<String, Error> {
    let bad = || Error::Unsupported(format!("unsupported container resource : {}", selector.resource));
    let (list, name) = selector.resource.split_once('.').ok_or_else(bad)?;
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|r| r.limits.as_ref());
    let requests = resources.and_then(|r| r.requests.as_ref());
    let of = |map: Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
        map.and_then(|m| m.get(name)).map(|q| q.0.clone())
    };
    let text = match list {
        "limits" => of(limits).or_else(|| facts.allocatable.get(name).cloned()),
        "requests" => of(requests),
        _ => return Err(bad()),
    };
    let parse = |text: &str| Quantity::parse(text).map_err(|e| Error::Unsupported(format!("quantity {text:?}: {e}")));
    let amount = parse(&text.unwrap_or_else(|| "0".into()))?;
    let divisor = match selector.divisor.as_ref().map(|q| parse(&q.0)).transpose()? {
        Some(divisor) if !divisor.is_zero() => divisor,
        _ => Quantity::from_units(1),
    };
    let (amount, divisor) = match name {
        "cpu" => (amount.milli(), divisor.milli()),
        _ => (amount.units(), divisor.units()),
    };
    Ok(ceil(amount, divisor.max(1)).to_string())
}

fn ceil(amount: i128, divisor: i128) -> i128 {
    amount / divisor + i128::from(amount % divisor > 0)
}

/// `metadata.labels['a']` → (`metadata.labels`, `a`)
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// `key="value"` lines, sorted, values quoted as Go's `%q` does it.
fn pairs(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(k, v)| format!("{k}={}", base::status::quote(v))).collect();
    lines.join("\n")
}

fn unsupported(path: &str) -> Error {
    Error::Unsupported(format!("unsupported fieldPath: {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "x\"y"}},
            "spec": {"containers": [], "serviceAccountName": "sa"},
        }))
        .unwrap();
        let facts =
            Facts { node_name: "n1".into(), pod_ips: vec!["10.0.0.1".into(), "fd::1".into()], ..Facts::default() };
        for (path, want) in [
            ("metadata.name", "p"),
            ("metadata.labels", "a=\"x\\\"y\"\nb=\"2\""),
            ("metadata.labels['b']", "2"),
            ("metadata.annotations['none']", ""),
            ("spec.serviceAccountName", "sa"),
            ("spec.nodeName", "n1"),
            ("status.podIPs", "10.0.0.1,fd::1"),
        ] {
            assert_eq!(field(&pod, &facts, path).unwrap(), want, "{path}");
        }
        assert!(field(&pod, &facts, "spec.color").is_err());
    }

    #[test]
    fn resources_round_up_and_fall_back() {
        let container: Container = serde_json::from_value(json!({
            "name": "c", "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "1250m"}},
        }))
        .unwrap();
        let facts = Facts { allocatable: [("cpu".to_string(), "2".to_string())].into(), ..Facts::default() };
        for (name, divisor, want) in [
            ("limits.cpu", "", "2"),
            ("limits.cpu", "1m", "2000"),
            ("limits.memory", "1Mi", "64"),
            ("limits.memory", "", "67108864"),
            ("requests.cpu", "1", "2"),
            ("requests.cpu", "1m", "1250"),
            ("requests.memory", "", "0"),
        ] {
            let mut selector = ResourceFieldSelector { resource: name.into(), ..Default::default() };
            if !divisor.is_empty() {
                selector.divisor = Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity(divisor.into()));
            }
            assert_eq!(resource(&container, &facts, &selector).unwrap(), want, "{name} {divisor}");
        }
    }
}
