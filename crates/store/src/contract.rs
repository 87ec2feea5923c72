//! What every store must do, as tests that any implementation passes: `store::contract_suite!(harness)` in a test file
//! makes one test of each case.
//!
//! A case gets a [`Harness`]: it opens a fresh store, and, where stores outlive their process, closes and opens the same
//! one again. Waiting is for events, with a deadline that only a broken store reaches; nothing measures time.

use crate::{Bytes, Change, CommitError, Condition, Item, MAX_TXN_BYTES, Revision, Sink, Store, Timestamp, Txn, Write};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Makes stores for a case.
pub trait Harness: Send {
    /// An empty store. Called once.
    fn open(&mut self) -> Arc<dyn Store>;
    /// The same store, closed and opened again; `None` where nothing outlasts the process.
    fn reopen(&mut self) -> Option<Arc<dyn Store>>;
}

/// Makes a `#[tokio::test]` of every case. `$harness` is an expression that makes a [`Harness`] from the case's name;
/// the calling crate needs tokio with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! contract_suite {
    ($harness:expr) => {
        $crate::contract_suite!(@ $harness,
            revisions_count_commits, a_transaction_is_atomic, conditions_are_compared, commits_build_on_each_other,
            a_transaction_that_changes_nothing_takes_no_revision, bad_transactions_are_refused,
            range_is_ordered_and_paged, a_sink_sees_base_history_and_live_changes, a_sink_joins_under_load,
            a_reply_comes_after_the_sinks, conflicting_writers_lose_no_update, compaction_moves_the_base,
            keys_expire, a_later_write_replaces_the_expiry, state_outlives_the_process, the_base_outlives_the_process,
            expiry_outlives_the_process, big_values_are_kept);
    };
    (@ $harness:expr, $($case:ident),*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $crate::contract::$case(&mut $harness(stringify!($case))).await;
        })*
    };
}

/// A sink that keeps everything and checks the order of what it gets.
#[derive(Default)]
pub struct Recorder {
    seen: Mutex<Seen>,
    told: Condvar,
}

#[derive(Default)]
struct Seen {
    base: Option<(Revision, Vec<Item>)>,
    changes: Vec<Change>,
    state: BTreeMap<Arc<str>, (Revision, Bytes)>,
    last: Revision,
}

impl Recorder {
    /// One that nobody feeds yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The base's revision and number of keys.
    pub fn base_revision(&self) -> (Revision, usize) {
        let seen = self.seen.lock();
        let (revision, items) = seen.base.as_ref().expect("a base comes first");
        (*revision, items.len())
    }

    /// What the base held.
    pub fn base_items(&self) -> Vec<Item> {
        self.seen.lock().base.as_ref().map(|(_, items)| items.clone()).unwrap_or_default()
    }

    /// All changes so far.
    pub fn changes(&self) -> Vec<Change> {
        self.seen.lock().changes.clone()
    }

    /// The last revision that it saw.
    pub fn last(&self) -> Revision {
        self.seen.lock().last
    }

    /// What base and changes add up to.
    pub fn state(&self) -> Vec<Item> {
        self.seen.lock().state.iter().map(|(key, (revision, value))| (key.clone(), *revision, value.clone())).collect()
    }

    /// Waits until a change satisfies `wanted`.
    pub fn wait(&self, wanted: impl Fn(&Change) -> bool) -> Change {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut seen = self.seen.lock();
        loop {
            if let Some(change) = seen.changes.iter().find(|change| wanted(change)) {
                return change.clone();
            }
            assert!(!self.told.wait_until(&mut seen, deadline).timed_out(), "the change did not come");
        }
    }
}

impl Sink for Recorder {
    fn base(&self, revision: Revision, items: &mut dyn Iterator<Item = Item>) {
        let mut seen = self.seen.lock();
        assert!(seen.base.is_none(), "the base came twice");
        let items: Vec<Item> = items.collect();
        for (key, at, value) in &items {
            assert!(*at <= revision, "{key} is newer than its base");
            let before = seen.state.insert(key.clone(), (*at, value.clone()));
            assert!(before.is_none(), "{key} is in the base twice");
        }
        seen.base = Some((revision, items));
        seen.last = revision;
    }

