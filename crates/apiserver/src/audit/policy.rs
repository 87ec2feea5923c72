//! An audit policy: which requests are written down, how much of them, and at which stages. Read from a file of the kind
//! `audit.k8s.io/v1 Policy`; the first rule that fits counts. Source: `apiserver/pkg/audit/policy` and
//! `apiserver/pkg/apis/audit/validation`, whose sentences these are.

use crate::request_info::RequestInfo;
use auth::shape::{self, Shape, TEXTS};
use base::{FieldErrors, User};
use value::Value;

/// How much of a request is written down. Each level has what the one before it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    const ALL: [Level; 4] = [Level::None, Level::Metadata, Level::Request, Level::RequestResponse];
    pub fn name(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// When an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    RequestReceived,
    /// Of requests that last: the headers of the response are out.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    const ALL: [Stage; 4] = [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete, Stage::Panic];
    pub fn name(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

/// A set of stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stages(u8);

impl Stages {
    pub fn with(self, stage: Stage) -> Self {
        Stages(self.0 | 1 << stage as u8)
    }
    pub fn has(self, stage: Stage) -> bool {
        self.0 & 1 << stage as u8 != 0
    }
    fn of(list: &[Value]) -> Self {
        let named = |name: &Value| Stage::ALL.into_iter().find(|stage| Some(stage.name()) == name.as_str());
        list.iter().filter_map(named).fold(Stages::default(), Stages::with)
    }
}

/// What is done with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    pub level: Level,
    pub omit_stages: Stages,
    pub omit_managed_fields: bool,
}

/// A policy of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    omit_stages: Stages,
    omit_managed_fields: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    verdict: Verdict,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    namespaces: Vec<String>,
    resources: Vec<Resources>,
    urls: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

impl Policy {
    /// Reads a policy; the error says what is wrong with it.
    pub fn of(policy: &Value) -> Result<Self, String> {
        let (api_version, kind) = (policy.str_at(&["apiVersion"]), policy.str_at(&["kind"]));
        if (api_version, kind) != ("audit.k8s.io/v1", "Policy") {
            return Err(format!("unknown group version field {api_version}, Kind={kind} in policy"));
        }
        // Fields that nobody knows are passed over, as upstream does: only their types are law.
        shape::check(policy, FILE, false)?;
        let rules = policy.items_at(&["rules"]);
        let mut errors = FieldErrors::default();
        check_stages(policy.items_at(&["omitStages"]), "omitStages", &mut errors);
        for (i, rule) in rules.iter().enumerate() {
            check_rule(rule, &format!("rules[{i}]"), &mut errors);
        }
        if !errors.is_empty() {
            return Err(errors.aggregate());
        }
        if rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".into());
        }
        let omit_stages = Stages::of(policy.items_at(&["omitStages"]));
        let omit_managed_fields = policy.at(&["omitManagedFields"]).as_bool().unwrap_or(false);
        let rules = rules.iter().map(|rule| Rule::of(rule, omit_stages, omit_managed_fields)).collect();
        Ok(Policy { rules, omit_stages, omit_managed_fields })
    }

    /// By the first rule that fits; what no rule fits is left out.
    pub fn judge(&self, info: &RequestInfo<'_>, user: &User) -> Verdict {
        let found = self.rules.iter().find(|rule| rule.fits(info, user)).map(|rule| rule.verdict);
        found.unwrap_or(Verdict {
            level: Level::None,
            omit_stages: self.omit_stages,
            omit_managed_fields: self.omit_managed_fields,
        })
    }
}

/// What the file may hold. A list that is no list would be empty: a rule about one user would be about all of them.
const FILE: Shape =
    Shape::Struct(&[("omitStages", TEXTS), ("omitManagedFields", Shape::Bool), ("rules", Shape::List(&RULE))]);
const RULE: Shape = Shape::Struct(&[
    ("level", Shape::Text),
    ("users", TEXTS),
    ("userGroups", TEXTS),
    ("verbs", TEXTS),
    ("resources", Shape::List(&RESOURCES)),
    ("namespaces", TEXTS),
    ("nonResourceURLs", TEXTS),
    ("omitStages", TEXTS),
    ("omitManagedFields", Shape::Bool),
]);
const RESOURCES: Shape = Shape::Struct(&[("group", Shape::Text), ("resources", TEXTS), ("resourceNames", TEXTS)]);

