//! The kill tests, short by default; `cargo xtask soak` runs the long form (`FERRY_SOAK_ROUNDS`, 200 there).
//!
//! 1. `kill -9` of the server under 64 writers, again and again: no acknowledged write lost; watchers that resume after
//!    each restart hear every event once and in order.
//! 2. Pods created and deleted in random order while the agent is killed at random: every exit known and counted once,
//!    nothing left behind.

use crate::common::{parts::Parts, server::Server};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Rounds of kills: `FERRY_SOAK_ROUNDS`, 5 by default.
fn rounds() -> u64 {
    std::env::var("FERRY_SOAK_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(5)
}

pub fn random(below: u64) -> u64 {
    u64::from_le_bytes(base::ids::random()) % below
}

const WRITERS: u64 = 64;
/// Objects of each writer.
const KEYS: u64 = 4;
const WATCHERS: usize = 4;

/// What an object is: who it is, what it says, and since which revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub uid: String,
    pub content: String,
    pub revision: u64,
}

pub fn state(map: &ConfigMap) -> State {
    State {
        uid: map.metadata.uid.clone().expect("a uid"),
        content: map.data.as_ref().and_then(|d| d.get("n")).cloned().expect("content"),
        revision: revision(map.metadata.resource_version.as_deref()),
    }
}

pub fn revision(text: Option<&str>) -> u64 {
    text.and_then(|t| t.parse().ok()).expect("a revision")
}

/// What a writer knows of one of its objects.
#[derive(Default)]
pub struct Known {
    /// As last acknowledged; `None`: deleted, or never made.
    pub acknowledged: Option<State>,
    /// What was asked for without an answer: the content, or `None` for a deletion.
    pub asked: Option<Option<String>>,
}

impl Known {
    /// Holds what the server has against what was acknowledged and asked for.
    pub fn settle(&mut self, key: &str, found: Option<State>) {
        let asked = self.asked.take();
        let as_acknowledged = found == self.acknowledged;
        let as_asked = match (&asked, &found) {
            (Some(Some(content)), Some(found)) => {
                *content == found.content && self.acknowledged.as_ref().is_none_or(|a| a.revision < found.revision)
            }
            (Some(None), None) => true,
            _ => false,
        };
        assert!(
            as_acknowledged || as_asked,
            "{key}: acknowledged {:?}, asked for {asked:?}, but the server has {found:?}",
            self.acknowledged
        );
        self.acknowledged = found;
    }
}

/// What writers were told.
#[derive(Default)]
pub struct Told {
    /// Writes by revision: key and state.
    pub writes: BTreeMap<u64, (String, State)>,
    /// Deleted objects by uid.
    pub deletions: HashSet<String>,
}

pub struct Writer {
    pub number: u64,
    pub known: HashMap<String, Known>,
    pub counter: u64,
}

impl Writer {
    /// Writes until the server is gone, after looking at what it kept.
    pub async fn run(mut self, client: Client, told: Arc<Mutex<Told>>) -> Self {
        let api: Api<ConfigMap> = Api::namespaced(client, "default");
        for (key, known) in &mut self.known {
            match api.get_opt(key).await {
                Ok(found) => known.settle(key, found.as_ref().map(state)),
                // Killed before it could answer: the next round asks again.
                Err(e) => {
                    assert!(!matches!(e, kube::Error::Api(_)), "{key}: {e}");
                    return self;
                }
            }
        }
        loop {
            let key = format!("w{}-{}", self.number, random(KEYS));
            let known = self.known.entry(key.clone()).or_default();
            self.counter += 1;
            let content = format!("{}-{}", self.number, self.counter);
            let map = object(&key, &content, known.acknowledged.as_ref());
            let answer = match &known.acknowledged {
                Some(now) if random(6) == 0 => {
                    known.asked = Some(None);
                    let uid = now.uid.clone();
                    api.delete(&key, &DeleteParams::default()).await.map(|_| {
                        told.lock().expect("told").deletions.insert(uid);
                        None
                    })
                }
                Some(_) => {
                    known.asked = Some(Some(content));
                    api.replace(&key, &PostParams::default(), &map).await.map(Some)
                }
                None => {
                    known.asked = Some(Some(content));
                    api.create(&PostParams::default(), &map).await.map(Some)
                }
            };
            match answer {
                Ok(stored) => {
                    known.asked = None;
                    known.acknowledged = stored.as_ref().map(state);
                    if let Some(state) = known.acknowledged.clone() {
                        let other = told.lock().expect("told").writes.insert(state.revision, (key.clone(), state));
                        assert!(other.is_none(), "{key}: a revision was given twice");
                    }
                }
                Err(kube::Error::Api(status)) => panic!("{key}: refused: {status}"),
                Err(_) => return self,
            }
        }
    }
}

