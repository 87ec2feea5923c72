//! The quick reader: plain JSON straight into a tree.
//!
//! Reading is half of what a write costs, and serde_json's visitor makes every value twice. This reader takes what almost
//! every document is: no duplicate keys, no fractions, no surrogate escapes, moderate nesting. It gives up (`None`) at
//! anything else, right or wrong, and the caller reads the document again with serde_json, whose grammar and messages
//! count. So it never has to say what is wrong, and whatever it accepts must be what serde_json makes of it.
//! Decided against: SIMD readers (they want padded, mutable input, and `unsafe`).

use crate::{Map, Str, Value};

/// Deeper nesting is left to serde_json, which refuses it from 128 on.
const DEPTH: usize = 100;

/// The document as a tree, or `None` where serde_json must look at it.
pub fn quick(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader { text, bytes, at: 0, entries: Vec::with_capacity(64), items: Vec::with_capacity(64) };
    reader.space();
    let mut value = Value::Null;
    reader.value(&mut value, DEPTH)?;
    reader.space();
    (reader.at == bytes.len()).then_some(value)
}

/// How many bytes stand before the first that cannot stand in a JSON string as it is: a quote, a backslash, a control
/// character. Eight bytes at a time; of the flags that subtraction makes the lowest is right, and it is the one that counts.
#[inline]
pub fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (i, chunk) in chunks.iter().enumerate() {
        let x = u64::from_le_bytes(*chunk);
        let control = x.wrapping_sub(ONES * 0x20) & !x;
        let found = (control | zero(x ^ (ONES * 0x22)) | zero(x ^ (ONES * 0x5c))) & HIGH;
        if found != 0 {
            return 8 * i + found.trailing_zeros() as usize / 8;
        }
    }
    let special = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20);
    bytes.len() - rest.len() + rest.iter().position(special).unwrap_or(rest.len())
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Members and elements of what is under way, innermost last: objects and lists are made once, in their size.
    entries: Vec<(Str, Value)>,
    items: Vec<Value>,
}

