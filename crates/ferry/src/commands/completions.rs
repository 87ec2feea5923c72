//! `ferry completions SHELL`

use crate::{Outcome, cli::Cli};
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;

pub fn run(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ferry", &mut script);
    // Through a buffer: clap panics when nobody reads on.
    std::io::stdout().write_all(&script).map_err(|e| format!("standard output: {e}"))
}
