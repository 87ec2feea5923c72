//! The Node object: made or taken over at the start, its status kept, and the lease that says that the node lives.

use crate::{config::KubeletConfig, node::Node};
use base::time::{SignedDuration, Timestamp, micros, parse, seconds};
use client::{Error, Patch, kinds};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use value::{Value, value};

/// `nodeLeaseRenewInterval`, and how often conditions are looked at.
const BEAT: Duration = Duration::from_secs(10);
/// `nodeStatusReportFrequency`: an unchanged status is written this often.
const REPORT: SignedDuration = SignedDuration::from_mins(5);
const LEASE_SECONDS: i64 = 40;
/// Most images that a status lists.
const IMAGES: usize = 50;

/// Registers and beats until dropped. `ready` says that the pods are taken care of.
pub async fn run(config: KubeletConfig, node: Arc<Node>, mut ready: watch::Receiver<bool>) {
    let mut failures = 0u32;
    while let Err(error) = register(&config).await {
        failures += 1;
        tracing::warn!(node = %config.node_name, %error, "cannot register the node");
        tokio::time::sleep(Duration::from_millis(100 << failures.min(6))).await;
    }
    let mut stored = Value::Null;
    let mut uid = String::new();
    let mut waits = 0u32;
    loop {
        let is_ready = *ready.borrow_and_update();
        match beat(&config, &node, is_ready, &mut stored, &mut uid).await {
            Ok(healthy) => {
                failures = 0;
                waits = if healthy { 0 } else { waits + 1 };
            }
            Err(error) if error.is_not_found() => {
                stored = Value::Null;
                if let Err(error) = register(&config).await {
                    tracing::warn!(node = %config.node_name, %error, "cannot register the node again");
                }
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(node = %config.node_name, %error, "cannot report the node's status");
            }
        }
        // What a node waits for at its start (its network, most of all) comes within milliseconds.
        let wait = match (failures, waits) {
            (0, 0) => BEAT,
            (0, waits) => Duration::from_millis(10 << waits.min(10)),
            (failures, _) => Duration::from_millis(200 << failures.min(5)),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            Ok(()) = ready.changed() => {}
        }
    }
}

fn labels(config: &KubeletConfig) -> Vec<(String, String)> {
    let machine = &config.machine.architecture;
    let own = [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", machine),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", machine),
    ];
    let own = own.map(|(k, v)| (k.to_string(), v.to_string()));
    own.into_iter().chain(config.labels.clone()).collect()
}

