//! `fieldPath` of a rule: a simple path below the place where the rule stands, which must exist in the schema.

use value::{Path, Value};

/// The path as messages print it; `None` where it is none, or leads nowhere.
pub fn normalized(source: &Value, text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut at, mut rest) = (source, text);
    while !rest.is_empty() {
        let name: String;
        if let Some(after) = rest.strip_prefix("['") {
            let (key, remaining) = quoted(after)?;
            rest = remaining.strip_prefix(']')?;
            name = key;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[', ']']).unwrap_or(after.len());
            name = after[..end].to_string();
            rest = &after[end..];
        }
        let (properties, additional) = (at.at(&["properties"]), at.at(&["additionalProperties"]));
        if properties.as_object().is_some() {
            at = properties.get(&name)?;
            out = if out.is_empty() { name } else { format!("{out}.{name}") };
        } else if additional.as_object().is_some() {
            at = additional;
            out = format!("{out}[{name}]");
        } else {
            return None;
        }
    }
    Some(out)
}

/// What stands up to the closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\'' => return Some((out, &text[i + 1..])),
            '\\' => out.push(match chars.next()?.1 {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                c @ ('\'' | '\\') => c,
                _ => return None,
            }),
            c => out.push(c),
        }
    }
    None
}

/// A path, which upstream prints as `<nil>` where it is empty, with what stands below it.
pub fn shown(path: &Path, below: &str) -> String {
    match (path.is_root(), below) {
        (true, "") => "<nil>".into(),
        (true, below) => below.into(),
        (false, "") => path.to_string(),
        (false, below) => format!("{path}.{below}"),
    }
}

#[cfg(test)]
mod tests {
    use super::normalized;
    use value::value;

    #[test]
    fn paths() {
        let schema = value!({"properties": {
            "a": {"properties": {"b.c": {"type": "string"}, "d": {"type": "string"}}},
            "m": {"additionalProperties": {"properties": {"x": {"type": "string"}}}},
        }});
        for (text, want) in [
            (".a", Some("a")),
            (".a.d", Some("a.d")),
            (".a['b.c']", Some("a.b.c")),
            ("['a']['d']", Some("a.d")),
            (".m['it\\'s'].x", Some("m[it's].x")),
            (".a.none", None),
            ("a", None),
            (".a.d.e", None),
            (".a[0]", None),
            (".a['b", None),
        ] {
            assert_eq!(normalized(&schema, text).as_deref(), want, "{text}");
        }
    }
}
