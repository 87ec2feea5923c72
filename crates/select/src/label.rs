//! Label selectors: `app=web,tier in (a,b),!canary`, and the LabelSelector object.

use base::{Result, Status, names, status::quote};
use std::{borrow::Cow, fmt};
use value::{Meta, Str, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equals,
    DoubleEquals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: Str,
    pub operator: Operator,
    /// Sorted where it came from text.
    pub values: Vec<Str>,
}

/// All requirements must hold; without requirements everything matches. The default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    pub const fn everything() -> Self {
        LabelSelector { requirements: Vec::new(), nothing: false }
    }
    pub const fn nothing() -> Self {
        LabelSelector { requirements: Vec::new(), nothing: true }
    }
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }
    /// Sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
    /// The one value that a label must have, where a requirement says so (for indexes).
    pub fn exact(&self, key: &str) -> Option<&str> {
        let found = self.requirements.iter().find(|r| r.key == key)?;
        match (found.operator, found.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [one]) => Some(one),
            _ => None,
        }
    }
    /// Parses the text form; 400 with upstream's words on errors.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser { tokens: scan(text), at: 0 };
        parser.selector().map_err(Status::bad_request)
    }
    /// A LabelSelector object (`matchLabels`, `matchExpressions`): null selects nothing, `{}` everything.
    pub fn from_object(selector: &Value) -> Result<Self, String> {
        if selector.is_null() {
            return Ok(LabelSelector::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in selector.members_at(&["matchLabels"]) {
            requirements.push(requirement(key, Operator::Equals, vec![value.as_str().unwrap_or("").into()])?);
        }
        for expression in selector.items_at(&["matchExpressions"]) {
            let operator = match expression.str_at(&["operator"]) {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{} is not a valid label selector operator", quote(other))),
            };
            let values = expression.items_at(&["values"]).iter().map(|v| v.as_str().unwrap_or("").into()).collect();
            requirements.push(requirement(expression.str_at(&["key"]), operator, values)?);
        }
        Ok(LabelSelector::of(requirements))
    }
    /// A plain map of labels (Service, ReplicationController): empty or absent selects everything.
    pub fn from_map(labels: &Value) -> Self {
        let labels = labels.members_at(&[]).map(|(key, value)| Requirement {
            key: key.into(),
            operator: Operator::Equals,
            values: vec![value.as_str().unwrap_or("").into()],
        });
        LabelSelector::of(labels.collect())
    }
    /// Matches the labels kept beside an object.
    pub fn matches(&self, meta: &Meta) -> bool {
        self.matches_with(|key| meta.label(key))
    }
    /// Matches a `metadata.labels` object.
    pub fn matches_map(&self, labels: &Value) -> bool {
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }
    /// Matches whatever can look a label up.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(label(&r.key)))
    }
    fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        LabelSelector { requirements, nothing: false }
    }
}

impl Requirement {
    /// Tests the label's value; `None` where the object has no such label.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let among = |v: &str| self.values.iter().any(|x| x == v);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => value.is_some_and(among),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let number = |s: &str| s.parse::<i64>().ok();
                let (Some(left), Some(right)) = (value.and_then(number), self.values.first().and_then(|v| number(v)))
                else {
                    return false;
                };
                if self.operator == Operator::GreaterThan { left > right } else { left < right }
            }
        }
    }
}

