//! The Node authorizer: a node sees what its own pods need.
//!
//! Upstream keeps a graph of pods, secrets, volumes and nodes. Here the node's pods are asked when a node asks: the engine's
//! cache has them by node, changed in the same moment as the pods themselves, and what a pod refers to is read from its
//! bytes once for each of its revisions (an ephemeral container may refer to more than the pod did). So there is no graph
//! to keep in step, and no moment when a pod is bound but its secrets are not yet granted. Source of the rules:
//! `plugin/pkg/auth/authorizer/node`.

use crate::{Attributes, Decision, Rule, policy, references::References};
use base::Revision;
use parking_lot::RwLock;
use schema::View;
use std::{collections::HashMap, sync::Arc};
use value::{Object, Str};

/// How many pods' references are remembered; beyond that they are read anew.
const REMEMBERED: usize = 20_000;

/// Decides for users of the group `system:nodes`.
pub struct NodeAuthorizer {
    rules: Vec<Rule>,
    /// By UID, with the revision that was read.
    remembered: RwLock<HashMap<Str, (Revision, Arc<References>)>>,
    reason: Arc<str>,
}

impl Default for NodeAuthorizer {
    fn default() -> Self {
        NodeAuthorizer { rules: policy::node_rules(), remembered: RwLock::default(), reason: "".into() }
    }
}

impl NodeAuthorizer {
    /// `NoOpinion` for anybody who is no node.
    pub fn decide(&self, a: &Attributes<'_>, view: &dyn View) -> Decision {
        if !a.user.in_group("system:nodes") {
            return Decision::NoOpinion(String::new());
        }
        let Some(node) = a.user.node_name().filter(|n| !n.is_empty()) else {
            return Decision::NoOpinion(format!("unknown node for user {:?}", a.user.name));
        };
        match self.rule(node, a, view) {
            Ok(()) => Decision::Allow(self.reason.clone()),
            Err(why) => Decision::NoOpinion(why),
        }
    }

    fn rule(&self, node: &str, a: &Attributes<'_>, view: &dyn View) -> Result<(), String> {
        let relation = format!("no relationship found between node '{node}' and this object");
        let related = |found: bool| if found { Ok(()) } else { Err(relation) };
        let refers = |test: &dyn Fn(&References) -> bool| self.any_pod(node, a.namespace, view, test);
        match (a.group, a.resource) {
            _ if !a.is_resource() => self.static_rules(a),
            ("", "secrets" | "configmaps") => {
                single_read(a, "can only read namespaced object of this type")?;
                let secret = a.resource == "secrets";
                related(refers(&|r| if secret { &r.secrets } else { &r.config_maps }.contains(a.name)))
            }
            ("", "persistentvolumeclaims") => {
                match (a.subresource, a.verb) {
                    ("status", "update" | "patch") | ("", "get") => {}
                    ("status", _) => return Err("can only get/update/patch this type".into()),
                    _ => return Err("can only get individual resources of this type".into()),
                }
                related(!a.name.is_empty() && refers(&|r| r.claims.contains(a.name)))
            }
            ("", "persistentvolumes") => {
                individual(a)?;
                related(self.volume_in_use(node, a.name, view))
            }
            ("storage.k8s.io", "volumeattachments") => {
                individual(a)?;
                let attachment = view.get(a.group, a.resource, "", a.name);
                related(attachment.is_some_and(|v| v.value().str_at(&["spec", "nodeName"]) == node))
            }
            ("", "serviceaccounts") => {
                match (a.verb, a.subresource) {
                    ("get", "") => {}
                    ("create", "token") if !a.name.is_empty() => {}
                    ("create", "token") => return Err("can only create tokens for individual service accounts".into()),
                    ("create", _) => return Err("can only create token subresource of serviceaccount".into()),
                    _ => return Err("can only create tokens for individual service accounts".into()),
                }
                related(refers(&|r| r.service_account == a.name))
            }
            ("coordination.k8s.io", "leases") => lease(node, a),
            ("storage.k8s.io", "csinodes") => own_object(node, a, "CSINode"),
            ("", "nodes") => own_node(node, a),
            ("", "pods") => match (a.subresource, a.verb) {
                ("", "get") => related(self.pod_is_on(node, a, view)),
                ("", "list" | "watch") => {
                    let selected = a.fields.and_then(|f| f.exact("spec.nodeName")) == Some(node);
                    if selected || (!a.name.is_empty() && self.pod_is_on(node, a, view)) {
                        return Ok(());
                    }
                    Err("can only list/watch pods with spec.nodeName field selector".into())
                }
                ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
                _ => Err(String::new()),
            },
            _ => self.static_rules(a),
        }
    }

