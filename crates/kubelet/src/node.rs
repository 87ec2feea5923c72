//! What all pods of a node share.

use crate::{
    config::{Dirs, KubeletConfig},
    dns::NodeDns,
    env::Service,
    objects::ObjectStore,
    runtime_class::{RUNTIME_CLASSES, RuntimeClass},
    shares::Shares,
};
use base::{clock::Clock, time::Timestamp};
use client::{Api, Client, kinds};
use control::{Cache, Caches, Recorder};
use cri::{ImageService, RuntimeService};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};
use volumes::{Facts, Mounter, Ownership};

/// The node as its pods' workers see it.
pub struct Node {
    pub name: String,
    pub client: Client,
    pub runtime: Arc<dyn RuntimeService>,
    pub images: Arc<dyn ImageService>,
    pub recorder: Recorder,
    pub clock: Arc<dyn Clock>,
    pub dirs: Dirs,
    pub dns: NodeDns,
    pub host_ips: Vec<String>,
    pub memory: u64,
    pub allocatable: BTreeMap<String, String>,
    pub objects: ObjectStore,
    pub services: Cache<Arc<Service>>,
    /// Whose each sandbox is, by its id.
    pub sandboxes: Mutex<HashMap<String, String>>,
    /// What the node's pods hold of it.
    pub shares: Shares,
    pub runtime_classes: Cache<Arc<RuntimeClass>>,
}

impl Node {
    /// Needs a Tokio runtime; caches begin to fill.
    pub fn new(config: &KubeletConfig, caches: &Caches) -> Arc<Self> {
        let recorder = Recorder::new(config.client.clone(), "kubelet", &config.node_name, config.clock.clone());
        Arc::new(Node {
            name: config.node_name.clone(),
            client: config.client.clone(),
            runtime: config.runtime.clone(),
            images: config.images.clone(),
            recorder,
            clock: config.clock.clone(),
            dirs: config.dirs.clone(),
            dns: config.dns.clone(),
            host_ips: config.addresses.iter().map(ToString::to_string).collect(),
            memory: config.capacity.memory_bytes,
            allocatable: config.capacity.quantities(),
            objects: ObjectStore::new(config.client.clone()),
            services: caches.projected::<Service>(&kinds::SERVICES),
            sandboxes: Mutex::default(),
            shares: Shares::default(),
            runtime_classes: caches.projected::<RuntimeClass>(&RUNTIME_CLASSES),
        })
    }
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
    /// The directory of a pod.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.dirs.pods.join(uid)
    }
    /// The volumes of a pod.
    pub fn mounter(&self, pod: &Pod) -> Mounter {
        let (user, group) = volumes::ownership(pod);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        Mounter::new(self.pod_dir(uid), Ownership { user, group })
    }
    /// What the downward API tells beside the pod's own object.
    pub fn facts(&self, pod: &Pod, ips: &[String]) -> Facts {
        let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
        Facts {
            node_name: self.name.clone(),
            pod_ips: if host_network { self.host_ips.clone() } else { ips.to_vec() },
            host_ips: self.host_ips.clone(),
            allocatable: self.allocatable.clone(),
        }
    }
    /// The pods of a namespace.
    pub fn pods(&self, pod: &Pod) -> Api {
        self.client.api(&kinds::PODS).namespace(pod.metadata.namespace.as_deref().unwrap_or_default())
    }
}
