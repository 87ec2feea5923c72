//! From CRI's configuration and the image to the resolved [`ContainerSpec`]: pure but for files of the image that the
//! caller passes in as text.

use cri::{ContainerConfig, Error, LinuxContainerResources, NamespaceMode, PodSandboxConfig, Result, SecurityProfile};
use images::{Image, ImageConfig};
use sandbox::{
    Bind, ContainerSpec, ImageSource, PidNamespace, Process, Propagation, Resources, Rlimit, Rootfs, Seccomp, caps,
    user,
};

/// What the container's surroundings contribute.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `/etc/passwd` and `/etc/group` of the image.
    pub passwd: String,
    pub group: String,
    /// Capabilities that this node can give.
    pub available_caps: u64,
    /// The hard limit of descriptors.
    pub max_files: u64,
    pub rootfs: Rootfs,
    pub shm: Option<std::path::PathBuf>,
    /// Files for `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf` unless the kubelet mounts its own.
    pub files: Vec<(String, std::path::PathBuf)>,
    pub devices: Vec<sandbox::Device>,
    pub cgroup: String,
    /// Layers of the images that are mounted as volumes, by reference; and where each is put together.
    pub image_volumes: std::collections::BTreeMap<String, Vec<std::path::PathBuf>>,
    pub scratch: std::path::PathBuf,
}

/// The whole specification.
pub fn container(
    sandbox: &PodSandboxConfig,
    config: &ContainerConfig,
    image: &Image,
    around: &Surroundings,
) -> Result<ContainerSpec> {
    let security = &config.linux.security_context;
    let user = user(config, &image.config, around)?;
    let process = process(sandbox, config, image, around, &user)?;
    let mut rootfs = around.rootfs.clone();
    rootfs.readonly = security.readonly_rootfs;
    let mut resources = resources(&config.linux.resources);
    resources.all_devices = security.privileged;
    let (masked, readonly) = match security.privileged {
        true => (Vec::new(), Vec::new()),
        false => (security.masked_paths.clone(), security.readonly_paths.clone()),
    };
    Ok(ContainerSpec {
        process,
        rootfs,
        mounts: mounts(config, around),
        devices: around.devices.clone(),
        masked_paths: masked,
        readonly_paths: readonly,
        privileged: security.privileged,
        pid: match security.namespace_options.pid {
            NamespaceMode::Pod => PidNamespace::Pod,
            NamespaceMode::Node => PidNamespace::Host,
            NamespaceMode::Container => PidNamespace::Own,
            NamespaceMode::Target => PidNamespace::Pod,
        },
        pid_of: Some(security.namespace_options.target_id.clone())
            .filter(|_| security.namespace_options.pid == NamespaceMode::Target),
        shm: around.shm.clone(),
        cgroup: around.cgroup.clone(),
        resources,
    })
}

/// Limits in the sandbox's terms: zero means unset on the CRI side.
pub fn resources(r: &LinuxContainerResources) -> Resources {
    let set = |n: i64| (n != 0).then_some(n);
    Resources {
        cpu_shares: u64::try_from(r.cpu_shares).ok().filter(|n| *n > 0),
        cpu_quota: set(r.cpu_quota),
        cpu_period: u64::try_from(r.cpu_period).ok().filter(|n| *n > 0),
        memory: set(r.memory_limit_in_bytes),
        memory_swap: set(r.memory_swap_limit_in_bytes),
        pids: set(r.pids_limit),
        cpuset_cpus: r.cpuset_cpus.clone(),
        cpuset_mems: r.cpuset_mems.clone(),
        unified: r.unified.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        all_devices: false,
    }
}

/// Entrypoint and arguments as Kubernetes combines them with the image's: `command` replaces both, `args` the image's cmd.
pub fn arguments(config: &ContainerConfig, image: &ImageConfig) -> Result<Vec<String>> {
    let (head, tail) = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => (&config.command, &config.args),
        (true, false) => (&image.entrypoint, &config.args),
        (true, true) => (&image.entrypoint, &image.cmd),
    };
    let all: Vec<String> = head.iter().chain(tail).cloned().collect();
    match all.first() {
        Some(first) if !first.is_empty() => Ok(all),
        _ => Err(Error::InvalidArgument("no command specified".into())),
    }
}

