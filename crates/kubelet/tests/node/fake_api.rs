//! An API server of a few lines: objects by path, watches, merge patches. Enough for a kubelet, no more.

use base::{Revision, User};
use bytes::Bytes;
use client::Client;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tokio::sync::mpsc;
use value::{
    Meta, Object, ObjectKey, Value,
    shared::{BoxFuture, EventSource, SharedEvent, SharedEventKind, SharedList, SharedWatch},
    value,
};

/// Plural, namespace, name.
type Key = (String, String, String);

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Value>,
    watchers: Vec<Watcher>,
    /// Every status that was ever stored for a pod, in order.
    statuses: Vec<(String, Value)>,
    /// The API server's client lost its rights.
    closed: bool,
    /// Tokens made so far.
    tokens: u32,
}

struct Watcher {
    plural: String,
    namespace: String,
    selector: String,
    sender: mpsc::UnboundedSender<SharedEvent>,
}

#[derive(Clone, Default)]
pub struct FakeApi(Arc<Mutex<State>>);

struct Source(mpsc::UnboundedReceiver<SharedEvent>);

impl EventSource for Source {
    fn next<'a>(&'a mut self, out: &'a mut Vec<SharedEvent>) -> BoxFuture<'a, Result<bool, base::Status>> {
        Box::pin(async move { Ok(self.0.recv_many(out, 64).await > 0) })
    }
}

impl FakeApi {
    pub fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::in_process(service, User::master("test"))
    }
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(&(plural.into(), namespace.into(), name.into())).cloned()
    }
    pub fn put(&self, plural: &str, object: Value) {
        let key = (plural.to_string(), object.namespace().to_string(), object.name().to_string());
        self.0.lock().unwrap().set(key, Some(object));
    }
    /// All of a kind.
    pub fn all(&self, plural: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        state.objects.iter().filter(|((p, ..), _)| p == plural).map(|(_, object)| object.clone()).collect()
    }
    /// Changes an object as it is now.
    pub fn edit(&self, plural: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let key = (plural.to_string(), namespace.to_string(), name.to_string());
        let mut state = self.0.lock().unwrap();
        let mut object = state.objects.get(&key).cloned().unwrap();
        edit(&mut object);
        state.set(key, Some(object));
    }
    /// Takes the rights of the API server's client.
    pub fn close(&self) {
        self.0.lock().unwrap().closed = true;
    }
    /// Deletes as a client would: a pod gets its grace period.
    pub fn delete_pod(&self, namespace: &str, name: &str, grace: i64) {
        let mut pod = self.get("pods", namespace, name).unwrap();
        pod.set(&["metadata", "deletionTimestamp"], base::time::seconds(base::time::Timestamp::now()));
        pod.set(&["metadata", "deletionGracePeriodSeconds"], grace);
        self.put("pods", pod);
    }
    pub fn statuses(&self, name: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        state.statuses.iter().filter(|(n, _)| n == name).map(|(_, s)| s.clone()).collect()
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = value::parse_lenient(&body).unwrap_or_default();
        let path: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
        let path = if path[0] == "api" { &path[2..] } else { &path[3..] };
        let (namespace, path) = match path {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            _ => ("", path),
        };
        let query = parts.uri.query().unwrap_or_default();
        let selector = query.split('&').find_map(|q| q.strip_prefix("fieldSelector=")).unwrap_or_default();
        let selector = selector.replace("%3D", "=");
        let mut state = self.0.lock().unwrap();
        match (parts.method, path) {
            (Method::GET, [plural]) if query.contains("watch=true") => state.watch(plural, namespace, selector),
            (Method::GET, [plural]) => state.list(plural, namespace, &selector),
            (Method::GET, [plural, name]) => state.get(plural, namespace, name),
            // The API server's own client may; of others nothing is said.
            (Method::POST, ["subjectaccessreviews"]) => {
                let mut review = body;
                if review.str_at(&["spec", "user"]) == "kube-apiserver-kubelet-client" {
                    review.set(&["status", "allowed"], !state.closed);
                }
                json(201, &review)
            }
            (Method::POST, [plural]) => {
                let mut object = body;
                if !namespace.is_empty() {
                    object.set(&["metadata", "namespace"], namespace);
                }
                state.set((plural.to_string(), namespace.into(), object.name().into()), Some(object.clone()));
                json(201, &object)
            }
            (Method::POST, ["serviceaccounts", _, "token"]) => {
                // The first lives for two seconds, as long as it asks for: those of pods that are to see another one.
                state.tokens += 1;
                let short = state.tokens == 1 && body.at(&["spec", "expirationSeconds"]).as_i64() == Some(600);
                let life = base::time::SignedDuration::from_secs(if short { 2 } else { 3600 });
                let later = base::time::seconds(base::time::Timestamp::now() + life);
                let token = format!("token-{}", state.tokens);
                json(201, &value!({"status": {"token": token, "expirationTimestamp": later}}))
            }
            (Method::PATCH, [plural, name, rest @ ..]) => {
                let key = (plural.to_string(), namespace.to_string(), name.to_string());
                let Some(mut object) = state.objects.get(&key).cloned() else { return missing(plural, name) };
                merge(&mut object, &body);
                if rest == ["status"] && *plural == "pods" {
                    state.statuses.push((name.to_string(), object.at(&["status"]).clone()));
                }
                state.set(key, Some(object.clone()));
                json(200, &object)
            }
            (Method::DELETE, [plural, name]) => {
                let key = (plural.to_string(), namespace.to_string(), name.to_string());
                match state.set(key, None) {
                    Some(_) => json(200, &value!({"kind": "Status", "status": "Success"})),
                    None => missing(plural, name),
                }
            }
            (method, path) => panic!("{method} {path:?}"),
        }
    }
}

