//! Who the node is: a client and a serving certificate, asked for, kept and renewed by the kubelet's own rules.

use base::clock::{Clock, System};
use client::{Client, Credentials, Remote, Rotator};
use kubelet::certificates::{CertificateError, Purpose, Subject, ensure, keep, load};
use net::CertificateSlot;
use pki::Leaf;
use std::{path::Path, sync::Arc, time::Duration};

/// Under this name the node manages fields.
const MANAGER: &str = "kubelet";

/// The node's client, as itself; and the place of its serving certificate, which is filled once it is signed (the node
/// must be registered first: it gets the names that its object carries).
pub async fn obtain(
    dir: &Path,
    subject: Subject,
    token: Option<&str>,
    remote: impl Fn(Credentials) -> Remote + Send + 'static,
) -> Result<(Client, Arc<CertificateSlot>), String> {
    let own = first_certificate(dir, &subject, token, &remote).await?;
    let (client, rotator) = remote(certificate(&own)).rotating().map_err(|e| e.to_string())?;
    let client = client.named(MANAGER);
    let slot = CertificateSlot::empty();
    tokio::spawn(keep_client(client.clone(), dir.into(), subject.clone(), own, rotator, remote));
    tokio::spawn(keep_serving(client.clone(), dir.into(), subject, slot.clone()));
    Ok((client, slot))
}

/// The stored client certificate, or one asked for with the bootstrap token.
async fn first_certificate(
    dir: &Path,
    subject: &Subject,
    token: Option<&str>,
    remote: &impl Fn(Credentials) -> Remote,
) -> Result<Leaf, String> {
    let now = System.now();
    if let Some(leaf) = load(dir, Purpose::Client, subject, now).map_err(|e| e.to_string())? {
        return Ok(leaf);
    }
    let token = token.ok_or("this node has no certificate yet: it needs a --token to ask for one")?;
    let (bootstrap, _) = remote(Credentials::Token(token.into())).rotating().map_err(|e| e.to_string())?;
    let bootstrap = bootstrap.named(MANAGER);
    let mut wait = Duration::from_millis(50);
    loop {
        match ensure(&bootstrap, dir, Purpose::Client, subject, now).await {
            Ok(leaf) => return Ok(leaf),
            // A server that is not there yet may come; one that says no, or is another cluster's, has said it.
            Err(CertificateError::Api(error)) if error.retryable() && !is_stranger(&error) => {
                tracing::warn!(%error, "the server cannot be asked for a certificate yet");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(10));
            }
            Err(error) => return Err(format!("node {}: {error}", subject.node_name)),
        }
    }
}

/// Its certificate is not the cluster's authority's. The words are rustls's; the library in between keeps nothing else.
fn is_stranger(error: &client::Error) -> bool {
    matches!(error, client::Error::Transport(why) if why.contains("invalid peer certificate"))
}

fn certificate(leaf: &Leaf) -> Credentials {
    Credentials::Certificate { certificate: leaf.cert_pem.clone(), key: leaf.key_pem.clone() }
}

async fn keep_client(
    client: Client,
    dir: std::path::PathBuf,
    subject: Subject,
    own: Leaf,
    rotator: Rotator,
    remote: impl Fn(Credentials) -> Remote + Send + 'static,
) {
    let renewed = move |leaf: &Leaf| {
        if let Err(error) = rotator.replace(&remote(certificate(leaf))) {
            tracing::error!(%error, "the renewed client certificate cannot be used");
        }
    };
    keep(client, dir, Purpose::Client, subject, own, renewed).await;
}

async fn keep_serving(client: Client, dir: std::path::PathBuf, subject: Subject, slot: Arc<CertificateSlot>) {
    let fill = |leaf: &Leaf| {
        if let Err(error) = slot.set(leaf) {
            tracing::error!(%error, "the serving certificate cannot be used");
        }
    };
    let mut wait = Duration::from_millis(50);
    let leaf = loop {
        match ensure(&client, &dir, Purpose::Serving, &subject, System.now()).await {
            Ok(leaf) => break leaf,
            Err(error) => tracing::warn!(%error, "no serving certificate yet: logs and exec do not work"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(10));
    };
    fill(&leaf);
    keep(client, dir, Purpose::Serving, subject, leaf, fill).await;
}
