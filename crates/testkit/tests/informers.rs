//! Informers as client-go's reflector makes them: a watch that brings its own list (WatchList) and then follows, resumed where
//! it ended, begun anew where history is gone. Whatever happens to the connection, the cache is the list at its own revision,
//! and the handlers see each change once and in order. Built-in kinds in protobuf, whole and as metadata, and in CBOR.

use futures::future::join_all;
use http::{Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use prost::Message;
use schema::Features;
use std::{collections::BTreeMap, path::PathBuf};
use testkit::{Caller, Cluster, Setup, json};
use value::Value;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const END: &str = "k8s.io/initial-events-end";

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Protobuf,
    /// PartialObjectMetadata in protobuf.
    Metadata,
    Cbor,
}

impl Form {
    fn accept(self, list: bool) -> String {
        let suffix = if list { "List" } else { "" };
        match self {
            Form::Protobuf => "application/vnd.kubernetes.protobuf".into(),
            Form::Metadata => {
                format!("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata{suffix};g=meta.k8s.io;v=v1")
            }
            Form::Cbor => "application/cbor".into(),
        }
    }

    /// Takes the first event off the bytes; `None` where it is not all there yet.
    fn event(self, bytes: &mut Vec<u8>) -> Option<(String, Value)> {
        if self == Form::Cbor {
            let (event, left) = wire::cbor::decode_first(bytes).ok().map(|(event, rest)| (event, rest.len()))?;
            bytes.drain(..bytes.len() - left);
            return Some((event.str_at(&["type"]).to_string(), event.at(&["object"]).clone()));
        }
        let length = u32::from_be_bytes(bytes.get(..4)?.try_into().unwrap()) as usize;
        let event = Event::decode(bytes.get(4..4 + length)?).unwrap();
        bytes.drain(..4 + length);
        Some((event.kind, wire::protobuf::decode(&event.object.unwrap().raw).unwrap()))
    }

    fn object(self, bytes: &[u8]) -> Value {
        match self {
            Form::Cbor => wire::cbor::decode(bytes).unwrap(),
            _ => wire::protobuf::decode(bytes).unwrap(),
        }
    }
}

/// `meta.v1.WatchEvent`
#[derive(Message)]
struct Event {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(message, optional, tag = "2")]
    object: Option<Raw>,
}

#[derive(Message)]
struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    raw: Vec<u8>,
}

