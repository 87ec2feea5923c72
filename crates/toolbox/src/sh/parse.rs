//! Text to tree: one recursive descent over characters, because what a character means depends on where it stands.
//!
//! Source of the grammar: POSIX.1-2024, Shell Command Language, section 2.10. Absent: aliases, arrays, process substitution.

use super::ast::{Action, AndOr, Command, Kind, List, Part, Pipeline, Redirect, Word};

#[derive(Debug, Clone, PartialEq)]
pub enum ParseError {
    /// The text ends too early; more lines may complete it.
    Incomplete,
    Syntax(String),
}

type Parsed<T> = Result<T, ParseError>;

/// Parses a whole script.
pub fn parse(text: &str) -> Parsed<List> {
    let mut parser = Parser { chars: text.chars().collect(), at: 0, here: Vec::new(), bodies: Vec::new(), depth: 0 };
    let list = parser.list(&[])?;
    parser.blanks();
    if parser.at < parser.chars.len() {
        return Err(parser.unexpected());
    }
    if !parser.here.is_empty() {
        return Err(ParseError::Incomplete);
    }
    Ok(parser.with_bodies(list))
}

/// Nesting that a script may have; deeper ones would exhaust the stack.
const MAX_DEPTH: usize = 100;
const RESERVED: [&str; 14] =
    ["then", "else", "elif", "fi", "do", "done", "esac", "}", "in", "if", "while", "until", "for", "case"];

