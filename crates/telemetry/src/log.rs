//! Log lines on standard error.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// The environment variable that filters.
pub const VARIABLE: &str = "FERRY_LOG";

/// Starts logging at `default` (`warn`, `info,kubelet=debug` …) where the environment does not say otherwise. A second
/// call, or one in a test that has its own subscriber, changes nothing.
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(true).compact();
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
