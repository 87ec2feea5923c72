//! Whether the server behind an APIService answers: the condition `Available`, looked after for as long as there is one.
//!
//! Service and endpoints are looked at first, and then the server is asked for its own discovery document, which is kept:
//! this server's discovery tells of it. Reasons and sentences are upstream's
//! (`kube-aggregator/pkg/controllers/status/remote`).

use super::{Remote, call, identity};
use crate::server::Inner;
use base::{Result, User, time};
use http::{HeaderMap, HeaderValue, Method, header};
use net::outgoing::{self, Target};
use resource::{Body, WriteOptions};
use schema::View;
use std::{sync::Arc, time::Duration};
use value::{Value, value};

/// The most that a discovery document may have, in bytes.
const LIMIT: usize = 4 << 20;

/// What is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub available: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Self {
        Verdict { available: false, reason, message }
    }
    fn passed() -> Self {
        Verdict { available: true, reason: "Passed", message: "all checks passed".into() }
    }
}

/// What Service and endpoints say; `None` where there is nothing against the server.
pub fn reachable(view: &dyn View, remote: &Remote) -> Option<Verdict> {
    let (namespace, name) = (&remote.namespace, &remote.name);
    let Some(service) = view.get("", "services", namespace, name) else {
        return Some(Verdict::no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
    };
    let service = service.value();
    if !matches!(service.str_at(&["spec", "type"]), "" | "ClusterIP") {
        return None;
    }
    let ports = service.items_at(&["spec", "ports"]);
    let Some(port) = ports.iter().find(|p| p.at(&["port"]).as_i64() == Some(remote.port.into())) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {}", remote.port);
        return Some(Verdict::no("ServicePortError", message));
    };
    let port = port.str_at(&["name"]);
    let slices = view.list("discovery.k8s.io", "endpointslices", Some(namespace));
    let mut own = slices.iter().filter(|s| s.meta.label("kubernetes.io/service-name") == Some(name)).peekable();
    if own.peek().is_none() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Some(Verdict::no("EndpointsNotFound", message));
    }
    let serves = |slice: Value| {
        let ready = |e: &Value| e.at(&["conditions", "ready"]).as_bool().unwrap_or(true);
        slice.items_at(&["endpoints"]).iter().any(ready)
            && slice.items_at(&["ports"]).iter().any(|p| p.str_at(&["name"]) == port && !p.at(&["port"]).is_null())
    };
    if !own.any(|slice| serves(slice.value())) {
        let message =
            format!("endpointslices for service/{name} in {namespace:?} have no addresses with port name {port:?}");
        return Some(Verdict::no("MissingEndpoints", message));
    }
    None
}

/// What the object's condition says at present.
pub fn told(view: &dyn View, remote: &Remote) -> bool {
    let object = view.get(super::GROUP, super::PLURAL, "", &remote.object());
    object.and_then(|object| Remote::of(&object.value())).is_some_and(|remote| remote.available)
}

/// Looks, writes what is found, and answers whether the server is there.
pub async fn check(server: &Inner, remote: &Arc<Remote>) -> bool {
    let verdict = match reachable(server.engine.view(), remote) {
        Some(verdict) => verdict,
        None => ask(server, remote).await,
    };
    let available = verdict.available;
    if let Err(e) = record(server, &remote.object(), verdict).await {
        tracing::debug!("APIService {}: {e}", remote.object());
    }
    available
}

/// Asks for the discovery document of the group's version.
async fn ask(server: &Inner, remote: &Arc<Remote>) -> Verdict {
    let target = Target::Service {
        namespace: remote.namespace.clone(),
        name: remote.name.clone(),
        port: remote.port,
        path: format!("/apis/{}/{}", remote.group, remote.version),
    };
    let url = target.url();
    let failed =
        |why: String| Verdict::no("FailedDiscoveryCheck", format!("failing or missing response from {url}: {why}"));
    let mut headers = HeaderMap::new();
    identity(&mut headers, &User::new("system:kube-aggregator", ["system:masters"]));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let asked = outgoing::Call {
        method: Method::GET,
        target,
        query: None,
        headers,
        body: Default::default(),
        trust: remote.trust.clone(),
        identity: Some(server.aggregation.leaf.clone()),
        timeout: Duration::from_secs(5),
        limit: LIMIT,
    };
    match server.aggregation.outgoing.call(asked).await {
        Err(e) => failed(e.to_string()),
        Ok(answer) if !answer.status.is_success() => {
            failed(format!("bad status from {url}: {}", answer.status.as_u16()))
        }
        Ok(answer) => {
            if let Ok(list) = value::parse_lenient(&answer.body) {
                server.aggregation.learned(&remote.object(), list);
            }
            Verdict::passed()
        }
    }
}

