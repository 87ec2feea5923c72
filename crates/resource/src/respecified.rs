//! Which changes of a definition change how the objects of its kind show, or are found.
//!
//! They are read anew then, all of them, while nothing else is published; a printer column or a category is not worth
//! that. What counts stands here by name: what is added to definitions later and counts has to be added here.

use value::Value;

/// What of a version counts.
const OF_VERSION: [&str; 5] = ["name", "storage", "schema", "selectableFields", "subresources"];

/// Whether stored objects are the same under two CustomResourceDefinitions.
pub(crate) fn alike(old: &Value, new: &Value) -> bool {
    let (old, new) = (old.at(&["spec"]), new.at(&["spec"]));
    let (before, after) = (old.items_at(&["versions"]), new.items_at(&["versions"]));
    let of_version = |(a, b): (&Value, &Value)| OF_VERSION.iter().all(|part| same(a.at(&[part]), b.at(&[part])));
    old.at(&["preserveUnknownFields"]) == new.at(&["preserveUnknownFields"])
        && before.len() == after.len()
        && before.iter().zip(after).all(of_version)
}

/// Equality but for descriptions. A property of that name is an object, and counts; so does all in a default.
fn same(a: &Value, b: &Value) -> bool {
    if let (Some(a), Some(b)) = (a.as_object(), b.as_object()) {
        let counts = |(key, value): &(&str, &Value)| *key != "description" || value.as_str().is_none();
        let member = |(key, value): (&str, &Value)| match (key, b.get(key)) {
            (_, None) => false,
            ("default" | "enum", Some(other)) => value == other,
            (_, Some(other)) => same(value, other),
        };
        return a.iter().filter(counts).count() == b.iter().filter(counts).count()
            && a.iter().filter(counts).all(member);
    }
    match (a.as_array(), b.as_array()) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn what_counts() {
        let definition = || {
            value!({"spec": {"names": {"plural": "boats"}, "versions": [{"name": "v1", "storage": true, "served": true,
                "additionalPrinterColumns": [{"name": "A"}], "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".a"}],
                "schema": {"openAPIV3Schema": {"description": "old", "properties": {
                    "a": {"type": "string", "default": {"description": "x"}},
                    "description": {"type": "string", "description": "old"}}}}}]}})
        };
        let changed = |path: &[&str], to: Value| {
            let mut other = definition();
            let versions = other.at_mut(&["spec", "versions"]).as_array_mut().expect("versions");
            versions[0].set(path, to);
            alike(&definition(), &other)
        };
        assert!(alike(&definition(), &definition()));
        let schema = ["schema", "openAPIV3Schema"];
        let property = |name, part| [&schema[..], &["properties", name, part]].concat();
        assert!(changed(&["additionalPrinterColumns"], Value::Null) && changed(&["served"], false.into()));
        assert!(changed(&[&schema[..], &["description"]].concat(), "new".into()));
        assert!(changed(&property("description", "description"), "new".into()));
        assert!(!changed(&property("description", "type"), "integer".into()));
        assert!(!changed(&property("a", "default"), value!({"description": "y"})));
        assert!(!changed(&[&schema[..], &["properties", "new"]].concat(), value!({"type": "string"})));
        for (part, to) in [
            ("name", "v2".into()),
            ("storage", false.into()),
            ("subresources", Value::Null),
            ("selectableFields", value!([{"jsonPath": ".b"}])),
        ] {
            assert!(!changed(&[part], to), "{part}");
        }
        let mut named = definition();
        named.set(&["spec", "names", "shortNames"], value!(["b"]));
        assert!(alike(&definition(), &named));
    }
}
