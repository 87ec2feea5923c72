//! Machines for real, below a host that is itself a network namespace: nothing of the machine that runs the tests is touched but
//! cgroups and mounts of their own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloud_local::{Bind, Config, Machine, Machines, NodeRoute, Spec, down, enter};
use netlink::nft::Family;
use netlink::{Cidr, Namespace, Route, Veth, netns, sysctl};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A host with a directory for a cluster; taken down whatever happens.
struct Host {
    namespace: Namespace,
    config: Config,
}

impl Host {
    fn new(name: &str) -> Host {
        let namespace = Namespace::anonymous().expect("namespace");
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ferry-machines-{}-{name}", std::process::id()));
        fs::create_dir_all(&root).expect("mkdir");
        namespace.run(|| sysctl::write("net/ipv4/ip_forward", "0").expect("write")).expect("run");
        let config = Config { host_state: root.join("run"), ..Config::new(root.join("data")) };
        Host { namespace, config }
    }

    fn open(&self) -> Machines {
        self.open_as(&self.config).expect("open")
    }

    fn open_as(&self, config: &Config) -> cloud_local::Result<Machines> {
        let config = config.clone();
        self.namespace.run(|| Machines::open(config)).expect("run")
    }

    fn down(&self, config: &Config, purge: bool) {
        self.namespace.run(|| down(config, purge)).expect("run").expect("down");
    }

    fn route(&self) -> Route {
        self.namespace.route().expect("route")
    }

    fn forwarding(&self) -> String {
        let read = || sysctl::read("net/ipv4/ip_forward").expect("read");
        self.namespace.run(read).expect("run").expect("exists")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let root = self.config.host_state.parent().map(Path::to_path_buf);
        for config in [self.config.clone(), second(self)] {
            let _ = self.namespace.run(|| down(&config, true));
        }
        let _ = root.map(fs::remove_dir_all);
    }
}

/// Another cluster of the same host.
fn second(host: &Host) -> Config {
    Config { dir: host.config.dir.with_file_name("second"), ..host.config.clone() }
}

fn cidr(s: &str) -> Cidr {
    s.parse().expect(s)
}

fn inside(machine: &Machine, script: &str) -> Command {
    let own = std::env::current_exe().expect("own path");
    let enter = own.parent().and_then(Path::parent).expect("target directory").join("examples/enter");
    let mut command = Command::new(enter);
    command.arg(&machine.directory).args(["sh", "-c", script]);
    command
}

/// What a shell in the machine prints.
fn say(machine: &Machine, script: &str) -> String {
    let output = inside(machine, script).output().expect("the example `enter` is built by `cargo test`");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

/// Starts a shell in the machine that prints its pid and stays.
fn stay(machine: &Machine) -> (Child, u32) {
    let mut child = inside(machine, "echo $$; exec sleep 1000").stdout(Stdio::piped()).spawn().expect("spawn");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("read");
    (child, line.trim().parse().expect("pid"))
}

fn serve(namespace: &Namespace, at: impl Into<SocketAddr>) {
    let at = at.into();
    let listener = namespace.run(|| TcpListener::bind(at)).expect("run").expect("bind");
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(peer.ip().to_string().as_bytes());
        }
    });
}

/// The address that a server sees.
fn ask(namespace: &Namespace, at: impl Into<SocketAddr>) -> Option<String> {
    let at = at.into();
    let connect = || {
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5)).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok().map(|_| text)
    };
    namespace.run(connect).expect("run")
}

fn cgroups(part: &str) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let mounts = text.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    mounts.map(|mount| Path::new(mount).join("ferry").join(part)).filter(|path| path.exists()).collect()
}

