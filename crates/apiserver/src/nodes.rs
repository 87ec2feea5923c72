//! Streams to containers: logs, exec, attach and port-forward, passed through to the node's HTTPS endpoint as
//! `kube-apiserver-kubelet-client`; and where that endpoint is.
//!
//! An upgraded stream is copied byte by byte in both directions: which subprotocol runs inside (`v5.channel.k8s.io`,
//! `v4.channel.k8s.io`, port-forward frames) is between client and node. The paths and parameters of the endpoint are
//! the kubelet's of upstream, so that either end could be upstream's.

use crate::{
    connect,
    proxy::{
        self, Backend, Speaks,
        locate::{global_unicast, not_allowed},
    },
    query, respond, socket,
    stack::Exchange,
};
use auth::{Attributes, forbidden};
use base::{Reason, Result, Status};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use net::{Body, dial::authority};
use resource::Call;
use std::net::{IpAddr, SocketAddr};
use value::Value;

const KUBELET_PORT: u16 = 10250;
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// `GET .../pods/<name>/log`
pub async fn log(x: &mut Exchange<'_>, call: &Call) -> Result<Response<Body>> {
    if x.info.verb != "get" {
        return Err(Status::method_not_allowed());
    }
    check_log_options(x)?;
    let pod = pod(x, call).await?;
    let container = container(x, &pod)?;
    let node = pod.str_at(&["spec", "nodeName"]);
    if node.is_empty() {
        // Not scheduled yet: there is nothing to read, and nothing wrong.
        let mut nothing = Response::new(Body::Empty);
        if socket::wanted(x) {
            return socket::bytes(x, nothing);
        }
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let keep = ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];
    let query = pick(x, &keep);
    let path = format!("/containerLogs/{}/{}/{container}{query}", call.namespace, call.name);
    let request = request(Method::GET, &path, HeaderMap::new(), Body::Empty)?;
    let response = passed_on(send(x, node, request).await?);
    if socket::wanted(x) { socket::bytes(x, response) } else { Ok(response) }
}