fn texts(list: &[Value]) -> Vec<String> {
    list.iter().filter_map(Value::as_str).map(String::from).collect()
}

impl Rule {
    fn of(rule: &Value, omit_stages: Stages, omit_managed_fields: bool) -> Self {
        let list = |key: &str| texts(rule.items_at(&[key]));
        let level = Level::ALL.into_iter().find(|level| level.name() == rule.str_at(&["level"]));
        Rule {
            verdict: Verdict {
                level: level.unwrap_or_default(),
                omit_stages: Stages(omit_stages.0 | Stages::of(rule.items_at(&["omitStages"])).0),
                omit_managed_fields: rule.at(&["omitManagedFields"]).as_bool().unwrap_or(omit_managed_fields),
            },
            users: list("users"),
            groups: list("userGroups"),
            verbs: list("verbs"),
            namespaces: list("namespaces"),
            urls: list("nonResourceURLs"),
            resources: rule
                .items_at(&["resources"])
                .iter()
                .map(|r| Resources {
                    group: r.str_at(&["group"]).into(),
                    resources: texts(r.items_at(&["resources"])),
                    names: texts(r.items_at(&["resourceNames"])),
                })
                .collect(),
        }
    }

    fn fits(&self, info: &RequestInfo<'_>, user: &User) -> bool {
        let among = |list: &[String], item: &str| list.is_empty() || list.iter().any(|have| have == item);
        if !among(&self.users, &user.name)
            || !(self.groups.is_empty() || self.groups.iter().any(|group| user.in_group(group)))
            || !among(&self.verbs, info.verb)
        {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource
                && among(&self.namespaces, info.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|r| r.fits(info)));
        }
        self.urls.is_empty() || (!info.is_resource && self.urls.iter().any(|url| covers(url, info.path)))
    }
}

impl Resources {
    fn fits(&self, info: &RequestInfo<'_>) -> bool {
        if self.group != "*" && self.group != info.group {
            return false;
        }
        let named = self.names.is_empty() || self.names.iter().any(|name| *name == *info.name);
        self.resources.is_empty()
            || (named && self.resources.iter().any(|pattern| is_of(pattern, info.resource, info.subresource)))
    }
}

/// `pods`, `pods/log`, `pods/*` (pods and whatever is below), `*/log`, `*`.
fn is_of(pattern: &str, resource: &str, subresource: &str) -> bool {
    let exact = match (subresource, pattern.split_once('/')) {
        ("", None) => pattern == resource,
        (_, Some((r, s))) => !subresource.is_empty() && r == resource && s == subresource,
        _ => false,
    };
    exact
        || pattern == "*"
        || (!subresource.is_empty() && pattern.strip_prefix("*/") == Some(subresource))
        || pattern.strip_suffix("/*") == Some(resource)
}

/// `*`, a path, or the beginning of one before a final `*`.
fn covers(pattern: &str, path: &str) -> bool {
    pattern == "*" || pattern == path || pattern.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}

fn check_stages(list: &[Value], at: &str, errors: &mut FieldErrors) {
    let names = Stage::ALL.map(Stage::name);
    for (i, stage) in list.iter().enumerate() {
        let given = stage.as_str().unwrap_or_default();
        if !names.contains(&given) {
            errors.invalid(format!("{at}[{i}]"), given, format!("allowed stages are {}", names.join(",")));
        }
    }
}

