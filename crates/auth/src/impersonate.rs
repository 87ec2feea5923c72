//! Impersonation: `Impersonate-User`, `-Group`, `-Uid`, `-Extra-*`. Each thing asked for is authorized on its own.
//!
//! There are two kinds. Whoever may `impersonate` a user may do as that user whatever the user may. A constrained
//! impersonation (KEP-5284) needs two rights: to be that user in one of four ways, such as `impersonate:arbitrary-node`,
//! and to do what the request does as such a one, such as `impersonate-on:arbitrary-node:list` of pods. The constrained
//! ones are tried first. Source: `apiserver/pkg/endpoints/filters/impersonation`.

use crate::{Attributes, Authorizer, Decision, forbidden};
use base::{Result, Status, User, names};
use http::HeaderMap;
use parking_lot::Mutex;
use std::collections::HashMap;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// As many values are asked for with one question first.
const MANY: usize = 4;
/// How many callers' ways are remembered.
const REMEMBERED: usize = 10_000;

/// Whom a request is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impersonated {
    pub user: User,
    /// The verb that let it pass; empty for `impersonate` itself.
    pub constraint: &'static str,
}

/// The ways, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    /// `impersonate`
    Plain,
}

impl Mode {
    const ALL: [Mode; 5] =
        [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Plain];
    fn verb(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "impersonate:associated-node",
            Mode::ArbitraryNode => "impersonate:arbitrary-node",
            Mode::ServiceAccount => "impersonate:serviceaccount",
            Mode::UserInfo => "impersonate:user-info",
            Mode::Plain => "impersonate",
        }
    }
    /// Whether this is a way to become that user at all.
    fn fits(self, wanted: &User, caller: &User) -> bool {
        let only_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let (node, account) = (node_of(&wanted.name), account_of(&wanted.name));
        match self {
            Mode::AssociatedNode => {
                let own = caller.extra.iter().find(|(key, _)| key == NODE_NAME).map(|(_, values)| values.as_slice());
                let own = own.and_then(|values| if let [one] = values { Some(one.as_str()) } else { None });
                only_name && node.is_some() && account_of(&caller.name).is_some() && own == node
            }
            Mode::ArbitraryNode => only_name && node.is_some(),
            Mode::ServiceAccount => only_name && account.is_some(),
            Mode::UserInfo => node.is_none() && account.is_none(),
            Mode::Plain => true,
        }
    }
}

/// True where the request asks for it (looked at on every request, so it must be cheap).
pub fn requested(headers: &HeaderMap) -> bool {
    headers.contains_key(USER)
        || headers.contains_key(GROUP)
        || headers.contains_key(UID)
        || headers.keys().any(|name| name.as_str().starts_with(EXTRA))
}

/// Which way each caller went last: it is tried first, and its refusal is the one that is told.
#[derive(Debug, Default)]
pub struct Ways(Mutex<HashMap<String, Mode>>);

impl Ways {
    fn last(&self, caller: &str) -> Option<Mode> {
        self.0.lock().get(caller).copied()
    }
    fn went(&self, caller: &str, mode: Mode) {
        let mut ways = self.0.lock();
        if ways.len() >= REMEMBERED {
            ways.clear();
        }
        ways.insert(caller.into(), mode);
    }
}

/// The user that the request wants to be; 403 where its caller may not, 400 without a user. `request`: what the request
/// asks for, by its caller.
pub async fn impersonate(
    headers: &HeaderMap,
    request: &Attributes<'_>,
    authorizer: &Authorizer,
    ways: &Ways,
) -> Result<Impersonated> {
    let wanted = wanted(headers)?;
    let caller = &request.user.name;
    let last = ways.last(caller);
    let mut first: Option<Status> = None;
    let rest = Mode::ALL.into_iter().filter(|mode| Some(*mode) != last);
    for mode in last.into_iter().chain(rest).filter(|mode| mode.fits(&wanted, request.user)) {
        match taken_on(mode, &wanted, request, authorizer).await {
            Ok(user) => {
                if last != Some(mode) {
                    ways.went(caller, mode);
                }
                let constraint = if mode == Mode::Plain { "" } else { mode.verb() };
                return Ok(Impersonated { user, constraint });
            }
            Err(refused) => first = first.or(Some(refused)),
        }
    }
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

fn wanted(headers: &HeaderMap) -> Result<User> {
    let texts = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
    };
    let one = |name: &str| texts(name).into_iter().next().unwrap_or_default();
    let wanted = User { name: one(USER), uid: one(UID), groups: texts(GROUP), extra: extra(headers) };
    if wanted.name.is_empty() {
        return Err(Status::bad_request(format!("requested {} without impersonating a user name", in_go(&wanted))));
    }
    Ok(wanted)
}

