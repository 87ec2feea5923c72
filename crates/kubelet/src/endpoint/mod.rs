//! The node's HTTPS endpoint: logs, exec, attach, port-forward, and what there is to know about its pods.
//!
//! Paths and parameters are upstream's kubelet's. The API server calls as `kube-apiserver-kubelet-client`, having checked
//! its own caller; it as anybody else is authenticated by certificate or token and needs the right to the node's
//! subresource, which the API server is asked for (SubjectAccessReview).

mod access;
mod command;
mod forward;
mod log;
mod multiplex;
mod observe;
mod resource_metrics;
mod spdy;
mod streams;

use crate::{config::Endpoint, convert::POD_UID, node::Node};
use base::{Result, Status, escape::decode};
use bytes::Bytes;
use control::Cache;
use cri::{PodSandboxFilter, PodSandboxState};
use http::{Request, Response, header};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use net::{Body, Handler, Peer};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use value::{Object, ObjectKey};

/// Answers requests to the node.
#[derive(Clone)]
pub(crate) struct NodeEndpoint {
    pub(crate) node: Arc<Node>,
    pub(crate) pods: Cache,
    /// Who may do what, as the API server said just now.
    rights: Arc<access::Rights>,
}

/// Serves until `stop` turns true.
pub(crate) async fn serve(endpoint: Endpoint, node: Arc<Node>, pods: Cache, stop: watch::Receiver<bool>) {
    let roots = net::tls::roots(&endpoint.client_ca);
    let tls = roots.and_then(|roots| net::tls::server(endpoint.certificate.clone(), roots));
    let listener = endpoint
        .listener
        .try_clone()
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .and_then(tokio::net::TcpListener::from_std);
    match (tls, listener) {
        (Ok(tls), Ok(listener)) => {
            net::serve(
                listener,
                tls,
                NodeEndpoint { node, pods, rights: Arc::default() },
                stop,
                Duration::from_secs(1),
            )
            .await;
        }
        (Err(error), _) => tracing::error!(%error, "the node's endpoint cannot be served"),
        (_, Err(error)) => tracing::error!(%error, "the node's endpoint cannot be served"),
    }
}

impl Handler for NodeEndpoint {
    type Connection = Peer;
    fn connected(&self, peer: Peer) -> Peer {
        peer
    }
    async fn handle(&self, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
        match self.answer(peer, request).await {
            Ok(response) => response,
            Err(status) => refuse(&status),
        }
    }
}

impl NodeEndpoint {
    async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Result<Response<Body>> {
        access::check(self, peer, &request).await?;
        let path = request.uri().path().to_string();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            ["healthz"] => Ok(text("ok")),
            ["pods"] => Ok(observe::pods(self)),
            ["stats", "summary"] => observe::summary(self).await,
            ["metrics", "resource"] => Ok(text(&observe::resource_metrics(self).await)),
            ["metrics"] => Ok(text(&observe::metrics(self))),
            ["containerLogs", namespace, pod, container] => {
                log::serve(self, namespace, pod, container, &query(&request)).await
            }
            ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
                streams::exec(self, namespace, pod, container, request).await
            }
            ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
                streams::attach(self, namespace, pod, container, request).await
            }
            ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
                forward::serve(self, namespace, pod, request).await
            }
            _ => Err(Status::no_such_path()),
        }
    }

    /// A pod of this node, as the API has it.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Result<(Arc<Object>, Pod)> {
        let object = self.pods.get(&ObjectKey::new(namespace, name));
        let object = object.ok_or_else(|| Status::not_found("", "pods", name))?;
        let pod = object.decode().map_err(Status::internal)?;
        Ok((object, pod))
    }

    /// The id of the running container of that name.
    pub(crate) async fn running(&self, uid: &str, name: &str) -> Result<String> {
        let filter = cri::ContainerFilter {
            state: Some(cri::ContainerState::Running),
            label_selector: [(POD_UID.to_string(), uid.to_string())].into(),
            ..cri::ContainerFilter::default()
        };
        let found = self.node.runtime.list_containers(&filter).await.map_err(Status::internal)?;
        let mut found: Vec<_> = found
            .into_iter()
            .filter(|c| c.metadata.name == name && c.state == cri::ContainerState::Running)
            .filter(|c| c.labels.get(POD_UID).is_some_and(|u| u == uid))
            .collect();
        found.sort_by_key(|c| c.metadata.attempt);
        found.pop().map(|c| c.id).ok_or_else(|| Status::internal(format!("container not found (\"{name}\")")))
    }

    /// The pod's sandbox, if it is up.
    pub(crate) async fn sandbox(&self, uid: &str) -> Result<String> {
        let filter = PodSandboxFilter {
            state: Some(PodSandboxState::Ready),
            label_selector: [(POD_UID.to_string(), uid.to_string())].into(),
            ..PodSandboxFilter::default()
        };
        let found = self.node.runtime.list_pod_sandbox(&filter).await.map_err(Status::internal)?;
        let mut up = found
            .into_iter()
            .filter(|s| s.state == PodSandboxState::Ready && s.labels.get(POD_UID).is_some_and(|u| u == uid));
        up.next().map(|s| s.id).ok_or_else(|| Status::internal("the pod has no running sandbox"))
    }
}

/// Parameters in order.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v.as_str())
    }
    pub(crate) fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect()
    }
    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some("1" | "true" | "True" | "TRUE" | "t"))
    }
}

pub(crate) fn query<B>(request: &Request<B>) -> Query {
    let text = request.uri().query().unwrap_or_default();
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key, true).into_owned(), decode(value, true).into_owned())
    });
    Query(pairs.collect())
}

fn refuse(status: &Status) -> Response<Body> {
    let mut response = json(Bytes::from(status.to_json().to_string()));
    *response.status_mut() =
        http::StatusCode::from_u16(status.code()).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

pub(crate) fn json(bytes: Bytes) -> Response<Body> {
    with_type("application/json", Body::from(bytes))
}

fn text(text: &str) -> Response<Body> {
    with_type("text/plain", Body::from(text.to_string()))
}

pub(crate) fn with_type(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let request =
            Request::get("/exec/a/b/c?command=sh&command=-c&command=echo%20%26+x&tty=1&input=").body(()).unwrap();
        let query = query(&request);
        assert_eq!(query.all("command"), ["sh", "-c", "echo & x"]);
        assert!(query.flag("tty") && !query.flag("input") && query.get("none").is_none());
    }
}
