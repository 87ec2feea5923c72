//! The parent's side: everything is prepared, then a child is cloned, then its report is awaited.
//!
//! [`container`] starts the first process of a container, [`exec`] another one inside it. Both return once the program
//! has been executed (the status socket closes by exec) or the child has said why not, so a start error is known at once.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::caps;
use crate::cgroup::{Cgroup, Hierarchies};
use crate::child::{self, Prepared, Report, Stage};
use crate::plan::{self, Facts, Step};
use crate::seccomp;
use crate::spec::{ContainerSpec, PidNamespace, Process, Seccomp};
use crate::sys;

/// The parent's ends of a process's streams.
#[derive(Debug, Default)]
pub struct Stdio {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// Instead of the three: the master of the terminal.
    pub terminal: Option<OwnedFd>,
}

/// A process that runs.
#[derive(Debug)]
pub struct Spawned {
    /// In the caller's pid namespace; the caller is its parent and has to reap it.
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub stdio: Stdio,
}

/// Why no program runs.
#[derive(Debug)]
pub enum SpawnError {
    /// The program itself cannot be executed: absent, not executable, of another machine.
    Exec { command: String, in_path: bool, source: io::Error },
    /// A step before it failed, as it prints itself.
    Step { what: String, source: io::Error },
    /// The specification cannot be carried out.
    Invalid(String),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec { command, in_path, source } => match source.raw_os_error() {
                Some(libc::ENOENT) if *in_path => write!(f, "exec: {command:?}: executable file not found in $PATH"),
                Some(libc::ENOENT) => write!(f, "exec: {command:?}: stat {command}: no such file or directory"),
                Some(libc::EACCES) => write!(f, "exec: {command:?}: permission denied"),
                Some(libc::ENOEXEC) => write!(f, "exec {command}: exec format error"),
                _ => write!(f, "exec {command}: {source}"),
            },
            Self::Step { what, source } => write!(f, "{what}: {source}"),
            Self::Invalid(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for SpawnError {}

/// What the parent keeps open until the child has executed.
struct Held {
    fds: Vec<OwnedFd>,
    v2_cgroup: Option<OwnedFd>,
    // argv and envp point into these.
    _strings: Vec<CString>,
}

/// Starts a container's first process. `pod_init` is a pidfd of the pod's pause process, for
/// [`PidNamespace::Pod`]. The cgroup has to be there.
pub fn container(
    spec: &ContainerSpec,
    hierarchies: &Hierarchies,
    pod_init: Option<BorrowedFd>,
) -> Result<Spawned, SpawnError> {
    let cgroup = hierarchies.cgroup_for(&spec.cgroup, &spec.resources);
    let (mut prepared, mut held, status, stdio) = prepare(&spec.process, &cgroup)?;
    let facts = gather(spec, hierarchies, &mut held, &mut prepared)?;
    prepared.steps = plan::plan(spec, &facts).map_err(SpawnError::Invalid)?;
    prepared.new_cgroup_namespace = !spec.privileged;
    prepared.console = spec.process.tty;
    let own_pid = if spec.pid == PidNamespace::Own { libc::CLONE_NEWPID } else { 0 };
    let join = pod_init.filter(|_| spec.pid == PidNamespace::Pod);
    launch(&spec.process, prepared, held, status, stdio, (libc::CLONE_NEWNS | own_pid) as u64, join)
}

/// Starts another process inside a container; `init` is a pidfd of the container's first process.
pub fn exec(
    spec: &ContainerSpec,
    process: &Process,
    hierarchies: &Hierarchies,
    init: BorrowedFd,
) -> Result<Spawned, SpawnError> {
    let cgroup = hierarchies.cgroup_for(&spec.cgroup, &spec.resources);
    let (mut prepared, held, status, stdio) = prepare(process, &cgroup)?;
    prepared.enter = Some(init.as_raw_fd());
    let join = Some(init).filter(|_| spec.pid != PidNamespace::Host);
    launch(process, prepared, held, status, stdio, 0, join)
}

/// Opens bind sources and finds out what the plan must know of them.
fn gather(
    spec: &ContainerSpec,
    hierarchies: &Hierarchies,
    held: &mut Held,
    prepared: &mut Prepared,
) -> Result<Facts, SpawnError> {
    let mut hold = |fd: OwnedFd| {
        let raw = fd.as_raw_fd();
        held.fds.push(fd);
        raw
    };
    let mut facts = Facts { hierarchies: hierarchies.joined(&spec.resources), ..Facts::default() };
    let mut image_fds = plan::image_fds(spec);
    for bind in &spec.mounts {
        if bind.image.is_some() {
            facts.directories.push(true);
            prepared.sources.push(image_fds.next().unwrap_or(-1));
            continue;
        }
        let meta =
            std::fs::metadata(&bind.source).map_err(|e| failed(format!("mount {}", bind.source.display()), e))?;
        facts.directories.push(meta.is_dir());
        prepared.sources.push(hold(detach(&bind.source)?));
    }
    if let Some(shm) = &spec.shm {
        prepared.sources.push(hold(detach(shm)?));
        facts.shm_is_bound = true;
    }
    Ok(facts)
}

fn prepare(process: &Process, cgroup: &Cgroup) -> Result<(Prepared, Held, OwnedFd, Stdio), SpawnError> {
    let text = |s: &str| CString::new(s).map_err(|_| SpawnError::Invalid(format!("{s:?} contains a NUL byte")));
    let Some(command) = process.args.first().filter(|c| !c.is_empty()) else {
        return Err(SpawnError::Invalid("no command specified".into()));
    };
    let argv = process.args.iter().map(|a| text(a)).collect::<Result<Vec<_>, _>>()?;
    let envp = process.env.iter().map(|e| text(e)).collect::<Result<Vec<_>, _>>()?;
    let candidates = candidates(command, &process.env).iter().map(|c| text(c)).collect::<Result<Vec<_>, _>>()?;
    let cwd = if process.cwd.is_empty() { "/" } else { process.cwd.trim_end_matches('/') };
    let cwd = match cwd {
        "" | "/" => vec![c"/".to_owned()],
        path => plan::prefixes(path).map(text).collect::<Result<Vec<_>, _>>()?,
    };
    let pointers = |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let filters = match process.seccomp {
        Seccomp::Unconfined => Vec::new(),
        Seccomp::Default => seccomp::default_profile(process.caps.bounding)
            .map_err(SpawnError::Invalid)?
            .filters()
            .map(<[_]>::to_vec)
            .collect(),
    };
    let joins = cgroup.open().map_err(|e| failed("join cgroup", e))?;
    let mut held = Held { fds: joins.v1, v2_cgroup: joins.v2, _strings: Vec::new() };
    let cgroups = held.fds.iter().map(AsRawFd::as_raw_fd).collect();
    let (ours, theirs) = status_pair().map_err(|e| failed("status socket", e))?;
    let (child_stdio, own_stdio, stdio) =
        if process.tty { ([-1; 3], [true; 3], Stdio::default()) } else { pipes(process.stdin, &mut held)? };
    let prepared = Prepared {
        steps: Vec::<Step>::new(),
        sources: Vec::new(),
        enter: None,
        new_cgroup_namespace: false,
        cgroups,
        oom_score_adj: process.oom_score_adj.map(|n| text(&n.to_string())).transpose()?,
        tty: process.tty,
        console: false,
        stdio: child_stdio,
        own_stdio,
        rlimits: process
            .rlimits
            .iter()
            .map(|r| (r.resource, libc::rlimit { rlim_cur: r.soft, rlim_max: r.hard }))
            .collect(),
        cwd,
        uid: process.uid,
        gid: process.gid,
        groups: process.groups.clone(),
        drop_bounding: (0..64).filter(|c| (caps::ALL & !process.caps.bounding) >> c & 1 == 1).collect(),
        permitted: process.caps.permitted,
        ambient: (0..64).filter(|c| process.caps.ambient >> c & 1 == 1).collect(),
        no_new_privs: process.no_new_privs,
        seccomp: filters,
        candidates,
        argv: pointers(&argv),
        envp: pointers(&envp),
        status: theirs.as_raw_fd(),
    };
    held.fds.push(theirs);
    held._strings = argv.into_iter().chain(envp).collect();
    Ok((prepared, held, ours, stdio))
}

/// Where the program may be: itself with a slash in it, else along the `PATH` of its environment.
fn candidates(command: &str, env: &[String]) -> Vec<String> {
    if command.contains('/') {
        return vec![command.to_string()];
    }
    let path = env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(':').map(|dir| if dir.is_empty() { "." } else { dir }).map(|dir| format!("{dir}/{command}")).collect()
}

/// The search path of a process whose environment has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn launch(
    process: &Process,
    prepared: Prepared,
    held: Held,
    status: OwnedFd,
    mut stdio: Stdio,
    flags: u64,
    pid_namespace: Option<BorrowedFd>,
) -> Result<Spawned, SpawnError> {
    let home = match pid_namespace {
        Some(target) => {
            let home = File::open("/proc/self/ns/pid").map_err(|e| failed("open /proc/self/ns/pid", e))?;
            sys::setns(target.as_raw_fd(), libc::CLONE_NEWPID)
                .map_err(|e| failed("join pid namespace", io::Error::from_raw_os_error(e)))?;
            Some(home)
        }
        None => None,
    };
    // SAFETY: the child goes straight into `child::run`, which allocates nothing and never returns.
    let cloned = unsafe { sys::clone3(flags, held.v2_cgroup.as_ref().map(AsRawFd::as_raw_fd)) };
    if let Ok((0, _)) = cloned {
        child::run(&prepared);
    }
    if let Some(home) = home {
        sys::setns(home.as_raw_fd(), libc::CLONE_NEWPID)
            .map_err(|e| failed("return to own pid namespace", io::Error::from_raw_os_error(e)))?;
    }
    let (pid, pidfd) = cloned.map_err(|e| failed("clone", e))?;
    // SAFETY: the kernel has just made it for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let describe = Describe { process, prepared: &prepared };
    // The child's ends have to close here, or the status socket would never report its end.
    drop(held);
    loop {
        match receive(&status).map_err(|e| failed("status of the child", e))? {
            Message::Closed => return Ok(Spawned { pid, pidfd, stdio }),
            Message::Terminal(fd) => stdio.terminal = Some(fd),
            Message::Failed(report) => {
                // The child is about to exit; the caller never hears of it, so it is reaped here.
                // SAFETY: our own child, no status wanted.
                unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
                return Err(describe.error(report));
            }
        }
    }
}

struct Describe<'a> {
    process: &'a Process,
    prepared: &'a Prepared,
}

