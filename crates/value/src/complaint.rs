//! What is wrong with a text that is not JSON, in the words of Go's `encoding/json`, which clients of the API know.
//!
//! Only refused texts come here: the reader that serves requests has a grammar of its own and knows nothing of this.
//! One pass without a tree; the first byte that does not fit decides.

/// The complaint about a text. One that is JSON after all (nested too deeply for us, say) is called what Go would call
/// nesting without end.
pub fn complaint(text: &[u8]) -> String {
    match (Scanner { text, at: 0 }).document() {
        Err(why) => why,
        Ok(()) => "exceeded max depth".into(),
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

type Result = std::result::Result<(), String>;

/// Where an array or an object stands.
enum Open {
    Array,
    Object,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result {
        let mut open = Vec::new();
        // A value is due, in an array that has just begun.
        let mut first = false;
        loop {
            self.space();
            match self.peek()? {
                b']' if first => self.at += 1,
                b'[' => {
                    self.at += 1;
                    open.push(Open::Array);
                    first = true;
                    continue;
                }
                b'{' => {
                    self.at += 1;
                    self.space();
                    if self.peek()? != b'}' {
                        self.key("looking for beginning of object key string")?;
                        open.push(Open::Object);
                        first = false;
                        continue;
                    }
                    self.at += 1;
                    first = false;
                }
                _ => {
                    self.scalar()?;
                    first = false;
                }
            }
            if std::mem::take(&mut first) {
                open.pop();
            }
            if !self.after_value(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Closes what ends after a value; true where another value is due.
    fn after_value(&mut self, open: &mut Vec<Open>) -> std::result::Result<bool, String> {
        loop {
            self.space();
            match (open.last(), self.text.get(self.at)) {
                (None, None) => return Ok(false),
                (None, Some(_)) => return Err(self.unexpected("after top-level value")),
                (Some(_), None) => return Err(ended()),
                (Some(Open::Array), Some(b',')) => {
                    self.at += 1;
                    return Ok(true);
                }
                (Some(Open::Array), Some(b']')) | (Some(Open::Object), Some(b'}')) => {
                    self.at += 1;
                    open.pop();
                }
                (Some(Open::Object), Some(b',')) => {
                    self.at += 1;
                    self.space();
                    self.key("looking for beginning of object key string")?;
                    return Ok(true);
                }
                (Some(Open::Array), Some(_)) => return Err(self.unexpected("after array element")),
                (Some(Open::Object), Some(_)) => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    /// A key and its colon.
    fn key(&mut self, place: &str) -> Result {
        if self.peek()? != b'"' {
            return Err(self.unexpected(place));
        }
        self.string()?;
        self.space();
        match self.peek()? {
            b':' => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.unexpected("after object key")),
        }
    }

    fn scalar(&mut self) -> Result {
        match self.peek()? {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn word(&mut self, word: &str) -> Result {
        self.at += 1;
        for want in word.bytes().skip(1) {
            if self.peek()? != want {
                return Err(self.unexpected(&format!("in literal {word} (expecting '{}')", want as char)));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                        b'u' => {
                            for _ in 0..4 {
                                self.at += 1;
                                if !self.peek()?.is_ascii_hexdigit() {
                                    return Err(self.unexpected("in \\u hexadecimal character escape"));
                                }
                            }
                        }
                        _ => return Err(self.unexpected("in string escape code")),
                    }
                }
                0..0x20 => return Err(self.unexpected("in string literal")),
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(())
    }

    fn number(&mut self) -> Result {
        if self.peek()? == b'-' {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(self.unexpected("in numeric literal"));
            }
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits();
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(self.unexpected("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.peek()?.is_ascii_digit() {
                return Err(self.unexpected("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }
    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }
    fn peek(&self) -> std::result::Result<u8, String> {
        self.text.get(self.at).copied().ok_or_else(ended)
    }
    fn unexpected(&self, place: &str) -> String {
        let shown = match self.text.get(self.at).copied().unwrap_or(0) {
            b'\'' => r"'\''".into(),
            b'"' => "'\"'".into(),
            b'\n' => r"'\n'".into(),
            b'\t' => r"'\t'".into(),
            b'\r' => r"'\r'".into(),
            b'\\' => r"'\\'".into(),
            c @ (0..0x20 | 0x7f) => format!(r"'\x{c:02x}'"),
            c @ 0x80..0xa0 => format!(r"'\u{c:04x}'"),
            c => format!("'{}'", c as char),
        };
        format!("invalid character {shown} {place}")
    }
}

fn ended() -> String {
    "unexpected end of JSON input".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_those_of_go() {
        let end = "unexpected end of JSON input";
        for (text, want) in [
            ("", end),
            ("  ", end),
            ("{", end),
            ("[1,", end),
            ("[", end),
            (r#"{"a""#, end),
            (r#"{"a":"#, end),
            (r#"{"a":1"#, end),
            (r#"{"a":1,"#, end),
            ("\"a", end),
            ("tr", end),
            ("-", end),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{,}", "invalid character ',' looking for beginning of object key string"),
            (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b":2}"#, "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[[1] }", "invalid character '}' after array element"),
            ("{} {}", "invalid character '{' after top-level value"),
            ("[] x", "invalid character 'x' after top-level value"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("nil", "invalid character 'i' in literal null (expecting 'u')"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (r#""\u12g4""#, "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"a\nb\"", r"invalid character '\n' in string literal"),
            ("01", "invalid character '1' after top-level value"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("'a'", r"invalid character '\'' looking for beginning of value"),
        ] {
            assert_eq!(complaint(text.as_bytes()), want, "{text}");
        }
        assert_eq!(complaint(b"\xc7"), "invalid character '\u{c7}' looking for beginning of value");
        assert_eq!(complaint(br#"{"a": [1, {"b": "\u00e9"}, [], {}]}"#), "exceeded max depth", "it is JSON");
    }
}
