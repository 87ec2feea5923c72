//! A CustomResourceDefinition to a [`Kind`]: the same value that a built-in kind is.
//!
//! What a definition says about names and versions is checked by its own kind's hooks; here stand the rules about what
//! becomes part of the [`Kind`]: schemas, columns, subresources, selectable fields. Rules in CEL are kept in the source
//! of the schema and not evaluated.

mod convert;
mod rules;

use crate::{
    Column, ColumnSource, ColumnType, Generation, Kind, NoHooks, Policy, Schema, Scope, SelectableField, Subresource,
    SubresourceAction, Verb, Version, by_priority,
};
use base::{FieldErrors, status::quote};
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

fn schema(version: &Value, path: &Path, errors: &mut FieldErrors) -> Schema {
    let source = version.at(&["schema", "openAPIV3Schema"]);
    let schema_path = path.key("schema");
    let schema_path = schema_path.key("openAPIV3Schema");
    if source.is_null() {
        errors.required(schema_path, "schemas are required");
    } else {
        rules::check(source, &schema_path, errors);
    }
    convert::schema(source, &schema_path, errors)
}

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
        if json_path.is_empty() {
            errors.required(here.key("JSONPath"), "");
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
        let mut member = |field: &str, below: &[&str], words: &str, optional: bool| {
            let text = scale.str_at(&[field]);
            match members(text) {
                _ if text.is_empty() && optional => None,
                _ if text.is_empty() => {
                    errors.required(path.key(field), "");
                    None
                }
                Some(steps) if steps.len() > 1 && below.contains(&steps[0].as_str()) => Some(steps),
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

fn selectable(version: &Value, path: &Path, errors: &mut FieldErrors) -> Vec<SelectableField> {
    let list_path = path.key("selectableFields");
    let mut out: Vec<SelectableField> = Vec::new();
    for (i, field) in version.items_at(&["selectableFields"]).iter().enumerate() {
        let (item, text) = (list_path.index(i), field.str_at(&["jsonPath"]));
        let here = item.key("jsonPath");
        let name: Str = text.trim_start_matches('.').into();
        match members(text) {
            _ if text.is_empty() => errors.required(here, ""),
            None => errors.invalid(here, text, "is an invalid path: must be a simple json path with leading ."),
            Some(steps) if steps[0] == "metadata" => {
                errors.invalid(here, text, "must not point to fields in metadata");
            }
            Some(_) if out.iter().any(|f| f.name == name) => errors.duplicate(here, text),
            Some(path) => out.push(SelectableField { name, path, or: None, absent: "".into() }),
        }
    }
    out
}

/// The members of a simple path such as `.spec.replicas`; `None` where it is anything else.
fn members(path: &str) -> Option<Vec<Str>> {
    let rest = path.strip_prefix('.')?;
    let plain = |s: &str| !s.is_empty() && !s.contains(['[', ']', '*', '\'', '"']);
    rest.split('.').map(|s| plain(s).then(|| Str::from(s))).collect()
}

/// `Invalid value: "x": must be a valid regular expression, but isn't: …`
fn bad_pattern(pattern: &str, why: &regex::Error) -> String {
    let last = why.to_string();
    let last = last.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
    format!("must be a valid regular expression, but isn't: error parsing regexp: {last}: {}", quote(pattern))
}

#[cfg(test)]
mod tests;
