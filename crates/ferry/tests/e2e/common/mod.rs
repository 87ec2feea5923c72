//! A cluster of the real binary for tests: `ferry up` as a process, clients over its socket, and everything gone at the
//! end, whatever happened.

pub mod host;
pub mod parts;
pub mod server;

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

/// The binary under test.
pub const FERRY: &str = env!("CARGO_BIN_EXE_ferry");

/// How long anything that must happen may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A data directory with a cluster in it, running or not.
pub struct Cluster {
    pub dir: PathBuf,
    pub port: u16,
    up: Option<Running>,
    /// Clusters take turns: two cores carry one at a time.
    _turn: File,
}

impl Cluster {
    /// An empty data directory and a free port; nothing runs.
    pub fn new() -> Self {
        let turn = File::create(std::env::temp_dir().join("ferry-test.lock")).expect("a lock file");
        rustix::fs::flock(&turn, rustix::fs::FlockOperation::LockExclusive).expect("a turn");
        let dir = std::env::temp_dir().join(format!("ferry-test-{}", base::ids::suffix(8)));
        fs::create_dir_all(&dir).expect("a directory");
        Cluster { dir, port: free_port(), up: None, _turn: turn }
    }
    /// `ferry up` with these arguments, ready.
    pub fn up(args: &[&str]) -> Self {
        let mut cluster = Cluster::new();
        cluster.start(args);
        cluster.wait_for("ready");
        cluster
    }
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }
    /// `ferry <command>` on this data directory.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut c = Command::new(FERRY);
        c.args(command).arg("--data-dir").arg(self.data()).env("HOME", &self.dir);
        c
    }
    /// Starts `ferry up` and does not wait.
    pub fn start(&mut self, args: &[&str]) {
        let mut command = self.command(&["up", "--api-port", &self.port.to_string()]);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(args);
        self.up = Some(Running::spawn(&mut command));
    }
    /// Waits for a line that contains `word` and returns it.
    pub fn wait_for(&mut self, word: &str) -> String {
        let up = self.up.as_mut().expect("it runs");
        match up.wait_for(word) {
            Some(line) => line,
            None => panic!("ferry up never said {word:?}; it said:\n{}\n{}", up.seen.join("\n"), self.logs()),
        }
    }
    /// `kill -9`, of this process alone.
    pub fn kill(&mut self) {
        self.up.take().expect("it runs").kill();
    }
    /// SIGTERM, as Ctrl-C; waits for the end and returns the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.up.take().expect("it runs").terminate()
    }
    /// Process ids of the agents.
    pub fn agents(&self) -> Vec<u32> {
        self.processes(|args| args.get(1).is_some_and(|a| a == "agent"))
    }
    /// Process ids of the shims: one per pod.
    pub fn shims(&self) -> Vec<u32> {
        self.processes(|args| args.get(1).is_some_and(|a| a == "shim"))
    }
    fn processes(&self, wanted: impl Fn(&[String]) -> bool) -> Vec<u32> {
        processes(&self.data(), wanted)
    }
    /// `ferry down --purge`, which must succeed.
    pub fn down(&self) -> Output {
        let out = self.command(&["down", "--purge"]).output().expect("ferry down runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out
    }
    /// The ends of all logs, for a failure's message.
    pub fn logs(&self) -> String {
        let mut out = String::new();
        let mut files = vec![self.data().join("server.log")];
        let machines = fs::read_dir(self.data().join("cloud/machines")).into_iter().flatten().flatten();
        files.extend(machines.map(|m| m.path().join("agent.log")));
        for file in files {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            out += &format!("--- {}\n{}\n", file.display(), lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        out
    }
    /// A client with all rights, over the socket.
    pub async fn client(&self) -> kube::Client {
        client(&self.kubeconfig()).await
    }
}

/// A client as a kubeconfig says.
pub async fn client(kubeconfig: &Path) -> kube::Client {
    let config = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.expect("a config");
    kube::Client::try_from(config).expect("a client")
}

/// Processes of the binary under test that name something below `data`, by their arguments.
pub fn processes(data: &Path, wanted: impl Fn(&[String]) -> bool) -> Vec<u32> {
    let data = data.to_string_lossy().into_owned();
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let args: Vec<String> = line.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect();
        wanted(&args) && args.iter().any(|a| a.starts_with(&data))
    })
    .collect()
}

/// A port of the loopback that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// A directory that is removed at the end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("ferry-test-{}", base::ids::suffix(8)));
        fs::create_dir_all(&dir).expect("a directory");
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process whose lines are read; killed when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    /// What it said so far.
    pub seen: Vec<String>,
}

impl Running {
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (sender, lines) = channel();
        for stream in [
            child.stdout.take().map(|s| Box::new(s) as Box<dyn Read + Send>),
            child.stderr.take().map(|s| Box::new(s) as Box<dyn Read + Send>),
        ] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream.expect("a pipe")).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Running { child, lines, seen: Vec::new() }
    }
    /// The next line that contains `word`; `None` once it has ended, or said nothing for long.
    pub fn wait_for(&mut self, word: &str) -> Option<String> {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.seen.push(line.clone());
            if line.contains(word) {
                return Some(line);
            }
        }
        None
    }
    /// Everything it said so far.
    pub fn words(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// `kill -9`, of this process alone.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
    /// SIGTERM; waits for the end and returns the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        signal(self.child.id(), Signal::TERM);
        self.child.wait().expect("gone").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        drop(self.up.take());
        let _ = self.command(&["down", "--purge"]).output();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, signal);
    }
}

/// Looks until it is there.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// An HTTP GET by hand: the status and the body; `None` where nobody answers.
pub fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    use std::io::Write;
    let address = address.trim_start_matches("http://");
    let target = std::net::ToSocketAddrs::to_socket_addrs(address).ok()?.next()?;
    let mut stream = std::net::TcpStream::connect_timeout(&target, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_string()))
}

/// What of a directory's cluster is left on this machine: links, namespaces, mounts, cgroups, processes.
pub fn leftovers(cluster: &Cluster) -> Vec<String> {
    let data = cluster.data().to_string_lossy().into_owned();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let mut left: Vec<String> = mounts.lines().filter(|l| l.contains(&data)).map(|l| format!("mount {l}")).collect();
    left.extend(cluster.processes(|_| true).iter().map(|pid| format!("process {pid}")));
    left
}

/// A file's text.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Writes the demo image as an archive, made of the binary under test.
pub fn archive(path: &Path) {
    let links: Vec<&str> = toolbox::names().collect();
    let recipe = images::toolbox::Recipe {
        binary: Path::new(FERRY),
        tag: images::toolbox::TOOLBOX,
        links: &links,
        cmd: &["httpd"],
    };
    let file = File::create(path).expect("a file");
    images::toolbox::write_archive(&recipe, std::io::BufWriter::new(file)).expect("an archive");
}
