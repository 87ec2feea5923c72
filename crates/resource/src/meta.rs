//! Rules for `metadata` that hold for every kind. Source: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.

use crate::Call;
use base::{FieldErrors, Result, Status, ids, names, time};
use schema::{Catalog, Generation, Kind, NameRule};
use std::sync::Arc;
use value::{Path, Value};

/// Length of what `generateName` may keep, so that five random characters fit behind it.
const GENERATE_NAME_MAX: usize = 63 - 5;

/// All annotations of one object together, in bytes.
const ANNOTATIONS_MAX: usize = 256 << 10;

/// Puts the path's namespace and name into the object, or says that they differ.
pub(crate) fn adopt_path(call: &Call, object: &mut Value) -> Result<()> {
    if !matches!(object.at(&["metadata"]), Value::Object(_)) {
        object.set(&["metadata"], Value::object());
    }
    let namespace = object.namespace();
    if call.kind.namespaced() {
        if namespace.is_empty() {
            object.set(&["metadata", "namespace"], &call.namespace);
        } else if namespace != call.namespace {
            let text = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(text));
        }
    } else {
        object.remove(&["metadata", "namespace"]);
    }
    if !call.name.is_empty() {
        let name = object.name();
        if name.is_empty() {
            let text = format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                call.name
            );
            return Err(Status::bad_request(text));
        } else if name != call.name {
            let text = format!("the name of the object ({name}) does not match the name on the URL ({})", call.name);
            return Err(Status::bad_request(text));
        }
    }
    Ok(())
}

/// Fills what the server decides at creation.
pub(crate) fn fill_new(kind: &Kind, object: &mut Value, now: time::Timestamp) {
    for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        object.remove(&["metadata", field]);
    }
    object.set(&["metadata", "uid"], ids::uid());
    object.set(&["metadata", "creationTimestamp"], time::seconds(now));
    match kind.policy.generation {
        Generation::None | Generation::Changes => drop(object.remove(&["metadata", "generation"])),
        Generation::Once | Generation::Spec => object.set(&["metadata", "generation"], 1),
    }
}

/// Makes a name from `generateName` where there is none.
pub(crate) fn generate_name(object: &mut Value) -> bool {
    let prefix = object.str_at(&["metadata", "generateName"]);
    if !object.name().is_empty() || prefix.is_empty() {
        return false;
    }
    let cut = prefix.char_indices().nth(GENERATE_NAME_MAX).map_or(prefix.len(), |(i, _)| i);
    let name = format!("{}{}", &prefix[..cut], ids::suffix(5));
    object.set(&["metadata", "name"], name);
    true
}

/// Takes over from the old object what an update may not set.
pub(crate) fn keep_system_fields(object: &mut Value, old: &Value) {
    // Nobody takes a deletion back; what is said of one that has not begun, or of its grace, is looked at later.
    for (field, always) in [("deletionTimestamp", true), ("deletionGracePeriodSeconds", false)] {
        let kept = old.at(&["metadata", field]);
        if !kept.is_null() && (always || object.at(&["metadata", field]).is_null()) {
            object.set(&["metadata", field], kept);
        }
    }
    for field in ["uid", "creationTimestamp", "generation", "generateName"] {
        match old.at(&["metadata", field]) {
            Value::Null => drop(object.remove(&["metadata", field])),
            kept => object.set(&["metadata", field], kept),
        }
    }
    for field in ["selfLink", "resourceVersion"] {
        object.remove(&["metadata", field]);
    }
}

/// Counts the generation up where anything but metadata and status changed.
pub(crate) fn count_generation(kind: &Kind, object: &mut Value, old: &Value) {
    if !matches!(kind.policy.generation, Generation::Changes | Generation::Spec) {
        return;
    }
    fn desired(v: &Value) -> impl Iterator<Item = (&str, &Value)> {
        v.members_at(&[]).filter(|(k, _)| !matches!(*k, "metadata" | "status"))
    }
    if !desired(object).eq(desired(old)) {
        bump_generation(object);
    }
}

/// One more than before.
pub(crate) fn bump_generation(object: &mut Value) {
    let generation = object.at(&["metadata", "generation"]).as_i64().unwrap_or(0);
    object.set(&["metadata", "generation"], generation + 1);
}

