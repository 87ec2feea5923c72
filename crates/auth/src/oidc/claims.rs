//! From the claims of a verified token to a user: pure functions of a configuration.
//! Source: `apiserver/plugin/pkg/authenticator/token/oidc`, whose sentences these are.

use super::config::{Compiled, Issuer, Mapping};
use base::User;
use k8s_cel::{Activation, Budget, Val};
use value::{Map, Value};

/// The key of the token's id among the user's extras.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// A claim that somebody else has (OpenID Connect Core 1.0, section 5.6.2).
#[derive(Debug, PartialEq, Eq)]
pub struct Elsewhere {
    pub claim: String,
    pub url: String,
    /// What to show there; may be empty.
    pub token: String,
}

/// Where the groups are, if not among the claims. Upstream looks for no other claim.
pub fn elsewhere(issuer: &Issuer, claims: &Value) -> Result<Option<Elsewhere>, String> {
    let Some(Mapping::Claim { claim, .. }) = &issuer.mappings.groups else { return Ok(None) };
    let names = claims.at(&["_claim_names"]);
    if claims.get(claim).is_some() || names.is_null() {
        return Ok(None);
    }
    let names = names.as_object().filter(|names| names.iter().all(|(_, source)| source.as_str().is_some()));
    let names = names.ok_or("oidc: error parsing distributed claim names: want an object of texts")?;
    let sources = claims.get("_claim_sources").ok_or("oidc: no claim sources")?;
    let sources = sources.as_object().filter(|sources| sources.iter().all(|(_, source)| source.as_object().is_some()));
    let sources = sources.ok_or("oidc: could not parse claim sources: want an object of objects")?;
    let Some(source) = names.get(claim.as_str()).and_then(Value::as_str) else { return Ok(None) };
    let at = sources
        .get(source)
        .ok_or_else(|| format!("id token _claim_names contained a source {source} missing in _claims_sources"))?;
    let url = at.str_at(&["endpoint"]);
    // Without one its claims are in the token itself, which upstream does not read either.
    let found = Elsewhere { claim: claim.clone(), url: url.into(), token: at.str_at(&["access_token"]).into() };
    Ok((!url.is_empty()).then_some(found))
}

/// Who the claims speak of, or why they speak of nobody.
pub fn user_of(issuer: &Issuer, claims: &Value) -> Result<User, String> {
    let m = &issuer.mappings;
    let mut user = User {
        name: username(&m.username, claims)?,
        groups: groups(m.groups.as_ref(), claims)?,
        uid: uid(m.uid.as_ref(), claims)?,
        extra: extra(issuer, claims)?,
    };
    for (claim, wanted) in &issuer.required {
        let Some(value) = claims.get(claim) else {
            return Err(format!("oidc: required claim {claim} not present in ID token"));
        };
        let value = value.as_str().ok_or_else(|| format!("oidc: parse claim {claim}: it is no text"))?;
        if value != wanted {
            return Err(format!("oidc: required claim {claim} value does not match. Got = {value}, want = {wanted}"));
        }
    }
    check("claims", claims, &issuer.claim_rules)
        .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
    let tree = tree_of(&user);
    check("user", &tree, &issuer.user_rules)
        .map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
    if !user.in_group("system:authenticated") && !user.in_group("system:unauthenticated") {
        user.groups.push("system:authenticated".into());
    }
    Ok(user)
}

fn text_claim(claims: &Value, name: &str) -> Result<String, String> {
    match claims.get(name) {
        None => Err("claim not present".into()),
        Some(value) => value.as_str().map(String::from).ok_or_else(|| "it is no text".into()),
    }
}

