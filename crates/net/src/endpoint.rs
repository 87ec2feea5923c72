//! A server that is called again and again in the same way: what a kubeconfig file says of a webhook.

use crate::{
    outgoing::{Call, Target},
    tls::Trust,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use pki::Leaf;
use std::{sync::Arc, time::Duration};

/// Where, whom to believe, and what to show of oneself.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `https://host[:port]/path`
    pub url: String,
    pub trust: Trust,
    pub identity: Option<Arc<Leaf>>,
    /// `Authorization`, where there is one.
    pub headers: HeaderMap,
}

impl Endpoint {
    /// A call that posts JSON.
    pub fn post(&self, body: impl Into<Bytes>, timeout: Duration, limit: usize) -> Call {
        let mut headers = self.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*"));
        Call {
            method: Method::POST,
            target: Target::Url(self.url.clone()),
            query: None,
            headers,
            body: body.into(),
            trust: self.trust.clone(),
            identity: self.identity.clone(),
            timeout,
            limit,
        }
    }
}
