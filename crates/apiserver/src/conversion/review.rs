//! ConversionReview: what a webhook is asked and what its answer means, as pure functions. Source:
//! `apiextensions-apiserver/pkg/apiserver/conversion`, whose sentences these are.

use base::names;
use schema::ReviewVersion;
use value::{Value, value};

/// Why there are no converted objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What the client is told.
    pub text: String,
    /// As upstream counts it.
    pub metric: &'static str,
}

impl Fault {
    pub fn call(text: String) -> Self {
        Fault { text, metric: "conversion_webhook_call_failure" }
    }
    pub fn malformed(text: String) -> Self {
        Fault { text, metric: "conversion_webhook_malformed_response_failure" }
    }
    fn partial(text: String) -> Self {
        Fault { text, metric: "conversion_webhook_partial_response_failure" }
    }
    fn invalid(text: String) -> Self {
        Fault { text, metric: "conversion_webhook_invalid_converted_object_failure" }
    }
}

/// The whole review that is sent.
pub fn request(api: ReviewVersion, uid: &str, wanted: &str, objects: &[Value]) -> Value {
    value!({
        "kind": "ConversionReview", "apiVersion": (format!("apiextensions.k8s.io/{}", api.name())),
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": (objects.to_vec())},
        "response": {"uid": "", "convertedObjects": null, "result": {"metadata": {}}},
    })
}

/// The objects of an answer; the error says what is wrong with it, or is the webhook's own.
pub fn response(api: ReviewVersion, uid: &str, review: &Value) -> Result<Vec<Value>, String> {
    let response = review.at(&["response"]);
    if api == ReviewVersion::V1 {
        let expected = "apiextensions.k8s.io/v1, Kind=ConversionReview";
        let given = type_of(review);
        if given != expected {
            return Err(format!("expected webhook response of {expected}, got {given}"));
        }
    }
    if response.is_null() {
        return Err("no response provided".into());
    }
    if api == ReviewVersion::V1 {
        let given = response.str_at(&["uid"]);
        if given != uid {
            return Err(format!("expected response.uid={uid:?}, got {given:?}"));
        }
    }
    match (response.str_at(&["result", "status"]), response.str_at(&["result", "message"])) {
        ("Success", _) => Ok(response.items_at(&["convertedObjects"]).to_vec()),
        (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => Err(message.into()),
    }
}

/// What the answer's objects are worth: each must be its original in another version, with labels and annotations
/// that are its own; all other metadata is the original's.
pub fn converted(originals: &[Value], converted: Vec<Value>, wanted: &str) -> Result<Vec<Value>, Fault> {
    let subject = originals.first().map(type_of).unwrap_or_default();
    if converted.len() != originals.len() {
        let (got, want) = (converted.len(), originals.len());
        let text = format!("conversion webhook for {subject} returned {got} objects, expected {want}");
        return Err(Fault::partial(text));
    }
    let each = originals.iter().zip(converted).enumerate();
    each.map(|(i, (original, object))| {
        one(original, object, wanted).map_err(|wrong| {
            let of = match (wrong.place, originals.len()) {
                (Place::Type, 1) => "object at index 0".into(),
                (Place::Object, 1) => "object".into(),
                (Place::Metadata, 1) => "metadata".into(),
                (Place::Metadata, _) => format!("metadata in object at index {i}"),
                _ => format!("converted object at index {i}"),
            };
            let subject = type_of(original);
            Fault::invalid(format!("conversion webhook for {subject} returned invalid {of}: {}", wrong.why))
        })
    })
    .collect()
}

/// `example.com/v1, Kind=Lamp`
pub fn type_of(object: &Value) -> String {
    let (api_version, kind) = (object.str_at(&["apiVersion"]), object.str_at(&["kind"]));
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// What of an object is wrong.
#[derive(Clone, Copy)]
enum Place {
    Type,
    Object,
    Metadata,
}

struct Wrong {
    place: Place,
    why: String,
}

fn one(original: &Value, mut object: Value, wanted: &str) -> Result<Value, Wrong> {
    let kind = original.str_at(&["kind"]);
    let wrong = |place, why| Err(Wrong { place, why });
    let (api_version, own) = (object.str_at(&["apiVersion"]), object.str_at(&["kind"]));
    if api_version != wanted {
        return wrong(Place::Type, format!("invalid groupVersion (expected {wanted}, received {api_version})"));
    }
    if own != kind {
        return wrong(Place::Type, format!("invalid kind (expected {kind}, received {own})"));
    }
    for (field, said) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let path = ["metadata", field];
        let (want, got) = (original.str_at(&path), object.str_at(&path));
        if want != got {
            return wrong(Place::Object, format!("must have the same {said}: {want} != {got}"));
        }
    }
    let metadata = restored(original.at(&["metadata"]), object.get("metadata"));
    let metadata = metadata.map_err(|why| Wrong { place: Place::Metadata, why })?;
    object.set(&["metadata"], metadata);
    Ok(object)
}

/// The original's metadata with the labels and annotations of the answer.
fn restored(original: &Value, given: Option<&Value>) -> Result<Value, String> {
    let given = given.ok_or("missing metadata in converted object")?;
    if given.as_object().is_none() {
        return Err(format!("invalid metadata of type {} in converted object", go_type(given)));
    }
    let mut metadata = if original.is_null() { Value::object() } else { original.clone() };
    for field in ["labels", "annotations"] {
        let new = given.at(&[field]);
        if new.is_null() {
            metadata.remove(&[field]);
            continue;
        }
        let Some(entries) = new.as_object() else {
            return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(new)));
        };
        if let Some((key, entry)) = entries.iter().find(|(_, entry)| entry.as_str().is_none()) {
            let ty = go_type(entry);
            return Err(format!("metadata.{field}[{key}] must be a string, but is {ty} in converted object"));
        }
        if new != original.at(&[field]) {
            check(field, new)?;
        }
        metadata.set(&[field], new);
    }
    Ok(metadata)
}

