//! `serviceaccounts/token`: issues a token for an account, bound to a pod, secret or node where asked.

use crate::token::{Claims, Reference, Tokens};
use base::{FieldErrors, Reason, Result, Status};
use schema::View;
use value::{Value, value};

/// A pod-bound token of exactly this life (what the admission plugin projects) lives a year, and warns after that life:
/// old clients do not read the file again. Source: `pkg/serviceaccount`.
const PROJECTED: i64 = 3607;
const EXTENDED: i64 = 365 * 24 * 3600;
const DEFAULT: i64 = 3600;

/// The TokenRequest with its status, and warnings. `namespace` and `name` are the account's.
pub fn issue(
    tokens: &Tokens,
    view: &dyn View,
    namespace: &str,
    name: &str,
    body: &Value,
) -> Result<(Value, Vec<String>)> {
    let account = view.get("", "serviceaccounts", namespace, name);
    let account = account.ok_or_else(|| Status::not_found("", "serviceaccounts", name))?;
    let mut out = body.clone();
    out.set(&["metadata", "name"], name);
    out.set(&["metadata", "namespace"], namespace);
    out.set_default(&["spec", "expirationSeconds"], DEFAULT);
    let mut asked = out.at(&["spec", "expirationSeconds"]).as_i64().unwrap_or(DEFAULT);
    check_life(asked)?;
    let mut warnings = Vec::new();
    let (most, extend) = tokens.limits();
    if let Some(most) = most.filter(|most| asked > *most) {
        warnings.push(format!("requested expiration of {asked} seconds shortened to {most} seconds"));
        out.set(&["spec", "expirationSeconds"], most);
        asked = most;
    }
    let mut audiences: Vec<String> =
        out.items_at(&["spec", "audiences"]).iter().filter_map(Value::as_str).map(String::from).collect();
    if audiences.is_empty() {
        audiences = tokens.audiences().to_vec();
    }
    let bound = bound(view, namespace, name, out.at(&["spec", "boundObjectRef"]))?;
    let now = tokens.now();
    let extends =
        extend && bound.pod.is_some() && asked == PROJECTED && audiences.iter().all(|a| tokens.audiences().contains(a));
    let (life, warn_after) = if extends { (EXTENDED, Some(now.as_second() + asked)) } else { (asked, None) };
    let claims = Claims {
        id: base::ids::uid(),
        audiences: audiences.clone(),
        issued: now.as_second(),
        not_before: now.as_second(),
        expires: now.as_second() + life,
        namespace: namespace.into(),
        account: Reference { name: name.into(), uid: account.meta.uid.to_string() },
        warn_after,
        ..bound
    };
    let until = base::time::Timestamp::from_second(now.as_second() + asked).map_err(Status::internal)?;
    out.set(&["metadata", "creationTimestamp"], base::time::seconds(now));
    out.set(&["metadata", "uid"], account.meta.uid.clone());
    out.set(&["spec", "audiences"], audiences.iter().map(String::as_str).collect::<Value>());
    out.set(&["status"], value!({"token": tokens.sign(&claims), "expirationTimestamp": base::time::seconds(until)}));
    Ok((out, warnings))
}

fn check_life(seconds: i64) -> Result<()> {
    let mut errors = FieldErrors::default();
    if seconds < 600 {
        errors.invalid_raw("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        errors.invalid_raw("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds");
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &errors)),
    }
}

