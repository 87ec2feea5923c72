//! What stands between operators: literals, names, calls, lists, maps and objects.

use super::{
    ast::{Entry, Expr, FieldInit, Kind, Literal},
    lexer::Token,
    literals, macros,
    parser::{PRIMARY, Parse, Parser},
};
use crate::names::RESERVED;
use value::Str;

impl Parser<'_> {
    pub(super) fn structure(&mut self, name: &Expr) -> Parse<Expr> {
        let open = self.expect("{")?;
        let name = Str::from(name.qualified_name().unwrap_or_default());
        let id = self.id(open);
        let mut fields = Vec::new();
        while !self.is("}") {
            let optional = self.take("?").is_some();
            let (_, name) = self.field_name("IDENTIFIER")?;
            let colon = self.expect(":")?;
            let id = self.id(colon);
            let value = self.expr()?;
            fields.push(FieldInit { id, name, value, optional });
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        self.done(Expr { id, kind: Kind::Struct { name, fields } })
    }

    pub(super) fn primary(&mut self) -> Parse<Expr> {
        let lexeme = self.peek();
        let place = lexeme.start as u32;
        match lexeme.token {
            Token::Punct => match self.word() {
                "(" => {
                    self.next();
                    let inner = self.expr()?;
                    self.expect(")")?;
                    Ok(inner)
                }
                "[" => self.list(),
                "{" => self.map(),
                "." => {
                    self.next();
                    self.name(place, ".")
                }
                "-" => {
                    self.next();
                    self.number(place, true)
                }
                _ => Err(self.mismatched(PRIMARY)),
            },
            Token::Ident => self.name(place, ""),
            Token::Int | Token::Uint | Token::Double => self.number(place, false),
            Token::String | Token::Bytes => {
                let token = self.word();
                let literal = match lexeme.token {
                    Token::Bytes => literals::bytes(token).map(Literal::Bytes),
                    _ => literals::string(token).map(|text| Literal::String(text.into())),
                };
                self.next();
                let literal = literal.unwrap_or_else(|message| {
                    self.fault(place, message);
                    Literal::Null
                });
                Ok(self.node(place, Kind::Literal(literal)))
            }
            Token::Quoted | Token::End => Err(self.mismatched(PRIMARY)),
        }
    }

    fn number(&mut self, place: u32, negative: bool) -> Parse<Expr> {
        let (token, text) = (self.peek().token, self.word());
        let (literal, kind) = match token {
            Token::Int => (literals::int(text, negative), "int"),
            Token::Uint => (literals::uint(text), "uint"),
            Token::Double => (literals::double(text, negative), "double"),
            _ => return Err(self.mismatched(PRIMARY)),
        };
        self.next();
        let literal = literal.unwrap_or_else(|| {
            self.fault(place, format!("invalid {kind} literal"));
            Literal::Null
        });
        Ok(self.node(place, Kind::Literal(literal)))
    }

    /// A variable, a keyword literal or a call of a function.
    fn name(&mut self, start: u32, dot: &str) -> Parse<Expr> {
        let (place, word) = (self.peek().start as u32, Str::from(self.word()));
        if self.peek().token != Token::Ident {
            return Err(self.mismatched("IDENTIFIER"));
        }
        let literal = match word.as_str() {
            "true" => Some(Literal::Bool(true)),
            "false" => Some(Literal::Bool(false)),
            "null" => Some(Literal::Null),
            "in" => return Err(self.mismatched(PRIMARY)),
            _ => None,
        };
        self.next();
        if let Some(literal) = literal.filter(|_| dot.is_empty()) {
            return Ok(self.node(place, Kind::Literal(literal)));
        }
        if RESERVED.contains(&word.as_str()) {
            self.fault(start, format!("reserved identifier: {word}"));
        }
        let name = Str::from(format!("{dot}{word}"));
        let Some(open) = self.take("(") else { return Ok(self.node(place, Kind::Ident(name))) };
        let id = self.id(open);
        let args = self.arguments()?;
        if let Some(expanded) = macros::function(self, open, &name, &args) {
            return expanded.and_then(|expr| self.expanded(expr));
        }
        self.done(Expr { id, kind: Kind::Call { target: None, function: name, args } })
    }

    fn list(&mut self) -> Parse<Expr> {
        let open = self.expect("[")?;
        let id = self.id(open);
        let mut items = Vec::new();
        while !self.is("]") {
            let optional = self.take("?").is_some();
            items.push((self.expr()?, optional));
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("]")?;
        self.done(Expr { id, kind: Kind::List(items) })
    }

    fn map(&mut self) -> Parse<Expr> {
        let open = self.expect("{")?;
        let id = self.id(open);
        let mut entries = Vec::new();
        while !self.is("}") {
            let optional = self.take("?").is_some();
            let key = self.expr()?;
            self.expect(":")?;
            let value = self.expr()?;
            entries.push(Entry { key, value, optional });
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        self.done(Expr { id, kind: Kind::Map(entries) })
    }
}
