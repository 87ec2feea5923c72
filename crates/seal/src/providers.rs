//! Providers in their order, and which kind has which: the configuration at work.

use crate::{
    Error,
    cipher::Cipher,
    config::{self, Configuration},
    kms::Kms,
    metrics::{Metrics, Way},
    validate::group_resource,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use resource::Opened;
use schema::Kind;
use std::{collections::HashMap, sync::Arc, time::Instant};

/// No value that is not sealed begins like this: JSON begins with `{`, protobuf with `k8s\0`.
const SEALED: &[u8] = b"k8s:enc:";
const NOT_IDENTITY: &str = "identity transformer tried to read encrypted data";
const NO_PREFIX: &str = "no matching prefix found";

/// One provider.
pub enum Provider {
    /// Named keys of one algorithm: `prefix`, the key's name, a colon, the sealed bytes.
    Keys { prefix: &'static str, keys: Vec<(String, Cipher)>, missing: &'static str },
    /// Nothing is sealed.
    Identity,
    /// A key service.
    Kms(Arc<Kms>),
}

impl Provider {
    /// The cluster's own key, as it was before there were configurations.
    pub fn own(key: &[u8; 32]) -> Option<Self> {
        Some(Provider::gcm(vec![("key1:".into(), Cipher::gcm(key)?)]))
    }
    fn gcm(keys: Vec<(String, Cipher)>) -> Self {
        let missing = "no matching key was found for the provided AES transformer";
        Provider::Keys { prefix: "k8s:enc:aesgcm:v1:", keys, missing }
    }
    fn cbc(keys: Vec<(String, Cipher)>) -> Self {
        let missing = "no matching key was found for the provided AES transformer";
        Provider::Keys { prefix: "k8s:enc:aescbc:v1:", keys, missing }
    }
    fn secretbox(keys: Vec<(String, Cipher)>) -> Self {
        let missing = "no matching key was found for the provided Secretbox transformer";
        Provider::Keys { prefix: "k8s:enc:secretbox:v1:", keys, missing }
    }
    fn new(config: &config::Provider, make: &mut Maker<'_>) -> Result<Self, Error> {
        match config {
            config::Provider { aesgcm: Some(found), .. } => keys(found, Cipher::gcm).map(Provider::gcm),
            config::Provider { aescbc: Some(found), .. } => keys(found, Cipher::cbc).map(Provider::cbc),
            config::Provider { secretbox: Some(found), .. } => keys(found, Cipher::secretbox).map(Provider::secretbox),
            config::Provider { kms: Some(found), .. } => make(found).map(Provider::Kms),
            _ => Ok(Provider::Identity),
        }
    }

    /// What values of this provider begin with; empty for values as they are.
    pub fn prefix(&self) -> &str {
        match self {
            Provider::Keys { prefix, .. } => prefix,
            Provider::Kms(kms) => &kms.prefix,
            Provider::Identity => "",
        }
    }
    pub fn seal(&self, place: &str, plain: &Bytes) -> Result<Bytes, String> {
        match self {
            Provider::Keys { prefix, keys, .. } => {
                let (name, cipher) = keys.first().ok_or("the provider has no keys")?;
                Ok([prefix.as_bytes(), name.as_bytes(), &cipher.seal(place, plain)?].concat().into())
            }
            Provider::Kms(kms) => kms.seal(place, plain),
            Provider::Identity => Ok(plain.clone()),
        }
    }
    /// Opens a value that begins with the provider's prefix.
    pub fn open(&self, place: &str, stored: &Bytes) -> Result<Opened, String> {
        match self {
            Provider::Keys { prefix, keys, missing } => {
                let rest = stored.strip_prefix(prefix.as_bytes()).ok_or(NO_PREFIX)?;
                let mut failed = Vec::new();
                // Several keys may have one name.
                for (i, (name, cipher)) in keys.iter().enumerate() {
                    let Some(sealed) = rest.strip_prefix(name.as_bytes()) else { continue };
                    match cipher.open(place, sealed) {
                        Ok(plain) => return Ok(Opened { plain: plain.into(), stale: i > 0 }),
                        Err(why) => failed.push(why),
                    }
                }
                Err(joined(failed).unwrap_or_else(|| (*missing).into()))
            }
            Provider::Kms(kms) => kms.open(place, stored.strip_prefix(kms.prefix.as_bytes()).ok_or(NO_PREFIX)?),
            Provider::Identity if stored.starts_with(SEALED) => Err(NOT_IDENTITY.into()),
            Provider::Identity => Ok(Opened { plain: stored.clone(), stale: false }),
        }
    }
}

/// Makes key services.
pub type Maker<'a> = dyn FnMut(&config::Kms) -> Result<Arc<Kms>, Error> + 'a;

fn keys(found: &[config::Key], make: impl Fn(&[u8]) -> Option<Cipher>) -> Result<Vec<(String, Cipher)>, Error> {
    let one = |key: &config::Key| {
        let name = key.name.as_str();
        let failed = |why| Error::Providers(format!("error while creating cipher for named key {name}: {why}"));
        let secret = STANDARD.decode(&key.secret).map_err(|_| failed("the secret is no base64"))?;
        let cipher = make(&secret).ok_or_else(|| failed("the secret has the wrong length"))?;
        Ok((format!("{name}:"), cipher))
    };
    found.iter().map(one).collect()
}

/// The providers of a kind, in order.
#[derive(Default)]
pub struct Chain(Vec<Arc<Provider>>);

impl Chain {
    /// Seals with the first.
    pub fn seal(&self, kind: &Kind, place: &str, plain: &Bytes, metrics: &Metrics) -> Result<Bytes, String> {
        let start = Instant::now();
        let first = self.0.first().ok_or("there is no provider")?;
        let sealed = first.seal(place, plain);
        metrics.transformed(&resource(kind), Way::ToStorage, first.prefix(), sealed.is_ok(), start.elapsed());
        sealed
    }
    /// Opens with the first that can; with any but the first one, the value is stale.
    pub fn open(&self, kind: &Kind, place: &str, stored: &Bytes, metrics: &Metrics) -> Result<Opened, String> {
        let start = Instant::now();
        let mut failed = Vec::new();
        for (i, provider) in self.0.iter().enumerate() {
            let prefix = provider.prefix();
            if !stored.starts_with(prefix.as_bytes()) {
                continue;
            }
            let opened = provider.open(place, stored);
            // Sealed values are no business of the identity provider, wherever it stands.
            if opened.is_err() && prefix.is_empty() {
                continue;
            }
            let name = if prefix.is_empty() { "identity" } else { prefix };
            metrics.transformed(&resource(kind), Way::FromStorage, name, opened.is_ok(), start.elapsed());
            match opened {
                Ok(Opened { plain, stale }) => return Ok(Opened { plain, stale: stale || i > 0 }),
                // Two providers may share a prefix.
                Err(why) => failed.push(why),
            }
        }
        if failed.is_empty() {
            metrics.transformed(&resource(kind), Way::FromStorage, "unknown", false, start.elapsed());
        }
        Err(joined(failed).unwrap_or_else(|| NO_PREFIX.into()))
    }
}

fn resource(kind: &Kind) -> String {
    base::status::qualified(&kind.group, &kind.plural)
}

/// Errors as upstream joins them.
fn joined(mut failed: Vec<String>) -> Option<String> {
    match failed.len() {
        0 => None,
        1 => failed.pop(),
        _ => Some(format!("[{}]", failed.join(", "))),
    }
}

/// Which kind has which providers.
#[derive(Default)]
pub struct Providers {
    /// By group, then by resource; `*` stands for all.
    chains: HashMap<String, HashMap<String, Arc<Chain>>>,
    /// Key services, in the order of the file.
    pub services: Vec<Arc<Kms>>,
}

impl Providers {
    /// Makes the providers of a valid configuration.
    pub fn new(configuration: &Configuration, make: &mut Maker<'_>) -> Result<Self, Error> {
        let mut services = Vec::new();
        let mut lists: HashMap<(String, String), Vec<Arc<Provider>>> = HashMap::new();
        for rule in &configuration.rules {
            let mut made = Vec::new();
            for provider in &rule.providers {
                let provider = Provider::new(provider, make)?;
                services.extend(match &provider {
                    Provider::Kms(kms) => Some(kms.clone()),
                    _ => None,
                });
                made.push(Arc::new(provider));
            }
            for text in &rule.resources {
                let (group, resource) = group_resource(text);
                for masking in [(group, "*"), ("*", "*")] {
                    if lists.contains_key(&(masking.0.to_string(), masking.1.to_string())) {
                        let (this, that) = (shown(group, resource), shown(masking.0, masking.1));
                        let why = format!("resource {this:?} is masked by earlier rule {that:?}");
                        return Err(Error::Providers(why));
                    }
                }
                lists.entry((group.into(), resource.into())).or_default().extend(made.iter().cloned());
            }
        }
        let mut chains: HashMap<String, HashMap<String, Arc<Chain>>> = HashMap::new();
        for ((group, resource), list) in lists {
            chains.entry(group).or_default().insert(resource, Arc::new(Chain(list)));
        }
        Ok(Providers { chains, services })
    }

    /// Asks all key services whether they are well.
    pub async fn check(&self) -> Result<(), String> {
        let mut failed = Vec::new();
        for (i, kms) in self.services.iter().enumerate() {
            failed.extend(kms.check().await.err().map(|why| format!("kms-provider-{i}: {why}")));
        }
        joined(failed).map_or(Ok(()), Err)
    }

    /// The providers that the configuration names for a kind.
    pub fn of(&self, kind: &Kind) -> Option<&Arc<Chain>> {
        if self.chains.is_empty() {
            return None;
        }
        let group = self.chains.get(kind.group.as_str());
        let named = group.and_then(|chains| chains.get(kind.plural.as_str()).or_else(|| chains.get("*")));
        named.or_else(|| self.chains.get("*")?.get("*"))
    }
}

/// Opens a value of a kind that nothing seals.
pub fn plain(stored: &Bytes) -> Result<Opened, String> {
    Provider::Identity.open("", stored)
}

/// As files have it: `*.` is all of the core group.
fn shown(group: &str, resource: &str) -> String {
    match (group, resource) {
        ("", "*") => "*.".into(),
        ("", resource) => resource.into(),
        (group, resource) => format!("{resource}.{group}"),
    }
}
