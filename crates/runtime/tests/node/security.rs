//! What a container may and may not: users, capabilities, seccomp, mounts, namespaces.

use std::collections::BTreeMap;

use crate::common::{Node, text};
use cri::{ContainerConfig, Mount, MountPropagation, NamespaceMode, RuntimeService, SecurityProfile};

/// `/proc/self/status` of a process in the container, as a map.
async fn status(node: &Node, id: &str) -> BTreeMap<String, String> {
    let out = text(&node.exec(id, &["status"]).await.stdout);
    out.lines().filter_map(|l| l.split_once(":\t")).map(|(k, v)| (k.to_string(), v.trim().to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_of_ordinary_and_privileged_containers() {
    let node = Node::new().await;
    let mut plain = node.container("main", &["sleep", "1000"]);
    plain.linux.security_context.seccomp = Some(SecurityProfile::RuntimeDefault);
    let (_, id) = node.run("plain", &plain).await;
    let s = status(&node, &id).await;
    assert_eq!(
        (&s["CapBnd"][..], &s["CapEff"][..], &s["CapInh"][..]),
        ("00000000a80425fb", "00000000a80425fb", "0000000000000000")
    );
    assert_eq!((&s["Seccomp"][..], &s["Seccomp_filters"][..], &s["NoNewPrivs"][..]), ("2", "2", "0"));
    assert_eq!(s["NSpid"].split_whitespace().count(), 1);
    // An exec has the container's rights, and so has its first process.
    let init = text(&node.exec(&id, &["cat", "/proc/1/status"]).await.stdout);
    assert!(init.contains("CapEff:\t00000000a80425fb") && init.contains("Seccomp:\t2"), "{init}");

    let mut strict = node.container("main", &["sleep", "1000"]);
    let security = &mut strict.linux.security_context;
    security.run_as_user = Some(65534);
    security.run_as_group = Some(7);
    security.supplemental_groups = vec![2000];
    security.no_new_privs = true;
    security.seccomp = Some(SecurityProfile::RuntimeDefault);
    security.capabilities.drop_capabilities = vec!["ALL".into()];
    let (_, id) = node.run("strict", &strict).await;
    let s = status(&node, &id).await;
    assert_eq!(
        (&s["Uid"][..], &s["Gid"][..], &s["Groups"][..]),
        ("65534\t65534\t65534\t65534", "7\t7\t7\t7", "7 2000")
    );
    assert_eq!(
        (&s["CapBnd"][..], &s["CapEff"][..], &s["NoNewPrivs"][..], &s["Seccomp"][..]),
        ("0000000000000000", "0000000000000000", "1", "2")
    );

    let mut privileged = node.container("main", &["sleep", "1000"]);
    privileged.linux.security_context.privileged = true;
    let (_, id) = node.run("privileged", &privileged).await;
    let s = status(&node, &id).await;
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|l| l.strip_prefix("CapBnd:\t")).unwrap();
    assert_eq!((&s["CapBnd"][..], &s["Seccomp"][..]), (own, "0"));
    assert!(text(&node.exec(&id, &["ls", "/dev"]).await.stdout).lines().any(|l| l == "kmsg" || l == "mem"));
}

#[tokio::test(flavor = "multi_thread")]
async fn file_systems() {
    let node = Node::new().await;
    let host = node.root.join("host");
    std::fs::create_dir_all(host.join("dir")).unwrap();
    std::fs::write(host.join("file"), "from the host\n").unwrap();
    let mount = |source: &str, target: &str, readonly: bool| Mount {
        host_path: host.join(source).display().to_string(),
        container_path: target.into(),
        readonly,
        propagation: MountPropagation::HostToContainer,
        ..Default::default()
    };
    let mut config = node.container("main", &["sleep", "1000"]);
    config.mounts = vec![mount("file", "/etc/some/file", true), mount("dir", "/rw", false), mount("dir", "/ro", true)];
    config.linux.security_context.readonly_rootfs = true;
    config.linux.security_context.masked_paths = vec!["/proc/keys".into(), "/proc/acpi".into(), "/proc/none".into()];
    config.linux.security_context.readonly_paths = vec!["/proc/sys".into()];
    let (_, id) = node.run("files", &config).await;
    let sh = async |script: &str| {
        let done = node.exec(&id, &["sh", "-c", script]).await;
        (done.exit_code, text(&done.stdout), text(&done.stderr))
    };
    assert_eq!(sh("cat /etc/some/file").await.1, "from the host\n");
    assert_eq!(sh("echo x >/rw/made").await.0, 0);
    assert_eq!(std::fs::read_to_string(host.join("dir/made")).unwrap(), "x\n");
    for target in ["/ro/a", "/a", "/etc/some/file", "/proc/sys/net/ipv4/ip_forward", "/sys/a"] {
        let (code, _, error) = sh(&format!("echo 0 >{target}")).await;
        assert_eq!(code, 1, "{target}");
        assert!(error.contains("Read-only") || error.contains("not permitted"), "{target}: {error}");
    }
    assert_eq!(sh("cat /proc/keys").await.1, "");
    assert_eq!(sh("echo x >/dev/shm/made").await.0, 0);
    assert_eq!(
        sh("ls /dev").await.1.split_whitespace().collect::<Vec<_>>(),
        [
            "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
            "urandom", "zero"
        ]
    );
    // The host's mounts are not the container's: nothing of the host's root is to be seen.
    let mounts = sh("cat /proc/self/mountinfo").await.1;
    assert!(!mounts.contains(&node.root.join("images").display().to_string()), "{mounts}");
    assert!(mounts.contains(" /sys/fs/cgroup"), "{mounts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_cannot_lead_out_by_links() {
    let node = Node::new().await;
    let outside = node.root.join("outside");
    std::fs::create_dir(&outside).unwrap();
    // A layer whose /data is a link to a directory of the host.
    let image = node.images().get(crate::common::IMAGE).unwrap();
    std::os::unix::fs::symlink(&outside, image.layers[0].join("data")).unwrap();
    let source = node.root.join("source");
    std::fs::create_dir(&source).unwrap();
    let mut config = node.container("main", &["sleep", "1000"]);
    config.mounts = vec![Mount {
        host_path: source.display().to_string(),
        container_path: "/data/deep".into(),
        ..Default::default()
    }];
    let sandbox = node.rt().run_pod_sandbox(&node.sandbox("links")).await.unwrap();
    let id = node.rt().create_container(&sandbox, &config).await.unwrap();
    let _ = node.rt().start_container(&id).await;
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "the host's directory is untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pid_namespace_for_the_pod() {
    let node = Node::new().await;
    let mut sandbox = node.sandbox("shared");
    sandbox.linux.security_context.namespace_options.pid = NamespaceMode::Pod;
    let sandbox = node.rt().run_pod_sandbox(&sandbox).await.unwrap();
    let shared = |mut c: ContainerConfig| {
        c.linux.security_context.namespace_options.pid = NamespaceMode::Pod;
        c
    };
    let a = node.rt().create_container(&sandbox, &shared(node.container("a", &["sleep", "1000"]))).await.unwrap();
    let b = node.rt().create_container(&sandbox, &shared(node.container("b", &["polite", "4"]))).await.unwrap();
    node.rt().start_container(&a).await.unwrap();
    node.rt().start_container(&b).await.unwrap();
    assert_eq!(text(&node.exec(&a, &["cat", "/proc/1/comm"]).await.stdout), "pause\n");
    let processes = text(&node.exec(&b, &["ls", "/proc"]).await.stdout);
    let pids: Vec<u32> = processes.lines().filter_map(|l| l.parse().ok()).collect();
    assert_eq!(pids.len(), 4, "pause, both containers and ls itself: {pids:?}");
    // The pod's init is nobody's way to the host.
    assert_eq!(text(&node.exec(&a, &["ls", "/proc/1/root/"]).await.stdout), "");
    node.log_with("shared", "b", "ready").await;
    node.rt().stop_container(&b, std::time::Duration::from_secs(60)).await.unwrap();
    assert_eq!(node.rt().container_status(&b).await.unwrap().exit_code, 4);
    assert_eq!(node.rt().container_status(&a).await.unwrap().state, cri::ContainerState::Running);
    node.rt().remove_pod_sandbox(&sandbox).await.unwrap();
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_the_pod_and_the_namespaces_of_the_host() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let node = Node::new().await;
    let (sandbox, _) = node.run("ports", &node.container("main", &["serve", "8080"])).await;
    node.log_with("ports", "main", "ready").await;
    let mut stream = node.rt().port_forward(&sandbox, 8080).await.unwrap();
    stream.write_all(b"through the namespace\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "through the namespace\n");

    let mut config = node.sandbox("host");
    let options = &mut config.linux.security_context.namespace_options;
    (options.network, options.ipc, options.pid) = (NamespaceMode::Node, NamespaceMode::Node, NamespaceMode::Node);
    let sandbox = node.rt().run_pod_sandbox(&config).await.unwrap();
    let mut config = node.container("main", &["sleep", "1000"]);
    config.linux.security_context.namespace_options = node.rt().pod_sandbox_status(&sandbox).await.unwrap().namespaces;
    let id = node.rt().create_container(&sandbox, &config).await.unwrap();
    node.rt().start_container(&id).await.unwrap();
    assert_eq!(node.rt().pod_sandbox_status(&sandbox).await.unwrap().ips, Vec::<String>::new());
    let links = std::fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    assert_eq!(text(&node.exec(&id, &["cat", "/proc/net/dev"]).await.stdout).lines().count(), links);
    let own = std::process::id().to_string();
    assert!(text(&node.exec(&id, &["ls", "/proc"]).await.stdout).lines().any(|l| l == own));
    node.rt().remove_pod_sandbox(&sandbox).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sysctls_and_the_resolver() {
    let node = Node::new().await;
    let mut config = node.sandbox("sysctls");
    config.linux.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "80".into());
    config.linux.sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
    config.dns_config.servers = vec!["10.96.0.10".into()];
    let sandbox = node.rt().run_pod_sandbox(&config).await.unwrap();
    let id = node.rt().create_container(&sandbox, &node.container("main", &["sleep", "1000"])).await.unwrap();
    node.rt().start_container(&id).await.unwrap();
    let cat = async |path: &str| text(&node.exec(&id, &["cat", path]).await.stdout);
    assert_eq!(cat("/proc/sys/net/ipv4/ip_unprivileged_port_start").await, "80\n");
    assert_eq!(cat("/proc/sys/kernel/shm_rmid_forced").await, "1\n");
    assert_eq!(cat("/etc/resolv.conf").await, "nameserver 10.96.0.10\n");

    let mut config = node.sandbox("bad-sysctl");
    config.linux.sysctls.insert("kernel.nonsense".into(), "1".into());
    let error = node.rt().run_pod_sandbox(&config).await.unwrap_err();
    assert!(error.to_string().contains("sysctl kernel.nonsense=1"), "{error}");
    let left = node.rt().list_pod_sandbox(&Default::default()).await.unwrap();
    assert_eq!(left.len(), 1, "a sandbox that could not be made is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_is_small_and_in_a_session_and_cgroup_of_its_own() {
    let node = Node::new().await;
    let (sandbox, id) = node.run("small", &node.container("main", &["sleep", "1000"])).await;
    let hierarchies = sandbox::cgroup::Hierarchies::detect().unwrap();
    let shims = hierarchies.cgroup(&format!("{}/shims", node.cgroup)).processes();
    assert_eq!(shims.len(), 1, "the container is not in the shim's cgroup");
    let pid = shims[0];
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!(fields[3], pid.to_string(), "it leads its session");
    assert_eq!(fields[17], "1", "it has one thread");
    let memory = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = memory.lines().find_map(|l| l.strip_prefix("Anonymous:")).unwrap();
    println!("anonymous memory of the shim: {}\n{memory}", private.trim());
    // Pages of the program are shared by all shims.
    let kib: u64 = private.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < 1024, "{memory}");
    let limits = text(&node.exec(&id, &["cat", "/proc/self/limits"]).await.stdout);
    let files = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(words[3], words[4], "soft and hard limit");
    node.rt().remove_pod_sandbox(&sandbox).await.unwrap();
}
