//! What a pod refers to. One reading for all who ask: the Node authorizer grants it to the pod's node, and admission
//! refuses it in mirror pods, because a node that could name an object in a pod of its own making could read it.
//! Two readings that differ by one field would be a hole.

use std::collections::HashSet;
use value::{Str, Value};

/// The annotation of a mirror pod: the API's picture of a pod that a node runs by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Volumes for which a node needs nothing of the API. Any other one, and any one that is not known yet, is refused in
/// a mirror pod.
const LOCAL_VOLUMES: [&str; 24] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
    "name",
    "projected",
];

/// What a pod refers to, within its namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References {
    pub node: Str,
    pub service_account: Str,
    pub secrets: HashSet<Str>,
    pub config_maps: HashSet<Str>,
    pub claims: HashSet<Str>,
    /// Of projected tokens; `""` is the API server's own.
    pub audiences: HashSet<Str>,
}

impl References {
    /// Reads a pod.
    pub fn of(pod: &Value) -> Self {
        let spec = pod.at(&["spec"]);
        let named = ["serviceAccountName", "serviceAccount"].map(|key| spec.str_at(&[key]));
        let mut out = References {
            node: spec.str_at(&["nodeName"]).into(),
            service_account: named.into_iter().find(|name| !name.is_empty()).unwrap_or("").into(),
            ..References::default()
        };
        out.secrets.extend(names(spec.items_at(&["imagePullSecrets"]), &["name"]));
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for container in spec.items_at(&[list]) {
                let env = container.items_at(&["env"]);
                let from = container.items_at(&["envFrom"]);
                out.secrets.extend(names(env, &["valueFrom", "secretKeyRef", "name"]));
                out.secrets.extend(names(from, &["secretRef", "name"]));
                out.config_maps.extend(names(env, &["valueFrom", "configMapKeyRef", "name"]));
                out.config_maps.extend(names(from, &["configMapRef", "name"]));
            }
        }
        for volume in spec.items_at(&["volumes"]) {
            out.volume(pod, volume);
        }
        out
    }
    fn volume(&mut self, pod: &Value, volume: &Value) {
        self.secrets.extend(name_at(volume, &["secret", "secretName"]));
        self.config_maps.extend(name_at(volume, &["configMap", "name"]));
        self.claims.extend(name_at(volume, &["persistentVolumeClaim", "claimName"]));
        if !volume.at(&["ephemeral"]).is_null() {
            self.claims.insert(format!("{}-{}", pod.name(), volume.str_at(&["name"])).into());
        }
        for source in volume.items_at(&["projected", "sources"]) {
            self.secrets.extend(name_at(source, &["secret", "name"]));
            self.config_maps.extend(name_at(source, &["configMap", "name"]));
            if !source.at(&["serviceAccountToken"]).is_null() {
                self.audiences.insert(source.str_at(&["serviceAccountToken", "audience"]).into());
            }
        }
        for driver in ["csi", "cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "storageos", "iscsi"] {
            for key in ["secretRef", "nodePublishSecretRef"] {
                self.secrets.extend(name_at(volume, &[driver, key, "name"]));
            }
        }
        self.secrets.extend(name_at(volume, &["azureFile", "secretName"]));
    }
}

/// True for a pod with the annotation of mirror pods.
pub fn is_mirror(pod: &Value) -> bool {
    !pod.at(&["metadata", "annotations", MIRROR]).is_null()
}

/// The first object of the API that a pod needs, in upstream's words (`secrets`, `configmaps (via projected volumes)` …).
/// Source: what upstream's NodeRestriction allows in a mirror pod.
pub fn api_object(pod: &Value) -> Option<String> {
    let references = References::of(pod);
    let found = [
        (!references.service_account.is_empty(), "serviceaccounts"),
        (!references.secrets.is_empty(), "secrets"),
        (!references.config_maps.is_empty(), "configmaps"),
        (!pod.items_at(&["spec", "resourceClaims"]).is_empty(), "resourceclaims"),
    ];
    if let Some((_, what)) = found.into_iter().find(|(found, _)| *found) {
        return Some(what.into());
    }
    pod.items_at(&["spec", "volumes"]).iter().find_map(|volume| {
        let sources = volume.items_at(&["projected", "sources"]).iter();
        of_volume(volume).or_else(|| sources.filter_map(of_source).next())
    })
}

