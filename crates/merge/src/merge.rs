//! Merge patch (RFC 7386): objects merge, null deletes, everything else replaces.

use value::{Map, Value};

/// Applies `patch` to `target` in place.
pub(crate) fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = without_nulls(patch);
        return;
    };
    if !matches!(target, Value::Object(_)) {
        *target = Value::object();
    }
    let Value::Object(map) = target else { return };
    for (key, change) in patch.iter() {
        match change {
            Value::Null => {
                map.remove(key);
            }
            Value::Object(_) => apply(map.entry(key, || Value::Null), change),
            other => {
                map.insert(key, without_nulls(other));
            }
        }
    }
}

/// A copy without the null members of objects, at any depth (upstream's library removes them inside lists too).
pub(crate) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v)));
            Value::Object(kept.collect::<Map>())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use value::parse_lenient;

    #[test]
    fn rfc_7386_appendix() {
        for (target, patch, want) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
            (r#"{}"#, r#"{"a":[{"b":null}]}"#, r#"{"a":[{}]}"#),
        ] {
            let mut target = parse_lenient(target.as_bytes()).unwrap();
            super::apply(&mut target, &parse_lenient(patch.as_bytes()).unwrap());
            assert_eq!(target.to_string(), want, "{patch}");
        }
    }
}