impl State {
    fn set(&mut self, key: Key, object: Option<Value>) -> Option<Value> {
        self.revision += 1;
        let old = match object {
            Some(mut object) => {
                object.set(&["metadata", "resourceVersion"], self.revision.to_string());
                object.set_default(&["metadata", "uid"], format!("uid-{}", key.2));
                let old = self.objects.insert(key.clone(), object.clone());
                let kind = if old.is_some() { SharedEventKind::Modified } else { SharedEventKind::Added };
                self.tell(&key, kind, &object);
                return old;
            }
            None => self.objects.remove(&key),
        };
        if let Some(old) = &old {
            let mut gone = old.clone();
            gone.set(&["metadata", "resourceVersion"], self.revision.to_string());
            self.tell(&key, SharedEventKind::Deleted, &gone);
        }
        old
    }
    fn tell(&mut self, key: &Key, kind: SharedEventKind, object: &Value) {
        let event = SharedEvent { kind, object: shared(object) };
        self.watchers.retain(|w| {
            let sees =
                w.plural == key.0 && (w.namespace.is_empty() || w.namespace == key.1) && selects(&w.selector, object);
            !sees || w.sender.send(event.clone()).is_ok()
        });
    }
    fn list(&self, plural: &str, namespace: &str, selector: &str) -> Response<Full<Bytes>> {
        let items = self.objects.iter().filter(|((p, ns, _), object)| {
            p == plural && (namespace.is_empty() || ns == namespace) && selects(selector, object)
        });
        let list = SharedList {
            items: items.map(|(_, object)| shared(object)).collect(),
            revision: Revision(self.revision),
            continue_token: None,
        };
        let mut response = Response::new(Full::default());
        response.extensions_mut().insert(list);
        response
    }
    fn watch(&mut self, plural: &str, namespace: &str, selector: String) -> Response<Full<Bytes>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        // What changed between list and watch is told again; a cache takes that.
        for ((p, ns, _), object) in &self.objects {
            if p == plural && (namespace.is_empty() || ns == namespace) && selects(&selector, object) {
                let _ = sender.send(SharedEvent { kind: SharedEventKind::Modified, object: shared(object) });
            }
        }
        self.watchers.push(Watcher { plural: plural.into(), namespace: namespace.into(), selector, sender });
        let mut response = Response::new(Full::default());
        response.extensions_mut().insert(SharedWatch::new(Box::new(Source(receiver))));
        response
    }
    fn get(&self, plural: &str, namespace: &str, name: &str) -> Response<Full<Bytes>> {
        match self.objects.get(&(plural.into(), namespace.into(), name.into())) {
            Some(object) => json(200, object),
            None => missing(plural, name),
        }
    }
}

fn selects(selector: &str, object: &Value) -> bool {
    selector.is_empty()
        || selector.split_once('=').is_some_and(|(field, want)| {
            let path: Vec<&str> = field.split('.').collect();
            object.str_at(&path) == want
        })
}

fn shared(object: &Value) -> Arc<Object> {
    let revision = object.str_at(&["metadata", "resourceVersion"]).parse().unwrap();
    let key = ObjectKey::new(object.namespace(), object.name());
    Object::new(key, revision, Meta::of(object, Box::default()), Bytes::from(object.to_json()))
}

fn json(code: u16, object: &Value) -> Response<Full<Bytes>> {
    Response::builder().status(code).body(Full::new(Bytes::from(object.to_json()))).unwrap()
}

fn missing(plural: &str, name: &str) -> Response<Full<Bytes>> {
    let status = base::Status::not_found("", plural, name);
    json(404, &Value::from(status.to_json()))
}

/// Merge patch, and lists of conditions by type.
fn merge(target: &mut Value, patch: &Value) {
    for (key, change) in patch.members_at(&[]) {
        match change {
            Value::Null => drop(target.remove(&[key])),
            Value::Object(_) => {
                if !matches!(target.at(&[key]), Value::Object(_)) {
                    target.set(&[key], Value::object());
                }
                merge(target.at_mut(&[key]), change);
            }
            Value::Array(items) if key == "conditions" => {
                let mut list = target.items_at(&[key]).to_vec();
                for item in items {
                    if item.str_at(&["$patch"]) == "delete" {
                        list.retain(|c| c.str_at(&["type"]) != item.str_at(&["type"]));
                        continue;
                    }
                    match list.iter_mut().find(|c| c.str_at(&["type"]) == item.str_at(&["type"])) {
                        Some(old) => merge(old, item),
                        None => list.push(item.clone()),
                    }
                }
                target.set(&[key], list);
            }
            Value::Array(items) => {
                let items: Vec<Value> = items.iter().filter(|i| i.get("$patch").is_none()).cloned().collect();
                target.set(&[key], items);
            }
            other => target.set(&[key], other.clone()),
        }
    }
}
