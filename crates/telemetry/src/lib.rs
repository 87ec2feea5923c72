//! Logging set-up and metrics.
//!
//! Logs are lines on standard error, filtered by `FERRY_LOG` (as `RUST_LOG`: `info,net=debug`). Metrics are counters,
//! gauges and histograms in a [`Registry`], a value that each cluster has of its own and prints as Prometheus text.
//!
//! Invariant: recording a metric takes no lock once its series is at hand.

pub mod log;
pub mod metrics;

pub use metrics::{Counter, Family, Gauge, Histogram, Registry};
