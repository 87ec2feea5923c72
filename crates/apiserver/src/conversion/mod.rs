//! Conversion webhooks: who converts custom resources for the engine, where their definition says so.
//!
//! What is sent and what an answer means are pure functions ([`review`]); here it is sent, and counted. The configuration
//! is read anew for each call: beside a call over the network that is nothing, and there is no state that could be old.

mod review;

use admission::webhook::{target, trust, unexpected};
use base::{BoxFuture, Result, Status, ids};
use http::{HeaderMap, HeaderValue, Method, header};
use net::{Outgoing, Trust, outgoing::Call};
use resource::Converter;
use review::Fault;
use schema::{ConversionWebhook, Kind, ReviewVersion};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use telemetry::{Counter, Family, Histogram, Registry};
use value::Value;

/// For one call. Source: upstream's webhook client.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The most that is read of an answer, in bytes: a chunk of large objects.
const LIMIT: usize = 256 << 20;

/// Asks conversion webhooks.
pub struct Conversion {
    outgoing: Arc<Outgoing>,
    calls: Arc<Family<Counter>>,
    durations: Arc<Family<Histogram>>,
    by_definition: Arc<Family<Histogram>>,
}

impl Conversion {
    pub fn new(outgoing: Arc<Outgoing>, registry: &Registry) -> Self {
        Conversion {
            outgoing,
            calls: registry.family(
                "apiserver_conversion_webhook_request_total",
                "Calls of conversion webhooks by result and what failed.",
                &["result", "failure_type"],
            ),
            durations: registry.family(
                "apiserver_conversion_webhook_duration_seconds",
                "How long calls of conversion webhooks took.",
                &["result", "failure_type"],
            ),
            by_definition: registry.family(
                "apiserver_crd_conversion_webhook_duration_seconds",
                "How long conversions took, by definition and versions.",
                &["crd_name", "from_version", "to_version", "succeeded"],
            ),
        }
    }

    async fn ask(
        &self,
        kind: &Kind,
        webhook: &ConversionWebhook,
        to: usize,
        objects: &[Value],
    ) -> Result<Vec<Value>, Fault> {
        let subject = objects.first().map(review::type_of).unwrap_or_default();
        let config = &webhook.config;
        let api = ReviewVersion::first(config.items_at(&["conversionReviewVersions"]));
        let api = api.ok_or_else(|| Fault::call("no supported conversion review versions".into()))?;
        let (uid, wanted) = (ids::uid(), kind.api_version(to));
        let sent = review::request(api, &uid, &wanted, objects);
        let call = call(config, sent.to_json().into()).map_err(Fault::call)?;
        let failed = |why: String| Fault::call(format!("conversion webhook for {subject} failed: {why}"));
        let answer = self.outgoing.call(call).await.map_err(|e| failed(e.to_string()))?;
        if !(200..=206).contains(&answer.status.as_u16()) {
            return Err(failed(unexpected(answer.status.as_u16(), &answer.body)));
        }
        let parsed = value::parse_lenient(&answer.body)
            .map_err(|e| failed(format!("couldn't get version/kind; json parse error: {e}")))?;
        let converted = review::response(api, &uid, &parsed)
            .map_err(|why| Fault::malformed(format!("conversion webhook for {subject} failed: {why}")))?;
        review::converted(objects, converted, &wanted)
    }

    fn count(
        &self,
        kind: &Kind,
        webhook: &ConversionWebhook,
        versions: [&str; 2],
        fault: Option<&Fault>,
        began: Instant,
    ) {
        let took = began.elapsed();
        let labels = match fault {
            None => ["success", ""],
            Some(fault) => ["failure", fault.metric],
        };
        self.calls.with(&labels).inc();
        self.durations.with(&labels).observe(took);
        let succeeded = if fault.is_none() { "true" } else { "false" };
        let [from, to] = versions;
        tracing::debug!(kind = %kind.kind, from, to, succeeded, "conversion webhook");
        self.by_definition.with(&[&webhook.definition, from, to, succeeded]).observe(took);
    }
}

impl Converter for Conversion {
    fn convert<'a>(
        &'a self,
        kind: &'a Kind,
        webhook: &'a ConversionWebhook,
        to: usize,
        objects: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Value>>> {
        Box::pin(async move {
            let began = Instant::now();
            let made = self.ask(kind, webhook, to, &objects).await;
            let from = objects.first().map_or("", |o| o.str_at(&["apiVersion"]));
            let from = from.rsplit('/').next().unwrap_or("");
            self.count(kind, webhook, [from, &kind.versions[to].name], made.as_ref().err(), began);
            made.map_err(|fault| Status::plain(fault.text))
        })
    }
}

/// The call that a `webhook` of a definition asks for.
fn call(config: &Value, body: bytes::Bytes) -> Result<Call, String> {
    let client = config.at(&["clientConfig"]);
    let trust = match trust(client)? {
        Trust::Bundle(pem) if pem.iter().all(u8::is_ascii_whitespace) => Trust::System,
        trust => trust,
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("kube-apiserver-admission"));
    Ok(Call {
        method: Method::POST,
        target: target(client),
        query: Some(format!("timeout={}s", TIMEOUT.as_secs())),
        headers,
        body,
        trust,
        identity: None,
        timeout: TIMEOUT,
        limit: LIMIT,
    })
}
