//! `cargo xtask`: everything a developer repeats. Each task is a file; this one only names them.

mod clients;
mod cluster;
mod conformance;
mod fuzz;
mod layers;
mod run;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <task>

  test [--kubectl|--etcd] [NAME]
                            every test: unit, integration, end to end with real containers (root);
                            --kubectl: the scenarios driven by the real kubectl, red where it is missing
                            --etcd: the store on a real etcd, and two servers on one; red where it is missing
  clients [python|javascript|operator|helm] [NAME]
                            programs written with the Python and the JavaScript client, an operator (Kopf), and Helm, which
                            are fetched (pip, npm; root); --kubeconfig FILE first: against that cluster
  conformance --suite FILE [--kubeconfig FILE] [--image ARCHIVE]… [FOCUS]
                            upstream's own suite, where it is at hand (root); docs/conformance.md
  fuzz [--seconds N] [NAME…]  the targets of crates/fuzz under libFuzzer, N seconds each (60); needs a C++ compiler
  lint                      rustfmt, clippy with warnings denied, the crate graph
  layers [--update]         the crate graph against xtask/layers.txt
  bench [--update] ARGS…    start ferry and measure it; --update writes PROMISES.md
  soak [ROUNDS]             the long forms of the kill tests";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match args.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("", &[][..]),
    };
    let outcome = match task {
        "test" => test::test(rest),
        "clients" => clients::clients(rest),
        "conformance" => conformance::conformance(rest),
        "fuzz" => fuzz::fuzz(rest),
        "lint" => test::lint(),
        "layers" => layers::check(rest.iter().any(|a| a == "--update")),
        "bench" => test::bench(rest),
        "soak" => test::soak(rest),
        "" | "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("no task {other:?}\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
