//! The RBAC objects, indexed by subject: what a check needs is found by the user's name and groups alone.
//!
//! The index follows the four kinds object by object; nothing is rebuilt. A binding is entered under each of its
//! subjects; roles are looked up when a check walks the bindings, so a role may come before or after its binding.

use crate::{Attributes, Rule};
use base::User;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use value::{ObjectKey, Str, Value};

/// One of the four kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RbacKind {
    Role,
    ClusterRole,
    RoleBinding,
    ClusterRoleBinding,
}

impl RbacKind {
    pub const ALL: [RbacKind; 4] =
        [RbacKind::Role, RbacKind::ClusterRole, RbacKind::RoleBinding, RbacKind::ClusterRoleBinding];
    pub fn plural(self) -> &'static str {
        match self {
            RbacKind::Role => "roles",
            RbacKind::ClusterRole => "clusterroles",
            RbacKind::RoleBinding => "rolebindings",
            RbacKind::ClusterRoleBinding => "clusterrolebindings",
        }
    }
}

/// Subject to grants, and roles by key (cluster roles have no namespace).
#[derive(Debug, Default)]
pub struct Index {
    roles: HashMap<ObjectKey, Arc<[Rule]>>,
    users: HashMap<Str, Grants>,
    groups: HashMap<Str, Grants>,
    /// The subjects under which a binding was entered.
    bindings: HashMap<ObjectKey, Vec<Subject>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    User(Str),
    Group(Str),
}

/// What a subject is bound to, everywhere and by namespace.
#[derive(Debug, Default)]
struct Grants {
    everywhere: Vec<Grant>,
    within: HashMap<Str, Vec<Grant>>,
}

#[derive(Debug)]
struct Grant {
    binding: Str,
    role: ObjectKey,
    reason: Arc<str>,
}

impl Index {
    /// Enters, replaces or (`None`) removes one object.
    pub fn apply(&mut self, kind: RbacKind, key: &ObjectKey, object: Option<&Value>) {
        match (kind, object) {
            (RbacKind::Role | RbacKind::ClusterRole, Some(role)) => {
                self.roles.insert(key.clone(), Rule::list(role).into());
            }
            (RbacKind::Role | RbacKind::ClusterRole, None) => {
                self.roles.remove(key);
            }
            (RbacKind::RoleBinding | RbacKind::ClusterRoleBinding, object) => {
                self.unbind(key);
                if let Some(binding) = object {
                    self.bind(key, binding);
                }
            }
        }
    }

    /// Removes every object of a kind whose key is not among `keys`.
    pub fn retain(&mut self, kind: RbacKind, keys: &HashSet<ObjectKey>) {
        let namespaced = matches!(kind, RbacKind::Role | RbacKind::RoleBinding);
        let gone = |key: &&ObjectKey| key.namespace.is_empty() != namespaced && !keys.contains(*key);
        let gone: Vec<ObjectKey> = match kind {
            RbacKind::Role | RbacKind::ClusterRole => self.roles.keys().filter(gone).cloned().collect(),
            _ => self.bindings.keys().filter(gone).cloned().collect(),
        };
        for key in gone {
            self.apply(kind, &key, None);
        }
    }

    /// Why the request is allowed; `None` where no binding allows it.
    pub fn allows(&self, a: &Attributes<'_>) -> Option<Arc<str>> {
        let mut found = None;
        self.walk(a.user, a.namespace, &mut |grant, rules| {
            let allowed = rules.iter().any(|rule| rule.allows(a));
            if allowed {
                found = Some(grant.reason.clone());
            }
            allowed
        });
        found
    }

    /// Every rule that holds for the user in a namespace (`""`: cluster-wide ones only).
    pub fn rules_for(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut out: Vec<Rule> = Vec::new();
        self.walk(user, namespace, &mut |_, rules| {
            out.extend(rules.iter().cloned());
            false
        });
        out
    }

    /// The rules of a role; `None` where it does not exist.
    pub fn role(&self, key: &ObjectKey) -> Option<Arc<[Rule]>> {
        self.roles.get(key).cloned()
    }

    /// Visits the grants of a user until `visit` says that it has enough.
    fn walk(&self, user: &User, namespace: &str, visit: &mut dyn FnMut(&Grant, &[Rule]) -> bool) {
        let of_groups = user.groups.iter().filter_map(|group| self.groups.get(group.as_str()));
        for grants in self.users.get(user.name.as_str()).into_iter().chain(of_groups) {
            let within = grants.within.get(namespace).filter(|_| !namespace.is_empty());
            for grant in grants.everywhere.iter().chain(within.into_iter().flatten()) {
                if let Some(rules) = self.roles.get(&grant.role)
                    && visit(grant, rules)
                {
                    return;
                }
            }
        }
    }

