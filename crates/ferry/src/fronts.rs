//! Proxies in front of the API server, by their flags' names in Kubernetes; SECURITY.md tells of them.

use auth::RequestHeaders;
use clap::Args;
use pki::ClusterPki;
use std::path::PathBuf;

#[derive(Debug, Default, Clone, Args)]
pub struct Fronts {
    /// Who signs the certificates of proxies that speak for users
    #[arg(long, value_name = "FILE", hide = true)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of such proxies; empty for all whom the authority has signed
    #[arg(long, value_name = "NAMES", value_delimiter = ',', hide = true)]
    pub requestheader_allowed_names: Option<Vec<String>>,
    /// Headers that name the user
    #[arg(long, value_name = "HEADERS", value_delimiter = ',', hide = true)]
    pub requestheader_username_headers: Option<Vec<String>>,
    /// Headers that hold the user's UID
    #[arg(long, value_name = "HEADERS", value_delimiter = ',', hide = true)]
    pub requestheader_uid_headers: Option<Vec<String>>,
    /// Headers that name the user's groups
    #[arg(long, value_name = "HEADERS", value_delimiter = ',', hide = true)]
    pub requestheader_group_headers: Option<Vec<String>>,
    /// What headers begin with that say more of the user
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',', hide = true)]
    pub requestheader_extra_headers_prefix: Option<Vec<String>>,
}

impl Fronts {
    /// What the API server is told; without a file, the cluster's own authority for proxies.
    pub fn headers(&self, pki: &ClusterPki) -> Result<RequestHeaders, String> {
        let authorities = match &self.requestheader_client_ca_file {
            Some(path) => std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?,
            None => pki.front_proxy.cert_pem().to_string(),
        };
        let usual = RequestHeaders::usual(authorities);
        let given = |list: &Option<Vec<String>>, usual: Vec<String>| match list {
            Some(list) => list.iter().map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect(),
            None => usual,
        };
        Ok(RequestHeaders {
            allowed_names: given(&self.requestheader_allowed_names, usual.allowed_names),
            usernames: given(&self.requestheader_username_headers, usual.usernames),
            uids: given(&self.requestheader_uid_headers, usual.uids),
            groups: given(&self.requestheader_group_headers, usual.groups),
            extra_prefixes: given(&self.requestheader_extra_headers_prefix, usual.extra_prefixes),
            authorities: usual.authorities,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        fronts: Fronts,
    }

    fn told(flags: &[&str]) -> RequestHeaders {
        let fronts = Flags::parse_from([&["x"], flags].concat()).fronts;
        RequestHeaders { authorities: String::new(), ..fronts.headers(&ClusterPki::ephemeral().unwrap()).unwrap() }
    }

    #[test]
    fn flags_replace_what_is_usual() {
        let usual = RequestHeaders::usual(String::new());
        assert_eq!(told(&[]), usual);
        let own = ["--requestheader-allowed-names=", "--requestheader-username-headers=X-User,X-Login"];
        let usernames = vec!["X-User".into(), "X-Login".into()];
        assert_eq!(told(&own), RequestHeaders { allowed_names: Vec::new(), usernames, ..usual });
    }
}