/// Metadata of an object as it would be stored.
pub(crate) fn validate(kind: &Kind, catalog: &Catalog, object: &Value, errors: &mut FieldErrors) {
    let root = Path::root();
    let path = root.key("metadata");
    let meta = object.at(&["metadata"]);
    let name = meta.str_at(&["name"]);
    if name.is_empty() {
        errors.required(path.key("name"), "name or generateName is required");
    } else if let Err(why) = check_name(kind.policy.name, name) {
        errors.invalid(path.key("name"), name, why);
    }
    if kind.namespaced() {
        match meta.str_at(&["namespace"]) {
            "" => errors.required(path.key("namespace"), ""),
            namespace => {
                if let Err(why) = names::label(namespace) {
                    errors.invalid(path.key("namespace"), namespace, why);
                }
            }
        }
    }
    labels(&path.key("labels"), meta.at(&["labels"]), errors);
    annotations(&path.key("annotations"), meta.at(&["annotations"]), errors);
    finalizers(kind, &path.key("finalizers"), meta.items_at(&["finalizers"]), errors);
    owners(catalog, &path.key("ownerReferences"), meta.items_at(&["ownerReferences"]), errors);
}

/// `generateName` of a new object, as the beginning of a name: a dash at its end may be followed by anything.
pub(crate) fn validate_prefix(kind: &Kind, object: &Value, errors: &mut FieldErrors) {
    let prefix = object.str_at(&["metadata", "generateName"]);
    if prefix.is_empty() {
        return;
    }
    let mut chars = prefix.chars();
    let whole = match (kind.policy.name, chars.next_back(), chars.next_back()) {
        // Where only slashes and percent signs are forbidden, dots begin a name like any other.
        (NameRule::PathSegment, ..) => format!("{prefix}a"),
        (_, Some('-'), Some(_)) => format!("{}a", chars.as_str()),
        _ => prefix.into(),
    };
    if let Err(why) = check_name(kind.policy.name, &whole) {
        errors.invalid("metadata.generateName", prefix, why);
    }
}

/// What may not change between two states of one object. Upstream's store looks, and then the kind's own rules look again:
/// each error is told of twice.
pub(crate) fn validate_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    for _ in 0..2 {
        look_at_update(object, old, errors);
    }
}

fn look_at_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let root = Path::root();
    let path = root.key("metadata");
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, old) = (object.at(&["metadata", field]), old.at(&["metadata", field]));
        match new.as_i64() {
            _ if new == old => {}
            Some(number) => errors.invalid_raw(path.key(field), number, "field is immutable"),
            None => errors.invalid(path.key(field), new.as_str().unwrap_or(""), "field is immutable"),
        }
    }
    if !old.at(&["metadata", "deletionTimestamp"]).is_null() {
        let before = old.items_at(&["metadata", "finalizers"]);
        let added: Vec<_> =
            object.items_at(&["metadata", "finalizers"]).iter().filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            let list: Vec<String> = added.iter().map(|f| f.to_string()).collect();
            let text = "no new finalizers can be added if the object is being deleted, found new finalizers []string{";
            errors.forbidden(path.key("finalizers"), format!("{text}{}}}", list.join(", ")));
        }
    }
}

/// A name by the kind's rule.
pub(crate) fn check_name(rule: NameRule, name: &str) -> Result<(), String> {
    match rule {
        NameRule::Subdomain => names::subdomain(name),
        NameRule::Label => names::label(name),
        NameRule::Label1035 => names::label1035(name),
        NameRule::PathSegment => names::path_segment(name),
    }
}

fn labels(path: &Path, labels: &Value, errors: &mut FieldErrors) {
    for (key, label) in labels.as_object().into_iter().flat_map(|m| m.iter()) {
        if let Err(why) = names::qualified_name(key) {
            errors.invalid(path, key, why);
        }
        let label = label.as_str().unwrap_or("");
        if let Err(why) = names::label_value(label) {
            errors.invalid(path, label, why);
        }
    }
}

fn annotations(path: &Path, annotations: &Value, errors: &mut FieldErrors) {
    let mut total = 0;
    for (key, text) in annotations.as_object().into_iter().flat_map(|m| m.iter()) {
        if let Err(why) = names::qualified_name(&key.to_lowercase()) {
            errors.invalid(path, key, why);
        }
        total += key.len() + text.as_str().map_or(0, str::len);
    }
    if total > ANNOTATIONS_MAX {
        errors.too_long(path, ANNOTATIONS_MAX);
    }
}

