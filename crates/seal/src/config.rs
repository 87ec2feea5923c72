//! The file: an EncryptionConfiguration of `apiserver.config.k8s.io/v1`, read strictly.

use std::time::Duration;
use value::Value;

const VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";

/// The file's content, with defaults.
#[derive(Debug, Default)]
pub struct Configuration {
    pub rules: Vec<Rule>,
}

/// Resources and what they are sealed with.
#[derive(Debug, Default)]
pub struct Rule {
    pub resources: Vec<String>,
    pub providers: Vec<Provider>,
}

/// One element of a list of providers; exactly one field should be set.
#[derive(Debug, Default)]
pub struct Provider {
    pub aesgcm: Option<Vec<Key>>,
    pub aescbc: Option<Vec<Key>>,
    pub secretbox: Option<Vec<Key>>,
    pub identity: bool,
    pub kms: Option<Kms>,
}

/// A named key.
#[derive(Default)]
pub struct Key {
    pub name: String,
    /// In base64.
    pub secret: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Name: {}, Secret: [REDACTED]", self.name)
    }
}

/// A key service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kms {
    pub api_version: String,
    pub name: String,
    pub cache_size: Option<i64>,
    pub endpoint: String,
    pub timeout: Timeout,
}

/// As given, and in nanoseconds: it may be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeout {
    pub text: String,
    pub nanos: i64,
}

impl Timeout {
    pub fn get(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanos).unwrap_or(0))
    }
}

/// Reads a file's text.
pub fn parse(text: &str) -> Result<Configuration, String> {
    let parsed = wire::yaml::parse(text)?;
    let root = &parsed.value;
    let (version, kind) = (root.str_at(&["apiVersion"]), root.str_at(&["kind"]));
    match (version, kind) {
        (_, "") => return Err("Object 'Kind' is missing".into()),
        ("", _) => return Err("Object 'apiVersion' is missing".into()),
        (VERSION, KIND) => {}
        _ => return Err(format!("no kind {kind:?} is registered for version {version:?}")),
    }
    let mut strict: Vec<String> = parsed.duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
    let configuration = Reader { strict: &mut strict }.configuration(root)?;
    match strict.is_empty() {
        true => Ok(configuration),
        false => Err(format!("strict decoding error: {}", strict.join(", "))),
    }
}

/// Walks the tree and notes fields that nobody knows.
struct Reader<'a> {
    strict: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn configuration(&mut self, root: &Value) -> Result<Configuration, String> {
        self.known(root, "", &["apiVersion", "kind", "resources"])?;
        let rules = self.list(root, "", "resources", |reader, item, path| {
            reader.known(item, path, &["resources", "providers"])?;
            Ok(Rule {
                resources: reader.list(item, path, "resources", |_, item, path| text_of(item, path))?,
                providers: reader.list(item, path, "providers", Reader::provider)?,
            })
        })?;
        Ok(Configuration { rules })
    }

    fn provider(&mut self, item: &Value, path: &str) -> Result<Provider, String> {
        self.known(item, path, &["aesgcm", "aescbc", "secretbox", "identity", "kms"])?;
        let identity = item.get("identity").filter(|v| !v.is_null());
        if let Some(identity) = identity {
            self.known(identity, &format!("{path}.identity"), &[])?;
        }
        Ok(Provider {
            aesgcm: self.keys(item, path, "aesgcm")?,
            aescbc: self.keys(item, path, "aescbc")?,
            secretbox: self.keys(item, path, "secretbox")?,
            identity: identity.is_some(),
            kms: self.kms(item, path)?,
        })
    }

    fn keys(&mut self, provider: &Value, path: &str, name: &str) -> Result<Option<Vec<Key>>, String> {
        let Some(found) = provider.get(name).filter(|v| !v.is_null()) else { return Ok(None) };
        let path = format!("{path}.{name}");
        self.known(found, &path, &["keys"])?;
        let keys = self.list(found, &path, "keys", |reader, item, path| {
            reader.known(item, path, &["name", "secret"])?;
            Ok(Key { name: text(item, path, "name")?, secret: text(item, path, "secret")? })
        })?;
        Ok(Some(keys))
    }

    fn kms(&mut self, provider: &Value, path: &str) -> Result<Option<Kms>, String> {
        let Some(found) = provider.get("kms").filter(|v| !v.is_null()) else { return Ok(None) };
        let path = format!("{path}.kms");
        self.known(found, &path, &["apiVersion", "name", "cachesize", "endpoint", "timeout"])?;
        let or = |text: String, default: &str| if text.is_empty() { default.to_string() } else { text };
        let given = text(found, &path, "timeout")?;
        let nanos = match given.as_str() {
            "" => 3_000_000_000,
            text => duration(text).ok_or_else(|| format!("{path}.timeout: time: invalid duration {text:?}"))?,
        };
        let cache_size = match found.at(&["cachesize"]) {
            Value::Null => None,
            size => Some(size.as_i64().ok_or_else(|| format!("{path}.cachesize: want a number"))?),
        };
        Ok(Some(Kms {
            api_version: or(text(found, &path, "apiVersion")?, "v1"),
            name: text(found, &path, "name")?,
            cache_size,
            endpoint: text(found, &path, "endpoint")?,
            timeout: Timeout { text: or(given, "3s"), nanos },
        }))
    }

    fn list<T>(
        &mut self,
        parent: &Value,
        path: &str,
        name: &str,
        mut read: impl FnMut(&mut Self, &Value, &str) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        let found = parent.at(&[name]);
        if found.is_null() {
            return Ok(Vec::new());
        }
        let items = found.as_array().ok_or_else(|| format!("{path}: want a list"))?;
        items.iter().enumerate().map(|(i, item)| read(self, item, &format!("{path}[{i}]"))).collect()
    }

    fn known(&mut self, value: &Value, path: &str, names: &[&str]) -> Result<(), String> {
        if value.as_object().is_none() {
            return Err(format!("{path}: want a map"));
        }
        let dot = if path.is_empty() { "" } else { "." };
        let unknown = value.members_at(&[]).map(|(name, _)| name).filter(|name| !names.contains(name));
        self.strict.extend(unknown.map(|name| format!("unknown field \"{path}{dot}{name}\"")));
        Ok(())
    }
}

