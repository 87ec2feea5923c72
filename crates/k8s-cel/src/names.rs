//! Property names as CEL identifiers.
//!
//! Kubernetes properties may hold `.`, `-`, `/` and words that CEL reserves; rules write `self.__namespace__` and
//! `self.my__dash__field`. Source: `x-kubernetes-validations` in the CRD documentation, KEP-2876.

/// Words that are no identifiers in CEL.
pub const RESERVED: [&str; 21] = [
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

/// True for an identifier that is not one of the words of the language.
pub fn is_identifier(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    starts && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) && !RESERVED.contains(&name)
}

/// The identifier for a property; `None` where there is none (it starts with a digit or has other characters).
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len() + 8);
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (text, taken) = match c {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            c if c.is_ascii_alphanumeric() || c == '_' => (&rest[..1], 1),
            _ => return None,
        };
        out.push_str(text);
        rest = &rest[taken..];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn names_become_identifiers() {
        for (name, want) in [
            ("a", Some("a")),
            ("a_b", Some("a_b")),
            ("namespace", Some("__namespace__")),
            ("true", Some("__true__")),
            ("int", Some("int")),
            ("a.b", Some("a__dot__b")),
            ("a-b", Some("a__dash__b")),
            ("a/b", Some("a__slash__b")),
            ("a__b", Some("a__underscores__b")),
            ("a___b", Some("a__underscores___b")),
            ("_", Some("_")),
            ("1a", None),
            ("", None),
            ("$ref", None),
            ("é", None),
        ] {
            assert_eq!(escape(name).as_deref(), want, "{name}");
        }
    }
}
