//! `AuthenticationConfiguration`: which issuers are believed and how their claims become users, read and compiled once.
//! Source: KEP-3331; `apiserver/pkg/apis/apiserver/validation`, whose sentences these are.

use crate::shape::{self, Shape, TEXTS};
use base::{FieldErrors, names};
use k8s_cel::{Decl, Env, Program, Type};
use net::Trust;
use std::{collections::HashSet, sync::Arc};
use value::Value;

/// The versions of the file that are understood; their fields are the same.
const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
/// The most issuers. Source: upstream's validation.
const MOST: usize = 64;

/// What the file says.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    pub issuers: Vec<Arc<Issuer>>,
    pub anonymous: Option<Anonymous>,
}

/// Who shows no credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anonymous {
    pub enabled: bool,
    /// Paths to which it is let in; all, where there is none.
    pub paths: Vec<String>,
}

impl Anonymous {
    pub fn may(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|own| own == path))
    }
}

/// One issuer of tokens.
#[derive(Debug)]
pub struct Issuer {
    pub url: String,
    /// Where its document is, where not below its URL.
    pub discovery_url: Option<String>,
    pub trust: Trust,
    /// A token is good for one of these.
    pub audiences: Vec<String>,
    pub mappings: Mappings,
    /// Claims that have to have these values.
    pub required: Vec<(String, String)>,
    pub claim_rules: Vec<(Compiled, String)>,
    pub user_rules: Vec<(Compiled, String)>,
}

#[derive(Debug)]
pub struct Mappings {
    pub username: Mapping,
    pub groups: Option<Mapping>,
    pub uid: Option<Mapping>,
    pub extra: Vec<(String, Compiled)>,
}

#[derive(Debug)]
pub enum Mapping {
    Claim { claim: String, prefix: String },
    Expression(Compiled),
}

/// An expression over `claims`, or over `user` with its declaration.
#[derive(Debug)]
pub struct Compiled {
    pub text: String,
    pub program: Program,
    pub decl: Option<Arc<Decl>>,
}

impl Configuration {
    /// Reads a file. `own`: the server's issuers of ServiceAccount tokens, which nobody else may be.
    pub fn of(file: &Value, own: &[String]) -> Result<Self, String> {
        let (api_version, kind) = (file.str_at(&["apiVersion"]), file.str_at(&["kind"]));
        if !VERSIONS.contains(&api_version) || kind != "AuthenticationConfiguration" {
            return Err(format!("no kind {kind:?} is registered for version {api_version:?}"));
        }
        shape::check(file, FILE, true)?;
        let mut errors = FieldErrors::default();
        let list = file.items_at(&["jwt"]);
        if list.len() > MOST {
            return Err(format!("jwt: Too many: {}: must have at most {MOST} items", list.len()));
        }
        let (mut urls, mut discovery) = (HashSet::new(), HashSet::new());
        let mut issuers = Vec::new();
        for (i, jwt) in list.iter().enumerate() {
            let at = format!("jwt[{i}]");
            issuers.extend(issuer(jwt, &at, own, &mut errors).map(Arc::new));
            for (field, seen) in [("url", &mut urls), ("discoveryURL", &mut discovery)] {
                let given = jwt.str_at(&["issuer", field]);
                if !given.is_empty() && !seen.insert(given) {
                    errors.duplicate(format!("{at}.issuer.{field}"), given);
                }
            }
        }
        let anonymous = file.at(&["anonymous"]);
        let paths: Vec<String> =
            anonymous.items_at(&["conditions"]).iter().map(|c| c.str_at(&["path"]).to_string()).collect();
        let enabled = anonymous.at(&["enabled"]).as_bool().unwrap_or(false);
        if !enabled && !paths.is_empty() {
            errors.invalid_raw(
                "anonymous.conditions",
                anonymous.at(&["conditions"]),
                "enabled should be set to true when conditions are defined",
            );
        }
        if !errors.is_empty() {
            return Err(errors.aggregate());
        }
        let anonymous = (!anonymous.is_null()).then_some(Anonymous { enabled, paths });
        Ok(Configuration { issuers, anonymous })
    }
}

