//! Statistics and new limits, straight from and to the cgroups: the shim need not be asked.

use std::path::Path;

use cri::{ContainerFilter, ContainerState, ContainerStats, Error, LinuxContainerResources, Result};

use crate::layout;
use crate::pod::Runtime;

impl Runtime {
    pub(crate) async fn stats_of(&self, id: &str) -> Result<ContainerStats> {
        let pod = self.pod_of(id)?;
        let saved = pod.state.lock().containers.get(id).map(|c| c.saved.clone());
        let saved = saved.ok_or_else(|| Error::NotFound(format!("container {id:?} not found")))?;
        let (hierarchies, upper) = (self.inner.hierarchies.clone(), pod.dir.container(id).join("upper"));
        let read = tokio::task::spawn_blocking(move || {
            let mut usage = (0, 0);
            disk_usage(&upper, &mut usage);
            (hierarchies.cgroup(&saved.cgroup).stats(), usage, saved)
        });
        let (s, (bytes, inodes), saved) = read.await.map_err(|e| Error::internal("stats", e))?;
        Ok(ContainerStats {
            id: id.into(),
            pod_sandbox_id: pod.id.clone(),
            metadata: saved.config.metadata,
            labels: saved.config.labels,
            timestamp: crate::shim::now(),
            cpu_usage_core_nano_seconds: s.cpu_nanos,
            memory_working_set_bytes: s.working_set_bytes,
            memory_usage_bytes: s.memory_bytes,
            memory_rss_bytes: s.rss_bytes,
            page_faults: s.page_faults,
            major_page_faults: s.major_page_faults,
            process_count: s.processes,
            writable_layer_used_bytes: bytes,
            writable_layer_inodes_used: inodes,
        })
    }

    pub(crate) async fn all_stats(&self, filter: &ContainerFilter) -> Result<Vec<ContainerStats>> {
        let filter = ContainerFilter { state: Some(ContainerState::Running), ..filter.clone() };
        let mut all = Vec::new();
        for container in self.containers(&filter) {
            match self.stats_of(&container.id).await {
                Err(e) if e.is_not_found() => {}
                other => all.push(other?),
            }
        }
        Ok(all)
    }

    /// Not remembered: a sandbox is never made again from its record, and the kubelet knows what it has granted.
    pub(crate) async fn update_sandbox_resources(&self, id: &str, resources: &LinuxContainerResources) -> Result<()> {
        let pod = self.pod(id)?;
        let _gate = pod.gate.lock().await;
        let cgroup = self.inner.hierarchies.cgroup(&pod.saved.cgroup);
        let limits = crate::spec::resources(resources);
        cgroup.apply(&limits, None).map_err(|e| Error::internal(format_args!("pod sandbox {id:?}"), e))
    }

    pub(crate) async fn update_resources(&self, id: &str, resources: &LinuxContainerResources) -> Result<()> {
        let pod = self.pod_of(id)?;
        let _gate = pod.gate.lock().await;
        let saved = pod.state.lock().containers.get(id).map(|c| c.saved.clone());
        let mut saved = saved.ok_or_else(|| Error::NotFound(format!("container {id:?} not found")))?;
        let merged = merge(&saved.resources, resources);
        let limits = crate::spec::resources(&merged);
        let cgroup = self.inner.hierarchies.cgroup(&saved.cgroup);
        cgroup.apply(&limits, None).map_err(|e| Error::internal(format_args!("container {id:?}"), e))?;
        saved.resources = merged;
        let path = pod.dir.container(id).join("container.json");
        layout::write_json(&path, &saved).map_err(|e| Error::internal(path.display(), e))?;
        if let Some(c) = pod.state.lock().containers.get_mut(id) {
            c.saved = saved;
        }
        Ok(())
    }
}

/// Fields that are set replace what was there.
fn merge(old: &LinuxContainerResources, new: &LinuxContainerResources) -> LinuxContainerResources {
    let number = |o: i64, n: i64| if n == 0 { o } else { n };
    let text = |o: &String, n: &String| if n.is_empty() { o.clone() } else { n.clone() };
    let mut unified = old.unified.clone();
    unified.extend(new.unified.clone());
    LinuxContainerResources {
        cpu_period: number(old.cpu_period, new.cpu_period),
        cpu_quota: number(old.cpu_quota, new.cpu_quota),
        cpu_shares: number(old.cpu_shares, new.cpu_shares),
        memory_limit_in_bytes: number(old.memory_limit_in_bytes, new.memory_limit_in_bytes),
        memory_swap_limit_in_bytes: number(old.memory_swap_limit_in_bytes, new.memory_swap_limit_in_bytes),
        oom_score_adj: number(old.oom_score_adj, new.oom_score_adj),
        cpuset_cpus: text(&old.cpuset_cpus, &new.cpuset_cpus),
        cpuset_mems: text(&old.cpuset_mems, &new.cpuset_mems),
        pids_limit: number(old.pids_limit, new.pids_limit),
        unified,
    }
}

fn disk_usage(dir: &Path, usage: &mut (u64, u64)) {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        usage.0 += meta.blocks() * 512;
        usage.1 += 1;
        if meta.is_dir() {
            disk_usage(&entry.path(), usage);
        }
    }
}