/// A user as upstream's `%#v` has it.
fn in_go(user: &User) -> String {
    use base::status::quote;
    let list = |items: &[String]| match items {
        [] => "[]string(nil)".to_string(),
        items => format!("[]string{{{}}}", items.iter().map(|i| quote(i)).collect::<Vec<_>>().join(", ")),
    };
    let mut extra: Vec<_> = user.extra.iter().map(|(k, v)| format!("{}:{}", quote(k), list(v))).collect();
    extra.sort_unstable();
    let extra = match extra.is_empty() {
        true => "map[string][]string(nil)".to_string(),
        false => format!("map[string][]string{{{}}}", extra.join(", ")),
    };
    let (name, uid, groups) = (quote(&user.name), quote(&user.uid), list(&user.groups));
    format!("&user.DefaultInfo{{Name:{name}, UID:{uid}, Groups:{groups}, Extra:{extra}}}")
}

/// One question after the other.
struct Questions<'a> {
    authorizer: &'a Authorizer,
    verb: &'static str,
    caller: &'a User,
    constrained: bool,
}

impl Questions<'_> {
    async fn allowed(&self, attributes: &Attributes<'_>) -> Result<()> {
        match self.authorizer.ask(attributes).await {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(why) | Decision::NoOpinion(why) => Err(forbidden(attributes, &why)),
        }
    }
    /// Users and groups are of the legacy group where they always were.
    fn about<'b>(&'b self, resource: &'b str) -> Attributes<'b> {
        let old = !self.constrained && matches!(resource, "users" | "groups" | "serviceaccounts");
        Attributes::resource(self.caller, self.verb, if old { "" } else { AUTHENTICATION }, resource)
    }

    async fn name(&self, name: &str, groups: &mut Vec<String>, associated: bool) -> Result<()> {
        if let (true, Some(node)) = (self.constrained, node_of(name)) {
            *groups = vec!["system:nodes".into()];
            return self.allowed(&self.about("nodes").named(if associated { "*" } else { node })).await;
        }
        if let Some((namespace, account)) = account_of(name) {
            if groups.is_empty() {
                *groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
            }
            return self.allowed(&self.about("serviceaccounts").in_namespace(namespace).named(account)).await;
        }
        self.allowed(&self.about("users").named(name)).await
    }

    async fn groups(&self, groups: &[String]) -> Result<()> {
        let about = self.about("groups");
        if self.constrained {
            if groups.iter().any(String::is_empty) {
                return Err(forbidden(&about, "impersonating the empty string group is not allowed"));
            }
            if groups.iter().any(|group| group == "system:masters") {
                let about = about.named("system:masters");
                return Err(forbidden(&about, "impersonating the system:masters group is not allowed"));
            }
            if groups.len() >= MANY && self.allowed(&about.named("*")).await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            self.allowed(&about.named(group)).await?;
        }
        Ok(())
    }

    async fn extra(&self, extra: &[(String, Vec<String>)]) -> Result<()> {
        let about = self.about("userextras");
        if self.constrained {
            if let Some(why) = extra.iter().find_map(|(key, values)| wrong_extra(key, values)) {
                return Err(forbidden(&about, &why));
            }
            let count: usize = extra.iter().map(|(_, values)| values.len()).sum();
            if count >= MANY && self.allowed(&about.subresource("*").named("*")).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                self.allowed(&about.subresource(key).named(value)).await?;
            }
        }
        Ok(())
    }
}

