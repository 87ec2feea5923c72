//! Impersonation: `Impersonate-User`, `-Group`, `-Uid`, `-Extra-*`. Each thing asked for is authorized on its own.

use crate::{Attributes, Authorizer, Decision, forbidden};
use base::{Result, Status, User};
use http::HeaderMap;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// True where the request asks for it (looked at on every request, so it must be cheap).
pub fn requested(headers: &HeaderMap) -> bool {
    headers.contains_key(USER)
        || headers.contains_key(GROUP)
        || headers.contains_key(UID)
        || headers.keys().any(|name| name.as_str().starts_with(EXTRA))
}

/// The user that the request wants to be; 403 where `caller` may not, 400 without a user.
pub fn impersonate(headers: &HeaderMap, caller: &User, authorizer: &Authorizer) -> Result<User> {
    let texts = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
    };
    let name = texts(USER).into_iter().next().unwrap_or_default();
    let uid = texts(UID).into_iter().next().unwrap_or_default();
    let mut groups = texts(GROUP);
    let extra = extra(headers);
    if name.is_empty() {
        return Err(Status::bad_request(
            "requested impersonation of groups, uid or extra without impersonating a user",
        ));
    }
    let allow = |attributes: Attributes<'_>| match authorizer.authorize(&attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(why) => Err(forbidden(&attributes, &why)),
    };
    let ask = |group, resource| Attributes::resource(caller, "impersonate", group, resource);
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => allow(ask("", "serviceaccounts").in_namespace(namespace).named(account))?,
        None => allow(ask("", "users").named(&name))?,
    }
    for group in &groups {
        allow(ask("", "groups").named(group))?;
    }
    for (key, values) in &extra {
        for value in values {
            allow(ask(AUTHENTICATION, "userextras").subresource(key).named(value))?;
        }
    }
    if !uid.is_empty() {
        allow(ask(AUTHENTICATION, "uids").named(&uid))?;
    }
    if let (Some((namespace, _)), true) = (account, groups.is_empty()) {
        groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let has = |group: &str, groups: &[String]| groups.iter().any(|g| g == group);
    let unauthenticated = has("system:unauthenticated", &groups);
    if name == "system:anonymous" {
        if !unauthenticated {
            groups.push("system:unauthenticated".into());
        }
    } else if !unauthenticated && !has("system:authenticated", &groups) {
        groups.push("system:authenticated".into());
    }
    Ok(User { name, uid, groups, extra })
}

fn extra(headers: &HeaderMap) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    for name in headers.keys() {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        let values = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        // A key may hold what a header's name must not, such as `/`.
        out.push((base::escape::decode(key, false).into_owned(), values.collect()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::Objects;
    use std::sync::Arc;
    use value::value;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut out = HeaderMap::new();
        for (name, text) in pairs {
            out.append(*name, text.parse().unwrap());
        }
        out
    }

    #[test]
    fn each_thing_asked_for_needs_its_right() {
        let role = value!({"metadata": {"name": "imp"}, "rules": [
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
            {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"]},
        ]});
        let binding = value!({"metadata": {"name": "imp"}, "roleRef": {"kind": "ClusterRole", "name": "imp"},
            "subjects": [{"kind": "User", "name": "alice"}]});
        let view = Objects::default().with("clusterroles", role).with("clusterrolebindings", binding);
        let authorizer = Authorizer::new(Arc::new(view));
        let alice = User::new("alice", ["system:authenticated"]);
        let ask = |pairs| impersonate(&headers(pairs), &alice, &authorizer);
        let bob = ask(&[("impersonate-user", "bob"), ("impersonate-extra-scopes", "view")]).unwrap();
        assert_eq!((bob.name.as_str(), bob.groups.as_slice()), ("bob", &["system:authenticated".to_string()][..]));
        assert_eq!(bob.extra, [("scopes".to_string(), vec!["view".to_string()])]);
        let bot = ask(&[("impersonate-user", "system:serviceaccount:dev:bot")]).unwrap();
        assert!(bot.in_group("system:serviceaccounts:dev") && bot.in_group("system:authenticated"));
        assert_eq!(
            ask(&[("impersonate-user", "root")]).unwrap_err().message(),
            r#"users "root" is forbidden: User "alice" cannot impersonate resource "users" in API group "" at the cluster scope"#
        );
        assert_eq!(
            ask(&[("impersonate-user", "bob"), ("impersonate-group", "system:masters")]).unwrap_err().code(),
            403
        );
        assert_eq!(ask(&[("impersonate-group", "x")]).unwrap_err().code(), 400);
        let slash =
            HeaderMap::from_iter([("impersonate-extra-example.org%2fscopes".parse().unwrap(), "x".parse().unwrap())]);
        assert_eq!(extra(&slash), [("example.org/scopes".to_string(), vec!["x".to_string()])]);
    }
}
