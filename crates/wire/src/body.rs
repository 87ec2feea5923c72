//! Request bodies: JSON, YAML, protobuf or CBOR to a tree.

use crate::{Encoding, cbor, protobuf, yaml};
use base::{Reason, Result, Status, ids::hex};
use value::Value;

/// A decoded body.
#[derive(Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// Fields that stood more than once, as strict validation reports them; the last one won.
    pub duplicates: Vec<String>,
}

/// What an endpoint reads beside JSON and YAML.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Intake {
    /// Its kind has protobuf, as all but custom resources have.
    pub protobuf: bool,
    /// The server has CBOR.
    pub cbor: bool,
}

/// Decodes a body where no kind is known (options, reviews). 415 for an unknown `Content-Type` (none means JSON), 400
/// for bad syntax.
pub fn decode(content_type: Option<&str>, body: &[u8], cbor: bool) -> Result<Decoded> {
    read(content_type, body, Intake { protobuf: true, cbor }, "the object provided is unrecognized", false)
}

/// The same with the words for a resource: `the object provided is unrecognized (must be of type Pod): …`.
pub fn decode_as(kind: &str, intake: Intake, content_type: Option<&str>, body: &[u8]) -> Result<Decoded> {
    read(content_type, body, intake, &format!("the object provided is unrecognized (must be of type {kind})"), true)
}

/// `typed` bodies are objects; others may be lists.
fn read(content_type: Option<&str>, body: &[u8], intake: Intake, head: &str, typed: bool) -> Result<Decoded> {
    let refused = |format: &str, why: String| {
        let summary = summary(body);
        Status::bad_request(format!("{head}: couldn't get version/kind; {format} parse error: {why} ({summary})"))
    };
    let unknown = |why: String| Status::bad_request(format!("{head}: {why} ({})", summary(body)));
    let encoding = match media_type(content_type.unwrap_or("")) {
        Some("") => Some(Encoding::Json),
        Some(name) => {
            let found = Encoding::all(intake.cbor).iter().find(|e| name.eq_ignore_ascii_case(e.media_type()));
            found.copied().filter(|e| *e != Encoding::Protobuf || intake.protobuf)
        }
        None => None,
    };
    let parsed = match encoding {
        Some(Encoding::Json) => {
            let mut parsed = value::parse(body).map_err(|_| refused("json", value::complaint(body)))?;
            for path in &mut parsed.duplicates {
                *path = format!("duplicate field \"{path}\"");
            }
            parsed
        }
        Some(Encoding::Yaml) => {
            let text = std::str::from_utf8(body).map_err(|e| refused("yaml", e.to_string()))?;
            let mut parsed = yaml::parse(text).map_err(unknown)?;
            if !parsed.duplicates.is_empty() {
                parsed.duplicates = yaml::repetitions(text);
            }
            parsed
        }
        // A sender of protobuf knows its types: there is no duplicate, and what we do not know is newer than we.
        Some(Encoding::Protobuf) => {
            let value = protobuf::decode(body).map_err(|e| unknown(e.to_string()))?;
            return Ok(Decoded { value, duplicates: Vec::new() });
        }
        // A key that stands twice makes the whole body invalid.
        Some(Encoding::Cbor) => {
            let value = cbor::decode(body);
            let value = value.map_err(|e| unknown(format!("unable to determine group/version/kind: {e}")))?;
            return Ok(Decoded { value, duplicates: Vec::new() });
        }
        None => {
            let names = Encoding::names(intake.cbor);
            let text = "the body of the request was in an unknown format - accepted media types include";
            return Err(Status::new(Reason::UnsupportedMediaType, format!("{text}: {names}")));
        }
    };
    let value = if typed { object(parsed.value, &refused)? } else { parsed.value };
    Ok(Decoded { value, duplicates: parsed.duplicates })
}

