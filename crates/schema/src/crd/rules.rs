//! What makes a schema structural. Source: KEP-20190425-structural-openapi and `apiextensions/validation`.

use base::FieldErrors;
use value::{Path, Value};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Where a schema stands, which decides what it may leave out.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Field,
    Item,
}

/// Adds what is wrong with a whole `openAPIV3Schema`.
pub(super) fn check(source: &Value, path: &Path, errors: &mut FieldErrors) {
    if flag(source, "nullable") {
        errors.forbidden(path.key("nullable"), "nullable cannot be true at the root");
    }
    structural(source, path, Place::Root, errors);
}

fn flag(source: &Value, key: &str) -> bool {
    source.at(&[key]).as_bool() == Some(true)
}

fn structural(source: &Value, path: &Path, place: Place, errors: &mut FieldErrors) {
    typed(source, path, place, errors);
    unsupported(source, path, errors);
    lists(source, path, errors);
    let properties = path.key("properties");
    for (name, property) in source.members_at(&["properties"]) {
        let here = properties.map_key(name);
        // Metadata at the root is implicit and may only narrow names.
        match place == Place::Root && name == "metadata" {
            true => metadata(property, &here, errors),
            false => structural(property, &here, Place::Field, errors),
        }
    }
    match source.at(&["additionalProperties"]) {
        more @ Value::Object(_) => {
            if place == Place::Root {
                errors.forbidden(path.key("additionalProperties"), "must not be used at the root");
            }
            structural(more, &path.key("additionalProperties"), Place::Field, errors);
        }
        Value::Bool(false) if !source.at(&["properties"]).is_null() => {
            let detail = "additionalProperties and properties are mutual exclusive";
            errors.forbidden(path.key("additionalProperties"), detail);
        }
        _ => {}
    }
    match source.at(&["items"]) {
        items @ Value::Object(_) => structural(items, &path.key("items"), Place::Item, errors),
        Value::Array(_) => errors.forbidden(path.key("items"), "items must be a schema object and not an array"),
        _ if source.str_at(&["type"]) == "array" => errors.required(path.key("items"), "must be specified"),
        _ => {}
    }
    branches(source, path, flag(source, "x-kubernetes-int-or-string"), errors);
    if !flag(source, "x-kubernetes-int-or-string") {
        each_branch(source, path, &mut |branch, at| spoken_of(source, path, branch, at, errors));
    }
}

/// What a definition may say about metadata: which names there may be.
fn metadata(source: &Value, path: &Path, errors: &mut FieldErrors) {
    let names = |name: &str| matches!(name, "name" | "generateName");
    if source.str_at(&["type"]) != "object" {
        return errors.invalid(path.key("type"), source.str_at(&["type"]), "must be object");
    }
    if source.members_at(&["properties"]).any(|(name, _)| !names(name)) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.forbidden(path, detail);
    }
    let properties = path.key("properties");
    for (name, property) in source.members_at(&["properties"]) {
        if property.get("default").is_some() {
            errors.forbidden(properties.map_key(name).key("default"), "must not be set in top-level metadata");
        }
    }
}

/// What the branches of a schema speak of must stand in the schema itself.
fn spoken_of(source: &Value, path: &Path, branch: &Value, at: &Path, errors: &mut FieldErrors) {
    let (properties, here) = (path.key("properties"), at.key("properties"));
    for (name, property) in branch.members_at(&["properties"]) {
        match source.at(&["properties", name]) {
            Value::Null => {
                let place = here.map_key(name);
                errors.required(properties.map_key(name), format!("because it is defined in {place}"));
            }
            below => spoken_of(below, &properties.map_key(name), property, &here.map_key(name), errors),
        }
    }
    if branch.at(&["items"]).as_object().is_some() {
        match source.at(&["items"]) {
            Value::Null => errors.required(path.key("items"), format!("because it is defined in {}", at.key("items"))),
            below => spoken_of(below, &path.key("items"), branch.at(&["items"]), &at.key("items"), errors),
        }
    }
    each_branch(branch, at, &mut |inner, at| spoken_of(source, path, inner, at, errors));
}

