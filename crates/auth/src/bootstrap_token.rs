//! Bootstrap tokens: `<id>.<secret>`, kept as Secrets `kube-system/bootstrap-token-<id>`, with which nodes join.

use base::{User, time::Timestamp};
use base64::{Engine, engine::general_purpose::STANDARD};
use schema::View;
use value::{Value, value};

const TYPE: &str = "bootstrap.kubernetes.io/token";

/// The user `system:bootstrap:<id>`; `None` for anything that is no valid token.
pub fn user(token: &str, view: &dyn View, now: Timestamp) -> Option<User> {
    let (id, secret) = split(token)?;
    let object = view.get("", "secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
    if object.meta.deleting {
        return None;
    }
    let object = object.value();
    let data = |key: &str| {
        let text = object.str_at(&["data", key]);
        STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    };
    let expiration = data("expiration");
    // An expiration that cannot be read has passed.
    let alive = expiration.is_empty() || base::time::parse(&expiration).is_some_and(|at| at > now);
    let good = object.str_at(&["type"]) == TYPE
        && same(data("token-secret").as_bytes(), secret.as_bytes())
        && data("token-id") == id
        && data("usage-bootstrap-authentication") == "true"
        && alive;
    if !good {
        return None;
    }
    let mut groups = vec!["system:bootstrappers".to_string()];
    let extra = data("auth-extra-groups");
    for group in extra.split(',').filter(|g| !g.is_empty()) {
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        groups.push(group.into());
    }
    groups.push("system:authenticated".into());
    Some(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

/// A new token.
pub fn generate() -> String {
    format!("{}.{}", base::ids::suffix(6), base::ids::suffix(16))
}

/// The Secret of a token; `None` where the text is no token.
pub fn secret(token: &str, description: &str, expires: Option<Timestamp>) -> Option<Value> {
    let (id, secret) = split(token)?;
    let mut out = value!({
        "apiVersion": "v1", "kind": "Secret", "type": TYPE,
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
    });
    let mut data = vec![
        ("token-id", id.to_string()),
        ("token-secret", secret.to_string()),
        ("usage-bootstrap-authentication", "true".into()),
        ("usage-bootstrap-signing", "true".into()),
        ("description", description.into()),
    ];
    data.extend(expires.map(|at| ("expiration", base::time::seconds(at))));
    for (key, text) in data {
        out.set(&["data", key], STANDARD.encode(text));
    }
    Some(out)
}

/// `[a-z0-9]{6}.[a-z0-9]{16}`
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

/// Compares without telling by its time how much is right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::Objects;

    #[test]
    fn a_token_is_taken_while_its_secret_says_so() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let token = "abcdef.0123456789abcdef";
        let good = secret(token, "test", Some(Timestamp::from_second(1_000_100).unwrap())).unwrap();
        let ask = |secret: &Value, token: &str| user(token, &Objects::default().with("secrets", secret.clone()), now);
        let joined = ask(&good, token).unwrap();
        assert_eq!(joined.name, "system:bootstrap:abcdef");
        assert_eq!(joined.groups, ["system:bootstrappers", "system:authenticated"]);
        assert!(ask(&good, "abcdef.0123456789abcdeX").is_none());
        assert!(ask(&good, "abcdef.0123456789abcde0").is_none());
        assert!(ask(&good, "abcdeg.0123456789abcdef").is_none());
        let changed = |path: &[&str], text: &str| {
            let mut secret = good.clone();
            secret.set(path, text);
            secret
        };
        assert!(ask(&changed(&["type"], "Opaque"), token).is_none());
        assert!(ask(&changed(&["data", "expiration"], &STANDARD.encode("1970-01-02T00:00:00Z")), token).is_none());
        assert!(ask(&changed(&["data", "usage-bootstrap-authentication"], ""), token).is_none());
        assert!(ask(&changed(&["data", "auth-extra-groups"], &STANDARD.encode("system:masters")), token).is_none());
        assert!(user(&generate(), &Objects::default(), now).is_none());
        assert!(split(&generate()).is_some());
    }
}
