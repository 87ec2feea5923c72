//! YAML in and out, through the same tree as JSON.

use serde::{Deserialize, Deserializer};
use serde_saphyr::options::DuplicateKeyPolicy;
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
        serde_saphyr::from_str_with_options(first_document(text), options).map_err(|e| e.to_string())?;
    Ok(parsed)
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
    fn notes_duplicates() {
        let parsed = parse("spec:\n  a: 1\n  a: 2\n").unwrap();
        assert_eq!(
            (parsed.value.to_string().as_str(), parsed.duplicates),
            (r#"{"spec":{"a":2}}"#, vec!["spec.a".to_string()])
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let value = value!({"a": "true", "b": "1", "c": "x: y", "d": ["", "multi\nline\n", null, {"e": 1}], "f": {}, "g": [], "h": "no", "i": "~", "j": "0x10", "k": "1e3"});
        assert_eq!(parse(&to_string(&value)).unwrap().value, value, "{}", to_string(&value));
    }
}
