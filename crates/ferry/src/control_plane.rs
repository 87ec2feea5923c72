//! The control plane of one cluster in this process: store, API server, controllers, scheduler.

use crate::{cli::StoreOptions, fronts::Fronts, layout::Layout, store};
use apiserver::{AccessFiles, AdmissionChoice, Config, Keys, Server};
use base::{User, clock::System};
use client::{Client, Credentials, Remote};
use cluster::node_cidr::PodNetwork;
use controllers::Surroundings;
use netlink::Cidr;
use pki::ClusterPki;
use schema::{ClusterConfig, Features};
use std::{
    fs::{File, TryLockError},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use store_disk::Disk;
use tokio::{sync::watch, task::JoinSet};

/// How long requests under way may take once the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// A data directory and a port that nobody else has. Taken before anything is made, so that a start that cannot succeed
/// leaves nothing behind.
pub struct Claim {
    /// Locked, and with this process's id in it.
    pid: File,
    sockets: Vec<(SocketAddr, TcpListener)>,
}

impl Claim {
    /// Takes both; the address is the one that goes into the kubeconfig.
    pub fn take(layout: &Layout, listen: SocketAddr) -> Result<Self, String> {
        // A directory that is in use says more than its port that is in use, too.
        if layout.pid().exists() {
            lock(layout)?;
        }
        let socket = bind(listen)?;
        layout.create()?;
        let mut pid = lock(layout)?;
        let written = pid.set_len(0).and_then(|()| writeln!(pid, "{}", std::process::id()));
        written.map_err(|e| format!("{}: {e}", layout.pid().display()))?;
        Ok(Claim { pid, sockets: vec![(listen, socket)] })
    }
    /// Listens at one more address.
    pub fn listen(&mut self, address: SocketAddr) -> Result<(), String> {
        self.sockets.push((address, bind(address)?));
        Ok(())
    }
}

fn lock(layout: &Layout) -> Result<File, String> {
    let path = layout.pid();
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed)?;
            Err(format!("{} is in use by process {}", layout.root().display(), holder.trim()))
        }
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// What a control plane is started with.
pub struct Settings {
    /// Its directory and where it listens.
    pub claim: Claim,
    /// Where nodes and pods reach it.
    pub advertise: SocketAddr,
    /// Where pods get their addresses from.
    pub pods: Cidr,
    pub admission: AdmissionChoice,
    pub features: Features,
    pub access: AccessFiles,
    pub fronts: Fronts,
    pub keys: Keys,
    pub store: StoreOptions,
}

/// A running control plane.
pub struct ControlPlane {
    pub server: Server,
    pub pki: ClusterPki,
    pub local: SocketAddr,
    controllers: JoinSet<()>,
    listeners: JoinSet<()>,
    stop: watch::Sender<bool>,
    stop_controllers: watch::Sender<bool>,
    /// With other servers on the same store.
    shared: bool,
    _disk: Option<Disk>,
    _pid: File,
}

impl ControlPlane {
    /// Opens the data directory and serves.
    pub async fn start(layout: &Layout, settings: Settings) -> Result<Self, String> {
        let Claim { pid, sockets } = settings.claim;
        let local = sockets[0].0;
        let store::Opened { store, pki, disk } = store::open(layout, &settings.store).await?;
        let shared = store.is_shared();
        let config = Config {
            cluster: ClusterConfig { features: settings.features, ..ClusterConfig::default() },
            pki: pki.clone(),
            advertise: settings.advertise,
            request_headers: Some(settings.fronts.headers(&pki)?),
            names: sockets.iter().map(|(a, _)| a.ip().to_string()).collect(),
            access: settings.access.load(layout.audit_log())?,
            clock: Arc::new(System),
            keys: settings.keys,
        };
        let server = Server::open_with(store, kinds::builtin(), config, settings.admission).await;
        let server = server.map_err(|e| e.to_string())?;
        let (stop, stopping) = watch::channel(false);
        let mut listeners = JoinSet::new();
        for (_, socket) in sockets {
            let listener = tokio::net::TcpListener::from_std(socket).map_err(|e| e.to_string())?;
            let (server, stopping) = (server.clone(), stopping.clone());
            listeners.spawn(async move {
                if let Err(error) = server.serve(listener, stopping, GRACE).await {
                    tracing::error!(%error, "the API server cannot serve");
                }
            });
        }
        server.check_policy_types();
        server.ensure_bootstrap().await.map_err(|e| e.to_string())?;
        let surroundings = Surroundings {
            clock: Arc::new(System),
            authority: pki.ca.clone(),
            pod_network: parts(settings.pods)?,
            service_network: ClusterConfig::default().service_cidr,
        };
        let (stop_controllers, told) = watch::channel(false);
        let controllers = match shared {
            true => {
                let (server, identity) = (server.clone(), format!("{}_{}", settings.advertise, base::ids::suffix(8)));
                let (admin, clock) = (server.client(User::master("system:apiserver")), surroundings.clock.clone());
                let announcing = controllers::announce(admin, clock, settings.advertise, told.clone());
                let mut tasks =
                    controllers::start_elected(move |user| server.client(user), surroundings, identity, told);
                tasks.spawn(announcing);
                tasks
            }
            false => controllers::start(&|user| server.client(user), &surroundings),
        };
        let (_disk, _pid) = (disk, pid);
        Ok(ControlPlane { server, pki, local, controllers, stop_controllers, listeners, stop, shared, _disk, _pid })
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
        self.stop_controllers.send_replace(true);
        if self.shared {
            // One who leads says that it does no more: the next need not wait for the lease to run out.
            let all = async { while self.controllers.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(GRACE, all).await;
        }
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

/// Makes clients in this process.
trait Doors {
    /// A client that acts as anybody.
    fn client(&self, user: User) -> Client;
}

impl Doors for Server {
    fn client(&self, user: User) -> Client {
        Client::in_process(self.service(), user)
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
    bound.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => format!("{address} is in use by another process; choose another --api-port"),
        _ => format!("{address}: {e}"),
    })
}
