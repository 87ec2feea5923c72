//! Network namespaces: made on a thread of their own, pinned by a bind mount so that they outlive every process, entered
//! only by threads that end afterwards.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::{ffi::CString, fs, io, panic, thread};

use crate::error::Error;
use crate::{Result, conntrack::Conntrack, nft::Nft, route::Route};

const CURRENT: &str = "/proc/thread-self/ns/net";

/// An open network namespace.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    name: PathBuf,
}

impl Namespace {
    /// Makes a new namespace with its loopback up, pinned at `path` (a file that must not exist).
    pub fn create(path: &Path) -> Result<Namespace> {
        let object = path.display().to_string();
        File::create_new(path).map_err(Error::system("create namespace", &object))?;
        let made = on_thread(|| {
            // SAFETY: plain system call on a thread that ends here.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(Error::last("create namespace", &object));
            }
            Route::open()?.up("lo")?;
            mount_bind(CURRENT, path)
        });
        match made.and_then(|()| Namespace::open(path)) {
            Ok(namespace) => Ok(namespace),
            Err(error) => {
                // The namespace itself goes when nothing refers to it any more.
                let _ = Namespace::delete(path);
                Err(error)
            }
        }
    }

    /// Makes a new namespace that lives as long as this value. Its loopback is up.
    pub fn anonymous() -> Result<Namespace> {
        on_thread(|| {
            // SAFETY: plain system call on a thread that ends here.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(Error::last("create namespace", "(anonymous)"));
            }
            Route::open()?.up("lo")?;
            Namespace::open(Path::new(CURRENT))
        })
    }

    /// Opens a pinned namespace, or `/proc/<pid>/ns/net`. Fails if the file is not a namespace (the pin is gone).
    pub fn open(path: &Path) -> Result<Namespace> {
        let file = File::open(path).map_err(Error::system("open namespace", path.display().to_string()))?;
        // SAFETY: asks the descriptor what type of namespace it is; takes no pointer.
        let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE as _) };
        if kind != libc::CLONE_NEWNET {
            let reason = "not a network namespace".to_string();
            return Err(Error::Invalid { object: path.display().to_string(), reason });
        }
        Ok(Namespace { file, name: path.to_path_buf() })
    }

    /// The calling thread's namespace.
    pub fn current() -> Result<Namespace> {
        Namespace::open(Path::new(CURRENT))
    }

    /// Removes the pin. The namespace ends with its last process or descriptor. A path that is not there is success.
    pub fn delete(path: &Path) -> Result<()> {
        let object = path.display().to_string();
        let c_path = c_path(path)?;
        // SAFETY: the string is NUL-terminated.
        if unsafe { libc::umount2(c_path.as_ptr(), libc::MNT_DETACH) } != 0 {
            let error = io::Error::last_os_error();
            // EINVAL: not a mount point; a crash between creating the file and mounting leaves that.
            if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) {
                return Err(Error::System { operation: "unmount namespace", object, source: error });
            }
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::System { operation: "delete namespace", object, source: error })
            }
            _ => Ok(()),
        }
    }

    /// Runs `f` inside the namespace, on a thread of its own, and waits for it. Sockets opened there stay there.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        on_thread(|| {
            enter(self.fd())?;
            Ok(f())
        })
    }

    /// A handle for the links, addresses and routes inside.
    pub fn route(&self) -> Result<Route> {
        self.run(Route::open)?
    }

    /// A handle for the nftables inside.
    pub fn nft(&self) -> Result<Nft> {
        self.run(Nft::open)?
    }

    /// A handle for the tracked connections inside.
    pub fn conntrack(&self) -> Result<Conntrack> {
        self.run(Conntrack::open)?
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.name
    }

    /// The descriptor, for moving links into it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Moves the calling thread into a network namespace, for good. Only for a process that has one thread, or on a thread
/// that ends afterwards; everything else uses [`Namespace::run`].
pub fn enter(namespace: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: plain system call with a borrowed, open descriptor.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(Error::last("enter namespace", format!("descriptor {}", namespace.as_raw_fd()))),
    }
}

/// Gives the calling thread a network, a mount and a UTS namespace of its own: the parts of a host that a simulated machine
/// has to itself. The new network has its loopback up. For a thread that ends afterwards; pin the namespaces from another
/// thread by `/proc/self/task/<tid>/ns/…`, because a mount made on this thread is no longer seen outside.
pub fn isolate() -> Result<()> {
    // SAFETY: plain system call; what it changes belongs to this thread alone.
    if unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWUTS) } != 0 {
        return Err(Error::last("create namespaces", "(network, mount, UTS)"));
    }
    Route::open()?.up("lo")
}

/// Makes the calling thread's present cgroups the roots of what it sees.
pub fn isolate_cgroups() -> Result<()> {
    // SAFETY: plain system call; what it changes belongs to this thread alone.
    match unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } {
        0 => Ok(()),
        _ => Err(Error::last("create namespace", "(cgroup)")),
    }
}

/// A panic inside continues outside, so that a test's assertion fails the test.
fn on_thread<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let spawned = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, f)
            .map_err(Error::system("start thread for", "a namespace"))?;
        spawned.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

fn mount_bind(source: &str, target: &Path) -> Result<()> {
    let (source, c_target) = (c_path(Path::new(source))?, c_path(target)?);
    // SAFETY: both strings are NUL-terminated; a bind mount reads neither type nor data.
    let mounted =
        unsafe { libc::mount(source.as_ptr(), c_target.as_ptr(), std::ptr::null(), libc::MS_BIND, std::ptr::null()) };
    match mounted {
        0 => Ok(()),
        _ => Err(Error::last("pin namespace at", target.display().to_string())),
    }
}

fn c_path(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::Invalid { object: path.display().to_string(), reason: "a path holds a NUL byte".into() })
}