impl Describe<'_> {
    fn error(&self, r: Report) -> SpawnError {
        let source = io::Error::from_raw_os_error(r.errno);
        let is = |stage: Stage| r.stage == stage as u32;
        if is(Stage::Exec) {
            let command = self.process.args.first().cloned().unwrap_or_default();
            return SpawnError::Exec { in_path: !command.contains('/'), command, source };
        }
        let what = if is(Stage::Step) {
            self.prepared.steps.get(r.index as usize).map_or("a step".into(), |s| s.to_string())
        } else if is(Stage::WorkingDir) {
            format!("chdir to working directory {:?}", self.process.cwd)
        } else {
            let names = [
                "setsid",
                "join cgroup",
                "enter namespaces",
                "",
                "open terminal",
                "redirect streams",
                "setrlimit",
                "",
                "install seccomp filter",
                "set capabilities",
                "setgroups",
                "set user",
                "set no_new_privs",
            ];
            format!("{} ({})", names.get(r.stage as usize).unwrap_or(&"start"), r.index)
        };
        SpawnError::Step { what, source }
    }
}

fn failed(what: impl Into<String>, source: io::Error) -> SpawnError {
    SpawnError::Step { what: what.into(), source }
}

fn detach(path: &Path) -> Result<OwnedFd, SpawnError> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| SpawnError::Invalid("NUL in a path".into()))?;
    let fd = sys::open_tree(&name).map_err(|e| failed(format!("mount {}", path.display()), e))?;
    // SAFETY: the descriptor is new.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn status_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: fds has room for two; both are new.
    unsafe {
        sys::check_io(libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) as i64)?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