#[test]
fn machines_are_hosts_of_their_own_on_one_network() {
    let host = Host::new("hosts");
    let machines = host.open();
    let (a, b) =
        (machines.create("a", &Spec::default()).expect("a"), machines.create("b", &Spec::default()).expect("b"));
    assert_eq!(machines.list().expect("list"), [a.clone(), b.clone()]);
    assert_eq!((a.address.to_string(), b.address.to_string()), ("172.30.0.2/24".into(), "172.30.0.3/24".into()));
    assert_eq!(machines.gateway(), "172.30.0.1".parse::<std::net::Ipv4Addr>().expect("ip"));
    let (at_a, at_b) = (a.namespace().expect("a"), b.namespace().expect("b"));
    serve(&at_b, (b.address.address, 80));
    serve(&host.namespace, (IpAddr::from(machines.gateway()), 6443));
    assert_eq!(ask(&at_a, (b.address.address, 80)).as_deref(), Some("172.30.0.2"), "machine to machine");
    assert_eq!(ask(&host.namespace, (b.address.address, 80)).as_deref(), Some("172.30.0.1"), "host to machine");
    assert_eq!(ask(&at_a, (IpAddr::from(machines.gateway()), 6443)).as_deref(), Some("172.30.0.2"), "machine to host");

    assert_eq!(say(&a, "uname -n"), "a");
    assert_eq!(say(&b, "cat /proc/sys/net/ipv4/ip_forward"), "1");
    let seen: BTreeSet<String> = say(&a, "cut -d: -f3 /proc/self/cgroup").lines().map(str::to_string).collect();
    assert_eq!(seen, BTreeSet::from(["/agent".to_string()]), "its cgroups are the roots of what it sees");
    let shown = say(
        &a,
        "cat $(sed -n 's/.* \\(\\/sys\\/fs\\/cgroup[^ ]*\\) .* - cgroup.*/\\1/p' /proc/self/mountinfo | \
                         head -1)/agent/cgroup.procs | grep -c .",
    );
    assert_ne!(shown, "0", "and they are what is mounted");
    let delegated = |file: &str| {
        say(
            &a,
            &format!(
                "cat $(sed -n 's/.* \\(\\/sys\\/fs\\/cgroup[^ ]*\\) .* - cgroup2.*/\\1/p' \
                                                  /proc/self/mountinfo)/{file}"
            ),
        )
    };
    assert_eq!(delegated("cgroup.subtree_control"), delegated("cgroup.controllers"), "v2 controllers are passed on");
    let pid = say(&a, "echo $$");
    assert!(pid.parse::<u32>().expect("a pid") > 1, "the host's pid namespace");
}

#[test]
fn mounts_stay_inside_and_storage_outside() {
    let host = Host::new("mounts");
    let machines = host.open();
    let target = host.config.dir.join("target");
    fs::create_dir_all(&target).expect("mkdir");
    let spec = Spec { binds: vec![Bind { source: "log".into(), target: target.clone() }] };
    let a = machines.create("a", &spec).expect("create");
    let b = machines.create("b", &Spec::default()).expect("create");
    say(&a, &format!("echo hello > {}/file", target.display()));
    assert!(!target.join("file").exists(), "the machine has its own");
    assert_eq!(fs::read_to_string(a.storage().join("log/file")).expect("read"), "hello\n");
    say(&a, &format!("mount -t tmpfs none {}", target.display()));
    let mounted =
        |machine: &Machine| say(machine, &format!("grep -c ' {} ' /proc/self/mountinfo || true", target.display()));
    assert_eq!((mounted(&a).as_str(), mounted(&b).as_str()), ("2", "0"));
    // Of this cluster: others of the host may have theirs.
    let pins = format!("grep -c '{}/.*/ns/net' /proc/self/mountinfo || true", host.config.dir.display());
    assert_eq!(say(&b, &pins), "0", "no machine holds another's pins");
    let host_sees = fs::read_to_string("/proc/self/mountinfo").expect("read");
    assert!(!host_sees.contains(&format!(" {} ", target.display())));
}

#[test]
fn machines_outlive_their_maker_and_keep_running() {
    let host = Host::new("outlive");
    let made = host.open().create("a", &Spec::default()).expect("create");
    let (mut child, pid) = stay(&made);
    let machines = host.open();
    let found = machines.get("a").expect("get").expect("exists");
    assert_eq!(found.agents().expect("agents"), [pid]);
    assert_eq!(found, made);
    assert!(found.is_up());
    let namespace = fs::read_link(format!("/proc/{}/ns/net", child.id())).expect("still running");
    machines.create("a", &Spec::default()).expect("again");
    assert_eq!(say(&found, "readlink /proc/self/ns/net"), namespace.to_string_lossy(), "the same machine");
    assert_eq!(child.try_wait().expect("wait"), None, "its processes were not disturbed");
    let (mut other, _) = stay(&machines.create("b", &Spec::default()).expect("create"));
    machines.delete("a", true).expect("delete");
    child.wait().expect("killed with its machine");
    assert_eq!(other.try_wait().expect("wait"), None, "the other machine runs");
    assert_eq!(machines.get("a").expect("get"), None);
    assert_eq!(machines.create("c", &Spec::default()).expect("create").address, made.address, "the address is free");
    machines.delete("b", false).expect("delete");
    other.wait().expect("killed");
    machines.delete("b", true).expect("twice is fine");
}

