//! A device of a slice: what it is, what it has, what it takes from what its neighbours have too, and where it is.

use super::{capacity, parts};
use crate::{at::At, rules::same, template};
use base::FieldErrors;
use value::Value;

const MAX_PROPERTIES: usize = 32;
const MAX_VALUES: usize = 48;
const MAX_TEXT: usize = 64;
const MAX_TAINTS: usize = 16;
const MAX_CONSUMPTIONS: usize = 2;
pub const MAX_COUNTERS: usize = 32;
/// Longer keys are cut in the middle in a path: a domain, a slash, an identifier.
const MAX_KEY: usize = 63 + 1 + 32;
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// Fields that a server of this version does not keep, where the old device had none of them.
pub fn drop_disabled(device: &mut Value, lists: bool, mappings: bool) {
    if mappings {
        device.remove(&["nodeAllocatableResourceMappings"]);
    }
    if lists && let Some(attributes) = device.get_mut("attributes").and_then(Value::as_object_mut) {
        for (_, attribute) in attributes.iter_mut() {
            LISTS.iter().for_each(|list| drop(attribute.remove(&[list])));
        }
    }
}

/// True where an attribute is a list.
pub fn has_lists(device: &Value) -> bool {
    device.members_at(&["attributes"]).any(|(_, attribute)| LISTS.iter().any(|list| !attribute.at(&[list]).is_null()))
}

/// A `Device`; `placed` says that each device of the slice has its own nodes.
pub fn device(device: At, old: Option<&Value>, placed: bool, errors: &mut FieldErrors) {
    device.get("name").dns_label(errors);
    let (attributes, capacities) = (device.get("attributes"), device.get("capacity"));
    let total = attributes.len() + capacities.len();
    if total > MAX_PROPERTIES {
        let detail = format!("the total number of attributes and capacities must not exceed {MAX_PROPERTIES}");
        errors.invalid_raw(device.path, total, detail);
    }
    let values: usize = attributes.value.members_at(&[]).map(|(_, attribute)| count(attribute)).sum();
    if values > MAX_VALUES {
        let detail = format!("the total number of attribute values must not exceed {MAX_VALUES}");
        errors.invalid_raw(device.path, values, detail);
    }
    for (key, value) in attributes.value.members_at(&[]) {
        attributes.device_property(key, errors);
        let key = cut(key, MAX_KEY);
        attribute(At { value, path: attributes.path.map_key(&key) }, errors);
    }
    let shared = device.get("allowMultipleAllocations").flag();
    for (key, value) in capacities.value.members_at(&[]) {
        capacities.device_property(key, errors);
        let key = cut(key, MAX_KEY);
        capacity::capacity(At { value, path: capacities.path.map_key(&key) }, shared, errors);
    }
    let taints = device.get("taints");
    if !old.is_some_and(|old| same(old.at(&["taints"]), taints.value)) && taints.fits(errors, MAX_TAINTS) {
        taints.items().for_each(|t| parts::taint(t, errors));
    }
    let consumes = device.get("consumesCounters");
    if consumes.fits(errors, MAX_CONSUMPTIONS) {
        for consumption in consumes.items() {
            let set = consumption.get("counterSet");
            if set.need(errors) {
                set.dns_label(errors);
            }
            counters(consumption.get("counters"), errors);
        }
        consumes.unique_by(errors, |consumption| consumption.str_at(&["counterSet"]).into());
    }
    place(device, placed, errors);
    parts::binding(device, errors);
}

/// Counters by name.
pub fn counters(counters: At, errors: &mut FieldErrors) {
    if counters.need(errors) && counters.fits(errors, MAX_COUNTERS) {
        for (name, _) in counters.value.members_at(&[]) {
            counters.shape_as(errors, name, base::names::label(name));
        }
    }
}

/// The number of values of an attribute.
fn count(attribute: &Value) -> usize {
    match LISTS.iter().map(|list| attribute.items_at(&[list]).len()).sum() {
        0 => 1,
        n => n,
    }
}

