//! Proxies in front of the server, which speak for users in headers (`--requestheader-…`), as our own aggregator does at
//! other servers. What the headers mean is [`auth::RequestHeaders`]; here is whose connections are believed.
//!
//! One listener takes the certificates of both authorities, so that each connection is asked about both: an authority
//! for proxies makes no users, and one for users makes no proxies, unless they are the same.

use crate::server::{Config, StartError};
use auth::RequestHeaders;
use net::{ClientAuthority, Peer};
use pki::Identity;

pub struct Fronts {
    pub headers: RequestHeaders,
    authority: ClientAuthority,
}

impl Fronts {
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let own = || RequestHeaders::usual(config.pki.front_proxy.cert_pem().to_string());
        let headers = config.request_headers.clone().unwrap_or_else(own);
        let roots = net::tls::roots(&headers.authorities).map_err(StartError::Pki)?;
        Ok(Fronts { authority: ClientAuthority::new(roots).map_err(StartError::Pki)?, headers })
    }

    /// Whether a peer may speak for users.
    pub fn trusts(&self, identity: &Identity, peer: &Peer) -> bool {
        self.headers.trusts(&identity.common_name) && self.authority.knows(peer)
    }

    /// Those and the authorities of users, for the handshake.
    pub fn and(&self, mut users: net::tls::RootCertStore) -> net::tls::RootCertStore {
        // Read once before, in `new`.
        if let Ok(roots) = net::tls::roots(&self.headers.authorities) {
            users.roots.extend(roots.roots);
        }
        users
    }
}
