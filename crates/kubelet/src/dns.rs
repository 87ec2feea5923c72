//! Names inside a pod: its `/etc/resolv.conf` by `dnsPolicy`, its host name and its `/etc/hosts`.

use cri::DnsConfig;
use k8s_openapi::api::core::v1::Pod;

/// What the node offers.
#[derive(Debug, Clone, Default)]
pub struct NodeDns {
    /// Addresses of the cluster's DNS on this node.
    pub cluster: Vec<String>,
    /// `cluster.local`
    pub domain: String,
    /// The node's own `/etc/resolv.conf`.
    pub host: DnsConfig,
}

/// Limits of `pkg/apis/core/validation` that the kubelet enforces on the merged result.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// Reads a resolv.conf.
pub fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(String::from)),
            Some("search") => config.searches = words.map(|w| w.trim_end_matches('.').to_string()).collect(),
            Some("options") => config.options = words.map(String::from).collect(),
            _ => {}
        }
    }
    config
}

/// The pod's resolver configuration.
pub fn resolv_conf(pod: &Pod, node: &NodeDns) -> DnsConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let host_network = spec.host_network.unwrap_or(false);
    let cluster = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => None,
        "ClusterFirstWithHostNet" => Some(true),
        "ClusterFirst" => Some(!host_network),
        _ => Some(false),
    };
    let mut config = match cluster {
        None => DnsConfig::default(),
        Some(true) if !node.cluster.is_empty() => {
            let domain = &node.domain;
            let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            searches.extend(node.host.searches.iter().filter(|s| *s != ".").cloned());
            DnsConfig { servers: node.cluster.clone(), searches, options: vec!["ndots:5".into()] }
        }
        Some(_) => node.host.clone(),
    };
    if let Some(own) = &spec.dns_config {
        config.servers.extend(own.nameservers.iter().flatten().cloned());
        config.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            let prefix = format!("{name}:");
            config.options.retain(|o| *o != name && !o.starts_with(&prefix));
            config.options.push(match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name,
            });
        }
    }
    unique(&mut config.servers);
    unique(&mut config.searches);
    config.servers.truncate(MAX_SERVERS);
    config.searches.truncate(MAX_SEARCHES);
    config
}

fn unique(list: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

/// The pod's host name and, where it has a subdomain, the domain that follows it.
pub fn host_name(pod: &Pod, domain: &str) -> (String, String) {
    let spec = pod.spec.as_ref();
    let own = spec.and_then(|s| s.hostname.as_deref()).filter(|h| !h.is_empty());
    let mut name = own.or(pod.metadata.name.as_deref()).unwrap_or_default().to_string();
    // A host name has at most 63 characters and ends in none that is no letter or digit.
    name.truncate(63);
    let name = name.trim_end_matches(['-', '.']).to_string();
    let subdomain = spec.and_then(|s| s.subdomain.as_deref()).filter(|s| !s.is_empty());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    (name, subdomain.map(|sub| format!("{sub}.{namespace}.svc.{domain}")).unwrap_or_default())
}

/// `/etc/hosts` of a pod with its own network.
pub fn hosts(pod: &Pod, ips: &[String], domain: &str) -> String {
    let (name, suffix) = host_name(pod, domain);
    let mut out = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        match suffix.is_empty() {
            true => out += &format!("{ip}\t{name}\n"),
            false => out += &format!("{ip}\t{name}.{suffix}\t{name}\n"),
        }
    }
    out + &aliases(pod)
}

/// `/etc/hosts` of a pod in the node's network.
pub fn host_network_hosts(pod: &Pod, node: &str) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{node}{}", aliases(pod))
}

fn aliases(pod: &Pod) -> String {
    let list = pod.spec.as_ref().and_then(|s| s.host_aliases.as_deref()).unwrap_or_default();
    if list.is_empty() {
        return String::new();
    }
    let lines = list.iter().map(|a| format!("{}\t{}\n", a.ip, a.hostnames.clone().unwrap_or_default().join("\t")));
    format!("\n# Entries added by HostAliases.\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([]);
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})).unwrap()
    }

    #[track_caller]
    fn check(spec: serde_json::Value, want: &str) {
        let node = NodeDns {
            cluster: vec!["169.254.20.10".into()],
            domain: "cluster.local".into(),
            host: parse("# x\nnameserver 1.1.1.1\nsearch corp.example.\noptions timeout:2\n"),
        };
        let config = resolv_conf(&pod(spec), &node);
        let parts = [config.servers.join(","), config.searches.join(","), config.options.join(",")];
        assert_eq!(parts.join(" "), want);
    }

    #[test]
    fn policies() {
        let cluster = "n.svc.cluster.local,svc.cluster.local,cluster.local,corp.example";
        check(json!({}), &format!("169.254.20.10 {cluster} ndots:5"));
        check(json!({"hostNetwork": true}), "1.1.1.1 corp.example timeout:2");
        check(
            json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
            &format!("169.254.20.10 {cluster} ndots:5"),
        );
        check(json!({"dnsPolicy": "Default"}), "1.1.1.1 corp.example timeout:2");
        check(
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
            "9.9.9.9 a.b ndots:2,edns0",
        );
        check(
            json!({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}),
            &format!("169.254.20.10 {cluster} ndots:1"),
        );
    }

    #[test]
    fn names_and_hosts() {
        assert_eq!(host_name(&pod(json!({})), "cluster.local"), ("p".into(), "".into()));
        let named = pod(
            json!({"hostname": "h", "subdomain": "s", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}),
        );
        assert_eq!(host_name(&named, "cluster.local"), ("h".into(), "s.n.svc.cluster.local".into()));
        let text = hosts(&named, &["10.0.0.1".into()], "cluster.local");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n"));
        assert!(
            text.ends_with("10.0.0.1\th.s.n.svc.cluster.local\th\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")
        );
    }
}
