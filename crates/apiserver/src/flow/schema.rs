//! Which schema a request belongs to. Source: KEP-1040; `flowcontrol.apiserver.k8s.io/v1 FlowSchema`.

use crate::request_info::RequestInfo;
use base::User;
use value::Value;

/// What tells one flow of a schema from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Nothing,
    User,
    Namespace,
}

impl By {
    pub fn of(spec: &Value) -> Self {
        match spec.str_at(&["distinguisherMethod", "type"]) {
            "ByUser" => By::User,
            "ByNamespace" => By::Namespace,
            _ => By::Nothing,
        }
    }
    pub fn distinguish<'a>(self, user: &'a User, info: &RequestInfo<'a>) -> &'a str {
        match self {
            By::Nothing => "",
            By::User => &user.name,
            By::Namespace => info.namespace,
        }
    }
}

/// One of a schema's rules: who, and what of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<Resources>,
    paths: Vec<Paths>,
}

/// `*` stands for everybody in each.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

/// `None` in a list's place is `*`.
type Names = Option<Vec<String>>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Resources {
    verbs: Names,
    groups: Names,
    resources: Names,
    namespaces: Names,
    cluster_scope: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Paths {
    verbs: Names,
    paths: Names,
}

impl Rule {
    /// `spec.rules`
    pub fn list(spec: &Value) -> Vec<Rule> {
        let rules = items(spec.at(&["rules"]));
        rules
            .map(|rule| Rule {
                subjects: items(rule.at(&["subjects"])).filter_map(Subject::of).collect(),
                resources: items(rule.at(&["resourceRules"])).map(Resources::of).collect(),
                paths: items(rule.at(&["nonResourceRules"]))
                    .map(|rule| Paths { verbs: names(rule, "verbs"), paths: names(rule, "nonResourceURLs") })
                    .collect(),
            })
            .collect()
    }
    /// True where the user is among the subjects.
    pub fn concerns(&self, user: &User) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
    }
    /// True where the request is among what is ruled.
    pub fn covers(&self, info: &RequestInfo<'_>) -> bool {
        match info.is_resource {
            true => self.resources.iter().any(|rule| rule.covers(info)),
            false => self.paths.iter().any(|rule| rule.covers(info)),
        }
    }
}

impl Subject {
    fn of(subject: &Value) -> Option<Self> {
        let name = |kind: &str| subject.str_at(&[kind, "name"]).to_string();
        Some(match subject.str_at(&["kind"]) {
            "User" => Subject::User(name("user")),
            "Group" => Subject::Group(name("group")),
            "ServiceAccount" => Subject::ServiceAccount {
                namespace: subject.str_at(&["serviceAccount", "namespace"]).into(),
                name: name("serviceAccount"),
            },
            _ => return None,
        })
    }
    fn is(&self, user: &User) -> bool {
        match self {
            Subject::User(name) => name == "*" || *name == user.name,
            Subject::Group(name) => name == "*" || user.in_group(name),
            Subject::ServiceAccount { namespace, name } => {
                let account = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                account.is_some_and(|(own, account)| own == namespace && (name == "*" || name == account))
            }
        }
    }
}

impl Resources {
    fn of(rule: &Value) -> Self {
        Resources {
            verbs: names(rule, "verbs"),
            groups: names(rule, "apiGroups"),
            resources: names(rule, "resources"),
            namespaces: names(rule, "namespaces"),
            cluster_scope: rule.at(&["clusterScope"]).as_bool().unwrap_or(false),
        }
    }
    fn covers(&self, info: &RequestInfo<'_>) -> bool {
        let resource = |name: &String| match name.split_once('/') {
            Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
            None => info.subresource.is_empty() && name == info.resource,
        };
        let scope = match info.namespace {
            "" => self.cluster_scope,
            namespace => has(&self.namespaces, namespace),
        };
        scope
            && has(&self.verbs, info.verb)
            && has(&self.groups, info.group)
            && self.resources.as_ref().is_none_or(|names| names.iter().any(resource))
    }
}

impl Paths {
    fn covers(&self, info: &RequestInfo<'_>) -> bool {
        let path = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => info.path.starts_with(start),
            None => pattern == info.path,
        };
        has(&self.verbs, info.verb) && self.paths.as_ref().is_none_or(|paths| paths.iter().any(path))
    }
}

fn has(names: &Names, name: &str) -> bool {
    names.as_ref().is_none_or(|names| names.iter().any(|n| n == name))
}

fn names(rule: &Value, key: &str) -> Names {
    let names: Vec<String> = items(rule.at(&[key])).filter_map(|name| name.as_str().map(String::from)).collect();
    (!names.iter().any(|name| name == "*")).then_some(names)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;
    use http::Method;
    use value::value;

    #[test]
    fn subjects() {
        let subject = |value: Value| Subject::of(&value).expect("a subject");
        let account = |namespace: &str, name: &str| {
            subject(value!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}))
        };
        let bot = User::service_account("dev", "bot", "");
        for (subject, want) in [
            (subject(value!({"kind": "User", "user": {"name": "*"}})), true),
            (subject(value!({"kind": "User", "user": {"name": "bot"}})), false),
            (subject(value!({"kind": "User", "user": {"name": "system:serviceaccount:dev:bot"}})), true),
            (subject(value!({"kind": "Group", "group": {"name": "system:serviceaccounts:dev"}})), true),
            (subject(value!({"kind": "Group", "group": {"name": "system:masters"}})), false),
            (account("dev", "bot"), true),
            (account("dev", "*"), true),
            (account("dev", "bo"), false),
            (account("de", "*"), false),
        ] {
            assert_eq!(subject.is(&bot), want, "{subject:?}");
        }
    }

    #[test]
    fn what_a_rule_covers() {
        let rules = |spec: Value| Rule::list(&spec).pop().expect("a rule");
        let pods = rules(value!({"rules": [{"resourceRules": [{
            "verbs": ["list", "get"], "apiGroups": [""], "resources": ["pods", "pods/log"], "namespaces": ["dev"]}]}]}));
        let cluster = rules(value!({"rules": [{"resourceRules": [{
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}));
        let paths = rules(value!({"rules": [{"nonResourceRules": [
            {"verbs": ["get"], "nonResourceURLs": ["/livez", "/debug/*"]}]}]}));
        let check = |rule: &Rule, path: &str, want: bool| {
            let info = RequestInfo::parse(&Method::GET, path, &Query::default());
            assert_eq!(rule.covers(&info), want, "{path}");
        };
        check(&pods, "/api/v1/namespaces/dev/pods", true);
        check(&pods, "/api/v1/namespaces/dev/pods/p/log", true);
        check(&pods, "/api/v1/namespaces/dev/pods/p/exec", false);
        check(&pods, "/api/v1/namespaces/prod/pods", false);
        check(&pods, "/api/v1/pods", false);
        check(&pods, "/apis/apps/v1/namespaces/dev/pods", false);
        check(&pods, "/livez", false);
        check(&cluster, "/api/v1/pods", true);
        check(&cluster, "/api/v1/namespaces/dev/pods/p/exec", true);
        check(&cluster, "/livez", false);
        check(&paths, "/livez", true);
        check(&paths, "/livez/ping", false);
        check(&paths, "/debug/pprof", true);
        check(&paths, "/api/v1/pods", false);
    }
}
