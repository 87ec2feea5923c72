//! The path of every request, top to bottom. [`run`] is the whole of it.

use crate::{
    audit::{self, Level, Objects, Verdict},
    body::RequestBody,
    deadline, dispatch,
    flow::Schema,
    query::{self, Query},
    request_info::RequestInfo,
    respond,
    server::{Caller, Inner, Origin},
    socket, verbs,
};
use auth::{Attributes, Decision, forbidden, impersonate};
use base::{Reason, Result, Status, User, escape::bearer_token, time::Timestamp};
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Response, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use net::Body;
use resource::Notes;
use select::{FieldSelector, LabelSelector};
use std::{
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};
use value::Str;

/// A request on its way: what it is, and what has been found out about it.
pub(crate) struct Exchange<'a> {
    pub server: &'a Inner,
    pub parts: &'a Parts,
    pub info: RequestInfo<'a>,
    pub query: Query<'a>,
    pub user: Arc<User>,
    /// Who impersonates `user`, and the verb that lets a constrained impersonation pass.
    pub impersonator: Option<Arc<User>>,
    pub constraint: &'static str,
    /// The caller takes shared objects instead of bytes.
    pub shared: bool,
    /// What authorization said; `None` before it.
    pub decision: Option<Decision>,
    /// Its flow schema; `None` before it has one, and for streams.
    pub flow: Option<Arc<Schema>>,
    /// The path names a kind of the catalog (unknown ones are not counted by name).
    pub known: bool,
    pub origin: &'a Origin,
    /// The connection below, where the request asks to switch protocols.
    pub upgrade: Option<OnUpgrade>,
    /// Of the request and, as `Audit-ID`, of the answer.
    pub id: String,
    pub received: Timestamp,
    /// How much of it is written down.
    pub audit: Verdict,
    pub objects: Objects,
    /// There where a stream goes on behind the answer.
    pub lasts: Option<Arc<audit::stages::Lasts>>,
    /// What a write gathers for the audit log, and what its client is warned of.
    pub notes: Notes,
    /// The warning of a version that is deprecated.
    pub deprecated: Option<Str>,
}

impl Exchange<'_> {
    /// What authorization is asked.
    pub fn attributes(&self) -> Attributes<'_> {
        let info = &self.info;
        Attributes {
            user: &self.user,
            verb: info.verb,
            path: if info.is_resource { "" } else { info.path },
            group: info.group,
            version: info.version,
            resource: info.resource,
            subresource: info.subresource,
            namespace: info.namespace,
            name: &info.name,
            fields: None,
            labels: None,
        }
    }
    /// The caller itself, also where it impersonates another.
    pub fn caller(&self) -> &User {
        self.impersonator.as_ref().unwrap_or(&self.user)
    }
}

pub(crate) async fn run(server: &Inner, caller: &Caller, mut parts: Parts, body: RequestBody) -> Response<Body> {
    let (received, started) = (server.config.clock.now(), Instant::now());
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let offered = socket::take_token(&mut parts.headers);
    let path = query::decode(parts.uri.path(), false);
    let query = Query::parse(parts.uri.query());
    let mut exchange = Exchange {
        server,
        parts: &parts,
        info: RequestInfo::parse(&parts.method, &path, &query),
        query,
        user: server.authenticator.anonymous(),
        impersonator: None,
        constraint: "",
        shared: caller.shared,
        decision: None,
        flow: None,
        known: false,
        origin: &caller.origin,
        upgrade,
        id: server.ids.of(&parts.headers),
        received,
        audit: Verdict::default(),
        objects: Objects::default(),
        lasts: None,
        notes: Notes::default(),
        deprecated: None,
    };
    let x = &mut exchange;

    let answered = catch_panics(async {
        let authenticated = authenticate(x, caller, offered).await;
        let begun = audit::stages::begins(x, authenticated.is_ok());
        if !begun.settled().await {
            return Err(Status::internal("failed to store audit event"));
        }
        if x.info.is_mutating() {
            x.notes.keep_warnings();
        }
        let deadline = (!x.info.is_long_running()).then(|| deadline::of(&x.query)).transpose()?;
        authenticated?;
        impersonate(x).await?;
        authorize(x).await?;
        within(deadline, pin!(seated(x, body))).await
    })
    .await;

    let failure = answered.as_ref().err().cloned();
    let mut response = answered.unwrap_or_else(|failure| {
        let mut response = respond::failure(&failure.status, &parts, server.config.cluster.features.cbor);
        let refused = exchange.decision.as_ref().is_some_and(|decision| !decision.allowed());
        // Neither has it come to a decision where whom it impersonates could not be read.
        if refused || (exchange.decision.is_none() && impersonate::requested(&parts.headers)) {
            respond::nosniff(&mut response);
        }
        let deprecated = exchange.deprecated.iter().map(|text| text.to_string());
        respond::warn(&mut response, &deprecated.chain(exchange.notes.warnings()).collect::<Vec<_>>());
        response
    });
    if http2_of_nobody(&exchange, failure.as_ref()) {
        response.extensions_mut().insert(net::LastOfConnection);
    }
    mark(&mut response, &exchange.id, exchange.flow.as_deref().filter(|_| !exchange.shared));
    let code = response.status().as_u16();
    server.requests.record(&exchange.info, code, started.elapsed(), exchange.known);
    let ended = audit::stages::ends(&exchange, &mut response, failure);
    ended.settled().await;
    response
}

