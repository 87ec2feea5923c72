//! A closed loop: so many clients, each sends its next request when it has the answer to the last one.

use crate::{
    connection::{Call, Connection},
    options::Options,
    process::Cpu,
    target::Target,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What a phase came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Requests that were answered well, or events delivered.
    pub count: u64,
    pub seconds: f64,
    /// Milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// CPU seconds over the phase.
    pub client_cpu: f64,
    pub server_cpu: Option<f64>,
    /// Bytes of response bodies.
    pub bytes: u64,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.seconds.max(1e-9)
    }
}

/// How far a phase goes: whichever bound is reached first.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub requests: u64,
    pub time: Duration,
}

/// A handle per client: shared HTTP/2 connections in turn, or an HTTP/1.1 connection each.
pub async fn handles(target: &Target, options: &Options) -> Result<Vec<Connection>, String> {
    let mut open: Vec<Connection> = Vec::new();
    let mut handles = Vec::new();
    for client in 0..options.clients.max(1) {
        if open.len() < options.connections.max(1) || options.http1 {
            open.push(Connection::open(target).await?);
        }
        match open[client % open.len()].share() {
            Some(handle) => handles.push(handle),
            None => handles.extend(open.pop()),
        }
    }
    Ok(handles)
}

/// Runs the loop. `make` gives the n-th request of client `c`; any answer other than success ends the run with an error.
pub async fn run<F>(handles: Vec<Connection>, bounds: Bounds, pid: Option<u32>, make: F) -> Result<Outcome, String>
where
    F: Fn(usize, u64) -> Call + Send + Sync + 'static,
{
    let (make, next) = (Arc::new(make), Arc::new(AtomicU64::new(0)));
    let cpu = Cpu::start(pid);
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for (client, mut connection) in handles.into_iter().enumerate() {
        let (make, next) = (make.clone(), next.clone());
        clients.spawn(async move {
            let (mut took, mut bytes) = (Vec::new(), 0);
            while began.elapsed() < bounds.time {
                let n = next.fetch_add(1, Relaxed);
                if n >= bounds.requests {
                    break;
                }
                let call = make(client, n);
                let sent = Instant::now();
                bytes += connection.exchange(&call).await?.1;
                took.push(sent.elapsed().as_micros() as u32);
            }
            Ok::<_, String>((took, bytes))
        });
    }
    let (mut took, mut bytes) = (Vec::new(), 0);
    while let Some(done) = clients.join_next().await {
        let (times, read) = done.map_err(|e| e.to_string())??;
        took.extend(times);
        bytes += read;
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(outcome(took, seconds, bytes, cpu))
}

/// Sums up; times are in microseconds.
pub fn outcome(mut took: Vec<u32>, seconds: f64, bytes: u64, cpu: Cpu) -> Outcome {
    took.sort_unstable();
    let (client_cpu, server_cpu) = cpu.spent();
    Outcome {
        count: took.len() as u64,
        seconds,
        p50: percentile(&took, 50),
        p99: percentile(&took, 99),
        client_cpu,
        server_cpu,
        bytes,
    }
}

/// Of sorted microseconds, in milliseconds.
fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |us| f64::from(*us) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let times: Vec<u32> = (1..=1000).collect();
        assert_eq!(percentile(&times, 50), 0.501);
        assert_eq!(percentile(&times, 99), 0.991);
        assert_eq!(percentile(&times[..1], 99), 0.001);
        assert_eq!(percentile(&[], 50), 0.0);
    }
}
