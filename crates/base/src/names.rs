//! The shapes that names, labels and keys must have, with upstream's messages.
//!
//! Each check answers `Ok` or the text that stands behind `Invalid value: "x": ` in an error. Shapes are tested by hand
//! and not by regular expressions: they are small, they run for every name written, and the message quotes the
//! expression anyway. Where upstream finds several faults at once, the text joins them with `; `.
//! Source: `k8s.io/apimachinery/pkg/util/validation` and `pkg/api/validate/content`.

/// What every check answers.
pub type Check = Result<(), String>;

const LABEL_RE: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_RE: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                              '.', and must start and end with an alphanumeric character";

/// An RFC 1123 label: at most 63 of `a-z0-9-`, alphanumeric at both ends.
pub fn label(s: &str) -> Check {
    let mut faults = too_long(s, 63);
    if !is_label(s) {
        if is_subdomain(s) {
            faults.push("must not contain dots".into());
        } else {
            let text = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                        start and end with an alphanumeric character";
            faults.push(regex_error(text, LABEL_RE, &["my-name", "123-abc"]));
        }
    }
    join(faults)
}

/// An RFC 1123 subdomain: labels joined by dots, at most 253 characters in all.
pub fn subdomain(s: &str) -> Check {
    let mut faults = too_long(s, 253);
    if !is_subdomain(s) {
        faults.push(regex_error(SUBDOMAIN_TEXT, SUBDOMAIN_RE, &["example.com"]));
    }
    join(faults)
}

/// A DNS search path: as [`subdomain`], and labels may begin with and hold underscores, as those of services do.
pub fn search_path(s: &str) -> Check {
    const RE: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
    const TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or \
                        '.', and must start and end with an alphanumeric character";
    let plain = |label: &str| is_subdomain(&label.strip_prefix('_').unwrap_or(label).replace('_', "-"));
    let mut faults = too_long(s, 253);
    if !s.split('.').all(plain) {
        faults.push(regex_error(TEXT, RE, &["example.com"]));
    }
    join(faults)
}

/// An RFC 1035 label: as [`label`], but it begins with a letter.
pub fn label1035(s: &str) -> Check {
    let mut faults = too_long(s, 63);
    if !(is_label(s) && s.as_bytes()[0].is_ascii_lowercase()) {
        let text = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                    character, and end with an alphanumeric character";
        faults.push(regex_error(text, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    join(faults)
}

/// `*.` and a subdomain.
pub fn wildcard_subdomain(s: &str) -> Check {
    let mut faults = too_long(s, 253);
    if !s.strip_prefix("*.").is_some_and(is_subdomain) {
        let text = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                    consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        faults.push(regex_error(text, &format!(r"\*\.{SUBDOMAIN_RE}"), &["*.example.com"]));
    }
    join(faults)
}

/// What can stand in a path as one segment.
pub fn path_segment(s: &str) -> Check {
    match s {
        "." | ".." => Err(format!("may not be '{s}'")),
        _ => path_segment_prefix(s),
    }
}

/// The same for a `generateName`, which is not the whole name.
pub fn path_segment_prefix(s: &str) -> Check {
    join(['/', '%'].into_iter().filter(|c| s.contains(*c)).map(|c| format!("may not contain '{c}'")).collect())
}

/// A label or annotation key, a finalizer, a condition type: `[prefix/]name`.
pub fn qualified_name(s: &str) -> Check {
    const RE: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    const TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                        alphanumeric character";
    const EXAMPLES: [&str; 3] = ["MyName", "my.name", "123-abc"];
    let mut faults = Vec::new();
    let name = match s.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".into());
            } else if let Err(why) = subdomain(prefix) {
                faults.push(format!("prefix part {why}"));
            }
            name
        }
        _ => {
            let text = format!("a valid label key {TEXT}");
            let error = regex_error(&text, RE, &EXAMPLES);
            return Err(format!("{error} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"));
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        faults.push("name part must be no more than 63 bytes".into());
    }
    if !is_free_name(name) {
        faults.push(format!("name part {}", regex_error(TEXT, RE, &EXAMPLES)));
    }
    join(faults)
}

/// A label's value: empty, or at most 63 of `A-Za-z0-9-_.`, alphanumeric at both ends.
pub fn label_value(s: &str) -> Check {
    let mut faults = Vec::new();
    if s.len() > 63 {
        faults.push("must be no more than 63 bytes".into());
    }
    if !s.is_empty() && !is_free_name(s) {
        let text = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                    must start and end with an alphanumeric character";
        let re = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
        faults.push(regex_error(text, re, &["MyValue", "my_value", "12345"]));
    }
    join(faults)
}

/// The name of an environment variable: printable ASCII without `=` (upstream's rule since 1.34).
pub fn env_var_name(s: &str) -> Check {
    if s.is_empty() {
        return Err("environment variable name must be non-empty".into());
    }
    if s.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        return Ok(());
    }
    Err("a valid environment variable name must consist only of printable ASCII characters other than '='".into())
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(s: &str) -> Check {
    let mut faults = too_long(s, 253);
    if s.is_empty() || !s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        let text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        faults.push(regex_error(text, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match s {
        "." | ".." => faults.push(format!("must not be '{s}'")),
        s if s.starts_with("..") => faults.push("must not start with '..'".into()),
        _ => {}
    }
    join(faults)
}

/// The name of a port (an IANA service name).
pub fn port_name(s: &str) -> Check {
    join(port_name_faults(s))
}

/// The same, each fault by itself, as upstream tells of most fields.
pub fn port_name_faults(s: &str) -> Vec<String> {
    let mut faults = too_long(s, 15);
    if s.is_empty() || !s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !s.bytes().any(|b| b.is_ascii_lowercase()) {
        faults.push("must contain at least one letter (a-z)".into());
    }
    if s.contains("--") {
        faults.push("must not contain consecutive hyphens".into());
    }
    if s.starts_with('-') || s.ends_with('-') {
        faults.push("must not begin or end with a hyphen".into());
    }
    faults
}

/// A port's number.
pub fn port_number(n: i64) -> Check {
    in_range(n, 1, 65535)
}

/// A numeric user or group id.
pub fn id_number(n: i64) -> Check {
    in_range(n, 0, i32::MAX.into())
}

/// `must be between 1 and 65535, inclusive`.
pub fn in_range(n: i64, low: i64, high: i64) -> Check {
    if (low..=high).contains(&n) { Ok(()) } else { Err(format!("must be between {low} and {high}, inclusive")) }
}

/// An IPv4 or IPv6 address in canonical text.
pub fn ip(s: &str) -> Check {
    match s.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()),
    }
}

/// `25%`.
pub fn percent(s: &str) -> Check {
    let digits = s.strip_suffix('%').unwrap_or("");
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    let text = "a valid percent string must be a numeric string followed by an ending '%'";
    Err(regex_error(text, "[0-9]+%", &["1%", "93%"]))
}

/// The name of an HTTP header.
pub fn http_header_name(s: &str) -> Check {
    if !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Ok(());
    }
    let text = "a valid HTTP header must consist of alphanumeric characters or '-'";
    Err(regex_error(text, "[-A-Za-z0-9]+", &["X-Header-Name"]))
}

