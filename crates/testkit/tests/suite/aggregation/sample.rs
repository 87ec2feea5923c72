//! A sample API server, as upstream's: flunders of `wardle.example.com/v1alpha1`, in the server's own memory.
//!
//! It delegates as extension servers do. Users are who the front proxy says they are, and which certificate and headers
//! those are it reads from `kube-system/extension-apiserver-authentication`; what they may do it asks by
//! SubjectAccessReviews. For both it has nothing but the token of its service account.

use crate::{operations, scene::object};
use bytes::Bytes;
use futures::stream;
use http::{Method, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use k8s_openapi::api::{authorization::v1::SubjectAccessReview, core::v1::ConfigMap};
use kube::{Api, Client, api::PostParams};
use net::Body;
use std::{collections::BTreeMap, convert::Infallible};
use testkit::{
    Value,
    extension::{Call, reply},
    json,
};
use tokio::sync::watch;

pub const GROUP: &str = "wardle.example.com";
pub const VERSION: &str = "v1alpha1";
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The server.
pub struct Sample {
    client: Client,
    /// The front proxy's names, and the headers in which it passes users on.
    allowed: Vec<String>,
    usernames: Vec<String>,
    groups: Vec<String>,
    shelf: watch::Sender<Shelf>,
}

/// All flunders, and all that became of them.
#[derive(Default)]
struct Shelf {
    flunders: BTreeMap<(String, String), Value>,
    /// Namespace and frame, each at the version that it made.
    events: Vec<(String, Bytes)>,
}

/// What a request wants of which namespace's flunders.
struct Asked<'a> {
    verb: &'static str,
    namespace: &'a str,
    name: &'a str,
    version: Option<usize>,
}

impl Sample {
    /// With the service account's client; panics where that may not read what it must, or where what is published there
    /// is not this authority.
    pub async fn new(client: Client, authority: &str) -> Self {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
        let published = maps.get("extension-apiserver-authentication").await.expect("it may be read");
        let published = published.data.expect("data");
        assert_eq!(published["requestheader-client-ca-file"].trim(), authority.trim());
        let list = |key: &str| serde_json::from_str(&published[&format!("requestheader-{key}")]).expect("a list");
        let (allowed, usernames, groups) = (list("allowed-names"), list("username-headers"), list("group-headers"));
        Sample { client, allowed, usernames, groups, shelf: watch::channel(Shelf::default()).0 }
    }

    pub async fn answer(&self, call: Call) -> Response<Body> {
        let known = call.client.as_ref().is_some_and(|client| self.allowed.contains(client));
        let first = |headers: &[String]| headers.iter().map(|header| call.header(header)).find(|all| !all.is_empty());
        let (true, Some(user)) = (known, first(&self.usernames)) else {
            return failure(401, "Unauthorized", "not by the front proxy");
        };
        if call.uri.path() == format!("/apis/{GROUP}/{VERSION}") {
            let flunders = json!({"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                "verbs": VERBS});
            let version = format!("{GROUP}/{VERSION}");
            return reply(
                200,
                &json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
                "resources": [flunders]}),
            );
        }
        let Some(asked) = asked(&call) else {
            return failure(404, "NotFound", "the server could not find the requested resource");
        };
        let review = json!({"spec": {"user": user[0], "groups": first(&self.groups), "resourceAttributes": {
            "group": GROUP, "version": VERSION, "resource": "flunders",
            "verb": asked.verb, "namespace": asked.namespace, "name": asked.name}}});
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &object(review)).await.expect("an answer");
        if !review.status.is_some_and(|status| status.allowed) {
            return failure(403, "Forbidden", &format!("{} may not {} flunders", user[0], asked.verb));
        }
        if asked.verb == "watch" {
            return self.follow(&asked);
        }
        let mut response = failure(500, "InternalError", "nothing was done");
        self.shelf.send_modify(|shelf| response = shelf.serve(&asked, call.json()));
        response
    }

    /// All events after a version, and those that come.
    fn follow(&self, asked: &Asked<'_>) -> Response<Body> {
        let (namespace, at) = (asked.namespace.to_string(), asked.version.unwrap_or(0));
        let frames = stream::unfold((self.shelf.subscribe(), at, namespace), |(mut shelf, at, namespace)| async move {
            loop {
                let event = shelf.borrow_and_update().events.get(at).cloned();
                match event {
                    Some((of, frame)) if of == namespace => {
                        return Some((Ok::<_, Infallible>(Frame::data(frame)), (shelf, at + 1, namespace)));
                    }
                    Some(_) => return Some((Ok(Frame::data(Bytes::new())), (shelf, at + 1, namespace))),
                    None => shelf.changed().await.ok()?,
                }
            }
        });
        let response = Response::builder().header("content-type", "application/json");
        response.body(Body::stream(StreamBody::new(frames))).expect("a response")
    }
}

