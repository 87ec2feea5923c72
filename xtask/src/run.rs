//! Running cargo.

use std::process::{Command, Stdio};

/// The cargo that runs this task.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command to its end; its failure is ours.
pub fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{command:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// Runs a command and returns what it printed.
pub fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let out = command.stderr(Stdio::inherit()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if out.status.success() { Ok(out.stdout) } else { Err(format!("{command:?}: {}", out.status)) }
}
