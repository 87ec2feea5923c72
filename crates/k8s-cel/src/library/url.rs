//! URLs, as Go's `url.ParseRequestURI` reads them: absolute ones, and absolute paths.

use super::{Opaque, Row, text};
use crate::val::{EvalError, Fallible, Map, MapVals, Val};
use std::{net::Ipv6Addr, sync::Arc};

pub(super) const ROWS: &[Row] = &[
    ("url", "string_to_url", "(string) URL", |a| {
        let url = Url::parse(text(a, 0)?);
        let wrong = |why| EvalError::new(format!("URL parse error during conversion from string: {why}"));
        url.map(|url| Opaque::Url(url).into()).map_err(wrong)
    }),
    ("isURL", "is_url_string", "(string) bool", |a| Ok(Url::parse(text(a, 0)?).is_ok().into())),
    ("getScheme", "url_get_scheme", "URL.() string", |a| Ok(get(a)?.scheme.as_str().into())),
    ("getHost", "url_get_host", "URL.() string", |a| Ok(get(a)?.host.as_str().into())),
    ("getHostname", "url_get_hostname", "URL.() string", |a| Ok(get(a)?.host_and_port().0.into())),
    ("getPort", "url_get_port", "URL.() string", |a| Ok(get(a)?.host_and_port().1.into())),
    ("getEscapedPath", "url_get_escaped_path", "URL.() string", |a| Ok(get(a)?.path.as_str().into())),
    ("getQuery", "url_get_query", "URL.() map<string,list<string>>", query),
];

#[derive(Debug)]
pub struct Url {
    /// As it was written.
    pub text: String,
    scheme: String,
    host: String,
    /// Escaped.
    path: String,
    query: String,
}

impl Url {
    /// Errors as Go's parser says them.
    pub fn parse(text: &str) -> Result<Url, String> {
        let wrong = |why: &str| format!("parse {text:?}: {why}");
        if text.is_empty() {
            return Err(wrong("empty url"));
        }
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(wrong("net/url: invalid control character in URL"));
        }
        // A fragment is read and forgotten.
        let whole = text.split('#').next().unwrap_or(text);
        let (rest, query) = whole.split_once('?').map_or((whole, ""), |(rest, query)| (rest, query));
        let (scheme, rest) = scheme(rest).map_err(wrong)?;
        if !rest.starts_with('/') {
            return match scheme {
                // Something like `mailto:` without a path.
                Some(_) => Ok(Url {
                    text: text.into(),
                    scheme: lower(scheme),
                    host: String::new(),
                    path: String::new(),
                    query: query.into(),
                }),
                None => Err(wrong("invalid URI for request")),
            };
        }
        let (mut host, mut path) = (String::new(), rest);
        if let (Some(_), Some(authority)) = (scheme, rest.strip_prefix("//")) {
            let end = authority.find('/').unwrap_or(authority.len());
            host = authority_host(&authority[..end]).map_err(|why| wrong(&why))?;
            path = &authority[end..];
        }
        let path = escaped(path).map_err(|why| wrong(&why))?;
        Ok(Url { text: text.into(), scheme: lower(scheme), host, path, query: query.into() })
    }

    fn host_and_port(&self) -> (&str, &str) {
        if let Some((inside, after)) = self.host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            return (inside, after.strip_prefix(':').unwrap_or(""));
        }
        self.host.rsplit_once(':').unwrap_or((&self.host, ""))
    }
}

fn lower(scheme: Option<&str>) -> String {
    scheme.unwrap_or("").to_ascii_lowercase()
}

fn scheme(text: &str) -> Result<(Option<&str>, &str), &'static str> {
    for (i, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if i > 0 => {}
            ':' if i == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((Some(&text[..i]), &text[i + 1..])),
            _ => break,
        }
    }
    Ok((None, text))
}

fn authority_host(authority: &str) -> Result<String, String> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port_right = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or("missing ']' in host")?;
        let address = inside.split('%').next().unwrap_or(inside);
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(format!("invalid host: {inside:?}"));
        }
        return match after.strip_prefix(':') {
            None if after.is_empty() => Ok(host.into()),
            Some(port) if port_right(port) => Ok(host.into()),
            _ => Err(format!("invalid port {after:?} after host")),
        };
    }
    if let Some((_, port)) = host.rsplit_once(':')
        && !port_right(port)
    {
        return Err(format!("invalid port {:?} after host", format!(":{port}")));
    }
    if let Some(bad) =
        host.chars().find(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-_.~!$&'()*+,;=:<>\"%[]".contains(*c))
    {
        return Err(format!("invalid character {:?} in host name", bad.to_string()));
    }
    unescape(host, false)
}

/// The path with what must be escaped escaped, and what is escaped kept.
fn escaped(path: &str) -> Result<String, String> {
    unescape(path, false)?;
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c.is_ascii_alphanumeric() || "-_.~$&+,/:;=@%!'()*[]".contains(c) {
            out.push(c);
        } else {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| out.push_str(&format!("%{b:02X}")));
        }
    }
    Ok(out)
}

fn unescape(text: &str, plus: bool) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
                let Some(digits) = digits else {
                    let end = (at + 3).min(bytes.len());
                    let shown = String::from_utf8_lossy(&bytes[at..end]).into_owned();
                    return Err(format!("invalid URL escape {shown:?}"));
                };
                let value = |d: u8| char::from(d).to_digit(16).unwrap_or(0) as u8;
                out.push(value(digits[0]) * 16 + value(digits[1]));
                at += 3;
            }
            b'+' if plus => {
                out.push(b' ');
                at += 1;
            }
            byte => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn query<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let mut found: Vec<(String, Vec<Val<'a>>)> = Vec::new();
    for pair in get(args)?.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Ok(key), Ok(value)) = (unescape(key, true), unescape(value, true)) else { continue };
        match found.iter_mut().find(|(have, _)| *have == key) {
            Some((_, values)) => values.push(value.into()),
            None => found.push((key, vec![value.into()])),
        }
    }
    let mut out = MapVals::default();
    for (key, values) in found {
        out.set(key.into(), Val::list(values))?;
    }
    Ok(Val::Map(Map::Vals(Arc::new(out))))
}

fn get<'v>(args: &'v [Val<'_>]) -> Fallible<&'v Url> {
    match args.first() {
        Some(Val::Opaque(opaque)) => match &**opaque {
            Opaque::Url(url) => Ok(url),
            _ => Err(EvalError::no_overload()),
        },
        _ => Err(EvalError::no_overload()),
    }
}
