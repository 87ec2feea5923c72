//! Links that lead back through the proxy: one URL, and where URLs stand in HTML.
//!
//! A page that a pod serves at `/` is seen by the browser below `/api/v1/…/proxy/`, so absolute paths in it would miss.
//! HTML is read only as far as that takes: comments, the insides of scripts and everything that is no start tag pass
//! byte by byte, and of a tag only the values change that are links. The text comes in pieces, and what is known to be
//! complete goes out at once. Elements and attributes: HTML 4.01's index of attributes, and the HTML standard's.

/// Where links are seen from.
#[derive(Debug, Clone)]
pub struct Place {
    /// The path of the proxy itself, without a slash at its end.
    pub prefix: String,
    /// Host and port of the server behind.
    pub backend: String,
    /// Host and port as the client calls this server.
    pub host: String,
}

impl Place {
    /// A link as the client must see it; `None` where it stays as it is.
    pub fn rewrite(&self, link: &str) -> Option<String> {
        if link.bytes().any(|b| b.is_ascii_control()) {
            return None;
        }
        let (before_fragment, _) = link.split_once('#').unwrap_or((link, ""));
        let (hierarchy, _) = before_fragment.split_once('?').unwrap_or((before_fragment, ""));
        let tail = &link[hierarchy.len()..];
        let (scheme, rest) = split_scheme(hierarchy);
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if !path.starts_with('/') || !(host.is_empty() || host == self.backend || host == self.host) {
            return None;
        }
        // An address that the client itself uses stays; that of a pod means nothing to it.
        let kept = if !host.is_empty() && host == self.host { &link[..scheme.len() + 2 + authority.len()] } else { "" };
        let path = match self.has(path) {
            true => path.to_string(),
            false => format!("{}{}", self.prefix, clean(path)),
        };
        Some(format!("{kept}{path}{tail}"))
    }

    fn has(&self, path: &str) -> bool {
        path.starts_with(&self.prefix)
    }
}

/// `http:` with its colon, and what follows.
fn split_scheme(text: &str) -> (&str, &str) {
    let end = text.find([':', '/']).filter(|at| text.as_bytes()[*at] == b':' && *at > 0);
    let plain = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    };
    match end {
        Some(at) if plain(&text[..at]) => text.split_at(at + 1),
        _ => ("", text),
    }
}

/// A path without `.`, `..` and empty segments; it never leads above its root.
fn clean(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(out.pop()),
            other => out.push(other),
        }
    }
    let slash = if path.ends_with('/') && !out.is_empty() { "/" } else { "" };
    format!("/{}{slash}", out.join("/"))
}

/// Elements and which of their attributes are links.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is text up to their end tag.
const TEXT: &[&str] =
    &["iframe", "noembed", "noframes", "noscript", "plaintext", "script", "style", "textarea", "title", "xmp"];

/// A token that is longer passes as it is.
const LONGEST: usize = 1 << 20;

/// Rewrites the links of one document.
pub struct Html {
    place: Place,
    /// What has come and is not complete.
    pending: Vec<u8>,
    /// The element whose end is looked for.
    inside: Option<String>,
}

/// How far a token goes.
enum End {
    At(usize),
    /// More must come first.
    Open,
}

impl Html {
    pub fn new(place: Place) -> Self {
        Html { place, pending: Vec::new(), inside: None }
    }

    /// Takes a piece and gives what can go out.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(piece);
        let pending = std::mem::take(&mut self.pending);
        let mut out = Vec::with_capacity(pending.len() + 64);
        let mut rest = &pending[..];
        while !rest.is_empty() {
            match self.token(rest) {
                End::At(end) => {
                    self.pass(&rest[..end], &mut out);
                    rest = &rest[end..];
                }
                End::Open if rest.len() > LONGEST => {
                    out.extend_from_slice(rest);
                    rest = &[];
                }
                End::Open => break,
            }
        }
        self.pending = rest.to_vec();
        out
    }

    /// What was left without its end.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// The length of the first token.
    fn token(&self, text: &[u8]) -> End {
        if let Some(name) = &self.inside {
            return text_end(text, name);
        }
        match text {
            [b'<', b'!', b'-', b'-', rest @ ..] => after(rest, b"-->", 4),
            [b'<', b'!', ..] if text.len() < 4 => End::Open,
            [b'<', b'!' | b'?' | b'/', rest @ ..] => after(rest, b">", 2),
            [b'<', first, ..] if first.is_ascii_alphabetic() => tag_end(text),
            [b'<'] => End::Open,
            [_, rest @ ..] => End::At(1 + rest.iter().position(|b| *b == b'<').unwrap_or(rest.len())),
            [] => End::Open,
        }
    }

    fn pass(&mut self, token: &[u8], out: &mut Vec<u8>) {
        if self.inside.take().is_some() || !matches!(token, [b'<', first, ..] if first.is_ascii_alphabetic()) {
            out.extend_from_slice(token);
            return;
        }
        let length =
            token.iter().position(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>')).unwrap_or(token.len());
        let name = String::from_utf8_lossy(&token[1..length]).to_ascii_lowercase();
        let links = LINKS.iter().find(|(element, _)| *element == name).map_or(&[][..], |(_, links)| links);
        let mut copied = 0;
        // Of attributes of one name the first counts (the HTML standard's duplicate-attribute), so a tag grows by as many
        // prefixes as its element has links, however long it is.
        let mut open = links.to_vec();
        for (attribute, start, end) in if links.is_empty() { Vec::new() } else { attributes(token, length) } {
            let Some(at) = open.iter().position(|link| *link == attribute) else { continue };
            open.swap_remove(at);
            let Ok(value) = std::str::from_utf8(&token[start..end]) else { continue };
            let value = value.trim_matches(['"', '\'']);
            if let Some(new) = self.place.rewrite(unescape(value).trim()) {
                out.extend_from_slice(&token[copied..start]);
                out.extend_from_slice(format!("\"{}\"", escape(&new)).as_bytes());
                copied = end;
            }
        }
        out.extend_from_slice(&token[copied..]);
        if TEXT.contains(&name.as_str()) && !token.ends_with(b"/>") {
            self.inside = Some(name);
        }
    }
}

