//! What only a test from inside can do: a disk that fails, and the counting of fsyncs.

use crate::{Disk, Options, Sync};
use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use store::{CommitError, Revision, Txn, Write, contract::Recorder};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("ferry-disk-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn put(key: &str, value: &str) -> Txn {
    Txn { conditions: vec![], writes: vec![Write::put(key, value.to_string())] }
}

#[tokio::test]
async fn after_a_failed_fsync_nothing_is_acknowledged_and_reads_go_on() {
    let dir = Dir::new("fsync");
    let broken = Arc::new(AtomicBool::new(false));
    let flag = broken.clone();
    let sync: Sync =
        Box::new(
            move |file: &File| {
                if flag.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(5)) } else { file.sync_data() }
            },
        );
    let disk = Disk::open_with(&dir.0, Options::default(), sync).expect("it opens");
    let (store, other) = (disk.keyspace("main"), disk.keyspace("other"));
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    store.commit(put("/a", "1")).await.expect("written");
    broken.store(true, Ordering::SeqCst);
    let lost = store.commit(put("/a", "2")).await;
    assert!(matches!(&lost, Err(CommitError::Io(e)) if e.raw_os_error() == Some(5)), "{lost:?}");
    // The disk is well again, but what it holds is not known.
    broken.store(false, Ordering::SeqCst);
    for store in [&store, &other] {
        let lost = store.commit(put("/b", "3")).await;
        assert!(matches!(&lost, Err(CommitError::Io(_))), "{lost:?}");
        assert!(lost.unwrap_err().to_string().contains("read-only"));
    }
    assert!(disk.fold().await.is_err());
    assert_eq!(store.head(), Revision(1));
    assert_eq!(sink.changes().len(), 1, "no sink saw what is not durable");
    assert_eq!(store.get("/a").await.expect("readable").expect("there").1, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyspaces_and_clients_share_an_fsync() {
    let dir = Dir::new("group");
    let syncs = Arc::new(AtomicUsize::new(0));
    let (entered, first) = std::sync::mpsc::channel();
    let (go, held) = std::sync::mpsc::channel::<()>();
    let count = syncs.clone();
    let sync: Sync = Box::new(move |file: &File| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            // The first is held until the others have queued up behind it.
            entered.send(()).map_err(io::Error::other)?;
            held.recv().map_err(io::Error::other)?;
        }
        file.sync_data()
    });
    let disk = Disk::open_with(&dir.0, Options::default(), sync).expect("it opens");
    let (one, two) = (disk.keyspace("one"), disk.keyspace("two"));
    let leader = one.commit(put("/leader", ""));
    first.recv().expect("the first fsync began");
    let mut commits = Vec::new();
    for i in 0..50 {
        commits.push(one.commit(put(&format!("/{i}"), "x")));
        commits.push(two.commit(put(&format!("/{i}"), "x")));
    }
    // A conflict is decided while the disk is busy, and costs it nothing.
    let conflict = two.commit(Txn::create("/0", "y"));
    go.send(()).expect("it waits");
    assert_eq!(leader.await.expect("written"), Revision(1));
    for commit in commits {
        commit.await.expect("written");
    }
    assert!(matches!(conflict.await, Err(CommitError::Conflict { current: Some(Revision(1)), .. })));
    assert_eq!((one.head(), two.head()), (Revision(51), Revision(50)));
    assert_eq!(syncs.load(Ordering::SeqCst), 2, "one for the leader, one for the hundred behind it");
    one.commit(Txn::default()).await.expect("a barrier");
    assert!(two.commit(Txn::create("/0", "y")).await.is_err());
    assert_eq!(syncs.load(Ordering::SeqCst), 2, "neither a barrier nor a conflict writes");
}
