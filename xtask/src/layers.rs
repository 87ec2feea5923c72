//! The crate graph against a golden file: a new edge is a reviewed line.

use crate::run::{cargo, output};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// The layers, lowest first. A crate may depend on lower layers, and inside its own only as the golden file says.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &["base", "descriptions", "net", "grpc", "netlink", "pki", "telemetry"]),
    ("model", &["value", "select", "quota", "schema", "wire", "merge", "k8s-cel"]),
    ("engine", &["store", "store-disk", "store-etcd", "resource", "seal", "kinds"]),
    ("server", &["auth", "admission", "apiserver"]),
    ("client", &["client", "control"]),
    ("control", &["workloads", "cluster", "services", "storage", "scheduler", "controllers"]),
    ("node", &["cri", "images", "sandbox", "cni", "runtime", "volumes", "kubelet", "proxy", "dns", "toolbox"]),
    ("fleet", &["cloud-local"]),
    ("shell", &["ferry"]),
    ("tools", &["testkit", "fuzz", "bench", "xtask"]),
];

/// Edges that never exist, with what they would break.
const FORBIDDEN: &[(&[&str], &[&str], &str)] = &[
    (
        &[
            "client",
            "control",
            "workloads",
            "cluster",
            "services",
            "storage",
            "scheduler",
            "controllers",
            "cri",
            "images",
            "sandbox",
            "cni",
            "runtime",
            "volumes",
            "kubelet",
            "proxy",
            "dns",
            "toolbox",
            "cloud-local",
            "bench",
        ],
        &["store", "store-disk", "store-etcd", "resource", "kinds", "auth", "admission", "apiserver"],
        "nobody above the server sees the store: every reader and writer comes through the API",
    ),
    (
        &["apiserver", "auth", "admission", "resource", "kinds"],
        &["cri", "images", "sandbox", "cni", "runtime", "volumes", "kubelet", "proxy", "dns"],
        "the API server sees no container, only the node's HTTPS endpoint",
    ),
    (
        &["resource", "auth", "admission", "apiserver"],
        &["kinds"],
        "engine and server know kinds as values of the catalog",
    ),
    (&["kubelet"], &["images", "sandbox", "runtime", "cni"], "the kubelet sees CRI"),
];

/// Who stands above the server and still sees it: what wires clusters, and what feeds a whole server with any bytes; `xtask`
/// starts programs. All others are in the list of the first edge.
#[cfg(test)]
const EXCEPTED: &[&str] = &["ferry", "testkit", "fuzz", "xtask"];

/// Implementations of a seam: only what wires clusters together may name them.
const WIRED: &[&str] = &["store-disk", "store-etcd", "cloud-local", "runtime", "kubelet", "controllers"];
const WIRERS: &[&str] = &["ferry", "testkit"];

type Graph = BTreeMap<String, Vec<String>>;

/// Compares the graph with `xtask/layers.txt`, or writes it.
pub fn check(update: bool) -> Result<(), String> {
    let graph = graph()?;
    let wrong = violations(&graph);
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("layers.txt");
    let text = render(&graph);
    if update {
        return std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()));
    }
    let golden = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    if golden == text {
        println!("layers: {} crates, as in xtask/layers.txt", graph.len());
        return Ok(());
    }
    let differs = |a: &str, b: &str, sign: &str| -> Vec<String> {
        a.lines().filter(|l| !b.lines().any(|o| o == *l)).map(|l| format!("{sign} {l}")).collect()
    };
    let lines = [differs(&golden, &text, "-"), differs(&text, &golden, "+")].concat();
    Err(format!(
        "the crate graph is not what xtask/layers.txt says; if that is meant, run `cargo xtask layers --update`\n{}",
        lines.join("\n")
    ))
}

/// Normal dependencies between the workspace's own crates.
fn graph() -> Result<Graph, String> {
    let json = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_slice(&json).map_err(|e| format!("cargo metadata: {e}"))?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |p: &Value| p["name"].as_str().unwrap_or_default().to_string();
    let own: Vec<String> = packages.iter().map(name).collect();
    let edges = packages.iter().map(|package| {
        let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
        let mut to: Vec<String> =
            dependencies.iter().filter(|d| d["kind"].is_null()).map(name).filter(|d| own.contains(d)).collect();
        to.sort();
        to.dedup();
        (name(package), to)
    });
    Ok(edges.collect())
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, crates)| crates.contains(&name))
}

fn violations(graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    for (from, to) in graph {
        let Some(own) = layer(from) else {
            wrong.push(format!("{from}: stands in no layer (xtask/src/layers.rs)"));
            continue;
        };
        for to in to {
            if layer(to).is_some_and(|other| other > own) {
                wrong.push(format!("{from} -> {to}: depends on a higher layer"));
            }
            if WIRED.contains(&to.as_str()) && !WIRERS.contains(&from.as_str()) {
                wrong.push(format!("{from} -> {to}: only {} may choose an implementation", WIRERS.join(" and ")));
            }
            for (froms, tos, why) in FORBIDDEN {
                if froms.contains(&from.as_str()) && tos.contains(&to.as_str()) {
                    wrong.push(format!("{from} -> {to}: {why}"));
                }
            }
        }
    }
    wrong
}

fn render(graph: &Graph) -> String {
    let mut out =
        String::from("# The crate graph, by layer. Made by `cargo xtask layers --update`; a new line is a decision.\n");
    for (name, crates) in LAYERS {
        out += &format!("\n[{name}]\n");
        for (from, to) in crates.iter().filter_map(|c| graph.get_key_value(*c)) {
            out += format!("{from}: {}", to.join(" ")).trim_end();
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_above_the_server_is_forgotten() {
        let server = LAYERS.iter().position(|(name, _)| *name == "server").unwrap();
        let above = LAYERS[server + 1..].iter().flat_map(|(_, crates)| *crates).copied();
        let watched: Vec<&str> = above.filter(|name| !EXCEPTED.contains(name)).collect();
        assert_eq!(FORBIDDEN[0].0, watched);
    }

    #[test]
    fn edges_upward_and_forbidden_ones_are_found() {
        let graph: Graph = [
            ("value", vec!["base"]),
            ("base", vec!["value"]),
            ("kubelet", vec!["cri", "sandbox"]),
            ("control", vec!["store"]),
            ("scheduler", vec!["cloud-local"]),
            ("ferry", vec!["cloud-local"]),
            ("stray", vec![]),
        ]
        .into_iter()
        .map(|(a, b)| (a.to_string(), b.into_iter().map(String::from).collect()))
        .collect();
        let wrong = violations(&graph);
        assert_eq!(wrong.len(), 6, "{wrong:#?}");
        assert!(wrong[0].starts_with("base -> value: depends on a higher layer"));
        assert!(wrong.iter().any(|w| w.starts_with("kubelet -> sandbox: the kubelet sees CRI")));
        assert!(wrong.iter().any(|w| w.starts_with("scheduler -> cloud-local: only ferry")));
        assert!(!wrong.iter().any(|w| w.starts_with("ferry")));
    }
}
