//! Keys that an operator brings, beside those that the cluster makes for itself.

use auth::token::Issuer;
use pki::{Leaf, PublicKey, SigningKey};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The default is the cluster's own keys alone.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// What stored objects are sealed with.
    pub encryption: seal::Settings,
    /// What ServiceAccount tokens are signed with, and verified.
    pub tokens: TokenKeys,
    /// What is shown to extension API servers; a certificate of the cluster's own authority for proxies by default.
    pub proxy_client: Option<ProxyClient>,
}

/// Files of a client certificate and its key (`--proxy-client-cert-file`, `--proxy-client-key-file`), in PEM.
#[derive(Debug, Clone)]
pub struct ProxyClient {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl ProxyClient {
    /// Reads them. The error names the file.
    pub fn load(&self) -> Result<Leaf, String> {
        let read = |flag: &str, path: &Path| {
            std::fs::read_to_string(path).map_err(|e| format!("{flag} {}: {e}", path.display()))
        };
        let cert_pem = read("proxy-client-cert-file", &self.certificate)?;
        let leaf = Leaf { cert_pem, key_pem: read("proxy-client-key-file", &self.key)? };
        leaf.identity().map_err(|e| format!("proxy-client-cert-file {}: {e}", self.certificate.display()))?;
        leaf.key().map_err(|e| format!("proxy-client-key-file {}: {e}", self.key.display()))?;
        Ok(leaf)
    }
}

/// Who issues ServiceAccount tokens. Everything is as upstream's flags of these names have it.
#[derive(Debug, Clone, Default)]
pub struct TokenKeys {
    /// The private key that signs; the cluster's own by default.
    pub signing_key: Option<PathBuf>,
    /// Keys that verify. Without any, the cluster's own does, beside the one that signs.
    pub keys: Vec<PathBuf>,
    pub issuers: Vec<String>,
    pub audiences: Vec<String>,
    pub jwks_uri: Option<String>,
    pub max_expiration: Option<Duration>,
    /// True by default.
    pub extend: Option<bool>,
}

impl TokenKeys {
    /// Reads the files. `own` is the cluster's key, `name` its issuer's name where none is given.
    pub fn issuer(&self, own: &Arc<SigningKey>, name: String) -> Result<Issuer, String> {
        self.check()?;
        let (key, mut others) = match &self.signing_key {
            None => (own.clone(), Vec::new()),
            Some(path) => {
                let failed = |why: &dyn std::fmt::Display| {
                    format!("failed to parse service-account-issuer-key-file: {}: {why}", path.display())
                };
                let pem = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
                let key = SigningKey::from_pem(pem).map_err(|e| failed(&e))?;
                (Arc::new(key), if self.keys.is_empty() { vec![own.public().clone()] } else { Vec::new() })
            }
        };
        for path in &self.keys {
            let failed = |why: &dyn std::fmt::Display| format!("service-account-key-file {}: {why}", path.display());
            let pem = std::fs::read(path).map_err(|e| failed(&e))?;
            others.extend(PublicKey::all_from_pem(&pem).map_err(|e| failed(&e))?);
        }
        let names = if self.issuers.is_empty() { vec![name] } else { self.issuers.clone() };
        Ok(Issuer {
            key,
            others,
            audiences: if self.audiences.is_empty() { names.clone() } else { self.audiences.clone() },
            names,
            jwks_uri: self.jwks_uri.clone(),
            max_expiration: self.max_expiration.map(|most| most.as_secs() as i64),
            extend: self.extend.unwrap_or(true),
        })
    }

    fn check(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        for issuer in &self.issuers {
            if issuer.is_empty() {
                return Err("service-account-issuer should not be an empty string".into());
            }
            if let Some((scheme, rest)) = issuer.split_once(':')
                && (scheme.is_empty()
                    || format!("{scheme}{rest}").contains(|c: char| c.is_whitespace() || c.is_control()))
            {
                return Err(format!("service-account-issuer {issuer:?} contained a ':' but was not a valid URL"));
            }
            if !seen.insert(issuer) {
                return Err(format!("service-account-issuer {issuer:?} is already specified"));
            }
        }
        if let Some(uri) = &self.jwks_uri
            && !uri.starts_with("https://")
        {
            return Err(format!("service-account-jwks-uri requires https scheme, parsed as: {uri}"));
        }
        match self.max_expiration.map(|most| most.as_secs()) {
            Some(seconds) if !(3600..=1 << 32).contains(&seconds) => {
                Err("the service-account-max-token-expiration must be between 1 hour and 2^32 seconds".into())
            }
            _ => Ok(()),
        }
    }
}
