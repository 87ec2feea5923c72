//! `RunPodSandbox`: a directory, a shim that makes the namespaces, and the network.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use cri::{Error, NamespaceMode, PodSandboxConfig, Result};

use crate::client::{self, Client};
use crate::config::SELF;
use crate::layout::{self, PodDir};
use crate::pod::{Pod, Runtime, SavedNetwork, SavedPod};
use crate::protocol::{Request, ShimConfig};

impl Runtime {
    pub(crate) async fn run_sandbox(&self, config: &PodSandboxConfig) -> Result<String> {
        // One way to run a pod, under the names by which classes ask for it.
        if !matches!(config.runtime_handler.as_str(), "" | "ferry" | "runc") {
            return Err(Error::NotFound(format!("no runtime for {:?} is configured", config.runtime_handler)));
        }
        let id = base::ids::hex(&base::ids::random::<32>());
        let dir = PodDir(self.inner.config.root.join("pods").join(&id));
        let cgroup = self.pod_cgroup(&id, config);
        let saved = SavedPod { config: config.clone(), created_at: crate::shim::now(), cgroup };
        let pod = Arc::new(Pod::new(id.clone(), dir, saved));
        {
            let mut pods = self.inner.pods.lock();
            if let Some(other) = pods.values().find(|p| p.saved.config.metadata == config.metadata) {
                let m = &config.metadata;
                return Err(Error::AlreadyExists(format!(
                    "pod {}/{} ({}), attempt {}, has the sandbox {:?} already",
                    m.namespace, m.name, m.uid, m.attempt, other.id
                )));
            }
            pods.insert(id.clone(), pod.clone());
        }
        // On a task of its own: a caller who gives up must not leave half a sandbox.
        let runtime = self.clone();
        let making = tokio::spawn(async move {
            let made = runtime.make_sandbox(&pod).await;
            if let Err(e) = &made {
                tracing::warn!(sandbox = pod.id, "making a sandbox failed: {e}");
                if let Err(e) = runtime.remove_sandbox(&pod.id).await {
                    tracing::warn!(sandbox = pod.id, "removing it failed too: {e}");
                }
            }
            made
        });
        making.await.map_err(|e| Error::internal("sandbox", e))??;
        Ok(id)
    }

    async fn make_sandbox(&self, pod: &Arc<Pod>) -> Result<()> {
        let _gate = pod.gate.lock().await;
        let fail = |e: std::io::Error| Error::internal(format_args!("pod sandbox {:?}", pod.id), e);
        write_files(pod, &self.shim_config(pod)).map_err(fail)?;
        self.spawn_shim(pod).map_err(fail)?;
        self.connect(pod).await.map_err(fail)?;
        pod.call(&Request::Hello).await?;
        let mut network = SavedNetwork::default();
        if own_network(&pod.saved.config) {
            let (plugin, request) = (self.inner.config.network.clone(), network_request(pod));
            let added = tokio::task::spawn_blocking(move || plugin.add(&request)).await;
            let added = added.map_err(|e| Error::internal("network", e))?;
            let result = added.map_err(|e| Error::internal("failed to setup network for sandbox", e))?;
            network.ips = result.ips.iter().map(|ip| ip.address.to_string()).collect();
        }
        layout::write_json(&pod.dir.network(), &network).map_err(fail)?;
        {
            let mut state = pod.state.lock();
            state.ips = network.ips;
            state.ready = !state.gone;
        }
        pod.changed();
        Ok(())
    }

    /// Starts the shim with the listening socket as its standard input, so that a connection can be made at once.
    fn spawn_shim(&self, pod: &Arc<Pod>) -> std::io::Result<()> {
        let shim = &self.inner.config.shim;
        let listener: OwnedFd = client::bind(&pod.dir)?.into();
        let log = std::fs::File::create(pod.dir.file("shim.log"))?;
        let mut command = tokio::process::Command::new(&shim.program);
        if shim.program == Path::new(SELF) {
            // The name by which a multi-call binary knows itself.
            let path = std::env::current_exe()?;
            command.arg0(path.file_name().unwrap_or("ferry".as_ref()));
        }
        let mut child = command
            .args(&shim.args)
            .arg(&pod.dir.0)
            .env_clear()
            .stdin(listener)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        // Somebody has to take its exit status, while this daemon is its parent.
        tokio::spawn(async move {
            let _ = child.wait().await;
        });
        Ok(())
    }