/// Upstream's sentence about a regular expression that did not match.
pub fn regex_error(text: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{text} (regex used for validation is '{regex}')");
    }
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{text} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

fn too_long(s: &str, max: usize) -> Vec<String> {
    if s.len() > max { vec![format!("must be no more than {max} characters")] } else { Vec::new() }
}

fn join(faults: Vec<String>) -> Check {
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

fn is_label(s: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let b = s.as_bytes();
    b.first().is_some_and(|b| alnum(*b))
        && b.last().is_some_and(|b| alnum(*b))
        && b.iter().all(|b| alnum(*b) || *b == b'-')
}

fn is_subdomain(s: &str) -> bool {
    s.split('.').all(is_label)
}

fn is_free_name(s: &str) -> bool {
    let b = s.as_bytes();
    b.first().is_some_and(u8::is_ascii_alphanumeric)
        && b.last().is_some_and(u8::is_ascii_alphanumeric)
        && b.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(f: fn(&str) -> Check, good: &[&str], bad: &[(&str, &str)]) {
        for s in good {
            assert_eq!(f(s), Ok(()), "{s:?}");
        }
        for (s, want) in bad {
            let text = f(s).expect_err(s);
            assert!(text.contains(want), "{s:?}: {text}");
        }
    }

    #[test]
    fn names() {
        let long = "a".repeat(64);
        check(
            label,
            &["a", "0", "a-b", "123-abc"],
            &[
                ("", "RFC 1123 label"),
                ("A", "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"),
                ("a.b", "must not contain dots"),
                ("-a", "RFC 1123 label"),
                (&long, "must be no more than 63 characters"),
            ],
        );
        check(
            subdomain,
            &["a", "a.b", "a-b.c0"],
            &[("a..b", "RFC 1123 subdomain"), ("a_b", "'example.com'"), ("", "")],
        );
        check(label1035, &["a", "a-0"], &[("0a", "DNS-1035"), ("", "DNS-1035"), ("a-", "DNS-1035")]);
        check(wildcard_subdomain, &["*.a.b"], &[("*", "wildcard"), ("*.*.a", "wildcard")]);
        check(
            path_segment,
            &["system:x", "A_b", "..a"],
            &[(".", "may not be '.'"), ("a/b%", "may not contain '/'; may not contain '%'")],
        );
    }

    #[test]
    fn keys_and_values() {
        check(
            qualified_name,
            &["a", "A_b.c", "example.com/X"],
            &[
                ("", "name part must be non-empty"),
                ("/x", "prefix part must be non-empty"),
                ("Ex/x", "prefix part a lowercase RFC 1123 subdomain"),
                ("a/b/c", "with an optional DNS subdomain prefix"),
                ("-x", "name part must consist of"),
            ],
        );
        check(label_value, &["", "a", "A_1.b"], &[("a b", "a valid label must be an empty string"), ("-a", "")]);
        check(
            config_map_key,
            &["a", ".a", "A_b"],
            &[("..", "must not be '..'"), ("..a", "must not start"), ("a/b", "")],
        );
        check(env_var_name, &["A", "my.env", "1 a"], &[("", "must be non-empty"), ("a=b", "printable ASCII")]);
        check(port_name, &["http", "a-1"], &[("80", "at least one letter"), ("a--b", "consecutive"), ("-a", "begin")]);
        check(percent, &["5%"], &[("5", "percent"), ("%", "")]);
        check(ip, &["10.0.0.1", "::1"], &[("010.0.0.1", "must be a valid IP"), ("x", "")]);
        assert_eq!(port_number(0), Err("must be between 1 and 65535, inclusive".into()));
    }
}