/// Labels and annotations must be such; one fault as it is, several in brackets.
fn check(field: &str, map: &Value) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (key, entry) in map.members_at(&[]) {
        let text = entry.as_str().unwrap_or("");
        let mut say = |given: &str, why: &str, path: &str| {
            let given = Value::from(given);
            wrong.push(format!("metadata.{path}: Invalid value: {given}: {why}"));
        };
        match field {
            "labels" => {
                names::qualified_name(key).unwrap_or_else(|why| say(key, &why, "labels"));
                names::label_value(text).unwrap_or_else(|why| say(text, &why, "labels"));
            }
            _ => names::qualified_name(&key.to_lowercase()).unwrap_or_else(|why| say(key, &why, "annotation")),
        }
    }
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

/// The type that Go's decoder makes of a value.
fn go_type(value: &Value) -> &'static str {
    match value.type_name() {
        "null" => "<nil>",
        "boolean" => "bool",
        "integer" => "int64",
        "number" => "float64",
        "array" => "[]interface {}",
        "object" => "map[string]interface {}",
        _ => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lamp(version: &str) -> Value {
        value!({"apiVersion": (format!("example.com/{version}")), "kind": "Lamp",
            "metadata": {"name": "a", "namespace": "ns", "uid": "u", "generation": 3, "labels": {"x": "y"}}})
    }

    fn with(mut object: Value, path: &[&str], value: impl Into<Value>) -> Value {
        object.set(path, value);
        object
    }

    fn told(originals: &[Value], answers: Vec<Value>) -> String {
        match converted(originals, answers, "example.com/v2") {
            Ok(made) => Value::from(made).to_string(),
            Err(fault) => fault.text,
        }
    }

    #[test]
    fn what_an_answer_must_be() {
        let review = |change: fn(&mut Value)| {
            let mut review = value!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": {
                "uid": "u-1", "result": {"status": "Success"}, "convertedObjects": [{"a": 1}]}});
            change(&mut review);
            review
        };
        let read = |api, review: &Value| response(api, "u-1", review).map(|all| Value::from(all).to_string());
        for (api, change, want) in [
            (ReviewVersion::V1, (|_| {}) as fn(&mut Value), Ok("[{\"a\":1}]")),
            (
                ReviewVersion::V1,
                |r| r.set(&["kind"], "Other"),
                Err(
                    "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=Other",
                ),
            ),
            (
                ReviewVersion::V1,
                |r| r.set(&["response", "uid"], "u-2"),
                Err("expected response.uid=\"u-1\", got \"u-2\""),
            ),
            (ReviewVersion::V1Beta1, |r| r.set(&["response", "uid"], "u-2"), Ok("[{\"a\":1}]")),
            (ReviewVersion::V1, |r| drop(r.remove(&["response"])), Err("no response provided")),
            (
                ReviewVersion::V1,
                |r| r.set(&["response", "result", "status"], "Failure"),
                Err("response.result.status was 'Failure', not 'Success'"),
            ),
            (ReviewVersion::V1, |r| r.set(&["response", "result"], value!({"message": "no"})), Err("no")),
        ] {
            assert_eq!(read(api, &review(change)), want.map(String::from).map_err(String::from));
        }
    }

    #[test]
    fn what_a_converted_object_must_be() {
        let (old, new) = (lamp("v1"), lamp("v2"));
        let subject = "conversion webhook for example.com/v1, Kind=Lamp returned";
        for (answer, want) in [
            (
                lamp("v3"),
                "invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)",
            ),
            (
                with(new.clone(), &["kind"], "Pump"),
                "invalid object at index 0: invalid kind (expected Lamp, received Pump)",
            ),
            (with(new.clone(), &["metadata", "name"], "b"), "invalid object: must have the same name: a != b"),
            (with(new.clone(), &["metadata", "uid"], "w"), "invalid object: must have the same UID: u != w"),
            (
                with(new.clone(), &["metadata", "labels"], 7),
                "invalid metadata: invalid metadata.labels of type int64 in converted object",
            ),
            (
                with(new.clone(), &["metadata", "labels", "x"], 7),
                "invalid metadata: metadata.labels[x] must be a string, but is int64 in converted object",
            ),
        ] {
            assert_eq!(told(std::slice::from_ref(&old), vec![answer]), format!("{subject} {want}"));
        }
        assert_eq!(told(std::slice::from_ref(&old), vec![]), format!("{subject} 0 objects, expected 1"));
        let two = [old.clone(), old.clone()];
        assert_eq!(
            told(&two, vec![new.clone(), with(new.clone(), &["metadata", "namespace"], "")]),
            format!("{subject} invalid converted object at index 1: must have the same namespace: ns != ")
        );
        let bad = with(new.clone(), &["metadata", "labels"], value!({"b d": "e"}));
        assert!(told(&[old], vec![bad]).contains("invalid metadata: metadata.labels: Invalid value: \"b d\": "));
    }

    #[test]
    fn metadata_is_the_originals() {
        let mut answer = with(lamp("v2"), &["metadata", "generation"], 9);
        answer.set(&["metadata", "finalizers"], value!(["mine"]));
        answer.set(&["metadata", "annotations"], value!({"k": "v"}));
        answer.remove(&["metadata", "labels"]);
        let mut want = lamp("v2");
        want.remove(&["metadata", "labels"]);
        want.set(&["metadata", "annotations"], value!({"k": "v"}));
        assert_eq!(converted(&[lamp("v1")], vec![answer], "example.com/v2"), Ok(vec![want]));
    }
}
