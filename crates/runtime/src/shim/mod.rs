//! The shim: one process per pod, single-threaded, the parent of the pod's containers.
//!
//! It moves itself into the pod's network, IPC and UTS namespaces, so that containers are born in them, and then turns in
//! one loop over poll(2): new connections, requests, output of containers, deaths. Nothing in the loop waits, but for the
//! few milliseconds in which a container's first process gets to its exec. No async runtime and no threads: a pod costs
//! one small process, and a clone of a threaded process would not be safe.
//!
//! It needs nobody: without a daemon it goes on writing logs and journalling exits. It ends by `Shutdown` only.

mod connection;
mod container;
mod requests;
mod setup;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec};
use sandbox::cgroup::Hierarchies;

use crate::journal::{Journal, Record};
use crate::layout::{self, PodDir};
use crate::log::Stream;
use crate::protocol::{self, ShimConfig};
use connection::{Connection, Role};
use container::Container;

/// The entry of the re-executed binary: `args` are those after `shim`, the pod's directory. Standard input is the
/// listening socket.
pub fn shim_main(args: impl IntoIterator<Item = OsString>) -> ! {
    let Some(dir) = args.into_iter().next() else {
        eprintln!("shim: the pod's directory is missing");
        std::process::exit(2);
    };
    match run(PodDir(dir.into())) {
        Ok(()) => std::process::exit(0),
        Err(e) => {
            eprintln!("shim: {e}");
            std::process::exit(1);
        }
    }
}

/// Everything that the loop knows.
struct Shim {
    dir: PodDir,
    hierarchies: Hierarchies,
    config: ShimConfig,
    /// Pid and pidfd of the pod's init, when containers share one pid namespace.
    pause: Option<(i32, OwnedFd)>,
    journal: Journal,
    /// Records that the disk has refused so far; told to nobody until they are written.
    unwritten: VecDeque<Record>,
    containers: BTreeMap<String, Container>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    /// Why the sandbox could not be made: the answer to `Hello`.
    broken: Option<String>,
    ending: bool,
    /// Left the daemon's v2 cgroup.
    moved: bool,
}

/// What a polled descriptor belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Listener,
    Signals,
    Connection(u64),
    Output(String, Stream),
}

/// An attached client that lags by more than this stops its container's output from being read.
const BACKLOG: usize = 256 << 10;

fn run(dir: PodDir) -> io::Result<()> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let signals = sandbox::process::become_keeper()?;
    std::env::set_current_dir("/")?;
    let mut config: ShimConfig = layout::read_json(&dir.shim_config())?;
    let hierarchies = std::mem::take(&mut config.hierarchies);
    let (pause, broken) = match setup::make_sandbox(&dir, &config, &hierarchies) {
        Ok(pause) => (pause, None),
        Err(message) => (None, Some(message)),
    };
    let journal = Journal::open(&dir.journal())?;
    let mut shim = Shim {
        dir,
        hierarchies,
        config,
        pause,
        journal,
        unwritten: VecDeque::new(),
        containers: BTreeMap::new(),
        connections: BTreeMap::new(),
        next_connection: 0,
        broken,
        ending: false,
        moved: false,
    };
    while !shim.ending {
        shim.turn(&listener, &signals)?;
    }
    // The reply to `Shutdown` may still be in a buffer.
    for connection in shim.connections.values_mut() {
        connection.flush_blocking();
    }
    Ok(())
}

impl Shim {
    fn turn(&mut self, listener: &UnixListener, signals: &OwnedFd) -> io::Result<()> {
        let ready = self.wait(listener, signals)?;
        if ready.is_empty() && !self.moved {
            // Moving holds up every change of cgroups on the machine for some 10 ms: not while the pod starts.
            self.moved = true;
            if let Err(e) = self.hierarchies.cgroup(&self.config.shim_cgroup).join_v2() {
                eprintln!("shim: {e}");
            }
        }
        for (source, flags) in ready {
            match source {
                Source::Listener => self.accept(listener),
                Source::Signals => {
                    sandbox::process::drain_signals(signals.as_fd());
                    self.reap();
                }
                Source::Output(id, stream) => drop(self.pump(&id, stream)),
                Source::Connection(id) => self.serve(id, flags),
            }
        }
        self.write_journal();
        Ok(())
    }

    /// Polls everything of interest and says what is ready.
    fn wait(&self, listener: &UnixListener, signals: &OwnedFd) -> io::Result<Vec<(Source, PollFlags)>> {
        let mut sources = vec![Source::Signals, Source::Listener];
        let mut fds = vec![PollFd::new(signals, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        for (id, connection) in &self.connections {
            sources.push(Source::Connection(*id));
            fds.push(PollFd::new(&connection.stream, connection.interest()));
        }
        for (id, container) in &self.containers {
            let lagging =
                container.attached.iter().any(|c| self.connections.get(c).is_some_and(|c| c.backlog() > BACKLOG));
            for (stream, fd) in container.outputs().filter(|_| !lagging) {
                sources.push(Source::Output(id.clone(), stream));
                fds.push(PollFd::new(fd, PollFlags::IN));
            }
        }
        let soon = Timespec { tv_sec: 1, tv_nsec: 0 };
        let timeout = (!self.unwritten.is_empty() || !self.moved).then_some(&soon);
        match rustix::event::poll(&mut fds, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let flags: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        Ok(sources.into_iter().zip(flags).filter(|(_, f)| !f.is_empty()).collect())
    }

    fn accept(&mut self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.connections.insert(self.next_connection, Connection::new(stream));
                self.next_connection += 1;
            }
        }
    }

    fn serve(&mut self, id: u64, flags: PollFlags) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.flush();
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            connection.fill();
        }
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            match connection.next_request() {
                Some(request) => self.answer(id, request),
                None => break,
            }
        }
        if self.connections.get(&id).is_some_and(|c| c.closed) {
            self.disconnect(id);
        }
    }

    /// A session ends with its connection: an exec'd process is killed, an attached client forgotten.
    fn disconnect(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        match connection.role {
            Role::Control { .. } => {}
            Role::Exec { pidfd, .. } => {
                let _ = sandbox::process::signal(pidfd.as_fd(), libc::SIGKILL);
            }
            Role::Attach { container, stdin } => {
                if let Some(c) = self.containers.get_mut(&container) {
                    c.attached.retain(|a| *a != id);
                    if stdin {
                        c.input_ended();
                    }
                }
            }
        }
    }

    /// Journals a change, then tells the subscribers.
    fn record(
        &mut self,
        container: &str,
        kind: cri::ContainerEventKind,
        exit: Option<cri::ContainerExit>,
        pid: Option<i32>,
    ) {
        self.unwritten.push_back(Record { sequence: 0, container: container.into(), kind, at: now(), exit, pid });
        self.write_journal();
    }

    fn write_journal(&mut self) {
        while let Some(record) = self.unwritten.front() {
            let Ok(written) = self.journal.append(record.clone()) else { return };
            self.unwritten.pop_front();
            let frame = protocol::event(&written);
            for connection in self.connections.values_mut() {
                if matches!(connection.role, Role::Control { subscribed: true }) {
                    connection.send(&frame);
                }
            }
        }
    }
}

/// Nanoseconds since the epoch.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64)
}
