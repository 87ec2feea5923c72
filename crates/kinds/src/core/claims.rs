//! What a claim for a volume asks for: the spec of a PersistentVolumeClaim, which StatefulSets and ephemeral volumes
//! hold too.

use crate::{at::At, rules::quantity};
use base::{FieldErrors, names};

pub const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// A `PersistentVolumeClaimSpec`.
pub fn spec(spec: At, errors: &mut FieldErrors) {
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        modes.required(errors, "at least 1 access mode is required");
    }
    spec.get("selector").label_selector(errors);
    access_modes(modes, errors);
    storage(spec, errors);
    class(spec.get("storageClassName"), errors);
    spec.get("volumeMode").one_of_if_set(errors, &VOLUME_MODES);
    sources(spec, errors);
    class(spec.get("volumeAttributesClassName"), errors);
}

/// Known modes, and the one that suffers no others.
pub fn access_modes(modes: At, errors: &mut FieldErrors) {
    let (mut alone, mut others) = (false, false);
    for mode in modes.items().map(|mode| mode.str()) {
        if !ACCESS_MODES.contains(&mode) {
            errors.not_supported(modes.path, mode, &ACCESS_MODES);
        } else if mode == "ReadWriteOncePod" {
            alone = true;
        } else {
            others = true;
        }
    }
    if alone && others {
        modes.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

fn storage(spec: At, errors: &mut FieldErrors) {
    let resources = spec.get("resources");
    let requests = resources.get("requests");
    // Upstream leaves `requests` out of the path.
    let asked = At { value: requests.get("storage").value, path: resources.path.map_key("storage") };
    match quantity(asked.value) {
        None if !asked.is_set() => asked.required(errors, ""),
        Some(amount) if amount.is_zero() || amount.is_negative() => asked.invalid(errors, "must be greater than zero"),
        _ => drop(asked.quantity(errors)),
    }
}

/// The name of a class, where there is one.
pub fn class(name: At, errors: &mut FieldErrors) {
    if !name.is_empty() {
        name.dns_subdomain(errors);
    }
}

fn sources(spec: At, errors: &mut FieldErrors) {
    let (old, new) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    for source in [old, new].into_iter().filter(At::is_set) {
        let (group, kind) = (source.get("apiGroup"), source.get("kind"));
        source.get("name").need(errors);
        kind.need(errors);
        if !group.is_empty() {
            group.dns_subdomain(errors);
        } else if kind.str() != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            source.invalid_as(errors, kind.str(), detail);
        }
    }
    let namespace = new.get("namespace");
    if !namespace.is_empty() {
        namespace.dns_label(errors);
    }
    if !old.is_set() || !new.is_set() {
        return;
    }
    let same = ["apiGroup", "kind", "name"].into_iter().all(|field| old.get(field).str() == new.get(field).str());
    if !namespace.is_empty() {
        errors.invalid_raw(spec.path, "{}", "may not be specified when dataSourceRef.namespace is specified");
    } else if !same {
        errors.invalid_raw(spec.path, "{}", "must match dataSourceRef");
    }
}

/// Warnings about parts of a byte.
pub fn fractions(spec: At, warnings: &mut Vec<String>) {
    let resources = spec.get("resources");
    for list in ["requests", "limits"] {
        let amounts = resources.get(list);
        let storage = amounts.entry("storage");
        if let Some(amount) = quantity(storage.value).filter(|amount| amount.milli() % 1000 != 0) {
            let path = storage.path;
            warnings.push(format!("{path}: fractional byte value \"{amount}\" is invalid, must be an integer"));
        }
    }
}

/// An amount that is not negative, in the words of volumes.
pub fn basic(amount: At, errors: &mut FieldErrors) {
    if let Some(negative) = quantity(amount.value).filter(|amount| amount.is_negative()) {
        errors.invalid_raw(amount.path, negative.units(), "must be a valid resource quantity");
    }
}

/// Checks the keys of `allocatedResources` and its like; true for one that may stand there.
pub fn allocated(place: At, name: &str, errors: &mut FieldErrors) -> bool {
    if let Err(why) = names::qualified_name(name) {
        place.invalid_as(errors, name, why);
        return false;
    }
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if native && name != "storage" {
        errors.not_supported(place.path, name, &["storage"]);
        return false;
    }
    true
}
