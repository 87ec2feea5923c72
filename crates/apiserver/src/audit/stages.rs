//! The stages of a request: which events it makes, and when.
//!
//! A request that lasts makes one when its answer has begun and one when it has ended, which is when its body is dropped.

use super::{Audit, Entry, Level, Lines, Objects, Outcome, Stage, worth};
use crate::stack::{Exchange, Failure};
use auth::Decision;
use base::clock::Clock;
use http::{Response, header};
use net::Body;
use parking_lot::Mutex;
use resource::Notes;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use value::{Value, value};

/// The caller is known, or known to be nobody that is let in.
pub fn begins(x: &mut Exchange<'_>, authenticated: bool) -> Outcome {
    let Some(log) = &x.server.audit else { return Outcome::default() };
    x.audit = log.judge(&x.info, x.caller());
    if x.audit.level == Level::None {
        return Outcome::default();
    }
    // Of the many reads that nobody writes down nothing is kept.
    if log.has_policy() || x.info.is_mutating() || !x.info.subresource.is_empty() {
        x.notes = Notes::kept(x.audit.level >= Level::Request);
    }
    if !authenticated {
        return Outcome::default();
    }
    record(x, log, Stage::RequestReceived, None, None, &Objects::default())
}

/// The answer is made.
pub fn ends(x: &Exchange<'_>, response: &mut Response<Body>, failure: Option<Failure>) -> Outcome {
    let unseen = Outcome::default;
    let Some(log) = x.server.audit.as_ref().filter(|_| x.audit.level > Level::None) else { return unseen() };
    let code = response.status().as_u16();
    let routine = || x.impersonator.is_none() && !worth(&x.info, x.caller(), code, || x.server.engine.catalog());
    if !log.has_policy() && routine() {
        return unseen();
    }
    let nobody =
        (code == 401 && x.decision.is_none()) || (code >= 400 && x.caller().in_group("system:unauthenticated"));
    if nobody && !log.has_policy() && !log.may_flood(x.server.config.clock.now()) {
        return unseen();
    }
    let status = failure.as_ref().map(|failure| match &failure.panicked {
        None => Value::from(failure.status.to_json()),
        Some(said) => value!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "message": (format!("APIServer panic'd: {said}")),
        }),
    });
    if let Some(status) = &status {
        x.objects.response(&x.audit, || Some(status.clone()));
    }
    let record = |stage| record(x, log, stage, Some(code), status.as_ref(), &x.objects);
    if failure.is_some_and(|failure| failure.panicked.is_some()) {
        return record(Stage::Panic);
    }
    // Who is not let in has no request: there is an answer, and nothing that could end.
    if log.has_policy() && code == 401 && x.decision.is_none() {
        return record(Stage::ResponseStarted);
    }
    if !log.has_policy() || !x.info.is_long_running() {
        return record(Stage::ResponseComplete);
    }
    let started = record(Stage::ResponseStarted);
    if x.audit.omit_stages.has(Stage::ResponseComplete) {
        return started;
    }
    let later = || {
        let line = with_entry(x, Stage::ResponseComplete, Some(code), None, &x.objects, |entry| log.lines(entry));
        End { log: log.clone(), clock: x.server.config.clock.clone(), line }
    };
    match std::mem::take(response.body_mut()) {
        Body::Stream(body) => {
            *response.body_mut() = Body::Stream(Box::pin(Lasting { body, _end: later() }));
        }
        body => {
            *response.body_mut() = body;
            let Some(lasts) = x.lasts.as_ref().filter(|lasts| Arc::strong_count(lasts) > 1) else {
                return started.and(record(Stage::ResponseComplete));
            };
            *lasts.0.lock() = Some(later());
        }
    }
    started
}

/// Held by whoever works on a stream that goes on behind its answer: the request ends when all of them have let it go.
#[derive(Default)]
pub struct Lasts(Mutex<Option<End>>);

fn record(
    x: &Exchange<'_>,
    log: &Audit,
    stage: Stage,
    code: Option<u16>,
    status: Option<&Value>,
    objects: &Objects,
) -> Outcome {
    match x.audit.omit_stages.has(stage) {
        true => Outcome::default(),
        false => with_entry(x, stage, code, status, objects, |entry| log.record(entry)),
    }
}

fn with_entry<T>(
    x: &Exchange<'_>,
    stage: Stage,
    code: Option<u16>,
    status: Option<&Value>,
    objects: &Objects,
    then: impl FnOnce(&Entry<'_>) -> T,
) -> T {
    let (object, request, response) = objects.taken();
    let noted = x.notes.all();
    let mut annotations: Vec<(&str, &str)> = noted.iter().map(|(key, value)| (&**key, &**value)).collect();
    let decision = x.decision.as_ref().map(|decision| match decision {
        Decision::Allow(reason) => ("allow", &**reason),
        Decision::Deny(why) | Decision::NoOpinion(why) => ("forbid", why.as_str()),
    });
    if let Some((word, reason)) = decision {
        annotations.extend([("authorization.k8s.io/decision", word), ("authorization.k8s.io/reason", reason)]);
    }
    let agent = x.parts.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
    then(&Entry {
        level: x.audit.level,
        stage,
        id: &x.id,
        info: &x.info,
        uri: x.parts.uri.path_and_query().map_or("", |p| p.as_str()),
        user: x.caller(),
        impersonated: x.impersonator.is_some().then_some(&*x.user),
        constraint: x.constraint,
        origin: x.origin,
        agent,
        object: &object,
        code,
        status,
        request_object: request.as_ref(),
        response_object: response.as_ref(),
        received: x.received,
        now: x.server.config.clock.now(),
        annotations: &annotations,
    })
}

/// A body whose end is written down.
struct Lasting {
    body: Pin<Box<dyn http_body::Body<Data = bytes::Bytes, Error = net::BoxError> + Send>>,
    _end: End,
}

pub struct End {
    log: Arc<Audit>,
    clock: Arc<dyn Clock>,
    line: Lines,
}

impl Drop for End {
    fn drop(&mut self) {
        // The answer has been given: there is nobody to wait.
        let _ = self.log.emit(std::mem::take(&mut self.line), self.clock.now());
    }
}

impl http_body::Body for Lasting {
    type Data = bytes::Bytes;
    type Error = net::BoxError;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, net::BoxError>>> {
        self.body.as_mut().poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
