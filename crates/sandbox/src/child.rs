//! The child between clone and exec: it walks what was prepared and makes system calls, nothing else.
//!
//! Nothing here allocates, locks, formats or unwinds. On failure it sends a [`Report`] (stage, index, errno) over the
//! status socket and exits; the parent knows what the numbers mean. On success the socket closes by exec.

use std::ffi::{CStr, CString};

use seccompiler::sock_filter;

use crate::plan::Step;
use crate::sys::{self, check};

/// Which part of the work failed; `index` tells which item of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    Session,
    Cgroup,
    Namespace,
    Step,
    Terminal,
    Stdio,
    Rlimit,
    WorkingDir,
    Seccomp,
    Capabilities,
    Groups,
    User,
    NoNewPrivs,
    Exec,
}

/// What the child tells when it fails.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Report {
    pub stage: u32,
    pub index: u32,
    pub errno: i32,
}

/// Everything that the child needs, in memory made before the clone.
pub struct Prepared {
    /// The container's file system, for its first process.
    pub steps: Vec<Step>,
    pub sources: Vec<i32>,
    /// For an exec: a pidfd of the container's first process, whose mount and cgroup namespaces are joined.
    pub enter: Option<i32>,
    pub new_cgroup_namespace: bool,
    pub cgroups: Vec<i32>,
    pub oom_score_adj: Option<CString>,
    pub tty: bool,
    pub console: bool,
    pub stdio: [i32; 3],
    pub own_stdio: [bool; 3],
    pub rlimits: Vec<(u32, libc::rlimit)>,
    pub cwd: Vec<CString>,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub drop_bounding: Vec<i32>,
    pub permitted: u64,
    pub ambient: Vec<i32>,
    pub no_new_privs: bool,
    pub seccomp: Vec<Vec<sock_filter>>,
    pub candidates: Vec<CString>,
    pub argv: Vec<*const libc::c_char>,
    pub envp: Vec<*const libc::c_char>,
    pub status: i32,
}

type Failure = (Stage, u32, i32);

/// Never returns: executes the program, or reports and exits with 127.
pub fn run(p: &Prepared) -> ! {
    let (stage, index, errno) = match prepare(p) {
        Ok(()) => execute(p),
        Err(failure) => failure,
    };
    let report = Report { stage: stage as u32, index, errno };
    // SAFETY: report lives across the call; _exit ends the process without running anything of the parent's.
    unsafe {
        libc::send(p.status, (&raw const report).cast(), size_of::<Report>(), libc::MSG_NOSIGNAL);
        libc::_exit(127)
    }
}

fn prepare(p: &Prepared) -> Result<(), Failure> {
    let at = |stage: Stage, index: usize| move |errno: i32| (stage, index as u32, errno);
    reset_signals();
    // SAFETY: no memory is passed.
    check(unsafe { libc::setsid() } as i64).map_err(at(Stage::Session, 0))?;
    for (i, fd) in p.cgroups.iter().enumerate() {
        // SAFETY: one byte of a constant.
        check(unsafe { libc::write(*fd, c"0".as_ptr().cast(), 1) } as i64).map_err(at(Stage::Cgroup, i))?;
    }
    if let Some(value) = &p.oom_score_adj {
        write_oom_score_adj(value);
    }
    if p.new_cgroup_namespace {
        // SAFETY: no memory is passed.
        check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } as i64).map_err(at(Stage::Namespace, 0))?;
    }
    if let Some(pidfd) = p.enter {
        sys::setns(pidfd, libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP).map_err(at(Stage::Namespace, 1))?;
    }
    // SAFETY: no memory is passed.
    unsafe { libc::umask(0) };
    for (i, step) in p.steps.iter().enumerate() {
        perform(step, &p.sources).map_err(at(Stage::Step, i))?;
    }
    // SAFETY: no memory is passed.
    unsafe { libc::umask(0o022) };
    if p.tty {
        terminal(p).map_err(at(Stage::Terminal, 0))?;
    } else {
        for (i, fd) in p.stdio.iter().enumerate() {
            // SAFETY: no memory is passed.
            check(unsafe { libc::dup2(*fd, i as i32) } as i64).map_err(at(Stage::Stdio, i))?;
        }
    }
    for fd in 0..3 {
        if p.own_stdio[fd as usize] {
            // So that the program may open /dev/stdout again. Some files refuse; then they stay root's.
            // SAFETY: no memory is passed.
            unsafe { libc::fchown(fd, p.uid, u32::MAX) };
        }
    }
    for (i, (resource, limit)) in p.rlimits.iter().enumerate() {
        set_rlimit(*resource, limit).map_err(at(Stage::Rlimit, i))?;
    }
    identity(p)
}

