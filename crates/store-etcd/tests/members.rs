//! Members that die, servers that share an etcd, and what happens when history is gone.

use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use store::{Bytes, Change, CommitError, Item, Revision, Sink, Store, Txn, Write, contract::Recorder};
use store_etcd::{
    Etcd, Options, TlsFiles,
    lab::{Door, Lab},
};
use tokio::task::JoinSet;

async fn subscribed(store: &Etcd) -> Arc<Recorder> {
    let sink = Recorder::new();
    store.subscribe(sink.clone()).await.expect("subscribed");
    sink
}

/// A writer: a key of its own, each write over the one before; what was acknowledged.
async fn write(store: Arc<Etcd>, writer: usize, rounds: usize) -> Vec<(Revision, String, String)> {
    let key = format!("/registry/w{writer}");
    let mut acknowledged: Vec<(Revision, String, String)> = Vec::new();
    for round in 0..rounds {
        let value = format!("{writer} {round}");
        let txn = match acknowledged.last() {
            Some((at, ..)) => Txn::update(key.as_str(), *at, value.clone()),
            None => Txn::create(key.as_str(), value.clone()),
        };
        let at = store.commit(txn).await.unwrap_or_else(|e| panic!("{value}: {e}"));
        acknowledged.push((at, key.clone(), value));
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_dies_under_load_loses_and_repeats_nothing() {
    const WRITERS: usize = 16;
    const ROUNDS: usize = 60;
    let mut lab = Lab::three("dies");
    let store = lab.store("/registry/").await;
    // Revisions are left out of it: lost answers raise fences.
    let sink = Arc::new(Mirror::default());
    store.subscribe(sink.clone()).await.expect("subscribed");
    let last = || sink.0.lock().seen;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(store.clone(), writer, ROUNDS));
    }
    // Each member in turn, the one that is used and the leader among them, in the middle of the load.
    for (member, share) in [(0, 5), (1, 3), (2, 2)] {
        let reached = Revision((WRITERS * ROUNDS / share) as u64 * 9 / 10);
        while last() < reached {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        lab.kill(member);
        let after = Revision(last().0 + 50);
        while last() < after && !writers.is_empty() && last().0 < (WRITERS * ROUNDS) as u64 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        lab.restart(member);
    }
    let mut acknowledged = Vec::new();
    while let Some(written) = writers.join_next().await {
        acknowledged.extend(written.expect("every write succeeds"));
    }
    assert_eq!(acknowledged.len(), WRITERS * ROUNDS);
    store.commit(Txn::default()).await.expect("a barrier");
    let stored = store.range("/registry/", None, 9999).await.expect("readable");
    let mirror = sink.0.lock();
    assert_eq!(
        (mirror.changes.len(), mirror.resets.len()),
        (acknowledged.len(), 0),
        "nothing was written or shown twice"
    );
    let text = |value: &Option<Bytes>| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
    let seen: BTreeMap<(Revision, String), String> =
        mirror.changes.iter().map(|c| ((c.revision, c.key.to_string()), text(&c.value))).collect();
    for (at, key, value) in acknowledged {
        assert_eq!(seen.get(&(at, key)), Some(&value), "acknowledged at {at}");
    }
    let items: Vec<_> = mirror.items.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    assert_eq!(items, stored.into_iter().map(|(key, _, value)| (key, value)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_see_each_other() {
    let lab = Lab::one("two");
    let (a, b) = (lab.store("/registry/").await, lab.store("/registry/").await);
    let (seen_by_a, seen_by_b) = (subscribed(&a).await, subscribed(&b).await);
    assert!(a.is_shared());
    for round in 0..50 {
        let at = a.commit(Txn::create(format!("/registry/{round}"), "a")).await.expect("absent");
        assert!(b.current().await.expect("readable") >= at, "a linearizable read is never behind");
        // What is in the way was somebody else's; the answer waits until it is published here.
        let lost = b.commit(Txn::create(format!("/registry/{round}"), "b")).await;
        assert!(matches!(lost, Err(CommitError::Conflict { current: Some(r), .. }) if r == at), "{lost:?}");
        assert!(seen_by_b.last() >= at);
        let deleted = b.commit(Txn::delete(format!("/registry/{round}"), at)).await.expect("at its revision");
        assert_eq!(seen_by_b.last(), deleted);
    }
    // Foreign keys move the revision, and a barrier comes up to it.
    let foreign = lab.store("/other/").await;
    let at = foreign.commit(Txn::create("/other/x", "1")).await.expect("absent");
    assert_eq!(a.commit(Txn::default()).await.expect("a barrier"), at);
    assert_eq!(a.head(), at);
    assert_eq!(seen_by_a.changes(), seen_by_b.changes());
    assert!(seen_by_a.changes().iter().all(|c| c.key.starts_with("/registry/")));
}

/// Keeps what it is given, and how often it began anew.
#[derive(Default)]
struct Mirror(Mutex<Mirrored>);

#[derive(Default)]
struct Mirrored {
    items: BTreeMap<Arc<str>, Bytes>,
    changes: Vec<Change>,
    resets: Vec<Revision>,
    seen: Revision,
    /// Of the base.
    began: Revision,
}

impl Sink for Mirror {
    fn base(&self, revision: Revision, items: &mut dyn Iterator<Item = Item>) {
        let mut state = self.0.lock();
        (state.items, state.seen) = (items.map(|(key, _, value)| (key, value)).collect(), revision);
        state.began = revision;
    }
    fn changes(&self, batch: &[Change]) {
        let mut state = self.0.lock();
        for change in batch {
            assert!(change.revision >= state.seen);
            state.seen = change.revision;
            state.changes.push(change.clone());
            match &change.value {
                Some(value) => drop(state.items.insert(change.key.clone(), value.clone())),
                None => drop(state.items.remove(&change.key)),
            }
        }
    }
    fn progress(&self, revision: Revision) {
        self.0.lock().seen = revision;
    }
    fn reset(&self, revision: Revision, items: &mut dyn Iterator<Item = Item>) {
        self.base(revision, items);
        self.0.lock().resets.push(revision);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_compacted_during_an_absence_is_read_anew() {
    let lab = Lab::one("absence");
    let direct = lab.store("/registry/").await;
    let door = Door::to(&lab).await;
    let options = Options { compact_every: None, ..Options::new(vec![door.endpoint.clone()]) };
    let store = Etcd::open(options).await.expect("reachable");
    let mirror = Arc::new(Mirror::default());
    store.subscribe(mirror.clone()).await.expect("subscribed");
    let put = async |key: &str| {
        let write = Write::put(key, key.to_string());
        direct.commit(Txn { conditions: vec![], writes: vec![write] }).await.expect("written")
    };
    let first = put("/registry/gone").await;
    put("/registry/kept").await;
    store.commit(Txn::default()).await.expect("a barrier");
    // A break after which all history is still there.
    door.set(false);
    let second = put("/registry/new").await;
    door.set(true);
    store.commit(Txn::default()).await.expect("a barrier");
    let (resets, seen) = {
        let state = mirror.0.lock();
        (state.resets.len(), state.seen)
    };
    assert_eq!((resets, seen), (0, second));
    // One after which it is not.
    door.set(false);
    direct.commit(Txn::delete("/registry/gone", first)).await.expect("there");
    let last = put("/registry/new").await;
    direct.compact(last).await.expect("compacted");
    door.set(true);
    store.commit(Txn::default()).await.expect("a barrier");
    let state = mirror.0.lock();
    assert_eq!((state.resets.as_slice(), state.seen), (&[last][..], last));
    assert_eq!(state.items.keys().map(|key| &**key).collect::<Vec<_>>(), ["/registry/kept", "/registry/new"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_verified_and_verify() {
    let dir = std::env::temp_dir().join(format!("ferry-etcd-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).expect("written");
        dir.join(name)
    };
    let (ours, theirs) = (pki::ClusterPki::ephemeral().expect("keys"), pki::ClusterPki::ephemeral().expect("keys"));
    let hour = Duration::from_secs(3600);
    // etcd calls itself as a client, too.
    let member = ours.ca.issue("etcd", &[], &["127.0.0.1".into()], pki::Usage::Both, hour).expect("a certificate");
    let client = ours.ca.issue("ferry", &[], &[], pki::Usage::Client, hour).expect("a certificate");
    let ca = file("ca.pem", ours.ca.cert_pem());
    let lab = Lab::with_tls("tls", [ca.clone(), file("etcd.pem", &member.cert_pem), file("etcd.key", &member.key_pem)]);
    let open = async |files: TlsFiles| {
        let endpoints = store_etcd::endpoints(&lab.url(0), &files).expect("endpoints");
        Etcd::open(Options::new(endpoints)).await
    };
    let (cert, key) = (Some(file("ferry.pem", &client.cert_pem)), Some(file("ferry.key", &client.key_pem)));
    let store = open(TlsFiles { ca: Some(ca.clone()), cert: cert.clone(), key: key.clone() }).await.expect("it opens");
    store.commit(Txn::create("/registry/a", "1")).await.expect("absent");
    let other = file("other.pem", theirs.ca.cert_pem());
    let (stranger, nobody) = tokio::join!(
        open(TlsFiles { ca: Some(other), cert, key }),
        open(TlsFiles { ca: Some(ca), ..TlsFiles::default() })
    );
    let why = stranger.err().expect("it is not who we want").to_string();
    assert!(why.starts_with("etcd: connecting to https://127.0.0.1:") && why.contains("certificate"), "{why}");
    let why = nobody.err().expect("it does not want us").to_string();
    assert!(why.starts_with("etcd: "), "{why}");
    let _ = std::fs::remove_dir_all(&dir);
}

/// Of etcd's calls about users: a name, and a password or a role.
#[derive(Clone, PartialEq, prost::Message)]
struct User {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    more: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_does_not_let_us_in_says_what_it_wants() {
    let lab = Lab::one("users");
    let store = lab.store("/registry/").await;
    store.commit(Txn::create("/registry/a", "1")).await.expect("absent");
    let channel = grpc::Channel::new(lab.endpoints().remove(0));
    let user = |more: &str| User { name: "root".into(), more: more.into() };
    let second = Duration::from_secs(5);
    for (call, message) in
        [("/etcdserverpb.Auth/UserAdd", user("secret")), ("/etcdserverpb.Auth/UserGrantRole", user("root"))]
    {
        grpc::unary::<_, Nothing>(&channel, call, message, second).await.expect(call);
    }
    grpc::unary::<_, Nothing>(&channel, "/etcdserverpb.Auth/AuthEnable", Nothing {}, second).await.expect("enabled");
    let wants = "it wants a user whose role reads and writes all keys (a client certificate's common name)";
    let refused = Etcd::open(Options::new(lab.endpoints())).await.err().expect("we are nobody").to_string();
    assert!(refused.starts_with("etcd: ") && refused.ends_with(wants), "{refused}");
    let refused = store.commit(Txn::create("/registry/b", "1")).await.expect_err("we are nobody").to_string();
    assert!(refused.starts_with("etcd: ") && refused.ends_with(wants), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_take_turns_at_compaction() {
    let lab = Lab::one("compaction");
    let open = async || {
        let often = Some(Duration::from_millis(50));
        Etcd::open(Options { compact_every: often, ..Options::new(lab.endpoints()) }).await.expect("reachable")
    };
    let (a, b) = (open().await, open().await);
    let (early, written) =
        (Arc::new(Mirror::default()), a.commit(Txn::create("/registry/a", "1")).await.expect("absent"));
    b.subscribe(early.clone()).await.expect("subscribed");
    // Whoever comes later begins where history does; whoever follows misses nothing by it.
    let began = loop {
        let late = Arc::new(Mirror::default());
        lab.store("/registry/").await.subscribe(late.clone()).await.expect("subscribed");
        let state = late.0.lock();
        if state.began > written {
            break state.began;
        }
    };
    let last = b.commit(Txn::update("/registry/a", written, "2")).await.expect("at its revision");
    assert!(last > began);
    let state = early.0.lock();
    assert_eq!((state.items.get("/registry/a").map(|v| &v[..]), state.resets.len()), (Some(&b"2"[..]), 0));
}