/// What the file may hold: a wrong word here would open a door, or close one.
const FILE: Shape = Shape::Struct(&[
    ("apiVersion", Shape::Text),
    ("kind", Shape::Text),
    ("jwt", Shape::List(&JWT)),
    ("anonymous", Shape::Struct(&[("enabled", Shape::Bool), ("conditions", Shape::List(&CONDITION))])),
]);
const CONDITION: Shape = Shape::Struct(&[("path", Shape::Text)]);
const JWT: Shape = Shape::Struct(&[
    ("issuer", ISSUER),
    ("claimValidationRules", Shape::List(&CLAIM_RULE)),
    ("claimMappings", MAPPINGS),
    ("userValidationRules", Shape::List(&USER_RULE)),
]);
const ISSUER: Shape = Shape::Struct(&[
    ("url", Shape::Text),
    ("discoveryURL", Shape::Text),
    ("certificateAuthority", Shape::Text),
    ("audiences", TEXTS),
    ("audienceMatchPolicy", Shape::Text),
    ("egressSelectorType", Shape::Text),
]);
const CLAIM_RULE: Shape = Shape::Struct(&[
    ("claim", Shape::Text),
    ("requiredValue", Shape::Text),
    ("expression", Shape::Text),
    ("message", Shape::Text),
]);
const USER_RULE: Shape = Shape::Struct(&[("expression", Shape::Text), ("message", Shape::Text)]);
const MAPPINGS: Shape = Shape::Struct(&[
    ("username", PREFIXED),
    ("groups", PREFIXED),
    ("uid", Shape::Struct(&[("claim", Shape::Text), ("expression", Shape::Text)])),
    ("extra", Shape::List(&EXTRA)),
]);
const PREFIXED: Shape = Shape::Struct(&[("claim", Shape::Text), ("prefix", Shape::Text), ("expression", Shape::Text)]);
const EXTRA: Shape = Shape::Struct(&[("key", Shape::Text), ("valueExpression", Shape::Text)]);

/// `None` where anything is wrong.
fn issuer(jwt: &Value, at: &str, own: &[String], errors: &mut FieldErrors) -> Option<Issuer> {
    let before = errors.0.len();
    let of = jwt.at(&["issuer"]);
    let url = of.str_at(&["url"]);
    match url {
        "" => errors.required(format!("{at}.issuer.url"), ""),
        url => check_url(url, own, &format!("{at}.issuer.url"), errors),
    }
    let discovery = Some(of.str_at(&["discoveryURL"])).filter(|text| !text.is_empty());
    if let Some(text) = discovery {
        let at = format!("{at}.issuer.discoveryURL");
        if url.trim_end_matches('/') == text.trim_end_matches('/') {
            errors.invalid(&at, text, "discoveryURL must be different from URL");
        }
        check_url(text, &[], &at, errors);
    }
    let audiences: Vec<String> =
        of.items_at(&["audiences"]).iter().map(|a| a.as_str().unwrap_or_default().to_string()).collect();
    check_audiences(&audiences, of.str_at(&["audienceMatchPolicy"]), &format!("{at}.issuer"), errors);
    let authority = of.str_at(&["certificateAuthority"]);
    let trust = match authority {
        "" => Trust::System,
        pem => {
            let trust = Trust::Bundle(pem.to_string().into());
            if let Err(e) = net::tls::trusting(&trust, None) {
                errors.invalid_raw(format!("{at}.issuer.certificateAuthority"), "\"<omitted>\"", e.to_string());
            }
            trust
        }
    };
    if !of.str_at(&["egressSelectorType"]).is_empty() {
        let given = of.str_at(&["egressSelectorType"]);
        errors.invalid(format!("{at}.issuer.egressSelectorType"), given, "egress selectors are not supported");
    }
    let (required, claim_rules) = claim_rules(jwt, &format!("{at}.claimValidationRules"), errors);
    let mappings = mappings(jwt, &format!("{at}.claimMappings"), &claim_rules, errors);
    let user_rules = user_rules(jwt, &format!("{at}.userValidationRules"), errors);
    let discovery_url = discovery.map(String::from);
    let issuer = mappings.map(|mappings| Issuer {
        url: url.into(),
        discovery_url,
        trust,
        audiences,
        mappings,
        required,
        claim_rules,
        user_rules,
    });
    issuer.filter(|_| errors.0.len() == before)
}

fn check_url(url: &str, own: &[String], at: &str, errors: &mut FieldErrors) {
    if own.iter().any(|issuer| issuer == url) {
        errors.invalid(at, url, format!("URL must not overlap with disallowed issuers: [{}]", own.join(" ")));
    }
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    for (wrong, why) in [
        (!url.starts_with("https://"), "URL scheme must be https"),
        (host.contains('@'), "URL must not contain a username or password"),
        (url.split('#').next().unwrap_or_default().contains('?'), "URL must not contain a query"),
        (url.contains('#'), "URL must not contain a fragment"),
    ] {
        if wrong {
            errors.invalid(at, url, why);
        }
    }
}

