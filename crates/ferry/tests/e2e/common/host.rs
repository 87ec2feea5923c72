//! A host of a test's own: network, mount and cgroup namespaces that one sleeping process holds open. The machine's own
//! network, mounts and cgroups (but for one directory) are not touched. Needs root and util-linux's `unshare`, `nsenter`
//! and `mount`, which every Debian has.

use super::{Dir, FERRY, Running};
use netlink::{Cidr, Namespace, Veth, netns};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

/// The host's only address beside the loopback.
pub const ADDRESS: &str = "10.77.0.1";

pub struct Host {
    pub dir: Dir,
    /// Below the root of every hierarchy.
    cgroup: String,
    hierarchies: Vec<Hierarchy>,
    holder: Option<Running>,
    network: Arc<Namespace>,
}

struct Hierarchy {
    target: PathBuf,
    kind: String,
    options: String,
}

impl Host {
    pub fn new() -> Self {
        let dir = Dir::new();
        let cgroup = dir.0.file_name().expect("a name").to_string_lossy().into_owned();
        let hierarchies = hierarchies();
        for hierarchy in &hierarchies {
            make_cgroup(&hierarchy.target, &hierarchy.target.join(&cgroup));
        }
        let script = format!(
            "{}exec unshare --net --mount --cgroup --propagation private sh -ec '{}{}'",
            enter_cgroup(&hierarchies, &cgroup),
            // What Ferry remembers of a host is this one's own.
            "mkdir -p /run/ferry; mount -t tmpfs -o mode=755 ferry /run/ferry; ",
            show_cgroups(&hierarchies)
        );
        let mut holder = Running::spawn(Command::new("sh").args(["-ec", &script]));
        assert!(holder.wait_for("held").is_some(), "no namespaces: {}", holder.seen.join("\n"));
        for hierarchy in &hierarchies {
            // Processes sit in a leaf: on v2 a cgroup with children that have controllers must be empty itself.
            let own = hierarchy.target.join(&cgroup);
            make_cgroup(&own, &own.join("host"));
            fs::write(own.join("host/cgroup.procs"), holder.pid().to_string()).expect("moved");
        }
        let network = Namespace::open(Path::new(&format!("/proc/{}/ns/net", holder.pid()))).expect("a namespace");
        let host = Host { dir, cgroup, hierarchies, holder: Some(holder), network: Arc::new(network) };
        host.make_links();
        host
    }
    fn make_links(&self) {
        let mut route = self.network.route().expect("netlink");
        let end = |name| Veth { name, mac: None, namespace: None };
        route.add_veth(end("lan0"), end("lan1"), 1500).expect("links");
        route
            .add_address("lan0", Cidr::new(ADDRESS.parse().expect("an address"), 24).expect("a range"))
            .expect("an address");
        for link in ["lo", "lan0", "lan1"] {
            route.up(link).expect("up");
        }
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }
    /// `ferry <arguments>` on this host. Its process id is that of the command.
    pub fn ferry(&self, arguments: &[&str]) -> Command {
        let script = format!(
            "{}exec nsenter --target {} --net --mount --cgroup -- \"$@\"",
            enter_cgroup(&self.hierarchies, &format!("{}/host", self.cgroup)),
            self.holder()
        );
        let mut command = Command::new("sh");
        command.args(["-ec", &script, "sh", FERRY]).args(arguments).env("HOME", &self.dir.0).env_remove("KUBECONFIG");
        command
    }
    fn holder(&self) -> u32 {
        self.holder.as_ref().expect("held").pid()
    }
    /// Runs what `work` makes, on a runtime whose threads are in the host's network.
    pub fn run<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce() -> F + Send) -> T {
        let runtime = runtime(self.network.clone());
        self.network.run(|| runtime.block_on(work())).expect("entered")
    }
    pub fn network(&self) -> Arc<Namespace> {
        self.network.clone()
    }
    /// Links of pods: those that the host did not begin with, but for bridges.
    pub fn ports(&self) -> Vec<String> {
        let links = self.network.route().and_then(|mut r| r.links()).expect("links");
        let own = |l: &netlink::Link| matches!(l.name.as_str(), "lo" | "lan0" | "lan1");
        let of_pods = links.into_iter().filter(|l| !own(l) && l.kind.as_deref() != Some("bridge"));
        of_pods.map(|l| l.name).collect()
    }
    /// What `down` has to put back: links that are not the host's own, tables, and settings.
    pub fn settings(&self) -> Vec<String> {
        let read = || {
            let links = netlink::Route::open().and_then(|mut r| r.links()).expect("links");
            let mut all: Vec<String> = links.into_iter().map(|l| l.name).collect();
            for name in ["net/ipv4/ip_forward", "net/ipv4/conf/all/send_redirects"] {
                all.push(format!("{name} = {:?}", netlink::sysctl::read(name).expect("readable")));
            }
            for name in ["ferry-cni", "ferry"] {
                let table = netlink::nft::Table::new(netlink::nft::Family::Ip, name);
                if netlink::nft::Nft::open().and_then(|mut n| n.has_table(&table)).expect("nftables") {
                    all.push(format!("table {name}"));
                }
            }
            all
        };
        self.network.run(read).expect("entered")
    }
    /// Mount points below a directory, as the host sees them.
    pub fn mounts(&self, below: &Path) -> Vec<String> {
        let text = fs::read_to_string(format!("/proc/{}/mountinfo", self.holder())).expect("mounts");
        let below = below.to_string_lossy().into_owned();
        text.lines()
            .filter(|l| l.split(' ').nth(4).is_some_and(|at| at.starts_with(&below)))
            .map(String::from)
            .collect()
    }
    /// Cgroups below a path in any hierarchy, each named once.
    pub fn cgroups(&self, below: &str) -> Vec<String> {
        let mut found = Vec::new();
        for hierarchy in &self.hierarchies {
            let top = hierarchy.target.join(&self.cgroup).join(below);
            walk(&top, &mut |path| {
                let name = path.strip_prefix(&top).expect("below").to_string_lossy().into_owned();
                if !name.is_empty() && !found.contains(&name) {
                    found.push(name);
                }
            });
        }
        found
    }
}

