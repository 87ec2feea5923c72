//! The authorizer: what the request's user, or a service account, may do.
//!
//! Expressions build up a question (`authorizer.group('apps').resource('deployments').namespace('a').check('list')`) and the
//! host answers it. The answer is asked for once per `check`, synchronously; a host whose authorizer has to wait answers
//! from what it can know at once.

use super::{Opaque, Row, text};
use crate::val::{EvalError, Fallible, Val};
use base::names;
use std::{fmt, sync::Arc};

/// The host's authorizer.
pub trait Authorizer: Send + Sync {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;
}

/// What is asked.
#[derive(Debug)]
pub struct Attributes<'r> {
    /// Namespace and name of the service account that is meant; `None` for the request's own user.
    pub service_account: Option<(&'r str, &'r str)>,
    pub verb: &'r str,
    /// A path that is no resource's; then there is no `resource`.
    pub path: Option<&'r str>,
    pub resource: Option<&'r ResourceCheck>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    Allow,
    Deny,
    #[default]
    NoOpinion,
}

/// The answer.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    pub verdict: Verdict,
    pub reason: String,
    pub error: Option<String>,
}

/// Whose rights are asked for, and of whom.
#[derive(Clone)]
pub struct Subject {
    authorizer: Arc<dyn Authorizer>,
    service_account: Option<(String, String)>,
}

#[derive(Debug, Clone)]
pub struct PathCheck {
    subject: Subject,
    path: String,
}

#[derive(Debug, Clone)]
pub struct GroupCheck {
    subject: Subject,
    group: String,
}

/// A resource whose verbs are asked for; the version counts as `*`.
#[derive(Debug, Clone)]
pub struct ResourceCheck {
    subject: Subject,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// As written; empty for none.
    pub field_selector: String,
    pub label_selector: String,
}

impl Subject {
    /// The request's own user.
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Subject { authorizer, service_account: None }
    }
    /// A resource, for `authorizer.requestResource`.
    pub fn resource(self, group: &str, resource: &str) -> ResourceCheck {
        ResourceCheck {
            subject: self,
            group: group.into(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: String::new(),
            name: String::new(),
            field_selector: String::new(),
            label_selector: String::new(),
        }
    }
    fn ask(&self, verb: &str, path: Option<&str>, resource: Option<&ResourceCheck>) -> Decision {
        let service_account =
            self.service_account.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
        self.authorizer.authorize(&Attributes { service_account, verb, path, resource })
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("service_account", &self.service_account).finish_non_exhaustive()
    }
}

pub(super) const ROWS: &[Row] = &[
    ("path", "authorizer_path", "Authorizer.(string) PathCheck", |a| {
        let path = filled(text(a, 1)?, "path")?;
        Ok(Opaque::PathCheck(PathCheck { subject: subject(a)?.clone(), path: path.into() }).into())
    }),
    ("group", "authorizer_group", "Authorizer.(string) GroupCheck", |a| {
        Ok(Opaque::GroupCheck(GroupCheck { subject: subject(a)?.clone(), group: text(a, 1)?.into() }).into())
    }),
    ("serviceAccount", "authorizer_serviceaccount", "Authorizer.(string,string) Authorizer", |a| {
        let (namespace, name) = (text(a, 1)?, text(a, 2)?);
        names::subdomain(name).map_err(|_| EvalError::new("Invalid service account name"))?;
        names::label(namespace).map_err(|_| EvalError::new("Invalid service account namespace"))?;
        let account = Some((namespace.to_string(), name.to_string()));
        Ok(Opaque::Authorizer(Subject { service_account: account, ..subject(a)?.clone() }).into())
    }),
    ("resource", "groupcheck_resource", "GroupCheck.(string) ResourceCheck", |a| {
        let Some(Opaque::GroupCheck(check)) = opaque(a) else { return Err(EvalError::no_overload()) };
        let resource = filled(text(a, 1)?, "resource")?;
        Ok(Opaque::ResourceCheck(check.subject.clone().resource(&check.group, resource)).into())
    }),
    ("subresource", "resourcecheck_subresource", "ResourceCheck.(string) ResourceCheck", |a| {
        with(a, |check, text| check.subresource = text)
    }),
    ("namespace", "resourcecheck_namespace", "ResourceCheck.(string) ResourceCheck", |a| {
        with(a, |check, text| check.namespace = text)
    }),
    ("name", "resourcecheck_name", "ResourceCheck.(string) ResourceCheck", |a| {
        with(a, |check, text| check.name = text)
    }),
    ("fieldSelector", "authorizer_fieldselector", "ResourceCheck.(string) ResourceCheck", |a| {
        with(a, |check, text| check.field_selector = text)
    }),
    ("labelSelector", "authorizer_labelselector", "ResourceCheck.(string) ResourceCheck", |a| {
        with(a, |check, text| check.label_selector = text)
    }),
    ("check", "pathcheck_check", "PathCheck.(string) Decision", |a| {
        let Some(Opaque::PathCheck(check)) = opaque(a) else { return Err(EvalError::no_overload()) };
        Ok(Opaque::Decision(check.subject.ask(text(a, 1)?, Some(&check.path), None)).into())
    }),
    ("check", "resourcecheck_check", "ResourceCheck.(string) Decision", |a| {
        let Some(Opaque::ResourceCheck(check)) = opaque(a) else { return Err(EvalError::no_overload()) };
        Ok(Opaque::Decision(check.subject.ask(text(a, 1)?, None, Some(check))).into())
    }),
    ("errored", "decision_errored", "Decision.() bool", |a| Ok(decision(a)?.error.is_some().into())),
    ("error", "decision_error", "Decision.() string", |a| Ok(decision(a)?.error.as_deref().unwrap_or("").into())),
    ("allowed", "decision_allowed", "Decision.() bool", |a| Ok(Val::Bool(decision(a)?.verdict == Verdict::Allow))),
    ("reason", "decision_reason", "Decision.() string", |a| Ok(decision(a)?.reason.as_str().into())),
];

fn filled<'t>(text: &'t str, what: &str) -> Fallible<&'t str> {
    if text.trim().is_empty() { Err(EvalError::new(format!("{what} must not be empty"))) } else { Ok(text) }
}

fn opaque<'v>(args: &'v [Val<'_>]) -> Option<&'v Opaque> {
    match args.first() {
        Some(Val::Opaque(opaque)) => Some(opaque),
        _ => None,
    }
}
fn subject<'v>(args: &'v [Val<'_>]) -> Fallible<&'v Subject> {
    match opaque(args) {
        Some(Opaque::Authorizer(subject)) => Ok(subject),
        _ => Err(EvalError::no_overload()),
    }
}
fn decision<'v>(args: &'v [Val<'_>]) -> Fallible<&'v Decision> {
    match opaque(args) {
        Some(Opaque::Decision(decision)) => Ok(decision),
        _ => Err(EvalError::no_overload()),
    }
}
fn with<'a>(args: &[Val<'a>], set: fn(&mut ResourceCheck, String)) -> Fallible<Val<'a>> {
    let Some(Opaque::ResourceCheck(check)) = opaque(args) else { return Err(EvalError::no_overload()) };
    let mut check = check.clone();
    set(&mut check, text(args, 1)?.into());
    Ok(Opaque::ResourceCheck(check).into())
}