fn asked(call: &Call) -> Option<Asked<'_>> {
    let rest = call.uri.path().strip_prefix(&format!("/apis/{GROUP}/{VERSION}/namespaces/"))?;
    let (namespace, rest) = rest.split_once("/flunders")?;
    let name = rest.trim_start_matches('/');
    let query = call.uri.query().unwrap_or_default();
    let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let verb = match (&call.method, name) {
        (&Method::GET, "") if value("watch").is_some() => "watch",
        (&Method::GET, "") => "list",
        (&Method::GET, _) => "get",
        (&Method::POST, "") => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, "") => "deletecollection",
        (&Method::DELETE, _) => "delete",
        _ => return None,
    };
    Some(Asked { verb, namespace, name, version: value("resourceVersion").and_then(|version| version.parse().ok()) })
}

impl Shelf {
    fn serve(&mut self, asked: &Asked<'_>, body: Value) -> Response<Body> {
        let namespace = asked.namespace.to_string();
        let named = body["metadata"]["name"].as_str().filter(|_| asked.verb == "create");
        let key = (namespace.clone(), named.unwrap_or(asked.name).to_string());
        let found = self.flunders.get(&key).cloned();
        match (asked.verb, found) {
            ("list", _) => {
                let items: Vec<&Value> =
                    self.flunders.iter().filter(|(key, _)| key.0 == namespace).map(|(_, f)| f).collect();
                let metadata = json!({"resourceVersion": self.events.len().to_string()});
                let version = format!("{GROUP}/{VERSION}");
                reply(200, &json!({"kind": "FlunderList", "apiVersion": version, "metadata": metadata, "items": items}))
            }
            ("create", Some(_)) => failure(409, "AlreadyExists", &format!("flunders {:?} already exists", key.1)),
            ("create", None) => {
                let mut flunder = body;
                flunder["metadata"]["namespace"] = namespace.into();
                flunder["metadata"]["uid"] = format!("flunder-{}", self.events.len()).into();
                reply(201, &self.write("ADDED", key, flunder))
            }
            ("deletecollection", _) => {
                let gone: Vec<_> = self.flunders.keys().filter(|key| key.0 == namespace).cloned().collect();
                for key in gone {
                    let flunder = self.flunders[&key].clone();
                    self.write("DELETED", key, flunder);
                }
                reply(200, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
            }
            (_, None) => failure(404, "NotFound", &format!("flunders.{GROUP} {:?} not found", key.1)),
            ("get", Some(flunder)) => reply(200, &flunder),
            ("delete", Some(flunder)) => {
                self.write("DELETED", key, flunder);
                reply(200, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
            }
            ("patch", Some(mut flunder)) => {
                operations::merge(&mut flunder, &body);
                reply(200, &self.write("MODIFIED", key, flunder))
            }
            (_, Some(flunder)) if flunder["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] => {
                failure(409, "Conflict", "the object has been modified")
            }
            (_, Some(_)) => reply(200, &self.write("MODIFIED", key, body)),
        }
    }
    fn write(&mut self, kind: &str, key: (String, String), mut flunder: Value) -> Value {
        flunder["metadata"]["resourceVersion"] = (self.events.len() + 1).to_string().into();
        let event = json!({"type": kind, "object": flunder});
        self.events.push((key.0.clone(), format!("{event}\n").into()));
        match kind {
            "DELETED" => drop(self.flunders.remove(&key)),
            _ => drop(self.flunders.insert(key, flunder.clone())),
        }
        flunder
    }
}

fn failure(code: u16, reason: &str, message: &str) -> Response<Body> {
    reply(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message}),
    )
}
