//! The order of versions and groups in discovery.
//! Source: `k8s.io/apimachinery/pkg/version` and the priorities in `pkg/controlplane/apiserver/aggregator.go`.

use std::cmp::Ordering;

/// Orders version names, the most trusted first: `v2`, `v1`, `v2beta1`, `v1beta2`, `v1alpha1`, then others by name.
pub fn by_priority(a: &str, b: &str) -> Ordering {
    match (parts(a), parts(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major and minor number.
fn parts(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..end].parse().ok()?;
    let (stability, minor) = match &rest[end..] {
        "" => return Some((2, major, 0)),
        tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
            (Some(n), _) => (1, n),
            (_, Some(n)) => (0, n),
            _ => return None,
        },
    };
    Some((stability, major, minor.parse().ok()?))
}

/// Where a group stands in `/apis`: smaller comes first. Groups of custom resources come last, by name.
pub fn group_priority(group: &str) -> usize {
    const ORDER: [&str; 21] = [
        "",
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "scheduling.k8s.io",
        "coordination.k8s.io",
        "node.k8s.io",
        "discovery.k8s.io",
        "resource.k8s.io",
        "flowcontrol.apiserver.k8s.io",
    ];
    ORDER.iter().position(|g| *g == group).unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_in_upstreams_order() {
        let mut versions =
            ["foo10", "v1", "v11alpha2", "foo1", "v3beta1", "v12alpha1", "v11beta2", "v10beta3", "v2", "v10"];
        versions.sort_by(|a, b| super::by_priority(a, b));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
        );
    }
}
