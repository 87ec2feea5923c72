//! The standards themselves: which fields of a pod a level forbids, since which version.
//!
//! One row of a table per check, in upstream's order, which is the order of the message. A restricted check may replace a baseline
//! one, which would say the same in other words.

use super::policy::{Level, Mode};
use std::collections::BTreeSet;
use value::Value;

/// The last minor version in which a standard changed: later ones are the same.
const NEWEST: u32 = 35;

/// Why a pod is not let in.
#[derive(Debug, PartialEq)]
pub struct Finding {
    pub reason: String,
    pub detail: String,
}

/// A pod, or the template of one.
pub struct Subject<'a> {
    annotations: &'a Value,
    spec: &'a Value,
}

impl<'a> Subject<'a> {
    pub fn of(pod: &'a Value) -> Self {
        Subject { annotations: pod.at(&["metadata", "annotations"]), spec: pod.at(&["spec"]) }
    }
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| spec.items_at(&[list]))
    }
    /// Names of the containers of which something holds.
    fn named(&self, holds: impl FnMut(&&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(holds).map(|c| c.str_at(&["name"])).collect()
    }
    fn is_windows(&self) -> bool {
        self.spec.str_at(&["os", "name"]) == "windows"
    }
    /// The pod has a user namespace of its own: root in it is nobody outside.
    fn has_own_users(&self) -> bool {
        self.spec.at(&["hostUsers"]).as_bool() == Some(false)
    }
}

struct Check {
    id: &'static str,
    level: Level,
    since: u32,
    replaces: &'static str,
    check: fn(&Subject<'_>, u32) -> Option<Finding>,
}

const fn baseline(id: &'static str, since: u32, check: fn(&Subject<'_>, u32) -> Option<Finding>) -> Check {
    Check { id, level: Level::Baseline, since, replaces: "", check }
}

const fn restricted(
    id: &'static str,
    since: u32,
    replaces: &'static str,
    check: fn(&Subject<'_>, u32) -> Option<Finding>,
) -> Check {
    Check { id, level: Level::Restricted, since, replaces, check }
}

const CHECKS: [Check; 19] = [
    baseline("appArmorProfile", 0, app_armor),
    baseline("capabilities_baseline", 0, capabilities),
    baseline("hostNamespaces", 0, host_namespaces),
    baseline("hostPathVolumes", 0, host_paths),
    baseline("hostPorts", 0, host_ports),
    baseline("hostProbesAndHostLifecycle", 34, host_probes),
    baseline("privileged", 0, privileged),
    baseline("procMount", 0, proc_mount_baseline),
    baseline("seLinuxOptions", 0, se_linux),
    baseline("seccompProfile_baseline", 0, seccomp),
    baseline("sysctls", 0, sysctls),
    baseline("windowsHostProcess", 0, windows_host_process),
    restricted("allowPrivilegeEscalation", 8, "", privilege_escalation),
    restricted("capabilities_restricted", 22, "capabilities_baseline", capabilities_restricted),
    restricted("procMount_restricted", 35, "procMount", proc_mount),
    restricted("restrictedVolumes", 0, "hostPathVolumes", volumes),
    restricted("runAsNonRoot", 0, "", run_as_non_root),
    restricted("runAsUser", 23, "", run_as_user),
    restricted("seccompProfile_restricted", 19, "seccompProfile_baseline", seccomp_restricted),
];

/// All that a level forbids of a pod.
pub fn evaluate(mode: Mode, subject: &Subject<'_>) -> Vec<Finding> {
    let version = mode.version.0.min(NEWEST);
    let active = |check: &&Check| check.level <= mode.level && check.since <= version;
    let replaced: Vec<&str> = CHECKS.iter().filter(active).map(|check| check.replaces).collect();
    let asked = CHECKS.iter().filter(active).filter(|check| !replaced.contains(&check.id));
    asked.filter_map(|check| (check.check)(subject, version)).collect()
}

fn finding(reason: &str, detail: String) -> Option<Finding> {
    Some(Finding { reason: reason.into(), detail })
}

/// `"a", "b"`
fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.into() } else { format!("{word}s") }
}

/// `containers "a", "b"`
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", names.len()), quoted(names))
}

