//! libFuzzer's entry: one binary for every target of `crates/fuzz`, chosen by FUZZ_TARGET, because each build of them all
//! takes minutes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<fuzz::Target> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = fuzz::TARGETS.iter().find(|(name, _)| *name == wanted);
    let names = || fuzz::TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    found.unwrap_or_else(|| panic!("FUZZ_TARGET must be one of: {}", names())).1
});

fuzz_target!(|data: &[u8]| TARGET(data));
