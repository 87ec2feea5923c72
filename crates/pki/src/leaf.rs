//! A certificate with its key, in the forms that TLS, kubeconfig and files want.

use crate::{Error, Identity, Result, file};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use std::path::Path;

/// A certificate (or chain, leaf first) and its private key, both PEM. `Debug` hides the key.
#[derive(Clone)]
pub struct Leaf {
    pub cert_pem: String,
    pub key_pem: String,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

impl Leaf {
    /// The chain for rustls, leaf first.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>> {
        certificates(self.cert_pem.as_bytes())
    }
    /// The key for rustls.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(|e| Error::malformed("private key", fault(&e)))
    }
    /// Who the certificate names, and until when.
    pub fn identity(&self) -> Result<Identity> {
        let chain = self.chain()?;
        let first = chain.first().ok_or_else(|| Error::malformed("certificate", "the file holds none"))?;
        Identity::of(first)
    }
    /// `client-certificate-data` of a kubeconfig.
    pub fn cert_data(&self) -> String {
        STANDARD.encode(&self.cert_pem)
    }
    /// `client-key-data` of a kubeconfig.
    pub fn key_data(&self) -> String {
        STANDARD.encode(&self.key_pem)
    }
    /// Reads `<name>.crt` and `<name>.key` from a directory; `None` where neither exists.
    pub fn load(dir: &Path, name: &str) -> Result<Option<Leaf>> {
        let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        match (file::read(&cert)?, file::read(&key)?) {
            (Some(cert_pem), Some(key_pem)) => Ok(Some(Leaf { cert_pem, key_pem })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Error::Incomplete { present: cert, missing: key }),
            (None, Some(_)) => Err(Error::Incomplete { present: key, missing: cert }),
        }
    }
    /// Writes `<name>.key`, then `<name>.crt` (so that a certificate never stands without its key).
    pub fn save(&self, dir: &Path, name: &str) -> Result<()> {
        file::write(&dir.join(format!("{name}.key")), self.key_pem.as_bytes())?;
        file::write(&dir.join(format!("{name}.crt")), self.cert_pem.as_bytes())
    }
}

/// All certificates of a PEM text.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>();
    read.map_err(|e| Error::malformed("certificate", fault(&e)))
}

/// What is wrong with a PEM text, in words: the library writes lines as lists of bytes. Of a key's text nothing is shown.
fn fault(e: &pem::Error) -> String {
    match e {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("it is cut off: the line -----END {}----- is missing", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { .. } => "the line -----BEGIN does not end in five hyphens".into(),
        pem::Error::Base64Decode(_) => "what stands between the lines -----BEGIN and -----END is not base64".into(),
        pem::Error::NoItemsFound => "the file holds none in PEM".into(),
        other => other.to_string(),
    }
}

/// `certificate-authority-data` and its like: base64 of a PEM text.
pub fn pem_data(pem: &str) -> String {
    STANDARD.encode(pem)
}