fn username(mapping: &Mapping, claims: &Value) -> Result<String, String> {
    let (claim, prefix) = match mapping {
        Mapping::Claim { claim, prefix } => (claim, prefix),
        Mapping::Expression(expression) => {
            let failed = |why: &str| format!("oidc: error evaluating username claim expression: {why}");
            let name = evaluate(expression, "claims", claims, |val| val.as_str().map(String::from))
                .map_err(|why| failed(&why))?
                .ok_or_else(|| failed("username claim expression must return a string"))?;
            if name.is_empty() {
                return Err("oidc: empty username via CEL expression is not allowed".into());
            }
            return Ok(name);
        }
    };
    let name = text_claim(claims, claim).map_err(|why| format!("oidc: parse username claims {claim:?}: {why}"))?;
    if claim == "email"
        && let Some(verified) = claims.get("email_verified")
    {
        match verified.as_bool() {
            Some(true) => {}
            Some(false) => return Err("oidc: email not verified".into()),
            None => return Err("oidc: parse 'email_verified' claim: it is neither true nor false".into()),
        }
    }
    Ok(format!("{prefix}{name}"))
}

fn groups(mapping: Option<&Mapping>, claims: &Value) -> Result<Vec<String>, String> {
    match mapping {
        None => Ok(Vec::new()),
        Some(Mapping::Claim { claim, prefix }) => {
            let Some(value) = claims.get(claim) else { return Ok(Vec::new()) };
            let list = match value {
                Value::Array(items) => items.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
                one => one.as_str().map(|one| vec![one]),
            };
            let list =
                list.ok_or_else(|| format!("oidc: parse groups claim {claim:?}: want text or a list of texts"))?;
            Ok(list.into_iter().map(|group| format!("{prefix}{group}")).collect())
        }
        Some(Mapping::Expression(expression)) => {
            let failed = |why: String| format!("oidc: error evaluating group claim expression: {why}");
            evaluate(expression, "claims", claims, texts).and_then(|list| list).map_err(failed)
        }
    }
}

fn uid(mapping: Option<&Mapping>, claims: &Value) -> Result<String, String> {
    match mapping {
        None => Ok(String::new()),
        Some(Mapping::Claim { claim, .. }) => {
            text_claim(claims, claim).map_err(|why| format!("oidc: parse uid claim {claim:?}: {why}"))
        }
        Some(Mapping::Expression(expression)) => {
            let failed = |why: &str| format!("oidc: error evaluating uid claim expression: {why}");
            evaluate(expression, "claims", claims, |val| val.as_str().map(String::from))
                .map_err(|why| failed(&why))?
                .ok_or_else(|| failed("uid claim expression must return a string"))
        }
    }
}

fn extra(issuer: &Issuer, claims: &Value) -> Result<Vec<(String, Vec<String>)>, String> {
    let id = claims.str_at(&["jti"]);
    let mut extra = Vec::new();
    if !id.is_empty() {
        extra.push((CREDENTIAL.to_string(), vec![format!("JTI={id}")]));
    }
    for (key, expression) in &issuer.mappings.extra {
        let failed = |why: String| format!("oidc: error evaluating extra claim expression: {}: {why}", expression.text);
        let values = evaluate(expression, "claims", claims, texts).and_then(|list| list).map_err(failed)?;
        if !values.is_empty() {
            extra.push((key.clone(), values));
        }
    }
    Ok(extra)
}

/// Text, or a list of texts; what is empty is not there.
fn texts(val: &Val<'_>) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_string();
    let all = match val {
        Val::Null => Vec::new(),
        Val::String(text) => vec![text.as_str().to_string()],
        Val::List(list) => {
            let mut all = Vec::new();
            for item in list.iter() {
                let item = item.map_err(|e| e.to_string())?;
                all.push(item.as_str().ok_or_else(wrong)?.to_string());
            }
            all
        }
        _ => return Err(wrong()),
    };
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
}

