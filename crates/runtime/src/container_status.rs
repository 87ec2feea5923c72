//! Status and lists, of sandboxes and containers.

use std::collections::BTreeMap;

use cri::{Container, ContainerFilter, ContainerStatus, Error, PodSandbox, PodSandboxFilter, PodSandboxStatus, Result};

use crate::pod::Runtime;

impl Runtime {
    pub(crate) fn sandbox_status(&self, id: &str) -> Result<PodSandboxStatus> {
        let pod = self.pod(id)?;
        let config = &pod.saved.config;
        let state = pod.sandbox_state();
        let ips = pod.state.lock().ips.clone();
        Ok(PodSandboxStatus {
            id: pod.id.clone(),
            metadata: config.metadata.clone(),
            state,
            created_at: pod.saved.created_at,
            ips,
            namespaces: config.linux.security_context.namespace_options.clone(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
        })
    }

    pub(crate) fn sandboxes(&self, filter: &PodSandboxFilter) -> Vec<PodSandbox> {
        let pods: Vec<_> = self.inner.pods.lock().values().cloned().collect();
        let all = pods.iter().map(|pod| PodSandbox {
            id: pod.id.clone(),
            metadata: pod.saved.config.metadata.clone(),
            state: pod.sandbox_state(),
            created_at: pod.saved.created_at,
            labels: pod.saved.config.labels.clone(),
            annotations: pod.saved.config.annotations.clone(),
        });
        all.filter(|s| {
            filter.id.as_ref().is_none_or(|id| *id == s.id)
                && filter.state.is_none_or(|state| state == s.state)
                && selects(&filter.label_selector, &s.labels)
        })
        .collect()
    }

    pub(crate) fn status_of(&self, id: &str) -> Result<ContainerStatus> {
        let pod = self.pod_of(id)?;
        let state = pod.state.lock();
        let container = state.containers.get(id);
        container.map(|c| c.status(id, &pod.id)).ok_or_else(|| Error::NotFound(format!("container {id:?} not found")))
    }

    pub(crate) fn containers(&self, filter: &ContainerFilter) -> Vec<Container> {
        let pods: Vec<_> = self.inner.pods.lock().values().cloned().collect();
        let mut found = Vec::new();
        for pod in pods.iter().filter(|p| filter.pod_sandbox_id.as_ref().is_none_or(|id| *id == p.id)) {
            for (id, c) in &pod.state.lock().containers {
                let config = &c.saved.config;
                let matches = filter.id.as_ref().is_none_or(|wanted| wanted == id)
                    && filter.state.is_none_or(|state| state == c.state)
                    && selects(&filter.label_selector, &config.labels);
                if matches {
                    found.push(Container {
                        id: id.clone(),
                        pod_sandbox_id: pod.id.clone(),
                        metadata: config.metadata.clone(),
                        image: config.image.clone(),
                        image_ref: c.saved.image_ref.clone(),
                        state: c.state,
                        created_at: c.saved.created_at,
                        labels: config.labels.clone(),
                        annotations: config.annotations.clone(),
                    });
                }
            }
        }
        found
    }
}

fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}
