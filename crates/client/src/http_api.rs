//! From calls to requests and from answers to objects.

use crate::{
    Error, Result,
    transport::{Body, collect},
};
use base::Status;
use bytes::Bytes;
use http::{Method, Request, Response, header};

/// Builds a request; empty query values are left out.
pub(crate) fn request(
    method: Method,
    path: &str,
    query: &[(&'static str, String)],
    body: Bytes,
    content_type: &'static str,
) -> Result<Request<Bytes>> {
    let mut uri = path.to_string();
    let mut separator = '?';
    for (key, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        uri.push(separator);
        uri.push_str(key);
        uri.push('=');
        escape(value, &mut uri);
        separator = '&';
    }
    let mut request = Request::builder().method(method).uri(uri).header(header::ACCEPT, "application/json");
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request.body(body).map_err(|e| Error::Config(format!("{path}: {e}")))
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn escape(text: &str, out: &mut String) {
    use std::fmt::Write;
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(b as char),
            _ => drop(write!(out, "%{b:02X}")),
        }
    }
}

/// The answer if it is a success, else the server's Status.
pub(crate) async fn accepted(response: Response<Body>) -> Result<Response<Body>> {
    if response.status().is_success() || response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    let code = response.status();
    let body = collect(response.into_body()).await?;
    let status = serde_json::from_slice(&body).ok().and_then(|json| Status::from_json(&json));
    Err(Error::Status(status.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&body);
        let reason = code.canonical_reason().unwrap_or("unknown");
        Status::new(base::Reason::InternalError, format!("{reason}: {}", text.trim())).with_code(code.as_u16())
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped_and_empty_ones_left_out() {
        let query = [("labelSelector", "a in (b,c)".to_string()), ("limit", String::new()), ("watch", "true".into())];
        let request = request(Method::GET, "/api/v1/pods", &query, Bytes::new(), "").unwrap();
        assert_eq!(request.uri(), "/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29&watch=true");
    }
}