    fn static_rules(&self, a: &Attributes<'_>) -> Result<(), String> {
        if self.rules.iter().any(|rule| rule.allows(a)) { Ok(()) } else { Err(String::new()) }
    }

    fn pod_is_on(&self, node: &str, a: &Attributes<'_>, view: &dyn View) -> bool {
        view.get("", "pods", a.namespace, a.name).is_some_and(|pod| self.references(&pod).node == node)
    }

    fn any_pod(&self, node: &str, namespace: &str, view: &dyn View, test: &dyn Fn(&References) -> bool) -> bool {
        let pods = view.indexed("", "pods", Some(namespace), "spec.nodeName", node);
        pods.unwrap_or_else(|| view.list("", "pods", Some(namespace))).iter().any(|pod| {
            // The node's name is among the selectable fields of a pod: without an index, most pods are passed over
            // without a look inside.
            if !pod.meta.fields.is_empty() && !pod.meta.fields.iter().any(|f| f == node) {
                return false;
            }
            let references = self.references(pod);
            references.node == node && test(&references)
        })
    }

    /// A volume belongs to a claim of a namespace; the claim must be one that a pod on the node uses.
    fn volume_in_use(&self, node: &str, name: &str, view: &dyn View) -> bool {
        let Some(volume) = view.get("", "persistentvolumes", "", name) else { return false };
        let volume = volume.value();
        let claim = volume.at(&["spec", "claimRef"]);
        let claim_name = claim.str_at(&["name"]);
        self.any_pod(node, claim.str_at(&["namespace"]), view, &|r| r.claims.contains(claim_name))
    }

    fn references(&self, pod: &Object) -> Arc<References> {
        if let Some((revision, known)) = self.remembered.read().get(&pod.meta.uid)
            && *revision == pod.revision
        {
            return known.clone();
        }
        let read = Arc::new(References::of(&pod.value()));
        if !read.node.is_empty() && !pod.meta.uid.is_empty() {
            let mut remembered = self.remembered.write();
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
            remembered.insert(pod.meta.uid.clone(), (pod.revision, read.clone()));
        }
        read
    }
}

fn individual(a: &Attributes<'_>) -> Result<(), String> {
    match (a.verb, a.subresource, a.name) {
        ("get", "", "") => Err("No Object name found".into()),
        ("get", "", _) => Ok(()),
        ("get", ..) => Err("cannot get subresource".into()),
        _ => Err("can only get individual resources of this type".into()),
    }
}

fn single_read(a: &Attributes<'_>, no_namespace: &str) -> Result<(), String> {
    match a.verb {
        "get" | "list" | "watch" => {}
        _ => return Err("can only read resources of this type".into()),
    }
    match (a.subresource, a.namespace, a.name) {
        ("", "", _) => Err(no_namespace.into()),
        ("", _, "") => Err("No Object name found".into()),
        ("", ..) => Ok(()),
        _ => Err("cannot read subresource".into()),
    }
}

fn lease(node: &str, a: &Attributes<'_>) -> Result<(), String> {
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".into());
    }
    if a.namespace != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".into());
    }
    // The name of a lease that is created is checked by admission (NodeRestriction).
    if a.verb != "create" && a.name != node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

fn own_object(node: &str, a: &Attributes<'_>, kind: &str) -> Result<(), String> {
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err(format!("can only get, create, update, patch, or delete a {kind}"));
    }
    if !a.subresource.is_empty() {
        return Err(format!("cannot authorize {kind} subresources"));
    }
    if a.verb != "create" && a.name != node {
        return Err(format!("can only access {kind} with the same name as the requesting node"));
    }
    Ok(())
}

