//! What other servers say of themselves in OpenAPI of version 2: asked for once a minute at most, beside the check whether
//! they are there, and kept until they say something else or their APIService goes. A server that does not answer is
//! described as it last was, as upstream does it.

use super::{Remote, identity, swagger};
use crate::server::Inner;
use base::User;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use net::outgoing::{self, Target};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use value::Value;

/// Source: upstream's OpenAPI aggregation controller.
const EVERY: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(60);

/// The most that a document may have, in bytes.
const LIMIT: usize = 64 << 20;

/// The descriptions of all servers.
#[derive(Default)]
pub struct Specs {
    /// By the name of the APIService.
    known: Mutex<BTreeMap<String, Known>>,
    generation: AtomicU64,
}

struct Known {
    asked: Instant,
    etag: Option<HeaderValue>,
    part: Option<Arc<Value>>,
}

impl Specs {
    /// Counts up with each change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// This server's own document with the others'.
    pub fn with_others(&self, own: Value) -> Value {
        let parts: Vec<Arc<Value>> = self.known.lock().values().filter_map(|known| known.part.clone()).collect();
        swagger::merged(own, parts.iter().map(|part| &**part))
    }

    /// Forgets those whose APIService is gone.
    pub fn retain(&self, there: impl Fn(&str) -> bool) {
        let mut known = self.known.lock();
        let before = known.len();
        known.retain(|name, _| there(name));
        if known.len() != before {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether a server is to be asked; who gets a yes asks.
    fn is_due(&self, name: &str) -> Option<Option<HeaderValue>> {
        let now = Instant::now();
        let mut known = self.known.lock();
        match known.get_mut(name) {
            Some(known) if now.duration_since(known.asked) < EVERY => None,
            Some(known) => {
                known.asked = now;
                Some(known.etag.clone())
            }
            None => {
                known.insert(name.into(), Known { asked: now, etag: None, part: None });
                Some(None)
            }
        }
    }

    fn learned(&self, name: &str, etag: Option<HeaderValue>, part: Option<Value>) {
        let mut known = self.known.lock();
        // Gone in the meantime.
        let Some(known) = known.get_mut(name) else { return };
        known.etag = etag;
        if known.part.as_deref() != part.as_ref() {
            known.part = part.map(Arc::new);
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Asks a server that is there, if it is time, without waiting for it.
pub fn renew(server: &Arc<Inner>, remote: &Arc<Remote>) {
    let Some(etag) = server.aggregation.specs.is_due(&remote.object()) else { return };
    let (server, remote) = (server.clone(), remote.clone());
    tokio::spawn(async move {
        if let Err(why) = ask(&server, &remote, etag).await {
            tracing::debug!("OpenAPI of {}: {why}", remote.object());
        }
    });
}

async fn ask(server: &Inner, remote: &Remote, etag: Option<HeaderValue>) -> Result<(), String> {
    let mut headers = HeaderMap::new();
    identity(&mut headers, &User::new("system:aggregator", []));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(etag) = etag {
        headers.insert(header::IF_NONE_MATCH, etag);
    }
    let call = outgoing::Call {
        method: Method::GET,
        target: Target::Service {
            namespace: remote.namespace.clone(),
            name: remote.name.clone(),
            port: remote.port,
            path: "/openapi/v2".into(),
        },
        query: None,
        headers,
        body: Default::default(),
        trust: remote.trust.clone(),
        identity: Some(server.aggregation.leaf.clone()),
        timeout: TIMEOUT,
        limit: LIMIT,
    };
    let answer = server.aggregation.outgoing.call(call).await.map_err(|e| e.to_string())?;
    match answer.status {
        StatusCode::NOT_MODIFIED => return Ok(()),
        StatusCode::OK => {}
        other => return Err(format!("invalid status code: {}", other.as_u16())),
    }
    let document = value::parse_lenient(&answer.body).map_err(|e| e.to_string())?;
    let part = swagger::part(&document, &remote.group, &remote.version);
    let etag = answer.headers.get(header::ETAG).cloned();
    server.aggregation.specs.learned(&remote.object(), etag, part);
    Ok(())
}
