//! Certificate requests (PKCS #10): reading somebody's, making one's own.

use crate::{Error, Result, authority, identity};
use rcgen::CertificateParams;
use std::net::IpAddr;
use x509_parser::{certification_request::X509CertificationRequest, prelude::*};

/// What a request asks for. Its signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub emails: Vec<String>,
    pub uris: Vec<String>,
    der: Vec<u8>,
}

impl Request {
    /// Reads a PEM request, as `spec.request` holds it (after base64).
    pub fn parse(pem: &[u8]) -> Result<Self> {
        let bad = |why: &dyn std::fmt::Display| Error::malformed("certificate request", why);
        let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|e| bad(&e))?;
        if block.label != "CERTIFICATE REQUEST" {
            return Err(bad(&"PEM block type must be CERTIFICATE REQUEST"));
        }
        let (_, csr) = X509CertificationRequest::from_der(&block.contents).map_err(|e| bad(&e))?;
        let name = &csr.certification_request_info.subject;
        // The signer's library takes one attribute per RDN, and panics at none.
        if name.iter().any(|rdn| rdn.iter().count() != 1) {
            return Err(Error::Unsupported("subject has an RDN that is not one attribute".into()));
        }
        csr.verify_signature().map_err(|e| bad(&e))?;
        let mut out = Request {
            common_name: identity::text(name.iter_common_name()).into_iter().next().unwrap_or_default(),
            organizations: identity::text(name.iter_organization()),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
            der: Vec::new(),
        };
        for extension in csr.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(san) = extension {
                (out.dns_names, out.addresses) = identity::alternative_names(&san.general_names);
                for name in &san.general_names {
                    match name {
                        GeneralName::RFC822Name(email) => out.emails.push((*email).into()),
                        GeneralName::URI(uri) => out.uris.push((*uri).into()),
                        _ => {}
                    }
                }
            }
        }
        // The signer's library holds one value per attribute type: more would be dropped in silence.
        if out.organizations.len() > 1 {
            return Err(Error::Unsupported("subject has more than one organization".into()));
        }
        drop(csr);
        out.der = block.contents;
        Ok(out)
    }
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }
}

/// A request of one's own, with the new key that it is for.
#[derive(Clone)]
pub struct CertificateRequest {
    pub request_pem: String,
    pub key_pem: String,
}

impl CertificateRequest {
    /// `names` become SANs (addresses as IP SANs).
    pub fn new(common_name: &str, organization: Option<&str>, names: &[String]) -> Result<Self> {
        let key = authority::new_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = authority::subject(common_name, organization.as_slice());
        params.subject_alt_names = authority::alternative_names(names)?;
        let request = params.serialize_request(&key).map_err(|e| Error::malformed("certificate request", e))?;
        let request_pem = request.pem().map_err(|e| Error::malformed("certificate request", e))?;
        Ok(CertificateRequest { request_pem, key_pem: key.serialize_pem() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Identity, leaf};
    use std::time::Duration;

    #[test]
    fn a_request_is_read_and_signed() {
        let names = ["node-1".to_string(), "10.0.0.7".into()];
        let own = CertificateRequest::new("system:node:node-1", Some("system:nodes"), &names).unwrap();
        let request = Request::parse(own.request_pem.as_bytes()).unwrap();
        assert_eq!(request.common_name, "system:node:node-1");
        assert_eq!(request.organizations, ["system:nodes"]);
        assert_eq!(request.dns_names, ["node-1"]);
        assert_eq!(request.addresses, [IpAddr::from([10, 0, 0, 7])]);

        let ca = Authority::new("test-ca").unwrap();
        let usages = ["digital signature".to_string(), "server auth".into()];
        let pem = ca.sign(&request, &usages, Duration::from_secs(3600)).unwrap();
        let id = Identity::of(&leaf::certificates(pem.as_bytes()).unwrap()[0]).unwrap();
        assert_eq!(id.common_name, "system:node:node-1");
        assert_eq!(id.dns_names, ["node-1"]);
        assert!(id.server_auth && !id.client_auth);
        assert!((3500..4000).contains(&(id.not_after.as_second() - id.not_before.as_second())));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let ca = Authority::new("test-ca").unwrap();
        let own = CertificateRequest::new("x", None, &[]).unwrap();
        let torn = own.request_pem.replace("MI", "MJ");
        for text in ["", "hello", ca.cert_pem(), &torn] {
            assert!(Request::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_changed_request_fails_its_signature() {
        let own = CertificateRequest::new("alice", None, &[]).unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(own.request_pem.as_bytes()).unwrap();
        let mut der = block.contents;
        let at = der.windows(5).position(|w| w == b"alice").unwrap();
        der[at] = b'A';
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
        let text = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
        assert!(Request::parse(text.as_bytes()).is_err());
    }
}
