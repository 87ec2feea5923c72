//! A server elsewhere that says who may: a SubjectAccessReview for each question, and its answer kept for a while.
//! Source: `apiserver/plugin/pkg/authorizer/webhook`, `apiserver/pkg/authorization/cel`.

use crate::{
    Attributes, Decision,
    webhook::{Kept, Reviewer, key},
};
use base::clock::Clock;
use k8s_cel::{Activation, Budget, Decl, Env, Program, Type};
use net::{Endpoint, Outgoing};
use select::Operator;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use value::{Map, Value, value};

/// How many answers are kept. Source: upstream keeps 8192 of up to 10,000 bytes.
const KEPT: usize = 8192;
const LONGEST: usize = 10_000;

/// What an `AuthorizationConfiguration` says of a webhook.
#[derive(Debug, Clone)]
pub struct AccessWebhookConfig {
    pub name: String,
    pub endpoint: Endpoint,
    /// `v1` or `v1beta1`
    pub version: String,
    pub timeout: Duration,
    /// How long an answer counts; `None`: it is asked each time.
    pub allowed_ttl: Option<Duration>,
    pub refused_ttl: Option<Duration>,
    /// `failurePolicy: Deny`: without an answer nobody after it is asked.
    pub fails_closed: bool,
    pub conditions: Vec<Arc<Condition>>,
}

/// One of `matchConditions`: only what all of them are true of is asked.
#[derive(Debug)]
pub struct Condition {
    text: String,
    program: Program,
}

impl Condition {
    /// The error is upstream's sentence.
    pub fn compile(text: &str) -> Result<Self, String> {
        let program = Env::new().declared("request", request().clone()).compile(text).map_err(|e| e.to_string())?;
        if program.output_type() != &Type::Bool {
            return Err(format!("must evaluate to bool but got {}", program.output_type().name()));
        }
        Ok(Condition { text: text.into(), program })
    }
}

/// A webhook that is asked.
pub struct AccessWebhook {
    config: AccessWebhookConfig,
    reviewer: Reviewer,
    kept: Kept<Decision>,
}

impl AccessWebhook {
    pub fn new(config: AccessWebhookConfig, outgoing: Arc<Outgoing>, clock: Arc<dyn Clock>) -> Self {
        let reviewer = Reviewer { endpoint: config.endpoint.clone(), outgoing, timeout: config.timeout };
        AccessWebhook { config, reviewer, kept: Kept::new(KEPT, clock) }
    }

    /// What can be said without asking: that it is not to be asked, or what it has said before.
    pub fn known(&self, a: &Attributes<'_>) -> Result<Decision, Value> {
        let spec = spec(a);
        match self.matches(&spec) {
            Ok(true) => {}
            Ok(false) => return Ok(Decision::NoOpinion(String::new())),
            Err(why) => return Ok(self.failed(why)),
        }
        self.kept.get(&key(&[&spec.to_string()])).ok_or(spec)
    }

    /// Asks, where it has to be asked.
    pub async fn decide(&self, a: &Attributes<'_>) -> Decision {
        match self.known(a) {
            Ok(decision) => decision,
            Err(spec) => self.ask(a, spec).await,
        }
    }

    async fn ask(&self, a: &Attributes<'_>, spec: Value) -> Decision {
        let key = key(&[&spec.to_string()]);
        let review = value!({
            "kind": "SubjectAccessReview", "apiVersion": (format!("authorization.k8s.io/{}", self.config.version)),
            "metadata": {}, "spec": (worded(spec, &self.config.version)),
        });
        let status = match self.reviewer.ask(&review).await {
            Ok(status) => status,
            Err(why) => {
                tracing::error!(webhook = self.config.name, "authorization: {why}");
                return self.failed(why);
            }
        };
        let decision = answered(&status);
        let ttl = if decision.allowed() { self.config.allowed_ttl } else { self.config.refused_ttl };
        let length: usize = [a.namespace, a.verb, a.group, a.version, a.resource, a.subresource, a.name, a.path]
            .map(str::len)
            .iter()
            .sum();
        if let Some(ttl) = ttl.filter(|_| length < LONGEST) {
            self.kept.put(key, decision.clone(), ttl);
        }
        decision
    }

    fn failed(&self, why: String) -> Decision {
        if self.config.fails_closed { Decision::Deny(why) } else { Decision::NoOpinion(why) }
    }

    /// Whether all conditions are true. One that is false ends it, whatever else fails.
    fn matches(&self, spec: &Value) -> Result<bool, String> {
        let mut failed = Vec::new();
        for condition in &self.config.conditions {
            let activation = Activation::new().typed("request", spec, request());
            match condition.program.eval(&activation, &mut Budget::default()) {
                Ok(val) if val.as_bool() == Some(false) => return Ok(false),
                Ok(_) => {}
                Err(e) => {
                    failed.push(format!("cel evaluation error: expression '{}' resulted in error: {e}", condition.text))
                }
            }
        }
        match failed.as_mut_slice() {
            [] => Ok(true),
            [one] => Err(std::mem::take(one)),
            _ => Err(format!("[{}]", failed.join(", "))),
        }
    }
}

