//! The `ferry` binary: commands and wiring, no logic. The same file is the daemon, the shim of every pod and, inside the
//! demo image, a toolbox; which one is decided here, before anything else runs.

#[cfg(not(target_feature = "crt-static"))]
compile_error!(
    "ferry must be linked statically: build it from inside the repository, without RUSTFLAGS in the environment"
);

mod agent;
mod cli;
mod commands;
mod control_plane;
mod fronts;
mod join;
mod layout;
mod steps;
mod store;

use clap::Parser;
use cli::{Cli, Command};
use std::{ffi::OsString, process::ExitCode};

/// A write makes and drops some hundred small vectors; with glibc's allocator a third of the API server's time went there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a command fails with: one clear line.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    if let Some(code) = toolbox::main(&name, &rest) {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    if rest.first().is_some_and(|a| a == "shim") {
        runtime::shim_main(rest.into_iter().skip(1));
    }
    let cli = Cli::parse();
    let outcome = match cli.command {
        // Threads cannot be moved into a machine: this has to happen while there is only one.
        Command::Agent(options) => agent::main(options),
        Command::Up(options) => block_on(commands::up::run(options)),
        Command::Server(options) => block_on(commands::server::run(options)),
        Command::Down(options) => commands::down::run(&options),
        Command::Image(options) => commands::image::run(&options),
        Command::Version => commands::version::run(),
        Command::Completions { shell } => commands::completions::run(shell),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ferry: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command on the process's runtime.
pub(crate) fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|e| format!("no threads can be started: {e}"))?.block_on(command)
}