fn after(text: &[u8], end: &[u8], begun: usize) -> End {
    let at = text.windows(end.len()).position(|w| w == end);
    at.map_or(End::Open, |at| End::At(begun + at + end.len()))
}

/// Up to `</name`, or as much as cannot be part of it.
fn text_end(text: &[u8], name: &str) -> End {
    let length = name.len() + 2;
    let is_end = |w: &[u8]| w.starts_with(b"</") && w[2..].eq_ignore_ascii_case(name.as_bytes());
    match text.windows(length).position(is_end) {
        Some(at) => End::At(at + length),
        None => End::Open,
    }
}

/// Up to the `>` that stands in no quotes.
fn tag_end(text: &[u8]) -> End {
    let mut quote = None;
    let mut before = b' ';
    for (i, b) in text.iter().copied().enumerate() {
        match (quote, b) {
            (None, b'>') => return End::At(i + 1),
            // A quote begins a value; elsewhere it is a character.
            (None, b'"' | b'\'') if before == b'=' => quote = Some(b),
            (Some(q), _) if b == q => quote = None,
            _ => {}
        }
        if !b.is_ascii_whitespace() {
            before = b;
        }
    }
    End::Open
}

/// Name in lower case, and where the value stands, with its quotes.
fn attributes(tag: &[u8], from: usize) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let end = tag.len() - 1;
    let skip = |mut i: usize, skipped: fn(u8) -> bool| {
        while i < end && skipped(tag[i]) {
            i += 1;
        }
        i
    };
    let mut i = from;
    loop {
        i = skip(i, |b| b.is_ascii_whitespace() || b == b'/');
        if i >= end {
            return found;
        }
        let start = i;
        i = skip(i + 1, |b| !b.is_ascii_whitespace() && !matches!(b, b'=' | b'/'));
        let name = String::from_utf8_lossy(&tag[start..i]).to_ascii_lowercase();
        i = skip(i, |b| b.is_ascii_whitespace());
        if i >= end || tag[i] != b'=' {
            continue;
        }
        let start = skip(i + 1, |b| b.is_ascii_whitespace());
        i = match tag.get(start) {
            Some(quote @ (b'"' | b'\'')) => {
                let inner = &tag[start + 1..end.max(start + 1)];
                inner.iter().position(|b| b == quote).map_or(end, |at| start + 1 + at + 1)
            }
            _ => skip(start, |b| !b.is_ascii_whitespace()),
        };
        found.push((name, start, i));
    }
}