fn process(
    sandbox: &PodSandboxConfig,
    config: &ContainerConfig,
    image: &Image,
    around: &Surroundings,
    user: &user::User,
) -> Result<Process> {
    let security = &config.linux.security_context;
    let caps = caps::resolve(
        security.privileged,
        &security.capabilities.add_capabilities,
        &security.capabilities.drop_capabilities,
        &security.capabilities.add_ambient_capabilities,
        around.available_caps,
    )
    .map_err(Error::InvalidArgument)?;
    let seccomp = match &security.seccomp {
        _ if security.privileged => Seccomp::Unconfined,
        None | Some(SecurityProfile::Unconfined) => Seccomp::Unconfined,
        Some(SecurityProfile::RuntimeDefault) => Seccomp::Default,
        Some(SecurityProfile::Localhost(path)) => {
            return Err(Error::InvalidArgument(format!(
                "seccomp profile {path:?}: localhost profiles are not supported"
            )));
        }
    };
    let cwd = if config.working_dir.is_empty() { &image.config.working_dir } else { &config.working_dir };
    Ok(Process {
        args: arguments(config, &image.config)?,
        env: environment(sandbox, config, &image.config, user),
        cwd: if cwd.is_empty() { "/".into() } else { cwd.clone() },
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        caps,
        no_new_privs: security.no_new_privs,
        seccomp,
        // As many descriptors as this node has: a daemon's own soft limit is no measure for a server in a pod.
        rlimits: vec![Rlimit { resource: libc::RLIMIT_NOFILE, soft: around.max_files, hard: around.max_files }],
        oom_score_adj: i32::try_from(config.linux.resources.oom_score_adj).ok(),
        tty: config.tty,
        stdin: config.stdin,
    })
}

/// The image's variables, then the container's over them; with PATH, HOME, HOSTNAME and (on a terminal) TERM in any case.
fn environment(
    sandbox: &PodSandboxConfig,
    config: &ContainerConfig,
    image: &ImageConfig,
    user: &user::User,
) -> Vec<String> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: &str| match env.iter_mut().find(|(k, _)| k == key) {
        Some(entry) => entry.1 = value.into(),
        None => env.push((key.into(), value.into())),
    };
    set("PATH", sandbox::spawn::DEFAULT_PATH);
    set("HOSTNAME", &sandbox.hostname);
    set("HOME", if user.home.is_empty() { "/" } else { &user.home });
    if config.tty {
        set("TERM", "xterm");
    }
    for line in &image.env {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        set(key, value);
    }
    for e in &config.envs {
        set(&e.key, &e.value);
    }
    env.into_iter().map(|(k, v)| format!("{k}={v}")).collect()
}

fn user(config: &ContainerConfig, image: &ImageConfig, around: &Surroundings) -> Result<user::User> {
    let security = &config.linux.security_context;
    let number = |n: i64, what: &str| {
        u32::try_from(n).map_err(|_| Error::InvalidArgument(format!("{what} {n} is not a number of 32 bits")))
    };
    let named = match security.run_as_user {
        Some(uid) => number(uid, "runAsUser")?.to_string(),
        None if !security.run_as_username.is_empty() => security.run_as_username.clone(),
        None => image.user.clone(),
    };
    let mut user = user::resolve(&named, &around.passwd, &around.group).map_err(Error::InvalidArgument)?;
    if let Some(gid) = security.run_as_group {
        user.gid = number(gid, "runAsGroup")?;
    }
    if security.supplemental_groups_strict {
        user.groups.clear();
    }
    // The primary group counts as a supplementary one too, so that setgid programs do not lose it.
    let mut groups = vec![user.gid];
    groups.append(&mut user.groups);
    for gid in &security.supplemental_groups {
        groups.push(number(*gid, "supplementalGroups")?);
    }
    groups.sort_unstable();
    groups.dedup();
    user.groups = groups;
    Ok(user)
}

