//! A node's two certificates: asked for by CertificateSigningRequest, kept in the agent's directory, renewed in time.
//!
//! The first client certificate is asked for with a bootstrap token; everything after it with the certificate itself. Names and
//! usages are those that the signers `kubernetes.io/kube-apiserver-client-kubelet` and `kubernetes.io/kubelet-serving` demand.

use base::time::{SignedDuration, Timestamp};
use base64::Engine;
use client::{Client, Error, WatchEvent, WatchOptions, kinds};
use pki::{CertificateRequest, Leaf};
use std::{fmt, path::Path, time::Duration};
use value::{Value, value};

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `kubelet-client.{crt,key}`
    Client,
    /// `kubelet-serving.{crt,key}`
    Serving,
}

impl Purpose {
    fn file(self) -> &'static str {
        match self {
            Purpose::Client => "kubelet-client",
            Purpose::Serving => "kubelet-serving",
        }
    }
    fn signer(self) -> &'static str {
        match self {
            Purpose::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Purpose::Serving => "kubernetes.io/kubelet-serving",
        }
    }
    fn usage(self) -> &'static str {
        match self {
            Purpose::Client => "client auth",
            Purpose::Serving => "server auth",
        }
    }
}

/// Why there is no certificate. Asking again may help with `Api`, and with `Refused` after somebody changed their mind.
#[derive(Debug)]
pub enum CertificateError {
    /// Key, request or file; the message names the path.
    Local(pki::Error),
    /// The API could not be asked.
    Api(Error),
    /// The request was denied, or the signer failed.
    Refused(String),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::Local(e) => e.fmt(f),
            CertificateError::Api(e) => write!(f, "certificate request: {e}"),
            CertificateError::Refused(why) => write!(f, "certificate request refused: {why}"),
        }
    }
}
impl std::error::Error for CertificateError {}
impl From<pki::Error> for CertificateError {
    fn from(e: pki::Error) -> Self {
        CertificateError::Local(e)
    }
}
impl From<Error> for CertificateError {
    fn from(e: Error) -> Self {
        CertificateError::Api(e)
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Subject {
    pub node_name: String,
    /// Names and addresses for the serving certificate.
    pub names: Vec<String>,
}

/// The stored certificate, if it is still good for these names at `now`.
pub fn load(dir: &Path, purpose: Purpose, subject: &Subject, now: Timestamp) -> Result<Option<Leaf>, CertificateError> {
    let Some(leaf) = Leaf::load(dir, purpose.file())? else { return Ok(None) };
    let identity = leaf.identity()?;
    let named: Vec<String> =
        identity.dns_names.iter().cloned().chain(identity.addresses.iter().map(ToString::to_string)).collect();
    let good = identity.common_name == format!("system:node:{}", subject.node_name)
        && identity.not_after > now
        && (purpose == Purpose::Client || subject.names.iter().all(|name| named.contains(name)));
    Ok(good.then_some(leaf))
}

/// The stored certificate, or a new one asked for with `client`. Waits until the request is signed.
pub async fn ensure(
    client: &Client,
    dir: &Path,
    purpose: Purpose,
    subject: &Subject,
    now: Timestamp,
) -> Result<Leaf, CertificateError> {
    match load(dir, purpose, subject, now)? {
        Some(leaf) => Ok(leaf),
        None => request(client, dir, purpose, subject).await,
    }
}

/// Asks for a new certificate, waits for it and stores it.
pub async fn request(
    client: &Client,
    dir: &Path,
    purpose: Purpose,
    subject: &Subject,
) -> Result<Leaf, CertificateError> {
    let user = format!("system:node:{}", subject.node_name);
    let names = if purpose == Purpose::Serving { subject.names.as_slice() } else { &[] };
    let own = CertificateRequest::new(&user, Some("system:nodes"), names)?;
    let api = client.api(&kinds::CSRS);
    let name = format!("{}-{}", if purpose == Purpose::Client { "node-csr" } else { "csr" }, base::ids::suffix(10));
    let body = value!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {
            "request": base64::engine::general_purpose::STANDARD.encode(&own.request_pem),
            "signerName": purpose.signer(), "usages": ["digital signature", purpose.usage()],
        },
    });
    let mut object = api.create(&body).await?;
    let cert_pem = loop {
        if let Some(done) = answer(&object.value()) {
            break done.map_err(CertificateError::Refused)?;
        }
        object = changed(client, &name, &object.revision.to_string()).await?;
    };
    let leaf = Leaf { cert_pem, key_pem: own.key_pem };
    leaf.identity()?;
    leaf.save(dir, purpose.file())?;
    Ok(leaf)
}

