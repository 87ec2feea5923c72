//! JSON paths as printer columns of CustomResourceDefinitions use them.
//!
//! Supported: `.a.b`, `['a']`, `.*`, `[*]`, `[0]`, `[-1]`, `[0:2]`, `..a`, `[?(@.type=="Ready")]`, with or without braces
//! and `$`. Not supported, as in upstream's columns: ranges, functions, several expressions.

use value::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Recursive(String),
    Filter(Filter),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: JsonPath,
    /// Without a comparison the filter asks for existence.
    test: Option<(Comparison, Value)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Parses a path; the error says what was not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(inner);
        let rest = inner.strip_prefix(['$', '@']).unwrap_or(inner);
        let mut parser = Parser { rest };
        let mut steps = Vec::new();
        while !parser.rest.is_empty() {
            steps.push(parser.step()?);
        }
        Ok(JsonPath(steps))
    }
    /// All values that the path names, in document order.
    pub fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![root];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.walk(value, &mut next);
            }
            found = next;
        }
        found
    }
    /// The first value that the path names.
    pub fn first<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        // Plain members, the common case, need no lists.
        let mut at = root;
        for step in &self.0 {
            match step {
                Step::Key(key) if !matches!(at, Value::Array(_)) => at = at.get(key)?,
                _ => return self.find(root).into_iter().next(),
            }
        }
        Some(at)
    }
}

impl Step {
    fn walk<'v>(&self, value: &'v Value, out: &mut Vec<&'v Value>) {
        match (self, value) {
            (Step::Key(key), Value::Object(map)) => out.extend(map.get(key)),
            (Step::Index(i), Value::Array(items)) => {
                let i = if *i < 0 { *i + items.len() as i64 } else { *i };
                out.extend(usize::try_from(i).ok().and_then(|i| items.get(i)));
            }
            (Step::Slice(from, to), Value::Array(items)) => {
                let n = items.len() as i64;
                let clamp = |i: i64| if i < 0 { (i + n).max(0) } else { i.min(n) } as usize;
                let (from, to) = (clamp(from.unwrap_or(0)), clamp(to.unwrap_or(n)));
                out.extend(items.get(from..to).into_iter().flatten());
            }
            (Step::All, Value::Array(items)) => out.extend(items),
            (Step::All, Value::Object(map)) => out.extend(map.iter().map(|(_, v)| v)),
            (Step::Recursive(key), _) => recurse(key, value, out),
            (Step::Filter(filter), Value::Array(items)) => out.extend(items.iter().filter(|item| filter.holds(item))),
            _ => {}
        }
    }
}

fn recurse<'v>(key: &str, value: &'v Value, out: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            out.extend(map.get(key));
            map.iter().for_each(|(_, v)| recurse(key, v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| recurse(key, v, out)),
        _ => {}
    }
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let Some(left) = self.left.first(item) else { return false };
        let Some((comparison, right)) = &self.test else { return true };
        let order = match (left.as_f64(), right.as_f64()) {
            (Some(a), Some(b)) => a.partial_cmp(&b),
            _ => match (left, right) {
                (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
                (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
                _ => None,
            },
        };
        order.is_some_and(|order| match comparison {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        })
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn step(&mut self) -> Result<Step, String> {
        if let Some(rest) = self.rest.strip_prefix("..") {
            self.rest = rest;
            return Ok(Step::Recursive(self.name()?));
        }
        if let Some(rest) = self.rest.strip_prefix('[') {
            let end = closing(rest).ok_or_else(|| format!("unterminated array in {:?}", self.rest))?;
            self.rest = &rest[end + 1..];
            return bracket(rest[..end].trim());
        }
        self.rest = self.rest.strip_prefix('.').unwrap_or(self.rest);
        if self.rest.starts_with('[') {
            return self.step();
        }
        match self.name()? {
            name if name == "*" => Ok(Step::All),
            name => Ok(Step::Key(name)),
        }
    }
    /// Up to the next `.` or `[`; a backslash takes the next character as it is.
    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((i, c)) = chars.next() {
            match c {
                '.' | '[' => {
                    end = i;
                    break;
                }
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        if name.is_empty() { Err("empty name in path".into()) } else { Ok(name) }
    }
}

/// The bracket that closes, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (0, None);
    for (i, c) in text.char_indices() {
        match (quoted, c) {
            (Some(q), c) if c == q => quoted = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quoted = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(i),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Result<Step, String> {
    let bad = || format!("invalid array index {text:?}");
    if text == "*" {
        return Ok(Step::All);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return Ok(Step::Filter(parse_filter(filter)?));
    }
    if let Some(name) = unquote(text) {
        return Ok(Step::Key(name.to_string()));
    }
    if let Some((from, to)) = text.split_once(':') {
        let number = |s: &str| if s.is_empty() { Ok(None) } else { s.parse().map(Some).map_err(|_| bad()) };
        return Ok(Step::Slice(number(from.trim())?, number(to.trim())?));
    }
    text.parse().map(Step::Index).map_err(|_| bad())
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    // Two characters first: `<=` also begins with `<`.
    let operators =
        [("==", Equal), ("!=", NotEqual), ("<=", LessOrEqual), (">=", GreaterOrEqual), ("<", Less), (">", Greater)];
    let found = operators.into_iter().find_map(|(word, op)| text.find(word).map(|at| (at, word, op)));
    let Some((at, word, op)) = found else { return Ok(Filter { left: JsonPath::parse(text)?, test: None }) };
    let right = text[at + word.len()..].trim();
    let right = match unquote(right) {
        Some(text) => Value::from(text),
        None => value::parse_lenient(right.as_bytes()).map_err(|_| format!("invalid operand {right:?} in filter"))?,
    };
    Ok(Filter { left: JsonPath::parse(&text[..at])?, test: Some((op, right)) })
}

fn unquote(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|q| text.strip_prefix(q)?.strip_suffix(q))
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn finds() {
        let object = value!({
            "spec": {"a.b": 1, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}, {"n": "z"}], "m": {"k": true}},
            "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}
        });
        for (path, want) in [
            (".spec.m.k", "[true]"),
            ("{.spec.m.k}", "[true]"),
            ("$.spec['a.b']", "[1]"),
            (r".spec.a\.b", "[1]"),
            (".spec.list[*].n", r#"["x","y","z"]"#),
            (".spec.list[1].v", "[2]"),
            (".spec.list[-1].n", r#"["z"]"#),
            (".spec.list[0:2].n", r#"["x","y"]"#),
            (".spec.m.*", "[true]"),
            ("..v", "[1,2]"),
            (r#".status.conditions[?(@.type=="Ready")].status"#, r#"["True"]"#),
            (".status.conditions[?(@.type=='Ready')].status", r#"["True"]"#),
            (".spec.list[?(@.v>1)].n", r#"["y"]"#),
            (".spec.list[?(@.v)].n", r#"["x","y"]"#),
            (".spec.nothing.here", "[]"),
        ] {
            let found: Value = JsonPath::parse(path).unwrap().find(&object).into_iter().collect();
            assert_eq!(found.to_string(), want, "{path}");
        }
        for bad in [".a[", ".a[x]", ".a..", ".a[?(@.b==c)]"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