fn check_rule(rule: &Value, at: &str, errors: &mut FieldErrors) {
    let level = rule.str_at(&["level"]);
    if level.is_empty() {
        errors.required(format!("{at}.level"), "");
    } else if !Level::ALL.iter().any(|known| known.name() == level) {
        errors.not_supported(format!("{at}.level"), level, &Level::ALL.map(Level::name));
    }
    let urls = texts(rule.items_at(&["nonResourceURLs"]));
    for (i, url) in urls.iter().enumerate().filter(|(_, url)| *url != "*") {
        let at = format!("{at}.nonResourceURLs[{i}]");
        if !url.starts_with('/') {
            errors.invalid(&at, url, "non-resource URL rules must begin with a '/' character");
        }
        if url.char_indices().any(|(i, c)| c == '*' && i + 1 < url.len()) {
            errors.invalid(&at, url, "non-resource URL wildcards '*' must be the final character of the rule");
        }
    }
    let resources = rule.items_at(&["resources"]);
    for entry in resources {
        let group = entry.str_at(&["group"]);
        if !matches!(group, "" | "*")
            && let Err(why) = base::names::subdomain(group)
        {
            errors.invalid(format!("{at}.resources.group"), group, why);
        }
        let names = entry.items_at(&["resourceNames"]);
        if !names.is_empty() && entry.items_at(&["resources"]).is_empty() {
            errors.invalid_raw(
                format!("{at}.resources.resourceNames"),
                Value::Array(names.to_vec()),
                "using resourceNames requires at least one resource",
            );
        }
    }
    check_stages(rule.items_at(&["omitStages"]), &format!("{at}.omitStages"), errors);
    let of_resources = !resources.is_empty() || !rule.items_at(&["namespaces"]).is_empty();
    if !urls.is_empty() && of_resources {
        errors.invalid_raw(
            format!("{at}.nonResourceURLs"),
            rule.at(&["nonResourceURLs"]),
            "rules cannot apply to both regular resources and non-resource URLs",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;
    use http::Method;
    use value::value;

    fn policy(rules: Value) -> Value {
        value!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules})
    }

    /// The number of the rule that fits: rules are told apart by their stages.
    #[track_caller]
    fn fits(rule: Value, method: Method, path: &str, want: bool) {
        let policy = Policy::of(&policy(value!([rule]))).unwrap();
        let info = RequestInfo::parse(&method, path, &Query::default());
        let user = User::new("alice", ["dev", "ops"]);
        assert_eq!(policy.judge(&info, &user).level == Level::Metadata, want, "{method} {path}");
    }

    #[test]
    fn what_rules_are_about() {
        const SECRET: &str = "/api/v1/namespaces/d/secrets/s";
        const LOG: &str = "/api/v1/namespaces/d/pods/p/log";
        let with = |key: &str, v: Value| {
            let mut rule = value!({"level": "Metadata"});
            rule.set(&[key], v);
            rule
        };
        let of = |group: &str, resource: &str| with("resources", value!([{"group": group, "resources": [resource]}]));
        for (rule, path, want) in [
            (value!({"level": "Metadata"}), SECRET, true),
            (value!({"level": "Metadata"}), "/healthz", true),
            (with("users", value!(["alice"])), SECRET, true),
            (with("users", value!(["bob"])), SECRET, false),
            (with("userGroups", value!(["ops", "x"])), SECRET, true),
            (with("userGroups", value!(["x"])), SECRET, false),
            (with("verbs", value!(["get"])), SECRET, true),
            (with("verbs", value!(["list"])), SECRET, false),
            (with("namespaces", value!(["d"])), SECRET, true),
            (with("namespaces", value!(["e"])), SECRET, false),
            (with("namespaces", value!([""])), "/api/v1/nodes/n", true),
            (with("namespaces", value!([""])), "/healthz", false),
            (with("nonResourceURLs", value!(["/health*"])), "/healthz/ping", true),
            (with("nonResourceURLs", value!(["*"])), SECRET, false),
            (with("nonResourceURLs", value!(["/livez"])), "/livez/ping", false),
            (of("", "secrets"), SECRET, true),
            (of("apps", "secrets"), SECRET, false),
            (of("*", "secrets"), SECRET, true),
            (of("", "pods"), LOG, false),
            (of("", "pods/log"), LOG, true),
            (of("", "pods/*"), LOG, true),
            (of("", "secrets/*"), SECRET, true),
            (of("", "*/log"), LOG, true),
            (of("", "*/exec"), LOG, false),
            (of("", "*"), LOG, true),
            (with("resources", value!([{"group": ""}])), LOG, true),
            (with("resources", value!([{"resources": ["secrets"], "resourceNames": ["s"]}])), SECRET, true),
            (with("resources", value!([{"resources": ["secrets"], "resourceNames": ["t"]}])), SECRET, false),
        ] {
            fits(rule, Method::GET, path, want);
        }
    }

    #[test]
    fn the_first_rule_counts_and_stages_add_up() {
        let text = value!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "omitManagedFields": true, "rules": [
            {"level": "None", "verbs": ["watch"]},
            {"level": "RequestResponse", "omitStages": ["Panic"], "omitManagedFields": false, "resources": [{"group": ""}]},
        ]});
        let policy = Policy::of(&text).unwrap();
        let judge = |path: &str, query: Option<&'static str>| {
            let query = Query::parse(query);
            policy.judge(&RequestInfo::parse(&Method::GET, path, &query), &User::new("alice", []))
        };
        assert_eq!(judge("/api/v1/pods", Some("watch=1")).level, Level::None);
        let pods = judge("/api/v1/pods", None);
        assert_eq!((pods.level, pods.omit_managed_fields), (Level::RequestResponse, false));
        let omitted = Stage::ALL.map(|stage| pods.omit_stages.has(stage));
        assert_eq!(omitted, [true, false, false, true]);
        let other = judge("/apis/apps/v1/deployments", None);
        assert_eq!((other.level, other.omit_managed_fields), (Level::None, true));
    }

    #[test]
    fn wrong_policies_are_refused() {
        let stages = "allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic";
        let levels = r#"supported values: "None", "Metadata", "Request", "RequestResponse""#;
        let mistyped = |got: &str, at: &str, of: &str| {
            format!("strict decoding error: cannot unmarshal {got} into field \"{at}\" of type {of}")
        };
        for (rules, want) in [
            (value!([]), "loaded illegal policy with 0 rules".to_string()),
            (value!([{}]), "rules[0].level: Required value".into()),
            (value!([{"level": "All"}]), format!("rules[0].level: Unsupported value: \"All\": {levels}")),
            (
                value!([{"level": "None", "omitStages": ["End"]}]),
                format!("rules[0].omitStages[0]: Invalid value: \"End\": {stages}"),
            ),
            (
                value!([{"level": "None", "nonResourceURLs": ["x*"]}]),
                "rules[0].nonResourceURLs[0]: Invalid value: \"x*\": non-resource URL rules must begin with a '/' character".into(),
            ),
            (
                value!([{"level": "None", "nonResourceURLs": ["/a*b"]}]),
                "rules[0].nonResourceURLs[0]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule".into(),
            ),
            (
                value!([{"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["d"]}]),
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs".into(),
            ),
            (
                value!([{"level": "None", "resources": [{"group": "", "resourceNames": ["n"]}]}]),
                "rules[0].resources.resourceNames: Invalid value: [\"n\"]: using resourceNames requires at least one resource".into(),
            ),
            (value!({"level": "None"}), mistyped("object", "rules", "array")),
            (value!([{"level": "None", "users": "bob"}]), mistyped("string", "rules[0].users", "array")),
            (value!([{"level": "None", "users": [1]}]), mistyped("integer", "rules[0].users[0]", "string")),
            (value!([{"level": "None", "resources": {"group": ""}}]), mistyped("object", "rules[0].resources", "array")),
            (value!([{"level": "None", "omitManagedFields": "true"}]), mistyped("string", "rules[0].omitManagedFields", "boolean")),
        ] {
            assert_eq!(Policy::of(&policy(rules)).unwrap_err(), want);
        }
        assert!(Policy::of(&policy(value!([{"level": "None", "later": 1}]))).is_ok());
        let old = value!({"apiVersion": "audit.k8s.io/v1beta1", "kind": "Policy", "rules": [{"level": "None"}]});
        assert!(Policy::of(&old).unwrap_err().starts_with("unknown group version field"));
        let group = policy(value!([{"level": "None", "resources": [{"group": "apps/v1"}]}]));
        assert!(Policy::of(&group).unwrap_err().starts_with("rules[0].resources.group: Invalid value: \"apps/v1\": "));
    }
}
