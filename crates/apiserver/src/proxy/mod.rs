//! The `proxy` subresources of pods, services and nodes: any request, passed to what listens there, and its answer.
//!
//! The server behind sees the client's request without its credentials for this server, and with `X-Forwarded-*` that
//! say how it was reached. The client sees the answer with `Location` and the links of HTML leading back here ([`links`]).
//! A request to upgrade becomes two connections joined byte by byte. Pods are called with a connection each, on plain
//! HTTP or with whatever certificate they show, as upstream does: a pod's certificate is nothing that a cluster knows.
//! Source of the behaviour: `k8s.io/apimachinery/pkg/util/proxy`, and `ResourceLocation` of the three kinds.

mod html;
mod links;
pub mod locate;

use crate::{body::RequestBody, fronts, nodes, query, server::Origin, stack::Exchange};
use auth::RequestHeaders;
use base::{Reason, Result, Status};
use html::Rewritten;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use links::Place;
use locate::Named;
use net::{Body, dial::authority};
use resource::Call;

/// Headers of one connection alone. Source: RFC 9110 section 7.6.1, and Go's `httputil.ReverseProxy`.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where a request goes on to.
pub(crate) struct Backend {
    pub host: String,
    pub port: u16,
    pub speaks: Speaks,
}

pub(crate) enum Speaks {
    Http,
    /// With any certificate.
    Https,
    /// As the API server, to a kubelet whose certificate has this name.
    Kubelet(String),
}

/// `/api/v1/namespaces/<namespace>/pods/<id>/proxy/...`
pub async fn pod(x: &mut Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let named = Named::parse(&call.name, "pod")?;
    let object = x.server.engine.view().get("", "pods", &call.namespace, named.name);
    let object = object.ok_or_else(|| Status::not_found("", "pods", named.name))?;
    let place = locate::pod(&object.value(), &named, x.server.config.advertise)?;
    pass(x, any(place, named.https), body).await
}

/// `/api/v1/namespaces/<namespace>/services/<id>/proxy/...`
pub async fn service(x: &mut Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let named = Named::parse(&call.name, "service")?;
    let (view, own) = (x.server.engine.view(), x.server.config.advertise);
    let seed = usize::from(u16::from_ne_bytes(base::ids::random()));
    let place = locate::service(view, &call.namespace, &call.name, &named, own, seed)?;
    pass(x, any(place, named.https), body).await
}

/// `/api/v1/nodes/<id>/proxy/...`: the kubelet, or another port of its host.
pub async fn node(x: &mut Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let named = Named::parse(&call.name, "node")?;
    let kubelet = nodes::locate(x, named.name)?;
    let port = match named.port {
        "" => kubelet.port,
        text => text.parse().ok().filter(|p| *p > 0).ok_or_else(|| {
            Status::new(
                Reason::ServiceUnavailable,
                format!("error trying to reach service: dial tcp: lookup tcp/{text}: unknown port"),
            )
        })?,
    };
    if port == kubelet.port {
        return pass(x, kubelet, body).await;
    }
    nodes::check_address(&kubelet.host, port, x.server.config.advertise)?;
    let speaks = if named.https { Speaks::Https } else { Speaks::Http };
    pass(x, Backend { port, speaks, ..kubelet }, body).await
}

fn any((address, port): (std::net::IpAddr, u16), https: bool) -> Backend {
    Backend { host: address.to_string(), port, speaks: if https { Speaks::Https } else { Speaks::Http } }
}

/// Passes a request on and the answer back.
async fn pass(x: &mut Exchange<'_>, backend: Backend, body: RequestBody) -> Result<Response<Body>> {
    let upgrades = net::websocket::is_upgrade(&x.parts.headers) && x.upgrade.is_some();
    let (raw, rest) = split(x);
    if !upgrades && rest.is_empty() && matches!(x.parts.method, Method::GET | Method::HEAD) {
        return redirect(x);
    }
    let prefix = raw.trim_end_matches('/').to_string();
    let query = x.parts.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let uri = format!("{}{query}", if rest.is_empty() { "/" } else { &rest });
    let body = if upgrades { Body::Empty } else { body.into_stream() };
    let mut request = Request::builder()
        .method(x.parts.method.clone())
        .uri(&uri)
        .body(body)
        .map_err(|e| Status::bad_request(e.to_string()))?;
    let address = authority(&backend.host, backend.port);
    let kubelet = matches!(backend.speaks, Speaks::Kubelet(_));
    let host = if kubelet { address.clone() } else { own_host(x).unwrap_or(&address).to_string() };
    let mut headers = onward(&x.parts.headers, &x.server.fronts.headers, upgrades);
    if kubelet {
        headers.remove(header::COOKIE);
    }
    set(&mut headers, header::HOST, &host);
    set(&mut headers, HeaderName::from_static("x-forwarded-uri"), &format!("{prefix}{rest}"));
    if let Some(from) = forwarded_for(x) {
        set(&mut headers, HeaderName::from_static("x-forwarded-for"), &from);
    }
    *request.headers_mut() = headers;
    let sent = send(x, &backend, request).await;
    if upgrades {
        return joined(x, sent.map_err(|e| Status::internal(format!("error dialing backend: {e}")))?);
    }
    let response =
        sent.map_err(|e| Status::new(Reason::ServiceUnavailable, format!("error trying to reach service: {e}")))?;
    let place = Place { prefix, backend: address, host };
    Ok(back(response, place, x.parts.method == Method::HEAD))
}

