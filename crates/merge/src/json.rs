//! JSON patch (RFC 6902), with the error texts of the library that upstream uses (evanphx/json-patch 4).

use crate::rejected;
use base::{Reason, Result, Status};
use std::borrow::Cow;
use value::Value;

const MAX_OPERATIONS: usize = 10_000;
/// What `copy` operations may add in all, in bytes of JSON: a few of them could otherwise double an object without end.
const MAX_COPIED: usize = 3 << 20;

/// Checks what can be checked without the object.
pub(crate) fn check(operations: &Value) -> Result<()> {
    let n = operations.as_array().map_or(0, Vec::len);
    if n > MAX_OPERATIONS {
        let text = format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {n}");
        return Err(Status::new(Reason::RequestEntityTooLarge, format!("Request entity too large: {text}")));
    }
    for operation in operations.items_at(&[]) {
        if !matches!(operation, Value::Object(_) | Value::Null) {
            let text = "json: cannot unmarshal into Go value of type handlers.jsonPatchOp";
            return Err(Status::bad_request(format!("error decoding patch: {text}")));
        }
    }
    Ok(())
}

/// Applies all operations in order, or none.
pub(crate) fn apply(operations: &Value, document: Value) -> Result<Value> {
    run_all(operations, document).map_err(|_| rejected())
}

pub(crate) fn run_all(operations: &Value, mut document: Value) -> Result<Value, String> {
    let mut copied = 0;
    for operation in operations.items_at(&[]) {
        run(operation, &mut document, &mut copied)?;
    }
    Ok(document)
}

fn run(operation: &Value, document: &mut Value, copied: &mut usize) -> Result<(), String> {
    let name = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
    let pointer = |key: &str| {
        let missing = || format!("{name} operation failed to decode path: missing value");
        operation.get(key).and_then(Value::as_str).ok_or_else(missing)
    };
    let value = || operation.get("value").cloned();
    match name {
        "add" => add(document, pointer("path")?, value().unwrap_or_default(), name),
        "remove" => remove(document, pointer("path")?).map(|_| ()),
        "replace" => replace(document, pointer("path")?, value().unwrap_or_default()),
        "move" => {
            let (from, path) = (pointer("from")?, pointer("path")?);
            if lookup(document, from).is_none() {
                return Err(format!("move operation does not apply: doc is missing from path: {from}: missing value"));
            }
            let value = remove(document, from)?;
            add(document, path, value, name)
        }
        "copy" => {
            let from = pointer("from")?;
            // Of a member that is not there comes null.
            let missing = || format!("copy operation does not apply: doc is missing from path: {from}: missing value");
            let value = match (lookup(document, from).cloned(), parent(document, from)) {
                (Some(value), _) => value,
                (None, Some((Value::Object(_), _))) => Value::Null,
                (None, _) => return Err(missing()),
            };
            *copied += value.to_json().len();
            if *copied > MAX_COPIED {
                let text = "Unable to complete the copy, the accumulated size increase of copy is";
                return Err(format!("{text} {copied}, exceeding the limit {MAX_COPIED}"));
            }
            add(document, pointer("path")?, value, name)
        }
        "test" => {
            let path = pointer("path")?;
            let want = value().unwrap_or_default();
            let same = match lookup(document, path) {
                Some(found) => same(found, &want),
                None => want.is_null(),
            };
            if same { Ok(()) } else { Err(format!("testing value {path} failed: test failed")) }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

/// Numbers compare by value.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|x| b.as_f64() == Some(x))
}

/// The parent of what a pointer names, and the last step.
fn parent<'v, 'p>(document: &'v mut Value, pointer: &'p str) -> Option<(&'v mut Value, Cow<'p, str>)> {
    let (head, last) = pointer.rsplit_once('/')?;
    let mut at = document;
    for step in head.split('/').skip(1) {
        let step = unescape(step);
        at = match at {
            Value::Object(map) => map.get_mut(&step)?,
            Value::Array(items) => {
                let i = index(&step, items.len()).ok()?;
                items.get_mut(i)?
            }
            _ => return None,
        };
    }
    Some((at, unescape(last)))
}

fn lookup<'v>(document: &'v Value, pointer: &str) -> Option<&'v Value> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return None;
    }
    pointer.split('/').skip(1).try_fold(document, |at, step| {
        let step = unescape(step);
        match at {
            Value::Object(map) => map.get(&step),
            Value::Array(items) => items.get(index(&step, items.len()).ok()?),
            _ => None,
        }
    })
}

fn unescape(step: &str) -> Cow<'_, str> {
    if step.contains('~') { Cow::Owned(step.replace("~1", "/").replace("~0", "~")) } else { Cow::Borrowed(step) }
}

/// An index into a list of that length; negative ones count from the end.
fn index(step: &str, len: usize) -> Result<usize, String> {
    let i: i64 = step.parse().map_err(|_| format!("strconv.Atoi: parsing {step:?}: invalid syntax"))?;
    let at = if i < 0 { i + len as i64 } else { i };
    let outside = || format!("Unable to access invalid index: {i}: invalid index referenced");
    usize::try_from(at).ok().filter(|at| *at <= len).ok_or_else(outside)
}

