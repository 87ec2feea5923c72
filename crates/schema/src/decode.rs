//! What Go's decoder does to an object on its way in, in one walk: types are checked, unknown fields go (and are
//! reported for strict and warning validation), nulls and zero values become what upstream's encoder would write, times,
//! quantities and base64 take their canonical form.
//!
//! Nodes with the name of a built-in type are held to Go's rules; anonymous ones (custom resources) are pruned here and
//! their values are checked by [`crate::validate`], as upstream splits it. So a custom resource with its ObjectMeta goes
//! through the same walk as a Pod. Wording follows `encoding/json` and `sigs.k8s.io/json`.

use crate::{Arena, Empty, Node, NodeId, Schema, Type, structural::InOrder};
use base::{Status, quantity, status::quote, time};
use std::{borrow::Cow, fmt};
use value::{Map, Path, Str, Value};

/// A field that holds the wrong type; the text is the decoder's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistyped(pub String);

impl fmt::Display for Mistyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Mistyped {}

impl Mistyped {
    /// `Pod in version "v1" cannot be handled as a Pod: …`, 400.
    pub fn status(&self, kind: &str, version: &str) -> Status {
        Status::bad_request(format!("{kind} in version {} cannot be handled as a {kind}: {self}", quote(version)))
    }
}

/// The 400 of strict field validation. `problems` are texts such as `unknown field "spec.foo"` and
/// `duplicate field "spec.bar"`.
pub fn strict_status(kind: &str, version: &str, problems: &[String]) -> Status {
    Mistyped(format!("strict decoding error: {}", problems.join(", "))).status(kind, version)
}

/// Checks and normalizes `value` in place. Answers the unknown fields that were removed, as texts
/// (`unknown field "spec.foo"`); nothing is promised of the value after an error.
pub fn decode(schema: &Schema, value: &mut Value) -> Result<Vec<String>, Mistyped> {
    decode_beside(schema, value, &Value::Null)
}

/// The same for a `value` that was made from `known`, which has been decoded: what both share is passed over, and stays
/// shared.
pub fn decode_beside(schema: &Schema, value: &mut Value, known: &Value) -> Result<Vec<String>, Mistyped> {
    let (arena, id) = schema.parts();
    let mut walk = Walk { arena, unknown: Vec::new(), error: None };
    walk.value(id, value, known, Place { path: &Path::root(), fields: &Path::root(), owner: "" });
    match walk.error {
        Some(error) => Err(Mistyped(error)),
        None => Ok(walk.unknown),
    }
}

/// Checks types without changing anything.
pub fn check_types(schema: &Schema, value: &Value) -> Result<(), Mistyped> {
    decode(schema, &mut value.clone()).map(|_| ())
}

/// The unknown fields, as texts.
pub fn unknown_fields(schema: &Schema, value: &Value) -> Vec<String> {
    prune(schema, &mut value.clone())
}

/// Removes unknown fields and returns them as texts; types are not checked and nothing else changes.
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let (arena, id) = schema.parts();
    let mut unknown = Vec::new();
    prune_node(arena, id, value, &Path::root(), &mut unknown);
    unknown
}

/// [`decode`] for objects that the server made itself: errors and unknown fields do not count.
pub fn normalize(schema: &Schema, value: &mut Value) {
    let _ = decode(schema, value);
}

fn prune_node(arena: &Arena, id: NodeId, value: &mut Value, path: &Path, unknown: &mut Vec<String>) {
    let node = &arena[id];
    match value {
        Value::Object(map) if node.ty != Type::Any || !node.fields.is_empty() => map.retain(|key, member| {
            if let Some(field) = node.field(key) {
                prune_node(arena, field.node, member, &path.key(key), unknown);
            } else if let Some(additional) = node.additional {
                prune_node(arena, additional, member, &path.key(key), unknown);
            } else if !node.preserve_unknown && node.ty != Type::Any {
                unknown.push(unknown_text(path, key));
                return false;
            }
            true
        }),
        Value::Array(items) => {
            if let Some(node) = node.items {
                for (i, item) in items.iter_mut().enumerate() {
                    prune_node(arena, node, item, &path.index(i), unknown);
                }
            }
        }
        _ => {}
    }
}

