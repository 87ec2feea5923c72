//! A CustomResourceDefinition to a [`Kind`]: the same value that a built-in kind is.
//!
//! What a definition says about names and versions is checked by its own kind's hooks; here stand the rules about what
//! becomes part of the [`Kind`]: schemas, columns, subresources, selectable fields. Rules in CEL stay in the source of the
//! schema; the hooks of the kind compile and run them.

mod convert;
mod rules;

use crate::{
    Column, ColumnSource, ColumnType, ConversionWebhook, Generation, Kind, NoHooks, Policy, Schema, Scope,
    SelectableField, Subresource, SubresourceAction, Type, Verb, Version, VersionParts, by_priority,
};
use base::{
    FieldErrors,
    status::{Problem, quote},
};
use std::sync::Arc;
use value::{Path, Str, Value};

/// The kind that a CustomResourceDefinition defines, or what is wrong with it. Absent singular and list kind are
/// filled as upstream's defaults do.
pub fn kind_of(crd: &Value) -> Result<Kind, FieldErrors> {
    let mut errors = FieldErrors::default();
    let spec = crd.at(&["spec"]);
    let names = spec.at(&["names"]);
    let text = |key: &str| Str::from(names.str_at(&[key]));
    let texts = |key: &str| names.items_at(&[key]).iter().filter_map(Value::as_str).map(Str::from).collect();
    let or = |given: Str, default: Str| if given.is_empty() { default } else { given };
    let (group, kind) = (Str::from(spec.str_at(&["group"])), text("kind"));

    let root = Path::root();
    let spec_path = root.key("spec");
    let versions_path = spec_path.key("versions");
    let mut parts: Vec<Parts> = Vec::new();
    for (i, version) in spec.items_at(&["versions"]).iter().enumerate() {
        parts.push(Parts::read(version, &group, &kind, &versions_path.index(i), &mut errors));
    }
    if parts.iter().filter(|p| p.storage).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.invalid_raw(versions_path, spec.at(&["versions"]), detail);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    parts.sort_by(|a, b| by_priority(&a.version.name, &b.version.name));
    let storage = parts.iter().position(|p| p.storage).unwrap_or(0);
    let mut subresources: Vec<Subresource> = Vec::new();
    let mut selectable: Vec<SelectableField> = Vec::new();
    let sorted = |mut list: Vec<Subresource>| {
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    };
    let of = |part: &Parts| VersionParts {
        subresources: sorted(part.subresources.clone()),
        selectable: part.selectable.iter().map(|field| field.name.clone()).collect(),
    };
    let by_version = parts.iter().map(of).collect();
    for part in &mut parts {
        subresources.append(&mut part.subresources);
        selectable.append(&mut part.selectable);
    }
    subresources.sort_by(|a, b| a.name.cmp(&b.name));
    subresources.dedup_by(|a, b| a.name == b.name);
    selectable.sort_by(|a, b| a.name.cmp(&b.name));
    selectable.dedup_by(|a, b| a.name == b.name);
    use Verb::{Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch};
    Ok(Kind {
        singular: or(text("singular"), kind.to_lowercase()),
        list_kind: or(text("listKind"), format!("{kind}List").into()),
        plural: text("plural"),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        scope: if spec.str_at(&["scope"]) == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
        verbs: vec![Delete, DeleteCollection, Get, List, Patch, Create, Update, Watch],
        policy: Policy {
            generation: Generation::Spec,
            status_apart: subresources.iter().any(|s| s.name == "status"),
            unconditional_update: false,
            conversion: conversion(crd),
            by_version,
            ..Policy::default()
        },
        hooks: Arc::new(NoHooks),
        custom: Some(crd.str_at(&["metadata", "uid"]).into()),
        versions: parts.into_iter().map(|p| p.version).collect(),
        group,
        kind,
        storage,
        subresources,
        selectable,
    })
}

/// The webhook that converts objects, where the definition names one.
fn conversion(crd: &Value) -> Option<Arc<ConversionWebhook>> {
    let conversion = crd.at(&["spec", "conversion"]);
    let config = conversion.at(&["webhook"]).clone();
    let named = conversion.str_at(&["strategy"]) == "Webhook";
    named.then(|| Arc::new(ConversionWebhook { definition: crd.name().into(), config }))
}

/// Adds what [`kind_of`] finds wrong.
pub fn validate(crd: &Value, errors: &mut FieldErrors) {
    if let Err(wrong) = kind_of(crd) {
        errors.0.extend(wrong.0);
    }
}

/// What one entry of `spec.versions` says.
struct Parts {
    version: Version,
    storage: bool,
    subresources: Vec<Subresource>,
    selectable: Vec<SelectableField>,
}

