//! Patterns, in RE2's syntax.
//!
//! The engine is linear in the text, as RE2 is. Its classes `\d`, `\s` and `\w` are Unicode unless told otherwise; RE2's are
//! ASCII, hence the translation. Patterns that are constant are compiled with the expression; others each time, which the
//! cost accounts for.

use super::{Row, int, text};
use crate::val::{EvalError, Fallible, Val};
use ::regex::Regex;

pub(super) const ROWS: &[Row] = &[
    ("matches", "matches", "(string,string) bool", |a| dynamic("matches", a)),
    ("matches", "matches_string", "string.(string) bool", |a| dynamic("matches", a)),
    ("find", "string_find_string", "string.(string) string", |a| dynamic("find", a)),
    ("findAll", "string_find_all_string", "string.(string) list<string>", |a| dynamic("findAll", a)),
    ("findAll", "string_find_all_string_int", "string.(string,int) list<string>", |a| dynamic("findAll", a)),
];

/// Compiles a pattern; the error is said as Go says it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if let Some(operator) = nested_repetition(pattern) {
        return Err(format!("error parsing regexp: invalid nested repetition operator: `{operator}`"));
    }
    Regex::new(&schema::go_regex(pattern)).map_err(|why| {
        let why = why.to_string();
        let found = REASONS.iter().find(|(theirs, _)| why.contains(theirs));
        let reason = found.map_or("invalid or unsupported Perl syntax", |(_, go)| go);
        format!("error parsing regexp: {reason}: `{pattern}`")
    })
}

/// What the engine says, and what Go says of the same.
const REASONS: [(&str, &str); 9] = [
    ("unopened group", "unexpected )"),
    ("unclosed group", "missing closing )"),
    ("unclosed character class", "missing closing ]"),
    ("repetition operator missing expression", "missing argument to repetition operator"),
    ("invalid character class range", "invalid character class range"),
    ("unrecognized escape sequence", "invalid escape sequence"),
    ("incomplete escape sequence", "trailing backslash at end of expression"),
    ("repetition quantifier", "invalid repeat count"),
    ("Unicode property not found", "invalid character class range"),
];

/// Two repetitions in a row (`x++`, `x**`), which RE2 refuses and the engine takes.
fn nested_repetition(pattern: &str) -> Option<&str> {
    let bytes = pattern.as_bytes();
    let (mut at, mut class) = (0, false);
    // Where the repetition right before started.
    let mut before: Option<usize> = None;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'\\' => at += 1,
            b'[' if !class => class = true,
            b']' => class = false,
            b'*' | b'+' | b'?' if !class && at > 0 && !matches!(bytes[at - 1], b'(' | b'|') => {
                if let Some(first) = before {
                    return pattern.get(first..=at);
                }
                // A `?` behind it only makes it lazy.
                at += usize::from(bytes.get(at + 1) == Some(&b'?'));
                before = Some(start);
                at += 1;
                continue;
            }
            _ => {}
        }
        before = None;
        at += 1;
    }
    None
}

/// A function with its pattern compiled.
pub fn with<'a>(function: &str, regex: &Regex, args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let text = text(args, 0)?;
    Ok(match function {
        "matches" => Val::Bool(regex.is_match(text)),
        "find" => regex.find(text).map_or("", |found| found.as_str()).into(),
        _ => {
            let limit = if args.len() > 2 { usize::try_from(int(args, 2)?).unwrap_or(usize::MAX) } else { usize::MAX };
            Val::list(regex.find_iter(text).take(limit).map(|found| found.as_str().into()).collect())
        }
    })
}

fn dynamic<'a>(function: &str, args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let regex = compile(text(args, 1)?)
        .map_err(|why| EvalError::new(if function == "matches" { why } else { format!("Illegal regex: {why}") }))?;
    with(function, &regex, args)
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn classes_are_those_of_re2() {
        assert!(!compile(r"^\d$").is_ok_and(|r| r.is_match("٣")));
        assert!(compile(r"^[\w-]+$").is_ok_and(|r| r.is_match("a-b_1")));
        assert!(compile(r"\\d").is_ok_and(|r| r.is_match(r"\d")));
        assert_eq!(compile("(").map_err(drop).err(), Some(()));
        assert_eq!(compile(")").err().as_deref(), Some("error parsing regexp: unexpected ): `)`"));
        assert_eq!(
            compile("x++").err().as_deref(),
            Some("error parsing regexp: invalid nested repetition operator: `++`")
        );
        assert!(["x+?", "(?:a*)*", "[*+]+", r"\++", "(?i)a", "a*b*"].iter().all(|p| compile(p).is_ok()));
        assert!(compile(r"(?=a)").is_err());
    }
}
