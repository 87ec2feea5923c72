//! Proxies in front of the server, which speak for users in headers (`--requestheader-…`), as our own aggregator does at
//! other servers. What the headers mean is [`auth::RequestHeaders`]; here is whose connections are believed.
//!
//! One listener takes the certificates of both authorities, so that each connection is asked about both: an authority
//! for proxies makes no users, and one for users makes no proxies, unless they are the same.

use crate::server::{Config, StartError};
use auth::RequestHeaders;
use http::{HeaderMap, HeaderName};
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

/// Takes away whatever names a user: what this server reads itself, which is what it tells others to believe of a proxy
/// (`extension-apiserver-authentication`), and what is usual, which they may read without being told.
pub fn strip(named: &RequestHeaders, headers: &mut HeaderMap) {
    let whole = || [&named.usernames, &named.uids, &named.groups].into_iter().flatten();
    // An empty prefix would be any header.
    let prefixes = || named.extra_prefixes.iter().filter(|prefix| !prefix.is_empty());
    let begins = |name: &str, prefix: &str| {
        name.as_bytes().get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    let names_users = |name: &str| {
        name.starts_with("x-remote-")
            || whole().any(|own| own.eq_ignore_ascii_case(name))
            || prefixes().any(|prefix| begins(name, prefix))
    };
    let found: Vec<HeaderName> = headers.keys().filter(|name| names_users(name.as_str())).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn left(named: &RequestHeaders, given: &[&'static str]) -> String {
        let value = HeaderValue::from_static("v");
        let mut headers: HeaderMap = given.iter().map(|name| (HeaderName::from_static(name), value.clone())).collect();
        strip(named, &mut headers);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names.join(" ")
    }

    #[test]
    fn nothing_that_names_a_user_is_left() {
        let usual = RequestHeaders::usual(String::new());
        let given =
            ["x-user", "x-uid", "x-group", "x-more-a", "x-remote-user", "x-remote-extra-a", "x-remote", "accept"];
        assert_eq!(left(&usual, &given), "accept x-group x-more-a x-remote x-uid x-user");
        let one = |name: &str| vec![name.to_string()];
        let own = RequestHeaders {
            usernames: vec!["X-First".into(), "X-User".into()],
            uids: one("X-Uid"),
            groups: one("X-Group"),
            extra_prefixes: vec![String::new(), "X-More-".into()],
            ..usual
        };
        assert_eq!(left(&own, &given), "accept x-remote");
    }
}
