//! What a certificate says of its holder.

use crate::{Error, Result};
use base::time::Timestamp;
use std::net::IpAddr;
use x509_parser::{extensions::GeneralName, prelude::*};

/// The parser tells of its own steps, not of the file.
pub(crate) const NO_X509: &str = "what the file holds as one is not X.509";

/// Subject, names, usages and life of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// CN: the user's name.
    pub common_name: String,
    /// O: the user's groups.
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub client_auth: bool,
    pub server_auth: bool,
    /// Hexadecimal.
    pub serial: String,
    /// SHA-256 of the whole certificate, hexadecimal.
    pub fingerprint: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Identity {
    /// Reads one certificate (DER). The signature is not looked at: TLS has done so, or the file is our own.
    pub fn of(der: &[u8]) -> Result<Self> {
        let (_, cert) = X509Certificate::from_der(der).map_err(|_| Error::malformed("certificate", NO_X509))?;
        let (dns_names, addresses) = cert
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|san| alternative_names(&san.value.general_names))
            .unwrap_or_default();
        let usage = cert.extended_key_usage().ok().flatten().map(|e| e.value);
        let at = |t: &ASN1Time| Timestamp::from_second(t.timestamp()).unwrap_or(Timestamp::MAX);
        Ok(Identity {
            common_name: text(cert.subject().iter_common_name()).into_iter().next().unwrap_or_default(),
            organizations: text(cert.subject().iter_organization()),
            dns_names,
            addresses,
            client_auth: usage.is_some_and(|u| u.client_auth || u.any),
            server_auth: usage.is_some_and(|u| u.server_auth || u.any),
            serial: base::ids::hex(cert.raw_serial()),
            fingerprint: base::ids::hex(ring::digest::digest(&ring::digest::SHA256, der).as_ref()),
            not_before: at(&cert.validity().not_before),
            not_after: at(&cert.validity().not_after),
        })
    }
    /// True once less than a fifth of the life is left (kubelet and server renew then).
    pub fn renew_soon(&self, now: Timestamp) -> bool {
        let life = self.not_after.as_second() - self.not_before.as_second();
        self.not_after.as_second() - now.as_second() < life / 5
    }
}

/// DNS names and addresses of a list of alternative names.
pub(crate) fn alternative_names(names: &[GeneralName<'_>]) -> (Vec<String>, Vec<IpAddr>) {
    let mut out = (Vec::new(), Vec::new());
    for name in names {
        match name {
            GeneralName::DNSName(dns) => out.0.push((*dns).to_string()),
            GeneralName::IPAddress(raw) => out.1.extend(address(raw)),
            _ => {}
        }
    }
    out
}

pub(crate) fn text<'a>(attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Vec<String> {
    attributes.filter_map(|a| a.as_str().ok().map(String::from)).collect()
}

fn address(raw: &[u8]) -> Option<IpAddr> {
    match raw.len() {
        4 => <[u8; 4]>::try_from(raw).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(raw).ok().map(IpAddr::from),
    }
}
