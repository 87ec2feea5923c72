//! One RBAC rule, ready to match. Source: `rbac.authorization.k8s.io/v1 PolicyRule`.

use crate::Attributes;
use value::{Str, Value, value};

/// A list of words of which `*` means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    all: bool,
    words: Box<[Str]>,
}

impl Words {
    fn of(value: &Value) -> Self {
        let words: Box<[Str]> =
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Str::from).collect();
        Words { all: words.iter().any(|w| w == "*"), words }
    }
    fn has(&self, word: &str) -> bool {
        self.all || self.words.iter().any(|w| w == word)
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(Str::as_str)
    }
    fn to_value(&self) -> Value {
        self.words.iter().map(Value::from).collect()
    }
}

/// What one rule allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Words,
    pub groups: Words,
    pub resources: Words,
    /// Empty: every name.
    pub names: Words,
    pub urls: Words,
}

impl Rule {
    pub fn of(rule: &Value) -> Self {
        let words = |key| Words::of(rule.at(&[key]));
        Rule {
            verbs: words("verbs"),
            groups: words("apiGroups"),
            resources: words("resources"),
            names: words("resourceNames"),
            urls: words("nonResourceURLs"),
        }
    }
    /// All rules of a role.
    pub fn list(role: &Value) -> Vec<Rule> {
        role.items_at(&["rules"]).iter().map(Rule::of).collect()
    }
    /// True where the rule allows the request.
    pub fn allows(&self, a: &Attributes<'_>) -> bool {
        if !self.verbs.has(a.verb) {
            return false;
        }
        if !a.is_resource() {
            return self.urls.iter().any(|url| url_matches(url, a.path));
        }
        self.groups.has(a.group)
            && self.has_resource(a.resource, a.subresource)
            && (self.names.words.is_empty() || self.names.words.iter().any(|n| n == a.name))
    }
    /// `pods`, `pods/log`, `*`, `*/log`.
    fn has_resource(&self, resource: &str, subresource: &str) -> bool {
        if self.resources.all {
            return true;
        }
        self.resources.iter().any(|word| match word.split_once('/') {
            None => subresource.is_empty() && word == resource,
            Some((main, sub)) => sub == subresource && (main == resource || (main == "*" && !subresource.is_empty())),
        })
    }
    /// True where everything that `other` allows is allowed by this rule; `other` is an [atom](Rule::atoms).
    pub(crate) fn covers(&self, other: &Atom<'_>) -> bool {
        if !self.verbs.has(other.verb) {
            return false;
        }
        match other.target {
            AtomTarget::Url(url) => self.urls.iter().any(|own| own == url || url_matches(own, url)),
            AtomTarget::Resource { group, resource, name } => {
                let resource_held = match resource.split_once('/') {
                    Some((main, sub)) => self.has_resource(main, sub),
                    None => self.has_resource(resource, ""),
                };
                let name_held =
                    self.names.words.is_empty() || (!name.is_empty() && self.names.words.iter().any(|n| n == name));
                self.groups.has(group) && resource_held && name_held
            }
        }
    }
    /// The rule taken apart: one verb on one group, resource and name (or URL) each.
    pub(crate) fn atoms(&self) -> Vec<Atom<'_>> {
        let mut atoms = Vec::new();
        for verb in self.verbs.iter() {
            atoms.extend(self.urls.iter().map(|url| Atom { verb, target: AtomTarget::Url(url) }));
            for group in self.groups.iter() {
                for resource in self.resources.iter() {
                    let mut push =
                        |name| atoms.push(Atom { verb, target: AtomTarget::Resource { group, resource, name } });
                    match self.names.words.is_empty() {
                        true => push(""),
                        false => self.names.iter().for_each(push),
                    }
                }
            }
        }
        atoms
    }
    /// As an element of `status.resourceRules` (or `nonResourceRules`) of a rules review, or of `rules` of a role.
    pub fn to_value(&self) -> Value {
        let mut out = value!({});
        let all = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ];
        for (key, words) in all.into_iter().filter(|(_, words)| !words.words.is_empty()) {
            out.set(&[key], words.to_value());
        }
        out
    }
    pub fn is_for_urls(&self) -> bool {
        !self.urls.words.is_empty()
    }
}

/// One verb on one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Atom<'a> {
    pub verb: &'a str,
    pub target: AtomTarget<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomTarget<'a> {
    Url(&'a str),
    Resource { group: &'a str, resource: &'a str, name: &'a str },
}

fn url_matches(rule: &str, path: &str) -> bool {
    rule == "*" || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::User;

    #[test]
    fn rules_match_as_upstream() {
        let user = User::new("u", []);
        let ask = |verb, group, resource, sub, name| {
            Attributes::resource(Box::leak(Box::new(user.clone())), verb, group, resource).subresource(sub).named(name)
        };
        let read = Rule::of(
            &value!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/scale", "services/proxy"]}),
        );
        let named =
            Rule::of(&value!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]}));
        let all = Rule::of(&value!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        for (rule, attributes, want) in [
            (&read, ask("get", "", "pods", "", "x"), true),
            (&read, ask("delete", "", "pods", "", "x"), false),
            (&read, ask("get", "apps", "pods", "", "x"), false),
            (&read, ask("get", "", "pods", "log", "x"), false),
            (&read, ask("get", "", "anything", "scale", "x"), true),
            (&read, ask("get", "", "services", "proxy", "x"), true),
            (&read, ask("get", "", "services", "", "x"), false),
            (&named, ask("get", "", "secrets", "", "a"), true),
            (&named, ask("get", "", "secrets", "", "b"), false),
            (&named, ask("get", "", "secrets", "", ""), false),
            (&all, ask("escalate", "x.io", "things", "status", ""), true),
            (&all, Attributes::path(&user, "get", "/metrics"), false),
        ] {
            assert_eq!(rule.allows(&attributes), want, "{attributes:?}");
        }
        let urls = Rule::of(&value!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*"]}));
        for (path, want) in
            [("/healthz", true), ("/healthz/x", false), ("/apis/", true), ("/apis/apps", true), ("/apis", false)]
        {
            assert_eq!(urls.allows(&Attributes::path(&user, "get", path)), want, "{path}");
        }
    }
}
