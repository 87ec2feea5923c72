//! Users that a proxy in front of the server vouches for: it shows a client certificate of its own authority, and names
//! the user in headers. Source: `apiserver/pkg/authentication/request/headerrequest`.
//!
//! Whether a connection is a proxy's is decided once, by [`RequestHeaders::trusts`] and the authority; from then on each
//! request of it is whose the headers say. The same headers on any other connection mean nothing.

use base::{User, escape};
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeMap;
use value::Value;

/// Whom the server believes, and which headers it reads (`--requestheader-…`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeaders {
    /// PEM: who signs the certificates of proxies.
    pub authorities: String,
    /// Common names of proxies; empty for anybody whom the authorities have signed.
    pub allowed_names: Vec<String>,
    /// The first of these that says anything names the user.
    pub usernames: Vec<String>,
    pub uids: Vec<String>,
    /// All of these together are the groups.
    pub groups: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

impl RequestHeaders {
    /// The headers that upstream's own aggregator sends, from proxies that are named as its is.
    pub fn usual(authorities: String) -> Self {
        let one = |name: &str| vec![name.to_string()];
        RequestHeaders {
            authorities,
            allowed_names: one("front-proxy-client"),
            usernames: one("X-Remote-User"),
            uids: one("X-Remote-Uid"),
            groups: one("X-Remote-Group"),
            extra_prefixes: one("X-Remote-Extra-"),
        }
    }

    /// Whether somebody of that name may be a proxy, if the authorities say that it is him.
    pub fn trusts(&self, common_name: &str) -> bool {
        self.allowed_names.is_empty() || self.allowed_names.iter().any(|name| name == common_name)
    }

    /// The user that a proxy's request is made for; `None` where it names nobody.
    pub fn user(&self, headers: &HeaderMap) -> Option<User> {
        let name = first(headers, &self.usernames)?;
        let mut groups: Vec<String> = self
            .groups
            .iter()
            .flat_map(|header| headers.get_all(header.as_str()))
            .map(text)
            .filter(|group| !group.is_empty())
            .collect();
        let known = |group: &str| groups.iter().any(|own| own == group);
        if name != "system:anonymous" && !known("system:authenticated") && !known("system:unauthenticated") {
            groups.push("system:authenticated".into());
        }
        Some(User { name, uid: first(headers, &self.uids).unwrap_or_default(), groups, extra: self.extra(headers) })
    }

    fn extra(&self, headers: &HeaderMap) -> Vec<(String, Vec<String>)> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in self.extra_prefixes.iter().map(|prefix| prefix.to_ascii_lowercase()) {
            // Names of headers are in lower case already.
            for (name, value) in headers {
                if let Some(key) = name.as_str().strip_prefix(&prefix) {
                    extra.entry(escape::decode(key, false).into_owned()).or_default().push(text(value));
                }
            }
        }
        extra.into_iter().collect()
    }

    /// What `kube-system/extension-apiserver-authentication` says of it: lists as JSON.
    pub fn published(&self) -> [(&'static str, String); 6] {
        let list = |names: &[String]| names.iter().map(String::as_str).collect::<Value>().to_string();
        [
            ("requestheader-allowed-names", list(&self.allowed_names)),
            ("requestheader-client-ca-file", self.authorities.clone()),
            ("requestheader-extra-headers-prefix", list(&self.extra_prefixes)),
            ("requestheader-group-headers", list(&self.groups)),
            ("requestheader-uid-headers", list(&self.uids)),
            ("requestheader-username-headers", list(&self.usernames)),
        ]
    }
}

fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    names.iter().find_map(|name| headers.get(name.as_str()).map(text).filter(|text| !text.is_empty()))
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        given.iter().map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn whose_a_request_is() {
        let usual = RequestHeaders {
            usernames: vec!["X-User".into(), "X-Remote-User".into()],
            ..RequestHeaders::usual("".into())
        };
        let user = |given: &[(&'static str, &'static str)]| usual.user(&headers(given));
        assert_eq!(user(&[("x-remote-group", "g")]), None);
        assert_eq!(user(&[("x-user", ""), ("x-remote-user", "")]), None);
        let plain = user(&[("x-remote-user", "jane"), ("x-user", "")]).unwrap();
        assert_eq!((plain.name.as_str(), plain.groups), ("jane", vec!["system:authenticated".to_string()]));
        let full = user(&[
            ("x-user", "jane"),
            ("x-remote-user", "joe"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "a"),
            ("x-remote-group", "system:unauthenticated"),
            ("x-remote-extra-scopes", "read"),
            ("x-remote-extra-scopes", "write"),
            ("x-remote-extra-acme.com%2fproject", "p"),
        ]);
        let full = full.unwrap();
        assert_eq!((full.name.as_str(), full.uid.as_str()), ("jane", "7"));
        assert_eq!(full.groups, ["a", "system:unauthenticated"]);
        assert_eq!(
            full.extra,
            [
                ("acme.com/project".into(), vec!["p".to_string()]),
                ("scopes".into(), vec!["read".into(), "write".into()])
            ]
        );
    }

    #[test]
    fn who_may_be_a_proxy() {
        let mut usual = RequestHeaders::usual("".into());
        assert!(usual.trusts("front-proxy-client") && !usual.trusts("admin"));
        usual.allowed_names.clear();
        assert!(usual.trusts("anybody"));
        assert_eq!(usual.published()[0], ("requestheader-allowed-names", "[]".to_string()));
    }
}