/// Calls for each schema that only checks values.
fn each_branch(source: &Value, path: &Path, then: &mut dyn FnMut(&Value, &Path)) {
    for key in ["allOf", "anyOf", "oneOf"] {
        let list = path.key(key);
        for (i, branch) in source.items_at(&[key]).iter().enumerate() {
            then(branch, &list.index(i));
        }
    }
    if let not @ Value::Object(_) = source.at(&["not"]) {
        then(not, &path.key("not"));
    }
}

fn typed(source: &Value, path: &Path, place: Place, errors: &mut FieldErrors) {
    let ty = source.str_at(&["type"]);
    let here = path.key("type");
    let (free, either) =
        (flag(source, "x-kubernetes-preserve-unknown-fields"), flag(source, "x-kubernetes-int-or-string"));
    match (ty, place) {
        ("", Place::Root) => errors.required(here, "must not be empty at the root"),
        ("", Place::Item) if !free && !either => errors.required(here, "must not be empty for specified array items"),
        ("", Place::Field) if !free && !either => {
            errors.required(here, "must not be empty for specified object fields")
        }
        ("null", _) => {
            errors.not_supported(here, ty, &TYPES);
            errors.forbidden(here, "type cannot be set to null, use nullable as an alternative");
        }
        (ty, Place::Root) if ty != "object" => errors.invalid(here, ty, "must be object at the root"),
        (ty, _) if !ty.is_empty() && !TYPES.contains(&ty) => errors.not_supported(here, ty, &TYPES),
        _ => {}
    }
    if source.at(&["x-kubernetes-preserve-unknown-fields"]).as_bool() == Some(false) {
        let detail = "must be true or undefined";
        errors.invalid_raw(path.key("x-kubernetes-preserve-unknown-fields"), "false", detail);
    }
    if either && free {
        let detail = "must be false if x-kubernetes-int-or-string is true";
        errors.invalid_raw(path.key("x-kubernetes-preserve-unknown-fields"), "true", detail);
    }
    if flag(source, "x-kubernetes-embedded-resource") {
        let here = path.key("type");
        match ty {
            "object" => {}
            "" => errors.required(here, "must be object if x-kubernetes-embedded-resource is true"),
            ty => errors.invalid(here, ty, "must be object if x-kubernetes-embedded-resource is true"),
        }
        if !free && source.at(&["properties"]).is_null() {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                          x-kubernetes-preserve-unknown-fields";
            errors.required(path.key("properties"), detail);
        }
    }
}

fn unsupported(source: &Value, path: &Path, errors: &mut FieldErrors) {
    for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let given = source.at(&[key]);
        if !given.is_null() && *given != "" {
            errors.forbidden(path.key(key), format!("{key} is not supported"));
        }
    }
    if flag(source, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(path.key("uniqueItems"), detail);
    }
    if source.at(&["additionalProperties"]).as_object().is_some() && !source.at(&["properties"]).is_null() {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.forbidden(path.key("additionalProperties"), detail);
    }
}

