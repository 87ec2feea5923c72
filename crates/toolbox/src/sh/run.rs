//! Running what was parsed.
//!
//! A subshell is a clone of the shell on a thread, because a safe program cannot fork: directory, variables and descriptors are
//! therefore the shell's own values, never the process's, and every child gets them when it is spawned. Descriptors above 2 exist
//! inside the shell only. The price: `$!` of a background job that is more than one program is not a process id but `%n`, which
//! `kill` and `wait` understand.

use super::ast::{Action, AndOr, Command, Kind, List, Pipeline, Redirect, Word};
use super::jobs::{Events, Watch, Woken};
use super::{builtins, parse};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};

/// Why a command sequence ends before its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flow {
    Exit(i32),
    Return(i32),
    Break(u32),
    Continue(u32),
}

pub type Run = Result<i32, Flow>;

#[derive(Debug, Clone, Default)]
pub struct Variable {
    pub value: String,
    pub exported: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    pub errexit: bool,
    pub nounset: bool,
    pub xtrace: bool,
}

/// A background job as `kill` sees it.
#[derive(Clone)]
pub struct Job {
    /// The program, if the job is just one.
    pub pid: Option<u32>,
    pub stop: Stop,
}

/// Stops a subshell: a flag that it looks at between commands, and the program that it waits for.
#[derive(Clone, Default)]
pub struct Stop {
    pub flag: Arc<AtomicBool>,
    pub child: Arc<AtomicU32>,
}

pub type Descriptors = BTreeMap<u32, Arc<File>>;

#[derive(Clone)]
pub struct Shell {
    pub variables: HashMap<String, Variable>,
    pub functions: HashMap<String, Arc<Command>>,
    pub name: String,
    pub args: Vec<String>,
    pub cwd: PathBuf,
    pub fds: Descriptors,
    pub status: i32,
    pub options: Options,
    pub jobs: BTreeMap<u32, Job>,
    pub last_job: Option<u32>,
    pub next_job: u32,
    /// By signal number; 0 is EXIT.
    pub traps: BTreeMap<i32, String>,
    pub events: Events,
    pub watch: Arc<Mutex<Watch>>,
    /// Set in subshells that can be killed.
    pub stop: Stop,
    /// Where the id of the next program goes, for `$!`.
    pub announce: Option<mpsc::Sender<u32>>,
    /// Depth of conditions, inside which `set -e` sleeps.
    pub guarded: u32,
    /// Depth of function calls, against endless recursion.
    pub depth: u32,
    pub subshell: bool,
    /// The only command of `sh -c`: it replaces the shell instead of being waited for.
    pub replace: bool,
    /// Values that `local` hides, one frame per function call.
    pub locals: Vec<Vec<(String, Option<Variable>)>>,
}

/// Where programs are looked for without PATH.
const DEFAULT_PATH: &str = "/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin";
const MAX_CALLS: u32 = 60;
/// Subshell threads recurse over the tree.
const STACK: usize = 4 << 20;

impl Shell {
    pub fn list(&mut self, list: &List) -> Run {
        for (item, background) in &list.0 {
            if self.stop.flag.load(Ordering::Relaxed) {
                return Err(Flow::Exit(143));
            }
            self.status = if *background { self.background(item)? } else { self.and_or(item)? };
            self.run_traps()?;
        }
        Ok(if list.0.is_empty() { 0 } else { self.status })
    }

    fn and_or(&mut self, item: &AndOr) -> Run {
        // `set -e` looks only at the last of `a && b && c`.
        let mut status = self.guard(!item.rest.is_empty(), |shell| shell.pipeline(&item.first))?;
        for (n, (and, pipeline)) in item.rest.iter().enumerate() {
            if *and == (status == 0) {
                self.status = status;
                status = self.guard(n + 1 < item.rest.len(), |shell| shell.pipeline(pipeline))?;
            }
        }
        Ok(status)
    }