impl Reader<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }
    /// The next byte behind white space must be this one.
    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.peek()? == byte).then(|| self.at += 1)
    }
    fn word(&mut self, word: &str) -> Option<()> {
        let end = self.at + word.len();
        (self.bytes.get(self.at..end)? == word.as_bytes()).then(|| self.at = end)
    }

    /// Writes the value that stands here to its place: returned ones would be copied at each level.
    fn value(&mut self, out: &mut Value, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => *out = Value::String(self.string()?),
            b'{' => return self.object(out, depth.checked_sub(1)?),
            b'[' => return self.array(out, depth.checked_sub(1)?),
            b't' => {
                self.word("true")?;
                *out = Value::Bool(true);
            }
            b'f' => {
                self.word("false")?;
                *out = Value::Bool(false);
            }
            b'n' => self.word("null")?,
            _ => *out = Value::Int(self.integer()?),
        }
        Some(())
    }

    fn object(&mut self, out: &mut Value, depth: usize) -> Option<()> {
        self.at += 1;
        let start = self.entries.len();
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            *out = Value::object();
            return Some(());
        }
        loop {
            self.space();
            (self.peek()? == b'"').then_some(())?;
            let mut entry = (self.string()?, Value::Null);
            self.expect(b':')?;
            self.space();
            self.value(&mut entry.1, depth)?;
            self.entries.push(entry);
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        let (map, repeated) = Map::from_tail(&mut self.entries, start);
        *out = Value::Object(map);
        repeated.is_empty().then_some(())
    }

    fn array(&mut self, out: &mut Value, depth: usize) -> Option<()> {
        self.at += 1;
        let start = self.items.len();
        self.space();
        if self.peek()? == b']' {
            self.at += 1;
            *out = Value::Array(Vec::new());
            return Some(());
        }
        loop {
            self.space();
            let mut item = Value::Null;
            self.value(&mut item, depth)?;
            self.items.push(item);
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at += 1;
        *out = Value::Array(self.items.split_off(start));
        Some(())
    }

    /// Up to 18 digits; everything else that is a number needs more care.
    fn integer(&mut self) -> Option<i64> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let (start, mut number) = (self.at, 0_i64);
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
            self.at += 1;
        }
        let digits = self.at - start;
        let odd = digits == 0 || digits > 18 || self.bytes[start] == b'0' && (digits > 1 || negative);
        if odd || matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        Some(if negative { -number } else { number })
    }

    fn string(&mut self) -> Option<Str> {
        self.at += 1;
        let start = self.at;
        self.plain()?;
        if self.peek()? == b'"' {
            let text = self.text.get(start..self.at)?;
            self.at += 1;
            return Some(text.into());
        }
        self.escaped(start).map(Str::from)
    }

    /// On to the next quote or escape.
    #[inline]
    fn plain(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        let length = plain(rest);
        self.at += length;
        matches!(rest.get(length)?, b'"' | b'\\').then_some(())
    }

    fn escaped(&mut self, start: usize) -> Option<String> {
        let mut out = String::with_capacity(2 * (self.at - start) + 32);
        out.push_str(self.text.get(start..self.at)?);
        loop {
            self.at += 1;
            match self.bytes[self.at - 1] {
                b'"' => return Some(out),
                // `plain` stops at these two only.
                _ => out.push(self.escape()?),
            }
            let from = self.at;
            self.plain()?;
            out.push_str(self.text.get(from..self.at)?);
        }
    }

    fn escape(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
                self.at += 4;
                // Halves of a pair are no character.
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{plain, quick};
    use crate::json::careful;

    /// What is accepted must be what serde_json makes of it; `taken` says whether it is accepted.
    #[track_caller]
    fn check(text: &str, taken: bool) {
        let got = quick(text.as_bytes());
        assert_eq!(got.is_some(), taken, "{text}");
        if let Some(got) = got {
            let parsed = careful(text.as_bytes()).unwrap();
            assert_eq!((got, vec![]), (parsed.value, parsed.duplicates), "{text}");
        }
    }

    #[test]
    fn the_first_special_byte_is_found() {
        for length in 0..40 {
            let mut bytes = vec![b'a'; length];
            assert_eq!(plain(&bytes), length);
            for at in 0..length {
                for (special, behind) in [(b'"', b'\\'), (b'\\', b'"'), (0, 0x1f), (0x1f, b'"')] {
                    bytes[at] = special;
                    bytes[at + 1..].fill(behind);
                    assert_eq!(plain(&bytes), at);
                }
                for common in [0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                    bytes[at..].fill(common);
                    assert_eq!(plain(&bytes), length, "{common} at {at}");
                }
                bytes.fill(b'a');
            }
        }
    }

    #[test]
    fn plain_documents_are_read() {
        for text in [
            "{}",
            "[]",
            " { \"b\" : [ 1 , -2, 0 ] ,\n\t\"a\" : { } , \"c\": [ ] } ",
            r#"{"a":true,"b":false,"c":null,"d":"","é":"ü€😀"}"#,
            r#""a\"b\\c\/\n\t\r\b\f\u00e9\u003c\u0000x""#,
            r#""\n""#,
            r#""tail\\""#,
            "999999999999999999",
            "-999999999999999999",
            "[[[[1]],[2]],[],[{\"a\":[{\"b\":1}]}]]",
        ] {
            check(text, true);
        }
    }

    #[test]
    fn everything_else_is_left_to_serde_json() {
        for text in [
            "",
            " ",
            "{",
            "[1",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{1:1}",
            "{}x",
            "1 2",
            "tru",
            "nulll",
            "01",
            "-0",
            "-",
            "1.5",
            "1e3",
            "1E3",
            "9999999999999999999",
            "+1",
            "\"a",
            "\"a\u{1}\"",
            "\"\\",
            r#""\x""#,
            r#""\u12""#,
            r#""\u+123""#,
            r#""\ud83d\ude00""#,
            r#"{"a":1,"a":2}"#,
            "\u{feff}{}",
        ] {
            check(text, false);
        }
        assert_eq!(quick(b"\"\xff\""), None);
        assert_eq!(quick("[".repeat(200).as_bytes()), None);
        let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
        check(&deep, false);
    }
}
