//! `ferry completions SHELL`

use crate::{Outcome, cli::Cli};
use clap::CommandFactory;
use clap_complete::Shell;

pub fn run(shell: Shell) -> Outcome {
    clap_complete::generate(shell, &mut Cli::command(), "ferry", &mut std::io::stdout());
    Ok(())
}