/// The certificate, or why there will be none; `None` while it is awaited.
fn answer(csr: &Value) -> Option<Result<String, String>> {
    let conditions = csr.items_at(&["status", "conditions"]);
    let bad = conditions.iter().find(|c| matches!(c.str_at(&["type"]), "Denied" | "Failed"));
    if let Some(bad) = bad {
        return Some(Err(format!("{}: {}", bad.str_at(&["reason"]), bad.str_at(&["message"]))));
    }
    let certificate = csr.str_at(&["status", "certificate"]);
    if certificate.is_empty() {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(certificate).ok();
    Some(decoded.and_then(|pem| String::from_utf8(pem).ok()).ok_or_else(|| "the certificate is not PEM".into()))
}

/// The next state of a request.
async fn changed(client: &Client, name: &str, revision: &str) -> Result<std::sync::Arc<value::Object>, Error> {
    let api = client.api(&kinds::CSRS);
    let options = WatchOptions {
        field_selector: format!("metadata.name={name}"),
        resource_version: revision.into(),
        ..WatchOptions::default()
    };
    let followed = async {
        let mut stream = api.watch(&options).await?;
        while let Some(events) = stream.next().await {
            for event in events? {
                if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                    return Ok(Some(object));
                }
            }
        }
        Ok::<_, Error>(None)
    };
    // A watch that is refused or ends early is no reason to give up: ask again.
    if let Ok(Ok(Some(object))) = tokio::time::timeout(Duration::from_secs(30), followed).await {
        return Ok(object);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    api.get(name).await
}

/// When a certificate is to be renewed: between 70 and 90 % of its life, so that a fleet does not renew at once.
pub fn renew_at(leaf: &Leaf) -> Result<Timestamp, CertificateError> {
    let identity = leaf.identity()?;
    let life = identity.not_after.duration_since(identity.not_before);
    let [random] = base::ids::random::<1>();
    let share = 70.0 + 20.0 * f64::from(random) / 255.0;
    Ok(identity.not_before + SignedDuration::from_secs_f64(life.as_secs_f64() * share / 100.0))
}

/// Renews a certificate for ever and hands each new one to `renewed`. The task sleeps until it is time.
pub async fn keep(
    client: Client,
    dir: std::path::PathBuf,
    purpose: Purpose,
    subject: Subject,
    mut current: Leaf,
    renewed: impl Fn(&Leaf) + Send,
) {
    let mut failures = 0u32;
    loop {
        let wait = match renew_at(&current) {
            Ok(at) if failures == 0 => at.duration_since(Timestamp::now()).max(SignedDuration::ZERO).unsigned_abs(),
            _ => Duration::from_secs(10 << failures.min(6)),
        };
        tokio::time::sleep(wait).await;
        match request(&client, &dir, purpose, &subject).await {
            Ok(leaf) => {
                renewed(&leaf);
                current = leaf;
                failures = 0;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(?purpose, %error, "cannot renew the certificate");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let pending = value!({"status": {"conditions": [{"type": "Approved"}]}});
        assert_eq!(answer(&pending), None);
        let denied = value!({"status": {"conditions": [{"type": "Denied", "reason": "No", "message": "m"}]}});
        assert_eq!(answer(&denied), Some(Err("No: m".into())));
        assert_eq!(answer(&value!({"status": {"certificate": "cGVt"}})), Some(Ok("pem".into())));
    }

    #[test]
    fn a_certificate_is_good_for_its_names_and_its_time() {
        let ca = pki::Authority::new("ca").unwrap();
        let dir = std::env::temp_dir().join(format!("ferry-certs-{}", base::ids::suffix(8)));
        let names = ["n1".to_string(), "10.0.0.1".into()];
        let leaf = ca.server("system:node:n1", &names).unwrap();
        leaf.save(&dir, "kubelet-serving").unwrap();
        let subject = |node: &str, name: &str| Subject { node_name: node.into(), names: vec![name.into()] };
        let now = Timestamp::now();
        let found = |subject: &Subject, now| load(&dir, Purpose::Serving, subject, now).unwrap().is_some();
        assert!(found(&subject("n1", "10.0.0.1"), now));
        assert!(!found(&subject("n1", "10.0.0.2"), now));
        assert!(!found(&subject("n2", "10.0.0.1"), now));
        assert!(!found(&subject("n1", "10.0.0.1"), now + SignedDuration::from_hours(24 * 366)));
        let at = renew_at(&leaf).unwrap();
        assert!(at > now + SignedDuration::from_hours(24 * 250) && at < now + SignedDuration::from_hours(24 * 330));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
