//! One call of a webhook: the only place of this crate that waits for somebody else.

use super::{
    credentials::Credentials,
    hook::Hook,
    matching::{Facts, old},
    notes,
    review::{self, Response},
    versions::shown,
};
use base::{Status, ids};
use http::{HeaderMap, HeaderValue, Method, header};
use net::{Outgoing, outgoing::Call};
use resource::{Attributes, Notes};
use value::Value;

/// The most that is read of an answer, in bytes: an object of the greatest size, as a patch in base64.
const LIMIT: usize = 16 << 20;

/// Why a webhook has not said yes.
#[derive(Debug)]
pub enum Failure {
    /// It could not be asked, or answered what is no answer: `failurePolicy` decides.
    Unreached(String),
    /// It must not be asked: the answer to the client.
    Refused(Status),
    /// It said no: the same, and what it warns of.
    Denied(Status, Vec<String>),
}

/// A call that is ready to be sent: nothing of the request is borrowed any more.
pub struct Ready<'h> {
    hook: &'h Hook,
    uid: String,
    call: Call,
    mutating: bool,
    notes: Notes,
}

impl<'h> Ready<'h> {
    /// Puts the request into words, in the version that the webhook wants.
    pub async fn new(hook: &'h Hook, a: &Attributes<'_>, version: usize, mutating: bool) -> Result<Self, Failure> {
        if a.options.dry_run && !hook.no_side_effects {
            let text = format!("admission webhook {:?} does not support dry run", hook.name.as_str());
            return Err(Failure::Refused(Status::bad_request(text)));
        }
        let Some(api) = hook.review else {
            let text = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            return Err(Failure::Unreached(text.into()));
        };
        let trust =
            hook.trust.clone().map_err(|why| Failure::Unreached(format!("could not get REST client: {why}")))?;
        let facts = Facts::of(a.call, a.operation, &a.name);
        let uid = ids::uid();
        let request = review::request(&facts, version, a.options);
        let object = shown(a, &a.object, version).await.map_err(Failure::Refused)?;
        let old = shown(a, old(a).unwrap_or(&Value::Null), version).await.map_err(Failure::Refused)?;
        let body = review::review(api, &uid, request, object, old);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("kube-apiserver-admission"));
        let call = Call {
            method: Method::POST,
            target: hook.target.clone(),
            query: Some(format!("timeout={}s", hook.timeout.as_secs())),
            headers,
            body: body.to_json().into(),
            trust,
            identity: None,
            timeout: hook.timeout,
            limit: LIMIT,
        };
        Ok(Ready { hook, uid, call, mutating, notes: a.options.notes.clone() })
    }

    /// Asks, with what the server shows of itself.
    pub async fn send(mut self, outgoing: Option<&Outgoing>, shown: &Credentials) -> Result<Response, Failure> {
        if let Some(own) = shown.of(&self.call.target) {
            self.call.identity = own.identity.clone();
            self.call.headers.extend(own.headers.clone());
        }
        let failed = |why: String| Failure::Unreached(format!("failed to call webhook: {why}"));
        let outgoing = outgoing.ok_or_else(|| failed("the server is starting".into()))?;
        let answer = outgoing.call(self.call).await.map_err(|e| failed(e.to_string()))?;
        if !(200..=206).contains(&answer.status.as_u16()) {
            return Err(failed(review::unexpected(answer.status.as_u16(), &answer.body)));
        }
        let body = value::parse_lenient(&answer.body)
            .map_err(|e| failed(format!("couldn't get version/kind; json parse error: {e}")))?;
        let api = self.hook.review.unwrap_or(schema::ReviewVersion::V1);
        let read = review::response(api, &self.uid, self.mutating, &body)
            .map_err(|why| Failure::Unreached(format!("received invalid webhook response: {why}")))?;
        notes::of_webhook(&self.notes, self.hook, &read.annotations);
        if read.allowed {
            return Ok(read);
        }
        Err(Failure::Denied(review::refusal(&self.hook.name, &read.result), read.warnings))
    }
}

impl Failure {
    /// What the client is warned of all the same.
    pub fn warnings(&mut self) -> Vec<String> {
        match self {
            Failure::Denied(_, warnings) => std::mem::take(warnings),
            Failure::Unreached(_) | Failure::Refused(_) => Vec::new(),
        }
    }
    /// What becomes of the request: `None` where it goes on without the webhook.
    pub fn answer(self, hook: &Hook) -> Option<Status> {
        match self {
            Failure::Refused(status) | Failure::Denied(status, _) => Some(status),
            Failure::Unreached(why) => {
                let text = format!("failed calling webhook {:?}: {why}", hook.name.as_str());
                if hook.fails_open {
                    tracing::warn!("failing open: {text}");
                    return None;
                }
                Some(Status::internal(text))
            }
        }
    }
}
