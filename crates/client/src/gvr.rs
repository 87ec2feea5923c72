//! Which resource a call is about.

use value::Str;

/// Group, version and plural; they name a path, nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvr {
    /// Empty for the legacy group.
    pub group: Str,
    pub version: Str,
    pub plural: Str,
}

impl Gvr {
    /// From any strings.
    pub fn new(group: impl Into<Str>, version: impl Into<Str>, plural: impl Into<Str>) -> Self {
        Gvr { group: group.into(), version: version.into(), plural: plural.into() }
    }
    /// From literals, in constants.
    pub const fn inline(group: &'static str, version: &'static str, plural: &'static str) -> Self {
        Gvr { group: Str::const_new(group), version: Str::const_new(version), plural: Str::const_new(plural) }
    }
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }
    /// The path of an object, of a collection (`name` empty) or of a subresource.
    pub fn path(&self, namespace: Option<&str>, name: &str, subresource: &str) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = namespace {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        for part in [self.plural.as_str(), name, subresource] {
            if !part.is_empty() {
                path.push('/');
                path.push_str(part);
            }
        }
        path
    }
}

impl std::fmt::Display for Gvr {
    /// `deployments.apps`, as messages name a resource.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&base::status::qualified(&self.group, &self.plural))
    }
}

/// The built-in resources that components use.
pub mod kinds {
    use super::Gvr;

    pub const NAMESPACES: Gvr = Gvr::inline("", "v1", "namespaces");
    pub const CONFIG_MAPS: Gvr = Gvr::inline("", "v1", "configmaps");
    pub const SECRETS: Gvr = Gvr::inline("", "v1", "secrets");
    pub const PODS: Gvr = Gvr::inline("", "v1", "pods");
    pub const NODES: Gvr = Gvr::inline("", "v1", "nodes");
    pub const SERVICES: Gvr = Gvr::inline("", "v1", "services");
    pub const ENDPOINTS: Gvr = Gvr::inline("", "v1", "endpoints");
    pub const SERVICE_ACCOUNTS: Gvr = Gvr::inline("", "v1", "serviceaccounts");
    pub const EVENTS: Gvr = Gvr::inline("", "v1", "events");
    pub const ENDPOINT_SLICES: Gvr = Gvr::inline("discovery.k8s.io", "v1", "endpointslices");
    pub const LEASES: Gvr = Gvr::inline("coordination.k8s.io", "v1", "leases");
    pub const DEPLOYMENTS: Gvr = Gvr::inline("apps", "v1", "deployments");
    pub const REPLICA_SETS: Gvr = Gvr::inline("apps", "v1", "replicasets");
    pub const CSRS: Gvr = Gvr::inline("certificates.k8s.io", "v1", "certificatesigningrequests");
    pub const CLUSTER_ROLES: Gvr = Gvr::inline("rbac.authorization.k8s.io", "v1", "clusterroles");
    pub const CLUSTER_ROLE_BINDINGS: Gvr = Gvr::inline("rbac.authorization.k8s.io", "v1", "clusterrolebindings");
    pub const ROLES: Gvr = Gvr::inline("rbac.authorization.k8s.io", "v1", "roles");
    pub const ROLE_BINDINGS: Gvr = Gvr::inline("rbac.authorization.k8s.io", "v1", "rolebindings");
    pub const CRDS: Gvr = Gvr::inline("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    pub const SUBJECT_ACCESS_REVIEWS: Gvr = Gvr::inline("authorization.k8s.io", "v1", "subjectaccessreviews");
    pub const TOKEN_REVIEWS: Gvr = Gvr::inline("authentication.k8s.io", "v1", "tokenreviews");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (gvr, namespace, name, sub, want) in [
            (kinds::PODS, Some("a"), "x", "log", "/api/v1/namespaces/a/pods/x/log"),
            (kinds::PODS, None, "", "", "/api/v1/pods"),
            (kinds::NODES, None, "n", "status", "/api/v1/nodes/n/status"),
            (kinds::DEPLOYMENTS, Some("a"), "", "", "/apis/apps/v1/namespaces/a/deployments"),
        ] {
            assert_eq!(gvr.path(namespace, name, sub), want);
        }
    }
}