    fn bind(&mut self, key: &ObjectKey, binding: &Value) {
        let reference = binding.at(&["roleRef"]);
        let (kind, name) = (reference.str_at(&["kind"]), reference.str_at(&["name"]));
        let role_namespace = if kind == "Role" { key.namespace.as_str() } else { "" };
        let role = ObjectKey::new(role_namespace, name);
        let own = match key.namespace.as_str() {
            "" => format!("ClusterRoleBinding {:?}", key.name.as_str()),
            namespace => format!("RoleBinding {:?}", format!("{}/{namespace}", key.name)),
        };
        let mut entered = Vec::new();
        for (subject, words) in binding.items_at(&["subjects"]).iter().filter_map(|s| subject(s, &key.namespace)) {
            let reason = format!("RBAC: allowed by {own} of {kind} {name:?} to {words}");
            let grant = Grant { binding: key.name.clone(), role: role.clone(), reason: reason.into() };
            let grants = match &subject {
                Subject::User(name) => self.users.entry(name.clone()).or_default(),
                Subject::Group(name) => self.groups.entry(name.clone()).or_default(),
            };
            match key.namespace.as_str() {
                "" => grants.everywhere.push(grant),
                namespace => grants.within.entry(namespace.into()).or_default().push(grant),
            }
            entered.push(subject);
        }
        self.bindings.insert(key.clone(), entered);
    }

    fn unbind(&mut self, key: &ObjectKey) {
        for subject in self.bindings.remove(key).into_iter().flatten() {
            let (map, name) = match &subject {
                Subject::User(name) => (&mut self.users, name),
                Subject::Group(name) => (&mut self.groups, name),
            };
            let Some(grants) = map.get_mut(name) else { continue };
            match key.namespace.as_str() {
                "" => grants.everywhere.retain(|g| g.binding != key.name),
                namespace => {
                    if let Some(list) = grants.within.get_mut(namespace) {
                        list.retain(|g| g.binding != key.name);
                        if list.is_empty() {
                            grants.within.remove(namespace);
                        }
                    }
                }
            }
            if grants.everywhere.is_empty() && grants.within.is_empty() {
                map.remove(name);
            }
        }
    }
}

/// A subject as a key, and in the words of a reason.
fn subject(subject: &Value, binding_namespace: &str) -> Option<(Subject, String)> {
    let name = subject.str_at(&["name"]);
    match subject.str_at(&["kind"]) {
        "User" => Some((Subject::User(name.into()), format!("User {name:?}"))),
        "Group" => Some((Subject::Group(name.into()), format!("Group {name:?}"))),
        "ServiceAccount" => {
            let namespace = match subject.str_at(&["namespace"]) {
                "" => binding_namespace,
                namespace => namespace,
            };
            let user = format!("system:serviceaccount:{namespace}:{name}");
            (!namespace.is_empty())
                .then(|| (Subject::User(user.into()), format!("ServiceAccount {:?}", format!("{name}/{namespace}"))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn index() -> Index {
        let mut index = Index::default();
        let reader = value!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
        index.apply(RbacKind::ClusterRole, &ObjectKey::cluster("reader"), Some(&reader));
        let bound = value!({
            "roleRef": {"kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "User", "name": "alice"}, {"kind": "ServiceAccount", "name": "bot", "namespace": "ci"}],
        });
        index.apply(RbacKind::RoleBinding, &ObjectKey::new("dev", "readers"), Some(&bound));
        index
    }

    #[test]
    fn a_role_binding_counts_in_its_namespace() {
        let index = index();
        let alice = User::new("alice", []);
        let bot = User::service_account("ci", "bot", "");
        let get = |user| Attributes::resource(user, "get", "", "pods").named("p");
        let why = index.allows(&get(&alice).in_namespace("dev")).unwrap();
        assert_eq!(&*why, r#"RBAC: allowed by RoleBinding "readers/dev" of ClusterRole "reader" to User "alice""#);
        let why = index.allows(&get(&bot).in_namespace("dev")).unwrap();
        assert!(why.ends_with(r#"to ServiceAccount "bot/ci""#), "{why}");
        assert_eq!(index.allows(&get(&alice).in_namespace("prod")), None);
        assert_eq!(index.allows(&get(&alice)), None);
    }

    #[test]
    fn a_removed_binding_leaves_nothing() {
        let mut index = index();
        index.apply(RbacKind::RoleBinding, &ObjectKey::new("dev", "readers"), None);
        assert!(index.users.is_empty() && index.bindings.is_empty());
    }
}
