//! Where requests go and who sends them: address, TLS settings, token.

use crate::options::Options;
use client::{Credentials, Remote};
use http::{HeaderValue, Uri};
use net::Trust;
use pki::Leaf;
use rustls::{ClientConfig, RootCertStore};
use std::{path::Path, sync::Arc};

/// One server as one user.
#[derive(Clone)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub tls: Arc<ClientConfig>,
    /// `Bearer …`
    pub authorization: Option<HeaderValue>,
    /// On whose behalf.
    pub acting: Option<Acting>,
}

/// Somebody else than the one who asks (impersonation).
#[derive(Clone, Copy)]
pub struct Acting {
    pub user: &'static str,
    pub groups: &'static [&'static str],
}

impl Target {
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
    /// A server on this machine whose certificate does not matter, as nobody.
    pub fn local(port: u16, http1: bool) -> Self {
        Target {
            host: "127.0.0.1".into(),
            port,
            tls: tls(None, None, http1).expect("ring has the default versions"),
            authorization: None,
            acting: None,
        }
    }
    /// The same, on behalf of somebody.
    pub fn acting(&self, acting: Acting) -> Self {
        Target { acting: Some(acting), ..self.clone() }
    }
    /// What a kubeconfig names.
    pub fn of_kubeconfig(path: &Path, http1: bool) -> Result<Self, String> {
        let remote = client::kubeconfig::read_file(path, None).map_err(|e| e.to_string())?;
        of_remote(&remote, false, http1)
    }
}

/// The target that the options name.
pub fn of(options: &Options) -> Result<Target, String> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let mut remote = match &options.kubeconfig {
        Some(path) => client::kubeconfig::read_file(path, None).map_err(|e| e.to_string())?,
        None => Remote { server: String::new(), ca: String::new(), server_name: None, credentials: Credentials::None },
    };
    if let Some(server) = &options.server {
        remote.server.clone_from(server);
    }
    if let Some(path) = &options.ca {
        remote.ca = read(path)?;
    }
    if let (Some(certificate), Some(key)) = (&options.client_cert, &options.client_key) {
        remote.credentials = Credentials::Certificate { certificate: read(certificate)?, key: read(key)? };
    }
    if let Some(token) = &options.token {
        remote.credentials = Credentials::Token(token.clone());
    }
    of_remote(&remote, options.insecure, options.http1)
}

fn of_remote(remote: &Remote, insecure: bool, http1: bool) -> Result<Target, String> {
    let uri: Uri = remote.server.parse().map_err(|e| format!("server URL {:?}: {e}", remote.server))?;
    if uri.scheme_str() != Some("https") {
        return Err(format!("server URL {:?}: must begin with https://", remote.server));
    }
    let host = uri.host().ok_or_else(|| format!("server URL {:?}: no host", remote.server))?;
    let leaf = match &remote.credentials {
        Credentials::Certificate { certificate, key } => {
            Some(Leaf { cert_pem: certificate.clone(), key_pem: key.clone() })
        }
        _ => None,
    };
    let token = match &remote.credentials {
        Credentials::Token(token) => Some(token.clone()),
        Credentials::TokenFile(path) => {
            Some(std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?.trim().to_string())
        }
        _ => None,
    };
    let authorization = token.map(|t| HeaderValue::from_str(&format!("Bearer {t}"))).transpose();
    let roots = match (insecure, remote.ca.is_empty()) {
        (true, _) => None,
        (false, true) => return Err("neither an authority (--ca) nor --insecure is given".into()),
        (false, false) => Some(net::tls::roots(&remote.ca).map_err(|e| format!("authority: {e}"))?),
    };
    Ok(Target {
        host: host.trim_matches(['[', ']']).into(),
        port: uri.port_u16().unwrap_or(443),
        tls: tls(roots, leaf.as_ref(), http1)?,
        authorization: authorization.map_err(|e| format!("token: {e}"))?,
        acting: None,
    })
}

/// `None` takes any certificate.
fn tls(roots: Option<RootCertStore>, leaf: Option<&Leaf>, http1: bool) -> Result<Arc<ClientConfig>, String> {
    let config = match (roots, http1) {
        (Some(roots), _) => net::tls::client(roots, leaf, http1),
        (None, true) => net::tls::trusting_http1(&Trust::Anyone, leaf),
        (None, false) => net::tls::trusting(&Trust::Anyone, leaf),
    };
    config.map_err(|e| e.to_string())
}
