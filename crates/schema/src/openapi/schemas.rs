//! Schemas of types: from arena nodes for built-in ones, from the definition's own text for custom ones.

use super::{Dialect, Prose, enums::Enums};
use crate::{Arena, Field, Kind, ListType, Node, NodeId, Patch, Schema, Type, builtin};
use std::collections::BTreeMap;
use value::{Str, Value, value};

/// The schemas of one document. Types are added as they are referred to, each once.
pub(crate) struct Schemas<'a> {
    dialect: Dialect,
    prose: Prose<'a>,
    enums: Enums,
    done: BTreeMap<Str, Value>,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Types whose texts of `apiVersion`, `kind` and `metadata` are those of every object, and of every list.
const OBJECT: &str = "io.k8s.api.core.v1.Pod";
const LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const CONVENTIONS: &str = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

impl<'a> Schemas<'a> {
    pub(crate) fn new(dialect: Dialect, prose: Prose<'a>) -> Self {
        Schemas { dialect, prose, enums: Enums::read(), done: BTreeMap::new() }
    }
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }
    pub(crate) fn finish(self) -> Value {
        Value::Object(self.done.into_iter().collect())
    }
    /// `{"$ref": …}` to a built-in type by its full name, which is added; anything, where there is no such type.
    pub(crate) fn builtin(&mut self, name: &str) -> Value {
        match builtin::schema(name) {
            Some(schema) => {
                let (arena, id) = schema.parts();
                self.node(arena, id)
            }
            None => self.scalar(name).map_or_else(Value::object, |schema| {
                let schema = self.described(schema, (self.prose)(name, ""));
                self.done.entry(name.into()).or_insert(schema);
                self.reference(name)
            }),
        }
    }
    /// A reference to the schema of a kind in a version.
    pub(crate) fn kind(&mut self, kind: &Kind, version: usize) -> Value {
        let version_name = Str::from(kind.group_version(version).1);
        let schema = kind.versions[version].schema.clone();
        let name = if kind.custom.is_some() {
            let name = custom_name(kind, &version_name, &kind.kind);
            if !self.done.contains_key(name.as_str()) {
                let body = self.custom(&schema);
                self.done.insert(name.clone().into(), body);
            }
            name
        } else {
            let (arena, id) = schema.parts();
            self.node(arena, id);
            schema.node().name.to_string()
        };
        self.mark(&name, kind, version, &kind.kind);
        self.reference(&name)
    }
    /// A reference to the schema of a kind's list.
    pub(crate) fn list(&mut self, kind: &Kind, version: usize) -> Value {
        let (group, version_name) = kind.group_version(version);
        let (group, version_name) = (Str::from(group), Str::from(version_name));
        let list_kind = kind.list_kind.clone();
        let name = match builtin::of(&group, &version_name, &list_kind) {
            Some(schema) if kind.custom.is_none() => {
                let (arena, id) = schema.parts();
                let name = schema.node().name.clone();
                self.node(arena, id);
                let mut body = self.done.remove(&name).unwrap_or_default();
                self.describe_list(&mut body, kind);
                self.done.insert(name.clone(), body);
                name.to_string()
            }
            _ => {
                let (name, item, meta) = (
                    custom_name(kind, &version_name, &list_kind),
                    self.kind(kind, version),
                    self.builtin(&format!("{META}ListMeta")),
                );
                let mut body = value!({"type": "object", "required": ["items"], "properties": {
                    "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "items": {"type": "array"}}});
                body.set(&["properties", "items", "items"], item);
                body.set(&["properties", "metadata"], meta);
                self.describe_list(&mut body, kind);
                self.done.insert(name.clone().into(), body);
                name
            }
        };
        self.mark(&name, kind, version, &list_kind);
        self.reference(&name)
    }

    /// Lists have no texts of their own: they are all alike. Source: upstream's lists of custom resources.
    fn describe_list(&self, list: &mut Value, kind: &Kind) {
        list.set(&["description"], format!("{} is a list of {}", kind.list_kind, kind.kind));
        let items = format!("List of {}. More info: {CONVENTIONS}", kind.plural);
        for (field, text) in [
            ("apiVersion", (self.prose)(LIST, "apiVersion")),
            ("kind", (self.prose)(LIST, "kind")),
            ("metadata", (self.prose)(LIST, "metadata")),
            ("items", Some(items.as_str())),
        ] {
            let property = list.at(&["properties", field]).clone();
            list.set(&["properties", field], self.described(property, text));
        }
    }

    fn mark(&mut self, name: &str, kind: &Kind, version: usize, as_kind: &str) {
        let (group, version) = kind.group_version(version);
        if let Some(schema) = self.done.get_mut(name) {
            let gvk = value!([{"group": group, "version": version, "kind": as_kind}]);
            schema.set(&["x-kubernetes-group-version-kind"], gvk);
        }
    }

    fn reference(&self, name: &str) -> Value {
        let prefix = if self.dialect == Dialect::V3 { "#/components/schemas/" } else { "#/definitions/" };
        value!({"$ref": format!("{prefix}{name}")})
    }

    fn node(&mut self, arena: &Arena, id: NodeId) -> Value {
        let node = &arena[id];
        if node.name.is_empty() {
            return self.body(arena, node);
        }
        if !self.done.contains_key(&node.name) {
            // A placeholder first: types refer to themselves.
            self.done.insert(node.name.clone(), Value::object());
            let mut body = match self.scalar(&node.name) {
                Some(scalar) => scalar,
                None => self.body(arena, node),
            };
            if let Some(text) = (self.prose)(&node.name, "") {
                body.set(&["description"], text);
            }
            self.done.insert(node.name.clone(), body);
        }
        self.reference(&node.name)
    }

    /// Types whose JSON is not what their fields say.
    fn scalar(&self, name: &str) -> Option<Value> {
        let last = name.rsplit('.').next().unwrap_or(name);
        Some(match (last, self.dialect) {
            ("Time" | "MicroTime", _) => value!({"type": "string", "format": "date-time"}),
            ("Quantity", Dialect::V3) => value!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            ("Quantity", Dialect::V2) => value!({"type": "string"}),
            ("IntOrString", Dialect::V3) => {
                value!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            ("IntOrString", Dialect::V2) => value!({"type": "string", "format": "int-or-string"}),
            ("RawExtension" | "FieldsV1" | "Patch", _) => value!({"type": "object"}),
            ("JSON" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray", _) => {
                Value::object()
            }
            _ => return None,
        })
    }

    fn body(&mut self, arena: &Arena, node: &Node) -> Value {
        let mut out = Value::object();
        let ty = match node.ty {
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
            Type::IntOrString | Type::Any => "",
        };
        if !ty.is_empty() {
            out.set(&["type"], ty);
        }
        if !node.format.is_empty() {
            out.set(&["format"], node.format.as_str());
        }
        if let Some(items) = node.items {
            out.set(&["items"], self.node(arena, items));
            let list_type = match node.list_type {
                ListType::Atomic => "atomic",
                ListType::Set => "set",
                ListType::Map => "map",
            };
            out.set(&["x-kubernetes-list-type"], list_type);
            if !node.list_keys.is_empty() {
                out.set(&["x-kubernetes-list-map-keys"], node.list_keys.iter().collect::<Value>());
            }
        }
        if let Some(additional) = node.additional {
            out.set(&["additionalProperties"], self.node(arena, additional));
        }
        if node.atomic {
            out.set(&["x-kubernetes-map-type"], "atomic");
        }
        for field in &node.fields {
            let mut property = self.property(arena, field);
            if field.name == "items" && node.name.ends_with("List") {
                // The items of a list object are not a field that anybody merges.
                property.remove(&["x-kubernetes-list-type"]);
            }
            let listed = self.enums.list(&mut property, &node.name, &field.name);
            property = match ((self.prose)(&node.name, &field.name), listed) {
                (Some(text), Some(values)) => self.described(property, Some(&format!("{text}\n\n{values}"))),
                (text, _) => self.described(property, text),
            };
            out.set(&["properties", &field.name], property);
        }
        let required: Vec<Value> = node.fields.iter().filter(|f| f.required).map(|f| (&f.name).into()).collect();
        if !required.is_empty() {
            out.set(&["required"], required);
        }
        out
    }

    fn property(&mut self, arena: &Arena, field: &Field) -> Value {
        let mut out = self.node(arena, field.node);
        let strategy = match field.patch {
            Patch::Replace => "",
            Patch::Whole => "replace",
            Patch::Merge => "merge",
            Patch::RetainKeys => "retainKeys",
            Patch::MergeRetainKeys => "merge,retainKeys",
        };
        let referred = out.get("$ref").is_some();
        if referred && self.dialect == Dialect::V3 && (field.default.is_some() || !strategy.is_empty()) {
            // Beside a reference nothing else may stand.
            out = value!({"allOf": [serde_json_of(&out)]});
        }
        if referred && self.dialect == Dialect::V2 {
            return out;
        }
        if let Some(default) = &field.default {
            out.set(&["default"], default);
        }
        if !strategy.is_empty() {
            out.set(&["x-kubernetes-patch-strategy"], strategy);
        }
        if !field.merge_key.is_empty() {
            out.set(&["x-kubernetes-patch-merge-key"], field.merge_key.as_str());
        }
        out
    }

    fn described(&self, mut schema: Value, text: Option<&str>) -> Value {
        let Some(text) = text else { return schema };
        if schema.get("$ref").is_some() && self.dialect == Dialect::V3 {
            // Beside a reference nothing else may stand.
            schema = value!({"allOf": [serde_json_of(&schema)]});
        }
        schema.set(&["description"], text);
        schema
    }

    /// A custom resource's own schema, with what every resource has.
    fn custom(&mut self, schema: &Schema) -> Value {
        let source = schema.parts().0.source.as_deref().and_then(|json| value::parse_lenient(json).ok());
        let mut out = source.unwrap_or_else(|| value!({"type": "object"}));
        if self.dialect == Dialect::V2 {
            if preserves(&out) {
                // Nothing beside it, not even the fields that every object has: kubectl would refuse all others.
                return value!({"type": "object"});
            }
            plain(&mut out);
        }
        let meta = self.builtin(&format!("{META}ObjectMeta"));
        let string = || value!({"type": "string"});
        for (field, property) in [("apiVersion", string()), ("kind", string()), ("metadata", meta)] {
            out.set(&["properties", field], self.described(property, (self.prose)(OBJECT, field)));
        }
        out
    }
}

fn serde_json_of(value: &Value) -> serde_json::Value {
    serde_json::Value::from(value)
}

/// Version 2 knows no `oneOf`, `anyOf`, `not` and `nullable`, and kubectl reads less than it knows: a node that may be
/// null or holds unknown fields loses its type and what it holds. Source: upstream's conversion for publishing.
fn plain(schema: &mut Value) {
    let (nullable, preserves) = (may_be_null(schema), preserves(schema));
    let nullable_fields: Vec<Str> =
        schema.members_at(&["properties"]).filter(|(_, v)| may_be_null(v)).map(|(name, _)| name.into()).collect();
    let nullable_rest = may_be_null(schema.at(&["additionalProperties"]));
    let Value::Object(map) = schema else { return };
    for key in ["oneOf", "anyOf", "allOf", "not", "nullable"] {
        map.remove(key);
    }
    if nullable || preserves {
        map.remove("items");
        map.remove("properties");
    }
    let ty = map.get("type").and_then(Value::as_str).unwrap_or("");
    if nullable || ty == "array" && map.get("items").is_none() || preserves && ty == "object" {
        map.remove("type");
    }
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|name| !nullable_fields.iter().any(|f| *name == **f));
        if required.is_empty() || nullable_rest {
            map.remove("required");
        }
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.iter_mut().for_each(|(_, v)| plain(v));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            plain(inner);
        }
    }
}