/// The user, where the caller may become it in that way.
async fn taken_on(mode: Mode, wanted: &User, request: &Attributes<'_>, authorizer: &Authorizer) -> Result<User> {
    let associated = mode == Mode::AssociatedNode;
    // Which node it is has been looked at; who may says so for all nodes.
    let caller = match associated {
        false => request.user.clone(),
        true => {
            let mut keys: Vec<String> = request.user.extra.iter().map(|(key, _)| key.clone()).collect();
            keys.sort_unstable();
            let keys = ("authentication.kubernetes.io/associated-node-keys".to_string(), keys);
            User { extra: vec![keys], ..request.user.clone() }
        }
    };
    let ask = Questions { authorizer, verb: mode.verb(), caller: &caller, constrained: mode != Mode::Plain };
    if mode != Mode::Plain {
        let name = mode.verb().trim_start_matches("impersonate:");
        let verb = format!("impersonate-on:{name}:{}", request.verb);
        ask.allowed(&Attributes { verb: &verb, user: &caller, ..*request }).await?;
    }
    let mut user = wanted.clone();
    ask.name(&wanted.name, &mut user.groups, associated).await?;
    if !wanted.uid.is_empty() {
        ask.allowed(&ask.about("uids").named(&wanted.uid)).await?;
    }
    ask.groups(&wanted.groups).await?;
    ask.extra(&wanted.extra).await?;
    let group = match user.name.as_str() {
        "system:anonymous" => Some("system:unauthenticated"),
        _ if user.in_group("system:unauthenticated") => None,
        _ => Some("system:authenticated"),
    };
    if let Some(group) = group.filter(|group| !user.in_group(group)) {
        user.groups.push(group.into());
    }
    Ok(user)
}

fn account_of(name: &str) -> Option<(&str, &str)> {
    let (namespace, account) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let fine = names::label(namespace).is_ok() && names::subdomain(account).is_ok();
    fine.then_some((namespace, account))
}

fn node_of(name: &str) -> Option<&str> {
    name.strip_prefix("system:node:").filter(|node| names::subdomain(node).is_ok())
}

