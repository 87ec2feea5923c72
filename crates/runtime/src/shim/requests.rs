//! What the shim does for each request.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use cri::{ContainerEventKind, ContainerExit};
use sandbox::{ContainerSpec, Process, SpawnError};

use super::Shim;
use super::connection::Role;
use super::container::{Container, State};
use crate::journal;
use crate::log::Log;
use crate::protocol::{self, Failure, Kind, LogTarget, Reply, Request};

type Answer = Result<Vec<OwnedFd>, (Failure, String)>;

impl Shim {
    /// Carries a request out and queues the reply.
    pub(super) fn answer(&mut self, connection: u64, request: Request) {
        let answer = match request {
            Request::Hello => self.broken.clone().map_or(Ok(Vec::new()), |m| Err((Failure::Internal, m))),
            Request::Subscribe { after } => self.subscribe(connection, after),
            Request::Create { id, spec, log, stdin_once } => self.create(id, spec, log, stdin_once),
            Request::Start { id } => self.start(&id),
            Request::Kill { id, signal, all } => self.kill(&id, signal, all),
            Request::Remove { id } => self.remove(&id),
            Request::ReopenLog { id } => self.reopen_log(&id),
            Request::Exec { id, process } => self.exec(connection, &id, &process),
            Request::Attach { id, stdin } => self.attach(connection, &id, stdin),
            Request::CloseStdin => self.close_stdin(connection),
            Request::Socket { v6 } => socket(v6),
            Request::Shutdown => {
                self.kill_all();
                self.ending = true;
                Ok(Vec::new())
            }
        };
        let (reply, fds) = match answer {
            Ok(fds) => (Reply::Done, fds),
            Err((kind, message)) => (Reply::Failed { kind, message }, Vec::new()),
        };
        let frame = protocol::encode_json(Kind::Reply, &reply);
        if let Some(c) = self.connections.get_mut(&connection) {
            if fds.is_empty() {
                c.send(&frame);
            } else {
                c.send_with(&frame, &fds.iter().map(AsFd::as_fd).collect::<Vec<BorrowedFd>>());
            }
        }
    }

    fn subscribe(&mut self, connection: u64, after: u64) -> Answer {
        let records = journal::read(&self.dir.journal()).map_err(internal("journal"))?;
        if let Some(c) = self.connections.get_mut(&connection) {
            c.role = Role::Control { subscribed: true };
            for record in records.iter().filter(|r| r.sequence > after) {
                c.send(&protocol::event(record));
            }
        }
        Ok(Vec::new())
    }

    fn create(&mut self, id: String, spec: Box<ContainerSpec>, log: LogTarget, stdin_once: bool) -> Answer {
        if self.containers.contains_key(&id) {
            return Err((Failure::Precondition, format!("container {id} is there already")));
        }
        let cgroup = self.hierarchies.cgroup_for(&spec.cgroup, &spec.resources);
        let devices = Some(&spec.devices[..]);
        let made = cgroup.create().and_then(|()| cgroup.apply(&spec.resources, devices));
        let log = made.map_err(internal("cgroup")).and_then(|()| Log::open(log).map_err(internal("log file")));
        let log = log.inspect_err(|_| {
            let _ = cgroup.remove(Duration::ZERO);
        })?;
        let container = Container {
            spec,
            state: State::Created,
            log,
            stdio: sandbox::Stdio::default(),
            stdin_once,
            attached: Vec::new(),
        };
        self.containers.insert(id.clone(), container);
        self.record(&id, ContainerEventKind::Created, None, None);
        Ok(Vec::new())
    }

    fn start(&mut self, id: &str) -> Answer {
        let target = self.containers.get(id).and_then(|c| c.spec.pid_of.clone());
        let join = match target {
            Some(target) => match self.containers.get(&target).map(|c| &c.state) {
                Some(State::Running { pidfd, .. }) => Some(pidfd.as_fd()),
                _ => return Err((Failure::Precondition, format!("target container {target} is not running"))),
            },
            None => self.pause.as_ref().map(|(_, fd)| fd.as_fd()),
        };
        let join = join.map(|fd| fd.try_clone_to_owned()).transpose().map_err(internal("pid namespace"))?;
        let Some(container) = self.containers.get_mut(id) else { return Err(not_found(id)) };
        if !matches!(container.state, State::Created) {
            return Err((Failure::Precondition, format!("container {id} has been started before")));
        }
        match sandbox::spawn::container(&container.spec, &self.hierarchies, join.as_ref().map(AsFd::as_fd)) {
            Ok(spawned) => {
                container.stdio = spawned.stdio;
                for (_, fd) in container.outputs() {
                    let _ = rustix::io::ioctl_fionbio(fd, true);
                }
                container.state = State::Running { pid: spawned.pid, pidfd: spawned.pidfd };
                // What exec needs is the cgroup and the kind of pid namespace; the rest only takes room from now on.
                *container.spec = ContainerSpec {
                    cgroup: std::mem::take(&mut container.spec.cgroup),
                    resources: std::mem::take(&mut container.spec.resources),
                    pid: container.spec.pid,
                    ..ContainerSpec::default()
                };
                self.record(id, ContainerEventKind::Started, None, Some(spawned.pid));
                Ok(Vec::new())
            }
            Err(e) => {
                container.state = State::Exited;
                container.log.finish();
                let message = start_message(&e);
                let exit = ContainerExit { exit_code: 128, reason: "StartError".into(), message: message.clone() };
                self.record(id, ContainerEventKind::Stopped, Some(exit), None);
                Err((Failure::Start, message))
            }
        }
    }