    fn changes(&self, batch: &[Change]) {
        let mut seen = self.seen.lock();
        assert!(seen.base.is_some(), "changes came before the base");
        assert!(!batch.is_empty(), "a batch was empty");
        let before = seen.last;
        for change in batch {
            // The same revision goes on only within a batch: a transaction is never split.
            let same = change.revision == seen.last && seen.last > before;
            assert!(
                same || change.revision == seen.last.next(),
                "revision {} came after {}",
                change.revision,
                seen.last
            );
            seen.last = change.revision;
            let previous = match &change.value {
                Some(value) => seen.state.insert(change.key.clone(), (change.revision, value.clone())),
                None => seen.state.remove(&change.key),
            };
            assert_eq!(change.previous, previous.map(|(at, _)| at), "what {} replaced", change.key);
        }
        seen.changes.extend_from_slice(batch);
        self.told.notify_all();
    }
}

async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    let txn = Txn { conditions: vec![], writes: vec![Write::put(key, value.to_string())] };
    store.commit(txn).await.expect("an unconditional commit succeeds")
}

async fn text(store: &dyn Store, key: &str) -> Option<(u64, String)> {
    let (revision, value) = store.get(key).await.expect("readable")?;
    Some((revision.0, String::from_utf8(value.to_vec()).expect("text")))
}

async fn keys(store: &dyn Store, prefix: &str, after: Option<&str>, limit: usize) -> String {
    let found = store.range(prefix, after, limit).await.expect("readable");
    found.iter().map(|(key, ..)| &**key).collect::<Vec<_>>().join(" ")
}

pub async fn revisions_count_commits(harness: &mut dyn Harness) {
    let store = harness.open();
    assert_eq!(store.head(), Revision(0));
    assert_eq!(put(&*store, "/a", "1").await, Revision(1));
    assert_eq!(put(&*store, "/b", "2").await, Revision(2));
    assert_eq!(store.commit(Txn::delete("/a", Revision(1))).await.expect("it is at 1"), Revision(3));
    assert_eq!(store.head(), Revision(3));
    assert_eq!(text(&*store, "/a").await, None);
    assert_eq!(text(&*store, "/b").await, Some((2, "2".into())));
}

pub async fn a_transaction_is_atomic(harness: &mut dyn Harness) {
    let store = harness.open();
    put(&*store, "/a", "1").await;
    let writes = vec![Write::delete("/a"), Write::put("/b", "2"), Write::put("/c", "3")];
    let absent = |key: &str| Condition::Absent { key: key.into() };
    let lost = store.commit(Txn { conditions: vec![absent("/b"), absent("/a")], writes: writes.clone() }).await;
    assert!(
        matches!(&lost, Err(CommitError::Conflict { key, current: Some(Revision(1)) }) if &**key == "/a"),
        "{lost:?}"
    );
    assert_eq!(keys(&*store, "/", None, 9).await, "/a");
    let won = store.commit(Txn { conditions: vec![absent("/b"), absent("/c")], writes }).await;
    assert_eq!(won.expect("both are absent"), Revision(2));
    assert_eq!(keys(&*store, "/", None, 9).await, "/b /c");
    assert_eq!((text(&*store, "/b").await, text(&*store, "/c").await), (Some((2, "2".into())), Some((2, "3".into()))));
}

pub async fn conditions_are_compared(harness: &mut dyn Harness) {
    let store = harness.open();
    let conflict = |result: Result<Revision, CommitError>| match result {
        Err(CommitError::Conflict { key, current }) => (key.to_string(), current.map(|at| at.0)),
        other => panic!("{other:?}"),
    };
    assert_eq!(conflict(store.commit(Txn::update("/a", Revision(1), "x")).await), ("/a".into(), None));
    store.commit(Txn::create("/a", "1")).await.expect("absent");
    assert_eq!(conflict(store.commit(Txn::create("/a", "x")).await), ("/a".into(), Some(1)));
    store.commit(Txn::update("/a", Revision(1), "2")).await.expect("at 1");
    assert_eq!(conflict(store.commit(Txn::update("/a", Revision(1), "x")).await), ("/a".into(), Some(2)));
    assert_eq!(conflict(store.commit(Txn::delete("/a", Revision(1))).await), ("/a".into(), Some(2)));
    store.commit(Txn::delete("/a", Revision(2))).await.expect("at 2");
    assert_eq!(store.commit(Txn::create("/a", "3")).await.expect("absent again"), Revision(4));
    assert_eq!(store.head(), Revision(4));
}

