//! The corpora again: what was found once stays mended.

use std::{fs, path::Path};

#[test]
fn every_input_of_every_corpus() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in fuzz::TARGETS {
        let dir = corpora.join(name);
        let inputs = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let mut inputs: Vec<_> = inputs.map(|input| input.expect("an entry").path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            // Shown where the test fails.
            println!("{}", input.display());
            target(&fs::read(&input).expect("an input"));
        }
    }
    for dir in fs::read_dir(&corpora).expect("corpora") {
        let name = dir.expect("an entry").file_name();
        assert!(fuzz::TARGETS.iter().any(|(target, _)| **target == *name), "{name:?} belongs to no target");
    }
}

#[test]
fn nothing_at_all() {
    for (_, target) in fuzz::TARGETS {
        for input in [&b""[..], b"\0", b"\xff", b"{}", b"---8<---\n", b" \n"] {
            target(input);
        }
    }
}