    fn kill(&mut self, id: &str, signal: i32, all: bool) -> Answer {
        let Some(container) = self.containers.get(id) else { return Err(not_found(id)) };
        // Whatever has ended needs no signal.
        if let State::Running { pidfd, .. } = &container.state {
            if all {
                self.hierarchies.cgroup(&container.spec.cgroup).kill();
            }
            sandbox::process::signal(pidfd.as_fd(), signal).map_err(internal("kill"))?;
        }
        Ok(Vec::new())
    }

    fn remove(&mut self, id: &str) -> Answer {
        let Some(container) = self.containers.get(id) else { return Ok(Vec::new()) };
        if matches!(container.state, State::Running { .. }) {
            return Err((Failure::Precondition, format!("container {id} is running")));
        }
        let cgroup = self.hierarchies.cgroup_for(&container.spec.cgroup, &container.spec.resources);
        cgroup.kill();
        cgroup.remove(Duration::from_millis(500)).map_err(internal("cgroup"))?;
        self.containers.remove(id);
        self.record(id, ContainerEventKind::Deleted, None, None);
        if let Err(e) = self.journal.compact(self.dir.acknowledged()) {
            eprintln!("shim: compaction of the journal: {e}");
        }
        Ok(Vec::new())
    }

    fn reopen_log(&mut self, id: &str) -> Answer {
        let Some(container) = self.containers.get_mut(id) else { return Err(not_found(id)) };
        if matches!(container.state, State::Running { .. }) {
            container.log.reopen().map_err(internal("log file"))?;
        }
        Ok(Vec::new())
    }

    fn exec(&mut self, connection: u64, id: &str, process: &Process) -> Answer {
        let Some(container) = self.containers.get(id) else { return Err(not_found(id)) };
        let State::Running { pidfd, .. } = &container.state else {
            return Err((Failure::Precondition, format!("container {id} is not running")));
        };
        let spawned = sandbox::spawn::exec(&container.spec, process, &self.hierarchies, pidfd.as_fd())
            .map_err(|e| (Failure::Start, start_message(&e)))?;
        if let Some(c) = self.connections.get_mut(&connection) {
            c.role = Role::Exec { pid: spawned.pid, pidfd: spawned.pidfd };
        }
        let stdio = spawned.stdio;
        Ok([stdio.terminal, stdio.stdin, stdio.stdout, stdio.stderr].into_iter().flatten().collect())
    }

    fn attach(&mut self, connection: u64, id: &str, stdin: bool) -> Answer {
        let Some(container) = self.containers.get_mut(id) else { return Err(not_found(id)) };
        if !matches!(container.state, State::Running { .. }) {
            return Err((Failure::Precondition, format!("container {id} is not running")));
        }
        // A terminal goes to the client in any case: it has to be resized.
        let input = container.stdio.terminal.as_ref().or(container.stdio.stdin.as_ref().filter(|_| stdin));
        let fds = input.map(|fd| fd.try_clone()).transpose().map_err(internal("attach"))?;
        container.attached.push(connection);
        if let Some(c) = self.connections.get_mut(&connection) {
            c.role = Role::Attach { container: id.into(), stdin: stdin && fds.is_some() };
        }
        Ok(fds.into_iter().collect())
    }

    fn close_stdin(&mut self, connection: u64) -> Answer {
        match self.connections.get(&connection).map(|c| &c.role) {
            Some(Role::Attach { container, stdin: true }) => {
                if let Some(c) = self.containers.get_mut(container) {
                    c.input_ended();
                }
                Ok(Vec::new())
            }
            // The container may have ended meanwhile.
            _ => Ok(Vec::new()),
        }
    }
}

/// A socket is of the network namespace in which it is made, wherever it is used.
fn socket(v6: bool) -> Answer {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::STREAM, flags, None)
        .map(|fd| vec![fd])
        .map_err(|e| (Failure::Internal, format!("socket: {e}")))
}

fn start_message(e: &SpawnError) -> String {
    format!("unable to start container process: {e}")
}

fn not_found(id: &str) -> (Failure, String) {
    (Failure::NotFound, format!("container {id} is not there"))
}

fn internal<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> (Failure, String) {
    move |e| (Failure::Internal, format!("{what}: {e}"))
}
