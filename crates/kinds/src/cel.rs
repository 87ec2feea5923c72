//! Expressions in objects of the API: policies, match conditions, device selectors.
//!
//! The place where an expression is compiled when its object is written. What the field demands of the text stands here
//! already; the compiler joins behind it, with what the expression may name ([`Names`]). An expression that the old
//! object had is compiled as a stored one: it may use what a newer server no longer lets in.

use crate::at::At;
use base::FieldErrors;

/// What an expression may name beside `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Names {
    pub params: bool,
    pub authorizer: bool,
    /// `Object{…}` and `JSONPatch{…}`.
    pub patches: bool,
}

impl At<'_> {
    /// An expression that must be there; `missing` is what is said where it is not.
    pub fn expression(&self, errors: &mut FieldErrors, missing: &str, _names: Names) {
        if self.str().trim().is_empty() {
            self.required(errors, missing);
        }
    }
}

/// True for what CEL takes for an identifier, which is not one of its own words.
pub fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    let starts = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    starts && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) && !RESERVED.contains(&name)
}
