//! Access reviews: virtual kinds that are only created, and answer at once. Each is a function of its body.

use crate::{Attributes, Authenticator, Authorizer, Decision};
use base::{FieldErrors, Result, Status, User};
use select::{FieldSelector, LabelSelector};
use value::{Map, Value, value};

const AUTHORIZATION: &str = "authorization.k8s.io";

/// Answers a review by its resource's plural; `None` where it is none of ours. `namespace` is that of the path.
pub async fn evaluate(
    resource: &str,
    namespace: &str,
    user: &User,
    body: &Value,
    authorizer: &Authorizer,
    authenticator: &Authenticator,
) -> Option<Result<Value>> {
    let answer = match resource {
        "selfsubjectaccessreviews" => access(body, "SelfSubjectAccessReview", Some(user), "", authorizer).await,
        "subjectaccessreviews" => access(body, "SubjectAccessReview", None, "", authorizer).await,
        "localsubjectaccessreviews" => access(body, "LocalSubjectAccessReview", None, namespace, authorizer).await,
        "selfsubjectrulesreviews" => rules(body, user, authorizer),
        "selfsubjectreviews" => {
            let mut answer = with_status(body, value!({"userInfo": user_info(user)}));
            answer.set(&["metadata", "creationTimestamp"], base::time::seconds(authenticator.tokens().now()));
            Ok(answer)
        }
        "tokenreviews" => token(body, authenticator).await,
        _ => return None,
    };
    Some(answer)
}

