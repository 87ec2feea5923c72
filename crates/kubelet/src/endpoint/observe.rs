//! What there is to know: the node's pods, what they use, and a few figures.

use super::{NodeEndpoint, json, resource_metrics};
use crate::convert::{POD_NAME, POD_NAMESPACE, POD_UID};
use base::{
    Result, Status,
    time::{Timestamp, seconds},
};
use bytes::Bytes;
use cri::{ContainerFilter, ContainerStats};
use http::Response;
use net::Body;
use std::collections::BTreeMap;
use value::{Value, value};

/// `/pods`: a PodList of what is bound to the node.
pub(super) fn pods(endpoint: &NodeEndpoint) -> Response<Body> {
    let mut out = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#.to_vec();
    for (i, pod) in endpoint.pods.list().iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(pod.json());
    }
    out.extend_from_slice(b"]}");
    json(Bytes::from(out))
}

/// `/stats/summary`: CPU and memory of containers and pods, and of the node.
pub(super) async fn summary(endpoint: &NodeEndpoint) -> Result<Response<Body>> {
    let node = &endpoint.node;
    let stats = node.runtime.list_container_stats(&ContainerFilter::default()).await.map_err(Status::internal)?;
    let mut pods: BTreeMap<String, Vec<ContainerStats>> = BTreeMap::new();
    for stat in stats {
        pods.entry(stat.labels.get(POD_UID).cloned().unwrap_or_default()).or_default().push(stat);
    }
    let now = seconds(node.now());
    let all: Vec<&ContainerStats> = pods.values().flatten().collect();
    let mut summary = value!({"node": {"nodeName": node.name}, "pods": []});
    summary.set(&["node", "cpu"], cpu(&all, &now));
    summary.set(&["node", "memory"], memory(&all, &now, Some(node.memory)));
    let list: Vec<Value> = pods
        .iter()
        .map(|(uid, containers)| {
            let labels = containers.first().map(|c| c.labels.clone()).unwrap_or_default();
            let text = |key: &str| labels.get(key).cloned().unwrap_or_default();
            let all: Vec<&ContainerStats> = containers.iter().collect();
            let mut pod = value!({"podRef": {"name": text(POD_NAME), "namespace": text(POD_NAMESPACE), "uid": uid}});
            pod.set(&["cpu"], cpu(&all, &now));
            pod.set(&["memory"], memory(&all, &now, None));
            let each = containers.iter().map(|c| {
                let at = Timestamp::from_nanosecond(c.timestamp.into()).map(seconds).unwrap_or_else(|_| now.clone());
                let mut entry = value!({"name": c.metadata.name});
                entry.set(&["cpu"], cpu(&[c], &at));
                entry.set(&["memory"], memory(&[c], &at, None));
                entry.set(&["rootfs"], value!({"time": at, "usedBytes": c.writable_layer_used_bytes}));
                entry
            });
            pod.set(&["containers"], each.collect::<Vec<Value>>());
            pod
        })
        .collect();
    summary.set(&["pods"], list);
    Ok(json(Bytes::from(summary.to_json())))
}

fn cpu(stats: &[&ContainerStats], at: &str) -> Value {
    let used: u64 = stats.iter().map(|s| s.cpu_usage_core_nano_seconds).sum();
    value!({"time": at, "usageCoreNanoSeconds": used})
}

fn memory(stats: &[&ContainerStats], at: &str, total: Option<u64>) -> Value {
    let sum = |f: fn(&ContainerStats) -> u64| stats.iter().map(|s| f(s)).sum::<u64>();
    let working = sum(|s| s.memory_working_set_bytes);
    let mut out = value!({
        "time": at, "workingSetBytes": working, "usageBytes": sum(|s| s.memory_usage_bytes),
        "rssBytes": sum(|s| s.memory_rss_bytes), "pageFaults": sum(|s| s.page_faults),
        "majorPageFaults": sum(|s| s.major_page_faults),
    });
    if let Some(total) = total {
        out.set(&["availableBytes"], total.saturating_sub(working));
    }
    out
}

/// `/metrics/resource`
pub(super) async fn resource_metrics(endpoint: &NodeEndpoint) -> String {
    let stats = endpoint.node.runtime.list_container_stats(&ContainerFilter::default()).await;
    resource_metrics::page(stats.as_deref().ok(), endpoint.node.now())
}

/// `/metrics` in the Prometheus text format.
pub(super) fn metrics(endpoint: &NodeEndpoint) -> String {
    let pods = endpoint.pods.len();
    let sandboxes = endpoint.node.sandboxes.lock().len();
    format!(
        "# HELP kubelet_node_name The node's name. The count is always 1.\n# TYPE kubelet_node_name gauge\n\
         kubelet_node_name{{node=\"{}\"}} 1\n\
         # HELP kubelet_desired_pods Pods that the API has bound to this node.\n# TYPE kubelet_desired_pods gauge\n\
         kubelet_desired_pods {pods}\n\
         # HELP kubelet_running_pods Pods that have a sandbox on this node.\n# TYPE kubelet_running_pods gauge\n\
         kubelet_running_pods {sandboxes}\n",
        endpoint.node.name
    )
}