pub(crate) async fn send(
    x: &Exchange<'_>,
    backend: &Backend,
    request: Request<Body>,
) -> std::result::Result<Response<Incoming>, net::dial::DialError> {
    let Backend { host, port, speaks } = backend;
    match speaks {
        Speaks::Http => x.server.pods.plain(host, *port, request).await,
        Speaks::Https => x.server.pods.request(host, *port, request).await,
        Speaks::Kubelet(name) => x.server.kubelets.request_to(name, host, *port, request).await,
    }
}

/// The path up to `proxy`, and what follows, both as the client wrote them.
fn split(x: &Exchange<'_>) -> (String, String) {
    let (whole, decoded) = (x.parts.uri.path(), x.info.path);
    let before = &decoded[..decoded.len() - x.info.rest.len()];
    let slashes = before.matches('/').count();
    let end = whole.match_indices('/').nth(slashes).map_or(whole.len(), |(at, _)| at);
    match query::decode(&whole[..end], false) == before {
        true => (whole[..end].into(), whole[end..].into()),
        // A slash stands encoded in front: then the encoding is ours.
        false => (path_encode(before), path_encode(x.info.rest)),
    }
}

fn path_encode(path: &str) -> String {
    path.split('/').map(query::encode).collect::<Vec<_>>().join("/")
}

/// To the same with a slash, because relative links on the page begin there.
fn redirect(x: &Exchange<'_>) -> Result<Response<Body>> {
    let query = x.parts.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    set(response.headers_mut(), header::LOCATION, &format!("{}/{query}", x.parts.uri.path()));
    Ok(response)
}

/// How the client calls this server.
fn own_host<'a>(x: &'a Exchange<'_>) -> Option<&'a str> {
    let header = x.parts.headers.get(header::HOST).and_then(|h| h.to_str().ok());
    header.or_else(|| x.parts.uri.authority().map(|a| a.as_str()))
}

/// The way that the request came: what it says itself, and who brought it here.
pub(crate) fn forwarded_for(x: &Exchange<'_>) -> Option<String> {
    let before: Vec<&str> = x.parts.headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()).collect();
    let own = match &x.origin {
        Origin::Address(address) => Some(address.to_canonical().to_string()),
        Origin::InProcess => None,
    };
    let all: Vec<&str> = before.into_iter().chain(own.as_deref()).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The client's headers without its credentials, without any that a server might take for a proxy's word on who asks
/// and, but for an upgrade, without those of its connection.
pub(crate) fn onward(headers: &HeaderMap, named: &RequestHeaders, upgrades: bool) -> HeaderMap {
    let mut out = headers.clone();
    fronts::strip(named, &mut out);
    if !upgrades {
        drop_hop_by_hop(&mut out);
    }
    let own = |name: &HeaderName| {
        name.as_str().starts_with("impersonate-")
            || [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::CONTENT_LENGTH].contains(name)
    };
    let own: Vec<HeaderName> = out.keys().filter(|name| own(name)).cloned().collect();
    for name in own {
        out.remove(name);
    }
    out
}

pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The answer as the client must see it.
fn back(response: Response<Incoming>, place: Place, head: bool) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let headers = &mut parts.headers;
    drop_hop_by_hop(headers);
    // Who may read the answer in a browser is for this server to say.
    for name in ["credentials", "headers", "methods", "origin"] {
        headers.remove(format!("access-control-allow-{name}"));
    }
    let location = headers.get(header::LOCATION).and_then(|l| l.to_str().ok()).filter(|l| !l.is_empty());
    if let Some(location) = location {
        if let Some(new) = place.rewrite(location) {
            set(headers, header::LOCATION, &new);
        }
    } else if !head && let Some(encoding) = html::readable(headers) {
        headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::stream(Rewritten::new(body, encoding, place)));
    }
    // A body says its own length; the answer to HEAD has none to say it.
    if !head {
        headers.remove(header::CONTENT_LENGTH);
    }
    Response::from_parts(parts, Body::stream(body))
}

/// The answer to an upgrade: two connections become one, or the refusal is passed on.
fn joined(x: &mut Exchange<'_>, response: Response<Incoming>) -> Result<Response<Body>> {
    let code = response.status();
    if code != StatusCode::SWITCHING_PROTOCOLS && code.as_u16() < 400 {
        return Err(Status::internal(format!("invalid upgrade response: status code {}", code.as_u16())));
    }
    Ok(nodes::switch(x, response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "Upgrade, X-Own"),
            ("upgrade", "websocket"),
            ("x-own", "1"),
            ("keep-alive", "5"),
            ("authorization", "Bearer t"),
            ("impersonate-user", "u"),
            ("impersonate-extra-a", "b"),
            ("x-remote-user", "u"),
            ("x-user", "u"),
            ("cookie", "c=d"),
            ("accept", "*/*"),
            ("content-length", "5"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let named = RequestHeaders { usernames: vec!["X-User".into()], ..RequestHeaders::usual(String::new()) };
        let names = |upgrades| {
            let out = onward(&headers, &named, upgrades);
            let mut names: Vec<String> = out.keys().map(|n| n.to_string()).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(false), "accept cookie");
        assert_eq!(names(true), "accept connection cookie keep-alive upgrade x-own");
    }
}
