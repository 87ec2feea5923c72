//! The string formats that upstream checks in custom resources; any other passes. Dashes in a format's name do not count.
//! Source: `apiextensions-apiserver/pkg/apiserver/validation/formats.go` and `kube-openapi/pkg/validation/strfmt`.

use base::{names, time};
use regex::Regex;
use std::{net, sync::LazyLock};

/// Whether a text has a format.
pub fn has(format: &str, text: &str) -> bool {
    match format {
        "k8s-short-name" => names::label(text).is_ok(),
        "k8s-long-name" => names::subdomain(text).is_ok(),
        "" | "password" => true,
        _ => plain(&format.replace('-', ""), text),
    }
}

fn plain(format: &str, text: &str) -> bool {
    match format {
        "datetime" => time::parse(text).is_some(),
        "date" => text.len() == 10 && time::parse(&format!("{text}T00:00:00Z")).is_some(),
        "duration" => duration(text),
        "ipv4" => text.parse::<net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<net::Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(ip, len)| {
            let most = if ip.contains(':') { 128 } else { 32 };
            let digits = !len.is_empty() && len.bytes().all(|b| b.is_ascii_digit());
            ip.parse::<net::IpAddr>().is_ok() && digits && len.parse::<u8>().is_ok_and(|n| n <= most)
        }),
        "mac" => mac(text),
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some('3')),
        "uuid4" => uuid(text, Some('4')),
        "uuid5" => uuid(text, Some('5')),
        "byte" => {
            let body = text.trim_end_matches('=');
            let digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
            text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && body.bytes().all(digit)
        }
        "email" => email(text),
        "uri" => uri(text),
        "hostname" => {
            let parts_fit = text.len() <= 255 && text.split('.').all(|part| part.len() <= 63);
            HOSTNAME.as_ref().is_some_and(|regex| regex.is_match(text)) && parts_fit
        }
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "hexcolor" => {
            let hex = text.strip_prefix('#').unwrap_or(text);
            matches!(hex.len(), 3 | 6) && hex.bytes().all(|b| b.is_ascii_hexdigit())
        }
        "rgbcolor" => {
            let inner = text.strip_prefix("rgb(").and_then(|t| t.strip_suffix(')'));
            let number = |part: &str| part.trim().parse::<u8>().is_ok();
            inner.is_some_and(|t| t.split(',').count() == 3 && t.split(',').all(number))
        }
        "ssn" => {
            let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
            let dashes = text.len() - digits.len() <= 2;
            digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit()) && dashes
        }
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => credit_card(text),
        _ => true,
    }
}

static HOSTNAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let label = r"a-zA-Z0-9\p{S}\p{L}";
    let one = format!("[{label}]((-?[{label}]{{0,62}})?)");
    let many = format!(r"([{label}](([-{label}]{{0,61}}[{label}])?)(\.)){{1,}}([a-zA-Z\p{{L}}]){{2,63}}");
    Regex::new(&format!("^({one}|{many})$")).ok()
});

/// Dashes may stand between the groups, or not.
fn uuid(text: &str, version: Option<char>) -> bool {
    let mut rest = text;
    for (i, group) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some(digits) = rest.get(..group).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit())) else { return false };
        let wrong_version = i == 2 && version.is_some_and(|v| !digits.starts_with(v));
        let variant = matches!(version, Some('4' | '5')) && i == 3;
        if wrong_version || variant && !digits.starts_with(['8', '9', 'a', 'b', 'A', 'B']) {
            return false;
        }
        rest = &rest[group..];
    }
    rest.is_empty()
}

fn mac(text: &str) -> bool {
    let groups = |separator: char, digits: usize, counts: [usize; 3]| {
        let parts: Vec<&str> = text.split(separator).collect();
        let hex = |part: &&str| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
        counts.contains(&parts.len()) && parts.iter().all(hex)
    };
    groups(':', 2, [6, 8, 20]) || groups('-', 2, [6, 8, 20]) || groups('.', 4, [3, 4, 10])
}

/// An address, alone or behind a name in angle brackets.
fn email(text: &str) -> bool {
    let address = match text.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or(""),
        None => text,
    };
    let plain =
        |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || "<>()[]:;,\\\"".contains(c));
    let dots = |part: &str| !part.starts_with('.') && !part.ends_with('.') && !part.contains("..");
    address
        .rsplit_once('@')
        .is_some_and(|(user, host)| plain(user) && !user.contains('@') && dots(user) && plain(host) && dots(host))
}

