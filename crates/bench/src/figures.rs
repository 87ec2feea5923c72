//! What was measured, and how it is printed: a table for people, JSON for tools.

use crate::{load::Outcome, options::Options};
use serde_json::{Value, json};

/// One measured figure.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it is of; the same word in PROMISES.md's table and in the JSON.
    pub key: &'static str,
    pub value: f64,
    pub unit: &'static str,
    /// Latencies and CPU, where it is one of load.
    pub outcome: Option<Outcome>,
}

/// All figures of a run.
pub struct Figures {
    list: Vec<Figure>,
    /// How the clients were: for the reader who wants the same again.
    pub setting: String,
    /// The same of another server, in the same run.
    pub beside: Option<Box<Figures>>,
}

impl Figures {
    pub fn new(options: &Options) -> Self {
        let over = match options.http1 {
            true => "HTTP/1.1, a connection each".to_string(),
            false => format!("{} HTTP/2 connections", options.connections),
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = model.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|m| m.1.to_string()));
        let model = model.unwrap_or_else(|| "unknown processor".into());
        let setting = format!("{cores} cores ({model}), {} clients over {over}, TLS 1.3", options.clients);
        Figures { list: Vec::new(), setting, beside: None }
    }
    pub fn add(&mut self, key: &'static str, value: f64, unit: &'static str) {
        eprintln!("{key}: {value:.1} {unit}");
        self.list.push(Figure { key, value, unit, outcome: None });
    }
    /// A rate, with everything that belongs to it.
    pub fn add_load(&mut self, key: &'static str, unit: &'static str, outcome: Outcome) {
        let value = outcome.rate();
        eprintln!("{key}: {value:.0} {unit}, p99 {:.1} ms", outcome.p99);
        self.list.push(Figure { key, value, unit, outcome: Some(outcome) });
    }
    pub fn get(&self, key: &str) -> Option<&Figure> {
        self.list.iter().find(|f| f.key == key)
    }
    /// One figure as a multiple of another.
    pub fn ratio(&self, key: &str, to: &str) -> Option<f64> {
        Some(self.get(key)?.value / self.get(to)?.value)
    }

    pub fn print(&self) {
        println!("{}", self.setting);
        println!(
            "{:<16} {:>12} {:<9} {:>9} {:>9} {:>9} {:>11} {:>11}",
            "", "", "", "p50 ms", "p99 ms", "count", "client CPU", "server CPU"
        );
        for f in &self.list {
            print!("{:<16} {:>12.1} {:<9}", f.key, f.value, f.unit);
            if let Some(o) = &f.outcome {
                let server = o.server_cpu.map_or(String::new(), |s| format!("{s:.2} s"));
                print!(" {:>9.2} {:>9.2} {:>9} {:>9.2} s {server:>11}", o.p50, o.p99, o.count, o.client_cpu);
            }
            println!();
        }
        for (key, to) in RATIOS {
            if let Some(ratio) = self.ratio(key, to) {
                println!("{key} / {to}: {ratio:.2}");
            }
        }
    }

    pub fn json(&self) -> String {
        let figures: serde_json::Map<String, Value> = self.list.iter().map(|f| (f.key.to_string(), tree(f))).collect();
        let ratios: serde_json::Map<String, Value> =
            RATIOS.iter().filter_map(|(key, to)| Some((format!("{key}/{to}"), json!(self.ratio(key, to)?)))).collect();
        format!("{:#}\n", json!({"setting": self.setting, "figures": figures, "ratios": ratios}))
    }
}

/// Figures as multiples of the ceiling.
const RATIOS: [(&str, &str); 6] = [
    ("create", "ceiling-post"),
    ("patch", "ceiling-post"),
    ("get", "ceiling-get"),
    ("list", "ceiling-list"),
    ("watch", "ceiling-watch"),
    ("patch", "create"),
];

fn tree(f: &Figure) -> Value {
    let mut tree = json!({"value": f.value, "unit": f.unit});
    if let Some(o) = &f.outcome {
        tree["count"] = json!(o.count);
        tree["seconds"] = json!(o.seconds);
        tree["p50_ms"] = json!(o.p50);
        tree["p99_ms"] = json!(o.p99);
        tree["bytes"] = json!(o.bytes);
        tree["client_cpu_seconds"] = json!(o.client_cpu);
        tree["server_cpu_seconds"] = json!(o.server_cpu);
    }
    tree
}