fn text(parent: &Value, path: &str, name: &str) -> Result<String, String> {
    match parent.at(&[name]) {
        Value::Null => Ok(String::new()),
        found => text_of(found, &format!("{path}.{name}")),
    }
}

fn text_of(value: &Value, path: &str) -> Result<String, String> {
    value.as_str().map(String::from).ok_or_else(|| format!("{path}: want a string"))
}

/// Nanoseconds of a duration as Go writes it: `3s`, `1m30s`, `500ms`, `-1s`, `0`.
fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        nanos += number
            * match &rest[..unit] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (nanos < i64::MAX as f64).then_some((sign * nanos) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, want: Expect) {
        match parse(text) {
            Ok(found) => want.assert_debug_eq(&found.rules),
            Err(why) => want.assert_eq(&why),
        }
    }

    #[test]
    fn files_are_read_strictly() {
        check("", expect!["Object 'Kind' is missing"]);
        check("apiVersion: v1\nkind: Secret\n", expect![[r#"no kind "Secret" is registered for version "v1""#]]);
        check(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  provider: []\n  providers:\n  - identity: {x: 1}\n",
            expect![[
                r#"strict decoding error: unknown field "resources[0].provider", unknown field "resources[0].providers[0].identity.x""#
            ]],
        );
        check(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets, '*.apps']\n  providers:\n  - aesgcm: {keys: [{name: a, secret: c2VjcmV0}]}\n  - kms: {name: k, endpoint: 'unix:///k.sock', apiVersion: v2}\n  - identity: {}\n",
            expect![[r#"
                [
                    Rule {
                        resources: [
                            "secrets",
                            "*.apps",
                        ],
                        providers: [
                            Provider {
                                aesgcm: Some(
                                    [
                                        Name: a, Secret: [REDACTED],
                                    ],
                                ),
                                aescbc: None,
                                secretbox: None,
                                identity: false,
                                kms: None,
                            },
                            Provider {
                                aesgcm: None,
                                aescbc: None,
                                secretbox: None,
                                identity: false,
                                kms: Some(
                                    Kms {
                                        api_version: "v2",
                                        name: "k",
                                        cache_size: None,
                                        endpoint: "unix:///k.sock",
                                        timeout: Timeout {
                                            text: "3s",
                                            nanos: 3000000000,
                                        },
                                    },
                                ),
                            },
                            Provider {
                                aesgcm: None,
                                aescbc: None,
                                secretbox: None,
                                identity: true,
                                kms: None,
                            },
                        ],
                    },
                ]
            "#]],
        );
    }

    #[test]
    fn durations_are_gos() {
        for (text, nanos) in [
            ("3s", Some(3_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5ms", Some(1_500_000)),
            ("-1s", Some(-1_000_000_000)),
            ("0", Some(0)),
            ("3", None),
            ("s", None),
            ("", None),
            ("3 s", None),
        ] {
            assert_eq!(duration(text), nanos, "{text:?}");
        }
    }
}
