//! Groups that other servers serve: an APIService with a Service hands a group and version to it, whole.
//!
//! A request for such a version is authenticated and authorized here and passed on under the caller's name, which the
//! other server believes because of the certificate that it comes with (`X-Remote-*` and `front-proxy-client`, whose
//! authority stands in `kube-system/extension-apiserver-authentication`). The table of such versions is made anew when an
//! APIService changes; while it is empty a request costs one atomic load. This group itself stays here whatever an
//! object says, so that a mistake can be taken back.
//!
//! Source: `k8s.io/kube-aggregator`.

mod available;
mod discover;
mod merge;
mod pass;
mod register;
mod specs;
mod swagger;

use crate::{
    keys::ProxyClient,
    request_info::RequestInfo,
    server::{Inner, StartError},
    services::Services,
};
use base::{Result, User};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use net::{Outgoing, Trust, outgoing::Connector};
use parking_lot::{Mutex, RwLock};
use pki::{ClusterPki, Leaf};
use resource::{Call, Engine};
use schema::View;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use value::Value;

pub use discover::merged;
pub use pass::pass;

const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";

/// How often servers are asked whether they are there, and how soon again one that is not.
const EVERY: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(1);
/// Changes of endpoints come in numbers.
const GATHER: Duration = Duration::from_millis(50);

/// A version of a group that another server serves.
#[derive(Debug, Clone)]
pub struct Remote {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub name: String,
    pub port: u16,
    pub trust: Trust,
    pub group_priority: i64,
    pub version_priority: i64,
    pub available: bool,
}

impl Remote {
    /// `None` for one that stands for this server.
    fn of(object: &Value) -> Option<Self> {
        let spec = object.at(&["spec"]);
        let service = spec.at(&["service"]);
        let group = spec.str_at(&["group"]);
        if service.is_null() || group.is_empty() || group == GROUP {
            return None;
        }
        let trust = match (spec.at(&["insecureSkipTLSVerify"]).as_bool(), spec.str_at(&["caBundle"])) {
            (Some(true), _) => Trust::Anyone,
            (_, "") => Trust::System,
            (_, bundle) => Trust::Bundle(STANDARD.decode(bundle).unwrap_or_default().into()),
        };
        let conditions = object.items_at(&["status", "conditions"]);
        Some(Remote {
            group: group.into(),
            version: spec.str_at(&["version"]).into(),
            namespace: service.str_at(&["namespace"]).into(),
            name: service.str_at(&["name"]).into(),
            port: service.at(&["port"]).as_i64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443),
            trust,
            group_priority: spec.at(&["groupPriorityMinimum"]).as_i64().unwrap_or(0),
            version_priority: spec.at(&["versionPriority"]).as_i64().unwrap_or(0),
            available: conditions.iter().any(|c| (c.str_at(&["type"]), c.str_at(&["status"])) == ("Available", "True")),
        })
    }
    /// The name of its APIService.
    fn object(&self) -> String {
        format!("{}.{}", self.version, self.group)
    }
    /// What its certificate must name.
    fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

/// By group and version.
type Remotes = BTreeMap<(String, String), Arc<Remote>>;

/// The aggregator of one server.
pub struct Aggregation {
    any: AtomicBool,
    remotes: RwLock<Arc<Remotes>>,
    /// What servers say they serve, by the name of the APIService.
    resources: Mutex<HashMap<String, Value>>,
    /// OpenAPI of version 2.
    pub specs: specs::Specs,
    changed: Notify,
    started: AtomicBool,
    /// `front-proxy-client`, or what the operator has chosen.
    leaf: Arc<Leaf>,
    outgoing: Outgoing,
    services: Arc<Services>,
    /// By whom they trust.
    connectors: Mutex<HashMap<Trust, Connector>>,
}

impl Aggregation {
    /// `own`: what an operator has it show of itself.
    pub fn new(
        pki: &ClusterPki,
        own: Option<&ProxyClient>,
        view: Arc<dyn View>,
    ) -> std::result::Result<Self, StartError> {
        let leaf = match own {
            Some(own) => own.load().map_err(StartError::Access)?,
            None => pki.front_proxy.client("front-proxy-client", None).map_err(StartError::Pki)?,
        };
        let services = Arc::new(Services::new(view));
        Ok(Aggregation {
            any: AtomicBool::new(false),
            remotes: RwLock::default(),
            resources: Mutex::default(),
            specs: specs::Specs::default(),
            changed: Notify::new(),
            started: AtomicBool::new(false),
            leaf: Arc::new(leaf),
            outgoing: Outgoing::new(services.clone()),
            services,
            connectors: Mutex::default(),
        })
    }

    /// Registers what this server serves and begins to follow what others do; once.
    pub async fn start(server: &Arc<Inner>) -> Result<()> {
        register::sync(server).await?;
        server.aggregation.renew(server.engine.view());
        if !server.aggregation.started.swap(true, Ordering::Relaxed) {
            tokio::spawn(keep_registered(Arc::downgrade(server)));
            tokio::spawn(keep_checked(Arc::downgrade(server)));
            for (group, plural) in [(GROUP, PLURAL), ("", "services"), ("discovery.k8s.io", "endpointslices")] {
                tokio::spawn(follow(Arc::downgrade(server), group, plural));
            }
        }
        Ok(())
    }