#[test]
fn down_leaves_nothing_and_up_resumes() {
    let host = Host::new("down");
    let machines = host.open();
    assert_eq!(host.forwarding(), "1");
    let a = machines.create("a", &Spec::default()).expect("create");
    machines.create("b", &Spec::default()).expect("create");
    fs::write(a.storage().join("image"), "data").expect("write");
    let (mut child, pid) = stay(&a);
    let parts: Vec<_> =
        fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup").lines().map(str::to_string).collect();
    let tag = parts[0].split('/').nth(2).expect("ferry/<tag>").to_string();
    assert!(!cgroups(&tag).is_empty());
    // The maker is killed: nothing it had in memory is left.
    std::mem::forget(machines);
    host.down(&host.config, false);
    assert!(!child.wait().expect("wait").success(), "what ran is killed");
    assert_eq!(cgroups(&tag), Vec::<PathBuf>::new());
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
    assert!(!mounts.contains(&*host.config.dir.to_string_lossy()), "no mount is left");
    let links: Vec<_> = host.route().links().expect("links").into_iter().map(|l| l.name).collect();
    assert!(!links.iter().any(|name| name.starts_with("ferry")), "{links:?}");
    assert_eq!(host.namespace.nft().expect("nft").tables().expect("tables"), vec![]);
    assert_eq!(host.forwarding(), "0", "as it was");
    host.down(&host.config, false);

    let machines = host.open();
    let again = machines.get("a").expect("get").expect("its directory is left");
    assert!(!again.is_up());
    enter(&again.directory).expect_err("not up");
    let again = machines.create("a", &Spec::default()).expect("create");
    assert_eq!(again.address, a.address);
    assert_eq!(fs::read_to_string(again.storage().join("image")).expect("read"), "data");
    assert_eq!(say(&again, "uname -n"), "a");
    host.down(&host.config, true);
    assert!(!again.directory.exists());
}

#[test]
fn half_made_machines_are_made_anew_and_taken_down() {
    let host = Host::new("half");
    let machines = host.open();
    let a = machines.create("a", &Spec::default()).expect("create");
    Namespace::delete(&a.pin("uts")).expect("as if killed before the last pin");
    assert!(!a.is_up());
    let a = machines.create("a", &Spec::default()).expect("anew");
    assert_eq!(say(&a, "uname -n"), "a");
    serve(&a.namespace().expect("a"), (a.address.address, 80));
    assert!(ask(&host.namespace, (a.address.address, 80)).is_some());
    host.route()
        .delete_link(&host.route().links().expect("links").iter().find(|l| l.name.ends_with("-2")).expect("port").name)
        .expect("delete");
    let a = machines.create("a", &Spec::default()).expect("connects again");
    serve(&a.namespace().expect("a"), (a.address.address, 81));
    assert!(ask(&host.namespace, (a.address.address, 81)).is_some());
    fs::remove_file(a.directory.join("machine.json")).expect("as if killed before the first write");
    host.down(&host.config, false);
    assert!(!fs::read_to_string("/proc/self/mountinfo").expect("read").contains(&*host.config.dir.to_string_lossy()));
}

#[test]
fn pods_of_other_nodes_are_reached_by_routes() {
    let host = Host::new("routes");
    let machines = host.open();
    let (a, b) =
        (machines.create("a", &Spec::default()).expect("a"), machines.create("b", &Spec::default()).expect("b"));
    let node = |machine: &Machine, pods: &str| NodeRoute {
        node: machine.name.clone(),
        address: machine.address.address,
        pod_cidrs: vec![cidr(pods)],
    };
    machines.set_routes(&[node(&a, "10.244.0.0/24"), node(&b, "10.244.1.0/24")]).expect("routes");
    let at_b = b.namespace().expect("b");
    at_b.route().expect("route").add_address("lo", cidr("10.244.1.1/32")).expect("address");
    let pod: IpAddr = "10.244.1.1".parse().expect("ip");
    serve(&at_b, (pod, 80));
    assert_eq!(ask(&a.namespace().expect("a"), (pod, 80)).as_deref(), Some("172.30.0.2"));
    assert_eq!(ask(&host.namespace, (pod, 80)).as_deref(), Some("172.30.0.1"));
    machines.set_routes(&[node(&a, "10.244.0.0/24")]).expect("routes");
    let destinations: Vec<_> =
        host.route().routes().expect("routes").iter().map(|r| r.destination.to_string()).collect();
    assert!(destinations.contains(&"10.244.0.0/24".into()) && !destinations.contains(&"10.244.1.0/24".into()));
}

