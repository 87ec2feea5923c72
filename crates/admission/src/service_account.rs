//! ServiceAccount: every pod runs as one, and finds its token, the cluster's CA and its namespace in a volume.

use crate::{Plugin, Target, plugin::forbid};
use auth::references::{References, is_mirror};
use base::Result;
use resource::{Attributes, Call};
use schema::Operation;
use value::{Value, value};

/// Where clients look. Source: client-go's `rest.InClusterConfig`.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour and seven seconds: the odd number marks tokens that this plugin asked for.
const EXPIRATION: i64 = 3607;

pub struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.is("pods", "") && target.operation == Operation::Create
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if is_mirror(&a.object) {
            return Ok(());
        }
        let named = [&["spec", "serviceAccountName"], &["spec", "serviceAccount"]];
        let named = named.into_iter().map(|path| a.object.str_at(path)).find(|name| !name.is_empty());
        let name = named.unwrap_or("default").to_string();
        a.object.set(&["spec", "serviceAccountName"], name.as_str());
        a.object.set(&["spec", "serviceAccount"], name.as_str());
        let namespace = a.call.namespace.clone();
        let Some(account) = a.view.get("", "serviceaccounts", &namespace, &name) else {
            let why =
                format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found");
            return Err(forbid(a, why));
        };
        let account = account.value();
        let own = a.object.at(&["spec", "automountServiceAccountToken"]).as_bool();
        if own.or(account.at(&["automountServiceAccountToken"]).as_bool()).unwrap_or(true) {
            mount(&mut a.object, || format!("kube-api-access-{}", base::ids::suffix(5)));
        }
        let pulls = account.at(&["imagePullSecrets"]);
        if a.object.items_at(&["spec", "imagePullSecrets"]).is_empty() && !pulls.is_null() {
            a.object.set(&["spec", "imagePullSecrets"], pulls);
        }
        Ok(())
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if !is_mirror(&a.object) {
            return Ok(());
        }
        let references = References::of(&a.object);
        if !references.service_account.is_empty() {
            return Err(forbid(a, "a mirror pod may not reference service accounts"));
        }
        if !references.secrets.is_empty() {
            return Err(forbid(a, "a mirror pod may not reference secrets"));
        }
        if !references.audiences.is_empty() {
            return Err(forbid(a, "a mirror pod may not use ServiceAccountToken volume projections"));
        }
        Ok(())
    }
}

/// Mounts the volume into every container that has nothing at its place, and adds it where one did.
fn mount(pod: &mut Value, name: impl Fn() -> String) {
    let existing = pod.items_at(&["spec", "volumes"]).iter().map(|v| v.str_at(&["name"]));
    let existing = existing.filter(|n| n.starts_with("kube-api-access-")).map(String::from).next();
    let volume = existing.clone().unwrap_or_else(name);
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in pod.array_at_mut(&["spec", list]).into_iter().flatten() {
            if container.items_at(&["volumeMounts"]).iter().any(|m| m.str_at(&["mountPath"]) == MOUNT_PATH) {
                continue;
            }
            push(container, &["volumeMounts"], value!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
            mounted = true;
        }
    }
    if mounted && existing.is_none() {
        push(pod, &["spec", "volumes"], projected(&volume));
    }
}

fn projected(name: &str) -> Value {
    let namespace = value!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    value!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": EXPIRATION, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]}})
}

fn push(object: &mut Value, path: &[&str], item: Value) {
    match object.at_mut(path) {
        Value::Array(items) => items.push(item),
        other => *other = Value::Array(vec![item]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check, object_of};

    fn pod(spec: Value) -> Case {
        let mut pod = value!({"metadata": {"name": "p", "namespace": "dev"}});
        pod.set(&["spec"], spec);
        Case::default()
            .with(
                "serviceaccounts",
                value!({"metadata": {"name": "default", "namespace": "dev"}, "imagePullSecrets": [{"name": "pull"}]}),
            )
            .with(
                "serviceaccounts",
                value!({"metadata": {"name": "quiet", "namespace": "dev"}, "automountServiceAccountToken": false}),
            )
            .create("", "pods", pod)
    }

    #[test]
    fn a_pod_gets_account_token_and_pull_secrets() {
        let elsewhere = value!({"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]});
        let out = object_of(&ServiceAccount, pod(value!({"containers": [{"name": "a"}, elsewhere]})));
        let spec = out.at(&["spec"]);
        assert_eq!(spec.str_at(&["serviceAccountName"]), "default");
        assert_eq!(spec.at(&["imagePullSecrets"]).to_string(), r#"[{"name":"pull"}]"#);
        let volume = spec.items_at(&["volumes"])[0].str_at(&["name"]);
        assert!(volume.starts_with("kube-api-access-") && volume.len() == 21, "{volume}");
        assert_eq!(spec.items_at(&["containers"])[0].items_at(&["volumeMounts"])[0].str_at(&["name"]), volume);
        assert_eq!(spec.items_at(&["containers"])[1].items_at(&["volumeMounts"]).len(), 1);
    }

    #[test]
    fn automount_is_a_choice() {
        for spec in [
            value!({"serviceAccountName": "quiet", "containers": [{"name": "a"}]}),
            value!({"automountServiceAccountToken": false, "containers": [{"name": "a"}]}),
        ] {
            assert!(object_of(&ServiceAccount, pod(spec)).at(&["spec", "volumes"]).is_null());
        }
        let spec = value!({"serviceAccountName": "quiet", "automountServiceAccountToken": true, "containers": [{"name": "a"}]});
        assert_eq!(object_of(&ServiceAccount, pod(spec)).items_at(&["spec", "volumes"]).len(), 1);
    }

    #[test]
    fn an_account_must_exist() {
        check(
            &ServiceAccount,
            pod(value!({"serviceAccountName": "none"})),
            r#"403 pods "p" is forbidden: error looking up service account dev/none: serviceaccount "none" not found"#,
        );
    }

    #[test]
    fn mirror_pods_refer_to_nothing_secret() {
        let mirror = |spec: Value| {
            let mut pod = value!({"metadata": {"name": "p", "namespace": "dev"}});
            pod.set(&["metadata", "annotations", "kubernetes.io/config.mirror"], "x");
            pod.set(&["spec"], spec);
            crate::testing::run(&ServiceAccount, Case::default().create("", "pods", pod))
        };
        let token = value!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}});
        for (spec, want) in [
            (value!({}), "ok"),
            (value!({"serviceAccountName": "a"}), "a mirror pod may not reference service accounts"),
            (value!({"imagePullSecrets": [{"name": "s"}]}), "a mirror pod may not reference secrets"),
            (
                value!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}),
                "a mirror pod may not reference secrets",
            ),
            (value!({"volumes": [token]}), "a mirror pod may not use ServiceAccountToken volume projections"),
        ] {
            let got = mirror(spec);
            assert!(got.ends_with(want), "{got}");
        }
    }
}
