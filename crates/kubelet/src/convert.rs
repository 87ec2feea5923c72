//! From a pod's spec to the runtime's messages: sandbox and container configuration.
//!
//! Pure. Whatever has to be fetched or made first (environment, mounts, image) is given.

use crate::{
    dns::{self, NodeDns},
    env::expand,
    resources,
};
use cri::{
    Capability, ContainerConfig, ContainerMetadata, KeyValue, LinuxContainerConfig, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, PortMapping, Protocol, SecurityProfile,
};
use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext};
use std::{collections::BTreeMap, path::Path};

/// Labels and annotations by which sandboxes and containers are found again.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
/// The image as the spec named it when the container was made: what tells a changed spec, also after a restart of the agent.
pub const IMAGE: &str = "io.kubernetes.container.image";

/// `<logs>/<namespace>_<name>_<uid>`
pub fn log_directory(logs: &Path, pod: &Pod) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &pod.metadata;
    let name = format!("{}_{}_{}", part(&meta.namespace), part(&meta.name), part(&meta.uid));
    logs.join(name).display().to_string()
}

fn labels(pod: &Pod) -> BTreeMap<String, String> {
    let meta = &pod.metadata;
    [(POD_NAME, &meta.name), (POD_NAMESPACE, &meta.namespace), (POD_UID, &meta.uid)]
        .map(|(key, value)| (key.to_string(), value.clone().unwrap_or_default()))
        .into()
}

/// The sandbox of a pod; `node_name` is its host name in the node's network.
pub fn sandbox(pod: &Pod, attempt: u32, logs: &Path, dns: &NodeDns, node_name: &str) -> PodSandboxConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let host_network = spec.host_network.unwrap_or(false);
    let (name, suffix) = dns::host_name(pod, &dns.domain);
    let hostname = match host_network {
        true => node_name.to_string(),
        false if spec.set_hostname_as_fqdn == Some(true) && !suffix.is_empty() => format!("{name}.{suffix}"),
        false => name,
    };
    let security = spec.security_context.clone().unwrap_or_default();
    let privileged = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let privileged =
        privileged.into_iter().any(|c| c.security_context.as_ref().and_then(|s| s.privileged).unwrap_or(false));
    let meta = &pod.metadata;
    PodSandboxConfig {
        metadata: PodSandboxMetadata {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            attempt,
        },
        hostname,
        log_directory: log_directory(logs, pod),
        dns_config: dns::resolv_conf(pod, dns),
        port_mappings: if host_network { Vec::new() } else { ports(&spec) },
        labels: labels(pod),
        annotations: meta.annotations.clone().unwrap_or_default(),
        runtime_handler: String::new(),
        linux: LinuxPodSandboxConfig {
            cgroup_parent: resources::cgroup_parent(pod),
            security_context: LinuxSandboxSecurityContext {
                namespace_options: namespaces(&spec),
                run_as_user: security.run_as_user,
                run_as_group: security.run_as_group,
                supplemental_groups: groups(&security),
                privileged,
                seccomp: Some(SecurityProfile::RuntimeDefault),
            },
            sysctls: security.sysctls.iter().flatten().map(|s| (s.name.clone(), s.value.clone())).collect(),
            resources: resources::pod(pod),
        },
    }
}