    /// Connects to the pod's shim and subscribes to what it has not told yet.
    pub(crate) async fn connect(&self, pod: &Arc<Pod>) -> std::io::Result<()> {
        // Weak: the connection must not keep a runtime alive that everybody else has let go of.
        let inner = (Arc::downgrade(&self.inner), Arc::downgrade(pod));
        let both = move || Some((Runtime { inner: inner.0.upgrade()? }, inner.1.upgrade()?));
        let (for_events, for_close) = (both.clone(), both);
        let on_event = move |record| {
            if let Some((runtime, pod)) = for_events() {
                runtime.on_record(&pod, record);
            }
        };
        let on_close = move || {
            if let Some((runtime, pod)) = for_close() {
                runtime.bury(&pod);
            }
        };
        let client = Client::connect(&pod.dir, on_event, on_close).await?;
        let after = pod.state.lock().last;
        {
            let state = pod.state.lock();
            // It may have closed already; then it stays buried.
            *pod.client.lock() = Some(client.clone()).filter(|_| !state.gone);
        }
        client.call(&Request::Subscribe { after }).await.map_err(std::io::Error::other)
    }

    fn pod_cgroup(&self, id: &str, config: &PodSandboxConfig) -> String {
        let root = self.inner.config.cgroup_root.trim_end_matches('/');
        match config.linux.cgroup_parent.trim_matches('/') {
            "" => format!("{root}/pods/{id}"),
            parent => format!("{root}/{parent}"),
        }
    }

    fn shim_config(&self, pod: &Pod) -> ShimConfig {
        let config = &pod.saved.config;
        let namespaces = &config.linux.security_context.namespace_options;
        ShimConfig {
            own_network: own_network(config),
            own_ipc: namespaces.ipc != NamespaceMode::Node,
            shared_pid: namespaces.pid == NamespaceMode::Pod,
            hostname: config.hostname.clone(),
            sysctls: config.linux.sysctls.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            cgroup: pod.saved.cgroup.clone(),
            resources: crate::spec::resources(&config.linux.resources),
            hierarchies: self.inner.hierarchies.clone(),
            shim_cgroup: format!("{}/shims", self.inner.config.cgroup_root.trim_end_matches('/')),
        }
    }
}

pub(crate) fn own_network(config: &PodSandboxConfig) -> bool {
    config.linux.security_context.namespace_options.network != NamespaceMode::Node
}

pub(crate) fn network_request(pod: &Pod) -> cni::AddRequest {
    let config = &pod.saved.config;
    let ports = config.port_mappings.iter().filter(|p| p.host_port != 0);
    cni::AddRequest {
        attachment: attachment(pod),
        netns: pod.dir.netns(),
        pod: cni::Pod {
            namespace: config.metadata.namespace.clone(),
            name: config.metadata.name.clone(),
            uid: config.metadata.uid.clone(),
        },
        port_mappings: ports
            .map(|p| cni::PortMapping {
                protocol: match p.protocol {
                    cri::Protocol::Tcp => cni::Protocol::Tcp,
                    cri::Protocol::Udp => cni::Protocol::Udp,
                    cri::Protocol::Sctp => cni::Protocol::Sctp,
                },
                host_port: p.host_port,
                container_port: p.container_port,
                host_ip: p.host_ip.parse().ok(),
            })
            .collect(),
    }
}

pub(crate) fn attachment(pod: &Pod) -> cni::Attachment {
    cni::Attachment { container_id: pod.id.clone(), ifname: "eth0".into() }
}

fn write_files(pod: &Pod, shim: &ShimConfig) -> std::io::Result<()> {
    let config = &pod.saved.config;
    std::fs::create_dir_all(pod.dir.file("containers"))?;
    layout::write_json(&pod.dir.config(), &pod.saved)?;
    layout::write_json(&pod.dir.shim_config(), shim)?;
    let name = if config.hostname.is_empty() { "localhost" } else { &config.hostname };
    std::fs::write(pod.dir.file("hostname"), format!("{name}\n"))?;
    let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t{name}\n");
    std::fs::write(pod.dir.file("hosts"), hosts)?;
    let dns = &config.dns_config;
    let resolv = if dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty() {
        std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
    } else {
        resolv_conf(dns)
    };
    std::fs::write(pod.dir.file("resolv.conf"), resolv)
}

fn resolv_conf(dns: &cri::DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv() {
        let dns = cri::DnsConfig {
            servers: vec!["10.96.0.10".into()],
            searches: vec!["a.svc".into(), "svc".into()],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(resolv_conf(&dns), "search a.svc svc\nnameserver 10.96.0.10\noptions ndots:5\n");
    }
}