/// Builds one requirement, with upstream's checks.
fn requirement(key: &str, operator: Operator, values: Vec<Str>) -> Result<Requirement, String> {
    let mut faults = Vec::new();
    if let Err(why) = names::qualified_name(key) {
        faults.push(format!("key: Invalid value: {}: {why}", quote(key)));
    }
    let shown: Value = values.iter().collect();
    let mut fault = |why: &str| faults.push(format!("values: Invalid value: {shown}: {why}"));
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            fault("for 'in', 'notin' operators, values set can't be empty");
        }
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
            fault("exact-match compatibility requires one single value");
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            fault("values set must be empty for exists and does not exist");
        }
        Operator::GreaterThan | Operator::LessThan => {
            if values.len() != 1 {
                fault("for 'Gt', 'Lt' operators, exactly one value is required");
            }
            for (i, value) in values.iter().enumerate().filter(|(_, v)| v.parse::<i64>().is_err()) {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                faults.push(format!("values[{i}]: Invalid value: {}: {why}", quote(value)));
            }
        }
        _ => {}
    }
    for (i, value) in values.iter().enumerate() {
        if let Err(why) = names::label_value(value) {
            faults.push(format!("values[{i}][{key}]: Invalid value: {}: {why}", quote(value)));
        }
    }
    match faults.as_slice() {
        [] => Ok(Requirement { key: key.into(), operator, values }),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            write!(f, "{}{r}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = Cow::Borrowed(&self.values);
        if !sorted.is_sorted() {
            sorted.to_mut().sort();
        }
        let (key, values) = (&self.key, sorted.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    End,
    Word(&'a str),
    Symbol(&'a str),
}

impl Token<'_> {
    /// How a message quotes it.
    fn text(self) -> String {
        match self {
            Token::End => String::new(),
            Token::Word(s) | Token::Symbol(s) => s.into(),
        }
    }
}

fn scan(text: &str) -> Vec<Token<'_>> {
    const SYMBOLS: &str = "=!(),><";
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next().filter(|c| *c != '\0') else { break };
        let len = if SYMBOLS.contains(first) {
            if rest.starts_with("==") || rest.starts_with("!=") { 2 } else { 1 }
        } else {
            rest.find(|c| SYMBOLS.contains(c) || " \t\r\n\0".contains(c)).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(len);
        tokens.push(if SYMBOLS.contains(first) { Token::Symbol(token) } else { Token::Word(token) });
        rest = after;
    }
    tokens.push(Token::End);
    tokens
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }
    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }
    fn selector(&mut self) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => break,
                Token::Word(_) | Token::Symbol("!") => {}
                other => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text())),
            }
            let one = self.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
            requirements.push(one);
            match self.next() {
                Token::End => break,
                Token::Symbol(",") => match self.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    other => return Err(format!("found '{}', expected: identifier after ','", other.text())),
                },
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
            }
        }
        Ok(LabelSelector::of(requirements))
    }
    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token == Token::Symbol("!");
        if negated {
            token = self.next();
        }
        let Token::Word(key) = token else { return Err(format!("found '{}', expected: identifier", token.text())) };
        names::qualified_name(key).map_err(|why| format!("<nil>: Invalid value: {}: {why}", quote(key)))?;
        if negated {
            return requirement(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return requirement(key, Operator::Exists, Vec::new());
        }
        let operator = match self.next() {
            Token::Word("in") => Operator::In,
            Token::Word("notin") => Operator::NotIn,
            Token::Symbol("=") => Operator::Equals,
            Token::Symbol("==") => Operator::DoubleEquals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            other => return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.set()?,
            _ => vec![self.exact_value()?],
        };
        requirement(key, operator, values)
    }
    fn exact_value(&mut self) -> Result<Str, String> {
        match self.peek() {
            Token::End | Token::Symbol(",") => return Ok("".into()),
            _ => {}
        }
        match self.next() {
            Token::Word(value) => Ok(value.into()),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }
    /// `(a,,b)`: an empty place is the empty string.
    fn set(&mut self) -> Result<Vec<Str>, String> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let mut values: Vec<Str> = Vec::new();
        loop {
            match self.peek() {
                Token::Word(value) => {
                    self.at += 1;
                    values.push(value.into());
                }
                Token::Symbol("," | ")") => values.push("".into()),
                other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
            }
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => break,
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
        values.sort();
        values.dedup();
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn parses_and_prints() {
        for (text, want) in [
            ("", ""),
            ("a=b", "a=b"),
            (" b == c , a != d ", "a!=d,b==c"),
            ("x in (foo,,baz),y,z notin ()", "x in (,baz,foo),y,z notin ()"),
            ("!a", "!a"),
            ("a=", "a="),
            ("a>1,b<2", "a>1,b<2"),
            ("in in (in)", "in in (in)"),
            ("a=in", "a=in"),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn refuses() {
        for (text, want) in [
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("a=b,", "found '', expected: identifier after ','"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("-a", "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of"),
            ("a=%", "unable to parse requirement: values[0][a]: Invalid value: \"%\": a valid label must be"),
            ("a>x", "values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"),
        ] {
            let status = LabelSelector::parse(text).unwrap_err();
            assert!(status.message().contains(want), "{text}: {}", status.message());
            assert_eq!(status.code(), 400);
        }
    }

    #[test]
    fn matches() {
        let labels = value!({"app": "web", "n": "5"});
        for (text, want) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=web,n", true),
            ("app!=web", false),
            ("other!=x", true),
            ("other notin (x)", true),
            ("app in (a,web)", true),
            ("other=", false),
            ("n>4", true),
            ("n<5", false),
            ("app>4", false),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches_map(&labels), want, "{text}");
        }
    }

    #[test]
    fn from_objects() {
        let selector = value!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["d"]}]});
        assert_eq!(LabelSelector::from_object(&selector).unwrap().to_string(), "a=b,c notin (d)");
        assert!(LabelSelector::from_object(&value!({})).unwrap().is_everything());
        assert!(!LabelSelector::from_object(&Value::Null).unwrap().matches_map(&value!({})));
        let bad = value!({"matchExpressions": [{"key": "c", "operator": "Near"}]});
        assert_eq!(LabelSelector::from_object(&bad).unwrap_err(), "\"Near\" is not a valid label selector operator");
        assert_eq!(LabelSelector::from_map(&value!({"x": "y"})).exact("x"), Some("y"));
    }
}
