//! `conformance`: upstream's own suite, where it is at hand, against a cluster of two nodes.
//!
//! The suite is `e2e.test` of Kubernetes 1.36; nothing of it is part of this tree, and it is not fetched. Its clients keep their
//! defaults: protobuf, TLS with verification, certificates, and RBAC on the server. Images that its pods ask for come from their
//! registries, or from archives that are given. See docs/conformance.md.

use crate::{cluster::Cluster, run::run};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What is run where nothing is named.
const ALL: &str = r"\[Conformance\]";

#[derive(Default)]
struct Options {
    suite: PathBuf,
    kubeconfig: Option<PathBuf>,
    images: Vec<PathBuf>,
    focus: String,
}

/// `conformance --suite FILE [--kubeconfig FILE] [--image ARCHIVE]… [FOCUS]`: the specs whose names match FOCUS, a regular
/// expression. Prints each with its result; fails where one failed or none ran.
pub fn conformance(args: &[String]) -> Result<(), String> {
    let options = read(args)?;
    let cluster = match options.kubeconfig {
        Some(_) => None,
        None => Some(Cluster::up(2)?),
    };
    if let Some(cluster) = cluster.as_ref().filter(|_| !options.images.is_empty()) {
        cluster.import(&options.images)?;
    }
    let kubeconfig = options.kubeconfig.or(cluster.as_ref().map(Cluster::kubeconfig)).unwrap_or_default();
    let report = env::temp_dir().join(format!("ferry-conformance-{}.json", std::process::id()));
    let mut command = Command::new(&options.suite);
    command.arg("--kubeconfig").arg(kubeconfig).args(["--provider=skeleton", "--num-nodes=2"]);
    command.arg(format!("-ginkgo.focus={}", options.focus)).args(["-ginkgo.timeout=24h", "-ginkgo.no-color"]);
    command.arg(format!("-ginkgo.json-report={}", report.display()));
    // That a spec failed is in the report, too.
    let ran = run(&mut command);
    let specs = specs(&report);
    let _ = fs::remove_file(&report);
    let specs = specs.map_err(|why| ran.err().unwrap_or(why))?;
    for spec in &specs {
        println!("{:<8} {}", spec.state, spec.name);
    }
    let passed = specs.iter().filter(|spec| spec.state == "passed").count();
    println!("{passed} of {} specs passed", specs.len());
    if passed == specs.len() && passed > 0 { Ok(()) } else { Err("not every spec passed".into()) }
}

fn read(args: &[String]) -> Result<Options, String> {
    let mut options = Options { focus: ALL.into(), ..Options::default() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut file = || args.next().map(PathBuf::from).ok_or_else(|| format!("{arg} needs a file"));
        match arg.as_str() {
            "--suite" => options.suite = file()?,
            "--kubeconfig" => options.kubeconfig = Some(file()?),
            "--image" => options.images.push(file()?),
            focus => options.focus = focus.into(),
        }
    }
    if options.suite.is_file() {
        return Ok(options);
    }
    Err("--suite must name the e2e.test of Kubernetes 1.36; docs/conformance.md says where it comes from".into())
}

/// One spec that ran.
struct Spec {
    name: String,
    /// Ginkgo's word.
    state: String,
}

/// What the report says of the specs that ran.
fn specs(report: &Path) -> Result<Vec<Spec>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", report.display());
    let text = fs::read(report).map_err(|e| failed(&e))?;
    let suites: serde_json::Value = serde_json::from_slice(&text).map_err(|e| failed(&e))?;
    let all = suites.as_array().into_iter().flatten().filter_map(|suite| suite["SpecReports"].as_array()).flatten();
    let ran =
        all.filter(|spec| spec["LeafNodeType"] == "It" && spec["State"] != "skipped" && spec["State"] != "pending");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
    let name = |spec: &serde_json::Value| {
        let containers = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten().map(text);
        containers.chain([text(&spec["LeafNodeText"])]).collect::<Vec<_>>().join(" ")
    };
    Ok(ran.map(|spec| Spec { name: name(spec), state: text(&spec["State"]) }).collect())
}