fn check_audiences(audiences: &[String], policy: &str, at: &str, errors: &mut FieldErrors) {
    let path = format!("{at}.audiences");
    if audiences.is_empty() {
        return errors.required(&path, format!("at least one {path} is required"));
    }
    let mut seen = HashSet::new();
    for (i, audience) in audiences.iter().enumerate() {
        if audience.is_empty() {
            errors.required(format!("{path}[{i}]"), "");
        }
        if !seen.insert(audience) {
            errors.duplicate(format!("{path}[{i}]"), audience);
        }
    }
    let at = format!("{at}.audienceMatchPolicy");
    match (audiences.len(), policy) {
        (_, "MatchAny") | (1, "") => {}
        (1, _) => errors.invalid(at, policy, "audienceMatchPolicy must be empty or MatchAny for single audience"),
        _ => errors.invalid(at, policy, "audienceMatchPolicy must be MatchAny for multiple audiences"),
    }
}

/// Claims with required values, and rules with their messages.
type ClaimRules = (Vec<(String, String)>, Vec<(Compiled, String)>);

fn claim_rules(jwt: &Value, at: &str, errors: &mut FieldErrors) -> ClaimRules {
    let (mut required, mut rules) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for (i, rule) in jwt.items_at(&["claimValidationRules"]).iter().enumerate() {
        let at = format!("{at}[{i}]");
        let text = |field: &str| rule.str_at(&[field]);
        match (text("claim"), text("expression")) {
            ("", "") => errors.required(at, "claim or expression is required"),
            (claim, "") => {
                if !text("message").is_empty() {
                    errors.invalid(format!("{at}.message"), text("message"), "may not be specified when claim is set");
                }
                if !seen.insert(("claim", claim)) {
                    errors.duplicate(format!("{at}.claim"), claim);
                }
                required.push((claim.to_string(), text("requiredValue").to_string()));
            }
            ("", expression) => {
                if !text("requiredValue").is_empty() {
                    let given = text("requiredValue");
                    errors.invalid(format!("{at}.requiredValue"), given, "may not be specified when expression is set");
                }
                let at = format!("{at}.expression");
                if !seen.insert(("expression", expression)) {
                    errors.duplicate(at, expression);
                } else if let Some(compiled) = compile(expression, Over::Claims, true, &at, errors) {
                    rules.push((compiled, text("message").to_string()));
                }
            }
            (claim, _) => errors.invalid(at, claim, "claim and expression can't both be set"),
        }
    }
    (required, rules)
}

fn user_rules(jwt: &Value, at: &str, errors: &mut FieldErrors) -> Vec<(Compiled, String)> {
    let mut rules = Vec::new();
    let mut seen = HashSet::new();
    for (i, rule) in jwt.items_at(&["userValidationRules"]).iter().enumerate() {
        let at = format!("{at}[{i}].expression");
        match rule.str_at(&["expression"]) {
            "" => errors.required(at, ""),
            expression if !seen.insert(expression) => errors.duplicate(at, expression),
            expression => {
                let compiled = compile(expression, Over::User, true, &at, errors);
                rules.extend(compiled.map(|compiled| (compiled, rule.str_at(&["message"]).to_string())));
            }
        }
    }
    rules
}

fn mappings(jwt: &Value, at: &str, rules: &[(Compiled, String)], errors: &mut FieldErrors) -> Option<Mappings> {
    let of = jwt.at(&["claimMappings"]);
    let username = prefixed(of.at(&["username"]), &format!("{at}.username"), true, errors);
    let groups = prefixed(of.at(&["groups"]), &format!("{at}.groups"), false, errors);
    let uid = match (of.str_at(&["uid", "claim"]), of.str_at(&["uid", "expression"])) {
        ("", "") => None,
        (claim, "") => Some(Mapping::Claim { claim: claim.into(), prefix: String::new() }),
        ("", expression) => {
            compile(expression, Over::Claims, false, &format!("{at}.uid.expression"), errors).map(Mapping::Expression)
        }
        _ => {
            errors.invalid(format!("{at}.uid"), "", "claim and expression can't both be set");
            None
        }
    };
    let extra = extra(of, at, errors);
    if let Some(Mapping::Expression(name)) = &username
        && selects(&name.text, "email")
    {
        let verified = |compiled: &Compiled| selects(&compiled.text, "email_verified");
        let others = extra.iter().map(|(_, compiled)| compiled).chain(rules.iter().map(|(compiled, _)| compiled));
        if !verified(name) && !others.into_iter().any(verified) {
            errors.invalid(
                format!("{at}.username.expression"),
                &name.text,
                "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression",
            );
        }
    }
    username.map(|username| Mappings { username, groups, uid, extra })
}