pub async fn commits_build_on_each_other(harness: &mut dyn Harness) {
    let store = harness.open();
    // Called, not awaited: each takes its place at once and builds on the ones before.
    let first = store.commit(Txn::create("/a", "1"));
    let second = store.commit(Txn::update("/a", Revision(1), "2"));
    let lost = store.commit(Txn::update("/a", Revision(1), "x"));
    let third = store.commit(Txn::delete("/a", Revision(2)));
    let gone = store.commit(Txn::update("/a", Revision(2), "x"));
    let fourth = store.commit(Txn::create("/a", "4"));
    assert_eq!(fourth.await.expect("absent"), Revision(4));
    assert_eq!(third.await.expect("at 2"), Revision(3));
    assert!(matches!(lost.await, Err(CommitError::Conflict { current: Some(Revision(2)), .. })));
    assert!(store.head() >= Revision(2), "the answer of a conflict waits for what was in the way");
    assert!(matches!(gone.await, Err(CommitError::Conflict { current: None, .. })));
    assert_eq!(second.await.expect("at 1"), Revision(2));
    drop(first);
    // A future that is dropped undoes nothing.
    drop(store.commit(Txn::update("/a", Revision(4), "5")));
    store.commit(Txn::default()).await.expect("a barrier");
    assert_eq!(text(&*store, "/a").await, Some((5, "5".into())));
}

pub async fn a_transaction_that_changes_nothing_takes_no_revision(harness: &mut dyn Harness) {
    let store = harness.open();
    assert_eq!(store.commit(Txn::default()).await.expect("nothing to do"), Revision(0));
    put(&*store, "/a", "1").await;
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    let delete = Txn { conditions: vec![], writes: vec![Write::delete("/nothing")] };
    assert_eq!(store.commit(delete).await.expect("not there"), Revision(1));
    let both = Txn { conditions: vec![], writes: vec![Write::delete("/nothing"), Write::put("/a", "2")] };
    assert_eq!(store.commit(both).await.expect("one write"), Revision(2));
    let changes: Vec<_> = sink.changes().iter().map(|c| (c.key.to_string(), c.revision.0)).collect();
    assert_eq!(changes, [("/a".into(), 1), ("/a".into(), 2)]);
}

pub async fn bad_transactions_are_refused(harness: &mut dyn Harness) {
    let store = harness.open();
    let commit = |writes| store.commit(Txn { conditions: vec![], writes });
    let large = vec![Write::put("/a", vec![1; MAX_TXN_BYTES])];
    assert!(matches!(commit(large).await, Err(CommitError::TooLarge { bytes }) if bytes == MAX_TXN_BYTES + 2));
    let twice = vec![Write::put("/a", "1"), Write::delete("/a")];
    assert!(matches!(commit(twice).await, Err(CommitError::BadKey { key }) if &*key == "/a"));
    assert!(matches!(commit(vec![Write::put("", "1")]).await, Err(CommitError::BadKey { .. })));
    assert_eq!(store.head(), Revision(0));
}

pub async fn range_is_ordered_and_paged(harness: &mut dyn Harness) {
    let store = harness.open();
    for key in ["/r/b", "/r/a", "/r/a/x", "/ra", "/q", "/s", "/r/ä", ""].iter().filter(|key| !key.is_empty()) {
        put(&*store, key, "").await;
    }
    assert_eq!(keys(&*store, "/r/", None, 99).await, "/r/a /r/a/x /r/b /r/ä");
    assert_eq!(keys(&*store, "/r/", None, 2).await, "/r/a /r/a/x");
    assert_eq!(keys(&*store, "/r/", Some("/r/a/x"), 2).await, "/r/b /r/ä");
    assert_eq!(keys(&*store, "/r/", Some("/q"), 1).await, "/r/a");
    assert_eq!(keys(&*store, "/r/", Some("/s"), 9).await, "");
    assert_eq!(keys(&*store, "/none", None, 9).await, "");
    assert_eq!(keys(&*store, "", None, 0).await, "");
}

pub async fn a_sink_sees_base_history_and_live_changes(harness: &mut dyn Harness) {
    let store = harness.open();
    put(&*store, "/a", "1").await;
    put(&*store, "/a", "2").await;
    let (early, late) = (Recorder::new(), Recorder::new());
    assert_eq!(store.subscribe(early.clone()).await.expect("subscribed"), Revision(2));
    assert_eq!(early.base_revision(), (Revision(0), 0));
    store.commit(Txn::delete("/a", Revision(2))).await.expect("at 2");
    let both = vec![Write::put("/b", "4"), Write::put("/c", "4")];
    store.commit(Txn { conditions: vec![], writes: both }).await.expect("written");
    assert_eq!(store.subscribe(late.clone()).await.expect("subscribed"), Revision(4));
    put(&*store, "/b", "5").await;
    let changes = early.changes();
    assert_eq!(changes, late.changes(), "history and live changes are the same");
    let show = |c: &Change| {
        let value = c.value.as_ref().map_or("-".into(), |v| String::from_utf8_lossy(v).into_owned());
        format!("{} {}={value} was {}", c.revision, c.key, c.previous.unwrap_or_default())
    };
    assert_eq!(
        changes.iter().map(show).collect::<Vec<_>>(),
        ["1 /a=1 was 0", "2 /a=2 was 1", "3 /a=- was 2", "4 /b=4 was 0", "4 /c=4 was 0", "5 /b=5 was 4"]
    );
}

