//! `ferry server` alone: a data directory, a port of the loopback, and a home of its own.

use super::{Dir, FERRY, Running, free_port};
use std::{fs, path::PathBuf, process::Command};

pub struct Server {
    pub dir: Dir,
    pub port: u16,
    /// What it is started with beside its directory and port.
    pub args: Vec<String>,
    running: Option<Running>,
}

impl Server {
    /// An empty directory; nothing runs.
    pub fn new() -> Self {
        Server { dir: Dir::new(), port: free_port(), args: Vec::new(), running: None }
    }
    pub fn data(&self) -> PathBuf {
        self.dir.0.join("data")
    }
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.0.join(".kube/config")
    }
    /// `ferry <command>` on this directory.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut c = Command::new(FERRY);
        c.args(command).arg("--data-dir").arg(self.data()).env("HOME", &self.dir.0).env_remove("KUBECONFIG");
        c
    }
    /// `ferry server` on its port.
    pub fn server(&self) -> Command {
        let mut command = self.command(&["server", "--api-port", &self.port.to_string()]);
        command.args(&self.args);
        command
    }
    /// Starts it and waits until it is ready; returns the command with which an agent joins.
    pub fn start(&mut self) -> Vec<String> {
        let mut running = Running::spawn(&mut self.server());
        let Some(line) = running.wait_for("ferry agent ") else {
            panic!("the server did not start; it said:\n{}\n{}", running.seen.join("\n"), self.log());
        };
        self.running = Some(running);
        line.split_whitespace().map(String::from).collect()
    }
    pub fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }
    pub fn terminate(&mut self) -> Option<i32> {
        self.running.take().expect("it runs").terminate()
    }
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid()
    }
    pub fn log(&self) -> String {
        fs::read_to_string(self.data().join("server.log")).unwrap_or_default()
    }
    pub async fn client(&self) -> kube::Client {
        super::client(&self.kubeconfig()).await
    }
}
