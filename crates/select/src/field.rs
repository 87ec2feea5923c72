//! Field selectors: `spec.nodeName=a,status.phase!=Failed`.
//!
//! A parsed selector holds names; before it can match it is compiled against the kind's selectable fields, which turns
//! names into positions and refuses unknown ones.

use base::{Result, Status};
use std::fmt;
use value::{Object, Str};

/// One term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: Str,
    pub value: Str,
    /// `=` or `==`; otherwise `!=`.
    pub equal: bool,
}

/// All terms must hold; without terms everything matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldRequirement>);

impl FieldSelector {
    pub const fn everything() -> Self {
        FieldSelector(Vec::new())
    }
    /// One field must have one value.
    pub fn equals(field: impl Into<Str>, value: impl Into<Str>) -> Self {
        FieldSelector(vec![FieldRequirement { field: field.into(), value: value.into(), equal: true }])
    }
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.0
    }
    /// The value that a field must have, where a term says so.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|r| r.equal && r.field == field).map(|r| r.value.as_str())
    }
    /// Parses terms joined by commas. In values `\,`, `\=` and `\\` stand for the character itself. 400 on errors.
    pub fn parse(text: &str) -> Result<Self> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut out = Vec::new();
        for term in terms.into_iter().filter(|t| !t.is_empty()) {
            let not_understood =
                || Status::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'"));
            let (field, rest) = term.split_at(term.find(['=', '!']).ok_or_else(not_understood)?);
            // A lone `!` belongs to the name; the operator comes later.
            let (field, rest) = match rest.strip_prefix('!') {
                Some(after) if !after.starts_with('=') => {
                    let at = term.find("!=").or(term.find('=')).ok_or_else(not_understood)?;
                    term.split_at(at)
                }
                _ => (field, rest),
            };
            let (equal, value) = if let Some(value) = rest.strip_prefix("!=") {
                (false, value)
            } else {
                (true, rest.strip_prefix("==").or(rest.strip_prefix('=')).ok_or_else(not_understood)?)
            };
            let value = unescape(value)?;
            if !(field.is_empty() && value.is_empty()) {
                out.push(FieldRequirement { field: field.into(), value, equal });
            }
        }
        Ok(FieldSelector(out))
    }
    /// Resolves names to positions. `known` are the kind's selectable fields in the order of [`value::Meta::fields`];
    /// `metadata.name` and `metadata.namespace` are known everywhere. 400 for any other.
    pub fn compile(&self, known: &[&str]) -> Result<CompiledFieldSelector> {
        let terms = self.0.iter().map(|r| {
            let target = match r.field.as_str() {
                "metadata.name" => Target::Name,
                "metadata.namespace" => Target::Namespace,
                field => {
                    Target::Field(known.iter().position(|k| *k == field).ok_or_else(|| unknown_field(field, known))?)
                }
            };
            Ok((target, r.value.clone(), r.equal))
        });
        terms.collect::<Result<_>>().map(CompiledFieldSelector)
    }
}

/// Kinds with fields of their own say it in other words than those that have none. Source: upstream's field label
/// conversions.
fn unknown_field(field: &str, known: &[&str]) -> Status {
    Status::bad_request(match known {
        [] => format!("\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
        _ => format!("field label not supported: {field}"),
    })
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.0.iter().enumerate() {
            let value = r.value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=");
            let (comma, operator) = (if i > 0 { "," } else { "" }, if r.equal { "=" } else { "!=" });
            write!(f, "{comma}{}{operator}{value}", r.field)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Name,
    Namespace,
    Field(usize),
}

/// A field selector whose names are positions, ready to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompiledFieldSelector(Vec<(Target, Str, bool)>);

impl CompiledFieldSelector {
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }
    pub fn matches(&self, object: &Object) -> bool {
        self.matches_parts(object.namespace(), object.name(), &object.meta.fields)
    }
    /// The same from parts; a field that `fields` lacks counts as empty.
    pub fn matches_parts(&self, namespace: &str, name: &str, fields: &[Str]) -> bool {
        self.0.iter().all(|(target, value, equal)| {
            let actual = match target {
                Target::Name => name,
                Target::Namespace => namespace,
                Target::Field(i) => fields.get(*i).map_or("", Str::as_str),
            };
            (actual == value.as_str()) == *equal
        })
    }
    /// The one name that can match, where a term fixes it.
    pub fn name(&self) -> Option<&str> {
        self.exact(Target::Name)
    }
    /// The one namespace that can match.
    pub fn namespace(&self) -> Option<&str> {
        self.exact(Target::Namespace)
    }
    /// The one value that the selectable field at that position may have.
    pub fn field(&self, i: usize) -> Option<&str> {
        self.exact(Target::Field(i))
    }
    fn exact(&self, target: Target) -> Option<&str> {
        self.0.iter().find(|(t, _, equal)| *t == target && *equal).map(|(_, value, _)| value.as_str())
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn unescape(text: &str) -> Result<Str> {
    let mut out = Str::default();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let other = other.map(String::from).unwrap_or_default();
                    let why = format!("invalid field selector: invalid escape sequence: \\{other}");
                    return Err(Status::bad_request(why));
                }
            },
            ',' | '=' => {
                let why = format!("invalid field selector: unescaped character in value: {}", c as u32);
                return Err(Status::bad_request(why));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for (text, want) in [
            ("", ""),
            ("a=b", "a=b"),
            ("a==b", "a=b"),
            ("b!=c,a=", "a=,b!=c"),
            (r"a=x\,y\=z\\", r"a=x\,y\=z\\"),
            (",", ""),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn refuses() {
        for (text, want) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ] {
            let status = FieldSelector::parse(text).unwrap_err();
            assert_eq!((status.message(), status.code()), (want, 400), "{text}");
        }
        let unknown = FieldSelector::parse("spec.x=1").unwrap().compile(&["spec.nodeName"]).unwrap_err();
        assert_eq!(unknown.message(), "field label not supported: spec.x");
    }

    #[test]
    fn matches() {
        let compile =
            |text: &str| FieldSelector::parse(text).unwrap().compile(&["spec.nodeName", "status.phase"]).unwrap();
        let fields = ["n1".into(), "Running".into()];
        for (text, want) in [
            ("", true),
            ("metadata.name=web", true),
            ("metadata.name!=web", false),
            ("metadata.namespace=other", false),
            ("spec.nodeName=n1,status.phase!=Failed", true),
            ("spec.nodeName=", false),
        ] {
            assert_eq!(compile(text).matches_parts("default", "web", &fields), want, "{text}");
        }
        assert_eq!(compile("metadata.name=a").name(), Some("a"));
        assert_eq!(compile("status.phase=a").field(1), Some("a"));
        assert_eq!(compile("status.phase!=a").field(1), None);
    }
}
