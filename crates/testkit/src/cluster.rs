//! One control plane as a value.

use crate::Caller;
use apiserver::{Access, AdmissionChoice, AuditConfig, Config, Keys, RequestHeaders, Server};
use base::{
    User,
    clock::{Clock, System},
};
use client::{Client, Credentials, Remote};
use cluster::node_cidr::PodNetwork;
use controllers::Surroundings;
use pki::{ClusterPki, Leaf, Usage};
use schema::{ClusterConfig, Features};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use store::{Memory, Store};
use store_disk::Disk;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

const POD_NETWORK: PodNetwork = PodNetwork { base: Ipv4Addr::new(10, 244, 0, 0), prefix: 16, node_prefix: 24 };

const ADVERTISED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Tests move clocks by hours.
const CLIENT_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What a cluster is made of.
#[derive(Clone)]
pub struct Setup {
    /// Store and keys in this directory; in memory without one.
    pub dir: Option<PathBuf>,
    /// The API server's clock (controllers have it too).
    pub clock: Arc<dyn Clock>,
    /// What is not on by default.
    pub features: Features,
    /// Who may come in, and what is written down of it; without a log of its own, the one that [`Cluster::audit`] reads.
    pub access: Access,
    /// Which admission plugins take part, and what they are told.
    pub admission: AdmissionChoice,
    /// Keys of an operator.
    pub keys: Keys,
    /// Which headers are read of proxies in front; their authority is the cluster's own.
    pub request_headers: Option<RequestHeaders>,
    /// Where nodes would reach the server. Not a loopback address, because such a one gets no endpoints.
    pub advertise: SocketAddr,
    /// A store that others may use as well, with the cluster's keys; the directory's or memory without one.
    pub store: Option<(Arc<dyn Store>, ClusterPki)>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            dir: None,
            clock: Arc::new(System),
            features: Features::default(),
            access: Access::default(),
            admission: AdmissionChoice::default(),
            keys: Keys::default(),
            request_headers: None,
            advertise: SocketAddr::new(ADVERTISED.into(), 6443),
            store: None,
        }
    }
}

/// A running control plane. Dropping it ends it and removes its temporary files.
pub struct Cluster {
    pub server: Server,
    pub pki: ClusterPki,
    pub address: SocketAddr,
    setup: Setup,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    controllers: JoinSet<()>,
    disk: Option<Disk>,
    scratch: Scratch,
}

