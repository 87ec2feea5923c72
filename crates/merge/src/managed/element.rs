//! One step of a path in the text form of FieldsV1: `f:name` is a member of an object, `k:{"name":"web"}` the item of a
//! list of type map with those keys, `v:"x"` an item of a set, `i:3` a position.
//!
//! The text is what sets are keyed by: two steps are the same where their canonical texts are. Nothing is decoded to
//! compare, to unite or to subtract; only messages and clients' own entries are read. Source: the serialization of
//! structured-merge-diff's `fieldpath`.

use value::{Map, Str, Value};

/// `f:name`
pub(crate) fn field(name: &str) -> Str {
    let mut text = Str::with_capacity(name.len() + 2);
    text.push_str("f:");
    text.push_str(name);
    text
}

/// The member that a step names.
pub(crate) fn field_name(step: &str) -> Option<&str> {
    step.strip_prefix("f:")
}

/// `v:"x"`
pub(crate) fn item(value: &Value) -> Str {
    let mut text = b"v:".to_vec();
    write(value, &mut text);
    utf8(text)
}

/// `k:{"containerPort":80,"protocol":"TCP"}`; the keys must come in ascending order.
pub(crate) fn keyed<'a>(keys: impl Iterator<Item = (&'a str, &'a Value)>) -> Str {
    let mut text = Vec::with_capacity(40);
    text.extend_from_slice(b"k:{");
    for (i, (name, value)) in keys.enumerate() {
        if i > 0 {
            text.push(b',');
        }
        write(&Value::from(name), &mut text);
        text.push(b':');
        write(value, &mut text);
    }
    text.push(b'}');
    utf8(text)
}

fn utf8(text: Vec<u8>) -> Str {
    Str::from_utf8_lossy(&text)
}

/// JSON as Go's encoder writes it: `<`, `>` and `&` are escaped.
fn write(value: &Value, out: &mut Vec<u8>) {
    let from = out.len();
    value.write_json(out);
    if !out[from..].iter().any(|b| matches!(b, b'<' | b'>' | b'&')) {
        return;
    }
    let plain = out.split_off(from);
    for b in plain {
        match b {
            b'<' => out.extend_from_slice(b"\\u003c"),
            b'>' => out.extend_from_slice(b"\\u003e"),
            b'&' => out.extend_from_slice(b"\\u0026"),
            b => out.push(b),
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
