//! The tests, the lints and what runs long.

use crate::{
    layers,
    run::{cargo, run},
};
use std::process::Command;

/// `test [--kubectl|--etcd] [NAME]`
pub fn test(args: &[String]) -> Result<(), String> {
    let mut filter = args.iter().filter(|a| !a.starts_with("--"));
    if args.iter().any(|a| a == "--kubectl") {
        let found = Command::new("kubectl").args(["version", "--client"]).output();
        if !found.is_ok_and(|out| out.status.success()) {
            return Err("kubectl is not installed, or does not run; these scenarios drive it".into());
        }
        let mut names: Vec<String> = filter.map(|name| format!("kubectl::{name}")).collect();
        if names.is_empty() {
            names.push("kubectl::".into());
        }
        let mut command = cargo();
        command.args(["test", "--package", "ferry", "--features", "kubectl", "--test", "e2e", "--"]).args(names);
        return run(&mut command);
    }
    if args.iter().any(|a| a == "--etcd") {
        let program = std::env::var_os("FERRY_ETCD").unwrap_or_else(|| "etcd".into());
        if !Command::new(&program).arg("--version").output().is_ok_and(|out| out.status.success()) {
            let program = program.display();
            return Err(format!(
                "{program} is not installed, or does not run; Debian has it in etcd-server, FERRY_ETCD names another"
            ));
        }
        let mut command = cargo();
        command.args(["test", "--package", "store-etcd", "--package", "testkit", "--no-fail-fast"]);
        command.args(["--features", "store-etcd/etcd,testkit/etcd"]);
        command.args(["--test", "answers", "--test", "contract", "--test", "members", "--test", "etcd"]);
        run(command.args(filter.clone()))?;
        // Processes of the real binary.
        let mut command = cargo();
        command.args(["test", "--package", "ferry", "--features", "etcd", "--test", "e2e", "--"]);
        return run(command.arg(format!("etcd::{}", filter.next_back().map_or("", String::as_str))));
    }
    run(cargo().args(["test", "--workspace", "--no-fail-fast"]).args(filter))
}

/// `lint`
pub fn lint() -> Result<(), String> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]))?;
    layers::check(false)
}

/// `bench [--update] ARGS…`
pub fn bench(args: &[String]) -> Result<(), String> {
    run(cargo().args(["build", "--release", "--package", "ferry"]))?;
    run(cargo().args(["run", "--release", "--package", "bench", "--"]).args(args))
}

/// `soak [ROUNDS]`: the kill tests again, with as many rounds as asked for (200).
pub fn soak(args: &[String]) -> Result<(), String> {
    let rounds = args.first().map_or("200", String::as_str);
    rounds.parse::<u32>().map_err(|_| format!("ROUNDS must be a number, not {rounds:?}"))?;
    for (package, test, name) in [("store-disk", "crash", ""), ("ferry", "e2e", "soak::")] {
        let mut command = cargo();
        command.args(["test", "--release", "--package", package, "--test", test, "--", "--nocapture", name]);
        run(command.env("FERRY_SOAK_ROUNDS", rounds))?;
    }
    Ok(())
}