/// `exec`, `attach` and `portforward`
pub async fn stream(x: &mut Exchange<'_>, call: &Call) -> Result<Response<Body>> {
    if !matches!(x.info.verb, "get" | "create") {
        return Err(Status::method_not_allowed());
    }
    may_create(x).await?;
    connect::admit(x, call).await?;
    let pod = pod(x, call).await?;
    let what = x.info.subresource;
    let (namespace, name) = (&call.namespace, &call.name);
    let container = if what == "portforward" { String::new() } else { container(x, &pod)? };
    let node = pod.str_at(&["spec", "nodeName"]);
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let path = if what == "portforward" {
        format!("/portForward/{namespace}/{name}{}", pick(x, &["ports"]))
    } else {
        if x.query.flag("stdin") != Some(true)
            && x.query.flag("stdout") != Some(true)
            && x.query.flag("stderr") != Some(true)
        {
            return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        if what == "exec" && x.query.get("command").is_none() {
            return Err(Status::bad_request("you must specify at least one command for the container"));
        }
        format!("/{what}/{namespace}/{name}/{container}{}", stream_query(x))
    };
    if !net::websocket::is_upgrade(&x.parts.headers) || x.upgrade.is_none() {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let request = request(x.parts.method.clone(), &path, forwarded(x), Body::Empty)?;
    let response = send(x, node, request).await?;
    Ok(switch(x, response))
}

/// A WebSocket begins with GET, and who may read must not run commands: the stream needs `create` as the POST of SPDY
/// does. Source: upstream's AuthorizePodWebsocketUpgradeCreatePermission.
async fn may_create(x: &mut Exchange<'_>) -> Result<()> {
    if x.info.verb == "create" {
        return Ok(());
    }
    let attributes = Attributes { verb: "create", ..x.attributes() };
    let decision = x.server.authorizer.ask(&attributes).await;
    let refused = decision.refusal().map(|why| forbidden(&attributes, why));
    x.decision = Some(decision);
    refused.map_or(Ok(()), Err)
}

async fn pod(x: &Exchange<'_>, call: &Call) -> Result<Value> {
    let whole = Call { subresource: None, ..call.clone() };
    Ok(x.server.engine.get(&whole, None).await?.answer.value())
}

/// The container that the request names, or the only one there is to name.
fn container(x: &Exchange<'_>, pod: &Value) -> Result<String> {
    let names = |list: &str| -> Vec<String> {
        pod.items_at(&["spec", list]).iter().map(|c| c.str_at(&["name"]).to_string()).collect()
    };
    let (main, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let asked = match x.query.get("container") {
        Some(name) if !name.is_empty() => name.to_string(),
        _ => match (main.as_slice(), pod.str_at(&["metadata", "annotations", DEFAULT_CONTAINER])) {
            ([one], _) => one.clone(),
            (_, default) if !default.is_empty() => default.to_string(),
            _ => {
                let init = if init.is_empty() {
                    String::new()
                } else {
                    format!(" or one of the init containers: [{}]", init.join(" "))
                };
                let text = format!(
                    "a container name must be specified for pod {}, choose one of: [{}]{init}",
                    pod.name(),
                    main.join(" ")
                );
                return Err(Status::bad_request(text));
            }
        },
    };
    match main.iter().chain(&init).chain(&ephemeral).any(|name| *name == asked) {
        true => Ok(asked),
        false => Err(Status::bad_request(format!("container {asked} is not valid for pod {}", pod.name()))),
    }
}

fn check_log_options(x: &Exchange<'_>) -> Result<()> {
    let mut errors = base::FieldErrors::default();
    for (key, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let Some(text) = x.query.get(key).filter(|t| !t.is_empty()) else { continue };
        match text.parse::<i64>() {
            Err(_) => return Err(Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
            Ok(n) if n < least => {
                let word = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
                errors.invalid_raw(key, n, word);
            }
            Ok(_) => {}
        }
    }
    if x.query.get("sinceSeconds").is_some() && x.query.get("sinceTime").is_some() {
        errors.forbidden("sinceTime", "at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "PodLogOptions", x.info.name.as_ref(), &errors)) }
}

/// The options that the kubelet takes under the same names.
fn pick(x: &Exchange<'_>, keep: &[&str]) -> String {
    let pairs = x.query.pairs().filter(|(key, value)| keep.contains(key) && !value.is_empty());
    query_string(pairs.map(|(key, value)| (key, value.to_string())))
}

/// The options of exec and attach under the kubelet's names.
fn stream_query(x: &Exchange<'_>) -> String {
    let flags = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];
    let flags =
        flags.into_iter().filter(|(from, _)| x.query.flag(from) == Some(true)).map(|(_, to)| (to, "1".to_string()));
    let commands = x.query.all("command").map(|word| ("command", word.to_string()));
    query_string(flags.chain(commands))
}

fn query_string<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", query::encode(&value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// The client's headers without its credentials.
fn forwarded(x: &Exchange<'_>) -> HeaderMap {
    let mut out = proxy::onward(&x.parts.headers, &x.server.fronts.headers, true);
    out.remove(header::COOKIE);
    out.remove(header::HOST);
    out
}

fn request(method: Method, path: &str, headers: HeaderMap, body: Body) -> Result<Request<Body>> {
    let mut request = Request::builder().method(method).uri(path).body(body).map_err(Status::internal)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Where a node's kubelet is.
pub(crate) fn locate(x: &Exchange<'_>, node: &str) -> Result<Backend> {
    let object =
        x.server.engine.view().get("", "nodes", "", node).ok_or_else(|| Status::not_found("", "nodes", node))?;
    let object = object.value();
    let addresses = object.items_at(&["status", "addresses"]);
    let of = |kind: &str| addresses.iter().find(|a| a.str_at(&["type"]) == kind).map(|a| a.str_at(&["address"]));
    let host = of("InternalIP").or_else(|| of("Hostname")).or_else(|| of("ExternalIP"));
    let host = host.ok_or_else(|| Status::internal(format!("no preferred addresses found for node {node}")))?;
    let port = object.at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]).as_i64();
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0).unwrap_or(KUBELET_PORT);
    let server = &x.server.config;
    check_address(host, port, server.advertise)?;
    // On its own host a node has no certificate for an address that is the API server's.
    let shared = !server.advertise.ip().is_loopback() && host.parse() == Ok(server.advertise.ip());
    let name = if shared { node } else { host };
    Ok(Backend { host: host.into(), port, speaks: Speaks::Kubelet(name.into()) })
}

/// Sends a request to a node's kubelet.
async fn send(x: &Exchange<'_>, node: &str, mut request: Request<Body>) -> Result<Response<hyper::body::Incoming>> {
    let backend = locate(x, node)?;
    let address = authority(&backend.host, backend.port);
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(&address).map_err(Status::internal)?);
    let url = format!("https://{address}{}", request.uri());
    let sent = proxy::send(x, &backend, request).await;
    sent.map_err(|e| Status::new(Reason::InternalError, format!("Get {url:?}: {e}")))
}

/// Refuses what no node is reached by: a node writes its addresses and port itself, and the server goes there with a
/// credential and from a place in the network that the node does not have. Where the server itself is on the loopback,
/// so may nodes be; never on its own port. Names are left to the resolver of the operator.
pub(crate) fn check_address(host: &str, port: u16, own: SocketAddr) -> Result<()> {
    let Ok(address) = host.parse::<IpAddr>().map(|a| a.to_canonical()) else {
        return match host == "localhost" || host.ends_with(".localhost") {
            true => Err(not_allowed()),
            false => Ok(()),
        };
    };
    let near = address.is_loopback() && own.ip().is_loopback();
    match (near || global_unicast(address)) && SocketAddr::new(address, port) != own {
        true => Ok(()),
        false => Err(not_allowed()),
    }
}

/// Passes a body on; what the kubelet refuses becomes a Status.
fn passed_on(response: Response<hyper::body::Incoming>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    Response::from_parts(parts, Body::stream(body))
}

/// Joins the two connections where the kubelet switches protocols; passes anything else on.
pub(crate) fn switch(x: &mut Exchange<'_>, mut response: Response<hyper::body::Incoming>) -> Response<Body> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return passed_on(response);
    }
    let Some(client) = x.upgrade.take() else {
        return respond::status(&Status::bad_request("Upgrade request required"));
    };
    let node = hyper::upgrade::on(&mut response);
    let lasts = x.lasts.get_or_insert_default().clone();
    tokio::spawn(async move {
        let _lasts = lasts;
        match tokio::try_join!(client, node) {
            Ok((client, node)) => {
                if let Err(e) = net::dial::splice(client, node).await {
                    tracing::debug!("stream to a node: {e}");
                }
            }
            Err(e) => tracing::debug!("stream to a node: {e}"),
        }
    });
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_node_is() {
        let (far, near): (SocketAddr, SocketAddr) =
            ("192.0.2.1:6443".parse().unwrap(), "127.0.0.1:6443".parse().unwrap());
        for (host, port, own, want) in [
            ("192.0.2.7", 10250, far, true),
            ("2001:db8::7", 10250, far, true),
            ("node-1", 10250, far, true),
            ("192.0.2.1", 10250, far, true),
            ("192.0.2.1", 6443, far, false),
            ("::ffff:192.0.2.1", 6443, far, false),
            ("127.0.0.1", 2379, far, false),
            ("::1", 10250, far, false),
            ("::ffff:127.0.0.1", 10250, far, false),
            ("localhost", 10250, far, false),
            ("169.254.169.254", 80, far, false),
            ("fe80::1", 10250, far, false),
            ("0.0.0.0", 10250, far, false),
            ("224.0.0.1", 10250, far, false),
            ("127.0.0.1", 10250, near, true),
            ("127.0.0.1", 6443, near, false),
        ] {
            assert_eq!(check_address(host, port, own).is_ok(), want, "{host}:{port} of {own}");
        }
    }
}
