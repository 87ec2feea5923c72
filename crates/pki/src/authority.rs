//! A certificate authority: a self-signed P-256 certificate and its key.

use crate::{Error, Identity, Leaf, Request, Result};
use base::clock::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::{RootCertStore, pki_types::CertificateDer};
use std::{
    path::Path,
    time::{Duration, SystemTime},
};

/// Upstream's kubeadm gives authorities ten years and leafs one.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// One year.
pub const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a leaf may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    Client,
    Server,
    Both,
}

/// Signs certificates.
pub struct Authority {
    leaf: Leaf,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority named `common_name`.
    pub fn new(common_name: &str) -> Result<Self> {
        let key = new_key()?;
        let mut params = params(common_name, &[], AUTHORITY_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let cert = params.self_signed(&key).map_err(|e| Error::malformed("authority", e))?;
        Authority::from_leaf(Leaf { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
    /// An authority from its files.
    pub fn from_leaf(leaf: Leaf) -> Result<Self> {
        let (der, key) = (certificate(&leaf)?, key_pair(&leaf)?);
        Ok(Authority { issuer: issuer(&der, key)?, leaf, der })
    }
    /// Reads `<name>.crt` and `<name>.key` from a directory; `None` where neither exists. Errors name the file at fault.
    pub fn load(dir: &Path, name: &str) -> Result<Option<Self>> {
        let Some(leaf) = Leaf::load(dir, name)? else { return Ok(None) };
        let (crt, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        let der = certificate(&leaf).map_err(Error::at(&crt))?;
        let key = key_pair(&leaf).map_err(Error::at(&key))?;
        let issuer = issuer(&der, key).map_err(Error::at(&crt))?;
        Ok(Some(Authority { leaf, der, issuer }))
    }
    /// Certificate and key, for files.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }
    /// The certificate that clients trust.
    pub fn cert_pem(&self) -> &str {
        &self.leaf.cert_pem
    }
    pub fn cert_der(&self) -> &CertificateDer<'static> {
        &self.der
    }
    /// This authority as the only root.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        // The certificate was parsed when this authority was made.
        let _ = roots.add(self.der.clone());
        roots
    }

    /// A server certificate; names that read as addresses become IP SANs.
    pub fn server(&self, common_name: &str, names: &[String]) -> Result<Leaf> {
        self.issue(common_name, &[], names, Usage::Server, LEAF_LIFE)
    }
    /// A client certificate: `common_name` is the user and `organization` the group.
    pub fn client(&self, common_name: &str, organization: Option<&str>) -> Result<Leaf> {
        self.issue(common_name, organization.as_slice(), &[], Usage::Client, LEAF_LIFE)
    }
    /// A leaf with a new key.
    pub fn issue(
        &self,
        common_name: &str,
        organizations: &[&str],
        names: &[String],
        usage: Usage,
        life: Duration,
    ) -> Result<Leaf> {
        let key = new_key()?;
        let mut params = params(common_name, organizations, life);
        params.subject_alt_names = alternative_names(names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = purposes(usage);
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &self.issuer).map_err(|e| Error::malformed("certificate", e))?;
        Ok(Leaf { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
    /// Signs a request: subject, SANs and key are the request's, usages and life are the signer's decision. Returns PEM.
    pub fn sign(&self, request: &Request, usages: &[String], life: Duration) -> Result<String> {
        let mut parsed = rcgen::CertificateSigningRequestParams::from_der(&request.der().into())
            .map_err(|e| Error::malformed("certificate request", e))?;
        // An address that the caller took out of the request is not signed.
        parsed.params.subject_alt_names.retain(|name| match name {
            rcgen::SanType::IpAddress(address) => request.addresses.contains(address),
            _ => true,
        });
        let (key_usages, purposes) = usages_of(usages);
        parsed.params.key_usages = key_usages;
        parsed.params.extended_key_usages = purposes;
        parsed.params.is_ca = IsCa::ExplicitNoCa;
        parsed.params.use_authority_key_identifier_extension = true;
        parsed.params.serial_number = Some(serial());
        (parsed.params.not_before, parsed.params.not_after) = (before().into(), (now() + life).into());
        let cert = parsed.signed_by(&self.issuer).map_err(|e| Error::malformed("certificate request", e))?;
        Ok(cert.pem())
    }
    /// Subject and life of the authority itself.
    pub fn identity(&self) -> Result<Identity> {
        Identity::of(&self.der)
    }
}

fn certificate(leaf: &Leaf) -> Result<CertificateDer<'static>> {
    let der = leaf.chain()?.into_iter().next();
    let der = der.ok_or_else(|| Error::malformed("certificate", "the file holds none in PEM"))?;
    // The signer's library reads no more of it than it needs.
    Identity::of(&der)?;
    Ok(der)
}

fn key_pair(leaf: &Leaf) -> Result<KeyPair> {
    let understood = "not an unencrypted key in PKCS #8 (-----BEGIN PRIVATE KEY-----)";
    KeyPair::try_from(&leaf.key()?).map_err(|_| Error::malformed("private key", understood))
}

fn issuer(der: &CertificateDer<'static>, key: KeyPair) -> Result<Issuer<'static, KeyPair>> {
    Issuer::from_ca_cert_der(der, key).map_err(|e| Error::malformed("certificate", e))
}

/// A new P-256 key.
pub(crate) fn new_key() -> Result<KeyPair> {
    KeyPair::generate().map_err(|e| Error::malformed("key", e))
}

pub(crate) fn subject(common_name: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (i, organization) in organizations.iter().enumerate() {
        // rcgen holds one value per type; a second organization goes in under the same OID by number.
        let ty = if i == 0 { DnType::OrganizationName } else { DnType::CustomDnType(vec![2, 5, 4, 10]) };
        name.push(ty, *organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

pub(crate) fn alternative_names(names: &[String]) -> Result<Vec<rcgen::SanType>> {
    let params = CertificateParams::new(names.to_vec()).map_err(|e| Error::malformed("alternative name", e))?;
    Ok(params.subject_alt_names)
}

fn params(common_name: &str, organizations: &[&str], life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(common_name, organizations);
    params.serial_number = Some(serial());
    (params.not_before, params.not_after) = (before().into(), (now() + life).into());
    params
}

/// Clocks of joining machines may be a little behind (upstream's signer backdates by five minutes).
fn before() -> SystemTime {
    now() - Duration::from_secs(300)
}

/// The machine's own clock: TLS checks certificates against no other.
fn now() -> SystemTime {
    base::clock::System.now().into()
}

fn serial() -> SerialNumber {
    let mut bytes = base::ids::random::<16>();
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}

fn purposes(usage: Usage) -> Vec<ExtendedKeyUsagePurpose> {
    match usage {
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Both => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
    }
}

/// The words of `certificates.k8s.io/v1 KeyUsage`; unknown ones were refused by validation.
fn usages_of(usages: &[String]) -> (Vec<KeyUsagePurpose>, Vec<ExtendedKeyUsagePurpose>) {
    let (mut key, mut extended) = (Vec::new(), Vec::new());
    for usage in usages {
        match usage.as_str() {
            "signing" | "digital signature" => key.push(KeyUsagePurpose::DigitalSignature),
            "content commitment" => key.push(KeyUsagePurpose::ContentCommitment),
            "key encipherment" => key.push(KeyUsagePurpose::KeyEncipherment),
            "key agreement" => key.push(KeyUsagePurpose::KeyAgreement),
            "data encipherment" => key.push(KeyUsagePurpose::DataEncipherment),
            "client auth" => extended.push(ExtendedKeyUsagePurpose::ClientAuth),
            "server auth" => extended.push(ExtendedKeyUsagePurpose::ServerAuth),
            "code signing" => extended.push(ExtendedKeyUsagePurpose::CodeSigning),
            "email protection" => extended.push(ExtendedKeyUsagePurpose::EmailProtection),
            "timestamping" => extended.push(ExtendedKeyUsagePurpose::TimeStamping),
            "ocsp signing" => extended.push(ExtendedKeyUsagePurpose::OcspSigning),
            _ => {}
        }
    }
    key.dedup();
    (key, extended)
}
