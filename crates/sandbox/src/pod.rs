//! A pod's own namespaces, made by the process that keeps them: the shim moves itself in, so that every container it
//! clones is born there and no descriptor has to be passed around.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys;

/// Which namespaces the pod has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces {
    /// With it comes a hostname of its own.
    pub network: bool,
    pub ipc: bool,
}

/// Moves this process into new namespaces, sets the hostname and brings the loopback up.
pub fn enter(namespaces: Namespaces, hostname: &str) -> io::Result<()> {
    let mut flags = 0;
    if namespaces.network {
        flags |= libc::CLONE_NEWNET | libc::CLONE_NEWUTS;
    }
    if namespaces.ipc {
        flags |= libc::CLONE_NEWIPC;
    }
    if flags != 0 {
        // SAFETY: no memory is passed.
        sys::check_io(unsafe { libc::unshare(flags) } as i64)?;
    }
    if namespaces.network {
        // SAFETY: the pointer and length are of one live string.
        sys::check_io(unsafe { libc::sethostname(hostname.as_ptr().cast(), hostname.len()) } as i64)?;
        loopback_up()?;
    }
    Ok(())
}

/// Pins this process's network namespace at `path` by a bind mount, so that it outlives the process.
pub fn pin_network(path: &Path) -> io::Result<()> {
    fs::File::create(path)?;
    mount(Path::new("/proc/self/ns/net"), path, c"", libc::MS_BIND, c"")
}

/// A tmpfs of 64 MiB at `path`: the pod's `/dev/shm`.
pub fn mount_shm(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Path::new("shm"), path, c"tmpfs", flags, c"mode=1777,size=65536k")
}

/// Takes a mount away, at once for new users; fine if there is none.
pub fn unmount(path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a C string.
    match sys::check_io(unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) } as i64) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Ok(()),
        other => other.map(drop),
    }
}

/// Sets a sysctl in this process's namespaces: `net.ipv4.ip_forward` or with slashes.
pub fn sysctl(name: &str, value: &str) -> io::Result<()> {
    if name.split(['.', '/']).any(|part| part.is_empty()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a sysctl name"));
    }
    // A dot inside an interface name is written as a slash, and the other way round, when slashes separate.
    let path = match name.split_once(['.', '/']) {
        Some(_) if name.find('/').is_some_and(|s| name.find('.').is_none_or(|d| s < d)) => name.to_string(),
        _ => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
    };
    fs::write(Path::new("/proc/sys").join(path), value)
}

/// Starts the pod's init, for containers that share one pid namespace: it reaps and does nothing else, in an empty root
/// and without any capability, since its `/proc/1` is in every container's sight. Returns pid and pidfd.
pub fn pause() -> io::Result<(i32, OwnedFd)> {
    // SAFETY: the child only makes system calls and never returns.
    let (pid, pidfd) = unsafe { sys::clone3((libc::CLONE_NEWPID | libc::CLONE_NEWNS) as u64, None) }?;
    if pid == 0 {
        idle();
    }
    // SAFETY: the kernel has just made it for us.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

fn idle() -> ! {
    // SAFETY: system calls on constants and stack memory only; no failure matters but the lost capabilities.
    unsafe {
        for signal in 1..=31 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::prctl(libc::PR_SET_NAME, c"pause".as_ptr());
        // Nobody else knows of this process: it must not outlive its keeper.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        libc::setsid();
        let _ = sys::mount_setattr(c"/", 0, libc::MS_PRIVATE, true);
        let empty = sys::mount(c"tmpfs", c"/tmp", c"tmpfs", libc::MS_RDONLY, c"size=4k").is_ok()
            && libc::chdir(c"/tmp".as_ptr()) == 0
            && libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) == 0
            && libc::umount2(c".".as_ptr(), libc::MNT_DETACH) == 0;
        let header: [u32; 2] = [0x2008_0522, 0];
        let none = [0u32; 6];
        if !empty || libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) != 0 {
            libc::_exit(1);
        }
        libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0);
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        let mut wanted: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut wanted);
        libc::sigaddset(&raw mut wanted, libc::SIGCHLD);
        libc::sigaddset(&raw mut wanted, libc::SIGTERM);
        loop {
            let signal = libc::sigwaitinfo(&raw const wanted, std::ptr::null_mut());
            if signal == libc::SIGTERM {
                libc::_exit(0);
            }
            while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
        }
    }
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: ifreq is plain data; the descriptor is closed with its owner.
    unsafe {
        let fd = sys::check_io(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) as i64)? as i32;
        let fd = OwnedFd::from_raw_fd(fd);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        use std::os::fd::AsRawFd;
        sys::check_io(libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) as i64)?;
    }
    Ok(())
}

fn mount(source: &Path, target: &Path, fstype: &std::ffi::CStr, flags: u64, data: &std::ffi::CStr) -> io::Result<()> {
    let source = CString::new(source.as_os_str().as_bytes())?;
    let name = CString::new(target.as_os_str().as_bytes())?;
    sys::mount(&source, &name, fstype, flags, data)
        .map_err(|e| io::Error::other(format!("mount {}: {}", target.display(), io::Error::from_raw_os_error(e))))
}
