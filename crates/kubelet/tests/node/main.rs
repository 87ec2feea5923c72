//! A kubelet against a runtime without processes and an API without a server: whole lives of pods.

mod endpoint;
mod fake_api;
mod fake_cri;
mod lives;
mod names;
mod sandboxes;
mod tokens;

use base::clock::System;
use fake_api::FakeApi;
use fake_cri::FakeCri;
use kubelet::{Capacity, Dirs, Ending, KubeletConfig, Machine, NodeDns};
use serde_json::json;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};
use value::Value;

/// A node under test.
struct TestNode {
    api: FakeApi,
    cri: FakeCri,
    dir: PathBuf,
    ending: watch::Sender<Ending>,
    running: Option<JoinHandle<std::io::Result<()>>>,
    endpoint: Option<kubelet::Endpoint>,
}

impl TestNode {
    fn start() -> Self {
        TestNode::start_with(None)
    }
    fn start_with(endpoint: Option<kubelet::Endpoint>) -> Self {
        let dir = std::env::temp_dir().join(format!("ferry-kubelet-{}", base::ids::suffix(8)));
        let mut node = TestNode {
            api: FakeApi::default(),
            cri: FakeCri::default(),
            dir,
            ending: watch::Sender::new(Ending::NotYet),
            running: None,
            endpoint,
        };
        node.begin();
        node
    }
    fn begin(&mut self) {
        self.ending = watch::Sender::new(Ending::NotYet);
        let config = KubeletConfig {
            node_name: "n1".into(),
            client: self.api.client(),
            runtime: Arc::new(self.cri.clone()),
            images: Arc::new(self.cri.clone()),
            clock: Arc::new(System),
            dirs: Dirs { pods: self.dir.join("pods"), logs: self.dir.join("logs"), seccomp: self.dir.join("seccomp") },
            addresses: vec!["192.168.0.7".parse().unwrap()],
            dns: NodeDns::default(),
            capacity: Capacity { cpu_milli: 2000, memory_bytes: 1 << 30, ephemeral_storage_bytes: 1 << 30, pods: 110 },
            labels: Default::default(),
            taints: Vec::new(),
            endpoint: self.endpoint.clone(),
            machine: Machine::read("test"),
        };
        self.running = Some(tokio::spawn(kubelet::run(config, self.ending.subscribe())));
    }
    async fn end(&mut self, how: Ending) {
        self.ending.send_replace(how);
        if let Some(running) = self.running.take() {
            running.await.unwrap().unwrap();
        }
    }
    fn create(&self, name: &str, spec: serde_json::Value) {
        let mut spec = spec;
        spec["nodeName"] = "n1".into();
        if spec["terminationGracePeriodSeconds"].is_null() {
            spec["terminationGracePeriodSeconds"] = 30.into();
        }
        let meta = json!({"name": name, "namespace": "default", "uid": format!("uid-{name}"), "generation": 1});
        self.api.put("pods", json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}).into());
    }
    fn pod(&self, name: &str) -> Option<Value> {
        self.api.get("pods", "default", name)
    }
    /// Waits for a condition on the pod's object (null once it is gone); fails with the object after some seconds.
    async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1500 {
            let pod = self.pod(name).unwrap_or_default();
            if holds(&pod) {
                return pod;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name}: not {what}: {}\ncalls: {:?}", self.pod(name).unwrap_or_default(), self.cri.calls());
    }
    async fn until_phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, phase, |pod| pod.str_at(&["status", "phase"]) == phase).await
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The condition of a pod.
fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    let list = pod.items_at(&["status", "conditions"]).iter();
    list.filter(|c| c.str_at(&["type"]) == kind).map(|c| c.str_at(&["status"])).next().unwrap_or("")
}

/// The status of the pod's first container.
fn container(pod: &Value) -> &Value {
    pod.items_at(&["status", "containerStatuses"]).first().unwrap_or(pod.at(&["none"]))
}