/// Working directory, seccomp, capabilities, groups, user: in the order that lets each still happen.
fn identity(p: &Prepared) -> Result<(), Failure> {
    let at = |stage: Stage, index: usize| move |errno: i32| (stage, index as u32, errno);
    let mut entered = Ok(());
    if let Some(cwd) = p.cwd.last() {
        for dir in &p.cwd {
            // SAFETY: a C string.
            unsafe { libc::mkdir(dir.as_ptr(), 0o755) };
        }
        entered = chdir(cwd);
    }
    if !p.no_new_privs {
        install_seccomp(&p.seccomp).map_err(at(Stage::Seccomp, 0))?;
    }
    for (i, cap) in p.drop_bounding.iter().enumerate() {
        // SAFETY: no memory is passed.
        check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, *cap, 0, 0, 0) } as i64)
            .map_err(at(Stage::Capabilities, i))?;
    }
    // SAFETY: no memory is passed.
    check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) } as i64).map_err(at(Stage::Capabilities, 100))?;
    // SAFETY: pointer and length are of one live list.
    check(unsafe { libc::setgroups(p.groups.len(), p.groups.as_ptr()) } as i64).map_err(at(Stage::Groups, 0))?;
    // The raw calls: libc's wrappers would signal threads that do not exist here.
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_setresgid, p.gid, p.gid, p.gid) }).map_err(at(Stage::User, 0))?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_setresuid, p.uid, p.uid, p.uid) }).map_err(at(Stage::User, 1))?;
    set_capabilities(p).map_err(at(Stage::Capabilities, 101))?;
    if let Some(cwd) = p.cwd.last() {
        // Root without DAC_OVERRIDE over a network may be refused where the user is not.
        entered.or_else(|_| chdir(cwd)).map_err(at(Stage::WorkingDir, 0))?;
    }
    if p.no_new_privs {
        // SAFETY: no memory is passed.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } as i64)
            .map_err(at(Stage::NoNewPrivs, 0))?;
        install_seccomp(&p.seccomp).map_err(at(Stage::Seccomp, 1))?;
    }
    sys::close_on_exec_from_3().map_err(at(Stage::Stdio, 3))
}

/// Tries each candidate; the error that counts is the first that is not "not there".
fn execute(p: &Prepared) -> Failure {
    let mut errno = libc::ENOENT;
    for candidate in &p.candidates {
        // SAFETY: argv and envp are null-terminated arrays of C strings.
        unsafe { libc::execve(candidate.as_ptr(), p.argv.as_ptr(), p.envp.as_ptr()) };
        let e = sys::errno();
        if e != libc::ENOENT && e != libc::ENOTDIR && errno == libc::ENOENT {
            errno = e;
        }
    }
    (Stage::Exec, 0, errno)
}

fn reset_signals() {
    // SAFETY: zeroed sigset and default dispositions are valid; an exec keeps ignored signals and the mask otherwise.
    unsafe {
        for signal in 1..=31 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

fn write_oom_score_adj(value: &CStr) {
    // SAFETY: plain calls; a refusal (lowering without CAP_SYS_RESOURCE) leaves the inherited value, as documented.
    unsafe {
        let fd = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::write(fd, value.as_ptr().cast(), value.count_bytes());
            libc::close(fd);
        }
    }
}

fn chdir(dir: &CStr) -> Result<(), i32> {
    // SAFETY: a C string.
    check(unsafe { libc::chdir(dir.as_ptr()) } as i64).map(drop)
}

fn set_rlimit(resource: u32, limit: &libc::rlimit) -> Result<(), i32> {
    // SAFETY: both structures live across the calls.
    unsafe {
        if libc::setrlimit(resource as _, limit) == 0 {
            return Ok(());
        }
        let mut now: libc::rlimit = std::mem::zeroed();
        check(libc::getrlimit(resource as _, &raw mut now) as i64)?;
        let clamped =
            libc::rlimit { rlim_cur: limit.rlim_cur.min(now.rlim_max), rlim_max: limit.rlim_max.min(now.rlim_max) };
        check(libc::setrlimit(resource as _, &raw const clamped) as i64).map(drop)
    }
}

fn set_capabilities(p: &Prepared) -> Result<(), i32> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let ambient = p.ambient.iter().fold(0u64, |mask, cap| mask | 1 << cap);
    let half = |shift: u32| Data {
        effective: (p.permitted >> shift) as u32,
        permitted: (p.permitted >> shift) as u32,
        inheritable: (ambient >> shift) as u32,
    };
    let header = Header { version: 0x2008_0522, pid: 0 };
    let data = [half(0), half(32)];
    // SAFETY: version 3 takes two data structures.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    for cap in &p.ambient {
        // SAFETY: no memory is passed.
        check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, *cap, 0, 0) } as i64)?;
    }
    Ok(())
}