/// Claims that hold only what the token is bound to.
fn bound(view: &dyn View, namespace: &str, account: &str, reference: &Value) -> Result<Claims> {
    let mut claims = Claims::default();
    if reference.is_null() {
        return Ok(claims);
    }
    let (api_version, kind) = (reference.str_at(&["apiVersion"]), reference.str_at(&["kind"]));
    // Of the core group in whatever version, as upstream has it.
    let core = !api_version.contains('/');
    let (plural, object_namespace) = match kind {
        "Pod" if core => ("pods", namespace),
        "Secret" if core => ("secrets", namespace),
        "Node" if core => ("nodes", ""),
        _ => {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let text = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(text));
        }
    };
    let name = reference.str_at(&["name"]);
    let object = view.get("", plural, object_namespace, name).ok_or_else(|| Status::not_found("", plural, name))?;
    let uid = object.meta.uid.to_string();
    let wanted = reference.str_at(&["uid"]);
    if kind == "Pod" && object.value().str_at(&["spec", "serviceAccountName"]) != account {
        let text = format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        );
        return Err(Status::new(Reason::BadRequest, text));
    }
    if !wanted.is_empty() && wanted != uid {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", kind, name, &why));
    }
    let found = Some(Reference { name: name.into(), uid });
    match kind {
        "Secret" => claims.secret = found,
        "Node" => claims.node = found,
        _ => {
            let pod = object.value();
            claims.pod = found;
            let node = pod.str_at(&["spec", "nodeName"]);
            if !node.is_empty() {
                let uid = view.get("", "nodes", "", node).map(|n| n.meta.uid.to_string()).unwrap_or_default();
                claims.node = Some(Reference { name: node.into(), uid });
            }
        }
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Issuer, tests::Objects};
    use std::sync::Arc;

    #[test]
    fn a_pod_bound_token_is_issued_and_taken() {
        let view = Objects::default()
            .with("serviceaccounts", value!({"metadata": {"name": "bot", "namespace": "dev", "uid": "u-bot"}}))
            .with("nodes", value!({"metadata": {"name": "n1", "uid": "u-n1"}}))
            .with(
                "pods",
                value!({"metadata": {"name": "web", "namespace": "dev", "uid": "u-web"},
                "spec": {"serviceAccountName": "bot", "nodeName": "n1"}}),
            );
        let key = Arc::new(pki::SigningKey::generate().unwrap());
        let tokens = Tokens::new(key, "https://issuer".into(), Arc::new(base::clock::System));
        let ask = |body: Value| issue(&tokens, &view, "dev", "bot", &body).map(|(out, _)| out);
        let pod = value!({"spec": {"expirationSeconds": 3607, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web"}}});
        let out = ask(pod).unwrap();
        let (user, _) = tokens.user(out.str_at(&["status", "token"]), tokens.audiences(), &view).unwrap();
        assert_eq!(user.extra.len(), 5);
        let claims = tokens.verify(out.str_at(&["status", "token"])).unwrap();
        assert_eq!(claims.expires - claims.issued, EXTENDED);
        assert_eq!(claims.warn_after, Some(claims.issued + 3607));

        for (body, code) in [
            (value!({"spec": {"expirationSeconds": 60}}), 422),
            (value!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "none"}}}), 404),
            (
                value!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "old"}}}),
                409,
            ),
            (value!({"spec": {"boundObjectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}), 400),
        ] {
            assert_eq!(ask(body.clone()).unwrap_err().code(), code, "{body}");
        }
        assert_eq!(issue(&tokens, &view, "dev", "other", &value!({})).unwrap_err().code(), 404);

        // An operator may shorten lives, and have no long ones.
        let key = Arc::new(pki::SigningKey::generate().unwrap());
        let issuer = Issuer { max_expiration: Some(3600), extend: false, ..Issuer::new(key, "https://issuer".into()) };
        let strict = Tokens::of(issuer, Arc::new(base::clock::System));
        let pod = value!({"spec": {"expirationSeconds": 3607, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web"}}});
        let (out, warnings) = issue(&strict, &view, "dev", "bot", &pod).unwrap();
        assert_eq!(warnings, ["requested expiration of 3607 seconds shortened to 3600 seconds"]);
        assert_eq!(out.at(&["spec", "expirationSeconds"]), &Value::from(3600));
        let claims = strict.verify(out.str_at(&["status", "token"])).unwrap();
        assert_eq!((claims.expires - claims.issued, claims.warn_after), (3600, None));
    }
}
