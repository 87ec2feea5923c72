//! `clients`: programs written with clients of other languages, an operator, and Helm, against a cluster of one node.
//!
//! The libraries come from their registries, pinned in `tests/clients/*` (`requirements.txt`, `package-lock.json`), and are
//! kept below the directory for temporary files: nothing of them enters the tree.

use crate::{cluster::Cluster, run::run};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Runs what stands in `tests/clients/NAME`, all scenarios or those with a part of their name.
type Client = fn(&Path, &str) -> Result<(), String>;

const CLIENTS: &[(&str, Client)] =
    &[("python", python), ("javascript", javascript), ("operator", operator), ("helm", helm)];

/// `clients [--kubeconfig FILE] [python|javascript|operator|helm] [NAME]`: those scenarios whose name contains NAME (operator and
/// helm are one each), against a cluster that is started for it, or the one given.
pub fn clients(args: &[String]) -> Result<(), String> {
    let (kubeconfig, rest) = match args {
        [flag, file, rest @ ..] if flag == "--kubeconfig" => (Some(PathBuf::from(file)), rest),
        rest => (None, rest),
    };
    let (only, rest) = match rest {
        [first, rest @ ..] if CLIENTS.iter().any(|(client, _)| client == first) => (first.as_str(), rest),
        rest => ("", rest),
    };
    let name = rest.first().map_or("", String::as_str);
    let cluster = match kubeconfig {
        Some(_) => None,
        None => Some(Cluster::up(1)?),
    };
    let kubeconfig = kubeconfig.unwrap_or_else(|| cluster.as_ref().map(Cluster::kubeconfig).unwrap_or_default());
    let wanted = CLIENTS.iter().filter(|(client, _)| only.is_empty() || only == *client);
    let outcomes: Vec<Result<(), String>> = wanted.map(|(_, play)| play(&kubeconfig, name)).collect();
    drop(cluster);
    outcomes.into_iter().collect()
}

fn python(kubeconfig: &Path, name: &str) -> Result<(), String> {
    let home = packages("python")?;
    run(Command::new(home.join("bin/python")).arg("tests/clients/python/scenario.py").arg(kubeconfig).arg(name))
}

fn operator(kubeconfig: &Path, _: &str) -> Result<(), String> {
    let home = packages("operator")?;
    run(Command::new(home.join("bin/python")).arg("tests/clients/operator/scenario.py").arg(kubeconfig))
}

fn helm(kubeconfig: &Path, _: &str) -> Result<(), String> {
    let home = packages("helm")?;
    run(Command::new("bash").arg("tests/clients/helm/scenario.sh").arg(home.join("bin/helm")).arg(kubeconfig))
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

/// A virtual environment with the packages that a client's `requirements.txt` names.
fn packages(client: &str) -> Result<PathBuf, String> {
    let list = Path::new("tests/clients").join(client).join("requirements.txt");
    installed(client, &list, |home| {
        run(Command::new("python3").args(["-m", "venv"]).arg(home))?;
        run(Command::new(home.join("bin/pip")).args(["install", "--quiet", "--requirement"]).arg(&list))
    })
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
