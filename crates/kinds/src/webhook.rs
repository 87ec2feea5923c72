//! Where a webhook is: a URL, or a Service. Webhooks of admission and of conversion name it alike. Source:
//! `k8s.io/apiserver/pkg/util/webhook/validation.go`.

use crate::at::At;
use base::{FieldErrors, names};

const FORM: &str = "; desired format: https://host[/path]";

impl At<'_> {
    /// A `WebhookClientConfig`: exactly one of `url` and `service`.
    pub fn webhook_client(&self, errors: &mut FieldErrors) {
        let (url, service) = (self.get("url"), self.get("service"));
        match (url.is_set(), service.is_set()) {
            (true, false) => self::url(url, errors),
            (false, true) => self::service(service, errors),
            _ => self.required(errors, "exactly one of url or service is required"),
        }
    }
}

/// The parts of a URL as Go's `net/url` finds them.
struct Url<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

/// The parts, or what is wrong.
fn parse(text: &str) -> Result<Url<'_>, String> {
    let fail = |why: String| Err(format!("parse {}: {why}", base::status::quote(text)));
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return fail("net/url: invalid control character in URL".into());
    }
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some(("", _)) => return fail("missing protocol scheme".into()),
        Some((scheme, rest))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) =>
        {
            (scheme, rest)
        }
        _ => ("", rest),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or("")).unwrap_or("");
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let port = host.rsplit_once(']').map_or(host, |(_, after)| after).rsplit_once(':').map(|(_, port)| port);
    if let Some(port) = port.filter(|port| !port.bytes().all(|b| b.is_ascii_digit())) {
        return fail(format!("invalid port {} after host", base::status::quote(&format!(":{port}"))));
    }
    if let Some(c) = host.chars().find(|c| " \"<>\\^`{|}".contains(*c)) {
        return fail(format!("invalid character {} in host name", base::status::quote(&c.to_string())));
    }
    Ok(Url { scheme, user, host, query, fragment })
}

fn url(at: At, errors: &mut FieldErrors) {
    let url = match parse(at.str()) {
        Ok(url) => url,
        Err(why) => return at.required(errors, format!("url must be a valid URL: {why}{FORM}")),
    };
    if !url.scheme.eq_ignore_ascii_case("https") {
        at.invalid_as(errors, url.scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if url.host.is_empty() {
        at.invalid_as(errors, url.host, format!("host must be specified{FORM}"));
    }
    if let Some(user) = url.user {
        at.invalid_as(errors, user, "user information is not permitted in the URL");
    }
    if !url.fragment.is_empty() {
        at.invalid_as(errors, url.fragment, "fragments are not permitted in the URL");
    }
    if !url.query.is_empty() {
        at.invalid_as(errors, url.query, "query parameters are not permitted in the URL");
    }
}

fn service(service: At, errors: &mut FieldErrors) {
    for field in ["namespace", "name"] {
        service.get(field).need(errors);
    }
    let port = service.get("port");
    if let Err(why) = names::port_number(port.value.as_i64().unwrap_or(443)) {
        port.invalid_int(errors, format!("port is not valid: {why}"));
    }
    let path = service.get("path");
    let text = path.str();
    match text {
        "" | "/" => return,
        "//" => return path.invalid(errors, "segment[0] may not be empty"),
        _ if !text.starts_with('/') => path.invalid(errors, "must start with a '/'"),
        _ => {}
    }
    // The first character is taken for the slash, also where it is none.
    let mut rest = text.chars();
    rest.next();
    let rest = rest.as_str();
    for (i, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            path.invalid(errors, format!("segment[{i}] may not be empty"));
        } else if let Err(why) = names::subdomain(step) {
            path.invalid(errors, format!("segment[{i}]: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use value::{Value, value};

    fn check(config: Value, want: Expect) {
        let mut errors = FieldErrors::default();
        At::root(&config).webhook_client(&mut errors);
        want.assert_eq(&errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn urls() {
        check(value!({"url": "https://example.com:443/path"}), expect![""]);
        check(value!({}), expect![": Required value: exactly one of url or service is required"]);
        check(
            value!({"url": "http://u:p@h/x?q=1#f"}),
            expect![[r#"
                url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]
                url: Invalid value: "u:p": user information is not permitted in the URL
                url: Invalid value: "f": fragments are not permitted in the URL
                url: Invalid value: "q=1": query parameters are not permitted in the URL"#]],
        );
        check(
            value!({"url": "example.com"}),
            expect![[r#"
                url: Invalid value: "": 'https' is the only allowed URL scheme; desired format: https://host[/path]
                url: Invalid value: "": host must be specified; desired format: https://host[/path]"#]],
        );
        check(
            value!({"url": "https://a:b/"}),
            expect![[
                r#"url: Required value: url must be a valid URL: parse "https://a:b/": invalid port ":b" after host; desired format: https://host[/path]"#
            ]],
        );
    }

    #[test]
    fn services() {
        check(value!({"service": {"namespace": "a", "name": "b", "path": "/x/y/", "port": 443}}), expect![""]);
        check(
            value!({"service": {"path": "x//Y", "port": 0}}),
            expect![[r#"
                service.namespace: Required value
                service.name: Required value
                service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive
                service.path: Invalid value: "x//Y": must start with a '/'
                service.path: Invalid value: "x//Y": segment[0] may not be empty
                service.path: Invalid value: "x//Y": segment[1] may not be empty
                service.path: Invalid value: "x//Y": segment[2]: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
        );
    }
}
