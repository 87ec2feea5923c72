//! `kill -9` under load, again and again, on one directory.
//!
//! The test starts itself as a second process that opens the store, follows it and lets 64 writers at it. The child says
//! on its standard output what it was told: every event its sink saw, every commit that was acknowledged. The parent
//! kills it at a random moment, opens the directory (or lets the next child do so) and holds the store to all that was
//! ever said. Rounds: `FERRY_SOAK_ROUNDS`, 10 by default.

mod common;

use common::{Dir, small};
use std::{
    collections::{BTreeMap, HashMap},
    env,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use store::{Bytes, Change, CommitError, Item, Revision, Sink, Store, Txn, Write, contract::Recorder};
use store_disk::{Disk, Options};

const CHILD: &str = "FERRY_CRASH_CHILD";
const WRITERS: u64 = 64;
const KEYS: u64 = 40;

/// Small, so that segments end, history is forgotten and the log is folded many times in a child's short life.
fn options() -> Options {
    Options { retention: Duration::from_millis(150), fold_bytes: 512 << 10, ..small(256 << 10) }
}

fn random() -> u64 {
    u64::from_le_bytes(base::ids::random())
}

fn sum(value: Option<&[u8]>) -> String {
    value.map_or("-".into(), |value| format!("{:08x}", crc32fast::hash(value)))
}

/// Prints what it sees, one line each; a line in the pipe outlives the process.
struct Printer;

fn say(lines: String) {
    let mut out = std::io::stdout().lock();
    // One write for whole lines: a kill leaves whole writes, or, for long ones, a last line without its end.
    let written = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    assert!(written.is_ok(), "the parent reads");
}

impl Sink for Printer {
    fn base(&self, revision: Revision, items: &mut dyn Iterator<Item = Item>) {
        let mut lines = format!("\nbase {revision}\n");
        for (key, at, value) in items {
            lines += &format!("item {at} {key} {}\n", sum(Some(&value)));
        }
        say(lines);
    }
    fn changes(&self, batch: &[Change]) {
        let line = |c: &Change| {
            let previous = c.previous.unwrap_or_default();
            format!("event {} {} {} {previous}\n", c.revision, c.key, sum(c.value.as_deref()))
        };
        say(batch.iter().map(line).collect());
    }
}

/// One writer: creates, updates, deletes and moves its keys, knowing what it was told.
async fn write_for_ever(store: Arc<dyn Store>, writer: u64) {
    loop {
        let key: Arc<str> = format!("/{}/{writer}/{}", random() % 3, random() % KEYS).into();
        let current = store.get(&key).await.expect("readable").map(|(revision, _)| revision);
        let value: Bytes = vec![random() as u8; (random() % 1500) as usize].into();
        let txn = match (current, random() % 4) {
            (None, _) => Txn::create(key.clone(), value.clone()),
            (Some(at), 0) => Txn::delete(key.clone(), at),
            (Some(at), 1) => {
                // Two keys at one revision.
                let mut txn = Txn::update(key.clone(), at, value.clone());
                txn.writes.push(Write::put(format!("{key}/copy"), value.clone()));
                txn
            }
            (Some(at), _) => Txn::update(key.clone(), at, value.clone()),
        };
        let written: Vec<_> = txn.writes.iter().map(|w| (w.key.clone(), sum(w.value.as_deref()))).collect();
        match store.commit(txn).await {
            Ok(revision) => say(written.iter().map(|(key, sum)| format!("ack {revision} {key} {sum}\n")).collect()),
            Err(CommitError::Conflict { .. }) => {}
            Err(e) => panic!("{e}"),
        }
    }
}

/// Not a test of its own: the second process.
#[test]
fn child() {
    let Ok(dir) = env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let disk = Disk::open(Path::new(&dir), options()).unwrap_or_else(|e| panic!("{e}"));
        let store = disk.keyspace("main");
        store.subscribe(Arc::new(Printer)).await.expect("subscribed");
        say("ready\n".into());
        let writers: Vec<_> = (0..WRITERS).map(|w| tokio::spawn(write_for_ever(store.clone(), w))).collect();
        for writer in writers {
            writer.await.expect("a writer goes on until it is killed");
        }
    });
}

/// What was ever said, over all rounds.
#[derive(Default)]
struct Said {
    /// By revision: key, checksum and what it replaced, in order.
    events: BTreeMap<u64, Vec<(String, String, u64)>>,
    acks: usize,
}

/// One subscription's lines.
#[derive(Default)]
struct Following {
    last: u64,
    state: HashMap<String, (u64, String)>,
    open: Vec<(String, String, u64)>,
}