fn attribute(attribute: At, errors: &mut FieldErrors) {
    let mut fields = 0;
    for field in ["bool", "int", "string", "version", "bools", "ints", "strings", "versions"] {
        let value = attribute.get(field);
        if !value.is_set() {
            continue;
        }
        fields += 1;
        match field {
            "string" => text(value, errors),
            "version" => version(value, errors),
            _ if LISTS.contains(&field) && value.is_empty() => value.invalid(errors, "must not be empty if specified"),
            "strings" => value.items().for_each(|item| text(item, errors)),
            "versions" => value.items().for_each(|item| version(item, errors)),
            _ => {}
        }
    }
    match fields {
        0 => attribute.invalid_as(errors, "", "exactly one value must be specified"),
        1 => {}
        _ => attribute.invalid(errors, "exactly one value must be specified"),
    }
}

fn text(text: At, errors: &mut FieldErrors) {
    if text.str().len() > MAX_TEXT {
        errors.too_long(text.path, MAX_TEXT);
    }
}

fn version(version: At, errors: &mut FieldErrors) {
    if !is_semver(version.str()) {
        version.invalid(errors, "must be a string compatible with semver.org spec 2.0.0");
    }
    text(version, errors);
}

/// `1.2.3-rc.1+build.5`
fn is_semver(version: &str) -> bool {
    let (version, build) = version.split_once('+').map_or((version, None), |(v, b)| (v, Some(b)));
    let (numbers, pre) = version.split_once('-').map_or((version, None), |(v, p)| (v, Some(p)));
    let number = |s: &str| s == "0" || !s.starts_with('0') && !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric());
    let pre_word = |s: &str| word(s) && (number(s) || !s.bytes().all(|b| b.is_ascii_digit()));
    let numbers: Vec<&str> = numbers.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && pre.is_none_or(|pre| pre.split('.').all(pre_word))
        && build.is_none_or(|build| build.split('.').all(word))
}

/// Where the device is, if its slice leaves that to it.
fn place(device: At, placed: bool, errors: &mut FieldErrors) {
    let (name, selector, all) = (device.get("nodeName"), device.get("nodeSelector"), device.get("allNodes"));
    if !placed {
        if name.is_set() || selector.is_set() || all.is_set() {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set \
                          to true in the ResourceSlice spec";
            errors.invalid_raw(device.path, "null", detail);
        }
        return;
    }
    let mut set = Vec::new();
    if name.is_set() {
        if name.is_empty() {
            name.invalid(errors, "must not be empty");
        } else {
            set.push("`nodeName`");
            name.dns_subdomain(errors);
        }
    }
    if selector.is_set() {
        set.push("`nodeSelector`");
        template::node_selector(selector, errors);
    }
    if all.is_set() {
        if all.flag() {
            set.push("`allNodes`");
        } else {
            all.invalid(errors, "must be either unset or set to true");
        }
    }
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
                       `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match set.len() {
        0 => device.required(errors, ONE),
        1 => {}
        _ => device.invalid_as(errors, &format!("{{{}}}", set.join(", ")), ONE),
    }
}

/// A text of at most so many bytes, cut in its middle.
fn cut(text: &str, max: usize) -> String {
    let remaining = max - 3;
    let (head, tail) = (remaining.div_ceil(2), text.len().saturating_sub(remaining / 2));
    match (text.get(..head), text.get(tail..)) {
        (Some(head), Some(tail)) if text.len() > max => format!("{head}...{tail}"),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, want) in [
            ("1.2.3", true),
            ("0.0.0-rc.1+b.5", true),
            ("1.0.0--", true),
            ("1.2", false),
            ("01.2.3", false),
            ("1.2.3-01", false),
            ("1.2.3-", false),
            ("1.2.3+", false),
        ] {
            assert_eq!(is_semver(version), want, "{version}");
        }
    }

    #[test]
    fn long_keys_are_cut() {
        let long = "a".repeat(60) + &"b".repeat(60);
        let cut = cut(&long, 96);
        assert_eq!(cut.len(), 96);
        assert!(cut.starts_with("aaa") && cut.contains("a...b") && cut.ends_with("bbb"), "{cut}");
    }
}
