//! The specs of upstream's conformance suite that need no container, each as a scenario of ours under upstream's name.
//!
//! `specs.txt` is the list; a spec without a scenario is a failure, and so is a scenario that the list does not know. Those of
//! sig-cli drive the real kubectl and stand in `crates/ferry/tests/e2e/kubectl/specs.rs`, under the same rule.
//!
//! As in the suite, all share one control plane, at once, each in a namespace of its own; it has every controller and every
//! lock. Clients are kube-rs, typed where the kinds are known, and raw requests where a spec asks for what no library does.
//! `cargo test -p testkit --test suite -- WORDS` plays those with these words in their names.

mod extension;
mod scene;

mod accounts;
mod aggregation;
mod budgets;
mod conversion;
mod core;
mod custom;
mod definitions;
mod devices;
mod discovery;
mod endpoints;
mod events;
mod field_validation;
mod garbage;
mod global;
mod limits;
mod lists;
mod networking;
mod openapi;
mod operations;
mod pods;
mod policies;
mod quota;
mod storage;
mod watches;
mod webhooks;

use libtest_mimic::{Arguments, Failed, Trial};
use scene::{Scenario, Stage};
use std::{collections::BTreeSet, process::ExitCode, sync::Arc};

const SPECS: &str = include_str!("specs.txt");

fn main() -> ExitCode {
    let stage = Arc::new(Stage::new());
    let scenarios: Vec<Scenario> = [
        accounts::table(),
        aggregation::table(),
        budgets::table(),
        conversion::table(),
        core::table(),
        definitions::table(),
        devices::table(),
        discovery::table(),
        endpoints::table(),
        events::table(),
        field_validation::table(),
        garbage::table(),
        global::table(),
        limits::table(),
        lists::table(),
        networking::table(),
        openapi::table(),
        pods::table(),
        policies::table(),
        quota::table(),
        storage::table(),
        watches::table(),
        webhooks::table(),
    ]
    .concat();
    let told: Vec<String> = scenarios.iter().map(|(name, _)| name.to_string()).collect();
    let mut trials = vec![Trial::test("every spec has a scenario", move || complete(&told))];
    for (name, story) in scenarios {
        let stage = stage.clone();
        trials.push(Trial::test(name, move || stage.play(story).map_err(Failed::from)));
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    conclusion.exit_code()
}

fn complete(told: &[String]) -> Result<(), Failed> {
    let mut wanted: BTreeSet<&str> = SPECS.lines().filter(|name| !name.starts_with("[sig-cli]")).collect();
    let unknown: Vec<&String> = told.iter().filter(|name| !wanted.remove(name.as_str())).collect();
    match (wanted.len(), unknown.len()) {
        (0, 0) => Ok(()),
        _ => Err(format!("without a scenario: {wanted:#?}\nunknown, or told twice: {unknown:#?}").into()),
    }
}
