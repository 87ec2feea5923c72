//! Query strings and percent-encoding, without a copy where nothing is encoded.

use std::borrow::Cow;

/// The pairs of a query string, in order.
#[derive(Debug, Clone, Default)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub fn parse(query: Option<&'a str>) -> Self {
        let pairs = query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Query(pairs.collect())
    }
    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_ref())
    }
    /// All values of a key.
    pub fn all<'s>(&'s self, key: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_ref())
    }
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_ref(), v.as_ref()))
    }
    /// A flag as upstream reads it: present and neither `false` nor `0`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).map(|v| !v.eq_ignore_ascii_case("false") && v != "0")
    }
}

/// Decodes `%2F` (and `+`, in a query). What is no valid encoding stays as it stands.
pub fn decode(text: &str, plus: bool) -> Cow<'_, str> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        rest = tail;
        match (first, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_queries() {
        let query = Query::parse(Some("a=1&b=x%2Cy+z&a=2&c&watch=0"));
        assert_eq!(query.get("b"), Some("x,y z"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((query.flag("c"), query.flag("watch"), query.flag("none")), (Some(true), Some(false), None));
        assert_eq!(decode("system%3Anode%zz%", false), "system:node%zz%");
        assert_eq!(decode(&encode("a b/ü&="), true), "a b/ü&=");
    }
}
