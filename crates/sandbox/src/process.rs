//! What the shim asks of the kernel about itself and its children.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::sys;

/// Makes this process the keeper of its descendants: its own session, a subreaper, deaf to signals that terminals and
/// closed pipes send, and with SIGCHLD and SIGTERM readable from the returned descriptor.
pub fn become_keeper() -> io::Result<OwnedFd> {
    // SAFETY: plain calls on stack memory; the descriptor is new.
    unsafe {
        // Fails only when this process already leads a session.
        libc::setsid();
        sys::check_io(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) as i64)?;
        for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        sys::check_io(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) as i64)?;
        let fd = sys::check_io(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) as i64)?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Empties a signal descriptor.
pub fn drain_signals(fd: BorrowedFd) {
    let mut buffer = [0u8; 128 * 8];
    // SAFETY: the buffer is live and its length is given.
    while unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub pid: i32,
    /// The exit code, or 128 + signal.
    pub code: i32,
    pub signal: Option<i32>,
}

/// Reaps one child that has ended, whichever.
pub fn reap() -> Option<Ended> {
    let mut status = 0;
    // SAFETY: status is live.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then(|| {
        let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
        let code = signal.map_or_else(|| libc::WEXITSTATUS(status), |s| 128 + s);
        Ended { pid, code, signal }
    })
}

/// Sends a signal through a pidfd; fine if the process is gone.
pub fn signal(pidfd: BorrowedFd, signal: i32) -> io::Result<()> {
    let null = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: no memory is passed.
    match sys::check_io(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, null, 0) }) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

/// Sets the size of a terminal in characters.
pub fn resize(terminal: BorrowedFd, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: size is live.
    sys::check_io(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } as i64).map(drop)
}

/// The number of a signal by its name with or without `SIG`, or by its number. `RTMIN+1` and the like count too.
pub fn signal_number(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(n) = short.parse::<i32>() {
        return (1..=64).contains(&n).then_some(n);
    }
    if let Some(rest) = short.strip_prefix("RTMIN") {
        let n =
            if rest.is_empty() { 0 } else { rest.strip_prefix(['+', 'P'])?.trim_start_matches("LUS").parse().ok()? };
        return (0..=30).contains(&n).then_some(34 + n);
    }
    if let Some(rest) = short.strip_prefix("RTMAX") {
        let n =
            if rest.is_empty() { 0 } else { rest.strip_prefix(['-', 'M'])?.trim_start_matches("INUS").parse().ok()? };
        return (0..=30).contains(&n).then_some(64 - n);
    }
    const NAMES: [(&str, i32); 34] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("TRAP", 5),
        ("ABRT", 6),
        ("IOT", 6),
        ("BUS", 7),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("STKFLT", 16),
        ("CHLD", 17),
        ("CLD", 17),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("TTIN", 21),
        ("TTOU", 22),
        ("URG", 23),
        ("XCPU", 24),
        ("XFSZ", 25),
        ("VTALRM", 26),
        ("PROF", 27),
        ("WINCH", 28),
        ("IO", 29),
        ("POLL", 29),
        ("PWR", 30),
        ("SYS", 31),
    ];
    NAMES.iter().find(|(n, _)| *n == short).map(|(_, number)| *number)
}

/// This process's capability bounding set.
pub fn bounding_set() -> u64 {
    // SAFETY: no memory is passed.
    (0..64).filter(|c| unsafe { libc::prctl(libc::PR_CAPBSET_READ, *c, 0, 0, 0) } == 1).fold(0, |m, c| m | 1 << c)
}

/// The hard limit of a resource (`libc::RLIMIT_*`).
pub fn hard_limit(resource: u32) -> u64 {
    // SAFETY: the structure is live.
    unsafe {
        let mut now: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(resource as _, &raw mut now);
        now.rlim_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name() {
        for (name, want) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMINPLUS3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("SIGRTMAXMINUS1", Some(63)),
            ("65", None),
            ("SIGNOPE", None),
        ] {
            assert_eq!(signal_number(name), want, "{name}");
        }
    }
}
