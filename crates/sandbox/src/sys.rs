//! System calls that libc has no function for, and the constants with them. Every function is one call: no allocation,
//! so that the child may use them between clone and exec.

use std::ffi::CStr;
use std::io;

pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// `struct open_how` of openat2(2).
#[repr(C)]
pub struct OpenHow {
    pub flags: u64,
    pub mode: u64,
    pub resolve: u64,
}

/// Links and `..` stay below the directory at which the path begins.
pub const RESOLVE_IN_ROOT: u64 = 0x10;

/// `struct clone_args` of clone3(2), third version (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The error number of the last call in this thread.
pub fn errno() -> i32 {
    // SAFETY: the location is valid for the life of the thread.
    unsafe { *libc::__errno_location() }
}

/// `Ok` of a call's result unless it is -1.
pub fn check(result: i64) -> Result<i64, i32> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

/// The same with an [`io::Error`], for the parent's side.
pub fn check_io(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// clone3 in the manner of fork, with a pidfd and, if given, into a v2 cgroup. Returns 0 in the child.
///
/// # Safety
/// The child shares nothing but must not allocate or take locks if the caller has other threads.
pub unsafe fn clone3(flags: u64, cgroup: Option<i32>) -> io::Result<(i32, i32)> {
    let mut pidfd: i32 = -1;
    let args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64 | cgroup.map_or(0, |_| CLONE_INTO_CGROUP),
        cgroup: cgroup.unwrap_or(0) as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: args lives across the call and has the size that is given.
    let pid = check_io(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    Ok((pid as i32, pidfd))
}

/// A detached copy of the mount (and those below it) at `path`.
pub fn open_tree(path: &CStr) -> io::Result<i32> {
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC as libc::c_uint;
    // SAFETY: path is a C string.
    check_io(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) }).map(|fd| fd as i32)
}

/// The same of an open directory, with the mount it is on alone.
pub fn open_tree_of(fd: i32) -> Result<i32, i32> {
    let flags = OPEN_TREE_CLONE | (libc::O_CLOEXEC | libc::AT_EMPTY_PATH) as libc::c_uint;
    // SAFETY: an empty C string.
    check(unsafe { libc::syscall(libc::SYS_open_tree, fd, c"".as_ptr(), flags) }).map(|fd| fd as i32)
}

/// Attaches a detached mount.
pub fn move_mount(fd: i32, target: &CStr) -> Result<(), i32> {
    // SAFETY: both are C strings.
    check(unsafe {
        libc::syscall(libc::SYS_move_mount, fd, c"".as_ptr(), libc::AT_FDCWD, target.as_ptr(), MOVE_MOUNT_F_EMPTY_PATH)
    })
    .map(drop)
}

/// Sets attributes and propagation (0: leave) of a mount.
pub fn mount_setattr(target: &CStr, set: u64, propagation: u64, recursive: bool) -> Result<(), i32> {
    let attr = MountAttr { set, propagation, ..MountAttr::default() };
    let flags = if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: attr lives across the call and has the size that is given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            target.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// mount(2).
pub fn mount(source: &CStr, target: &CStr, fstype: &CStr, flags: u64, data: &CStr) -> Result<(), i32> {
    // SAFETY: all are C strings.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), fstype.as_ptr(), flags, data.as_ptr().cast()) } as i64)
        .map(drop)
}

/// Marks every descriptor from 3 up close-on-exec.
pub fn close_on_exec_from_3() -> Result<(), i32> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// setns(2).
pub fn setns(fd: i32, kind: i32) -> Result<(), i32> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::setns(fd, kind) } as i64).map(drop)
}