fn prefixed(of: &Value, at: &str, needed: bool, errors: &mut FieldErrors) -> Option<Mapping> {
    let prefix = of.at(&["prefix"]).as_str();
    match (of.str_at(&["claim"]), of.str_at(&["expression"])) {
        ("", "") => {
            if needed {
                errors.required(at, "claim or expression is required");
            }
            None
        }
        ("", expression) => {
            if let Some(prefix) = prefix {
                errors.invalid(format!("{at}.prefix"), prefix, "may not be specified when expression is set");
            }
            compile(expression, Over::Claims, false, &format!("{at}.expression"), errors).map(Mapping::Expression)
        }
        (claim, "") => {
            if prefix.is_none() {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.required(format!("{at}.prefix"), why);
            }
            Some(Mapping::Claim { claim: claim.into(), prefix: prefix.unwrap_or_default().into() })
        }
        _ => {
            errors.invalid(at, "", "claim and expression can't both be set");
            None
        }
    }
}

fn extra(of: &Value, at: &str, errors: &mut FieldErrors) -> Vec<(String, Compiled)> {
    let mut all: Vec<(String, Compiled)> = Vec::new();
    let mut seen = HashSet::new();
    for (i, mapping) in of.items_at(&["extra"]).iter().enumerate() {
        let (key, at) = (mapping.str_at(&["key"]), format!("{at}.extra[{i}]"));
        check_key(key, &format!("{at}.key"), errors);
        if !seen.insert(key) {
            errors.duplicate(format!("{at}.key"), key);
            continue;
        }
        let at = format!("{at}.valueExpression");
        match mapping.str_at(&["valueExpression"]) {
            "" => errors.required(at, ""),
            text => {
                let compiled = compile(text, Over::Claims, false, &at, errors);
                all.extend(compiled.map(|compiled| (key.to_string(), compiled)));
            }
        }
    }
    all
}

fn check_key(key: &str, at: &str, errors: &mut FieldErrors) {
    match key.split_once('/') {
        _ if key.is_empty() => return errors.required(at, ""),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            if let Err(why) = names::subdomain(domain) {
                errors.invalid(at, domain, why);
            }
        }
        _ => return errors.invalid(at, key, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    if key.chars().any(|c| c.is_ascii_uppercase()) {
        errors.invalid(at, key, "must be lowercase");
    }
    let domain = key.split('/').next().unwrap_or_default();
    let reserved = |own: &str| domain == own || domain.ends_with(&format!(".{own}"));
    if reserved("k8s.io") || reserved("kubernetes.io") {
        errors.invalid(at, key, "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use");
    }
}

/// What an expression speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Claims,
    User,
}

fn compile(text: &str, over: Over, condition: bool, at: &str, errors: &mut FieldErrors) -> Option<Compiled> {
    let (env, decl) = match over {
        Over::Claims => {
            let claims = Type::Map(Type::String.into(), Type::Dyn.into());
            (Env::new().variable("claims", claims), None)
        }
        Over::User => {
            let decl = user();
            (Env::new().declared("user", decl.clone()), Some(decl))
        }
    };
    let program = match env.compile(text) {
        Ok(program) => program,
        Err(why) => {
            errors.invalid(at, text, why.to_string());
            return None;
        }
    };
    if condition && program.output_type() != &Type::Bool {
        errors.invalid(at, text, "must evaluate to bool");
        return None;
    }
    Some(Compiled { text: text.into(), program, decl })
}

/// `user`: the user that the claims make.
fn user() -> Arc<Decl> {
    let text = || Decl::of_type(Type::String);
    let texts = || Decl::list(text(), -1);
    let fields = [("username", text()), ("uid", text()), ("groups", texts()), ("extra", Decl::map(texts(), -1))];
    Decl::object("kubernetes.UserInfo", &fields)
}

