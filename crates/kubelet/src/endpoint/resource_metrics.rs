//! `/metrics/resource`: what containers, pods and the node use, in the Prometheus text format. Names, labels and units are
//! those that metrics servers read (KEP-1867); each figure carries the time at which it was taken.

use crate::convert::{POD_NAME, POD_NAMESPACE};
use base::time::Timestamp;
use cri::ContainerStats;
use std::{collections::BTreeMap, fmt::Write};

/// CPU time in nanoseconds and memory in bytes.
type Used = (u64, u64);

/// The whole page; `None` where the runtime did not say.
pub(super) fn page(stats: Option<&[ContainerStats]>, now: Timestamp) -> String {
    let now = now.as_millisecond();
    let (mut containers, mut pods) = (Vec::new(), BTreeMap::<String, Used>::new());
    let mut node = (0, 0);
    for stat in stats.unwrap_or_default() {
        let label = |key: &str| stat.labels.get(key).map(|value| escape(value)).unwrap_or_default();
        let pod = format!("namespace=\"{}\",pod=\"{}\"", label(POD_NAMESPACE), label(POD_NAME));
        let used = (stat.cpu_usage_core_nano_seconds, stat.memory_working_set_bytes);
        for sum in [pods.entry(pod.clone()).or_default(), &mut node] {
            *sum = (sum.0 + used.0, sum.1 + used.1);
        }
        let labels = format!("container=\"{}\",{pod}", escape(&stat.metadata.name));
        containers.push((labels, used, stat.timestamp / 1_000_000));
    }
    containers.sort();
    let pods: Vec<_> = pods.into_iter().map(|(labels, used)| (labels, used, now)).collect();
    let node: Vec<_> = stats.map(|_| (String::new(), node, now)).into_iter().collect();
    let mut out = String::new();
    family(&mut out, "container", &containers);
    family(&mut out, "node", &node);
    family(&mut out, "pod", &pods);
    for name in ["resource_scrape_error", "scrape_error"] {
        let help = "1 if there was an error while getting container metrics, 0 otherwise";
        let failed = u8::from(stats.is_none());
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {failed}\n");
    }
    out
}

fn family(out: &mut String, of: &str, series: &[(String, Used, i64)]) {
    let name = format!("{of}_cpu_usage_seconds_total");
    let help = format!("Cumulative cpu time consumed by the {of} in core-seconds");
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} counter\n");
    for (labels, (cpu, _), at) in series {
        line(out, &name, labels, *cpu as f64 / 1e9, *at);
    }
    let name = format!("{of}_memory_working_set_bytes");
    let _ = write!(out, "# HELP {name} Current working set of the {of} in bytes\n# TYPE {name} gauge\n");
    for (labels, (_, memory), at) in series {
        line(out, &name, labels, *memory as f64, *at);
    }
}

fn line(out: &mut String, name: &str, labels: &str, value: f64, at: i64) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value} {at}"),
        labels => writeln!(out, "{name}{{{labels}}} {value} {at}"),
    };
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(pod: &str, container: &str, cpu: u64, memory: u64) -> ContainerStats {
        let labels = [(POD_NAME, pod), (POD_NAMESPACE, "default")];
        let mut stats = ContainerStats {
            labels: labels.map(|(key, value)| (key.to_string(), value.to_string())).into(),
            timestamp: 1_700_000_001_500_000_000,
            cpu_usage_core_nano_seconds: cpu,
            memory_working_set_bytes: memory,
            ..ContainerStats::default()
        };
        stats.metadata.name = container.into();
        stats
    }

    #[test]
    fn containers_add_up_to_pods_and_the_node() {
        let now = Timestamp::from_second(1_700_000_002).unwrap();
        let all = [stats("a", "y", 1_500_000_000, 7), stats("a", "x", 250_000_000, 5), stats("b", "x", 0, 1)];
        let page = page(Some(&all), now);
        let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                r#"container_cpu_usage_seconds_total{container="x",namespace="default",pod="a"} 0.25 1700000001500"#,
                r#"container_cpu_usage_seconds_total{container="x",namespace="default",pod="b"} 0 1700000001500"#,
                r#"container_cpu_usage_seconds_total{container="y",namespace="default",pod="a"} 1.5 1700000001500"#,
                r#"container_memory_working_set_bytes{container="x",namespace="default",pod="a"} 5 1700000001500"#,
                r#"container_memory_working_set_bytes{container="x",namespace="default",pod="b"} 1 1700000001500"#,
                r#"container_memory_working_set_bytes{container="y",namespace="default",pod="a"} 7 1700000001500"#,
                "node_cpu_usage_seconds_total 1.75 1700000002000",
                "node_memory_working_set_bytes 13 1700000002000",
                r#"pod_cpu_usage_seconds_total{namespace="default",pod="a"} 1.75 1700000002000"#,
                r#"pod_cpu_usage_seconds_total{namespace="default",pod="b"} 0 1700000002000"#,
                r#"pod_memory_working_set_bytes{namespace="default",pod="a"} 12 1700000002000"#,
                r#"pod_memory_working_set_bytes{namespace="default",pod="b"} 1 1700000002000"#,
                "resource_scrape_error 0",
                "scrape_error 0",
            ]
        );
    }

    #[test]
    fn a_runtime_that_does_not_answer_is_told() {
        let page = page(None, Timestamp::UNIX_EPOCH);
        assert!(page.contains("\nscrape_error 1\n") && !page.contains("\nnode_cpu_usage_seconds_total "), "{page}");
    }
}