async fn access(
    body: &Value,
    kind: &str,
    own: Option<&User>,
    namespace: &str,
    authorizer: &Authorizer,
) -> Result<Value> {
    let spec = body.at(&["spec"]);
    let (resource, path) = (spec.at(&["resourceAttributes"]), spec.at(&["nonResourceAttributes"]));
    let mut errors = FieldErrors::default();
    match (resource.is_null(), path.is_null()) {
        (false, false) => errors.invalid_raw(
            "spec.nonResourceAttributes",
            shown(path),
            "cannot be specified in combination with resourceAttributes",
        ),
        (true, true) => errors.invalid_raw(
            "spec.resourceAttributes",
            "null",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        _ => {}
    }
    let asked = match own {
        Some(user) => user.clone(),
        None => user_of(spec),
    };
    if own.is_none() && asked.name.is_empty() && asked.groups.is_empty() {
        errors.invalid("spec.user", "", "at least one of user or group must be specified");
    }
    if kind == "LocalSubjectAccessReview" && !path.is_null() {
        errors.invalid_raw("spec.nonResourceAttributes", shown(path), "disallowed on this kind of request");
    }
    if kind == "LocalSubjectAccessReview" && resource.str_at(&["namespace"]) != namespace {
        errors.invalid(
            "spec.resourceAttributes.namespace",
            resource.str_at(&["namespace"]),
            "must match metadata.namespace",
        );
    }
    check_selector(resource, "fieldSelector", &mut errors);
    check_selector(resource, "labelSelector", &mut errors);
    if !errors.is_empty() {
        // Upstream does not say of what.
        return Err(Status::invalid(AUTHORIZATION, "", "", &errors));
    }
    let (fields, labels) = (fields_of(resource), labels_of(resource));
    let attributes = match resource.is_null() {
        true => Attributes::path(&asked, path.str_at(&["verb"]), path.str_at(&["path"])),
        false => Attributes {
            version: resource.str_at(&["version"]),
            fields: fields.as_ref(),
            labels: labels.as_ref(),
            ..Attributes::resource(
                &asked,
                resource.str_at(&["verb"]),
                resource.str_at(&["group"]),
                resource.str_at(&["resource"]),
            )
            .subresource(resource.str_at(&["subresource"]))
            .in_namespace(resource.str_at(&["namespace"]))
            .named(resource.str_at(&["name"]))
        },
    };
    let decision = authorizer.ask(&attributes).await;
    let mut status = value!({"allowed": (decision.allowed())});
    if matches!(decision, Decision::Deny(_)) {
        status.set(&["denied"], true);
    }
    let reason = match &decision {
        Decision::Allow(reason) => &**reason,
        Decision::Deny(why) | Decision::NoOpinion(why) => why,
    };
    if !reason.is_empty() {
        status.set(&["reason"], reason);
    }
    Ok(with_status(body, status))
}

/// `nonResourceAttributes` under upstream's inner names.
fn shown(path: &Value) -> String {
    let of = |key: &str| base::status::quote(path.str_at(&[key]));
    format!("{{\"Path\":{},\"Verb\":{}}}", of("path"), of("verb"))
}

/// `fieldSelector` and `labelSelector` of what is asked: either as text or as requirements.
fn check_selector(resource: &Value, field: &str, errors: &mut FieldErrors) {
    let (of, at) = (resource.at(&[field]), format!("spec.resourceAttributes.{field}"));
    if of.is_null() {
        return;
    }
    let (raw, requirements) = (of.str_at(&["rawSelector"]), of.items_at(&["requirements"]));
    match (raw.is_empty(), requirements.is_empty()) {
        (false, false) => {
            errors.invalid(format!("{at}.rawSelector"), raw, "may not specified at the same time as requirements");
        }
        (true, true) => {
            let why = format!("when {at} is specified, requirements or rawSelector is required");
            errors.required(format!("{at}.requirements"), why);
        }
        _ => {}
    }
    for (i, requirement) in requirements.iter().enumerate() {
        let at = format!("{at}.requirements[{i}]");
        let (operator, values) = (requirement.str_at(&["operator"]), requirement.items_at(&["values"]));
        if requirement.str_at(&["key"]).is_empty() && field == "fieldSelector" {
            errors.required(format!("{at}.key"), "must be specified");
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(format!("{at}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(format!("{at}.values"), why);
            }
            _ => {}
        }
    }
}

/// What of it can be understood: every requirement only narrows what is asked.
fn fields_of(resource: &Value) -> Option<FieldSelector> {
    let raw = resource.str_at(&["fieldSelector", "rawSelector"]);
    if !raw.is_empty() {
        return FieldSelector::parse(raw).ok();
    }
    let escape = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
    let term = |r: &Value| {
        let [value] = r.items_at(&["values"]) else { return None };
        let operator = match r.str_at(&["operator"]) {
            "In" => "=",
            "NotIn" => "!=",
            _ => return None,
        };
        Some(format!("{}{operator}{}", r.str_at(&["key"]), escape(value.as_str()?)))
    };
    let requirements = resource.items_at(&["fieldSelector", "requirements"]);
    let terms: Vec<String> = requirements.iter().filter_map(term).collect();
    (!terms.is_empty()).then(|| FieldSelector::parse(&terms.join(",")).ok()).flatten()
}

fn labels_of(resource: &Value) -> Option<LabelSelector> {
    let raw = resource.str_at(&["labelSelector", "rawSelector"]);
    if !raw.is_empty() {
        return LabelSelector::parse(raw).ok();
    }
    let known = |r: &&Value| matches!(r.str_at(&["operator"]), "In" | "NotIn" | "Exists" | "DoesNotExist");
    let requirements = resource.items_at(&["labelSelector", "requirements"]);
    let requirements: Vec<Value> = requirements.iter().filter(known).cloned().collect();
    (!requirements.is_empty())
        .then(|| LabelSelector::from_object(&value!({"matchExpressions": (Value::Array(requirements))})).ok())
        .flatten()
}

fn rules(body: &Value, user: &User, authorizer: &Authorizer) -> Result<Value> {
    let namespace = body.str_at(&["spec", "namespace"]);
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (urls, resources): (Vec<_>, Vec<_>) =
        authorizer.rules_for(user, namespace).into_iter().partition(|rule| rule.is_for_urls());
    let list = |rules: Vec<crate::Rule>| rules.iter().map(crate::Rule::to_value).collect::<Value>();
    let mut status = value!({"incomplete": false});
    status.set(&["resourceRules"], list(resources));
    status.set(&["nonResourceRules"], list(urls));
    if let Some(why) = authorizer.incomplete(user) {
        status.set(&["incomplete"], true);
        status.set(&["evaluationError"], why);
    }
    Ok(with_status(body, status))
}

async fn token(body: &Value, authenticator: &Authenticator) -> Result<Value> {
    let token = body.str_at(&["spec", "token"]);
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> =
        body.items_at(&["spec", "audiences"]).iter().filter_map(Value::as_str).map(String::from).collect();
    let status = match authenticator.review(token, &audiences).await {
        Ok((user, audiences)) => {
            value!({"authenticated": true, "user": user_info(&user), "audiences": audiences})
        }
        Err(why) => value!({"user": {}, "error": why}),
    };
    Ok(with_status(body, status))
}

/// A user as `authentication.k8s.io/v1 UserInfo`.
pub fn user_info(user: &User) -> Value {
    let mut out = value!({"username": user.name});
    if !user.uid.is_empty() {
        out.set(&["uid"], user.uid.as_str());
    }
    if !user.groups.is_empty() {
        out.set(&["groups"], user.groups.iter().map(String::as_str).collect::<Value>());
    }
    if !user.extra.is_empty() {
        let extra = user.extra.iter().map(|(k, v)| (k.as_str(), v.iter().map(String::as_str).collect::<Value>()));
        out.set(&["extra"], extra.collect::<Map>());
    }
    out
}

/// The user of a `UserInfo`.
pub fn user_of_info(info: &Value) -> User {
    User { name: info.str_at(&["username"]).into(), ..user_of(info) }
}

fn user_of(spec: &Value) -> User {
    let list = |v: &Value| v.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect();
    User {
        name: spec.str_at(&["user"]).into(),
        uid: spec.str_at(&["uid"]).into(),
        groups: list(spec.at(&["groups"])),
        extra: spec.members_at(&["extra"]).map(|(key, values)| (key.to_lowercase(), list(values))).collect(),
    }
}

fn with_status(body: &Value, status: Value) -> Value {
    let mut out = body.clone();
    out.set_default(&["metadata"], Value::object());
    out.set(&["status"], status);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tokens, token::tests::Objects};
    use std::sync::Arc;

    async fn ask(resource: &str, namespace: &str, user: &User, body: Value) -> Result<Value> {
        let role = value!({"metadata": {"name": "r"}, "rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz"]},
        ]});
        let binding = value!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": "alice"}]});
        let view = Arc::new(Objects::default().with("clusterroles", role).with("clusterrolebindings", binding));
        let key = Arc::new(pki::SigningKey::generate().unwrap());
        let tokens = Arc::new(Tokens::new(key, "https://issuer".into(), Arc::new(base::clock::System)));
        let authenticator = Authenticator::new(view.clone(), tokens);
        evaluate(resource, namespace, user, &body, &Authorizer::new(view), &authenticator).await.unwrap()
    }

    #[tokio::test]
    async fn reviews_answer() {
        let alice = User::new("alice", ["system:authenticated"]);
        let may = async |verb: &str| {
            let body = value!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": "d"}}});
            ask("selfsubjectaccessreviews", "", &alice, body).await.unwrap().at(&["status", "allowed"]).as_bool()
        };
        assert_eq!((may("get").await, may("delete").await), (Some(true), Some(false)));
        let body = value!({"spec": {"user": "alice", "nonResourceAttributes": {"verb": "get", "path": "/healthz"}}});
        let out = ask("subjectaccessreviews", "", &User::default(), body).await.unwrap();
        assert_eq!(
            out.str_at(&["status", "reason"]),
            r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "alice""#
        );
        let body = value!({"spec": {"user": "alice", "resourceAttributes": {"namespace": "a", "verb": "get", "resource": "pods"}}});
        assert_eq!(ask("localsubjectaccessreviews", "b", &alice, body).await.unwrap_err().code(), 422);
        assert_eq!(ask("subjectaccessreviews", "", &alice, value!({"spec": {}})).await.unwrap_err().code(), 422);
        let out = ask("selfsubjectrulesreviews", "", &alice, value!({"spec": {"namespace": "d"}})).await.unwrap();
        assert_eq!(out.items_at(&["status", "resourceRules"]).len(), 1);
        let out = ask("selfsubjectreviews", "", &alice, value!({})).await.unwrap();
        assert_eq!(out.str_at(&["status", "userInfo", "username"]), "alice");
        assert!(!out.str_at(&["metadata", "creationTimestamp"]).is_empty());
        let out = ask("tokenreviews", "", &alice, value!({"spec": {"token": "rubbish"}})).await.unwrap();
        assert!(out.str_at(&["status", "error"]).contains("invalid bearer token"));
    }
}
