//! Every controller of a control plane and the scheduler, each with the identity that upstream gives it.
//!
//! A crate of its own because more than one program runs a control plane: the binary, the clusters of tests, the managed
//! service. It sees clients only, so the controllers may as well run far from the API server.

mod elected;
mod presence;

pub use elected::start_elected;
pub use presence::announce;

use base::{User, clock::Clock};
use client::Client;
use cluster::node_cidr::PodNetwork;
use control::{Caches, Recorder};
use pki::Authority;
use std::{net::IpAddr, sync::Arc};
use tokio::task::JoinSet;

/// What controllers are given.
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    /// Signs certificates; its own certificate is what pods trust.
    pub authority: Arc<Authority>,
    pub pod_network: PodNetwork,
    /// Address and prefix length of the Service network.
    pub service_network: (IpAddr, u8),
}

/// The programs that upstream splits them into; what they write is managed by these names.
const MANAGER: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";
const SERVER: &str = "kube-apiserver";

/// Starts them all; dropping the set ends them. `client` makes a client that acts as a user.
pub fn start(client: &dyn Fn(User) -> Client, surroundings: &Surroundings) -> JoinSet<()> {
    let Surroundings { clock, authority, pod_network, service_network } = surroundings;
    let program = |name: &'static str| move |user: User| client(user).named(name);
    let (server, scheduler, client) = (program(SERVER), program(SCHEDULER), program(MANAGER));
    let caches = Caches::new(client(User::component("system:kube-controller-manager")));
    let account = |name: &str| client(User::service_account("kube-system", name, ""));
    let acting = |name: &str| caches.acting_as(account(name));
    let recorder = |name: &str| Recorder::new(account(name), name, "", clock.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(workloads::deployment::run(
        acting("deployment-controller"),
        recorder("deployment-controller"),
        clock.clone(),
    ));
    for (kind, name) in [
        (&workloads::replica_set::REPLICA_SET, "replicaset-controller"),
        (&workloads::replica_set::REPLICATION_CONTROLLER, "replication-controller"),
    ] {
        tasks.spawn(workloads::replica_set::run(kind, acting(name), recorder(name), clock.clone()));
    }
    tasks.spawn(workloads::disruption::run(acting("disruption-controller"), clock.clone()));
    tasks.spawn(services::run(acting("endpointslice-controller"), account("endpoint-controller"), clock.clone()));
    tasks.spawn(services::mirror::run(acting("endpointslicemirroring-controller"), clock.clone()));
    tasks.spawn(cluster::namespaces::run(acting("namespace-controller"), clock.clone()));
    tasks.spawn(cluster::service_accounts::run(acting("service-account-controller"), clock.clone()));
    tasks.spawn(cluster::root_ca::run(acting("root-ca-cert-publisher"), clock.clone(), authority.cert_pem().into()));
    tasks.spawn(cluster::garbage::run(acting("generic-garbage-collector"), clock.clone()));
    tasks.spawn(cluster::node_cidr::run(acting("node-controller"), clock.clone(), *pod_network));
    tasks.spawn(cluster::node_lifecycle::run(acting("node-controller"), recorder("node-controller"), clock.clone()));
    tasks.spawn(cluster::resource_quota::run(acting("resourcequota-controller"), clock.clone()));
    tasks.spawn(cluster::pod_gc::run(acting("pod-garbage-collector"), clock.clone()));
    tasks.spawn(cluster::certificates::run(
        acting("certificate-controller"),
        clock.clone(),
        authority.clone(),
        *service_network,
    ));
    tasks.spawn(cluster::service_cidrs::run(acting("service-cidrs-controller"), clock.clone()));
    // Upstream removes the objects of a definition, and keeps the addresses of Services, inside the API server itself.
    let server = caches.acting_as(server(User::master("system:apiserver")));
    tasks.spawn(cluster::service_addresses::run(server.clone(), clock.clone()));
    tasks.spawn(cluster::crds::run(server, clock.clone()));
    tasks.spawn(storage::protection::claims(acting("pvc-protection-controller"), clock.clone()));
    tasks.spawn(storage::protection::volumes(acting("pv-protection-controller"), clock.clone()));
    let name = "volumeattributesclass-protection-controller";
    tasks.spawn(storage::protection::attribute_classes(acting(name), clock.clone()));
    let scheduler = || scheduler(User::component("system:kube-scheduler"));
    let events = Recorder::new(scheduler(), "default-scheduler", "", clock.clone());
    tasks.spawn(scheduler::run(caches.acting_as(scheduler()), events, clock.clone()));
    tasks
}
