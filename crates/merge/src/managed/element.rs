//! One step of a path in the text form of FieldsV1: `f:name` is a member of an object, `k:{"name":"web"}` the item of a
//! list of type map with those keys, `v:"x"` an item of a set, `i:3` a position.
//!
//! The text is what sets are keyed by: two steps are the same where their canonical texts are. Nothing is decoded to
//! compare, to unite or to subtract; only messages and clients' own entries are read. Source: the serialization of
//! structured-merge-diff's `fieldpath`.

use value::{Map, Str, Value};

/// `f:name`
pub(crate) fn field(name: &str) -> Str {
    // Most names fit into the text itself; put together on the stack, they are copied once.
    let mut text = [0; 24];
    match text.get_mut(..name.len() + 2) {
        Some(text) => {
            text[..2].copy_from_slice(b"f:");
            text[2..].copy_from_slice(name.as_bytes());
            Str::from_utf8(&*text).unwrap_or_default()
        }
        None => ["f:", name].concat().into(),
    }
}

/// The member that a step names.
pub(crate) fn field_name(step: &str) -> Option<&str> {
    step.strip_prefix("f:")
}

/// `v:"x"`
pub(crate) fn item(value: &Value) -> Str {
    let mut text = String::with_capacity(64);
    text.push_str("v:");
    push(value, &mut text);
    text.as_str().into()
}

/// `k:{"containerPort":80,"protocol":"TCP"}`; the keys must come in ascending order.
pub(crate) fn keyed<'a>(keys: impl Iterator<Item = (&'a str, &'a Value)>) -> Str {
    let mut text = String::with_capacity(64);
    text.push_str("k:{");
    for (i, (name, value)) in keys.enumerate() {
        if i > 0 {
            text.push(',');
        }
        push_text(name, &mut text);
        text.push(':');
        push(value, &mut text);
    }
    text.push('}');
    text.as_str().into()
}

/// JSON as Go's encoder writes it: `<`, `>` and `&` are escaped.
fn push(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => push_text(text, out),
        other => out.push_str(&other.to_string()),
    }
}

fn push_text(text: &str, out: &mut String) {
    let plain = |b: u8| b >= 0x20 && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&');
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    for c in Value::from(text).to_string().chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            c => out.push(c),
        }
    }
}

/// The canonical text of a step that somebody else wrote. `Ok(None)` for a kind of step that is not known: upstream
/// passes over those. The message is that of upstream's parser.
pub(crate) fn canonical(step: &str) -> Result<Option<Str>, String> {
    let Some((kind, rest)) = step.split_at_checked(2) else { return Err("key must be 2 characters long:".into()) };
    if !kind.ends_with(':') {
        return Err(format!("missing colon: {step}"));
    }
    let json = |text: &str| value::parse_lenient(text.as_bytes()).map_err(|e| e.to_string());
    Ok(Some(match kind {
        "f:" => step.into(),
        "v:" => item(&json(rest)?),
        "k:" => match json(rest)? {
            Value::Object(map) => keyed(map.iter()),
            _ => return Err(format!("expected an object: {rest}")),
        },
        "i:" => match rest.parse::<i64>() {
            Ok(i) => format!("i:{i}").into(),
            Err(_) => return Err(format!("strconv.Atoi: parsing {rest:?}: invalid syntax")),
        },
        _ => return Ok(None),
    }))
}

/// A step as conflicts name it: `.spec`, `[name="web"]`, `[="x"]`, `[3]`.
pub(crate) fn shown(step: &str) -> String {
    let Some((kind, rest)) = step.split_at_checked(2) else { return step.into() };
    let json = || value::parse_lenient(rest.as_bytes()).unwrap_or_default();
    match kind {
        "f:" => format!(".{rest}"),
        "k:" => {
            let map = json();
            let keys = map.as_object().into_iter().flat_map(Map::iter);
            let keys: Vec<String> = keys.map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        "v:" => format!("[={}]", json()),
        _ => format!("[{rest}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn steps_have_one_spelling() {
        for (given, want, shows) in [
            ("f:a", Ok(Some("f:a")), ".a"),
            ("f:example.com/a", Ok(Some("f:example.com/a")), ".example.com/a"),
            (
                r#"k:{ "protocol":"TCP", "containerPort": 80 }"#,
                Ok(Some(r#"k:{"containerPort":80,"protocol":"TCP"}"#)),
                r#"[containerPort=80,protocol="TCP"]"#,
            ),
            (r#"v: "a""#, Ok(Some(r#"v:"a""#)), r#"[="a"]"#),
            ("v:1.50", Ok(Some("v:1.5")), "[=1.5]"),
            ("i:3", Ok(Some("i:3")), "[3]"),
            (r#"v:"a<b""#, Ok(Some("v:\"a\\u003cb\"")), r#"[="a<b"]"#),
            ("x:what", Ok(None), ""),
            ("f", Err("key must be 2 characters long:"), ""),
            ("name", Err("missing colon: name"), ""),
            ("i:x", Err("strconv.Atoi: parsing \"x\": invalid syntax"), ""),
        ] {
            let got = canonical(given);
            assert_eq!(got.as_ref().map(Option::as_deref).map_err(String::as_str), want, "{given}");
            if let Ok(Some(step)) = got {
                assert_eq!(shown(&step), shows);
            }
        }
        assert!(canonical("k:{").is_err());
        assert!(canonical("k:[]").is_err());
        let keys = value!({"b": true, "a": "x"});
        assert_eq!(keyed(keys.as_object().unwrap().iter()), r#"k:{"a":"x","b":true}"#);
    }
}