    /// Runs `body`; as a condition its failure is no error.
    pub fn guard(&mut self, condition: bool, body: impl FnOnce(&mut Self) -> Run) -> Run {
        self.guarded += u32::from(condition);
        let result = body(self);
        self.guarded -= u32::from(condition);
        result
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Run {
        let status = self.guard(pipeline.negated, |shell| match pipeline.commands.as_slice() {
            [command] => shell.command(command),
            commands => shell.pipe(commands),
        })?;
        let status = if pipeline.negated { i32::from(status == 0) } else { status };
        self.status = status;
        if status != 0 && self.options.errexit && self.guarded == 0 && !pipeline.negated {
            return Err(Flow::Exit(status));
        }
        Ok(status)
    }

    /// Every member in a subshell of its own; the last one's status counts.
    fn pipe(&mut self, commands: &[Command]) -> Run {
        let mut input = self.fds.get(&0).cloned();
        let mut threads = Vec::new();
        for (n, command) in commands.iter().enumerate() {
            let mut member = self.fork();
            match input.take() {
                Some(file) => member.fds.insert(0, file),
                None => member.fds.remove(&0),
            };
            if n + 1 < commands.len() {
                let (reader, writer) = std::io::pipe().map_err(|error| self.fatal(&format!("pipe: {error}")))?;
                member.fds.insert(1, Arc::new(File::from(OwnedFd::from(writer))));
                input = Some(Arc::new(File::from(OwnedFd::from(reader))));
            }
            let command = command.clone();
            threads.push(spawn(move || member.finish(|shell| shell.command(&command))));
        }
        Ok(threads.into_iter().map(|thread| thread.join().unwrap_or(1)).last().unwrap_or(0))
    }

    fn background(&mut self, item: &AndOr) -> Run {
        let mut member = self.fork();
        member.stop = Stop::default();
        if !self.fds.get(&0).is_some_and(rustix::termios::isatty)
            && let Ok(null) = File::open("/dev/null")
        {
            member.fds.insert(0, Arc::new(null));
        }
        let id = self.next_job;
        self.next_job += 1;
        let (sender, receiver) = mpsc::channel();
        let single = self.is_program(item);
        if single {
            member.announce = Some(sender);
        }
        let stop = member.stop.clone();
        let (item, events) = (item.clone(), self.events.clone());
        events.started(id);
        spawn(move || {
            let status = member.finish(|shell| shell.and_or(&item));
            events.finished(id, status);
        });
        // A single program announces its process at once, or ends without one.
        let pid = if single { receiver.recv().ok() } else { None };
        self.jobs.insert(id, Job { pid, stop });
        self.last_job = Some(id);
        Ok(0)
    }

    /// Whether a background item is one program, so that it has a process id.
    fn is_program(&self, item: &AndOr) -> bool {
        let [Command { kind: Kind::Simple { words, .. }, .. }] = item.first.commands.as_slice() else { return false };
        let name = words.first().and_then(Word::literal);
        item.rest.is_empty()
            && name.is_some_and(|name| !builtins::is_builtin(name) && !self.functions.contains_key(name))
    }

    /// A copy that stands for a subshell.
    pub fn fork(&self) -> Shell {
        let mut copy = self.clone();
        copy.subshell = true;
        copy.replace = false;
        copy.announce = None;
        copy.traps = BTreeMap::new();
        copy.jobs = BTreeMap::new();
        copy.events = Events::default();
        copy
    }

    /// Runs `body` as a whole subshell, whatever way it ends.
    pub fn finish(mut self, body: impl FnOnce(&mut Self) -> Run) -> i32 {
        let status = match body(&mut self) {
            Ok(status) | Err(Flow::Exit(status) | Flow::Return(status)) => status,
            Err(Flow::Break(_) | Flow::Continue(_)) => 0,
        };
        self.status = status;
        match self.traps.remove(&0).map(|action| self.eval(&action)) {
            Some(Err(Flow::Exit(status))) => status,
            _ => status,
        }
    }

    /// Runs a list and returns what it prints.
    pub fn substitute(&mut self, list: &List) -> Result<String, Flow> {
        let (mut reader, writer) = std::io::pipe().map_err(|error| self.fatal(&format!("pipe: {error}")))?;
        let mut member = self.fork();
        member.fds.insert(1, Arc::new(File::from(OwnedFd::from(writer))));
        let list = list.clone();
        let thread = spawn(move || member.finish(|shell| shell.list(&list)));
        let mut output = Vec::new();
        let read = reader.read_to_end(&mut output);
        self.status = thread.join().unwrap_or(1);
        read.map_err(|error| self.fatal(&format!("command substitution: {error}")))?;
        Ok(String::from_utf8_lossy(&output).replace('\0', ""))
    }

    pub fn command(&mut self, command: &Command) -> Run {
        if let Kind::Simple { assignments, words } = &command.kind {
            return self.simple(assignments, words, &command.redirects);
        }
        self.redirected(&command.redirects, |shell| shell.compound(&command.kind))
    }

    fn compound(&mut self, kind: &Kind) -> Run {
        match kind {
            Kind::Simple { .. } => Ok(0),
            Kind::Subshell(list) => {
                let (member, list) = (self.fork(), list.clone());
                Ok(spawn(move || member.finish(|shell| shell.list(&list))).join().unwrap_or(1))
            }
            Kind::Group(list) => self.list(list),
            Kind::If { arms, otherwise } => {
                for (condition, body) in arms {
                    if self.guard(true, |shell| shell.list(condition))? == 0 {
                        return self.list(body);
                    }
                }
                otherwise.as_ref().map_or(Ok(0), |list| self.list(list))
            }
            Kind::Loop { until, condition, body } => {
                let mut status = 0;
                while (self.guard(true, |shell| shell.list(condition))? == 0) != *until {
                    match self.turn(body)? {
                        Some(value) => status = value,
                        None => break,
                    }
                }
                Ok(status)
            }
            Kind::For { name, words, body } => {
                let values = match words {
                    Some(words) => self.fields(words)?,
                    None => self.args.clone(),
                };
                let mut status = 0;
                for value in values {
                    self.assign(name, &value)?;
                    match self.turn(body)? {
                        Some(value) => status = value,
                        None => break,
                    }
                }
                Ok(status)
            }
            Kind::Case { subject, arms } => {
                let subject: Vec<char> = self.string(subject)?.chars().collect();
                for (patterns, body) in arms {
                    for pattern in patterns {
                        if crate::glob::matches(&self.pattern(pattern)?, &subject) {
                            return self.list(body);
                        }
                    }
                }
                Ok(0)
            }
            Kind::Function { name, body } => {
                self.functions.insert(name.clone(), Arc::new((**body).clone()));
                Ok(0)
            }
        }
    }

    /// One turn of a loop: its status, or `None` to leave it.
    fn turn(&mut self, body: &List) -> Result<Option<i32>, Flow> {
        if self.stop.flag.load(Ordering::Relaxed) {
            return Err(Flow::Exit(143));
        }
        match self.list(body) {
            Ok(status) => Ok(Some(status)),
            Err(Flow::Continue(1)) => Ok(Some(0)),
            Err(Flow::Break(1)) => Ok(None),
            Err(Flow::Continue(n)) => Err(Flow::Continue(n - 1)),
            Err(Flow::Break(n)) => Err(Flow::Break(n - 1)),
            Err(other) => Err(other),
        }
    }

    fn simple(&mut self, assignments: &[(String, Word)], words: &[Word], redirects: &[Redirect]) -> Run {
        let replace = std::mem::take(&mut self.replace);
        self.status = if words.is_empty() { 0 } else { self.status };
        let argv = self.fields(words)?;
        let mut values = Vec::new();
        for (name, word) in assignments {
            values.push((name.clone(), self.string(word)?));
        }
        if self.options.xtrace {
            let line: Vec<_> =
                values.iter().map(|(name, value)| format!("{name}={value}")).chain(argv.iter().cloned()).collect();
            self.complain_raw(&format!("+ {}\n", line.join(" ")));
        }
        let Some(name) = argv.first().cloned() else {
            for (name, value) in values {
                self.assign(&name, &value)?;
            }
            let status = self.status;
            return self.redirected(redirects, |_| Ok(status));
        };
        if name == "exec" {
            // Its redirections stay.
            return match self.redirect_all(redirects) {
                Ok(()) if argv.len() == 1 => Ok(0),
                Ok(()) => self.exec(&argv[1..], &values),
                Err(message) => Ok(self.complain(&message)),
            };
        }
        if let Some(function) = self.functions.get(&name).cloned() {
            return self.redirected(redirects, |shell| shell.call(&function, &argv[1..], values));
        }
        if builtins::is_builtin(&name) {
            return self.redirected(redirects, |shell| {
                for (name, value) in &values {
                    shell.assign(name, value)?;
                }
                builtins::run(shell, &argv)
            });
        }
        self.redirected(redirects, |shell| {
            if replace && shell.traps.is_empty() { shell.exec(&argv, &values) } else { shell.program(&argv, &values) }
        })
    }

    fn call(&mut self, function: &Command, args: &[String], values: Vec<(String, String)>) -> Run {
        if self.depth >= MAX_CALLS {
            return Err(self.fatal("functions nested too deep"));
        }
        for (name, value) in values {
            self.assign(&name, &value)?;
        }
        let outer = std::mem::replace(&mut self.args, args.to_vec());
        self.depth += 1;
        self.locals.push(Vec::new());
        let result = self.command(function);
        for (name, hidden) in self.locals.pop().unwrap_or_default().into_iter().rev() {
            match hidden {
                Some(variable) => self.variables.insert(name, variable),
                None => self.variables.remove(&name),
            };
        }
        self.depth -= 1;
        self.args = outer;
        match result {
            Err(Flow::Return(status)) => Ok(status),
            other => other,
        }
    }

    /// A program in a child process.
    fn program(&mut self, argv: &[String], values: &[(String, String)]) -> Run {
        let mut process = match self.process(argv, values) {
            Ok(process) => process,
            Err((status, message)) => {
                self.complain(&message);
                return Ok(status);
            }
        };
        let mut child = match process.spawn() {
            Ok(child) => child,
            Err(error) if error.raw_os_error() == Some(8) => {
                // A script without `#!`.
                let line: Vec<String> = std::iter::once("sh".to_string()).chain(argv.iter().cloned()).collect();
                return self.program(&line, values);
            }
            Err(error) => {
                self.complain(&format!("{}: {}", argv[0], reason(&error)));
                return Ok(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 });
            }
        };
        // The copies of our descriptors that the builder holds would keep pipes open.
        drop(process);
        if let Some(announce) = self.announce.take() {
            let _ = announce.send(child.id());
        }
        self.stop.child.store(child.id(), Ordering::Relaxed);
        if self.stop.flag.load(Ordering::Relaxed) {
            let _ = child.kill();
        }
        let status = child.wait();
        self.stop.child.store(0, Ordering::Relaxed);
        Ok(status.map_or(1, code))
    }

