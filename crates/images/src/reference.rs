//! Image references: the grammar of `distribution/reference` and Docker's normalisation of short names.
//!
//! `nginx` is `docker.io/library/nginx:latest`. A reference with both tag and digest keeps both, as upstream shows it, and the
//! digest alone decides what is pulled.

use crate::digest::Digest;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

const DEFAULT_REGISTRY: &str = "docker.io";
const MAX_NAME: usize = 255;

/// A parsed, normalised reference. `Display` gives the full form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Host, with a port if one was given: `docker.io`, `localhost:5000`.
    pub registry: String,
    /// Path inside the registry: `library/nginx`.
    pub repository: String,
    /// `latest` if neither tag nor digest was given.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

impl Reference {
    /// Registry and repository, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What goes into `/v2/<repository>/manifests/…`.
    pub(crate) fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_string(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |what: &str| Error::InvalidName { reference: text.to_string(), what: what.to_string() };
        const FORMAT: &str = "invalid reference format";
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid("invalid repository name, cannot specify 64-byte hexadecimal strings"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|_| invalid(FORMAT))?)),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid(FORMAT));
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_host(first) => (first, path),
            _ => (DEFAULT_REGISTRY, name),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        if !registry_ok(registry) {
            return Err(invalid(FORMAT));
        }
        if !path.split('/').all(is_path_component) {
            let lower = path.to_lowercase();
            if lower != path && lower.split('/').all(is_path_component) {
                return Err(invalid(&format!("{FORMAT}: repository name ({path}) must be lowercase")));
            }
            return Err(invalid(FORMAT));
        }
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_string()
        };
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(invalid("repository name must not be more than 255 characters"));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_string()),
            (tag, _) => tag.map(str::to_string),
        };
        Ok(Reference { registry: registry.to_string(), repository, tag, digest })
    }
}

/// Docker's rule for the first path component: it is a host if it could not be a namespace on Docker Hub.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first
}

fn registry_ok(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, rest)) => {
            if v6.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            return rest.is_empty() || rest.strip_prefix(':').is_some_and(port_ok);
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        },
    };
    port.is_none_or(port_ok)
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn port_ok(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Lower-case letters and digits, parted by one dot, one or two underscores, or any number of dashes.
fn is_path_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    alnum(*first)
        && alnum(*last)
        && bytes
            .split(|b| alnum(*b))
            .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(input: &str, expected: Expect) {
        expected.assert_eq(&match input.parse::<Reference>() {
            Ok(reference) => reference.to_string(),
            Err(error) => error.to_string(),
        });
    }

    #[test]
    fn normalisation() {
        check("nginx", expect!["docker.io/library/nginx:latest"]);
        check("nginx:1.25", expect!["docker.io/library/nginx:1.25"]);
        check("bitnami/redis", expect!["docker.io/bitnami/redis:latest"]);
        check("index.docker.io/nginx", expect!["docker.io/library/nginx:latest"]);
        check("docker.io/library/nginx", expect!["docker.io/library/nginx:latest"]);
        check("localhost/a", expect!["localhost/a:latest"]);
        check("localhost:5000/a/b:v1", expect!["localhost:5000/a/b:v1"]);
        check("[::1]:5000/a", expect!["[::1]:5000/a:latest"]);
        check("registry.k8s.io/pause:3.10", expect!["registry.k8s.io/pause:3.10"]);
        check("ferry.local/toolbox:latest", expect!["ferry.local/toolbox:latest"]);
        check("a__b/c---d.e", expect!["docker.io/a__b/c---d.e:latest"]);
    }

    #[test]
    fn digests() {
        let hex = "a".repeat(64);
        let parsed: Reference = format!("nginx:1@sha256:{hex}").parse().expect("valid");
        assert_eq!(parsed.to_string(), format!("docker.io/library/nginx:1@sha256:{hex}"));
        assert_eq!(parsed.target(), format!("sha256:{hex}"));
        let parsed: Reference = format!("r.io/x@sha256:{hex}").parse().expect("valid");
        assert_eq!(parsed.tag, None);
        assert!(hex.parse::<Reference>().is_err());
    }

    #[test]
    fn refusals() {
        check("", expect![[r#"couldn't parse image name "": invalid reference format"#]]);
        check(
            "Nginx",
            expect![[
                r#"couldn't parse image name "Nginx": invalid reference format: repository name (Nginx) must be lowercase"#
            ]],
        );
        check("a b", expect![[r#"couldn't parse image name "a b": invalid reference format"#]]);
        check("a:", expect![[r#"couldn't parse image name "a:": invalid reference format"#]]);
        check("a/../b", expect![[r#"couldn't parse image name "a/../b": invalid reference format"#]]);
        check("a___b", expect![[r#"couldn't parse image name "a___b": invalid reference format"#]]);
        check("a..b/c/d..e", expect![[r#"couldn't parse image name "a..b/c/d..e": invalid reference format"#]]);
        check("x@sha256:12", expect![[r#"couldn't parse image name "x@sha256:12": invalid reference format"#]]);
        check("x@md5:12", expect![[r#"couldn't parse image name "x@md5:12": invalid reference format"#]]);
        check("h:99999/x", expect![[r#"couldn't parse image name "h:99999/x": invalid reference format"#]]);
        check("/x", expect![[r#"couldn't parse image name "/x": invalid reference format"#]]);
    }
}