fn install_seccomp(programs: &[Vec<sock_filter>]) -> Result<(), i32> {
    for program in programs {
        let fprog = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut().cast() };
        // SAFETY: the kernel copies the program; both structures have the kernel's layout.
        check(unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const fprog) })?;
    }
    Ok(())
}

/// A pseudo terminal of the container's own devpts: the master goes to the parent, the slave becomes stdio.
fn terminal(p: &Prepared) -> Result<(), i32> {
    // SAFETY: plain calls on stack memory.
    unsafe {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let master = check(libc::open(c"/dev/pts/ptmx".as_ptr(), flags) as i64)? as i32;
        let unlock: libc::c_int = 0;
        check(libc::ioctl(master, libc::TIOCSPTLCK, &raw const unlock) as i64)?;
        let slave = check(libc::ioctl(master, libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY) as i64)? as i32;
        if p.console {
            let mut number: libc::c_uint = 0;
            check(libc::ioctl(master, libc::TIOCGPTN, &raw mut number) as i64)?;
            let mut buffer = *b"/dev/pts/\0\0\0\0\0\0\0\0\0\0\0\0";
            pts_name(&mut buffer, number);
            let source = CStr::from_ptr(buffer.as_ptr().cast());
            sys::mount(source, c"/dev/console", c"", libc::MS_BIND, c"")?;
        }
        send_fd(p.status, master)?;
        check(libc::ioctl(slave, libc::TIOCSCTTY, 0) as i64)?;
        for fd in 0..3 {
            check(libc::dup2(slave, fd) as i64)?;
        }
    }
    Ok(())
}

fn pts_name(buffer: &mut [u8; 21], number: u32) {
    let mut digits = [0u8; 10];
    let (mut n, mut count) = (number, 0);
    loop {
        digits[count] = b'0' + (n % 10) as u8;
        n /= 10;
        count += 1;
        if n == 0 {
            break;
        }
    }
    for i in 0..count {
        buffer[9 + i] = digits[count - 1 - i];
    }
}

fn send_fd(socket: i32, fd: i32) -> Result<(), i32> {
    #[repr(C, align(8))]
    struct Control([u8; 32]);
    let mut control = Control([0; 32]);
    let mut byte = b'T';
    // SAFETY: all buffers live on this stack across the call and are large enough for one descriptor.
    unsafe {
        let mut iov = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        let mut msg: libc::msghdr = std::mem::zeroed();
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = control.0.as_mut_ptr().cast();
        msg.msg_controllen = libc::CMSG_SPACE(4) as _;
        let cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
        (*cmsg).cmsg_level = libc::SOL_SOCKET;
        (*cmsg).cmsg_type = libc::SCM_RIGHTS;
        (*cmsg).cmsg_len = libc::CMSG_LEN(4) as _;
        std::ptr::write_unaligned(libc::CMSG_DATA(cmsg).cast::<i32>(), fd);
        check(libc::sendmsg(socket, &raw const msg, libc::MSG_NOSIGNAL) as i64).map(drop)
    }
}

/// A detached copy of a directory below `root`, as a descriptor of that number. Links in the path cannot lead out of `root`.
fn detach_in(root: &CStr, sub_path: &CStr, fd: i32) -> Result<(), i32> {
    let how = sys::OpenHow { flags: (libc::O_PATH | libc::O_CLOEXEC) as u64, mode: 0, resolve: sys::RESOLVE_IN_ROOT };
    let path = if sub_path.is_empty() { c"." } else { sub_path };
    // SAFETY: C strings, and a structure of the size that is given; the descriptors that are closed were opened here.
    unsafe {
        let dir = check(libc::open(root.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) as i64)? as i32;
        let found = libc::syscall(libc::SYS_openat2, dir, path.as_ptr(), &raw const how, size_of::<sys::OpenHow>());
        let found = check(found)? as i32;
        let tree = sys::open_tree_of(found)?;
        check(libc::dup3(tree, fd, libc::O_CLOEXEC) as i64)?;
        for own in [dir, found, tree] {
            check(libc::close(own) as i64)?;
        }
    }
    Ok(())
}

