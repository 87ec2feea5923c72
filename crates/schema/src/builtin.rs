//! The built-in types: `data/types.txt`, parsed once per process into one arena that every cluster shares.
//!
//! The table is text so that a change of the API is a readable diff; a test holds it against the `k8s-openapi` crate.
//! Its form: a line at the margin begins a type, `core.v1.Pod [atomic] [@v1]` (`@` says that it is a kind of that group
//! and version); an indented line is a field: name, protobuf number, type, and flags.
//!
//! | type | meaning | flag | meaning |
//! | --- | --- | --- | --- |
//! | `s i32 i64 b f` | scalars | `!` | required |
//! | `bytes` | base64 | `omit zero null` | what an empty field becomes, [`Empty`] |
//! | `time utime qty ios` | times, Quantity, IntOrString | `set`, `map=k1,k2` | list type and keys |
//! | `raw fields any` | free JSON | `atomic` | map type |
//! | `orbool orlist orstrings` | a JSONSchemaProps or that | | |
//! | `[]T {}T` | list, map | `patch=merge:key` | strategic merge patch |
//! | a name | another type | `=json` | default |
//!
//! Defaults are those of `pkg/apis/*/v1/defaults.go` that depend on no other field; the rest is in `computed` below
//! (where only the same object counts) or in a kind's hooks.

use crate::{Arena, Empty, Field, ListType, Node, NodeId, Patch, Schema, Type};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};
use value::{Map, Str, Value};

struct Table {
    arena: Arc<Arena>,
    by_name: HashMap<Str, NodeId>,
    /// `apps/v1/Deployment`
    by_kind: HashMap<String, NodeId>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Builder::default().build(include_str!("../data/types.txt")));

/// The schema of a built-in type by its full name: `io.k8s.api.core.v1.Pod`.
pub fn schema(name: &str) -> Option<Schema> {
    let id = TABLE.by_name.get(short(name).as_str())?;
    Some(Schema::new(TABLE.arena.clone(), *id))
}

/// The schema of a built-in kind by group (`""` is the legacy one), version and kind.
pub fn of(group: &str, version: &str, kind: &str) -> Option<Schema> {
    let key = if group.is_empty() { format!("{version}/{kind}") } else { format!("{group}/{version}/{kind}") };
    Some(Schema::new(TABLE.arena.clone(), *TABLE.by_kind.get(&key)?))
}

/// The full names of all built-in types, sorted.
pub fn names() -> Vec<Str> {
    let mut names: Vec<Str> = TABLE.by_name.values().map(|id| TABLE.arena[*id].name.clone()).collect();
    names.sort();
    names
}

/// Every kind, lists and options as well: group and version as `apiVersion` has them, and the kind; sorted.
pub fn kinds() -> Vec<(&'static str, &'static str)> {
    let mut kinds: Vec<_> = TABLE.by_kind.keys().filter_map(|key| key.rsplit_once('/')).collect();
    kinds.sort_unstable();
    kinds
}

