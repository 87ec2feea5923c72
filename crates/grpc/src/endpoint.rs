//! Where a gRPC server listens.

use http::Uri;
use rustls::ClientConfig;
use std::{fmt, path::PathBuf, sync::Arc};

/// An address, and how to speak to it.
#[derive(Clone)]
pub enum Endpoint {
    /// A socket of this machine; no TLS.
    Unix(PathBuf),
    /// Plain TCP.
    Tcp { host: String, port: u16 },
    /// TLS; the certificate must name `host`.
    Tls { host: String, port: u16, config: Arc<ClientConfig> },
}

/// An endpoint that cannot be understood.
#[derive(Debug)]
pub struct BadEndpoint {
    pub text: String,
    pub why: &'static str,
}

impl fmt::Display for BadEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint {:?}: {}", self.text, self.why)
    }
}
impl std::error::Error for BadEndpoint {}

impl Endpoint {
    /// `https://host:port`, `http://host:port`, `unix:///path` or `unix:/path`. `tls` is what https uses.
    pub fn parse(text: &str, tls: Option<&Arc<ClientConfig>>) -> Result<Endpoint, BadEndpoint> {
        let bad = |why| BadEndpoint { text: text.into(), why };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Endpoint::Unix(path.into()))
            } else {
                Err(bad("the path of a socket must be absolute"))
            };
        }
        let uri: Uri = text.parse().map_err(|_| bad("must be https://host:port, http://host:port or unix:///path"))?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("has a path"));
        }
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else { return Err(bad("names no host and port")) };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        match (uri.scheme_str(), tls) {
            (Some("http"), _) => Ok(Endpoint::Tcp { host, port }),
            (Some("https"), Some(config)) => Ok(Endpoint::tls(host, port, config)),
            (Some("https"), None) => Err(bad("needs a TLS set-up")),
            _ => Err(bad("must begin with https://, http:// or unix://")),
        }
    }

    /// TLS to `host:port`, offering HTTP/2 alone: a server that speaks something else fails in the handshake.
    pub fn tls(host: String, port: u16, config: &ClientConfig) -> Endpoint {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Endpoint::Tls { host, port, config: Arc::new(config) }
    }

    /// What requests name as their authority.
    pub(crate) fn origin(&self) -> Uri {
        let text = match self {
            Endpoint::Unix(_) => "http://localhost".to_string(),
            Endpoint::Tcp { host, port } => format!("http://{}", net::dial::authority(host, *port)),
            Endpoint::Tls { host, port, .. } => format!("https://{}", net::dial::authority(host, *port)),
        };
        text.parse().unwrap_or_else(|_| Uri::from_static("http://localhost"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Tcp { host, port } => write!(f, "http://{}", net::dial::authority(host, *port)),
            Endpoint::Tls { host, port, .. } => write!(f, "https://{}", net::dial::authority(host, *port)),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        let config = net::tls::anyone().expect("a client");
        let parse = |text: &str| match Endpoint::parse(text, Some(&config)) {
            Ok(endpoint) => endpoint.to_string(),
            Err(e) => e.to_string(),
        };
        for same in ["unix:///run/kms.sock", "http://127.0.0.1:2379", "https://etcd-0:2379", "https://[::1]:2379"] {
            assert_eq!(parse(same), same);
        }
        assert_eq!(parse("unix:/run/kms.sock"), "unix:///run/kms.sock");
        assert_eq!(parse("unix:kms.sock"), "endpoint \"unix:kms.sock\": the path of a socket must be absolute");
        assert_eq!(parse("https://a:1/x"), "endpoint \"https://a:1/x\": has a path");
        assert_eq!(parse("https://a"), "endpoint \"https://a\": names no host and port");
        assert_eq!(parse("ftp://a:1"), "endpoint \"ftp://a:1\": must begin with https://, http:// or unix://");
        let without = Endpoint::parse("https://a:1", None).expect_err("no TLS set-up").to_string();
        assert_eq!(without, "endpoint \"https://a:1\": needs a TLS set-up");
    }
}
