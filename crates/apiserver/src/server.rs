//! The server as a value: what it is made of, how it is opened, and its two doors (a listener, and calls in process).

use crate::{
    access::{self, Access},
    aggregation::Aggregation,
    audit::Audit,
    body::RequestBody,
    bootstrap,
    conversion::Conversion,
    documents::Documents,
    flow::FlowControl,
    fronts::Fronts,
    health::Health,
    keys::Keys,
    metrics::Requests,
    services::Services,
    stack,
};
use auth::{Authenticator, Authorizer, RequestHeaders, Tokens};
use base::{Result, Status, User, clock::Clock, time::Timestamp};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use net::{Body, BoxError, CertificateSlot, ClientAuthority, Dialer, Outgoing, Peer};
use pki::ClusterPki;
use resource::{Engine, OpenError, Options};
use schema::{Catalog, ClusterConfig};
use seal::Encryption;
use std::{
    convert::Infallible,
    fmt,
    future::Future,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use store::Store;
use telemetry::Registry;
use tokio::{net::TcpListener, sync::watch};
use value::shared::InProcess;

/// What a server needs beside its store.
#[derive(Clone)]
pub struct Config {
    pub cluster: ClusterConfig,
    pub pki: ClusterPki,
    /// Where agents and pods reach the server; endpoint of the `kubernetes` Service and name in its certificate.
    pub advertise: SocketAddr,
    /// Proxies that speak for users; `None`: those whom the cluster's own authority for them has signed.
    pub request_headers: Option<RequestHeaders>,
    /// Further names and addresses for the certificate.
    pub names: Vec<String>,
    /// Who may come in, and what is written down of it.
    pub access: Access,
    pub clock: Arc<dyn Clock>,
    /// Keys of the operator.
    pub keys: Keys,
}

/// Why a server could not be opened.
#[derive(Debug)]
pub enum StartError {
    Engine(OpenError),
    Pki(pki::Error),
    /// The encryption configuration cannot be used.
    Encryption(seal::Error),
    /// Keys or issuers of ServiceAccount tokens cannot be used.
    Tokens(String),
    /// The audit log's file cannot be opened.
    Audit(PathBuf, std::io::Error),
    /// The configuration of authentication or authorization is wrong.
    Access(String),
    /// Namespaces, roles and the like could not be written.
    Bootstrap(Status),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Engine(e) => e.fmt(f),
            StartError::Pki(e) => e.fmt(f),
            StartError::Encryption(e) => e.fmt(f),
            StartError::Tokens(why) => f.write_str(why),
            StartError::Audit(path, e) => write!(f, "audit log {}: {e}", path.display()),
            StartError::Access(why) => f.write_str(why),
            StartError::Bootstrap(e) => write!(f, "bootstrap objects: {e}"),
        }
    }
}
impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Engine(e) => Some(e),
            StartError::Pki(e) => Some(e),
            StartError::Encryption(e) => Some(e),
            StartError::Audit(_, e) => Some(e),
            StartError::Access(_) | StartError::Tokens(_) => None,
            StartError::Bootstrap(e) => Some(e),
        }
    }
}

/// One cluster's API server. Clones are handles on the same one.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub engine: Arc<Engine>,
    pub config: Config,
    pub authorizer: Authorizer,
    pub authenticator: Authenticator,
    /// How callers have impersonated others.
    pub ways: auth::impersonate::Ways,
    pub tokens: Arc<Tokens>,
    pub flow: Arc<FlowControl>,
    pub ids: stack::RequestIds,
    pub audit: Option<Arc<Audit>>,
    pub registry: Registry,
    pub requests: Requests,
    pub documents: Documents,
    pub health: Health,
    /// Speaks to kubelets as `kube-apiserver-kubelet-client`.
    pub kubelets: Dialer,
    /// Speaks to whatever runs in pods, as nobody.
    pub pods: Dialer,
    pub aggregation: Aggregation,
    pub admission: Arc<admission::Chain>,
    pub encryption: Arc<Encryption>,
    /// To whatever the cluster's users name: webhooks.
    pub outgoing: Arc<Outgoing>,
    /// Who signs the certificates of users.
    pub clients: ClientAuthority,
    pub fronts: Fronts,
}

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    InProcess,
    Address(IpAddr),
}

/// What is known of a caller before the request is looked at.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) origin: Origin,
    /// From the client certificate, or from the caller in the process.
    pub(crate) user: Option<Arc<User>>,
    /// Shows a proxy's certificate: who asks stands in the headers.
    pub(crate) proxy: bool,
    /// Shows a certificate that names no user.
    pub(crate) stranger: bool,
    /// When the client certificate ends. TLS has looked at it once, at the beginning of the connection.
    pub(crate) not_after: Option<Timestamp>,
    /// The caller takes shared objects instead of bytes.
    pub(crate) shared: bool,
}

