//! TLS settings: one place for protocol versions, ALPN, client certificates and resumption.

use crate::Peer;
use base::time::Timestamp;
use bytes::Bytes;
use parking_lot::RwLock;
use pki::{Error, Leaf, Result};
pub use rustls::RootCertStore;
use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use std::sync::Arc;

/// Protocols in order of preference.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate that a server shows; it may be replaced while the server runs (rotation).
#[derive(Debug)]
pub struct CertificateSlot(RwLock<Option<Arc<CertifiedKey>>>);

impl CertificateSlot {
    /// A slot with a certificate.
    pub fn new(leaf: &Leaf) -> Result<Arc<Self>> {
        let slot = CertificateSlot::empty();
        slot.set(leaf)?;
        Ok(slot)
    }
    /// A slot that refuses every handshake until [`CertificateSlot::set`] (a node that waits for its serving certificate).
    pub fn empty() -> Arc<Self> {
        Arc::new(CertificateSlot(RwLock::new(None)))
    }
    /// New connections see the new certificate; old ones stay.
    pub fn set(&self, leaf: &Leaf) -> Result<()> {
        let key = CertifiedKey::from_der(leaf.chain()?, leaf.key()?, &provider())
            .map_err(|e| Error::Malformed { what: "server certificate", why: e.to_string() })?;
        *self.0.write() = Some(Arc::new(key));
        Ok(())
    }
    /// When the certificate ends.
    pub fn not_after(&self) -> Option<Timestamp> {
        let held = self.0.read().clone()?;
        pki::Identity::of(held.cert.first()?).ok().map(|id| id.not_after)
    }
}

impl ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }
}

/// A server that takes client certificates of `clients` and callers without any (who must show a token then).
pub fn server(certificate: Arc<CertificateSlot>, clients: RootCertStore) -> Result<Arc<ServerConfig>> {
    let bad = |why: &dyn std::fmt::Display| Error::Malformed { what: "TLS set-up", why: why.to_string() };
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| bad(&e))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(&e))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    // Resumed handshakes carry the verified client certificate inside the ticket.
    config.ticketer = ring::Ticketer::new().map_err(|e| bad(&e))?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// Authorities that are asked after the handshake, by a server that tells kinds of clients apart.
#[derive(Debug, Clone)]
pub struct ClientAuthority(Arc<dyn ClientCertVerifier>);

impl ClientAuthority {
    /// There must be at least one root.
    pub fn new(roots: RootCertStore) -> Result<Self> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let verifier = verifier.map_err(|e| Error::Malformed { what: "client authorities", why: e.to_string() })?;
        Ok(ClientAuthority(verifier))
    }
    /// Whether one of them has signed what a peer has shown.
    pub fn knows(&self, peer: &Peer) -> bool {
        let Some((certificate, more)) = peer.chain.split_first() else { return false };
        self.0.verify_client_cert(certificate, more, UnixTime::now()).is_ok()
    }
}

/// A client that trusts `roots` and shows `leaf` where it has one. `http1` alone is offered for upgrades.
pub fn client(roots: RootCertStore, leaf: Option<&Leaf>, http1: bool) -> Result<Arc<ClientConfig>> {
    make_client(Some(roots), leaf, http1)
}

/// Whose certificates a call takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The authorities of the machine, read anew.
    System,
    /// The authorities of a PEM text (a `caBundle`).
    Bundle(Bytes),
    /// Any certificate: probes, `insecureSkipTLSVerify`.
    Anyone,
}

/// A client for calls out that offers HTTP/2 and HTTP/1.1.
pub fn trusting(trust: &Trust, leaf: Option<&Leaf>) -> Result<Arc<ClientConfig>> {
    make_client(authorities(trust)?, leaf, false)
}

/// The same that offers HTTP/1.1 alone, for what may be upgraded.
pub fn trusting_http1(trust: &Trust, leaf: Option<&Leaf>) -> Result<Arc<ClientConfig>> {
    make_client(authorities(trust)?, leaf, true)
}

/// `None` where any certificate will do.
fn authorities(trust: &Trust) -> Result<Option<RootCertStore>> {
    Ok(match trust {
        Trust::Anyone => None,
        Trust::Bundle(pem) => {
            let roots = roots(&String::from_utf8_lossy(pem))?;
            if roots.is_empty() {
                return Err(Error::Malformed { what: "root certificates", why: "the text holds none".into() });
            }
            Some(roots)
        }
        Trust::System => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Some(roots)
        }
    })
}

/// A client that takes any certificate, shows none, and offers HTTP/1.1 alone.
pub fn anyone() -> Result<Arc<ClientConfig>> {
    make_client(None, None, true)
}

/// `None` takes any certificate.
fn make_client(roots: Option<RootCertStore>, leaf: Option<&Leaf>, http1: bool) -> Result<Arc<ClientConfig>> {
    let bad = |why: &dyn std::fmt::Display| Error::Malformed { what: "TLS set-up", why: why.to_string() };
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(|e| bad(&e))?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider()))),
    };
    let mut config = match leaf {
        Some(leaf) => builder.with_client_auth_cert(leaf.chain()?, leaf.key()?).map_err(|e| bad(&e))?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = ALPN[usize::from(http1)..].iter().map(|p| p.to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(64);
    Ok(Arc::new(config))
}

/// For [`Trust::Anyone`]: encrypted, to whoever answers.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The roots of a PEM text.
pub fn roots(pem: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for cert in pki::leaf::certificates(pem.as_bytes())? {
        roots.add(cert).map_err(|e| Error::Malformed { what: "root certificate", why: e.to_string() })?;
    }
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
