//! Security contexts and the namespaces of a pod.

use crate::scenes::{Scene, always, container, named, once, scenarios, sh, with};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

scenarios! {
    "[sig-node] Security Context should support pod.Spec.SecurityContext.RunAsUser And pod.Spec.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]"
        => users,
    "[sig-node] Kubelet when scheduling a read only busybox container should not write to root filesystem [LinuxOnly] [NodeConformance] [Conformance]"
        => read_only,
    "[sig-node] Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation when false [LinuxOnly] [NodeConformance] [Conformance]"
        => no_escalation,
    "capabilities are the default ones, those added, and none that was dropped" => capabilities,
    "[sig-node] Security Context When creating a pod with privileged should run the container as unprivileged when false [LinuxOnly] [NodeConformance] [Conformance]"
        => privileged,
    "runAsNonRoot refuses an image that runs as root" => non_root,
    "[sig-node] Sysctls [LinuxOnly] [NodeConformance] should support sysctls [Environment:NotInUserNS] [Conformance]"
        => sysctls,
    "a pod on the host's network has the node's address and name" => host_network,
    "containers that share their process namespace see each other" => shared_processes,
    "[sig-node] KubeletManagedEtcHosts should test kubelet managed /etc/hosts file [NodeConformance] [Conformance]"
        => etc_hosts,
    "[sig-node] Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts [NodeConformance] [Conformance]"
        => host_aliases,
    "[sig-network] DNS should provide DNS for pods for Hostname [Conformance]" => host_name,
    "[sig-network] DNS should support configurable pod DNS nameservers [Conformance]" => dns_config,
    "limits and requests arrive in the container's cgroup" => cgroup,
}

/// A container with a security context.
fn secured(script: &str, context: Value) -> Value {
    with(sh(script), json!({"securityContext": context}))
}

async fn users(scene: Scene) {
    let pod = json!({"securityContext": {"runAsUser": 1001, "runAsGroup": 2002, "supplementalGroups": [3003, 3004]}});
    let script = "id -u; id -g; id -G";
    assert_eq!(scene.output("pod", with(once(sh(script)), pod.clone())).await, "1001\n2002\n2002 3003 3004\n");
    let own = secured(script, json!({"runAsUser": 1002, "runAsGroup": 2003}));
    assert_eq!(scene.output("own", with(once(own), pod)).await, "1002\n2003\n2003 3003 3004\n");
    // The user's own group is the one that the image's /etc/passwd says.
    assert_eq!(
        scene.output("alone", once(secured(script, json!({"runAsUser": 65534})))).await,
        "65534\n65534\n65534\n"
    );
}

async fn read_only(scene: Scene) {
    let script = "echo x >/file || echo refused; echo x >/v/file && cat /v/file; echo x >/dev/termination-log; cat /etc/hosts >/dev/null";
    let mut spec = once(secured(script, json!({"readOnlyRootFilesystem": true})));
    spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    spec["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    let said = scene.output("p", spec).await;
    assert!(said.contains("Read-only file system") && said.contains("refused\n") && said.contains("x\n"), "{said}");
    let open = secured("echo x >/file && cat /file", json!({"readOnlyRootFilesystem": false}));
    assert_eq!(scene.output("open", once(open)).await, "x\n");
}

/// A line of `/proc/self/status`.
fn line(name: &str) -> String {
    format!("grep ^{name}: /proc/self/status")
}

async fn no_escalation(scene: Scene) {
    let script = format!("{}; {}", line("NoNewPrivs"), line("Seccomp"));
    let profile = json!({"type": "RuntimeDefault"});
    let context = json!({"allowPrivilegeEscalation": false, "runAsUser": 1000, "seccompProfile": profile});
    assert_eq!(scene.output("not", once(secured(&script, context))).await, "NoNewPrivs:\t1\nSeccomp:\t2\n");
    assert_eq!(scene.output("may", once(sh(&script))).await, "NoNewPrivs:\t0\nSeccomp:\t2\n");
    let context = json!({"seccompProfile": {"type": "Unconfined"}});
    assert_eq!(scene.output("open", once(secured(&line("Seccomp"), context))).await, "Seccomp:\t0\n");
}

async fn capabilities(scene: Scene) {
    let script = line("CapEff");
    // The fourteen that container runtimes give.
    assert_eq!(scene.output("default", once(sh(&script))).await, "CapEff:\t00000000a80425fb\n");
    let only = json!({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}});
    assert_eq!(scene.output("only", once(secured(&script, only))).await, "CapEff:\t0000000000001000\n");
    let less = json!({"capabilities": {"drop": ["CHOWN"]}});
    assert_eq!(scene.output("less", once(secured(&script, less))).await, "CapEff:\t00000000a80425fa\n");
    // Another user has none in effect.
    let user = json!({"runAsUser": 1000});
    assert_eq!(scene.output("user", once(secured(&script, user))).await, "CapEff:\t0000000000000000\n");
}