fn may_be_null(schema: &Value) -> bool {
    schema.at(&["nullable"]).as_bool() == Some(true)
}

fn preserves(schema: &Value) -> bool {
    schema.at(&["x-kubernetes-preserve-unknown-fields"]).as_bool() == Some(true)
}

/// `com.example.stable.v1.CronTab`: the group's parts reversed.
fn custom_name(kind: &Kind, version: &str, as_kind: &str) -> String {
    let mut parts: Vec<&str> = kind.group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{as_kind}", parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_is_told_what_kubectl_can_read() {
        for (schema, want) in [
            (
                value!({"type": "object", "required": ["a", "b"], "anyOf": [{"required": ["a"]}], "properties": {
                    "a": {"type": "string", "nullable": true}, "b": {"type": "array", "items": {"type": "integer", "not": {"minimum": 0}}}}}),
                r#"{"properties":{"a":{},"b":{"items":{"type":"integer"},"type":"array"}},"required":["b"],"type":"object"}"#,
            ),
            (
                value!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"x": {"type": "string"}}}}}),
                r#"{"properties":{"spec":{"x-kubernetes-preserve-unknown-fields":true}},"type":"object"}"#,
            ),
            (
                value!({"type": "object", "properties": {"not": {"type": "array", "x-kubernetes-preserve-unknown-fields": true, "items": {}}}}),
                r#"{"properties":{"not":{"x-kubernetes-preserve-unknown-fields":true}},"type":"object"}"#,
            ),
        ] {
            let mut said = schema.clone();
            plain(&mut said);
            assert_eq!(said.to_string(), want, "{schema}");
        }
    }
}
