//! Where requests go and who sends them: address, TLS settings, token.

use crate::options::Options;
use client::{Credentials, Remote};
use http::{HeaderValue, Uri};
use pki::Leaf;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{path::Path, sync::Arc};

/// One server as one user.
#[derive(Clone)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub tls: Arc<ClientConfig>,
    /// `Bearer …`
    pub authorization: Option<HeaderValue>,
}

impl Target {
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
    /// A server on this machine whose certificate does not matter, as nobody.
    pub fn local(port: u16, http1: bool) -> Self {
        Target { host: "127.0.0.1".into(), port, tls: tls(None, None, http1), authorization: None }
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
        (false, false) => Some(roots(&remote.ca)?),
    };
    Ok(Target {
        host: host.trim_matches(['[', ']']).into(),
        port: uri.port_u16().unwrap_or(443),
        tls: tls(roots, leaf.as_ref(), http1),
        authorization: authorization.map_err(|e| format!("token: {e}"))?,
    })
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in pki::leaf::certificates(pem.as_bytes()).map_err(|e| e.to_string())? {
        roots.add(certificate).map_err(|e| format!("authority: {e}"))?;
    }
    Ok(roots)
}

fn tls(roots: Option<RootCertStore>, leaf: Option<&Leaf>, http1: bool) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions");
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Any(provider))),
    };
    let shown = leaf.and_then(|leaf| Some((leaf.chain().ok()?, leaf.key().ok()?)));
    let mut config = match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("a readable key"),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![if http1 { b"http/1.1".to_vec() } else { b"h2".to_vec() }];
    Arc::new(config)
}

/// Takes every certificate; signatures are still checked, so that a handshake costs what it costs.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
