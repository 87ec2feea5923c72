//! Tokens of the CEL grammar.
//!
//! A pull lexer over bytes. Strings are cut out here with their quotes and prefixes and decoded by `literals`, since the
//! parser must know where a bad escape stands. A character that starts no token is reported once and skipped, as the
//! reference's generated lexer does.

use crate::text::Issue;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// A name, reserved words included; the parser knows where these are fields.
    Ident,
    /// A name between backticks.
    Quoted,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    /// An operator or bracket; its text tells which.
    Punct,
    End,
}

#[derive(Debug, Clone, Copy)]
pub struct Lexeme {
    pub token: Token,
    pub start: usize,
    pub end: usize,
}

/// Longest first.
const PUNCTUATION: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*", "/", "%",
    "<", ">", "=",
];

/// All tokens, the end included, and what could not be read.
pub fn tokens(text: &str) -> (Vec<Lexeme>, Vec<Issue>) {
    let mut lexer = Lexer { text, bytes: text.as_bytes(), at: 0, issues: Vec::new() };
    let mut out = Vec::with_capacity(text.len() / 3 + 2);
    loop {
        let lexeme = lexer.next();
        out.push(lexeme);
        if lexeme.token == Token::End {
            return (out, lexer.issues);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    issues: Vec<Issue>,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Lexeme {
        loop {
            self.space();
            let start = self.at;
            if start >= self.bytes.len() {
                return Lexeme { token: Token::End, start, end: start };
            }
            if let Some(token) = self.token() {
                return Lexeme { token, start, end: self.at };
            }
            if self.at == start {
                self.at += self.text[start..].chars().next().map_or(1, char::len_utf8);
            }
            let bad = &self.text[start..self.at];
            self.issues.push(Issue::new(start, format!("Syntax error: token recognition error at: '{}'", shown(bad))));
        }
    }

    fn space(&mut self) {
        loop {
            match self.peek(0) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0c if self.at < self.bytes.len() => self.at += 1,
                b'/' if self.peek(1) == b'/' => {
                    self.at +=
                        self.bytes[self.at..].iter().position(|b| *b == b'\n').unwrap_or(self.bytes.len() - self.at);
                }
                _ => return,
            }
        }
    }

    fn token(&mut self) -> Option<Token> {
        match self.peek(0) {
            b'0'..=b'9' => Some(self.number()),
            b'.' if self.peek(1).is_ascii_digit() => Some(self.number()),
            b'"' | b'\'' => self.string(0).then_some(Token::String),
            b'`' => self.backticks(),
            c if c.is_ascii_alphabetic() || c == b'_' => {
                if let Some(token) = self.prefixed() {
                    return token;
                }
                while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == b'_' {
                    self.at += 1;
                }
                Some(Token::Ident)
            }
            b'=' if self.peek(1) != b'=' => {
                // The reference takes the character after a lone `=` into the fault.
                self.at += 1;
                self.at += self.text[self.at..].chars().next().map_or(0, char::len_utf8);
                None
            }
            b'&' | b'|' if self.peek(1) != self.peek(0) => {
                self.at += 1;
                self.at += self.text[self.at..].chars().next().map_or(0, char::len_utf8);
                None
            }
            _ => {
                let rest = &self.text[self.at..];
                let found = PUNCTUATION.iter().find(|p| rest.starts_with(**p))?;
                self.at += found.len();
                Some(Token::Punct)
            }
        }
    }

    /// `r"…"`, `b'…'`, `rb"…"`, `br"…"`; `None` where no string follows.
    fn prefixed(&mut self) -> Option<Option<Token>> {
        let mut length = 0;
        let (mut raw, mut bytes) = (false, false);
        loop {
            match self.peek(length) {
                b'r' | b'R' if !raw => raw = true,
                b'b' | b'B' if !bytes => bytes = true,
                b'"' | b'\'' if length > 0 => break,
                _ => return None,
            }
            length += 1;
        }
        let token = if bytes { Token::Bytes } else { Token::String };
        Some(self.string(length).then_some(token))
    }

    /// Past the closing quotes; `false` (and past the opening quote) where there are none.
    fn string(&mut self, prefix: usize) -> bool {
        let raw = self.text[self.at..self.at + prefix].contains(['r', 'R']);
        let start = self.at + prefix;
        let quote = self.bytes[start];
        let triple = self.bytes[start..].starts_with(&[quote; 3]);
        let width = if triple { 3 } else { 1 };
        let mut at = start + width;
        while let Some(byte) = self.bytes.get(at) {
            match byte {
                b'\\' if !raw => at += 2,
                b'\n' | b'\r' if !triple => break,
                byte if *byte == quote && self.bytes[at..].starts_with(&[quote; 3][..width]) => {
                    self.at = at + width;
                    return true;
                }
                _ => at += 1,
            }
        }
        // The rest of the line is one fault.
        let mut end = at.min(self.bytes.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        self.at = end;
        false
    }

    fn backticks(&mut self) -> Option<Token> {
        let rest = &self.bytes[self.at + 1..];
        let length = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || b"_.-/ ".contains(b)))?;
        if rest[length] != b'`' || length == 0 {
            return None;
        }
        self.at += length + 2;
        Some(Token::Quoted)
    }

    fn number(&mut self) -> Token {
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X') && self.peek(2).is_ascii_hexdigit() {
            self.at += 2;
            while self.peek(0).is_ascii_hexdigit() {
                self.at += 1;
            }
            return self.unsigned();
        }
        self.digits();
        let mut double = false;
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            double = true;
            self.at += 1;
            self.digits();
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                double = true;
                self.at += 1 + sign;
                self.digits();
            }
        }
        if double { Token::Double } else { self.unsigned() }
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
    }

    fn unsigned(&mut self) -> Token {
        if matches!(self.peek(0), b'u' | b'U') {
            self.at += 1;
            return Token::Uint;
        }
        Token::Int
    }
}

fn shown(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}
