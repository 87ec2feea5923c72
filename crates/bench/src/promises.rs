//! PROMISES.md: what is promised, what was measured, by which command, beside what upstream did.

use crate::figures::{Figure, Figures};
use std::fmt::Write;

/// A line of the table.
struct Promise {
    text: &'static str,
    key: &'static str,
    /// The figure that a p99 is added of, or the one that this is divided by.
    beside: Beside,
    /// The phases to name to `--only`.
    phases: &'static str,
    upstream: &'static str,
    goal: &'static str,
}

enum Beside {
    Nothing,
    P99,
    Ceiling(&'static str),
}

/// Upstream is Kubernetes 1.36.2 on two such cores with the client on the same cores, measured once before; its figures
/// are quoted, not measured by this program.
#[rustfmt::skip]
const PROMISES: &[Promise] = &[
    Promise { text: "A new control plane answers /readyz", key: "ready-first", beside: Beside::Nothing, phases: "start", upstream: "2,600 ms", goal: "200 ms" },
    Promise { text: "A control plane with data answers /readyz again", key: "ready-again", beside: Beside::Nothing, phases: "start", upstream: "", goal: "200 ms" },
    Promise { text: "`ferry up` to the first pod Running", key: "pod-running", beside: Beside::Nothing, phases: "pod", upstream: "4,700 ms", goal: "500 ms" },
    Promise { text: "Memory of an idle control plane", key: "rss-control-plane", beside: Beside::Nothing, phases: "start", upstream: "476 MB (etcd, API server, controller manager, scheduler)", goal: "25 MB" },
    Promise { text: "… of it no page of the binary", key: "own-control-plane", beside: Beside::Nothing, phases: "start", upstream: "", goal: "" },
    Promise { text: "Memory of an idle node", key: "rss-node", beside: Beside::Nothing, phases: "pod", upstream: "180 MB (kubelet, proxy, containerd)", goal: "20 MB" },
    Promise { text: "… of it no page of the binary", key: "own-node", beside: Beside::Nothing, phases: "pod", upstream: "", goal: "" },
    Promise { text: "Memory of an idle pod's shim", key: "rss-shim", beside: Beside::Nothing, phases: "pod", upstream: "", goal: "" },
    Promise { text: "Pods created (4.5 KB, 64 clients)", key: "create", beside: Beside::P99, phases: "create", upstream: "736/s, p99 230 ms", goal: "7,400/s" },
    Promise { text: "Strategic merge patches (64 clients, a pod each)", key: "patch", beside: Beside::P99, phases: "patch", upstream: "531/s", goal: "5,300/s" },
    Promise { text: "Pods read one by one (64 clients)", key: "get", beside: Beside::P99, phases: "get", upstream: "1,825/s", goal: "18,000/s" },
    Promise { text: "List of 5,000 pods (20 MB), to the last byte", key: "list", beside: Beside::Ceiling("ceiling-list"), phases: "ceiling,list", upstream: "560 ms", goal: "1.3 times the ceiling" },
    Promise { text: "Watch events to 1,000 watchers (ConfigMaps of 1.5 KB)", key: "watch", beside: Beside::Nothing, phases: "watch", upstream: "36,000 events/s", goal: "180,000 events/s" },
    Promise { text: "A watcher among 1,000 hears of a write (p99, 20 writes/s)", key: "watch-late-p99", beside: Beside::Nothing, phases: "watch", upstream: "", goal: "" },
    Promise { text: "150,000 pods and 5,000 nodes in one API server", key: "scale-rss", beside: Beside::Nothing, phases: "scale", upstream: "", goal: "4 GiB" },
    Promise { text: "… memory of a stored pod", key: "scale-pod-memory", beside: Beside::Nothing, phases: "scale", upstream: "", goal: "2 times its JSON" },
    Promise { text: "The slowest renewal of a lease under 10,000 connections and lists without pause", key: "flood-worst", beside: Beside::Nothing, phases: "flood", upstream: "", goal: "1,000 ms" },
    Promise { text: "Ceiling: POST of 4.5 KB to hyper with TLS, canned answer", key: "ceiling-post", beside: Beside::P99, phases: "ceiling", upstream: "24,000/s", goal: "" },
    Promise { text: "Ceiling: GET of 4.5 KB", key: "ceiling-get", beside: Beside::P99, phases: "ceiling", upstream: "45,000/s", goal: "" },
    Promise { text: "Ceiling: GET of 20 MB", key: "ceiling-list", beside: Beside::Nothing, phases: "ceiling", upstream: "22 ms", goal: "" },
    Promise { text: "Ceiling: canned events to 1,000 watchers", key: "ceiling-watch", beside: Beside::Nothing, phases: "ceiling", upstream: "", goal: "" },
];

/// Writes PROMISES.md into the current directory, the repository's root under `cargo xtask`.
pub fn write(figures: &Figures) -> Result<(), String> {
    std::fs::write("PROMISES.md", page(figures)).map_err(|e| format!("PROMISES.md: {e}"))
}

fn page(figures: &Figures) -> String {
    let mut out = String::from(
        "# Promises\n\nWritten by `cargo xtask bench --update`; README quotes nothing else. Writes are durable (fsync before \
         the answer), and audit log, authentication, authorization and encryption at rest are on at their defaults. The \
         client shares the machine's cores with the server, whose CPU time is given. The ceiling is what the same client gets in \
         the same run from hyper with TLS that answers canned bytes. Memory is the resident set of one process (`Rss` of \
         `smaps_rollup`) after 15 s without work; pages of the binary count in every process that runs it, as they would on \
         machines of their own.\n\nUpstream is Kubernetes 1.36.2 with etcd and the client on the same two cores. Where it says so \
         it was measured in this run, without audit log and encryption at rest (`--beside KUBECONFIG`); else once before, on a \
         slower machine, where the ceiling was 24,000 posts and 45,000 gets per second: what is many times one of those \
         figures is as many times less as the ceilings differ.\n\n",
    );
    let _ = writeln!(out, "This run: {}.\n", figures.setting);
    out.push_str("| promise | figure | command | upstream | goal |\n| --- | --- | --- | --- | --- |\n");
    for p in PROMISES {
        let command = format!("`cargo xtask bench --only {}`", p.phases);
        let dash = |text: &'static str| if text.is_empty() { "–" } else { text };
        let upstream = match figures.beside.as_ref().and_then(|beside| beside.get(p.key)) {
            Some(found) => format!("{} in this run; {}", value(found), dash(p.upstream)),
            None => dash(p.upstream).into(),
        };
        let _ = writeln!(out, "| {} | {} | {command} | {} | {} |", p.text, figure(figures, p), upstream, dash(p.goal));
    }
    out
}

fn figure(figures: &Figures, p: &Promise) -> String {
    let Some(found) = figures.get(p.key) else { return "*not measured*".into() };
    let mut text = value(found);
    match (&p.beside, &found.outcome) {
        (Beside::P99, Some(outcome)) => {
            let _ = write!(text, ", p99 {:.1} ms", outcome.p99);
            if let Some(seconds) = outcome.server_cpu {
                let _ = write!(text, ", {:.2} ms of CPU each", 1000.0 * seconds / (outcome.count as f64).max(1.0));
            }
        }
        (Beside::Ceiling(of), _) => match figures.ratio(p.key, of) {
            Some(ratio) => drop(write!(text, ", {ratio:.2} times the ceiling")),
            None => text.push_str(", ceiling *not measured*"),
        },
        _ => {}
    }
    text
}

fn value(found: &Figure) -> String {
    let space = if found.unit.starts_with('/') { "" } else { " " };
    format!("{}{space}{}", thousands(found.value), found.unit)
}

/// `12,345`; below a hundred one decimal.
fn thousands(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use clap::Parser;

    #[test]
    fn what_was_not_measured_says_so() {
        let mut figures = Figures::new(&Options::parse_from(["bench"]));
        figures.add("list", 26.0, "ms");
        figures.add("ceiling-list", 20.0, "ms");
        figures.add("watch", 181_234.4, "events/s");
        let page = page(&figures);
        assert!(page.contains("| 26.0 ms, 1.30 times the ceiling |"), "{page}");
        assert!(page.contains("| 181,234 events/s |"), "{page}");
        assert_eq!(page.matches("| *not measured* |").count(), PROMISES.len() - 3);
    }

    #[test]
    fn thousands_are_set_apart() {
        let all = [0.5, 99.94, 100.4, 1000.0, 1234567.0].map(thousands);
        assert_eq!(all, ["0.5", "99.9", "100", "1,000", "1,234,567"]);
    }
}
