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
    Regex::new(&ascii_classes(pattern)).map_err(|_| format!("error parsing regexp: {pattern:?}"))
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

fn ascii_classes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('d')) => out.push_str("[0-9]"),
            ('\\', Some('w')) => out.push_str("[0-9A-Za-z_]"),
            ('\\', Some('s')) => out.push_str(r"[\t\n\f\r ]"),
            ('\\', Some('D')) => out.push_str("[^0-9]"),
            ('\\', Some('W')) => out.push_str("[^0-9A-Za-z_]"),
            ('\\', Some('S')) => out.push_str(r"[^\t\n\f\r ]"),
            ('\\', Some('C')) => out.push_str("(?s:.)"),
            ('\\', Some(other)) => out.extend(['\\', other]),
            (c, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn classes_are_those_of_re2() {
        assert!(!compile(r"^\d$").is_ok_and(|r| r.is_match("٣")));
        assert!(compile(r"^[\w-]+$").is_ok_and(|r| r.is_match("a-b_1")));
        assert!(compile(r"\\d").is_ok_and(|r| r.is_match(r"\d")));
        assert!(compile("(").is_err());
        assert!(compile(r"(?=a)").is_err());
    }
}
