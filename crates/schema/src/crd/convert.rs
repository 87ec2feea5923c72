//! An `openAPIV3Schema` to nodes.
//!
//! Each schema has its own arena. ObjectMeta is copied into it from the built-in types, so that metadata of custom
//! resources is decoded by the same rules as everywhere.

use super::bad_pattern;
use crate::{Arena, Checks, Empty, Field, ListType, Node, NodeId, Patch, Pattern, Schema, Type, builtin, validate};
use base::FieldErrors;
use std::{collections::HashMap, sync::Arc};
use value::{Path, Str, Value};

/// The schema of a version; faults that conversion finds (patterns, defaults that do not fit) are added.
pub(super) fn schema(source: &Value, path: &Path, errors: &mut FieldErrors) -> Schema {
    let mut convert = Convert { arena: Arena::default(), meta: None, errors };
    let root = convert.node(source, path);
    convert.resource_fields(root);
    let mut arena = convert.arena;
    arena.source = (!source.is_null()).then(|| source.to_json().into());
    arena.finish();
    let schema = Schema::new(Arc::new(arena), root);
    check_defaults(&schema, source, path, errors);
    schema
}

struct Convert<'e> {
    arena: Arena,
    /// ObjectMeta in this arena, once needed.
    meta: Option<NodeId>,
    errors: &'e mut FieldErrors,
}

impl Convert<'_> {
    fn node(&mut self, source: &Value, path: &Path) -> NodeId {
        let flag = |key: &str| source.at(&[key]).as_bool() == Some(true);
        let mut node = Node {
            ty: match source.str_at(&["type"]) {
                _ if flag("x-kubernetes-int-or-string") => Type::IntOrString,
                "object" => Type::Object,
                "array" => Type::Array,
                "string" => Type::String,
                "integer" => Type::Integer,
                "number" => Type::Number,
                "boolean" => Type::Boolean,
                _ => Type::Any,
            },
            format: source.str_at(&["format"]).into(),
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            atomic: source.str_at(&["x-kubernetes-map-type"]) == "atomic",
            list_type: match source.str_at(&["x-kubernetes-list-type"]) {
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Atomic,
            },
            list_keys: source
                .items_at(&["x-kubernetes-list-map-keys"])
                .iter()
                .filter_map(Value::as_str)
                .map(Str::from)
                .collect(),
            checks: self.checks(source, path).map(Box::new),
            ..Node::default()
        };
        let properties = path.key("properties");
        for (name, property) in source.members_at(&["properties"]) {
            let id = self.node(property, &properties.map_key(name));
            let default = property.get("default").cloned();
            node.fields.push(Field { default, ..field(name, id) });
        }
        for name in source.items_at(&["required"]).iter().filter_map(Value::as_str) {
            match node.fields.iter_mut().find(|f| f.name == name) {
                Some(field) => field.required = true,
                // In an `anyOf` branch a name alone is common; what it may hold is said elsewhere.
                None => {
                    let id = self.arena.push(Node { preserve_unknown: true, ..Node::default() });
                    node.fields.push(Field { required: true, ..field(name, id) });
                }
            }
        }
        node.additional = match source.at(&["additionalProperties"]) {
            Value::Bool(true) => Some(self.arena.push(Node { preserve_unknown: true, ..Node::default() })),
            more @ Value::Object(_) => Some(self.node(more, &path.key("additionalProperties"))),
            _ => None,
        };
        node.items = match source.at(&["items"]) {
            items @ Value::Object(_) => Some(self.node(items, &path.key("items"))),
            _ => None,
        };
        node.fields.sort_by(|a, b| a.name.cmp(&b.name));
        let embedded = node.embedded;
        let id = self.arena.push(node);
        if embedded {
            self.resource_fields(id);
        }
        id
    }

    /// `apiVersion`, `kind` and `metadata` of an object that is a resource.
    fn resource_fields(&mut self, id: NodeId) {
        let text = self.arena.push(Node { ty: Type::String, ..Node::default() });
        let meta = match self.meta {
            Some(meta) => meta,
            None => graft(&mut self.arena, &builtin::object_meta()),
        };
        self.meta = Some(meta);
        let node = &mut self.arena[id];
        for (name, target) in [("apiVersion", text), ("kind", text), ("metadata", meta)] {
            node.fields.retain(|f| f.name != name);
            node.fields.push(field(name, target));
        }
        node.fields.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn checks(&mut self, source: &Value, path: &Path) -> Option<Checks> {
        let number = |key: &str| source.at(&[key]).as_f64();
        let count = |key: &str| source.at(&[key]).as_i64().and_then(|n| u64::try_from(n).ok());
        let flag = |key: &str| source.at(&[key]).as_bool() == Some(true);
        let pattern = source.at(&["pattern"]).as_str().filter(|p| !p.is_empty());
        let pattern = pattern.and_then(|text| match Pattern::new(text) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                self.errors.invalid(path.key("pattern"), text, bad_pattern(text, &why));
                None
            }
        });
        let mut each = |key: &str| -> Vec<NodeId> {
            let (here, list) = (path.key(key), source.items_at(&[key]));
            list.iter().enumerate().map(|(i, s)| self.node(s, &here.index(i))).collect()
        };
        // The pair of types that goes with int-or-string says nothing new.
        let int_or_string = flag("x-kubernetes-int-or-string");
        let (all_of, any_of, one_of) = (each("allOf"), each("anyOf"), each("oneOf"));
        let any_of = if int_or_string && any_of.len() == 2 { Vec::new() } else { any_of };
        let not = match source.at(&["not"]) {
            inner @ Value::Object(_) => Some(self.node(inner, &path.key("not"))),
            _ => None,
        };
        let checks = Checks {
            enumeration: source.items_at(&["enum"]).to_vec(),
            minimum: number("minimum").map(|n| (n, flag("exclusiveMinimum"))),
            maximum: number("maximum").map(|n| (n, flag("exclusiveMaximum"))),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            pattern,
            min_items: count("minItems"),
            max_items: count("maxItems"),
            unique_items: flag("uniqueItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            not,
            all_of,
            any_of,
            one_of,
        };
        (!checks.is_empty()).then_some(checks)
    }
}