impl Server {
    /// Opens engine and server over a store, with the default admission plugins.
    pub async fn open(store: Arc<dyn Store>, builtins: Catalog, config: Config) -> Result<Self, StartError> {
        Server::open_with(store, builtins, config, admission::Choice::default()).await
    }

    /// The same with a choice of admission plugins.
    pub async fn open_with(
        store: Arc<dyn Store>,
        builtins: Catalog,
        config: Config,
        plugins: admission::Choice,
    ) -> Result<Self, StartError> {
        let chain = Arc::new(admission::Chain::new(plugins));
        let registry = Registry::default();
        let (settings, own_key) = (config.keys.encryption.clone(), &config.pki.encryption_key);
        let encryption = Encryption::open(settings, own_key, config.clock.clone(), &registry).await;
        let encryption = encryption.map_err(StartError::Encryption)?;
        encryption.follow();
        let options = Options {
            cluster: config.cluster.clone(),
            clock: config.clock.clone(),
            admission: chain.clone(),
            sealer: encryption.clone(),
        };
        let engine = Engine::open(store, builtins, options).await.map_err(StartError::Engine)?;
        Server::new(engine, chain, encryption, registry, config)
    }

    /// A server over an engine that is open already; chain and encryption are the engine's.
    fn new(
        engine: Arc<Engine>,
        chain: Arc<admission::Chain>,
        encryption: Arc<Encryption>,
        registry: Registry,
        config: Config,
    ) -> Result<Self, StartError> {
        let outgoing = Arc::new(Outgoing::new(Arc::new(Services::new(engine.shared_view()))));
        let audit = config.access.audit.clone();
        let path = audit.log.as_ref().map(|log| log.path.clone()).unwrap_or_default();
        let audit = Audit::open(audit, &outgoing, &registry).map_err(|e| StartError::Audit(path, e))?.map(Arc::new);
        let authorizer = Authorizer::new(engine.shared_view());
        let modes = config.access.authorization.modes().map_err(StartError::Access)?;
        authorizer.configure(modes, &outgoing, &config.clock);
        authorizer.follow(&engine);
        chain.set_authorizer(authorizer.clone());
        let flow = Arc::new(FlowControl::new(&registry));
        flow.follow(&engine, config.clock.clone());
        let issuer = format!("https://kubernetes.default.svc.{}", config.cluster.domain);
        let issuer = config.keys.tokens.issuer(&config.pki.service_accounts, issuer).map_err(StartError::Tokens)?;
        let tokens = Arc::new(Tokens::of(issuer, config.clock.clone()));
        let own = config.pki.ca.client("kube-apiserver-kubelet-client", None).map_err(StartError::Pki)?;
        let kubelets = net::tls::client(config.pki.ca.roots(), Some(&own), true).map_err(StartError::Pki)?;
        let pods = net::tls::anyone().map_err(StartError::Pki)?;
        engine.set_converter(Arc::new(Conversion::new(outgoing.clone(), &registry)));
        let authenticator = Authenticator::new(engine.shared_view(), tokens.clone());
        let others = config.access.authentication.open(&tokens, &outgoing, &config.clock);
        authenticator.configure(others.map_err(StartError::Access)?);
        let inner = Arc::new(Inner {
            authenticator,
            ways: auth::impersonate::Ways::default(),
            authorizer,
            tokens,
            flow,
            ids: stack::RequestIds::default(),
            audit,
            requests: Requests::new(&registry),
            registry,
            documents: Documents::default(),
            health: Health::default(),
            kubelets: Dialer::new(kubelets),
            pods: Dialer::new(pods),
            aggregation: Aggregation::new(&config.pki, config.keys.proxy_client.as_ref(), engine.shared_view())?,
            admission: chain,
            encryption,
            outgoing,
            clients: ClientAuthority::new(config.pki.ca.roots()).map_err(StartError::Pki)?,
            fronts: Fronts::new(&config)?,
            engine,
            config,
        });
        tokio::spawn(access::follow(Arc::downgrade(&inner)));
        Ok(Server(inner))
    }

    /// Creates what every cluster has (namespaces, roles, the `kubernetes` Service …) and turns /readyz green.
    pub async fn ensure_bootstrap(&self) -> Result<(), StartError> {
        bootstrap::ensure(&self.0).await.map_err(StartError::Bootstrap)?;
        Aggregation::start(&self.0).await.map_err(StartError::Bootstrap)?;
        // Users' webhooks and policies have a say from now on: none of them keeps a server from starting.
        self.0.admission.follow(&self.0.engine, self.0.outgoing.clone());
        self.0.health.bootstrapped();
        Ok(())
    }