    /// A program instead of this process; in a subshell, instead of the rest of it.
    fn exec(&mut self, argv: &[String], values: &[(String, String)]) -> Run {
        if self.subshell {
            let status = self.program(argv, values)?;
            return Err(Flow::Exit(status));
        }
        match self.process(argv, values) {
            Ok(mut process) => {
                let error = process.exec();
                self.complain(&format!("{}: {}", argv[0], reason(&error)));
                Err(Flow::Exit(126))
            }
            Err((status, message)) => {
                self.complain(&message);
                Err(Flow::Exit(status))
            }
        }
    }

    fn process(&self, argv: &[String], values: &[(String, String)]) -> Result<Process, (i32, String)> {
        let path = self.resolve(&argv[0]).ok_or_else(|| (127, format!("{}: not found", argv[0])))?;
        let mut process = Process::new(path);
        process.arg0(&argv[0]).args(&argv[1..]).current_dir(&self.cwd).env_clear();
        let exported = self.variables.iter().filter(|(_, variable)| variable.exported);
        process.envs(exported.map(|(name, variable)| (name, &variable.value)));
        process.envs(values.iter().map(|(name, value)| (name, value)));
        let stdio = |fd: u32| match self.fds.get(&fd).map(|file| file.try_clone()) {
            Some(Ok(file)) => Stdio::from(file),
            _ => Stdio::null(),
        };
        process.stdin(stdio(0)).stdout(stdio(1)).stderr(stdio(2));
        Ok(process)
    }