/// `metav1.ObjectMeta`, which custom resources share.
pub fn object_meta() -> Schema {
    schema("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        .unwrap_or_else(|| unreachable!("the table has ObjectMeta"))
}

const PREFIXES: [(&str, &str); 5] = [
    ("meta.", "io.k8s.apimachinery.pkg.apis.meta.v1."),
    ("apiext.", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."),
    ("agg.", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1."),
    ("lib.", "io.k8s.apimachinery.pkg."),
    ("", "io.k8s.api."),
];

/// The full name of a type by its name in the table.
pub(crate) fn full(short: &str) -> Str {
    let (prefix, long) = PREFIXES.iter().find(|(s, _)| short.starts_with(s)).unwrap_or(&PREFIXES[4]);
    format!("{long}{}", &short[prefix.len()..]).into()
}

fn short(name: &str) -> String {
    match PREFIXES.iter().find(|(_, long)| name.starts_with(long)) {
        Some((short, long)) => format!("{short}{}", &name[long.len()..]),
        None => name.to_string(),
    }
}

#[derive(Default)]
struct Builder {
    arena: Arena,
    by_name: HashMap<Str, NodeId>,
    by_kind: HashMap<String, NodeId>,
    /// Anonymous nodes by what they are, so that equal ones are shared.
    shared: HashMap<String, NodeId>,
}

impl Builder {
    fn build(mut self, text: &'static str) -> Table {
        let mut current = NodeId(0);
        for line in text.lines() {
            match line.strip_prefix(' ') {
                Some(field) => {
                    let field = self.field(field);
                    self.arena[current].fields.push(field);
                }
                None => current = self.header(line),
            }
        }
        for node in &mut self.arena.nodes {
            node.fields.sort_by(|a, b| a.name.cmp(&b.name));
        }
        for (name, compute) in COMPUTED {
            if let Some(id) = self.by_name.get(*name) {
                self.arena[*id].computed = Some(*compute);
            }
        }
        self.arena.finish();
        Table { arena: Arc::new(self.arena), by_name: self.by_name, by_kind: self.by_kind }
    }
    fn header(&mut self, line: &'static str) -> NodeId {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let id = self.named(name);
        for word in words {
            match word.strip_prefix('@') {
                Some(group_version) => {
                    let kind = name.rsplit('.').next().unwrap_or(name);
                    self.by_kind.insert(format!("{group_version}/{kind}"), id);
                }
                None => self.arena[id].atomic = word == "atomic",
            }
        }
        id
    }
    fn named(&mut self, short: &'static str) -> NodeId {
        if let Some(id) = self.by_name.get(short) {
            return *id;
        }
        let id = self.arena.push(Node { ty: Type::Object, name: full(short), ..Node::default() });
        self.by_name.insert(short.into(), id);
        id
    }
    fn field(&mut self, line: &'static str) -> Field {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (name, number, ty, mut flags) = (word(), word(), word(), word());
        let mut field = Field {
            name: name.into(),
            node: NodeId(0),
            required: false,
            default: None,
            patch: Patch::Replace,
            merge_key: "".into(),
            number: number.parse().unwrap_or(0),
            empty: Empty::Keep,
        };
        let (mut list, mut keys, mut atomic) = (ListType::Atomic, "", false);
        while !flags.is_empty() {
            // A default stands last and may contain blanks.
            if let Some(json) = flags.strip_prefix('=') {
                field.default = value::parse_lenient(json.as_bytes()).ok();
                break;
            }
            let (flag, rest) = flags.split_once(' ').unwrap_or((flags, ""));
            flags = rest;
            match flag.split_once('=').unwrap_or((flag, "")) {
                ("!", _) => field.required = true,
                ("omit", _) => field.empty = Empty::Omit,
                ("zero", _) => field.empty = Empty::Zero,
                ("null", _) => field.empty = Empty::Null,
                ("atomic", _) => atomic = true,
                ("set", _) => list = ListType::Set,
                ("map", names) => (list, keys) = (ListType::Map, names),
                ("patch", how) => {
                    let (strategy, key) = how.split_once(':').unwrap_or((how, ""));
                    field.merge_key = key.into();
                    field.patch = match strategy {
                        "merge+retain" => Patch::MergeRetainKeys,
                        "retain" => Patch::RetainKeys,
                        "whole" => Patch::Whole,
                        _ => Patch::Merge,
                    };
                }
                _ => unreachable!("flag {flag} in the table of types"),
            }
        }
        field.node = self.node(ty, list, keys, atomic);
        field
    }
    fn node(&mut self, ty: &'static str, list: ListType, keys: &'static str, atomic: bool) -> NodeId {
        let key = format!("{ty} {list:?} {keys} {atomic}");
        if let Some(id) = self.shared.get(&key) {
            return *id;
        }
        let scalar =
            |ty, name: &str, format: &str| Node { ty, name: name.into(), format: format.into(), ..Node::default() };
        let named = |ty, short: &str, format: &str| scalar(ty, &full(short), format);
        let node = match ty {
            "s" => scalar(Type::String, "", ""),
            "i32" => scalar(Type::Integer, "", "int32"),
            "i64" => scalar(Type::Integer, "", "int64"),
            "b" => scalar(Type::Boolean, "", ""),
            "f" => scalar(Type::Number, "", "double"),
            "bytes" => scalar(Type::String, "", "byte"),
            "any" => named(Type::Any, "apiext.JSON", ""),
            "orbool" => named(Type::Any, "apiext.JSONSchemaPropsOrBool", ""),
            "orlist" => named(Type::Any, "apiext.JSONSchemaPropsOrArray", ""),
            "orstrings" => named(Type::Any, "apiext.JSONSchemaPropsOrStringArray", ""),
            "time" => named(Type::String, "meta.Time", "date-time"),
            "utime" => named(Type::String, "meta.MicroTime", "date-time"),
            "qty" => named(Type::String, "lib.api.resource.Quantity", "quantity"),
            "ios" => named(Type::IntOrString, "lib.util.intstr.IntOrString", "int-or-string"),
            "raw" => named(Type::Any, "lib.runtime.RawExtension", ""),
            "fields" => named(Type::Any, "meta.FieldsV1", ""),
            _ => match (ty.strip_prefix("[]"), ty.strip_prefix("{}")) {
                (Some(item), _) => Node {
                    ty: Type::Array,
                    items: Some(self.node(item, ListType::Atomic, "", false)),
                    list_type: list,
                    list_keys: keys.split(',').filter(|k| !k.is_empty()).map(Str::from).collect(),
                    ..Node::default()
                },
                (_, Some(item)) => Node {
                    ty: Type::Object,
                    additional: Some(self.node(item, ListType::Atomic, "", false)),
                    atomic,
                    ..Node::default()
                },
                _ => return self.named(ty),
            },
        };
        let id = self.arena.push(node);
        self.shared.insert(key, id);
        id
    }
}

/// Fills members of one object.
type Compute = fn(&mut Map);

/// Defaults that depend on other fields of the same object. Source: the `SetDefaults_*` functions of those types.
const COMPUTED: &[(&str, Compute)] = &[
    ("core.v1.Container", image_pull_policy),
    ("core.v1.EphemeralContainer", image_pull_policy),
    ("core.v1.Volume", |volume| {
        if volume.len() == usize::from(volume.contains_key("name")) {
            volume.insert("emptyDir", Value::object());
        }
    }),
    ("core.v1.ServicePort", |port| {
        let unset = |v: &Value| v.is_null() || *v == "" || v.as_i64() == Some(0);
        if port.get("targetPort").is_none_or(unset)
            && let Some(number) = port.get("port").cloned()
        {
            port.insert("targetPort", number);
        }
    }),
    ("apps.v1.DeploymentStrategy", rolling_update),
    ("apps.v1.DaemonSetUpdateStrategy", rolling_update),
    // Unlike the other two, a strategy that is named gets no parameters.
    ("apps.v1.StatefulSetUpdateStrategy", |strategy| {
        if strategy.get("type").and_then(Value::as_str).is_none_or(str::is_empty) {
            rolling_update(strategy);
            strategy.insert("type", "RollingUpdate");
        }
    }),
    ("rbac.v1.Subject", |subject| {
        if subject.get("apiGroup").and_then(Value::as_str).is_none_or(str::is_empty)
            && subject.get("kind").is_some_and(|k| *k == "User" || *k == "Group")
        {
            subject.insert("apiGroup", "rbac.authorization.k8s.io");
        }
    }),
];

/// `Always` for an image without a tag or with `latest`, else `IfNotPresent`.
fn image_pull_policy(container: &mut Map) {
    if container.get("imagePullPolicy").and_then(Value::as_str).is_some_and(|p| !p.is_empty()) {
        return;
    }
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    let name = image.rsplit('/').next().unwrap_or(image);
    let latest = !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    container.insert("imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
}

/// A rolling update has its parameters.
fn rolling_update(strategy: &mut Map) {
    let rolling = strategy.get("type").and_then(Value::as_str).is_none_or(|t| t.is_empty() || t == "RollingUpdate");
    if rolling && strategy.get("rollingUpdate").is_none_or(Value::is_null) {
        strategy.insert("rollingUpdate", Value::object());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_parses_and_refers_to_itself_only() {
        assert!(names().len() > 700, "{}", names().len());
        for node in &TABLE.arena.nodes {
            assert!(
                node.ty != Type::Object
                    || !node.fields.is_empty()
                    || node.additional.is_some()
                    || known_empty(&node.name),
                "{} has no fields",
                node.name
            );
        }
    }

    fn known_empty(name: &str) -> bool {
        let names = ["StorageVersionSpec", "BasicSchedulingPolicy", "CustomResourceSubresourceStatus", "meta.v1.Patch"];
        names.iter().any(|n| name.ends_with(n))
    }

    #[test]
    fn finds_types_by_name_and_by_kind() {
        let pod = of("", "v1", "Pod").unwrap();
        assert_eq!(pod.node().name, "io.k8s.api.core.v1.Pod");
        assert!(of("apps", "v1", "Deployment").is_some());
        assert!(of("apiextensions.k8s.io", "v1", "CustomResourceDefinition").is_some());
        assert!(of("", "v1", "Nothing").is_none());
        let spec = schema("io.k8s.api.core.v1.PodSpec").unwrap();
        let containers = spec.node().field("containers").unwrap();
        assert_eq!((containers.merge_key.as_str(), containers.patch, containers.number), ("name", Patch::Merge, 2));
        assert_eq!(spec.goto(containers.node).node().list_keys, ["name"]);
        let probe = schema("io.k8s.api.core.v1.Probe").unwrap();
        assert_eq!(probe.node().field("httpGet").unwrap().wire_path(), [1, 2, 0]);
    }
}