fn ports(spec: &PodSpec) -> Vec<PortMapping> {
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always")));
    let ports = containers.flat_map(|c| c.ports.iter().flatten());
    let number = |n: i32| u16::try_from(n).unwrap_or(0);
    ports
        .filter_map(|port| {
            Some(PortMapping {
                protocol: match port.protocol.as_deref() {
                    Some("UDP") => Protocol::Udp,
                    Some("SCTP") => Protocol::Sctp,
                    _ => Protocol::Tcp,
                },
                container_port: number(port.container_port),
                host_port: port.host_port.map(number).filter(|p| *p > 0)?,
                host_ip: port.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

fn namespaces(spec: &PodSpec) -> NamespaceOption {
    let node = |host: Option<bool>| if host == Some(true) { NamespaceMode::Node } else { NamespaceMode::Pod };
    NamespaceOption {
        network: node(spec.host_network),
        ipc: node(spec.host_ipc),
        pid: match (spec.host_pid, spec.share_process_namespace) {
            (Some(true), _) => NamespaceMode::Node,
            (_, Some(true)) => NamespaceMode::Pod,
            _ => NamespaceMode::Container,
        },
        target_id: String::new(),
    }
}

fn groups(security: &PodSecurityContext) -> Vec<i64> {
    security.supplemental_groups.iter().flatten().copied().chain(security.fs_group).collect()
}

/// What a container is made of, beside its spec.
pub struct Parts<'a> {
    pub attempt: u32,
    /// The resolved reference.
    pub image: &'a str,
    /// The image's own user, where it is a number or a name.
    pub image_uid: Option<i64>,
    pub image_username: &'a str,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    /// Memory of the machine in bytes.
    pub memory: u64,
    /// Where Localhost seccomp profiles are.
    pub seccomp: &'a Path,
}

/// A container's configuration, or the message of `CreateContainerConfigError`.
pub fn container(pod: &Pod, spec: &Container, parts: Parts<'_>) -> Result<ContainerConfig, String> {
    let pod_spec = pod.spec.clone().unwrap_or_default();
    let lookup = |name: &str| parts.env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let expanded = |list: &Option<Vec<String>>| list.iter().flatten().map(|text| expand(text, lookup)).collect();
    let security = security(pod, &pod_spec, spec, &parts)?;
    let mut labels = labels(pod);
    labels.insert(CONTAINER_NAME.into(), spec.name.clone());
    let annotations = [
        (RESTART_COUNT.to_string(), parts.attempt.to_string()),
        (GRACE.to_string(), crate::pod::decide::grace_seconds(pod).to_string()),
        (IMAGE.to_string(), spec.image.clone().unwrap_or_default()),
    ];
    Ok(ContainerConfig {
        metadata: ContainerMetadata { name: spec.name.clone(), attempt: parts.attempt },
        image: parts.image.to_string(),
        command: expanded(&spec.command),
        args: expanded(&spec.args),
        working_dir: spec.working_dir.clone().unwrap_or_default(),
        envs: parts.env.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: parts.mounts,
        devices: Vec::new(),
        labels,
        annotations: annotations.into(),
        log_path: format!("{}/{}.log", spec.name, parts.attempt),
        stdin: spec.stdin.unwrap_or(false),
        stdin_once: spec.stdin_once.unwrap_or(false),
        tty: spec.tty.unwrap_or(false),
        linux: LinuxContainerConfig {
            resources: resources::container(pod, spec, parts.memory),
            security_context: security,
        },
        stop_signal: spec.lifecycle.as_ref().and_then(|l| l.stop_signal.clone()),
    })
}

fn security(
    pod: &Pod,
    pod_spec: &PodSpec,
    spec: &Container,
    parts: &Parts<'_>,
) -> Result<LinuxContainerSecurityContext, String> {
    let of_pod = pod_spec.security_context.clone().unwrap_or_default();
    let own = spec.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(of_pod.run_as_user);
    non_root(pod, spec, &own, &of_pod, user, parts)?;
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|p| p.to_string()).collect() };
    let privileged = own.privileged.unwrap_or(false);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let profile = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    Ok(LinuxContainerSecurityContext {
        capabilities: Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        },
        privileged,
        namespace_options: namespaces(pod_spec),
        run_as_user: user,
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        run_as_username: String::new(),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_strict: of_pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: seccomp(profile, privileged, parts.seccomp),
    })
}

/// `pkg/securitycontext/util.go`
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A container without a profile gets the runtime's default, where upstream leaves it unconfined unless `seccompDefault` is
/// set: locked doors are the only mode here.
fn seccomp(profile: Option<&SeccompProfile>, privileged: bool, dir: &Path) -> Option<SecurityProfile> {
    if privileged {
        return Some(SecurityProfile::Unconfined);
    }
    Some(match profile.map(|p| (p.type_.as_str(), p.localhost_profile.as_deref())) {
        Some(("Unconfined", _)) => SecurityProfile::Unconfined,
        Some(("Localhost", Some(file))) => SecurityProfile::Localhost(dir.join(file).display().to_string()),
        _ => SecurityProfile::RuntimeDefault,
    })
}

fn non_root(
    pod: &Pod,
    spec: &Container,
    own: &SecurityContext,
    of_pod: &PodSecurityContext,
    user: Option<i64>,
    parts: &Parts<'_>,
) -> Result<(), String> {
    if own.run_as_non_root.or(of_pod.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &pod.metadata;
    let pod_words = format!("{}_{}({})", part(&meta.name), part(&meta.namespace), part(&meta.uid));
    let place = format!("(pod: {pod_words:?}, container: {})", spec.name);
    match (user, parts.image_uid, parts.image_username) {
        (Some(0), ..) => Err(format!("container's runAsUser breaks non-root policy {place}")),
        (Some(_), ..) => Ok(()),
        (None, Some(0), _) => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        (None, None, "") => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        (None, None, name) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {place}"
        )),
        (None, Some(_), _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        let meta = json!({"name": "p", "namespace": "n", "uid": "u"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    fn parts<'a>(uid: Option<i64>, username: &'a str) -> Parts<'a> {
        Parts {
            attempt: 2,
            image: "img",
            image_uid: uid,
            image_username: username,
            env: vec![("A".into(), "1".into())],
            mounts: Vec::new(),
            memory: 1 << 30,
            seccomp: Path::new("/sec"),
        }
    }

    fn first(pod: &Pod, uid: Option<i64>, username: &str) -> Result<ContainerConfig, String> {
        container(pod, &pod.spec.as_ref().unwrap().containers[0], parts(uid, username))
    }

    #[test]
    fn a_container() {
        let config =
            first(&pod(json!({"containers": [{"name": "c", "command": ["sh", "$(A)"], "tty": true}]})), None, "")
                .unwrap();
        assert_eq!(config.command, ["sh", "1"]);
        assert_eq!((config.log_path.as_str(), config.metadata.attempt, config.tty), ("c/2.log", 2, true));
        assert_eq!(config.labels[POD_UID], "u");
        assert_eq!(config.linux.security_context.seccomp, Some(SecurityProfile::RuntimeDefault));
        assert!(config.linux.security_context.masked_paths.contains(&"/proc/kcore".to_string()));
    }

    #[test]
    fn users() {
        let place = "(pod: \"p_n(u)\", container: c)";
        let with = |security: serde_json::Value| {
            pod(
                json!({"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c", "securityContext": security}]}),
            )
        };
        let root = Err(format!("container has runAsNonRoot and image will run as root {place}"));
        for (security, uid, name, want) in [
            (json!({}), Some(0), "", root.clone()),
            (json!({}), None, "", root),
            (json!({}), Some(5), "", Ok(None)),
            (json!({"runAsUser": 7}), Some(0), "", Ok(Some(7))),
            (json!({"runAsNonRoot": false}), Some(0), "", Ok(None)),
            (json!({"runAsUser": 0}), None, "", Err(format!("container's runAsUser breaks non-root policy {place}"))),
            (
                json!({}),
                None,
                "web",
                Err(format!(
                    "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root {place}"
                )),
            ),
        ] {
            let got = first(&with(security), uid, name).map(|c| c.linux.security_context.run_as_user);
            assert_eq!(got, want);
        }
    }

    #[test]
    fn a_sandbox() {
        let pod = pod(json!({
            "hostPID": true, "securityContext": {"fsGroup": 9, "supplementalGroups": [8], "sysctls": [{"name": "a.b", "value": "1"}]},
            "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}, {"containerPort": 81}]}],
        }));
        let config = sandbox(&pod, 1, Path::new("/var/log/pods"), &NodeDns::default(), "node-1");
        assert_eq!((config.hostname.as_str(), config.log_directory.as_str()), ("p", "/var/log/pods/n_p_u"));
        assert_eq!(config.port_mappings.len(), 1);
        assert_eq!((config.port_mappings[0].host_port, config.port_mappings[0].protocol), (8080, Protocol::Udp));
        assert_eq!(config.linux.security_context.namespace_options.pid, NamespaceMode::Node);
        assert_eq!(config.linux.security_context.supplemental_groups, [8, 9]);
        assert_eq!(config.linux.sysctls["a.b"], "1");
    }
}
