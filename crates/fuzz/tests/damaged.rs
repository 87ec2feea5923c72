//! Inputs of the corpora, damaged: what a run without libFuzzer finds. The same inputs every time; FERRY_FUZZ_ROUNDS asks
//! for more of them (200 per target), FERRY_FUZZ_SEED for others, FERRY_FUZZ_TARGET for one target alone.

use std::{env, fs, panic, path::Path};

/// A linear congruence: no clock, no state of the machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

/// What is seldom typed and often forgotten.
const ODD: &[&str] = &[
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "-1",
    "0",
    "1e400",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "0.1",
    "\\u0000",
    "\\ud800",
    "ü",
    "\u{10ffff}",
    "\0",
    "\"",
    "'",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ",",
    ":",
    "/",
    "~1",
    "*",
    "%",
    "%2f",
    "%zz",
    "&",
    "=",
    "!",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "---8<---\n",
    "..",
    "$",
    "metadata",
    "name",
    "namespace",
    "spec",
    "status",
    "labels",
    "annotations",
    "finalizers",
    "resourceVersion",
    "uid",
    "generation",
    "managedFields",
    "ownerReferences",
    "kind",
    "apiVersion",
    "items",
    "default",
    "kube-system",
    "\"$patch\":\"delete\"",
    "\"$patch\":\"replace\"",
    "$retainKeys",
    "self",
    "oldSelf",
    "object",
    "size(",
    ".map(x, ",
    "matches('",
    "dyn(",
    "? 1 : ",
    " in ",
    "&&",
    "||",
    "properties",
    "items",
    "additionalProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "enum",
    "pattern",
    "PATCH ",
    "DELETE ",
    "PUT ",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
    "application/vnd.kubernetes.protobuf",
    "?watch=1",
    "limit=1",
    "/status",
    "/scale",
    "/finalize",
    "fieldManager=f",
    "sha256:",
    "localhost:5000/",
    "99999999999",
    "Gi",
];

fn damaged(random: &mut Random, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut input = inputs[random.below(inputs.len())].clone();
    for _ in 0..1 + random.below(5) {
        let at = random.below(input.len() + 1);
        let end = (at + 1 + random.below(12)).min(input.len());
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.below(256) as u8,
            2 => drop(input.drain(at.min(end)..end)),
            3 => input.truncate(at.max(1)),
            4 | 5 => drop(input.splice(at..at, ODD[random.below(ODD.len())].bytes())),
            6 => {
                let copied = input[at.min(end)..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, copied);
            }
            _ => {
                let other = &inputs[random.below(inputs.len())];
                let from = random.below(other.len() + 1);
                let to = (from + random.below(64)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    input
}

#[test]
fn damaged_inputs() {
    let number = |name: &str, default: u64| env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (rounds, seed) = (number("FERRY_FUZZ_ROUNDS", 200), number("FERRY_FUZZ_SEED", 1));
    let only = env::var("FERRY_FUZZ_TARGET").ok();
    for (name, target) in fuzz::TARGETS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(dir).expect("a corpus").map(|f| f.expect("an entry").path()).collect();
        files.sort();
        let inputs: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("an input")).collect();
        let mut random = Random(seed);
        for _ in 0..rounds {
            let input = damaged(&mut random, &inputs);
            if panic::catch_unwind(|| target(&input)).is_err() {
                let kept = env::temp_dir().join(format!("ferry-fuzz-{name}"));
                fs::write(&kept, &input).expect("kept");
                panic!("{name} fails, see {}: {:?}", kept.display(), String::from_utf8_lossy(&input));
            }
        }
    }
}
