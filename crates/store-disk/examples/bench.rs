//! Durable commits, recovery and size of the disk store: `cargo run --release -p store-disk --example bench [DIR]`.
//!
//! 64 writers put 2 KiB each under 200,000 keys, every reply awaited; then the directory is opened again and followed.
//! The values do not compress. Run it on a quiet machine, on the file system that matters.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use store::{Bytes, Change, Item, Revision, Sink, Store, Txn, Write};
use store_disk::{Disk, Options};

const KEYS: u64 = 200_000;
const WRITERS: u64 = 64;
const VALUE: usize = 2048;

#[derive(Default)]
struct Counter(AtomicU64);

impl Sink for Counter {
    fn base(&self, _: Revision, items: &mut dyn Iterator<Item = Item>) {
        self.0.fetch_add(items.count() as u64, Ordering::Relaxed);
    }
    fn changes(&self, batch: &[Change]) {
        self.0.fetch_add(batch.len() as u64, Ordering::Relaxed);
    }
}

fn value(seed: u64) -> Bytes {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(VALUE);
    while out.len() < VALUE {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.to_le_bytes());
    }
    out.into()
}

fn size(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = std::fs::read_dir(dir).expect("the directory");
    files.map(|file| file.expect("a file").metadata().expect("its size").blocks() * 512).sum()
}

fn rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("").trim().to_string();
    format!("{} (peak {})", line("VmRSS:"), line("VmHWM:"))
}

fn line(what: &str, figure: impl std::fmt::Display) {
    println!("{what:<44} {figure}");
}

async fn put_all(store: &Arc<dyn Store>, what: &str, count: u64, writers: u64) {
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|w| {
            let (store, latencies) = (store.clone(), latencies.clone());
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for i in (w..count).step_by(writers as usize) {
                    // Scattered over the key space, as names are.
                    let n = i * 7919 % KEYS;
                    let write = Write::put(format!("/registry/pods/ns-{}/pod-{n}", n % 100), value(i));
                    let began = Instant::now();
                    store.commit(Txn { conditions: vec![], writes: vec![write] }).await.expect("written");
                    mine.push(began.elapsed());
                }
                latencies.lock().expect("no panic").extend(mine);
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let took = start.elapsed();
    let mut latencies = std::mem::take(&mut *latencies.lock().expect("no panic"));
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let rate = latencies.len() as f64 / took.as_secs_f64();
    line(what, format!("{rate:.0}/s, p50 {:.2} ms, p99 {:.2} ms", at(50), at(99)));
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let dir = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("ferry-store-bench"), PathBuf::from);
    let _ = std::fs::remove_dir_all(&dir);

    {
        let disk = Disk::open(&dir, Options::default()).expect("it opens");
        let store = disk.keyspace("main");
        store.subscribe(Arc::new(Counter::default())).await.expect("subscribed");
        put_all(&store, "durable puts, 64 writers, new keys", KEYS, WRITERS).await;
        line("on disk, MiB (data 390)", size(&dir) >> 20);
        line("memory", rss());
        put_all(&store, "durable puts, 1 writer", 2000, 1).await;
        put_all(&store, "durable puts, 64 writers, replacing", 2 * KEYS, WRITERS).await;
        line("on disk, MiB, as the log was folded by itself", size(&dir) >> 20);
    }
    for round in ["opened with history", "opened when folded"] {
        let start = Instant::now();
        let disk = Disk::open(&dir, Options::default()).expect("it opens");
        let opened = start.elapsed();
        let store = disk.keyspace("main");
        let sink = Arc::new(Counter::default());
        store.subscribe(sink.clone()).await.expect("subscribed");
        let all = start.elapsed();
        let ms = |t: Duration| t.as_millis();
        let seen = sink.0.load(Ordering::Relaxed);
        line(round, format!("{} ms, followed after {} ms ({seen} items), {}", ms(opened), ms(all), rss()));
        let start = Instant::now();
        disk.fold().await.expect("it folds");
        line("a fold of everything", format!("{} ms", ms(start.elapsed())));
        line("on disk, MiB", size(&dir) >> 20);
    }
    let _ = std::fs::remove_dir_all(&dir);
}