fn lists(source: &Value, path: &Path, errors: &mut FieldErrors) {
    let (ty, list_type, map_type) = (
        source.str_at(&["type"]),
        source.str_at(&["x-kubernetes-list-type"]),
        source.str_at(&["x-kubernetes-map-type"]),
    );
    let mut needs = |given: &str, want: &str, extension: &str| {
        let detail = format!("must be {want} if {extension} is specified");
        match ty {
            _ if given.is_empty() || ty == want => {}
            "" => errors.required(path.key("type"), detail),
            ty => errors.invalid(path.key("type"), ty, detail),
        }
    };
    needs(map_type, "object", "x-kubernetes-map-type");
    needs(list_type, "array", "x-kubernetes-list-type");
    if !["", "atomic", "granular"].contains(&map_type) {
        errors.not_supported(path.key("x-kubernetes-map-type"), map_type, &["atomic", "granular"]);
    }
    if !["", "atomic", "set", "map"].contains(&list_type) {
        errors.not_supported(path.key("x-kubernetes-list-type"), list_type, &["atomic", "set", "map"]);
    }
    let items = source.at(&["items"]);
    let (items_path, keys_path) = (path.key("items"), path.key("x-kubernetes-list-map-keys"));
    if matches!(list_type, "set" | "map") && flag(items, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.forbidden(items_path.key("nullable"), detail);
    }
    if list_type == "set" && ty == "array" {
        let inner = |key: &str| items.at(&[key]).as_str();
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        match (items.str_at(&["type"]), inner("x-kubernetes-list-type"), inner("x-kubernetes-map-type")) {
            ("array", Some(given), _) if given != "atomic" => {
                errors.invalid(items_path.key("x-kubernetes-list-type"), given, detail);
            }
            ("object", _, map_type) if map_type != Some("atomic") => {
                errors.invalid_raw(items_path.key("x-kubernetes-map-type"), "null", detail);
            }
            _ => {}
        }
    }
    let keys = source.items_at(&["x-kubernetes-list-map-keys"]);
    if !keys.is_empty() && list_type != "map" {
        let here = path.key("x-kubernetes-list-type");
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        if list_type.is_empty() { errors.required(here, detail) } else { errors.invalid(here, list_type, detail) }
    }
    if list_type != "map" {
        return;
    }
    if keys.is_empty() {
        errors.required(keys_path, "must not be empty if x-kubernetes-list-type is map");
    }
    if items.is_null() {
        errors.required(items_path, "must have a schema if x-kubernetes-list-type is map");
    } else if items.str_at(&["type"]) != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.invalid(items_path.key("type"), items.str_at(&["type"]), detail);
    }
    let properties = items_path.key("properties");
    for (i, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or("");
        let (property, here) = (items.at(&["properties", name]), properties.map_key(name));
        if keys[..i].contains(key) {
            errors.invalid_raw(keys_path, Value::Array(keys.to_vec()), "must not contain duplicate entries");
        }
        if property.is_null() {
            errors.invalid_raw(keys_path, Value::Array(keys.to_vec()), "entries must all be names of item properties");
            continue;
        }
        if matches!(property.str_at(&["type"]), "array" | "object") {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.invalid(here.key("type"), items.str_at(&["type"]), detail);
        }
        if !items.items_at(&["required"]).contains(key) && property.get("default").is_none() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required \
                          property";
            errors.required(here.key("default"), detail);
        }
        if flag(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.forbidden(here.key("nullable"), detail);
        }
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not` only check values; what shapes them must stand outside.
fn branches(source: &Value, path: &Path, int_or_string: bool, errors: &mut FieldErrors) {
    for key in ["allOf", "anyOf", "oneOf"] {
        let list = path.key(key);
        for (i, branch) in source.items_at(&[key]).iter().enumerate() {
            value_only(branch, &list.index(i), int_or_string, errors);
        }
    }
    if let not @ Value::Object(_) = source.at(&["not"]) {
        value_only(not, &path.key("not"), int_or_string, errors);
    }
}

fn value_only(branch: &Value, path: &Path, int_or_string: bool, errors: &mut FieldErrors) {
    let rules = [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ];
    for (key, detail) in rules {
        let given = branch.at(&[key]);
        if !(given.is_null()
            || *given == ""
            || given.as_array().is_some_and(Vec::is_empty)
            || *given == Value::Bool(false)
            || key == "type" && int_or_string)
        {
            errors.forbidden(path.key(key), detail);
        }
    }
    let properties = path.key("properties");
    for (name, property) in branch.members_at(&["properties"]) {
        value_only(property, &properties.map_key(name), false, errors);
    }
    if let items @ Value::Object(_) = branch.at(&["items"]) {
        value_only(items, &path.key("items"), false, errors);
    }
    branches(branch, path, int_or_string, errors);
}
