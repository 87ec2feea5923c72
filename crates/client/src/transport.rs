//! The one seam below every call, and the handle on it.

use crate::{Api, Error, Gvr, Result, remote::Remote};
pub use base::BoxFuture;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::sync::Arc;
use value::Str;

/// Any error that a foreign body or service gives.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer, whole or streamed.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Carries one request to an API server and brings the answer. The request's URI is a path with a query.
pub trait Transport: Send + Sync + 'static {
    /// Errors are [`Error::Transport`]; a refusal by the server is an answer.
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>>>;
    /// The kube-rs client below, where there is one: caches use its watcher.
    fn kube(&self) -> Option<kube::Client> {
        None
    }
}

/// A component's handle on one cluster's API. Clones share the transport.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    agent: Str,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Client {
    /// Over any transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Client { transport, agent: "ferry".into() }
    }
    /// Over HTTPS. [`Remote::rotating`] makes one whose credentials may change.
    pub fn remote(remote: &Remote) -> Result<Self> {
        remote.rotating().map(|(client, _)| client)
    }
    /// The same client under another user agent; the server takes its first word as the field manager.
    pub fn named(&self, agent: impl Into<Str>) -> Self {
        Client { transport: self.transport.clone(), agent: agent.into() }
    }
    /// The calls on one resource.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Api {
        self.api(&Gvr::new(group, version, plural))
    }
    /// The calls on one resource.
    pub fn api(&self, gvr: &Gvr) -> Api {
        Api::new(self.clone(), gvr.clone())
    }
    /// The kube-rs client below, where the transport is one.
    pub fn kube(&self) -> Option<kube::Client> {
        self.transport.kube()
    }
    /// One request as it stands, with the answer's body unread. Refusals come back as answers.
    pub async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Body>> {
        if let Ok(agent) = self.agent.parse() {
            request.headers_mut().entry(http::header::USER_AGENT).or_insert(agent);
        }
        self.transport.call(request).await
    }
    /// One GET of any path (`/readyz`, `/version`); refusals are errors.
    pub async fn get_raw(&self, path: &str) -> Result<Bytes> {
        let request = Request::get(path).body(Bytes::new()).map_err(|e| Error::Config(e.to_string()))?;
        let response = crate::http_api::accepted(self.send(request).await?).await?;
        collect(response.into_body()).await
    }
}

/// The whole body.
pub(crate) async fn collect(body: Body) -> Result<Bytes> {
    Ok(body.collect().await.map_err(|e| Error::Transport(e.to_string()))?.to_bytes())
}