/// Whether an HTTP/2 connection ends with this answer: its many streams are for those who say who they are. Source:
/// upstream's `UnauthenticatedHTTP2DOSMitigation`.
fn http2_of_nobody(x: &Exchange<'_>, failure: Option<&Failure>) -> bool {
    let unknown = || failure.is_some_and(|failure| failure.status.code() == 401);
    x.parts.version == http::Version::HTTP_2 && (x.caller().name == "system:anonymous" || unknown())
}

/// Why a request has no answer of its own.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub status: Status,
    /// What a bug in it said.
    pub panicked: Option<String>,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure { status, panicked: None }
    }
}

/// A bug in one request ends that request.
async fn catch_panics(answer: impl Future<Output = Result<Response<Body>>>) -> Result<Response<Body>, Failure> {
    let answer = AssertUnwindSafe(answer).catch_unwind().await.map(|answer| answer.map_err(Failure::from));
    answer.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!("a request panicked: {text}");
        let status = Status::internal("this request caused apiserver to panic. Look in the logs for details.");
        Err(Failure { status, panicked: Some(text) })
    })
}

/// What a proxy says first, then certificate or in-process identity, then a bearer token, then nobody. A certificate
/// that has expired during its connection says nothing any more, and whoever shows it is not anonymous either.
async fn authenticate(x: &mut Exchange<'_>, caller: &Caller, offered: Option<socket::Token>) -> Result<()> {
    let header = || x.parts.headers.get(header::AUTHORIZATION)?.to_str().ok();
    let expired = caller.not_after.is_some_and(|end| x.received > end);
    let fronted = (caller.proxy && !expired).then(|| x.server.fronts.headers.user(&x.parts.headers)).flatten();
    if let Some(user) = fronted {
        x.user = Arc::new(user);
    } else if let Some(user) = caller.user.as_ref().filter(|_| !expired) {
        x.user = user.clone();
    } else if let Some(token) = header().and_then(bearer_token) {
        x.user = Arc::new(x.server.authenticator.bearer(token).await?);
    } else if let Some(offered) = offered {
        let token = offered.map_err(|_| Status::unauthorized())?;
        x.user = Arc::new(x.server.authenticator.bearer(&token).await?);
    } else if expired || caller.stranger || !x.server.authenticator.admits_anonymous(x.info.path) {
        return Err(Status::unauthorized());
    }
    Ok(())
}

async fn impersonate(x: &mut Exchange<'_>) -> Result<()> {
    if impersonate::requested(&x.parts.headers) {
        let server = x.server;
        let asked = x.attributes();
        let found = impersonate::impersonate(&x.parts.headers, &asked, &server.authorizer, &server.ways).await?;
        x.impersonator = Some(std::mem::replace(&mut x.user, Arc::new(found.user)));
        x.constraint = found.constraint;
    }
    Ok(())
}

/// Bodies up to that size are not counted while their requests wait for a seat.
const SMALL: usize = 64 << 10;

/// A seat is taken once the body is there: who sends slowly waits in its own share. Streams need none, and watches only
/// until they have begun.
async fn seated(x: &mut Exchange<'_>, mut body: RequestBody) -> Result<Response<Body>> {
    let (server, user) = (x.server, x.user.clone());
    if x.info.is_long_running() && x.info.verb != "watch" {
        return dispatch::answer(x, body).await;
    }
    let flow = server.flow.classify(&user, &x.info);
    x.flow = Some(flow.clone());
    let mut turn = None;
    // Paths without a resource are read only.
    if x.info.is_mutating() && x.info.is_resource && !flow.level.exempt {
        let mut reading = pin!(body.read());
        let bytes = match futures::poll!(&mut reading) {
            Poll::Ready(bytes) => bytes?,
            Poll::Pending => {
                turn = Some(server.flow.turns.take(&user).await?);
                reading.await?
            }
        };
        if bytes.len() <= SMALL {
            turn = None;
        }
        body = RequestBody::Whole(bytes);
    }
    let _turn = turn;
    if x.audit.level >= Level::Request && x.info.is_mutating() && x.info.is_resource {
        body = written_down(x, body).await?;
    }
    let _seat = server.flow.seat(&flow, &user, &x.info, || objects(x)).await?;
    dispatch::answer(x, body).await
}

