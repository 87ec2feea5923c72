//! What the server shows of itself to webhooks: users of a kubeconfig file, whose names say whom they are for. Source: the
//! page "Authenticate API servers" of the documentation on webhooks; `apiserver/pkg/util/webhook`.

use http::HeaderMap;
use net::outgoing::Target;
use pki::Leaf;
use std::{collections::BTreeMap, sync::Arc};

/// A certificate, or headers.
#[derive(Debug, Clone, Default)]
pub struct Credential {
    pub identity: Option<Arc<Leaf>>,
    pub headers: HeaderMap,
}

/// Credentials by whom they are for; without any, nothing is shown.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// `name.namespace.svc[:port]`, `host[:port]`, the same with `*.` in front, and `*` for everybody.
    pub users: BTreeMap<String, Credential>,
    /// Of the current context, for all others.
    pub current: Option<Credential>,
}

impl Credentials {
    /// What a server is shown.
    pub fn of(&self, target: &Target) -> Option<&Credential> {
        if self.users.is_empty() && self.current.is_none() {
            return None;
        }
        let (host, port) = place(target);
        let with_port = self.named(&format!("{host}:{port}"));
        let without = || if port == "443" { self.named(&host) } else { None };
        with_port.or_else(without).or_else(|| self.users.get("*")).or(self.current.as_ref())
    }

    /// The one of exactly this name, or of the longest `*.` that it ends with.
    fn named(&self, name: &str) -> Option<&Credential> {
        let suffixes = name.match_indices('.').map(|(at, _)| format!("*{}", &name[at..]));
        self.users.get(name).or_else(|| suffixes.into_iter().find_map(|suffix| self.users.get(&suffix)))
    }
}

fn place(target: &Target) -> (String, String) {
    match target {
        Target::Service { namespace, name, port, .. } => (format!("{name}.{namespace}.svc"), port.to_string()),
        Target::Url(url) => {
            let uri: Option<http::Uri> = url.parse().ok();
            let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or("");
            let port = uri.as_ref().and_then(|uri| uri.port_u16()).unwrap_or(443);
            (host.into(), port.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header};

    #[test]
    fn who_is_shown_what() {
        let of = |name: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(name).unwrap());
            Credential { identity: None, headers }
        };
        let names = ["hook.ops.svc:8443", "hook.ops.svc", "*.ops.svc", "*.example.com:443", "*.example.com", "*"];
        let mut credentials =
            Credentials { users: names.iter().map(|n| (n.to_string(), of(n))).collect(), current: Some(of("current")) };
        let service = |name: &str, namespace: &str, port| Target::Service {
            namespace: namespace.into(),
            name: name.into(),
            port,
            path: String::new(),
        };
        let shown = |credentials: &Credentials, target: &Target| {
            credentials.of(target).map_or("", |c| c.headers[header::AUTHORIZATION].to_str().unwrap()).to_string()
        };
        for (target, want) in [
            (service("hook", "ops", 8443), "hook.ops.svc:8443"),
            (service("hook", "ops", 443), "hook.ops.svc"),
            (service("hook", "ops", 9443), "*"),
            (service("other", "ops", 443), "*.ops.svc"),
            (service("other", "dev", 443), "*"),
            (Target::Url("https://a.example.com/x".into()), "*.example.com:443"),
            (Target::Url("https://a.example.com:444/x".into()), "*"),
            (Target::Url("https://a.b.example.com".into()), "*.example.com:443"),
        ] {
            assert_eq!(shown(&credentials, &target), want, "{}", target.url());
        }
        credentials.users.remove("*");
        assert_eq!(shown(&credentials, &service("other", "dev", 443)), "current");
        assert_eq!(shown(&Credentials::default(), &service("other", "dev", 443)), "");
    }
}
