//! Many watchers that count what they get.

use crate::{
    connection::{Call, Connection},
    options::Options,
    target::Target,
};
use http_body_util::BodyExt;
use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio::task::JoinSet;

/// Streams per HTTP/2 connection. Source: Go's servers allow 250, upstream's API server 100.
const PER_CONNECTION: usize = 100;

/// Watchers under way; dropping them ends them.
pub struct Watchers {
    /// Events that all of them have got together.
    pub delivered: Arc<AtomicU64>,
    /// When each event was written, by its number, where somebody wants latencies.
    pub written: Arc<Vec<OnceLock<Instant>>>,
    /// Microseconds from there to its arrival, of every watcher.
    pub latencies: Arc<Mutex<Vec<u32>>>,
    _tasks: JoinSet<()>,
}

/// Opens all of them; each has had its response's head when this returns.
pub async fn start(target: &Target, options: &Options, call: &Call, events: u64) -> Result<Watchers, String> {
    let mut tasks = JoinSet::new();
    let delivered = Arc::new(AtomicU64::new(0));
    let written: Arc<Vec<OnceLock<Instant>>> = Arc::new((0..events).map(|_| OnceLock::new()).collect());
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let mut connection = Connection::open(target).await?;
    for n in 0..options.watchers {
        if n > 0 && (n % PER_CONNECTION == 0 || options.http1) {
            connection = Connection::open(target).await?;
        }
        let response = connection.send(call).await?;
        if !response.status().is_success() {
            let status = response.status();
            let text = response.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
            return Err(format!("{}: {status}: {}", call.path, String::from_utf8_lossy(&text)));
        }
        let (delivered, written, latencies) = (delivered.clone(), written.clone(), latencies.clone());
        // The handle keeps the connection.
        let handle = connection.share();
        tasks.spawn(async move {
            let (mut body, mut seen, mut took) = (response.into_body(), 0_usize, Vec::new());
            while let Some(Ok(frame)) = body.frame().await {
                let Some(data) = frame.data_ref() else { continue };
                let events = data.iter().filter(|b| **b == b'\n').count();
                let now = Instant::now();
                let times = written.iter().skip(seen).take(events).filter_map(OnceLock::get);
                took.extend(times.map(|at| now.duration_since(*at).as_micros() as u32));
                seen += events;
                delivered.fetch_add(events as u64, Relaxed);
                if seen >= written.len() {
                    latencies.lock().unwrap_or_else(PoisonError::into_inner).append(&mut took);
                }
            }
            drop(handle);
        });
    }
    Ok(Watchers { delivered, written, latencies, _tasks: tasks })
}
