//! What stands in a request's head: percent-encoding, and the token of an `Authorization` header. Read in one place,
//! because two servers that read the same request differently can be played against each other.

use std::borrow::Cow;

/// Decodes `%2F` (and `+`, in a query). What is no valid encoding stays as it stands; so does the whole text where the
/// result would not be UTF-8.
pub fn decode(text: &str, plus: bool) -> Cow<'_, str> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            (b'+', _) if plus => out.push(b' '),
            _ => out.push(*first),
        }
    }
    match String::from_utf8(out) {
        Ok(decoded) => Cow::Owned(decoded),
        Err(_) => Cow::Borrowed(text),
    }
}

/// Encodes a value for a query string.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(b as char),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// The token of an `Authorization` header; `None` where it holds none.
pub fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// A field of `/proc/*/mountinfo` (proc(5)): blank, tab, line break, backslash and `#` stand as three octal digits.
pub fn mountinfo(field: &str) -> Cow<'_, str> {
    if !field.contains('\\') {
        return Cow::Borrowed(field);
    }
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => out.push(*first),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The value of a hexadecimal digit.
fn digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_fields() {
        for (field, want) in [
            ("/a/b", "/a/b"),
            ("/a\\040b\\011c\\012d\\134e", "/a b\tc\nd\\e"),
            // An escaped backslash in front of digits is no escape of its own.
            ("/a\\134040", "/a\\040"),
            ("/a\\04", "/a\\04"),
            ("/a\\999", "/a\\999"),
            ("/\\303\\274", "/ü"),
        ] {
            assert_eq!(mountinfo(field), want, "{field}");
        }
    }

    #[test]
    fn percent() {
        for (text, want) in [
            ("system%3Anode", "system:node"),
            ("a%2fB%2F+", "a/B/+"),
            ("%zz%", "%zz%"),
            ("%+1%4", "%+1%4"),
            ("%c3%bc", "ü"),
            ("%ff", "%ff"),
            ("", ""),
        ] {
            assert_eq!(decode(text, false), want, "{text}");
        }
        assert_eq!(decode("a+b%2B", true), "a b+");
        assert_eq!(decode(&encode("a b/ü&=+"), true), "a b/ü&=+");
    }

    #[test]
    fn tokens() {
        for (header, want) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Bearer ", None),
        ] {
            assert_eq!(bearer_token(header), want, "{header:?}");
        }
    }
}
