//! Who the node is: a client and a serving certificate, both asked for through CertificateSigningRequests.

use base::ids;
use base64::{Engine, engine::general_purpose::STANDARD};
use client::{Client, Credentials, Remote, kinds};
use net::CertificateSlot;
use pki::{CertificateRequest, Leaf};
use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};
use value::{Value, value};

const CLIENT: &str = "kubelet-client";
const SERVING: &str = "kubelet-serving";

/// Reads both certificates, or gets them: the client's with the bootstrap token, the serving one as the node itself.
pub async fn obtain(
    files: &Path,
    node: &str,
    address: IpAddr,
    token: Option<&str>,
    remote: &impl Fn(Credentials) -> Remote,
) -> Result<(Leaf, Arc<CertificateSlot>), String> {
    let own = match Leaf::load(files, CLIENT).map_err(|e| e.to_string())? {
        Some(leaf) => leaf,
        None => {
            let token = token.ok_or("this node has no certificate yet; give it a --token")?;
            let bootstrap = Client::remote(&remote(Credentials::Token(token.into()))).map_err(|e| e.to_string())?;
            let signer = "kubernetes.io/kube-apiserver-client-kubelet";
            let leaf = request(&bootstrap, node, &[], signer, "client auth").await?;
            leaf.save(files, CLIENT).map_err(|e| e.to_string())?;
            leaf
        }
    };
    let slot = CertificateSlot::empty();
    let credentials = Credentials::Certificate { certificate: own.cert_pem.clone(), key: own.key_pem.clone() };
    let client = Client::remote(&remote(credentials)).map_err(|e| e.to_string())?;
    let (files, node, filled) = (files.to_path_buf(), node.to_string(), slot.clone());
    tokio::spawn(async move {
        let names = [node.clone(), address.to_string()];
        loop {
            let found = match Leaf::load(&files, SERVING) {
                Ok(Some(leaf)) => Ok(leaf),
                _ => request(&client, &node, &names, "kubernetes.io/kubelet-serving", "server auth").await,
            };
            match found.and_then(|leaf| {
                leaf.save(&files, SERVING).map_err(|e| e.to_string())?;
                filled.set(&leaf).map_err(|e| e.to_string())
            }) {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "no serving certificate yet"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    Ok((own, slot))
}

async fn request(client: &Client, node: &str, names: &[String], signer: &str, purpose: &str) -> Result<Leaf, String> {
    let names = names.to_vec();
    let asked = CertificateRequest::new(&format!("system:node:{node}"), Some("system:nodes"), &names)
        .map_err(|e| e.to_string())?;
    let name = format!("csr-{}", ids::suffix(5));
    let csr = value!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name.as_str()},
        "spec": {
            "request": STANDARD.encode(&asked.request_pem), "signerName": signer, "usages": ["digital signature", purpose],
        },
    });
    let api = client.api(&kinds::CSRS);
    api.create(&csr).await.map_err(|e| format!("certificate of node {node}: {e}"))?;
    for _ in 0..600 {
        let found: Value = api.get(&name).await.map_err(|e| e.to_string())?.value();
        if let Ok(pem) = STANDARD.decode(found.str_at(&["status", "certificate"]))
            && !pem.is_empty()
        {
            let cert_pem = String::from_utf8(pem).map_err(|e| e.to_string())?;
            return Ok(Leaf { cert_pem, key_pem: asked.key_pem });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("certificate of node {node}: {name} was not signed"))
}
