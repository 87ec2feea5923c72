//! Torn and damaged files: what was not acknowledged goes in silence, what was is never given up in silence.

mod common;

use common::{Dir, small};
use std::{collections::BTreeMap, fs, path::Path, sync::Arc};
use store::{OpenError, Revision, Store, Txn, Write, contract::Recorder};
use store_disk::Disk;

async fn put(store: &Arc<dyn Store>, key: &str, value: impl Into<store::Bytes>) -> Revision {
    let txn = Txn { conditions: vec![], writes: vec![Write::put(key, value)] };
    store.commit(txn).await.expect("written")
}

/// Every file and its bytes.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(&path).expect("readable"))
    };
    files.map(read).filter(|(name, _)| name != "LOCK").collect()
}

fn restore(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for name in contents(dir).keys() {
        fs::remove_file(dir.join(name)).expect("removable");
    }
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).expect("writable");
    }
}

fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1)
}

/// Two commits that are complete and a last one, in one segment; where the last frame begins and all frames end.
async fn three_commits(dir: &Dir) -> (BTreeMap<String, Vec<u8>>, usize, usize) {
    let disk = Disk::open(dir, small(16 << 10)).expect("it opens");
    let store = disk.keyspace("main");
    put(&store, "/a", "one").await;
    put(&store, "/b", vec![7; 700]).await;
    let begin = written(&fs::read(dir.join("00000001.log")).expect("readable"));
    put(&store, "/c", vec![9; 450]).await;
    drop(disk);
    let files = contents(dir);
    let end = written(&files["00000001.log"]);
    (files, begin, end)
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_wherever_it_was_torn() {
    let dir = Dir::new("torn");
    let (files, begin, end) = three_commits(&dir).await;
    let log = "00000001.log";
    for cut in begin..end {
        // A killed process leaves a prefix before preallocated zeros; a file system may also lose the length.
        let mut zeros = files[log].clone();
        zeros[cut..].fill(0);
        for torn in [zeros, files[log][..cut].to_vec()] {
            let mut files = files.clone();
            files.insert(log.into(), torn);
            restore(&dir, &files);
            let disk = Disk::open(&dir, small(16 << 10)).unwrap_or_else(|e| panic!("torn at {cut}: {e}"));
            let store = disk.keyspace("main");
            assert_eq!(store.head(), Revision(2), "torn at {cut}");
            assert_eq!(store.get("/c").await.expect("readable"), None);
            assert_eq!(store.get("/b").await.expect("readable").expect("there").1, vec![7; 700]);
            if cut % 61 == 0 {
                assert_eq!(put(&store, "/c", "again").await, Revision(3));
                drop(disk);
                let disk = Disk::open(&dir, small(16 << 10)).expect("it opens after the repair");
                assert_eq!(disk.keyspace("main").get("/c").await.expect("readable").expect("there").1, "again");
            }
        }
    }
}

#[tokio::test]
async fn a_sector_that_was_not_written_is_a_torn_tail_too() {
    let dir = Dir::new("sector");
    let (files, begin, end) = three_commits(&dir).await;
    for sector in begin / 512..end.div_ceil(512) {
        let mut files = files.clone();
        let log = files.get_mut("00000001.log").expect("there");
        log[(sector * 512).max(begin)..(sector * 512 + 512).min(end)].fill(0);
        restore(&dir, &files);
        let disk = Disk::open(&dir, small(16 << 10)).unwrap_or_else(|e| panic!("sector {sector}: {e}"));
        assert_eq!(disk.keyspace("main").head(), Revision(2), "sector {sector}");
    }
}

#[tokio::test]
async fn a_changed_byte_stops_the_opening_and_nothing_is_touched() {
    let dir = Dir::new("flip");
    let (files, _, end) = three_commits(&dir).await;
    for at in 0..end {
        let mut files = files.clone();
        files.get_mut("00000001.log").expect("there")[at] ^= 0xFF;
        restore(&dir, &files);
        match Disk::open(&dir, small(16 << 10)) {
            Err(OpenError::Corrupt { file, .. }) => assert!(file.ends_with("00000001.log")),
            Err(e) => panic!("byte {at}: {e}"),
            Ok(_) => panic!("byte {at} was changed and nobody noticed"),
        }
        assert!(contents(&dir) == files, "byte {at}: opening changed the directory");
    }
}

/// A store with a base of several segments and a log of several.
async fn folded(dir: &Dir) -> BTreeMap<String, Vec<u8>> {
    let disk = Disk::open(dir, small(4096)).expect("it opens");
    let store = disk.keyspace("main");
    for i in 0..40 {
        put(&store, &format!("/k{}", i % 20), vec![i; 400]).await;
    }
    disk.fold().await.expect("it folds");
    for i in 0..20 {
        put(&store, &format!("/l{}", i % 20), vec![i; 400]).await;
    }
    drop(disk);
    contents(dir)
}

#[tokio::test]
async fn a_missing_or_cut_file_stops_the_opening() {
    let dir = Dir::new("missing");
    let files = folded(&dir).await;
    let bases = files.keys().filter(|name| name.ends_with(".base")).count();
    let logs: Vec<_> = files.keys().filter(|name| name.ends_with(".log")).cloned().collect();
    assert!(bases >= 1 && logs.len() >= 3, "{:?}", files.keys());
    for name in files.keys() {
        // The last log segment may be torn; the others were complete.
        let last = logs.last() == Some(name);
        let mut broken = Vec::new();
        if !last {
            let mut without = files.clone();
            without.remove(name);
            broken.push(without);
            let mut cut = files.clone();
            cut.get_mut(name).expect("there").truncate(files[name].len().saturating_sub(65));
            broken.push(cut);
        }
        let mut empty = files.clone();
        empty.insert(name.clone(), Vec::new());
        broken.push(empty);
        for files in broken {
            restore(&dir, &files);
            assert!(
                matches!(Disk::open(&dir, small(4096)), Err(OpenError::Corrupt { .. })),
                "{name} was broken and nobody noticed"
            );
            assert!(contents(&dir) == files, "{name}: opening changed the directory");
        }
    }
    restore(&dir, &files);
    Disk::open(&dir, small(4096)).expect("whole again");
}

#[tokio::test]
async fn what_no_manifest_names_is_removed() {
    let dir = Dir::new("leftover");
    let files = folded(&dir).await;
    let mut more = files.clone();
    // What a crash leaves: a base that was not finished, names not given yet, log segments that are in the base.
    more.insert("00000900.base".into(), vec![1, 2, 3]);
    more.insert("00000901.tmp".into(), vec![]);
    more.insert("MANIFEST.tmp".into(), b"half".to_vec());
    more.insert("00000001.log".into(), vec![0; 100]);
    restore(&dir, &more);
    let disk = Disk::open(&dir, small(4096)).expect("leftovers are no damage");
    let sink = Recorder::new();
    disk.keyspace("main").subscribe(sink.clone()).await.expect("subscribed");
    assert_eq!(sink.state().len(), 40);
    drop(disk);
    assert_eq!(contents(&dir).keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>());
}

#[test]
fn a_creation_that_was_interrupted_is_taken_up() {
    let dir = Dir::new("creation");
    drop(Disk::open(&dir, small(4096)).expect("it opens"));
    fs::remove_file(dir.join("MANIFEST")).expect("there");
    drop(Disk::open(&dir, small(4096)).expect("the segment is empty: nothing is lost"));
}

#[test]
fn two_processes_cannot_open_one_directory() {
    let dir = Dir::new("lock");
    let disk = Disk::open(&dir, small(4096)).expect("it opens");
    match Disk::open(&dir, small(4096)) {
        Err(OpenError::Locked { by, .. }) => assert_eq!(by, Some(std::process::id())),
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("it was opened twice"),
    }
    drop(disk);
    Disk::open(&dir, small(4096)).expect("free again");
}