/// An absolute URI, or an absolute path.
fn uri(text: &str) -> bool {
    let escapes = text
        .split('%')
        .skip(1)
        .all(|after| after.get(..2).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())));
    let printable = !text.bytes().any(|b| b < 0x20 || b == 0x7f);
    let absolute = text.split_once(':').is_some_and(|(scheme, rest)| {
        let rest_of = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(rest_of) && !rest.is_empty()
    });
    escapes && printable && (text.starts_with('/') || absolute)
}

/// As Go writes them (`1h30m`), or with whole numbers and the names of units (`3 days`).
fn duration(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    unsigned == "0" || compact(unsigned) || named(text)
}

fn compact(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        if !digits.contains(|c: char| c.is_ascii_digit()) || digits.matches('.').count() > 1 {
            return false;
        }
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let Some(unit) = units.iter().filter(|unit| after.starts_with(**unit)).max_by_key(|unit| unit.len()) else {
            return false;
        };
        rest = &after[unit.len()..];
    }
    !text.is_empty()
}

fn named(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let known = [
        "ns", "nano", "us", "µs", "micro", "ms", "milli", "s", "sec", "m", "min", "h", "hr", "hour", "d", "day", "w",
        "wk", "week",
    ];
    let units: Vec<&str> = text.split(|c: char| c.is_ascii_digit()).map(str::trim).filter(|u| !u.is_empty()).collect();
    let is_unit = |unit: &&str| {
        let unit = unit.to_lowercase();
        known.iter().any(|k| unit == *k || k.len() > 1 && unit.starts_with(k))
    };
    words.next().is_some() && units.iter().any(is_unit)
}

fn digits_of(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect()
}

fn isbn10(text: &str) -> bool {
    let text = digits_of(text);
    let value = |(i, c): (usize, char)| match c {
        'X' if i == 9 => Some(10),
        c => c.to_digit(10),
    };
    let digits: Option<Vec<u32>> = text.chars().enumerate().map(value).collect();
    digits.is_some_and(|d| d.len() == 10 && d.iter().zip(1..).map(|(d, i)| d * i).sum::<u32>() % 11 == 0)
}

fn isbn13(text: &str) -> bool {
    let digits: Option<Vec<u32>> = digits_of(text).chars().map(|c| c.to_digit(10)).collect();
    let weighted = |d: Vec<u32>| d.iter().enumerate().map(|(i, d)| if i % 2 == 0 { *d } else { 3 * d }).sum::<u32>();
    digits.is_some_and(|d| d.len() == 13 && weighted(d) % 10 == 0)
}

/// The numbers of the large issuers, with the checksum of ISO/IEC 7812.
fn credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let number: String = digits.iter().map(u32::to_string).collect();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| number.starts_with(p));
    let issued = match digits.len() {
        13 => starts(&["4"]),
        14 => starts(&["300", "301", "302", "303", "304", "305", "36", "38"]),
        15 => starts(&["34", "37", "2131", "1800"]),
        16 => starts(&["4", "51", "52", "53", "54", "55", "6011", "65", "35"]),
        _ => false,
    };
    let doubled = |(i, d): (usize, &u32)| match (i % 2, *d) {
        (0, d) => d,
        (_, d) if d > 4 => 2 * d - 9,
        (_, d) => 2 * d,
    };
    issued && digits.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn formats() {
        for (format, good, bad) in [
            ("date-time", "2026-01-02T03:04:05Z", "2026-01-02"),
            ("date", "2026-02-28", "2026-02-30"),
            ("duration", "1h30m", "soon"),
            ("duration", "3 days", "3"),
            ("ipv4", "10.0.0.1", "::1"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:11:22:33:44:55", "00:11:22:33:44"),
            ("mac", "0011.2233.4455", "0011.2233"),
            ("uuid", "6BA7B810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810"),
            ("uuid", "6ba7b8109dad11d180b400c04fd430c8", "6ba7b810--9dad-11d1-80b4-00c04fd430c8"),
            ("uuid4", "6ba7b810-9dad-41d1-80b4-00c04fd430c8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            ("byte", "aGk=", "aGk"),
            ("email", "a@localhost", "a@"),
            ("email", "A <a@b.c>", "a b@c"),
            ("uri", "https://a/b%20c", "a/b"),
            ("uri", "/path", "https://a/%zz"),
            ("hostname", "a.example.com", "-a"),
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
            ("hexcolor", "#fff", "#ff"),
            ("rgbcolor", "rgb(255, 0, 0)", "rgb(256,0,0)"),
            ("ssn", "123-45-6789", "123-456-789-0"),
            ("isbn", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("k8s-short-name", "a-b", "a.b"),
            ("k8s-long-name", "a.b", "a..b"),
        ] {
            assert!(has(format, good), "{format} {good}");
            assert!(!has(format, bad), "{format} {bad}");
        }
        assert!(has("nonsense", "x") && has("password", "x"));
    }
}
