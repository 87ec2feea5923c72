//! A `ferry` of our own: started on a data directory and a loopback port that nobody else uses, ended and removed.

use crate::{
    connection::{Call, Connection},
    process,
    target::Target,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A server that is not ready after this long will not be.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `ferry`. Dropping it kills it and removes its directory.
pub struct Server {
    child: Child,
    began: Instant,
    pub port: u16,
    dir: PathBuf,
    /// Leave the directory: it is started again.
    keep: bool,
}

impl Server {
    /// `ferry server`
    pub fn start(program: &Path, dir: &Path) -> Result<Self, String> {
        Server::run(program, dir, &["server"])
    }
    /// `ferry up --nodes 1`
    pub fn up(program: &Path, dir: &Path) -> Result<Self, String> {
        Server::run(program, dir, &["up", "--nodes", "1"])
    }

    fn run(program: &Path, dir: &Path, command: &[&str]) -> Result<Self, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?;
        let log = File::create(dir.join("output")).map_err(|e| format!("{}: {e}", dir.display()))?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let began = Instant::now();
        let child = Command::new(program)
            .args(command)
            .arg("--data-dir")
            .arg(dir.join("data"))
            .args(["--api-port", &free.port().to_string()])
            .arg("--kubeconfig")
            .arg(dir.join("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        Ok(Server { child, began, port: free.port(), dir: dir.into(), keep: false })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }
    /// The administrator that its kubeconfig names.
    pub fn target(&self) -> Result<Target, String> {
        Target::of_kubeconfig(&self.dir.join("kubeconfig"), false)
    }
    /// Since its start.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Asks /readyz until it says yes and the kubeconfig is written; the time from the start to the yes.
    pub async fn ready(&self) -> Result<Duration, String> {
        let target = Target::local(self.port, true);
        let ready = loop {
            let answer = async { Connection::open(&target).await?.fetch(&Call::get("/readyz")).await };
            if answer.await.is_ok_and(|(status, _)| status.is_success()) {
                break self.age();
            }
            if self.age() > PATIENCE || self.ended() {
                return Err(format!("ferry did not become ready; it said:\n{}", self.output()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let kubeconfig = self.dir.join("kubeconfig");
        process::wait_until(PATIENCE, || kubeconfig.is_file()).await;
        Ok(ready)
    }

    pub fn ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.is_empty() || stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.dir.join("output")).unwrap_or_default()
    }

    /// SIGTERM, and the wait for its end; the directory goes.
    pub fn stop(mut self) -> Result<(), String> {
        self.end()
    }
    /// The same, but the directory stays for another start.
    pub fn pause(mut self) -> Result<(), String> {
        self.keep = true;
        self.end()
    }

    fn end(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        if let Some(pid) = Pid::from_raw(self.pid() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        loop {
            match self.child.try_wait().map_err(|e| e.to_string())? {
                // It may have been told before it listens to signals.
                Some(status) if status.success() || status.signal() == Some(Signal::TERM.as_raw()) => return Ok(()),
                Some(status) => return Err(format!("ferry ended with {status}:\n{}", self.output())),
                None if Instant::now() > until => return Err("ferry did not end on SIGTERM within a minute".into()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