/// Writes the condition where it says something new.
async fn record(server: &Inner, name: &str, verdict: Verdict) -> Result<()> {
    let engine = &server.engine;
    let Some(present) = engine.view().get(super::GROUP, super::PLURAL, "", name) else { return Ok(()) };
    let mut object = present.value();
    let Some(condition) = renewed(&object, &verdict, &time::seconds(server.config.clock.now())) else { return Ok(()) };
    let mut conditions: Vec<Value> = object.items_at(&["status", "conditions"]).to_vec();
    // In its place: clients may have added others.
    match conditions.iter_mut().find(|c| c.str_at(&["type"]) == "Available") {
        Some(before) => *before = condition,
        None => conditions.push(condition),
    }
    object.set(&["status", "conditions"], conditions);
    let Some(call) = call(engine, name, Some("status")) else { return Ok(()) };
    engine.update(&call, Body::from(object), &WriteOptions::default()).await.map(drop)
}

/// The new condition; `None` where it is as before. The time is that of the last change of status.
fn renewed(object: &Value, verdict: &Verdict, now: &str) -> Option<Value> {
    let status = if verdict.available { "True" } else { "False" };
    let conditions = object.items_at(&["status", "conditions"]);
    let before = conditions.iter().find(|c| c.str_at(&["type"]) == "Available");
    let since = match before {
        Some(c) if c.str_at(&["status"]) == status => {
            if (c.str_at(&["reason"]), c.str_at(&["message"])) == (verdict.reason, &verdict.message) {
                return None;
            }
            c.str_at(&["lastTransitionTime"])
        }
        _ => now,
    };
    Some(value!({
        "type": "Available", "status": status, "reason": verdict.reason, "message": verdict.message.as_str(),
        "lastTransitionTime": since,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::Object;

    struct Objects(Vec<(&'static str, Arc<Object>)>);
    impl View for Objects {
        fn get(&self, _: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
            let found = self.0.iter().find(|(p, o)| *p == plural && o.namespace() == namespace && o.name() == name);
            found.map(|(_, object)| object.clone())
        }
        fn list(&self, _: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
            let fits = |o: &Object| namespace.is_none_or(|n| o.namespace() == n);
            self.0.iter().filter(|(p, o)| *p == plural && fits(o)).map(|(_, object)| object.clone()).collect()
        }
    }

    #[test]
    fn what_stands_before_a_server() {
        let remote = Remote::of(&value!({"spec": {
            "group": "a.io", "version": "v1", "service": {"namespace": "n", "name": "s", "port": 7443}}}))
        .unwrap();
        let object = |plural, object: Value| (plural, Object::from_json(object.to_json().into()).unwrap());
        let service = |kind: &str, port: i64| {
            let meta = value!({"namespace": "n", "name": "s", "resourceVersion": "1"});
            object(
                "services",
                value!({"metadata": meta, "spec": {"type": kind, "ports": [{"name": "tls", "port": port}]}}),
            )
        };
        let slice = |port: &str, ready: bool| {
            let mut labels = Value::object();
            labels.set(&["kubernetes.io/service-name"], "s");
            let meta = value!({"namespace": "n", "name": "x", "resourceVersion": "1", "labels": labels});
            let endpoints = value!([{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]);
            let slice = value!({"metadata": meta, "endpoints": endpoints, "ports": [{"name": port, "port": 8443}]});
            object("endpointslices", slice)
        };
        for (objects, want) in [
            (vec![], "ServiceNotFound: service/s in \"n\" is not present"),
            (vec![service("ClusterIP", 443)], "ServicePortError: service/s in \"n\" is not listening on port 7443"),
            (vec![service("ClusterIP", 7443)], "EndpointsNotFound: cannot find endpointslices for service/s in \"n\""),
            (
                vec![service("ClusterIP", 7443), slice("tls", false)],
                "MissingEndpoints: endpointslices for service/s in \"n\" have no addresses with port name \"tls\"",
            ),
            (
                vec![service("ClusterIP", 7443), slice("other", true)],
                "MissingEndpoints: endpointslices for service/s in \"n\" have no addresses with port name \"tls\"",
            ),
            (vec![service("ClusterIP", 7443), slice("tls", true)], ""),
            (vec![service("LoadBalancer", 1)], ""),
        ] {
            let found = reachable(&Objects(objects), &remote);
            assert_eq!(found.map(|v| format!("{}: {}", v.reason, v.message)).unwrap_or_default(), want);
        }
    }

    #[test]
    fn a_condition_changes_when_it_says_something_new() {
        let found = |object: &Value, verdict: &Verdict| {
            let condition = renewed(object, verdict, "now")?;
            Some([condition.str_at(&["status"]), condition.str_at(&["lastTransitionTime"])].join(" "))
        };
        let object = value!({"status": {"conditions": [{
            "type": "Available", "status": "False", "reason": "ServiceNotFound", "message": "m", "lastTransitionTime": "then",
        }]}});
        let no = |message: &str| Verdict::no("ServiceNotFound", message.into());
        assert_eq!(found(&object, &no("m")), None);
        assert_eq!(found(&object, &no("other")).as_deref(), Some("False then"));
        assert_eq!(found(&object, &Verdict::passed()).as_deref(), Some("True now"));
        assert_eq!(found(&Value::object(), &no("m")).as_deref(), Some("False now"));
    }
}
