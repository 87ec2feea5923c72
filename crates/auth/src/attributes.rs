//! What is asked of an authorizer, what it answers, and the words of a refusal.

use base::{Reason, Status, User};
use select::{FieldSelector, LabelSelector};
use std::sync::Arc;

/// One request, as authorizers see it. Borrowed from the request: nothing is allocated to ask.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    pub user: &'a User,
    /// `get`, `list`, `deletecollection`, `impersonate` …; for a path the HTTP method in lower case.
    pub verb: &'a str,
    /// Empty for a request that names a resource.
    pub path: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    /// The field selector of a list, watch or deletecollection (KEP-4601).
    pub fields: Option<&'a FieldSelector>,
    /// The label selector of the same.
    pub labels: Option<&'a LabelSelector>,
}

impl<'a> Attributes<'a> {
    /// A request for a resource.
    pub fn resource(user: &'a User, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Attributes {
            user,
            verb,
            path: "",
            group,
            version: "",
            resource,
            subresource: "",
            namespace: "",
            name: "",
            fields: None,
            labels: None,
        }
    }
    /// A request for a path.
    pub fn path(user: &'a User, verb: &'a str, path: &'a str) -> Self {
        Attributes { path, ..Attributes::resource(user, verb, "", "") }
    }
    pub fn subresource(self, subresource: &'a str) -> Self {
        Attributes { subresource, ..self }
    }
    pub fn in_namespace(self, namespace: &'a str) -> Self {
        Attributes { namespace, ..self }
    }
    pub fn named(self, name: &'a str) -> Self {
        Attributes { name, ..self }
    }
    pub fn is_resource(&self) -> bool {
        self.path.is_empty()
    }
}

/// An authorizer's answer. What nobody allows is forbidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// With the reason that audit and access reviews show.
    Allow(Arc<str>),
    /// Nobody else is asked. Only a webhook says so.
    Deny(String),
    /// With the reason why not, where there is more to say than "nobody allows it".
    NoOpinion(String),
}

impl Decision {
    pub fn allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }
    /// Why it is not allowed.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Decision::Allow(_) => None,
            Decision::Deny(why) | Decision::NoOpinion(why) => Some(why),
        }
    }
}

/// The 403 of a refused request, in upstream's words.
pub fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Status {
    let mut why = cannot(attributes).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    if attributes.is_resource() {
        return Status::forbidden(attributes.group, attributes.resource, attributes.name, &why);
    }
    // Upstream formats an empty resource name the same way.
    Status::new(Reason::Forbidden, format!("forbidden: {why}")).with_empty_details()
}

fn cannot(a: &Attributes<'_>) -> String {
    let user = base::status::quote(&a.user.name);
    if !a.is_resource() {
        return format!("User {user} cannot {} path {}", a.verb, base::status::quote(a.path));
    }
    let slash = if a.subresource.is_empty() { "" } else { "/" };
    let (verb, resource, subresource, group) = (a.verb, a.resource, a.subresource, a.group);
    let what =
        format!("User {user} cannot {verb} resource \"{resource}{slash}{subresource}\" in API group \"{group}\"");
    match a.namespace {
        "" => format!("{what} at the cluster scope"),
        namespace => format!("{what} in the namespace \"{namespace}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstream() {
        let user = User::new("x", []);
        let list = Attributes::resource(&user, "list", "", "pods").in_namespace("default");
        assert_eq!(
            forbidden(&list, "").message(),
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default""#
        );
        let get = Attributes::resource(&user, "get", "apps", "deployments").named("d").subresource("scale");
        assert_eq!(
            forbidden(&get, "because").message(),
            r#"deployments.apps "d" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" at the cluster scope: because"#
        );
        let path = Attributes::path(&user, "get", "/metrics");
        assert_eq!(forbidden(&path, "").message(), r#"forbidden: User "x" cannot get path "/metrics""#);
    }
}
