//! NodeRestriction: a node writes its own Node, lease and the status of its own pods, and nothing else's.

use crate::{Plugin, Target, plugin::forbid};
use auth::{
    Attributes as Asked, Authorizer,
    references::{References, api_object, is_mirror},
};
use base::{Result, Status, User};
use base64::{Engine, engine::general_purpose::STANDARD};
use resource::{Attributes, Call};
use schema::{Operation, View};
use value::Value;

/// Labels under this domain say where pods may run: a node must not give them to itself.
const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Labels of these domains that a kubelet may set. Source: `k8s.io/kubelet/pkg/apis`.
const KUBELET_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "node.kubernetes.io/windows-build",
];

pub struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn applies(&self, call: &Call, _: Target<'_>) -> bool {
        call.user.in_group("system:nodes")
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let Some(node) = a.call.user.node_name().filter(|n| !n.is_empty()).map(String::from) else {
            return Err(forbid(a, format!("could not determine node from user {:?}", a.call.user.name)));
        };
        let kind = a.call.kind.clone();
        let subresource = a.call.subresource.clone().unwrap_or_default();
        let checked = match (kind.group.as_str(), kind.plural.as_str(), subresource.as_str()) {
            ("", "pods", "") => pod(a, &node),
            ("", "pods", "status") => pod_status(a, &node),
            ("", "pods", "eviction") => match pod_node(a.view, &a.call.namespace, &a.name).as_deref() {
                Some(on) if on != node => {
                    Err(format!("node {node} can only evict pods with spec.nodeName set to itself"))
                }
                _ => Ok(()),
            },
            ("", "pods", other) => {
                Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
            }
            ("", "nodes", _) => own_node(a, &node),
            ("coordination.k8s.io", "leases", _) if a.call.namespace != "kube-node-lease" => {
                Err("can only access leases in the \"kube-node-lease\" system namespace".into())
            }
            ("coordination.k8s.io", "leases", _) if name_of(a) != node => {
                Err("can only access node lease with the same name as the requesting node".into())
            }
            ("storage.k8s.io", "csinodes", _) if name_of(a) != node => {
                Err("can only access CSINode with the same name as the requesting node".into())
            }
            ("certificates.k8s.io", "certificatesigningrequests", "") if a.operation == Operation::Create => {
                certificate(&a.object, &node)
            }
            _ => Ok(()),
        };
        checked.map_err(|why| forbid(a, why))
    }
}

/// A token that a node asks for must be bound to a pod that runs on it, and be for an audience that the pod names or
/// that the node was granted (upstream's ServiceAccountNodeAudienceRestriction). `body` is the TokenRequest.
pub fn check_token(
    user: &User,
    namespace: &str,
    account: &str,
    body: &Value,
    view: &dyn View,
    authorizer: &Authorizer,
) -> Result<()> {
    if !user.in_group("system:nodes") {
        return Ok(());
    }
    let refuse = |why: &str| Err(Status::forbidden("", "serviceaccounts", account, why));
    let bound = body.at(&["spec", "boundObjectRef"]);
    if bound.str_at(&["apiVersion"]) != "v1" || bound.str_at(&["kind"]) != "Pod" || bound.str_at(&["name"]).is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    let (name, uid) = (bound.str_at(&["name"]), bound.str_at(&["uid"]));
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let pod = view.get("", "pods", namespace, name).ok_or_else(|| Status::not_found("", "pods", name))?;
    if pod.meta.uid != uid {
        return refuse(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        ));
    }
    let references = References::of(&pod.value());
    if user.node_name() != Some(references.node.as_str()) {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let audience = match body.items_at(&["spec", "audiences"]) {
        [] => "",
        [one] => one.as_str().unwrap_or(""),
        _ => return refuse("node may only request 0 or 1 audiences"),
    };
    let granted = || {
        let verb = "request-serviceaccounts-token-audience";
        let asked = Asked { version: "v1", ..Asked::resource(user, verb, "", audience) };
        authorizer.authorize(&asked.in_namespace(namespace).named(account)).allowed()
    };
    if references.audiences.contains(audience) || granted() {
        return Ok(());
    }
    refuse(&format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        user.name
    ))
}