fn own_node(node: &str, a: &Attributes<'_>) -> Result<(), String> {
    match (a.subresource, a.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match a.name {
            name if name == node => Ok(()),
            "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
            other => Err(format!("node '{node}' cannot read '{other}', only its own Node object")),
        },
        _ => Err(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::User;
    use bytes_of::{object, object_at};
    use select::FieldSelector;
    use value::{Value, value};

    /// Objects for a view by hand.
    mod bytes_of {
        use super::*;
        use value::{Meta, ObjectKey};
        pub fn object(v: Value) -> Arc<Object> {
            object_at(v, 1)
        }
        pub fn object_at(v: Value, revision: u64) -> Arc<Object> {
            let key = ObjectKey::new(v.namespace(), v.name());
            Object::new(key, Revision(revision), Meta::of(&v, Box::default()), v.to_json().into())
        }
    }

    struct Pods(Vec<Arc<Object>>);
    impl View for Pods {
        fn get(&self, _: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
            self.list("", plural, Some(namespace)).into_iter().find(|o| o.name() == name)
        }
        fn list(&self, _: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
            let of = |o: &&Arc<Object>| plural == "pods" && namespace.is_none_or(|n| n == o.namespace());
            self.0.iter().filter(of).cloned().collect()
        }
    }

    #[test]
    fn a_node_sees_what_its_pods_need() {
        let pod = value!({
            "metadata": {"name": "web", "namespace": "dev", "uid": "u1"},
            "spec": {
                "nodeName": "n1", "serviceAccountName": "web",
                "imagePullSecrets": [{"name": "pull"}],
                "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}], "envFrom": [{"configMapRef": {"name": "cm"}}]}],
                "volumes": [{"projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}, {"persistentVolumeClaim": {"claimName": "data"}}],
            },
        });
        let view = Pods(vec![object(pod)]);
        let authorizer = NodeAuthorizer::default();
        let node = |n: &str| User::new(format!("system:node:{n}"), ["system:nodes"]);
        let (n1, n2) = (node("n1"), node("n2"));
        let on_n1 = FieldSelector::equals("spec.nodeName", "n1");
        let ask = |verb, group, resource| Attributes::resource(&n1, verb, group, resource).in_namespace("dev");
        let check = |a: Attributes<'_>, want: bool| {
            assert_eq!(authorizer.decide(&a, &view).allowed(), want, "{a:?}");
        };
        for name in ["pull", "env"] {
            check(ask("get", "", "secrets").named(name), true);
            check(ask("watch", "", "secrets").named(name), true);
            check(Attributes { user: &n2, ..ask("get", "", "secrets").named(name) }, false);
        }
        check(ask("get", "", "secrets").named("other"), false);
        check(ask("list", "", "secrets"), false);
        check(ask("update", "", "secrets").named("pull"), false);
        check(ask("get", "", "configmaps").named("cm"), true);
        check(ask("get", "", "configmaps").named("kube-root-ca.crt"), true);
        check(ask("get", "", "configmaps").named("cm").in_namespace("prod"), false);
        check(ask("get", "", "persistentvolumeclaims").named("data"), true);
        check(ask("create", "", "serviceaccounts").named("web").subresource("token"), true);
        check(ask("create", "", "serviceaccounts").named("default").subresource("token"), false);
        check(ask("get", "", "pods").named("web"), true);
        check(Attributes { user: &n2, ..ask("get", "", "pods").named("web") }, false);
        check(ask("list", "", "pods").in_namespace(""), false);
        check(Attributes { fields: Some(&on_n1), ..ask("list", "", "pods").in_namespace("") }, true);
        check(Attributes { user: &n2, fields: Some(&on_n1), ..ask("list", "", "pods").in_namespace("") }, false);
        check(ask("patch", "", "pods").named("web").subresource("status"), true);
        check(ask("patch", "", "pods").named("web"), false);
        check(ask("get", "", "nodes").named("n1").in_namespace(""), true);
        check(ask("get", "", "nodes").named("n2").in_namespace(""), false);
        check(ask("list", "", "nodes").in_namespace(""), false);
        check(ask("patch", "", "nodes").named("n1").subresource("status").in_namespace(""), true);
        check(ask("delete", "", "nodes").named("n1").in_namespace(""), false);
        check(ask("update", "coordination.k8s.io", "leases").named("n1").in_namespace("kube-node-lease"), true);
        check(ask("update", "coordination.k8s.io", "leases").named("n2").in_namespace("kube-node-lease"), false);
        check(ask("create", "coordination.k8s.io", "leases").in_namespace("kube-node-lease"), true);
        check(ask("get", "coordination.k8s.io", "leases").named("n1"), false);
        check(ask("create", "certificates.k8s.io", "certificatesigningrequests").in_namespace(""), true);
        check(ask("list", "", "services").in_namespace(""), true);
        check(ask("create", "", "services"), false);
    }

    #[test]
    fn a_pod_may_come_to_need_more() {
        let mut pod = value!({"metadata": {"name": "p", "namespace": "dev", "uid": "u"}, "spec": {"nodeName": "n1"}});
        let n1 = User::new("system:node:n1", ["system:nodes"]);
        let authorizer = NodeAuthorizer::default();
        let ask = |pod: &Value, revision| {
            let secret = Attributes::resource(&n1, "get", "", "secrets").in_namespace("dev").named("late");
            authorizer.decide(&secret, &Pods(vec![object_at(pod.clone(), revision)])).allowed()
        };
        assert!(!ask(&pod, 1));
        let debugger = value!({"name": "d", "envFrom": [{"secretRef": {"name": "late"}}]});
        pod.set(&["spec", "ephemeralContainers"], vec![debugger]);
        assert!(ask(&pod, 2));
    }
}
