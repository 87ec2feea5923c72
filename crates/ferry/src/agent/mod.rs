//! `ferry agent`: this machine, or an isolated one on it, as a node of a cluster.

mod identity;
mod network;
mod pulls;
mod serve;

use crate::{Outcome, cli::Agent};
use base::clock::System;
use client::Remote;
use cloud_local::Entered;
use cri::{ImageService, RuntimeService};
use kubelet::{Capacity, Dirs, Ending, Endpoint, KubeletConfig, Machine, NodeDns};
use netlink::Cidr;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Where the API server finds a node's HTTPS endpoint.
const KUBELET_PORT: u16 = 10250;

/// Enters the machine while there is only one thread, then runs the node.
pub fn main(options: Agent) -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Err("`ferry agent` needs root: it makes namespaces, cgroups and network links".into());
    }
    let entered = match &options.machine {
        Some(directory) => Some(cloud_local::enter(directory).map_err(|e| e.to_string())?),
        None => None,
    };
    telemetry::log::init("info");
    crate::block_on(run(options, entered))
}

/// The cluster's domain.
const DOMAIN: &str = "cluster.local";

/// What the node is called and where it is.
struct Place {
    name: String,
    address: IpAddr,
    storage: PathBuf,
    /// What pods reach with their own address, beside the pod network.
    node_network: Cidr,
    /// The range of all pods.
    pods: Cidr,
}

async fn run(options: Agent, entered: Option<Entered>) -> Outcome {
    let mut stop = Stop::listen()?;
    let place = place(&options, entered.as_ref())?;
    let ca = read(&options.ca_file)?;
    let listener = TcpListener::bind(SocketAddr::new(place.address, KUBELET_PORT))
        .and_then(|l| l.set_nonblocking(true).map(|()| l))
        .map_err(|e| format!("{}:{KUBELET_PORT}: {e}", place.address))?;
    let subject = kubelet::certificates::Subject {
        node_name: place.name.clone(),
        names: vec![place.name.clone(), place.address.to_string()],
    };
    let (server, authority) = (options.server.clone(), ca.clone());
    let remote =
        move |credentials| Remote { server: server.clone(), ca: authority.clone(), server_name: None, credentials };
    let files = place.storage.join("pki");
    let (client, serving) = tokio::select! {
        obtained = identity::obtain(&files, subject, options.token.as_deref(), remote) => obtained?,
        // The server may never come. That of `up` is there, and pods of an earlier run end with its nodes.
        () = stop.asked(), if !options.end_pods => return Ok(()),
    };

    let image_dir = options.image_dir.clone().unwrap_or_else(|| place.storage.join("images"));
    let store = images::Store::open(&image_dir).map_err(|e| e.to_string())?;
    let network = network::later();
    let mut config = runtime::Config::new(place.storage.join("runtime"), store.clone(), network.clone());
    config.cgroup_root = crate::layout::POD_CGROUP.into();
    let runtime = Arc::new(runtime::Runtime::open(config).await.map_err(|e| format!("container runtime: {e}"))?);
    let images: Arc<dyn ImageService> = match entered {
        Some(entered) => Arc::new(pulls::FromHost::new(Arc::new(store), entered.host_network)?),
        None => Arc::new(store),
    };

    let (ending, ends) = watch::channel(Ending::NotYet);
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let config = KubeletConfig {
        node_name: place.name.clone(),
        client: client.clone(),
        runtime: runtime.clone() as Arc<dyn RuntimeService>,
        images,
        clock: Arc::new(System),
        dirs: Dirs {
            pods: place.storage.join("pods"),
            logs: place.storage.join("logs"),
            seccomp: place.storage.join("seccomp"),
        },
        addresses: vec![place.address],
        dns: NodeDns {
            cluster: vec![network::DNS.to_string()],
            domain: DOMAIN.into(),
            host: kubelet::dns::parse(&host),
        },
        capacity: Capacity::read(&place.storage),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        endpoint: Some(Endpoint { listener: Arc::new(listener), certificate: serving, client_ca: ca }),
        machine: Machine::read(&place.name),
    };
    let services = tokio::spawn(serve::run(client, runtime, network, place));
    let kubelet = kubelet::run(config, ends);
    tokio::pin!(kubelet);
    let ended = tokio::select! {
        ended = &mut kubelet => ended,
        () = stop.asked() => {
            ending.send_replace(if options.end_pods { Ending::StopPods } else { Ending::LeavePods });
            kubelet.await
        }
    };
    services.abort();
    ended.map_err(|e| e.to_string())
}

fn place(options: &Agent, entered: Option<&Entered>) -> Result<Place, String> {
    let pods: Cidr =
        options.cluster_cidr.parse().map_err(|e| format!("--cluster-cidr {}: {e}", options.cluster_cidr))?;
    if let Some(entered) = entered {
        return Ok(Place {
            name: options.node_name.clone().unwrap_or_else(|| entered.name.clone()),
            address: entered.address.address,
            storage: entered.storage.clone(),
            node_network: entered.address.network(),
            pods,
        });
    }
    let address = match options.node_ip {
        Some(address) => address,
        None => route_to(&options.server)?,
    };
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    Ok(Place {
        name: options.node_name.clone().unwrap_or(host),
        address,
        storage: options.data_dir.clone(),
        node_network: Cidr::host(address),
        pods,
    })
}

/// The address that this machine reaches a server from; no packet is sent.
fn route_to(server: &str) -> Result<IpAddr, String> {
    let rest = server.strip_prefix("https://").ok_or_else(|| format!("--server {server}: want https://HOST:PORT"))?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let target = if authority.contains(':') { authority.to_string() } else { format!("{authority}:443") };
    let find = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(&target)?;
        socket.local_addr()
    };
    find().map(|a| a.ip()).map_err(|e| format!("--server {server}: {e}"))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The signals that end the agent. Made first of all: one that comes while the node is still starting must end it in good
/// order too.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|e| e.to_string());
        Ok(Stop { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