    /// A server certificate for everything that the server is called.
    pub fn serving_certificate(&self) -> Result<Arc<CertificateSlot>, StartError> {
        let config = &self.0.config;
        let domain = &config.cluster.domain;
        let mut names: Vec<String> =
            ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(String::from).to_vec();
        names.push(format!("kubernetes.default.svc.{domain}"));
        names.extend(["127.0.0.1".into(), "::1".into(), config.advertise.ip().to_string()]);
        names.push(bootstrap::service_address(&config.cluster).to_string());
        names.extend(config.names.iter().cloned());
        names.sort();
        names.dedup();
        let leaf = config.pki.ca.server("kube-apiserver", &names).map_err(StartError::Pki)?;
        CertificateSlot::new(&leaf).map_err(StartError::Pki)
    }

    /// Serves a listener until `stop` turns true; requests under way get `grace`.
    pub async fn serve(
        &self,
        listener: TcpListener,
        stop: watch::Receiver<bool>,
        grace: Duration,
    ) -> Result<(), StartError> {
        let slot = self.serving_certificate()?;
        let tls = net::tls::server(slot, self.0.fronts.and(self.0.config.pki.ca.roots())).map_err(StartError::Pki)?;
        let mut told = stop.clone();
        let ready = async {
            let _ = told.wait_for(|stop| *stop).await;
            self.0.health.stopping();
        };
        tokio::join!(net::serve(listener, tls, self.clone(), stop, grace), ready);
        Ok(())
    }

    /// A request of a caller in the process: its identity is the [`InProcess`] extension; without one it is anonymous.
    pub async fn call<B>(&self, mut request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let own = request.extensions_mut().remove::<InProcess>();
        let (user, shared) = own.map_or((None, false), |own| (Some(authenticated(own.user)), own.shared));
        let caller = Caller { origin: Origin::InProcess, user, proxy: false, stranger: false, not_after: None, shared };
        let (parts, body) = request.into_parts();
        stack::run(&self.0, &caller, parts, RequestBody::boxed(body)).await
    }

    /// The same as a tower service.
    pub fn service(&self) -> InProcessService {
        InProcessService(self.clone())
    }

    /// Keeps up the status of validating policies, as a controller manager would; said before the bootstrap.
    pub fn check_policy_types(&self) {
        self.0.admission.check_types();
    }
    pub fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }
    /// What stored objects are sealed with; it can be told to look at its file.
    pub fn encryption(&self) -> &Arc<Encryption> {
        &self.0.encryption
    }
    pub fn authorizer(&self) -> &Authorizer {
        &self.0.authorizer
    }
    /// Makes and verifies ServiceAccount tokens.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.0.tokens
    }
    /// What `/metrics` prints; components of the process add theirs.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }
}

impl net::Handler for Server {
    type Connection = Arc<Caller>;

    fn connected(&self, peer: Peer) -> Arc<Caller> {
        let identity = peer.identity.as_deref();
        let proxy = identity.is_some_and(|identity| self.0.fronts.trusts(identity, &peer));
        // Signed by those who sign for users: a proxy's authority makes no users.
        let own = identity.filter(|_| self.0.clients.knows(&peer));
        let user = own.and_then(Authenticator::certificate).map(Arc::new);
        let stranger = identity.is_some() && user.is_none();
        let not_after = identity.map(|identity| identity.not_after);
        let origin = Origin::Address(peer.address.ip());
        Arc::new(Caller { origin, user, proxy, stranger, not_after, shared: false })
    }
    async fn handle(&self, caller: &Arc<Caller>, mut request: Request<Incoming>) -> Response<Body> {
        // Nothing that came over a socket may say who it is.
        request.extensions_mut().remove::<InProcess>();
        let (parts, body) = request.into_parts();
        stack::run(&self.0, caller, parts, RequestBody::Incoming(body)).await
    }
}

fn authenticated(user: Arc<User>) -> Arc<User> {
    if user.in_group("system:authenticated") || user.name == "system:anonymous" {
        return user;
    }
    let mut user = (*user).clone();
    user.groups.push("system:authenticated".into());
    Arc::new(user)
}

/// [`Server::call`] as a tower service.
#[derive(Clone)]
pub struct InProcessService(Server);

impl<B> tower::Service<Request<B>> for InProcessService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move { Ok(server.call(request).await) })
    }
}