#[test]
fn machines_reach_what_the_host_reaches() {
    let host = Host::new("outside");
    let outside = Namespace::anonymous().expect("namespace");
    let mut route = host.route();
    let near = Veth { name: "uplink", mac: None, namespace: None };
    route.add_veth(near, Veth { name: "net", mac: None, namespace: Some(outside.fd()) }, 1500).expect("veth");
    route.add_address("uplink", cidr("198.51.100.2/24")).expect("address");
    route.up("uplink").expect("up");
    let mut there = outside.route().expect("route");
    there.add_address("net", cidr("198.51.100.1/24")).expect("address");
    there.up("net").expect("up");
    let server: SocketAddr = "198.51.100.1:80".parse().expect("address");
    serve(&outside, server);
    let a = host.open().create("a", &Spec::default()).expect("create");
    assert_eq!(ask(&a.namespace().expect("a"), server).as_deref(), Some("198.51.100.2"), "with the host's address");
}

#[test]
fn clusters_of_one_host_do_not_meet() {
    let host = Host::new("two");
    host.route().add_bridge("other", None).expect("bridge");
    host.route().add_address("other", cidr("172.30.0.9/25")).expect("address");
    host.route().up("other").expect("up");
    let (one, two) = (host.open(), host.open_as(&second(&host)).expect("second"));
    assert_eq!(one.node_network().to_string(), "172.30.1.0/24", "what the host has is avoided");
    assert_eq!(two.node_network().to_string(), "172.30.2.0/24");
    one.create("a", &Spec::default()).expect("create");
    let a = two.create("a", &Spec::default()).expect("create");
    assert_eq!(host.open().node_network().to_string(), "172.30.1.0/24", "a cluster keeps its network");
    host.down(&host.config, true);
    assert!(a.is_up());
    assert_eq!(say(&a, "uname -n"), "a");
    assert_eq!(host.forwarding(), "1", "the second still needs it");
    let tables = host.namespace.nft().expect("nft").tables().expect("tables");
    assert_eq!(tables.iter().filter(|t| t.family == Family::Ip).count(), 1);
    host.down(&second(&host), true);
    assert_eq!(host.forwarding(), "0");
    assert!(host.route().link("other").expect("read").is_some(), "what is not ours stays");
}

#[test]
fn down_works_when_the_data_is_gone() {
    let host = Host::new("gone");
    drop(host.open());
    fs::remove_dir_all(&host.config.dir).expect("remove");
    host.down(&host.config, false);
    let left: Vec<_> = host.route().links().expect("links").into_iter().filter(|l| l.name != "lo").collect();
    assert_eq!(left, vec![]);
    assert_eq!(host.forwarding(), "0");
    host.down(&second(&host), true);
}

#[test]
fn bad_requests_are_told_why() {
    let host = Host::new("bad");
    let machines = host.open();
    let reason = |result: cloud_local::Result<Machine>| result.expect_err("refused").to_string();
    for name in ["", "A", "-a", "../x", &"x".repeat(64)] {
        assert!(reason(machines.create(name, &Spec::default())).starts_with(&format!("machine {name:?}: ")), "{name}");
    }
    let other = Config { node_network: Some(cidr("10.9.0.0/24")), ..host.config.clone() };
    let error = host.open_as(&other).err().expect("refused").to_string();
    assert_eq!(
        error,
        "10.9.0.0/24: the machines of this directory have the network 172.30.0.0/24; delete them to change it"
    );
    let taken = Config { node_network: Some(cidr("172.30.0.0/16")), ..second(&host) };
    let error = host.open_as(&taken).err().expect("refused").to_string();
    assert_eq!(error, "172.30.0.0/16: collides with a route of this host; choose another node network");
    let absent = Spec { binds: vec![Bind { source: "x".into(), target: "/no/such/place".into() }] };
    assert!(reason(machines.create("bind", &absent)).starts_with("/no/such/place: No such file"));
    assert!(!machines.get("bind").expect("get").expect("kept").is_up());
    let small = Config { node_network: Some(cidr("10.9.0.0/29")), ..second(&host) };
    let small = host.open_as(&small).expect("open");
    for name in ["a", "b", "c", "d", "e"] {
        small.create(name, &Spec::default()).expect(name);
    }
    assert_eq!(reason(small.create("f", &Spec::default())), "10.9.0.0/29: no address is left for a machine");
    fs::write(host.config.dir.join("machines/bind/machine.json"), "{").expect("write");
    let error = machines.list().expect_err("corrupt").to_string();
    assert!(error.contains("machines/bind/machine.json: EOF while parsing"), "{error}");
    let a = small.get("a").expect("get").expect("a");
    let error = enter(&a.directory).expect_err("a test has threads").to_string();
    assert!(error.ends_with("can only be entered by a process with one thread"), "{error}");
}

