//! One identity at one cluster: raw requests, and kube-rs beside them.

use crate::{PATIENCE, Watch};
use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

/// Calls as one user. Clones share connections.
#[derive(Clone)]
pub struct Caller {
    kube: kube::Client,
    /// Sent with every raw request.
    headers: Vec<(String, String)>,
}

/// What came back, whatever it was.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The body as JSON; panics where it is something else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{} {e}: {}", self.code, self.text()))
    }
    /// The body, where the code is this one.
    #[track_caller]
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text());
        self.json()
    }
    /// `message` of a Status with this code and reason.
    #[track_caller]
    pub fn refused(&self, code: u16, reason: &str) -> String {
        let status = self.expect(code);
        assert_eq!((&status["kind"], &status["status"]), (&"Status".into(), &"Failure".into()), "{status}");
        assert_eq!(
            (status["reason"].as_str().unwrap_or_default(), &status["code"]),
            (reason, &code.into()),
            "{status}"
        );
        status["message"].as_str().unwrap_or_default().into()
    }
    /// The texts of the `Warning` headers.
    pub fn warnings(&self) -> Vec<String> {
        let texts = self.headers.get_all(header::WARNING).iter().filter_map(|v| v.to_str().ok());
        let inner = |text: &str| text.strip_prefix("299 - \"")?.strip_suffix('"').map(|t| t.replace("\\\"", "\""));
        texts.filter_map(inner).collect()
    }
    pub fn content_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
}

impl Caller {
    pub(crate) fn new(kube: kube::Client) -> Self {
        Caller { kube, headers: Vec::new() }
    }
    /// The same user's kube-rs client.
    pub fn kube(&self) -> kube::Client {
        self.kube.clone()
    }
    /// The same with one more header on each raw request.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut caller = self.clone();
        caller.headers.push((name.into(), value.into()));
        caller
    }

    /// One request as it stands; panics where there is no answer.
    pub async fn send(&self, method: &str, path: &str, content_type: &str, body: impl Into<Bytes>) -> Answer {
        let what = format!("{method} {path}");
        let answer = self.try_send(method, path, content_type, body);
        answer.await.unwrap_or_else(|why| panic!("{what}: {why}"))
    }
    /// One request as it stands; why there is no answer otherwise.
    async fn try_send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let response = self.open(method, path, content_type, body.into());
        let response =
            tokio::time::timeout(PATIENCE, response).await.map_err(|_| "no answer in time".to_string())??;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.map_err(|_| "no end in time".to_string())?;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        Ok(Answer { code: parts.status.as_u16(), headers: parts.headers, body })
    }
    pub(crate) async fn open(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<http::Response<Body>, String> {
        let mut request = Request::builder().method(method).uri(path);
        if !content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body)).map_err(|e| e.to_string())?;
        self.kube.send(request).await.map_err(|e| e.to_string())
    }

    /// The content type of a stream, and what `parse` makes of its first bytes, once they are enough.
    pub async fn first_frame<T>(&self, path: &str, parse: impl Fn(&[u8]) -> Option<T>) -> (String, T) {
        let reading = async {
            let response = self.open("GET", path, "", Bytes::new()).await.unwrap_or_else(|e| panic!("{path}: {e}"));
            let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
            let content_type = content_type.to_string();
            let (mut body, mut bytes) = (response.into_body(), Vec::new());
            loop {
                if let Some(parsed) = parse(&bytes) {
                    return (content_type, parsed);
                }
                let frame = body.frame().await.and_then(Result::ok).and_then(|frame| frame.into_data().ok());
                let frame = frame.unwrap_or_else(|| panic!("{path}: ended at {}", String::from_utf8_lossy(&bytes)));
                bytes.extend_from_slice(&frame);
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{path}: no frame in time"))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", Bytes::new()).await
    }
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", body.to_string()).await
    }
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, "application/json", body.to_string()).await
    }
    /// `kind` is `json`, `merge`, `strategic-merge` or `apply`.
    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let suffix = if kind == "apply" { "yaml" } else { "json" };
        let kind = if kind == "json" { "json-patch".to_string() } else { format!("{kind}-patch") };
        self.send("PATCH", path, &format!("application/{kind}+{suffix}"), body.to_string()).await
    }
    /// With DeleteOptions, or without a body where they are null.
    pub async fn delete(&self, path: &str, options: &Value) -> Answer {
        if options.is_null() {
            return self.send("DELETE", path, "", Bytes::new()).await;
        }
        self.send("DELETE", path, "application/json", options.to_string()).await
    }

    /// Creates an object that must be accepted, and answers with it.
    pub async fn create(&self, collection: &str, object: &Value) -> Value {
        let answer = self.post(collection, object).await;
        assert_eq!(answer.code, 201, "POST {collection}: {}", answer.text());
        answer.json()
    }
    /// A watch of a path, whose query is part of it.
    pub async fn watch(&self, path: &str) -> Watch {
        Watch::open(self, path).await
    }
    /// Waits until a list of a selection holds that many objects, and answers with them.
    pub async fn count(&self, collection: &str, selector: &str, want: usize) -> Vec<Value> {
        let query = "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        let mut watch = self.watch(&format!("{collection}?watch=1&labelSelector={selector}&{query}")).await;
        let mut seen = std::collections::BTreeMap::new();
        let mut known = false;
        loop {
            if known && seen.len() == want {
                return seen.into_values().collect();
            }
            let (kind, object) = watch.next().await;
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_string();
            match kind.as_str() {
                "BOOKMARK" => known = true,
                "DELETED" => drop(seen.remove(&name)),
                _ => drop(seen.insert(name, object)),
            }
        }
    }
    /// Waits until a condition holds for the object of that name (`None`: there is none), and answers with that state.
    pub async fn until(&self, collection: &str, name: &str, holds: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
        let query = "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        let mut watch = self.watch(&format!("{collection}?watch=1&fieldSelector=metadata.name%3D{name}&{query}")).await;
        let mut state: Option<Value> = None;
        let mut known = false;
        loop {
            if known && holds(state.as_ref()) {
                return state;
            }
            let Some((kind, object)) = watch.next_within(PATIENCE).await else {
                panic!("{collection}/{name} never came to be as expected; it is {state:?}");
            };
            match kind.as_str() {
                "BOOKMARK" => known = true,
                "DELETED" => state = None,
                "ERROR" => panic!("{collection}/{name}: {object}"),
                _ => state = Some(object),
            }
        }
    }
    /// The names in a collection.
    pub async fn names(&self, collection: &str) -> Vec<String> {
        let list = self.get(collection).await.expect(200);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(String::from)).collect()
    }
}
