//! Endpoints as a command line has them.

use grpc::Endpoint;
use net::tls::{Trust, trusting};
use pki::Leaf;
use std::{fs, path::PathBuf};

/// What TLS to etcd is made of, as PEM files.
#[derive(Debug, Default, Clone)]
pub struct TlsFiles {
    /// Who signs the members' certificates; the machine's authorities where there is none.
    pub ca: Option<PathBuf>,
    /// The certificate that we show; etcd takes its common name for a user's.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// The members that a list of URLs names, separated by commas.
pub fn endpoints(urls: &str, files: &TlsFiles) -> Result<Vec<Endpoint>, String> {
    let urls: Vec<&str> =
        urls.split(',').map(|url| url.trim().trim_end_matches('/')).filter(|u| !u.is_empty()).collect();
    let tls = match urls.iter().any(|url| url.starts_with("https://")) {
        true => Some(config(files)?),
        false => None,
    };
    urls.iter().map(|url| Endpoint::parse(url, tls.as_ref()).map_err(|e| e.to_string())).collect()
}

fn config(files: &TlsFiles) -> Result<std::sync::Arc<rustls::ClientConfig>, String> {
    let read = |path: &PathBuf| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let trust = match &files.ca {
        Some(path) => Trust::Bundle(read(path)?.into()),
        None => Trust::System,
    };
    let leaf = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => Some(Leaf { cert_pem: read(cert)?, key_pem: read(key)? }),
        (None, None) => None,
        _ => return Err("a certificate for etcd needs its key, and a key its certificate".into()),
    };
    trusting(&trust, leaf.as_ref()).map_err(|e| format!("TLS to etcd: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_urls_are_read() {
        let read = |urls: &str| match endpoints(urls, &TlsFiles::default()) {
            Ok(endpoints) => endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(e) => e,
        };
        assert_eq!(read("http://127.0.0.1:2379/, http://[::1]:2379"), "http://127.0.0.1:2379 http://[::1]:2379");
        assert_eq!(read("127.0.0.1:2379"), "endpoint \"127.0.0.1:2379\": must begin with https://, http:// or unix://");
        let half = TlsFiles { cert: Some("/nowhere".into()), ..TlsFiles::default() };
        assert!(endpoints("https://a:1", &half).expect_err("no key").contains("needs its key"));
        let missing = TlsFiles { ca: Some("/nowhere/ca.pem".into()), ..TlsFiles::default() };
        assert!(endpoints("https://a:1", &missing).expect_err("no file").starts_with("/nowhere/ca.pem: "));
    }
}
