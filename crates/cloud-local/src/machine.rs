//! Making a machine: its file, its namespaces and its leg on the bridge.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, mpsc};
use std::thread;

use netlink::error::allow_missing;
use netlink::{Cidr, LinkChange, Namespace, RouteEntry, Veth, netns, sysctl};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_bind_recursive, mount_change};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, io_at, kernel};
use crate::{Machines, bridge_name, cgroup, down, mounts, network};

/// Namespaces that a machine has from the start; the cgroup namespace comes with its first process.
const PINNED: [&str; 3] = ["net", "uts", "mnt"];
const MACHINE_FILE: &str = "machine.json";

/// What a new machine shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Directories that the machine sees in place of the host's.
    pub binds: Vec<Bind>,
}

/// A directory of the machine's storage that hides one of the host's, for everything that runs in the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Below the machine's storage; made if absent.
    pub source: PathBuf,
    /// Must exist on the host.
    pub target: PathBuf,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub name: String,
    /// `<dir>/machines/<name>`: what `ferry agent --machine` is given.
    pub directory: PathBuf,
    /// Its address, with the prefix of the node network.
    pub address: Cidr,
    /// The host's address, its default route.
    pub gateway: IpAddr,
}

/// `machine.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) address: String,
    pub(crate) gateway: IpAddr,
    pub(crate) spec: Spec,
}

impl Machine {
    /// Where its containers, images and volumes live; survives the machine's namespaces.
    pub fn storage(&self) -> PathBuf {
        self.directory.join("storage")
    }

    /// Whether its namespaces exist.
    pub fn is_up(&self) -> bool {
        // A pin that is gone leaves a plain file, or none.
        PINNED.iter().all(|kind| is_nsfs(&self.pin(kind)))
    }

    /// Its network namespace.
    pub fn namespace(&self) -> Result<Namespace> {
        Namespace::open(&self.pin("net")).map_err(kernel(&self.name))
    }

    /// Starts a program that will [`crate::enter`] the machine by itself: `command` with `arguments` and `environment` (added to
    /// this process's own), in a process group of its own so that Ctrl-C here does not reach it, its output appended to
    /// `agent.log` in the machine's directory.
    pub fn start<'a>(
        &self,
        command: &Path,
        arguments: &[String],
        environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Child> {
        let path = self.directory.join("agent.log");
        let log = File::options().create(true).append(true).open(&path).map_err(io_at(&path))?;
        let errors = log.try_clone().map_err(io_at(&path))?;
        Command::new(command)
            .args(arguments)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(io_at(command))
    }

    /// The processes that have entered the machine and started no cgroup of their own: agents, also those of an earlier run.
    pub fn agents(&self) -> Result<Vec<u32>> {
        let Some((_, kept)) = read(&self.directory)? else { return Ok(Vec::new()) };
        let path = cgroup::machine_path(&kept.cluster, &self.name).join(cgroup::AGENT);
        let first = cgroup::hierarchies()?.into_iter().next();
        Ok(first.map(|mount| cgroup::processes(&mount.target.join(path))).unwrap_or_default())
    }

    /// The pin of a namespace: `net`, `uts`, `mnt` or `cgroup`.
    pub fn pin(&self, kind: &str) -> PathBuf {
        self.directory.join("ns").join(kind)
    }
}

/// Reads a machine's file.
pub(crate) fn read(directory: &Path) -> Result<Option<(Machine, Kept)>> {
    let path = directory.join(MACHINE_FILE);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_at(&path))?,
    };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|e| io_at(&path)(std::io::Error::from(e)))?;
    let address = kept.address.parse().map_err(kernel(path.display()))?;
    let (name, gateway) = (kept.name.clone(), kept.gateway);
    Ok(Some((Machine { name, directory: directory.to_path_buf(), address, gateway }, kept)))
}

pub(crate) fn list(dir: &Path) -> Result<Vec<Machine>> {
    let machines = dir.join("machines");
    let entries = match fs::read_dir(&machines) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_at(&machines))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let directory = entry.map_err(io_at(&machines))?.path();
        found.extend(read(&directory)?.map(|(machine, _)| machine));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