/// What a handler is told, or a writer has done: the change and the revision, which a deletion's answer does not name.
type Change = (&'static str, String);

/// By object.
type Changes = BTreeMap<String, Vec<Change>>;

struct Informer {
    caller: Caller,
    form: Form,
    /// With its `&`.
    selector: &'static str,
    /// The connection is cut after so many events.
    cut: usize,
    /// After which the server ends a watch, in seconds.
    timeout: u32,
    stream: Option<(Body, Vec<u8>)>,
    /// The list that is coming, before its end is marked.
    coming: Option<BTreeMap<String, Value>>,
    cache: BTreeMap<String, Value>,
    /// Where to go on; empty where a list is needed.
    version: String,
    told: Changes,
    /// How often it listed, and resumed.
    lists: usize,
    resumed: usize,
    events: usize,
}

impl Informer {
    fn new(caller: Caller, form: Form, selector: &'static str, cut: usize, timeout: u32) -> Self {
        Informer {
            caller,
            form,
            selector,
            cut,
            timeout,
            stream: None,
            coming: None,
            cache: BTreeMap::new(),
            version: String::new(),
            told: Changes::new(),
            lists: 0,
            resumed: 0,
            events: 0,
        }
    }

    /// Follows until an object is there.
    async fn follow(&mut self, until: &str) {
        let following = async {
            while !self.cache.contains_key(until) {
                self.step().await;
            }
        };
        tokio::time::timeout(testkit::PATIENCE, following).await.unwrap_or_else(|_| panic!("{until} did not come"));
    }

    /// One event, or a new connection.
    async fn step(&mut self) {
        let Some((body, bytes)) = &mut self.stream else { return self.connect().await };
        if let Some((kind, object)) = self.form.event(bytes) {
            self.handle(&kind, object);
            self.events += 1;
            // A list is cut once, not for ever.
            if self.events.is_multiple_of(self.cut) && (self.coming.is_none() || self.lists.is_multiple_of(2)) {
                self.stream = None;
            }
            return;
        }
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            // Its time was over, or the server is gone: whoever waits for an event here goes on from the last.
            _ => self.stream = None,
        }
    }

    async fn connect(&mut self) {
        let begin = match self.version.as_str() {
            "" => {
                (self.coming, self.lists) = (Some(BTreeMap::new()), self.lists + 1);
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_string()
            }
            version => {
                self.resumed += 1;
                format!("resourceVersion={version}")
            }
        };
        let path = format!(
            "{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds={}&{begin}{}",
            self.timeout, self.selector
        );
        let request = Request::get(&path).header(header::ACCEPT, self.form.accept(false)).body(Body::empty()).unwrap();
        let response = self.caller.kube().send(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        self.stream = Some((response.into_body(), Vec::new()));
    }

    fn handle(&mut self, kind: &str, object: Value) {
        if kind == "ERROR" {
            assert_eq!(object.at(&["code"]).as_i64(), Some(410), "{object}");
            (self.version, self.stream) = (String::new(), None);
            return;
        }
        let version = object.str_at(&["metadata", "resourceVersion"]).to_string();
        let ends = kind == "BOOKMARK" && object.str_at(&["metadata", "annotations", END]) == "true";
        match &mut self.coming {
            Some(coming) if kind != "BOOKMARK" => {
                assert_eq!(kind, "ADDED");
                coming.insert(name(&object), plain(object));
                // Not the list's revision yet: a connection that is cut here begins anew.
                return;
            }
            Some(_) if ends => self.replace(),
            Some(_) => return,
            None if kind != "BOOKMARK" => {
                let name = name(&object);
                let kind = ["ADDED", "MODIFIED", "DELETED"].into_iter().find(|k| *k == kind).expect("a kind of event");
                let before = match kind {
                    "DELETED" => self.cache.remove(&name),
                    _ => self.cache.insert(name.clone(), plain(object)),
                };
                assert_eq!(before.is_none(), kind == "ADDED", "{kind} {name}");
                self.tell(kind, name, &version);
            }
            None => {}
        }
        let number = |version: &str| version.parse::<u64>().unwrap_or(0);
        assert!(number(&version) >= number(&self.version), "{version} after {}", self.version);
        self.version = version;
    }

    /// The list is whole: handlers are told how it differs from what they know.
    fn replace(&mut self) {
        let new = self.coming.take().unwrap_or_default();
        let old = std::mem::replace(&mut self.cache, new.clone());
        for gone in old.keys().filter(|name| !new.contains_key(*name)) {
            self.tell("DELETED", gone.clone(), "");
        }
        for (name, object) in new {
            let kind = if old.contains_key(&name) { "MODIFIED" } else { "ADDED" };
            if old.get(&name) != Some(&object) {
                self.tell(kind, name, object.str_at(&["metadata", "resourceVersion"]));
            }
        }
    }

    fn tell(&mut self, kind: &'static str, name: String, version: &str) {
        let version = if kind == "DELETED" { "" } else { version };
        self.told.entry(name).or_default().push((kind, version.into()));
    }

    /// The cache is the list of its own revision.
    async fn check(&self) {
        let path = format!("{MAPS}?resourceVersion={}&resourceVersionMatch=Exact{}", self.version, self.selector);
        let answer = self.caller.with("accept", &self.form.accept(true)).get(&path).await;
        assert_eq!(answer.code, 200, "{path}: {}", answer.text());
        let list = self.form.object(&answer.body);
        let items = list.items_at(&["items"]).iter().map(|item| (name(item), plain(item.clone())));
        assert_eq!(items.collect::<BTreeMap<_, _>>(), self.cache, "{path}");
    }
}

fn name(object: &Value) -> String {
    object.str_at(&["metadata", "name"]).into()
}

/// Items of a list in protobuf have no types of their own.
fn plain(mut object: Value) -> Value {
    object.remove(&["apiVersion"]);
    object.remove(&["kind"]);
    object
}

/// Creates, changes and deletes its own seven objects.
async fn write(caller: Caller, writer: usize, turns: std::ops::Range<usize>, done: &mut Changes) {
    for n in turns {
        let name = format!("w{writer}-{}", n % 7);
        let path = format!("{MAPS}/{name}");
        let labels = json!({"kept": if n % 3 == 0 { "no" } else { "yes" }});
        let changes = done.entry(name.clone()).or_default();
        let there = changes.last().is_some_and(|(kind, _)| *kind != "DELETED");
        let body = json!({"metadata": {"name": name, "labels": labels}, "data": {"n": n.to_string()}});
        let (kind, answer) = match there {
            false => ("ADDED", caller.post(MAPS, &body).await),
            true if n % 4 == 3 => ("DELETED", caller.delete(&path, &json!({})).await),
            true => ("MODIFIED", caller.patch(&path, "merge", &body).await),
        };
        assert!(answer.code < 300, "{}", answer.text());
        let version = answer.json()["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_string();
        changes.push((kind, if kind == "DELETED" { String::new() } else { version }));
    }
}

/// Writers and informers at once, until all informers have seen the last object.
async fn play(admin: &Caller, informers: &mut [Informer], done: &mut [Changes], turns: std::ops::Range<usize>) {
    let last = format!("end-{}", turns.end);
    let writing = async {
        join_all(done.iter_mut().enumerate().map(|(i, done)| write(admin.clone(), i, turns.clone(), done))).await;
        admin.create(MAPS, &json!({"metadata": {"name": last, "labels": {"kept": "yes"}}})).await;
    };
    let following = join_all(informers.iter_mut().map(|informer| informer.follow(&last)));
    tokio::join!(writing, following);
    for informer in informers {
        informer.check().await;
    }
}

/// The handlers of informers without a selector were told what the writers did.
fn compare(informers: &[Informer], done: &[Changes]) {
    for informer in informers.iter().filter(|informer| !informer.selector.contains("label")) {
        for (name, changes) in done.iter().flatten() {
            assert_eq!(informer.told.get(name), Some(changes), "{name}");
        }
    }
}

#[tokio::test]
async fn caches_are_lists_and_handlers_see_each_change_once() {
    let dir = Directory(std::env::temp_dir().join(format!("ferry-informers-{}", std::process::id())));
    let setup = Setup { dir: Some(dir.0.clone()), features: Features { cbor: true }, ..Setup::default() };
    let mut cluster = Cluster::open(setup).await;
    let mut admin = cluster.admin();
    let mut done = [const { Changes::new() }; 3];
    let selected = "&labelSelector=kept%3Dyes";
    let named = "&fieldSelector=metadata.namespace%3Ddefault";
    let mut informers = [
        Informer::new(admin.clone(), Form::Protobuf, "", usize::MAX, 300),
        Informer::new(admin.clone(), Form::Protobuf, "", 17, 300),
        Informer::new(admin.clone(), Form::Protobuf, selected, 13, 1),
        Informer::new(admin.clone(), Form::Metadata, "", 11, 1),
        Informer::new(admin.clone(), Form::Cbor, named, 19, 300),
    ];
    // From nothing, with connections cut and watches that end.
    play(&admin, &mut informers, &mut done, 0..40).await;
    // With a server that went and came back.
    cluster = cluster.restart().await;
    admin = cluster.admin();
    informers.iter_mut().for_each(|informer| informer.caller = admin.clone());
    play(&admin, &mut informers, &mut done, 40..80).await;
    compare(&informers, &done);
    assert!(informers.iter().all(|informer| informer.resumed > 0));

    // What they have not seen is history no more: more than is kept of one kind was written, and they list again.
    let lists: Vec<usize> = informers.iter().map(|informer| informer.lists).collect();
    informers.iter_mut().for_each(|informer| informer.stream = None);
    let filler = "x".repeat(1_000_000);
    for n in 0..55 {
        let data = json!({"data": {"filler": filler, "n": n.to_string()}});
        assert_eq!(admin.patch(&format!("{MAPS}/end-40"), "merge", &data).await.code, 200);
    }
    admin.patch(&format!("{MAPS}/end-40"), "merge", &json!({"data": null})).await.expect(200);
    play(&admin, &mut informers, &mut done, 80..120).await;
    for (informer, before) in informers.iter().zip(lists) {
        assert!(informer.lists > before, "it listed again");
        let one = &informer.told["end-40"];
        assert_eq!((one.len(), one[0].0, one[1].0), (2, "ADDED", "MODIFIED"), "told once of what changed meanwhile");
    }
    cluster.stop().await;
}

/// A directory of one test.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