/// A runtime whose threads are in a network.
pub fn runtime(network: Arc<Namespace>) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || netns::enter(network.fd()).expect("entered"))
        .enable_all()
        .build()
        .expect("a runtime")
}

impl Drop for Host {
    fn drop(&mut self) {
        for hierarchy in &self.hierarchies {
            let top = hierarchy.target.join(&self.cgroup);
            let mut all = Vec::new();
            walk(&top, &mut |path| all.push(path.to_path_buf()));
            for path in &all {
                for pid in fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines() {
                    super::signal(pid.parse().unwrap_or(0), rustix::process::Signal::KILL);
                }
            }
            for path in all.iter().rev() {
                for _ in 0..200 {
                    if fs::remove_dir(path).is_ok() || !path.exists() {
                        break;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
        }
        drop(self.holder.take());
    }
}

fn walk(at: &Path, f: &mut impl FnMut(&Path)) {
    if !at.is_dir() {
        return;
    }
    f(at);
    for entry in fs::read_dir(at).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), f);
        }
    }
}

fn hierarchies() -> Vec<Hierarchy> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let right: Vec<&str> = right.split(' ').collect();
        matches!(right[0], "cgroup" | "cgroup2").then(|| Hierarchy {
            target: left.split(' ').nth(4).unwrap_or_default().into(),
            kind: right[0].into(),
            options: right[2]
                .split(',')
                .filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "clone_children"))
                .collect::<Vec<_>>()
                .join(","),
        })
    };
    text.lines().filter_map(parse).filter(|h| h.target.starts_with("/sys/fs/cgroup")).collect()
}

/// A v1 cpuset starts empty, and an empty one takes no process.
fn make_cgroup(parent: &Path, path: &Path) {
    fs::create_dir_all(path).expect("a cgroup");
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(path.join(file)).is_ok_and(|own| own.trim().is_empty()) {
            let inherited = fs::read_to_string(parent.join(file)).expect("a cpuset");
            // On v2 an empty one means the parent's.
            let _ = fs::write(path.join(file), inherited);
        }
    }
    if let Ok(controllers) = fs::read_to_string(parent.join("cgroup.controllers")) {
        for controller in controllers.split_whitespace() {
            let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

/// Shell: moves the shell into that cgroup of every hierarchy.
fn enter_cgroup(hierarchies: &[Hierarchy], cgroup: &str) -> String {
    hierarchies.iter().map(|h| format!("echo $$ > {}/{cgroup}/cgroup.procs; ", h.target.display())).collect()
}

/// Shell: mounts the cgroups as seen from the namespace in place of the machine's, and stays.
fn show_cgroups(hierarchies: &[Hierarchy]) -> String {
    let mut script = String::new();
    let unified = hierarchies.len() == 1 && hierarchies[0].target == Path::new("/sys/fs/cgroup");
    if unified {
        script += "umount -l /sys/fs/cgroup; ";
    } else {
        script += "mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup; ";
    }
    for h in hierarchies {
        let options = if h.kind == "cgroup" { format!("-o {}", h.options) } else { String::new() };
        let at = h.target.display();
        script += &format!("mkdir -p {at}; mount -t {} {options} cgroup {at}; ", h.kind);
    }
    script + "echo held; exec sleep 1000000"
}