#[test]
fn clusters_that_start_at_the_same_moment_share_no_range() {
    const CLUSTERS: usize = 6;
    let host = Host::new("moment");
    let config = |name: &str| Config { dir: host.config.dir.with_file_name(name), ..host.config.clone() };
    let open = |config: &Config| {
        let machines = host.open_as(config)?;
        let pods = host.namespace.run(|| machines.pod_network(&config.dir.join("pods"))).expect("run")?;
        Ok::<_, cloud_local::Error>((machines.node_network().to_string(), pods.to_string()))
    };
    let configs: Vec<Config> = (0..CLUSTERS).map(|n| config(&format!("at-once-{n}"))).collect();
    let begin = std::sync::Barrier::new(CLUSTERS);
    let chosen: Vec<(String, String)> = std::thread::scope(|scope| {
        let start = |config| {
            let (begin, open) = (&begin, &open);
            scope.spawn(move || {
                begin.wait();
                open(config).expect("a network")
            })
        };
        let running: Vec<_> = configs.iter().map(start).collect();
        running.into_iter().map(|thread| thread.join().expect("a network")).collect()
    });
    let nodes: BTreeSet<&String> = chosen.iter().map(|(nodes, _)| nodes).collect();
    let pods: BTreeSet<&String> = chosen.iter().map(|(_, pods)| pods).collect();
    assert_eq!((nodes.len(), pods.len()), (CLUSTERS, CLUSTERS), "{chosen:?}");

    // One that is stopped keeps what it has; one that is removed gives it back.
    host.down(&configs[0], false);
    host.down(&configs[1], true);
    let late = config("late");
    assert_eq!(open(&late).expect("a network"), chosen[1]);
    assert_eq!(open(&configs[0]).expect("its own network"), chosen[0]);

    // Who insists takes it from a stopped one, which is told when it comes back.
    host.down(&configs[0], false);
    let greedy = Config { node_network: Some(cidr(&chosen[0].0)), ..config("greedy") };
    host.open_as(&greedy).expect("nobody uses it");
    let error = open(&configs[0]).expect_err("it is in use").to_string();
    let by = greedy.dir.canonicalize().expect("a directory");
    assert_eq!(error, format!("{}: the cluster in {} has taken it; stop that one first", chosen[0].0, by.display()));
    for config in configs.iter().chain([&late, &greedy]) {
        host.down(config, true);
    }
}

/// In a mount namespace of its own, as under `unshare -m` or in a container: on whatever processors the namespaces are
/// made, the kernel lets a new one be pinned.
#[test]
fn the_host_may_have_a_mount_namespace_of_its_own() {
    let everywhere = sched_getaffinity(None).expect("affinity");
    for processor in (0..CpuSet::MAX_CPU).filter(|processor| everywhere.is_set(*processor)) {
        let host = Host::new(&format!("mounts-{processor}"));
        let mut here = CpuSet::new();
        here.set(processor);
        let made = std::thread::scope(|scope| {
            let on_its_own = scope.spawn(|| {
                sched_setaffinity(None, &here).expect("affinity");
                netns::isolate().expect("namespaces");
                sched_setaffinity(None, &everywhere).expect("affinity");
                mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private");
                let machines = host.open();
                let up = ["a", "b", "c"].map(|name| machines.create(name, &Spec::default()).map(|m| m.is_up()));
                let up = up.map(|up| up.map_err(|e| e.to_string()));
                host.down(&host.config, true);
                up
            });
            on_its_own.join().expect("thread")
        });
        assert_eq!(made, [Ok(true), Ok(true), Ok(true)], "processor {processor}");
    }
}
