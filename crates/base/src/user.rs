//! Who asks: the result of authentication, the input of authorization, admission and audit.

/// `authentication.k8s.io/v1 UserInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    /// Keys are lower case; a key may have several values.
    pub extra: Vec<(String, Vec<String>)>,
}

impl User {
    /// A user with groups.
    pub fn new<const N: usize>(name: impl Into<String>, groups: [&str; N]) -> Self {
        User { name: name.into(), groups: groups.map(String::from).to_vec(), ..User::default() }
    }
    /// `system:anonymous` in `system:unauthenticated`.
    pub fn anonymous() -> Self {
        User::new("system:anonymous", ["system:unauthenticated"])
    }
    /// A component inside the server process, as its client certificate would say.
    pub fn component(name: &str) -> Self {
        User::new(name, ["system:authenticated"])
    }
    /// A member of `system:masters`: authorization lets it do anything.
    pub fn master(name: &str) -> Self {
        User::new(name, ["system:masters", "system:authenticated"])
    }
    /// The ServiceAccount `namespace/name`.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let groups = ["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
        User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.into(),
            groups: groups.into_iter().chain(["system:authenticated".into()]).collect(),
            extra: Vec::new(),
        }
    }
    /// True where the user belongs to the group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
    /// The node's name, for `system:node:<name>` in `system:nodes`.
    pub fn node_name(&self) -> Option<&str> {
        self.name.strip_prefix("system:node:").filter(|_| self.in_group("system:nodes"))
    }
}