/// The runtime's own files unless mounted over, then the kubelet's mounts, outer ones before those inside them.
fn mounts(config: &ContainerConfig, around: &Surroundings) -> Vec<Bind> {
    let taken = |path: &str| config.mounts.iter().any(|m| m.container_path.trim_end_matches('/') == path);
    let own = around.files.iter().filter(|(path, _)| !taken(path)).map(|(path, source)| Bind {
        source: source.clone(),
        target: path.clone(),
        ..Bind::default()
    });
    let mut asked: Vec<Bind> = config
        .mounts
        .iter()
        .enumerate()
        .map(|(n, m)| Bind {
            image: around.image_volumes.get(&m.image).map(|layers| ImageSource {
                layers: layers.clone(),
                sub_path: m.image_sub_path.clone(),
                mountpoint: around.scratch.join(format!("image-{n}")),
            }),
            source: m.host_path.clone().into(),
            target: m.container_path.clone(),
            readonly: m.readonly,
            recursive_readonly: m.recursive_read_only,
            propagation: match m.propagation {
                cri::MountPropagation::Private => Propagation::Private,
                cri::MountPropagation::HostToContainer => Propagation::HostToContainer,
                cri::MountPropagation::Bidirectional => Propagation::Bidirectional,
            },
        })
        .collect();
    asked.sort_by_key(|m| m.target.split('/').filter(|p| !p.is_empty()).count());
    own.chain(asked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(s: &[&str]) -> Vec<String> {
        s.iter().map(|s| s.to_string()).collect()
    }

    fn image() -> Image {
        Image {
            id: "sha256:1".into(),
            repo_tags: vec![],
            repo_digests: vec![],
            size: 0,
            config: ImageConfig {
                user: "web".into(),
                env: strings(&["PATH=/bin", "A=image"]),
                entrypoint: strings(&["/entry"]),
                cmd: strings(&["cmd"]),
                working_dir: "/srv".into(),
                ..ImageConfig::default()
            },
            layers: vec![],
        }
    }

    fn around() -> Surroundings {
        Surroundings {
            passwd: "web:x:33:34::/srv:/bin/sh\n".into(),
            group: "ssl:x:51:web\n".into(),
            available_caps: caps::ALL,
            files: vec![("/etc/hosts".into(), "/pod/hosts".into()), ("/etc/hostname".into(), "/pod/hostname".into())],
            ..Surroundings::default()
        }
    }

    #[test]
    fn command_and_args() {
        let check = |command: &[&str], args: &[&str], want: &[&str]| {
            let config = ContainerConfig { command: strings(command), args: strings(args), ..Default::default() };
            assert_eq!(arguments(&config, &image().config).unwrap(), want, "{command:?} {args:?}");
        };
        check(&[], &[], &["/entry", "cmd"]);
        check(&[], &["x"], &["/entry", "x"]);
        check(&["/c"], &[], &["/c"]);
        check(&["/c"], &["x"], &["/c", "x"]);
        let none = arguments(&ContainerConfig::default(), &ImageConfig::default()).unwrap_err();
        assert_eq!(none.to_string(), "no command specified");
    }

    #[test]
    fn user_groups_environment_and_mounts() {
        let envs = vec![cri::KeyValue { key: "A".into(), value: "mine".into() }];
        let mut config = ContainerConfig { envs, ..Default::default() };
        config.linux.security_context.supplemental_groups = vec![2000];
        let mount =
            |path: &str| cri::Mount { container_path: path.into(), host_path: "/h".into(), ..Default::default() };
        config.mounts = vec![mount("/a/b/c"), mount("/a"), mount("/etc/hosts")];
        let sandbox = PodSandboxConfig { hostname: "pod".into(), ..Default::default() };
        let spec = container(&sandbox, &config, &image(), &around()).unwrap();
        assert_eq!((spec.process.uid, spec.process.gid), (33, 34));
        assert_eq!(spec.process.groups, [34, 51, 2000]);
        assert_eq!(spec.process.env, ["PATH=/bin", "HOSTNAME=pod", "HOME=/srv", "A=mine"]);
        assert_eq!(spec.process.cwd, "/srv");
        let targets: Vec<&str> = spec.mounts.iter().map(|m| &m.target[..]).collect();
        assert_eq!(targets, ["/etc/hostname", "/a", "/etc/hosts", "/a/b/c"]);
        config.linux.security_context.run_as_user = Some(1000);
        config.linux.security_context.run_as_group = Some(7);
        config.linux.security_context.supplemental_groups_strict = true;
        let spec = container(&sandbox, &config, &image(), &around()).unwrap();
        assert_eq!((spec.process.uid, spec.process.gid, &spec.process.groups[..]), (1000, 7, &[7, 2000][..]));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let mut config = ContainerConfig::default();
        config.linux.security_context.run_as_username = "nobody".into();
        let error = container(&PodSandboxConfig::default(), &config, &image(), &around()).unwrap_err();
        assert_eq!(error.to_string(), "unable to find user nobody: no matching entries in passwd file");
        config.linux.security_context.run_as_username.clear();
        config.linux.security_context.run_as_user = Some(-1);
        let error = container(&PodSandboxConfig::default(), &config, &image(), &around()).unwrap_err();
        assert_eq!(error.to_string(), "runAsUser -1 is not a number of 32 bits");
    }
}
