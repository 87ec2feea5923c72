//! Counters, gauges and histograms, and their text form.
//!
//! Decided against the `prometheus` and `metrics` crates: both are built around a global registry, and a process holds
//! many clusters. Format: Prometheus text exposition 0.0.4.

use parking_lot::RwLock;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Upstream's buckets of `apiserver_request_duration_seconds`, thinned.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Durations in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    /// Microseconds.
    sum: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(i) = BUCKETS.iter().position(|limit| seconds <= *limit) {
            self.buckets[i].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }
}

/// A kind of metric that can print itself.
pub trait Series: Default + Send + Sync {
    const TYPE: &'static str;
    /// Writes the lines of one series; `labels` is `a="x",b="y"` or empty.
    fn print(&self, name: &str, labels: &str, out: &mut String);
}

impl Series for Counter {
    const TYPE: &'static str = "counter";
    fn print(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, labels, self.get());
    }
}
impl Series for Gauge {
    const TYPE: &'static str = "gauge";
    fn print(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, labels, self.get());
    }
}
impl Series for Histogram {
    const TYPE: &'static str = "histogram";
    fn print(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut sum = 0;
        for (limit, bucket) in BUCKETS.iter().zip(&self.buckets) {
            sum += bucket.load(Relaxed);
            line(out, &format!("{name}_bucket"), &format!("{labels}{comma}le=\"{limit}\""), sum);
        }
        let count = self.count();
        line(out, &format!("{name}_bucket"), &format!("{labels}{comma}le=\"+Inf\""), count);
        line(out, &format!("{name}_sum"), labels, self.sum.load(Relaxed) as f64 / 1e6);
        line(out, &format!("{name}_count"), labels, count);
    }
}

/// All series of one metric, by the values of its labels.
#[derive(Debug)]
pub struct Family<S> {
    labels: &'static [&'static str],
    series: RwLock<BTreeMap<Vec<String>, Arc<S>>>,
    /// The same by a hash of the values: a request looks its series up without an allocation. Two that share 64 bits
    /// would be counted as one.
    by_hash: RwLock<HashMap<u64, Arc<S>>>,
}

impl<S: Series> Family<S> {
    /// The series with these label values, made on first use. Callers on a hot path keep it.
    pub fn with(&self, values: &[&str]) -> Arc<S> {
        debug_assert_eq!(values.len(), self.labels.len());
        let mut hasher = DefaultHasher::new();
        values.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(found) = self.by_hash.read().get(&hash) {
            return found.clone();
        }
        let key = values.iter().map(|v| v.to_string()).collect();
        let made = self.series.write().entry(key).or_default().clone();
        self.by_hash.write().insert(hash, made.clone());
        made
    }
}

trait Print: Send + Sync {
    fn print(&self, name: &str, help: &str, out: &mut String);
}

impl<S: Series> Print for Family<S> {
    fn print(&self, name: &str, help: &str, out: &mut String) {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {}\n", S::TYPE);
        for (values, series) in self.series.read().iter() {
            let labels: Vec<String> =
                self.labels.iter().zip(values).map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
            series.print(name, &labels.join(","), out);
        }
    }
}

/// The metrics of one cluster (or one process). Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<RwLock<BTreeMap<&'static str, Metric>>>);

/// Its help text, and what prints it.
type Metric = (&'static str, Arc<dyn Print>);

impl Registry {
    /// Registers a metric; of two with one name the later one is printed.
    pub fn family<S: Series + 'static>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Arc<Family<S>> {
        let family = Arc::new(Family { labels, series: RwLock::default(), by_hash: RwLock::default() });
        self.0.write().insert(name, (help, family.clone()));
        family
    }
    /// A metric without labels.
    pub fn single<S: Series + 'static>(&self, name: &'static str, help: &'static str) -> Arc<S> {
        self.family(name, help, &[]).with(&[])
    }
    /// Prometheus text, sorted by name, with memory and CPU time of the process.
    pub fn print(&self) -> String {
        let mut out = String::with_capacity(4096);
        for (name, (help, family)) in self.0.read().iter() {
            family.print(name, help, &mut out);
        }
        process(&mut out);
        out
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({})", self.0.read().len())
    }
}

/// `process_*` metrics from /proc; nothing where it cannot be read.
fn process(out: &mut String) {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    // The name in parentheses may hold anything; fields count from behind it.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    // Clock ticks are hundredths of a second and pages 4 KiB on every Linux that we build for.
    let (cpu, resident) = ((field(11) + field(12)) as f64 / 100.0, field(21) * 4096);
    let _ = write!(
        out,
        "# HELP process_cpu_seconds_total User and system CPU time.\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {cpu}\n"
    );
    let _ = write!(
        out,
        "# HELP process_resident_memory_bytes Resident memory.\n# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes {resident}\n"
    );
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_prometheus_text() {
        let registry = Registry::default();
        let requests = registry.family::<Counter>("requests_total", "Requests.", &["verb", "code"]);
        requests.with(&["get", "200"]).add(2);
        requests.with(&["get", "200"]).inc();
        requests.with(&["a\"b", "500"]).inc();
        registry.single::<Gauge>("inflight", "In flight.").set(-4);
        let took = registry.single::<Histogram>("took_seconds", "Took.");
        took.observe(Duration::from_millis(2));
        took.observe(Duration::from_secs(100));
        let text = registry.print();
        for want in [
            "# TYPE requests_total counter\n",
            "requests_total{verb=\"get\",code=\"200\"} 3\n",
            "requests_total{verb=\"a\\\"b\",code=\"500\"} 1\n",
            "inflight -4\n",
            "took_seconds_bucket{le=\"0.001\"} 0\n",
            "took_seconds_bucket{le=\"0.0025\"} 1\n",
            "took_seconds_bucket{le=\"+Inf\"} 2\n",
            "took_seconds_sum 100.002\n",
            "took_seconds_count 2\n",
            "process_resident_memory_bytes ",
        ] {
            assert!(text.contains(want), "{want} in\n{text}");
        }
    }
}