fn unknown_text(path: &Path, key: &str) -> String {
    format!("unknown field {}", quote(&path.key(key).to_string()))
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place<'p, 'a> {
    /// With indexes and keys of maps, as unknown fields are reported.
    path: &'p Path<'p>,
    /// Fields of structs alone, as Go's decoder names a place.
    fields: &'p Path<'p>,
    /// The Go name of the struct around the value.
    owner: &'a str,
}

struct Walk<'a> {
    arena: &'a Arena,
    unknown: Vec<String>,
    /// The first one, as Go's decoder keeps it.
    error: Option<String>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, id: NodeId, value: &mut Value, known: &Value, place: Place<'_, 'a>) {
        if value.is_shared_with(known) {
            return;
        }
        let node = &self.arena[id];
        let anonymous = place.owner.is_empty() && node.name.is_empty();
        match (node.ty, &mut *value) {
            (Type::Any, Value::Object(map)) if !node.fields.is_empty() => self.members(node, map, known, place),
            (Type::Any, _) => {}
            (Type::Object, Value::Object(map)) if node.additional.is_some() && node.fields.is_empty() => {
                self.entries(node, map, known, place);
            }
            (Type::Object, Value::Object(map)) => self.members(node, map, known, place),
            (Type::Array, Value::Array(items)) => {
                if let Some(item_node) = node.items {
                    for (i, item) in items.iter_mut().enumerate() {
                        if item.is_null() && !anonymous {
                            *item = zero(&self.arena[item_node]);
                        }
                        let known = known.beside(i, item);
                        self.value(item_node, item, known, Place { path: &place.path.index(i), ..place });
                    }
                }
            }
            _ if anonymous => {}
            (Type::String, _) if !node.format.is_empty() => self.formatted(node, value, place),
            (Type::String, Value::String(_)) | (Type::Boolean, Value::Bool(_)) => {}
            (Type::IntOrString, Value::String(_)) => {}
            (Type::Integer, Value::Int(i)) if node.format != "int32" || i32::try_from(*i).is_ok() => {}
            (Type::IntOrString, Value::Int(i)) if i32::try_from(*i).is_ok() => {}
            (Type::Number, Value::Int(_) | Value::Float(_)) => {}
            _ => self.mistyped(id, value, place),
        }
    }

    /// A struct: known members, then the zero values of absent ones.
    fn members(&mut self, node: &'a Node, map: &mut Map, known: &Value, place: Place<'_, 'a>) {
        let owner = if node.name.is_empty() { place.owner } else { node.name.rsplit('.').next().unwrap_or("") };
        let mut fields_of = InOrder::new(node);
        map.retain(|key, member| {
            let (path, fields) = (place.path.key(key), place.fields.key(key));
            let here = Place { path: &path, fields: &fields, owner };
            let Some(field) = fields_of.field(key) else {
                if let Some(additional) = node.additional {
                    self.value(additional, member, known.at(&[key]), Place { fields: place.fields, ..here });
                } else if !node.preserve_unknown && node.ty != Type::Any {
                    self.unknown.push(unknown_text(place.path, key));
                    return false;
                }
                return true;
            };
            if member.is_null() {
                // Custom resources keep null where the schema lets them.
                return node.name.is_empty() && self.arena[field.node].nullable;
            }
            self.value(field.node, member, known.at(&[key]), here);
            field.empty != Empty::Omit || !is_zero(member)
        });
        for field in &node.fields {
            let fill = match field.empty {
                Empty::Zero if !map.contains_key(&field.name) => {
                    let mut fill = zero(&self.arena[field.node]);
                    self.value(field.node, &mut fill, &Value::Null, Place { owner, ..place });
                    fill
                }
                Empty::Null if !map.contains_key(&field.name) => Value::Null,
                _ => continue,
            };
            map.insert(field.name.clone(), fill);
        }
    }

    /// A map whose keys are data.
    fn entries(&mut self, node: &'a Node, map: &mut Map, known: &Value, place: Place<'_, 'a>) {
        let Some(additional) = node.additional else { return };
        let anonymous = place.owner.is_empty();
        for (key, member) in map.iter_mut() {
            if member.is_null() && !anonymous {
                *member = zero(&self.arena[additional]);
            }
            if !member.is_null() {
                self.value(additional, member, known.at(&[key]), Place { path: &place.path.key(key), ..place });
            }
        }
    }

    /// Strings with a meaning: checked, and replaced by their canonical form where they have another.
    fn formatted(&mut self, node: &'a Node, value: &mut Value, place: Place) {
        let text: Cow<str> = match (&*value, node.format.as_str()) {
            (Value::String(s), _) => Cow::Borrowed(s.as_str()),
            (Value::Int(_) | Value::Float(_), "quantity") => Cow::Owned(value.to_string()),
            (_, "quantity") => return self.fail(quantity::canonical("x").unwrap_err()),
            (_, "byte") => return self.mismatch("[]uint8", value, place),
            _ => return self.mismatch("string", value, place),
        };
        let canonical: Option<String> = match node.format.as_str() {
            "quantity" => match quantity::canonical(if text.is_empty() { "0" } else { text.trim() }) {
                Ok(canonical) => Some(canonical),
                Err(why) => return self.fail(why),
            },
            "date-time" if node.name.ends_with("MicroTime") => match time::parse(&text) {
                Some(t) => Some(time::micros(t)),
                None => return self.fail(bad_time(&text, "2006-01-02T15:04:05.000000Z07:00")),
            },
            "date-time" => match time::parse(&text) {
                Some(t) => Some(time::seconds(t)),
                None => return self.fail(bad_time(&text, "2006-01-02T15:04:05Z07:00")),
            },
            "byte" => match base64(&text) {
                Ok(canonical) => canonical,
                Err(at) => return self.fail(format!("illegal base64 data at input byte {at}")),
            },
            _ => None,
        };
        let changed = canonical.filter(|c| *c != *text || !matches!(value, Value::String(_))).map(Str::from);
        if let Some(changed) = changed {
            *value = Value::String(changed);
        }
    }

    fn mistyped(&mut self, id: NodeId, value: &Value, place: Place) {
        let ty = match self.arena[id].ty {
            Type::IntOrString => "int32".to_string(),
            _ => go_type(self.arena, id),
        };
        self.mismatch(&ty, value, place);
    }

    /// `json: cannot unmarshal string into Go struct field Container.spec.containers.image of type string`
    fn mismatch(&mut self, ty: &str, value: &Value, place: Place) {
        let given = match value {
            Value::Null => "null".into(),
            Value::Bool(_) => "bool".into(),
            Value::String(_) => "string".into(),
            Value::Array(_) => "array".into(),
            Value::Object(_) => "object".into(),
            Value::Int(_) | Value::Float(_) if ty.starts_with("int") || ty.starts_with("float") => {
                format!("number {value}")
            }
            Value::Int(_) | Value::Float(_) => "number".into(),
        };
        let place = match (place.owner, place.fields.is_root()) {
            ("", _) | (_, true) => "value".to_string(),
            (owner, _) => format!("struct field {owner}.{}", place.fields),
        };
        self.fail(format!("json: cannot unmarshal {given} into Go {place} of type {ty}"));
    }

    fn fail(&mut self, why: String) {
        self.error.get_or_insert(why);
    }
}