type ChildStdio = ([RawFd; 3], [bool; 3], Stdio);

/// Pipes for the three streams; the child's ends are held until it has executed.
fn pipes(stdin: bool, held: &mut Held) -> Result<ChildStdio, SpawnError> {
    let pipe = || io::pipe().map_err(|e| failed("pipe", e));
    let (out_r, out_w) = pipe()?;
    let (err_r, err_w) = pipe()?;
    let mut stdio = Stdio { stdout: Some(out_r.into()), stderr: Some(err_r.into()), ..Stdio::default() };
    let input: OwnedFd = if stdin {
        let (in_r, in_w) = pipe()?;
        stdio.stdin = Some(in_w.into());
        in_r.into()
    } else {
        File::open("/dev/null").map_err(|e| failed("open /dev/null", e))?.into()
    };
    let theirs = [input, out_w.into(), err_w.into()];
    let raw = [theirs[0].as_raw_fd(), theirs[1].as_raw_fd(), theirs[2].as_raw_fd()];
    held.fds.extend(theirs);
    Ok((raw, [stdin, true, true], stdio))
}

enum Message {
    Closed,
    Failed(Report),
    Terminal(OwnedFd),
}

fn receive(status: &impl AsFd) -> io::Result<Message> {
    #[repr(C, align(8))]
    struct Control([u8; 32]);
    let mut control = Control([0; 32]);
    let mut data = [0u8; size_of::<Report>()];
    // SAFETY: all buffers live across the call; the control message is read as the kernel lays it out.
    unsafe {
        let mut iov = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
        let mut msg: libc::msghdr = std::mem::zeroed();
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = control.0.as_mut_ptr().cast();
        msg.msg_controllen = control.0.len() as _;
        let n = loop {
            let n = libc::recvmsg(status.as_fd().as_raw_fd(), &raw mut msg, libc::MSG_CMSG_CLOEXEC);
            match sys::check_io(n as i64) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other? as usize,
            }
        };
        let cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
        if !cmsg.is_null() && (*cmsg).cmsg_type == libc::SCM_RIGHTS {
            let fd = std::ptr::read_unaligned(libc::CMSG_DATA(cmsg).cast::<i32>());
            return Ok(Message::Terminal(OwnedFd::from_raw_fd(fd)));
        }
        if n == 0 {
            return Ok(Message::Closed);
        }
        if n < data.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "short report"));
        }
        Ok(Message::Failed(std::ptr::read_unaligned(data.as_ptr().cast())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search() {
        let env = ["PATH=/a:/b".to_string()];
        assert_eq!(candidates("x", &env), ["/a/x", "/b/x"]);
        assert_eq!(candidates("./x", &env), ["./x"]);
        assert_eq!(candidates("x", &[]).len(), 6);
    }

    #[test]
    fn messages() {
        let error = |command: &str, errno| {
            let source = io::Error::from_raw_os_error(errno);
            SpawnError::Exec { command: command.into(), in_path: !command.contains('/'), source }.to_string()
        };
        assert_eq!(error("nope", libc::ENOENT), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(error("/nope", libc::ENOENT), "exec: \"/nope\": stat /nope: no such file or directory");
        assert_eq!(error("/etc", libc::EACCES), "exec: \"/etc\": permission denied");
    }
}
