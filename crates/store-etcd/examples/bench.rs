//! Commits on an etcd beside the embedded store, in one run: `cargo run --release -p store-etcd --features etcd --example bench`.
//!
//! 64 writers put 2 KiB each, every reply awaited (so every sink has seen it); one writer alone; linearizable reads by 64
//! readers. The etcd is one member on this machine, with its defaults, in the path or at FERRY_ETCD; both write below the
//! directory for temporary files.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use store::{Bytes, Change, Item, Revision, Sink, Store, Txn, Write};
use store_etcd::lab::Lab;
use tokio::task::JoinSet;

const WRITERS: usize = 64;
const COMMITS: usize = 20_000;
const VALUE: usize = 2048;
const ROUNDS: usize = 3;

/// The sink of an engine that does nothing.
struct Nobody;

impl Sink for Nobody {
    fn base(&self, _: Revision, _: &mut dyn Iterator<Item = Item>) {}
    fn changes(&self, _: &[Change]) {}
}

/// Does not compress.
fn value(seed: usize) -> Bytes {
    let mut x = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(VALUE);
    while out.len() < VALUE {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.to_le_bytes());
    }
    out.into()
}

/// Calls `act` `count` times from each of `callers`, one after the other; prints rate and latencies.
async fn measure<F, A>(what: &str, callers: usize, count: usize, act: A)
where
    A: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let act = act.clone();
        tasks.spawn(async move {
            let mut mine = Vec::with_capacity(count);
            for i in 0..count {
                let began = Instant::now();
                act(caller * count + i).await;
                mine.push(began.elapsed());
            }
            mine
        });
    }
    let mut all: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    let took = start.elapsed();
    all.sort_unstable();
    let at = |percent: usize| all[(all.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let rate = all.len() as f64 / took.as_secs_f64();
    println!("{what:<34} {rate:>8.0}/s   p50 {:>7.2} ms   p99 {:>7.2} ms", at(50), at(99));
}

async fn round(name: &str, store: Arc<dyn Store>) {
    store.subscribe(Arc::new(Nobody)).await.expect("subscribed");
    let put = {
        let store = store.clone();
        move |i: usize| {
            let write = Write::put(format!("/registry/pods/ns-{}/pod-{i}", i % 100), value(i));
            let committing = store.clone();
            async move {
                committing.commit(Txn { conditions: vec![], writes: vec![write] }).await.expect("written");
            }
        }
    };
    measure(&format!("{name}, {WRITERS} writers"), WRITERS, COMMITS / WRITERS, put.clone()).await;
    measure(&format!("{name}, one writer"), 1, 500, put).await;
    measure(&format!("{name}, {WRITERS} ask how far it is"), WRITERS, COMMITS / WRITERS, move |_| {
        let store = store.clone();
        async move {
            store.current().await.expect("it answers");
        }
    })
    .await;
}

#[tokio::main]
async fn main() {
    for _ in 0..ROUNDS {
        let lab = Lab::one("bench");
        round("etcd", lab.store("/registry/").await).await;
        drop(lab);
        let dir = std::env::temp_dir().join(format!("ferry-bench-{}", std::process::id()));
        {
            let disk = store_disk::Disk::open(&dir, store_disk::Options::default()).expect("a directory");
            round("own log", disk.keyspace("cluster")).await;
        }
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