async fn privileged(scene: Scene) {
    let script = format!("{}; {}; ls /dev", line("CapEff"), line("Seccomp"));
    let said = scene.output("p", once(secured(&script, json!({"privileged": true})))).await;
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let all = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).expect("capabilities");
    assert!(said.starts_with(&format!("CapEff:{all}\nSeccomp:\t0\n")), "{said}");
    assert!(said.contains("\nkmsg\n") || said.contains("\nloop-control\n"), "the machine's devices: {said}");
    let said = scene.output("not", once(secured(&script, json!({"privileged": false})))).await;
    assert!(said.starts_with("CapEff:\t00000000a80425fb\nSeccomp:\t2\n"), "{said}");
    assert!(said.contains("\nnull\n") && !said.contains("\nkmsg\n") && !said.contains("\nloop-control\n"), "{said}");
}

async fn non_root(scene: Scene) {
    scene.pod("p", once(secured("true", json!({"runAsNonRoot": true})))).await;
    let message = scene
        .until("p", "the error", |pod| {
            let waiting = &container(pod, "c")["state"]["waiting"];
            (waiting["reason"] == "CreateContainerConfigError").then(|| waiting["message"].clone())
        })
        .await;
    let text = message.as_str().unwrap_or_default();
    assert!(text.starts_with("container has runAsNonRoot and image will run as root (pod: \"p_"), "{text}");
    let said = scene.output("ok", once(secured("id -u", json!({"runAsNonRoot": true, "runAsUser": 7})))).await;
    assert_eq!(said, "7\n");
}

async fn sysctls(scene: Scene) {
    let wanted = json!([
        {"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"},
    ]);
    let spec = once(sh("cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start"));
    let said = scene.output("p", with(spec, json!({"securityContext": {"sysctls": wanted}}))).await;
    assert_eq!(said, "1\n80\n");
}

async fn host_network(scene: Scene) {
    let pod = scene.ready("p", with(always(sh("sleep 1000")), json!({"hostNetwork": true}))).await;
    let status = &pod["status"];
    assert_eq!((&status["podIP"], &status["podIPs"]), (&status["hostIP"], &status["hostIPs"]));
    assert_eq!(scene.exec("p", "c", "hostname").await.out.trim(), pod["spec"]["nodeName"]);
    let other = scene.ready("q", always(sh("sleep 1000"))).await;
    assert_ne!(other["status"]["podIP"], other["status"]["hostIP"]);
    assert_eq!(other["status"]["hostIP"], status["hostIP"]);
    // The node's network namespace is not the pod's.
    let links = "readlink /proc/self/ns/net";
    assert_ne!(scene.exec("p", "c", links).await.out, scene.exec("q", "c", links).await.out);
    let hosts = scene.exec("p", "c", "cat /etc/hosts").await.out;
    assert!(hosts.starts_with("# Kubernetes-managed hosts file (host network)."), "{hosts}");
}

async fn shared_processes(scene: Scene) {
    let two = json!({"containers": [sh("sleep 1001"), named("two", "sleep 1002")]});
    scene.ready("shared", with(two.clone(), json!({"shareProcessNamespace": true}))).await;
    scene.ready("apart", two).await;
    let shared = scene.exec("shared", "c", "ps").await.out;
    assert!(shared.contains("sleep 1001") && shared.contains("sleep 1002"), "{shared}");
    let apart = scene.exec("apart", "c", "ps").await.out;
    assert!(apart.contains("sleep 1001") && !apart.contains("sleep 1002"), "{apart}");
    assert!(!scene.exec("shared", "c", "ps | grep ' 1 root'").await.out.contains("sleep"), "pid 1 is the pod's");
}