/// The characters that URLs in HTML need: by number, and the five by name.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = rest.find(';').and_then(|end| Some((entity(&rest[1..end])?, end)));
        match known {
            Some((c, end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    let code = match name {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => name.strip_prefix('#')?,
    };
    let code = match code.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => code.parse().ok()?,
    };
    char::from_u32(code)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&#39;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { prefix: "/p/proxy".into(), backend: "10.0.0.7:80".into(), host: "localhost:8001".into() }
    }

    #[test]
    fn one_link() {
        for (link, want) in [
            ("/", Some("/p/proxy/")),
            ("/a", Some("/p/proxy/a")),
            ("/a/", Some("/p/proxy/a/")),
            ("/a/?b=/c#d/e", Some("/p/proxy/a/?b=/c#d/e")),
            ("/a//b/./c", Some("/p/proxy/a/b/c")),
            ("/../../x", Some("/p/proxy/x")),
            ("/p/proxy/a", Some("/p/proxy/a")),
            ("http://10.0.0.7:80/a", Some("/p/proxy/a")),
            ("https://user@10.0.0.7:80/a", Some("/p/proxy/a")),
            ("//10.0.0.7:80/a", Some("/p/proxy/a")),
            ("http://localhost:8001/a", Some("http://localhost:8001/p/proxy/a")),
            ("http://localhost:8001/p/proxy/a", Some("http://localhost:8001/p/proxy/a")),
            ("//localhost:8001/a", Some("//localhost:8001/p/proxy/a")),
            ("http://10.0.0.7:80", None),
            ("http://10.0.0.7/a", None),
            ("http://example.com/a", None),
            ("//example.com/a", None),
            ("mailto:a@b", None),
            ("a/b", None),
            ("a:b/c", None),
            ("?q", None),
            ("#f", None),
            ("", None),
            ("/a\nb", None),
        ] {
            assert_eq!(place().rewrite(link).as_deref(), want, "{link}");
        }
    }

    /// Thousands of links in one tag make it no longer than the links that count.
    #[test]
    fn a_tag_grows_by_little() {
        let mut html = Html::new(Place { prefix: format!("/{}", "p".repeat(300)), ..place() });
        let tag = format!("<img {}>", "src=/ usemap=/ ".repeat(50_000));
        let out = html.push(tag.as_bytes());
        assert_eq!(out.len(), tag.len() + 2 * 303);
    }

    #[test]
    fn links_in_html() {
        for (html, want) in [
            (r#"<pre><a href="a">x</a></pre>"#, r#"<pre><a href="a">x</a></pre>"#),
            (r#"<a href="/a">x</a>"#, r#"<a href="/p/proxy/a">x</a>"#),
            (r#"<A HREF='/a' class=b>"#, r#"<A HREF="/p/proxy/a" class=b>"#),
            ("<a href=/a>", r#"<a href="/p/proxy/a">"#),
            ("<a href = /a/ >", r#"<a href = "/p/proxy/a/" >"#),
            (r#"<img src="/a"/><br/>"#, r#"<img src="/p/proxy/a"/><br/>"#),
            (r#"<img alt=">" src="/a">"#, r#"<img alt=">" src="/p/proxy/a">"#),
            (r#"<a href="/a?b=1&amp;c=2">"#, r#"<a href="/p/proxy/a?b=1&amp;c=2">"#),
            (r#"<a href="/a?b=1&c=2">"#, r#"<a href="/p/proxy/a?b=1&amp;c=2">"#),
            (r#"<a href="&#47;a">"#, r#"<a href="/p/proxy/a">"#),
            (r#"<a href="http://example.com/a">"#, r#"<a href="http://example.com/a">"#),
            (r#"<a title="/a">"#, r#"<a title="/a">"#),
            (r#"<p href="/a">"#, r#"<p href="/a">"#),
            (r#"<a href="/a" HREF=/b href='/c'>"#, r#"<a href="/p/proxy/a" HREF=/b href='/c'>"#),
            (r#"<a href="b" href="/c">"#, r#"<a href="b" href="/c">"#),
            (r#"<!-- <a href="/a"> --><a href="/b">"#, r#"<!-- <a href="/a"> --><a href="/p/proxy/b">"#),
            (
                r#"<script src="/a">"<a href='/b'>"</script><a href="/c">"#,
                r#"<script src="/p/proxy/a">"<a href='/b'>"</script><a href="/p/proxy/c">"#,
            ),
            ("<title></a></title>1 < 2 <a href", "<title></a></title>1 < 2 <a href"),
            (
                r#"<object data=/a usemap='/b' type=x><video poster=/c src=/d>"#,
                r#"<object data="/p/proxy/a" usemap="/p/proxy/b" type=x><video poster="/p/proxy/c" src="/p/proxy/d">"#,
            ),
            ("<a href=>", "<a href=>"),
            ("<a href", "<a href"),
            ("<", "<"),
            ("", ""),
        ] {
            // However the text is cut, it comes out the same.
            for size in [1, 2, 3, 7, 1000] {
                let mut reader = Html::new(place());
                let mut got: Vec<u8> = html.as_bytes().chunks(size).flat_map(|piece| reader.push(piece)).collect();
                got.extend(reader.finish());
                assert_eq!(String::from_utf8(got).unwrap(), want, "by {size}");
            }
        }
    }

    #[test]
    fn no_text_is_kept_for_ever() {
        let mut reader = Html::new(place());
        assert!(reader.push(b"<a ").is_empty());
        let long = vec![b'x'; LONGEST];
        assert_eq!(reader.push(&long).len(), LONGEST + 3);
        assert_eq!(reader.push(b" <a href=/a>"), br#" <a href="/p/proxy/a">"#);
    }
}
