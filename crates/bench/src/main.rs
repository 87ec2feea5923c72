//! `bench`: the figures of PROMISES.md, and a load generator against any API server.
//!
//! Without `--server` it starts `ferry` itself, on a data directory and a loopback port of its own, and measures it from
//! start to load; with `--server` it measures what answers there. Each phase is bounded in count and in time. The client
//! shares the machine's cores with the server, as it did when upstream was measured, so every figure comes with the CPU
//! seconds of both sides, and with the ceiling: what the same client gets from a plain hyper server with TLS that
//! answers from canned bytes. Decided against kube-rs here: its decoding would be measured instead of the server.

mod canned;
mod ceiling;
mod connection;
mod ferry;
mod figures;
mod flood;
mod load;
mod objects;
mod options;
mod phases;
mod process;
mod promises;
mod scale;
mod start;
mod target;
mod watchers;

use clap::Parser;
use figures::Figures;
use options::{Command, Options, Phase};
use std::process::ExitCode;
use target::Target;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(Options::parse())),
        Err(e) => Err(format!("runtime: {e}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), String> {
    if let Some(Command::Canned) = options.command {
        return canned::serve().await;
    }
    let mut figures = Figures::new(&options);
    if options.wants(Phase::Ceiling) {
        ceiling::measure(&options, &mut figures).await?;
    }
    if let Some(path) = &options.beside {
        let mut beside = Figures::new(&options);
        phases::measure(&options, &Target::of_kubeconfig(path, options.http1)?, None, &mut beside).await?;
        figures.beside = Some(Box::new(beside));
    }
    if options.server.is_some() || options.kubeconfig.is_some() {
        let target = target::of(&options)?;
        phases::measure(&options, &target, options.pid, &mut figures).await?;
    } else if options.only.iter().any(|phase| *phase != Phase::Ceiling) || options.only.is_empty() {
        let program = options.program()?;
        if options.wants(Phase::Start) {
            start::server(&options, &program, &mut figures).await?;
        }
        if Phase::LOAD.iter().any(|phase| options.wants(*phase)) {
            let server = ferry::Server::start(&program, &options.scratch()?)?;
            server.ready().await?;
            phases::measure(&options, &server.target()?, Some(server.pid()), &mut figures).await?;
            server.stop()?;
        }
        if options.wants(Phase::Scale) {
            scale::measure(&options, &program, &mut figures).await?;
        }
        if options.wants(Phase::Flood) {
            flood::measure(&options, &program, &mut figures).await?;
        }
        if options.wants(Phase::Pod) {
            start::first_pod(&options, &program, &mut figures).await?;
        }
    }
    figures.print();
    if let Some(path) = &options.json {
        std::fs::write(path, figures.json()).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if options.update {
        promises::write(&figures)?;
    }
    Ok(())
}