impl Parts {
    fn read(version: &Value, group: &str, kind: &str, path: &Path, errors: &mut FieldErrors) -> Self {
        let name: Str = version.str_at(&["name"]).into();
        deprecation(version, path, errors);
        let deprecated = (version.at(&["deprecated"]).as_bool() == Some(true)).then(|| {
            let text = version.at(&["deprecationWarning"]).as_str().map(String::from);
            text.unwrap_or_else(|| format!("{group}/{name} {kind} is deprecated")).into()
        });
        let schema = schema(version, path, errors);
        Parts {
            storage: version.at(&["storage"]).as_bool() == Some(true),
            subresources: subresources(version, path, errors),
            selectable: selectable(version, path, errors),
            version: Version {
                name,
                served: version.at(&["served"]).as_bool() == Some(true),
                deprecated,
                schema,
                columns: columns(version, path, errors),
            },
        }
    }
}

fn deprecation(version: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(text) = version.at(&["deprecationWarning"]).as_str() else { return };
    let here = path.key("deprecationWarning");
    if version.at(&["deprecated"]).as_bool() != Some(true) {
        errors.invalid(here, text, "can only be set for deprecated versions");
    }
    if text.is_empty() {
        errors.invalid(here, text, "must not be an empty string");
    }
    if text.len() > 256 {
        errors.invalid(here, text, "must be <= 256 characters long");
    }
    if let Some(i) = text.char_indices().find(|(_, c)| c.is_control()).map(|(i, _)| i) {
        let detail =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {i}");
        errors.invalid(here, text, detail);
    }
}

fn schema(version: &Value, path: &Path, errors: &mut FieldErrors) -> Schema {
    let source = version.at(&["schema", "openAPIV3Schema"]);
    let schema_path = path.key("schema");
    let schema_path = schema_path.key("openAPIV3Schema");
    if source.is_null() {
        errors.required(schema_path, "");
    } else {
        rules::check(source, &schema_path, errors);
    }
    convert::schema(source, &schema_path, errors)
}

/// What upstream says of a path that is none.
const SIMPLE: &str = "must be a simple json path starting with .";

fn columns(version: &Value, path: &Path, errors: &mut FieldErrors) -> Vec<Column> {
    const TYPES: &str = "must be one of boolean,date,integer,number,string";
    let mut columns = vec![Column::object_name()];
    let list_path = path.key("additionalPrinterColumns");
    for (i, column) in version.items_at(&["additionalPrinterColumns"]).iter().enumerate() {
        let here = list_path.index(i);
        let (name, json_path) = (column.str_at(&["name"]), column.str_at(&["jsonPath"]));
        if name.is_empty() {
            errors.required(here.key("name"), "");
        }
        match json_path {
            "" => errors.required(here.key("JSONPath"), ""),
            path if !path.starts_with('.') => errors.invalid(here.key("JSONPath"), path, SIMPLE),
            _ => {}
        }
        let format = column.str_at(&["format"]);
        if !["", "int32", "int64", "float", "double", "byte", "date", "date-time", "password"].contains(&format) {
            let detail = "must be one of byte,date,date-time,double,float,int32,int64,password";
            errors.invalid(here.key("format"), format, detail);
        }
        let kind = match column.str_at(&["type"]) {
            "string" => ColumnType::String,
            "integer" => ColumnType::Integer,
            "number" => ColumnType::Number,
            "boolean" => ColumnType::Boolean,
            "date" => ColumnType::Date,
            "" => {
                errors.required(here.key("type"), TYPES);
                continue;
            }
            other => {
                errors.invalid(here.key("type"), other, TYPES);
                continue;
            }
        };
        let description = match column.str_at(&["description"]) {
            "" => format!("Custom resource definition column (in JSONPath format): {json_path}").into(),
            given => given.into(),
        };
        columns.push(Column {
            name: name.into(),
            kind,
            format: column.str_at(&["format"]).into(),
            description,
            priority: column.at(&["priority"]).as_i64().and_then(|p| p.try_into().ok()).unwrap_or(0),
            source: ColumnSource::JsonPath(json_path.into()),
        });
    }
    if columns.len() == 1 {
        columns.push(Column::age());
    }
    columns
}

