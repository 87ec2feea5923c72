//! YAML in and out, through the same tree as JSON.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};
use std::{collections::HashSet, fmt};
use value::{Parsed, Value};

struct Document(Parsed);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        value::parse_from(d).map(Document)
    }
}

/// Parses the first document of a stream and notes duplicate keys (the last one wins). The error says what and where.
pub fn parse(text: &str) -> Result<Parsed, String> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let Document(parsed) =
        serde_saphyr::from_str_with_options(first_document(text), options).map_err(|e| complaint(&e.to_string()))?;
    Ok(parsed)
}

/// Our parser's error in the words of go-yaml, from which it has the sentences, too: the line is named from the second
/// on, and what the grammar misses is said of the line before.
fn complaint(error: &str) -> String {
    let first = error.lines().next().unwrap_or("");
    let told = first.trim_start_matches("error: ");
    let place = told.strip_prefix("line ").and_then(|rest| rest.split_once(' '));
    let line = place.and_then(|(line, _)| line.parse::<usize>().ok());
    let (Some(line), Some((_, text))) = (line, told.split_once(": ")) else { return format!("yaml: {told}") };
    let line = if text.starts_with("did not find expected") { line.saturating_sub(1) } else { line };
    let named = line > 1 || (line == 1 && text.starts_with("did not find expected"));
    if named { format!("yaml: line {line}: {text}") } else { format!("yaml: {text}") }
}

/// What a document repeats, as messages have it: `line 5: key "name" already set in map`.
pub fn repetitions(text: &str) -> Vec<String> {
    let repeated = repeated_keys(text).into_iter();
    repeated.map(|(line, key)| format!("line {line}: key {key:?} already set in map")).collect()
}

/// The keys of the first document that stand more than once in one map: the line of each repetition, 1-based, and the key.
/// For messages only: it reads the text once more.
pub fn repeated_keys(text: &str) -> Vec<(u64, String)> {
    let document = first_document(text);
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let before = text.find(document).map_or(0, |at| text[..at].matches('\n').count() as u64);
    let repeated = serde_saphyr::from_str_with_options(document, options).unwrap_or(Repeated(Vec::new()));
    repeated.0.into_iter().map(|(line, key)| (line + before, key)).collect()
}

/// What a document repeats, gathered instead of its values.
struct Repeated(Vec<(u64, String)>);

impl<'de> Deserialize<'de> for Repeated {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(RepeatedVisitor)
    }
}

struct RepeatedVisitor;

impl<'de> Visitor<'de> for RepeatedVisitor {
    type Value = Repeated;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E>(self) -> Result<Repeated, E> {
        Ok(Repeated(Vec::new()))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Repeated, E> {
        Ok(Repeated(Vec::new()))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Repeated, E> {
        Ok(Repeated(Vec::new()))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Repeated, E> {
        Ok(Repeated(Vec::new()))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Repeated, E> {
        Ok(Repeated(Vec::new()))
    }
    fn visit_str<E>(self, _: &str) -> Result<Repeated, E> {
        Ok(Repeated(Vec::new()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Repeated, A::Error> {
        let mut out = Vec::new();
        while let Some(Repeated(inner)) = seq.next_element()? {
            out.extend(inner);
        }
        Ok(Repeated(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Repeated, A::Error> {
        let (mut out, mut seen) = (Vec::new(), HashSet::new());
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            if !seen.insert(key.value.clone()) {
                out.push((key.referenced.line(), key.value));
                map.next_value::<IgnoredAny>()?;
            } else {
                out.extend(map.next_value::<Repeated>()?.0);
            }
        }
        Ok(Repeated(out))
    }
}

/// Block style, keys sorted.
pub fn to_string(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string())
}

/// Up to the separator that follows the first content.
fn first_document(text: &str) -> &str {
    let (mut at, mut content) = (0, false);
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if bare == "---" || bare.starts_with("--- ") {
            if content {
                return &text[start..at];
            }
            if bare == "---" {
                start = at + line.len();
            } else {
                content = true;
            }
        } else if bare == "..." && content {
            return &text[start..at];
        } else if !bare.is_empty() && !bare.trim_start().starts_with('#') {
            content = true;
        }
        at += line.len();
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn reads_the_first_document() {
        for (text, want) in [
            ("a: 1\nb: [x, \"2\", true, null]\n", r#"{"a":1,"b":["x","2",true,null]}"#),
            ("---\na: 1\n---\nb: 2\n", r#"{"a":1}"#),
            ("# note\n---\n\n---\na: |\n  x\n  y\n", r#"{"a":"x\ny\n"}"#),
            ("{\"a\": {\"b\": 1.5}}", r#"{"a":{"b":1.5}}"#),
            ("a: &x {b: 1}\nc: *x\n", r#"{"a":{"b":1},"c":{"b":1}}"#),
            ("80: x", r#"{"80":"x"}"#),
        ] {
            assert_eq!(parse(text).unwrap().value.to_string(), want, "{text}");
        }
        assert!(parse("a: [").is_err());
    }

    #[test]
    fn complaints_are_those_of_go() {
        for (text, want) in [
            ("a: b: c", "yaml: mapping values are not allowed in this context"),
            ("a: 1\nb: c: d\n", "yaml: line 2: mapping values are not allowed in this context"),
        ] {
            assert_eq!(parse(text).unwrap_err(), want, "{text}");
        }
        for text in ["a: [1\n", "a: \"x", "{", "- a\nb"] {
            let said = parse(text).unwrap_err();
            assert!(said.starts_with("yaml: ") && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn notes_duplicates() {
        let parsed = parse("spec:\n  a: 1\n  a: 2\n").unwrap();
        assert_eq!(
            (parsed.value.to_string().as_str(), parsed.duplicates),
            (r#"{"spec":{"a":2}}"#, vec!["spec.a".to_string()])
        );
    }

    #[test]
    fn repetitions_have_lines() {
        for (text, want) in [
            ("a: 1\nb: {c: 1}\n", &[][..]),
            ("\nspec:\n  foo: 1\n  foo: 2\n  l:\n  - x: 1\n    x: [1]\n", &[(4, "foo"), (7, "x")][..]),
            ("---\na: 1\na: 2\n", &[(3, "a")][..]),
            ("{\"a\": 1.5, \"b\": true,\n \"a\": null}", &[(2, "a")][..]),
        ] {
            let want: Vec<(u64, String)> = want.iter().map(|(line, key)| (*line, key.to_string())).collect();
            assert_eq!(repeated_keys(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let value = value!({"a": "true", "b": "1", "c": "x: y", "d": ["", "multi\nline\n", null, {"e": 1}], "f": {}, "g": [], "h": "no", "i": "~", "j": "0x10", "k": "1e3"});
        assert_eq!(parse(&to_string(&value)).unwrap().value, value, "{}", to_string(&value));
    }
}
