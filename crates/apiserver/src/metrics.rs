//! What the server counts of its requests.

use crate::request_info::RequestInfo;
use std::{sync::Arc, time::Duration};
use telemetry::{Counter, Family, Gauge, Histogram, Registry};

pub struct Requests {
    total: Arc<Family<Counter>>,
    duration: Arc<Family<Histogram>>,
    pub long_running: Arc<Gauge>,
    frames: Arc<Family<Counter>>,
}

impl Requests {
    pub fn new(registry: &Registry) -> Self {
        // Upstream validates twice, by hand and by declarations, and its suite asks how often the two differed. There is one
        // validation here.
        for (name, help) in [
            ("apiserver_validation_declarative_validation_mismatch_total", "Two validations differed; there is one."),
            ("apiserver_validation_declarative_validation_panic_total", "A second validation panicked; there is none."),
        ] {
            registry.single::<Counter>(name, help);
        }
        Requests {
            total: registry.family(
                "apiserver_request_total",
                "Requests by verb, resource and code.",
                &["verb", "group", "version", "resource", "subresource", "code"],
            ),
            duration: registry.family(
                "apiserver_request_duration_seconds",
                "How long requests took, but for long-running ones.",
                &["verb", "group", "version", "resource", "subresource"],
            ),
            long_running: registry.single("apiserver_longrunning_requests", "Watches that run."),
            frames: registry.family(
                "ferry_watch_frames_encoded_total",
                "Watch events that were encoded, once for all watchers who take them as they are.",
                &["encoding"],
            ),
        }
    }
    /// Counts the events that are encoded for watches, by encoding.
    pub fn frame_encodings(&self, encoding: wire::Encoding) -> Arc<Counter> {
        self.frames.with(&[if encoding == wire::Encoding::Protobuf { "protobuf" } else { "json" }])
    }
    /// `known` is false for paths that name nothing here: they share one series.
    pub fn record(&self, info: &RequestInfo<'_>, code: u16, took: Duration, known: bool) {
        let labels = match info.is_resource && known {
            true => [verb(info.verb), info.group, info.version, info.resource, info.subresource],
            false => [verb(info.verb), "", "", "", ""],
        };
        let mut digits = [0; 3];
        let code = digits3(code, &mut digits);
        self.total.with(&[labels[0], labels[1], labels[2], labels[3], labels[4], code]).inc();
        if !info.is_long_running() {
            self.duration.with(&labels).observe(took);
        }
    }
}

/// Upstream's words.
fn verb(verb: &str) -> &'static str {
    match verb {
        "get" | "head" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

fn digits3(code: u16, out: &mut [u8; 3]) -> &str {
    for (digit, unit) in out.iter_mut().zip([100, 10, 1]) {
        *digit = b'0' + u8::try_from(code / unit % 10).unwrap_or(0);
    }
    std::str::from_utf8(out).unwrap_or("000")
}