impl Cluster {
    /// In memory, without controllers.
    pub async fn start() -> Self {
        Cluster::open(Setup::default()).await
    }
    /// In a directory that a later cluster can open again, without controllers.
    pub async fn on_disk(dir: impl AsRef<Path>) -> Self {
        Cluster::open(Setup { dir: Some(dir.as_ref().into()), ..Setup::default() }).await
    }
    /// As described.
    pub async fn open(setup: Setup) -> Self {
        let scratch = Scratch::new();
        let pki = match (&setup.store, &setup.dir) {
            (Some((_, pki)), _) => Ok(pki.clone()),
            (None, Some(dir)) => ClusterPki::load_or_create(&dir.join("pki")),
            (None, None) => ClusterPki::ephemeral(),
        };
        let pki = pki.expect("keys");
        let disk = setup
            .dir
            .as_ref()
            .map(|dir| Disk::open(dir.join("store"), store_disk::Options::default()).unwrap_or_else(|e| panic!("{e}")));
        let store: Arc<dyn Store> = match &setup.store {
            Some((store, _)) => store.clone(),
            None => disk.as_ref().map_or_else(Memory::new, |disk| disk.keyspace("cluster")),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut access = setup.access.clone();
        let own = AuditConfig::to_file(scratch.0.join("audit.log"));
        access.audit.log = access.audit.log.or(own.log);
        let authorities = pki.front_proxy.cert_pem().to_string();
        let config = Config {
            cluster: ClusterConfig { features: setup.features, ..ClusterConfig::default() },
            pki: pki.clone(),
            advertise: setup.advertise,
            request_headers: setup.request_headers.clone().map(|headers| RequestHeaders { authorities, ..headers }),
            names: Vec::new(),
            access,
            clock: setup.clock.clone(),
            keys: setup.keys.clone(),
        };
        let server = Server::open_with(store, kinds::builtin(), config, setup.admission.clone()).await;
        let server = server.unwrap_or_else(|e| panic!("{e}"));
        server.ensure_bootstrap().await.unwrap_or_else(|e| panic!("{e}"));
        let (stop, stopping) = watch::channel(false);
        let own = server.clone();
        let serving = tokio::spawn(async move {
            own.serve(listener, stopping, Duration::from_millis(100)).await.unwrap_or_else(|e| panic!("{e}"));
        });
        Cluster { server, pki, address, setup, stop, serving, controllers: JoinSet::new(), disk, scratch }
    }
    /// With every controller and the scheduler running.
    pub fn with_controllers(mut self) -> Self {
        let surroundings = Surroundings {
            clock: self.setup.clock.clone(),
            authority: self.pki.ca.clone(),
            pod_network: POD_NETWORK,
            service_network: ClusterConfig::default().service_cidr,
        };
        self.server.check_policy_types();
        let server = self.server.clone();
        let client = move |user: User| Client::in_process(server.service(), user);
        self.controllers = match &self.setup.store {
            Some((store, _)) if store.is_shared() => {
                let identity = format!("{}_{}", self.address, base::ids::suffix(8));
                let (admin, clock) = (client(User::master("system:apiserver")), surroundings.clock.clone());
                let announcing = controllers::announce(admin, clock, self.setup.advertise, self.stop.subscribe());
                let mut tasks = controllers::start_elected(client, surroundings, identity, self.stop.subscribe());
                tasks.spawn(announcing);
                tasks
            }
            _ => controllers::start(&client, &surroundings),
        };
        self
    }
    /// Ends it and opens it again: on the same directory, with the same keys, on another port.
    pub async fn restart(self) -> Self {
        let with_controllers = !self.controllers.is_empty();
        let setup = self.setup.clone();
        self.stop().await;
        let cluster = Cluster::open(setup).await;
        if with_controllers { cluster.with_controllers() } else { cluster }
    }
    /// Ends it in good order.
    pub async fn stop(self) {
        let Cluster { server, mut controllers, stop, serving, disk, scratch, .. } = self;
        controllers.shutdown().await;
        stop.send_replace(true);
        let _ = serving.await;
        drop((server, disk, scratch));
    }

    /// `system:masters` by client certificate.
    pub fn admin(&self) -> Caller {
        self.user("admin", &["system:masters"])
    }
    /// Anybody, by a client certificate of the cluster's authority.
    pub fn user(&self, name: &str, groups: &[&str]) -> Caller {
        let leaf = self.pki.ca.issue(name, groups, &[], Usage::Client, CLIENT_LIFE).expect("a certificate");
        self.with_certificate(&leaf)
    }
    /// Whoever a client certificate names.
    pub fn with_certificate(&self, leaf: &Leaf) -> Caller {
        let (certificate, key) = (leaf.cert_pem.clone(), leaf.key_pem.clone());
        self.caller(Credentials::Certificate { certificate, key })
    }
    /// Whoever a bearer token stands for.
    pub fn token(&self, token: &str) -> Caller {
        self.caller(Credentials::Token(token.into()))
    }
    /// `system:anonymous`
    pub fn anonymous(&self) -> Caller {
        self.caller(Credentials::None)
    }
    fn caller(&self, credentials: Credentials) -> Caller {
        let remote = Remote {
            server: format!("https://{}", self.address),
            ca: self.pki.ca.cert_pem().into(),
            server_name: None,
            credentials,
        };
        let client = Client::remote(&remote).unwrap_or_else(|e| panic!("{e}"));
        Caller::new(client.kube().expect("a remote client stands on kube-rs"))
    }

    /// The lines of the audit log so far, once there is one for which `wanted` holds.
    pub async fn audit(&self, wanted: impl Fn(&str) -> bool) -> String {
        let path = self.scratch.0.join("audit.log");
        let found = async {
            loop {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                if log.lines().any(&wanted) {
                    return log;
                }
                // The writer gathers lines for a while; a file cannot be waited for.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(crate::PATIENCE, found).await.expect("the audit log has no such line")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A directory of this cluster alone.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("ferry-testkit-{}-{}", std::process::id(), base::ids::suffix(10)));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Scratch(path)
    }
}