/// The name of a node's Go type: `[]v1.Container`, `map[string]string`.
fn go_type(arena: &Arena, id: NodeId) -> String {
    let node = &arena[id];
    match (node.ty, node.format.as_str()) {
        (Type::String, "byte") => "[]uint8".into(),
        (Type::String, _) => "string".into(),
        (Type::Boolean, _) => "bool".into(),
        (Type::Integer, format) => if format.is_empty() { "int64" } else { format }.into(),
        (Type::Number, _) => "float64".into(),
        (Type::IntOrString, _) => "intstr.IntOrString".into(),
        (Type::Any, _) => "runtime.RawExtension".into(),
        (Type::Array, _) => format!("[]{}", node.items.map(|i| go_type(arena, i)).unwrap_or_default()),
        (Type::Object, _) => match node.additional {
            Some(value) => format!("map[string]{}", go_type(arena, value)),
            None => {
                let mut parts = node.name.rsplit('.');
                let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                format!("{package}.{name}")
            }
        },
    }
}

fn zero(node: &Node) -> Value {
    match node.ty {
        Type::Object if node.additional.is_none() => Value::object(),
        Type::String if node.format == "quantity" => "0".into(),
        Type::String if node.format.is_empty() => "".into(),
        Type::Integer | Type::Number | Type::IntOrString => 0.into(),
        Type::Boolean => false.into(),
        _ => Value::Null,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Int(i) => *i == 0,
        Value::Float(f) => *f == 0.0,
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn bad_time(text: &str, layout: &str) -> String {
    let text = quote(text);
    format!("parsing time {text} as {}: cannot parse {text} as \"2006\"", quote(layout))
}

/// Checks standard base64. `Ok(Some)` is the canonical text where the given one is not (line breaks, loose trailing
/// bits); `Err` is the offset of the first fault.
fn base64(text: &str) -> Result<Option<String>, usize> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut symbols, mut padding, mut last, mut breaks) = (0_usize, 0_usize, 0, false);
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'\r' | b'\n' => breaks = true,
            b'=' if symbols % 4 >= 2 && padding < 4 - symbols % 4 => padding += 1,
            b => match digit(b) {
                Some(d) if padding == 0 => (symbols, last) = (symbols + 1, d),
                _ => return Err(i),
            },
        }
    }
    if (symbols + padding) % 4 != 0 {
        return Err(text.len());
    }
    let loose = match padding {
        1 => last & 0b11,
        2 => last & 0b1111,
        _ => 0,
    };
    if !breaks && loose == 0 {
        return Ok(None);
    }
    let mut clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n' | '=')).collect();
    clean.pop();
    if symbols > 0 {
        clean.push(ALPHABET[usize::from(last - loose)] as char);
    }
    clean.extend(std::iter::repeat_n('=', padding));
    Ok(Some(clean))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;
    use value::parse_lenient;

    #[track_caller]
    fn check(kind: (&str, &str, &str), json: &str, want: Result<(&str, &[&str]), &str>) {
        let schema = builtin::of(kind.0, kind.1, kind.2).unwrap();
        let mut value = parse_lenient(json.as_bytes()).unwrap();
        let got = decode(&schema, &mut value);
        match want {
            Ok((json, unknown)) => {
                assert_eq!(got.as_deref(), Ok(unknown.iter().map(|u| u.to_string()).collect::<Vec<_>>().as_slice()));
                assert_eq!(value.to_string(), json);
            }
            Err(want) => assert_eq!(got.unwrap_err().to_string(), want),
        }
    }
    const POD: (&str, &str, &str) = ("", "v1", "Pod");
    const MAP: (&str, &str, &str) = ("", "v1", "ConfigMap");
    const SECRET: (&str, &str, &str) = ("", "v1", "Secret");

    #[test]
    fn unknown_fields_go_and_are_named() {
        check(
            MAP,
            r#"{"data":{"a":"b"},"foo":1,"metadata":{"name":"x","bar":{}}}"#,
            Ok((
                r#"{"data":{"a":"b"},"metadata":{"name":"x"}}"#,
                &[r#"unknown field "foo""#, r#"unknown field "metadata.bar""#],
            )),
        );
        let json = r#"{"metadata":{},"spec":{"containers":[{"name":"a"},{"name":"b","x":1}]}}"#;
        let mut value = parse_lenient(json.as_bytes()).unwrap();
        let unknown = prune(&builtin::of("", "v1", "Pod").unwrap(), &mut value);
        assert_eq!(unknown, [r#"unknown field "spec.containers[1].x""#]);
    }

    #[test]
    fn what_is_shared_with_a_decoded_tree_is_passed_over() {
        let schema = builtin::of("", "v1", "Pod").unwrap();
        let known =
            parse_lenient(br#"{"spec":{"containers":[{"name":"a","odd":1},{"name":"b","env":[]}],"odd":2}}"#).unwrap();
        let mut value = known.clone();
        assert_eq!(decode_beside(&schema, &mut value, &known), Ok(Vec::new()));
        assert!(value.is_shared_with(&known));
        // A list that changed shares its items, wherever they stand now.
        let list = value.array_at_mut(&["spec", "containers"]).unwrap();
        list.remove(0);
        list.push(parse_lenient(br#"{"name":"c","more":3}"#).unwrap());
        let unknown = decode_beside(&schema, &mut value, &known).unwrap();
        assert_eq!(unknown, [r#"unknown field "spec.containers[1].more""#, r#"unknown field "spec.odd""#]);
        assert!(value.items_at(&["spec", "containers"])[0].is_shared_with(&known.items_at(&["spec", "containers"])[1]));
    }

    #[test]
    fn paths_lead_through_maps() {
        const CRD: (&str, &str, &str) = ("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let schema = |inner: &str| {
            format!(
                r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{{"properties":{{"a.b":{inner}}}}}}}}}]}}}}"#
            )
        };
        let mut value = parse_lenient(schema(r#"{"odd":1}"#).as_bytes()).unwrap();
        let unknown = decode(&builtin::of(CRD.0, CRD.1, CRD.2).unwrap(), &mut value).unwrap();
        assert_eq!(unknown, [r#"unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.b.odd""#]);
        check(
            CRD,
            &schema(r#"{"type":1}"#),
            Err(
                "json: cannot unmarshal number into Go struct field JSONSchemaProps.spec.versions.schema.openAPIV3Schema.properties.type of type string",
            ),
        );
    }

    #[test]
    fn nulls_and_zero_values_become_what_go_writes() {
        check(
            MAP,
            r#"{"data":null,"metadata":{"labels":{},"creationTimestamp":null,"name":""}}"#,
            Ok((r#"{"metadata":{}}"#, &[])),
        );
        check(MAP, r#"{"data":{"a":null}}"#, Ok((r#"{"data":{"a":""},"metadata":{}}"#, &[])));
        check(
            POD,
            r#"{"spec":{"hostNetwork":false,"enableServiceLinks":false,"containers":[{"name":"a","env":[]}]}}"#,
            Ok((
                r#"{"metadata":{},"spec":{"containers":[{"name":"a","resources":{}}],"enableServiceLinks":false},"status":{}}"#,
                &[],
            )),
        );
        check(("rbac.authorization.k8s.io", "v1", "ClusterRole"), "{}", Ok((r#"{"metadata":{},"rules":null}"#, &[])));
    }

    #[test]
    fn values_take_their_canonical_form() {
        check(
            POD,
            r#"{"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}}}]},
                "metadata":{"creationTimestamp":"2026-01-02T04:04:05.5+01:00"}}"#,
            Ok((
                r#"{"metadata":{"creationTimestamp":"2026-01-02T03:04:05Z"},"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"500m","memory":"1Gi"}}}]},"status":{}}"#,
                &[],
            )),
        );
        check(
            SECRET,
            r#"{"data":{"a":"YQ==","b":"YWJj\nZGVm","c":"YR=="}}"#,
            Ok((r#"{"data":{"a":"YQ==","b":"YWJjZGVm","c":"YQ=="},"metadata":{}}"#, &[])),
        );
    }

    #[test]
    fn wrong_types_are_told_in_gos_words() {
        let cases: &[((&str, &str, &str), &str, &str)] = &[
            (
                POD,
                r#"{"spec":{"containers":"x"}}"#,
                "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                POD,
                r#"{"spec":{"containers":[{"env":[{"value":5}]}]}}"#,
                "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
            ),
            (
                POD,
                r#"{"metadata":{"labels":{"a":true}}}"#,
                "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                POD,
                r#"{"spec":{"containers":[{"ports":[{"containerPort":1.5}]}]}}"#,
                "json: cannot unmarshal number 1.5 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
            ),
            (
                POD,
                r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}"#,
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
            (
                POD,
                r#"{"metadata":{"creationTimestamp":"x"}}"#,
                r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#,
            ),
            (POD, "[]", "json: cannot unmarshal array into Go value of type v1.Pod"),
            (SECRET, r#"{"data":{"a":"YQ"}}"#, "illegal base64 data at input byte 2"),
            (SECRET, r#"{"data":{"a":"Y!=="}}"#, "illegal base64 data at input byte 1"),
            (
                ("", "v1", "Service"),
                r#"{"spec":{"ports":[{"targetPort":true}]}}"#,
                "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32",
            ),
            (
                ("apps", "v1", "Deployment"),
                r#"{"spec":{"replicas":"1"}}"#,
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
        ];
        for (kind, json, want) in cases {
            check(*kind, json, Err(want));
        }
        let status = Mistyped("why".into()).status("Pod", "v1");
        assert_eq!((status.message(), status.code()), (r#"Pod in version "v1" cannot be handled as a Pod: why"#, 400));
    }
}