fn answered(status: &Value) -> Decision {
    let reason = status.str_at(&["reason"]);
    let says = |field: &str| status.at(&[field]).as_bool() == Some(true);
    match (says("allowed"), says("denied")) {
        (_, true) => Decision::Deny(reason.into()),
        (true, false) => Decision::Allow(reason.into()),
        (false, false) => Decision::NoOpinion(reason.into()),
    }
}

/// The question as `spec` of a review of version v1, with every text that expressions may read.
fn spec(a: &Attributes<'_>) -> Value {
    let list = |texts: &[String]| texts.iter().map(String::as_str).collect::<Value>();
    let extra = a.user.extra.iter().map(|(key, values)| (key.as_str(), list(values))).collect::<Map>();
    let mut spec = value!({"user": (a.user.name.as_str()), "uid": (a.user.uid.as_str()), "groups": (list(&a.user.groups)), "extra": (Value::from(extra))});
    if !a.is_resource() {
        spec.set(&["nonResourceAttributes"], value!({"path": (a.path), "verb": (a.verb)}));
        return spec;
    }
    let mut of = value!({
        "namespace": (a.namespace), "verb": (a.verb), "group": (a.group), "version": (a.version), "resource": (a.resource),
        "subresource": (a.subresource), "name": (a.name),
    });
    let fields: Vec<Value> = a
        .fields
        .into_iter()
        .flat_map(|selector| selector.requirements())
        .map(|r| requirement(&r.field, if r.equal { "In" } else { "NotIn" }, &[r.value.as_str()]))
        .collect();
    let labels: Vec<Value> = a
        .labels
        .into_iter()
        .flat_map(|selector| selector.requirements())
        .filter_map(|r| {
            let operator = match r.operator {
                Operator::Equals | Operator::DoubleEquals | Operator::In => "In",
                Operator::NotEquals | Operator::NotIn => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
                // All of them have to hold: without one the question is only broader.
                Operator::GreaterThan | Operator::LessThan => return None,
            };
            let values: Vec<&str> = r.values.iter().map(|v| v.as_str()).collect();
            Some(requirement(&r.key, operator, &values))
        })
        .collect();
    for (field, requirements) in [("fieldSelector", fields), ("labelSelector", labels)] {
        if !requirements.is_empty() {
            of.set(&[field, "requirements"], Value::Array(requirements));
        }
    }
    spec.set(&["resourceAttributes"], of);
    spec
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> Value {
    let mut out = value!({"key": key, "operator": operator});
    if !values.is_empty() {
        out.set(&["values"], values.iter().copied().collect::<Value>());
    }
    out
}

/// A spec as it is sent: what is empty is left out, and the old version says `group` for `groups`.
fn worded(mut spec: Value, version: &str) -> Value {
    let prune = |map: &mut Value| {
        let empty: Vec<String> = map
            .members_at(&[])
            .filter(|(_, v)| match v {
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            })
            .map(|(key, _)| key.to_string())
            .collect();
        for key in empty {
            map.remove(&[&key]);
        }
    };
    if spec.get("resourceAttributes").is_some() {
        prune(spec.at_mut(&["resourceAttributes"]));
    }
    prune(&mut spec);
    if version == "v1beta1"
        && let Some(groups) = spec.remove(&["groups"])
    {
        spec.set(&["group"], groups);
    }
    spec
}

/// `request` of a condition: the spec of the review.
fn request() -> &'static Arc<Decl> {
    static REQUEST: OnceLock<Arc<Decl>> = OnceLock::new();
    REQUEST.get_or_init(|| {
        let text = || Decl::of_type(Type::String);
        let texts = || Decl::list(text(), -1);
        let requirement = Decl::object(
            "kubernetes.SelectorRequirement",
            &[("key", text()), ("operator", text()), ("values", texts())],
        );
        let selector = |name| {
            Decl::object(name, &[("rawSelector", text()), ("requirements", Decl::list(requirement.clone(), -1))])
        };
        let resource = Decl::object(
            "kubernetes.ResourceAttributes",
            &[
                ("namespace", text()),
                ("verb", text()),
                ("group", text()),
                ("version", text()),
                ("resource", text()),
                ("subresource", text()),
                ("name", text()),
                ("fieldSelector", selector("kubernetes.FieldSelectorAttributes")),
                ("labelSelector", selector("kubernetes.LabelSelectorAttributes")),
            ],
        );
        let path = Decl::object("kubernetes.NonResourceAttributes", &[("path", text()), ("verb", text())]);
        Decl::object(
            "kubernetes.SubjectAccessReviewSpec",
            &[
                ("resourceAttributes", resource),
                ("nonResourceAttributes", path),
                ("user", text()),
                ("groups", texts()),
                ("extra", Decl::map(texts(), -1)),
                ("uid", text()),
            ],
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::User;
    use select::{FieldSelector, LabelSelector};

    fn webhook(conditions: &[&str], fails_closed: bool) -> AccessWebhook {
        struct Nowhere;
        impl net::outgoing::Services for Nowhere {
            fn endpoint(&self, _: &str, _: &str, _: u16) -> Result<std::net::SocketAddr, String> {
                Err("nowhere".into())
            }
        }
        let endpoint = Endpoint {
            url: "https://127.0.0.1:1".into(),
            trust: net::Trust::System,
            identity: None,
            headers: http::HeaderMap::new(),
        };
        let config = AccessWebhookConfig {
            name: "hook".into(),
            endpoint,
            version: "v1".into(),
            timeout: Duration::from_secs(1),
            allowed_ttl: None,
            refused_ttl: None,
            fails_closed,
            conditions: conditions.iter().map(|text| Arc::new(Condition::compile(text).unwrap())).collect(),
        };
        AccessWebhook::new(config, Arc::new(Outgoing::new(Arc::new(Nowhere))), Arc::new(base::clock::System))
    }

    #[test]
    fn conditions_say_what_is_asked() {
        let user = User::new("alice", ["dev"]);
        let pods = Attributes::resource(&user, "list", "", "pods").in_namespace("ns");
        let path = Attributes::path(&user, "get", "/metrics");
        let none = || Decision::NoOpinion(String::new());
        let known = |conditions: &[&str], closed, a: &Attributes<'_>| webhook(conditions, closed).known(a).ok();
        assert_eq!(known(&[], false, &pods), None, "it has to be asked");
        assert_eq!(known(&["request.user == 'alice'"], false, &pods), None);
        assert_eq!(known(&["request.user == 'bob'"], false, &pods), Some(none()));
        let kinds = "has(request.resourceAttributes) && request.resourceAttributes.resource == 'pods'";
        assert_eq!((known(&[kinds], false, &pods), known(&[kinds], false, &path)), (None, Some(none())));
        let wrong = "request.resourceAttributes.resource == 'pods'";
        let why = "cel evaluation error: expression 'request.resourceAttributes.resource == 'pods'' resulted in error: no such key: resourceAttributes";
        assert_eq!(known(&[wrong], false, &path), Some(Decision::NoOpinion(why.into())));
        assert_eq!(known(&[wrong], true, &path), Some(Decision::Deny(why.into())));
        assert_eq!(known(&[wrong, "false"], true, &path), Some(none()), "what is false ends it");
        assert_eq!(Condition::compile("request.user").unwrap_err(), "must evaluate to bool but got string");
        assert!(Condition::compile("request.usr == 'x'").unwrap_err().contains("undefined field 'usr'"));
    }

    #[test]
    fn the_question_in_words() {
        let user = User { uid: "7".into(), extra: vec![("k".into(), vec!["v".into()])], ..User::new("alice", ["dev"]) };
        let fields = FieldSelector::parse("spec.nodeName=n1,status.phase!=Failed").unwrap();
        let labels = LabelSelector::parse("app in (a,b),!old,n>3").unwrap();
        let list = Attributes {
            fields: Some(&fields),
            labels: Some(&labels),
            version: "v1",
            ..Attributes::resource(&user, "list", "", "pods")
        };
        assert_eq!(
            worded(spec(&list), "v1beta1"),
            value!({"user": "alice", "uid": "7", "group": ["dev"], "extra": {"k": ["v"]}, "resourceAttributes": {
                "verb": "list", "version": "v1", "resource": "pods",
                "fieldSelector": {"requirements": [
                    {"key": "spec.nodeName", "operator": "In", "values": ["n1"]},
                    {"key": "status.phase", "operator": "NotIn", "values": ["Failed"]}]},
                "labelSelector": {"requirements": [
                    {"key": "app", "operator": "In", "values": ["a", "b"]},
                    {"key": "old", "operator": "DoesNotExist"}]},
            }})
        );
        let plain = User::new("bob", []);
        let path = Attributes::path(&plain, "get", "/x");
        assert_eq!(
            worded(spec(&path), "v1"),
            value!({"user": "bob", "nonResourceAttributes": {"path": "/x", "verb": "get"}})
        );
    }

    #[test]
    fn what_an_answer_means() {
        for (status, want) in [
            (value!({"allowed": true, "reason": "r"}), Decision::Allow("r".into())),
            (value!({"allowed": false, "reason": "r"}), Decision::NoOpinion("r".into())),
            (value!({"denied": true, "reason": "r"}), Decision::Deny("r".into())),
            (value!({"allowed": true, "denied": true}), Decision::Deny(String::new())),
            (Value::Null, Decision::NoOpinion(String::new())),
        ] {
            assert_eq!(answered(&status), want);
        }
    }
}