pub async fn a_sink_joins_under_load(harness: &mut dyn Harness) {
    let store = harness.open();
    let writers: Vec<_> = (0..8)
        .map(|w| {
            let store = store.clone();
            std::thread::spawn(move || {
                let commits = (0..100).map(|i| {
                    let key = format!("/w{w}/{}", i % 7);
                    store.commit(Txn { conditions: vec![], writes: vec![Write::put(key, format!("{i}"))] })
                });
                commits.for_each(drop);
            })
        })
        .collect();
    let mut sinks = Vec::new();
    while writers.iter().any(|writer| !writer.is_finished()) || sinks.len() < 3 {
        let sink = Recorder::new();
        let head = store.subscribe(sink.clone()).await.expect("subscribed");
        assert!(sink.last() >= head);
        sinks.push(sink);
        sinks.truncate(20);
    }
    writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
    store.commit(Txn::default()).await.expect("a barrier");
    let all = store.range("", None, usize::MAX).await.expect("readable");
    assert_eq!(all.len(), 56);
    for sink in sinks {
        assert_eq!((sink.last(), sink.changes().len()), (Revision(800), 800));
        assert_eq!(sink.state(), all);
    }
}

pub async fn a_reply_comes_after_the_sinks(harness: &mut dyn Harness) {
    let store = harness.open();
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    for i in 0..50 {
        let revision = put(&*store, "/a", &i.to_string()).await;
        assert!(sink.last() >= revision, "the reply of {revision} came first");
        assert!(store.head() >= revision);
        assert_eq!(text(&*store, "/a").await, Some((revision.0, i.to_string())));
    }
}

