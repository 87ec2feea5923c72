//! Every controller of the control plane, each with the identity that upstream gives it.

use base::{User, clock::Clock};
use client::Client;
use cluster::node_cidr::PodNetwork;
use control::{Caches, Recorder};
use pki::Authority;
use std::sync::Arc;
use tokio::task::JoinSet;

/// What controllers are given.
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    pub authority: Arc<Authority>,
    pub pod_network: PodNetwork,
}

/// A client in this process, as anybody.
pub trait Doors: Send + Sync {
    fn client(&self, user: User) -> Client;
}

impl Doors for apiserver::Server {
    fn client(&self, user: User) -> Client {
        Client::in_process(self.service(), user)
    }
}

/// Starts them all; dropping the set ends them.
pub fn start(doors: &dyn Doors, surroundings: &Surroundings) -> JoinSet<()> {
    let Surroundings { clock, authority, pod_network } = surroundings;
    let caches = Caches::new(doors.client(User::component("system:kube-controller-manager")));
    let account = |name: &str| doors.client(User::service_account("kube-system", name, ""));
    let acting = |name: &str| caches.acting_as(account(name));
    let recorder = |name: &str, component: &str| Recorder::new(account(name), component, "", clock.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(workloads::deployment::run(
        acting("deployment-controller"),
        recorder("deployment-controller", "deployment-controller"),
        clock.clone(),
    ));
    tasks.spawn(workloads::replica_set::run(
        acting("replicaset-controller"),
        recorder("replicaset-controller", "replicaset-controller"),
        clock.clone(),
    ));
    tasks.spawn(services::run(acting("endpointslice-controller"), account("endpoint-controller"), clock.clone()));
    tasks.spawn(cluster::namespaces::run(acting("namespace-controller"), clock.clone()));
    tasks.spawn(cluster::service_accounts::run(acting("service-account-controller"), clock.clone()));
    tasks.spawn(cluster::root_ca::run(acting("root-ca-cert-publisher"), clock.clone(), authority.cert_pem().into()));
    tasks.spawn(cluster::garbage::run(acting("generic-garbage-collector"), clock.clone()));
    tasks.spawn(cluster::node_cidr::run(acting("node-controller"), clock.clone(), *pod_network));
    tasks.spawn(cluster::node_lifecycle::run(
        acting("node-controller"),
        recorder("node-controller", "node-controller"),
        clock.clone(),
    ));
    tasks.spawn(cluster::pod_gc::run(acting("pod-garbage-collector"), clock.clone()));
    tasks.spawn(cluster::certificates::run(acting("certificate-controller"), clock.clone(), authority.clone()));
    // Upstream removes the objects of a definition inside the API server itself.
    let server = caches.acting_as(doors.client(User::master("system:apiserver")));
    tasks.spawn(cluster::crds::run(server, clock.clone()));
    let scheduler = || doors.client(User::component("system:kube-scheduler"));
    let events = Recorder::new(scheduler(), "default-scheduler", "", clock.clone());
    tasks.spawn(scheduler::run(caches.acting_as(scheduler()), events, clock.clone()));
    tasks
}
