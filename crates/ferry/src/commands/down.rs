//! `ferry down`: stops what an earlier run left, and removes everything it made on this machine.

mod node;

use crate::{Outcome, cli::Down, layout::Layout};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub fn run(options: &Down) -> Outcome {
    super::need_root("down", "it removes namespaces, cgroups and network links")?;
    let layout = Layout::new(&options.data.data_dir);
    if !layout.root().exists() {
        println!("nothing is at {}", layout.root().display());
        return Ok(());
    }
    stop_server(&layout)?;
    node::down(layout.root())?;
    cloud_local::down(&cloud_local::Config::new(layout.machines()), options.purge).map_err(|e| e.to_string())?;
    forget_context(&layout)?;
    println!(
        "{}",
        match options.purge {
            false => "down".to_string(),
            true if layout.purge()? => "down, and its data removed".into(),
            true => format!(
                "down, and its data removed; {} also holds what is not Ferry's, which stays",
                layout.root().display()
            ),
        }
    );
    Ok(())
}

/// Ends the process that runs the cluster, if it still does. A pid file may be stale, and its number somebody else's by
/// now: only a process of this program that has this very file open is ended.
fn stop_server(layout: &Layout) -> Outcome {
    let Ok(text) = fs::read_to_string(layout.pid()) else { return Ok(()) };
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { return Ok(()) };
    if !holds_open(pid, &layout.pid()) {
        return Ok(());
    }
    kill_process(pid, Signal::TERM).map_err(|e| format!("process {}: {e}", pid.as_raw_nonzero()))?;
    let until = Instant::now() + Duration::from_secs(40);
    while holds_open(pid, &layout.pid()) {
        if Instant::now() > until {
            kill_process(pid, Signal::KILL).map_err(|e| format!("process {}: {e}", pid.as_raw_nonzero()))?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn holds_open(pid: Pid, file: &Path) -> bool {
    let Ok(file) = file.canonicalize() else { return false };
    let Ok(open) = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())) else { return false };
    open.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == file))
}

/// Takes the context out of the kubeconfig that `up` merged it into.
fn forget_context(layout: &Layout) -> Outcome {
    use std::os::unix::ffi::OsStringExt;
    let Ok(path) = fs::read(layout.context()) else { return Ok(()) };
    let path = PathBuf::from(std::ffi::OsString::from_vec(path));
    if path.exists() {
        client::kubeconfig::remove_from_file(&path, "ferry").map_err(|e| e.to_string())?;
    }
    fs::remove_file(layout.context()).map_err(|e| format!("{}: {e}", layout.context().display()))
}
