//! Recursive descent over the CEL grammar.
//!
//! Written by hand, so that depth is bounded before the stack is (the reference's limit of 250), and so that a node's
//! place is the token that the reference names in its messages: the operator of a selection, the bracket of a call. The
//! first syntax error ends parsing; the generated parser of the reference goes on guessing, which helps nobody in a
//! `kubectl apply`.

use super::{
    ast::{Expr, Id, Kind, Literal},
    lexer::{Lexeme, Token, tokens},
    macros,
};
use crate::{deep, text::Issue};
use value::Str;

/// Nesting of brackets, and length of a chain of operators or selections.
const DEPTH: usize = 250;
/// Of the whole tree, macros expanded: what checks, plans and evaluates it goes as deep.
const HEIGHT: usize = 300;
/// In characters.
const SIZE: usize = 100_000;
pub(super) const PRIMARY: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, \
                       IDENTIFIER}";

/// An expression and where its nodes stand.
#[derive(Debug)]
pub struct Parsed {
    pub expr: Expr,
    /// Byte offset of a node, by its id.
    pub places: Vec<u32>,
    /// Nodes on the longest way down.
    pub height: usize,
}

/// Parses and expands macros; `bindings`: `cel.bind` is one of them.
pub fn parse(text: &str, bindings: bool) -> Result<Parsed, Vec<Issue>> {
    let size = text.chars().count();
    if size > SIZE {
        let message = format!("expression code point size exceeds limit: size: {size}, limit {SIZE}");
        return Err(vec![Issue::nowhere(message)]);
    }
    let (tokens, issues) = tokens(text);
    let nesting = nesting(text, &tokens);
    deep::run(nesting, || parse_tokens(text, tokens, issues, bindings)).unwrap_or_else(|| Err(vec![too_deep()]))
}

/// A bound for how deep the parser goes: brackets that are open at once, and conditionals.
fn nesting(text: &str, tokens: &[Lexeme]) -> usize {
    let (mut open, mut most, mut conditionals) = (0_usize, 0, 0);
    for token in tokens {
        match &text[token.start..token.end] {
            "(" | "[" | "{" => open += 1,
            ")" | "]" | "}" => open = open.saturating_sub(1),
            "?" => conditionals += 1,
            _ => {}
        }
        most = most.max(open);
    }
    most + conditionals
}

fn parse_tokens(text: &str, tokens: Vec<Lexeme>, issues: Vec<Issue>, bindings: bool) -> Result<Parsed, Vec<Issue>> {
    let mut parser =
        Parser { text, tokens, at: 0, places: Vec::new(), heights: Vec::new(), depth: 0, bindings, issues };
    let expr = parser.expr().and_then(|expr| parser.end().map(|()| expr));
    match expr {
        Ok(expr) if parser.issues.is_empty() => {
            let height = usize::from(parser.heights[expr.id as usize]);
            Ok(Parsed { expr, places: parser.places, height })
        }
        Ok(_) => Err(parser.issues),
        Err(Stop) => Err(parser.issues),
    }
}

fn too_deep() -> Issue {
    Issue::nowhere(format!("expression recursion limit exceeded: {DEPTH}"))
}

/// Parsing ended; the reason stands in `issues`.
pub(super) struct Stop;
pub(super) type Parse<T> = Result<T, Stop>;

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Lexeme>,
    at: usize,
    places: Vec<u32>,
    /// Of the nodes that are done, by their ids.
    heights: Vec<u16>,
    depth: usize,
    pub bindings: bool,
    pub issues: Vec<Issue>,
}