pub(crate) fn create(machines: &Machines, name: &str, spec: &Spec) -> Result<Machine> {
    validate(name)?;
    let directory = machines.config.dir.join("machines").join(name);
    fs::create_dir_all(directory.join("storage")).map_err(io_at(&directory))?;
    let naming = machines.naming.lock().unwrap_or_else(PoisonError::into_inner);
    let address = match read(&directory)? {
        Some((machine, _)) => machine.address,
        None => Cidr { address: machines.free_address()?.into(), prefix: machines.network.range.prefix },
    };
    let kept = Kept {
        name: name.to_string(),
        cluster: machines.tag.clone(),
        address: address.to_string(),
        gateway: machines.gateway().into(),
        spec: spec.clone(),
    };
    let json = serde_json::to_vec_pretty(&kept).map_err(|e| io_at(&directory)(std::io::Error::from(e)))?;
    write_atomically(&directory.join(MACHINE_FILE), &json)?;
    drop(naming);
    let machine = Machine { name: name.to_string(), directory, address, gateway: machines.gateway().into() };
    if !machine.is_up() {
        // A crash half way leaves some of the namespaces; nothing can run in those.
        down::unpin(&machine.directory)?;
        let mut pinned = pin_namespaces(&machine, spec, &machines.config.dir, None);
        for processor in processors().map_err(io_at(&machine.directory))? {
            if !pinned.as_ref().is_err_and(seems_older) {
                break;
            }
            down::unpin(&machine.directory)?;
            pinned = pin_namespaces(&machine, spec, &machines.config.dir, Some(processor));
        }
        if let Err(error) = pinned {
            down::unpin(&machine.directory)?;
            return Err(error);
        }
    }
    connect(machines, &machine).map_err(kernel(format!("machine {name}")))?;
    Ok(machine)
}

/// The machine's leg on the bridge, its address and its way out. Nothing is touched that is there already.
fn connect(machines: &Machines, machine: &Machine) -> netlink::Result<()> {
    let IpAddr::V4(address) = machine.address.address else { return Ok(()) };
    let namespace = Namespace::open(&machine.pin("net"))?;
    let mut inner = namespace.route()?;
    let port = port_name(&machines.tag, machine);
    let mut host = machines.host.route()?;
    if inner.link("eth0")?.is_none() {
        allow_missing(host.delete_link(&port))?;
        let near = Veth { name: &port, mac: None, namespace: None };
        let far = Veth { name: "eth0", mac: Some(network::mac(address)), namespace: Some(namespace.fd()) };
        host.add_veth(near, far, 1500)?;
    }
    let master = Some(host.index(&bridge_name(&machines.tag))?);
    host.set_link(&port, LinkChange { master, up: Some(true), ..LinkChange::default() })?;
    inner.add_address("eth0", machine.address)?;
    inner.up("eth0")?;
    let default = Cidr { address: IpAddr::from([0, 0, 0, 0]), prefix: 0 };
    inner.replace_route(&RouteEntry::via(default, machine.gateway))
}

/// `ferry<cluster>-<n>`, n being the last part of the address in the node network.
pub(crate) fn port_name(tag: &str, machine: &Machine) -> String {
    let n = match (machine.address.address, machine.address.network().address) {
        (IpAddr::V4(address), IpAddr::V4(network)) => u32::from(address) - u32::from(network),
        _ => 0,
    };
    format!("{}-{n}", bridge_name(tag))
}

/// True where the kernel takes a new mount namespace for an older one than that of this process, and lets nobody pin it
/// here. It compares identifiers, of which every processor has a range of its own (`mnt_ns_loop` in Linux 6.18), so that
/// it happens where this process has a namespace of its own, depending on where either was made.
fn seems_older(error: &Error) -> bool {
    let Error::Io { path, source } = error else { return false };
    path.ends_with("ns/mnt") && source.raw_os_error() == Some(Errno::INVAL.raw_os_error())
}

