//! What a string, bytes or number literal holds.

use super::ast::Literal;

/// The content of a string token, quotes and prefixes included in `token`. Errors as clients see them.
pub fn string(token: &str) -> Result<String, String> {
    let (raw, _, body) = split(token);
    if raw {
        return Ok(body.to_string());
    }
    let mut out = String::with_capacity(body.len());
    unescape(body, |piece| match piece {
        Piece::Char(c) => {
            out.push(c);
            Ok(())
        }
        // `\xff` and `\377` are code points in strings.
        Piece::Byte(b) => {
            out.push(char::from(b));
            Ok(())
        }
    })?;
    Ok(out)
}

/// The content of a bytes token.
pub fn bytes(token: &str) -> Result<Vec<u8>, String> {
    let (raw, _, body) = split(token);
    if raw {
        return Ok(body.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(body.len());
    unescape(body, |piece| {
        match piece {
            Piece::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Piece::Byte(b) => out.push(b),
        }
        Ok(())
    })?;
    Ok(out)
}

/// An integer with its sign; `None` where it does not fit.
pub fn int(token: &str, negative: bool) -> Option<Literal> {
    let (digits, radix) = radix(token);
    let text = if negative { format!("-{digits}") } else { digits.to_string() };
    i64::from_str_radix(&text, radix).ok().map(Literal::Int)
}

/// An unsigned integer, with its `u`.
pub fn uint(token: &str) -> Option<Literal> {
    let (digits, radix) = radix(token.trim_end_matches(['u', 'U']));
    u64::from_str_radix(digits, radix).ok().map(Literal::Uint)
}

pub fn double(token: &str, negative: bool) -> Option<Literal> {
    let number: f64 = token.parse().ok()?;
    number.is_finite().then_some(Literal::Double(if negative { -number } else { number }))
}

fn radix(token: &str) -> (&str, u32) {
    match token.strip_prefix("0x").or_else(|| token.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (token, 10),
    }
}

/// Whether a token is raw, whether it is bytes, and what stands between its quotes.
fn split(token: &str) -> (bool, bool, &str) {
    let quotes = token.find(['"', '\'']).unwrap_or(0);
    let (prefix, quoted) = token.split_at(quotes);
    let (raw, bytes) = (prefix.contains(['r', 'R']), prefix.contains(['b', 'B']));
    let width = if quoted.len() >= 6 && (quoted.starts_with("\"\"\"") || quoted.starts_with("'''")) { 3 } else { 1 };
    (raw, bytes, quoted.get(width..quoted.len().saturating_sub(width)).unwrap_or(""))
}

enum Piece {
    Char(char),
    /// From `\x`, `\X` and octal escapes.
    Byte(u8),
}

fn unescape(body: &str, mut put: impl FnMut(Piece) -> Result<(), String>) -> Result<(), String> {
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        // Line ends are one character whatever wrote them.
        if c == '\r' {
            if !chars.as_str().starts_with('\n') {
                put(Piece::Char('\n'))?;
            }
            continue;
        }
        if c != '\\' {
            put(Piece::Char(c))?;
            continue;
        }
        let escape = chars.next().ok_or("unable to unescape string, found '\\' as last character")?;
        let mut digits = |count: usize, radix: u32| -> Result<u32, String> {
            let rest = chars.as_str();
            let text = rest.get(..count).ok_or("unable to unescape string")?;
            let number = u32::from_str_radix(text, radix).map_err(|_| "unable to unescape string")?;
            chars = rest[count..].chars();
            Ok(number)
        };
        let piece = match escape {
            'a' => Piece::Char('\u{7}'),
            'b' => Piece::Char('\u{8}'),
            'f' => Piece::Char('\u{c}'),
            'n' => Piece::Char('\n'),
            'r' => Piece::Char('\r'),
            't' => Piece::Char('\t'),
            'v' => Piece::Char('\u{b}'),
            '\\' | '\'' | '"' | '`' | '?' => Piece::Char(escape),
            'x' | 'X' => Piece::Byte(digits(2, 16)? as u8),
            'u' => Piece::Char(char::from_u32(digits(4, 16)?).ok_or("invalid unicode code point")?),
            'U' => Piece::Char(char::from_u32(digits(8, 16)?).ok_or("invalid unicode code point")?),
            '0'..='3' => {
                let low = digits(2, 8).map_err(|_| "unable to unescape octal sequence in string")?;
                Piece::Byte((escape as u32 - '0' as u32) as u8 * 64 + low as u8)
            }
            _ => return Err("unable to unescape string".into()),
        };
        put(piece)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_decoded() {
        for (token, want) in [
            (r#""a""#, Ok("a")),
            (r"'a\'b'", Ok("a'b")),
            (r#"r"\d\n""#, Ok(r"\d\n")),
            (r#""""a"b""""#, Ok("a\"b")),
            (
                r"'''x
y'''",
                Ok("x\ny"),
            ),
            (r#""\u00e9\x41\101\n\t\\""#, Ok("éAA\n\t\\")),
            (r#""\U0001F600""#, Ok("😀")),
            (r#""\ud800""#, Err("invalid unicode code point")),
            (r#""\q""#, Err("unable to unescape string")),
            (r#""\u12""#, Err("unable to unescape string")),
            (r#""""#, Ok("")),
        ] {
            assert_eq!(string(token), want.map(str::to_string).map_err(str::to_string), "{token}");
        }
        assert_eq!(bytes(r#"b"\xff\377é""#), Ok(vec![255, 255, 0xc3, 0xa9]));
        assert_eq!(bytes(r"rb'\x'"), Ok(b"\\x".to_vec()));
    }

    #[test]
    fn numbers_fit_or_not() {
        assert_eq!(int("9223372036854775808", true), Some(Literal::Int(i64::MIN)));
        assert_eq!(int("9223372036854775808", false), None);
        assert_eq!(int("0xF", true), Some(Literal::Int(-15)));
        assert_eq!(uint("18446744073709551615u"), Some(Literal::Uint(u64::MAX)));
        assert_eq!(double("1e400", false), None);
        assert_eq!(double(".5", true), Some(Literal::Double(-0.5)));
    }
}