async fn etc_hosts(scene: Scene) {
    let pod = scene.ready("p", always(sh("sleep 1000"))).await;
    let hosts = scene.exec("p", "c", "cat /etc/hosts").await.out;
    let own = format!("{}\tp\n", pod["status"]["podIP"].as_str().expect("an address"));
    assert!(hosts.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{hosts}");
    assert!(hosts.ends_with(&own), "{hosts}");
    // A container with a mount of its own there keeps that.
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/etc/hosts", "subPath": "hosts"}]});
    let init = with(
        with(sh("echo own >/v/hosts"), json!({"name": "i"})),
        json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
    );
    let spec = with(once(with(sh("cat /etc/hosts"), mount)), json!({"volumes": [{"name": "v", "emptyDir": {}}]}));
    assert_eq!(scene.output("own", with(spec, json!({"initContainers": [init]}))).await, "own\n");
}

async fn host_aliases(scene: Scene) {
    let aliases = json!({"hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}, {"ip": "10.9.8.7", "hostnames": ["x"]}]});
    let said = scene.output("p", with(once(sh("cat /etc/hosts")), aliases)).await;
    let want = "\n# Entries added by HostAliases.\n123.45.67.89\tfoo\tbar\n10.9.8.7\tx\n";
    assert!(said.ends_with(want), "{said}");
}

async fn host_name(scene: Scene) {
    let spec = json!({"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]});
    scene.make::<Service>(json!({"metadata": {"name": "sub"}, "spec": spec})).await;
    let own = with(always(sh("sleep 1000")), json!({"hostname": "own", "subdomain": "sub"}));
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": own});
    scene.make::<k8s_openapi::api::core::v1::Pod>(pod).await;
    let pod = scene.until("p", "Ready", |pod| crate::scenes::ready(pod).then(|| pod.clone())).await;
    let ip = pod["status"]["podIP"].as_str().expect("an address");
    let full = format!("own.sub.{}.svc.cluster.local", scene.namespace);
    assert_eq!(scene.exec("p", "c", "hostname").await.out, "own\n");
    let hosts = scene.exec("p", "c", "cat /etc/hosts").await.out;
    assert!(hosts.contains(&format!("{ip}\t{full}\town\n")), "{hosts}");
    // And everybody else finds it through the DNS.
    scene.ready("other", always(sh("sleep 1000"))).await;
    crate::scenes::wait("the name in the DNS", async || {
        let ran = scene.exec("other", "c", &format!("nslookup {full}; nslookup own.sub")).await;
        (ran.out.matches(ip).count() >= 2).then_some(())
    })
    .await;
    // The name as a whole, where that is asked for; a name that is too long is cut.
    let whole = json!({"hostname": "own", "subdomain": "sub", "setHostnameAsFQDN": true});
    assert_eq!(scene.output("whole", with(once(sh("hostname")), whole)).await, format!("{full}\n"));
    let long = "n".repeat(70);
    assert_eq!(scene.output(&long, once(sh("hostname"))).await.trim(), &long[..63]);
}

async fn dns_config(scene: Scene) {
    let config = json!({
        "nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    });
    let spec = once(sh("cat /etc/resolv.conf"));
    let none = with(spec.clone(), json!({"dnsPolicy": "None", "dnsConfig": config.clone()}));
    let said = scene.output("none", none).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, ["search resolv.conf.local", "nameserver 1.1.1.1", "options ndots:2 edns0"]);
    let said = scene.output("first", with(spec, json!({"dnsConfig": config}))).await;
    let search = format!("search {n}.svc.cluster.local svc.cluster.local cluster.local ", n = scene.namespace);
    assert!(said.starts_with(&search), "{said}");
    assert!(said.contains("resolv.conf.local\n") && said.contains("\noptions ndots:2 edns0"), "{said}");
}

async fn cgroup(scene: Scene) {
    let asked = json!({"resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}});
    let pod = scene.ready("p", always(with(sh("sleep 1000"), asked))).await;
    // On a host with cgroup v1 the controllers have a directory each, with v2 one together.
    let id = container(&pod, "c")["containerID"].as_str().expect("an id").trim_start_matches("ferry://").to_string();
    let find = |controller: &str, file: &str| {
        let root = std::path::Path::new("/sys/fs/cgroup");
        [root.join(controller), root.to_path_buf()].iter().find_map(|top| read_below(top, &id, file))
    };
    let memory = find("memory", "memory.limit_in_bytes").or_else(|| find("", "memory.max"));
    assert_eq!(memory.as_deref().map(str::trim), Some("67108864"));
    let quota = find("cpu", "cpu.cfs_quota_us").or_else(|| find("", "cpu.max"));
    assert!(quota.as_deref().is_some_and(|q| q.starts_with("50000")), "{quota:?}");
    if let Some(shares) = find("cpu", "cpu.shares") {
        assert_eq!(shares.trim(), "256");
    }
}

/// A file of the cgroup that is named for a container, wherever below `top` it is.
fn read_below(top: &std::path::Path, id: &str, file: &str) -> Option<String> {
    let mut open = vec![top.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let found = entry.file_name().to_string_lossy().contains(id);
            match found.then(|| std::fs::read_to_string(entry.path().join(file)).ok()).flatten() {
                Some(text) => return Some(text),
                None => open.push(entry.path()),
            }
        }
    }
    None
}
