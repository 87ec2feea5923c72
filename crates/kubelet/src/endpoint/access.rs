//! Who may call the node's endpoint: whoever the API server says may, the API server's own client included. So a right
//! that is taken away there is gone here, and no name opens the door by itself.

use super::NodeEndpoint;
use base::{Reason, Result, Status, escape::bearer_token};
use client::kinds;
use http::{Method, Request, header};
use net::Peer;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use value::{Value, value};

/// An answer counts that long. Upstream's kubelet keeps them for minutes.
const FRESH: Duration = Duration::from_secs(10);
/// That many are kept.
const BOUND: usize = 1000;

/// Answers to access reviews by what was asked.
#[derive(Default)]
pub(super) struct Rights(Mutex<HashMap<String, (Instant, bool)>>);

impl Rights {
    fn get(&self, asked: &str) -> Option<bool> {
        let known = self.0.lock();
        known.get(asked).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, allowed)| *allowed)
    }
    fn set(&self, asked: String, allowed: bool) {
        let mut known = self.0.lock();
        if known.len() >= BOUND {
            known.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if known.len() >= BOUND {
            known.clear();
        }
        known.insert(asked, (Instant::now(), allowed));
    }
}

/// Lets a request through, or says why not.
pub(super) async fn check<B>(endpoint: &NodeEndpoint, peer: &Peer, request: &Request<B>) -> Result<()> {
    let user = match &peer.identity {
        Some(identity) if !identity.client_auth => return Err(Status::unauthorized()),
        Some(identity) => {
            let mut groups = identity.organizations.clone();
            groups.push("system:authenticated".into());
            value!({"user": identity.common_name, "groups": groups})
        }
        None => token_user(endpoint, request).await?,
    };
    let subresource = subresource(request.uri().path());
    let verb = verb(request.method());
    if allowed(endpoint, &user, verb, subresource).await? {
        return Ok(());
    }
    let text =
        format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource={subresource})", user.str_at(&["user"]));
    Err(Status::new(Reason::Forbidden, text))
}

async fn allowed(endpoint: &NodeEndpoint, user: &Value, verb: &str, subresource: &str) -> Result<bool> {
    let mut review = value!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}});
    review.set(&["spec"], user.clone());
    review.set(
        &["spec", "resourceAttributes"],
        value!({"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": endpoint.node.name}),
    );
    let asked = review.to_string();
    if let Some(known) = endpoint.rights.get(&asked) {
        return Ok(known);
    }
    let answer = endpoint.node.client.api(&kinds::SUBJECT_ACCESS_REVIEWS).create(&review).await;
    let answer = answer.map_err(|e| Status::internal(format!("authorization: {e}")))?.value();
    let allowed = answer.at(&["status", "allowed"]).as_bool() == Some(true);
    endpoint.rights.set(asked, allowed);
    Ok(allowed)
}

async fn token_user<B>(endpoint: &NodeEndpoint, request: &Request<B>) -> Result<Value> {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|h| h.to_str().ok());
    let token = header.and_then(bearer_token).ok_or_else(Status::unauthorized)?;
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

    #[test]
    fn answers_are_kept_for_a_while_and_not_without_end() {
        let rights = Rights::default();
        rights.set("a".into(), true);
        rights.set("b".into(), false);
        assert_eq!((rights.get("a"), rights.get("b"), rights.get("c")), (Some(true), Some(false), None));
        if let (Some(long_ago), Some(entry)) = (Instant::now().checked_sub(FRESH), rights.0.lock().get_mut("a")) {
            entry.0 = long_ago;
        }
        assert_eq!(rights.get("a"), None);
        for i in 0..3 * BOUND {
            rights.set(i.to_string(), true);
        }
        assert!(rights.0.lock().len() <= BOUND);
    }
}
