//! Who we are to a registry: credentials, pull secrets, and the challenges that ask for them.
//!
//! Matching of a pull secret's keys to an image follows `pkg/credentialprovider/keyring.go`: host globs per label, exact ports,
//! path prefixes, longest key first. Secrets never appear in `Debug`.

use crate::error::{Error, Result};
use crate::reference::Reference;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// What a registry may be told. Empty strings mean absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// An OAuth2 refresh token, used instead of a password with the token server.
    pub identity_token: String,
    /// A bearer token to be sent as it is.
    pub registry_token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The value of an `Authorization: Basic` header, if there is a user name.
    pub(crate) fn basic(&self) -> Option<String> {
        let user = !self.username.is_empty();
        user.then(|| format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password))))
    }

    /// From `base64(user:password)`.
    pub fn decode(auth: &str) -> Option<Self> {
        let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        let password = password.trim_end_matches('\0').to_string();
        Some(Credentials { username: username.to_string(), password, ..Credentials::default() })
    }
}

/// The credentials of all pull secrets of a pod.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// Longest key first.
    entries: Vec<(String, Credentials)>,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl Keyring {
    /// Adds the content of a `.dockerconfigjson` (`{"auths": {…}}`).
    pub fn add_docker_config(&mut self, json: &[u8]) -> Result<()> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            auths: BTreeMap<String, DockerAuth>,
        }
        let config: Config = serde_json::from_slice(json).map_err(|error| malformed(".dockerconfigjson", &error))?;
        self.add(config.auths);
        Ok(())
    }

    /// Adds the content of a legacy `.dockercfg`, which is the inner map alone.
    pub fn add_docker_cfg(&mut self, json: &[u8]) -> Result<()> {
        self.add(serde_json::from_slice(json).map_err(|error| malformed(".dockercfg", &error))?);
        Ok(())
    }

    /// All credentials for the image, the most specific first. They are to be tried in turn.
    pub fn lookup(&self, reference: &Reference) -> Vec<Credentials> {
        let image = reference.name();
        let mut found: Vec<Credentials> = Vec::new();
        for (key, credentials) in &self.entries {
            if matches(key, &image) && !found.contains(credentials) {
                found.push(credentials.clone());
            }
        }
        found
    }

    fn add(&mut self, auths: BTreeMap<String, DockerAuth>) {
        for (key, auth) in auths {
            let mut credentials = Credentials::decode(&auth.auth).unwrap_or_default();
            if !auth.username.is_empty() {
                (credentials.username, credentials.password) = (auth.username, auth.password);
            }
            (credentials.identity_token, credentials.registry_token) = (auth.identitytoken, auth.registrytoken);
            self.entries.push((normal_key(&key), credentials));
        }
        // Stable: of equal keys the secret that was named first wins.
        self.entries.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
    }
}

fn malformed(what: &str, error: &serde_json::Error) -> Error {
    // The position only: the message could quote the secret.
    Error::content(what, format!("not valid JSON of a pull secret, at line {} column {}", error.line(), error.column()))
}

/// Drops the scheme and the API version that `docker login` writes; Docker Hub's old names become one.
fn normal_key(key: &str) -> String {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    match key.split_once('/') {
        None if matches!(key, "index.docker.io" | "registry-1.docker.io") => "docker.io".to_string(),
        Some(("index.docker.io", path)) => format!("docker.io/{path}"),
        _ => key.to_string(),
    }
}

fn matches(key: &str, image: &str) -> bool {
    let (key_host, key_path) = key.split_once('/').unwrap_or((key, ""));
    let (host, path) = image.split_once('/').unwrap_or((image, ""));
    let prefix =
        key_path.is_empty() || path == key_path || path.strip_prefix(key_path).is_some_and(|r| r.starts_with('/'));
    prefix && host_matches(key_host, host)
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let (pattern, pattern_port) = pattern.split_once(':').unwrap_or((pattern, ""));
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    let (pattern, host): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern_port == port && pattern.len() == host.len() && pattern.iter().zip(host).all(|(p, h)| glob(p, h))
}

/// `*` inside one label.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text
            .strip_prefix(head)
            .is_some_and(|text| (0..=text.len()).any(|n| text.is_char_boundary(n) && glob(rest, &text[n..]))),
    }
}

/// One challenge of a `WWW-Authenticate` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Parses a header value such as `Bearer realm="https://…",service="…",scope="…"`. `None` for schemes we do not speak.
    pub fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = BTreeMap::new();
        let mut rest = rest.trim_start();
        while let Some((key, value)) = rest.split_once('=') {
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => value.split_once(',').unwrap_or((value, "")),
            };
            parameters.insert(key.trim().to_ascii_lowercase(), value.to_string());
            rest = after.trim_start_matches([',', ' ']);
        }
        Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(config: &str, image: &str) -> Vec<String> {
        let mut keyring = Keyring::default();
        keyring.add_docker_config(config.as_bytes()).expect("config");
        let reference = image.parse().expect("image");
        keyring.lookup(&reference).into_iter().map(|credentials| credentials.username).collect()
    }

    #[test]
    fn pull_secret_keys() {
        let auth = |user: &str| format!(r#"{{"username":"{user}","password":"p"}}"#);
        let config = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{},"r.io":{},"r.io/team":{},"*.azurecr.io":{},"localhost:5000":{}}}}}"#,
            auth("hub"),
            auth("r"),
            auth("team"),
            auth("acr"),
            auth("local")
        );
        for (image, expected) in [
            ("nginx", vec!["hub"]),
            ("r.io/team/app", vec!["team", "r"]),
            ("r.io/teams/app", vec!["r"]),
            ("x.azurecr.io/a", vec!["acr"]),
            ("x.y.azurecr.io/a", vec![]),
            ("localhost:5000/a", vec!["local"]),
            ("localhost:5001/a", vec![]),
        ] {
            assert_eq!(users(&config, image), expected, "{image}");
        }
    }

    #[test]
    fn encoded_auth_and_errors() {
        let encoded = STANDARD.encode("me:pa:ss");
        assert_eq!(users(&format!(r#"{{"auths":{{"docker.io":{{"auth":"{encoded}"}}}}}}"#), "nginx"), ["me"]);
        let error = Keyring::default().add_docker_config(br#"{"auths": secret"#).expect_err("malformed");
        assert!(!error.to_string().contains("secret\""), "{error}");
        assert_eq!(format!("{:?}", Credentials { password: "hush".into(), ..Default::default() }).find("hush"), None);
    }

    #[test]
    fn challenges() {
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Negotiate"), None);
        let bearer = Challenge::parse(r#"Bearer realm="https://a/token",service="reg, one",scope="repository:x:pull""#);
        let expected = Challenge::Bearer {
            realm: "https://a/token".into(),
            service: Some("reg, one".into()),
            scope: Some("repository:x:pull".into()),
        };
        assert_eq!(bearer, Some(expected));
        assert_eq!(Challenge::parse("Bearer service=x"), None);
    }
}
