//! Request bodies: JSON or YAML to a tree.

use crate::{Encoding, yaml};
use base::{Reason, Result, Status, ids::hex};
use value::Value;

/// A decoded body.
#[derive(Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// Paths of fields that stood more than once; the last one won.
    pub duplicates: Vec<String>,
}

/// Decodes a body where no kind is known (options, reviews). 415 for an unknown `Content-Type` (none means JSON), 400
/// for bad syntax.
pub fn decode(content_type: Option<&str>, body: &[u8]) -> Result<Decoded> {
    read(content_type, body, "the object provided is unrecognized")
}

/// The same with the words for a resource: `the object provided is unrecognized (must be of type Pod): …`.
pub fn decode_as(kind: &str, content_type: Option<&str>, body: &[u8]) -> Result<Decoded> {
    read(content_type, body, &format!("the object provided is unrecognized (must be of type {kind})"))
}

fn read(content_type: Option<&str>, body: &[u8], head: &str) -> Result<Decoded> {
    let media_type = content_type.unwrap_or("").split(';').next().unwrap_or("").trim();
    let refused = |format: &str, why: String| {
        let summary = summary(body);
        Status::bad_request(format!("{head}: couldn't get version/kind; {format} parse error: {why} ({summary})"))
    };
    let encoding = match media_type {
        "" => Some(Encoding::Json),
        name => Encoding::ALL.into_iter().find(|e| name.eq_ignore_ascii_case(e.media_type())),
    };
    let parsed = match encoding {
        Some(Encoding::Json) => value::parse(body).map_err(|e| refused("json", e.to_string()))?,
        Some(Encoding::Yaml) => {
            let text = std::str::from_utf8(body).map_err(|e| refused("yaml", e.to_string()))?;
            yaml::parse(text).map_err(|why| refused("yaml", why))?
        }
        None => {
            let names = Encoding::ALL.map(Encoding::media_type).join(", ");
            let text = "the body of the request was in an unknown format - accepted media types include";
            return Err(Status::new(Reason::UnsupportedMediaType, format!("{text}: {names}")));
        }
    };
    Ok(Decoded { value: parsed.value, duplicates: parsed.duplicates })
}

/// The beginning of a body, for messages: text where it looks like JSON, else hexadecimal.
fn summary(body: &[u8]) -> String {
    let head = &body[..body.len().min(30)];
    let more = if body.len() > 30 { " ..." } else { "" };
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => format!("{}{more}", hex(head)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_by_content_type() {
        for (content_type, body) in [
            (None, "{\"a\":1}"),
            (Some("application/json; charset=utf-8"), "{\"a\":1}"),
            (Some("application/yaml"), "a: 1"),
        ] {
            assert_eq!(decode(content_type, body.as_bytes()).unwrap().value.to_string(), r#"{"a":1}"#);
        }
        assert_eq!(decode(None, br#"{"a":{"b":1,"b":2}}"#).unwrap().duplicates, ["a.b"]);
    }

    #[test]
    fn refuses() {
        let status = decode(Some("text/plain"), b"{}").unwrap_err();
        assert_eq!((status.code(), status.reason()), (415, "UnsupportedMediaType"));
        let status = decode_as("Pod", None, b"{\"a\"").unwrap_err();
        assert_eq!(status.code(), 400);
        assert!(status.message().starts_with("the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: "), "{status}");
        assert!(status.message().ends_with("({\"a\")"), "{status}");
        assert!(decode(None, b"").unwrap_err().message().ends_with("(<empty>)"));
    }
}
