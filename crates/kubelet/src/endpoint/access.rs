//! Who may call the node's endpoint.

use super::NodeEndpoint;
use base::{Reason, Result, Status};
use client::kinds;
use http::{Method, Request, header};
use net::Peer;
use value::{Value, value};

/// The API server, which has authorized its own caller.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// Lets a request through, or says why not.
pub(super) async fn check<B>(endpoint: &NodeEndpoint, peer: &Peer, request: &Request<B>) -> Result<()> {
    let user = match &peer.identity {
        Some(identity) if !identity.client_auth => return Err(Status::unauthorized()),
        Some(identity) if identity.common_name == API_SERVER => return Ok(()),
        Some(identity) => {
            let mut groups = identity.organizations.clone();
            groups.push("system:authenticated".into());
            value!({"user": identity.common_name, "groups": groups})
        }
        None => token_user(endpoint, request).await?,
    };
    let subresource = subresource(request.uri().path());
    let verb = verb(request.method());
    let mut review = value!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}});
    review.set(&["spec"], user.clone());
    review.set(
        &["spec", "resourceAttributes"],
        value!({"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": endpoint.node.name}),
    );
    let answer = endpoint.node.client.api(&kinds::SUBJECT_ACCESS_REVIEWS).create(&review).await;
    let answer = answer.map_err(|e| Status::internal(format!("authorization: {e}")))?.value();
    if answer.at(&["status", "allowed"]).as_bool() == Some(true) {
        return Ok(());
    }
    let text =
        format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource={subresource})", user.str_at(&["user"]));
    Err(Status::new(Reason::Forbidden, text))
}

async fn token_user<B>(endpoint: &NodeEndpoint, request: &Request<B>) -> Result<Value> {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|h| h.to_str().ok());
    let token = header.and_then(|h| h.strip_prefix("Bearer ")).ok_or_else(Status::unauthorized)?;
    let review = value!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {"token": token},
    });
    let answer = endpoint.node.client.api(&kinds::TOKEN_REVIEWS).create(&review).await;
    let answer = answer.map_err(|e| Status::internal(format!("authentication: {e}")))?.value();
    if answer.at(&["status", "authenticated"]).as_bool() != Some(true) {
        return Err(Status::unauthorized());
    }
    let user = answer.at(&["status", "user"]);
    let mut out = value!({"user": user.str_at(&["username"])});
    out.set(&["groups"], user.at(&["groups"]));
    Ok(out)
}

/// `pkg/kubelet/server/auth.go`
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// The subresource of `nodes` that stands for a path.
fn subresource(path: &str) -> &'static str {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "healthz" => "healthz",
        "pods" => "pods",
        _ => "proxy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_for_subresources() {
        for (path, want) in [
            ("/stats/summary", "stats"),
            ("/metrics", "metrics"),
            ("/containerLogs/a/b/c", "proxy"),
            ("/exec/a/b/c", "proxy"),
            ("/", "proxy"),
        ] {
            assert_eq!(subresource(path), want);
        }
        assert_eq!((verb(&Method::GET), verb(&Method::POST)), ("get", "create"));
    }
}