/// Each is a qualified name; on built-in kinds, one without a prefix is one of those that Kubernetes itself knows.
fn finalizers(kind: &Kind, path: &Path, finalizers: &[Value], errors: &mut FieldErrors) {
    // Definitions and API services are served by servers of their own upstream, which do not ask for it.
    let core = kind.custom.is_none() && !matches!(&*kind.group, "apiextensions.k8s.io" | "apiregistration.k8s.io");
    for (i, finalizer) in finalizers.iter().enumerate() {
        let finalizer = finalizer.as_str().unwrap_or("");
        if let Err(why) = names::qualified_name(finalizer) {
            errors.invalid(path, finalizer, why);
        }
        if core && !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(path.index(i), finalizer, why);
        }
    }
}

/// Without indices, as upstream reports them.
fn owners(catalog: &Catalog, path: &Path, owners: &[Value], errors: &mut FieldErrors) {
    let mut controllers = Vec::new();
    for owner in owners {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.str_at(&[field]).is_empty() {
                let word = if field == "apiVersion" { "version must not be empty" } else { "must not be empty" };
                errors.invalid(path.key(field), "", word);
            }
        }
        let (api_version, name) = (owner.str_at(&["apiVersion"]), owner.str_at(&["kind"]));
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let refused = |kind: &&Arc<Kind>| kind.policy.never_owns && kind.version(version).is_some();
        if catalog.by_kind(group, name).filter(refused).is_some() {
            let why = format!("{group}/{version}, Kind={name} is disallowed from being an owner");
            errors.invalid_raw(path, shown(owner), why);
        }
        if owner.at(&["controller"]).as_bool() == Some(true) {
            controllers.push(owner);
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let name = |o: &Value| format!("{}/{}", o.str_at(&["kind"]), o.str_at(&["name"]));
        let text = "Only one reference can have Controller set to true. Found \"true\" in references for";
        let all: Vec<String> = owners.iter().map(shown).collect();
        errors.invalid_raw(
            path,
            format!("[{}]", all.join(",")),
            format!("{text} {} and {}", name(first), name(second)),
        );
    }
}

/// A reference in upstream's order of fields.
fn shown(owner: &Value) -> String {
    let fields = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let given = fields.into_iter().filter(|field| !owner.at(&[field]).is_null());
    let pairs: Vec<String> = given.map(|field| format!("\"{field}\":{}", owner.at(&[field]))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_finalizers() {
        let never = schema::Policy { never_owns: true, ..Default::default() };
        let version = schema::Version {
            name: "v1".into(),
            served: true,
            deprecated: None,
            schema: schema::builtin::schema("io.k8s.api.core.v1.Event").unwrap(),
            columns: Vec::new(),
        };
        let catalog = Catalog::new([Kind {
            group: "".into(),
            kind: "Event".into(),
            list_kind: "EventList".into(),
            plural: "events".into(),
            singular: "event".into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: schema::Scope::Namespaced,
            versions: vec![version],
            storage: 0,
            verbs: Vec::new(),
            subresources: Vec::new(),
            selectable: Vec::new(),
            policy: never,
            hooks: Arc::new(schema::NoHooks),
            custom: None,
        }]);
        let check = |value: Value, want: &[&str]| {
            let mut errors = FieldErrors::default();
            owners(&catalog, &Path::root().key("owners"), value.items_at(&[]), &mut errors);
            let said: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(said, want, "{value}");
        };
        check(value::value!([{"apiVersion": "events.k8s.io/v1", "kind": "Event", "name": "e", "uid": "u"}]), &[]);
        check(value::value!([{"apiVersion": "v2", "kind": "Event", "name": "e", "uid": "u"}]), &[]);
        check(value::value!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]), &[]);
        check(
            value::value!([{"kind": "Pod", "name": "", "uid": "u"}]),
            &[
                r#"owners.apiVersion: Invalid value: "": version must not be empty"#,
                r#"owners.name: Invalid value: "": must not be empty"#,
            ],
        );
        check(
            value::value!([{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}]),
            &[
                r#"owners: Invalid value: {"apiVersion":"v1","kind":"Event","name":"e","uid":"u"}: /v1, Kind=Event is disallowed from being an owner"#,
            ],
        );
    }
}