/// For the two signers of kubelets, a node may ask in its own name only.
fn certificate(csr: &Value, node: &str) -> Result<(), String> {
    let signers = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    if !signers.contains(&csr.str_at(&["spec", "signerName"])) {
        return Ok(());
    }
    let pem = STANDARD.decode(csr.str_at(&["spec", "request"])).unwrap_or_default();
    let request = pki::Request::parse(&pem).map_err(|e| format!("unable to parse csr: {e}"))?;
    match request.common_name == format!("system:node:{node}") {
        true => Ok(()),
        false => Err(format!("can only create a node CSR with CN=system:node:{node}")),
    }
}

fn name_of<'a>(a: &'a Attributes<'_>) -> &'a str {
    match a.operation {
        Operation::Create => a.object.name(),
        _ => &a.name,
    }
}

fn pod_node(view: &dyn View, namespace: &str, name: &str) -> Option<String> {
    let pod = view.get("", "pods", namespace, name)?;
    Some(pod.value().str_at(&["spec", "nodeName"]).into())
}

fn pod(a: &Attributes<'_>, node: &str) -> Result<(), String> {
    let on = |pod: &Value| pod.str_at(&["spec", "nodeName"]) == node;
    match a.operation {
        Operation::Create => mirror_pod(&a.object, a.view, node),
        Operation::Delete if a.old.is_some_and(on) => Ok(()),
        Operation::Delete => Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
        _ => Err(format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods")),
    }
}

/// What a node runs by itself, and shows in the API: owned by the node, and in need of nothing of the API.
fn mirror_pod(pod: &Value, view: &dyn View, node: &str) -> Result<(), String> {
    if !is_mirror(pod) {
        let annotation = "kubernetes.io/config.mirror";
        return Err(format!("pod does not have {annotation:?} annotation, node {node:?} can only create mirror pods"));
    }
    if pod.str_at(&["spec", "nodeName"]) != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owner = match pod.items_at(&["metadata", "ownerReferences"]) {
        [one] => one,
        [] => return Err(format!("node {node:?} can only create pods with an owner reference set to itself")),
        _ => return Err(format!("node {node:?} can only create pods with a single owner reference set to itself")),
    };
    let whole = [("apiVersion", "v1"), ("kind", "Node"), ("name", node)];
    if whole.into_iter().any(|(key, want)| owner.str_at(&[key]) != want) {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner.at(&["controller"]).as_bool() != Some(true) {
        return Err(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if owner.at(&["blockOwnerDeletion"]).as_bool() == Some(true) {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let own = view.get("", "nodes", "", node).map(|object| object.meta.uid.clone());
    let own = own.ok_or_else(|| format!("error looking up node {node} to verify uid: node {node:?} not found"))?;
    let given = owner.str_at(&["uid"]);
    if own.is_empty() || own != given {
        return Err(format!("node {node} UID mismatch: expected {given} got {own}"));
    }
    match api_object(pod) {
        Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

fn pod_status(a: &Attributes<'_>, node: &str) -> Result<(), String> {
    let old = a.old.unwrap_or(&Value::Null);
    if old.str_at(&["spec", "nodeName"]) != node {
        return Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    if old.at(&["metadata", "labels"]) != a.object.at(&["metadata", "labels"]) {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    Ok(())
}

fn own_node(a: &Attributes<'_>, node: &str) -> Result<(), String> {
    let requested = name_of(a);
    if requested != node {
        return Err(format!("node {node:?} is not allowed to modify node {requested:?}"));
    }
    match (a.operation, a.old) {
        (Operation::Create, _) => {
            let labels: Vec<&str> =
                a.object.members_at(&["metadata", "labels"]).map(|(key, _)| key).filter(|key| !may_set(key)).collect();
            match labels.is_empty() {
                true => Ok(()),
                false => {
                    Err(format!("node {node:?} is not allowed to set the following labels: {}", labels.join(", ")))
                }
            }
        }
        (Operation::Update, Some(old)) => {
            if old.at(&["spec", "taints"]) != a.object.at(&["spec", "taints"]) {
                return Err(format!("node {node:?} is not allowed to modify taints"));
            }
            if old.at(&["metadata", "ownerReferences"]) != a.object.at(&["metadata", "ownerReferences"]) {
                return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            let changed = changed_labels(old, &a.object);
            let refused: Vec<&str> = changed.into_iter().filter(|key| !may_set(key)).collect();
            match refused.is_empty() {
                true => Ok(()),
                false => Err(format!("is not allowed to modify labels: {}", refused.join(", "))),
            }
        }
        _ => Ok(()),
    }
}

fn changed_labels<'a>(old: &'a Value, new: &'a Value) -> Vec<&'a str> {
    let path = ["metadata", "labels"];
    let mut keys: Vec<&str> = old.members_at(&path).chain(new.members_at(&path)).map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| old.at(&["metadata", "labels", key]) != new.at(&["metadata", "labels", key]));
    keys
}

/// A label that a kubelet may give its own node.
fn may_set(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if within(RESTRICTED) {
        return false;
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    KUBELET_LABELS.contains(&key) || within("kubelet.kubernetes.io") || within("node.kubernetes.io")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check};
    use value::value;

    fn n1() -> User {
        User::new("system:node:n1", ["system:nodes"])
    }

    #[test]
    fn a_node_writes_its_own_node() {
        let node = |name: &str, label: &str| {
            let mut node = value!({"metadata": {"name": name}});
            node.set(&["metadata", "labels", label], "x");
            node
        };
        let create = |name, label| Case::default().create("", "nodes", node(name, label)).by(n1());
        check(&NodeRestriction, create("n1", "kubernetes.io/hostname"), "ok");
        check(&NodeRestriction, create("n1", "example.com/role"), "ok");
        check(
            &NodeRestriction,
            create("n2", "a"),
            r#"403 nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#,
        );
        for label in ["node-restriction.kubernetes.io/a", "node-role.kubernetes.io/control-plane"] {
            let want = format!(
                r#"403 nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: {label}"#
            );
            check(&NodeRestriction, create("n1", label), &want);
        }
        let mut tainted = node("n1", "a");
        tainted.set(&["spec", "taints"], value!([{"key": "x"}]));
        let update = |new: Value| Case::default().update("", "nodes", "", new, node("n1", "a")).by(n1());
        check(
            &NodeRestriction,
            update(tainted),
            r#"403 nodes "n1" is forbidden: node "n1" is not allowed to modify taints"#,
        );
        check(&NodeRestriction, update(node("n1", "b")), "ok");
    }

    #[test]
    fn a_node_reports_on_its_own_pods() {
        let pod = |node: &str| value!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"nodeName": node}});
        let status = |node: &str| Case::default().update("", "pods", "status", pod(node), pod(node)).by(n1());
        check(&NodeRestriction, status("n1"), "ok");
        assert!(crate::testing::run(&NodeRestriction, status("n2")).starts_with("403"));
        let delete = |node: &str| Case::default().delete("", "pods", pod(node)).by(n1());
        check(&NodeRestriction, delete("n1"), "ok");
        assert!(crate::testing::run(&NodeRestriction, delete("n2")).starts_with("403"));
        assert!(
            crate::testing::run(&NodeRestriction, Case::default().create("", "pods", pod("n1")).by(n1()))
                .contains("mirror")
        );
        let lease = |name: &str, ns: &str| {
            let lease = value!({"metadata": {"name": name, "namespace": ns}});
            crate::testing::run(
                &NodeRestriction,
                Case::default().create("coordination.k8s.io", "leases", lease).by(n1()),
            )
        };
        assert_eq!(lease("n1", "kube-node-lease"), "ok");
        assert!(lease("n2", "kube-node-lease").starts_with("403"));
        assert!(lease("n1", "default").starts_with("403"));
    }

    #[test]
    fn a_mirror_pod_needs_nothing_of_the_api() {
        let node = |name: &str, uid: &str| value!({"metadata": {"name": name, "uid": uid}});
        let owner = |name: &str, uid: &str, controller: bool| value!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid, "controller": controller});
        let plain = value!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
        let run = |owner: Value, spec: Value| {
            let mut pod = value!({"metadata": {"name": "p", "namespace": "kube-system"}, "spec": spec});
            pod.set(&["metadata", "annotations", "kubernetes.io/config.mirror"], "x");
            pod.set(&["metadata", "ownerReferences"], vec![owner]);
            let world = Case::default().with("nodes", node("n1", "u1")).with("nodes", node("n2", "u2"));
            crate::testing::run(&NodeRestriction, world.create("", "pods", pod).by(n1()))
        };
        let own = || owner("n1", "u1", true);
        assert_eq!(run(own(), plain.clone()), "ok");
        for (owner, want) in [
            (owner("n2", "u2", true), "with an owner reference set to itself"),
            (owner("n1", "u1", false), "with a controller owner reference set to itself"),
            (owner("n1", "u2", true), "node n1 UID mismatch: expected u2 got u1"),
        ] {
            let got = run(owner, plain.clone());
            assert!(got.starts_with("403") && got.ends_with(want), "{got}");
        }
        let token = value!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}});
        for (key, part, want) in [
            ("imagePullSecrets", value!([{"name": "s"}]), "secrets"),
            ("containers", value!([{"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}]}]), "secrets"),
            ("containers", value!([{"envFrom": [{"configMapRef": {"name": "s"}}]}]), "configmaps"),
            ("serviceAccountName", value!("default"), "serviceaccounts"),
            ("volumes", value!([token]), "serviceaccounts (via projected volumes)"),
            ("volumes", value!([{"name": "e", "ephemeral": {}}]), "persistentvolumeclaims (via ephemeral volumes)"),
        ] {
            let mut spec = plain.clone();
            spec.set(&[key], part);
            let got = run(own(), spec);
            assert!(got.ends_with(&format!("can not create pods that reference {want}")), "{got}");
        }
    }

    #[test]
    fn a_node_asks_for_certificates_in_its_own_name() {
        let ask = |signer: &str, subject: &str| {
            let csr = pki::CertificateRequest::new(subject, Some("system:nodes"), &[]).unwrap();
            let body = value!({"metadata": {"name": "r"}, "spec": {
                "signerName": signer, "request": STANDARD.encode(csr.request_pem),
            }});
            let case = Case::default().create("certificates.k8s.io", "certificatesigningrequests", body).by(n1());
            crate::testing::run(&NodeRestriction, case)
        };
        for signer in ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"] {
            assert_eq!(ask(signer, "system:node:n1"), "ok");
            let got = ask(signer, "system:node:n2");
            assert!(got.ends_with("can only create a node CSR with CN=system:node:n1"), "{got}");
        }
        assert_eq!(ask("example.com/other", "system:node:n2"), "ok");
    }

    #[test]
    fn tokens_are_bound_to_pods_of_the_node() {
        let pod = |name: &str, node: &str| {
            let sources =
                value!([{"serviceAccountToken": {"path": "a"}}, {"serviceAccountToken": {"audience": "vault"}}]);
            let volume = value!({"name": "t", "projected": {"sources": sources}});
            value!({
                "metadata": {"name": name, "namespace": "d", "uid": "u"},
                "spec": {"nodeName": node, "volumes": [volume]},
            })
        };
        let world = Case::default().with("pods", pod("mine", "n1")).with("pods", pod("other", "n2"));
        let authorizer = Authorizer::new(std::sync::Arc::new(crate::testing::World::default()));
        let check = |body: Value| check_token(&n1(), "d", "sa", &body, &world.view, &authorizer).map_err(|e| e.code());
        let ask = |name: &str, uid: &str, audiences: &[&str]| {
            let bound = value!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
            check(value!({"spec": {"boundObjectRef": bound, "audiences": audiences}}))
        };
        assert_eq!(ask("mine", "u", &[]), Ok(()));
        assert_eq!(ask("mine", "u", &["vault"]), Ok(()));
        assert_eq!(ask("mine", "u", &["bank"]), Err(403));
        assert_eq!(ask("mine", "u", &["vault", "bank"]), Err(403));
        assert_eq!(ask("mine", "", &[]), Err(403));
        assert_eq!(ask("mine", "another", &[]), Err(403));
        assert_eq!(ask("other", "u", &[]), Err(403));
        assert_eq!(ask("none", "u", &[]), Err(404));
        assert_eq!(check(value!({})), Err(403));
    }
}