fn evaluate<T>(
    expression: &Compiled,
    variable: &str,
    tree: &Value,
    read: impl FnOnce(&Val<'_>) -> T,
) -> Result<T, String> {
    let activation = match &expression.decl {
        Some(decl) => Activation::new().typed(variable, tree, decl),
        None => Activation::new().bind(variable, tree),
    };
    let val = expression.program.eval(&activation, &mut Budget::default());
    val.map(|val| read(&val)).map_err(|e| format!("expression '{}' resulted in error: {e}", expression.text))
}

fn check(variable: &str, tree: &Value, rules: &[(Compiled, String)]) -> Result<(), String> {
    for (rule, message) in rules {
        match evaluate(rule, variable, tree, |val| val.as_bool())? {
            Some(true) => {}
            Some(false) => return Err(format!("validation expression '{}' failed: {message}", rule.text)),
            None => return Err("validation expression must return a boolean".into()),
        }
    }
    Ok(())
}

/// A user as `user` in an expression: every field is there.
fn tree_of(user: &User) -> Value {
    let list = |texts: &[String]| texts.iter().map(String::as_str).collect::<Value>();
    let mut tree = Value::object();
    tree.set(&["username"], user.name.as_str());
    tree.set(&["uid"], user.uid.as_str());
    tree.set(&["groups"], list(&user.groups));
    tree.set(&["extra"], user.extra.iter().map(|(key, values)| (key.as_str(), list(values))).collect::<Map>());
    tree
}

#[cfg(test)]
mod tests {
    use super::{super::config, *};
    use value::value;

    /// The user as one line, or why there is none.
    #[track_caller]
    fn check(jwt: Value, claims: Value, want: &str) {
        let mut jwt = jwt;
        jwt.set_default(&["issuer"], value!({"url": "https://i", "audiences": ["a"]}));
        jwt.set_default(&["claimMappings", "username"], value!({"claim": "sub", "prefix": "oidc:"}));
        let file =
            value!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt]});
        let config = config::Configuration::of(&file, &[]).unwrap();
        let got = match user_of(&config.issuers[0], &claims) {
            Ok(user) => format!("{} {:?} {:?} {:?}", user.name, user.uid, user.groups, user.extra),
            Err(why) => why,
        };
        assert_eq!(got, want);
    }

    #[test]
    fn groups_that_are_elsewhere() {
        let file = value!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [{
            "issuer": {"url": "https://i", "audiences": ["a"]},
            "claimMappings": {"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "roles", "prefix": ""}}}]});
        let config = config::Configuration::of(&file, &[]).unwrap();
        let found = |claims: Value| match elsewhere(&config.issuers[0], &claims) {
            Ok(Some(Elsewhere { claim, url, token })) => format!("{claim} {url} {token}"),
            Ok(None) => String::new(),
            Err(why) => why,
        };
        let names = || value!({"roles": "src"});
        for (claims, want) in [
            (value!({"sub": "a"}), ""),
            (value!({"roles": ["x"], "_claim_names": names()}), ""),
            (value!({"_claim_names": names()}), "oidc: no claim sources"),
            (
                value!({"_claim_names": {"roles": 1}}),
                "oidc: error parsing distributed claim names: want an object of texts",
            ),
            (value!({"_claim_names": {"other": "src"}, "_claim_sources": {}}), ""),
            (
                value!({"_claim_names": names(), "_claim_sources": []}),
                "oidc: could not parse claim sources: want an object of objects",
            ),
            (
                value!({"_claim_names": names(), "_claim_sources": {}}),
                "id token _claim_names contained a source src missing in _claims_sources",
            ),
            (value!({"_claim_names": names(), "_claim_sources": {"src": {"JWT": "x"}}}), ""),
            (
                value!({"_claim_names": names(), "_claim_sources": {"src": {"endpoint": "https://e", "access_token": "t"}}}),
                "roles https://e t",
            ),
        ] {
            assert_eq!(found(claims), want);
        }
    }

    #[test]
    fn claims_as_they_are() {
        let all = r#"["system:authenticated"]"#;
        check(value!({}), value!({"sub": "alice"}), &format!("oidc:alice \"\" {all} []"));
        check(value!({}), value!({}), "oidc: parse username claims \"sub\": claim not present");
        check(value!({}), value!({"sub": 1}), "oidc: parse username claims \"sub\": it is no text");
        let email = || value!({"claimMappings": {"username": {"claim": "email", "prefix": ""}}});
        check(email(), value!({"email": "a@b"}), &format!("a@b \"\" {all} []"));
        check(email(), value!({"email": "a@b", "email_verified": true}), &format!("a@b \"\" {all} []"));
        check(email(), value!({"email": "a@b", "email_verified": false}), "oidc: email not verified");
        let groups =
            || value!({"claimMappings": {"groups": {"claim": "roles", "prefix": "g:"}, "uid": {"claim": "id"}}});
        check(
            groups(),
            value!({"sub": "a", "id": "7", "roles": ["x", "y"], "jti": "j"}),
            r#"oidc:a "7" ["g:x", "g:y", "system:authenticated"] [("authentication.kubernetes.io/credential-id", ["JTI=j"])]"#,
        );
        check(
            groups(),
            value!({"sub": "a", "id": "7", "roles": "x"}),
            r#"oidc:a "7" ["g:x", "system:authenticated"] []"#,
        );
        check(
            groups(),
            value!({"sub": "a", "id": "7", "roles": 1}),
            "oidc: parse groups claim \"roles\": want text or a list of texts",
        );
        check(groups(), value!({"sub": "a"}), "oidc: parse uid claim \"id\": claim not present");
        let required = || value!({"claimValidationRules": [{"claim": "hd", "requiredValue": "example.com"}]});
        check(required(), value!({"sub": "a", "hd": "example.com"}), &format!("oidc:a \"\" {all} []"));
        check(required(), value!({"sub": "a"}), "oidc: required claim hd not present in ID token");
        check(
            required(),
            value!({"sub": "a", "hd": "evil.com"}),
            "oidc: required claim hd value does not match. Got = evil.com, want = example.com",
        );
    }

    #[test]
    fn claims_by_expressions() {
        let mapped = || {
            value!({"claimMappings": {
                "username": {"expression": "claims.sub + '@' + claims.org"},
                "groups": {"expression": "claims.roles.split(',')"},
                "uid": {"expression": "claims.?id.orValue('none')"},
                "extra": [{"key": "example.com/org", "valueExpression": "claims.org"}, {"key": "example.com/none", "valueExpression": "''"}],
            }})
        };
        check(
            mapped(),
            value!({"sub": "a", "org": "o", "roles": "x,,y"}),
            r#"a@o "none" ["x", "y", "system:authenticated"] [("example.com/org", ["o"])]"#,
        );
        check(
            mapped(),
            value!({"sub": "a", "roles": "x"}),
            "oidc: error evaluating username claim expression: expression 'claims.sub + '@' + claims.org' resulted in error: no such key: org",
        );
        let of = |username: &str| value!({"claimMappings": {"username": {"expression": username}}});
        check(of("claims.sub"), value!({"sub": ""}), "oidc: empty username via CEL expression is not allowed");
        check(
            of("claims.sub"),
            value!({"sub": 1}),
            "oidc: error evaluating username claim expression: username claim expression must return a string",
        );
        let groups = value!({"claimMappings": {"groups": {"expression": "claims.roles"}}});
        check(
            groups,
            value!({"sub": "a", "roles": [1]}),
            "oidc: error evaluating group claim expression: expression must return a string or a list of strings",
        );
    }

    #[test]
    fn rules() {
        let claims = || value!({"claimValidationRules": [{"expression": "claims.exp - claims.nbf <= 3600", "message": "lives too long"}]});
        let all = r#"["system:authenticated"]"#;
        check(claims(), value!({"sub": "a", "exp": 3600, "nbf": 0}), &format!("oidc:a \"\" {all} []"));
        check(
            claims(),
            value!({"sub": "a", "exp": 3601, "nbf": 0}),
            "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.nbf <= 3600' failed: lives too long",
        );
        let user = || {
            value!({"claimMappings": {"username": {"claim": "sub", "prefix": ""}}, "userValidationRules": [
                {"expression": "!user.username.startsWith('system:')", "message": "reserved"},
                {"expression": "user.groups.all(g, g != 'system:masters')"}]})
        };
        check(user(), value!({"sub": "a"}), &format!("a \"\" {all} []"));
        check(
            user(),
            value!({"sub": "system:admin"}),
            "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('system:')' failed: reserved",
        );
    }
}