/// Opens a path as a descriptor of that number.
fn open_as(path: &CStr, fd: i32) -> Result<(), i32> {
    // SAFETY: a C string; the descriptor that is closed was opened here.
    unsafe {
        let opened = check(libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) as i64)? as i32;
        check(libc::dup3(opened, fd, libc::O_CLOEXEC) as i64)?;
        check(libc::close(opened) as i64).map(drop)
    }
}

fn perform(step: &Step, sources: &[i32]) -> Result<(), i32> {
    let fine_if = |errno: i32| move |e: i32| if e == errno { Ok(()) } else { Err(e) };
    match step {
        Step::Isolate => sys::mount_setattr(c"/", 0, libc::MS_PRIVATE, true),
        Step::Open { path, fd } => open_as(path, *fd),
        Step::Overlay { mountpoint, options } => sys::mount(c"overlay", mountpoint, c"overlay", 0, options),
        Step::Image { mountpoint, options, sub_path, fd } => {
            let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            sys::mount(c"overlay", mountpoint, c"overlay", flags, options)?;
            detach_in(mountpoint, sub_path, *fd)
        }
        Step::Pivot { root } => pivot(root),
        Step::Mkdir(path) => {
            // SAFETY: a C string of the plan.
            check(unsafe { libc::mkdir(path.as_ptr(), 0o755) } as i64).map(drop).or_else(fine_if(libc::EEXIST))
        }
        Step::Touch(path) => {
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
            // SAFETY: a C string of the plan.
            match check(unsafe { libc::open(path.as_ptr(), flags, 0o644) } as i64) {
                Ok(fd) => {
                    // SAFETY: it was opened just now, and nobody else knows of it.
                    unsafe { libc::close(fd as i32) };
                    Ok(())
                }
                Err(e) => fine_if(libc::EEXIST)(e),
            }
        }
        Step::Mount { source, target, fstype, flags, data } => sys::mount(source, target, fstype, *flags, data),
        Step::Attach { source, target } => sys::move_mount(sources[*source], target),
        Step::SetAttr { target, readonly, propagation, recursive } => {
            let set = if *readonly { sys::MOUNT_ATTR_RDONLY } else { 0 };
            sys::mount_setattr(target, set, *propagation, *recursive)
        }
        Step::Node { path, block, major, minor, mode } => {
            let kind = if *block { libc::S_IFBLK } else { libc::S_IFCHR };
            let dev = libc::makedev(*major, *minor);
            // SAFETY: a C string of the plan.
            check(unsafe { libc::mknod(path.as_ptr(), kind | mode, dev) } as i64)
                .map(drop)
                .or_else(fine_if(libc::EEXIST))
        }
        Step::Link { link, target } => {
            // SAFETY: C strings of the plan.
            let made = check(unsafe { libc::symlink(target.as_ptr(), link.as_ptr()) } as i64);
            made.map(drop).or_else(fine_if(libc::EEXIST))
        }
        Step::Mask(path) => sys::mount(c"/dev/null", path, c"", libc::MS_BIND, c"")
            .or_else(|e| match e {
                libc::ENOTDIR => sys::mount(
                    c"tmpfs",
                    path,
                    c"tmpfs",
                    libc::MS_RDONLY | libc::MS_NOEXEC | libc::MS_NOSUID,
                    c"mode=755",
                ),
                e => Err(e),
            })
            .or_else(fine_if(libc::ENOENT)),
        Step::Readonly(path) => sys::mount(path, path, c"", libc::MS_BIND | libc::MS_REC, c"")
            .and_then(|()| sys::mount_setattr(path, sys::MOUNT_ATTR_RDONLY, 0, true))
            .or_else(fine_if(libc::ENOENT)),
    }
}

/// The new root stacks over the old one, which is then detached: no directory for it is needed.
fn pivot(root: &CStr) -> Result<(), i32> {
    chdir(root)?;
    // SAFETY: C strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: a C string.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) } as i64)?;
    chdir(c"/")
}