fn add(document: &mut Value, pointer: &str, value: Value, operation: &str) -> Result<(), String> {
    if pointer.is_empty() {
        *document = value;
        return Ok(());
    }
    let what = if operation == "add" { "doc is missing path" } else { "doc is missing destination path" };
    let missing = || format!("{operation} operation does not apply: {what}: {pointer}: missing value");
    let (parent, key) = parent(document, pointer).ok_or_else(missing)?;
    let fault = |why: String| format!("error in {operation} for path: '{pointer}': {why}");
    match parent {
        Value::Object(map) => {
            map.insert(key.as_ref(), value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let i = index(&key, items.len()).map_err(fault)?;
            items.insert(i, value);
        }
        _ => return Err(missing()),
    }
    Ok(())
}

fn remove(document: &mut Value, pointer: &str) -> Result<Value, String> {
    let missing = || format!("remove operation does not apply: doc is missing path: {pointer}: missing value");
    let (parent, key) = parent(document, pointer).ok_or_else(missing)?;
    let fault = |why: String| format!("error in remove for path: '{pointer}': {why}");
    match parent {
        Value::Object(map) => {
            map.remove(&key).ok_or_else(|| fault(format!("unable to remove nonexistent key: {key}: missing value")))
        }
        Value::Array(items) => {
            let i = index(&key, items.len()).map_err(fault)?;
            if i == items.len() {
                return Err(fault(format!("Unable to access invalid index: {i}: invalid index referenced")));
            }
            Ok(items.remove(i))
        }
        _ => Err(missing()),
    }
}

fn replace(document: &mut Value, pointer: &str, value: Value) -> Result<(), String> {
    if pointer.is_empty() {
        *document = value;
        return Ok(());
    }
    let missing =
        |what: &str| format!("replace operation does not apply: doc is missing {what}: {pointer}: missing value");
    let (parent, key) = parent(document, pointer).ok_or_else(|| missing("path"))?;
    let place = match parent {
        Value::Object(map) => map.get_mut(&key),
        Value::Array(items) => {
            let i = index(&key, items.len()).map_err(|_| missing("key"))?;
            items.get_mut(i)
        }
        _ => None,
    };
    *place.ok_or_else(|| missing("key"))? = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use value::parse_lenient;

    #[track_caller]
    fn check(document: &str, patch: &str, want: Result<&str, &str>) {
        let document = parse_lenient(document.as_bytes()).unwrap();
        let got = super::run_all(&parse_lenient(patch.as_bytes()).unwrap(), document);
        match want {
            Ok(want) => assert_eq!(got.unwrap().to_string(), want, "{patch}"),
            Err(want) => {
                let why = got.unwrap_err();
                assert!(why.ends_with(want), "{patch}: {why}");
            }
        }
    }

    #[test]
    fn a_refusal_says_upstreams_sentence() {
        let patch = parse_lenient(br#"[{"op":"remove","path":"/a"}]"#).unwrap();
        let status = super::apply(&patch, value::Value::object()).unwrap_err();
        let want = "the server rejected our request due to an error in our request";
        assert_eq!((status.code(), status.message()), (422, want));
    }

    #[test]
    fn operations() {
        check(
            r#"{"a":1}"#,
            r#"[{"op":"add","path":"/b","value":[1]},{"op":"add","path":"/b/-","value":2}]"#,
            Ok(r#"{"a":1,"b":[1,2]}"#),
        );
        check(r#"{"a":[1,3]}"#, r#"[{"op":"add","path":"/a/1","value":2}]"#, Ok(r#"{"a":[1,2,3]}"#));
        check(r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/0"}]"#, Ok(r#"{"a":[2]}"#));
        check(
            r#"{"a/b":1,"c~d":2}"#,
            r#"[{"op":"remove","path":"/a~1b"},{"op":"replace","path":"/c~0d","value":3}]"#,
            Ok(r#"{"c~d":3}"#),
        );
        check(
            r#"{"a":{"b":1}}"#,
            r#"[{"op":"move","from":"/a/b","path":"/c"},{"op":"copy","from":"/c","path":"/d"}]"#,
            Ok(r#"{"a":{},"c":1,"d":1}"#),
        );
        check(r#"{"a":{}}"#, r#"[{"op":"copy","from":"/a/x","path":"/b"}]"#, Ok(r#"{"a":{},"b":null}"#));
        check(
            r#"{"a":1}"#,
            r#"[{"op":"test","path":"/a","value":1.0},{"op":"test","path":"/z","value":null}]"#,
            Ok(r#"{"a":1}"#),
        );
    }

    #[test]
    fn copies_are_bounded() {
        let double = r#"{"op":"copy","from":"/a","path":"/a/-"},"#.repeat(40);
        let patch = format!("[{}]", double.trim_end_matches(','));
        check(r#"{"a":["xxxxxxxx"]}"#, &patch, Err("exceeding the limit 3145728"));
    }

    #[test]
    fn refusals() {
        check(
            "{}",
            r#"[{"op":"remove","path":"/a"}]"#,
            Err("error in remove for path: '/a': unable to remove nonexistent key: a: missing value"),
        );
        check(
            "{}",
            r#"[{"op":"replace","path":"/a","value":1}]"#,
            Err("replace operation does not apply: doc is missing key: /a: missing value"),
        );
        check(
            "{}",
            r#"[{"op":"add","path":"/a/b","value":1}]"#,
            Err("add operation does not apply: doc is missing path: /a/b: missing value"),
        );
        check(
            r#"{"a":[1]}"#,
            r#"[{"op":"add","path":"/a/5","value":1}]"#,
            Err("error in add for path: '/a/5': Unable to access invalid index: 5: invalid index referenced"),
        );
        check(r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":2}]"#, Err("testing value /a failed: test failed"));
        check("{}", r#"[{"op":"jump","path":"/a"}]"#, Err("Unexpected kind: jump"));
        check(
            "{}",
            r#"[{"op":"move","from":"/x","path":"/a"}]"#,
            Err("move operation does not apply: doc is missing from path: /x: missing value"),
        );
        check("{}", r#"[{"op":"add","value":1}]"#, Err("add operation failed to decode path: missing value"));
    }
}