/// What a write carries, for the audit log; what other servers serve is passed on as it comes.
async fn written_down(x: &Exchange<'_>, body: RequestBody) -> Result<RequestBody> {
    if x.server.aggregation.serves(&x.info).is_some() {
        return Ok(body);
    }
    let bytes = body.read().await?;
    x.objects.request(&x.audit, verbs::content_type(x), &bytes);
    Ok(RequestBody::Whole(bytes))
}

/// How many objects a list passes.
fn objects(x: &Exchange<'_>) -> usize {
    // A watch from a revision begins with none.
    let from = x.query.get("resourceVersion").is_some_and(|revision| !matches!(revision, "" | "0"));
    if x.info.verb == "watch" && from && x.query.flag("sendInitialEvents") != Some(true) {
        return 0;
    }
    let engine = &x.server.engine;
    let found = engine.catalog().resolve(x.info.group, x.info.version, x.info.resource);
    found.map_or(0, |lookup| engine.count(&lookup.kind))
}

/// 504 where the deadline passes first.
async fn within<T>(deadline: Option<Duration>, answer: Pin<&mut impl Future<Output = Result<T>>>) -> Result<T> {
    let Some(deadline) = deadline else { return answer.await };
    let late = "Timeout: request did not complete within the allotted timeout";
    tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| Err(Status::new(Reason::Timeout, late)))
}

async fn authorize(x: &mut Exchange<'_>) -> Result<()> {
    // Few look at selectors: they are read for those who do.
    let selects = matches!(x.info.verb, "list" | "watch" | "deletecollection");
    let read = selects && x.server.authorizer.reads_selectors(&x.user);
    let given = |key| x.query.get(key).filter(|_| read);
    let fields = given("fieldSelector").and_then(|text| FieldSelector::parse(text).ok());
    let labels = given("labelSelector").and_then(|text| LabelSelector::parse(text).ok());
    let attributes = Attributes { fields: fields.as_ref(), labels: labels.as_ref(), ..x.attributes() };
    let decision = x.server.authorizer.ask(&attributes).await;
    let refused = decision.refusal().map(|why| forbidden(&attributes, why));
    x.decision = Some(decision);
    refused.map_or(Ok(()), Err)
}

/// Makes the ids of requests: a random half for each server and a counter, in the form of a UUID.
pub(crate) struct RequestIds {
    half: [u8; 8],
    count: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        RequestIds { half: base::ids::random(), count: AtomicU64::new(0) }
    }
}

impl RequestIds {
    /// The client's own id where it is one (it goes into a header and into the audit log), or a new one.
    fn of(&self, headers: &HeaderMap) -> String {
        let given = headers.get("audit-id").and_then(|v| v.to_str().ok());
        let plain =
            |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if let Some(id) = given.filter(plain) {
            return id.into();
        }
        let [a, b, c, d, e, f, g, h] = self.half;
        let n = self.count.fetch_add(1, Relaxed);
        format!(
            "{a:02x}{b:02x}{c:02x}{d:02x}-{e:02x}{f:02x}-4{:03x}-8{:03x}-{:012x}",
            u16::from(g) | 0x100,
            u16::from(h) | 0x200,
            n & 0xffff_ffff_ffff
        )
    }
}

fn mark(response: &mut Response<Body>, id: &str, flow: Option<&Schema>) {
    let headers = response.headers_mut();
    headers.extend(flow.into_iter().flat_map(Schema::headers));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("audit-id", id);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_plain_or_new() {
        let ids = RequestIds::default();
        let of = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("audit-id", HeaderValue::from_str(given).unwrap());
            ids.of(&headers)
        };
        assert_eq!(of("a2F-9"), "a2F-9");
        for given in ["", "x\",\"user\":{\"username\":\"bob\"}", "a b", "a_b", &"a".repeat(65)] {
            assert_ne!(of(given), given);
            assert_eq!(of(given).len(), 36);
        }
        assert_ne!(of(""), of(""));
    }

    #[tokio::test]
    async fn what_takes_too_long_ends() {
        let never = pin!(std::future::pending::<Result<()>>());
        let late = within(Some(Duration::ZERO), never).await.unwrap_err();
        assert_eq!((late.code(), late.reason()), (504, "Timeout"));
    }
}