/// `pod and container "a"`, where one of them does it.
fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names) {
        (false, []) => None,
        (true, []) => Some("pod".into()),
        (false, names) => Some(containers(names)),
        (true, names) => Some(format!("pod and {}", containers(names))),
    }
}

fn app_armor(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut values = BTreeSet::new();
    let mut bad = |of: &Value| {
        let profile = of.at(&["securityContext", "appArmorProfile"]);
        let kind = profile.str_at(&["type"]);
        let bad = !profile.is_null() && !matches!(kind, "RuntimeDefault" | "Localhost");
        if bad {
            values.insert(kind.to_string());
        }
        bad
    };
    let (pod, names) = (bad(subject.spec), subject.named(|c| bad(c)));
    let mut annotations: Vec<String> = subject
        .annotations
        .members_at(&[])
        .filter(|(name, _)| name.starts_with(ANNOTATION))
        .map(|(name, profile)| (name, profile.as_str().unwrap_or("")))
        .filter(|(_, p)| !(p.is_empty() || *p == "runtime/default" || p.starts_with("localhost/")))
        .map(|(name, profile)| format!("{name}=\"{profile}\""))
        .collect();
    annotations.sort();
    let mut who: Vec<String> = setters(pod, &names).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", annotations.len()));
    }
    if who.is_empty() {
        return None;
    }
    let all: Vec<String> = values.into_iter().chain(annotations).collect();
    let detail = format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&all));
    finding(&plural("forbidden AppArmor profile", all.len()), detail)
}

/// What containers add to their capabilities, of what is not allowed, and who does.
fn added<'a>(subject: &Subject<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut forbidden = BTreeSet::new();
    let names = subject.named(|container| {
        let added = container.items_at(&["securityContext", "capabilities", "add"]).iter().filter_map(Value::as_str);
        let bad: Vec<&str> = added.filter(|capability| !allowed.contains(capability)).collect();
        forbidden.extend(bad.iter().copied());
        !bad.is_empty()
    });
    (names, forbidden)
}

fn capabilities(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let (names, forbidden) = added(subject, &ALLOWED);
    if names.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", containers(&names), quoted(forbidden));
    finding("non-default capabilities", detail)
}

fn host_namespaces(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"].into_iter();
    let set: Vec<String> = fields
        .filter(|field| subject.spec.at(&[field]).as_bool() == Some(true))
        .map(|field| format!("{field}=true"))
        .collect();
    if set.is_empty() { None } else { finding("host namespaces", set.join(", ")) }
}

fn host_paths(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let volumes = subject.spec.items_at(&["volumes"]).iter().filter(|v| v.get("hostPath").is_some());
    let names: Vec<&str> = volumes.map(|v| v.str_at(&["name"])).collect();
    if names.is_empty() {
        return None;
    }
    finding("hostPath volumes", format!("{} {}", plural("volume", names.len()), quoted(&names)))
}

fn host_ports(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let mut ports = BTreeSet::new();
    let names = subject.named(|container| {
        let used = container.items_at(&["ports"]).iter().filter_map(|p| p.at(&["hostPort"]).as_i64());
        let used: Vec<i64> = used.filter(|port| *port != 0).collect();
        ports.extend(used.iter().map(i64::to_string));
        !used.is_empty()
    });
    if names.is_empty() {
        return None;
    }
    let (verb, word) = (if names.len() == 1 { "uses" } else { "use" }, plural("hostPort", ports.len()));
    let ports = ports.into_iter().collect::<Vec<_>>().join(", ");
    finding("hostPort", format!("{} {verb} {word} {ports}", containers(&names)))
}

fn host_probes(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let mut hosts = BTreeSet::new();
    let names = subject.named(|container| {
        let probes = [["livenessProbe"], ["readinessProbe"], ["startupProbe"]];
        let probes = probes.iter().map(|path| container.at(path));
        let handlers = [["lifecycle", "postStart"], ["lifecycle", "preStop"]];
        let all = probes.chain(handlers.iter().map(|path| container.at(path)));
        let used = all.flat_map(|of| [of.str_at(&["httpGet", "host"]), of.str_at(&["tcpSocket", "host"])]);
        let used: Vec<&str> = used.filter(|host| !host.is_empty()).collect();
        hosts.extend(used.iter().map(|host| host.to_string()));
        !used.is_empty()
    });
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let word = plural("probe or lifecycle host", hosts.len());
    finding("probe or lifecycle host", format!("{} {verb} {word} {}", containers(&names), quoted(hosts)))
}