struct Parser {
    chars: Vec<char>,
    at: usize,
    /// Here-documents whose bodies start at the next newline: delimiter, whether quoted, whether tabs are stripped.
    here: Vec<(usize, String, bool, bool)>,
    /// Their bodies; a redirect first holds the index.
    bodies: Vec<Word>,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn looking_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(n, c)| self.chars.get(self.at + n) == Some(&c))
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.looking_at(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => self.at += 1,
                Some('\\') if self.looking_at("\\\n") => self.at += 2,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// Blanks, newlines and the bodies of here-documents.
    fn newlines(&mut self) -> Parsed<()> {
        self.blanks();
        while self.peek() == Some('\n') {
            self.at += 1;
            self.here_bodies()?;
            self.blanks();
        }
        Ok(())
    }

    fn unexpected(&self) -> ParseError {
        match self.peek() {
            None => ParseError::Incomplete,
            Some('\n') => ParseError::Syntax("syntax error: unexpected newline".into()),
            Some(c) => {
                let rest: String = self.chars[self.at..].iter().take_while(|c| c.is_alphanumeric()).collect();
                let token = if rest.is_empty() { c.to_string() } else { rest };
                ParseError::Syntax(format!("syntax error: unexpected \"{token}\""))
            }
        }
    }

    /// A word at this place that could be a keyword, without consuming it.
    fn keyword(&self) -> Option<String> {
        let text: String = self.chars[self.at..]
            .iter()
            .take_while(|c| !c.is_whitespace() && !";&|()<>\"'$`\\".contains(**c))
            .collect();
        (!text.is_empty()).then_some(text)
    }

    fn expect(&mut self, keyword: &str) -> Parsed<()> {
        self.newlines()?;
        if self.keyword().as_deref() != Some(keyword) {
            return Err(self.unexpected());
        }
        self.at += keyword.len();
        Ok(())
    }

    /// Commands up to one of `ends` (keywords, or `)`), which is left in place.
    fn list(&mut self, ends: &[&str]) -> Parsed<List> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ParseError::Syntax("syntax error: nested too deep".into()));
        }
        let mut list = List::default();
        loop {
            self.newlines()?;
            let ended = match self.peek() {
                None => true,
                Some(')') => true,
                _ if self.looking_at(";;") => true,
                _ => self.keyword().is_some_and(|word| ends.contains(&word.as_str())),
            };
            if ended {
                break;
            }
            let item = self.and_or()?;
            self.blanks();
            let background = !self.looking_at("&&") && self.eat("&");
            let separated = background || (!self.looking_at(";;") && self.eat(";")) || self.peek() == Some('\n');
            list.0.push((item, background));
            if !separated {
                break;
            }
        }
        self.depth -= 1;
        Ok(list)
    }

    /// A list that must not be empty.
    fn body(&mut self, ends: &[&str]) -> Parsed<List> {
        let list = self.list(ends)?;
        if list.0.is_empty() { Err(self.unexpected()) } else { Ok(list) }
    }

    fn and_or(&mut self) -> Parsed<AndOr> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks();
            let and = self.looking_at("&&");
            if !and && !self.looking_at("||") {
                return Ok(AndOr { first, rest });
            }
            self.at += 2;
            self.newlines()?;
            rest.push((and, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        let mut negated = false;
        self.blanks();
        while self.keyword().as_deref() == Some("!") {
            self.at += 1;
            negated = !negated;
            self.blanks();
        }
        let mut commands = vec![self.command()?];
        loop {
            self.blanks();
            if self.looking_at("||") || !self.eat("|") {
                return Ok(Pipeline { negated, commands });
            }
            self.newlines()?;
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        self.blanks();
        let kind = match (self.peek(), self.keyword().as_deref()) {
            (Some('('), _) => {
                self.at += 1;
                let list = self.body(&[])?;
                if !self.eat(")") {
                    return Err(self.unexpected());
                }
                Kind::Subshell(list)
            }
            (_, Some("{")) => {
                self.at += 1;
                let list = self.body(&["}"])?;
                self.expect("}")?;
                Kind::Group(list)
            }
            (_, Some("if")) => self.conditional()?,
            (_, Some(word @ ("while" | "until"))) => {
                self.at += 5;
                let condition = self.body(&["do"])?;
                Kind::Loop { until: word == "until", condition, body: self.do_group()? }
            }
            (_, Some("for")) => self.for_loop()?,
            (_, Some("case")) => self.case()?,
            (_, Some(word)) if RESERVED.contains(&word) => return Err(self.unexpected()),
            _ => return self.simple(),
        };
        let mut redirects = Vec::new();
        self.blanks();
        while let Some(redirect) = self.redirect()? {
            redirects.push(redirect);
            self.blanks();
        }
        Ok(Command { kind, redirects })
    }

    fn conditional(&mut self) -> Parsed<Kind> {
        self.at += 2;
        let mut arms = Vec::new();
        let mut otherwise = None;
        loop {
            let condition = self.body(&["then"])?;
            self.expect("then")?;
            arms.push((condition, self.body(&["elif", "else", "fi"])?));
            self.newlines()?;
            match self.keyword().as_deref() {
                Some("elif") => self.at += 4,
                Some("else") => {
                    self.at += 4;
                    otherwise = Some(self.body(&["fi"])?);
                    break;
                }
                _ => break,
            }
        }
        self.expect("fi")?;
        Ok(Kind::If { arms, otherwise })
    }

    fn do_group(&mut self) -> Parsed<List> {
        self.expect("do")?;
        let body = self.body(&["done"])?;
        self.expect("done")?;
        Ok(body)
    }

    fn for_loop(&mut self) -> Parsed<Kind> {
        self.at += 3;
        self.blanks();
        let name = self.keyword().filter(|name| is_name(name)).ok_or_else(|| self.unexpected())?;
        self.at += name.len();
        self.newlines()?;
        let mut words = None;
        if self.keyword().as_deref() == Some("in") {
            self.at += 2;
            let list = words.insert(Vec::new());
            self.blanks();
            while let Some(word) = self.word()? {
                list.push(word);
                self.blanks();
            }
        }
        self.blanks();
        self.eat(";");
        Ok(Kind::For { name, words, body: self.do_group()? })
    }

    fn case(&mut self) -> Parsed<Kind> {
        self.at += 4;
        self.blanks();
        let subject = self.word()?.ok_or_else(|| self.unexpected())?;
        self.expect("in")?;
        let mut arms = Vec::new();
        loop {
            self.newlines()?;
            if self.keyword().as_deref() == Some("esac") {
                self.at += 4;
                return Ok(Kind::Case { subject, arms });
            }
            self.eat("(");
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?.ok_or_else(|| self.unexpected())?);
                self.blanks();
                if !self.eat("|") {
                    break;
                }
            }
            if !self.eat(")") {
                return Err(self.unexpected());
            }
            let body = self.list(&["esac"])?;
            self.newlines()?;
            if !self.eat(";;") && self.keyword().as_deref() != Some("esac") {
                return Err(self.unexpected());
            }
            arms.push((patterns, body));
        }
    }

    fn simple(&mut self) -> Parsed<Command> {
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::<Word>::new(), Vec::new());
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            if let Some(name) = self.assignment().filter(|_| words.is_empty()) {
                self.at += name.len() + 1;
                assignments.push((name, self.word()?.unwrap_or_default()));
                continue;
            }
            let Some(word) = self.word()? else { break };
            words.push(word);
            self.blanks();
            if let ([word], true) = (words.as_slice(), self.looking_at("(")) {
                let Some(name) = word.literal().filter(|name| is_name(name)).map(str::to_string) else {
                    return Err(self.unexpected());
                };
                self.at += 1;
                self.blanks();
                if !self.eat(")") {
                    return Err(self.unexpected());
                }
                self.newlines()?;
                let body = Box::new(self.command()?);
                return Ok(Command { kind: Kind::Function { name, body }, redirects });
            }
        }
        if assignments.is_empty() && words.is_empty() && redirects.is_empty() {
            return Err(self.unexpected());
        }
        Ok(Command { kind: Kind::Simple { assignments, words }, redirects })
    }

    /// The name in front of `=`, if an assignment starts here.
    fn assignment(&self) -> Option<String> {
        let name: String = self.chars[self.at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
        (is_name(&name) && self.chars.get(self.at + name.chars().count()) == Some(&'=')).then_some(name)
    }

    fn redirect(&mut self) -> Parsed<Option<Redirect>> {
        let start = self.at;
        let digits: String = self.chars[start..].iter().take_while(|c| c.is_ascii_digit()).collect();
        self.at += digits.len();
        let operators = ["<<-", "<<", "<&", "<>", "<", ">>", ">&", ">|", ">"];
        let Some(operator) = operators.into_iter().find(|operator| self.eat(operator)) else {
            self.at = start;
            return Ok(None);
        };
        let default = u32::from(operator.starts_with('>'));
        let fd = if digits.is_empty() { default } else { digits.parse().unwrap_or(u32::MAX) };
        self.blanks();
        let word = self.word()?.ok_or_else(|| self.unexpected())?;
        let action = match operator {
            "<" => Action::Read(word),
            "<>" => Action::ReadWrite(word),
            ">>" => Action::Append(word),
            "<&" | ">&" => Action::Duplicate(word),
            ">" | ">|" => Action::Write(word),
            _ => {
                let quoted = word.0.iter().any(|part| matches!(part, Part::Text { quoted: true, .. }));
                let delimiter = word
                    .0
                    .iter()
                    .filter_map(|part| match part {
                        Part::Text { text, .. } => Some(text.as_str()),
                        _ => None,
                    })
                    .collect();
                let index = self.bodies.len();
                self.bodies.push(Word::default());
                self.here.push((index, delimiter, quoted, operator == "<<-"));
                // The body is read at the end of the line; until then its index stands for it.
                Action::Here(Word(vec![Part::Text { text: index.to_string(), quoted: true }]))
            }
        };
        Ok(Some(Redirect { fd, action }))
    }

    fn here_bodies(&mut self) -> Parsed<()> {
        for (index, delimiter, quoted, strip) in std::mem::take(&mut self.here) {
            let mut body = String::new();
            loop {
                if self.at >= self.chars.len() {
                    return Err(ParseError::Incomplete);
                }
                let line: String = self.chars[self.at..].iter().take_while(|c| **c != '\n').collect();
                self.at = (self.at + line.chars().count() + 1).min(self.chars.len());
                let line = if strip { line.trim_start_matches('\t') } else { &line };
                if line == delimiter {
                    break;
                }
                body.push_str(line);
                body.push('\n');
            }
            self.bodies[index] = if quoted {
                Word(vec![Part::Text { text: body, quoted: true }])
            } else {
                let mut inner =
                    Parser { chars: body.chars().collect(), at: 0, here: vec![], bodies: vec![], depth: self.depth };
                let mut parts = Parts::default();
                inner.double_quoted(&mut parts, None)?;
                parts.finish()
            };
        }
        Ok(())
    }

    /// A word, or `None` if none starts here.
    fn word(&mut self) -> Parsed<Option<Word>> {
        let start = self.at;
        let mut parts = Parts::default();
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
                '\\' => {
                    self.at += 1;
                    match self.peek() {
                        Some('\n') => {}
                        Some(c) => parts.push(c, true),
                        None => return Err(ParseError::Incomplete),
                    }
                    self.at += 1;
                }
                '\'' => {
                    self.at += 1;
                    parts.quote();
                    loop {
                        let c = self.peek().ok_or(ParseError::Incomplete)?;
                        self.at += 1;
                        if c == '\'' {
                            break;
                        }
                        parts.push(c, true);
                    }
                }
                '"' => {
                    self.at += 1;
                    parts.quote();
                    self.double_quoted(&mut parts, Some('"'))?;
                }
                '$' => self.dollar(&mut parts, false)?,
                '`' => self.backquoted(&mut parts, false)?,
                c => {
                    parts.push(c, false);
                    self.at += 1;
                }
            }
        }
        Ok((self.at > start).then(|| parts.finish()))
    }

    /// Text in double quotes up to `end` (or the end of text, for here-documents).
    fn double_quoted(&mut self, parts: &mut Parts, end: Option<char>) -> Parsed<()> {
        loop {
            match self.peek() {
                None if end.is_none() => return Ok(()),
                None => return Err(ParseError::Incomplete),
                c if c == end => {
                    self.at += 1;
                    return Ok(());
                }
                Some('\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some('\n') => {}
                        Some(c @ ('$' | '`' | '"' | '\\')) => parts.push(c, true),
                        Some(c) => {
                            parts.push('\\', true);
                            parts.push(c, true);
                        }
                        None => return Err(ParseError::Incomplete),
                    }
                    self.at += 1;
                }
                Some('$') => self.dollar(parts, true)?,
                Some('`') => self.backquoted(parts, true)?,
                Some(c) => {
                    parts.push(c, true);
                    self.at += 1;
                }
            }
        }
    }

    fn dollar(&mut self, parts: &mut Parts, quoted: bool) -> Parsed<()> {
        self.at += 1;
        if self.looking_at("((") {
            let text = self.balanced("((", "))")?;
            let mut inner =
                Parser { chars: text.chars().collect(), at: 0, here: vec![], bodies: vec![], depth: self.depth };
            let mut expression = Parts::default();
            inner.double_quoted(&mut expression, None)?;
            parts.add(Part::Arithmetic { expression: expression.finish(), quoted });
            return Ok(());
        }
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let list = self.list(&[])?;
                if !self.eat(")") {
                    return Err(self.unexpected());
                }
                parts.add(Part::Command { list, quoted });
            }
            Some('{') => {
                self.at += 1;
                let part = self.braced(quoted)?;
                parts.add(part);
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name: String =
                    self.chars[self.at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect();
                self.at += name.len();
                parts.add(Part::Parameter { name, operation: None, quoted });
            }
            Some(c) if c.is_ascii_digit() || "?#@*$!-".contains(c) => {
                self.at += 1;
                parts.add(Part::Parameter { name: c.to_string(), operation: None, quoted });
            }
            _ => parts.push('$', quoted),
        }
        Ok(())
    }

    fn braced(&mut self, quoted: bool) -> Parsed<Part> {
        let length = self.looking_at("#") && !self.looking_at("#}");
        if length {
            self.at += 1;
        }
        let first = self.peek().ok_or(ParseError::Incomplete)?;
        let name: String = if first.is_alphanumeric() || first == '_' {
            self.chars[self.at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect()
        } else {
            first.to_string()
        };
        self.at += name.chars().count();
        if length {
            if !self.eat("}") {
                return Err(ParseError::Syntax("syntax error: bad substitution".into()));
            }
            return Ok(Part::Parameter { name, operation: Some(("#len".into(), Word::default())), quoted });
        }
        if self.eat("}") {
            return Ok(Part::Parameter { name, operation: None, quoted });
        }
        let operators = [":-", ":=", ":+", ":?", "-", "=", "+", "?", "%%", "%", "##", "#"];
        let Some(operator) = operators.into_iter().find(|operator| self.eat(operator)) else {
            let bad = ParseError::Syntax("syntax error: bad substitution".into());
            return Err(if self.peek().is_none() { ParseError::Incomplete } else { bad });
        };
        let mut parts = Parts::default();
        loop {
            match self.peek().ok_or(ParseError::Incomplete)? {
                '}' => break,
                '\\' => {
                    self.at += 1;
                    parts.push(self.peek().ok_or(ParseError::Incomplete)?, true);
                    self.at += 1;
                }
                '"' => {
                    self.at += 1;
                    parts.quote();
                    self.double_quoted(&mut parts, Some('"'))?;
                }
                '\'' if !quoted => {
                    self.at += 1;
                    while let Some(c) = self.peek().filter(|c| *c != '\'') {
                        parts.push(c, true);
                        self.at += 1;
                    }
                    self.at += 1;
                }
                '$' => self.dollar(&mut parts, quoted)?,
                '`' => self.backquoted(&mut parts, quoted)?,
                c => {
                    parts.push(c, quoted && !matches!(operator, "%%" | "%" | "##" | "#"));
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Ok(Part::Parameter { name, operation: Some((operator.to_string(), parts.finish())), quoted })
    }

    fn backquoted(&mut self, parts: &mut Parts, quoted: bool) -> Parsed<()> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let c = self.peek().ok_or(ParseError::Incomplete)?;
            self.at += 1;
            match c {
                '`' => break,
                '\\' => {
                    let next = self.peek().ok_or(ParseError::Incomplete)?;
                    self.at += 1;
                    if !matches!(next, '`' | '\\' | '$') {
                        text.push('\\');
                    }
                    text.push(next);
                }
                c => text.push(c),
            }
        }
        parts.add(Part::Command { list: parse(&text)?, quoted });
        Ok(())
    }

    /// The text between `open` (which is here) and its `close`.
    fn balanced(&mut self, open: &str, close: &str) -> Parsed<String> {
        self.at += open.len();
        let (mut depth, mut text) = (0usize, String::new());
        loop {
            if depth == 0 && self.eat(close) {
                return Ok(text);
            }
            let c = self.peek().ok_or(ParseError::Incomplete)?;
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            text.push(c);
            self.at += 1;
        }
    }

    /// Puts the bodies of here-documents where their indexes stand.
    fn with_bodies(&self, mut list: List) -> List {
        if !self.bodies.is_empty() {
            self.fill_list(&mut list);
        }
        list
    }

    fn fill_list(&self, list: &mut List) {
        for (item, _) in &mut list.0 {
            let pipelines = std::iter::once(&mut item.first).chain(item.rest.iter_mut().map(|(_, pipeline)| pipeline));
            pipelines.flat_map(|pipeline| &mut pipeline.commands).for_each(|command| self.fill(command));
        }
    }

    fn fill(&self, command: &mut Command) {
        for redirect in &mut command.redirects {
            if let Action::Here(word) = &mut redirect.action {
                let index = match word.0.as_slice() {
                    [Part::Text { text, .. }] => text.parse::<usize>().ok(),
                    _ => None,
                };
                *word = index.and_then(|index| self.bodies.get(index)).cloned().unwrap_or_default();
            }
        }
        match &mut command.kind {
            Kind::Simple { assignments, words } => {
                let values = assignments.iter_mut().map(|(_, value)| value);
                for part in values.chain(words).flat_map(|word| &mut word.0) {
                    if let Part::Command { list, .. } = part {
                        self.fill_list(list);
                    }
                }
            }
            Kind::Subshell(list) | Kind::Group(list) => self.fill_list(list),
            Kind::If { arms, otherwise } => {
                for (condition, body) in arms {
                    self.fill_list(condition);
                    self.fill_list(body);
                }
                otherwise.iter_mut().for_each(|list| self.fill_list(list));
            }
            Kind::Loop { condition, body, .. } => {
                self.fill_list(condition);
                self.fill_list(body);
            }
            Kind::For { body, .. } => self.fill_list(body),
            Kind::Case { arms, .. } => arms.iter_mut().for_each(|(_, body)| self.fill_list(body)),
            Kind::Function { body, .. } => self.fill(body),
        }
    }
}

/// Collects the parts of a word, joining characters of one kind.
#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn push(&mut self, c: char, is_quoted: bool) {
        match self.0.last_mut() {
            Some(Part::Text { text, quoted }) if *quoted == is_quoted => text.push(c),
            _ => self.0.push(Part::Text { text: c.to_string(), quoted: is_quoted }),
        }
    }

    /// Quotes make a word even if nothing is between them.
    fn quote(&mut self) {
        if !matches!(self.0.last(), Some(Part::Text { quoted: true, .. })) {
            self.0.push(Part::Text { text: String::new(), quoted: true });
        }
    }

    fn add(&mut self, part: Part) {
        self.0.push(part);
    }

    fn finish(self) -> Word {
        Word(self.0)
    }
}

/// A variable or function name.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