fn wrong_extra(key: &str, values: &[String]) -> Option<String> {
    let prefixed =
        key.split_once('/').is_some_and(|(domain, path)| names::subdomain(domain).is_ok() && !path.is_empty());
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".into());
    }
    if !prefixed {
        let why =
            format!("extra.key: Invalid value: {key:?}: must be a domain-prefixed path (such as \"acme.io/foo\")");
        return Some(format!("impersonating an invalid key in extra is not allowed: {why}"));
    }
    if key.chars().any(|c| c.is_ascii_uppercase()) {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
    }
    let empty = values.iter().any(String::is_empty);
    empty.then(|| "impersonating the empty string value in extra is not allowed".into())
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
    use value::{Value, value};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut out = HeaderMap::new();
        for (name, text) in pairs {
            out.append(*name, text.parse().unwrap());
        }
        out
    }

    fn authorizer(rules: Value) -> Authorizer {
        let role = value!({"metadata": {"name": "imp"}, "rules": rules});
        let binding = value!({"metadata": {"name": "imp"}, "roleRef": {"kind": "ClusterRole", "name": "imp"},
            "subjects": [{"kind": "User", "name": "alice"}, {"kind": "User", "name": "system:serviceaccount:kube-system:agent"}]});
        Authorizer::new(Arc::new(Objects::default().with("clusterroles", role).with("clusterrolebindings", binding)))
    }

    #[tokio::test]
    async fn each_thing_asked_for_needs_its_right() {
        let authorizer = authorizer(value!([
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
            {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"]},
        ]));
        let ways = Ways::default();
        let alice = User::new("alice", ["system:authenticated"]);
        let request = Attributes::resource(&alice, "list", "", "pods");
        let ask = async |pairs: &'static [(&'static str, &str)]| {
            impersonate(&headers(pairs), &request, &authorizer, &ways).await.map(|found| found.user)
        };
        let bob = ask(&[("impersonate-user", "bob"), ("impersonate-extra-scopes", "view")]).await.unwrap();
        assert_eq!((bob.name.as_str(), bob.groups.as_slice()), ("bob", &["system:authenticated".to_string()][..]));
        assert_eq!(bob.extra, [("scopes".to_string(), vec!["view".to_string()])]);
        let bot = ask(&[("impersonate-user", "system:serviceaccount:dev:bot")]).await.unwrap();
        assert!(bot.in_group("system:serviceaccounts:dev") && bot.in_group("system:authenticated"));
        assert_eq!(
            ask(&[("impersonate-user", "root")]).await.unwrap_err().message(),
            r#"users "root" is forbidden: User "alice" cannot impersonate resource "users" in API group "" at the cluster scope"#
        );
        assert_eq!(
            ask(&[("impersonate-user", "bob"), ("impersonate-group", "system:masters")]).await.unwrap_err().code(),
            403
        );
        assert_eq!(ask(&[("impersonate-group", "x")]).await.unwrap_err().code(), 400);
        let slash =
            HeaderMap::from_iter([("impersonate-extra-example.org%2fscopes".parse().unwrap(), "x".parse().unwrap())]);
        assert_eq!(extra(&slash), [("example.org/scopes".to_string(), vec!["x".to_string()])]);
    }

    #[tokio::test]
    async fn a_constrained_one_needs_both_rights() {
        let both = |mode: &str, verb: &str, resource: &str| {
            value!([
                {"verbs": [(format!("impersonate:{mode}"))], "apiGroups": ["authentication.k8s.io"], "resources": [resource, "groups", "uids"]},
                {"verbs": [(format!("impersonate-on:{mode}:{verb}"))], "apiGroups": [""], "resources": ["pods"]},
            ])
        };
        let as_user = async |rules: Value, caller: &User, verb: &str, pairs: &[(&'static str, &str)]| {
            let request = Attributes::resource(caller, verb, "", "pods");
            let found = impersonate(&headers(pairs), &request, &authorizer(rules), &Ways::default()).await;
            found.map_or_else(
                |e| e.message().to_string(),
                |i| format!("{} {:?} {}", i.user.name, i.user.groups, i.constraint),
            )
        };
        let alice = User::new("alice", ["system:authenticated"]);
        let user = |verb: &str| both("user-info", verb, "users");
        assert_eq!(
            as_user(user("list"), &alice, "list", &[("impersonate-user", "bob"), ("impersonate-group", "dev")]).await,
            r#"bob ["dev", "system:authenticated"] impersonate:user-info"#
        );
        let refused = as_user(user("list"), &alice, "get", &[("impersonate-user", "bob")]).await;
        assert!(refused.contains(r#"cannot impersonate-on:user-info:get resource "pods""#), "{refused}");
        let masters = [("impersonate-user", "bob"), ("impersonate-group", "system:masters")];
        let refused = as_user(user("list"), &alice, "list", &masters).await;
        assert!(refused.ends_with("impersonating the system:masters group is not allowed"), "{refused}");
        let refused = as_user(user("list"), &alice, "list", &[("impersonate-user", "system:node:n1")]).await;
        assert!(refused.contains("impersonate-on:arbitrary-node:list"), "{refused}");

        let node = || both("arbitrary-node", "list", "nodes");
        let to_node = [("impersonate-user", "system:node:n1")];
        let nodes = r#"system:node:n1 ["system:nodes", "system:authenticated"]"#;
        assert_eq!(as_user(node(), &alice, "list", &to_node).await, format!("{nodes} impersonate:arbitrary-node"));
        let account = both("serviceaccount", "list", "serviceaccounts");
        assert_eq!(
            as_user(account, &alice, "list", &[("impersonate-user", "system:serviceaccount:dev:bot")]).await,
            r#"system:serviceaccount:dev:bot ["system:serviceaccounts", "system:serviceaccounts:dev", "system:authenticated"] impersonate:serviceaccount"#
        );

        // An agent may be its own node, and no other.
        let mut agent = User::service_account("kube-system", "agent", "");
        agent.extra.push((NODE_NAME.into(), vec!["n1".into()]));
        let own = || both("associated-node", "list", "nodes");
        assert_eq!(as_user(own(), &agent, "list", &to_node).await, format!("{nodes} impersonate:associated-node"));
        let refused = as_user(own(), &agent, "list", &[("impersonate-user", "system:node:n2")]).await;
        assert!(refused.contains("cannot impersonate-on:arbitrary-node:list"), "{refused}");
        let refused = as_user(own(), &alice, "list", &to_node).await;
        assert!(refused.contains("cannot impersonate-on:arbitrary-node:list"), "{refused}");
    }
}
