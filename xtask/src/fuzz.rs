//! `fuzz`: every target of `crates/fuzz` under libFuzzer, one after the other.
//!
//! Neither cargo-fuzz nor a nightly compiler is needed: counting edges is a pass of LLVM that the stable compiler runs, too,
//! and nothing here wants the address sanitizer, because the targets are safe code. The build has a directory of its own (all
//! crates once more, with counters). What a run learns is kept there; what fails is written there, and belongs into the
//! corpus once it is mended.

use crate::run::{cargo, run};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// `fuzz [--seconds N] [TARGET…]`: so long for each (60), of all or of those named.
pub fn fuzz(args: &[String]) -> Result<(), String> {
    let (seconds, wanted) = match args {
        [flag, seconds, rest @ ..] if flag == "--seconds" => (seconds.as_str(), rest),
        rest => ("60", rest),
    };
    seconds.parse::<u32>().map_err(|_| format!("N must be a number, not {seconds:?}"))?;
    let home = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from).join("fuzz");
    let home = env::current_dir().map_err(|e| e.to_string())?.join(home);
    let binary = built(&home)?;
    let corpora = Path::new("crates/fuzz/corpus");
    let entries = fs::read_dir(corpora).map_err(|e| format!("{}: {e}", corpora.display()))?;
    let mut targets: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    targets.sort();
    if let Some(unknown) = wanted.iter().find(|name| !targets.contains(name)) {
        return Err(format!("no target {unknown:?}; there are {}", targets.join(", ")));
    }
    let mut failed = Vec::new();
    for target in targets.iter().filter(|target| wanted.is_empty() || wanted.contains(target)) {
        let learned = home.join("corpus").join(target);
        fs::create_dir_all(&learned).map_err(|e| format!("{}: {e}", learned.display()))?;
        let mut command = Command::new(&binary);
        command.env("FUZZ_TARGET", target).arg(&learned).arg(corpora.join(target));
        command.args([format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/{target}-", home.display())]);
        command.args(["-timeout=20", "-rss_limit_mb=3000", "-max_len=8192", "-len_control=20", "-verbosity=1"]);
        println!("== {target}");
        if run(&mut command).is_err() {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("inputs in {} fail: {}", home.display(), failed.join(", "))) }
}

fn built(home: &Path) -> Result<PathBuf, String> {
    // The driver's own lines are added to the copy: everything else is as it is locked here.
    fs::copy("Cargo.lock", "fuzz/Cargo.lock").map_err(|e| format!("fuzz/Cargo.lock: {e}"))?;
    let mut command = cargo();
    command.args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", "host-tuple"]);
    run(command.env("CARGO_TARGET_DIR", home).env("RUSTFLAGS", FLAGS.join(" ")))?;
    let built = fs::read_dir(home).map_err(|e| format!("{}: {e}", home.display()))?.flatten();
    let binaries = built.map(|dir| dir.path().join("release/all")).find(|path| path.exists());
    binaries.ok_or_else(|| format!("cargo built no driver in {}", home.display()))
}
