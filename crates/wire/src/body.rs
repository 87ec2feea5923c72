//! Request bodies: JSON, YAML or protobuf to a tree.

use crate::{Encoding, protobuf, yaml};
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
    read(content_type, body, true, "the object provided is unrecognized")
}

/// The same with the words for a resource: `the object provided is unrecognized (must be of type Pod): …`. Custom
/// resources (`custom`) have no protobuf.
pub fn decode_as(kind: &str, custom: bool, content_type: Option<&str>, body: &[u8]) -> Result<Decoded> {
    read(content_type, body, !custom, &format!("the object provided is unrecognized (must be of type {kind})"))
}

fn read(content_type: Option<&str>, body: &[u8], protobuf: bool, head: &str) -> Result<Decoded> {
    let media_type = content_type.unwrap_or("").split(';').next().unwrap_or("").trim();
    let refused = |format: &str, why: String| {
        let summary = summary(body);
        Status::bad_request(format!("{head}: couldn't get version/kind; {format} parse error: {why} ({summary})"))
    };
    let encoding = match media_type {
        "" => Some(Encoding::Json),
        name => Encoding::some(protobuf).iter().find(|e| name.eq_ignore_ascii_case(e.media_type())).copied(),
    };
    let parsed = match encoding {
        Some(Encoding::Json) => value::parse(body).map_err(|e| refused("json", e.to_string()))?,
        Some(Encoding::Yaml) => {
            let text = std::str::from_utf8(body).map_err(|e| refused("yaml", e.to_string()))?;
            yaml::parse(text).map_err(|why| refused("yaml", why))?
        }
        // A sender of protobuf knows its types: there is no duplicate, and what we do not know is newer than we.
        Some(Encoding::Protobuf) => {
            let value =
                protobuf::decode(body).map_err(|e| Status::bad_request(format!("{head}: {e} ({})", summary(body))))?;
            return Ok(Decoded { value, duplicates: Vec::new() });
        }
        None => {
            let names = Encoding::names(protobuf);
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
        let protobuf = Some("application/vnd.kubernetes.protobuf");
        assert_eq!(decode_as("CronTab", true, protobuf, b"k8s\0").unwrap_err().code(), 415);
        assert_eq!(decode_as("Pod", false, protobuf, b"{}").unwrap_err().code(), 400);
        let status = decode_as("Pod", false, None, b"{\"a\"").unwrap_err();
        assert_eq!(status.code(), 400);
        assert!(status.message().starts_with("the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: "), "{status}");
        assert!(status.message().ends_with("({\"a\")"), "{status}");
        assert!(decode(None, b"").unwrap_err().message().ends_with("(<empty>)"));
    }
}
