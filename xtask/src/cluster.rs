//! A cluster of this tree's `ferry` for as long as a task needs one.

use crate::run::{cargo, output, run};
use std::{
    env, fs,
    fs::File,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// `ferry up` of this tree; ended and removed when dropped.
pub struct Cluster {
    ferry: PathBuf,
    dir: PathBuf,
    up: Child,
    _turn: File,
}

impl Cluster {
    /// Started with so many nodes; it takes the turn that the end to end tests take, so it may run beside them.
    pub fn up(nodes: u32) -> Result<Cluster, String> {
        let ferry = built()?;
        let turn = env::temp_dir().join("ferry-test.lock");
        let turn = File::create(&turn).map_err(|e| format!("{}: {e}", turn.display()))?;
        turn.lock().map_err(|e| format!("no turn: {e}"))?;
        let dir = env::temp_dir().join(format!("ferry-task-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?;
        let mut command = Command::new(&ferry);
        command.arg("up").arg("--data-dir").arg(dir.join("data")).arg("--kubeconfig").arg(dir.join("kubeconfig"));
        command.args(["--api-port", &free.port().to_string(), "--nodes", &nodes.to_string()]).stdout(Stdio::piped());
        let mut up = command.spawn().map_err(|e| format!("{}: {e}", ferry.display()))?;
        let lines = up.stdout.take().map(|out| BufReader::new(out).lines());
        // What it says later has to go somewhere: a full pipe would stop it.
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                if line.contains("ready") {
                    let _ = ready.send(());
                }
            }
        });
        let cluster = Cluster { ferry, dir, up, _turn: turn };
        is_ready.recv().map_err(|_| "ferry up ended before it was ready")?;
        Ok(cluster)
    }
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }
    /// Imports archives into its nodes.
    pub fn import(&self, archives: &[PathBuf]) -> Result<(), String> {
        let mut command = Command::new(&self.ferry);
        run(command.args(["image", "import", "--data-dir"]).arg(self.dir.join("data")).args(archives))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.up.id().to_string()).status();
        let _ = self.up.wait();
        let _ = Command::new(&self.ferry).args(["down", "--purge", "--data-dir"]).arg(self.dir.join("data")).status();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The binary of this tree, built.
fn built() -> Result<PathBuf, String> {
    let mut command = cargo();
    command.args(["build", "--package", "ferry", "--message-format", "json-render-diagnostics"]);
    let messages = output(&mut command)?;
    let messages = serde_json::Deserializer::from_slice(&messages).into_iter::<serde_json::Value>();
    let executables = messages.flatten().filter_map(|m| m["executable"].as_str().map(PathBuf::from));
    executables.last().ok_or_else(|| "cargo built no executable".into())
}
