//! Short texts: selectors, quantities, schedules, times, names, references to images.

use base::{cron, escape, names as valid, quantity::Quantity, time};
use select::{FieldSelector, LabelSelector};
use value::{Meta, value};

/// What is printed is read as the same.
pub fn label_selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(selector) = LabelSelector::parse(text) else { return };
    let printed = selector.to_string();
    let again = LabelSelector::parse(&printed).unwrap_or_else(|why| panic!("{why}: {printed:?} of {text:?}"));
    assert_eq!(again.to_string(), printed);
    let labels = value!({"app": "web", "tier": "7", "env": ""});
    let object = value!({"metadata": {"labels": labels.clone()}});
    assert_eq!(selector.matches_map(&labels), selector.matches(&Meta::of(&object, Box::default())), "{printed}");
    assert_eq!(selector.matches_map(&labels), again.matches_map(&labels), "{printed}");
}

pub fn field_selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(selector) = FieldSelector::parse(text) else { return };
    let printed = selector.to_string();
    let again = FieldSelector::parse(&printed);
    // Only values are escaped, as upstream has it: a field with an operator in its name is printed as it is.
    let plain = |field: &str| field.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/[]".contains(&b));
    if selector.requirements().iter().all(|r| plain(&r.field)) {
        let again = again.unwrap_or_else(|why| panic!("{why}: {printed:?} of {text:?}"));
        // In the order of what was typed, `==` or `=`.
        let sorted = |selector: &FieldSelector| {
            let mut all: Vec<String> = selector.requirements().iter().map(|r| format!("{r:?}")).collect();
            all.sort();
            all
        };
        assert_eq!(sorted(&again), sorted(&selector), "{printed:?} of {text:?}");
    }
    if let Ok(compiled) = selector.compile(&["metadata.name", "metadata.namespace", "spec.nodeName"]) {
        let _ = compiled.matches_parts("ns", "name", &["node".into()]);
    }
}

pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(quantity) = Quantity::parse(text) {
        let printed = quantity.to_string();
        let again = Quantity::parse(&printed).unwrap_or_else(|why| panic!("{why}: {printed:?} of {text:?}"));
        assert_eq!(again.nanos(), quantity.nanos(), "{printed:?} of {text:?}");
        let _ = (quantity.units(), quantity.milli_i64(), quantity.bytes());
    }
    let _ = cron::Schedule::parse(text);
    if let Some(at) = time::parse(text) {
        assert_eq!(time::parse(&time::micros(at)).map(time::micros), Some(time::micros(at)), "{text:?}");
    }
    let _ = time::zone(text);
    assert_eq!(escape::decode(&escape::encode(text), false), text);
    let _ = (escape::decode(text, true), escape::mountinfo(text), escape::bearer_token(text));
    let checks = [valid::label, valid::subdomain, valid::qualified_name, valid::ip, valid::config_map_key];
    for check in checks {
        let _ = check(text);
    }
    if let Ok(path) = wire::JsonPath::parse(text) {
        let _ = path.find(&value!({"metadata": {"name": "a"}, "items": [{"b": 1}, {"b": [2]}], "x.y": true})).len();
    }
    let offers = wire::Offers::default();
    let _ = (wire::negotiate(Some(text), offers), wire::negotiate_stream(Some(text), offers));
    let _ = wire::decode(Some(text), b"{}", true);
}

/// The full form of a reference is read as the same.
pub fn image(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = text.parse::<images::Digest>();
    if let Ok(reference) = text.parse::<images::Reference>() {
        let full = reference.to_string();
        assert_eq!(full.parse::<images::Reference>().ok(), Some(reference), "{full:?} of {text:?}");
    }
}
