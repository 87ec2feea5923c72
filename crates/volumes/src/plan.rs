//! What a pod's volumes are, decided from its spec alone.

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Pod, Volume};
use std::collections::BTreeSet;

/// One volume of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub name: String,
    pub kind: Kind,
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// ConfigMap, Secret, downward API or a projection of several: files made from objects. On tmpfs where it may hold
    /// what must not reach a disk.
    Files {
        secret: bool,
    },
    /// A directory that lives as long as the pod; `memory` on tmpfs, at most `size` bytes.
    EmptyDir {
        memory: bool,
        size: Option<u64>,
    },
    HostPath {
        path: String,
        kind: HostPathKind,
    },
    /// The files of an image, read-only. The runtime mounts them; `policy` is the `pullPolicy`, where one is given.
    Image {
        reference: String,
        policy: Option<String>,
    },
    /// Nothing that this node can provide; the pod waits.
    Unsupported(String),
}

/// `hostPath.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPathKind {
    Unset,
    DirectoryOrCreate,
    Directory,
    FileOrCreate,
    File,
    Socket,
    CharDevice,
    BlockDevice,
    /// A word that validation should have refused.
    Unknown,
}

/// The objects whose content goes into volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
    /// Audience (empty: the API server's) and lifetime in seconds.
    pub tokens: BTreeSet<(String, i64)>,
}

/// Default lifetime of a projected token.
pub(crate) const TOKEN_SECONDS: i64 = 3600;

/// All volumes of a pod, in the order of its spec.
pub fn plan(pod: &Pod) -> Vec<Planned> {
    volumes(pod).iter().map(|volume| Planned { name: volume.name.clone(), kind: kind(volume) }).collect()
}

/// What must be fetched before [`crate::content`] can be made.
pub fn needs(pod: &Pod) -> Needs {
    let mut needs = Needs::default();
    for volume in volumes(pod) {
        if let Some(source) = &volume.config_map {
            needs.config_maps.insert(source.name.clone());
        }
        if let Some(name) = volume.secret.as_ref().and_then(|s| s.secret_name.clone()) {
            needs.secrets.insert(name);
        }
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            needs.config_maps.extend(source.config_map.iter().map(|s| s.name.clone()));
            needs.secrets.extend(source.secret.iter().map(|s| s.name.clone()));
            needs.tokens.extend(
                source
                    .service_account_token
                    .iter()
                    .map(|t| (t.audience.clone().unwrap_or_default(), t.expiration_seconds.unwrap_or(TOKEN_SECONDS))),
            );
        }
    }
    needs
}

/// Who the files of a pod's volumes belong to: the `fsGroup`, and the user where all containers run as the same one.
pub fn ownership(pod: &Pod) -> (Option<u32>, Option<u32>) {
    let Some(spec) = &pod.spec else { return (None, None) };
    let security = spec.security_context.as_ref();
    let group = security.and_then(|s| s.fs_group).and_then(|g| u32::try_from(g).ok());
    let default = security.and_then(|s| s.run_as_user);
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let users: BTreeSet<Option<i64>> =
        containers.map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(default)).collect();
    let user = match (users.len(), users.first()) {
        (1, Some(Some(user))) => u32::try_from(*user).ok(),
        _ => None,
    };
    (user, group)
}

fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default()
}

