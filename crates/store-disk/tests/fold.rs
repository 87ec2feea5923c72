//! Folding and forgetting: the same state and the same history, less on disk, while commits go on.

mod common;

use common::{Dir, small};
use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};
use store::{Change, Item, Revision, Sink, Store, Txn, Write, contract::Recorder};
use store_disk::{Disk, Options};

fn put(key: impl Into<Arc<str>>, value: impl Into<store::Bytes>) -> Txn {
    Txn { conditions: vec![], writes: vec![Write::put(key, value)] }
}

async fn all(store: &Arc<dyn Store>) -> Vec<Item> {
    store.range("", None, usize::MAX).await.expect("readable")
}

#[tokio::test]
async fn a_fold_keeps_every_keyspace_and_its_revisions() {
    let dir = Dir::new("fold");
    let mut disk = Disk::open(&dir, small(8192)).expect("it opens");
    for round in 0..4 {
        for name in ["one", "two", "three"] {
            let store = disk.keyspace(name);
            for i in 0..50 {
                store.commit(put(format!("/{name}/{}", i % 30), format!("{round}-{i}"))).await.expect("written");
            }
            let (_, at, _) = all(&store).await.swap_remove(0);
            let key = all(&store).await.swap_remove(0).0;
            store.commit(Txn::delete(key, at)).await.expect("at its revision");
        }
        let mut before = Vec::new();
        for name in ["one", "two", "three"] {
            before.push((disk.keyspace(name).head(), all(&disk.keyspace(name)).await));
        }
        let sizes = disk.stats();
        disk.fold().await.expect("it folds");
        assert!(disk.stats().segments < sizes.segments, "{sizes:?} {:?}", disk.stats());
        // Read from the new places, then read back.
        for reopened in [false, true] {
            if reopened {
                drop(disk);
                disk = Disk::open(&dir, small(8192)).expect("it opens");
            }
            for (name, (head, items)) in ["one", "two", "three"].into_iter().zip(&before) {
                let store = disk.keyspace(name);
                assert_eq!(store.head(), *head);
                assert_eq!(all(&store).await, *items, "{name} in round {round}, reopened: {reopened}");
                let sink = Recorder::new();
                store.subscribe(sink.clone()).await.expect("subscribed");
                assert_eq!((sink.base_revision(), sink.changes().len()), ((*head, items.len()), 0));
            }
        }
    }
}

/// Folds by itself every few dozen commits, under writers and subscribers that come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folding_under_load_loses_and_repeats_nothing() {
    let dir = Dir::new("load");
    let options = Options { segment_bytes: 16 << 10, retention: Duration::from_millis(20), fold_bytes: 64 << 10 };
    let disk = Disk::open(&dir, options.clone()).expect("it opens");
    let store = disk.keyspace("main");
    let first = Recorder::new();
    store.subscribe(first.clone()).await.expect("subscribed");
    let writers: Vec<_> = (0..8)
        .map(|w| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0..250 {
                    store.commit(put(format!("/{w}/{}", i % 40), vec![i as u8; 300])).await.expect("written");
                }
            })
        })
        .collect();
    let mut later = Vec::new();
    while writers.iter().any(|writer| !writer.is_finished()) {
        let sink = Recorder::new();
        store.subscribe(sink.clone()).await.expect("subscribed");
        later.push(sink);
        later.truncate(30);
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert_eq!((store.head(), first.changes().len()), (Revision(2000), 2000));
    let items = all(&store).await;
    assert_eq!(first.state(), items);
    for sink in &later {
        assert_eq!(sink.last(), Revision(2000));
        assert_eq!(sink.state(), items);
        // What one sink saw after its base is what the first saw.
        let seen = sink.changes();
        assert_eq!(first.changes()[2000 - seen.len()..], seen);
    }
    let live: usize = items.iter().map(|(key, _, value)| key.len() + value.len()).sum();
    drop(disk);
    // Frames of single commits are padded, so a fixed multiple bounds the whole.
    let on_disk: u64 =
        std::fs::read_dir(&*dir).expect("there").map(|e| e.expect("there").metadata().expect("there").len()).sum();
    assert!(on_disk < 8 * live as u64 + (128 << 10), "{on_disk} bytes on disk for {live}");
    let disk = Disk::open(&dir, options).expect("it opens");
    assert_eq!(all(&disk.keyspace("main")).await, items);
}

