//! Containers as the shim sees them: their streams while they run, and what is done when they end.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use cri::{ContainerEventKind, ContainerExit};
use rustix::event::{PollFd, PollFlags, Timespec};
use sandbox::process::Ended;
use sandbox::{ContainerSpec, PidNamespace, Stdio};

use super::Shim;
use super::connection::Role;
use crate::log::{Log, Stream};
use crate::protocol::{self, Kind};

/// A container.
pub struct Container {
    pub spec: Box<ContainerSpec>,
    pub state: State,
    pub log: Log,
    pub stdio: Stdio,
    pub stdin_once: bool,
    /// Connections of attached clients.
    pub attached: Vec<u64>,
}

/// Where it stands.
pub enum State {
    Created,
    Running { pid: i32, pidfd: OwnedFd },
    Exited,
}

impl Container {
    /// Descriptors that its output comes from.
    pub fn outputs(&self) -> impl Iterator<Item = (Stream, &OwnedFd)> {
        let stdout = self.stdio.terminal.as_ref().or(self.stdio.stdout.as_ref());
        stdout
            .map(|fd| (Stream::Stdout, fd))
            .into_iter()
            .chain(self.stdio.stderr.as_ref().map(|fd| (Stream::Stderr, fd)))
    }

    /// The input of an attached client is over. A terminal has no end of input but the character that says so.
    pub fn input_ended(&mut self) {
        if self.stdin_once {
            self.stdio.stdin = None;
        }
    }

    fn output(&self, stream: Stream) -> Option<&OwnedFd> {
        self.outputs().find(|(s, _)| *s == stream).map(|(_, fd)| fd)
    }

    fn close(&mut self, stream: Stream) {
        match stream {
            Stream::Stdout => {
                self.stdio.stdout = None;
                self.stdio.terminal = None;
            }
            Stream::Stderr => self.stdio.stderr = None,
        }
    }
}

/// What one read of a stream brought.
enum Chunk {
    Data(usize),
    Nothing,
    End,
}

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Chunk {
    match rustix::io::read(fd, buffer) {
        Ok(0) => Chunk::End,
        Ok(n) => Chunk::Data(n),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Chunk::Nothing,
        // A terminal without processes says EIO.
        Err(_) => Chunk::End,
    }
}

impl Shim {
    /// Takes output that has arrived. Returns whether there was any.
    pub(super) fn pump(&mut self, id: &str, stream: Stream) -> bool {
        let mut buffer = [0; 32 << 10];
        let Some(container) = self.containers.get_mut(id) else { return false };
        let Some(fd) = container.output(stream) else { return false };
        match read(fd, &mut buffer) {
            Chunk::Nothing => false,
            Chunk::End => {
                container.close(stream);
                false
            }
            Chunk::Data(n) => {
                container.log.write(stream, &buffer[..n]);
                if !container.attached.is_empty() {
                    let kind = if stream == Stream::Stdout { Kind::Stdout } else { Kind::Stderr };
                    let frame = protocol::encode(kind, &buffer[..n]);
                    for client in container.attached.clone() {
                        if let Some(connection) = self.connections.get_mut(&client) {
                            connection.send(&frame);
                        }
                    }
                }
                true
            }
        }
    }

    /// Takes notice of every child that has ended.
    pub(super) fn reap(&mut self) {
        while let Some(ended) = sandbox::process::reap() {
            let of_container = self
                .containers
                .iter()
                .find(|(_, c)| matches!(c.state, State::Running { pid, .. } if pid == ended.pid))
                .map(|(id, _)| id.clone());
            if let Some(id) = of_container {
                self.exited(&id, ended);
                continue;
            }
            let of_exec =
                self.connections.iter_mut().find(|(_, c)| matches!(c.role, Role::Exec { pid, .. } if pid == ended.pid));
            if let Some((_, connection)) = of_exec {
                connection.send(&protocol::encode_json(Kind::Exit, &ended.code));
                // The pid is free again: closing this connection must not signal anybody.
                connection.role = Role::Control { subscribed: false };
            }
        }
    }

    /// The end of a container: the last of its output, then the record, then its clients.
    pub(super) fn exited(&mut self, id: &str, ended: Ended) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.state = State::Exited;
        let cgroup = self.hierarchies.cgroup(&container.spec.cgroup);
        if container.spec.pid != PidNamespace::Own {
            // No pid namespace has taken its other processes along.
            cgroup.kill();
        }
        let oom = ended.signal == Some(libc::SIGKILL) && cgroup.oom_kills() > 0;
        for stream in [Stream::Stdout, Stream::Stderr] {
            // A pipe holds at most 1 MiB; a process that escaped may write for ever.
            let mut chunks = 0;
            while chunks < 64 && self.pump(id, stream) {
                chunks += 1;
            }
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        container.log.finish();
        container.stdio = Stdio::default();
        let attached = std::mem::take(&mut container.attached);
        let reason = match (oom, ended.code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        let exit = ContainerExit { exit_code: ended.code, reason: reason.into(), message: String::new() };
        self.record(id, ContainerEventKind::Stopped, Some(exit), None);
        for client in attached {
            if let Some(connection) = self.connections.get_mut(&client) {
                connection.send(&protocol::encode_json(Kind::Exit, &ended.code));
                connection.role = Role::Control { subscribed: false };
            }
        }
    }

    /// Kills everything and waits for the deaths, which SIGKILL makes certain; then takes the cgroups away.
    pub(super) fn kill_all(&mut self) {
        for container in self.containers.values() {
            if let State::Running { pidfd, .. } = &container.state {
                self.hierarchies.cgroup(&container.spec.cgroup).kill();
                let _ = sandbox::process::signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
        while let Some(pidfd) = self.containers.values().find_map(|c| match &c.state {
            State::Running { pidfd, .. } => Some(pidfd),
            _ => None,
        }) {
            dies_now(pidfd);
            self.reap();
        }
        if let Some((_, pidfd)) = self.pause.take() {
            let _ = sandbox::process::signal(pidfd.as_fd(), libc::SIGKILL);
            while !dies_now(&pidfd) {
                self.reap();
            }
            self.reap();
        }
        for container in self.containers.values() {
            let cgroup = self.hierarchies.cgroup_for(&container.spec.cgroup, &container.spec.resources);
            if let Err(e) = cgroup.remove(Duration::from_millis(500)) {
                eprintln!("shim: {e}");
            }
        }
        let pod = self.hierarchies.cgroup_for(&self.config.cgroup, &self.config.resources);
        if let Err(e) = pod.remove(Duration::from_millis(100)) {
            eprintln!("shim: {e}");
        }
    }
}

/// Whether a killed process has died, after a moment's wait. Not for ever: the first of a pid namespace dies only when all
/// others in it have been reaped, and those of an exec are ours to reap.
fn dies_now(pidfd: &OwnedFd) -> bool {
    let moment = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&moment)).is_ok_and(|ready| ready > 0)
}