fn kind(volume: &Volume) -> Kind {
    if volume.config_map.is_some() || volume.downward_api.is_some() {
        return Kind::Files { secret: false };
    }
    if volume.secret.is_some() || volume.projected.is_some() {
        return Kind::Files { secret: true };
    }
    if let Some(dir) = &volume.empty_dir {
        let size = dir.size_limit.as_ref().and_then(|q| Quantity::parse(&q.0).ok()).map(|q| q.units());
        return match dir.medium.as_deref().unwrap_or_default() {
            medium @ ("" | "Memory") => Kind::EmptyDir {
                memory: medium == "Memory",
                size: size.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0),
            },
            other => Kind::Unsupported(format!("emptyDir medium {other:?} is not supported on this node")),
        };
    }
    if let Some(host) = &volume.host_path {
        let kind = match host.type_.as_deref().unwrap_or_default() {
            "" => HostPathKind::Unset,
            "DirectoryOrCreate" => HostPathKind::DirectoryOrCreate,
            "Directory" => HostPathKind::Directory,
            "FileOrCreate" => HostPathKind::FileOrCreate,
            "File" => HostPathKind::File,
            "Socket" => HostPathKind::Socket,
            "CharDevice" => HostPathKind::CharDevice,
            "BlockDevice" => HostPathKind::BlockDevice,
            _ => HostPathKind::Unknown,
        };
        return Kind::HostPath { path: host.path.clone(), kind };
    }
    if let Some(image) = &volume.image {
        let (reference, policy) = (image.reference.clone().unwrap_or_default(), image.pull_policy.clone());
        return Kind::Image { reference, policy };
    }
    let json = serde_json::to_value(volume).unwrap_or_default();
    let source = json.as_object().and_then(|m| m.keys().find(|k| *k != "name")).cloned();
    match source {
        // No source at all defaults to emptyDir, as the API server's defaulting has it.
        None => Kind::EmptyDir { memory: false, size: None },
        Some(source) => Kind::Unsupported(format!("no volume plugin matched: {source}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    #[track_caller]
    fn check(volume: serde_json::Value, want: Kind) {
        assert_eq!(plan(&pod(json!({"containers": [], "volumes": [volume]})))[0].kind, want);
    }

    #[test]
    fn kinds() {
        check(json!({"name": "v", "configMap": {"name": "c"}}), Kind::Files { secret: false });
        check(json!({"name": "v", "secret": {"secretName": "s"}}), Kind::Files { secret: true });
        check(json!({"name": "v", "projected": {"sources": []}}), Kind::Files { secret: true });
        check(json!({"name": "v", "downwardAPI": {"items": []}}), Kind::Files { secret: false });
        check(json!({"name": "v"}), Kind::EmptyDir { memory: false, size: None });
        check(
            json!({"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
            Kind::EmptyDir { memory: true, size: Some(1 << 20) },
        );
        check(
            json!({"name": "v", "hostPath": {"path": "/x", "type": "File"}}),
            Kind::HostPath { path: "/x".into(), kind: HostPathKind::File },
        );
        check(
            json!({"name": "v", "image": {"reference": "a/b:1", "pullPolicy": "Always"}}),
            Kind::Image { reference: "a/b:1".into(), policy: Some("Always".into()) },
        );
        check(json!({"name": "v", "csi": {"driver": "d"}}), Kind::Unsupported("no volume plugin matched: csi".into()));
    }

    #[test]
    fn needs_of_all_volumes() {
        let pod = pod(json!({"containers": [], "volumes": [
            {"name": "a", "configMap": {"name": "c1"}},
            {"name": "b", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token"}}, {"serviceAccountToken": {"path": "t", "audience": "x", "expirationSeconds": 700}},
                {"configMap": {"name": "c2"}}, {"secret": {"name": "s1"}}]}},
        ]}));
        let needs = needs(&pod);
        assert_eq!(needs.config_maps, ["c1".to_string(), "c2".into()].into());
        assert_eq!(needs.secrets, ["s1".to_string()].into());
        assert_eq!(needs.tokens, [("".to_string(), 3600), ("x".into(), 700)].into());
    }

    #[test]
    fn owners() {
        for (spec, want) in [
            (json!({"containers": [{"name": "a"}]}), (None, None)),
            (
                json!({"securityContext": {"runAsUser": 5, "fsGroup": 7}, "containers": [{"name": "a"}]}),
                (Some(5), Some(7)),
            ),
            (json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 5}}, {"name": "b"}]}), (None, None)),
        ] {
            assert_eq!(ownership(&pod(spec)), want);
        }
    }
}