pub async fn conflicting_writers_lose_no_update(harness: &mut dyn Harness) {
    let store = harness.open();
    store.commit(Txn::create("/count", "0")).await.expect("absent");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    loop {
                        let (revision, count) = store.get("/count").await.expect("readable").expect("there");
                        let count: u64 = std::str::from_utf8(&count).expect("text").parse().expect("a number");
                        match store.commit(Txn::update("/count", revision, (count + 1).to_string())).await {
                            Ok(_) => break,
                            Err(CommitError::Conflict { current: Some(at), .. }) => {
                                let (seen, _) = store.get("/count").await.expect("readable").expect("there");
                                assert!(seen >= at, "what was in the way can be read");
                            }
                            Err(e) => panic!("{e}"),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(text(&*store, "/count").await, Some((161, "160".into())));
}

pub async fn compaction_moves_the_base(harness: &mut dyn Harness) {
    let store = harness.open();
    for i in 1..=6 {
        put(&*store, if i % 2 == 0 { "/even" } else { "/odd" }, &i.to_string()).await;
    }
    store.commit(Txn::delete("/odd", Revision(5))).await.expect("at 5");
    store.compact(Revision(4)).await.expect("compacted");
    // Forgotten already, and not undone.
    store.compact(Revision(2)).await.expect("nothing to do");
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    assert_eq!(sink.base_revision(), (Revision(4), 2));
    assert_eq!(sink.changes().iter().map(|c| c.revision.0).collect::<Vec<_>>(), [5, 6, 7]);
    store.compact(Revision(99)).await.expect("compacted to the head");
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    assert_eq!(sink.base_revision(), (Revision(7), 1));
    assert_eq!(sink.state(), [("/even".into(), Revision(6), Bytes::from("6"))]);
    assert_eq!(put(&*store, "/odd", "8").await, Revision(8));
    assert_eq!(sink.last(), Revision(8));
}

fn in_millis(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond() + millis).expect("a time")
}

pub async fn keys_expire(harness: &mut dyn Harness) {
    let store = harness.open();
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    let writes = vec![
        Write::put("/soon", "1").expires(in_millis(50)),
        Write::put("/past", "1").expires(in_millis(-5000)),
        Write::put("/late", "1").expires(in_millis(3_600_000)),
        Write::put("/never", "1"),
    ];
    store.commit(Txn { conditions: vec![], writes }).await.expect("written");
    let gone = sink.wait(|change| &*change.key == "/soon" && change.value.is_none());
    sink.wait(|change| &*change.key == "/past" && change.value.is_none());
    assert_eq!(gone.previous, Some(Revision(1)));
    // A sink may see it before the index of a reader is asked: order by a commit. Two that expire may go at one revision.
    let gone = sink.last();
    assert_eq!(put(&*store, "/x", "").await, gone.next());
    assert_eq!(keys(&*store, "/", None, 9).await, "/late /never /x");
}

pub async fn a_later_write_replaces_the_expiry(harness: &mut dyn Harness) {
    let store = harness.open();
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    let commit = |write| store.commit(Txn { conditions: vec![], writes: vec![write] });
    let soon = in_millis(150);
    commit(Write::put("/kept", "1").expires(soon)).await.expect("written");
    commit(Write::put("/kept", "2")).await.expect("written");
    commit(Write::put("/marker", "").expires(soon)).await.expect("written");
    sink.wait(|change| &*change.key == "/marker" && change.value.is_none());
    put(&*store, "/x", "").await;
    assert_eq!(text(&*store, "/kept").await, Some((2, "2".into())));
}

pub async fn state_outlives_the_process(harness: &mut dyn Harness) {
    let store = harness.open();
    put(&*store, "/a", "1").await;
    put(&*store, "/b", "2").await;
    store.commit(Txn::delete("/a", Revision(1))).await.expect("at 1");
    let before = Recorder::new();
    store.subscribe(before.clone()).await.expect("subscribed");
    drop(store);
    for round in 0..3 {
        let Some(store) = harness.reopen() else { return };
        assert_eq!(store.head(), Revision(3 + round));
        let sink = Recorder::new();
        store.subscribe(sink.clone()).await.expect("subscribed");
        assert_eq!(sink.changes()[..3], before.changes()[..], "the history is the same");
        assert_eq!(text(&*store, "/b").await, Some((2, "2".into())));
        assert!(store.commit(Txn::create("/b", "x")).await.is_err());
        assert_eq!(put(&*store, "/c", &round.to_string()).await, Revision(4 + round));
    }
}

pub async fn the_base_outlives_the_process(harness: &mut dyn Harness) {
    let store = harness.open();
    for i in 0..10 {
        put(&*store, &format!("/k{}", i % 4), &i.to_string()).await;
    }
    store.compact(Revision(8)).await.expect("compacted");
    drop(store);
    let Some(store) = harness.reopen() else { return };
    let sink = Recorder::new();
    assert_eq!(store.subscribe(sink.clone()).await.expect("subscribed"), Revision(10));
    assert_eq!(sink.base_revision(), (Revision(8), 4));
    assert_eq!(sink.changes().len(), 2);
    assert_eq!(sink.state(), store.range("", None, 99).await.expect("readable"));
}

pub async fn expiry_outlives_the_process(harness: &mut dyn Harness) {
    let store = harness.open();
    let writes = vec![Write::put("/a", "1").expires(in_millis(300)), Write::put("/b", "1").expires(in_millis(300))];
    store.commit(Txn { conditions: vec![], writes }).await.expect("written");
    put(&*store, "/b", "2").await;
    drop(store);
    let Some(store) = harness.reopen() else { return };
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    sink.wait(|change| &*change.key == "/a" && change.value.is_none());
    put(&*store, "/x", "").await;
    assert_eq!(keys(&*store, "/", None, 9).await, "/b /x");
}

pub async fn big_values_are_kept(harness: &mut dyn Harness) {
    let store = harness.open();
    let value = |n: usize| Bytes::from((0..n).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let sizes = [0, 1, 511, 4096, 65_536, 3 << 20, MAX_TXN_BYTES - 8];
    for (i, n) in sizes.into_iter().enumerate() {
        store.commit(Txn::create(format!("/v{i}"), value(n))).await.expect("within the limit");
    }
    let check = async |store: Arc<dyn Store>| {
        for (i, n) in sizes.into_iter().enumerate() {
            let (_, read) = store.get(&format!("/v{i}")).await.expect("readable").expect("there");
            assert!(read == value(n), "the value of {n} bytes");
        }
    };
    check(store).await;
    if let Some(store) = harness.reopen() {
        check(store).await;
    }
}