impl Parser<'_> {
    /// A new node at a byte offset.
    pub(super) fn node(&mut self, place: u32, kind: Kind) -> Expr {
        Expr { id: self.id(place), kind }
    }
    pub(super) fn id(&mut self, place: u32) -> Id {
        self.places.push(place);
        self.heights.push(1);
        (self.places.len() - 1) as Id
    }
    pub(super) fn place(&self, id: Id) -> u32 {
        self.places[id as usize]
    }
    /// A node whose children are done; an error where it stands too high above its leaves.
    pub(super) fn done(&mut self, expr: Expr) -> Parse<Expr> {
        let mut highest = 0;
        expr.each(&mut |below| highest = highest.max(self.heights[below.id as usize]));
        self.heights[expr.id as usize] = highest + 1;
        if usize::from(highest) < HEIGHT { Ok(expr) } else { Err(self.too_deep()) }
    }
    /// A macro's expansion, whose inner nodes nobody measured.
    pub(super) fn expanded(&mut self, expr: Expr) -> Parse<Expr> {
        let height = expr.height();
        self.heights[expr.id as usize] = height.min(usize::from(u16::MAX)) as u16;
        if height <= HEIGHT { Ok(expr) } else { Err(self.too_deep()) }
    }
    /// A copy with ids of its own at the same places.
    pub(super) fn copy(&mut self, expr: &Expr) -> Expr {
        let mut copy = expr.clone();
        self.renumber(&mut copy);
        copy
    }

    pub(super) fn renumber(&mut self, expr: &mut Expr) {
        let place = self.place(expr.id);
        expr.id = self.id(place);
        match &mut expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => self.renumber(operand),
            Kind::Call { target, args, .. } => {
                if let Some(target) = target {
                    self.renumber(target);
                }
                args.iter_mut().for_each(|arg| self.renumber(arg));
            }
            Kind::List(items) => items.iter_mut().for_each(|(item, _)| self.renumber(item)),
            Kind::Map(entries) => {
                for entry in entries {
                    self.renumber(&mut entry.key);
                    self.renumber(&mut entry.value);
                }
            }
            Kind::Struct { fields, .. } => {
                for field in fields {
                    let place = self.place(field.id);
                    field.id = self.id(place);
                    self.renumber(&mut field.value);
                }
            }
            Kind::Fold(fold) => {
                let fold = &mut **fold;
                for e in [&mut fold.range, &mut fold.init, &mut fold.condition, &mut fold.step, &mut fold.result] {
                    self.renumber(e);
                }
            }
        }
    }

    pub(super) fn peek(&self) -> Lexeme {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }
    pub(super) fn ahead(&self, n: usize) -> &str {
        self.tokens.get(self.at + n).map_or("", |lexeme| &self.text[lexeme.start..lexeme.end])
    }
    pub(super) fn word(&self) -> &str {
        let lexeme = self.peek();
        &self.text[lexeme.start..lexeme.end]
    }
    pub(super) fn next(&mut self) -> Lexeme {
        let lexeme = self.peek();
        self.at += 1;
        lexeme
    }
    pub(super) fn is(&self, punct: &str) -> bool {
        self.peek().token == Token::Punct && self.word() == punct
    }
    /// Takes an operator or bracket; its place.
    pub(super) fn take(&mut self, punct: &str) -> Option<u32> {
        self.is(punct).then(|| self.next().start as u32)
    }
    pub(super) fn expect(&mut self, punct: &str) -> Parse<u32> {
        match self.take(punct) {
            Some(place) => Ok(place),
            None if self.peek().token == Token::End => Err(self.syntax(format!("missing '{punct}' at '<EOF>'"))),
            None if self.ahead(1) == punct => {
                let shown = self.shown();
                Err(self.syntax(format!("extraneous input '{shown}' expecting '{punct}'")))
            }
            None => {
                let shown = self.shown();
                Err(self.syntax(format!("mismatched input '{shown}' expecting '{punct}'")))
            }
        }
    }
    pub(super) fn shown(&self) -> String {
        match self.peek().token {
            Token::End => "<EOF>".into(),
            _ => self.word().replace('\n', "\\n"),
        }
    }
    pub(super) fn syntax(&mut self, message: String) -> Stop {
        let at = self.peek().start;
        self.issues.push(Issue::new(at, format!("Syntax error: {message}")));
        Stop
    }
    pub(super) fn mismatched(&mut self, expected: &str) -> Stop {
        let shown = self.shown();
        self.syntax(format!("mismatched input '{shown}' expecting {expected}"))
    }
    /// Reports a fault that parsing survives.
    pub(super) fn fault(&mut self, place: u32, message: impl Into<String>) {
        self.issues.push(Issue::new(place as usize, message));
    }
    pub(super) fn end(&mut self) -> Parse<()> {
        if self.peek().token == Token::End {
            return Ok(());
        }
        let last = self.tokens.get(self.at + 1).is_some_and(|t| t.token == Token::End);
        let shown = self.shown();
        let word = if last { "extraneous" } else { "mismatched" };
        Err(self.syntax(format!("{word} input '{shown}' expecting <EOF>")))
    }
    pub(super) fn too_deep(&mut self) -> Stop {
        self.issues.push(too_deep());
        Stop
    }

    pub(super) fn expr(&mut self) -> Parse<Expr> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.too_deep());
        }
        let condition = self.logic()?;
        let out = match self.take("?") {
            None => condition,
            Some(place) => {
                let id = self.id(place);
                let yes = self.logic()?;
                self.expect(":")?;
                let no = self.expr()?;
                self.done(call(id, "_?_:_", vec![condition, yes, no]))?
            }
        };
        self.depth -= 1;
        Ok(out)
    }

    /// Chains of `||` and `&&` become balanced trees: a rule of a thousand terms is not a thousand levels deep.
    pub(super) fn logic(&mut self) -> Parse<Expr> {
        let (mut any, mut any_ids) = (Vec::new(), Vec::new());
        loop {
            let (mut all, mut all_ids) = (vec![Some(self.operations()?)], Vec::new());
            while let Some(place) = self.take("&&") {
                all.push(Some(self.operations()?));
                all_ids.push(self.id(place));
            }
            any.push(Some(self.balance("_&&_", &mut all, &all_ids)?));
            match self.take("||") {
                Some(place) => any_ids.push(self.id(place)),
                None => return self.balance("_||_", &mut any, &any_ids),
            }
        }
    }

    /// Operands and binary operators, which bind by their strength and to the left. Two stacks instead of a function per
    /// level of strength keep the call stack small.
    pub(super) fn operations(&mut self) -> Parse<Expr> {
        let mut operands = vec![self.unary()?];
        let mut operators: Vec<(Id, &'static str, u8)> = Vec::new();
        for length in 0.. {
            let word = matches!(self.peek().token, Token::Punct | Token::Ident).then(|| self.word());
            let next = word.and_then(operator);
            let strength = next.map_or(0, |(_, strength)| strength);
            while operators.last().is_some_and(|(.., before)| *before >= strength) {
                if let (Some((id, function, _)), Some(right), Some(left)) =
                    (operators.pop(), operands.pop(), operands.pop())
                {
                    operands.push(self.done(call(id, function, vec![left, right]))?);
                }
            }
            let Some((function, strength)) = next else { break };
            if length >= DEPTH {
                return Err(self.too_deep());
            }
            let place = self.next().start as u32;
            operators.push((self.id(place), function, strength));
            operands.push(self.unary()?);
        }
        operands.pop().ok_or(Stop)
    }

    /// The terms as a tree of calls; `ids[i]` stands between term `i` and `i + 1`.
    pub(super) fn balance(&mut self, function: &str, terms: &mut [Option<Expr>], ids: &[Id]) -> Parse<Expr> {
        if let [only] = terms {
            return only.take().ok_or(Stop);
        }
        let middle = ids.len() / 2;
        let (left, right) = terms.split_at_mut(middle + 1);
        let left = self.balance(function, left, &ids[..middle])?;
        let right = self.balance(function, right, &ids[middle + 1..])?;
        self.done(call(ids[middle], function, vec![left, right]))
    }

    pub(super) fn unary(&mut self) -> Parse<Expr> {
        let operator = if self.is("!") {
            "!"
        } else if self.is("-") {
            "-"
        } else {
            return self.member();
        };
        let first = self.peek().start as u32;
        let mut count = 0;
        // `-1` is a literal, also in `-1.field`; `--1` is two signs and a literal.
        while self.is(operator) {
            let number = matches!(self.tokens[self.at + 1].token, Token::Int | Token::Double);
            if operator == "-" && number && count == 0 {
                return self.member();
            }
            self.next();
            count += 1;
        }
        let (id, function) = (self.id(first), if operator == "!" { "!_" } else { "-_" });
        let operand = self.member()?;
        if count % 2 == 0 { Ok(operand) } else { self.done(call(id, function, vec![operand])) }
    }

    pub(super) fn member(&mut self) -> Parse<Expr> {
        let mut out = self.primary()?;
        for length in 0.. {
            if length > DEPTH {
                return Err(self.too_deep());
            }
            if let Some(dot) = self.take(".") {
                out = self.selection(out, dot)?;
            } else if let Some(open) = self.take("[") {
                let function = if self.take("?").is_some() { "_[?_]" } else { "_[_]" };
                let id = self.id(open);
                let index = self.expr()?;
                self.expect("]")?;
                out = self.done(call(id, function, vec![out, index]))?;
            } else if self.is("{") && out.qualified_name().is_some() {
                out = self.structure(&out)?;
            } else {
                break;
            }
        }
        Ok(out)
    }

    /// What follows a dot: a field, an optional field, a method.
    pub(super) fn selection(&mut self, operand: Expr, dot: u32) -> Parse<Expr> {
        let optional = self.take("?").is_some();
        let (place, name) = self.field_name("IDENTIFIER")?;
        if optional {
            let id = self.id(dot);
            let field = self.node(place, Kind::Literal(Literal::String(name)));
            return self.done(call(id, "_?._", vec![operand, field]));
        }
        let Some(open) = self.take("(") else {
            let select = self.node(dot, Kind::Select { operand: Box::new(operand), field: name, test: false });
            return self.done(select);
        };
        let id = self.id(open);
        let args = self.arguments()?;
        if let Some(expanded) = macros::method(self, open, &name, &operand, &args) {
            return expanded.and_then(|expr| self.expanded(expr));
        }
        self.done(Expr { id, kind: Kind::Call { target: Some(Box::new(operand)), function: name, args } })
    }

    pub(super) fn field_name(&mut self, expected: &str) -> Parse<(u32, Str)> {
        let lexeme = self.peek();
        match lexeme.token {
            Token::Ident if !matches!(self.word(), "true" | "false" | "null" | "in") => {
                let name = Str::from(self.word());
                self.next();
                Ok((lexeme.start as u32, name))
            }
            Token::Quoted => {
                // Kubernetes leaves this syntax off in its environments.
                self.fault(lexeme.start as u32, "unsupported syntax: '`'");
                Err(Stop)
            }
            _ => Err(self.mismatched(expected)),
        }
    }

    /// The arguments of a call up to its closing bracket.
    pub(super) fn arguments(&mut self) -> Parse<Vec<Expr>> {
        let mut args = Vec::new();
        if self.take(")").is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.take(",").is_none() {
                self.expect(")")?;
                return Ok(args);
            }
        }
    }
}

/// The function of a binary operator, and how strongly it binds.
fn operator(word: &str) -> Option<(&'static str, u8)> {
    Some(match word {
        "<" => ("_<_", 1),
        "<=" => ("_<=_", 1),
        ">" => ("_>_", 1),
        ">=" => ("_>=_", 1),
        "==" => ("_==_", 1),
        "!=" => ("_!=_", 1),
        "in" => ("@in", 1),
        "+" => ("_+_", 2),
        "-" => ("_-_", 2),
        "*" => ("_*_", 3),
        "/" => ("_/_", 3),
        "%" => ("_%_", 3),
        _ => return None,
    })
}

fn call(id: Id, function: &str, args: Vec<Expr>) -> Expr {
    Expr { id, kind: Kind::Call { target: None, function: function.into(), args } }
}