async fn register(config: &KubeletConfig) -> Result<(), Error> {
    let api = config.client.api(&kinds::NODES);
    let mut wanted = Value::object();
    for (key, text) in labels(config) {
        wanted.set(&["metadata", "labels", &key], text);
    }
    match api.get_opt(&config.node_name).await? {
        Some(object) => {
            let tree = object.value();
            let same = labels(config).iter().all(|(k, v)| object.meta.label(k) == Some(v)) && !tree.is_null();
            if !same {
                api.patch(&config.node_name, &Patch::Merge(wanted)).await?;
            }
        }
        None => {
            wanted.set(&["apiVersion"], "v1");
            wanted.set(&["kind"], "Node");
            wanted.set(&["metadata", "name"], &config.node_name);
            if !config.taints.is_empty() {
                wanted.set(&["spec", "taints"], config.taints.clone());
            }
            match api.create(&wanted).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

async fn beat(
    config: &KubeletConfig,
    node: &Node,
    ready: bool,
    stored: &mut Value,
    uid: &mut String,
) -> Result<bool, Error> {
    let now = node.now();
    let api = config.client.api(&kinds::NODES);
    let (runtime, images) = (node.runtime.status().await, node.images.list_images().await);
    let pressure = disk_pressure(node).await;
    let health = health(ready, runtime.map_err(|e| e.to_string()));
    let version = node.runtime.version().await.unwrap_or_default();
    let runtime_version = format!("{}://{}", version.runtime_name, version.runtime_version);
    let next = status(config, stored, &health, pressure, &images.unwrap_or_default(), &runtime_version, now);
    if due(stored, &next, now) {
        let mut patch = Value::object();
        patch.set(&["status"], next.clone());
        let object = api.patch_status(&config.node_name, &Patch::Strategic(patch)).await?;
        *uid = object.meta.uid.to_string();
        *stored = next;
    }
    renew_lease(config, uid, now).await?;
    Ok(health.is_ok())
}

/// What is wrong, if anything.
fn health(ready: bool, runtime: Result<Vec<cri::RuntimeCondition>, String>) -> Result<(), String> {
    let conditions = runtime.map_err(|e| format!("container runtime is down: {e}"))?;
    let bad: Vec<String> = conditions
        .iter()
        .filter(|c| !c.status)
        .map(|c| format!("container runtime {}: reason:{} message:{}", words(&c.kind), c.reason, c.message))
        .collect();
    if !bad.is_empty() {
        return Err(bad.join(", "));
    }
    if ready { Ok(()) } else { Err("kubelet is still taking up its pods".into()) }
}

fn words(kind: &str) -> &str {
    match kind {
        "NetworkReady" => "network not ready",
        "RuntimeReady" => "not ready",
        other => other,
    }
}

/// Less than a tenth of the images' filesystem is free (`nodefs.available`'s default threshold).
async fn disk_pressure(node: &Node) -> bool {
    let usage = node.images.image_fs_info().await.unwrap_or_default();
    usage.iter().any(|fs| fs.capacity_bytes > 0 && fs.available_bytes * 10 < fs.capacity_bytes)
}

fn status(
    config: &KubeletConfig,
    stored: &Value,
    health: &Result<(), String>,
    disk_pressure: bool,
    images: &[cri::Image],
    runtime_version: &str,
    now: Timestamp,
) -> Value {
    let mut addresses: Vec<Value> =
        config.addresses.iter().map(|ip| value!({"type": "InternalIP", "address": ip.to_string()})).collect();
    addresses.push(value!({"type": "Hostname", "address": config.node_name}));
    let quantities: Value = Value::Object(config.capacity.quantities().into_iter().collect());
    let port = config.endpoint.as_ref().and_then(|e| e.listener.local_addr().ok()).map_or(10250, |a| a.port());
    let ready = match health {
        Ok(()) => ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_string()),
        Err(why) => ("Ready", false, "KubeletNotReady", why.clone()),
    };
    let disk = match disk_pressure {
        true => ("DiskPressure", true, "KubeletHasDiskPressure", "kubelet has disk pressure".to_string()),
        false => ("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure".into()),
    };
    let conditions = [
        ("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available".to_string()),
        disk,
        ("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available".into()),
        ready,
    ];
    let conditions: Vec<Value> = conditions.into_iter().map(|c| condition(stored, c, now)).collect();
    let machine = &config.machine;
    let mut listed: Vec<&cri::Image> = images.iter().collect();
    listed.sort_by_key(|image| std::cmp::Reverse(image.size));
    let listed: Vec<Value> = listed
        .into_iter()
        .take(IMAGES)
        .map(|image| {
            let names: Vec<Value> = image.repo_digests.iter().chain(&image.repo_tags).map(Value::from).collect();
            let mut entry = value!({"sizeBytes": image.size});
            entry.set(&["names"], names);
            entry
        })
        .collect();
    let mut status = value!({
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {
            "machineID": machine.machine_id, "systemUUID": machine.system_uuid, "bootID": machine.boot_id,
            "kernelVersion": machine.kernel_version, "osImage": machine.os_image, "operatingSystem": "linux",
            "architecture": machine.architecture, "containerRuntimeVersion": runtime_version,
            "kubeletVersion": crate::VERSION, "kubeProxyVersion": "",
        },
    });
    status.set(&["addresses"], addresses);
    status.set(&["capacity"], quantities.clone());
    status.set(&["allocatable"], quantities);
    status.set(&["conditions"], conditions);
    status.set(&["images"], listed);
    status
}

fn condition(stored: &Value, new: (&str, bool, &str, String), now: Timestamp) -> Value {
    let (kind, status, reason, message) = new;
    let word = if status { "True" } else { "False" };
    let old = stored.items_at(&["conditions"]).iter().find(|c| c.str_at(&["type"]) == kind);
    let since = old.filter(|c| c.str_at(&["status"]) == word).map(|c| c.str_at(&["lastTransitionTime"]).to_string());
    value!({
        "type": kind, "status": word, "reason": reason, "message": message,
        "lastHeartbeatTime": seconds(now), "lastTransitionTime": since.unwrap_or_else(|| seconds(now)),
    })
}

/// True where something but the heartbeats differs, or the last report is old.
fn due(stored: &Value, next: &Value, now: Timestamp) -> bool {
    let still = |status: &Value| {
        let mut status = status.clone();
        for condition in status.array_at_mut(&["conditions"]).into_iter().flatten() {
            condition.remove(&["lastHeartbeatTime"]);
        }
        status
    };
    let last = stored.items_at(&["conditions"]).iter().find_map(|c| parse(c.str_at(&["lastHeartbeatTime"])));
    last.is_none_or(|last| now.duration_since(last) >= REPORT) || still(stored) != still(next)
}

async fn renew_lease(config: &KubeletConfig, uid: &str, now: Timestamp) -> Result<(), Error> {
    let api = config.client.api(&kinds::LEASES).namespace("kube-node-lease");
    let name = &config.node_name;
    let renewed = value!({"spec": {"renewTime": micros(now)}});
    match api.patch(name, &Patch::Merge(renewed)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => {
            let mut lease = value!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name, "namespace": "kube-node-lease"},
                "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": micros(now)},
            });
            if !uid.is_empty() {
                let owner = value!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid});
                lease.set(&["metadata", "ownerReferences"], vec![owner]);
            }
            match api.create(&lease).await {
                Err(error) if !error.is_already_exists() => {
                    // The namespace may come a moment after the node does; the next beat tries again.
                    tracing::debug!(%error, "cannot make the node's lease");
                    Err(Error::Transport(error.to_string()))
                }
                _ => Ok(()),
            }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_changes_and_old_reports_are_due() {
        let make = |stored: &Value, ready, second| {
            let c = condition(stored, ("Ready", ready, "R", "m".into()), at(second));
            let mut status = Value::object();
            status.set(&["conditions"], vec![c]);
            status
        };
        let first = make(&Value::Null, true, 0);
        assert!(due(&Value::Null, &first, at(0)));
        assert!(!due(&first, &make(&first, true, 10), at(10)));
        assert!(due(&first, &make(&first, true, 300), at(300)));
        let changed = make(&first, false, 10);
        assert!(due(&first, &changed, at(10)));
        assert_eq!(changed.items_at(&["conditions"])[0].str_at(&["lastTransitionTime"]), seconds(at(10)));
        assert_eq!(make(&first, true, 9).items_at(&["conditions"])[0].str_at(&["lastTransitionTime"]), seconds(at(0)));
    }

    #[test]
    fn health_names_the_runtime() {
        let down = cri::RuntimeCondition {
            kind: "NetworkReady".into(),
            status: false,
            reason: "NoBridge".into(),
            message: "m".into(),
        };
        assert_eq!(
            health(true, Ok(vec![down])).unwrap_err(),
            "container runtime network not ready: reason:NoBridge message:m"
        );
        assert!(health(true, Ok(Vec::new())).is_ok() && health(false, Ok(Vec::new())).is_err());
    }
}