    /// The file behind a command name. Programs of this toolbox work without links, through the running binary.
    pub fn resolve(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(self.cwd.join(name));
        }
        let path = self.value("PATH").unwrap_or_else(|| DEFAULT_PATH.to_string());
        let executable = |path: &Path| {
            path.metadata().is_ok_and(|meta| {
                meta.is_file() && std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o111 != 0
            })
        };
        let found = path.split(':').map(|dir| self.cwd.join(dir).join(name)).find(|path| executable(path));
        found.or_else(|| crate::is_applet(name).then(|| PathBuf::from("/proc/self/exe")))
    }

    /// Runs `body` with redirections that end with it.
    fn redirected(&mut self, redirects: &[Redirect], body: impl FnOnce(&mut Self) -> Run) -> Run {
        if redirects.is_empty() {
            return body(self);
        }
        let outer = self.fds.clone();
        let result = match self.redirect_all(redirects) {
            Ok(()) => body(self),
            Err(message) => Ok(self.complain(&message)),
        };
        self.fds = outer;
        result
    }

    fn redirect_all(&mut self, redirects: &[Redirect]) -> Result<(), String> {
        for redirect in redirects {
            let word = |shell: &mut Shell, word: &Word| shell.string(word).map_err(|_| "bad redirection".to_string());
            let mut options = OpenOptions::new();
            let path = match &redirect.action {
                Action::Read(path) => (options.read(true), path).1,
                Action::ReadWrite(path) => (options.read(true).write(true).create(true), path).1,
                Action::Write(path) => (options.write(true).create(true).truncate(true), path).1,
                Action::Append(path) => (options.append(true).create(true), path).1,
                Action::Duplicate(target) => {
                    let target = word(self, target)?;
                    self.duplicate(redirect.fd, &target)?;
                    continue;
                }
                Action::Here(body) => {
                    let body = word(self, body)?;
                    let file = here(body).map_err(|error| format!("here-document: {error}"))?;
                    self.fds.insert(redirect.fd, Arc::new(file));
                    continue;
                }
            };
            let path = word(self, path)?;
            let file =
                options.open(self.cwd.join(&path)).map_err(|error| format!("can't open {path}: {}", reason(&error)))?;
            self.fds.insert(redirect.fd, Arc::new(file));
        }
        Ok(())
    }

    fn duplicate(&mut self, fd: u32, target: &str) -> Result<(), String> {
        if target == "-" {
            self.fds.remove(&fd);
            return Ok(());
        }
        let source = target.parse().ok().and_then(|n: u32| self.fds.get(&n).cloned());
        let source = source.ok_or_else(|| format!("{target}: bad file descriptor"))?;
        self.fds.insert(fd, source);
        Ok(())
    }

    /// Runs text as commands of this shell.
    pub fn eval(&mut self, text: &str) -> Run {
        match parse::parse(text) {
            Ok(list) => self.list(&list),
            Err(error) => {
                self.complain(&super::describe(&error));
                Ok(2)
            }
        }
    }

    /// Traps of signals that have arrived.
    pub fn run_traps(&mut self) -> Result<(), Flow> {
        while !self.traps.is_empty() {
            let Some(signal) = self.events.next_signal() else { break };
            self.trap(signal)?;
        }
        Ok(())
    }

    fn trap(&mut self, signal: i32) -> Result<(), Flow> {
        let status = self.status;
        if let Some(action) = self.traps.get(&signal).cloned() {
            self.eval(&action)?;
        }
        self.status = status;
        Ok(())
    }

    /// `wait`, for one job or all.
    pub fn wait(&mut self, job: Option<u32>) -> Run {
        let woken = match job {
            Some(job) => self.events.wait(job),
            None => self.events.wait_all(),
        };
        match woken {
            Woken::Finished(status) => {
                match job {
                    Some(job) => drop(self.jobs.remove(&job)),
                    None => self.jobs.clear(),
                }
                Ok(status)
            }
            Woken::Signal(signal) => {
                self.trap(signal)?;
                Ok(128 + signal)
            }
            Woken::Unknown => Ok(127),
        }
    }

    pub fn value(&self, name: &str) -> Option<String> {
        match name {
            "?" => Some(self.status.to_string()),
            "#" => Some(self.args.len().to_string()),
            "$" => Some(std::process::id().to_string()),
            "0" => Some(self.name.clone()),
            "@" | "*" => Some(self.args.join(" ")),
            "-" => Some(if self.options.errexit { "e".into() } else { String::new() }),
            "!" => {
                let id = self.last_job?;
                let pid = self.jobs.get(&id).and_then(|job| job.pid);
                Some(pid.map_or_else(|| format!("%{id}"), |pid| pid.to_string()))
            }
            "PWD" => Some(self.cwd.display().to_string()),
            name if name.starts_with(|c: char| c.is_ascii_digit()) => {
                self.args.get(name.parse::<usize>().ok()?.checked_sub(1)?).cloned()
            }
            name => self.variables.get(name).map(|variable| variable.value.clone()),
        }
    }

    pub fn assign(&mut self, name: &str, value: &str) -> Result<(), Flow> {
        if !parse::is_name(name) {
            return Err(self.fatal(&format!("{name}: bad variable name")));
        }
        self.variables.entry(name.to_string()).or_default().value = value.to_string();
        Ok(())
    }

    /// Writes to the shell's own standard output. A reader that has gone ends the shell as SIGPIPE would.
    pub fn print(&self, bytes: &[u8]) -> Run {
        match self.fds.get(&1).map(|file| (&**file).write_all(bytes)) {
            Some(Ok(())) => Ok(0),
            Some(Err(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Flow::Exit(141)),
            _ => Ok(self.complain("write error")),
        }
    }

    /// A message on standard error; returns the status of failed commands.
    pub fn complain(&self, message: &str) -> i32 {
        self.complain_raw(&format!("{}: {message}\n", self.name));
        1
    }

    fn complain_raw(&self, text: &str) {
        if let Some(file) = self.fds.get(&2) {
            let _ = (&**file).write_all(text.as_bytes());
        }
    }

    /// An error that ends the shell.
    pub fn fatal(&self, message: &str) -> Flow {
        self.complain(message);
        Flow::Exit(2)
    }
}

/// An exit status as the shell shows it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The system's words for an error, without the number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

/// A here-document as a file in memory: unlike a pipe it needs nobody to write on, so that it survives `exec`.
fn here(body: String) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("here", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(body.as_bytes())?;
    std::io::Seek::rewind(&mut file)?;
    Ok(file)
}

fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    let builder = std::thread::Builder::new().stack_size(STACK);
    // Without a thread there is no subshell; nothing sensible could go on.
    builder.spawn(body).unwrap_or_else(|error| panic!("cannot start a thread: {error}"))
}