pub fn object(name: &str, content: &str, now: Option<&State>) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.into());
    map.metadata.labels = Some([("soak".to_string(), "yes".to_string())].into());
    map.metadata.resource_version = now.map(|s| s.revision.to_string());
    map.data = Some([("n".to_string(), content.to_string())].into());
    map
}

/// One watcher's view, over all restarts.
#[derive(Default)]
pub struct Watcher {
    /// Where it goes on; `None`: it has to list.
    pub at: Option<u64>,
    pub state: BTreeMap<String, State>,
    /// Writes and deletions it heard of, by revision: key, and what it became.
    pub heard: BTreeMap<u64, (String, Option<State>)>,
    pub deleted: HashSet<String>,
    /// Ranges of revisions that it skipped by listing again.
    pub gaps: Vec<(u64, u64)>,
    pub resumed: u64,
    pub expired: u64,
}

impl Watcher {
    /// Watches until the server is gone, or the watcher has reached `until`.
    pub async fn run(mut self, client: Client, until: Option<u64>) -> Self {
        let api: Api<ConfigMap> = Api::namespaced(client, "default");
        loop {
            if until.is_some_and(|until| self.at.is_some_and(|at| at >= until)) {
                return self;
            }
            if self.at.is_none() {
                match api.list(&ListParams::default().labels("soak=yes")).await {
                    Ok(list) => self.relist(revision(list.metadata.resource_version.as_deref()), &list.items),
                    Err(kube::Error::Api(status)) => panic!("list: {status}"),
                    Err(_) => return self,
                }
            }
            let from = self.at.expect("listed").to_string();
            let stream = match api.watch(&WatchParams::default().labels("soak=yes"), &from).await {
                Ok(stream) => stream,
                Err(kube::Error::Api(status)) if status.code == 410 => {
                    self.expire();
                    continue;
                }
                Err(kube::Error::Api(status)) => panic!("watch: {status}"),
                Err(_) => return self,
            };
            self.resumed += 1;
            let mut stream = std::pin::pin!(stream);
            loop {
                use futures::StreamExt;
                if until.is_some_and(|until| self.at.is_some_and(|at| at >= until)) {
                    return self;
                }
                match stream.next().await {
                    Some(Ok(WatchEvent::Error(status))) if status.code == 410 => {
                        self.expire();
                        break;
                    }
                    Some(Ok(WatchEvent::Error(status))) => panic!("watch: {status}"),
                    Some(Ok(event)) => self.hear(event),
                    Some(Err(_)) | None if until.is_none() => return self,
                    Some(Err(e)) => panic!("watch: {e}"),
                    None => break,
                }
            }
        }
    }
    fn expire(&mut self) {
        self.expired += 1;
        self.at = None;
    }
    fn relist(&mut self, at: u64, items: &[ConfigMap]) {
        let last = self.heard.keys().next_back().copied().unwrap_or(0);
        self.gaps.push((last, at));
        self.state = items.iter().map(|m| (m.metadata.name.clone().expect("a name"), state(m))).collect();
        assert!(self.state.values().all(|s| s.revision <= at), "a list holds what is newer than itself");
        self.at = Some(at);
    }
    fn hear(&mut self, event: WatchEvent<ConfigMap>) {
        let last = self.at.expect("watching");
        let (word, map) = match event {
            WatchEvent::Added(map) => ("ADDED", map),
            WatchEvent::Modified(map) => ("MODIFIED", map),
            WatchEvent::Deleted(map) => ("DELETED", map),
            WatchEvent::Bookmark(mark) => {
                let at = revision(Some(&mark.metadata.resource_version));
                assert!(at >= last, "a bookmark at {at} after {last}");
                self.at = Some(at);
                return;
            }
            WatchEvent::Error(_) => unreachable!("handled before"),
        };
        let (key, now) = (map.metadata.name.clone().expect("a name"), state(&map));
        let at = now.revision;
        assert!(at > last, "{word} {key} at {at} after {last}: repeated or out of order");
        self.at = Some(at);
        let before = match word {
            "DELETED" => {
                self.deleted.insert(now.uid.clone());
                self.heard.insert(at, (key.clone(), None));
                self.state.remove(&key)
            }
            _ => {
                self.heard.insert(at, (key.clone(), Some(now.clone())));
                self.state.insert(key.clone(), now.clone())
            }
        };
        match (word, &before) {
            ("ADDED", None) => {}
            ("MODIFIED" | "DELETED", Some(before)) => assert_eq!(before.uid, now.uid, "{word} {key}: another object"),
            _ => panic!("{word} {key} at {at}, but before it was {before:?}: an event was lost"),
        }
    }
    pub fn skipped(&self, at: u64) -> bool {
        self.gaps.iter().any(|(from, to)| at > *from && at <= *to)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_and_watchers_outlive_a_server_that_is_killed() {
    let (rounds, began) = (rounds(), Instant::now());
    let mut server = Server::new();
    let told = Arc::new(Mutex::new(Told::default()));
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|number| Writer { number, known: HashMap::new(), counter: 0 }).collect();
    let mut watchers: Vec<Watcher> = (0..WATCHERS).map(|_| Watcher::default()).collect();
    // One sleeps from the first kill to the end: its place may be forgotten by then, and a list must bridge the gap.
    let mut sleeper = None;
    for round in 0..rounds {
        if round == 1 {
            sleeper = watchers.pop();
        }
        server.start();
        let (mut writing, mut watching) = (Vec::new(), Vec::new());
        for watcher in watchers.drain(..) {
            watching.push(tokio::spawn(watcher.run(server.client().await, None)));
        }
        for writer in writers.drain(..) {
            writing.push(tokio::spawn(writer.run(server.client().await, told.clone())));
        }
        // A random moment; nothing is expected to have happened by then.
        tokio::time::sleep(Duration::from_millis(200 + random(900))).await;
        server.kill();
        for task in writing {
            writers.push(task.await.expect("a writer"));
        }
        for task in watching {
            watchers.push(task.await.expect("a watcher"));
        }
    }
    server.start();
    let api: Api<ConfigMap> = Api::namespaced(server.client().await, "default");
    let list = api.list(&ListParams::default().labels("soak=yes")).await.expect("a list");
    // One more write, so that there is an event to wait for.
    let last = api.create(&PostParams::default(), &object("last", "last", None)).await.expect("created");
    let end = revision(last.metadata.resource_version.as_deref());
    let have: BTreeMap<String, State> =
        list.items.iter().map(|m| (m.metadata.name.clone().expect("a name"), state(m))).collect();
    for (key, known) in writers.iter_mut().flat_map(|w| &mut w.known) {
        known.settle(key, have.get(key).cloned());
    }
    let told = std::mem::take(&mut *told.lock().expect("told"));
    let (mut events, mut resumed, mut expired) = (0, 0, 0);
    for watcher in watchers.into_iter().chain(sleeper) {
        let mut watcher = watcher.run(server.client().await, Some(end)).await;
        watcher.state.remove("last");
        assert_eq!(watcher.state, have, "what a watcher heard leads to what the server has");
        for (at, (key, state)) in &told.writes {
            if !watcher.skipped(*at) {
                assert_eq!(watcher.heard.get(at), Some(&(key.clone(), Some(state.clone()))), "an acknowledged write");
            }
        }
        if watcher.expired == 0 {
            let unheard: Vec<&String> = told.deletions.difference(&watcher.deleted).collect();
            assert!(unheard.is_empty(), "deletions that nobody heard of: {unheard:?}");
        }
        events += watcher.heard.len();
        resumed += watcher.resumed;
        expired += watcher.expired;
    }
    assert!(told.writes.len() as u64 > rounds * 10, "{} writes", told.writes.len());
    println!(
        "{rounds} kills in {:.0?}: {} writes and {} deletions acknowledged, {events} events to {WATCHERS} watchers, \
         {resumed} watches begun, {expired} expired",
        began.elapsed(),
        told.writes.len(),
        told.deletions.len(),
    );
}

/// What a pod is made to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Runs until it is deleted.
    Long,
    /// Ends once with this code.
    Never(i32),
    /// Fails once, and then succeeds.
    OnFailure,
}

