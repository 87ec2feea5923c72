//! The source of an expression and what is wrong with it, as clients read it.
//!
//! A fault is a byte offset and a message; line and column are worked out only when it is shown. The display form
//! (`ERROR: <input>:1:6: …`, the line, a caret) is what `kubectl` prints for a rule that does not compile, so it follows
//! the reference implementation to the letter, wide characters included.

use std::fmt;

/// One fault at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Byte offset into the expression; `None` where the fault has no place (too long, too deep).
    pub at: Option<usize>,
    pub message: String,
}

impl Issue {
    pub fn new(at: usize, message: impl Into<String>) -> Self {
        Issue { at: Some(at), message: message.into() }
    }
    pub fn nowhere(message: impl Into<String>) -> Self {
        Issue { at: None, message: message.into() }
    }
}

/// Why an expression does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompileError {
    /// It does not parse or does not type-check. The text holds one block per fault, in the order of the source.
    Issues(String),
    /// It checks, but a constant in it cannot be evaluated (a regular expression, `int('x')`).
    Program(String),
}

impl fmt::Display for CompileError {
    /// As upstream's admission and CRD validation say it: `compilation failed: ERROR: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::Issues(text) => write!(f, "compilation failed: {text}"),
            CompileError::Program(text) => write!(f, "program instantiation failed: {text}"),
        }
    }
}

impl std::error::Error for CompileError {}

/// Longer snippets are left out of messages.
const SNIPPET: usize = 16_384;
/// More faults than this are counted only.
const REPORTED: usize = 100;

/// All faults of one expression, sorted by place, a block each.
pub fn report(source: &str, issues: &[Issue]) -> String {
    let mut placed: Vec<((i64, usize), &Issue)> =
        issues.iter().take(REPORTED).map(|issue| (place(source, issue.at), issue)).collect();
    placed.sort_by_key(|(place, _)| *place);
    let mut blocks: Vec<String> = placed.iter().map(|(place, issue)| block(source, *place, &issue.message)).collect();
    if issues.len() > REPORTED {
        blocks.push(format!("{} more errors were truncated", issues.len() - REPORTED));
    }
    blocks.join("\n")
}

/// The line (from 1) and column (from 0, in characters) of a byte offset.
fn place(source: &str, at: Option<usize>) -> (i64, usize) {
    let Some(at) = at else { return (-1, 0) };
    let before = source.get(..at.min(source.len())).unwrap_or(source);
    let line = before.matches('\n').count() as i64 + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count();
    (line, column)
}

fn block(source: &str, (line, column): (i64, usize), message: &str) -> String {
    if line < 0 {
        // Without a place the reference shows line -1 and column 0.
        return format!("ERROR: <input>:-1:0: {message}");
    }
    let mut out = format!("ERROR: <input>:{line}:{}: {message}", column + 1);
    let Some(snippet) = source.split('\n').nth((line - 1) as usize).filter(|s| s.len() <= SNIPPET) else { return out };
    out.push_str("\n | ");
    out.push_str(&snippet.replace('\t', " "));
    out.push_str("\n | ");
    let mut chars = snippet.chars();
    let wide = |c: Option<char>| c.is_some_and(|c| c.len_utf8() > 1);
    for c in chars.by_ref().take(column) {
        out.push(if wide(Some(c)) { '\u{ff0e}' } else { '.' });
    }
    out.push(if wide(chars.next()) { '\u{ff3e}' } else { '^' });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_show_line_column_and_caret() {
        let one = [Issue::new(5, "undeclared reference to 'x' (in container '')")];
        assert_eq!(
            report("1 == x", &one),
            "ERROR: <input>:1:6: undeclared reference to 'x' (in container '')\n | 1 == x\n | .....^"
        );
        let two = [Issue::new(6, "b"), Issue::new(0, "a")];
        assert_eq!(
            report("é +\n\tx", &two),
            "ERROR: <input>:1:1: a\n | é +\n | ＾\nERROR: <input>:2:2: b\n |  x\n | .^"
        );
        assert_eq!(report("x", &[Issue::nowhere("too deep")]), "ERROR: <input>:-1:0: too deep");
    }
}
