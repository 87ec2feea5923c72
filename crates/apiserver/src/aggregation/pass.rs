//! A request on its way to another server, and the answer on its way back.

use super::{Remote, available, identity};
use crate::{
    body::RequestBody,
    nodes,
    proxy::{drop_hop_by_hop, forwarded_for, onward, set},
    respond,
    stack::Exchange,
};
use base::Result;
use http::{HeaderName, Request, Response, StatusCode, header};
use net::{Body, dial};

/// Passes a request on under the caller's name.
pub async fn pass(x: &mut Exchange<'_>, remote: &Remote, body: RequestBody) -> Result<Response<Body>> {
    x.known = true;
    // A client may have read the condition before this server's own list of them has followed.
    if !remote.available && !available::told(x.server.engine.view(), remote) {
        return Ok(text(503, "service unavailable"));
    }
    let connector = match x.server.aggregation.connector(&remote.trust) {
        Ok(connector) => connector,
        Err(why) => return Ok(text(500, &why)),
    };
    let upgrades = net::websocket::is_upgrade(&x.parts.headers) && x.upgrade.is_some();
    let mut headers = onward(&x.parts.headers, &x.server.fronts.headers, upgrades);
    headers.remove(header::COOKIE);
    identity(&mut headers, &x.user);
    let address = format!("{}:{}", remote.host(), remote.port);
    set(&mut headers, header::HOST, &address);
    if let Some(from) = forwarded_for(x) {
        set(&mut headers, HeaderName::from_static("x-forwarded-for"), &from);
    }
    let uri = x.parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let body = if upgrades { Body::Empty } else { body.into_stream() };
    let request = Request::builder().method(x.parts.method.clone()).uri(uri).body(body);
    let mut request = request.map_err(base::Status::internal)?;
    *request.headers_mut() = headers;

    let failed = |why: String| match upgrades {
        true => text(503, &format!("error dialing backend: {why}")),
        false => text(503, &format!("error trying to reach service: {why}")),
    };
    let stream = match connector.connect(&remote.host(), remote.port).await {
        Ok(stream) => stream,
        Err(e) => return Ok(failed(e.to_string())),
    };
    let response = match dial::exchange(stream, address, request).await {
        Ok(response) => response,
        Err(e) => return Ok(failed(e.to_string())),
    };
    if upgrades {
        return Ok(nodes::switch(x, response));
    }
    let code = response.status();
    if code.is_redirection() && response.headers().contains_key(header::LOCATION) {
        return Ok(text(502, "the backend attempted to redirect this request, which is not permitted"));
    }
    if code == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(text(502, "the backend switched protocols without being asked"));
    }
    let (mut parts, body) = response.into_parts();
    drop_hop_by_hop(&mut parts.headers);
    if x.parts.method != http::Method::HEAD {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    Ok(Response::from_parts(parts, Body::stream(body)))
}

/// As Go's `http.Error`.
fn text(code: u16, why: &str) -> Response<Body> {
    respond::bytes(code, "text/plain; charset=utf-8", format!("{why}\n"))
}