fn of_volume(volume: &Value) -> Option<String> {
    let kind = volume.members_at(&[]).map(|(key, _)| key).find(|key| !LOCAL_VOLUMES.contains(key))?;
    Some(match kind {
        "configMap" => "configmaps (via configmap volumes)".into(),
        "secret" => "secrets (via secret volumes)".into(),
        "csi" => "csidrivers (via CSI volumes)".into(),
        "glusterfs" => "endpoints (via glusterFS volumes)".into(),
        "persistentVolumeClaim" => "persistentvolumeclaims".into(),
        "ephemeral" => "persistentvolumeclaims (via ephemeral volumes)".into(),
        "azureFile" => "secrets (via azureFile volumes)".into(),
        other => format!("{other} volumes"),
    })
}

fn of_source(source: &Value) -> Option<String> {
    let kind = source.members_at(&[]).map(|(key, _)| key).find(|key| *key != "downwardAPI")?;
    Some(match kind {
        "configMap" => "configmaps (via projected volumes)".into(),
        "secret" => "secrets (via projected volumes)".into(),
        "serviceAccountToken" => "serviceaccounts (via projected volumes)".into(),
        "clusterTrustBundle" => "clustertrustbundles".into(),
        "podCertificate" => "podcertificates".into(),
        other => format!("{other} (via projected volumes)"),
    })
}

fn name_at(value: &Value, path: &[&str]) -> Option<Str> {
    Some(value.str_at(path)).filter(|name| !name.is_empty()).map(Str::from)
}

fn names<'a>(items: &'a [Value], path: &'a [&str]) -> impl Iterator<Item = Str> + 'a {
    items.iter().filter_map(|item| name_at(item, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn what_a_pod_needs_of_the_api() {
        let container = |c: Value| value!({"containers": [c]});
        let volume = |v: Value| value!({"volumes": [v]});
        let source = |s: Value| volume(value!({"name": "v", "projected": {"sources": [s]}}));
        for (spec, want) in [
            (value!({"nodeName": "n", "volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"emptyDir": {}}]}), None),
            (source(value!({"downwardAPI": {"items": []}})), None),
            (value!({"serviceAccountName": "a"}), Some("serviceaccounts")),
            (value!({"serviceAccount": "a"}), Some("serviceaccounts")),
            (value!({"imagePullSecrets": [{"name": "s"}]}), Some("secrets")),
            (container(value!({"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}]})), Some("secrets")),
            (container(value!({"envFrom": [{"secretRef": {"name": "s"}}]})), Some("secrets")),
            (value!({"ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}), Some("secrets")),
            (container(value!({"envFrom": [{"configMapRef": {"name": "c"}}]})), Some("configmaps")),
            (
                value!({"initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "c"}}}]}]}),
                Some("configmaps"),
            ),
            (value!({"resourceClaims": [{"name": "r"}]}), Some("resourceclaims")),
            (volume(value!({"secret": {"secretName": "s"}})), Some("secrets")),
            (volume(value!({"secret": {}})), Some("secrets (via secret volumes)")),
            (volume(value!({"cephfs": {"secretRef": {"name": "s"}}})), Some("secrets")),
            (volume(value!({"persistentVolumeClaim": {"claimName": "c"}})), Some("persistentvolumeclaims")),
            (volume(value!({"ephemeral": {}})), Some("persistentvolumeclaims (via ephemeral volumes)")),
            (volume(value!({"csi": {"driver": "d"}})), Some("csidrivers (via CSI volumes)")),
            (volume(value!({"newer": {}})), Some("newer volumes")),
            (source(value!({"secret": {"name": "s"}})), Some("secrets")),
            (source(value!({"serviceAccountToken": {"path": "t"}})), Some("serviceaccounts (via projected volumes)")),
            (source(value!({"clusterTrustBundle": {}})), Some("clustertrustbundles")),
        ] {
            let pod = value!({"metadata": {"name": "p"}, "spec": spec});
            assert_eq!(api_object(&pod).as_deref(), want, "{pod}");
        }
    }
}