/// Whether an expression selects a claim as `claims.name` or `claims.?name`. Literals are passed over.
fn selects(text: &str, name: &str) -> bool {
    let mut plain = String::with_capacity(text.len());
    let (mut quote, mut escaped) = (None, false);
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => {
                quote = Some(c);
                plain.push('"');
            }
            None if c.is_whitespace() => {}
            None => plain.push(c),
        }
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    plain.match_indices("claims.").any(|(at, found)| {
        let before = plain[..at].chars().next_back();
        let rest = plain[at + found.len()..].trim_start_matches('?');
        let whole = rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(word));
        whole && !before.is_some_and(|c| word(c) || c == '.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn good() -> Value {
        value!({"issuer": {"url": "https://i", "audiences": ["a"]}, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}})
    }
    fn file(jwt: Value) -> Value {
        value!({"apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": "AuthenticationConfiguration", "jwt": jwt})
    }

    /// What is wrong where a field of a good file is another.
    #[track_caller]
    fn check(path: &[&str], v: Value, want: &str) {
        let mut jwt = good();
        jwt.set(path, v);
        let got = Configuration::of(&file(value!([jwt])), &["https://own".into()]);
        assert_eq!(got.err().unwrap_or_default(), want, "{path:?}");
    }

    #[test]
    fn what_is_wrong_with_an_issuer() {
        let url: &[&str] = &["issuer", "url"];
        let prefix = "jwt[0].issuer.url: Invalid value:";
        check(url, value!("https://j"), "");
        check(url, value!(""), "jwt[0].issuer.url: Required value");
        check(url, value!("http://i"), &format!("{prefix} \"http://i\": URL scheme must be https"));
        check(
            url,
            value!("https://a:b@i"),
            &format!("{prefix} \"https://a:b@i\": URL must not contain a username or password"),
        );
        check(url, value!("https://i?x"), &format!("{prefix} \"https://i?x\": URL must not contain a query"));
        check(url, value!("https://i#x"), &format!("{prefix} \"https://i#x\": URL must not contain a fragment"));
        check(
            url,
            value!("https://own"),
            &format!("{prefix} \"https://own\": URL must not overlap with disallowed issuers: [https://own]"),
        );
        check(
            &["issuer", "discoveryURL"],
            value!("https://i/"),
            "jwt[0].issuer.discoveryURL: Invalid value: \"https://i/\": discoveryURL must be different from URL",
        );
        let audiences: &[&str] = &["issuer", "audiences"];
        check(
            audiences,
            value!([]),
            "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
        );
        check(
            audiences,
            value!(["a", "b"]),
            "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences",
        );
        check(
            &["issuer", "certificateAuthority"],
            value!("x"),
            "jwt[0].issuer.certificateAuthority: Invalid value: \"<omitted>\": malformed root certificates: the text holds none",
        );
        check(&["issuer", "audience"], value!("a"), "strict decoding error: unknown field \"jwt[0].issuer.audience\"");
        check(&["claimMapping"], value!({}), "strict decoding error: unknown field \"jwt[0].claimMapping\"");
        let twice = Configuration::of(&file(value!([good(), good()])), &[]).unwrap_err();
        assert_eq!(twice, "jwt[1].issuer.url: Duplicate value: \"https://i\"");
    }

    /// What has the wrong type would not be found, and would not hold.
    #[test]
    fn fields_of_the_wrong_type_are_refused() {
        let rule = || value!({"claim": "hd", "requiredValue": "x"});
        for (path, v, got, at, of) in [
            (&["claimValidationRules"][..], rule(), "object", "jwt[0].claimValidationRules", "array"),
            (&["claimValidationRules"], value!(["x"]), "string", "jwt[0].claimValidationRules[0]", "object"),
            (
                &["claimValidationRules"],
                value!([{"claim": "hd", "requiredValue": true}]),
                "boolean",
                "jwt[0].claimValidationRules[0].requiredValue",
                "string",
            ),
            (&["userValidationRules"], value!({"expression": "x"}), "object", "jwt[0].userValidationRules", "array"),
            (&["userValidationRules"], value!("x"), "string", "jwt[0].userValidationRules", "array"),
            (&["claimMappings"], value!([]), "array", "jwt[0].claimMappings", "object"),
            (&["claimMappings", "groups"], value!("groups"), "string", "jwt[0].claimMappings.groups", "object"),
            (
                &["claimMappings", "username", "prefix"],
                value!(1),
                "integer",
                "jwt[0].claimMappings.username.prefix",
                "string",
            ),
            (&["issuer", "audiences"], value!("a"), "string", "jwt[0].issuer.audiences", "array"),
            (&["issuer", "discoveryURL"], value!(["https://j"]), "array", "jwt[0].issuer.discoveryURL", "string"),
        ] {
            check(path, v, &format!("strict decoding error: cannot unmarshal {got} into field \"{at}\" of type {of}"));
        }
        check(&["userValidationRules"], value!(null), "");
        let refused = Configuration::of(&file(good()), &[]).unwrap_err();
        assert_eq!(refused, "strict decoding error: cannot unmarshal object into field \"jwt\" of type array");
    }

    #[test]
    fn what_is_wrong_with_mappings_and_rules() {
        let username: &[&str] = &["claimMappings", "username"];
        check(username, value!({}), "jwt[0].claimMappings.username: Required value: claim or expression is required");
        check(
            username,
            value!({"claim": "sub"}),
            "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        );
        check(
            username,
            value!({"expression": "claims.sub", "prefix": "x"}),
            "jwt[0].claimMappings.username.prefix: Invalid value: \"x\": may not be specified when expression is set",
        );
        check(username, value!({"expression": "claims.email_verified ? claims.email : ''"}), "");
        let got = {
            let mut jwt = good();
            jwt.set(username, value!({"expression": "claims.email"}));
            Configuration::of(&file(value!([jwt])), &[]).unwrap_err()
        };
        assert!(got.contains("claims.email_verified must be used"), "{got}");
        let rules: &[&str] = &["claimValidationRules"];
        check(rules, value!([{}]), "jwt[0].claimValidationRules[0]: Required value: claim or expression is required");
        check(rules, value!([{"expression": "claims.sub == 'x'"}]), "");
        check(
            rules,
            value!([{"expression": "'x'"}]),
            "jwt[0].claimValidationRules[0].expression: Invalid value: \"'x'\": must evaluate to bool",
        );
        check(
            &["claimMappings", "extra"],
            value!([{"key": "x.k8s.io/a", "valueExpression": "''"}]),
            "jwt[0].claimMappings.extra[0].key: Invalid value: \"x.k8s.io/a\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
        );
        check(
            &["claimMappings", "extra"],
            value!([{"key": "plain", "valueExpression": "''"}]),
            "jwt[0].claimMappings.extra[0].key: Invalid value: \"plain\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        );
        let mut jwt = good();
        jwt.set(&["userValidationRules"], value!([{"expression": "user.nam == 'x'"}]));
        let got = Configuration::of(&file(value!([jwt])), &[]).unwrap_err();
        assert!(got.contains("compilation failed") && got.contains("undefined field 'nam'"), "{got}");
    }

    #[test]
    fn anonymous_is_let_in_where_the_file_says() {
        let of = |anonymous: Value| {
            let file = value!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "anonymous": anonymous});
            Configuration::of(&file, &[]).map(|c| c.anonymous.unwrap())
        };
        let some = of(value!({"enabled": true, "conditions": [{"path": "/livez"}]})).unwrap();
        assert_eq!((some.may("/livez"), some.may("/livez/ping"), some.may("/")), (true, false, false));
        assert!(of(value!({"enabled": true})).unwrap().may("/x"));
        assert!(!of(value!({"enabled": false})).unwrap().may("/livez"));
        assert!(of(value!({"conditions": [{"path": "/"}]})).unwrap_err().contains("enabled should be set to true"));
        for (anonymous, at) in [
            (value!({"enabled": true, "conditions": {"path": "/livez"}}), "anonymous.conditions"),
            (value!({"enabled": "false"}), "anonymous.enabled"),
            (value!(false), "anonymous"),
        ] {
            let refused = of(anonymous).unwrap_err();
            assert!(refused.contains(&format!("into field \"{at}\"")), "{refused}");
        }
        assert!(Configuration::of(&value!({"apiVersion": "v1", "kind": "Pod"}), &[]).is_err());
    }

    #[test]
    fn which_claims_are_selected() {
        for (text, want) in [
            ("claims.email", true),
            ("claims.?email.orValue('')", true),
            ("claims . email", true),
            ("claims.email_verified", false),
            ("'claims.email'", false),
            ("x.claims.email", false),
            ("claims.sub + claims.email", true),
        ] {
            assert_eq!(selects(text, "email"), want, "{text}");
        }
    }
}
