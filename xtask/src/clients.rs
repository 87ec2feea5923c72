//! `clients`: programs written with the Python and the JavaScript client, against a cluster of one node.
//!
//! The libraries come from their registries, pinned by `tests/clients/python/requirements.txt` and
//! `tests/clients/javascript/package-lock.json`, and are kept below the directory for temporary files: nothing of them
//! enters the tree. It takes the turn that the end to end tests take, so it may run beside them.

use crate::run::{cargo, output, run};
use std::{
    env, fs,
    fs::File,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// `clients [--kubeconfig FILE] [python|javascript] [NAME]`: those scenarios whose name contains NAME, against a cluster that is
/// started for it, or the one given.
pub fn clients(args: &[String]) -> Result<(), String> {
    let (kubeconfig, rest) = match args {
        [flag, file, rest @ ..] if flag == "--kubeconfig" => (Some(PathBuf::from(file)), rest),
        rest => (None, rest),
    };
    let (language, rest) = match rest {
        [first, rest @ ..] if first == "python" || first == "javascript" => (first.as_str(), rest),
        rest => ("", rest),
    };
    let name = rest.first().map_or("", String::as_str);
    let cluster = match kubeconfig {
        Some(_) => None,
        None => Some(Cluster::up()?),
    };
    let kubeconfig = kubeconfig.unwrap_or_else(|| cluster.as_ref().map(Cluster::kubeconfig).unwrap_or_default());
    let mut outcomes = Vec::new();
    if language != "javascript" {
        outcomes.push(python(&kubeconfig, name));
    }
    if language != "python" {
        outcomes.push(javascript(&kubeconfig, name));
    }
    drop(cluster);
    outcomes.into_iter().collect()
}

fn python(kubeconfig: &Path, name: &str) -> Result<(), String> {
    let sources = Path::new("tests/clients/python");
    let requirements = sources.join("requirements.txt");
    let home = installed("python", &requirements, |home| {
        run(Command::new("python3").args(["-m", "venv"]).arg(home))?;
        run(Command::new(home.join("bin/pip")).args(["install", "--quiet", "--requirement"]).arg(&requirements))
    })?;
    run(Command::new(home.join("bin/python")).arg(sources.join("scenario.py")).arg(kubeconfig).arg(name))
}

fn javascript(kubeconfig: &Path, name: &str) -> Result<(), String> {
    let sources = Path::new("tests/clients/javascript");
    let lock = sources.join("package-lock.json");
    let home = installed("javascript", &lock, |home| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(sources.join(file), home.join(file)).map_err(|e| format!("{file}: {e}"))?;
        }
        run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(home))
    })?;
    // Imports are looked up from where the script lies.
    let script = home.join("scenario.mjs");
    fs::copy(sources.join("scenario.mjs"), &script).map_err(|e| format!("{}: {e}", script.display()))?;
    run(Command::new("node").arg(script).arg(kubeconfig).arg("tests/clients/objects.yaml").arg(name))
}

/// A directory with the libraries that `list` pins: an earlier one as long as the list is the same.
fn installed(
    language: &str,
    list: &Path,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let home = env::temp_dir().join("ferry-clients").join(language);
    let mark = home.join("installed");
    let wanted = fs::read(list).map_err(|e| format!("{}: {e}", list.display()))?;
    if fs::read(&mark).is_ok_and(|found| found == wanted) {
        return Ok(home);
    }
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    install(&home)?;
    fs::write(&mark, wanted).map_err(|e| format!("{}: {e}", mark.display()))?;
    Ok(home)
}

/// `ferry up` of this tree; ended and removed when dropped.
struct Cluster {
    ferry: PathBuf,
    dir: PathBuf,
    up: Child,
    _turn: File,
}

impl Cluster {
    fn up() -> Result<Cluster, String> {
        let ferry = built()?;
        let turn = env::temp_dir().join("ferry-test.lock");
        let turn = File::create(&turn).map_err(|e| format!("{}: {e}", turn.display()))?;
        turn.lock().map_err(|e| format!("no turn: {e}"))?;
        let dir = env::temp_dir().join(format!("ferry-clients-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?;
        let mut command = Command::new(&ferry);
        command.arg("up").arg("--data-dir").arg(dir.join("data")).arg("--kubeconfig").arg(dir.join("kubeconfig"));
        command.args(["--api-port", &free.port().to_string()]).stdout(Stdio::piped());
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
    fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
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