    pub fn all(&self) -> Arc<Remotes> {
        self.remotes.read().clone()
    }

    /// What a server said last that it serves.
    pub fn resources(&self, remote: &Remote) -> Value {
        self.resources.lock().get(&remote.object()).cloned().unwrap_or_default()
    }

    /// Who serves a path, where it is not this server: anything of a version, and the version's OpenAPI.
    pub fn serves(&self, info: &RequestInfo<'_>) -> Option<Arc<Remote>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut parts = info.path.split('/').skip(1);
        let mut next = || parts.next().unwrap_or("");
        let (group, version) = match next() {
            "apis" => (next(), next()),
            "openapi" if (next(), next()) == ("v3", "apis") => (next(), next()),
            _ => return None,
        };
        self.remotes.read().get(&(group.to_string(), version.to_string())).cloned()
    }

    fn renew(&self, view: &dyn View) {
        let objects = view.list(GROUP, PLURAL, None);
        let remotes: Remotes = objects
            .iter()
            .filter_map(|object| Remote::of(&object.value()))
            .map(|remote| ((remote.group.clone(), remote.version.clone()), Arc::new(remote)))
            .collect();
        let there = |name: &str| remotes.values().any(|r| r.object() == name);
        self.resources.lock().retain(|name, _| there(name));
        self.specs.retain(there);
        self.any.store(!remotes.is_empty(), Ordering::Relaxed);
        *self.remotes.write() = Arc::new(remotes);
    }

    fn learned(&self, name: &str, list: Value) {
        self.resources.lock().insert(name.into(), list);
    }

    /// Dials one server, HTTP/1.1 alone.
    fn connector(&self, trust: &Trust) -> std::result::Result<Connector, String> {
        if let Some(known) = self.connectors.lock().get(trust) {
            return Ok(known.clone());
        }
        let config = net::tls::trusting_http1(trust, Some(&self.leaf)).map_err(|e| e.to_string())?;
        let connector = Connector::new(self.services.clone(), config);
        let mut connectors = self.connectors.lock();
        if connectors.len() > 64 {
            connectors.clear();
        }
        connectors.insert(trust.clone(), connector.clone());
        Ok(connector)
    }
}

/// Who the caller is, for a server that trusts this one.
pub(crate) fn identity(headers: &mut HeaderMap, user: &User) {
    let own: Vec<HeaderName> = headers.keys().filter(|n| n.as_str().starts_with("x-remote-")).cloned().collect();
    for name in own {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        add("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        for value in values {
            add(&format!("x-remote-extra-{}", base::escape::encode(key)), value);
        }
    }
}

/// A call of the server itself; `None` where the kind is not served.
fn call(engine: &Engine, name: &str, subresource: Option<&str>) -> Option<Call> {
    let call = engine.own_call(GROUP, PLURAL, "", name)?;
    Some(Call { subresource: subresource.map(Into::into), ..call })
}

/// Definitions come and go.
async fn keep_registered(server: Weak<Inner>) {
    let Some(mut changes) = server.upgrade().map(|s| s.engine.catalog_changes()) else { return };
    while changes.changed().await.is_ok() {
        let Some(server) = server.upgrade() else { return };
        if let Err(e) = register::sync(&server).await {
            tracing::warn!("APIServices of this server: {e}");
        }
    }
}

/// Asks every server whether it is there, whenever something changed, and from time to time.
async fn keep_checked(server: Weak<Inner>) {
    let mut pause = Duration::ZERO;
    loop {
        {
            let Some(server) = server.upgrade() else { return };
            let woken = server.aggregation.changed.notified();
            let _ = tokio::time::timeout(pause, woken).await;
        }
        tokio::time::sleep(GATHER).await;
        let Some(server) = server.upgrade() else { return };
        let remotes = server.aggregation.all();
        let checks = remotes.values().map(|remote| available::check(&server, remote));
        let found = futures::future::join_all(checks).await;
        for (remote, _) in remotes.values().zip(&found).filter(|(_, available)| **available) {
            specs::renew(&server, remote);
        }
        let all = found.into_iter().all(|available| available);
        pause = if all { EVERY } else { AGAIN };
    }
}

/// Tells of every change of a kind.
async fn follow(server: Weak<Inner>, group: &'static str, plural: &'static str) {
    let Some(engine) = server.upgrade().map(|server| Arc::downgrade(&server.engine)) else { return };
    while let Some(mut watcher) = resource::follow(&server, &engine, group, plural).await {
        let mut batch = Vec::new();
        loop {
            batch.clear();
            let more = watcher.next(&mut batch).await;
            let Some(server) = server.upgrade() else { return };
            if plural == PLURAL && !batch.is_empty() {
                server.aggregation.renew(server.engine.view());
            }
            if server.aggregation.any.load(Ordering::Relaxed) {
                server.aggregation.changed.notify_one();
            }
            if !matches!(more, Ok(true)) {
                break;
            }
        }
    }
}
