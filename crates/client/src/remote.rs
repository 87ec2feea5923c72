//! The transport over a socket: kube-rs with our configuration.

use crate::{
    Client, Error, Result, Transport,
    error::chain,
    transport::{Body, BoxFuture},
};
use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::config::AuthInfo;
use parking_lot::RwLock;
use std::sync::Arc;

/// Where a server is and who asks.
#[derive(Clone)]
pub struct Remote {
    /// `https://host:port`
    pub server: String,
    /// PEM; the only authority whose certificates are accepted.
    pub ca: String,
    /// The name to expect in the server's certificate, where it is not the URL's host.
    pub server_name: Option<String>,
    pub credentials: Credentials,
}

/// What a client shows of itself.
#[derive(Clone, Default)]
pub enum Credentials {
    /// `system:anonymous`
    #[default]
    None,
    /// PEM.
    Certificate {
        certificate: String,
        key: String,
    },
    Token(String),
    /// A file that is read again about every minute.
    TokenFile(String),
}

impl std::fmt::Debug for Remote {
    /// Names the server, never a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Remote {
    /// A client, and the means to replace its connection later. Nothing is dialled before the first call.
    pub fn rotating(&self) -> Result<(Client, Rotator)> {
        let http = Arc::new(Http(RwLock::new(self.kube()?)));
        Ok((Client::new(http.clone()), Rotator(http)))
    }

    fn kube(&self) -> Result<kube::Client> {
        let url = self.server.parse().map_err(|e| Error::Config(format!("server URL {:?}: {e}", self.server)))?;
        let mut config = kube::Config::new(url);
        if !self.ca.is_empty() {
            config.root_cert = Some(certificates(&self.ca)?);
        }
        config.tls_server_name = self.server_name.clone();
        config.auth_info = self.auth_info();
        // Callers retry, because only they know what is still wanted.
        config.default_retry = false;
        kube::Client::try_from(config).map_err(|e| Error::Config(chain(&e)))
    }

    fn auth_info(&self) -> AuthInfo {
        let base64 = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
        let mut info = AuthInfo::default();
        match &self.credentials {
            Credentials::None => {}
            Credentials::Certificate { certificate, key } => {
                info.client_certificate_data = Some(base64(certificate));
                info.client_key_data = Some(base64(key).into());
            }
            Credentials::Token(token) => info.token = Some(token.clone().into()),
            Credentials::TokenFile(path) => info.token_file = Some(path.clone()),
        }
        info
    }
}

/// The DER certificates of a PEM bundle.
fn certificates(pem: &str) -> Result<Vec<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut out = Vec::new();
    for part in pem.split(BEGIN).skip(1) {
        let body = part.split(END).next().unwrap_or_default();
        let text: String = body.split_whitespace().collect();
        let der = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|e| Error::Config(format!("certificate authority: {e}")))?;
        out.push(der);
    }
    match out.is_empty() {
        true => Err(Error::Config("certificate authority: no certificate in the PEM text".into())),
        false => Ok(out),
    }
}

/// Replaces the connection below a client that is in use: a renewed certificate, say. Calls under way keep the old one;
/// watches take the new one when they begin anew.
#[derive(Clone)]
pub struct Rotator(Arc<Http>);

impl Rotator {
    /// Sets the connection up anew; on an error the old one stays.
    pub fn replace(&self, remote: &Remote) -> Result<()> {
        *self.0.0.write() = remote.kube()?;
        Ok(())
    }
}

/// kube-rs as a transport.
pub(crate) struct Http(RwLock<kube::Client>);

impl Http {
    fn current(&self) -> kube::Client {
        self.0.read().clone()
    }
}

impl Transport for Http {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>>> {
        Box::pin(async move {
            let kube = self.current();
            let response = kube.send(request.map(kube::client::Body::from)).await;
            let response = response.map_err(|e| Error::Transport(chain(&e)))?;
            Ok(response.map(|body| body.map_err(|e| e.to_string().into()).boxed_unsync()))
        })
    }
    fn kube(&self) -> Option<kube::Client> {
        Some(self.current())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_has_each_of_its_certificates() {
        let one = "-----BEGIN CERTIFICATE-----\nAAEC\nAwQ=\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates(&one.repeat(2)).unwrap(), [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]);
        assert!(certificates("nothing").is_err());
    }
}