fn field(name: &str, node: NodeId) -> Field {
    Field {
        name: name.into(),
        node,
        required: false,
        default: None,
        patch: Patch::Replace,
        merge_key: "".into(),
        number: 0,
        empty: Empty::Keep,
    }
}

/// Copies what a schema reaches into another arena.
fn graft(to: &mut Arena, from: &Schema) -> NodeId {
    fn copy(to: &mut Arena, from: &Arena, id: NodeId, done: &mut HashMap<NodeId, NodeId>) -> NodeId {
        if let Some(copied) = done.get(&id) {
            return *copied;
        }
        let new = to.push(from[id].clone());
        done.insert(id, new);
        let mut node = from[id].clone();
        for field in &mut node.fields {
            field.node = copy(to, from, field.node, done);
        }
        node.additional = node.additional.map(|id| copy(to, from, id, done));
        node.items = node.items.map(|id| copy(to, from, id, done));
        to[new] = node;
        new
    }
    let (arena, root) = from.parts();
    copy(to, arena, root, &mut HashMap::new())
}

/// Defaults must fit the schema they stand in.
fn check_defaults(schema: &Schema, source: &Value, path: &Path, errors: &mut FieldErrors) {
    let node = schema.node();
    let properties = path.key("properties");
    for (name, property) in source.members_at(&["properties"]) {
        let Some(field) = node.field(name).filter(|f| schema.goto(f.node).node().name.is_empty()) else { continue };
        let (below, here) = (schema.goto(field.node), properties.map_key(name));
        if let Some(default) = &field.default {
            let mut found = FieldErrors::default();
            let mut complete = default.clone();
            if !crate::prune(&below, &mut complete).is_empty() {
                errors.invalid_raw(here.key("default"), default, "must not have unknown fields");
                continue;
            }
            crate::apply_defaults(&below, &mut complete);
            validate(&below, &complete, &mut found);
            for mut error in found.0 {
                let place = here.key("default").to_string();
                error.path = if error.path.is_empty() { place } else { format!("{place}.{}", error.path) };
                errors.0.push(error);
            }
        }
        check_defaults(&below, property, &here, errors);
    }
    if let (Some(items), Value::Object(_)) = (node.items, source.at(&["items"])) {
        check_defaults(&schema.goto(items), source.at(&["items"]), &path.key("items"), errors);
    }
    if let (Some(more), Value::Object(_)) = (node.additional, source.at(&["additionalProperties"])) {
        check_defaults(
            &schema.goto(more),
            source.at(&["additionalProperties"]),
            &path.key("additionalProperties"),
            errors,
        );
    }
}
