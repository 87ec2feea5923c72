//! Answers that are lost and requests that arrive late: what is acknowledged is there, what is refused is not and will not
//! be, nothing is written twice, and watchers see each revision once.

use parking_lot::Mutex;
use prost::Message;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};
use store::{Bytes, Change, CommitError, Item, Revision, Sink, Store, Txn};
use store_etcd::{
    Etcd, Options,
    lab::Lab,
    meddler::{Fate, Meddler},
    proto::{Op, TxnRequest, TxnResponse},
};
use tokio::{sync::oneshot, task::JoinSet};

const TXN: &str = "/etcdserverpb.KV/Txn";

/// What a store has shown: every change in order, and how often it began anew.
#[derive(Default)]
struct Log(Mutex<Logged>);

#[derive(Default)]
struct Logged {
    changes: Vec<Change>,
    seen: Revision,
    resets: usize,
}

impl Sink for Log {
    fn base(&self, revision: Revision, _: &mut dyn Iterator<Item = Item>) {
        self.0.lock().seen = revision;
    }
    fn changes(&self, batch: &[Change]) {
        let mut log = self.0.lock();
        for group in batch.chunk_by(|a, b| a.revision == b.revision) {
            assert!(group[0].revision > log.seen, "{} came after {}", group[0].revision, log.seen);
            log.seen = group[0].revision;
        }
        log.changes.extend_from_slice(batch);
    }
    fn progress(&self, revision: Revision) {
        let mut log = self.0.lock();
        assert!(revision >= log.seen);
        log.seen = revision;
    }
    fn reset(&self, revision: Revision, _: &mut dyn Iterator<Item = Item>) {
        let mut log = self.0.lock();
        (log.seen, log.resets) = (revision, log.resets + 1);
    }
}

impl Log {
    /// `revision:key=value`, of all changes.
    fn lines(&self) -> Vec<String> {
        let value = |c: &Change| c.value.as_ref().map_or("-".into(), |v| String::from_utf8_lossy(v).into_owned());
        self.0.lock().changes.iter().map(|c| format!("{}:{}={}", c.revision, c.key, value(c))).collect()
    }
}

async fn follow(store: &Etcd) -> Arc<Log> {
    let log = Arc::new(Log::default());
    store.subscribe(log.clone()).await.expect("subscribed");
    log
}

async fn through(meddler: &Meddler) -> Arc<Etcd> {
    let options = Options { compact_every: None, ..Options::new(vec![meddler.endpoint.clone()]) };
    Etcd::open(options).await.expect("reachable")
}

/// Whether a transaction writes a key that contains `part`.
fn writes(path: &str, message: &[u8], part: &str) -> bool {
    let Some(request) = (path == TXN).then(|| TxnRequest::decode(message).ok()).flatten() else { return false };
    let key = |op: &Op| match op {
        Op::Put(put) => put.key.clone(),
        Op::Delete(delete) => delete.key.clone(),
        Op::Range(_) => Bytes::new(),
    };
    let keys = request.success.iter().filter_map(|op| op.op.as_ref()).map(key);
    keys.into_iter().any(|key| String::from_utf8_lossy(&key).contains(part))
}

/// `fate` for the first transaction that writes `part`, then [`Fate::Pass`].
fn once(part: &'static str, fate: fn() -> Fate) -> impl Fn(&str, &[u8]) -> Fate + Send + Sync {
    let done = AtomicBool::new(false);
    move |path, message| match writes(path, message, part) && !done.swap(true, SeqCst) {
        true => fate(),
        false => Fate::Pass,
    }
}