fn privileged(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let names = subject.named(|c| c.at(&["securityContext", "privileged"]).as_bool() == Some(true));
    if names.is_empty() {
        return None;
    }
    finding("privileged", format!("{} must not set securityContext.privileged=true", containers(&names)))
}

fn proc_mount_baseline(subject: &Subject<'_>, version: u32) -> Option<Finding> {
    if version >= 35 && subject.has_own_users() { None } else { proc_mount(subject, version) }
}

fn proc_mount(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let mut kinds = BTreeSet::new();
    let names = subject.named(|container| {
        let kind = container.at(&["securityContext", "procMount"]).as_str();
        let bad = kind.filter(|kind| *kind != "Default");
        kinds.extend(bad.map(String::from));
        bad.is_some()
    });
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(kinds));
    finding("procMount", detail)
}

fn se_linux(subject: &Subject<'_>, version: u32) -> Option<Finding> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |of: &Value| {
        let options = of.at(&["securityContext", "seLinuxOptions"]);
        let kind = options.str_at(&["type"]);
        let known = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || version >= 31 && kind == "container_engine_t";
        if !known {
            types.insert(kind.to_string());
        }
        let (sets_user, sets_role) = (!options.str_at(&["user"]).is_empty(), !options.str_at(&["role"]).is_empty());
        user |= sets_user;
        role |= sets_role;
        !known || sets_user || sets_role
    };
    let (pod, names) = (bad(subject.spec), subject.named(|c| bad(c)));
    let who = setters(pod, &names)?;
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural("type", types.len()), quoted(types)));
    }
    if user {
        data.push("user may not be set".into());
    }
    if role {
        data.push("role may not be set".into());
    }
    finding("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", data.join("; ")))
}

/// Who sets a profile, as a pod or a container may: `None` where nothing is set, false where it is a forbidden one.
fn profile(of: &Value) -> Option<bool> {
    let profile = of.at(&["securityContext", "seccompProfile"]);
    (!profile.is_null()).then(|| matches!(profile.str_at(&["type"]), "Localhost" | "RuntimeDefault"))
}