/// What is read must be an object whose kind is a text; nothing is an empty one.
fn object(value: Value, refused: &impl Fn(&str, String) -> Status) -> Result<Value> {
    let name = |value: &Value| match value.type_name() {
        "integer" => "number",
        "boolean" => "bool",
        other => other,
    };
    let value = match value {
        Value::Null => Value::object(),
        Value::Object(_) => value,
        other => {
            let ty = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
            let why = format!("json: cannot unmarshal {} into Go value of type {ty}", name(&other));
            return Err(refused("json", why));
        }
    };
    for key in ["apiVersion", "kind"] {
        let given = value.at(&[key]);
        if !given.is_null() && given.as_str().is_none() {
            let why = format!("json: cannot unmarshal {} into Go struct field .{key} of type string", name(given));
            return Err(refused("json", why));
        }
    }
    Ok(value)
}

/// The media type without its parameters; `None` where those are malformed, as RFC 2045 would have them.
fn media_type(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or("");
    // The last one may be empty: a semicolon may end the header.
    let sound =
        parts.all(|part| part.is_empty() || part.split_once('=').is_some_and(|(k, v)| !k.is_empty() && !v.is_empty()));
    sound.then_some(media_type)
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

    const KNOWN: Intake = Intake { protobuf: true, cbor: false };

    #[test]
    fn decodes_by_content_type() {
        for (content_type, body) in [
            (None, &b"{\"a\":1}"[..]),
            (Some("application/json; charset=utf-8"), b"{\"a\":1}"),
            (Some("application/json;"), b"{\"a\":1}"),
            (Some("Application/JSON"), b"{\"a\":1}"),
            (Some("application/yaml"), b"a: 1"),
            (Some("application/cbor"), b"\xa1\x41a\x01"),
        ] {
            let read = decode(content_type, body, true).unwrap();
            assert_eq!(read.value.to_string(), r#"{"a":1}"#, "{content_type:?}");
        }
        assert_eq!(decode(None, br#"{"a":{"b":1,"b":2}}"#, false).unwrap().duplicates, [r#"duplicate field "a.b""#]);
    }

    #[test]
    fn refuses_formats() {
        let names = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let text = "the body of the request was in an unknown format - accepted media types include";
        for content_type in ["text/plain", "application/json; charset", "application/cbor"] {
            let status = decode(Some(content_type), b"{}", false).unwrap_err();
            assert_eq!((status.code(), status.message()), (415, format!("{text}: {names}").as_str()));
        }
        let status = decode(Some("text/plain"), b"{}", true).unwrap_err();
        assert_eq!(status.message(), format!("{text}: {names}, application/cbor"));
        let custom = decode_as("CronTab", Intake::default(), Some(protobuf::MEDIA_TYPE), b"k8s\0").unwrap_err();
        assert_eq!((custom.code(), custom.message()), (415, format!("{text}: {names}").as_str()));
    }

    #[test]
    fn refuses_what_is_no_such_thing() {
        let pod = |content_type, body: &[u8]| {
            let status = decode_as("Pod", Intake { cbor: true, ..KNOWN }, content_type, body).unwrap_err();
            let head = "the object provided is unrecognized (must be of type Pod): ";
            format!("{} {}", status.code(), status.message().strip_prefix(head).unwrap_or(status.message()))
        };
        for (content_type, body, want) in [
            (
                None,
                &b"{\"a\""[..],
                r#"400 couldn't get version/kind; json parse error: unexpected end of JSON input ({"a")"#,
            ),
            (None, b"", "400 couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"),
            (
                Some(protobuf::MEDIA_TYPE),
                b"{}",
                "400 provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})",
            ),
            (
                Some(cbor::MEDIA_TYPE),
                b"\xa2\x41a\x01\x41a\x02",
                r#"400 unable to determine group/version/kind: cbor: found duplicate map key "a" at map element index 1 (a2416101416102)"#,
            ),
        ] {
            assert_eq!(pod(content_type, body), want);
        }
    }
}
