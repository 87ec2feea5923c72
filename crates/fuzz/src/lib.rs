//! What comes from outside, as functions of bytes: [`TARGETS`].
//!
//! A target reads its input as a server would, and says by a panic that something is wrong: that the code under it
//! panicked, or that what it did contradicts itself (what is written is not what was read, a patch that is applied twice
//! is not the patch applied once). Whether an answer is right is for the tests; whatever the bytes are, there is one.
//!
//! `fuzz/` beside the crates drives them with libFuzzer (`cargo xtask fuzz`); `tests/replay.rs` runs the corpora, where
//! every input that ever failed is kept. A file of `corpus/<target>/` is one input.
//! Several values in one input are divided by a line of its own, `---8<---`.

mod cel;
mod definitions;
mod encodings;
mod names;
mod patches;
mod server;

/// A target: any bytes will do.
pub type Target = fn(&[u8]);

/// By the names of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    ("json", encodings::json),
    ("yaml", encodings::yaml),
    ("protobuf", encodings::protobuf),
    ("cbor", encodings::cbor),
    ("json-patch", patches::json),
    ("merge-patch", patches::merge),
    ("strategic-patch", patches::strategic),
    ("apply", patches::apply),
    ("fields", patches::fields),
    ("label-selector", names::label_selector),
    ("field-selector", names::field_selector),
    ("names", names::names),
    ("image", names::image),
    ("cel", cel::cel),
    ("definition", definitions::definition),
    ("request", server::request),
    ("writes", server::writes),
];

/// The parts of an input.
pub(crate) fn parts(data: &[u8]) -> Vec<&[u8]> {
    const MARK: &[u8] = b"---8<---\n";
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(MARK.len()).position(|w| w == MARK) {
        parts.push(&rest[..at]);
        rest = &rest[at + MARK.len()..];
    }
    parts.push(rest);
    parts
}

/// A part as a tree: YAML, which JSON is, too.
pub(crate) fn tree(data: &[u8]) -> Option<value::Value> {
    value::parse_lenient(data).ok().or_else(|| {
        let parsed = wire::yaml::parse(std::str::from_utf8(data).ok()?).ok()?;
        Some(parsed.value)
    })
}