fn pod(name: &str, life: Life, starts: &Path) -> Pod {
    // Every start is written down outside of the pod: that is what statuses are held against.
    let note = format!("echo start >> /starts/{name};");
    let (policy, script) = match life {
        Life::Long => ("Always", format!("{note} exec sleep 1000000")),
        Life::Never(code) => ("Never", format!("{note} exit {code}")),
        Life::OnFailure => (
            "OnFailure",
            format!("{note} if [ -e /starts/{name}.again ]; then exit 0; fi; echo > /starts/{name}.again; exit 7"),
        ),
    };
    let pod = serde_json::json!({
        "metadata": {"name": name, "labels": {"soak": "yes"}},
        "spec": {
            "restartPolicy": policy, "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "c", "image": images::toolbox::TOOLBOX, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script], "volumeMounts": [{"name": "starts", "mountPath": "/starts"}],
            }],
            "volumes": [{"name": "starts", "hostPath": {"path": starts}}],
        },
    });
    serde_json::from_value(pod).expect("a pod")
}

/// Exit code, restarts, and whether it runs; `None` while it is neither running nor over.
fn seen(pod: &Pod) -> Option<(Option<i32>, i32)> {
    let status = pod.status.as_ref()?;
    let container = status.container_statuses.as_ref()?.first()?;
    let now = container.state.as_ref()?;
    match status.phase.as_deref()? {
        "Running" if now.running.is_some() => Some((None, container.restart_count)),
        "Succeeded" | "Failed" => Some((Some(now.terminated.as_ref()?.exit_code), container.restart_count)),
        _ => None,
    }
}