/// A sink that lets publishing go on only when it is told to.
struct Gate(Mutex<mpsc::Receiver<()>>);

impl Sink for Gate {
    fn base(&self, _: Revision, _: &mut dyn Iterator<Item = Item>) {}
    fn changes(&self, _: &[Change]) {
        // Open for good when the sender is gone.
        let _ = self.0.lock().expect("no panic").recv();
    }
}

#[tokio::test]
async fn a_fold_waits_for_what_is_durable_but_not_yet_published() {
    let dir = Dir::new("unpublished");
    let disk = Disk::open(&dir, small(4096)).expect("it opens");
    let store = disk.keyspace("main");
    let (open, gate) = mpsc::channel();
    store.subscribe(Arc::new(Gate(Mutex::new(gate)))).await.expect("subscribed");
    // One segment each: the first is held at the gate, so the others are on disk and not in the index.
    let mut commits = Vec::new();
    for i in 1..=3 {
        commits.push(store.commit(put(format!("/{i}"), vec![i; 3000])));
        while disk.stats().log_bytes < u64::from(i) * 3000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(disk.stats().segments, 3);
    let fold = disk.fold();
    // Gives a fold that does not wait its chance to go wrong; one that waits does not mind.
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(open);
    for commit in commits {
        commit.await.expect("written");
    }
    fold.await.expect("it folds");
    assert_eq!(all(&store).await.len(), 3);
    drop(disk);
    let disk = Disk::open(&dir, small(4096)).expect("it opens");
    assert_eq!(all(&disk.keyspace("main")).await.len(), 3);
}

#[tokio::test]
async fn history_is_forgotten_by_itself() {
    let dir = Dir::new("retention");
    let options = Options { retention: Duration::from_millis(30), ..small(64 << 10) };
    let disk = Disk::open(&dir, options).expect("it opens");
    let store = disk.keyspace("main");
    for i in 0..20 {
        store.commit(put("/a", vec![i; 10])).await.expect("written");
    }
    // Waiting for an event that a working store brings within two ticks.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while disk.stats().history > 0 {
        assert!(std::time::Instant::now() < deadline, "{:?}", disk.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    assert_eq!(sink.base_revision(), (Revision(20), 1));
}

#[tokio::test]
async fn expiries_survive_a_fold() {
    let dir = Dir::new("expiry");
    let disk = Disk::open(&dir, small(4096)).expect("it opens");
    let store = disk.keyspace("main");
    let soon = store::Timestamp::from_millisecond(store::Timestamp::now().as_millisecond() + 500).expect("a time");
    let writes = vec![Write::put("/a", "1").expires(soon)];
    store.commit(Txn { conditions: vec![], writes }).await.expect("written");
    disk.fold().await.expect("it folds");
    drop(disk);
    let disk = Disk::open(&dir, small(4096)).expect("it opens");
    let store = disk.keyspace("main");
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    sink.wait(|change| &*change.key == "/a" && change.value.is_none());
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let dir = Dir::new("closed");
    let disk = Disk::open(&dir, small(4096)).expect("it opens");
    let store = disk.keyspace("main");
    let last = store.commit(put("/a", "1"));
    drop(disk);
    assert_eq!(last.await.expect("what was queued is written"), Revision(1));
    assert!(matches!(store.commit(put("/a", "2")).await, Err(store::CommitError::Closed)));
    assert!(matches!(store.get("/a").await, Err(store::ReadError::Closed)));
    assert!(matches!(store.subscribe(Recorder::new()).await, Err(store::OpenError::Closed)));
}
