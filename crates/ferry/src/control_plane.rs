//! The control plane of one cluster in this process: store, API server, controllers, scheduler.

use crate::{
    controllers::{self, Doors, Surroundings},
    layout::Layout,
};
use apiserver::{Config, Server};
use base::{User, clock::System};
use client::{Client, Credentials, Remote};
use cluster::node_cidr::PodNetwork;
use netlink::Cidr;
use pki::ClusterPki;
use schema::ClusterConfig;
use std::{
    fs::File,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use store_disk::Disk;
use tokio::{sync::watch, task::JoinSet};

/// How long requests under way may take once the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// What a control plane is started with.
pub struct Settings {
    /// Where it listens; the first address is the one in the kubeconfig.
    pub listen: Vec<SocketAddr>,
    /// Where nodes and pods reach it.
    pub advertise: SocketAddr,
    /// Where pods get their addresses from.
    pub pods: Cidr,
}

/// A running control plane.
pub struct ControlPlane {
    pub server: Server,
    pub pki: ClusterPki,
    pub local: SocketAddr,
    controllers: JoinSet<()>,
    listeners: JoinSet<()>,
    stop: watch::Sender<bool>,
    _disk: Disk,
    _pid: File,
}

impl ControlPlane {
    /// Opens the data directory and serves. Nothing else may have the directory open, and the ports must be free.
    pub async fn start(layout: &Layout, settings: Settings) -> Result<Self, String> {
        layout.create()?;
        let sockets = settings.listen.iter().map(|a| bind(*a)).collect::<Result<Vec<_>, _>>()?;
        let pki = ClusterPki::load_or_create(&layout.pki()).map_err(|e| e.to_string())?;
        let disk = Disk::open(layout.store(), store_disk::Options::default()).map_err(|e| e.to_string())?;
        let mut pid = File::create(layout.pid()).map_err(|e| format!("{}: {e}", layout.pid().display()))?;
        writeln!(pid, "{}", std::process::id()).map_err(|e| format!("{}: {e}", layout.pid().display()))?;
        let config = Config {
            cluster: ClusterConfig::default(),
            pki: pki.clone(),
            advertise: settings.advertise,
            names: settings.listen.iter().map(|a| a.ip().to_string()).collect(),
            audit: Some(layout.audit_log()),
            clock: Arc::new(System),
        };
        let server =
            Server::open(disk.keyspace("cluster"), kinds::builtin(), config).await.map_err(|e| e.to_string())?;
        let (stop, stopping) = watch::channel(false);
        let mut listeners = JoinSet::new();
        for socket in sockets {
            let listener = tokio::net::TcpListener::from_std(socket).map_err(|e| e.to_string())?;
            let (server, stopping) = (server.clone(), stopping.clone());
            listeners.spawn(async move {
                if let Err(error) = server.serve(listener, stopping, GRACE).await {
                    tracing::error!(%error, "the API server cannot serve");
                }
            });
        }
        server.ensure_bootstrap().await.map_err(|e| e.to_string())?;
        let surroundings =
            Surroundings { clock: Arc::new(System), authority: pki.ca.clone(), pod_network: parts(settings.pods)? };
        let controllers = controllers::start(&server, &surroundings);
        Ok(ControlPlane {
            server,
            pki,
            local: settings.listen[0],
            controllers,
            listeners,
            stop,
            _disk: disk,
            _pid: pid,
        })
    }

    /// A client in this process that may do everything.
    pub fn admin(&self) -> Client {
        self.server.client(User::master("ferry"))
    }

    /// What a kubeconfig for a person holds: a client certificate of `system:masters`.
    pub fn kubeconfig(&self) -> Result<Remote, String> {
        let leaf = self.pki.ca.client("ferry-admin", Some("system:masters")).map_err(|e| e.to_string())?;
        let ip = match self.local.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        Ok(Remote {
            server: format!("https://{}", SocketAddr::new(ip, self.local.port())),
            ca: self.pki.ca.cert_pem().into(),
            server_name: None,
            credentials: Credentials::Certificate { certificate: leaf.cert_pem, key: leaf.key_pem },
        })
    }

    /// Ends controllers first, then the listeners.
    pub async fn stop(mut self) {
        self.controllers.shutdown().await;
        self.stop.send_replace(true);
        let all = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE + Duration::from_secs(1), all).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}

/// A /24 for every node.
fn parts(pods: Cidr) -> Result<PodNetwork, String> {
    match pods.address {
        IpAddr::V4(base) if pods.prefix <= 24 => Ok(PodNetwork { base, prefix: pods.prefix, node_prefix: 24 }),
        _ => Err(format!("pod network {pods}: want an IPv4 range of at least a /24")),
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
    bound.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => format!("{address} is in use by another process; choose another --api-port"),
        _ => format!("{address}: {e}"),
    })
}