fn seccomp(subject: &Subject<'_>, version: u32) -> Option<Finding> {
    if version < 19 {
        return seccomp_annotations(subject);
    }
    let mut values = BTreeSet::new();
    let mut bad = |of: &Value| {
        let bad = profile(of) == Some(false);
        if bad {
            values.insert(of.str_at(&["securityContext", "seccompProfile", "type"]).to_string());
        }
        bad
    };
    let (pod, names) = (bad(subject.spec), subject.named(|c| bad(c)));
    let who = setters(pod, &names)?;
    finding("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(values)))
}

/// Before there was a field.
fn seccomp_annotations(subject: &Subject<'_>) -> Option<Finding> {
    const OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    let of_container = |c: &Value| format!("container.seccomp.security.alpha.kubernetes.io/{}", c.str_at(&["name"]));
    let names = std::iter::once(OF_POD.to_string()).chain(subject.containers().map(of_container));
    let allowed = |v: &str| v == "runtime/default" || v == "docker/default" || v.starts_with("localhost/");
    let forbidden: BTreeSet<String> = names
        .filter_map(|name| {
            let value = subject.annotations.get(&name)?.as_str()?;
            (!allowed(value)).then(|| format!("{name}=\"{value}\""))
        })
        .collect();
    if forbidden.is_empty() {
        return None;
    }
    let word = plural("annotation", forbidden.len());
    finding("seccompProfile", format!("forbidden {word} {}", forbidden.into_iter().collect::<Vec<_>>().join(", ")))
}

fn sysctls(subject: &Subject<'_>, version: u32) -> Option<Finding> {
    const ALLOWED: [(u32, &[&str]); 4] = [
        (
            0,
            &[
                "kernel.shm_rmid_forced",
                "net.ipv4.ip_local_port_range",
                "net.ipv4.tcp_syncookies",
                "net.ipv4.ping_group_range",
                "net.ipv4.ip_unprivileged_port_start",
            ],
        ),
        (27, &["net.ipv4.ip_local_reserved_ports"]),
        (
            29,
            &[
                "net.ipv4.tcp_keepalive_time",
                "net.ipv4.tcp_fin_timeout",
                "net.ipv4.tcp_keepalive_intvl",
                "net.ipv4.tcp_keepalive_probes",
            ],
        ),
        (32, &["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"]),
    ];
    let allowed = |name: &str| ALLOWED.iter().any(|(since, names)| *since <= version && names.contains(&name));
    let all = subject.spec.items_at(&["securityContext", "sysctls"]).iter().map(|s| s.str_at(&["name"]));
    let forbidden: Vec<&str> = all.filter(|name| !allowed(name)).collect();
    if forbidden.is_empty() { None } else { finding("forbidden sysctls", forbidden.join(", ")) }
}

fn windows_host_process(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let bad = |of: &Value| of.at(&["securityContext", "windowsOptions", "hostProcess"]).as_bool() == Some(true);
    let who = setters(bad(subject.spec), &subject.named(|c| bad(c)))?;
    finding("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}

fn privilege_escalation(subject: &Subject<'_>, version: u32) -> Option<Finding> {
    if version >= 25 && subject.is_windows() {
        return None;
    }
    let names = subject.named(|c| c.at(&["securityContext", "allowPrivilegeEscalation"]).as_bool() != Some(false));
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
    finding("allowPrivilegeEscalation != false", detail)
}

fn capabilities_restricted(subject: &Subject<'_>, version: u32) -> Option<Finding> {
    if version >= 25 && subject.is_windows() {
        return None;
    }
    let keeps = subject.named(|container| {
        let mut dropped = container.items_at(&["securityContext", "capabilities", "drop"]).iter();
        !dropped.any(|capability| *capability == *"ALL")
    });
    let (adding, forbidden) = added(subject, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeps.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeps)));
    }
    if !adding.is_empty() {
        let (who, what) = (containers(&adding), quoted(forbidden));
        details.push(format!("{who} must not include {what} in securityContext.capabilities.add"));
    }
    if details.is_empty() { None } else { finding("unrestricted capabilities", details.join("; ")) }
}

fn volumes(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in subject.spec.items_at(&["volumes"]) {
        if ALLOWED.iter().any(|kind| volume.get(kind).is_some()) {
            continue;
        }
        names.push(volume.str_at(&["name"]));
        let kind = volume.members_at(&[]).map(|(field, _)| field).find(|field| *field != "name");
        kinds.insert(kind.unwrap_or("unknown").to_string());
    }
    if names.is_empty() {
        return None;
    }
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let word = plural("restricted volume type", kinds.len());
    let who = format!("{} {}", plural("volume", names.len()), quoted(&names));
    finding("restricted volume types", format!("{who} {verb} {word} {}", quoted(kinds)))
}

fn run_as_non_root(subject: &Subject<'_>, version: u32) -> Option<Finding> {
    if version >= 35 && subject.has_own_users() {
        return None;
    }
    let said = |of: &Value| of.at(&["securityContext", "runAsNonRoot"]).as_bool();
    let pod = said(subject.spec);
    if let Some(who) = setters(pod == Some(false), &subject.named(|c| said(c) == Some(false))) {
        return finding("runAsNonRoot != true", format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = subject.named(|c| said(c).is_none() && pod != Some(true));
    if silent.is_empty() {
        return None;
    }
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent));
    finding("runAsNonRoot != true", detail)
}

fn run_as_user(subject: &Subject<'_>, version: u32) -> Option<Finding> {
    if version >= 35 && subject.has_own_users() {
        return None;
    }
    let root = |of: &Value| of.at(&["securityContext", "runAsUser"]).as_i64() == Some(0);
    let who = setters(root(subject.spec), &subject.named(|c| root(c)))?;
    finding("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

fn seccomp_restricted(subject: &Subject<'_>, version: u32) -> Option<Finding> {
    if version >= 25 && subject.is_windows() {
        return None;
    }
    if let Some(found) = seccomp(subject, version) {
        return Some(found);
    }
    let of_pod = profile(subject.spec) == Some(true);
    let silent = subject.named(|c| profile(c).is_none() && !of_pod);
    if silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&silent)
    );
    finding("seccompProfile", detail)
}