fn subresources(version: &Value, path: &Path, errors: &mut FieldErrors) -> Vec<Subresource> {
    let verbs = || vec![Verb::Get, Verb::Patch, Verb::Update];
    let mut out = Vec::new();
    if !version.at(&["subresources", "status"]).is_null() {
        let action = SubresourceAction::Fields(vec![vec!["status".into()]]);
        out.push(Subresource { name: "status".into(), body: None, verbs: verbs(), action });
    }
    let scale = version.at(&["subresources", "scale"]);
    if !scale.is_null() {
        let path = path.key("subresources");
        let path = path.key("scale");
        let members =
            |path: &str| -> Option<Vec<Str>> { Some(path.strip_prefix('.')?.split('.').map(Str::from).collect()) };
        let mut member = |field: &str, below: &[&str], words: &str, optional: bool| {
            let text = scale.str_at(&[field]);
            match members(text) {
                _ if text.is_empty() && optional => None,
                _ if text.is_empty() => {
                    errors.required(path.key(field), "");
                    None
                }
                Some(steps) if steps.len() > 1 && below.contains(&steps[0].as_str()) => Some(steps),
                None if !text.starts_with('.') => {
                    errors.invalid(path.key(field), text, SIMPLE);
                    None
                }
                _ => {
                    errors.invalid(path.key(field), text, format!("should be a json path under {words}"));
                    None
                }
            }
        };
        let replicas = member("specReplicasPath", &["spec"], ".spec", false);
        let status_replicas = member("statusReplicasPath", &["status"], ".status", false);
        let selector = member("labelSelectorPath", &["spec", "status"], "either .spec or .status", true);
        if let (Some(replicas), Some(status_replicas)) = (replicas, status_replicas) {
            let action = SubresourceAction::Scale { replicas, status_replicas, selector };
            let body = Some(("autoscaling".into(), "v1".into(), "Scale".into()));
            out.push(Subresource { name: "scale".into(), body, verbs: verbs(), action });
        }
    }
    out
}

/// The most fields that a version may make selectable.
const SELECTABLE: usize = 8;

fn selectable(version: &Value, path: &Path, errors: &mut FieldErrors) -> Vec<SelectableField> {
    let list_path = path.key("selectableFields");
    let mut out: Vec<SelectableField> = Vec::new();
    let source = version.at(&["schema", "openAPIV3Schema"]);
    let fields = version.items_at(&["selectableFields"]);
    if fields.len() > SELECTABLE {
        let detail = format!("must have at most {SELECTABLE} items");
        errors.add(Problem::TooMany, list_path, Some(fields.len().to_string()), detail);
    }
    for (i, field) in fields.iter().enumerate() {
        let (item, text) = (list_path.index(i), field.str_at(&["jsonPath"]));
        let here = item.key("jsonPath");
        let name: Str = text.trim_start_matches('.').into();
        match selected(source, text) {
            _ if text.is_empty() => errors.required(here, ""),
            Err(why) => errors.invalid(here, text, format!("is an invalid path: {why}")),
            Ok(Type::String | Type::Boolean | Type::Integer) if out.iter().any(|f| f.name == name) => {
                errors.add(Problem::Duplicate, here, Some(quote(text)), "");
            }
            Ok(Type::String | Type::Boolean | Type::Integer) => {
                let path = name.split('.').map(Str::from).collect();
                out.push(SelectableField { name, path, or: None, absent: "".into(), indexed: false });
            }
            Ok(_) => {
                let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings \
                              with formats are allowed.";
                errors.invalid(here, text, detail);
            }
        }
    }
    out
}

/// The type of the field that a path leads to.
fn selected(source: &Value, path: &str) -> Result<Type, String> {
    let mut at = source;
    let mut rest = path;
    while !rest.is_empty() {
        if rest.starts_with('[') {
            return Err("array notation is not allowed".into());
        }
        let end = |text: &str| text.find(['.', '[', ']']).unwrap_or(text.len());
        let Some(after) = rest.strip_prefix('.') else {
            return Err(format!("expected [ or . but got: {}", &rest[..end(rest).max(1)]));
        };
        let (name, more) = after.split_at(end(after));
        if name.is_empty() && more.is_empty() {
            return Err("unexpected end of JSON path".into());
        }
        at = match (at.at(&["properties"]), at.at(&["additionalProperties"])) {
            (Value::Object(properties), _) => properties.get(name).ok_or("does not refer to a valid field")?,
            (_, below @ Value::Object(_)) => below,
            _ => return Err("does not refer to a valid field".into()),
        };
        rest = more;
    }
    Ok(match at.str_at(&["type"]) {
        "string" => Type::String,
        "boolean" => Type::Boolean,
        "integer" => Type::Integer,
        _ => Type::Any,
    })
}

/// `Invalid value: "x": must be a valid regular expression, but isn't: …`
fn bad_pattern(pattern: &str, why: &regex::Error) -> String {
    let last = why.to_string();
    let last = last.lines().last().unwrap_or_default().trim_start_matches("error: ");
    let fault = match last {
        "unclosed group" => format!("missing closing ): `{pattern}`"),
        text if text.starts_with("look-around") => {
            let at = ["(?=", "(?!", "(?<=", "(?<!"].into_iter().find(|start| pattern.contains(start)).unwrap_or("(?");
            format!("invalid or unsupported Perl syntax: `{}`", at.get(..3).unwrap_or(at))
        }
        text => format!("{text}: `{pattern}`"),
    };
    format!("must be a valid regular expression, but isn't: error parsing regexp: {fault}")
}

#[cfg(test)]
mod tests;