fn took_place(answers: &[Bytes]) -> Vec<bool> {
    answers.iter().map(|answer| TxnResponse::decode(answer.clone()).is_ok_and(|answer| answer.succeeded)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_arrives_after_its_object_was_deleted_does_nothing() {
    let lab = Lab::one("zombie");
    let direct = lab.store("/registry/").await;
    let meddler = Meddler::to(&lab, once("/registry/a", || Fate::Late)).await;
    let store = through(&meddler).await;
    let (log, other) = (follow(&store).await, follow(&direct).await);
    let made = store.commit(Txn::create("/registry/a", "1")).await.expect("it is sent again");
    let gone = direct.commit(Txn::delete("/registry/a", made)).await.expect("there");
    assert_eq!(meddler.kept(), 1);
    assert_eq!(took_place(&meddler.deliver().await), [false], "it arrived, and was refused");
    store.commit(Txn::default()).await.expect("a barrier");
    assert_eq!(direct.get("/registry/a").await.expect("readable"), None);
    let expected = [format!("{made}:/registry/a=1"), format!("{gone}:/registry/a=-")];
    assert_eq!((log.lines(), other.lines()), (expected.to_vec(), expected.to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_took_place_without_an_answer_is_acknowledged_once() {
    let lab = Lab::one("lost");
    let direct = lab.store("/registry/").await;
    follow(&direct).await;
    for (number, fate) in [(|| Fate::LoseAnswer) as fn() -> Fate, || Fate::LoseRequest].into_iter().enumerate() {
        let known = Mutex::new(HashSet::new());
        let meddler = Meddler::to(&lab, move |path, message| match writes(path, message, "/registry/") {
            // Each first attempt: a fence is another's, and so is the lease of a trace; what is written is not.
            true => {
                let mut request = TxnRequest::decode(message).unwrap_or_default();
                for op in &mut request.success {
                    if let Some(Op::Put(put)) = &mut op.op {
                        put.lease = 0;
                    }
                }
                if known.lock().insert(format!("{:?}", request.success)) { fate() } else { Fate::Pass }
            }
            false => Fate::Pass,
        })
        .await;
        let store = through(&meddler).await;
        let log = follow(&store).await;
        let key = format!("/registry/{number}");
        let made = store.commit(Txn::create(key.as_str(), "1")).await.expect("absent");
        let changed = store.commit(Txn::update(key.as_str(), made, "2")).await.expect("at its revision");
        // Somebody else's doing stays somebody else's.
        let other = direct.commit(Txn::update(key.as_str(), changed, "3")).await.expect("at its revision");
        let lost = store.commit(Txn::update(key.as_str(), changed, "4")).await;
        assert!(matches!(lost, Err(CommitError::Conflict { current: Some(at), .. }) if at == other), "{lost:?}");
        let gone = store.commit(Txn::delete(key.as_str(), other)).await.expect("at its revision");
        let expected = [(made, "1"), (changed, "2"), (other, "3"), (gone, "-")];
        let shown: Vec<String> = log.lines().into_iter().filter(|line| line.contains(&key)).collect();
        assert_eq!(shown, expected.map(|(at, value)| format!("{at}:{key}={value}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_deletions_one_is_ours_whoevers_answer_was_lost() {
    let lab = Lab::one("deletions");
    let direct = lab.store("/registry/").await;
    follow(&direct).await;
    // A fence waits until it is let through.
    let (sender, receiver) = oneshot::channel();
    let receiver = Mutex::new(Some(receiver));
    let first = once("/registry/a", || Fate::LoseRequest);
    let made = direct.commit(Txn::create("/registry/a", "1")).await.expect("absent");
    let meddler = Meddler::to(&lab, move |path, message| match writes(path, message, "ferry/fence/") {
        true => receiver.lock().take().map_or(Fate::Pass, Fate::After),
        false => first(path, message),
    })
    .await;
    let store = through(&meddler).await;
    follow(&store).await;
    let ours = tokio::spawn({
        let store = store.clone();
        async move { store.commit(Txn::delete("/registry/a", made)).await }
    });
    let gone = direct.commit(Txn::delete("/registry/a", made)).await.expect("at its revision");
    sender.send(()).expect("it waits, or did not come yet");
    let lost = ours.await.expect("it ends");
    assert!(matches!(lost, Err(CommitError::Conflict { current: None, .. })), "{lost:?}");
    assert!(store.head() >= gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_in_a_state_read_anew_is_acknowledged_and_what_is_not_stays_in_doubt() {
    for overwritten in [false, true] {
        let lab = Lab::one("anew");
        let direct = lab.store("/registry/").await;
        follow(&direct).await;
        let (first, held) = (once("/registry/a", || Fate::Late), Arc::new(AtomicBool::new(true)));
        let holding = held.clone();
        let meddler = Meddler::to(&lab, move |path, message| match writes(path, message, "ferry/fence/") {
            true if holding.load(SeqCst) => Fate::LoseRequest,
            _ => first(path, message),
        })
        .await;
        let store = through(&meddler).await;
        let log = follow(&store).await;
        let other = store.commit(Txn::create("/registry/b", "1")).await.expect("absent");
        // The road is closed in the middle of the attempt, which arrives all the same, before any fence.
        let ours = tokio::spawn({
            let store = store.clone();
            async move { store.commit(Txn::create("/registry/a", "1")).await }
        });
        while meddler.kept() == 0 {
            tokio::task::yield_now().await;
        }
        meddler.set(false);
        assert_eq!(took_place(&meddler.deliver().await), [true], "it arrived before the fence");
        let (made, _) = direct.get("/registry/a").await.expect("readable").expect("there");
        let mut last = direct.commit(Txn::update("/registry/b", other, "2")).await.expect("at its revision");
        if overwritten {
            last = direct.commit(Txn::update("/registry/a", made, "2")).await.expect("at its revision");
        }
        direct.compact(last).await.expect("compacted");
        held.store(false, SeqCst);
        meddler.set(true);
        let told = ours.await.expect("it ends");
        match overwritten {
            false => assert_eq!(told.expect("it is there"), made),
            true => assert!(matches!(told, Err(CommitError::InDoubt { .. })), "{told:?}"),
        }
        assert_eq!(log.0.lock().resets, 1);
        store.commit(Txn::create("/registry/c", "1")).await.expect("the next one goes on");
    }
}

/// The leases with which a transaction writes keys below `ferry/fence/`.
fn fence_leases(path: &str, message: &[u8]) -> Vec<i64> {
    let Some(request) = (path == TXN).then(|| TxnRequest::decode(message).ok()).flatten() else { return Vec::new() };
    let lease = |op| match op {
        Some(Op::Put(put)) if put.key.starts_with(b"ferry/fence/") => Some(put.lease),
        _ => None,
    };
    request.success.into_iter().filter_map(|op| lease(op.op)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_does_not_go_with_the_lease_of_another() {
    let lab = Lab::one("leases");
    let leases: Arc<Mutex<Vec<i64>>> = Arc::default();
    let (heard, first, second) =
        (leases.clone(), once("/registry/a", || Fate::LoseAnswer), once("/registry/b", || Fate::LoseAnswer));
    let meddler = Meddler::to(&lab, move |path, message| {
        heard.lock().extend(fence_leases(path, message));
        match first(path, message) {
            Fate::Pass => second(path, message),
            fate => fate,
        }
    })
    .await;
    let store = through(&meddler).await;
    follow(&store).await;
    let mut used: Vec<HashSet<i64>> = Vec::new();
    for key in ["/registry/a", "/registry/b"] {
        store.commit(Txn::create(key, "1")).await.expect("it took place");
        used.push(std::mem::take(&mut *leases.lock()).into_iter().collect());
    }
    assert!(used.iter().all(|leases| !leases.is_empty() && !leases.contains(&0)), "each raised a fence: {used:?}");
    assert!(used[0].is_disjoint(&used[1]), "{used:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_more_operations_than_etcd_takes_is_not_told_as_worth_repeating() {
    let lab = Lab::one("operations");
    let store = lab.store("/registry/").await;
    let creation = |n: usize| {
        let each: Vec<Txn> = (0..n).map(|i| Txn::create(format!("/registry/{n}/{i}").as_str(), "1")).collect();
        Txn {
            conditions: each.iter().flat_map(|txn| txn.conditions.clone()).collect(),
            writes: each.into_iter().flat_map(|txn| txn.writes).collect(),
        }
    };
    // The fence is the 128th.
    store.commit(creation(127)).await.expect("etcd's default takes it");
    let told = store.commit(creation(128)).await;
    assert!(
        matches!(&told, Err(CommitError::Refused { why }) if why.contains("129") && why.contains("--max-txn-ops")),
        "{told:?}"
    );
    assert_eq!(store.get("/registry/128/0").await.expect("readable"), None);
}

/// Numbers that look random and are the same in every run.
struct Dice(Mutex<u64>);

impl Dice {
    fn roll(&self, sides: u64) -> u64 {
        let mut x = self.0.lock();
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        *x % sides
    }
}

/// What a writer was told of each write: by value, or of a deletion by what it deleted.
#[derive(Default)]
struct Told {
    done: Vec<(Revision, String, String)>,
    refused: Vec<String>,
    doubtful: Vec<String>,
}

/// Creates, changes and deletes keys, most of them its own and some that all want.
async fn write(store: Arc<Etcd>, writer: usize, rounds: usize) -> Told {
    let mut told = Told::default();
    let dice = Dice(Mutex::new(writer as u64 * 7919 + 1));
    for round in 0..rounds {
        let key = match dice.roll(4) {
            0 => format!("/registry/all/{}", dice.roll(3)),
            n => format!("/registry/w{writer}/{n}"),
        };
        let value = format!("{writer}.{round}");
        let Ok(current) = store.get(&key).await else { continue };
        let (what, txn) = match current {
            None => (value.clone(), Txn::create(key.as_str(), value)),
            Some((at, _)) if dice.roll(2) == 0 => (format!("-{at}"), Txn::delete(key.as_str(), at)),
            Some((at, _)) => (value.clone(), Txn::update(key.as_str(), at, value)),
        };
        match store.commit(txn).await {
            Ok(at) => told.done.push((at, key, what)),
            Err(CommitError::Conflict { .. } | CommitError::Unavailable { .. }) if what.starts_with('-') => {}
            Err(CommitError::Conflict { .. } | CommitError::Unavailable { .. }) => told.refused.push(what),
            Err(CommitError::InDoubt { .. }) => told.doubtful.push(what),
            Err(e) => panic!("{key}: {e}"),
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_written_twice_on_bad_roads() {
    const WRITERS: usize = 12;
    const ROUNDS: usize = 60;
    let lab = Lab::one("roads");
    let direct = lab.store("/registry/").await;
    let truth = follow(&direct).await;
    let mut roads = Vec::new();
    for seed in [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03] {
        let (dice, calls) = (Dice(Mutex::new(seed)), AtomicUsize::new(0));
        let cut: Arc<Mutex<Option<Arc<Meddler>>>> = Arc::default();
        let cutting = cut.clone();
        let meddler = Meddler::to(&lab, move |_, _| {
            if calls.fetch_add(1, SeqCst) % 150 == 149
                && let Some(meddler) = &*cutting.lock()
            {
                meddler.cut();
            }
            match dice.roll(100) {
                0..3 => Fate::LoseAnswer,
                3..5 => Fate::LoseRequest,
                5..7 => Fate::Late,
                _ => Fate::Pass,
            }
        })
        .await;
        let meddler = Arc::new(meddler);
        let store = through(&meddler).await;
        let log = follow(&store).await;
        *cut.lock() = Some(meddler.clone());
        roads.push((store, meddler, log));
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(roads[writer % 2].0.clone(), writer, ROUNDS));
    }
    // What was kept arrives in the middle of the writes of all.
    let (done, roads_of_post) = (Arc::new(AtomicBool::new(false)), [roads[0].1.clone(), roads[1].1.clone()]);
    let ended = done.clone();
    let post = tokio::spawn(async move {
        let mut arrived = 0;
        loop {
            let last = ended.load(SeqCst);
            for meddler in roads_of_post.iter().filter(|meddler| last || meddler.kept() > 1) {
                arrived += meddler.deliver().await.len();
            }
            if last {
                return arrived;
            }
            tokio::task::yield_now().await;
        }
    });
    let mut all = Told::default();
    while let Some(told) = writers.join_next().await {
        let told = told.expect("a writer ends");
        all.done.extend(told.done);
        all.refused.extend(told.refused);
        all.doubtful.extend(told.doubtful);
    }
    done.store(true, SeqCst);
    let arrived = post.await.expect("it ends");
    direct.commit(Txn::default()).await.expect("a barrier");
    for (store, ..) in &roads {
        store.commit(Txn::default()).await.expect("a barrier");
    }
    let changes = std::mem::take(&mut truth.0.lock().changes);
    for (_, _, log) in &roads {
        let log = log.0.lock();
        assert_eq!((log.resets, &log.changes), (0, &changes), "each store has shown what took place");
    }
    let mut shown: BTreeMap<(Revision, String), String> = BTreeMap::new();
    let mut values: HashMap<String, usize> = HashMap::new();
    for change in changes {
        let what = match (&change.value, change.previous) {
            (Some(value), _) => String::from_utf8_lossy(value).into_owned(),
            (None, previous) => format!("-{}", previous.unwrap_or_default()),
        };
        *values.entry(what.clone()).or_default() += 1;
        shown.insert((change.revision, change.key.to_string()), what);
    }
    assert!(values.values().all(|count| *count == 1), "a value is written once: {values:?}");
    for (at, key, what) in &all.done {
        assert_eq!(shown.remove(&(*at, key.clone())).as_ref(), Some(what), "{key}, acknowledged at {at}");
    }
    for what in &all.refused {
        assert!(!values.contains_key(what), "{what} was refused");
    }
    for what in shown.values() {
        assert!(all.doubtful.contains(what), "{what} took place, and nobody was told");
    }
    assert!(all.done.len() > WRITERS * ROUNDS / 3, "{} of {}", all.done.len(), WRITERS * ROUNDS);
    assert!(arrived > 20, "{arrived} were late");
}