fn wanted(life: Life) -> (Option<i32>, i32) {
    match life {
        Life::Long => (None, 0),
        Life::Never(code) => (Some(code), 0),
        Life::OnFailure => (Some(0), 1),
    }
}

/// Most pods at a time; a node takes 110.
const ALIVE: usize = 40;

#[test]
fn pods_come_and_go_while_the_agent_is_killed() {
    let began = Instant::now();
    let total = if rounds() > 5 { rounds() * 5 / 2 } else { 60 };
    let mut parts = Parts::up();
    let starts = parts.host.path("starts");
    std::fs::create_dir(&starts).expect("a directory");
    let (finished, checked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let kubeconfig = parts.host.path("kubeconfig");
    let driver = {
        let (finished, checked, starts) = (finished.clone(), checked.clone(), starts.clone());
        let network = parts.host.network();
        std::thread::spawn(move || {
            let work = async { drive(crate::common::client(&kubeconfig).await, total, &starts, &checked).await };
            let done = network.run(|| crate::common::host::runtime(network.clone()).block_on(work));
            finished.store(true, Relaxed);
            done.expect("entered");
        })
    };
    let mut kills = 0;
    while !finished.load(Relaxed) && !driver.is_finished() {
        // Random moments; nothing is expected to have happened by then.
        std::thread::sleep(Duration::from_millis(300 + random(2500)));
        parts.kill_agent();
        kills += 1;
        std::thread::sleep(Duration::from_millis(random(500)));
        parts.start_agent_again();
    }
    driver.join().expect("every pod was as it should be");
    parts.wait_ready();
    parts.nothing_left();
    println!(
        "{total} pods in {:.0?}, {kills} kills of the agent: {} ends and restarts checked, nothing left",
        began.elapsed(),
        checked.load(Relaxed)
    );
}

/// Creates pods, holds each against what it was made to do once it is there, and deletes them in any order.
async fn drive(client: Client, total: u64, starts: &Path, checked: &AtomicU64) {
    let api: Api<Pod> = Api::namespaced(client, "default");
    let mut alive: BTreeMap<String, (Life, bool)> = BTreeMap::new();
    let (mut made, mut quiet) = (0, Instant::now());
    while made < total || !alive.is_empty() {
        while made < total && alive.len() < ALIVE {
            let life = match random(5) {
                0 => Life::Long,
                1 => Life::OnFailure,
                _ => Life::Never(random(200) as i32),
            };
            let name = format!("p{made:04}");
            api.create(&PostParams::default(), &pod(&name, life, starts)).await.expect("created");
            alive.insert(name, (life, false));
            made += 1;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let list = api.list(&ListParams::default().labels("soak=yes")).await.expect("a list");
        let there: HashMap<String, Pod> =
            list.items.into_iter().map(|p| (p.metadata.name.clone().expect("a name"), p)).collect();
        let gone: Vec<String> = alive
            .iter()
            .filter(|(n, (_, deleted))| *deleted && !there.contains_key(*n))
            .map(|(n, _)| n.clone())
            .collect();
        for name in &gone {
            alive.remove(name);
        }
        let mut changed = !gone.is_empty();
        for (name, (life, deleted)) in alive.iter_mut().filter(|(_, (_, deleted))| !*deleted) {
            let Some(pod) = there.get(name) else { panic!("{name} is gone, though nobody deleted it") };
            // Some go at any time, whatever they are at.
            let early = random(200) == 0;
            let settled = seen(pod).filter(|(code, _)| *life == Life::Long || code.is_some());
            if let Some(found) = settled {
                let lines = std::fs::read_to_string(starts.join(name)).unwrap_or_default().lines().count();
                assert_eq!(found, wanted(*life), "{name}, {life:?}, started {lines} times: {:#?}", pod.status);
                // A long one may be seen running before its first line is written.
                assert!(
                    lines as i32 == found.1 + 1 || *life == Life::Long && lines == 0,
                    "{name}, {life:?}: started {lines} times"
                );
                checked.fetch_add(1, Relaxed);
            }
            if early || settled.is_some() && random(3) == 0 {
                api.delete(name, &DeleteParams::default()).await.expect("deleted");
                *deleted = true;
                changed = true;
            }
        }
        if changed {
            quiet = Instant::now();
        }
        let stuck = || alive.keys().map(|n| format!("{n}: {:?}", there.get(n).map(|p| &p.status))).collect::<Vec<_>>();
        assert!(quiet.elapsed() < crate::common::PATIENCE, "nothing moves any more:\n{}", stuck().join("\n"));
    }
}
