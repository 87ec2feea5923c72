//! The command line.

use clap::{Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};

/// Measure an API server; without --server or --kubeconfig, start `ferry` and measure that.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub struct Options {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to measure; everything by default
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PHASE,…")]
    pub only: Vec<Phase>,

    /// https://HOST:PORT of a server that runs already
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Take server, authority and credentials from the current context of this file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Bearer token
    #[arg(long)]
    pub token: Option<String>,
    /// Client certificate in PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// Its key in PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// The server's authority in PEM
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Take any server certificate
    #[arg(long)]
    pub insecure: bool,
    /// Take another server from the current context of this file, and measure it first: PROMISES.md shows both
    #[arg(long, value_name = "FILE")]
    pub beside: Option<PathBuf>,
    /// Process id of the server, for its CPU seconds and memory
    #[arg(long)]
    pub pid: Option<u32>,

    /// The `ferry` to start; by default the one beside this program
    #[arg(long, value_name = "FILE")]
    pub ferry: Option<PathBuf>,
    /// Data directories are made below this one and removed afterwards
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,

    /// How many clients at once
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Over how many connections they go (HTTP/2; with HTTP/1.1 each client has its own)
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
    /// HTTP/1.1 instead of HTTP/2
    #[arg(long)]
    pub http1: bool,
    /// How long a phase runs
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub seconds: f64,
    /// The most requests of a phase
    #[arg(long, default_value_t = 200_000)]
    pub requests: u64,
    /// Pods of the list
    #[arg(long, default_value_t = 5_000)]
    pub pods: u64,
    /// Watchers of the fan-out
    #[arg(long, default_value_t = 1_000)]
    pub watchers: usize,
    /// ConfigMaps written under the watchers
    #[arg(long, default_value_t = 600)]
    pub events: u64,
    /// Pods of the large cluster
    #[arg(long, default_value_t = 150_000)]
    pub scale_pods: u64,
    /// Connections of the flood
    #[arg(long, default_value_t = 10_000)]
    pub flood: usize,
    /// How long a control plane and a node stand idle before their memory is read
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    pub idle: f64,

    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write PROMISES.md in the current directory
    #[arg(long)]
    pub update: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve canned bytes (the ceiling's server)
    #[command(hide = true)]
    Canned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// The same client against canned bytes
    Ceiling,
    /// `ferry server`: time to ready, idle memory
    Start,
    Create,
    Patch,
    Get,
    List,
    Watch,
    /// 5,000 nodes and 150,000 pods: memory
    Scale,
    /// 10,000 connections and lists without pause: how late leases are renewed
    Flood,
    /// `ferry up`: time to the first running pod, memory of the node (root)
    Pod,
}

impl Phase {
    pub const LOAD: [Phase; 5] = [Phase::Create, Phase::Patch, Phase::Get, Phase::List, Phase::Watch];
}

impl Options {
    pub fn wants(&self, phase: Phase) -> bool {
        self.only.is_empty() || self.only.contains(&phase)
    }
    pub fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.1, 120.0))
    }
    pub fn idle(&self) -> Duration {
        Duration::from_secs_f64(self.idle.clamp(0.0, 600.0))
    }
    /// The binary to start.
    pub fn program(&self) -> Result<PathBuf, String> {
        let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("ferry"));
        let program = match &self.ferry {
            Some(path) => path.clone(),
            None => beside().map_err(|e| format!("this program: {e}"))?,
        };
        if program.is_file() {
            Ok(program)
        } else {
            Err(format!("{}: no such program; build it, or name it with --ferry", program.display()))
        }
    }
    /// A new directory of our own.
    pub fn scratch(&self) -> Result<PathBuf, String> {
        let path = self.dir.join(format!("ferry-bench-{}", base::ids::suffix(8)));
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }
}