/// The processors that this process may run on.
fn processors() -> rustix::io::Result<Vec<CpuSet>> {
    let allowed = sched_getaffinity(None)?;
    let one = |processor| {
        let mut set = CpuSet::new();
        set.set(processor);
        set
    };
    Ok((0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).map(one).collect())
}

/// Makes the namespaces on a thread of their own (on those processors), sets them up there, and pins them from here, because a
/// mount made on that thread would not be seen outside.
fn pin_namespaces(machine: &Machine, spec: &Spec, dir: &Path, processors: Option<CpuSet>) -> Result<()> {
    let pins = machine.directory.join("ns");
    fs::create_dir_all(&pins).map_err(io_at(&pins))?;
    // A mount namespace can only be pinned on a private mount: it must not spread into itself.
    mount_bind(&pins, &pins).map_err(io_at(&pins))?;
    mount_change(&pins, MountPropagationFlags::PRIVATE).map_err(io_at(&pins))?;
    thread::scope(|scope| {
        let (made, ready) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let worker = thread::Builder::new().name("machine".into()).spawn_scoped(scope, move || {
            let moved =
                processors.map_or(Ok(()), |set| sched_setaffinity(None, &set)).map_err(io_at(&machine.directory));
            let result = moved.and_then(|()| set_up(machine, spec, dir)).map(|()| rustix::thread::gettid());
            // Nobody listens only if the other side has failed, which it reports itself.
            let _ = made.send(result);
            let _ = released.recv();
        });
        worker.map_err(io_at(&pins))?;
        let thread = ready.recv().map_err(|_| Error::Invalid {
            object: format!("machine {}", machine.name),
            reason: "the thread that makes its namespaces ended early".into(),
        })??;
        let pinned = PINNED.iter().try_for_each(|kind| {
            let pin = machine.pin(kind);
            File::create(&pin).map_err(io_at(&pin))?;
            mount_bind(format!("/proc/self/task/{}/ns/{kind}", thread.as_raw_nonzero()), &pin).map_err(io_at(&pin))
        });
        drop(release);
        pinned
    })
}

/// Runs on the thread that will be thrown away.
fn set_up(machine: &Machine, spec: &Spec, dir: &Path) -> Result<()> {
    let object = format!("machine {}", machine.name);
    netns::isolate().map_err(kernel(&object))?;
    // From here on nothing that is mounted in the machine shows on the host, nor the other way round.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(io_at(Path::new("/")))?;
    // The copied pins of other machines would keep those alive in here.
    for other in list(dir)? {
        mounts::unmount_below(&other.directory.join("ns"))?;
    }
    for bind in &spec.binds {
        let source = machine.storage().join(&bind.source);
        fs::create_dir_all(&source).map_err(io_at(&source))?;
        mount_bind_recursive(&source, &bind.target).map_err(io_at(&bind.target))?;
    }
    rustix::system::sethostname(machine.name.as_bytes())
        .map_err(|e| Error::Invalid { object: object.clone(), reason: format!("cannot set its host name: {e}") })?;
    let settings = || -> netlink::Result<()> {
        sysctl::write("net/ipv4/ip_forward", "1")?;
        // Frames between a machine's pods are routed, not bridged; netfilter need not see them twice.
        sysctl::write_if_present("net/bridge/bridge-nf-call-iptables", "0")?;
        sysctl::write_if_present("net/bridge/bridge-nf-call-ip6tables", "0")
    };
    settings().map_err(kernel(&object))
}

/// A file is the old one or the new one, also after a power failure.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    write().map_err(io_at(path))
}

pub(crate) fn is_nsfs(path: &Path) -> bool {
    const NSFS: u64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == NSFS)
}

/// A host name and a node name: a DNS label.
fn validate(name: &str) -> Result<()> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let valid =
        (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-');
    match valid {
        true => Ok(()),
        false => Err(Error::Invalid {
            object: format!("machine {name:?}"),
            reason: "a name is lower-case letters, digits and '-', at most 63 of them".into(),
        }),
    }
}
