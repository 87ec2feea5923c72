//! `matchConditions`: expressions that all have to be true of a request, and what expressions of admission may refer to.

use super::matching::Facts;
use auth::{Attributes, Authorizer};
use base::User;
use k8s_cel::{Activation, Budget, EvalError, Opaque, Program, Subject, Val, Verdict, budget, ready};
use select::{FieldSelector, LabelSelector};
use std::sync::Arc;
use value::Value;

/// An expression that was compiled once; one that does not compile fails whenever it is asked.
#[derive(Debug)]
pub struct Expression {
    pub text: String,
    pub program: Result<Program, String>,
}

impl Expression {
    pub fn compile(env: &k8s_cel::Env, text: &str) -> Self {
        let program = env.compile(text).map_err(|e| e.to_string());
        Expression { text: text.into(), program }
    }
    /// The value, or the sentence that clients read.
    pub fn eval<'a>(&'a self, activation: &Activation<'a>, budget: &mut Budget) -> Result<Val<'a>, Failure> {
        let program = self.program.as_ref().map_err(|why| Failure::Error(format!("compilation error: {why}")))?;
        program.eval(activation, budget).map_err(|e| match e {
            EvalError::Budget => Failure::Budget(e.to_string()),
            _ => Failure::Error(format!("expression '{}' resulted in error: {e}", self.text)),
        })
    }
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    Error(String),
    /// What all may cost together is used up: nothing further is evaluated.
    Budget(String),
}

impl Failure {
    pub fn text(self) -> String {
        match self {
            Failure::Error(text) | Failure::Budget(text) => text,
        }
    }
}

/// The conditions of one webhook or policy.
#[derive(Debug, Default)]
pub struct Conditions(Vec<Expression>);

impl Conditions {
    /// Compiles a list of conditions.
    pub fn of(list: &[Value], params: bool) -> Self {
        if list.is_empty() {
            return Conditions::default();
        }
        let env = ready::admission(ready::Admission { params, authorizer: true, patch_types: false });
        Conditions(list.iter().map(|c| Expression::compile(&env, c.str_at(&["expression"]))).collect())
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether all are true. One that is false ends it, whatever else fails.
    pub fn matches<'a>(&'a self, activation: &Activation<'a>) -> Result<bool, String> {
        let mut budget = Budget::new(budget::MATCH_CONDITIONS);
        let mut failed = Vec::new();
        for condition in &self.0 {
            match condition.eval(activation, &mut budget) {
                Ok(val) if val.as_bool() == Some(false) => return Ok(false),
                Ok(_) => {}
                Err(Failure::Error(text)) => failed.push(text),
                Err(Failure::Budget(text)) => return Err(text),
            }
        }
        match failed.as_mut_slice() {
            [] => Ok(true),
            [one] => Err(std::mem::take(one)),
            _ => Err(format!("[{}]", failed.join(", "))),
        }
    }
}

/// `authorizer` and `authorizer.requestResource` of one request.
pub struct Rights {
    all: Val<'static>,
    own: Val<'static>,
}

impl Rights {
    /// Without an authorizer nothing is allowed.
    pub fn of(authorizer: Option<&Authorizer>, facts: &Facts<'_>) -> Self {
        let asks = Arc::new(Asks { authorizer: authorizer.cloned(), user: facts.call.user.clone() });
        let subject = Subject::new(asks);
        let kind = &facts.call.kind;
        let mut resource = subject.clone().resource(kind.group_version(facts.call.version).0, &kind.plural);
        resource.subresource = facts.subresource().into();
        resource.namespace = facts.namespace.into();
        resource.name = facts.name.into();
        Rights { all: Opaque::Authorizer(subject).into(), own: Opaque::ResourceCheck(resource).into() }
    }
    /// Adds both variables.
    pub fn bind<'a>(&self, activation: Activation<'a>) -> Activation<'a> {
        activation.value("authorizer", self.all.clone()).value("authorizer.requestResource", self.own.clone())
    }
}

struct Asks {
    authorizer: Option<Authorizer>,
    user: Arc<User>,
}

impl k8s_cel::Authorizer for Asks {
    fn authorize(&self, a: &k8s_cel::Attributes<'_>) -> k8s_cel::Decision {
        let Some(authorizer) = &self.authorizer else { return k8s_cel::Decision::default() };
        let account = a.service_account.map(|(namespace, name)| User::service_account(namespace, name, ""));
        let user = account.as_ref().unwrap_or(&self.user);
        let decision = match (a.path, a.resource) {
            (Some(path), _) => authorizer.authorize(&Attributes::path(user, a.verb, path)),
            (None, Some(r)) => {
                let fields = FieldSelector::parse(&r.field_selector).ok().filter(|s| !s.is_everything());
                let labels = LabelSelector::parse(&r.label_selector).ok().filter(|s| !s.is_everything());
                let asked = Attributes {
                    fields: fields.as_ref(),
                    labels: labels.as_ref(),
                    version: "*",
                    ..Attributes::resource(user, a.verb, &r.group, &r.resource)
                };
                authorizer.authorize(&asked.subresource(&r.subresource).in_namespace(&r.namespace).named(&r.name))
            }
            (None, None) => return k8s_cel::Decision::default(),
        };
        let (verdict, reason) = match decision {
            auth::Decision::Allow(why) => (Verdict::Allow, why.to_string()),
            auth::Decision::Deny(why) => (Verdict::Deny, why),
            auth::Decision::NoOpinion(why) => (Verdict::NoOpinion, why),
        };
        k8s_cel::Decision { verdict, reason, error: None }
    }
}