impl Said {
    /// Takes over one child's lines.
    fn hear(&mut self, lines: &[String]) {
        let mut following = Following::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["base", revision] => following.last = revision.parse().expect("a revision"),
                ["item", at, key, sum] => {
                    following.state.insert(key.into(), (at.parse().expect("a revision"), sum.into()));
                }
                ["event", revision, key, sum, previous] => {
                    let revision: u64 = revision.parse().expect("a revision");
                    let previous: u64 = previous.parse().expect("a revision");
                    self.event(&mut following, revision, key, sum, previous);
                }
                ["ack", revision, key, sum] => {
                    self.acks += 1;
                    let revision = revision.parse().expect("a revision");
                    let known = self.known(&following, revision);
                    assert!(
                        known.is_some_and(|event| event.iter().any(|(k, s, _)| k == key && s == sum)),
                        "{line}: acknowledged before the sink saw it"
                    );
                }
                // The test runner's own words.
                _ => {}
            }
        }
        self.close(&mut following);
    }

    fn known<'a>(&'a self, following: &'a Following, revision: u64) -> Option<&'a Vec<(String, String, u64)>> {
        if revision == following.last { Some(&following.open) } else { self.events.get(&revision) }
    }

    fn event(&mut self, following: &mut Following, revision: u64, key: &str, sum: &str, previous: u64) {
        if revision != following.last || following.open.is_empty() {
            assert_eq!(revision, following.last + 1, "{key}: an event was lost, repeated or out of order");
            self.close(following);
            following.last = revision;
        }
        let before = match sum {
            "-" => following.state.remove(key),
            sum => following.state.insert(key.into(), (revision, sum.into())),
        };
        assert_eq!(previous, before.map_or(0, |(at, _)| at), "what {key} replaced at {revision}");
        following.open.push((key.into(), sum.into(), previous));
    }

    /// A revision is complete: it must be what was said of it before.
    fn close(&mut self, following: &mut Following) {
        let open = std::mem::take(&mut following.open);
        if open.is_empty() {
            return;
        }
        let said = self.events.entry(following.last).or_insert_with(|| open.clone());
        assert_eq!(*said, open, "revision {} was something else before the crash", following.last);
    }

    /// All that was said leads to this state.
    fn state(&self) -> BTreeMap<String, (u64, String)> {
        let mut state = BTreeMap::new();
        for (revision, event) in &self.events {
            for (key, sum, _) in event {
                match sum.as_str() {
                    "-" => state.remove(key),
                    sum => state.insert(key.clone(), (*revision, sum.to_string())),
                };
            }
        }
        state
    }
}

/// Runs a child for `life` after it is ready, kills it, and returns its whole lines.
fn run_child(dir: &Path, life: Duration) -> Vec<String> {
    let mut child = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second process");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let (ready, is_ready) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut lines = Vec::new();
        let mut line = String::new();
        while out.read_line(&mut line).expect("readable") > 0 {
            // The last line may have lost its end.
            let Some(whole) = line.strip_suffix('\n') else { break };
            if whole == "ready" {
                let _ = ready.send(());
            }
            lines.push(whole.to_string());
            line.clear();
        }
        lines
    });
    is_ready.recv_timeout(Duration::from_secs(60)).expect("the store opens after a kill");
    thread::sleep(life);
    child.kill().expect("it runs until it is killed");
    child.wait().expect("reaped");
    reader.join().expect("no panic")
}

#[tokio::test]
async fn a_kill_loses_no_acknowledged_write_and_no_event() {
    if env::var(CHILD).is_ok() {
        return;
    }
    let rounds: u32 = env::var("FERRY_SOAK_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let dir = Dir::new("crash");
    let mut said = Said::default();
    for round in 0..rounds {
        let lines = run_child(&dir, Duration::from_micros(random() % 300_000));
        said.hear(&lines);
        // Every revision that a child's sink saw must be there, in state and as far as history reaches.
        let disk = Disk::open(&dir, options()).unwrap_or_else(|e| panic!("round {round}: {e}"));
        let store = disk.keyspace("main");
        let sink = Recorder::new();
        store.subscribe(sink.clone()).await.expect("subscribed");
        let last_said = said.events.last_key_value().map_or(0, |(revision, _)| *revision);
        assert!(sink.last().0 >= last_said, "round {round}: {last_said} was seen, {} is left", sink.last());
        // What is durable beyond that was never said; from now on it is.
        let mut more: Vec<String> = vec![format!("base {}", sink.base_revision().0)];
        more.extend(sink.base_items().iter().map(|(key, at, v)| format!("item {at} {key} {}", sum(Some(v)))));
        more.extend(sink.changes().iter().map(|c| {
            let previous = c.previous.unwrap_or_default();
            format!("event {} {} {} {previous}", c.revision, c.key, sum(c.value.as_deref()))
        }));
        said.hear(&more);
        let complete = said.events.keys().zip(1..).all(|(have, want)| *have == want);
        if complete {
            let now: BTreeMap<_, _> =
                sink.state().into_iter().map(|(key, at, v)| (key.to_string(), (at.0, sum(Some(&v))))).collect();
            assert_eq!(now, said.state(), "round {round}");
        }
        assert!(complete, "round {round}: a revision was forgotten before anybody was told");
    }
    assert!(said.acks > 0, "the writers were killed before they had written anything");
    eprintln!("{rounds} kills, {} acknowledged writes, {} revisions", said.acks, said.events.len());
}
